"""`mlp_classifier` and `mlp_regressor`: multilayer perceptrons for the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import nn
from chainrule.errors import RunError
from chainrule.models.registry import Recipe, register
from chainrule.nn.functional import mse_loss

if TYPE_CHECKING:
    import numpy as np

    from chainrule.tensor import Tensor

SIZES = {"small": (16,), "medium": (64, 64), "large": (256, 256)}
"""The widths of the hidden layers by size."""

RECIPE = Recipe(epochs=40, batch_size=32, optimizer="adamw", lr=0.01, weight_decay=0.01, schedule="one-cycle")


@register("a table's inputs-64-64-classes, ReLU, cross entropy", RECIPE, task="tables with classes")
def mlp_classifier(
    *, inputs: int = 4, classes: int = 3, size: str = "medium", generator: np.random.Generator | None = None
) -> nn.Module:
    """Build a network that predicts the class of a row.

    Args:
        inputs: number of inputs that `data.load_table` makes of the columns.
        classes: number of outputs.
        size: of the hidden layers: "small", "medium" or "large" (see `SIZES`).
        generator: source of the initial weights.

    Shapes: (N, inputs) to logits (N, classes).
    """
    return _perceptron(inputs, classes, size, generator)


def _identity(outputs: Tensor) -> Tensor:
    return outputs


@register("a table's inputs-64-64-1, ReLU, mean squared error", RECIPE, mse_loss, _identity, task="tables with numbers")
def mlp_regressor(*, inputs: int = 4, size: str = "medium", generator: np.random.Generator | None = None) -> nn.Module:
    """Build a network that predicts a number for a row, scaled to mean 0 and standard deviation 1.

    Args:
        inputs: number of inputs that `data.load_table` makes of the columns.
        size: of the hidden layers: "small", "medium" or "large" (see `SIZES`).
        generator: source of the initial weights.

    Shapes: (N, inputs) to (N, 1).
    """
    return _perceptron(inputs, 1, size, generator)


def _perceptron(inputs: int, outputs: int, size: str, generator: np.random.Generator | None) -> nn.Module:
    if size not in SIZES:
        raise RunError(f"unknown size {size!r}; choose from {', '.join(SIZES)}")
    layers: list[nn.Module] = []
    for width in SIZES[size]:
        layers += [nn.Linear(inputs, width, generator=generator), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs, generator=generator))
