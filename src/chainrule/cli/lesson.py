"""`chainrule lesson`: list the lessons, or run one."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.cli.arguments import PathName
from chainrule.cli.output import print_table, say, terminal_width
from chainrule.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainrule.lessons import Cell


@click.command(
    epilog="""\b
Examples:
  chainrule lesson                        which lessons are there?
  chainrule lesson 3                      roll downhill; the figures go to figures/lesson-03
  chainrule lesson 3 --show               the same, each figure in a window"""
)
@click.argument("number", required=False, type=int)
@click.option("--out", type=PathName(file_okay=False), help="Where its figures go; figures/lesson-NN if left out.")
@click.option("--show", is_flag=True, help="Open each figure in a window instead; closing it goes on.")
@click.pass_obj
def lesson(backend: str | None, number: int | None, out: str | None, show: bool) -> None:
    """List the lessons, or run lesson NUMBER: its headings, its numbers and its figures.

    Its prose and formulas are in its file, which is named at the beginning: read it beside the numbers.
    """
    if number is None and (out is not None or show):
        raise click.UsageError("--out and --show are for the figures of one lesson: give its NUMBER")
    from chainrule import lessons  # whoever asks for help needs none of it

    found = {each.number: each for each in lessons.available()}
    if number is None:
        print_table([(str(n), each.title) for n, each in found.items()], right=[0])
        say("", "Run one with its number: chainrule lesson 1")
        return
    if number not in found:
        raise UserError(f"there is no lesson {number}; choose one from {min(found)} to {max(found)}")
    chosen = found[number]
    say(f"Lesson {number} of {len(found)}. Its text, formulas and code: {chosen.file}")
    if show and backend is not None:
        os.environ["MPLBACKEND"] = backend
    folder = Path(out or f"figures/lesson-{number:02}")
    saved: list[Path] = []

    def save(figure: Figure) -> None:
        from chainrule.plots import style  # loads matplotlib, as the lesson has by now

        folder.mkdir(parents=True, exist_ok=True)
        saved.append(folder / f"{len(saved) + 1}.png")
        style.save(figure, saved[-1])
        say(f"[figure: {saved[-1]}]")

    lessons.run(chosen, _introduce, None if show else save)
    if saved:
        say("", f"The figures are in {folder}")


def _introduce(cell: Cell) -> None:
    """Print the heading of a cell, if it has one, and its first paragraph."""
    say()
    if cell.heading:
        say(cell.heading, bold=True)
    for paragraph in cell.paragraphs[:1]:
        say(*textwrap.wrap(paragraph, terminal_width(100)), *[""] * bool(cell.code.strip()))
