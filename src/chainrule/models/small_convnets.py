"""`cnn` and `lenet5`: two classic small convolutional networks.

`cnn`: 32 filters of 5×5, pooled to 14×14, 64 filters of 5×5, pooled to 7×7, and a linear layer of 7 · 7 · 64 = 3136
inputs. `lenet5`: LeCun et al., Gradient-based learning applied to document recognition (1998), but with ReLU and max
pooling instead of tanh and learned average pooling.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule import nn
from chainrule.errors import RunError
from chainrule.models.registry import Recipe, register

if TYPE_CHECKING:
    import numpy as np


def square_side(name: str, inputs: int, channels: int, minimum: int) -> int:
    """Return the side of square images, which must be at least `minimum`; `name` is the model's.

    Args:
        name: name of the model, for the error.
        inputs: number of pixels, times the number of channels.
        channels: number of channels.
        minimum: smallest side.

    Raises:
        RunError: the images are not square, or too small.
    """
    side = math.isqrt(inputs // channels)
    if channels * side * side != inputs or side < minimum:
        of_channels = "" if channels == 1 else f" of {channels} channels"
        takes = f"square images of {minimum}×{minimum} or more{of_channels}"
        raise RunError(f"model {name!r} takes {takes}, not {inputs} {'pixels' if channels == 1 else 'values'}")
    return side


def image_layer(channels: int, side: int) -> nn.Module:
    """Return the first layer: it gives gray images (N, side, side) a dimension of channels; others have one."""
    return nn.Unflatten(1, (1, side)) if channels == 1 else nn.Identity()


def _conv_block(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    """Return a convolution followed by ReLU and 2×2 max pooling."""
    return convolution, nn.ReLU(), nn.MaxPool2d(2)


@register(
    "two 5×5 convolutions, 32 and 64 channels, pooled; 3136-10, cross entropy",
    Recipe(epochs=3, batch_size=64, optimizer="adam", lr=0.002, schedule="one-cycle"),
)
def cnn(
    *, inputs: int = 784, channels: int = 1, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build two 5×5 convolutions, 32 and 64 channels, each with 2×2 pooling, and a linear layer.

    Args:
        inputs: number of pixels, times the number of channels; images must be square.
        channels: 1 for gray images, 3 for colors.
        classes: number of outputs.
        generator: source of the initial weights.

    Shapes: (N, side, side), or (N, channels, side, side) with several channels, to logits (N, classes).

    Raises:
        RunError: the images are not square, or smaller than 4×4.
    """
    side = square_side("cnn", inputs, channels, minimum=4)
    quarter = side // 2 // 2
    return nn.Sequential(
        image_layer(channels, side),  # (N, channels, 28, 28)
        *_conv_block(nn.Conv2d(channels, 32, 5, padding=2, generator=generator)),  # (N, 32, 14, 14)
        *_conv_block(nn.Conv2d(32, 64, 5, padding=2, generator=generator)),  # (N, 64, 7, 7)
        nn.Flatten(),  # (N, 3136)
        nn.Linear(64 * quarter * quarter, classes, generator=generator),
    )


@register(
    "LeNet-5: two 5×5 convolutions, 6 and 16 channels, pooled; 120-84-10, cross entropy",
    Recipe(epochs=6, batch_size=64, optimizer="adam", lr=0.003, schedule="one-cycle"),
)
def lenet5(
    *, inputs: int = 784, channels: int = 1, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build two 5×5 convolutions, 6 and 16 channels, each with 2×2 pooling, and linear layers of 120, 84, `classes`.

    Args:
        inputs: number of pixels, times the number of channels; images must be square.
        channels: 1 for gray images, 3 for colors.
        classes: number of outputs.
        generator: source of the initial weights.

    Shapes: (N, side, side), or (N, channels, side, side) with several channels, to logits (N, classes).

    Raises:
        RunError: the images are not square, or smaller than 12×12.
    """
    side = square_side("lenet5", inputs, channels, minimum=12)
    last_side = (side // 2 - 4) // 2
    return nn.Sequential(
        image_layer(channels, side),  # (N, channels, 28, 28)
        *_conv_block(nn.Conv2d(channels, 6, 5, padding=2, generator=generator)),  # (N, 6, 14, 14)
        *_conv_block(nn.Conv2d(6, 16, 5, generator=generator)),  # (N, 16, 5, 5)
        nn.Flatten(),  # (N, 400)
        nn.Linear(16 * last_side * last_side, 120, generator=generator),
        nn.ReLU(),
        nn.Linear(120, 84, generator=generator),
        nn.ReLU(),
        nn.Linear(84, classes, generator=generator),
    )
