"""Layers and losses as functions, under PyTorch's names."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from chainrule.creation import one_hot, ones
from chainrule.errors import check, check_floats
from chainrule.ops.activations import *
from chainrule.ops.attention import *
from chainrule.ops.convolution import *
from chainrule.ops.elementwise import tanh
from chainrule.ops.indexing import embedding
from chainrule.ops.linalg import linear
from chainrule.ops.losses import *
from chainrule.ops.normalization import *
from chainrule.ops.padding import *
from chainrule.ops.pooling import *
from chainrule.ops.resizing import *
from chainrule.random import draw

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from chainrule.tensor import Tensor

__all__ = [
    "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d",
    "cross_entropy", "dropout", "dropout2d", "elu", "embedding", "gelu", "group_norm", "hardsigmoid", "hardswish",
    "hardtanh", "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu",
    "linear", "log_softmax", "logsigmoid", "max_pool1d", "max_pool2d", "mish", "mse_loss", "nll_loss", "one_hot",
    "pad", "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention", "selu", "sigmoid", "silu",
    "smooth_l1_loss", "softmax", "softmin", "softplus", "softsign", "tanh",
]  # fmt: skip


def check_probability(owner: object, p: float) -> None:
    """Raise a ValueError unless p is a number from 0 to 1; `owner` begins the message (see `errors.check`)."""
    check(owner, isinstance(p, Real) and 0 <= p <= 1, f"p must be a probability from 0 to 1, not {p!r}")


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, generator: Generator | None = None
) -> Tensor:
    """Set each element to zero with probability p and scale the rest by 1 / (1 - p), which keeps the mean.

    Args:
        input: any shape.
        p: the probability, 0 to 1.
        training: if False, return the input.
        inplace: also write the result into the input.
        generator: source of the random numbers.

    Raises:
        ValueError: p is not a probability.
        TypeError: `inplace` is neither True nor False.

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting (2014).
    """
    check_probability("dropout", p)
    _check_in_place("dropout", inplace)
    if not training or p == 0:
        return input
    check_floats("dropout", input)
    mask: NDArray[np.bool_] = draw("random", input.shape, generator, dtype=np.float32) >= p
    factor = mask.astype(input.dtype) / (1 - p if p < 1 else 1)
    return input.mul_(factor) if inplace else input * factor


def _check_in_place(owner: str, inplace: bool) -> None:
    hint = ": pass the generator by name" if isinstance(inplace, np.random.Generator) else ""
    is_flag = isinstance(inplace, bool)
    check(owner, is_flag, f"inplace must be True or False, not a {type(inplace).__name__}{hint}", TypeError)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, generator: Generator | None = None
) -> Tensor:
    """Apply `dropout` to whole channels: each channel of each example of (N, C, ...) is kept or set to zero.

    Source: Tompson et al., Efficient object localization using convolutional networks (2015).
    """
    check("dropout2d", input.ndim > 1, f"input must be (N, C, ...), not {input.shape}")
    _check_in_place("dropout2d", inplace)
    ones_by_channel = ones(*input.shape[:2], *(1,) * (input.ndim - 2), dtype=input.dtype)
    mask = dropout(ones_by_channel, p, training, generator=generator)
    if not training or p == 0:
        return input
    return input.mul_(mask) if inplace else input * mask
