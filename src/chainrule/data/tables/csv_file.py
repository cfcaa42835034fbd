"""Reads a CSV file as columns of text: finds its encoding and separator, and names the line of a fault."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.data.tables.values import DECIMAL_COMMA, NUMBER
from chainrule.errors import DataError, join_names, shorten
from chainrule.files import open_regular

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

SUFFIXES = (".csv", ".tsv")
"""Extensions of the files that count as tables."""
SEPARATORS = (",", ";", "\t", "|")
MAX_BYTES = 500_000_000
"""Limit on the size of a file."""
MAX_FIELDS = 20_000_000
"""Limit on the fields of a table, which is kept in memory as text: 20 million take about 2 GB."""
MAX_COLUMNS = 10_000
"""Limit on the columns of a table."""
_SAMPLE_RECORDS = 50
"""Number of records by which the separator is recognized."""
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, eq=False)
class Table:
    """The content of a CSV file, as text.

    Attributes:
        name: the file, for messages.
        columns: by its name, the fields of each column, without spaces around them.
        lines: the line on which each row begins, from 1.
        separator: the character between fields.
        unnamed: the row numbers in a first column without a name, which pandas writes; else None.
    """

    name: str
    columns: dict[str, list[str]]
    lines: list[int]
    separator: str
    unnamed: list[str] | None = None

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def has_decimal_commas(self) -> bool:
        """Whether a comma may be the decimal point of a number."""
        return self.separator != ","

    @cached_property
    def decimal(self) -> str:
        """The decimal point of the table's numbers: "," if any number is written with one."""
        if not self.has_decimal_commas:
            return "."
        return "," if any(DECIMAL_COMMA.fullmatch(field) for texts in self.columns.values() for field in texts) else "."

    def column(self, name: str) -> list[str]:
        """Return the fields of a column.

        Raises:
            DataError: there is no such column; the message names similar ones.
        """
        if name not in self.columns:
            raise DataError(f"{self.name} has no column {shorten(name)!r}{self._hint(name)}")
        return self.columns[name]

    def _hint(self, name: str) -> str:
        names = list(self.columns)
        lower = {other.lower(): other for other in reversed(names)}
        similar = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=1)]
        if similar:
            return f"; did you mean {shorten(similar[0])!r}? The columns are {join_names(names)}"
        numbers = sum(bool(NUMBER.fullmatch(other)) for other in names)
        if 2 * numbers >= len(names):
            return (
                f": its first line, {join_names(names)}, looks like data; the first line must hold the columns' names"
            )
        return f"; the columns are {join_names(names)}"


def read_csv(file: str | os.PathLike[str], encoding: str | None = None, *, content: bytes | None = None) -> Table:
    """Read a CSV file whose first line names the columns.

    The separator is recognized by the first lines: a comma, semicolon, tab or vertical bar. Fields may be quoted. Empty
    lines are skipped.

    Args:
        file: the file.
        encoding: of its text; UTF-8 if None, or UTF-16 if the file begins with its byte-order mark.
        content: the bytes of the file, if they have been read already; `file` is then for messages only.

    Raises:
        DataError: the file cannot be read or decoded, is too large, has no rows, has a line with more or fewer fields
            than the header, or has a column without a name or two of the same name.
    """
    name = str(file)
    text = _decode(name, _read(Path(file)) if content is None else content, encoding)
    if text[:4].lower() == "sep=" and text[5:6] in ("\r", "\n"):  # a first line that tells Excel the separator
        separator, text, first_line = text[4], text[5:].removeprefix("\r").removeprefix("\n"), 2
    else:
        separator, first_line = _separator(text), 1
    records = _records(name, text, separator, first_line)
    header = next(records, None)
    if header is None:
        raise DataError(f"{name} is empty: its first line must name the columns")
    names, rows, lines = header[1], list[list[str]](), list[int]()
    for line, record in records:
        if len(record) != len(names):
            raise DataError(
                f"{name}, line {line:,}: has {len(record):,} field{'s' * (len(record) != 1)}, but the first line names "
                f"{len(names):,} column{'s' * (len(names) != 1)}"
            )
        if (len(rows) + 1) * len(names) > MAX_FIELDS:
            raise DataError(f"{name} has more than {MAX_FIELDS:,} fields: train on fewer rows")
        rows.append(record)
        lines.append(line)
    if not rows:
        raise DataError(f"{name} has no rows, only the line that names the columns: {join_names(names)}")
    columns = list(map(list, zip(*rows, strict=True)))
    names, columns, unnamed = _named(name, names, columns)
    return Table(name, dict(zip(names, columns, strict=True)), lines, separator, unnamed)


