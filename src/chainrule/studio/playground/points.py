"""A person's own points: as short text in the address, or read from a CSV file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.tables.csv_file import SEPARATORS, Table, read_csv
from chainrule.data.tables.values import MISSING, NUMBER, category, check_finite, numbers
from chainrule.errors import DataError, UserError, join_names, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 1.2
"""The picture shows coordinates from -LIMIT to LIMIT."""
MAX_POINTS = 800
"""The most own points: as text they take less than 8 kB."""
_SCALE = 10_000  # a coordinate is written as an integer, in units of 1 / _SCALE
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def encode_points(points: NDArray[np.floating], targets: NDArray[Any], classes: int) -> str:
    """Write points as text: two coordinates, in units of 0.0001 from -LIMIT, as three digits of base 36; the target.

    Args:
        points: (N, 2), between -LIMIT and LIMIT.
        targets: (N,): classes; or values between -LIMIT and LIMIT, written like coordinates, if `classes` is 0.
        classes: the number of classes; 0 for values.
    """
    return "".join(
        _number(x1) + _number(x2) + (str(int(target)) if classes else _number(target))
        for (x1, x2), target in zip(points.tolist(), targets.tolist(), strict=True)
    )


def decode_points(text: str, classes: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read the text of `encode_points`; return the points, (N, 2), and their targets, (N,).

    Raises:
        UserError: the text is damaged, or there are too few or too many points.
    """
    size = 7 if classes else 9
    count, rest = divmod(len(text), size)
    if rest or not set(text) <= set(_DIGITS):
        raise UserError("the points in this address are damaged: open the whole address, or begin with new points")
    if count < 2:
        raise UserError("click into the picture to set points: the network needs two at least")
    if count > MAX_POINTS:
        raise UserError(f"{count:,} points are too many: {MAX_POINTS} at most")
    rows = [text[start : start + size] for start in range(0, len(text), size)]
    columns = [[int(row[start : start + 3], 36) / _SCALE - LIMIT for row in rows] for start in (0, 3)]
    points = np.array(columns, np.float32).T
    if classes:
        labels = np.array([int(row[6], 36) for row in rows], np.int64)
        if labels.max() >= classes:
            raise UserError(f"a point is of class {labels.max() + 1}, but there are {classes} classes")
        targets: NDArray[Any] = labels
    else:
        targets = np.array([int(row[6:], 36) / _SCALE - LIMIT for row in rows], np.float32)
    if max(np.abs(points).max(), 0 if classes else np.abs(targets).max()) > LIMIT + 1e-6:
        raise UserError(f"a point is outside of the picture, which goes from -{LIMIT} to {LIMIT}")
    return np.ascontiguousarray(points), targets


