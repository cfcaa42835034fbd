"""`chainrule lesson`: list the lessons, or run one."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.cli.arguments import PathName
from chainrule.cli.output import print_lines, print_table, terminal_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainrule.lessons import Cell, Lesson


def _find(context: click.Context, parameter: click.Parameter, name: str | None) -> Lesson | None:
    """The lesson with this number or key; None without one."""
    from chainrule import lessons  # imported here to keep --help fast

    return None if name is None else lessons.find(name)


@click.command(
    epilog="""\b
Examples:
  chainrule lesson                        list the lessons
  chainrule lesson 3                      run lesson 3; save its figures in figures/rolling-downhill
  chainrule lesson rolling-downhill       the same: its key stays when lessons are added
  chainrule lesson 3 --show               with each figure in a window"""
)
@click.argument("lesson", required=False, callback=_find)
@click.option("--out", type=PathName(file_okay=False), help="Folder for the figures.  [default: figures/KEY]")
@click.option("--show", is_flag=True, help="Open each figure in a window instead; close it to continue.")
@click.pass_obj
def lesson(backend: str | None, lesson: Lesson | None, out: str | None, show: bool) -> None:
    """List the lessons, or run one, by its number or its key: print its headings and results, and save its figures.

    The full text with formulas is in the lesson's file, whose path is printed first: read it alongside the output.
    """
    if lesson is None:
        if out is not None or show:
            raise click.UsageError("--out and --show apply to the figures of one lesson: give its number or key")
        _list()
        return
    from chainrule import lessons

    print_lines(f"Lesson {lesson.number}. Text, formulas and code: {lesson.file}")
    print_lines(f"{lesson.minutes} minutes. Prerequisites: {_titles(lesson) or 'none'}")
    if show and backend is not None:
        os.environ["MPLBACKEND"] = backend
    folder = Path(out or f"figures/{lesson.key}")
    figure_files: list[Path] = []

    def save(figure: Figure) -> None:
        from chainrule.plots import style  # imports matplotlib, which the lesson has loaded already

        folder.mkdir(parents=True, exist_ok=True)
        figure_files.append(folder / f"{len(figure_files) + 1}.png")
        style.save(figure, figure_files[-1])
        print_lines(f"[figure: {figure_files[-1]}]")

    lessons.run(lesson, _introduce, None if show else save)
    if figure_files:
        print_lines("", f"Figures saved in {folder}")


def _list() -> None:
    """Print a table of the lessons."""
    from chainrule import lessons

    available = lessons.available()
    numbers = {entry.key: str(entry.number) for entry in available}
    rows = [("", "title", "key", "minutes", "builds on")]
    for entry in available:
        before = ", ".join(numbers[key] for key in entry.prerequisites)
        rows.append((str(entry.number), entry.title, entry.key, str(entry.minutes), before))
    print_table(rows, right=[0, 3])
    print_lines("", "Run one by its number or key: chainrule lesson 1, chainrule lesson backpropagation")


def _titles(lesson: Lesson) -> str:
    """The lessons that a lesson builds on, each with its number and title."""
    from chainrule import lessons

    before = [lessons.find(key) for key in lesson.prerequisites]
    return ", ".join(f"{entry.number}. {entry.title}" for entry in before)


def _introduce(cell: Cell) -> None:
    """Print the heading of a cell, if any, and its first paragraph."""
    print_lines()
    if cell.heading:
        print_lines(cell.heading, bold=True)
    for paragraph in cell.paragraphs[:1]:
        # with an empty line before the output of the code, if there is code
        print_lines(*textwrap.wrap(paragraph, terminal_width(100)), *[""] * bool(cell.code.strip()))
