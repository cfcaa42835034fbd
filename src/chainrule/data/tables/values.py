"""The fields of a table: numbers, missing values, dates, texts."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.data.tables.csv_file import Table

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d+|,\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?|-?1\.#INF", re.IGNORECASE)
MISSING = frozenset(
    {"", "?", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "Null", "None"}
)
"""Fields that count as missing: what common programs write for a missing value."""
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ].*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?",
    re.ASCII,
)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[,.]\d{3}", re.ASCII)
_INTEGER_WITH_POINT = re.compile(r"([+-]?\d+)\.0*", re.ASCII)
MAX_NUMBER = 1e100
"""Limit on numbers: the squares of much larger ones, above 1.3e154, overflow."""


def is_missing(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which fields are missing, (N,)."""
    return np.fromiter((text in MISSING for text in texts), np.bool_, len(texts))


def category(text: str) -> str:
    """Return the category of a field: "3" for "3.0", which is how programs write an integer in a column with gaps."""
    match = _INTEGER_WITH_POINT.fullmatch(text)
    return match[1] if match else text


def numbers(table: Table, texts: Sequence[str]) -> tuple[NDArray[np.float64], list[int]]:
    """Return the numbers of a column, (N,), and the rows whose fields are neither numbers nor missing.

    The number of a field that is missing or not a number is NaN. In a file that is not separated by commas, the decimal
    point may be a comma. An infinity counts as a number here.
    """
    values = np.full(len(texts), math.nan)
    text_rows = []
    for row, text in enumerate(texts):
        if NUMBER.fullmatch(text):
            values[row] = float(text)
        elif table.has_decimal_commas and DECIMAL_COMMA.fullmatch(text):
            values[row] = float(text.replace(",", "."))
        elif INFINITE.fullmatch(text):
            values[row] = math.inf
        elif text not in MISSING:
            text_rows.append(row)
    return values, text_rows


def check_finite(table: Table, name: str, texts: Sequence[str], values: NDArray[np.float64]) -> None:
    """Check that no number of a column is infinite or too large.

    Raises:
        DataError: a number is infinite or too large; the message names its line.
    """
    bad_rows = np.flatnonzero(np.abs(values) > MAX_NUMBER)  # false for NaN
    if len(bad_rows):
        row = int(bad_rows[0])
        size = "infinite" if INFINITE.fullmatch(texts[row]) else "too large for a number"
        raise DataError(
            f"{table.name}, line {table.lines[row]:,}: {shorten(name)} is {shorten(texts[row], 40)}, which is {size}; "
            f"leave the field empty if the value is not known"
        )


def check_decimal_points(table: Table, name: str, texts: Sequence[str]) -> None:
    """Check that the numbers of a column do not have decimal commas in some fields and points in others.

    Raises:
        DataError: they have; the message names a line of each.
    """
    if table.decimal == ".":
        return
    comma_row = next((row for row, text in enumerate(texts) if DECIMAL_COMMA.fullmatch(text)), None)
    point_row = next((row for row, text in enumerate(texts) if "." in text and NUMBER.fullmatch(text)), None)
    if comma_row is not None and point_row is not None:
        raise DataError(
            f"{table.name}, line {table.lines[point_row]:,}: {shorten(name)} is {shorten(texts[point_row], 40)}, and "
            f"{shorten(texts[comma_row], 40)} in line {table.lines[comma_row]:,}: use either a point or a comma before "
            f"decimals in the whole column, and nothing between thousands"
        )


def thousands_note(table: Table, name: str, texts: Sequence[str]) -> list[str]:
    """Return a remark if all fractions of a column look like thousands, such as "1,234" in a file with decimal commas.

    Args:
        table: the table.
        name: the column.
        texts: its fields, which are numbers or missing.
    """
    if table.decimal == ".":
        return []
    fractions = [text for text in texts if "," in text or "." in text]
    if not fractions or not all(_THOUSANDS.fullmatch(text) for text in fractions):
        return []
    return [
        f"{fractions[0]} in {shorten(name)} is read as {fractions[0].replace(',', '.')}, a number with three decimals; "
        f"if it means thousands, write it without a separator"
    ]


def no_number_error(table: Table, name: str, texts: Sequence[str], row: int, reason: str) -> DataError:
    """Return the error for a field that is not a number; `reason` says why a number is needed."""
    hint = "leave the field empty if the value is not known"
    if re.fullmatch(r"[+-]?\d{1,3}([,.' ]\d{3})+([.,]\d*)?", texts[row]):
        hint = "write it without separators between the thousands"
    return DataError(
        f"{table.name}, line {table.lines[row]:,}: {shorten(name)} is {shorten(texts[row], 40)!r}, which is not a "
        f"number, {reason}; {hint}"
    )
