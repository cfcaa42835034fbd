"""Every exercise of every lesson: the right answer is accepted, each known slip is told as such, nonsense is wrong."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from chainrule import exercises, lessons
from chainrule.exercises import checking
from chainrule.exercises.exercise import COMMON_SLIPS, Exercise

SETS = Path(inspect.getfile(checking)).parent / "sets"
ALL = [
    (f"{lesson.key}.{position}", exercise)
    for lesson in lessons.available()
    for position, exercise in enumerate(checking.exercises_of(lesson), start=1)
]
each = pytest.mark.parametrize(("name", "exercise"), ALL, ids=[name for name, _ in ALL])


def test_each_set_belongs_to_a_lesson_and_has_three_to_five() -> None:
    counts = {lesson.key: len(checking.exercises_of(lesson)) for lesson in lessons.available()}
    assert {key.replace("-", "_") for key in counts} == {
        file.stem for file in SETS.glob("*.py") if file.stem != "__init__"
    }
    assert {key: count for key, count in counts.items() if not 3 <= count <= 5} == {}


def as_text(value: object) -> str:
    """A value as somebody types it, to four digits."""
    if isinstance(value, str):
        return value
    return np.array2string(np.asarray(value), separator=", ", formatter={"float_kind": "{:.4g}".format})


@each
def test_the_right_answer_is_accepted(name: str, exercise: Exercise) -> None:
    if exercise.parameters:
        assert exercise.inputs, "a function is tried on inputs"
        answers: list[object] = [exercise.answer]
    else:
        value = exercise.answer()
        answers = [value, as_text(value), checking.in_words(value)]
    for answer in answers:
        verdict = exercises.check(name, answer)
        assert verdict.right
        assert str(verdict) == "Right."


@each
def test_each_slip_is_told_in_its_own_words(name: str, exercise: Exercise) -> None:
    right = exercise.right_values()
    for slip in exercise.slips:
        assert (slip.change is None) != (slip.instead is None)
        values = slip.values(right, exercise.calls)
        verdict = checking.check_values(exercise, [v if isinstance(v, str) else np.asarray(v, float) for v in values])
        assert not verdict
        assert verdict.message == " ".join(lessons.paragraphs(slip.says)), slip.says


@each
def test_nonsense_is_wrong_and_no_slip(name: str, exercise: Exercise) -> None:
    if exercise.choices:
        wrong = [choice for choice in exercise.choices if choice != exercise.answer()]
        assert not exercises.check(name, wrong[0])
        return
    right = exercise.right_values()
    values = [np.sin(np.asarray(value, float)) * 1.377 + 0.2113 for value in right]
    verdict = checking.check_values(exercise, values)
    assert not verdict
    assert verdict.message not in {" ".join(lessons.paragraphs(slip.says)) for slip in exercise.slips}
    assert verdict.message not in {slip.says for slip in COMMON_SLIPS}


@each
def test_its_texts_are_complete_and_hints_do_not_tell(name: str, exercise: Exercise) -> None:
    assert 1 <= len(exercise.hints) <= 3
    assert exercise.solution
    texts = [exercises.question(name), exercises.solution(name)]
    texts += [" ".join(lessons.paragraphs(slip.says)) for slip in exercise.slips]
    texts += [exercises.hint(name, number + 1) for number in range(len(exercise.hints))]
    for text in texts:
        assert not re.search(r"``|[\\]|:math:|:lesson:|\{answer\}", text), text
    if not exercise.parameters and not exercise.choices:
        answer = checking.in_words(exercise.answer())
        if len(answer) > 2:
            assert not [hint for hint in exercise.hints if re.search(rf"(?<![\d.]){re.escape(answer)}(?![\d])", hint)]
    elif exercise.parameters:
        assert exercise.answer.__name__.isidentifier(), "a def, whose name the learner's function has"
