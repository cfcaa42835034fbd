"""Exercises on convolution, pooling and softmax."""

from __future__ import annotations

import numpy as np

from chainrule import nn
from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.convolution import convolve, max_pool

_IMAGE = np.array([[0.0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
_EDGE = np.array([[-1.0, 0, 1]] * 3)


def _response(filter_: Array) -> Array:
    return np.asarray(convolve(_IMAGE[None], filter_[None, None], np.zeros(1))[0])


def softmax(z: Array) -> Array:
    """The powers of e, divided by their sum; shifted first, so that none is too large."""
    powers = np.exp(z - z.max())
    return np.asarray(powers / powers.sum())


EXERCISES = (
    Exercise(
        "The image has four rows 0 0 1 1 (ink on the right), the filter three rows -1 0 1. Slide it without a border: "
        "which four sums come out? Give a matrix of 2 rows.",
        answer=lambda: _response(_EDGE),
        hints=(
            "There are 2 × 2 positions. At the first one, the window covers columns 1 to 3: 0 0 1 in each of three rows.",
            "Each row adds -1 · 0 + 0 · 0 + 1 · 1.",
        ),
        slips=(
            Slip("A sum runs over all three rows of the window.", lambda right: right / 3),
            Slip("The filter is not flipped here: its right column, 1, meets the right column of the window.",
                 lambda right: _response(_EDGE[:, ::-1])),
        ),
        solution="At each position three rows of -1 · 0 + 0 + 1 · 1: {answer}.",
    ),
    Exercise(
        "Pooling of 2 × 2: what remains of the matrix [[1, 5, 2, 0], [3, 4, 1, 7]]? Give a matrix of one row.",
        answer=lambda: max_pool(np.array([[[1.0, 5, 2, 0], [3, 4, 1, 7]]]))[0],
        hints=("There are two squares, side by side.", "Of each, the largest number."),
        slips=(
            Slip("That is the mean of each square; here the largest is kept.", lambda right: np.array([[3.25, 2.5]])),
            Slip("That is the smallest of each square.", lambda right: np.array([[1.0, 0.0]])),
            Slip("That is the largest of each column: a square has two of them.",
                 lambda right: np.array([[3.0, 5, 2, 7]])),
        ),
        solution="The largest of 1, 5, 3, 4 and of 2, 0, 1, 7: {answer}.",
    ),
    Exercise(
        "A layer of 16 filters of 3 × 3 looks at 8 maps. How many weights and biases does it have?",
        answer=lambda: sum(part.numel() for part in nn.Conv2d(8, 16, 3).parameters()),
        hints=("Each filter looks at all 8 maps at once.", "And each filter has one bias."),
        slips=(
            Slip("The biases are missing: one for each filter.", lambda right: right - 16),
            Slip("Each filter looks at all 8 maps, with 3 × 3 weights for each.", lambda right: 16 * 9 + 16),
            Slip("A filter has one bias, not one for each map.", lambda right: right - 16 + 16 * 8),
        ),
        solution="16 · (8 · 3 · 3 + 1) = {answer}.",
    ),
    Exercise(
        "Write ``softmax(z)``: probabilities from scores. It should not fail for a score of 1,000. (What happens to the "
        "probabilities if the same number is subtracted from all scores?)",
        answer=softmax,
        inputs=(
            (np.array([1.0, 2, 3]),),
            (np.array([0.0, -5, 0.5, 2]),),
            (np.array([1000.0, 999]),),
        ),
        program=True,
        hints=(
            "np.exp(z) / np.exp(z).sum() is right for small scores.",
            "Subtract z.max() first: the fractions stay the same, and no power is above 1.",
        ),
        slips=(
            Slip("They do not add up to 1: divide by the sum of the powers.", instead=lambda z: np.exp(z - z.max())),
            Slip("That divides the scores themselves: the powers of e come first.", instead=lambda z: z / z.sum()),
        ),
        solution="powers = np.exp(z - z.max()), and return powers / powers.sum()",
    ),
    Exercise(
        "The right digit has the probability ¼. What is the cross entropy, to three digits?",
        answer=lambda: float(-np.log(0.25)),
        hints=("It is minus the natural logarithm of that probability.",),
        slips=(
            Slip("That is the logarithm to base 2; here it is the natural one.", lambda right: right / np.log(2)),
            Slip("That is the logarithm to base 10; here it is the natural one.", lambda right: right / np.log(10)),
            Slip("The logarithm of a fraction is negative; the cost is minus that.", lambda right: -right),
        ),
        solution="-ln ¼ = {answer}.",
    ),
)  # fmt: skip
