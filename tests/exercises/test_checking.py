"""What `check` says of answers to exercises of known content."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule import exercises, tensor
from chainrule.errors import UserError
from chainrule.exercises.exercise import Exercise, Slip

if TYPE_CHECKING:
    from pathlib import Path


def twice(x):
    return 2 * x


MATRIX = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.25]])
SET = (
    Exercise(
        "How much is :math:`\\tfrac12`?\n\nThink.",
        answer=lambda: 0.5,
        hints=("a *half*", "two of them are 1"),
        slips=(Slip("That is twice ``it``.", lambda right: 2 * right), Slip("no", instead=lambda: 7.0)),
        solution="It is {answer}.",
    ),
    Exercise("How many?", answer=lambda: 23_860, hints=("many",), solution="{answer}"),
    Exercise("A matrix.", answer=lambda: MATRIX, hints=("think",), solution="{answer}"),
    Exercise(
        "A formula.",
        answer=twice,
        inputs=((1.0,), (3.0,)),
        hints=("think",),
        slips=(Slip("That is the square.", instead=lambda x: x**2),),
        solution="2*x",
    ),
    Exercise(
        "A program.", answer=twice, inputs=((np.array([1.0, 2.0]),), (np.array([5.0]),)), program=True, solution="2*x"
    ),
    Exercise("Yes?", answer=lambda: "no", choices=("yes", "no"), slips=(Slip("Not at all.", lambda right: "yes"),)),
    Exercise("None?", answer=lambda: 0.0, solution="{answer}"),
)


@pytest.fixture(autouse=True)
def _set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lesson has these exercises instead of its own."""
    module = ModuleType("chainrule.exercises.sets.neurons")
    module.EXERCISES = SET
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("neurons.1", 0.5),
        ("1.1", "1/2"),
        ("1.1", ".499"),
        ("1.1", np.float32(0.5)),
        ("1.1", tensor(0.5)),
        ("1.1", [0.5][0]),
        ("neurons.2", 23860),
        ("neurons.2", "23,860"),
        ("neurons.2", "784*30 + 30 + 30*10 + 10"),
        ("neurons.3", MATRIX),
        ("neurons.3", MATRIX.tolist()),
        ("neurons.3", "[[1, 2, 3], [4, 5, 6.25]]"),
        ("neurons.3", "[[1, 4], [2, 5], [3, 6.25]].T"),
        ("neurons.4", "x + x"),
        ("neurons.4", "2x".replace("2", "2*")),
        ("neurons.4", lambda x: x / 0.5),
        ("neurons.5", lambda x: x + x),
        ("neurons.6", " NO "),
        ("neurons.7", "0"),
    ],
)
def test_right(name: str, answer: object) -> None:
    verdict = exercises.check(name, answer)
    assert verdict
    assert verdict.right
    assert repr(verdict) == str(verdict) == "Right."


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("1.1", 1, "That is twice `it`."),
        ("1.1", "7", "no"),
        ("1.1", -0.5, "The size is right, but the sign is the other way round."),
        ("1.1", 0.25, "That is half of it: a factor 2 is missing."),
        ("1.1", 50, "That is a hundred times as much: percent, perhaps?"),
        ("1.1", 0.49, "Nearly: was something rounded on the way, or are there too few digits?"),
        ("1.1", 0.9, "Not right."),
        ("1.1", "[0.5]", "Not right: the answer should be a single number, and is the shape (1,)."),
        ("1.1", float("nan"), "The result is not finite: nan."),
        ("1.1", "1/0", "The result is not finite: inf."),
        ("1.2", 23861, "That is one too many."),
        ("1.2", 23859, "That is one too few."),
        ("1.2", 47720, "That is twice as much as it should be."),
        ("1.2", 23862, "Not right."),
        ("1.3", MATRIX.T, "That is the transpose: rows and columns are exchanged."),
        ("1.3", -MATRIX, "The size is right, but the sign is the other way round."),
        ("1.3", "[[1, 2, 3], [4, 5, 7]]", "Not right: 5 of the 6 numbers are."),
        ("1.3", "[1, 2]", "Not right: the answer should be the shape (2, 3), and is the shape (2,)."),
        ("1.3", "5", "Not right: the answer should be the shape (2, 3), and is a single number."),
        ("1.4", "x^2", "That is the square."),
        ("1.4", "4*x", "That is twice as much as it should be."),
        ("1.4", "2 + 0*x", "Not right: for x = 3 it gives 2."),
        ("1.4", "x/0", "The result for x = 1 is not finite: inf."),
        ("1.5", lambda x: -2 * x, "The size is right, but the sign is the other way round."),
        ("1.5", lambda x: None, "The function returns nothing for x = [1, 2]: does it end with return?"),
        ("1.5", lambda x: 1 / 0, "The function fails for x = [1, 2] with ZeroDivisionError: division by zero"),
        ("1.5", lambda x: sys.exit(3), "The function fails for x = [1, 2] with SystemExit: 3"),
        ("1.5", lambda: 3, "The function fails for x = [1, 2] with TypeError: "),
        ("1.5", lambda x: "two", "The result for x = [1, 2] is no number or array, but 'two'."),
        ("1.5", lambda x: x.sum(), "Not right: the answer should be the shape (2,), and is a single number."),
        ("1.5", lambda x: 2 * x + (len(x) == 1), "Not right: for x = [5] it gives [11]."),
        ("1.6", "Yes", "Not at all."),
        ("1.7", "1", "Not right."),
        ("1.7", "1e-6", "Not right."),
    ],
)
def test_wrong(name: str, answer: object, message: str) -> None:
    verdict = exercises.check(name, answer)
    assert not verdict
    assert verdict.message.startswith(message)
    if not message.endswith(": "):
        assert verdict.message == message


