"""What the subcommands share in output: lines, tables, JSON, and what the terminal can show.

Names come from strangers: of files, of runs and their classes, of the tensors in a file. So whatever is printed goes
through `say` or `print_table`, which show control characters instead of sending them to the terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from chainrule.errors import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.training.run import Run


LONGEST = 4_000
"""Characters of an error: whatever a file is called and holds, the terminal shows it on some lines."""


def say(*lines: str, err: bool = False, bold: bool = False) -> None:
    """Print lines, or an empty one; characters that would move the cursor or change the terminal are shown as escapes.

    Args:
        lines: of text, each of which stays one line.
        err: print them to standard error.
        bold: in bold letters, where the terminal has any.
    """
    for line in lines or [""]:
        text = printable(line)
        click.echo(click.style(text, bold=True) if bold else text, err=err)


def class_names(run: Run) -> list[str]:
    """What a run calls its classes, as it can be shown: printable, and no longer than half a line."""
    return [shortened(name, 60) for name in run.config["data"]["classes"]]


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Rows in aligned columns; those in `right` are aligned to the right."""
    rows = [[shortened(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())


def terminal_width(most: int) -> int:
    """The number of columns of the terminal, but at most `most`."""
    return min(shutil.get_terminal_size().columns, most)


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
