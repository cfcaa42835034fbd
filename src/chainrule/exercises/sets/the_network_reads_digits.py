"""Exercises on the network that reads digits."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.network import Network


def _numbers(sizes: tuple[int, ...]) -> int:
    network = Network(sizes, seed=0)
    return sum(part.size for part in (*network.weights, *network.biases))


def recall(counts: Array) -> Array:
    """The fraction of each digit's images that were read right: the diagonal over the sums of the rows."""
    return np.asarray(np.diagonal(counts) / counts.sum(axis=1))


_random = np.random.default_rng(3)
_OUTPUTS = np.array([0.1, 0.7, 0.4])
_TARGETS = np.array([0.0, 1.0, 0.0])

EXERCISES = (
    Exercise(
        "How many weights and biases does a network 784-100-10 have?",
        answer=lambda: _numbers((784, 100, 10)),
        hints=(
            "A layer has a weight for each pair of a neuron and an input.",
            "And each of the 110 neurons has a bias.",
        ),
        slips=(
            Slip("The biases are missing: one for each neuron.", lambda right: right - 110),
            Slip("Inputs have no bias: only the 100 and the 10 have one.", lambda right: right + 784),
        ),
        solution="784 · 100 + 100 + 100 · 10 + 10 = {answer}.",
    ),
    Exercise(
        "Three outputs are 0.1, 0.7 and 0.4, and the second is the right one. What is the cost, "
        ":math:`C = \\tfrac12 \\sum_j (a_j - y_j)^2`?",
        answer=lambda: float(np.sum((_OUTPUTS - _TARGETS) ** 2) / 2),
        hints=("The errors are the outputs minus 0, 1 and 0.", "Square each error, add the three, take half."),
        slips=(
            Slip("The factor ½ is missing.", lambda right: 2 * right),
            Slip("The cost is half of the sum, not the mean over the outputs.", lambda right: 2 * right / 3),
            Slip("Only the right output is counted: the other two should have been 0.",
                 lambda right: 0.5 * (0.7 - 1) ** 2),
        ),
        solution="½ (0.1² + 0.3² + 0.4²) = {answer}.",
    ),
    Exercise(
        "The same three outputs: what is :math:`\\partial C / \\partial a_j` for each? Give an array of three numbers.",
        answer=lambda: _OUTPUTS - _TARGETS,
        hints=("The 2 of the square and the ½ cancel.",),
        slips=(
            Slip("The factor ½ in the cost cancels the 2.", lambda right: 2 * right),
            Slip("It is output minus target: where the output is too large, the cost grows with it.",
                 lambda right: -right),
        ),
        solution="a - y, which is {answer}.",
    ),
    Exercise(
        "Write ``recall(counts)``: the fraction of each digit's images that were read right. ``counts[i, j]`` says how "
        "often a digit ``i`` was read as ``j``.",
        answer=recall,
        inputs=tuple((_random.integers(1, 50, size=(n, n)).astype(float),) for n in (2, 3, 10)),
        program=True,
        hints=(
            "Right answers are on the diagonal: np.diagonal(counts).",
            "How many images of digit i are there? The sum of row i.",
        ),
        slips=(
            Slip("That divides by how often each digit was *said* (the columns): it is called precision.",
                 instead=lambda counts: np.diagonal(counts) / counts.sum(axis=0)),
            Slip("That divides by all images: each digit's fraction is of its own images.",
                 instead=lambda counts: np.diagonal(counts) / counts.sum()),
            Slip("That is the accuracy of all digits together.",
                 instead=lambda counts: np.trace(counts) / counts.sum()),
        ),
        solution="return np.diagonal(counts) / counts.sum(axis=1)",
    ),
)  # fmt: skip
