"""Finds exercises, and checks answers: right, a known slip, or wrong with a hint at what is wrong."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import lessons
from chainrule.errors import UserError, shorten
from chainrule.exercises.answers import load_function, parse
from chainrule.exercises.exercise import COMMON_SLIPS, Exercise, Slip, copied, matches, right_elements

if TYPE_CHECKING:
    from collections.abc import Callable

_NEARLY = 0.05
"""An answer whose relative error is at most this large was probably rounded too early."""


class Text(str):
    """A text that a notebook and Python's prompt show as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Verdict:
    """The result of `check`; true if the answer is right.

    Attributes:
        right: whether the answer is right.
        message: a sentence or two for the learner.
    """

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


def exercises_of(lesson: lessons.Lesson) -> tuple[Exercise, ...]:
    """The exercises of a lesson, in order; none if nobody wrote any."""
    module = f"chainrule.exercises.sets.{lesson.key.replace('-', '_')}"
    try:
        exercises: tuple[Exercise, ...] = importlib.import_module(module).EXERCISES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return ()
    return exercises


def find(name: str) -> tuple[lessons.Lesson, int, Exercise]:
    """The lesson, position and exercise of a name such as "6.2" or "the-chain-rule.2".

    Raises:
        UserError: there is no such lesson or exercise.
    """
    lesson_name, dot, position = str(name).rpartition(".")
    if not dot or not position.strip().isascii() or not position.strip().isdigit():
        raise UserError(f"'{shorten(str(name), 60)}' names no exercise; give lesson and number, such as 7.2")
    lesson = lessons.find(lesson_name)
    exercises = exercises_of(lesson)
    if not 1 <= int(position) <= len(exercises):
        has = f"exercises 1 to {len(exercises)}" if exercises else "no exercises"
        raise UserError(f"there is no exercise {shorten(str(name), 60)}: lesson {lesson.number} has {has}")
    return lesson, int(position), exercises[int(position) - 1]


def question(name: str) -> Text:
    """The question of an exercise, with what kind of answer it wants.

    Args:
        name: the exercise, such as "7.2" or "backpropagation.2".
    """
    exercise = find(name)[2]
    return Text("\n\n".join([*lessons.paragraphs(exercise.question), f"The answer is {exercise.wanted()}."]))


def hint(name: str, number: int = 1) -> Text:
    """A hint; the first is the gentlest.

    Args:
        name: the exercise, such as "7.2".
        number: which hint, from 1.

    Raises:
        UserError: the exercise has fewer hints.
    """
    hints = find(name)[2].hints
    if not 1 <= number <= len(hints):
        raise UserError(f"exercise {name} has {len(hints)} hint{'s' * (len(hints) != 1)}, and no hint {number}")
    return Text(" ".join(lessons.paragraphs(hints[number - 1])))


def solution(name: str) -> Text:
    """The answer of an exercise, and the way to it.

    Args:
        name: the exercise, such as "7.2".
    """
    return Text("\n\n".join(lessons.paragraphs(solution_text(find(name)[2]))))


def solution_text(exercise: Exercise) -> str:
    """The solution of an exercise with the answer in it, in reStructuredText."""
    value = "" if exercise.parameters else in_words(exercise.answer())
    return exercise.solution.replace("{answer}", value)


def in_words(value: Any) -> str:
    """A value as it is shown to a learner: four significant digits of numbers that are no integers."""
    if isinstance(value, str) or callable(value):
        return str(getattr(value, "__name__", value))
    if np.ndim(value):
        array = np.asarray(value)
        formatter = {"float_kind": lambda number: f"{number:.4g}"}
        return np.array2string(array, separator=", ", threshold=50, formatter=formatter).replace("\n", "")  # type: ignore[arg-type]
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{float(value):.4g}"


def check(name: str, answer: Any) -> Verdict:
    """Check an answer.

    Args:
        name: the exercise, such as "7.2" or "backpropagation.2".
        answer: a number, an array or list, or a text to read one from, such as "1/4", "[[1, 2], [3, 4]]" or a word;
            for a formula, its text or a function; for a program, a function, or the path of a file that defines it.

    Returns:
        Whether it is right, with a sentence that names the slip if it is a known one.

    Raises:
        UserError: there is no such exercise, or the answer is not of the kind that it asks for.

    Example:
        >>> check("dead-neurons.1", 0.5)
        The size is right, but the sign is the other way round.
    """
    exercise = find(name)[2]
    return check_values(exercise, *_call(exercise, answer))


