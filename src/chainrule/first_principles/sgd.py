"""Stochastic gradient descent: estimate the gradient from a few examples.

The loss is a mean over N examples, and so is its gradient. The mean over a random mini-batch of m examples is an
estimate of it.

    unbiased    on average over all mini-batches it is the full gradient
    noisy       its variance is σ²/m · (N - m)/(N - 1), with σ² the variance over single examples: four times the
                examples halve the error; all of them leave none
    cheap       a step costs m examples, not N

In the time of one exact step, SGD takes N/m noisy steps, and makes more progress. An epoch is one pass through all
examples: shuffle, split into mini-batches, take one step for each.

The model is the single neuron of `neuron`.

Source: Robbins and Monro, A stochastic approximation method (1951); Bottou, Curtis and Nocedal, Optimization Methods
for Large-Scale Machine Learning (2018); the factor (N - m)/(N - 1): Cochran, Sampling Techniques (1977), chapter 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.first_principles import neuron
from chainrule.first_principles.activations import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.first_principles import Array


def mini_batches(count: int, size: int, random: np.random.Generator) -> list[NDArray[np.intp]]:
    """The indices 0 ... count - 1, shuffled and split into batches of `size`; the last may be smaller.

    Raises:
        ValueError: size is not between 1 and count.
    """
    if not 1 <= size <= count:
        raise ValueError(f"mini_batches: size must be from 1 to {count}, the number of examples, got {size}")
    order = random.permutation(count)
    return [order[first : first + size] for first in range(0, count, size)]


def gradient(features: Array, labels: Array, parameters: Array) -> Array:
    """The gradient of the mean squared error, (n + 1,): features (m, n), labels (m,), weights and bias (n + 1,)."""
    predictions = neuron.forward(features, parameters[:-1], parameters[-1])
    return np.append(*neuron.gradients(features, labels, predictions))


def sampled_gradients(
    features: Array, labels: Array, parameters: Array, size: int, draws: int, random: np.random.Generator
) -> Array:
    """The gradients of `draws` independent mini-batches: (draws, n + 1)."""
    batches = [mini_batches(len(labels), size, random)[0] for _ in range(draws)]
    return np.array([gradient(features[batch], labels[batch], parameters) for batch in batches])


def variance(gradients: Array) -> float:
    """The mean squared distance of gradients (K, n + 1) from their own mean."""
    return float(np.sum(np.var(gradients, axis=0)))


def expected_variance(features: Array, labels: Array, parameters: Array, size: int) -> float:
    """The theoretical variance of a mini-batch gradient: σ²/m · (N - m)/(N - 1)."""
    count = len(labels)
    single = np.array([gradient(features[[i]], labels[[i]], parameters) for i in range(count)])  # (N, n + 1)
    return variance(single) / size * (count - size) / (count - 1)


def train(
    features: Array,
    labels: Array,
    parameters: Array,
    size: int,
    learning_rate: float,
    epochs: int,
    random: np.random.Generator,
) -> tuple[Array, list[float]]:
    """Mini-batch gradient descent; returns the weights and bias (n + 1,), and the loss after each epoch."""
    losses = []
    for _ in range(epochs):
        for batch in mini_batches(len(labels), size, random):
            parameters = parameters - learning_rate * gradient(features[batch], labels[batch], parameters)
        predictions = neuron.forward(features, parameters[:-1], parameters[-1])
        losses.append(neuron.mean_squared_error(predictions, labels))
    return parameters, losses


def examples(count: int, random: np.random.Generator) -> tuple[Array, Array]:
    """A synthetic data set: features (count, 3), and noisy labels (count,) from a neuron."""
    features = random.normal(size=(count, 3))
    probability = sigmoid(features @ np.array([2.0, -1.0, 0.5]) + 0.3)
    return features, (random.random(count) < probability).astype(float)


def main() -> None:
    """Measure the noise of mini-batches, and compare small ones with the full gradient."""
    random = np.random.default_rng(0)
    features, labels = examples(1000, random)
    start = np.zeros(4)
    full = gradient(features, labels, start)
    print("Mini-batch gradients of 1,000 examples, 2,000 of each size")
    print(" size    variance    theory   mean's distance from the full")
    for size in (1, 4, 16, 64, 256):
        samples = sampled_gradients(features, labels, start, size, 2000, random)
        distance = np.linalg.norm(samples.mean(axis=0) - full) / np.linalg.norm(full)
        expected = expected_variance(features, labels, start, size)
        print(f"{size:5d}   {variance(samples):.3e} {expected:.3e}   {distance:.1%}")
    print("\nLoss after 1, 2, 5 and 10 epochs at rate 0.5")
    for size in (1000, 100, 10):
        losses = train(features, labels, start, size, 0.5, 10, np.random.default_rng(1))[1]
        print(f"{size:5d} a step   " + "  ".join(f"{losses[epoch - 1]:.4f}" for epoch in (1, 2, 5, 10)))


if __name__ == "__main__":
    main()
