"""Every lesson runs, prints what its text says, draws figures, and has the format described in lessons/README.md."""

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
SHOWN = {  # output that the text refers to; independent of the machine
    1: [
        "upright stroke   Σ w x = +2 +2 +2                   =  6.0",
        "all ink          Σ w x = -1 +2 -1 -1 +2 -1 -1 +2 -1 =  0.0",
        "in gray          z =  0.0   activation 0.5000",
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
        "bias -0.7835",
        "with the mistake, after 200 steps: bias -0.4466 and loss 0.0304",
        "epoch 200: loss 0.0255 from the small weights, 0.1303 from 40 times as large ones",
    ],
    6: [
        "6 + 3 + 3 + 1 = 13 numbers to learn",
        "hidden neuron 1: z¹ = 0.5 · 1.0 + (-1.0) · 0.5 + 0.1 = 0.10, h = σ(0.10) = 0.5250",
        "= -0.2035, ŷ = σ(-0.2035) = 0.4493",
        "C = ½ (0.4493 - 1)² = 0.1516",
        "δ of the output: -0.000136 / 0.001 = -0.136",
        "δ² = (0.4493 - 1) · 0.4493 · (1 - 0.4493) = -0.1363",
        "∂C/∂w of the wire from hidden neuron 2: -0.1363 · 0.7773 = -0.1059",
        "∂C/∂b of the output: -0.1363",
        "δ¹ of hidden neuron 2: (-0.1363) · (-1.5) · 0.7773 · (1 - 0.7773) = 0.0354",
        "hidden neuron 3: ∂C/∂w: -0.0170 · 1.0 = -0.0170 and -0.0170 · 0.5 = -0.0085, ∂C/∂b: -0.0170",
        "after the step:  ŷ = 0.5322, C = 0.1094",
        "C by hand 0.151629906096, by the library 0.151629906096",
        "z², output (δ²)                  -0.136257573674738   -0.136257573674738",
        "b², output                             -0.1363          0.1112         -0.8159",
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
    8: [
        "1,000 examples, 33.5% of them went well",
        "gradient of all of them: (-0.0740, 0.0774)",
        "all 1,000 a step    3 steps: loss 0.5313 to 0.4283",
        "the lowest loss there is: 0.1425",
    ],
    9: [
        "50,000 training, 10,000 validation and 10,000 test examples",
        "an example: pixels (784, 1), answer (10, 1), which is [0 0 0 0 0 1 0 0 0 0]: a 5",
        "weights and biases: 23,860",
        "in the top row 0.0285, in the middle 0.3",
        "when new 0.0285",
    ],
    10: [
        "ways: by hand, engine, compiled",
        "   1        1.334001078817    1.334001078817    1.334001078817",
        "matrix product",
    ],
    11: [
        "same picture, moved by three: True",
        "Conv2d     32 × 28 × 28       832 weights and biases",
        "MaxPool2d  32 × 14 × 14 ",
        "Conv2d     64 × 14 × 14    51,264 weights and biases",
        "MaxPool2d  64 × 7 × 7 ",
        "Flatten    3136 ",
        "Linear     10              31,370 weights and biases",
        "they add up to 1.0000",
    ],
    12: [
        "layer  1: slope σ′ = 0.2350, product of all so far 2.35e-01",
        "layer 10: slope σ′ = 0.2247, product of all so far 3.48e-07",
        "at best it would have been ¼ to the power of 10 = 9.54e-07",
    ],
    13: [
        "ReLU                  loss 1.3469 at first, 1.3469 after 1,000 steps; w = 1.0000, b = -3.0000",
        "leaky ReLU, α = 0.01  loss 1.3941 at first, 0.0000 after 1,000 steps; w = 2.0000, b = 0.0000",
        "awake from step 118 on",
    ],
    14: [
        "    deposit       16",
        "    some money    28",
        "    deposit some   0",
        "490 words and the full stop; 3,336 examples",
        "44,955 weights and biases",
        "new, its loss is 6.3149: as unsure as among 553 words, of 491 that it has",
        "    the children ran to the sea   (it has read this)",
    ],
}


def name(lesson: lessons.Lesson) -> str:
    return lesson.file.stem


@pytest.fixture(scope="module")
def outputs() -> dict[int, str]:
    """The output of each lesson that has been run."""
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


def numbers(text: str) -> np.ndarray:
    return np.array(re.findall(r"-?\d+\.\d+(?:e[-+]\d+)?", text), float)


@pytest.mark.slow
def test_lesson_6_has_the_same_numbers_three_times(outputs: dict[int, str]) -> None:
    """By the equations, by nudging, and from the tape."""
    if 6 not in outputs:
        pytest.skip("lesson 6 was not run")
    tables = [part.splitlines() for part in outputs[6].split("slope of the cost in")[1:]]
    by_nudging, from_tape, other_answer = (
        np.array([numbers(line) for line in table if re.match("[zWb][¹²],", line)]) for table in tables
    )
    assert by_nudging.shape == (13, 2)
    np.testing.assert_array_equal(*by_nudging.T)
    assert from_tape.shape == (4 + 13, 2)
    np.testing.assert_allclose(*from_tape.T, rtol=0, atol=2e-15)  # fifteen decimals
    apart = [float(value) for value in re.findall(r"largest difference: (\S+)", outputs[6])]
    assert apart[0] < 1e-7
    assert apart[1] < 1e-15
    assert other_answer.shape == (13, 3)
    assert set(other_answer[:, 2]) == {-0.8159}
    says = next(numbers(line) for line in outputs[6].splitlines() if line.startswith("it says"))
    np.testing.assert_allclose(says, [0, 1, 1, 0], atol=0.02)


@pytest.mark.slow
def test_lesson_7_finds_backpropagation_far_cheaper(outputs: dict[int, str]) -> None:
    if 7 not in outputs:
        pytest.skip("lesson 7 was not run")
    ratios = [float(ratio.replace(",", "")) for ratio in re.findall(r"ms +([\d,]+)$", outputs[7], re.MULTILINE)]
    assert len(ratios) == 5
    assert ratios[-1] > 10 * ratios[0] > 100


def printed(outputs: dict[int, str], number: int) -> str:
    if number not in outputs:
        pytest.skip(f"lesson {number} was not run")
    return outputs[number]


def find_numbers(pattern: str, text: str) -> np.ndarray:
    """The numbers in the groups of all matches of a pattern: (matches,) or (matches, groups)."""
    return np.array(re.findall(pattern, text, re.MULTILINE), float)


@pytest.mark.slow
def test_lesson_8_measures_what_theory_says(outputs: dict[int, str]) -> None:
    text = printed(outputs, 8)
    table = find_numbers(r"^ +(\d+)   (\d\.\d+e-\d+)   (\d\.\d+e-\d+)   \d\.\d+$", text)
    assert table[:, 0].tolist() == [1, 4, 16, 64, 256, 900]
    np.testing.assert_allclose(table[:, 1], table[:, 2], rtol=0.1)  # 2,000 draws each
    away = find_numbers(r"([\d.]+)% away", text)
    assert away[-1] < 1 < away[0]
    digits = find_numbers(r"^ +(\d+) +(\d+\.\d{4}) +\d+\.\d{2} +(\d\.\d{4})$", text)
    new, learned = digits[:5], digits[5:]
    for part, tolerance in ((new, 0.15), (learned, 0.3)):  # noisier, because few images dominate
        law = part[0, 1] / part[:, 0] * (2000 - part[:, 0]) / 1999
        np.testing.assert_allclose(part[:, 1], law, rtol=tolerance)
        assert (np.diff(part[:, 2]) > 0).all()
    assert (new[:, 2] > learned[:, 2]).all()
    assert find_numbers(r"10 a step +300 steps: loss 0\.5313 to (.+)$", text) < 0.15
    second, tenth = find_numbers(r"second epoch (\d\.\d+) ± \d\.\d+, tenth (\d\.\d+)", text).T  # 1, 10, 100 a step
    assert second.argmin() == 1
    assert tenth.argmin() == 2
    assert tenth.argmax() == 0


@pytest.mark.slow
def test_lesson_9_reads_digits(outputs: dict[int, str]) -> None:
    text = printed(outputs, 9)
    assert find_numbers(r"new, it reads (\d+) of", text) < 2000
    epochs = find_numbers(r"^Epoch \d: (\d+) / 10000", text)
    assert len(epochs) == 8
    assert epochs[0] > 9200
    assert epochs[-1] > 9500
    assert find_numbers(r"^read right: (\d+) of 10,000", text) > 9400
    training, validation = find_numbers(r"images read right: +([\d.]+)%", text)
    assert training > validation
    quick, slow = find_numbers(r"right after one epoch, (\d+) after two", text)
    assert quick > 9000 > 6000 > slow
    assert slow > 1.5 * find_numbers(r"(\d+) right after seven steps", text)


@pytest.mark.slow
def test_lesson_10_has_the_same_numbers_in_every_way(outputs: dict[int, str]) -> None:
    text = printed(outputs, 10)
    apart = find_numbers(r"largest difference from by hand: losses (\S+), weights and biases (\S+)$", text)
    assert len(apart) == 2 + ("PyTorch" in text.partition("ways:")[2].splitlines()[0])
    assert apart.max() < 1e-12
    rows = [numbers(line) for line in text.splitlines() if re.match(r" +\d+( +\d\.\d{12})+$", line)]
    assert len(rows) == 7
    for row in rows:
        assert np.ptp(row) < 1e-11
    assert rows[-1][0] < rows[0][0] / 10


@pytest.mark.slow
def test_lesson_10_goes_on_without_pytorch() -> None:
    file = next(str(lesson.file) for lesson in LESSONS if lesson.number == 10)
    code = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({file!r}, run_name='__main__')"
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch is not installed" in done.stdout
    assert "ways: by hand, engine, compiled\n" in done.stdout
    assert "200 images a step, compiled" in done.stdout


@pytest.mark.slow
def test_lesson_11_minds_a_move_less_with_filters(outputs: dict[int, str]) -> None:
    text = printed(outputs, 11)
    assert find_numbers(r"after 6,000 images: ([\d.]+)% read right", text) > 90
    moved = find_numbers(r"^ +(\d) +([\d.]+)% +([\d.]+)%$", text)
    assert moved[:, 0].tolist() == [0, 1, 2, 3]
    lost = moved[0] - moved[3]
    assert lost[1] < lost[2] - 10
    assert (moved[:, 1] > moved[:, 2]).all()
    probabilities = find_numbers(r"\d: ([\d.]+)%", text.partition("probabilities:")[2])
    assert probabilities.argmax() == 7


@pytest.mark.slow
def test_lesson_12_shows_what_fades_and_what_does_not(outputs: dict[int, str]) -> None:
    text = printed(outputs, 12)
    number = r"(\d\.\de[-+]\d+)"
    born = find_numbers(rf"^ +\d+ +{number} +{number} +{number}$", text)  # layers × sigmoid, tanh, ReLU
    suited = find_numbers(rf"^ +\d+ +{number} +{number} +{number} +{number}$", text)  # sigmoid twice, tanh, ReLU
    assert len(born) == len(suited) == 10
    assert born[0, 0] < 1e-6 * born[9, 0]
    assert suited[0, 0] < 1e-4 * suited[9, 0]
    for column in suited[:, 2:].T:
        assert column.max() < 10 * column.min()
    assert suited[:, 3].min() > 100 * born[:, 2].max()
    shares = dict(re.findall(r"^ten layers of (.+): +([\d.]+)% read right$", text, re.MULTILINE))
    share = {" ".join(name.split()): float(value) for name, value in shares.items()}
    assert min(share["tanh variance 1/n"], share["ReLU variance 2/n"]) > 75
    assert max(value for name, value in share.items() if "sigmoid" in name) < 30
    assert max(value for name, value in share.items() if "1/(3n)" in name) < 50


@pytest.mark.slow
def test_lesson_13_counts_the_dead_and_revives_them(outputs: dict[int, str]) -> None:
    text = printed(outputs, 13)
    assert find_numbers(r"after one epoch: (\d+) of the first layer's", text) > 0
    assert find_numbers(r"largest slope in any weight of the \d+ dead: (\S+)$", text) == 0
    rows = {line[:18].strip(): line for line in text.splitlines() if ", rate " in line}
    silent = {name: find_numbers(r"(\d+)%", line[18:44]) for name, line in rows.items()}
    assert len(silent) == 6
    assert silent["ReLU, rate 0.8"][-1] > 5
    assert (np.diff(silent["ReLU, rate 0.8"]) >= 0).all(), "who is dead next to the pixels stays dead"
    assert silent["ReLU, rate 0.1"].max() < 5
    orders = re.findall(r"^(ReLU|α = 0\.01|α = 0\.1) +order \d: +(\d+) +(\d+) +(\d+) +(\d+) +read", text, re.MULTILINE)
    counts = {slope: np.array([row[1:] for row in orders if row[0] == slope], int) for slope, *_ in orders}
    diverged = len(re.findall(r"order \d: diverged in epoch \d+$", text, re.MULTILINE))  # depends on the processor
    assert sum(len(rows) for rows in counts.values()) + diverged == 9
    assert len(counts) == 3
    assert (np.diff(counts["ReLU"], axis=1) >= 0).all()
    assert counts["α = 0.01"][:, -1].min() > 30, "a hundredth does not bring them back"
    assert counts["α = 0.1"][:, -1].max() < 10
    assert "the accident: 100 dead" in text
    end = find_numbers(r"read right in the end +([\d.]+)%", text)  # ReLU, α = 0.01, α = 0.1
    awake = find_numbers(r"awake after each epoch \[.*?(\d+)\]", text)
    assert end[0] < 15
    assert awake[0] == 0
    assert end[1:].min() > 60
    assert awake[1:].min() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "rate", "larger"),
    [(11, "lr=0.002", "lr=1e30"), (12, "rate=0.1", "rate=1e30"), (13, "epoch(net, 0.7,", "epoch(net, 1e30,")],
)
def test_a_reader_who_goes_too_far_is_told_and_not_shown_a_count(number: int, rate: str, larger: str) -> None:
    """NaN would give plausible results: no dead neurons, and a tenth of the images read right."""
    source = next(lesson.file for lesson in LESSONS if lesson.number == number).read_text(encoding="utf-8")
    assert source.count(rate) == 1
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "ignore", "-c", source.replace(rate, larger)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=200)
    assert done.returncode == 1
    assert re.search(
        r"ValueError: the network has diverged, its \w+ are not finite; try a smaller learning rate\n$",
        done.stderr,
    )


@pytest.mark.slow
def test_lesson_14_says_money_and_knows_its_sentences_by_heart(outputs: dict[int, str]) -> None:
    text = printed(outputs, 14)
    best = dict(re.findall(r"^(.+) \.\.\.  (\w+) \d", text, re.MULTILINE))
    assert best["i am going to the bank to deposit some"] == "money"
    assert best["i sat on the bank of the"] == "river"
    assert find_numbers(r"deposit some \.\.\.  money ([\d.]+)%", text) > 50
    assert find_numbers(r"bakery to deposit some money +([\d.]+)%", text) < 90
    seen, unseen = find_numbers(r"among +([\d.]+) words where it learned, +([\d.]+) where it did not", text).T
    assert (np.diff(seen) < 0).all()
    assert unseen[1] < unseen[0]
    assert unseen[1] < unseen[2]


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
        value = __import__(module, fromlist=["_"])
    except ImportError:
        return False
    for part in rest:
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True