def _number(value: float) -> str:
    units = round((min(max(value, -LIMIT), LIMIT) + LIMIT) * _SCALE)
    return _DIGITS[units // 1296] + _DIGITS[units // 36 % 36] + _DIGITS[units % 36]


def read_points(name: str, content: bytes, max_classes: int) -> tuple[str, int, str]:
    """Read points from a CSV file.

    The last column is the target: classes if it has at most `max_classes` different entries, else values. The last two
    columns of numbers before it are the coordinates. A column of coordinates that do not fit into the picture, or of
    values beyond -1 to 1, is scaled to the range from -1 to 1. A first line of numbers is data, not names.

    Args:
        name: the file's name, for messages.
        content: the file's bytes.
        max_classes: the most classes.

    Returns:
        The points as text, the number of classes (0 for values), and a sentence on what was read.

    Raises:
        DataError: the file is not such a table.
    """
    named = _with_names(content)
    try:
        return _points(read_csv(name, content=named), max_classes)
    except DataError as error:
        message = str(error).partition(", or name its encoding")[0]  # this advice is for the command line
        if named is not content:  # a line was inserted: count from the line after it
            message = re.sub(r"(?<=, line )[\d,]+", lambda line: f"{int(line[0].replace(',', '')) - 1:,}", message)
        raise DataError(message) from None


def _points(table: Table, max_classes: int) -> tuple[str, int, str]:
    name = table.name
    if len(table) > MAX_POINTS:
        raise DataError(f"{name} has {len(table):,} rows; the playground takes {MAX_POINTS} at most")
    *names, target = table.columns
    coordinates = [column for column in names if _is_numeric(table, column)][-2:]
    if len(coordinates) < 2:
        raise DataError(
            f"{name} needs two columns of numbers, and a last column with the class or the value; its columns are "
            f"{join_names(list(table.columns))}"
        )
    if len(table) < 2:
        raise DataError(f"{name} has one row; the network needs two points at least")
    notes: list[str] = []
    points = np.stack([_scaled(_values(table, column), column, notes, LIMIT) for column in coordinates], axis=1)
    texts = [category(text) for text in table.column(target)]
    _check_filled(table, target, texts)
    entries = sorted(set(texts), key=lambda text: (0, float(text), "") if NUMBER.fullmatch(text) else (1, 0.0, text))
    if len(entries) <= max_classes:
        classes = max(2, len(entries))
        targets: NDArray[Any] = np.array([entries.index(text) for text in texts], np.int64)
        meaning = ", ".join(f"{shorten(entry, 30)} is class {i + 1}" for i, entry in enumerate(entries))
    elif not _is_numeric(table, target):
        raise DataError(
            f"{name}: the last column, {shorten(target, 60)}, has {len(entries)} classes: {join_names(entries)}; the "
            f"playground tells {max_classes} apart at most"
        )
    else:
        classes, meaning = 0, f"the value is {shorten(target, 30)}"
        targets = _scaled(_values(table, target), target, notes, 1)
    first, second = (shorten(column, 30) for column in coordinates)
    about = f"{len(table)} points from {name}: x₁ is {first}, x₂ is {second}; {meaning}."
    return encode_points(points, targets, classes), classes, " ".join([about, *notes])


def _with_names(content: bytes) -> bytes:
    """Put a line with names before a table whose first line consists of numbers."""
    line = content.lstrip(b"\r\n").split(b"\n", 1)[0].strip()
    for separator in SEPARATORS:
        fields = line.decode("utf-8", "replace").split(separator)
        if len(fields) > 2 and all(NUMBER.fullmatch(field.strip()) for field in fields[:2]):
            names = [f"column {number + 1}" for number in range(len(fields))]
            return separator.join(names).encode() + b"\n" + content
    return content


def _is_numeric(table: Table, column: str) -> bool:
    values, others = numbers(table, table.column(column))
    return not others and not bool(np.isnan(values).all())


def _check_filled(table: Table, column: str, texts: list[str]) -> None:
    for line, text in zip(table.lines, texts, strict=True):
        if text in MISSING:
            raise DataError(f"{table.name}, line {line:,}: {shorten(column)} is missing; leave out rows with gaps")


def _values(table: Table, column: str) -> NDArray[np.float64]:
    """Return a column's numbers.

    Raises:
        DataError: a number is missing, infinite or too large.
    """
    texts = table.column(column)
    _check_filled(table, column, texts)
    values, _ = numbers(table, texts)
    check_finite(table, column, texts, values)
    return values


def _scaled(values: NDArray[np.float64], column: str, notes: list[str], limit: float) -> NDArray[np.float64]:
    """Scale a column to the range from -1 to 1, and add a note; a column that is within ±limit stays as it is."""
    low, high = float(values.min()), float(values.max())
    if max(-low, high) <= limit:
        return values
    if low == high:
        notes.append(f"{shorten(column, 30)} is {low:g} everywhere, and is shown as 0.")
        return np.zeros_like(values)
    notes.append(f"{shorten(column, 30)} from {low:g} to {high:g} is scaled to -1 to 1.")
    return (values - low) / (high - low) * 2 - 1
