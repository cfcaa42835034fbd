"""`best`, `reader` and `quick`: the most accurate model, a wider one, and the fastest one to reach 99% on MNIST.

`best` is a small convolutional network, trained with augmentation. The first convolution has stride 2, since most of
the time goes into the largest feature maps. Two pairs of 3×3 convolutions follow, each with pooling, as in Simonyan and
Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014). Three batch normalizations
(Ioffe and Szegedy, 2015) allow large learning rates; more of them cost time and do not raise the accuracy. The last
epoch runs without augmentation, to fit the distribution of the original images. `reader` has more channels, since it
learns from more ways of writing, and what is no digit counts less in its loss. `quick` has about half of these layers
and sees each image once, without augmentation.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.models.registry import Recipe, register
from chainrule.models.small_convnets import image_layer, square_side
from chainrule.nn.functional import cross_entropy
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from chainrule.tensor import Tensor


DIGITS = 10
NONE_WEIGHT = 0.25
"""How much an image of no digit counts in the loss of `reader`, whose eleventh class it is.

That makes the class as rare for the network as if it had seen a quarter of such images: it must be four times as sure
that something is no digit. They are 8% of the data set, many more than among what people ask to be read."""


def _convolution(
    generator: np.random.Generator | None, channels: int, outputs: int, kernel: int = 3, **options: Any
) -> nn.Conv2d:
    """Return a convolution with "same" padding and Kaiming initialization for ReLU."""
    layer = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, **options)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


RECIPE = Recipe(
    epochs=10,
    batch_size=128,
    optimizer="adamw",
    lr=0.01,
    weight_decay=0.01,
    schedule="one-cycle",
    augment={"shift": 2.0, "rotation": 10.0, "scale": 0.1, "shear": 5.0, "elastic": 1.0},
    epochs_without_augmentation=1,
)
"""How `best` is trained, and with more epochs `reader`."""


def _tuned(
    name: str,
    widths: tuple[int, int, int],
    inputs: int,
    channels: int,
    classes: int,
    generator: np.random.Generator | None,
) -> nn.Module:
    """Build `best` or `reader`, whose convolutions have three widths."""
    side = square_side(name, inputs, channels, minimum=7)
    last_side = (side + 1) // 2 // 2 // 2
    convolution = partial(_convolution, generator)
    first, second, third = widths
    return nn.Sequential(
        image_layer(channels, side),  # (N, channels, 28, 28)
        convolution(channels, first, kernel=5, stride=2, bias=False),  # (N, first, 14, 14); batch norm has a bias
        nn.BatchNorm2d(first),
        nn.ReLU(),
        convolution(first, second),
        nn.ReLU(),
        convolution(second, second, bias=False),
        nn.MaxPool2d(2),  # (N, second, 7, 7)
        nn.BatchNorm2d(second),
        nn.ReLU(),
        convolution(second, third),
        nn.ReLU(),
        convolution(third, third, bias=False),
        nn.BatchNorm2d(third),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, third, 3, 3)
        nn.Flatten(),
        nn.Dropout(0.3, generator=generator),
        nn.Linear(third * last_side * last_side, classes, generator=generator),
    )


@register(
    "five convolutions, 32 to 96 channels, batch normalization, augmentation; cross entropy",
    RECIPE,
)
def best(
    *, inputs: int = 784, channels: int = 1, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build a 5×5 convolution of stride 2, two pairs of 3×3 convolutions with 2×2 pooling, and a linear layer.

    Args:
        inputs: number of pixels, times the number of channels; images must be square.
        channels: 1 for gray images, 3 for colors.
        classes: number of outputs.
        generator: source of the initial weights and of dropout.

    Shapes: (N, side, side), or (N, channels, side, side) with several channels, to logits (N, classes).

    Raises:
        RunError: the images are not square, or smaller than 7×7.
    """
    return _tuned("best", (32, 64, 96), inputs, channels, classes, generator)


def _digit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy; with a class for what is no digit, an image of it counts `NONE_WEIGHT`."""
    if logits.shape[1] != DIGITS + 1:
        return cross_entropy(logits, labels)
    weight = from_numpy(np.array([1.0] * DIGITS + [NONE_WEIGHT], logits.dtype))
    # Divided by the number of images, not by the sum of their weights: the mean of parts of a batch is the batch's
    return cross_entropy(logits, labels, weight=weight, reduction="sum") / labels.shape[0]


@register(
    "`best` with 48 to 128 channels, for the data set handwriting; its trained weights are in the package",
    replace(RECIPE, epochs=25),
    loss=_digit_loss,
)
def reader(
    *, inputs: int = 784, channels: int = 1, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build the network of `best` with more channels, for more ways of writing.

    Args:
        inputs: number of pixels, times the number of channels; images must be square.
        channels: 1 for gray images, 3 for colors.
        classes: number of outputs.
        generator: source of the initial weights and of dropout.

    Shapes: (N, side, side), or (N, channels, side, side) with several channels, to logits (N, classes).

    Raises:
        RunError: the images are not square, or smaller than 7×7.
    """
    return _tuned("reader", (48, 64, 128), inputs, channels, classes, generator)


@register(
    "three convolutions, 16 to 64 channels, batch normalization: 99% in one pass; cross entropy",
    Recipe(epochs=1, batch_size=64, optimizer="adam", lr=0.01, schedule="one-cycle"),
)
def quick(
    *, inputs: int = 784, channels: int = 1, classes: int = 10, generator: np.random.Generator | None = None
) -> nn.Module:
    """Build a 5×5 convolution of stride 2, two 3×3 convolutions with batch norm and pooling, and a linear layer.

    Args:
        inputs: number of pixels, times the number of channels; images must be square.
        channels: 1 for gray images, 3 for colors.
        classes: number of outputs.
        generator: source of the initial weights.

    Shapes: (N, side, side), or (N, channels, side, side) with several channels, to logits (N, classes).

    Raises:
        RunError: the images are not square, or smaller than 7×7.
    """
    side = square_side("quick", inputs, channels, minimum=7)
    last_side = (side + 1) // 2 // 2 // 2
    convolution = partial(_convolution, generator, bias=False)  # batch norm has a bias
    return nn.Sequential(
        image_layer(channels, side),  # (N, channels, 28, 28)
        convolution(channels, 16, kernel=5, stride=2),  # (N, 16, 14, 14)
        nn.BatchNorm2d(16),
        nn.ReLU(),
        convolution(16, 32),
        nn.MaxPool2d(2),  # (N, 32, 7, 7); pooling first leaves a quarter to normalize
        nn.BatchNorm2d(32),
        nn.ReLU(),
        convolution(32, 64),
        nn.MaxPool2d(2),  # (N, 64, 3, 3)
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * last_side * last_side, classes, generator=generator),
    )
