"""From scores to probabilities, and from predictions to a loss: one number to make small.

`reduction` is "mean", "sum" or "none", as in PyTorch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.ops.arithmetic import abs, clamp, where
from chainrule.ops.elementwise import log, logsigmoid
from chainrule.ops.indexing import getitem
from chainrule.ops.operation import Array, operation
from chainrule.ops.reductions import mean, sum
from chainrule.ops.shape import permute, reshape

if TYPE_CHECKING:
    from chainrule.tensor import Tensor

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div", "l1_loss",
    "log_softmax", "mse_loss", "nll_loss", "smooth_l1_loss", "softmax",
]  # fmt: skip


@operation(promote="floating")
def log_softmax(input: Array, *, dim: int = -1, dtype: Any = None) -> Array:
    """ln(softmax(x)) = x - ln(Σ eˣ), with the largest x taken off first so that nothing overflows."""
    input = input if dtype is None else input.astype(dtype)
    shifted = input - np.max(input, axis=dim, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True))


@log_softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """G - softmax(x) Σ G. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3."""
    return grad - np.exp(out) * np.sum(grad, axis=dim, keepdims=True)


@operation(promote="floating")
def softmax(input: Array, *, dim: int = -1, dtype: Any = None) -> Array:
    """eˣ / Σ eˣ: positive, summing to 1 along `dim`; the largest x is taken off first so that nothing overflows."""
    input = input if dtype is None else input.astype(dtype)
    powers = np.exp(input - np.max(input, axis=dim, keepdims=True, initial=-np.inf))
    return powers / np.sum(powers, axis=dim, keepdims=True)


@softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """p (G - Σ G p), where p is the result. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3."""
    return out * (grad - np.sum(grad * out, axis=dim, keepdims=True))


# Predictions of numbers: `input` and `target` have one shape (broadcasting here is nearly always a mistake)


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Tensor:
    """The squared error (prediction - target)².

    Args:
        input: predictions, any shape.
        target: the same shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ, or an unknown reduction.
    """
    _same("mse_loss", input, target)
    return _reduce((input - target) ** 2, reduction, "mse_loss")


def l1_loss(input: Array, target: Array, reduction: str = "mean") -> Tensor:
    """The absolute error |prediction - target|; arguments and errors as in `mse_loss`."""
    _same("l1_loss", input, target)
    return _reduce(abs(input - target), reduction, "l1_loss")


def smooth_l1_loss(input: Array, target: Array, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """½ e² / β for an error e below β, else |e| - β/2; arguments and errors as in `mse_loss`.

    Source: Girshick, Fast R-CNN (2015).
    """
    _same("smooth_l1_loss", input, target)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    losses = _huber(input - target, beta) / beta if beta else abs(input - target)
    return _reduce(losses, reduction, "smooth_l1_loss")


def huber_loss(
    input: Array, target: Array, reduction: str = "mean", delta: float = 1.0, weight: Array = None
) -> Tensor:
    """½ e² for an error e up to δ, else δ (|e| - δ/2); arguments and errors as in `mse_loss`, `weight` scales each.

    Source: Huber, Robust estimation of a location parameter (1964).
    """
    _same("huber_loss", input, target)
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be above 0, got {delta}")
    losses = _huber(input - target, delta)
    if weight is None:
        return _reduce(losses, reduction, "huber_loss")
    _same("huber_loss", input, weight)
    if reduction == "mean":
        return sum(losses * weight) / sum(weight)
    return _reduce(losses * weight, reduction, "huber_loss")


def _huber(error: Array, delta: float) -> Array:
    """m (e - m/2) with m, the error e held to ±δ: inside that is ½ e², outside δ (|e| - δ/2), even of an infinite e."""
    held = clamp(error, -delta, delta)
    return held * (error - 0.5 * held)


# Predictions of probabilities


def binary_cross_entropy(input: Array, target: Array, weight: Array = None, reduction: str = "mean") -> Tensor:
    """-(y ln p + (1 - y) ln(1 - p)), where no logarithm counts for less than -100.

    Args:
        input: probabilities p, 0 to 1, any shape.
        target: y, 0 to 1, the same shape.
        weight: scales each loss; broadcasts.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ, a p outside 0 to 1, or an unknown reduction.
    """
    _same("binary_cross_entropy", input, target)
    values = np.asarray(input)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"binary_cross_entropy: probabilities are {values.min():g} to {values.max():g}, must be 0 to 1"
        )
    losses = bernoulli_loss(input, target)
    return _reduce(losses if weight is None else losses * weight, reduction, "binary_cross_entropy")


@operation(promote="floating")
def bernoulli_loss(input: Array, target: Array) -> Array:
    """-(y ln p + (1 - y) ln(1 - p)), where no logarithm counts for less than -100."""
    return -(target * np.maximum(np.log(input), -100) + (1 - target) * np.maximum(np.log1p(-input), -100))


@bernoulli_loss.derivative
def _(grad: Array, input: Array, target: Array) -> Any:
    """(p - y) / (p (1 - p)), no larger than 10¹² (as PyTorch has it); ln(1 - p) - ln p, each at least -100."""
    return (
        lambda: grad * (input - target) / clamp(input * (1 - input), 1e-12),
        lambda: grad * (clamp(np.log1p(-input), -100.0) - clamp(np.log(input), -100.0)),
    )


def binary_cross_entropy_with_logits(
    input: Array, target: Array, weight: Array = None, reduction: str = "mean", pos_weight: Array = None
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), without overflow.

    Args:
        input: scores x, any shape.
        target: y, 0 to 1, the same shape.
        weight: scales each loss; broadcasts.
        reduction: "mean", "sum" or "none".
        pos_weight: scales the losses of y = 1; broadcasts.

    Raises:
        ValueError: the shapes differ, or an unknown reduction.
    """
    _same("binary_cross_entropy_with_logits", input, target)
    sure = target if pos_weight is None else target * pos_weight
    losses = -(sure * logsigmoid(input) + (1 - target) * logsigmoid(-input))  # 1 - σ(x) = σ(-x)
    return _reduce(losses if weight is None else losses * weight, reduction, "binary_cross_entropy_with_logits")


