"""Exercises on what a gradient costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.finite_difference import CallCounter, central_difference

if TYPE_CHECKING:
    from collections.abc import Callable


def _central_runs(numbers: int) -> int:
    """The runs for a gradient by nudges to both sides: those counted for one number, times the number of numbers."""
    function = CallCounter(lambda x: float(np.sum(x**2)))
    central_difference(function, np.ones(1))
    return function.calls * numbers


def runs(weights: int, biases: int) -> int:
    """One run as it is, and one for each nudged number."""
    return weights + biases + 1


def slope(function: Callable[[float], float], x: float, h: float) -> float:
    """The slope of a function, nudged to both sides."""
    return (function(x + h) - function(x - h)) / (2 * h)


def paths(widths: Array) -> float:
    """How many paths lead through layers of these widths: one factor for each layer."""
    return float(np.prod(widths))


EXERCISES = (
    Exercise(
        "Nudging to one side: a network has ``weights`` weights and ``biases`` biases. How many times does it run for the "
        "gradient of one example?",
        answer=runs,
        inputs=((20.0, 3.0), (23_820.0, 40.0), (1.0, 0.0)),
        hints=("Each number is nudged once, and each nudge is a run.", "What is the nudged cost compared with?"),
        slips=(
            Slip("The run without any nudge is missing: the others are compared with it.", lambda right: right - 1),
            Slip("Biases are nudged as well.", instead=lambda weights, biases: weights + 1),
            Slip("That is for nudges to both sides.", instead=lambda weights, biases: 2 * (weights + biases)),
        ),
        solution="One run for each number that is nudged, and one without: weights + biases + 1.",
    ),
    Exercise(
        "The network 784-30-10 has 23,860 weights and biases. How many runs does it take to nudge each of them to *both* "
        "sides?",
        answer=lambda: _central_runs(23_860),
        hints=("The difference is now between two nudged runs. Is the run without a nudge still needed?",),
        slips=(
            Slip("Nudged to both sides, the cost without a nudge is not needed.", lambda right: right + 1),
            Slip("That is for nudges to one side.", lambda right: right // 2 + 1),
            Slip("There are two runs for each number: to the left and to the right.", lambda right: right // 2),
        ),
        solution="Two for each number, {answer}.",
    ),
    Exercise(
        "Write ``slope(function, x, h)``: the slope of a function of one number at ``x``, measured by nudging it by ``h`` "
        "to both sides.",
        answer=slope,
        inputs=((np.exp, 0.3, 0.01), (np.sin, 1.0, 0.1), (np.square, -2.0, 0.5)),
        program=True,
        hints=("How far apart are the two points?", "The difference of two values, divided by the distance 2h."),
        slips=(
            Slip("The points x + h and x - h are 2h apart, not h.", lambda right: 2 * right),
            Slip(
                "That nudges to one side only.", instead=lambda function, x, h: (function(x + h) - function(x)) / h
            ),
            Slip("Left and right are exchanged: the value at x + h comes first.", lambda right: -right),
        ),
        solution="return (function(x + h) - function(x - h)) / (2 * h)",
    ),
    Exercise(
        "A network has layers of 784, 30, 30 and 10. How many paths lead from a *single* weight of the first layer to the "
        "ten outputs?",
        answer=lambda: int(paths(np.array([30.0, 10.0]))),
        hints=(
            "The weight ends in one neuron of the first hidden layer. Where can the path go from there?",
            "To each neuron of the next layer, and from each of these to each output.",
        ),
        slips=(
            Slip("The choices multiply: from each of the 30 there are paths to all 10.", lambda right: 30 + 10),
            Slip("The weight ends in one neuron of the first hidden layer, so there is no choice there.",
                 lambda right: right * 30),
            Slip("That counts paths from all inputs; this weight belongs to one.", lambda right: right * 30 * 784),
        ),
        solution="The weight ends in one neuron; then there are 30 neurons and 10 outputs to choose from: {answer} paths.",
    ),
)  # fmt: skip
