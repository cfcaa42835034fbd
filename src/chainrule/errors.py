"""Errors that a user can fix (wrong files, images, names), and functions that check arguments.

The command line prints the message of a `UserError` and exits with 2; it reports an unexpected exception as a bug. The
engine raises Python's own `ValueError`, `TypeError`, `IndexError` and `RuntimeError`, or subclasses of these.
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
"""The folder of chainrule's own code: warnings and errors refer to the last line of code outside it."""


def check(owner: object, condition: object, message: str, kind: type[Exception] = ValueError) -> None:
    """Raise an error unless `condition` is true.

    Do not use it on hot paths: the message is formatted even if there is no error.

    Args:
        owner: a function's name, or an object whose class name is used; the message begins with it.
        condition: what must be true.
        message: the rest of the message.
        kind: the type of the error.
    """
    if not condition:
        raise kind(f"{owner if isinstance(owner, str) else type(owner).__name__}: {message}")


def check_numbers(owner: object, *values: Any) -> None:
    """Raise a TypeError unless each value is a number, or a zero-dimensional array or Tensor."""
    for value in values:
        check(owner, _is_number(value), f"takes numbers, not {type_name(value)}", TypeError)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, or a zero-dimensional array or Tensor."""
    return isinstance(value, Real) or (getattr(value, "ndim", None) == 0 and value.dtype.kind in "biuf")


def require_numbers(owner: object, **values: Any) -> list[Any]:
    """Return the values as a list; raise a TypeError that names the first one that is not a number."""
    for name, value in values.items():
        check(owner, isinstance(value, Real), f"{name} must be a number, not {value!r}", TypeError)
    return [*values.values()]


def check_not_negative(owner: object, **values: Any) -> None:
    """Raise an error that names the first value that is not a number, is negative or is NaN."""
    for name, value in values.items():
        if not _is_number(value):
            check(owner, False, f"{name} must be a number, not {value!r}", TypeError)
        if not value >= 0:
            check(owner, False, f"{name} must not be negative, got {value}")


def check_booleans(owner: object, name: str, array: Any) -> None:
    """Raise a TypeError unless a value is an array or a Tensor of booleans, or a Python bool."""
    dtype = getattr(array, "dtype", type_name(array))
    if getattr(dtype, "kind", "") != "b" and not isinstance(array, bool):
        check(owner, False, f"the {name} must be boolean, not {dtype}", TypeError)


def check_floats(owner: object, array: Any) -> None:
    """Raise a TypeError unless a value is an array or a Tensor of floats, or a floating type."""
    dtype = getattr(array, "dtype", array)
    kind = getattr(dtype, "kind", "")
    if kind != "f":
        check(owner, kind, f"takes tensors or arrays, not {type_name(array)}", TypeError)
        check(owner, False, f"takes floats, not {dtype}: convert it with .float()", TypeError)


def check_integer(owner: object, name: str, value: Any, /, minimum: int | None = None) -> None:
    """Raise an error, which names the value, unless it is an integer and at least `minimum`."""
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
    check(owner, is_integer, f"{name} must be an integer, not {value!r}", TypeError)
    if minimum is not None:
        check(owner, value >= minimum, f"{name} must be at least {minimum}, not {value}")


def join_names(names: Sequence[str], separator: str = ", ", limit: int = 8) -> str:
    """Join names for a message: the first `limit`, each shortened, and the number of the others.

    The names may come from a file, and there may be a million of them.
    """
    text = separator.join(shorten(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit:,} more"


def check_destination(path: str | os.PathLike[str], file_kind: str, extensions: Collection[str], /) -> None:
    """Check that a file can be written to a path, before its content is computed.

    Args:
        path: the path of the file.
        file_kind: the kind of file, for the error.
        extensions: the allowed file name extensions, in lower case, with their dots.

    Raises:
        UserError: the extension is not allowed, or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in extensions:
        *first_extensions, last = extensions
        choices = f"{', '.join(first_extensions)} or {last}" if first_extensions else last
        raise UserError(f"{path}: '{path.suffix}' is not a supported {file_kind} format; use {choices}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; create it first or choose another")


_DIRECTION_CLASSES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Bidirectional classes of characters that change the order in which text is displayed (Unicode Standard Annex 9)."""


def printable(text: str) -> str:
    """Escape control characters, changes of direction, and bytes that are not UTF-8."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    """Return a character, or its escape sequence if it should not be printed."""
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{os.fsencode(character)[0]:02x}"
    is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if is_control or unicodedata.bidirectional(character) in _DIRECTION_CLASSES:
        return character.encode("unicode_escape").decode("ascii")
    return character


def shorten(text: str, max_length: int = 200) -> str:
    """Make a text printable and cut it to at most `max_length` characters, but not inside an escape sequence."""
    beginning = text[: max_length + 1]  # the rest of a long text need not be escaped
    shown = printable(beginning)
    if len(shown) <= max_length:
        return shown
    ends = accumulate(len(printable(character)) for character in beginning)
    return f"{printable(beginning[: sum(end < max_length for end in ends)])}…"


def type_name(value: object) -> str:
    """Return the name of a value's type for a message, with that of its package if it is foreign: int, torch.Tensor."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package in ("builtins", "chainrule") else f"{package}.{kind.__name__}"


def read_only_error(shape: tuple[int, ...]) -> ValueError:
    """Return the error for an in-place change of read-only memory."""
    reason = "its memory is read-only, like that of an expanded tensor or a read-only array"
    return ValueError(f"a tensor of shape {shape} cannot be changed in place: {reason}; change a copy (clone())")


class UserError(Exception):
    """An error that the user can fix; its message is one sentence that says what is wrong and what to do."""


class SettingError(UserError):
    """An environment variable has an invalid value.

    Not a `ValueError`: it is raised wherever the variable is first used, and must not be mistaken for an error in the
    arrays or the file that are being processed.
    """


class DataError(UserError, ValueError):
    """A data set is missing, damaged or has the wrong format."""


class PictureError(UserError, ValueError):
    """An image cannot be opened, or cannot be read as a digit."""


class RunError(UserError, ValueError):
    """A run folder is missing, incomplete or does not fit the request."""


class MissingLibraryError(UserError, ImportError):
    """An optional library is not installed; the message has the command that installs it."""


class NestingError(RecursionError):
    """Modules are nested more deeply than Python's recursion limit allows.

    Args:
        name: the class name of the outermost module so far.
        levels: the depth of the nesting.
    """

    def __init__(self, name: str, levels: int) -> None:
        self.levels = levels
        super().__init__(
            f"{name}: modules are nested {levels:,} deep, and each level takes several calls, but Python's recursion "
            f"limit is {sys.getrecursionlimit():,}; put them one after the other, as in one Sequential"
        )


class CaptureError(RuntimeError):
    """`chainrule.jit` cannot compile a function; the message gives the line and the reason."""


class LeakedTracerError(CaptureError):
    """A tensor that was created while `chainrule.jit` traced a function is used outside that function."""

    def __init__(self) -> None:
        super().__init__(
            "a tensor that was created while chainrule.jit traced a function has no values outside that function: "
            "return it from the function"
        )


LostTensorError = LeakedTracerError  # former name