def check_values(exercise: Exercise, values: list[Any], problem: str = "") -> Verdict:
    """Judge the values that an answer has: one for each call of the exercise."""
    if problem:
        return Verdict(False, problem)
    right = exercise.right_values()

    def are(expected: list[Any]) -> bool:
        return all(matches(*pair, exercise.tolerance) for pair in zip(values, expected, strict=True))

    if are(right):
        return Verdict(True, "Right.")
    if exercise.choices:
        sentences = [slip.says for slip in exercise.slips if are(slip.values(right, exercise.calls))]
        return Verdict(False, sentences[0] if sentences else "Not right.")
    for slip in (*exercise.slips, *COMMON_SLIPS):
        if are(_slip_values(slip, right, exercise.calls)):
            return Verdict(False, " ".join(lessons.paragraphs(slip.says)))
    return Verdict(False, _describe(exercise, values, right))


def _slip_values(slip: Slip, right: list[Any], calls: tuple[tuple[Any, ...], ...]) -> list[Any]:
    """The values of somebody with this slip, without warnings of a division by zero in one that does not apply."""
    with np.errstate(all="ignore"):
        try:
            return slip.values(right, tuple(copied(each) for each in calls))
        except ZeroDivisionError:
            return [np.nan for _ in right]


def _call(exercise: Exercise, answer: Any) -> tuple[list[Any], str]:
    """The value of an answer for each call of the exercise, or what went wrong when it was called."""
    if exercise.choices:
        return [_choice(exercise, answer)], ""
    function = _as_function(exercise, answer)
    values = []
    for arguments in exercise.calls:
        at = ", ".join(f"{key} = {in_words(value)}" for key, value in zip(exercise.parameters, arguments, strict=True))
        where = f" for {shorten(at, 200)}" if at else ""
        try:
            value = function(*copied(arguments))
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            reason = shorten(f"{type(error).__name__}: {error}", 300)
            return [], f"The function fails{where} with {reason}"
        if value is None:
            return [], f"The function returns nothing{where}: does it end with return?"
        try:
            number = np.asarray(value, float)
        except (TypeError, ValueError):
            return [], f"The result{where} is no number or array, but {shorten(repr(value), 100)}."
        if not np.isfinite(number).all():
            return [], f"The result{where} is not finite: {in_words(number)}."
        values.append(number)
    return values, ""


def _choice(exercise: Exercise, answer: Any) -> str:
    """The answer as one of the words to choose from."""
    word = str(answer).strip().casefold()
    if word not in (choice.casefold() for choice in exercise.choices):
        raise UserError(f"the answer is {exercise.wanted()}, not '{shorten(str(answer), 60)}'")
    return word


def _as_function(exercise: Exercise, answer: Any) -> Callable[..., Any]:
    """The answer as a function of the exercise's inputs."""
    if callable(answer) and exercise.parameters:
        function: Callable[..., Any] = answer
        return function
    if exercise.program and isinstance(answer, str | Path) and str(answer).endswith(".py"):
        return load_function(Path(answer), exercise.answer.__name__)
    if isinstance(answer, str) and not exercise.program:
        is_scalar = not exercise.parameters and not np.shape(exercise.answer())
        return parse(answer, exercise.parameters, is_scalar)
    if callable(answer) or answer is None or exercise.parameters:
        raise UserError(f"this exercise asks for {exercise.wanted()}")
    return lambda: answer


def _describe(exercise: Exercise, values: list[Any], right: list[Any]) -> str:
    """What can be said of a wrong answer that is no known slip."""
    for value, wanted in zip(values, right, strict=True):
        if np.shape(value) != np.shape(wanted):
            shapes = [
                f"the shape {np.shape(each)}" if np.shape(each) else "a single number" for each in (value, wanted)
            ]
            return f"Not right: the answer should be {shapes[1]}, and is {shapes[0]}."
    if exercise.parameters:
        for arguments, value, wanted in zip(exercise.calls, values, right, strict=True):
            if not matches(value, wanted, exercise.tolerance):
                pairs = zip(exercise.parameters, arguments, strict=True)
                at = ", ".join(f"{key} = {in_words(each)}" for key, each in pairs)
                return f"Not right: for {shorten(at, 200)} it gives {shorten(in_words(value), 200)}."
    if matches(values[0], right[0], _NEARLY) and np.asarray(right[0]).dtype.kind == "f":
        return "Nearly: was something rounded on the way, or are there too few digits?"
    if np.ndim(right[0]):
        elements = right_elements(values[0], right[0], exercise.tolerance)
        return f"Not right: {int(elements.sum())} of the {elements.size} numbers are."
    return "Not right."
