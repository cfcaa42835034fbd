"""Exercises on slopes and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.exercises.exercise import Exercise, Slip
from chainrule.first_principles.descent import descend, parabola, parabola_gradient

if TYPE_CHECKING:
    from collections.abc import Callable


def secant(x: float, h: float) -> float:
    """The slope of the secant of x³ from x to x + h."""
    return ((x + h) ** 3 - x**3) / h


def factor(rate: float) -> float:
    """By how much a step on 3x² multiplies x."""
    return 1 - 6 * rate


def descent(slope: Callable[[float], float], start: float, rate: float, steps: int) -> float:
    """Where a ball is after some steps."""
    x = start
    for _ in range(steps):
        x = x - rate * slope(x)
    return x


EXERCISES = (
    Exercise(
        "On :math:`f(x) = x^2`, at :math:`x = 3` and with the learning rate 0.2: where is the ball after one step?",
        answer=lambda: float(descend(parabola, parabola_gradient, 3.0, 0.2, 1).points[-1]),
        hints=("What is the slope 2x at 3? A fraction of it is subtracted from 3.",),
        slips=(
            Slip("That walks uphill: the slope is subtracted.", lambda right: 6 - right),
            Slip("That is the length of the step; subtract it from 3.", lambda right: 3 - right),
            Slip("The slope of x² is 2x, not x.", lambda right: 3 - 0.2 * 3),
            Slip("That is the height there; the question is where the ball is.", lambda right: right**2),
        ),
        solution="3 - 0.2 · 6 = {answer}.",
    ),
    Exercise(
        "The slope of the secant of :math:`x^3` between :math:`x` and :math:`x + h`, as a formula in ``x`` and ``h``.",
        answer=secant,
        inputs=((1.0, 0.5), (2.0, 0.1), (-1.5, 0.25)),
        hints=("Rise over run: what is the height at x + h, and what at x?",),
        slips=(
            Slip("That is the slope of the tangent, which the secant turns into when h shrinks.",
                 instead=lambda x, h: 3 * x**2),
            Slip("That is the rise; divide it by the run.", instead=lambda x, h: (x + h) ** 3 - x**3),
        ),
        solution="((x + h)**3 - x**3) / h, which is 3x² + 3xh + h². As h shrinks, 3x² is left.",
    ),
    Exercise(
        "On :math:`f(x) = 3x^2`, whose slope is :math:`6x`, each step multiplies :math:`x` by the same factor. Give it as "
        "a formula in ``rate``.",
        answer=factor,
        inputs=((0.1,), (0.02,), (0.4,)),
        hints=("Put the slope into the rule: x minus rate times slope. Then take x out.",),
        slips=(
            Slip("That is the factor for x², whose slope is 2x.", instead=lambda rate: 1 - 2 * rate),
            Slip("That is what is subtracted; the factor is what is left.", instead=lambda rate: 6 * rate),
        ),
        solution="x - rate · 6x is (1 - 6 · rate) · x.",
    ),
    Exercise(
        "Up to which learning rate does the ball on :math:`3x^2` not climb out of the valley? Give the rate at the very "
        "edge, to three digits.",
        answer=lambda: 1 / 3,
        hints=("Between which two numbers must the factor be, so that x does not grow?", "The edge is where it is -1."),
        slips=(
            Slip("There the factor is 0: the ball arrives in one step.", lambda right: right / 2),
            Slip("That is the edge for x²; here the slope is three times as steep.", lambda right: 3 * right),
        ),
        solution="1 - 6 · rate = -1 at the rate {answer}.",
    ),
    Exercise(
        "Write ``descent(slope, start, rate, steps)``: where the ball is after ``steps`` steps. ``slope`` is a function.",
        answer=descent,
        inputs=(
            (lambda x: 2 * x, 10.0, 0.1, 5),
            (lambda x: x**3 - 4 * x + 1, 1.5, 0.05, 4),
            (lambda x: 2 * (x - 1), 0.0, 0.4, 1),
        ),
        program=True,
        hints=("A loop over the steps. Where does each step take its slope: at the start, or where the ball is?",),
        slips=(
            Slip(
                "That takes the slope at the start in every step; take it where the ball is.",
                instead=lambda slope, start, rate, steps: start - steps * rate * slope(start),
            ),
            Slip(
                "That climbs: the step is against the slope.",
                instead=lambda slope, start, rate, steps: descent(slope, start, -rate, steps),
            ),
            Slip(
                "One step too many.",
                instead=lambda slope, start, rate, steps: descent(slope, start, rate, steps + 1),
            ),
        ),
        solution="for _ in range(steps): start = start - rate * slope(start). Then return start.",
    ),
)  # fmt: skip
