"""Exercises on one neuron and its slopes."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.activations import sigmoid, tanh_derivative
from chainrule.first_principles.neuron import forward, gradients, mean_squared_error

_GUESSES, _TARGETS = np.array([0.5, 0.9, 0.2, 0.6]), np.array([1.0, 1.0, 0.0, 0.0])
_random = np.random.default_rng(2)
_FEATURES, _LABELS = _random.normal(size=(5, 2)), np.array([0.0, 1.0, 1.0, 0.0, 1.0])
_WEIGHTS = np.array([0.4, -0.3])


def slope(x: float, w: float, b: float, y: float) -> float:
    """The slope of one squared error in the weight of a neuron with one input."""
    guess = float(sigmoid(np.array(w * x + b)))
    return 2 * (guess - y) * guess * (1 - guess) * x


def bias_slope(features: Array, labels: Array, predictions: Array) -> float:
    """The slope of the mean squared error in the bias."""
    return float(gradients(features, labels, predictions)[1])


_PREDICTIONS = forward(_FEATURES, _WEIGHTS, 0.1)

EXERCISES = (
    Exercise(
        "A neuron says 0.5, 0.9, 0.2 and 0.6; right would be 1, 1, 0 and 0. What is the mean squared error?",
        answer=lambda: float(mean_squared_error(_GUESSES, _TARGETS)),
        hints=("Take the four errors, square them, add up. And then? It is a mean.",),
        slips=(
            Slip("That is the sum; the mean divides it by four.", lambda right: 4 * right),
            Slip("The errors are to be squared before they are added up.",
                 lambda right: float(np.mean(np.abs(_GUESSES - _TARGETS)))),
        ),
        solution="(0.25 + 0.01 + 0.04 + 0.36) / 4 = {answer}.",
    ),
    Exercise(
        "A neuron with one input: :math:`x = 2`, :math:`w = 0.5`, :math:`b = -1`, and the right answer is 1. What is the "
        "slope of its squared error in :math:`w`, to three digits?",
        answer=lambda: slope(2.0, 0.5, -1.0, 1.0),
        hints=("What is z? And what does the sigmoid make of it?", "Three slopes: twice the error, ŷ (1 - ŷ), and x."),
        slips=(
            Slip("The last of the three slopes, x, is missing.", lambda right: right / 2.0),
            Slip("The slope of the sigmoid is missing.", lambda right: right * 4),
        ),
        solution="z = 0, so ŷ = 0.5, and 2 · (-0.5) · 0.25 · 2 = {answer}.",
    ),
    Exercise(
        "The same for any ``x``, ``w``, ``b`` and ``y``, as a formula or a function (``exp`` is allowed).",
        answer=slope,
        inputs=((2.0, 0.5, -1.0, 1.0), (-1.0, 1.5, 0.25, 0.0), (0.5, -2.0, 1.0, 1.0)),
        hints=("Write ŷ as 1 / (1 + exp(-(w*x + b))), and put it in three times.",),
        slips=(
            Slip("The slope of the sigmoid is missing: times ŷ (1 - ŷ).",
                 instead=lambda x, w, b, y: 2 * (float(sigmoid(np.array(w * x + b))) - y) * x),
            Slip("The slope of z in w is x: that factor is missing.",
                 instead=lambda x, w, b, y: slope(1.0, w * x, b, y)),
        ),
        solution="With ŷ = 1 / (1 + exp(-(w*x + b))): 2 * (ŷ - y) * ŷ * (1 - ŷ) * x.",
    ),
    Exercise(
        "Both tanh and the sigmoid are steepest at 0. How many times as steep as the sigmoid is tanh there?",
        answer=lambda: float(tanh_derivative(np.array(0.0)) / 0.25),
        hints=("The slope of tanh is 1 - tanh², and tanh(0) is 0. The slope of the sigmoid is ŷ (1 - ŷ), and σ(0) is ½.",),
        slips=(
            Slip("That is the slope of tanh; divide it by that of the sigmoid.", lambda right: 1.0),
        ),
        solution="1 - 0² = 1 against 1/4: {answer} times.",
    ),
    Exercise(
        "Write ``bias_slope(features, labels, predictions)``: the slope of the *mean* squared error in the bias, for "
        "several examples. ``features`` is (N, 2), the other two (N,).",
        answer=bias_slope,
        inputs=((_FEATURES, _LABELS, _PREDICTIONS), (_FEATURES[:2], _LABELS[:2], _PREDICTIONS[:2])),
        program=True,
        hints=(
            "One example: twice its error, times ŷ (1 - ŷ), times the slope of z in b. What is that?",
            "Add up over the examples, and divide once by how many there are.",
        ),
        slips=(
            Slip("That divides by N twice: the 2/N is the mean already, so the examples are added up.",
                 instead=lambda features, labels, predictions: bias_slope(features, labels, predictions) / len(labels)),
            Slip("That is the slope of the sum: a mean divides by N.",
                 instead=lambda features, labels, predictions: bias_slope(features, labels, predictions) * len(labels)),
            Slip("The slope of the sigmoid is missing.",
                 instead=lambda features, labels, predictions: float(2 * np.mean(predictions - labels))),
        ),
        solution="return np.mean(2 * (predictions - labels) * predictions * (1 - predictions))",
    ),
)  # fmt: skip
