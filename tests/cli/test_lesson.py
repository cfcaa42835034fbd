"""`chainrule lesson`: the list, and running one with its figures."""

from __future__ import annotations

import importlib
import re
import textwrap

import pytest
from PIL import Image

from chainrule import lessons


def test_lists_them_with_their_titles_keys_and_prerequisites(command):
    done = command("lesson")
    assert (done.code, done.err) == (0, "")
    head, *rows, empty, hint = done.out.splitlines()
    assert head.split() == ["title", "key", "minutes", "builds", "on"]
    numbers = {each.key: str(each.number) for each in lessons.available()}
    assert [re.split(r"\s{2,}", row.strip()) for row in rows] == [
        [str(each.number), each.title, each.key, str(each.minutes)]
        + [", ".join(numbers[key] for key in each.prerequisites)] * bool(each.prerequisites)
        for each in lessons.available()
    ]
    assert (empty, hint) == (
        "",
        "Run one by its number or key: chainrule lesson 1, or chainrule lesson backpropagation",
    )


def test_runs_one_and_saves_its_figures(command, here):
    done = command("lesson", 3, "--answers")
    assert (done.code, done.err) == (0, "")
    first, second, *lines = done.out.splitlines()
    chosen = lessons.find("rolling-downhill")
    assert first == f"Lesson 3. Its code: {chosen.file}"
    assert second == f"{chosen.minutes} minutes. Prerequisites: none"
    assert lines[1] == "Rolling downhill"
    assert "Iteration 10: x = 1.0737, f(x) = 1.1529, Gradient = 2.6844" in lines
    assert "[figure: figures/rolling-downhill/1.png]" in lines
    assert lines[-1] == "Figures saved in figures/rolling-downhill"
    saved = sorted((here / "figures" / "rolling-downhill").iterdir())
    assert [file.name for file in saved] == ["1.png", "2.gif", "3.png", "4.png", "5.png", "6.png"]
    assert [f"[figure: figures/rolling-downhill/{file.name}]" for file in saved] == [
        line for line in lines if line.startswith("[figure")
    ]
    for file in saved:
        with Image.open(file) as picture:
            assert min(picture.size) > 200
            assert (getattr(picture, "n_frames", 1) > 1) is (file.suffix == ".gif")


