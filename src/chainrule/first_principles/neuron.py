"""One sigmoid neuron learns: the smallest possible network, with every step of training.

    forward     z = x · w + b,  ŷ = σ(z),  loss C = 1/N Σ (ŷ - y)², the mean squared error of N examples
    backward    the chain rule along C ← ŷ ← z ← w, b:

        ∂C/∂z = 2/N (ŷ - y) σ′(z)        for each example, with σ′(z) = ŷ (1 - ŷ)
        ∂C/∂w = Σ ∂C/∂z · x              because z = x · w + b
        ∂C/∂b = Σ ∂C/∂z                  because ∂z/∂b = 1

    update      w ← w - learning_rate · ∂C/∂w,  b ← b - learning_rate · ∂C/∂b

The factor 2/N already contains the mean, so the gradients of both weights and bias are sums over the examples.

Source: Widrow and Hoff, Adaptive Switching Circuits (1960), for learning by the squared error; with a sigmoid:
Rumelhart, Hinton and Williams, Learning representations by back-propagating errors (Nature, 1986).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.first_principles.activations import sigmoid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.first_principles import Array


class TrainedNeuron(NamedTuple):
    """The trained weights (n,) and bias, and the loss before each update, one per epoch."""

    weights: Array
    bias: float
    losses: list[float]


def forward(features: Array, weights: Array, bias: float) -> Array:
    """ŷ = σ(x · w + b): features (N, n) and weights (n,) to predictions (N,)."""
    return sigmoid(features @ weights + bias)


def mean_squared_error(predictions: Array, labels: Array) -> float:
    """C = 1/N Σ (ŷ - y)², for predictions (N,) and labels (N,)."""
    return float(np.mean((predictions - labels) ** 2))


def gradients(features: Array, labels: Array, predictions: Array) -> tuple[Array, float]:
    """∂C/∂w, (n,), and ∂C/∂b, for features (N, n), labels (N,) and predictions (N,)."""
    error = predictions - labels  # (N,)
    steepness = predictions * (1 - predictions)  # σ′(z), (N,)
    delta = 2 / len(labels) * error * steepness  # ∂C/∂z, (N,)
    return features.T @ delta, float(np.sum(delta))


def train(
    features: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    bias: float = 0.0,
    learning_rate: float = 0.1,
    epochs: int = 100,
) -> TrainedNeuron:
    """Train by full-batch gradient descent: forward, backward, update in each epoch.

    Args:
        features: (N, n).
        labels: (N,), between 0 and 1.
        weights: initial weights, (n,).
        bias: initial bias.
        learning_rate: the length of a step for a slope of 1.
        epochs: number of steps.

    Raises:
        ValueError: the shapes do not match.
    """
    x, y, w, b = np.asarray(features, float), np.asarray(labels, float), np.array(weights, float), bias
    if x.ndim != 2 or y.shape != x.shape[:1] or w.shape != x.shape[1:]:
        raise ValueError(
            f"train: features {x.shape}, labels {y.shape} and weights {w.shape} are not (N, n), (N,) and (n,)"
        )
    losses = []
    for _ in range(epochs):
        predictions = forward(x, w, b)
        losses.append(mean_squared_error(predictions, y))
        grad_w, grad_b = gradients(x, y, predictions)
        w = w - learning_rate * grad_w
        b = b - learning_rate * grad_b
    return TrainedNeuron(w, b, losses)


# Is a cup of tea liked? Features: minutes of brewing and spoons of sugar, both relative to the usual cup.
TEA = np.array([[-2.0, 0.5], [-1.0, -1.0], [-1.5, 1.0], [0.0, 0.5], [0.5, -0.5], [1.0, 1.0], [1.5, 0.0], [2.0, 1.5]])
LIKED = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0])


def main() -> None:
    """Learn which tea is liked, and print the losses."""
    weights, bias, losses = train(TEA, LIKED, weights=[0.1, -0.2], learning_rate=1.0, epochs=200)
    print("Mean squared error in the first ten epochs:", ", ".join(f"{loss:.4f}" for loss in losses[:10]))
    print(f"and in epoch 200: {losses[-1]:.4f}")
    print(f"weights {weights[0]:.4f} and {weights[1]:.4f}, bias {bias:.4f}")
    for liked, prediction in zip(LIKED, forward(TEA, weights, bias), strict=True):
        print(f"    liked: {liked:.0f}, the neuron says {prediction:.2f}")


if __name__ == "__main__":
    main()