def kl_div(input: Array, target: Array, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """How much one distribution tells about another: Σ y (ln y - x), x being the logarithm of a probability.

    Args:
        input: logarithms of probabilities.
        target: probabilities y, or, with `log_target`, their logarithms; broadcasts with the input.
        reduction: "mean" over all elements, "batchmean" over the examples, "sum" or "none".
        log_target: whether the target is given as logarithms.

    Raises:
        ValueError: an unknown reduction.

    Source: Kullback and Leibler, On information and sufficiency (1951).
    """
    if log_target:
        losses = np.exp(target) * (target - input)
    else:
        some = np.asarray(target) != 0  # 0 ln 0 = 0
        losses = where(some, target * log(where(some, target, 1.0)), target * 0) - target * input
    if reduction == "batchmean":
        return sum(losses) / (input.shape[0] if input.ndim else 1)
    return _reduce(losses, reduction, "kl_div")


# Predictions of a class


def nll_loss(
    input: Array, target: Array, weight: Array = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-x[class]: the negative of the target class's logarithm of probability.

    Args:
        input: logarithms of the probabilities of C classes: (C,), (N, C) or (N, C, d1, ...).
        target: class indices, integers: (), (N,) or (N, d1, ...).
        weight: how much each class counts, (C,), or None.
        ignore_index: a target that does not count.
        reduction: "mean" (by weight), "sum" or "none".

    Raises:
        ValueError: the shapes do not fit, or an unknown reduction.
        IndexError: a class index is out of range.
        TypeError: the target is not made of integers.
    """
    return _nll("nll_loss", input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-ln of the probability that softmax(input) gives to the target: the usual loss of a classifier.

    Args:
        input: scores (logits) of the C classes: (C,), (N, C) or (N, C, d1, ...).
        target: class indices from 0 to C - 1, integers: (), (N,) or (N, d1, ...);
            or a probability for each class, floats in the shape of the input.
        weight: how much each class counts, (C,), or None.
        ignore_index: a class index that does not count.
        reduction: "mean" over the examples (by weight, for class indices), "sum" or "none".
        label_smoothing: how much of the target is spread evenly over all classes, 0 to 1.

    Raises:
        ValueError: the shapes do not fit, or an unknown reduction.
        IndexError: a class index is out of range.
        TypeError: the target is boolean.

    Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3; for smoothing, Szegedy et al., Rethinking the
    Inception architecture (2016).
    """
    name, shape = "cross_entropy", tuple(input.shape)
    if not shape:
        raise ValueError("cross_entropy: input is a single number, it must have a dimension of classes: (C,) or (N, C)")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be 0 to 1, got {label_smoothing}")
    dim = 1 if len(shape) > 1 else 0
    scores = log_softmax(input, dim=dim)
    if target.dtype.kind != "f":
        sure = _nll(name, scores, target, weight, ignore_index, reduction)
        if not label_smoothing:
            return sure
        return (1 - label_smoothing) * sure + label_smoothing * _smooth(
            scores, np.asarray(target), weight, ignore_index, reduction, dim
        )
    if tuple(target.shape) != shape:
        raise ValueError(f"{name}: a target of probabilities {tuple(target.shape)} must have the input's shape {shape}")
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / shape[dim]
    losses = -sum(scores * target if weight is None else scores * target * _by_class(weight, len(shape), dim), dim=dim)
    if reduction == "mean":
        return sum(losses) / math.prod(losses.shape)
    return _reduce(losses, reduction, name)


def _smooth(scores: Array, target: Any, weight: Array, ignore_index: int, reduction: str, dim: int) -> Tensor:
    """The loss of a target that is spread evenly over all classes."""
    classes = scores.shape[dim]
    even = -sum(scores if weight is None else scores * _by_class(weight, scores.ndim, dim), dim=dim) / classes
    counts = target != ignore_index
    even = where(counts, even, 0.0) if not counts.all() else even
    if reduction != "mean":
        return _reduce(even, reduction, "cross_entropy")
    if weight is None:
        return sum(even) / int(counts.sum())
    return sum(even) / sum(where(counts, getitem(weight, index=np.where(counts, target, 0)), 0.0))


def _nll(name: str, input: Array, target: Array, weight: Array, ignore_index: int, reduction: str) -> Tensor:
    shape = tuple(input.shape)
    dim = 1 if len(shape) > 1 else 0
    if not shape:
        raise ValueError(f"{name}: input is a single number, it must have a dimension of classes: (C,) or (N, C)")
    classes, examples = shape[dim], shape[:dim] + shape[dim + 1 :]
    places = np.array(target)  # a copy: the caller may fill his array with the next batch before `backward()`
    if places.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: target must be integers (class indices) or floats (probabilities), not {places.dtype}"
        )
    if places.shape != examples:
        raise ValueError(f"{name}: target {places.shape} does not fit input {shape}: it must be {examples}")
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"{name}: weight {tuple(weight.shape)} must be ({classes},), a number for each class")
    counts = places != ignore_index
    if not counts.all():
        places = np.where(counts, places, 0)
    if places.size and not (places.min() >= 0 and places.max() < classes):
        raise IndexError(f"{name}: target holds {places.min()} to {places.max()}, classes are 0 to {classes - 1}")
    losses = -_picked(input, places, dim)
    if weight is None and counts.all():
        return _reduce(losses, reduction, name)
    scale = counts.astype(input.dtype) if weight is None else where(counts, getitem(weight, index=places), 0.0)
    losses = where(counts, losses * scale, 0.0)
    return sum(losses) / sum(scale) if reduction == "mean" else _reduce(losses, reduction, name)


def _picked(scores: Array, places: Any, dim: int) -> Tensor:
    """The score of each example's class: (N, C, d1, ...) and (N, d1, ...) to (N, d1, ...)."""
    if scores.ndim == 2:
        return getitem(scores, index=(np.arange(len(places)), places))
    if dim:  # classes last, then one row an example
        scores = permute(scores, dims=(0, *range(2, scores.ndim), 1))
    rows = reshape(scores, shape=(places.size, scores.shape[-1]))
    return reshape(getitem(rows, index=(np.arange(places.size), places.reshape(-1))), shape=places.shape)


def _by_class(weight: Array, ndim: int, dim: int) -> Any:
    return reshape(weight, shape=[-1 if d == dim else 1 for d in range(ndim)])


def _same(name: str, input: Array, target: Array) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} must have the same shape"
        )


def _reduce(losses: Tensor, reduction: str, name: str) -> Tensor:
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", not {reduction!r}')
