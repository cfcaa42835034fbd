"""`chainrule lesson`: the list, and running one with its figures."""

from __future__ import annotations

import re

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
    assert (empty, hint) == ("", "Run one by its number or key: chainrule lesson 1, chainrule lesson backpropagation")


def test_runs_one_and_saves_its_figures(command, here):
    done = command("lesson", 3)
    assert (done.code, done.err) == (0, "")
    first, second, *lines = done.out.splitlines()
    chosen = lessons.find("rolling-downhill")
    assert first == f"Lesson 3. Text, formulas and code: {chosen.file}"
    assert second == f"{chosen.minutes} minutes. Prerequisites: none"
    assert lines[1] == "Rolling downhill"
    assert "Iteration 10: x = 1.0737, f(x) = 1.1529, Gradient = 2.6844" in lines
    assert "[figure: figures/rolling-downhill/1.png]" in lines
    assert lines[-1] == "Figures saved in figures/rolling-downhill"
    saved = sorted((here / "figures" / "rolling-downhill").iterdir())
    assert [file.name for file in saved] == ["1.png", "2.png", "3.png", "4.png"]
    assert [f"[figure: figures/rolling-downhill/{file.name}]" for file in saved] == [
        line for line in lines if line.startswith("[figure")
    ]
    for file in saved:
        with Image.open(file) as picture:
            assert min(picture.size) > 200


@pytest.mark.parametrize("name", ["04", "the-bowl", "The bowl", "THE_BOWL"])
def test_a_key_is_as_good_as_a_number(command, name):
    done = command("lesson", name, "--out", "elsewhere")
    assert (done.code, done.err) == (0, "")
    first, second = done.out.splitlines()[:2]
    assert first.startswith("Lesson 4. ")
    assert second.endswith("minutes. Prerequisites: 1. Neurons, weights and biases, 3. Rolling downhill")


def test_headings_stand_above_their_numbers(command):
    lines = command("lesson", 3, "--out", "elsewhere").out.splitlines()
    heading = lines.index("One step, and another")
    assert lines[heading + 1].startswith("Downhill is against the slope.")
    assert heading < lines.index("Starting x: 10.0, f(x): 100.0000") < lines.index("Change one thing")
    assert not [line for line in lines if ":math:" in line or "``" in line]


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


@pytest.mark.parametrize("options", [["--out", "x"], ["--show"]], ids=" ".join)
def test_options_without_a_number(command, options):
    done = command("lesson", *options)
    assert (done.code, done.out) == (2, "")
    assert "--out and --show apply to the figures of one lesson: give its number or key" in done.err


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
    done = process("lesson", "3", "--show", env={"MPLBACKEND": backend})
    assert done.code == 2
    assert done.err == f"chainrule: MPLBACKEND is '{backend}', which matplotlib does not support; unset it\n"
    done = process("lesson", "3", env={"MPLBACKEND": backend})  # does not open windows
    assert (done.code, done.err) == (0, "")
    assert (here / "figures" / "rolling-downhill" / "1.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_made(command, here):
    (here / "taken").write_text("")
    done = command("lesson", 3, "--out", "taken")
    assert done.code == 2
    assert "taken" in done.err
    assert len(done.err.splitlines()) <= 4
