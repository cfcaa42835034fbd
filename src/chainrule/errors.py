"""The mistakes that a person can mend: wrong files, wrong pictures, wrong names.

The command line prints the one sentence of a `UserError` and exits with 2; any other exception is a fault of ours and
exits with 1. The engine itself raises Python's own `ValueError`, `TypeError`, `IndexError` and `RuntimeError`.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from itertools import accumulate
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

PACKAGE_FOLDER = str(Path(__file__).parent) + os.sep
"""Where chainrule's own code is: a warning or an error names the user's line, which is elsewhere."""


def check(owner: object, holds: object, message: str, kind: type[Exception] = ValueError) -> None:
    """Raise an error, in the name of a function or of the owner's class, unless something holds.

    For what is called now and then: the message is put together even if nothing is wrong.
    """
    if not holds:
        raise kind(f"{owner if isinstance(owner, str) else type(owner).__name__}: {message}")


def check_numbers(owner: object, *values: Any) -> None:
    """Raise a TypeError unless each value is a number, or an array or a Tensor of a single one."""
    for value in values:
        check(owner, _is_number(value), f"takes numbers, not {type_name(value)}", TypeError)


def _is_number(value: Any) -> bool:
    """Whether this is a number, or an array or a Tensor of a single one."""
    return isinstance(value, Real) or (getattr(value, "ndim", None) == 0 and value.dtype.kind in "biuf")


def named_numbers(owner: object, **given: Any) -> list[Any]:
    """The numbers that are given, or a TypeError that says by its name which one is none."""
    for name, value in given.items():
        check(owner, isinstance(value, Real), f"{name} must be a number, not {value!r}", TypeError)
    return [*given.values()]


def check_not_negative(owner: object, **given: Any) -> None:
    """Raise an error that says by its name which of these is no number, or below 0, or NaN."""
    for name, value in given.items():
        if not _is_number(value):
            check(owner, False, f"{name} must be a number, not {value!r}", TypeError)
        if not value >= 0:
            check(owner, False, f"{name} must not be negative, got {value}")


def check_booleans(owner: object, name: str, array: Any) -> None:
    """Raise a TypeError unless this is an array or a Tensor of booleans, or one of Python's."""
    dtype = getattr(array, "dtype", type_name(array))
    if getattr(dtype, "kind", "") != "b" and not isinstance(array, bool):
        check(owner, False, f"the {name} must be boolean, not {dtype}", TypeError)


def check_floats(owner: object, array: Any) -> None:
    """Raise a TypeError unless this is an array or a Tensor of floats, or a floating type."""
    dtype = getattr(array, "dtype", array)
    kind = getattr(dtype, "kind", "")
    if kind != "f":
        check(owner, kind, f"takes tensors or arrays, not {type_name(array)}", TypeError)
        check(owner, False, f"takes floats, not {dtype}: make it float first, with .float()", TypeError)


def check_whole(owner: object, what: str, value: Any, least: int) -> None:
    """Raise an error unless a value is a whole number of at least `least`."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    check(owner, whole, f"{what} must be a whole number, not {value!r}", TypeError)
    check(owner, value >= least, f"{what} must be at least {least}, not {value}")


def listed(names: Sequence[str], separator: str = ", ", most: int = 8) -> str:
    """Names for a message: the first ones, none of them longer than a line or two, and how many more there are.

    They may come from a file, which may have a million of them.
    """
    text = separator.join(shortened(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most:,} more"


def check_destination(path: str | os.PathLike[str], what: str, endings: Collection[str]) -> None:
    """See that a file can be written there, before its content is computed.

    Args:
        path: where it is to be.
        what: it is, in a word.
        endings: that such a file may have, in small letters, with their dots.

    Raises:
        UserError: its ending is none of them, or the folder is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        *most, last = endings
        choices = f"{', '.join(most)} or {last}" if most else last
        raise UserError(f"{path}: the ending '{path.suffix}' is no {what}'s; use {choices}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first or choose another")


_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Classes of characters by which a text is shown in another order than it is in (Unicode Standard Annex 9)."""


def printable(text: str) -> str:
    """The text with control characters, changes of direction and bytes that are no characters written as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{os.fsencode(character)[0]:02x}"
    control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if control or unicodedata.bidirectional(character) in _DIRECTIONS:
        return character.encode("unicode_escape").decode("ascii")
    return character


def shortened(text: str, most: int = 200) -> str:
    """The text, printable, or its beginning, in at most so many characters; no escape is cut in two."""
    beginning = text[: most + 1]  # all of a long text need not be escaped
    shown = printable(beginning)
    if len(shown) <= most:
        return shown
    ends = accumulate(len(printable(character)) for character in beginning)
    return f"{printable(beginning[: sum(end < most for end in ends)])}…"


def type_name(value: object) -> str:
    """The name of a value's type for a message, with its package if that is another: torch.Tensor, int."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package in ("builtins", "chainrule") else f"{package}.{kind.__name__}"


def read_only(shape: tuple[int, ...]) -> ValueError:
    """The error for a change in place of memory that may not be written into."""
    why = "it is read-only, as a tensor that shows an element several times, or NumPy's own memory can be"
    return ValueError(f"a tensor of shape {shape} cannot be changed in place: {why}; change a clone()")


class UserError(Exception):
    """A mistake outside the library, told in one sentence that names the thing and the way to mend it."""


class SettingError(UserError):
    """An environment variable with a value that makes no sense.

    No `ValueError`: it shows up wherever the variable is first used, and must not be taken for a fault of the arrays or
    the file at hand.
    """


class DataError(UserError, ValueError):
    """A data set that is missing, damaged or of the wrong form."""


class PictureError(UserError, ValueError):
    """A picture that cannot be read as a digit."""


class RunError(UserError, ValueError):
    """A run folder that is missing, incomplete or does not fit the request."""


class NestingError(RecursionError):
    """Modules are nested more deeply than Python's calls can be.

    Args:
        name: of the outermost module's class.
        levels: how deeply.
    """

    def __init__(self, name: str, levels: int) -> None:
        self.levels = levels
        super().__init__(
            f"{name}: modules are nested {levels:,} deep, each takes several calls, and Python nests at most "
            f"{sys.getrecursionlimit():,}; put them one after the other, as in one Sequential"
        )


class CaptureError(RuntimeError):
    """Something in a function that `chainrule.jit` cannot compile, with the line and the reason."""


class LeakedTracerError(CaptureError):
    """A tensor that was made while `chainrule.jit` compiled a function, and is used elsewhere."""

    def __init__(self) -> None:
        super().__init__(
            "a tensor that was made while a function was compiled has no values outside of it: return it from there"
        )


LostTensorError = LeakedTracerError  # its former name
