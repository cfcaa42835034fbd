"""Exercises on the chain rule."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip


def slope(x: float) -> float:
    """The slope of (3x + 1)²: 2 (3x + 1) of the square, times 3 of the line."""
    return 2 * (3 * x + 1) * 3


def two_paths(x: float) -> float:
    """The slope of x² · (1 - x), as a sum of two paths."""
    return (1 - x) * 2 * x - x**2


def slope_in_input(first: Array, second: Array) -> float:
    """The slope through one layer of machines: the sum over all paths of the product of their two slopes."""
    return float(np.sum(first * second))


_random = np.random.default_rng(0)

EXERCISES = (
    Exercise(
        "Two machines in a row: :math:`u = 3x + 1`, then :math:`y = u^2`. How fast does :math:`y` grow with :math:`x` at "
        ":math:`x = 2`?",
        answer=lambda: slope(2.0),
        hints=(
            "Each machine has a slope of its own. What are the two at this x?",
            "The slope of the square is 2u, and u is what the first machine gives. Then multiply.",
        ),
        slips=(
            Slip("The slope of the first machine, 3, is missing: a nudge to x reaches u three times as large.",
                 lambda right: right / 3),
            Slip("The slope of the square belongs at u = 7, not at x = 2.", lambda right: 2 * 2.0 * 3),
            Slip("The slopes are multiplied, not added.", lambda right: 14.0 + 3.0),
        ),
        solution="At x = 2, u = 7. The slopes are 3 and 2 · 7, and their product is {answer}.",
    ),
    Exercise(
        "The same slope for any :math:`x`, as a formula in ``x``.",
        answer=slope,
        inputs=((0.5,), (2.0,), (-1.25,)),
        hints=("Write u as 3x + 1 in 2u · 3.",),
        slips=(
            Slip("That is 2x · 3: the square's slope is taken at x instead of at 3x + 1.", instead=lambda x: 6 * x),
            Slip("The slope of the first machine is missing.", instead=lambda x: 2 * (3 * x + 1)),
        ),
        solution="2 (3x + 1) · 3, which is 18x + 6.",
    ),
    Exercise(
        "A number used twice: :math:`u = x^2`, :math:`v = 1 - x`, :math:`y = u \\cdot v`. The slope of :math:`y`, as a "
        "formula in ``x``.",
        answer=two_paths,
        inputs=((0.5,), (2.0,), (-1.0,)),
        hints=(
            "Two paths: through u and through v. On each, the slope of the product is the other factor.",
            "The slope of 1 - x is minus 1.",
        ),
        slips=(
            Slip("Only the path through u is there.", instead=lambda x: (1 - x) * 2 * x),
            Slip("Only the path through v is there.", instead=lambda x: -(x**2)),
            Slip("The slope of 1 - x is -1: the second path has a minus sign.",
                 instead=lambda x: (1 - x) * 2 * x + x**2),
            Slip("Along a path slopes are multiplied; the paths are added, not multiplied with each other.",
                 instead=lambda x: (1 - x) * 2 * x * -(x**2)),
        ),
        solution="v · 2x + u · (-1), which is (1 - x) · 2x - x².",
    ),
    Exercise(
        "Thirty machines in a row, each with the slope 0.5. A nudge of 1 goes in. Does more or less than a millionth come "
        "out?",
        answer=lambda: "less" if 0.5**30 < 1e-6 else "more",
        choices=("more", "less"),
        hints=("Ten halvings are about a thousandth.",),
        slips=(Slip("Twenty halvings are already a millionth, and there are thirty.", lambda right: "more"),),
        solution="0.5 to the power of 30 is about a thousandth of a thousandth of a thousandth: {answer}.",
    ),
    Exercise(
        "One number ``x`` goes into several machines side by side, and all of them into a last one. ``first`` holds the "
        "slopes of the machines in x, ``second`` the slopes of the last one in each of their results. Write "
        "``slope_in_input(first, second)``: the slope of the result in x.",
        answer=slope_in_input,
        inputs=tuple((_random.normal(size=n), _random.normal(size=n)) for n in (1, 3, 6)),
        program=True,
        hints=("A path is one machine: what is the slope along it?", "Multiply pair by pair. Then what, where the paths meet?"),
        slips=(
            Slip("The paths are added up, not averaged.", instead=lambda first, second: float(np.mean(first * second))),
            Slip("Along each path the two slopes are multiplied; that sums all slopes first.",
                 instead=lambda first, second: float(np.sum(first) * np.sum(second))),
        ),
        solution="return first @ second",
    ),
)  # fmt: skip
