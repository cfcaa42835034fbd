"""Every lesson runs, prints what its text says, draws figures, and has the format described in lessons/README.md."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule import lessons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LESSONS = lessons.available()
SHOWN = Path(__file__).parent / "shown"
"""For each lesson, lines of its output that the text refers to; independent of the machine."""


def name(lesson: lessons.Lesson) -> str:
    return lesson.file.stem


ENVIRONMENT = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}


def as_script(lesson: lessons.Lesson) -> str:
    """A program that runs a lesson as a script."""
    return f"import runpy, sys; runpy.run_path({str(lesson.file)!r}, run_name='__main__')"


def run_alone(program: str) -> tuple[int, str, str]:
    """Run a program in a Python of its own: the exit code, what it prints to standard output, and to standard error."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False, timeout=200)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[int, str, str]]]:
    """The same as `run_alone`; on Linux in forks of one process (scripts.py)."""
    if not sys.platform.startswith("linux"):
        yield run_alone
        return
    root = Path(__file__).parents[2]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    program = [sys.executable, "-W", "error", "-m", "tests.lessons.scripts", str(tmp_path_factory.mktemp("here"))]
    with subprocess.Popen(
        program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(program: str) -> tuple[int, str, str]:
            print(json.dumps(program), file=process.stdin, flush=True)
            code, out, err = json.loads(process.stdout.readline())
            return code, out, err

        yield run
        process.stdin.close()


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
def test_runs_as_a_script(
    lesson: lessons.Lesson, run_program: Callable[[str], tuple[int, str, str]], outputs: dict[str, str]
) -> None:
    code, out, err = run_program(as_script(lesson))
    assert (code, err) == (0, "")
    outputs[lesson.key] = out
    shown = (SHOWN / f"{lesson.file.stem[3:]}.txt").read_text(encoding="utf-8").splitlines()
    assert shown
    missing = [line for line in shown if line not in out]
    assert missing == [], out
    assert len(out.splitlines()) > 10


def test_runs_in_a_python_of_its_own(outputs: dict[str, str]) -> None:
    assert run_alone(as_script(LESSONS[0])) == (0, printed(outputs, LESSONS[0].key), "")


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
    assert by_nudging.shape == (17, 2)
    np.testing.assert_array_equal(*by_nudging.T)
    assert from_tape.shape == (5 + 17, 2)
    np.testing.assert_allclose(*from_tape.T, rtol=0, atol=2e-15)  # fifteen decimals
    apart = [float(value) for value in re.findall(r"largest difference: (\S+)", text)]
    assert apart[0] < 1e-7
    assert apart[1] < 1e-15
    assert other_answer.shape == (17, 3)
    factors = other_answer[:, 2].tolist()
    assert factors.count(1.0) == 4, "those of output 2"
    assert factors.count(-0.8159) == 4, "those of output 1"
    assert len(set(factors)) == 5, "and one for each hidden neuron"
    says = [numbers(line) for line in text.splitlines() if line.startswith("it says")]
    np.testing.assert_allclose(says, [[0, 1, 1, 0], [0, 0, 0, 1]], atol=0.02)


@pytest.mark.slow
def test_your_own_tape_has_the_librarys_numbers_and_those_of_backpropagation(outputs: dict[str, str]) -> None:
    text = printed(outputs, "your-own-tape")
    assert find_numbers(r"largest difference of the 17: (\S+)$", text) < 1e-15
    pairs = find_numbers(r"^slope of the .+? {2,}(-?[\d.e-]+) +(-?[\d.e-]+)$", text)
    assert len(pairs) == 4
    np.testing.assert_allclose(*pairs.T, rtol=1e-14)
    costs = find_numbers(r"^cost before step +\d+: ([\d.]+), by the library ([\d.]+)$", text)
    np.testing.assert_allclose(*costs.T, rtol=1e-9)
    assert (np.diff(costs[:, 0]) < 0).all()
    assert find_numbers(r"the 17 numbers are at most (\S+) apart", text) < 1e-12
    by_hand = printed(outputs, "backpropagation")
    for layer, line in (("²", "slopes of the outputs' biases:"), ("¹", "slopes of the hidden biases:")):
        deltas = find_numbers(rf"^b{layer}, \D+ \d +(-?\d\.\d{{4}}) +-?\d\.\d{{4}}$", by_hand)
        np.testing.assert_array_equal(numbers(next(row for row in text.splitlines() if row.startswith(line))), deltas)


STATED = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?![\d,])|(?<![\w.,])\d+\.\d+(?:e[-+]\d+)?(?![\w.])")
FIRST = [lesson for lesson in LESSONS if lesson.number <= 8]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", FIRST, ids=name)
def test_every_number_of_the_text_is_printed(lesson: lessons.Lesson, outputs: dict[str, str]) -> None:
    """Decimals and thousands in the text stand in the output, or in the code as settings; formulas are not checked."""
    cells = lessons.cells(lesson)
    shown = printed(outputs, lesson.key) + "".join(cell.code.replace("_", "") for cell in cells)
    known = {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", shown)}
    known |= {float(number) for number in re.findall(r"\d+\.\d+", shown)}  # 2.64 of 2.64e-02
    text = " ".join(paragraph for cell in cells for paragraph in cell.paragraphs if not paragraph.startswith(".. math"))
    stated = STATED.findall(re.sub(r":math:`.*?`", "", text))
    assert [number for number in stated if float(number.replace(",", "")) not in known] == []


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
def test_four_ways_goes_on_without_pytorch(run_program: Callable[[str], tuple[int, str, str]]) -> None:
    code, out, err = run_program(f"import sys; sys.modules['torch'] = None; {as_script(lessons.find('four-ways'))}")
    assert (code, err) == (0, "")
    assert "torch is not installed" in out
    assert "ways: by hand, engine, compiled\n" in out
    assert "200 images a step, compiled" in out


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
        ("learning-better", "rate=0.5,", "rate=1e30,"),
        ("deeper-networks", "rate=0.1", "rate=1e30"),
        ("attention", "lr=0.03", "lr=1e300"),
        ("a-small-gpt", "lr=0.005", "lr=1e30"),
    ],
)
def test_a_reader_who_goes_too_far_is_told_and_not_shown_a_count(
    run_program: Callable[[str], tuple[int, str, str]], key: str, rate: str, larger: str
) -> None:
    """NaN would give plausible results: no dead neurons, and a tenth of the images read right."""
    source = lessons.find(key).file.read_text(encoding="utf-8")
    assert source.count(rate) == 1
    ignoring_warnings = "import warnings; warnings.simplefilter('ignore')\n"
    code, _, err = run_program(ignoring_warnings + source.replace(rate, larger))
    assert code == 1
    assert re.search(
        r"ValueError: the network has diverged, its \w+ (?:are|is) not finite; try a smaller learning rate\n$", err
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
    assert [lessons.plain_text(heading) for heading in underlined] == [
        cell.heading for cell in lessons.cells(lesson)[1:] if cell.heading
    ]


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


@pytest.mark.slow
def test_any_curve_errs_less_with_more_neurons(outputs: dict[str, str]) -> None:
    text = printed(outputs, "any-curve")
    bumps = find_numbers(r"^ +(\d+) +(\d+) +(\d\.\d{4})$", text)
    assert bumps[:, 0].tolist() == [5, 10, 20, 40, 80]
    assert bumps[:, 1].tolist() == (2 * bumps[:, 0]).tolist()
    halves = bumps[1:-1, 2] / bumps[2:, 2]
    assert ((halves > 1.7) & (halves < 2.1)).all()
    hinges = find_numbers(r"^ +(\d+) +(\d\.\d{4})$", text)
    assert (hinges[:-1, 1] / hinges[1:, 1] > 3).all()
    by_descent, by_hand = find_numbers(r"largest error (\d\.\d{4})$", text)[:2]
    assert by_descent < 0.05 < 0.2 < by_hand
    starts = find_numbers(r"^ *(\d+) neurons +(\d\.\d+) +(\d\.\d+) +(\d\.\d+)$", text)
    assert starts[-1, 1:].max() < 0.1
    assert starts[1, 1:].max() > 2 * starts[1, 1:].min(), "the same size succeeds from one start and not from another"
    (beyond,) = find_numbers(r"^at x = 3\.0: the curve (\S+), the network (\S+)$", text)
    assert abs(beyond[0] - beyond[1]) > 0.5
    assert find_numbers(r"^at its ten points, it is (\S+) from", text) < 0.01
    assert find_numbers(r"^between them it is up to (\S+) from", text) > 0.1
    assert 0.1 < find_numbers(r"^2 neurons, the best .* error (\S+)$", text) < 0.3, "the wave, without the wiggles"


@pytest.mark.slow
def test_learning_better_measures_each_cure(outputs: dict[str, str]) -> None:
    text = printed(outputs, "learning-better")
    squares, entropy = find_numbers(r"^(?:squared error|cross entropy) {30,}(\S+)%  +(\S+)%  +(\S+)%  +(\S+)%$", text)
    assert entropy[0] > squares[0] + 15, "ahead at the start"
    assert abs(entropy[-1] - squares[-1]) < 3, "and little between them at the end"
    by_heart = find_numbers(
        r"^after epoch +(\d+): loss (\S+) where .*, (\S+) where not; right +(\S+)% and (\S+)%$", text
    )
    assert by_heart[-1, 3] == 100
    assert (np.diff(by_heart[:, 1]) < 0).all()
    (lowest,) = find_numbers(r"lowest after epoch (\d+): (\S+)$", text)
    assert lowest[0] < 30
    assert lowest[1] < by_heart[-1, 2] - 0.02
    cures = find_numbers(r"^(?:1,000 im|stopped|weight d|dropout|8,000 im)\D+(\d+) +(\S+)% +(\S+)% +(\d\.\d{4})$", text)
    few, stopped, decay, dropout, many = cures
    assert few[3] > decay[3]
    assert decay[3] < stopped[3] + 0.02
    assert abs(dropout[3] - few[3]) < 0.06
    assert np.ptp(cures[:4, 2]) < 2.5
    assert many[2] > cures[:4, 2].max() + 3
    assert many[3] < cures[:4, 3].min() - 0.1
    stronger = find_numbers(r"^decay \S+ +right where it learned +(\S+)%, where not +(\S+)%", text)
    assert (stronger[-1] < stronger[0]).all()


@pytest.mark.slow
def test_deeper_networks_need_both_inventions(outputs: dict[str, str]) -> None:
    text = printed(outputs, "deeper-networks")
    rows = r"^(?:plain|normalized|shortcuts|both)"
    norms = find_numbers(rf"{rows} +(\S+e\S+) +(\S+e\S+) +(\S+e\S+) +(\S+e\S+)$", text)
    plain, normalized, shortcuts, both = norms
    assert plain.max() < 1e-9
    assert normalized[0] > 10 * normalized[2] > 30 * normalized[3]
    assert min(norm.min() for norm in (normalized, shortcuts, both)) > 1e-3
    assert max(np.ptp(np.log(norm[1:])) for norm in (shortcuts, both)) < np.ptp(np.log(normalized[1:]))
    shares = find_numbers(rf"{rows} +(\S+)% +(\S+)% +(\S+)%$", text)  # 4, 10 and 30 layers
    assert shares[0, 1:].max() < 20
    assert shares[1:, :2].min() > 70, "one is enough for ten layers"
    assert shares[1:3, 2].max() < 75
    assert shares[3].min() > 80
    assert shares[3, 2] < shares[3, 0] + 4, "thirty are not better than four"
    slower = dict(re.findall(r"a fifth of the learning rate, (\w+) +(\S+)% read right$", text, re.MULTILINE))
    assert float(slower["shortcuts"]) > 65
    assert float(slower["normalized"]) < 60
    assert normalized[0] > 100 * normalized[3]
    assert shortcuts[3] > 3 * both[3]
    larger = dict(re.findall(r"times 10, (\w+) +(.+?)(?:% read right)?$", text, re.MULTILINE))
    assert all(larger[name] == "diverged" or float(larger[name]) < 30 for name in ("plain", "shortcuts"))
    assert float(larger["both"]) > 60
    assert float(larger["both"]) > float(larger["normalized"]) > 25


@pytest.mark.slow
def test_optimizers_move_as_the_text_says(outputs: dict[str, str]) -> None:
    text = printed(outputs, "optimizers")
    race = find_numbers(r", rate \S+ +(\S+e\S+) +(\S+e\S+) +(\S+e\S+) +(\S+e\S+) +(\S+e\S+)$", text)
    plain, momentum, rms, adam = race
    assert max(momentum[3], adam[3]) < plain[3] / 50
    assert rms[4] < rms[3] / 100, "RMSprop was there and did not stay"
    families = {
        family: find_numbers(rf"^{family}, rate \S+ +\S*?(\d\.\d{{4}}) *(\d\.\d{{4}})$", text)
        for family in ("plain", "momentum", "RMSprop", "Adam")
    }
    best = {family: losses[:, 1].min() for family, losses in families.items()}
    assert all(len(losses) == 3 for losses in families.values())
    assert max(best.values()) < 0.3
    for losses in families.values():
        assert losses[0, 1] > 2 * losses[:, 1].min(), "the smallest rate costs more than another rule gains"
    passes = find_numbers(r"passes the bottom (\d+) times", text)
    assert passes[0] < passes[1] < passes[2]


@pytest.mark.slow
def test_your_own_photo_reads_what_care_prepares(outputs: dict[str, str]) -> None:
    text = printed(outputs, "your-own-photo")
    assert re.search(r"^read as 7, with ", text, re.MULTILINE)
    for fault in ("dark pen", "faint pencil", "ruled paper", "chalk", "grainy"):
        assert re.search(rf"^{fault} +without care: no digit +with care: 4 \(", text, re.MULTILINE), fault
    for thing in ("a letter", "a heart"):
        assert re.search(rf"^{thing} .*with care: no digit \(", text, re.MULTILINE), thing
    for care in ("only shrunk", "inverted and stretched"):
        assert not re.search(rf"^{care} +7", text, re.MULTILINE)
    faded = re.findall(r"% faded: (\d|no digit) \(", text)
    assert faded[:4] == ["8"] * 4
    assert faded[-1] == "3"
    found = re.findall(r"^noise (\S+), pencil (\S+), .*paler: (4|the picture)", text, re.MULTILINE)
    pens = {
        level: [pen for noise, pen, what in found if noise == level and what == "4"] for level in ("0.010", "0.005")
    }
    assert pens == {"0.010": ["0.70", "0.78", "0.80"], "0.005": ["0.70", "0.78", "0.80", "0.82"]}


@pytest.mark.slow
def test_attention_learns_where_to_look(outputs: dict[str, str]) -> None:
    text = printed(outputs, "attention")
    by_attention, by_average = find_numbers(
        r"right before learning +(\S+)%, .* 100 steps +(\S+)%, after 600 +(\S+)%$", text
    )
    assert by_attention[0] < 25
    assert by_attention[2] > 99
    (blind,) = find_numbers(r"any of the four would be right (\S+)% of", text)
    assert abs(by_average[2] - blind) < 8
    assert find_numbers(r"^mean weight on the entry that was asked for: (\S+)$", text) > 0.95


@pytest.mark.slow
def test_a_small_gpt_passes_the_table_of_pairs(outputs: dict[str, str]) -> None:
    text = printed(outputs, "a-small-gpt")
    losses = find_numbers(r"^after +(\d+) steps: loss (\d\.\d{4})", text)
    assert losses[:, 0].tolist() == [0, 100, 250, 500]
    assert (np.diff(losses[:, 1]) < 0).all()
    (pairs, gpt, seen) = find_numbers(r"^the table of pairs: (\S+); the GPT: (\S+); on names .*: (\S+)$", text)[0]
    assert losses[1, 1] < pairs
    assert gpt < pairs - 0.15
    assert seen < gpt
    written = find_numbers(r"(\d+) different of (\d+); (\d+)% in its list, (\d+)% held out$", text)
    assert len(written) == 4
    assert written[0, 0] < written[1:, 0].min(), "at a low temperature it repeats itself"
    assert written[0, 2] > written[2, 2] > written[3, 2] - 3
    assert find_numbers(r"^without positions: loss (\S+),", text) > gpt + 0.1
    judged = dict(re.findall(r"^(\w+) +loss per letter (\d\.\d+)", text, re.MULTILINE))
    assert float(judged["xqzvk"]) > 2 * float(judged["maria"])
    (short,) = find_numbers(r"^letters seen: 1; loss (\S+),", text)
    assert pairs - 0.02 < short < pairs + 0.15


@pytest.mark.slow
def test_a_small_gpt_goes_on_without_the_names(run_program: Callable[[str], tuple[int, str, str]]) -> None:
    code, out, err = run_program(f"import sys; sys.modules['names'] = None; {as_script(lessons.find('a-small-gpt'))}")
    assert (code, err) == (0, "")
    assert "names is not installed (pip install 'chainrule[corpora]')" in out
