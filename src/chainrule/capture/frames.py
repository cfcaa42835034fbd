"""Classifies source files: the user's, chainrule's, an installed package's, or Python's and NumPy's.

Also finds the user's current line for error messages and warnings. Nothing in this file depends on a trace.
"""

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

_STDLIB_FOLDER = str(Path(os.__file__).parent) + os.sep
_NUMPY_FOLDER = str(Path(np.__file__).parent) + os.sep


def is_chainrule(file: str) -> bool:
    """Whether a source file belongs to chainrule."""
    return file.startswith(PACKAGE_FOLDER)


def is_in_compiler(file: str) -> bool:
    """Whether a source file belongs to the packages `kernels` or `lower`."""
    return file.startswith((f"{PACKAGE_FOLDER}kernels{os.sep}", f"{PACKAGE_FOLDER}lower{os.sep}"))


def is_stdlib_or_numpy(file: str) -> bool:
    """Whether a source file belongs to the standard library or to NumPy."""
    if file.startswith(_STDLIB_FOLDER):
        return not is_installed(file)
    return file.startswith((_NUMPY_FOLDER, "<frozen "))


def is_installed(file: str) -> bool:
    """Whether a source file belongs to an installed package."""
    return f"-packages{os.sep}" in file  # site-packages, or dist-packages on Debian


def callers() -> Iterator[FrameType]:
    """Yield the calling frames outside `chainrule.capture`, innermost first."""
    folder = __file__.rpartition(os.sep)[0]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(folder):
            yield frame
        frame = frame.f_back


def at_user_line() -> str:
    """Return the user's current line as a suffix for an error message: " (file:line)", or "" if there is none."""
    return user_line([(frame.f_code.co_filename, frame.f_lineno) for frame in callers()][::-1])


def warn(message: str) -> None:
    """Issue a RuntimeWarning at the innermost line of user code."""
    frame: FrameType | None = sys._getframe(0)
    level = 1
    while frame is not None and (is_chainrule(file := frame.f_code.co_filename) or is_stdlib_or_numpy(file)):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def user_line(lines: Sequence[tuple[str, int | None]]) -> str:
    """Return the last of the (file, line) pairs that is user code, as a suffix for a message: " (file:line)" or ""."""
    for file, line in reversed(lines):
        if not is_chainrule(file) and not is_stdlib_or_numpy(file):
            return f" ({file}:{line})"
    return ""
