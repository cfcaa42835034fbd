"""Exercises on the four equations."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles import backprop
from chainrule.first_principles.activations import sigmoid, sigmoid_derivative

_DELTA2, _H = np.array([[-0.2], [0.1]]), np.array([[0.5], [0.8], [0.4]])
_W2 = np.array([[1.0, -2.0, 0.5], [3.0, 1.0, -1.0]])
_random = np.random.default_rng(3)


def output_error(guess: float, y: float) -> float:
    """Equation 1 for one output, of a sigmoid."""
    return (guess - y) * guess * (1 - guess)


def hidden_error(w2: Array, delta2: Array, z1: Array) -> Array:
    """Equation 3."""
    return backprop.hidden_error(w2, delta2, z1)


def _z(h: Array) -> Array:
    """The sums that a sigmoid turns into h."""
    return np.log(h / (1 - h))


_CALLS = tuple(
    (_random.normal(size=(o, n)), _random.normal(size=(o, 1)), _random.normal(size=(n, 1)))
    for o, n in ((2, 3), (3, 3), (1, 4))
)

EXERCISES = (
    Exercise(
        "An output says 0.8, and right would be 0. The cost is half the squared error. What is its blame :math:`\\delta`?",
        answer=lambda: output_error(0.8, 0.0),
        hints=("The slope of the cost in the guess, times the slope of the sigmoid, ŷ (1 - ŷ).",),
        slips=(
            Slip("That is the error ŷ - y alone: the slope of the sigmoid is missing.", lambda right: 0.8),
            Slip("That is the slope of the sigmoid alone: the error is missing.", lambda right: 0.8 * 0.2),
            Slip("Half the square has the slope ŷ - y, without a factor 2.", lambda right: 2 * right),
        ),
        solution="(0.8 - 0) · 0.8 · 0.2 = {answer}.",
    ),
    Exercise(
        "Two outputs have the blames -0.2 and 0.1. Three hidden neurons say 0.5, 0.8 and 0.4. What are the slopes of the "
        "cost in the weights between them, :math:`\\partial C / \\partial W^2`? A matrix of 2 rows.",
        answer=lambda: backprop.output_gradients(_DELTA2, _H)[0],
        hints=("Each weight: the blame where its wire ends, times the number where it begins.",),
        slips=(
            Slip("Rows and columns are exchanged: each row belongs to an output.", np.transpose),
            Slip("The sign is lost: the first output has a negative blame.", np.abs),
        ),
        solution="Each blame times each number, a row for each output: {answer}.",
    ),
    Exercise(
        "The weights to these outputs are [[1, -2, 0.5], [3, 1, -1]]. What is the blame of hidden neuron 1, which says 0.5?",
        answer=lambda: float(backprop.hidden_error(_W2, _DELTA2, _z(_H))[0, 0]),
        hints=(
            "It speaks to both outputs: which weights stand on its two wires?",
            "-0.2 · 1 + 0.1 · 3, and then the slope of its own sigmoid, 0.5 · (1 - 0.5).",
        ),
        slips=(
            Slip("The slope of its own sigmoid is missing.", lambda right: right * 4),
            Slip("Only the way back from output 1 is there; it speaks to both.", lambda right: -0.2 * 1.0 * 0.25),
            Slip("Only the way back from output 2 is there; it speaks to both.", lambda right: 0.1 * 3.0 * 0.25),
        ),
        solution="(-0.2 · 1 + 0.1 · 3) · 0.25 = {answer}.",
    ),
    Exercise(
        "A network 784-30-10: what is the shape of the matrix of its first layer's slopes, one for each weight? Give two numbers.",
        answer=lambda: np.array(backprop.backpropagate(
            backprop.start(784, 30, 10, np.random.default_rng(0)), np.zeros((784, 1)), np.zeros((10, 1))
        ).w1.shape, float),
        hints=("It has a slope for each weight. A row for each neuron, a column for each input.",),
        slips=(
            Slip("Rows and columns are exchanged: a row for each neuron.", lambda right: right[::-1].copy()),
            Slip("That is the second layer.", lambda right: np.array([10.0, 30.0])),
        ),
        solution="The shape of the weights themselves, {answer}.",
    ),
    Exercise(
        "Write ``hidden_error(w2, delta2, z1)``: equation 3, for ``w2`` of shape (outputs, hidden), ``delta2`` of shape "
        "(outputs, 1) and ``z1`` of shape (hidden, 1).",
        answer=hidden_error,
        inputs=_CALLS,
        program=True,
        hints=(
            "The blame goes back through the same weights: which way around must the matrix be?",
            "Then element by element, times the slope of the sigmoid at z1: s * (1 - s) with s = 1 / (1 + np.exp(-z1)).",
        ),
        slips=(
            Slip("The slope of the sigmoid is missing.", instead=lambda w2, delta2, z1: w2.T @ delta2),
            Slip(
                "That multiplies by the sigmoid, not by its slope.",
                instead=lambda w2, delta2, z1: (w2.T @ delta2) * sigmoid(z1),
            ),
            Slip(
                "The slope is s (1 - s) with s = σ(z1); that takes z1 (1 - z1).",
                instead=lambda w2, delta2, z1: (w2.T @ delta2) * z1 * (1 - z1),
            ),
            Slip(
                "That divides by the number of outputs: the ways back are added, not averaged.",
                instead=lambda w2, delta2, z1: (w2.T @ delta2) * sigmoid_derivative(z1) / len(delta2),
            ),
        ),
        solution="s = 1 / (1 + np.exp(-z1)), and return (w2.T @ delta2) * s * (1 - s).",
    ),
)  # fmt: skip
