"""Finding, parsing and running lessons."""

from __future__ import annotations

import sys
import tomllib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from chainrule import lessons
from chainrule.errors import UserError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

SOURCE = '''"""
What is two and two?
====================

Is it *really* **four**? Ask
``print``.

More about it.

Prerequisites: :lesson:`zero`, :lesson:`one-and-one`.
"""

from chainrule.lessons import show

# %%
# Adding
# ------
#
# A first
# paragraph.
#
# .. math:: x^2 + 2

# a comment of the code's own
total = 2 + 2
print("total", total)

# %%
# No heading here.

print("again", total)
'''


HEAD = '"""\nA title\n=======\n\nWhy?\n\nPrerequisites: none.\n"""\n'
HEAD_WORDS = 6
BEFORE = {"_00_zero": HEAD, "_01_one_and_one": HEAD}  # what SOURCE builds on


@pytest.fixture(autouse=True)
def _no_figures() -> Iterator[None]:
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[lessons.Lesson]]:
    """Create a folder of lessons and find them."""

    def make(**sources: str) -> list[lessons.Lesson]:
        for stem, source in sources.items():
            (tmp_path / f"{stem.removeprefix('_')}.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(lessons, "FOLDERS", (tmp_path / "elsewhere", tmp_path))
        return lessons.available()

    return make


def test_lessons_are_found_by_their_numbers(write: Callable[..., list[lessons.Lesson]]) -> None:
    parsed = write(_10_last=SOURCE, _02_sums=SOURCE, helper="x = 1", _3_no="x = 1", **BEFORE)
    assert [(lesson.number, lesson.title) for lesson in parsed] == [
        (0, "A title"),
        (1, "A title"),
        (2, "What is two and two?"),
        (10, "What is two and two?"),
    ]
    assert parsed[2].question == "Is it really four? Ask `print`."
    assert parsed[2].file.name == "02_sums.py"


def test_the_package_goes_before_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, title in (("installed", "From the wheel"), ("checkout", "From the checkout")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "01_a.py").write_text(f'"""\n{title}\n{"=" * len(title)}\n\nWhy?\n"""\n', encoding="utf-8")
    monkeypatch.setattr(lessons, "FOLDERS", (tmp_path / "installed", tmp_path / "checkout"))
    assert lessons.available()[0].title == "From the wheel"


def test_the_head_of_a_lesson(write: Callable[..., list[lessons.Lesson]]) -> None:
    zero, _, sums = write(_00_zero=HEAD, _01_one_and_one=HEAD, _02_two_and_two=SOURCE)
    assert (sums.key, sums.prerequisites) == ("two-and-two", ("zero", "one-and-one"))
    assert (zero.key, zero.prerequisites) == ("zero", ())


@pytest.mark.parametrize(("words", "lines", "minutes"), [(120, 12, 5), (1200, 0, 10), (6, 179, 15), (1200, 1, 15)])
def test_the_time_that_it_takes(
    write: Callable[..., list[lessons.Lesson]], words: int, lines: int, minutes: int
) -> None:
    text = f"# {' '.join(['word'] * (words - HEAD_WORDS))}\n"
    assert write(_01_sums=HEAD + text + "print()\n\n" * lines)[0].minutes == minutes


def test_a_lesson_is_found_by_number_or_key(write: Callable[..., list[lessons.Lesson]]) -> None:
    write(_01_one_and_one=HEAD, _07_two_and_two=HEAD)
    for name in ("7", "07", " 7 ", "two-and-two", "two_and_two", "Two and  two"):
        assert lessons.find(name).file.name == "07_two_and_two.py"
    for name, sentence in {
        "2": "there is no lesson 2; choose one from 1 to 7",
        "-7": "there is no lesson -7; choose one from 1 to 7",
        "two and too": "there is no lesson 'two and too'; did you mean two-and-two or one-and-one?",
        "and": "there is no lesson 'and'; did you mean one-and-one or two-and-two?",
        "x": "there is no lesson 'x'; 'chainrule lesson' lists them",
        "": "there is no lesson ''; 'chainrule lesson' lists them",
    }.items():
        with pytest.raises(UserError) as caught:
            lessons.find(name)
        assert str(caught.value) == sentence


def test_references_have_the_numbers_of_today(write: Callable[..., list[lessons.Lesson]]) -> None:
    write(_01_one_and_one=HEAD, _07_two_and_two=HEAD)
    text = ":Lesson:`two-and-two` says what :lesson:`one-and-one` did."
    assert lessons.replace_references(text, lambda words, key: f"[{words}]({key})") == (
        "[Lesson 7](two-and-two) says what [lesson 1](one-and-one) did."
    )
    with pytest.raises(UserError, match="a text refers to the lesson 'three', which does not exist"):
        lessons.replace_references("see :lesson:`three`", lambda words, key: words)


def test_no_lessons_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "FOLDERS", (tmp_path / "a", tmp_path / "b"))
    with pytest.raises(UserError, match="no lessons in"):
        lessons.available()


