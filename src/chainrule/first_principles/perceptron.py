"""The perceptron: the first machine that learned from its mistakes.

It computes the weighted sum of its inputs plus a bias, and fires if the sum is above 0:

    prediction = 1 if w · x + b > 0 else 0

It learns from one example at a time. If the prediction is right, nothing changes. If it is wrong, the example is added
to the weights if the perceptron should have fired, and subtracted if not:

    w ← w + rate (target - prediction) x        b ← b + rate (target - prediction)

The decision changes where w · x + b = 0; with two inputs that is a straight line. A line can separate the 0s and 1s of
AND and of OR, so they can be learned. For XOR ("one or the other, but not both") this is impossible:

    0, 0 → 0 requires             b ≤ 0
    0, 1 → 1 requires        w₂ + b > 0
    1, 0 → 1 requires   w₁      + b > 0
    1, 1 → 0 requires   w₁ + w₂ + b ≤ 0

The two in the middle add up to w₁ + w₂ + 2b > 0, the outer two to w₁ + w₂ + 2b ≤ 0: a contradiction. A second layer
solves it: XOR is "OR, AND not both".

Source: Rosenblatt, The Perceptron (Psychological Review, 1958); the proof about XOR is in Minsky and Papert,
Perceptrons (1969).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.first_principles import Array

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # (4, 2): all pairs of two bits
AND = np.array([0, 0, 0, 1])
OR = np.array([0, 1, 1, 1])
NAND = 1 - AND
XOR = np.array([0, 1, 1, 0])


class TrainedPerceptron(NamedTuple):
    """The trained weights (n,) and bias, and the number of mistakes in each epoch."""

    weights: Array
    bias: float
    mistakes: list[int]


def predict(inputs: ArrayLike, weights: ArrayLike, bias: float) -> Array:
    """1 where w · x + b > 0, else 0: inputs (N, n) and weights (n,) to (N,); one example (n,) to a single number.

    Raises:
        ValueError: w · x + b is NaN, so that it has no sign.
    """
    sums = np.asarray(inputs) @ np.asarray(weights) + bias
    if np.isnan(sums).any():
        raise ValueError("predict: w · x + b is not a number; inputs, weights and bias must be finite")
    return np.where(sums > 0, 1.0, 0.0)


def learn(
    inputs: ArrayLike,
    targets: ArrayLike,
    epochs: int = 100,
    rate: float = 1.0,
    weights: ArrayLike = 0.0,
    bias: float = 0.0,
) -> TrainedPerceptron:
    """Train by Rosenblatt's rule until an epoch has no mistakes, or for `epochs` epochs.

    Args:
        inputs: (N, n).
        targets: (N,), each 0 or 1.
        epochs: maximum number of epochs.
        rate: learning rate.
        weights: initial weights, (n,) or one number for all.
        bias: initial bias.

    Raises:
        ValueError: the shapes do not match, or a target is neither 0 nor 1.
    """
    x, t = np.asarray(inputs, float), np.asarray(targets)
    if x.ndim != 2 or t.shape != x.shape[:1] or not np.isin(t, (0, 1)).all():
        raise ValueError(f"learn: needs inputs (N, n) and N targets of 0 or 1, got shapes {x.shape} and {t.shape}")
    w, b = np.zeros(x.shape[1]) + np.asarray(weights, float), bias
    mistakes: list[int] = []
    while len(mistakes) < epochs and 0 not in mistakes[-1:]:  # the last epoch, if any, had mistakes
        wrong = 0
        for example, target in zip(x, t, strict=True):
            error = target - predict(example, w, b)  # -1, 0 or 1
            w = w + rate * error * example
            b = b + rate * error
            wrong += int(error != 0)
        mistakes.append(wrong)
    return TrainedPerceptron(w, float(b), mistakes)


def decision_line(weights: ArrayLike, bias: float) -> tuple[Array, Array]:
    """The line w · x + b = 0 of two inputs: its point nearest to the origin (2,), and its unit direction (2,).

    A point and a direction can represent a vertical line; a slope cannot.

    Raises:
        ValueError: the weights are not two finite numbers, or both are 0.
    """
    w = np.asarray(weights, float)
    if w.shape != (2,) or not w.any() or not np.isfinite(w).all():
        raise ValueError(
            f"decision_line: needs two finite weights that are not both 0, got {w.tolist()} of shape {w.shape}"
        )
    length = np.hypot(*w)
    return -bias * w / length**2, np.array([-w[1], w[0]]) / length


def xor(inputs: ArrayLike) -> Array:
    """XOR in two layers, inputs (N, 2) to (N,): OR and NAND in the first layer, AND of both in the second."""
    either, not_both, both = (learn(INPUTS, targets) for targets in (OR, NAND, AND))
    hidden = np.stack([predict(inputs, p.weights, p.bias) for p in (either, not_both)], axis=-1)  # (N, 2)
    return predict(hidden, both.weights, both.bias)


def main() -> None:
    """Learn AND and OR, fail at XOR, and solve it with a hidden layer."""
    for name, targets in {"AND": AND, "OR": OR, "XOR": XOR}.items():
        weights, bias, mistakes = learn(INPUTS, targets)
        print(f"{name}: mistakes per epoch {', '.join(map(str, mistakes[:10]))}{', ...' if len(mistakes) > 10 else ''}")
        print(
            f"    after {len(mistakes)} epochs: {predict(INPUTS, weights, bias).astype(int)}, wanted {targets}", end=""
        )
        print(f", line: {weights[0]:g} x₁ + {weights[1]:g} x₂ + {bias:g} = 0" if mistakes[-1] == 0 else ": not learned")
    print(f"XOR with a hidden layer of two perceptrons: {xor(INPUTS).astype(int)}, wanted {XOR}")


if __name__ == "__main__":
    main()
