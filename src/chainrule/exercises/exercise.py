"""The parts of an exercise: a question, hints, a right answer that is computed, and known slips.

The right answer is a function. Without parameters it returns one value: a number, an array or a word. With parameters
the learner writes such a function, as a formula or as a program, and both functions are called with the same inputs.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = NDArray[np.float64]
Value = float | str | Array
"""An answer, or the result of one call of an answer that is a function."""

TYPED = 5e-3
"""Relative tolerance of numbers that a person types, rounded to three digits."""
COMPUTED = 1e-4
"""Relative tolerance of numbers that a function returns."""


@dataclass(frozen=True)
class Slip:
    """A known mistake.

    Attributes:
        says: the sentence or two for a learner who makes it.
        change: maps the right value to the wrong one.
        instead: the wrong function of the exercise's inputs, if the right value alone does not give the wrong one.
    """

    says: str
    change: Callable[[Any], Any] | None = None
    instead: Callable[..., Any] | None = None

    def values(self, right: list[Any], inputs: tuple[tuple[Any, ...], ...]) -> list[Any]:
        """The values that somebody with this mistake gets, one for each of the exercise's calls."""
        if self.instead is not None:
            return [self.instead(*each) for each in inputs]
        if self.change is None:
            raise ValueError(f"the slip {self.says!r} has neither a change nor a function instead")
        return [self.change(value) for value in right]


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        question: the task, in reStructuredText like a lesson's text.
        answer: the right answer as a function, see the module.
        inputs: the arguments of each call, if `answer` has parameters.
        choices: the words to choose from, if the answer is one of them.
        program: whether the learner writes a function in a file, not a formula.
        hints: from a gentle one to one that nearly tells the answer.
        slips: known mistakes.
        solution: the way to the answer, in which `{answer}` stands for the value.
    """

    question: str
    answer: Callable[..., Any]
    inputs: tuple[tuple[Any, ...], ...] = ()
    choices: tuple[str, ...] = ()
    program: bool = False
    hints: tuple[str, ...] = ()
    slips: tuple[Slip, ...] = ()
    solution: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the inputs that a formula or program has; none if the answer is a value."""
        return tuple(inspect.signature(self.answer).parameters)

    @property
    def calls(self) -> tuple[tuple[Any, ...], ...]:
        """The arguments of each call of the answer: one call without arguments if it is a value."""
        return self.inputs if self.parameters else ((),)

    @property
    def tolerance(self) -> float:
        """How far a number may be from the right one, relative to it."""
        return COMPUTED if self.parameters else TYPED

    def right_values(self) -> list[Any]:
        """The right value of each call."""
        return [self.answer(*copied(each)) for each in self.calls]

    def wanted(self) -> str:
        """What kind of answer is asked for, in words."""
        if self.choices:
            return f"one of: {', '.join(self.choices)}"
        if self.program:
            return f"a function {self.answer.__name__}({', '.join(self.parameters)}), in a Python file"
        if self.parameters:
            return f"a formula in {enumerate_words(self.parameters)}"
        shape = np.shape(self.answer())
        if not shape:
            return "a number"
        example = np.arange(1, np.prod(shape) + 1).reshape(shape).tolist()
        what = f"a matrix of the shape {shape}" if len(shape) > 1 else f"{shape[0]} numbers"
        return f"{what}, written like {example}"


def enumerate_words(words: Sequence[str]) -> str:
    """Words as a sentence has them: "x", "x and w", "x, w and b"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a call, with copies of the arrays: a program may change what it gets."""
    return tuple(each.copy() if isinstance(each, np.ndarray) else each for each in arguments)


def matches(value: Any, right: Any, tolerance: float) -> bool:
    """Whether a value is right: words and integers exactly, other numbers relative to their size."""
    if isinstance(right, str) or isinstance(value, str):
        return isinstance(value, str) and isinstance(right, str) and value.strip().casefold() == right.casefold()
    if np.shape(value) != np.shape(right):
        return False
    wanted = np.asarray(right)
    if wanted.dtype.kind in "iub":
        return bool(np.array_equal(value, wanted))
    return bool(right_elements(value, right, tolerance).all())


def right_elements(value: Any, right: Any, tolerance: float) -> NDArray[np.bool_]:
    """Which elements of an array are right: relative to each, and to a tenth of that for those that are nearly zero."""
    wanted = np.asarray(right, float)
    if not np.isfinite(wanted).all():  # a slip that does not apply, such as one divided by 0
        return np.zeros(wanted.shape, bool)
    scale = np.abs(wanted).max(initial=0.0)
    allowed = np.maximum(tolerance * np.abs(wanted), 0.1 * tolerance * scale + 1e-12)
    close: NDArray[np.bool_] = np.abs(np.asarray(value, float) - wanted) <= allowed
    return close


def _more_by_one(right: Any) -> Any:
    return right + 1 if np.asarray(right).dtype.kind in "iu" else np.nan


def _less_by_one(right: Any) -> Any:
    return right - 1 if np.asarray(right).dtype.kind in "iu" else np.nan


COMMON_SLIPS = (
    Slip("The size is right, but the sign is the other way round.", lambda right: -right),
    Slip("That is twice as much as it should be.", lambda right: 2 * right),
    Slip("That is half of it: a factor 2 is missing.", lambda right: right / 2),
    Slip("That is the transpose: rows and columns are exchanged.", np.transpose),
    Slip("That is one too many.", _more_by_one),
    Slip("That is one too few.", _less_by_one),
    Slip("That is one divided by the right answer.", lambda right: 1 / right),
    Slip("That is a hundred times as much: percent, perhaps?", lambda right: 100 * right),
)
"""Slips that are known in every exercise of numbers."""