def test_prints_the_whole_text_with_formulas(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    done = command("lesson", "rolling-downhill", "--out", "elsewhere", "--answers")
    assert (done.code, done.err) == (0, "")
    for cell in lessons.cells(lessons.find("rolling-downhill")):
        for paragraph in (cell.heading, *cell.paragraphs):
            if not paragraph.startswith("Prerequisites:"):
                assert "\n".join(textwrap.wrap(paragraph, 72)) in done.out
    lines = done.out.splitlines()
    assert "    x ← x - η f′(x)" in lines
    heading = lines.index("One step, and another")
    assert lines[heading + 1] == "=" * len(lines[heading])
    assert lines[heading + 3].startswith("Downhill is against the slope.")
    assert heading < lines.index("Starting x: 10.0, f(x): 100.0000") < lines.index("Change one thing")


def test_what_a_change_does_is_not_told_at_once(command, here):
    told = command("lesson", "neurons", "--answers").out
    files = sorted(here.rglob("*.png"))
    folded = command("lesson", "neurons").out
    assert sorted(here.rglob("*.png")) == files
    answer = ["upright stroke   activation 0.7311  yes", "The whole stroke has 6 - 5 = 1 and is seen"]
    assert all(line in told for line in answer)
    assert not any(line in folded for line in answer)
    before, _, after = folded.partition("[to see what happens: --answers]")
    assert "Before you run this: with the bias at -5" in before
    assert "the same neurons one by one: True" in after, "what comes later is shown"


@pytest.fixture
def keys(monkeypatch):
    """The keys that a person at the terminal presses, by their number; a space without one."""
    pressed, waits = {}, []
    module = importlib.import_module("chainrule.cli.lesson")
    monkeypatch.setattr(module, "_is_interactive", lambda: True)

    def press():
        waits.append(1)
        key = pressed.get(len(waits), " ")
        if isinstance(key, BaseException):
            raise key
        return key

    monkeypatch.setattr(module.click, "getchar", press)
    return pressed


@pytest.mark.parametrize("name", ["04", "the-bowl", "The bowl", "THE_BOWL"])
def test_a_key_is_as_good_as_a_number(command, keys, name):
    keys[1] = "q"  # what comes before the first section tells which lesson it is
    done = command("lesson", name, "--out", "elsewhere")
    assert (done.code, done.err.strip()) == (0, "")
    first, second = done.out.splitlines()[:2]
    assert first.startswith("Lesson 4. ")
    assert second.endswith("minutes. Prerequisites: 1. Neurons, weights and biases, 3. Rolling downhill")


def test_a_reader_at_a_terminal_is_waited_for(command, keys):
    done = command("lesson", "neurons")
    headings = [cell for cell in lessons.cells(lessons.find("neurons"))[1:] if cell.heading]
    assert (done.code, done.out.count("[press a key to continue, q to quit]")) == (0, len(headings))
    assert done.out.count("[make your prediction, then press a key to see what happens]") == 1
    asked, answer = (done.out.index(text) for text in ("[make your prediction", "upright stroke   activation 0.7311"))
    assert done.out.index("Before you run this:") < asked < answer < done.out.index("The whole stroke has 6 - 5 = 1")


def test_or_not(command, keys):
    done = command("lesson", "neurons", "--no-pause", "--answers")
    assert "key" not in done.out
    assert "upright stroke   activation 0.7311" in done.out
    done = command("lesson", "neurons", "--no-pause")
    assert done.out.count("key") == 1
    assert "[make your prediction, then press a key to see what happens]" in done.out


@pytest.mark.parametrize(("key", "code"), [("q", 0), (EOFError(), 0), (KeyboardInterrupt(), 130)], ids=repr)
def test_a_key_ends_the_lesson(command, keys, key, code):
    keys[2] = key
    done = command("lesson", "neurons")
    assert (done.code, done.err.strip()) == (code, "")
    first, second, *_ = [cell.heading for cell in lessons.cells(lessons.find("neurons"))[1:] if cell.heading]
    assert first in done.out
    assert second not in done.out


def test_out_names_another_folder(command, here):
    done = command("lesson", 1, "--out", here / "a" / "b")
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"Figures saved in {here / 'a' / 'b'}"
    assert len(list((here / "a" / "b").iterdir())) == 4
    assert not (here / "figures").exists()


@pytest.mark.parametrize("number", ["0", "99", "-1"])
def test_a_wrong_number(command, here, number):
    done = command("lesson", "--", number)
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == f"chainrule: there is no lesson {number}; choose one from 1 to {lessons.available()[-1].number}\n"
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("options", [["--out", "x"], ["--show"], ["--answers"], ["--no-pause"]], ids=" ".join)
def test_options_without_a_number(command, options):
    done = command("lesson", *options)
    assert (done.code, done.out) == (2, "")
    assert "options apply to one lesson: give its number or key" in done.err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("three", "'chainrule lesson' lists them"),
        ("", "'chainrule lesson' lists them"),
        ("backpropogation", "did you mean backpropagation?"),
        ("bowl", "did you mean the-bowl?"),
        ("gradient-descent", "did you mean stochastic-gradient-descent?"),
    ],
)
def test_a_name_that_is_none(command, here, name, hint):
    done = command("lesson", name)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"chainrule: there is no lesson '{name}'; {hint}\n"
    assert list(here.iterdir()) == []


def test_show_needs_a_screen(process):
    done = process("lesson", "3", "--show", env={"MPLBACKEND": "agg"})
    assert done.code == 2
    assert done.err == "chainrule: no screen to open figures on; omit --show to save them to files\n"


@pytest.mark.parametrize("backend", ["foo", "module://foo"])
def test_a_backend_that_is_none(process, here, backend):
    done = process("lesson", "1", "--show", env={"MPLBACKEND": backend})
    assert done.code == 2
    assert done.err == f"chainrule: MPLBACKEND is '{backend}', which matplotlib does not support; unset it\n"
    done = process("lesson", "1", env={"MPLBACKEND": backend})  # does not open windows
    assert (done.code, done.err) == (0, "")
    assert (here / "figures" / "neurons" / "1.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_made(command, here):
    (here / "taken").write_text("")
    done = command("lesson", 3, "--out", "taken")
    assert done.code == 2
    assert "taken" in done.err
    assert len(done.err.splitlines()) <= 4
