"""Output helpers for the subcommands: lines, tables, JSON, and terminal capabilities.

The names of files, runs, classes and tensors are untrusted. Print them only with `print_lines`, `print_text`,
`print_data` or `print_table`, which escape control characters instead of sending them to the terminal.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from chainrule.errors import printable, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.training.run import Run


MAX_MESSAGE = 4_000
"""Maximum length of an error message, in characters: a file's name or content must not flood the terminal."""

UNLIMITED_WIDTH = 1_000_000
"""The width of a line outside a terminal, in characters."""

MIN_COLUMN_WIDTH = 12
"""Columns of a table are not narrowed below this width, in characters."""


def print_lines(*lines: str, err: bool = False, bold: bool = False) -> None:
    """Print lines, with control characters shown as escapes.

    Args:
        lines: lines of text, by default one empty line; a newline in a line is escaped.
        err: print to standard error.
        bold: print in bold, if the terminal supports it.
    """
    for line in lines or [""]:
        text = printable(line)
        click.echo(click.style(text, bold=True) if bold else text, err=err)


def print_text(text: str) -> None:
    """Print a piece of text without a newline after it; control characters except newlines and tabs are escaped."""
    click.echo(re.sub(r"[^\n\t]+", lambda part: printable(part[0]), text), nl=False)


def print_data(text: str) -> None:
    """Print text that is data, such as a CSV file: unchanged, but in a terminal with control characters escaped."""
    if sys.stdout is not None and sys.stdout.isatty():
        print_text(text)
    else:
        click.echo(text, nl=False)


def class_names(run: Run) -> list[str]:
    """Return the names of a run's classes, made printable and shortened to 60 characters."""
    return [shorten(name, 60) for name in run.config["data"]["classes"]]


def print_json(document: Any) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows in aligned columns; the columns with indices in `right` are aligned to the right.

    In a terminal that is too narrow, the widest columns are narrowed and their text is wrapped.
    """
    rows = [[shorten(cell) for cell in row] for row in rows]
    natural_widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None if it was closed
    widths = fit_widths(natural_widths, terminal_width(UNLIMITED_WIDTH) if is_terminal else UNLIMITED_WIDTH)
    for row in rows:
        wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*wrapped, fillvalue=""):
            cells = [
                cell.rjust(width) if i in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            print_lines("  ".join(cells).rstrip())


def fit_widths(natural_widths: Sequence[int], line_width: int) -> list[int]:
    """Narrow the widest columns until the columns and the two-space gaps between them fit into a line.

    No column is narrowed below `MIN_COLUMN_WIDTH`, even if the line does not fit then.
    """
    widths = list(natural_widths)
    while sum(widths) + 2 * (len(widths) - 1) > line_width and max(widths) > MIN_COLUMN_WIDTH:
        widths[widths.index(max(widths))] -= 1
    return widths


def terminal_width(maximum: int) -> int:
    """Return the width of the terminal in characters, at most `maximum`."""
    return min(shutil.get_terminal_size().columns, maximum)


def ascii_only() -> bool:
    """Whether standard output cannot show block and braille characters."""
    try:
        "⣿█▏┤".encode(getattr(sys.stdout, "encoding", None) or "ascii")  # stdout is None if it was closed
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def json_number(value: float) -> float | None:
    """Return a number for JSON: None for NaN and infinities, which JSON does not have."""
    return value if value - value == 0 else None  # NaN - NaN and ∞ - ∞ are NaN
