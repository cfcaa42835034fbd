"""Exercises on gradients, valleys and momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.descent import bowl_gradient, descend

if TYPE_CHECKING:
    from collections.abc import Callable


def _gradient(x: float, y: float) -> Array:
    """Of x² y + 3y: its two partial derivatives."""
    return np.array([2 * x * y, x**2 + 3])


def steepness(a: float, b: float) -> float:
    """The steepest slope on the bowl x₁² + x₂² at (a, b): the length of the gradient."""
    return float(np.hypot(*bowl_gradient(np.array([a, b]))))


def roll(gradient: Callable[[Array], Array], start: Array, rate: float, momentum: float, steps: int) -> Array:
    """Where a ball with momentum is after some steps."""
    x, v = start, np.zeros_like(start)
    for _ in range(steps):
        v = momentum * v + gradient(x)
        x = x - rate * v
    return x


def _bowl(x: Array) -> Array:
    return 2 * x


def _valley(x: Array) -> Array:
    return np.array([0.02 * x[0], 2 * x[1]])


_LAST = descend(lambda x: float(np.sum(x**2)), _bowl, np.array([4.0, -2.0]), 0.25, 1).points[-1]

EXERCISES = (
    Exercise(
        "The gradient of :math:`f(x, y) = x^2 y + 3y` at :math:`x = 2`, :math:`y = 5`: two numbers.",
        answer=lambda: _gradient(2.0, 5.0),
        hints=(
            "For the first number y is a constant: what is the slope of 5 x² + 15 in x? (A constant factor stays.)",
            "For the second x is a constant: what is the slope of 4 y + 3 y in y?",
        ),
        slips=(
            Slip("The two are exchanged: the slope in x comes first.", lambda right: right[::-1].copy()),
            Slip("The slope of 3y in y is missing.", lambda right: right - np.array([0.0, 3.0])),
            Slip("The slope of x² is 2x.", lambda right: right / np.array([2.0, 1.0])),
        ),
        solution="2xy = 20 and x² + 3 = 7: {answer}.",
    ),
    Exercise(
        "One step on the bowl :math:`x_1^2 + x_2^2` from (4, -2) with the rate 0.25: where does the ball land? Two numbers.",
        answer=lambda: np.array(_LAST),
        hints=("The gradient there is twice the position. A quarter of it is subtracted.",),
        slips=(
            Slip("That is uphill: subtract.", lambda right: 3 * right),
            Slip("The slope of x² is 2x: the step is twice as long.", lambda right: 1.5 * right),
        ),
        solution="(4, -2) - 0.25 · (8, -4) = {answer}.",
    ),
    Exercise(
        "How steep is the bowl :math:`x_1^2 + x_2^2` at the point (``a``, ``b``), in its steepest direction? A formula "
        "(``sqrt`` is allowed).",
        answer=steepness,
        inputs=((3.0, 4.0), (1.0, -1.0), (0.5, 2.0)),
        hints=("It is the length of the gradient. Pythagoras tells the length of (2a, 2b).",),
        slips=(
            Slip("That is the distance from the bottom; the gradient is twice as long.",
                 instead=lambda a, b: float(np.hypot(a, b))),
            Slip("Slopes in two directions are not simply added: think of Pythagoras.",
                 instead=lambda a, b: 2 * a + 2 * b),
            Slip("That is its square: take the root.", instead=lambda a, b: 4 * (a**2 + b**2)),
        ),
        solution="sqrt((2*a)**2 + (2*b)**2), twice the distance from the bottom.",
    ),
    Exercise(
        "On a slope that is 1 everywhere, with momentum 0.9, the velocity grows toward a limit. Which?",
        answer=lambda: float(roll(lambda x: np.ones(1), np.zeros(1), 1.0, 0.9, 2000)[0]
                             - roll(lambda x: np.ones(1), np.zeros(1), 1.0, 0.9, 2001)[0]),
        hints=(
            "At the limit the velocity does not change any more: v = 0.9 v + 1.",
            "Or add up 1 + 0.9 + 0.9² + ..., as in the lesson with 0.8.",
        ),
        slips=(
            Slip("That is the limit for 0.8.", lambda right: right / 2),
            Slip("That is the velocity after two steps; it continues to grow.", lambda right: 1.9),
        ),
        solution="v = 0.9 v + 1, so v = 1 / 0.1 = {answer}.",
    ),
    Exercise(
        "Write ``roll(gradient, start, rate, momentum, steps)``: where a ball with momentum is after ``steps`` steps. "
        "``gradient`` is a function; the velocity begins at 0.",
        answer=roll,
        inputs=(
            (_bowl, np.array([4.0, -2.0]), 0.1, 0.5, 3),
            (_valley, np.array([10.0, 1.0]), 0.9, 0.8, 7),
            (_valley, np.array([-3.0, 2.0]), 0.4, 0.9, 4),
        ),
        program=True,
        hints=("Two lines in a loop: first the velocity, then the position.", "v is momentum times v, plus the gradient."),
        slips=(
            Slip("That has no momentum: the velocity must keep a part of itself.",
                 instead=lambda gradient, start, rate, momentum, steps: roll(gradient, start, rate, 0.0, steps)),
            Slip("One step too many.",
                 instead=lambda gradient, start, rate, momentum, steps: roll(gradient, start, rate, momentum, steps + 1)),
        ),
        solution="Begin with x = start and v = 0. In the loop: v = momentum * v + gradient(x), then x = x - rate * v. "
        "At the end, return x.",
    ),
)  # fmt: skip
