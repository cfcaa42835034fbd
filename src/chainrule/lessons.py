"""The lessons: find, parse and run the Python files in `lessons/`.

A lesson uses the `# %%` cell format of sphinx-gallery and many editors: the module's docstring holds the title and the
question; each `# %%` starts a cell of comments (the text, in reStructuredText) followed by code. One file is thus a
script, a page and a notebook. Lessons import `show` and `optional` from here. lessons/README.md describes how to write
one.
"""

from __future__ import annotations

import difflib
import importlib
import io
import math
import os
import re
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from chainrule.console import replace_unencodable
from chainrule.errors import SettingError, UserError
from chainrule.formulas import to_unicode

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

_HERE = Path(__file__).parent
FOLDERS = (_HERE / "lesson_files", _HERE.parents[1] / "lessons")  # in a wheel; in a checkout


if Path(getattr(sys.modules["__main__"], "__file__", None) or "").match("[0-9][0-9]_*.py"):
    replace_unencodable()  # a lesson runs as a script, and prints formulas


REFERENCE = re.compile(r":([Ll]esson):`([a-z-]+)`")
"""A reference to a lesson in a text: the role, which begins with a capital where a sentence does, and the key."""

PREREQUISITES = re.compile(r"^Prerequisites: ([^.]+)\.", re.MULTILINE)
"""The last paragraph of a lesson's docstring: the lessons that it builds on, or "none"."""

_PARTS = re.compile(
    r"""(\.\.[ ]math::.*(?:\n(?:[ ]+.*|[ ]*(?=\n+[ ])))*)  # a formula: its line, and those indented or empty after it
      | \n\s*\n | \n(?=-[ ])                            # else paragraphs and the items of a list""",
    re.VERBOSE,
)
MARKUP = re.compile(r":math:`(.+?)`|``(.+?)``|\*\*(.+?)\*\*|\*(.+?)\*")
"""The markup inside a text: a formula, code, strong words, emphasized words."""

