"""`chainrule lesson`: list the lessons, or read and run one."""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.cli.arguments import PathName
from chainrule.cli.docs import find_site, open_page
from chainrule.cli.output import print_lines, print_table, print_text, terminal_width
from chainrule.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainrule.lessons import Cell, Lesson


PREDICTION_SECTION = "Change one thing"
"""The heading of the section that asks for a prediction."""


def _find(context: click.Context, parameter: click.Parameter, name: str | None) -> Lesson | None:
    """Click callback: return the lesson with a number or key, or None if none is given."""
    from chainrule import lessons  # imported here to keep --help fast

    return None if name is None else lessons.find(name)


@click.command(
    epilog="""\b
Examples:
  chainrule lesson                        list the lessons
  chainrule lesson 3                      read and run lesson 3; save its figures in figures/rolling-downhill
  chainrule lesson rolling-downhill       the same, by its key, which does not change when lessons are added
  chainrule lesson 3 --show               show each figure in a window
  chainrule lesson 3 --answers            show the results of the section "Change one thing"
  chainrule lesson 3 --open               open its page on the site, in the browser
  chainrule lesson 3 --notebook 3.ipynb   write it as a notebook, to run and change in Jupyter"""
)
@click.argument("lesson", required=False, callback=_find)
@click.option("--out", type=PathName(file_okay=False), help="Folder for the figures.  [default: figures/KEY]")
@click.option("--show", is_flag=True, help="Show each figure in a window instead of saving it; close it to continue.")
@click.option(
    "--answers",
    is_flag=True,
    help='Show the results of the section "Change one thing" without waiting for your prediction.',
)
@click.option("--open", "in_browser", is_flag=True, help="Open the lesson's page on the site in the browser instead.")
@click.option("--notebook", type=PathName(), metavar="FILE", help="Write the lesson as a Jupyter notebook instead.")
@click.option("--no-pause", is_flag=True, help="In a terminal, do not wait for a key before each section.")
@click.pass_obj
def lesson(
    backend: str | None,
    lesson: Lesson | None,
    out: str | None,
    show: bool,
    answers: bool,
    in_browser: bool,
    notebook: str | None,
    no_pause: bool,
) -> None:
    """List the lessons, or run one, by its number or its key: print its text and results, and save its figures.

    In a terminal, the command waits for a key before each section, and for your prediction in the section "Change one
    thing". If the output does not go to a terminal, the results of that section are left out, unless --answers is
    given. The lesson's code is in a file, whose path is printed first.
    """
    has_run_options = out is not None or show or answers or no_pause
    if lesson is None:
        if has_run_options or in_browser or notebook is not None:
            raise click.UsageError("the options apply to one lesson: give its number or key")
        _list()
        return
    if has_run_options + in_browser + (notebook is not None) > 1:
        raise click.UsageError("--open and --notebook do not run the lesson: leave out the other options")
    if in_browser:
        open_page(find_site() / "lessons" / f"{lesson.key}.html")
        return
    if notebook is not None:
        _write_notebook(lesson, notebook)
        return
    from chainrule import lessons

    print_lines(f"Lesson {lesson.number}. Its code: {lesson.file}")
    print_lines(f"{lesson.minutes} minutes. Prerequisites: {_describe_prerequisites(lesson) or 'none'}")
    if show and backend is not None:
        os.environ["MPLBACKEND"] = backend
    folder = Path(out or f"figures/{lesson.key}")
    figure_files: list[Path] = []

    def save(figure: Figure) -> None:
        from chainrule.plots import style  # imports matplotlib, which the lesson has loaded already

        folder.mkdir(parents=True, exist_ok=True)
        animation = lessons.animation_of(figure)
        figure_files.append(folder / f"{len(figure_files) + 1}.{'gif' if animation else 'png'}")
        if animation:
            animation.save(figure_files[-1])
        else:
            style.save(figure, figure_files[-1])
        print_lines(f"[figure: {figure_files[-1]}]")

    presenter = _Presenter(_is_interactive(), answers, no_pause)
    lessons.run(lesson, presenter.introduce, None if show else save)
    from chainrule.exercises.checking import exercises_of

    if exercise_count := len(exercises_of(lesson)):
        exercises = "1 exercise" if exercise_count == 1 else f"{exercise_count} exercises"
        print_lines("", f"{exercises}: chainrule check {lesson.key}")
    if figure_files:
        print_lines("", f"Figures saved in {folder}")


