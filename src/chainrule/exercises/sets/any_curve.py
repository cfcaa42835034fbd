"""Exercises on drawing any curve."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.activations import sigmoid

_STEEP = 1000
_X = np.linspace(0, 1, 41) + 0.003


def bump(x: Array, left: float, right: float, height: float) -> Array:
    """A bump by two steep sigmoid neurons."""
    first, second = sigmoid(_STEEP * (x - left)), sigmoid(_STEEP * (x - right))
    return np.asarray(height * first - height * second)


EXERCISES = (
    Exercise(
        "A sigmoid neuron has the weight 200. Which bias puts its step at x = 0.3?",
        answer=lambda: -200 * 0.3,
        hints=("The step is where the sum w x + b is 0.",),
        slips=(Slip("Then the sum would be 0 at x = -0.3.", lambda right: -right),),
        solution="200 · 0.3 + b = 0, so b = {answer}.",
    ),
    Exercise(
        "How many hidden neurons do 12 bumps take, made of steps?",
        answer=lambda: 2 * 12,
        hints=("A bump has a left end and a right end.",),
        slips=(Slip("A bump needs a step up and a step down.", lambda right: 12),),
        solution="Two for each bump: {answer}.",
    ),
    Exercise(
        "Rectifiers max(0, x), max(0, x - 1) draw straight pieces through the points (0, 1), (1, 3) and (2, 2); the "
        "output's bias is 1. Which weights do the two rectifiers have? Give ``[a, b]``.",
        answer=lambda: np.diff(np.diff([1.0, 3.0, 2.0]), prepend=0.0),
        hints=("What are the slopes of the two pieces?", "Each rectifier has the change of slope at its point."),
        slips=(
            Slip(
                "Those are the slopes. At x = 1 the first rectifier continues with its slope of 2; the second must "
                "change it.",
                lambda right: np.cumsum(right),
            ),
        ),
        solution="The slopes are 2 and -1; the changes are {answer}.",
    ),
    Exercise(
        "Write ``bump(x, left, right, height)`` for an array ``x``, with two sigmoid neurons with the weight 1000.",
        answer=bump,
        inputs=((_X, 0.2, 0.5, 1.0), (_X, 0.1, 0.9, -0.4), (_X, 0.45, 0.55, 2.5)),
        program=True,
        hints=("sigmoid(w (x - left)) is a step up at left. What must happen at right?",),
        slips=(
            Slip(
                "The second step must be subtracted.",
                instead=lambda x, left, right, height: (
                    height * (sigmoid(_STEEP * (x - left)) + sigmoid(_STEEP * (x - right)))
                ),
            ),
            Slip(
                "There is no step down at the right end.",
                instead=lambda x, left, right, height: height * sigmoid(_STEEP * (x - left)),
            ),
        ),
        solution="height times the difference of two sigmoids: of 1000 (x - left) and of 1000 (x - right).",
    ),
    Exercise(
        "A network has learned a curve from x = 0 to x = 1, almost without error. Does the theorem say anything about "
        "it at x = 2?",
        answer=lambda: "no",
        choices=("yes", "no"),
        hints=("Where were the bumps?",),
        slips=(
            Slip(
                "The theorem is about an interval that one chooses; outside of it the network is free.",
                lambda right: "yes",
            ),
        ),
        solution="No. Beyond its examples it may do anything.",
    ),
)
