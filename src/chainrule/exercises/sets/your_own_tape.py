"""Exercises on the tape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles import tape

if TYPE_CHECKING:
    from collections.abc import Callable


def _used_twice(number: float) -> float:
    """The slope of x · x + x from the tape."""
    x = tape.Value(number)
    tape.backward(x * x + x)
    return x.gradient


def _again(number: float) -> float:
    """The same slope after two calls of backward without zero_gradients."""
    x = tape.Value(number)
    y = x * x + x
    tape.backward(y)
    tape.backward(y)
    return x.gradient


def _backward_order() -> str:
    """The order in which a, b = a * 2 and c = a * b pass on their gradients."""
    a = tape.Value(3.0)
    b = a * 2
    names = {a: "a", b: "b"}
    c = a * b
    names[c] = "c"
    return "-".join(names[value] for value in reversed(tape.order(c)) if value in names)


def tanh_slope(z: float) -> float:
    """The local slope of tanh."""
    return 1 - math.tanh(z) ** 2


def gradient(wires: Array) -> float:
    """The slope of the last value in value 0, from rows of (parent, value, slope)."""
    return _walk(wires, lambda there, share: there + share)


def _walk(wires: Array, combine: Callable[[float, float], float]) -> float:
    """Walk back over the wires; `combine` makes a parent's new gradient of the old one and the share that arrives."""
    gradients = [0.0] * (int(wires[:, 1].max()) + 1)
    gradients[-1] = 1.0
    for parent, value, slope in wires[::-1]:
        gradients[int(parent)] = combine(gradients[int(parent)], slope * gradients[int(value)])
    return gradients[0]


_WIRES = (
    np.array([[0, 1, 2.0], [0, 2, 3.0], [1, 2, 6.0], [1, 2, 6.0]]),
    np.array([[0, 1, 5.0], [0, 1, 5.0], [1, 2, 1.0], [0, 2, 1.0]]),
    np.array([[0, 1, 0.5], [1, 2, 2.0], [0, 2, -1.0], [2, 3, 1.0], [1, 3, 4.0], [0, 3, 3.0]]),
)

EXERCISES = (
    Exercise(
        "``y = x * x + x`` on the tape, with ``x = Value(4.0)``. What is ``x.gradient`` after ``backward(y)``?",
        answer=lambda: _used_twice(4.0),
        hints=("x is used three times, so there are three wires: how much comes back on each?",),
        slips=(
            Slip("The use in the sum is missing: it brings 1.", lambda right: right - 1),
            Slip("x stands twice in the product: both wires bring 4.", lambda right: right - 4),
        ),
        solution="4 + 4 + 1 = {answer}.",
    ),
    Exercise(
        "The same ``y = x * x + x`` at 4. What is ``x.gradient`` after a second call of ``backward(y)``, without "
        "``zero_gradients`` in between?",
        answer=lambda: _again(4.0),
        hints=("An input keeps what earlier calls have added.",),
        slips=(
            Slip("The second call adds to what is there: only zero_gradients starts from 0.", lambda right: right / 2),
        ),
        solution="Twice 9: {answer}.",
    ),
    Exercise(
        "A new machine needs its local slope. What is that of ``tanh``, as a formula in ``z``? (``tanh`` is allowed.)",
        answer=tanh_slope,
        inputs=((0.0,), (0.7,), (-1.5,)),
        hints=("It can be expressed by tanh itself, much as the sigmoid's by the sigmoid.", "At 0 it is 1, far away almost 0."),
        slips=(
            Slip("That is the sigmoid's pattern; for tanh it is 1 - tanh².",
                 instead=lambda z: math.tanh(z) * (1 - math.tanh(z))),
            Slip("The square is missing.", instead=lambda z: 1 - math.tanh(z)),
        ),
        solution="1 - tanh(z)**2",
    ),
    Exercise(
        "``a`` is used in ``b = a * 2`` and in ``c = a * b``, and ``c`` is the result. In which order do the three pass on "
        "their gradients?",
        answer=_backward_order,
        choices=("c-b-a", "c-a-b", "b-c-a"),
        hints=("A value passes on when everything that uses it has passed on to it. Who uses a?",),
        slips=(
            Slip("b uses a as well: a has to wait until b has passed on to it.", lambda right: "c-a-b"),
            Slip("b is used by c: it cannot begin before c.", lambda right: "b-c-a"),
        ),
        solution="The result first, and a last, since both of the others use it: {answer}.",
    ),
    Exercise(
        "The whole walk back, without a class. The values are numbered from 0 in order, each after its parents. ``wires`` "
        "has a row (parent, value, slope) for each use of a parent, sorted by the number of the value. Write "
        "``gradient(wires)``: the slope of the last value in value 0.",
        answer=gradient,
        inputs=tuple((wires,) for wires in _WIRES),
        program=True,
        hints=(
            "An array of gradients, all 0 but the last, which is 1. Then go through the wires backward.",
            "Each parent gets the slope times the gradient of the value, added to what it has.",
        ),
        slips=(
            Slip(
                "A value that is used twice keeps only one of its shares: += instead of =.",
                instead=lambda wires: _walk(wires, lambda there, share: share),
            ),
            Slip(
                "Each slope is used, but shares are added up, not multiplied.",
                instead=lambda wires: _walk(wires, lambda there, share: (there or 1.0) * share),
            ),
        ),
        solution="g = np.zeros(int(wires[:, 1].max()) + 1), g[-1] = 1, then for p, v, s in wires[::-1]: "
        "g[int(p)] += s * g[int(v)]. Return g[0].",
    ),
)  # fmt: skip
