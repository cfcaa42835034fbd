"""Every lesson runs, prints what its text says, draws figures, and has the format described in lessons/README.md."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule import lessons

LESSONS = lessons.available()
SHOWN = Path(__file__).parent / "shown"
"""For each lesson, lines of its output that the text refers to; independent of the machine."""


def name(lesson: lessons.Lesson) -> str:
    return lesson.file.stem


@pytest.fixture(scope="module")
def outputs() -> dict[str, str]:
    """The output of each lesson that has been run."""
    return {}


def test_each_lesson_has_a_number_and_a_key_of_its_own() -> None:
    found = [lesson.number for lesson in LESSONS]
    assert found == sorted(set(found))
    assert found[0] == 1
    assert len(LESSONS) >= 14
    assert len({lesson.key for lesson in LESSONS}) == len(LESSONS)
    assert {file.stem for file in SHOWN.iterdir()} == {lesson.file.stem[3:] for lesson in LESSONS}


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_runs_as_a_script(lesson: lessons.Lesson, outputs: dict[str, str]) -> None:
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", lesson.file]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    outputs[lesson.key] = done.stdout
    shown = (SHOWN / f"{lesson.file.stem[3:]}.txt").read_text(encoding="utf-8").splitlines()
    assert shown
    missing = [line for line in shown if line not in done.stdout]
    assert missing == [], done.stdout
    assert len(done.stdout.splitlines()) > 10


def numbers(text: str) -> np.ndarray:
    return np.array(re.findall(r"-?\d+\.\d+(?:e[-+]\d+)?", text), float)


@pytest.mark.slow
def test_backpropagation_has_the_same_numbers_three_times(outputs: dict[str, str]) -> None:
    """By the equations, by nudging, and from the tape."""
    text = printed(outputs, "backpropagation")
    tables = [part.splitlines() for part in text.split("slope of the cost in")[1:]]
    by_nudging, from_tape, other_answer = (
        np.array([numbers(line) for line in table if re.match("[zWb][¹²],", line)]) for table in tables
    )
    assert by_nudging.shape == (13, 2)
    np.testing.assert_array_equal(*by_nudging.T)
    assert from_tape.shape == (4 + 13, 2)
    np.testing.assert_allclose(*from_tape.T, rtol=0, atol=2e-15)  # fifteen decimals
    apart = [float(value) for value in re.findall(r"largest difference: (\S+)", text)]
    assert apart[0] < 1e-7
    assert apart[1] < 1e-15
    assert other_answer.shape == (13, 3)
    assert set(other_answer[:, 2]) == {-0.8159}
    says = next(numbers(line) for line in text.splitlines() if line.startswith("it says"))
    np.testing.assert_allclose(says, [0, 1, 1, 0], atol=0.02)


@pytest.mark.slow
def test_why_it_is_fast_finds_backpropagation_far_cheaper(outputs: dict[str, str]) -> None:
    text = printed(outputs, "why-it-is-fast")
    ratios = [float(ratio.replace(",", "")) for ratio in re.findall(r"ms +([\d,]+)$", text, re.MULTILINE)]
    assert len(ratios) == 5
    assert ratios[-1] > 10 * ratios[0] > 100


def printed(outputs: dict[str, str], key: str) -> str:
    if key not in outputs:
        pytest.skip(f"the lesson {key} was not run")
    return outputs[key]


def find_numbers(pattern: str, text: str) -> np.ndarray:
    """The numbers in the groups of all matches of a pattern: (matches,) or (matches, groups)."""
    return np.array(re.findall(pattern, text, re.MULTILINE), float)


@pytest.mark.slow
def test_stochastic_gradient_descent_measures_what_theory_says(outputs: dict[str, str]) -> None:
    text = printed(outputs, "stochastic-gradient-descent")
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
def test_the_network_reads_digits_reads_digits(outputs: dict[str, str]) -> None:
    text = printed(outputs, "the-network-reads-digits")
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
def test_four_ways_has_the_same_numbers_in_every_way(outputs: dict[str, str]) -> None:
    text = printed(outputs, "four-ways")
    apart = find_numbers(r"largest difference from by hand: losses (\S+), weights and biases (\S+)$", text)
    assert len(apart) == 2 + ("PyTorch" in text.partition("ways:")[2].splitlines()[0])
    assert apart.max() < 1e-12
    rows = [numbers(line) for line in text.splitlines() if re.match(r" +\d+( +\d\.\d{12})+$", line)]
    assert len(rows) == 7
    for row in rows:
        assert np.ptp(row) < 1e-11
    assert rows[-1][0] < rows[0][0] / 10


@pytest.mark.slow
def test_four_ways_goes_on_without_pytorch() -> None:
    file = str(lessons.find("four-ways").file)
    code = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({file!r}, run_name='__main__')"
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch is not installed" in done.stdout
    assert "ways: by hand, engine, compiled\n" in done.stdout
    assert "200 images a step, compiled" in done.stdout


@pytest.mark.slow
def test_the_convolutional_network_minds_a_move_less_with_filters(outputs: dict[str, str]) -> None:
    text = printed(outputs, "the-convolutional-network")
    assert find_numbers(r"after 6,000 images: ([\d.]+)% read right", text) > 90
    moved = find_numbers(r"^ +(\d) +([\d.]+)% +([\d.]+)%$", text)
    assert moved[:, 0].tolist() == [0, 1, 2, 3]
    lost = moved[0] - moved[3]
    assert lost[1] < lost[2] - 10
    assert (moved[:, 1] > moved[:, 2]).all()
    probabilities = find_numbers(r"\d: ([\d.]+)%", text.partition("probabilities:")[2])
    assert probabilities.argmax() == 7


@pytest.mark.slow
def test_vanishing_gradients_shows_what_fades_and_what_does_not(outputs: dict[str, str]) -> None:
    text = printed(outputs, "vanishing-gradients")
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
def test_dead_neurons_counts_the_dead_and_revives_them(outputs: dict[str, str]) -> None:
    text = printed(outputs, "dead-neurons")
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
    ("key", "rate", "larger"),
    [
        ("the-convolutional-network", "lr=0.002", "lr=1e30"),
        ("vanishing-gradients", "rate=0.1", "rate=1e30"),
        ("dead-neurons", "epoch(net, 0.7,", "epoch(net, 1e30,"),
    ],
)
def test_a_reader_who_goes_too_far_is_told_and_not_shown_a_count(key: str, rate: str, larger: str) -> None:
    """NaN would give plausible results: no dead neurons, and a tenth of the images read right."""
    source = lessons.find(key).file.read_text(encoding="utf-8")
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
def test_the_next_word_says_money_and_knows_its_sentences_by_heart(outputs: dict[str, str]) -> None:
    text = printed(outputs, "the-next-word")
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
        for paragraph in piece.paragraphs:
            assert not re.search(r":\w+:`|``|\*\*|\.\. \w+::|\\[a-z]", paragraph), "a terminal shows it"
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
def test_modules_that_it_names_exist(lesson: lessons.Lesson) -> None:
    text = lesson.file.read_text(encoding="utf-8")
    for dotted in set(re.findall(r"``(chainrule(?:\.\w+)+)", text)):
        parts = dotted.split(".")
        tries = [(".".join(parts[:i]), parts[i:]) for i in range(len(parts), 0, -1)]
        assert any(_reaches(module, rest) for module, rest in tries), dotted


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_lessons_that_it_refers_to_exist_and_none_is_a_typed_number(lesson: lessons.Lesson) -> None:
    text = lesson.file.read_text(encoding="utf-8")
    assert re.findall(r"\b[Ll]essons? \d+", text) == [], "write :lesson:`key`, which stays true"
    numbers = {entry.key: entry.number for entry in LESSONS}
    assert [role for role in re.findall(r":[Ll]esson:`([^`]*)`", text) if role not in numbers] == []
    prerequisites = lessons.PREREQUISITES.search(text.split('"""', 2)[1])
    assert prerequisites, "the docstring ends with the lessons that this one builds on"
    assert bool(lesson.prerequisites) == (prerequisites[1] != "none")
    assert all(numbers[key] < lesson.number for key in lesson.prerequisites)


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
