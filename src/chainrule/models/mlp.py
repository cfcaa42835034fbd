"""`mlp`: one hidden ReLU layer, the smallest network that reads digits well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import nn
from chainrule.models.registry import Recipe, register

if TYPE_CHECKING:
    import numpy as np


@register(
    "784-128-10, ReLU, cross entropy: the default",
    Recipe(epochs=7, batch_size=256, optimizer="adamw", lr=0.02, weight_decay=0.01, schedule="one-cycle"),
)
def mlp(
    *, inputs: int = 784, hidden: int = 128, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build the network: `inputs` pixels, `hidden` ReLU neurons, `classes` logits.

    Args:
        inputs: number of pixels.
        hidden: width of the hidden layer.
        classes: number of outputs.
        generator: source of the initial weights.

    Shapes: (N, ...) with `inputs` values per image, to logits (N, classes).
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden, generator=generator),
        nn.ReLU(),
        nn.Linear(hidden, classes, generator=generator),
    )
