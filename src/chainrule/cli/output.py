"""What the subcommands share in talking: JSON, tables, and what the terminal can show."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Rows in aligned columns; those in `right` are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def ascii_only() -> bool:
    """Whether standard output cannot show block and braille characters."""
    try:
        "⣿█▏┤".encode(getattr(sys.stdout, "encoding", None) or "ascii")  # there is no stdout where it was closed
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def json_number(value: float) -> float | None:
    """A number for JSON, which knows neither NaN nor infinities."""
    return value if value - value == 0 else None
