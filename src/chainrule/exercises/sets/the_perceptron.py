"""Exercises on the perceptron."""

from __future__ import annotations

import itertools

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.perceptron import INPUTS, learn, predict


def _step() -> Array:
    """The weights and the bias after one mistake: (2, -1), bias 1, on the example (1, 3) that should be 1."""
    weights, bias, _ = learn(np.array([[1.0, 3.0]]), np.array([1]), epochs=1, weights=np.array([2.0, -1.0]), bias=1.0)
    return np.array([*weights, bias])


def step(x: Array, y: float, weights: Array) -> Array:
    """The weights after one example."""
    guess = 1.0 if weights @ x > 0 else 0.0
    return weights + (y - guess) * x


_EXAMPLES = (
    (np.array([1.0, 2.0]), 1.0, np.array([0.5, -1.0])),
    (np.array([1.0, 2.0]), 0.0, np.array([0.5, 1.0])),
    (np.array([2.0, -1.0]), 1.0, np.array([1.0, 1.0])),
)

_NAMES: dict[tuple[int, ...], str] = {(0, 0, 0, 1): "AND", (0, 1, 1, 1): "OR", (1, 1, 1, 0): "NAND"}

EXERCISES = (
    Exercise(
        "A perceptron has the weights 2 and -1 and the bias 1. It sees the example (1, 3), whose right answer is 1. What "
        "are its two weights and its bias afterwards? Give three numbers.",
        answer=_step,
        hints=(
            "What does it say now: is the sum 2 · 1 - 1 · 3 + 1 above 0?",
            "The sum is exactly 0, so it says 0, and that is a mistake. The example is added to the weights, and 1 to the bias.",
        ),
        slips=(
            Slip("The bias learns as well: it grows by 1.", lambda right: right - np.array([0.0, 0.0, 1.0])),
            Slip(
                "A sum of exactly 0 means the answer 0, and the right one is 1: that is a mistake.",
                lambda right: right - np.array([1.0, 3.0, 1.0]),
            ),
            Slip(
                "It should have said more, so the example is added, not subtracted.",
                lambda right: right - 2 * np.array([1.0, 3.0, 1.0]),
            ),
        ),
        solution="It says 0 and should say 1, so the example is added, and 1 to the bias: {answer}.",
    ),
    Exercise(
        "Two inputs that are 0 or 1: how many of the 16 tasks can one perceptron *not* learn?",
        answer=lambda: sum(learn(INPUTS, np.array(task)).mistakes[-1] > 0 for task in itertools.product((0, 1), repeat=4)),
        hints=("Which tasks have no line between the 0s and the 1s?", "Think of XOR. What happens if 0 and 1 are swapped?"),
        slips=(Slip("That is how many it can learn.", lambda right: 16 - right),),
        solution="XOR and its opposite, \"both the same\": {answer}.",
    ),
    Exercise(
        "Is a perceptron with the weights 1 and 1 and the bias -1.5 an AND, an OR or a NAND?",
        answer=lambda: _NAMES[tuple(int(answer) for answer in predict(INPUTS, np.array([1.0, 1.0]), -1.5))],
        choices=("AND", "OR", "NAND"),
        hints=("Compute the sum for (0, 0), (0, 1), (1, 0) and (1, 1): where is it above 0?",),
        slips=(
            Slip("For (0, 1) the sum is 1 - 1.5, which is below 0.", lambda right: "OR"),
            Slip("For (1, 1) the sum is 2 - 1.5, which is above 0.", lambda right: "NAND"),
        ),
        solution="Only 1 + 1 - 1.5 is above 0: {answer}.",
    ),
    Exercise(
        "Write ``step(x, y, weights)``: the weights after one example, for a perceptron without bias. ``y`` is the right "
        "answer, 0 or 1.",
        answer=step,
        inputs=_EXAMPLES,
        program=True,
        hints=(
            "First the guess: 1 if the weighted sum is above 0, otherwise 0.",
            "The weights move by the error y minus guess, times x.",
        ),
        slips=(
            Slip(
                "The sign is reversed: the error is y minus guess, not guess minus y.",
                instead=lambda x, y, weights: 2 * weights - step(x, y, weights),
            ),
            Slip(
                "That moves the weights even if the answer was right.",
                instead=lambda x, y, weights: weights + (1.0 if y else -1.0) * x,
            ),
        ),
        solution="guess = 1 if weights @ x > 0 else 0, then return weights + (y - guess) * x.",
    ),
)  # fmt: skip
