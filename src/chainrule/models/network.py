"""`network`: the classic first network, 784-30-10 sigmoid neurons and squared error.

Source: Nielsen, Neural Networks and Deep Learning (2015), chapter 1, which trains it for 30 epochs in batches of 10 at
rate 3.0. Its weights start scaled by the number of a neuron's inputs (chapter 3), so that no neuron starts saturated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule import nn
from chainrule.models.registry import Recipe, register
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from chainrule.tensor import Tensor


def quadratic_cost(activations: Tensor, labels: Tensor) -> Tensor:
    """½ Σ (a - y)² an example, averaged over the examples; y is 1 for the digit and 0 for the others.

    Args:
        activations: (N, classes).
        labels: (N,) class indices.
    """
    targets = nn.functional.one_hot(labels, activations.shape[1]).to(activations.dtype)  # (N, classes)
    return nn.functional.mse_loss(activations, targets, "sum") / (2 * len(labels))


def sigmoid_confidences(activations: Tensor) -> Tensor:
    """Probabilities from sigmoid neurons, which do not sum to 1 by themselves: softmax of what went into the sigmoids.

    With a = σ(z), z = ln(a / (1 - a)), so each class weighs as its odds, a / (1 - a). Shapes: (N, classes) to the same.
    """
    a = np.clip(activations.numpy().astype(np.float64), 1e-12, 1 - 1e-7)  # a saturated neuron's odds are finite, too
    z = np.log(a / (1 - a)).astype(activations.dtype)  # (N, classes)
    return nn.functional.softmax(from_numpy(z))


@register(
    "784-30-10, sigmoid, squared error: the classic first network",
    Recipe(epochs=30, batch_size=10, optimizer="sgd", lr=3.0),
    loss=quadratic_cost,
    confidences=sigmoid_confidences,
)
def network(
    *, inputs: int = 784, hidden: int = 30, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """784 pixels, 30 sigmoid neurons, 10 sigmoid neurons.

    Args:
        inputs: pixels of an image.
        hidden: neurons of the hidden layer.
        classes: neurons of the output layer.
        generator: where the starting weights come from.

    Shapes: (N, ...) with `inputs` numbers an image, to activations (N, classes), each between 0 and 1.
    """
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, hidden), nn.Sigmoid(), nn.Linear(hidden, classes), nn.Sigmoid()
    )
    for layer in model.children():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[type-var]  # these layers have a bias
    return model
