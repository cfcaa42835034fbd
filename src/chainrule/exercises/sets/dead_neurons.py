"""Exercises on rectifiers that die."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.activations import leaky_relu, leaky_relu_derivative, relu_derivative


def silent(z: Array) -> Array:
    """Which neurons have no z above 0, for images in rows and neurons in columns."""
    return np.asarray(z.max(axis=0) <= 0, float)


def _counted(z: Array) -> Array:
    return np.array(float((z.max(axis=0) <= 0).sum()))


_random = np.random.default_rng(2)
_Z = np.array([-2.0, 0.5, 3.0])

EXERCISES = (
    Exercise(
        "A neuron with a leak of α = 0.1 has z = -5. What is its activation?",
        answer=lambda: float(leaky_relu(np.array(-5.0), 0.1)),
        hints=("Left of zero it is α z.",),
        slips=(
            Slip("That is ReLU, without a leak.", lambda right: 0.0),
            Slip("That is z itself, which is the activation right of zero only.", lambda right: -5.0),
            Slip("That is the slope; the activation is α z.", lambda right: 0.1),
        ),
        solution="0.1 · (-5) = {answer}.",
    ),
    Exercise(
        "The errors that arrive at three rectifiers (ReLU) are all 0.4, and their z are -2, 0.5 and 3. What is δ for each? "
        "Give three numbers.",
        answer=lambda: 0.4 * relu_derivative(_Z),
        hints=("Each error is multiplied by the slope at its z.", "The slope is 0 or 1."),
        slips=(
            Slip("The error is multiplied by the slope at z, not by the activation.",
                 lambda right: 0.4 * np.maximum(_Z, 0)),
            Slip("The slope of ReLU is 0 left of zero: the first error does not get through.",
                 lambda right: np.full(3, 0.4)),
            Slip("Those are the slopes; multiply them by the errors.", lambda right: relu_derivative(_Z)),
        ),
        solution="0.4 times 0, 1 and 1: {answer}.",
    ),
    Exercise(
        "Two networks have the same dead neuron, which gets the same error of 1 in each step: one has a leak of 0.01, the "
        "other of 0.1. How many times as fast does the second one move?",
        answer=lambda: float(
            leaky_relu_derivative(np.array(-1.0), 0.1) / leaky_relu_derivative(np.array(-1.0), 0.01)
        ),
        hints=("A step is proportional to the slope at its z.",),
        slips=(Slip("The slopes are divided, not subtracted.", lambda right: 0.09),),
        solution="0.1 / 0.01 = {answer}: with the small leak it may take too long.",
    ),
    Exercise(
        "Write ``silent(z)``: for each neuron 1 if it is silent and 0 if not. ``z`` has one row per image and one column "
        "per neuron.",
        answer=silent,
        inputs=tuple((_random.normal(-1.0, 1.0, size=shape),) for shape in ((3, 6), (5, 4), (1, 5))),
        program=True,
        hints=(
            "A neuron is silent if its z is not above 0 for any image.",
            "That is so if the largest z of its column is not above 0.",
        ),
        slips=(
            Slip("Those are the neurons that are awake.", lambda right: 1 - right),
            Slip("That looks at each image (row), not at each neuron (column).", instead=lambda z: (z.max(axis=1) <= 0) * 1.0),
            Slip("A silent neuron is silent for all images: the largest z counts, not the smallest.",
                 instead=lambda z: (z.min(axis=0) <= 0) * 1.0),
            Slip("That is how many are silent; the question is which.", instead=_counted),
        ),
        solution="return (z.max(axis=0) <= 0) * 1",
    ),
)  # fmt: skip
