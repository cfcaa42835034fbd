"""From scores to probabilities, and from predictions to a loss: one number to make small.

`reduction` is "mean", "sum" or "none", as in PyTorch. Where a formula is several passes over an array, large arrays
take a kernel that needs one.
"""

from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import sums
from chainrule.ops.arithmetic import abs, clamp, ne, where
from chainrule.ops.elementwise import log, logsigmoid
from chainrule.ops.indexing import indices
from chainrule.ops.operation import Array, Tensor, only_tensors, operation
from chainrule.ops.reductions import mean, sum
from chainrule.ops.shape import reshape, wrap_dim

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div", "l1_loss",
    "log_softmax", "mse_loss", "nll_loss", "smooth_l1_loss", "softmax",
]  # fmt: skip


@operation(inputs=1, fused=True)
def log_softmax(input: Array, dim: int = -1, *, dtype: Any = None) -> Array:
    """ln(softmax(x)) = x - ln(Σ eˣ), with the largest x taken off first so that nothing overflows."""
    input, dim = _scores("log_softmax", input, dim, dtype)
    shifted = input - np.max(input, axis=dim, keepdims=True, initial=-np.inf)
    return shifted - np.log(sums.total(np.exp(shifted), dim, True))


@log_softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """G - softmax(x) Σ G. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3."""
    return grad - np.exp(out) * sums.total(grad, dim, True)


@operation(inputs=1, fused=True)
def softmax(input: Array, dim: int = -1, *, dtype: Any = None) -> Array:
    """eˣ / Σ eˣ: positive, summing to 1 along `dim`; the largest x is taken off first so that nothing overflows."""
    input, dim = _scores("softmax", input, dim, dtype)
    powers = np.exp(input - np.max(input, axis=dim, keepdims=True, initial=-np.inf))
    return powers / sums.total(powers, dim, True)


@softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """p (G - Σ G p), where p is the result. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3."""
    return out * (grad - sums.total(grad * out, dim, True))


def _scores(name: str, input: Array, dim: int, dtype: Any) -> tuple[Array, int]:
    """Scores in the type asked for, if it is a floating one, and the dimension counted from the first."""
    input = input if dtype is None else input.astype(dtype)
    check_floats(name, input)
    return input, wrap_dim(input, dim, name)


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
    return _reduce("mse_loss", _error("mse_loss", input, target) ** 2, reduction)


def l1_loss(input: Array, target: Array, reduction: str = "mean") -> Tensor:
    """The absolute error |prediction - target|; arguments and errors as in `mse_loss`."""
    return _reduce("l1_loss", abs(_error("l1_loss", input, target)), reduction)


