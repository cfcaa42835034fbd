"""The lessons: Python files that read as prose, from one neuron to the next word.

They are written in the `# %%` form of sphinx-gallery and of many editors: the module's docstring holds the title and
the question, each `# %%` begins a cell of comments (the prose, in reStructuredText) and the code below it. So one file
is a script, a page and a notebook. This module finds them, takes them apart, runs them cell by cell, and gives them
`show` and `optional`. lessons/README.md tells how one is written.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.console import replace_unencodable
from chainrule.errors import SettingError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

_HERE = Path(__file__).parent
FOLDERS = (_HERE / "lesson_files", _HERE.parents[1] / "lessons")  # as installed from a wheel; in a checkout


if Path(getattr(sys.modules["__main__"], "__file__", None) or "").match("[0-9][0-9]_*.py"):
    replace_unencodable()  # a lesson runs as a script, and prints formulas


@dataclass(frozen=True)
class Lesson:
    """One lesson: its number, its title, the question it opens with, and its file."""

    number: int
    title: str
    question: str
    file: Path


@dataclass(frozen=True)
class Cell:
    """A piece of a lesson: its heading ("" for none), the paragraphs below, and the code with the line it begins in."""

    heading: str
    paragraphs: tuple[str, ...]
    code: str
    line: int


def available() -> list[Lesson]:
    """Every lesson by its number, the first first.

    Raises:
        UserError: neither the package nor the checkout around it holds lessons.
    """
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise UserError(f"there are no lessons in {FOLDERS[0]}; install chainrule again, or work from a checkout")
    return [_head(file) for file in sorted(folder.glob("[0-9][0-9]_*.py"))]


def cells(lesson: Lesson) -> list[Cell]:
    """The pieces of a lesson in order, the docstring first."""
    first, *others = re.split(r"^# %%\n", lesson.file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    _, text, code = first.split('"""', 2)
    found = [_cell(text, code, 1 + text.count("\n"))]
    line = 1 + first.count("\n")  # of the mark that is next
    for piece in others:
        lines = piece.splitlines(keepends=True)
        prose = next((i for i, each in enumerate(lines) if not each.startswith("#")), len(lines))
        text = "".join(each[1:].removeprefix(" ") for each in lines[:prose])
        found.append(_cell(text, "".join(lines[prose:]), line + 1 + prose))
        line += 1 + len(lines)
    return found


def run(lesson: Lesson, before: Callable[[Cell], None], take: Callable[[Figure], None] | None = None) -> None:
    """Run a lesson from top to bottom, each cell's code in the names that the cells before it left.

    Args:
        lesson: which.
        before: is given each cell before it runs, to show its heading, say.
        take: is given each figure that a cell has shown, after it ran, and matplotlib draws into memory from then on;
            without it they are shown on the screen.

    Raises:
        SettingError: MPLBACKEND names something that matplotlib cannot draw with.
        UserError: the figures are to be shown and there is no screen to show them on.
    """
    try:
        import matplotlib.pyplot as plt  # slow to import, and listing the lessons needs none of it

        plt.switch_backend("agg" if take else plt.get_backend())  # the second: only now is it loaded
    except (ImportError, ValueError):
        chosen = os.environ.get("MPLBACKEND")
        if chosen is None:
            raise
        raise SettingError(f"MPLBACKEND is {chosen!r}: matplotlib cannot draw with it; unset it") from None
    if not take and not _on_screen():
        raise UserError("there is no screen to open figures on; leave out --show, and they are saved")
    others = plt.get_fignums()  # those of the caller
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(lesson.file)}
    for cell in cells(lesson):
        before(cell)
        code = "\n" * (cell.line - 1) + cell.code  # so that an error names the line in the lesson's file
        exec(compile(code, lesson.file, "exec"), names)  # noqa: S102  # our own lessons
        for number in [number for number in plt.get_fignums() if number not in others]:
            if take:
                take(plt.figure(number))
            plt.close(number)


def show(figure: Figure) -> None:
    """Show a figure: in a window, which stays until it is closed; in a notebook or on a page, below the cell.

    Without a screen the figure waits in pyplot for whoever runs the lesson (`chainrule lesson` saves it).
    """
    import matplotlib.pyplot as plt  # only here does a figure meet pyplot's list of open windows

    canvas = plt.figure(figsize=figure.get_size_inches(), dpi=figure.dpi).canvas
    canvas.figure = figure
    figure.set_canvas(canvas)
    if _on_screen():
        plt.show()


def optional(module: str, extra: str) -> Any:
    """A module that a lesson can do without, or None, having said so.

    Args:
        module: its name, such as "torch".
        extra: chainrule's extra that installs it, such as "torch".
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        cure = f"pip install 'chainrule[{extra}]' brings it"
        print(f"{module} is not installed here ({cure}). The lesson goes on without it.")  # noqa: T201  # to its reader
        return None


def _on_screen() -> bool:
    """Whether matplotlib has found a way to show figures."""
    import matplotlib.pyplot as plt  # see `show`

    return plt.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


def _head(file: Path) -> Lesson:
    cell = _cell(file.read_text(encoding="utf-8").split('"""', 2)[1], "", 1)
    return Lesson(int(file.name[:2]), cell.heading, cell.paragraphs[0], file)


def _cell(text: str, code: str, line: int) -> Cell:
    """Take prose apart: a heading, if its first line is underlined, and paragraphs without markup on one line each."""
    heading, paragraphs = "", re.split(r"\n\s*\n", text.strip())
    title = re.match(r"(.+)\n([=~-])\2+(\n|$)", paragraphs[0])
    if title:
        heading = title[1]
        paragraphs = [paragraphs[0][title.end() :], *paragraphs[1:]]
    return Cell(heading, tuple(_plain(paragraph) for paragraph in paragraphs if paragraph), code, line)


def _plain(paragraph: str) -> str:
    """A paragraph on one line, without marks for code and emphasis."""
    return re.sub(r"``(.+?)``|\*\*(.+?)\*\*|\*(.+?)\*", r"\1\2\3", " ".join(paragraph.split()))