def test_a_program_gets_copies() -> None:
    def spoil(x):
        x *= 2
        return x

    assert exercises.check("1.5", spoil)
    assert exercises.check("1.5", spoil)
    assert SET[4].inputs[0][0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("1.1", "half", "the answer uses 'half'; it is to be written with numbers"),
        ("1.1", lambda: 0.5, "this exercise asks for a number"),
        ("1.1", None, "this exercise asks for a number"),
        ("1.4", 6, "this exercise asks for a formula in x"),
        ("1.5", "2*x", "this exercise asks for a function twice(x), in a Python file"),
        ("1.5", 3, "this exercise asks for a function twice(x), in a Python file"),
        ("1.5", "none.py", "none.py: there is no such file; it should define the function twice"),
        ("1.6", "maybe", "the answer is one of: yes, no, not 'maybe'"),
        ("1.8", 1, "there is no exercise 1.8: lesson 1 has exercises 1 to 7"),
        ("1.0", 1, "there is no exercise 1.0: lesson 1 has exercises 1 to 7"),
        ("1", 1, "'1' names no exercise; give lesson and number, such as 7.2"),
        ("1.x", 1, "'1.x' names no exercise"),
        ("1.²", 1, "names no exercise"),
        ("neuron.1", 1, "there is no lesson 'neuron'; did you mean neurons, one-neuron-learns or dead-neurons?"),
        ("99.1", 1, "there is no lesson 99; "),
    ],
)
def test_what_is_no_answer_is_refused(name: str, answer: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        exercises.check(name, answer)
    assert message in str(caught.value)


def test_the_texts_of_an_exercise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert repr(exercises.question("1.1")) == "How much is ½?\n\nThink.\n\nThe answer is a number."
    assert exercises.question("1.3").endswith("a matrix of the shape (2, 3), written like [[1, 2, 3], [4, 5, 6]].")
    assert exercises.question("1.4").endswith("The answer is a formula in x.")
    assert exercises.question("1.6").endswith("The answer is one of: yes, no.")
    assert repr(exercises.hint("1.1")) == "a half"
    assert exercises.hint("neurons.1", 2) == "two of them are 1"
    with pytest.raises(UserError, match=r"exercise 1\.2 has 1 hint, and no hint 2"):
        exercises.hint("1.2", 2)
    assert exercises.solution("1.1") == "It is 0.5."
    assert exercises.solution("1.2") == "23,860"
    assert exercises.solution("1.3") == "[[1, 2, 3], [4, 5, 6.25]]"


def test_nothing_that_a_browser_lacks_is_used() -> None:
    """No process, thread or clock: check also runs in Python for the web."""
    for name in ("answers", "checking", "exercise"):
        source = inspect.getsource(sys.modules[f"chainrule.exercises.{name}"])
        for module in ("subprocess", "threading", "multiprocessing", "signal"):
            assert f"import {module}" not in source


def test_a_program_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def twice(x):\n    return x + x\n")
    assert exercises.check("1.5", file)
    assert exercises.check("1.5", str(file))