def smooth_l1_loss(input: Array, target: Array, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """½ e² / β for an error e below β, else |e| - β/2; arguments and errors as in `mse_loss`.

    Source: Girshick, Fast R-CNN (2015).
    """
    error = _error("smooth_l1_loss", input, target)
    check("smooth_l1_loss", beta >= 0, f"beta must not be negative, got {beta}")
    return _reduce("smooth_l1_loss", _huber(error, beta) / beta if beta else abs(error), reduction)


def huber_loss(
    input: Array, target: Array, reduction: str = "mean", delta: float = 1.0, weight: Array = None
) -> Tensor:
    """½ e² for an error e up to δ, else δ (|e| - δ/2); arguments and errors as in `mse_loss`, `weight` scales each.

    Source: Huber, Robust estimation of a location parameter (1964).
    """
    check("huber_loss", delta > 0, f"delta must be above 0, got {delta}")
    if weight is not None:
        _same("huber_loss", input, weight, "weight")
    return _reduce("huber_loss", _huber(_error("huber_loss", input, target), delta), reduction, weight)


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
    return _reduce("binary_cross_entropy", elementwise_binary_cross_entropy(input, target), reduction, weight)


@operation(promote="floats")
def elementwise_binary_cross_entropy(input: Array, target: Array) -> Array:
    """-(y ln p + (1 - y) ln(1 - p)), where no logarithm counts for less than -100."""
    if input.size and not (input.min() >= 0 and input.max() <= 1):
        raise ValueError(f"binary_cross_entropy: probabilities are {input.min():g} to {input.max():g}, must be 0 to 1")
    return -(target * np.maximum(np.log(input), -100) + (1 - target) * np.maximum(np.log1p(-input), -100))


@elementwise_binary_cross_entropy.derivative
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
    return _reduce("binary_cross_entropy_with_logits", losses, reduction, weight)


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
        some = ne(target, 0)  # 0 ln 0 = 0
        losses = where(some, target * log(where(some, target, 1.0)), target * 0) - target * input
    if reduction == "batchmean":
        return sum(losses) / (input.shape[0] if input.ndim else 1)
    return _reduce("kl_div", losses, reduction)


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
        TypeError: the input is no floats, the target no integers, or the weight of another type than the input.
    """
    return _of_indices("nll_loss", input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: Array, target: Array, weight: Array = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
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
        ValueError: the shapes do not fit, an unknown reduction, or a class to ignore among probabilities.
        IndexError: a class index is out of range.
        TypeError: the input is no floats, the target is boolean, or the weight of class indices is of another type than
            the input.

    Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3; for smoothing, Szegedy et al., Rethinking the
    Inception architecture (2016).
    """
    name, dim = "cross_entropy", _class_dim("cross_entropy", input)
    only_tensors(name, target, optional=[weight])
    of_indices = target.dtype.kind != "f"
    if of_indices and weight is None and not label_smoothing:  # the commonest case, in one operation
        places = _classes(name, input, target, None, ignore_index)
        _known(name, reduction)
        return softmax_cross_entropy(input, places, dim=dim, ignore_index=ignore_index, reduction=reduction)
    check(name, 0 <= label_smoothing <= 1, f"label_smoothing must be 0 to 1, got {label_smoothing}")
    scores = log_softmax(input, dim=dim)
    if of_indices:
        return _of_indices(name, scores, target, weight, ignore_index, reduction, label_smoothing)
    check(name, ignore_index < 0, f"ignore_index={ignore_index} is for class indices, the target holds probabilities")
    if target.shape != input.shape:
        raise ValueError(f"{name}: a target of floats {target.shape} must be probabilities of shape {input.shape}")
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    return _reduce(name, -sum(scores * target * _by_class(weight, dim, input.ndim), dim=dim), reduction)


def _of_indices(
    name: str, scores: Array, target: Array, weight: Array, ignore: int, reduction: str, smoothing: float = 0.0
) -> Tensor:
    """-(1 - ε) x[class] - ε mean(x), each score x times its class's weight; ε is the smoothing."""
    dim, places = _class_dim(name, scores), _classes(name, scores, target, weight, ignore)
    weights, counts = _by_class(weight, dim, scores.ndim), ne(places, ignore)
    chosen, weighted = _chosen(places, scores.shape[dim], dim), scores if weight is None else scores * weights
    losses = -sum(where(chosen, weighted, 0.0), dim=dim)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * mean(weighted, dim=dim)
    losses = where(counts, losses, 0.0)
    if reduction != "mean":
        return _reduce(name, losses, reduction)
    each = 1.0 if weight is None else sum(where(chosen, weights, 0.0), dim=dim)
    return sum(losses) / sum(where(counts, each, 0.0))


@operation(fused=True)
def softmax_cross_entropy(input: Array, target: Array, *, dim: int, ignore_index: int, reduction: str) -> Array:
    """-ln softmax(x)[class] of each example, 0 where the class does not count; reduced."""
    counts = target != ignore_index
    losses = -sums.total(np.where(_chosen(target, input.shape[dim], dim), log_softmax(input, dim=dim), 0), dim)
    losses = np.where(counts, losses, 0)
    if reduction == "none":
        return losses
    whole = sums.total(losses)
    return whole / np.sum(counts, dtype=input.dtype) if reduction == "mean" else whole


@softmax_cross_entropy.derivative
def _(grad: Array, input: Array, target: Array, dim: int, ignore_index: int, reduction: str) -> Any:
    """softmax(x) - 1 for the class, softmax(x) for the others. Source: Goodfellow et al. (2016), section 6.2.2.3."""
    counts = target != ignore_index
    upstream = grad / np.sum(counts, dtype=input.dtype) if reduction == "mean" else grad
    upstream = np.where(counts, upstream, 0)
    chosen = _chosen(target, input.shape[dim], dim)
    return np.expand_dims(upstream, dim) * (softmax(input, dim=dim) - chosen), None


def _chosen(places: Any, classes: int, dim: int) -> Any:
    """Where each example's class is: (N, d1, ...) to booleans (N, C, d1, ...)."""
    rest = (1,) * (places.ndim - dim)
    return np.expand_dims(places, dim) == np.arange(classes).reshape(-1, *rest)


def _classes(name: str, scores: Array, target: Array, weight: Array, ignore: int) -> Any:
    """The class indices, if they and the weight fit the scores."""
    shape, dim = scores.shape, _class_dim(name, scores)
    classes, wanted = shape[dim], shape[:dim] + shape[dim + 1 :]
    only_tensors(name, target, optional=[weight])
    if target.dtype.kind not in "iu":
        form = "integers (class indices) or floats (probabilities)"
        raise TypeError(f"{name}: target must be {form}, not {target.dtype}")
    if target.shape != wanted:
        raise ValueError(f"{name}: target {target.shape} does not fit input {shape}: it must be {wanted}")
    if weight is not None and weight.dtype != scores.dtype:
        raise TypeError(f"{name}: weight is {weight.dtype}, it must be {scores.dtype} like the input")
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{name}: weight {weight.shape} must be ({classes},), a number for each class")
    return indices(target, size=classes, name=name, spared=ignore)


def _class_dim(name: str, scores: Array) -> int:
    """Which dimension counts the classes in (C,), (N, C) or (N, C, d1, ...)."""
    check_floats(name, scores)
    if not scores.ndim:
        raise ValueError(f"{name}: input is a single number, it must have a dimension of classes: (C,) or (N, C)")
    return 1 if scores.ndim > 1 else 0


def _by_class(weight: Array, dim: int, ndim: int) -> Any:
    """Weights (C,) in the shape in which they meet scores; 1 if there are none."""
    return 1.0 if weight is None else reshape(weight, shape=[-1 if d == dim else 1 for d in range(ndim)])


# The shapes of both, and what becomes of the losses


def _error(name: str, input: Array, target: Array) -> Any:
    _same(name, input, target)
    return input - target


def _same(name: str, input: Array, other: Array, what: str = "target") -> None:
    only_tensors(name, input, other)
    check(name, input.shape == other.shape, f"input {input.shape} and {what} {other.shape} must have the same shape")


def _known(name: str, reduction: str) -> None:
    check(name, reduction in ("mean", "sum", "none"), f'reduction must be "mean", "sum" or "none", not {reduction!r}')


def _reduce(name: str, losses: Tensor, reduction: str, weight: Array = None) -> Tensor:
    _known(name, reduction)
    losses = losses if weight is None else losses * weight
    return losses if reduction == "none" else mean(losses) if reduction == "mean" else sum(losses)
