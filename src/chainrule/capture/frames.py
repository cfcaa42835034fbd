"""Whose code is running: the user's, chainrule's own, or that of Python's library and NumPy."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import PACKAGE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_STANDARD = str(Path(os.__file__).parent) + os.sep
_NUMPY = str(Path(np.__file__).parent) + os.sep


def is_chainrule(file: str) -> bool:
    """Whether a file of code is chainrule's own."""
    return file.startswith(PACKAGE_FOLDER)


def is_compiler(file: str) -> bool:
    """Whether a file of code is of those that make and run kernels, which call no function of the user's."""
    return file.startswith((f"{PACKAGE_FOLDER}kernels{os.sep}", f"{PACKAGE_FOLDER}lower{os.sep}"))


def is_library(file: str) -> bool:
    """Whether a file of code belongs to Python's own library (such as `copy.deepcopy`) or to NumPy."""
    if file.startswith(_STANDARD):
        return not is_installed(file)
    return file.startswith((_NUMPY, "<frozen "))


def is_installed(file: str) -> bool:
    """Whether a file of code belongs to a package that was installed."""
    return f"-packages{os.sep}" in file  # site-packages, or Debian's dist-packages


def callers() -> Iterator[FrameType]:
    """The frames of the running code outside this package, the innermost first."""
    own = __file__.rpartition(os.sep)[0]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(own):
            yield frame
        frame = frame.f_back


def where() -> str:
    """The end of an error's message: the user's line."""
    return user_line([(frame.f_code.co_filename, frame.f_lineno) for frame in callers()][::-1])


def warn(message: str) -> None:
    """Warn of what the innermost of the user's lines has brought about."""
    frame: FrameType | None = sys._getframe(0)
    level = 1
    while frame is not None and (is_chainrule(frame.f_code.co_filename) or is_library(frame.f_code.co_filename)):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def user_line(lines: Sequence[tuple[str, int | None]]) -> str:
    """The innermost of some lines of code that is the user's, as the end of a message."""
    own = [line for line in lines if not is_chainrule(line[0]) and not is_library(line[0])]
    return " ({}:{})".format(*own[-1]) if own else ""
