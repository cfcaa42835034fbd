"""The lessons: find, parse and run the Python files in `lessons/`.

A lesson uses the `# %%` cell format of sphinx-gallery and many editors: the module's docstring holds the title and the
question; each `# %%` starts a cell of comments (the text, in reStructuredText) followed by code. One file is thus a
script, a page and a notebook. Lessons import `show` and `optional` from here. lessons/README.md describes how to write
one.
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
FOLDERS = (_HERE / "lesson_files", _HERE.parents[1] / "lessons")  # in a wheel; in a checkout


if Path(getattr(sys.modules["__main__"], "__file__", None) or "").match("[0-9][0-9]_*.py"):
    replace_unencodable()  # a lesson runs as a script, and prints formulas


@dataclass(frozen=True)
class Lesson:
    """One lesson: its number, title, opening question and file."""

    number: int
    title: str
    question: str
    file: Path


@dataclass(frozen=True)
class Cell:
    """A cell of a lesson: heading ("" for none), paragraphs, and the code with its first line number."""

    heading: str
    paragraphs: tuple[str, ...]
    code: str
    line: int


def available() -> list[Lesson]:
    """All lessons, sorted by number.

    Raises:
        UserError: neither the package nor the checkout around it contains lessons.
    """
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise UserError(f"no lessons in {FOLDERS[0]}; reinstall chainrule, or work from a checkout")
    return [_head(file) for file in sorted(folder.glob("[0-9][0-9]_*.py"))]


def cells(lesson: Lesson) -> list[Cell]:
    """The cells of a lesson in order; the first is the docstring."""
    first, *pieces = re.split(r"^# %%\n", lesson.file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    _, text, code = first.split('"""', 2)
    parsed = [_cell(text, code, 1 + text.count("\n"))]
    line = 1 + first.count("\n")  # of the next `# %%`
    for piece in pieces:
        lines = piece.splitlines(keepends=True)
        code_start = next((i for i, line_text in enumerate(lines) if not line_text.startswith("#")), len(lines))
        text = "".join(line_text[1:].removeprefix(" ") for line_text in lines[:code_start])
        parsed.append(_cell(text, "".join(lines[code_start:]), line + 1 + code_start))
        line += 1 + len(lines)
    return parsed


def run(lesson: Lesson, on_cell: Callable[[Cell], None], on_figure: Callable[[Figure], None] | None = None) -> None:
    """Run a lesson from top to bottom; its cells share one namespace.

    Args:
        lesson: the lesson to run.
        on_cell: called with each cell before it runs, for instance to print its heading.
        on_figure: called with each figure that a cell shows, after the cell ran; matplotlib is switched to its
            in-memory backend. If None, figures open on the screen.

    Raises:
        SettingError: MPLBACKEND is not a valid matplotlib backend.
        UserError: `on_figure` is None and no screen is available.
    """
    try:
        import matplotlib.pyplot as plt  # slow to import, and not needed to list the lessons

        plt.switch_backend("agg" if on_figure else plt.get_backend())  # loads the default backend, which may fail
    except (ImportError, ValueError):
        backend = os.environ.get("MPLBACKEND")
        if backend is None:
            raise
        raise SettingError(f"MPLBACKEND is {backend!r}, which matplotlib does not support; unset it") from None
    if not on_figure and not _on_screen():
        raise UserError("no screen to open figures on; omit --show to save them to files")
    earlier_figures = plt.get_fignums()  # the caller's figures
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(lesson.file)}
    for cell in cells(lesson):
        on_cell(cell)
        code = "\n" * (cell.line - 1) + cell.code  # keeps the file's line numbers in tracebacks
        exec(compile(code, lesson.file, "exec"), names)  # noqa: S102  # our own lessons
        for number in [number for number in plt.get_fignums() if number not in earlier_figures]:
            if on_figure:
                on_figure(plt.figure(number))
            plt.close(number)


def show(figure: Figure) -> None:
    """Show a figure: in a window until it is closed, or below the cell in a notebook.

    Without a screen the figure is only registered with pyplot, where `run` collects it (`chainrule lesson` saves it).
    """
    import matplotlib.pyplot as plt  # registers the figure with pyplot, which the plots package itself never uses

    canvas = plt.figure(figsize=figure.get_size_inches(), dpi=figure.dpi).canvas
    canvas.figure = figure
    figure.set_canvas(canvas)
    if _on_screen():
        plt.show()


def optional(module: str, extra: str) -> Any:
    """Import an optional module; if it is not installed, print a hint and return None.

    Args:
        module: its name, such as "torch".
        extra: the chainrule extra that installs it, such as "torch".
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        install = f"pip install 'chainrule[{extra}]'"
        print(f"{module} is not installed ({install}). The lesson continues without it.")  # noqa: T201  # lesson output
        return None


def _on_screen() -> bool:
    """Whether matplotlib's backend can open windows."""
    import matplotlib.pyplot as plt  # see `show`

    return plt.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


def _head(file: Path) -> Lesson:
    """Parse the docstring of a lesson's file: title and question."""
    cell = _cell(file.read_text(encoding="utf-8").split('"""', 2)[1], "", 1)
    return Lesson(int(file.name[:2]), cell.heading, cell.paragraphs[0], file)


def _cell(text: str, code: str, line: int) -> Cell:
    """Parse a cell: a heading, if the first line is underlined, and paragraphs as single lines without markup."""
    heading, paragraphs = "", re.split(r"\n\s*\n", text.strip())
    title = re.match(r"(.+)\n([=~-])\2+(\n|$)", paragraphs[0])
    if title:
        heading = title[1]
        paragraphs = [paragraphs[0][title.end() :], *paragraphs[1:]]
    return Cell(heading, tuple(_plain(paragraph) for paragraph in paragraphs if paragraph), code, line)


def _plain(paragraph: str) -> str:
    """A paragraph on one line, without markup for code and emphasis."""
    return re.sub(r"``(.+?)``|\*\*(.+?)\*\*|\*(.+?)\*", r"\1\2\3", " ".join(paragraph.split()))