def _read(file: Path) -> bytes:
    if file.is_dir():
        raise DataError(f"{file} is a folder: a table is a file")
    try:
        with open_regular(file) as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"there is no file {file}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{file} is larger than {MAX_BYTES // 1_000_000} MB, the limit for a table")
    return content


def _decode(name: str, content: bytes, encoding: str | None) -> str:
    if encoding is None:
        encoding = next((e for mark, e in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except LookupError:
        raise DataError(f"there is no encoding {shorten(encoding)!r}: use utf-8, latin-1, cp1252 or utf-16") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if b"\0" in content[:1000]:
            raise DataError(f"{name} is not text: a table is a CSV file, as spreadsheets save it") from None
        raise DataError(
            f"{name}, line {line:,}: byte {content[error.start]:#04x} is not {encoding.upper()}; save the file as "
            f"UTF-8, or name its encoding, such as --encoding cp1252"
        ) from None
    except ValueError as error:  # from an encoding for other purposes, or an invalid name
        raise DataError(f"{name} cannot be decoded as {shorten(encoding)}: {error}") from None


def _separator(text: str) -> str:
    """Return the separator with which the first records best agree with the header in their number of fields.

    Of separators with which they agree equally, it is the one with the most fields.
    """
    sample = text[:200_000]
    best, best_key = SEPARATORS[0], (0.0, 0)
    for separator in SEPARATORS:
        counts = []
        try:
            for record in csv.reader(io.StringIO(sample, newline=""), delimiter=separator, skipinitialspace=True):
                if record:
                    counts.append(len(record))
                if len(counts) == _SAMPLE_RECORDS:
                    break
        except csv.Error:
            continue
        if counts and counts[0] > 1:
            consistency = sum(count == counts[0] for count in counts) / len(counts)
            if (consistency, counts[0]) > best_key:
                best, best_key = separator, (consistency, counts[0])
    return best


def _records(name: str, text: str, separator: str, first_line: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the fields of each record that is not empty."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + first_line
        raise DataError(f"{name}, line {line:,}: holds a zero byte, so it is not text")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    line = first_line
    try:
        for record in reader:
            fields = [field.strip() for field in record]
            if len(fields) > MAX_COLUMNS:
                raise DataError(f"{name}, line {line:,}: has more than {MAX_COLUMNS:,} columns")
            if fields and fields != [""]:
                yield line, fields
            line = reader.line_num + first_line
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise DataError(f"{name}, line {line:,}: a quotation mark is opened and never closed") from None
        raise DataError(f"{name}, line {line:,}: is not a line of a CSV file ({error})") from None


def _named(
    file: str, names: Sequence[str], columns: list[list[str]]
) -> tuple[list[str], list[list[str]], list[str] | None]:
    """Return the names and fields of the columns with a name, and the row numbers of a first column without one."""
    unnamed = None
    keep = []
    for position, name in enumerate(names):
        if name:
            keep.append(position)
        elif not any(columns[position]):
            continue  # an empty column: lines end with a separator
        elif position == 0 and _are_row_numbers(columns[0]):
            unnamed = columns[0]
        else:
            example = next(filter(None, columns[position]))
            raise DataError(
                f"{file}: column {position + 1} has no name, and holds {shorten(example, 40)!r}; name it in line 1"
            )
    positions: dict[str, int] = {}
    for position in keep:
        name = names[position]
        if name in positions:
            raise DataError(
                f"{file}: columns {positions[name] + 1} and {position + 1} are both named {shorten(name)!r}; rename one"
            )
        positions[name] = position
    return [names[p] for p in keep], [columns[p] for p in keep], unnamed


def _are_row_numbers(texts: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\d{1,9}", text) for text in texts) and len(set(texts)) == len(texts)
