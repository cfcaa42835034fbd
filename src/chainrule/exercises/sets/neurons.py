"""Exercises on neurons, weights and biases."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.activations import sigmoid

_X = np.array([1.0, 0.0, 2.0])
_W = np.array([0.5, -1.0, -0.25])
_B = 0.3
_random = np.random.default_rng(1)


def total(inputs: Array, weights: Array, bias: float) -> float:
    """The weighted sum of one neuron."""
    return float(weights @ inputs + bias)


def numbers(inputs: int, hidden: int, outputs: int) -> int:
    """The weights and biases of a network with one hidden layer."""
    return inputs * hidden + hidden + hidden * outputs + outputs


def layer(inputs: Array, weights: Array, biases: Array) -> Array:
    """The activations of a layer of sigmoid neurons."""
    return sigmoid(weights @ inputs + biases)


EXERCISES = (
    Exercise(
        "A neuron has the weights 0.5, -1 and -0.25, and the bias 0.3. Its inputs are 1, 0 and 2. What is its sum "
        ":math:`z`?",
        answer=lambda: total(_X, _W, _B),
        hints=("Multiply each weight by its input and add up. What is there even without input?",),
        slips=(
            Slip("The bias is missing: it is added at the end.", lambda right: right - _B),
            Slip("The bias is added, not subtracted.", lambda right: right - 2 * _B),
            Slip("That leaves out the sign of the third weight.", lambda right: right + 1.0),
        ),
        solution="0.5 · 1 - 1 · 0 - 0.25 · 2 + 0.3 = {answer}.",
    ),
    Exercise(
        "What is the activation of that neuron, to three digits? (:math:`z` goes into the sigmoid.)",
        answer=lambda: float(sigmoid(np.array(total(_X, _W, _B)))),
        hints=("The sigmoid is 1 / (1 + e to the power of -z).", "With e to the power of -0.3, which is 0.7408."),
        slips=(
            Slip("The sign in the exponent is lost: it is e to the power of minus z.", lambda right: 1 - right),
            Slip("That is e to the power of -z alone: add 1, and divide 1 by it.", lambda right: (1 - right) / right),
        ),
        solution="1 / (1 + 0.7408) = {answer}.",
    ),
    Exercise(
        "A network has ``inputs`` inputs, one hidden layer of ``hidden`` neurons, and ``outputs`` outputs. How many "
        "numbers are there to learn? Give a formula.",
        answer=numbers,
        inputs=((784, 30, 10), (2, 3, 2), (9, 1, 4)),
        hints=(
            "Each neuron has a weight for each of its inputs, and what else?",
            "A hidden neuron has inputs + 1 numbers. An output neuron has as many as there are hidden ones, plus 1.",
        ),
        slips=(
            Slip(
                "The biases are missing: one for each neuron.",
                instead=lambda inputs, hidden, outputs: inputs * hidden + hidden * outputs,
            ),
            Slip(
                "The inputs are not neurons: they have no bias.",
                instead=lambda inputs, hidden, outputs: numbers(inputs, hidden, outputs) + inputs,
            ),
            Slip(
                "The output neurons look at the hidden ones, not at the inputs.",
                instead=lambda inputs, hidden, outputs: (inputs + 1) * (hidden + outputs),
            ),
        ),
        solution="(inputs + 1) * hidden + (hidden + 1) * outputs",
    ),
    Exercise(
        "Write ``layer(inputs, weights, biases)``: the activations of a whole layer of sigmoid neurons, with one ``@``. "
        "``weights`` has a row for each neuron.",
        answer=layer,
        inputs=tuple(
            (_random.normal(size=n), _random.normal(size=(k, n)), _random.normal(size=k)) for n, k in ((2, 3), (4, 4))
        ),
        program=True,
        hints=(
            "A matrix times a vector gives one weighted sum for each row.",
            "Which of the two stands on the left? Then add the biases, and bend: 1 / (1 + np.exp(-z)).",
        ),
        slips=(
            Slip(
                "The bend is missing: those are the sums z.",
                instead=lambda inputs, weights, biases: weights @ inputs + biases,
            ),
            Slip("The biases are missing.", instead=lambda inputs, weights, biases: sigmoid(weights @ inputs)),
            Slip(
                "The biases are added to the activations; they belong in the sum, before the bend.",
                instead=lambda inputs, weights, biases: sigmoid(weights @ inputs) + biases,
            ),
        ),
        solution="return 1 / (1 + np.exp(-(weights @ inputs + biases)))",
    ),
)
