"""From scores to probabilities, and from predictions to a loss: one number to make small.

`reduction` is "mean", "sum" or "none", as in PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.ops.operation import Array, operation
from chainrule.ops.reductions import mean, sum
from chainrule.ops.shape import getitem, permute, reshape

if TYPE_CHECKING:
    from chainrule.tensor import Tensor


@operation(promote="floating")
def log_softmax(input: Array, *, dim: int = -1) -> Array:
    """ln(softmax(x)) = x - ln(Σ eˣ), with the largest x taken off first so that nothing overflows."""
    shifted = input - np.max(input, axis=dim, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True))


@log_softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """G - softmax(x) Σ G. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3."""
    return grad - np.exp(out) * np.sum(grad, axis=dim, keepdims=True)


@operation(promote="floating")
def softmax(input: Array, *, dim: int = -1) -> Array:
    """eˣ / Σ eˣ: positive, summing to 1 along `dim`; the largest x is taken off first so that nothing overflows."""
    powers = np.exp(input - np.max(input, axis=dim, keepdims=True))
    return powers / np.sum(powers, axis=dim, keepdims=True)


@softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """P (G - Σ G p), where p is the result. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3."""
    return out * (grad - np.sum(grad * out, axis=dim, keepdims=True))


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Tensor:
    """The squared error (prediction - target)².

    Args:
        input: predictions, any shape.
        target: the same shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ (broadcasting here is nearly always a mistake), or an unknown reduction.
    """
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"mse_loss: input {tuple(input.shape)} and target {tuple(target.shape)} must have the same shape"
        )
    return _reduce((input - target) ** 2, reduction, "mse_loss")


def cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Tensor:
    """-ln of the probability that softmax(input) gives to the target: the usual loss of a classifier.

    Args:
        input: scores (logits) of the C classes: (C,), (N, C) or (N, C, d1, ...).
        target: class indices from 0 to C - 1, integers: (), (N,) or (N, d1, ...);
            or a probability for each class, floats in the shape of the input.
        reduction: "mean" over the examples, "sum" or "none".

    Raises:
        ValueError: the shapes do not fit, or an unknown reduction.
        IndexError: a class index is out of range.
        TypeError: the target is boolean.

    Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3.
    """
    dim = 1 if input.ndim > 1 else 0
    shape = tuple(input.shape)
    if input.ndim == 0:
        raise ValueError("cross_entropy: input is a single number, it must have a dimension of classes: (C,) or (N, C)")
    if target.dtype.kind == "f":
        if tuple(target.shape) != shape:
            raise ValueError(
                f"cross_entropy: a target of probabilities {tuple(target.shape)} must have the input's shape {shape}"
            )
        losses = -sum(log_softmax(input, dim=dim) * target, dim=dim)
    else:
        losses = -_at_class(log_softmax(input, dim=dim), target, shape, dim)
    return _reduce(losses, reduction, "cross_entropy")


def _at_class(scores: Array, target: Array, shape: tuple[int, ...], dim: int) -> Tensor:
    """The score of each example's class."""
    classes, examples = shape[dim], shape[:dim] + shape[dim + 1 :]
    target = np.array(target)  # a copy: the caller may fill his array with the next batch before `backward()`
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: target must be integers (class indices) or floats (probabilities), not {target.dtype}"
        )
    if target.shape != examples:
        raise ValueError(f"cross_entropy: target {target.shape} does not fit input {shape}: it must be {examples}")
    if target.size and not (target.min() >= 0 and target.max() < classes):
        raise IndexError(
            f"cross_entropy: target holds {target.min()} to {target.max()}, classes are 0 to {classes - 1}"
        )
    if dim and len(shape) > 2:  # classes last, then one row an example
        scores = permute(scores, dims=(0, *range(2, len(shape)), 1))
    rows = reshape(scores, shape=(-1, classes)) if len(shape) != 2 else scores
    picked = getitem(rows, index=(np.arange(target.size), target.reshape(-1)))
    return picked if len(shape) == 2 else reshape(picked, shape=examples)


def _reduce(losses: Tensor, reduction: str, name: str) -> Tensor:
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", not {reduction!r}')
