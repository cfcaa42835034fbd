"""Exercises on gradients that vanish."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.activations import sigmoid, sigmoid_derivative, tanh_derivative


def chain_slope(w: float, b: float, a: float, layers: int) -> float:
    """The slope of a chain of sigmoid neurons with the same weight and bias: one factor w σ′(z) for each layer."""
    slope = 1.0
    for _ in range(int(layers)):
        z = w * a + b
        slope *= w * float(sigmoid_derivative(np.array(z)))
        a = float(sigmoid(np.array(z)))
    return slope


def _without_weight(w: float, b: float, a: float, layers: int) -> float:
    return chain_slope(w, b, a, layers) / w**layers


def _same_slope(w: float, b: float, a: float, layers: int) -> float:
    return float(w * sigmoid_derivative(np.array(w * a + b))) ** layers


def mean_square(n: float, v: float, a2: float) -> float:
    """The mean square of a sum of n products of independent weights with the variance v."""
    return n * v * a2


_HALF: Array = np.array(0.5)

EXERCISES = (
    Exercise(
        "In a chain of single sigmoid neurons with weights of 1, each passes on at best a quarter of an error. What is the "
        "largest share that can arrive after five of them?",
        answer=lambda: float(sigmoid_derivative(np.array(0.0)) ** 5),
        hints=("The chain rule multiplies.",),
        slips=(
            Slip("Slopes along a chain are multiplied, not added.", lambda right: 5 * 0.25),
            Slip("That is ½ to the power of 5: the steepest slope of the sigmoid is ¼.", lambda right: 0.5**5),
            Slip("There is one factor too few: five neurons.", lambda right: 4 * right),
            Slip("There is one factor too many: five neurons.", lambda right: right / 4),
        ),
        solution="¼ to the power of 5 = {answer}.",
    ),
    Exercise(
        "How many times as large is the slope of tanh as that of the sigmoid, both at z = 0.5?",
        answer=lambda: float(tanh_derivative(_HALF) / sigmoid_derivative(_HALF)),
        hints=("The slope of tanh is 1 - tanh(z)², that of the sigmoid σ(z) (1 - σ(z)).", "Divide the first by the second."),
        slips=(
            Slip("That is the ratio at z = 0.", lambda right: 4.0),
            Slip("That is the ratio of the functions, not of their slopes.",
                 lambda right: np.tanh(0.5) / sigmoid(_HALF)),
        ),
        solution="(1 - tanh(0.5)²) / (σ(0.5) (1 - σ(0.5))) = {answer}.",
    ),
    Exercise(
        "The weights of a layer are independent, with mean 0 and variance ``v``; its ``n`` inputs have the mean square "
        "``a2``. What is the mean square of its sums z, without biases, as a formula in ``n``, ``v`` and ``a2``?",
        answer=mean_square,
        inputs=((100.0, 0.01, 1.0), (64.0, 0.005, 0.3), (784.0, 0.1, 0.2)),
        hints=("One product w a has the mean square v · a2.", "The weights have random signs, so the mean squares of the n products add up."),
        slips=(
            Slip("There are n products, and each adds its mean square.", instead=lambda n, v, a2: v * a2),
            Slip("That is the root mean square.", instead=lambda n, v, a2: np.sqrt(n * v * a2)),
            Slip("Mean squares of independent numbers with mean 0 add up: n times, not n² times.", instead=lambda n, v, a2: n**2 * v * a2),
        ),
        solution="n * v * a2",
    ),
    Exercise(
        "Write ``chain_slope(w, b, a, layers)``: the slope of the last activation of a chain of sigmoid neurons in the "
        "chain's input ``a``, if all of them have the weight ``w`` and the bias ``b``.",
        answer=chain_slope,
        inputs=((1.0, 0.0, 0.5, 10), (2.0, -1.0, 0.3, 3), (0.5, 0.2, -1.0, 1)),
        program=True,
        hints=(
            "Go through the layers and keep two numbers: the activation, and the product of slopes so far.",
            "Each layer multiplies the product by w · σ(z) · (1 - σ(z)), where z = w · a + b.",
        ),
        slips=(
            Slip("Each layer has two factors: the slope of the sigmoid, and the weight.", instead=_without_weight),
            Slip("Each layer has a z of its own, computed from the activation before it.", instead=_same_slope),
        ),
        solution="slope = 1; then for each layer: z = w * a + b, a = σ(z), slope *= w * a * (1 - a).",
    ),
)  # fmt: skip
