"""A network of sigmoid neurons that reads handwritten digits, with its training.

Each layer computes a = σ(W a + b) from the previous one. The last layer has one neuron per digit, and the most active
one is the answer. The cost of an example is C = ½ Σ (a - y)², where y is 1 for the right digit and 0 for the others.
Training is stochastic gradient descent (see `sgd`) with gradients from backpropagation (see `backprop`).

    training, validation, test = load_data_wrapper()
    network = Network([784, 30, 10], seed=0)
    network.SGD(training, epochs=30, mini_batch_size=10, learning_rate=3.0, test_data=test)

An example is a pair of columns, x (784, 1) and y (10, 1). For speed, the columns of a mini-batch are stacked side by
side, (784, 10), and pass through the layers as one matrix.

Source: Nielsen, Neural Networks and Deep Learning (2015), chapters 1 to 3: the interface, the settings, and weights
scaled by the number of a neuron's inputs, so that none starts saturated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from chainrule.data import mnist
from chainrule.first_principles.activations import sigmoid
from chainrule.random import default_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chainrule.first_principles import Array

    Example: TypeAlias = tuple[Array, Array | int]  # x (n, 1), and y (o, 1) or the index of the right output


class Network:
    """A feedforward network of sigmoid neurons.

    Args:
        sizes: neurons of each layer, starting with the inputs: [784, 30, 10].
        seed: random seed of weights and shuffling; None uses chainrule's default generator.

    Attributes:
        weights: one matrix per layer after the first, (neurons, neurons of the previous layer).
        biases: one column per layer after the first, (neurons, 1).

    Raises:
        ValueError: fewer than two layers, or an empty one.
    """

    def __init__(self, sizes: Sequence[int], *, seed: int | None = None) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"Network: needs at least two layers of at least one neuron, got sizes {list(sizes)}")
        self.sizes = list(sizes)
        self.num_layers = len(sizes)
        self.random = default_generator() if seed is None else np.random.default_rng(seed)
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        self.weights: list[Array] = [self.random.normal(0, n**-0.5, (neurons, n)) for n, neurons in pairs]
        self.biases: list[Array] = [np.zeros((neurons, 1)) for neurons in self.sizes[1:]]

    def forward(self, activation: Array) -> Array:
        """The outputs (o, m) for m inputs stacked side by side, (n, m); one input is (n, 1).

        Raises:
            ValueError: the inputs do not have n rows.
        """
        return self._layers(activation)[-1]

    def _layers(self, x: Array) -> list[Array]:
        """The activations of every layer, starting with the inputs (n, m)."""
        if np.ndim(x) != 2 or len(x) != self.sizes[0]:
            raise ValueError(
                f"Network: input {np.shape(x)} does not fit sizes {self.sizes}; expected ({self.sizes[0]}, 1)"
            )
        activations = [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            activations.append(sigmoid(w @ activations[-1] + b))  # (k, n) @ (n, m) + (k, 1) = (k, m)
        return activations

    def SGD(  # noqa: N802  # the name in Nielsen's book
        self,
        training_data: Iterable[Example],
        epochs: int,
        mini_batch_size: int,
        learning_rate: float,
        test_data: Iterable[Example] | None = None,
        *,
        progress: Callable[[str], object] = print,
    ) -> list[int]:
        """Train by stochastic gradient descent: in each epoch, shuffle and take one step per mini-batch.

        Args:
            training_data: pairs of x (n, 1) and y (o, 1); their order is not changed.
            epochs: number of epochs.
            mini_batch_size: examples per step.
            learning_rate: the length of a step for a slope of 1.
            test_data: pairs of x and y, or of x and the index of the right output, for evaluation after each epoch.
            progress: called with a line after each epoch, and with the accuracy at the end.

        Returns:
            The number of correct test examples after each epoch; empty without test data.

        Raises:
            ValueError: there are no training examples, `mini_batch_size` is less than 1, or the shapes do not match.
        """
        training, test = list(training_data), list(() if test_data is None else test_data)
        if not training or mini_batch_size < 1:
            raise ValueError(
                f"SGD: needs examples and mini-batches of at least 1, got {len(training)} and {mini_batch_size}"
            )
        correct: list[int] = []
        for epoch in range(epochs):
            order = self.random.permutation(len(training))
            for first in range(0, len(order), mini_batch_size):
                batch = [training[i] for i in order[first : first + mini_batch_size]]
                self.update_mini_batch(batch, learning_rate)
            if test:
                correct.append(self.evaluate(test))
            progress(f"Epoch {epoch}: {correct[-1]} / {len(test)}" if test else f"Epoch {epoch} complete")
        if correct:
            progress(f"Accuracy: {correct[-1] / len(test):.2%}")
        return correct

    def update_mini_batch(self, mini_batch: Sequence[Example], learning_rate: float) -> None:
        """Take one step against the mean gradient of a mini-batch of pairs x (n, 1) and y (o, 1)."""
        x, y = (side_by_side(columns) for columns in zip(*mini_batch, strict=True))  # (n, m) and (o, m)
        rate = learning_rate / len(mini_batch)  # backprop sums over the mini-batch; the step uses the mean
        grads_b, grads_w = self.backprop(x, y)
        self.biases = [b - rate * grad for b, grad in zip(self.biases, grads_b, strict=True)]
        self.weights = [w - rate * grad for w, grad in zip(self.weights, grads_w, strict=True)]

    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        """The gradients of the cost for biases and weights by layer, summed over the m examples.

        Args:
            x: (n, m).
            y: (o, m).

        Raises:
            ValueError: x or y does not fit the network.
        """
        activations = self._layers(x)
        if np.shape(y) != activations[-1].shape:
            raise ValueError(f"backprop: target {np.shape(y)} does not fit the output, {activations[-1].shape}")
        grads_b: list[Array] = []
        grads_w: list[Array] = []
        error = self.cost_derivative(activations[-1], y)  # ∂C/∂a of the layer, (k, m)
        for layer in reversed(range(self.num_layers - 1)):
            inputs, outputs = activations[layer : layer + 2]  # (n, m) and (k, m)
            delta = error * outputs * (1 - outputs)  # ∂C/∂z: σ′(z) is a (1 - a)
            grads_b.insert(0, delta.sum(axis=1, keepdims=True))  # (k, 1)
            grads_w.insert(0, delta @ inputs.T)  # (k, m) @ (m, n) sums over the m examples
            if layer:
                error = self.weights[layer].T @ delta  # propagated to the previous layer, (n, m)
        return grads_b, grads_w

    def cost_derivative(self, output_activations: Array, y: Array) -> Array:
        """∂C/∂a = a - y, for C = ½ Σ (a - y)²; both (o, m)."""
        return output_activations - y

    def evaluate(self, test_data: Iterable[Example]) -> int:
        """Count the correct answers for pairs of x (n, 1) and y, an index or a column (o, 1).

        Raises:
            ValueError: the outputs are not finite, because training diverged.
        """
        examples = list(test_data)
        if not examples:
            return 0
        inputs, targets = zip(*examples, strict=True)
        outputs = self.forward(side_by_side(inputs))  # (o, m)
        if not np.isfinite(outputs).all():  # argmax of NaN outputs would be 0, and count as correct for that class
            raise ValueError("evaluate: the outputs are not finite; train with a smaller learning rate")
        answers = np.argmax(outputs, axis=0)  # (m,)
        correct = [np.argmax(y) if np.ndim(y) else y for y in targets]
        return int(np.sum(answers == correct))


def side_by_side(columns: Sequence[Array | int]) -> Array:
    """Stack m columns (n, 1) into a matrix (n, m).

    Raises:
        ValueError: an entry is not a column, or their lengths differ.
    """
    stacked = np.array(columns, float)
    if stacked.shape[2:] != (1,):
        raise ValueError(
            f"Network: x and y of an example must be columns (n, 1), got {len(columns)} of shape {stacked.shape[1:]}"
        )
    return stacked[:, :, 0].T


def load_data_wrapper() -> tuple[list[Example], list[Example], list[Example]]:
    """MNIST as examples for `Network`: 50,000 for training, 10,000 for validation and 10,000 for the test.

    Returns:
        Three lists of pairs. x is float32, (784, 1), from 0 (paper) to 1 (ink). y is a one-hot column (10, 1) in the
        training data, and the digit itself in the other two.

    Raises:
        DataError: the data file of the package is missing or damaged.
    """
    parts = mnist().split()
    one_hot = np.eye(10, dtype=np.float32)[parts.train.labels][:, :, None]  # (50000, 10, 1)
    answers = (one_hot, parts.validation.labels.tolist(), parts.test.labels.tolist())
    training, validation, test = (
        list(zip(part.images.reshape(-1, 784, 1).astype(np.float32) / 255, y, strict=True))
        for part, y in zip(parts, answers, strict=True)
    )
    return training, validation, test


def main() -> None:
    """Train on 10,000 images for five epochs; the classic run on all images for 30 epochs takes 20 seconds."""
    training, _, test = load_data_wrapper()
    Network([784, 30, 10], seed=0).SGD(training[:10_000], 5, 10, 3.0, test_data=test)


if __name__ == "__main__":
    main()
