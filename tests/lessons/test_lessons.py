"""Every lesson runs from top to bottom, says what its prose says, draws, and has the form that lessons/README.md tells."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from chainrule import lessons

LESSONS = lessons.available()
SHOWN = {  # what the prose speaks of; nothing here depends on the machine
    1: [
        "upright stroke   Σ w x = +2 +2 +2                   =  6.0",
        "all ink          Σ w x = -1 +2 -1 -1 +2 -1 -1 +2 -1 =  0.0",
        "in grey          z =  0.0   activation 0.5000",
        "upright stroke   activation 0.7311  yes",
        "a pixel missing  activation 0.2689  no",
        "the same neurons one by one: True",
        "784-10-10: 7,850 + 110 = 7,960 weights and biases",
        "784-30-10: 23,550 + 310 = 23,860 weights and biases",
    ],
    2: [
        "epoch 6: mistakes: 0; now w = [2. 1.], b = -2",
        "it says [1 1 0 0], wanted [0 1 1 0]",
        "4 of 4 right:   0.0% of 100,000 random lines",
        "[1 0 0 1]: not learned",
        "14 of 16 tasks are learned; beyond it are [0 1 1 0] [1 0 0 1]",
        "x = [1. 1.]   OR says 1, NAND says 0   AND of both: 0",
    ],
    3: [
        "Starting x: 10.0, f(x): 100.0000",
        "Iteration 1: x = 8.0000, f(x) = 64.0000, Gradient = 20.0000",
        "Iteration 10: x = 1.0737, f(x) = 1.1529, Gradient = 2.6844",
        "Iteration 100: x = 0.0000, f(x) = 0.0000, Gradient = 0.0000",
        "rate 1.05: 10.00, -11.00, 12.10, -13.31",
        "rate 1:    10.00, -10.00, 10.00",
        "from 3     ends at x =  1.8608",
        "from -0.5  ends at x = -2.1149",
    ],
    4: [
        "the gradient there:  [16.  6.]",
        "the gradient's direction:   [0.94 0.35], length 17.09",
        "at right angles to it:      slope 0.0000",
        "after 100 steps: x = [1.6261 0.    ], height 2.64e-02",
        "momentum 0       381 steps",
        "momentum 0.8      63 steps",
        "momentum 0.98    722 steps",
    ],
    5: [
        "∂C/∂w₁  = their product         =  -0.4161",
        "measured, by a nudge to w₁      =  -0.4161",
        "loss in the first ten epochs: 0.2446, 0.1811, 0.1473",
        "and in epoch 200:             0.0255",
        "epoch 200: loss 0.0255 from the small weights, 0.1303 from 40 times as large ones",
    ],
    6: [
        "6 + 3 + 3 + 1 = 13 numbers to learn",
        "C = ½ (0.4493 - 1)² = 0.1516",
        "δ² = (0.4493 - 1) · 0.4493 · (1 - 0.4493) = -0.1363",
        "∂C/∂w of the wire from hidden neuron 2: -0.1363 · 0.7773 = -0.1059",
        "δ¹ of hidden neuron 2: -1.5 · -0.1363 · 0.7773 · (1 - 0.7773) =  0.0354",
        "hidden neuron 3: ∂C/∂w = -0.0170  -0.0085    ∂C/∂b = -0.0170",
        "C by hand 0.151629906096, by the engine 0.151629906096",
        "δ²                   -0.136257573674738     -0.136257573674738",
        "cost 0.5115 at the start",
    ],
    7: [
        "  1 numbers:   2 runs",
        "100 numbers: 101 runs",
        "  23,002    23,003 ",
        "5 hidden layers of 30: 27,420 wires,      190,512,000,000 paths",
        "multiplications by nudging:          4.00 times as many",
        "multiplications by backpropagation:  2.00 times as many",
        "eˣ, nudged to both sides: smallest error 5e-11, at h = 1e-05",
    ],
    8: ["all 1,000 a step    3 steps", "10 a step         300 steps"],
    9: ["weights and biases: 23,860", "pixels (784, 1), answer (10, 1)", "Epoch 7: "],
    10: ["ways: by hand, engine, compiled"],
    11: [
        "Conv2d     32 × 28 × 28       832 weights and biases",
        "Conv2d     64 × 14 × 14    51,264 weights and biases",
        "Flatten    3136 ",
        "same picture, moved by three: True",
    ],
    12: ["¼ to the power of 10 = 9.54e-07"],
    13: ["dead: 0.0e+00", "the accident: 100 dead"],
    14: ["deposit some   0"],
}
BETWEEN = {  # what depends on the last bits of products of matrices: a pattern, and what each number it finds must be
    8: [(r"it reads (\d+) of 2,000 right\n.*\n *1 +2", 1800, 2000), (r"lowest loss there is: ([\d.]+)", 0.14, 0.145)],
    9: [(r"Accuracy: ([\d.]+)%", 94.5, 98)],
    10: [(r"losses ([\de.-]+), weights", 0, 1e-12), (r"weights and biases ([\de.-]+)$", 0, 1e-10)],
    11: [(r"after 6,000 images: ([\d.]+)% read right", 88, 98)],
    12: [
        (r"ten layers of ReLU +variance 2/n +: +([\d.]+)%", 75, 97),
        (r"ten layers of sigmoid variance 1/n +: +([\d.]+)%", 5, 25),
    ],
    13: [(r"α = 0.1 +awake .* in the end +([\d.]+)%", 75, 95), (r"^ReLU +awake .* in the end +([\d.]+)%", 5, 20)],
    14: [(r"deposit some \.\.\. +money ([\d.]+)%", 60, 100)],
}


def name(lesson: lessons.Lesson) -> str:
    return lesson.file.stem


@pytest.fixture(scope="module")
def outputs() -> dict[int, str]:
    """What each lesson has printed, once it has been run."""
    return {}


def test_there_are_lessons_and_their_numbers_run_from_one() -> None:
    assert [lesson.number for lesson in LESSONS] == list(range(1, len(LESSONS) + 1))
    assert len(LESSONS) >= 12
    assert sorted(SHOWN) == [lesson.number for lesson in LESSONS], "each has numbers to check"


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_runs_as_a_script(lesson: lessons.Lesson, outputs: dict[int, str]) -> None:
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", lesson.file]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    outputs[lesson.number] = done.stdout
    missing = [line for line in SHOWN.get(lesson.number, []) if line not in done.stdout]
    assert missing == [], done.stdout
    assert len(done.stdout.splitlines()) > 10
    for pattern, low, high in BETWEEN.get(lesson.number, []):
        found = [float(number) for number in re.findall(pattern, done.stdout, re.MULTILINE)]
        assert found, pattern
        assert low <= min(found) <= max(found) <= high, pattern


def numbers(text: str) -> np.ndarray:
    return np.array(re.findall(r"-?\d+\.\d+(?:e[-+]\d+)?", text), float)


@pytest.mark.slow
def test_lesson_6_has_the_same_numbers_three_times(outputs: dict[int, str]) -> None:
    """By the equations, by nudging, and from the tape."""
    if 6 not in outputs:
        pytest.skip("lesson 6 was not run")
    lines = {line[:17].strip(): numbers(line) for line in outputs[6].splitlines() if line.startswith("by ")}
    assert len(lines["by the equations"]) == 13
    np.testing.assert_array_equal(lines["by the equations"], lines["by nudging"])
    apart = [float(value) for value in re.findall(r"largest difference: (\S+)", outputs[6])]
    assert apart[0] < 1e-7
    assert apart[1] < 1e-15
    factors = next(numbers(line) for line in outputs[6].splitlines() if line.startswith("after / before:"))
    assert len(factors) == 13
    assert len(set(factors)) == 1
    assert factors[0] < 0
    says = next(numbers(line) for line in outputs[6].splitlines() if line.startswith("it says"))
    np.testing.assert_allclose(says, [0, 1, 1, 0], atol=0.02)


@pytest.mark.slow
def test_lesson_7_finds_backpropagation_far_cheaper(outputs: dict[int, str]) -> None:
    if 7 not in outputs:
        pytest.skip("lesson 7 was not run")
    ratios = [float(ratio.replace(",", "")) for ratio in re.findall(r"ms +([\d,]+)$", outputs[7], re.MULTILINE)]
    assert len(ratios) == 5
    assert ratios[-1] > 10 * ratios[0] > 100


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_has_the_form(lesson: lessons.Lesson) -> None:
    first, *pieces = lessons.cells(lesson)
    assert first.heading == lesson.title
    assert "?" in lesson.question
    assert len(pieces) > 4
    for piece in (first, *pieces):
        assert piece.paragraphs
        assert ":math:" not in piece.paragraphs[0], "a terminal shows it"
    change = next(piece for piece in pieces if piece.heading == "Change one thing")
    assert change.paragraphs[0].startswith("Before you run this:")
    assert "?" in change.paragraphs[0]
    assert "# change me" in next(line for line in change.code.splitlines() if line)
    assert pieces[-1].heading == "Read next"
    assert not pieces[-1].code.strip()


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_every_heading_is_taken_for_one(lesson: lessons.Lesson) -> None:
    underlined = re.findall(r"^# (.+)\n# -{3,}$", lesson.file.read_text(encoding="utf-8"), re.MULTILINE)
    assert underlined == [cell.heading for cell in lessons.cells(lesson)[1:] if cell.heading]


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_underlines_are_as_long_as_their_headings(lesson: lessons.Lesson) -> None:
    lines = lesson.file.read_text(encoding="utf-8").splitlines()
    pairs = [(above, line) for above, line in itertools.pairwise(lines) if re.fullmatch(r"(# -{3,}|={3,})", line)]
    assert pairs
    assert [above for above, line in pairs if len(above) != len(line)] == []


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_modules_and_lessons_that_it_names_exist(lesson: lessons.Lesson) -> None:
    text = lesson.file.read_text(encoding="utf-8")
    for dotted in set(re.findall(r"``(chainrule(?:\.\w+)+)", text)):
        parts = dotted.split(".")
        tries = [(".".join(parts[:i]), parts[i:]) for i in range(len(parts), 0, -1)]
        assert any(_reaches(module, rest) for module, rest in tries), dotted
    for number in map(int, re.findall(r"[Ll]esson (\d+)", text)):
        assert 1 <= number <= len(LESSONS)


def _reaches(module: str, rest: list[str]) -> bool:
    try:
        found = __import__(module, fromlist=["_"])
    except ImportError:
        return False
    for part in rest:
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
