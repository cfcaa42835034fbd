"""Exercises on the same network by hand, with the engine, and compiled."""

from __future__ import annotations

import numpy as np

import chainrule
from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.activations import sigmoid


def _grad_after(calls: int) -> float:
    """The gradient of x² at 3 after several calls of backward without zero_grad."""
    x = chainrule.tensor(3.0, requires_grad=True)
    for _ in range(calls):
        (x**2).backward()
    return float(x.grad.item()) if x.grad is not None else 0.0


def layer(x: Array, weight: Array, bias: Array) -> Array:
    """A layer of sigmoid neurons for images in rows."""
    return sigmoid(x @ weight.T + bias)


_random = np.random.default_rng(5)


def _case(images: int, inputs: int, outputs: int) -> tuple[Array, Array, Array]:
    return (
        _random.normal(size=(images, inputs)),
        _random.normal(size=(outputs, inputs)),
        _random.normal(size=outputs),
    )


EXERCISES = (
    Exercise(
        "``x = chainrule.tensor(3.0, requires_grad=True)``. Twice in a row: ``(x**2).backward()``, without ``zero_grad``. "
        "What is ``x.grad`` then?",
        answer=lambda: _grad_after(2),
        hints=("What is the slope of x² at 3?", "``backward`` adds to the slopes that are there."),
        slips=(
            Slip("``backward`` adds: after the second call the slope is there twice. That is what zero_grad is for.",
                 lambda right: right / 2),
            Slip("Slopes are added, not multiplied.", lambda right: 36.0),
        ),
        solution="The slope of x² at 3 is 6, and it is added twice: {answer}.",
    ),
    Exercise(
        "By hand, a mini-batch of 10 images is a matrix of (784, 10), one column per image, and the layer is ``W @ x + b``. "
        "In the libraries it is (10, 784), and ``nn.Linear(784, 30)`` computes ``x @ weight.T + bias``. What shape does "
        "its ``weight`` have? Give two numbers.",
        answer=lambda: np.array(chainrule.nn.Linear(784, 30).weight.shape),
        hints=("It is the same matrix W as by hand.", "One row per neuron, one column per input."),
        slips=(Slip("That is the shape of weight.T: one row per neuron, as by hand.", lambda right: right[::-1]),),
        solution="{answer}: one row for each of the 30 neurons.",
    ),
    Exercise(
        "Write ``layer(x, weight, bias)`` in NumPy: the activations of a layer of sigmoid neurons, for images in rows.",
        answer=layer,
        inputs=(_case(1, 2, 3), _case(4, 3, 2), _case(5, 5, 5)),
        program=True,
        hints=("z is x @ weight.T + bias. Which shape is it?", "The sigmoid is 1 / (1 + np.exp(-z))."),
        slips=(
            Slip("The activation is missing: that is z.", instead=lambda x, weight, bias: x @ weight.T + bias),
            Slip("The bias is missing.", instead=lambda x, weight, bias: sigmoid(x @ weight.T)),
            Slip("Images are rows here: one row per image, one column per neuron.", np.transpose),
            Slip("The sign in the exponent: 1 / (1 + e^-z).", lambda right: 1 - right),
        ),
        solution="return 1 / (1 + np.exp(-(x @ weight.T + bias)))",
    ),
)  # fmt: skip