def test_the_wheel_holds_them_where_they_are_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    build = project["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["force-include"] == {"lessons": f"chainrule/{lessons.FOLDERS[0].name}"}
    assert "lessons" in build["sdist"]["include"]
    assert lessons.FOLDERS[0].parent == Path(lessons.__file__).parent


def test_cells(write: Callable[..., list[lessons.Lesson]]) -> None:
    first, adding, again = lessons.cells(write(_02_sums=SOURCE, **BEFORE)[2])
    assert (first.heading, first.paragraphs) == (
        "What is two and two?",
        ("Is it really four? Ask `print`.", "More about it.", "Prerequisites: lesson 0, lesson 1."),
    )
    assert first.code.strip() == "from chainrule.lessons import show"
    assert (adding.heading, adding.paragraphs) == ("Adding", ("A first paragraph.", "    x² + 2"))
    assert adding.code.strip().splitlines()[0] == "# a comment of the code's own"
    assert (again.heading, again.paragraphs) == ("", ("No heading here.",))
    lines = SOURCE.splitlines()
    for cell in (first, adding, again):
        for number, line in enumerate(cell.code.splitlines(), start=cell.line):
            assert line in ("", lines[number - 1])


def test_run_goes_cell_by_cell(write: Callable[..., list[lessons.Lesson]], capsys: pytest.CaptureFixture[str]) -> None:
    lessons.run(write(_02_sums=SOURCE, **BEFORE)[2], lambda cell: print("<", cell.heading, ">"), lambda figure: None)
    assert capsys.readouterr().out.splitlines() == [
        "< What is two and two? >",
        "< Adding >",
        "total 4",
        "<  >",
        "again 4",
    ]


def test_a_cell_may_run_without_showing_anything(
    write: Callable[..., list[lessons.Lesson]], capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOURCE.replace("total = 2 + 2", "from matplotlib.figure import Figure\nshow(Figure())\ntotal = 2 + 2")
    figures: list[Figure] = []
    lessons.run(write(_02_sums=source, **BEFORE)[2], lambda cell: cell.heading != "Adding", figures.append)
    assert capsys.readouterr().out.splitlines() == ["again 4"], "it ran, because the next cell knows the total"
    assert figures == []
    assert plt.get_fignums() == []


TEXT = """A first
paragraph with :math:`\\frac{1}{2m}`, ``code`` and **a word**:

- one *item*,
- and another
  of two lines

.. math:: a_1

.. math::

   a &= b \\\\
     &= c

   \\cdot d

The end.
"""


def test_paragraphs_formulas_and_lists() -> None:
    assert lessons.paragraphs(TEXT) == [
        "A first paragraph with 1 / (2m), `code` and a word:",
        "- one item,",
        "- and another of two lines",
        "    a₁",
        "    a = b\n    = c · d",
        "The end.",
    ]


def test_an_error_names_the_line_in_the_file(write: Callable[..., list[lessons.Lesson]]) -> None:
    source = SOURCE.replace('print("again", total)', "print(1 / 0)")
    with pytest.raises(ZeroDivisionError) as caught:
        lessons.run(write(_02_sums=source, **BEFORE)[2], lambda cell: None, lambda figure: None)
    folder = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (Path(folder.filename).name, folder.lineno) == ("02_sums.py", source.splitlines().index("print(1 / 0)") + 1)


def test_figures_are_handed_over_cell_by_cell(write: Callable[..., list[lessons.Lesson]]) -> None:
    draw = "from matplotlib.figure import Figure\nfor size in {}:\n    show(Figure(figsize=(size, 2)))\n"
    source = SOURCE.replace("total = 2 + 2", f"{draw.format((3, 4))}total = 4") + draw.format((5,))
    events: list[object] = []
    lessons.run(
        write(_02_sums=source, **BEFORE)[2],
        lambda cell: events.append(cell.heading),
        lambda figure: events.append(figure.get_size_inches()[0]),
    )
    assert events == ["What is two and two?", "Adding", 3, 4, "", 5]
    assert plt.get_fignums() == []


def test_show_keeps_the_figure_itself() -> None:
    figure = Figure(figsize=(3, 2), dpi=50, facecolor="red")
    lessons.show(figure)
    assert plt.gcf() is figure
    figure.canvas.draw()
    assert np.asarray(figure.canvas.buffer_rgba()).shape == (100, 150, 4)  # type: ignore[attr-defined]
    assert np.asarray(figure.canvas.buffer_rgba())[0, 0].tolist() == [255, 0, 0, 255]  # type: ignore[attr-defined]


class Moving:
    """An animation that writes its name."""

    def __init__(self) -> None:
        self.figure, self.played = Figure(), 0

    def save(self, file: str | os.PathLike[str]) -> None:
        Path(file).write_text("moving", encoding="utf-8")

    def play(self) -> object:
        self.played += 1
        return self


def test_an_animation_is_known_by_its_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    still, moving = Figure(), Moving()
    lessons.show(still)
    lessons.show(moving)
    assert [plt.figure(number) for number in plt.get_fignums()] == [still, moving.figure]
    assert (lessons.animation_of(still), lessons.animation_of(moving.figure)) == (None, moving)
    assert moving.played == 0, "without a screen"
    monkeypatch.setattr(plt, "get_backend", lambda: "QtAgg")
    monkeypatch.setattr(plt, "show", lambda: None)
    lessons.show(moving)
    assert moving.played == 1


def test_without_a_screen_there_is_nothing_to_show_on(write: Callable[..., list[lessons.Lesson]]) -> None:
    with pytest.raises(UserError, match="no screen to open figures on"):
        lessons.run(write(_02_sums=SOURCE, **BEFORE)[2], lambda cell: None)


def test_a_screen_shows_each_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[int]] = []
    monkeypatch.setattr(plt, "get_backend", lambda: "QtAgg")
    monkeypatch.setattr(plt, "show", lambda: opened.append(plt.get_fignums()))
    lessons.show(Figure())
    assert opened == [[1]]


def test_optional(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert lessons.optional("json", "nothing") is sys.modules["json"]
    assert capsys.readouterr().out == ""
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    assert lessons.optional("torch", "torch") is None
    assert capsys.readouterr().out == (
        "torch is not installed (pip install 'chainrule[torch]'). The lesson continues without it.\n"
    )
