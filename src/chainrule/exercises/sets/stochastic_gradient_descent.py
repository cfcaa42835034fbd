"""Exercises on mini-batches."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip


def variance(single: float, size: float, total: float) -> float:
    """The variance of a mini-batch's mean, drawn without replacement."""
    return single / size * (total - size) / (total - 1)


def gradient(x: Array, y: Array, w: float) -> float:
    """The slope in w of the mean of (w x - y)² over a mini-batch."""
    return float(np.mean(2 * (w * x - y) * x))


_random = np.random.default_rng(7)

EXERCISES = (
    Exercise(
        "An epoch of 50,000 examples in mini-batches of 10: how many steps is that?",
        answer=lambda: 50_000 // 10,
        hints=("Each example is used once in an epoch, and each step uses 10.",),
        slips=(Slip("That is the number of examples: a step uses ten of them.", lambda right: 50_000),),
        solution="50,000 / 10 = {answer}.",
    ),
    Exercise(
        "Single examples have the variance 0.36. What is the *standard deviation* (the error) of a mini-batch of 9 out of "
        "very many examples?",
        answer=lambda: float(np.sqrt(0.36 / 9)),
        hints=(
            "With very many examples the second factor of the formula is 1. What is the variance of the mean of 9?",
            "The standard deviation is the square root of the variance.",
        ),
        slips=(
            Slip("That is the variance; the standard deviation is its square root.", lambda right: right**2),
            Slip("The variance of the mean is divided by 9, so its root is divided by 3, not by 9.",
                 lambda right: np.sqrt(0.36) / 9),
            Slip("That is for a single example.", lambda right: np.sqrt(0.36)),
            Slip("That is the deviation of a sum of 9; a mean divides by 9.", lambda right: right * 9),
        ),
        solution="√(0.36 / 9) = 0.6 / 3 = {answer}. Nine times the examples, a third of the error.",
    ),
    Exercise(
        "The variance of a mini-batch's gradient, as a formula in ``single`` (the variance of single examples), ``size`` "
        "(of the mini-batch) and ``total`` (the number of examples), drawn without replacement.",
        answer=variance,
        inputs=((1.0, 1.0, 100.0), (0.5, 10.0, 1000.0), (2.0, 50.0, 60.0)),
        hints=(
            "For a small mini-batch it is single / size. What must come out for size = total?",
            "The second factor is 1 for size = 1 and 0 for size = total.",
        ),
        slips=(
            Slip("The second factor is missing: a mini-batch of all examples has no error.",
                 instead=lambda single, size, total: single / size),
            Slip("For one example it must be exactly the variance of single examples: divide by total - 1.",
                 instead=lambda single, size, total: single / size * (total - size) / total),
            Slip("That is the standard deviation: the variance has no root.",
                 instead=lambda single, size, total: np.sqrt(variance(single, size, total))),
        ),
        solution="single / size * (total - size) / (total - 1)",
    ),
    Exercise(
        "Write ``gradient(x, y, w)``: the slope in ``w`` of the *mean* of :math:`(w x - y)^2` over a mini-batch, for arrays "
        "``x`` and ``y``.",
        answer=gradient,
        inputs=tuple((_random.normal(size=n), _random.normal(size=n), 0.5) for n in (1, 4, 10)),
        program=True,
        hints=(
            "The slope of one square in w: twice the inside, times the slope of the inside.",
            "Then the mean over the mini-batch: np.mean.",
        ),
        slips=(
            Slip("That is the sum over the mini-batch, which grows with the number of examples. Take the mean.",
                 instead=lambda x, y, w: np.sum(2 * (w * x - y) * x)),
            Slip("The slope of the inside, x, is missing.", instead=lambda x, y, w: np.mean(2 * (w * x - y))),
            Slip("The 2 from the square is missing.", lambda right: right / 2),
            Slip("That multiplies two means. First multiply for each example, then take the mean.",
                 instead=lambda x, y, w: np.mean(2 * (w * x - y)) * np.mean(x)),
        ),
        solution="return np.mean(2 * (w * x - y) * x)",
    ),
)  # fmt: skip
