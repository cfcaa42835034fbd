"""`chainrule lesson`: list the lessons, or run one."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.cli.arguments import PathName
from chainrule.cli.output import print_lines, print_table, terminal_width
from chainrule.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainrule.lessons import Cell


@click.command(
    epilog="""\b
Examples:
  chainrule lesson                        list the lessons
  chainrule lesson 3                      run lesson 3; save its figures in figures/lesson-03
  chainrule lesson 3 --show               the same, with each figure in a window"""
)
@click.argument("number", required=False, type=int)
@click.option("--out", type=PathName(file_okay=False), help="Folder for the figures.  [default: figures/lesson-NN]")
@click.option("--show", is_flag=True, help="Open each figure in a window instead; close it to continue.")
@click.pass_obj
def lesson(backend: str | None, number: int | None, out: str | None, show: bool) -> None:
    """List the lessons, or run lesson NUMBER: print its headings and results, and save its figures.

    The full text with formulas is in the lesson's file, whose path is printed first: read it alongside the output.
    """
    if number is None and (out is not None or show):
        raise click.UsageError("--out and --show apply to the figures of one lesson: give its NUMBER")
    from chainrule import lessons  # imported here to keep --help fast

    by_number = {entry.number: entry for entry in lessons.available()}
    if number is None:
        print_table([(str(n), entry.title) for n, entry in by_number.items()], right=[0])
        print_lines("", "Run one by its number: chainrule lesson 1")
        return
    if number not in by_number:
        raise UserError(f"there is no lesson {number}; choose one from {min(by_number)} to {max(by_number)}")
    selected_lesson = by_number[number]
    print_lines(f"Lesson {number} of {len(by_number)}. Text, formulas and code: {selected_lesson.file}")
    if show and backend is not None:
        os.environ["MPLBACKEND"] = backend
    folder = Path(out or f"figures/lesson-{number:02}")
    figure_files: list[Path] = []

    def save(figure: Figure) -> None:
        from chainrule.plots import style  # imports matplotlib, which the lesson has loaded already

        folder.mkdir(parents=True, exist_ok=True)
        figure_files.append(folder / f"{len(figure_files) + 1}.png")
        style.save(figure, figure_files[-1])
        print_lines(f"[figure: {figure_files[-1]}]")

    lessons.run(selected_lesson, _introduce, None if show else save)
    if figure_files:
        print_lines("", f"Figures saved in {folder}")


def _introduce(cell: Cell) -> None:
    """Print the heading of a cell, if any, and its first paragraph."""
    print_lines()
    if cell.heading:
        print_lines(cell.heading, bold=True)
    for paragraph in cell.paragraphs[:1]:
        # with an empty line before the output of the code, if there is code
        print_lines(*textwrap.wrap(paragraph, terminal_width(100)), *[""] * bool(cell.code.strip()))
