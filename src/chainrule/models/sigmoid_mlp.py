"""`sigmoid_mlp`: the classic first network, 784-30-10 sigmoid neurons trained by squared error.

Source: Nielsen, Neural Networks and Deep Learning (2015), chapter 1, which trains it for 30 epochs in batches of 10 at
rate 3.0. Initial weights have a standard deviation of 1/√inputs (chapter 3), so that no neuron starts saturated.
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
    """½ Σ (a - y)² per example, averaged over the batch; y is the one-hot label.

    Args:
        activations: (N, classes).
        labels: (N,) class indices.
    """
    targets = nn.functional.one_hot(labels, activations.shape[1]).to(activations.dtype)  # (N, classes)
    return nn.functional.mse_loss(activations, targets, "sum") / (2 * len(labels))


def sigmoid_probabilities(activations: Tensor) -> Tensor:
    """Turn sigmoid outputs, which do not sum to 1, into probabilities: the softmax of the sigmoids' inputs.

    With a = σ(z), z = ln(a / (1 - a)), so each class is weighted by its odds a / (1 - a). Shapes: (N, classes) to the
    same.
    """
    a = np.clip(activations.numpy().astype(np.float64), 1e-12, 1 - 1e-7)  # keeps a saturated neuron's odds finite
    z = np.log(a / (1 - a)).astype(activations.dtype)  # (N, classes)
    return nn.functional.softmax(from_numpy(z))


@register(
    "784-30-10, sigmoid, squared error: the classic first network",
    Recipe(epochs=30, batch_size=10, optimizer="sgd", lr=3.0),
    loss=quadratic_cost,
    probabilities=sigmoid_probabilities,
)
def sigmoid_mlp(
    *, inputs: int = 784, hidden: int = 30, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build the network: `inputs` pixels, `hidden` sigmoid neurons, `classes` sigmoid neurons.

    Args:
        inputs: number of pixels.
        hidden: width of the hidden layer.
        classes: number of outputs.
        generator: source of the initial weights.

    Shapes: (N, ...) with `inputs` values per image, to activations (N, classes), each between 0 and 1.
    """
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, hidden), nn.Sigmoid(), nn.Linear(hidden, classes), nn.Sigmoid()
    )
    for layer in model.children():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[type-var]  # these layers have a bias
    return model


network = sigmoid_mlp  # its former name