_WORDS_PER_MINUTE = 120
"""The reading speed of text with formulas, for someone who follows every step."""
_LINES_PER_MINUTE = 12
"""The reading speed of code, for someone who follows every step."""


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        number: its place in the order, which changes when lessons are added.
        key: its name in commands, links and references, which does not change: the file's name without the number.
        title: the heading of the file.
        question: the first paragraph.
        prerequisites: the keys of the lessons that it builds on.
        minutes: how long it takes to read, in steps of five minutes.
        file: the Python file.
    """

    number: int
    key: str
    title: str
    question: str
    prerequisites: tuple[str, ...]
    minutes: int
    file: Path


@dataclass(frozen=True)
class Cell:
    """A cell of a lesson.

    Attributes:
        heading: its heading, "" for none.
        paragraphs: its text as a terminal shows it, each on one line; formulas and list items are paragraphs of their
            own, formulas indented by four spaces and with a line break between their rows.
        code: the code.
        line: the code's first line number in the file.
    """

    heading: str
    paragraphs: tuple[str, ...]
    code: str
    line: int


def available() -> list[Lesson]:
    """All lessons, sorted by number.

    Raises:
        UserError: neither the package nor the checkout around it contains lessons.
    """
    return [_head(file) for file in _files()]


def find(name: str) -> Lesson:
    """The lesson with this number or key.

    Args:
        name: a number, such as "7", or a key, such as "backpropagation"; case, spaces and underscores do not matter.

    Raises:
        UserError: there is no such lesson; the message names similar keys.
    """
    files = _files()
    if re.fullmatch(r"[+-]?\d+", name.strip()):
        numbers = [int(file.name[:2]) for file in files]
        if int(name) not in numbers:
            raise UserError(f"there is no lesson {name}; choose one from {min(numbers)} to {max(numbers)}")
        return _head(files[numbers.index(int(name))])
    by_key = {_key(file): file for file in files}
    key = "-".join(re.split(r"[\s_-]+", name.strip().lower()))
    if key not in by_key:
        containing = [other for other in by_key if key and key in other]
        similar = list(dict.fromkeys([*containing, *difflib.get_close_matches(key, by_key)]))[:3]
        either = " or ".join(filter(None, [", ".join(similar[:-1]), *similar[-1:]]))
        hint = f"did you mean {either}?" if similar else "'chainrule lesson' lists them"
        raise UserError(f"there is no lesson '{name}'; {hint}")
    return _head(by_key[key])


def replace_references(text: str, link: Callable[[str, str], str]) -> str:
    """Replace the references to lessons in a text.

    Args:
        text: the text, in reStructuredText.
        link: maps "lesson 7" or "Lesson 7" and the lesson's key to the replacement.

    Raises:
        UserError: the text refers to a lesson that does not exist.
    """
    numbers = {_key(file): int(file.name[:2]) for file in _files()}

    def describe(reference: re.Match[str]) -> str:
        word, key = reference.groups()
        if key not in numbers:
            raise UserError(f"a text refers to the lesson '{key}', which does not exist")
        return link(f"{word} {numbers[key]}", key)

    return REFERENCE.sub(describe, text)


def cells(lesson: Lesson) -> list[Cell]:
    """The cells of a lesson in order; the first is the docstring."""
    return [_cell(text, code, line) for text, code, line in sources(lesson)]


def sources(lesson: Lesson) -> list[tuple[str, str, int]]:
    """The cells of a lesson as they are written: text in reStructuredText, code, the code's first line in the file."""
    first, *pieces = re.split(r"^# %%\n", lesson.file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    _, text, code = first.split('"""', 2)
    parts = [(text, code, 1 + text.count("\n"))]
    line = 1 + first.count("\n")  # the line number of the next `# %%`
    for piece in pieces:
        lines = piece.splitlines(keepends=True)
        code_start = next((i for i, line_text in enumerate(lines) if not line_text.startswith("#")), len(lines))
        text = "".join(line_text[1:].removeprefix(" ") for line_text in lines[:code_start])
        parts.append((text, "".join(lines[code_start:]), line + 1 + code_start))
        line += 1 + len(lines)
    return parts


def run(
    lesson: Lesson, on_cell: Callable[[Cell], bool | None], on_figure: Callable[[Figure], None] | None = None
) -> None:
    """Run a lesson from top to bottom; its cells share one namespace.

    Args:
        lesson: the lesson to run.
        on_cell: called with each cell before it runs, for instance to print its heading. If it returns False, the cell
            runs without showing anything.
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
        is_shown = on_cell(cell) is not False
        code = "\n" * (cell.line - 1) + cell.code  # keeps the file's line numbers in tracebacks
        with nullcontext() if is_shown else redirect_stdout(io.StringIO()):
            exec(compile(code, lesson.file, "exec"), names)  # noqa: S102  # our own lessons
        for number in [number for number in plt.get_fignums() if number not in earlier_figures]:
            if on_figure and is_shown:
                on_figure(plt.figure(number))
            plt.close(number)


class Playable(Protocol):
    """A figure that changes step by step, such as `chainrule.plots.animate_descent` returns."""

    @property
    def figure(self) -> Figure:
        """The figure; it shows the last step."""

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write a GIF."""

    def play(self) -> object:
        """Start to play on the figure's canvas, for as long as the result is kept."""


def animation_of(figure: Figure) -> Playable | None:
    """The animation that `show` was given for this figure; None for a static figure."""
    return vars(figure).get("_chainrule_animation")


def show(picture: Figure | Playable) -> None:
    """Show a figure or an animation: in a window until it is closed, or below the cell in a notebook.

    Without a screen the figure is only registered with pyplot, where `run` collects it (`chainrule lesson` saves it,
    an animation as a GIF). A notebook shows the last step of an animation.
    """
    import matplotlib.pyplot as plt  # registers the figure with pyplot, which the plots package itself never uses
    from matplotlib.figure import Figure

    figure = picture if isinstance(picture, Figure) else picture.figure
    canvas = plt.figure(figsize=figure.get_size_inches(), dpi=figure.dpi).canvas
    canvas.figure = figure
    figure.set_canvas(canvas)
    if not isinstance(picture, Figure):
        vars(figure)["_chainrule_animation"] = picture
    if _on_screen():
        playing = None if isinstance(picture, Figure) else picture.play()
        plt.show()
        del playing  # an animation stops when nothing refers to it


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


def _files() -> list[Path]:
    """The files of the lessons, sorted by number."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise UserError(f"no lessons in {FOLDERS[0]}; reinstall chainrule, or work from a checkout")
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def _key(file: Path) -> str:
    """The key of a lesson: its file's name without the number, with dashes."""
    return file.stem[3:].replace("_", "-")


def _head(file: Path) -> Lesson:
    """Parse the docstring of a lesson's file, and estimate how long the whole takes to read."""
    _, docstring, rest = file.read_text(encoding="utf-8").split('"""', 2)
    cell = _cell(docstring, "", 1)
    prerequisites = PREREQUISITES.search(docstring)
    keys = [key for _, key in REFERENCE.findall(prerequisites[1])] if prerequisites else []
    words = [*docstring.split(), *" ".join(re.findall(r"^# (.*)", rest, re.MULTILINE)).split()]
    lines = re.findall(r"^[^#\n]", rest, re.MULTILINE)
    minutes = len(words) / _WORDS_PER_MINUTE + len(lines) / _LINES_PER_MINUTE
    rounded = 5 * math.ceil(minutes / 5)
    return Lesson(int(file.name[:2]), _key(file), cell.heading, cell.paragraphs[0], tuple(keys), rounded, file)


def split_heading(text: str) -> tuple[str, str]:
    """Divide a cell's text into its heading, "" if the first line is not underlined, and what follows."""
    text = text.strip()
    title = re.match(r"(.+)\n([=~-])\2+(\n|$)", text)
    return (title[1], text[title.end() :].strip()) if title else ("", text)


def split_paragraphs(text: str) -> list[str]:
    """Divide a text in reStructuredText into paragraphs, items of lists and formulas."""
    return [part for part in _PARTS.split(text) if part and part.strip()]


def _cell(text: str, code: str, line: int) -> Cell:
    """Parse a cell: a heading, if the first line is underlined, and paragraphs."""
    heading, text = split_heading(text)
    return Cell(plain_text(heading), tuple(paragraphs(text)), code, line)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text in reStructuredText as a terminal shows them, see `Cell`."""
    parsed = []
    for part in split_paragraphs(text):
        if part.startswith(".. math::"):
            rows = to_unicode(" ".join(part.removeprefix(".. math::").split())).split("\n")
            parsed.append("\n".join(f"    {row}" for row in rows))
        else:
            parsed.append(plain_text(part))
    return parsed


def plain_text(paragraph: str) -> str:
    """A paragraph on one line, with formulas in Unicode, code in `quotes` and the numbers of lessons."""
    text = replace_references(" ".join(paragraph.split()), lambda words, key: words)

    def show_part(part: re.Match[str]) -> str:
        formula, code, strong, emphasis = part.groups()
        return to_unicode(formula) if formula else f"`{code}`" if code else strong or emphasis

    return MARKUP.sub(show_part, text)