def _write_notebook(lesson: Lesson, file: str) -> None:
    """Write a lesson as a notebook."""
    from chainrule.notebooks import notebook

    if not file.lower().endswith(".ipynb"):
        raise click.UsageError(f"a notebook's name must end in .ipynb: {file}")
    write_text(file, json.dumps(notebook(lesson), indent=1, ensure_ascii=False) + "\n")
    print_lines(f"wrote {file}; open it with: jupyter lab {shlex.quote(file)}")


class _Presenter:
    """Prints a lesson cell by cell, and asks for a prediction before it shows the results of `PREDICTION_SECTION`.

    Args:
        is_interactive: whether a person at the terminal can press keys. If not, those results are hidden.
        shows_answers: show all results without asking.
        no_pause: do not wait before a section.
    """

    def __init__(self, is_interactive: bool, shows_answers: bool, no_pause: bool) -> None:
        self.is_interactive, self.shows_answers, self.no_pause = is_interactive, shows_answers, no_pause
        self.is_hiding = False
        self.is_first = True

    def introduce(self, cell: Cell) -> bool:
        """Print the text of a cell before it runs; return whether to show its results."""
        if self.is_hiding and not cell.heading:
            return False  # the text of the section's other cells reveals the results
        self.is_hiding = False
        if cell.heading and self.is_interactive and not self.no_pause and not self.is_first:
            _wait("press a key to continue, q to quit")
        self.is_first = False
        _print_text(cell)
        if cell.heading == PREDICTION_SECTION and not self.shows_answers:
            if self.is_interactive:
                _wait("make your prediction, then press a key to see what happens")
            else:
                print_lines("[to see what happens: --answers]")
                self.is_hiding = True
        return not self.is_hiding


def _is_interactive() -> bool:
    """Whether a person can press a key and read the output."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()


def _wait(prompt: str) -> None:
    """Wait for a key; q, Ctrl-C and end of input end the lesson."""
    print_lines()
    print_text(f"[{prompt}]")
    try:
        key = click.getchar()
    except EOFError:
        key = "q"
    print_lines()
    if key in ("q", "Q"):
        raise click.exceptions.Exit


def _print_text(cell: Cell) -> None:
    """Print a cell's heading, if any, and its paragraphs; if it has code, add an empty line before the output."""
    width = terminal_width(100)
    print_lines()
    if cell.heading:
        print_lines(cell.heading, "=" * min(len(cell.heading), width), bold=True)
    for paragraph in cell.paragraphs:
        if paragraph.startswith("Prerequisites: "):  # printed at the top
            continue
        print_lines()
        for line in paragraph.split("\n"):
            indent = "  " if line.startswith("- ") else " " * 2 * (len(line) - len(line.lstrip()))
            lines = [line] if len(line) <= width else textwrap.wrap(line, width, subsequent_indent=indent)
            print_lines(*lines)
    if cell.code.strip():
        print_lines()


def _list() -> None:
    """Print a table of the lessons."""
    from chainrule import lessons

    available = lessons.available()
    numbers = {entry.key: str(entry.number) for entry in available}
    rows = [("", "title", "key", "minutes", "builds on")]
    for entry in available:
        prerequisites = ", ".join(numbers[key] for key in entry.prerequisites)
        rows.append((str(entry.number), entry.title, entry.key, str(entry.minutes), prerequisites))
    print_table(rows, right=[0, 3])
    print_lines("", "Run one by its number or key: chainrule lesson 1, or chainrule lesson backpropagation")


def _describe_prerequisites(lesson: Lesson) -> str:
    """Return the numbers and titles of the lessons that a lesson builds on."""
    from chainrule import lessons

    prerequisites = [lessons.find(key) for key in lesson.prerequisites]
    return ", ".join(f"{entry.number}. {entry.title}" for entry in prerequisites)
