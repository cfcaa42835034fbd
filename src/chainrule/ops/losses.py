"""Softmax and loss functions.

`reduction` says how to combine the losses of all elements or examples, as in PyTorch: "mean", "sum" or, to return them
all, "none". Formulas that make several passes over an array are marked `fused`: on large arrays they run as one
compiled program (`lower.eager`).
"""

from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import sums
from chainrule.ops.activations import logsigmoid
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.arithmetic import abs, clamp, neg, where
from chainrule.ops.comparisons import ne
from chainrule.ops.elementwise import log
from chainrule.ops.indexing import check_indices
from chainrule.ops.operation import Array, DTypeLike, Input, Tensor, check_tensors, operation
from chainrule.ops.reductions import mean, sum
from chainrule.ops.shape import as_dtype, cast, reshape, widen_float16, wrap_dim

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div", "l1_loss",
    "log_softmax", "mse_loss", "nll_loss", "smooth_l1_loss", "softmax", "softmin",
]  # fmt: skip


@operation(input_count=1, fused=True)
def log_softmax(input: Input, dim: int = -1, *, dtype: DTypeLike | None = None) -> Array:
    """ln(softmax(x)) = x - ln(Σ eˣ); the largest x is subtracted first so that nothing overflows."""
    input, dim = _scores("log_softmax", input, dim, dtype)
    shifted = input - np.max(input, axis=dim, keepdims=True, initial=-np.inf)
    return shifted - np.log(sums.total(np.exp(shifted), dim, True))


@log_softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """G - softmax(x) Σ G.

    Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3.
    """
    return grad - np.exp(out) * sums.total(grad, dim, True)


@operation(input_count=1, fused=True)
def softmax(input: Input, dim: int = -1, *, dtype: DTypeLike | None = None) -> Array:
    """eˣ / Σ eˣ: positive, summing to 1 along `dim`; the largest x is subtracted first so that nothing overflows."""
    input, dim = _scores("softmax", input, dim, dtype)
    exponentials = np.exp(input - np.max(input, axis=dim, keepdims=True, initial=-np.inf))
    return exponentials / sums.total(exponentials, dim, True)


@softmax.derivative
def _(grad: Array, out: Array, dim: int) -> Array:
    """p (G - Σ G p), where p is the result.

    Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3.
    """
    return out * (grad - sums.total(grad * out, dim, True))


@takes_axis
def softmin(input: Input, dim: int = -1, dtype: DTypeLike | None = None) -> Tensor:
    """`softmax` of -x: the smallest element gets the largest weight."""
    return softmax(neg(input if dtype is None else cast(input, dtype=dtype)), dim)


def _scores(name: str, input: Array, dim: int, dtype: Any) -> tuple[Array, int]:
    """Return the scores, converted to `dtype` unless that is None, and `dim` as a non-negative number.

    Raises:
        TypeError: the scores are not floating.
    """
    input = input if dtype is None else input.astype(dtype)
    check_floats(name, input)
    return input, wrap_dim(input, dim, name)


# Regression: `input` and `target` must have the same shape, because broadcasting is nearly always a mistake here


def mse_loss(input: Input, target: Input, reduction: str = "mean") -> Tensor:
    """The squared error (prediction - target)².

    Args:
        input: predictions, any shape.
        target: the same shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
        TypeError: neither the predictions nor the target are floating.
    """
    return _reduce("mse_loss", _difference("mse_loss", input, target) ** 2, reduction)


def l1_loss(input: Input, target: Input, reduction: str = "mean") -> Tensor:
    """The absolute error |prediction - target|. Arguments and errors are those of `mse_loss`."""
    return _reduce("l1_loss", abs(_difference("l1_loss", input, target)), reduction)


def smooth_l1_loss(input: Input, target: Input, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """½ e² / β if the error |e| is below β, else |e| - β/2.

    Args:
        input: predictions, any shape.
        target: the same shape.
        reduction: "mean", "sum" or "none".
        beta: β, at least 0.

    Raises:
        ValueError: the shapes differ, the reduction is unknown, or β is negative.
        TypeError: neither the predictions nor the target are floating.

    Source: Girshick, Fast R-CNN (2015).
    """
    error = _difference("smooth_l1_loss", input, target)
    check("smooth_l1_loss", beta >= 0, f"beta must not be negative, got {beta}")
    return _reduce("smooth_l1_loss", _huber(error, beta) / beta if beta else abs(error), reduction)


def huber_loss(
    input: Input, target: Input, reduction: str = "mean", delta: float = 1.0, weight: Input | None = None
) -> Tensor:
    """½ e² if the error |e| is at most δ, else δ (|e| - δ/2).

    Args:
        input: predictions, any shape.
        target: the same shape.
        reduction: "mean", "sum" or "none".
        delta: δ, above 0.
        weight: multiplies each loss; the same shape, or None.

    Raises:
        ValueError: the shapes differ, the reduction is unknown, or δ is not above 0.
        TypeError: neither the predictions nor the target are floating.

    Source: Huber, Robust estimation of a location parameter (1964).
    """
    check("huber_loss", delta > 0, f"delta must be above 0, got {delta}")
    if weight is not None:
        _check_same_shape("huber_loss", input, weight, "weight")
    return _reduce("huber_loss", _huber(_difference("huber_loss", input, target), delta), reduction, weight)


def _huber(error: Array, delta: float) -> Array:
    """½ e² if |e| ≤ δ, else δ (|e| - δ/2): both are m (e - m/2), where m is e clamped to ±δ."""
    clamped_error = clamp(error, -delta, delta)
    return clamped_error * (error - 0.5 * clamped_error)


# Binary classification, and distributions


def binary_cross_entropy(input: Input, target: Input, weight: Input | None = None, reduction: str = "mean") -> Tensor:
    """-(y ln p + (1 - y) ln(1 - p)), with each logarithm at least -100, as in PyTorch.

    Args:
        input: probabilities p, 0 to 1, any shape.
        target: y, 0 to 1, the same shape.
        weight: multiplies each loss; broadcasts.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ, a probability is not between 0 and 1, or the reduction is unknown.
    """
    _check_same_shape("binary_cross_entropy", input, target)
    return _reduce("binary_cross_entropy", elementwise_binary_cross_entropy(input, target), reduction, weight)


@operation(promote="floating_only")
def elementwise_binary_cross_entropy(input: Array, target: Array) -> Array:
    """-(y ln p + (1 - y) ln(1 - p)), with each logarithm at least -100, unreduced."""
    if input.size:
        low, high = input.min(), input.max()
        problem = f"probabilities must be 0 to 1, but are {low:g} to {high:g}"
        check("binary_cross_entropy", low >= 0 and high <= 1, problem)
    return -(target * np.maximum(np.log(input), -100) + (1 - target) * np.maximum(np.log1p(-input), -100))


@elementwise_binary_cross_entropy.derivative
def _(grad: Array, input: Array, target: Array) -> Any:
    """∂/∂p = (p - y) / (p (1 - p)), with a denominator of at least 10⁻¹², as in PyTorch; ∂/∂y = ln(1 - p) - ln p.

    As in the formula, each logarithm is at least -100.
    """
    return (
        lambda: grad * (input - target) / clamp(input * (1 - input), 1e-12),
        lambda: grad * (clamp(np.log1p(-input), -100.0) - clamp(np.log(input), -100.0)),
    )


def binary_cross_entropy_with_logits(
    input: Input, target: Input, weight: Input | None = None, reduction: str = "mean", pos_weight: Input | None = None
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), computed without overflow.

    Args:
        input: scores x, any shape.
        target: y, 0 to 1, the same shape.
        weight: multiplies each loss; broadcasts.
        reduction: "mean", "sum" or "none".
        pos_weight: multiplies y ln σ(x), the term of the positive class; broadcasts.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    _check_same_shape("binary_cross_entropy_with_logits", input, target)
    positive_factor = target if pos_weight is None else target * pos_weight
    losses: Array = -(positive_factor * logsigmoid(input) + (1 - target) * logsigmoid(-input))  # 1 - σ(x) = σ(-x)
    return _reduce("binary_cross_entropy_with_logits", losses, reduction, weight)


def kl_div(input: Input, target: Input, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """How far one distribution is from another: y (ln y - x), where y is a probability and x a log-probability.

    Args:
        input: log-probabilities x.
        target: probabilities y, or their logarithms if `log_target`; broadcasts with the input.
        reduction: "mean" over all elements, "batchmean" over the examples, "sum" or "none".
        log_target: whether the target holds log-probabilities.

    Raises:
        ValueError: the reduction is unknown.
        TypeError: the input is not floating.

    Source: Kullback and Leibler, On information and sufficiency (1951).
    """
    if reduction not in ("mean", "batchmean", "sum", "none"):
        raise ValueError(f'kl_div: reduction must be "mean", "batchmean", "sum" or "none", not {reduction!r}')
    check_floats("kl_div", input)
    losses: Array
    if log_target:
        losses = np.exp(target) * (target - input)
    else:
        # 0 ln 0 = 0, whose derivative is NaN, as in PyTorch
        losses = where(ne(target, 0), target * log(target), 0.0) - target * input
    if reduction == "batchmean":
        return as_dtype(widen_float16(sum(losses)) / (input.shape[0] if input.ndim else 1), losses.dtype)
    return _reduce("kl_div", losses, reduction)


# Classification


def nll_loss(
    input: Input, target: Input, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-x[class]: the negative log-likelihood of the target class.

    Args:
        input: log-probabilities of C classes: (C,), (N, C) or (N, C, d1, ...).
        target: class indices, integers: (), (N,) or (N, d1, ...).
        weight: the weight of each class, (C,), or None.
        ignore_index: a class index that is ignored: its loss is 0, and it does not count in the mean.
        reduction: "mean" (weighted), "sum" or "none".

    Raises:
        ValueError: the shapes do not fit, or the reduction is unknown.
        IndexError: a class index is out of range.
        TypeError: the input is not floating, the target is not integer, or the weight's type is not the input's.
    """
    return _index_loss("nll_loss", input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: Input, target: Input, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """-ln softmax(input)[class]: the usual loss of a classifier.

    Args:
        input: scores (logits) of C classes: (C,), (N, C) or (N, C, d1, ...).
        target: class indices from 0 to C - 1, integers: (), (N,) or (N, d1, ...);
            or class probabilities, floats of the input's shape.
        weight: the weight of each class, (C,), or None.
        ignore_index: a class index that is ignored: its loss is 0, and it does not count in the mean.
        reduction: "mean" over the examples (weighted, for class indices), "sum" or "none".
        label_smoothing: the share of the target that is distributed evenly over all classes, 0 to 1.

    Raises:
        ValueError: the shapes do not fit, the reduction is unknown, or `ignore_index` is used with probabilities.
        IndexError: a class index is out of range.
        TypeError: the input is not floating, the target is boolean, or (for class indices) the weight's type is not the
            input's.

    Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3; for smoothing, Szegedy et al., Rethinking the
    Inception architecture (2016).
    """
    name = "cross_entropy"
    dim = _class_dim(name, input)
    check_tensors(name, target, optional=[weight])
    has_class_indices = target.dtype.kind != "f"
    if has_class_indices and weight is None and not label_smoothing:  # the most common case is a single operation
        classes = _class_indices(name, input, target, None, ignore_index)
        _check_reduction(name, reduction)
        return softmax_cross_entropy(input, classes, dim=dim, ignore_index=ignore_index, reduction=reduction)
    check(name, 0 <= label_smoothing <= 1, f"label_smoothing must be 0 to 1, got {label_smoothing}")
    log_probs = log_softmax(input, dim=dim)
    if has_class_indices:
        return _index_loss(name, log_probs, target, weight, ignore_index, reduction, label_smoothing)
    problem = f"ignore_index={ignore_index} is for class indices, but the target holds probabilities"
    check(name, ignore_index < 0, problem)
    if target.shape != input.shape:
        raise ValueError(f"{name}: a target of floats {target.shape} must be probabilities of shape {input.shape}")
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    return _reduce(name, -sum(log_probs * target * _weight_by_class(weight, dim, input.ndim), dim=dim), reduction)


def _index_loss(
    name: str, log_probs: Array, target: Array, weight: Array, ignore_index: int, reduction: str, smoothing: float = 0.0
) -> Tensor:
    """-(1 - ε) x[class] - ε mean(x) for class indices.

    x are the log-probabilities times the class weights, and ε is `smoothing`. The reduction "mean" divides the sum of
    the losses by the sum of the weights of the target classes.
    """
    dim = _class_dim(name, log_probs)
    classes = _class_indices(name, log_probs, target, weight, ignore_index)
    is_valid = ne(classes, ignore_index)
    one_hot = _one_hot(classes, log_probs.shape[dim], dim)
    weights = _weight_by_class(weight, dim, log_probs.ndim)
    weighted_log_probs = log_probs if weight is None else log_probs * weights
    losses = -sum(where(one_hot, weighted_log_probs, 0.0), dim=dim)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * mean(weighted_log_probs, dim=dim)
    losses = where(is_valid, losses, 0.0)
    if reduction != "mean":
        return _reduce(name, losses, reduction)
    target_weights = 1.0 if weight is None else sum(where(one_hot, weights, 0.0), dim=dim)
    return sum(losses) / sum(where(is_valid, target_weights, 0.0))


@operation(fused=True)
def softmax_cross_entropy(input: Array, target: Array, *, dim: int, ignore_index: int, reduction: str) -> Array:
    """-ln softmax(x)[class] of each example, or 0 if the class is `ignore_index`; then reduced."""
    is_valid = target != ignore_index
    losses = -sums.total(np.where(_one_hot(target, input.shape[dim], dim), log_softmax(input, dim=dim), 0), dim)
    losses = np.where(is_valid, losses, 0)
    if reduction == "none":
        return losses
    total = sums.total(losses)
    return total / np.sum(is_valid, dtype=input.dtype) if reduction == "mean" else total


@softmax_cross_entropy.derivative
def _(grad: Array, input: Array, target: Array, dim: int, ignore_index: int, reduction: str) -> Any:
    """softmax(x) - one_hot(class), or 0 for `ignore_index`. Source: Goodfellow et al. (2016), section 6.2.2.3."""
    is_valid = target != ignore_index
    loss_grads = grad / np.sum(is_valid, dtype=input.dtype) if reduction == "mean" else grad
    loss_grads = np.where(is_valid, loss_grads, 0)
    one_hot = _one_hot(target, input.shape[dim], dim)
    return np.expand_dims(loss_grads, dim) * (softmax(input, dim=dim) - one_hot), None


def _one_hot(classes: Any, class_count: int, dim: int) -> Any:
    """Return class indices (N, d1, ...) as booleans (N, C, d1, ...): C is `class_count`, and its dimension is `dim`."""
    all_classes = np.arange(class_count).reshape(-1, *(1,) * (classes.ndim - dim))
    return np.expand_dims(classes, dim) == all_classes


def _class_indices(name: str, scores: Array, target: Array, weight: Array, ignore_index: int) -> Any:
    """Return the class indices in `target`, after checking that they and the weight fit the scores."""
    shape, dim = scores.shape, _class_dim(name, scores)
    class_count = shape[dim]
    target_shape = shape[:dim] + shape[dim + 1 :]
    check_tensors(name, target, optional=[weight])
    if target.dtype.kind not in "iu":
        types = "integers (class indices)" + (" or floats (probabilities)" if name == "cross_entropy" else "")
        raise TypeError(f"{name}: target must be {types}, not {target.dtype}")
    problem = f"target {target.shape} does not fit input {shape}: it must be {target_shape}"
    check(name, target.shape == target_shape, problem)
    if weight is not None and weight.dtype != scores.dtype:
        raise TypeError(f"{name}: weight is {weight.dtype}, but must be {scores.dtype} like the input")
    if weight is not None and weight.shape != (class_count,):
        raise ValueError(f"{name}: weight {weight.shape} must be ({class_count},), one number per class")
    return check_indices(target, size=class_count, name=name, ignore_index=ignore_index)


def _class_dim(name: str, scores: Array) -> int:
    """Return the dimension of the classes in scores (C,), (N, C) or (N, C, d1, ...)."""
    check_floats(name, scores)
    check(name, scores.ndim, "input is a single number, but must have a dimension of classes: (C,) or (N, C)")
    return 1 if scores.ndim > 1 else 0


def _weight_by_class(weight: Array, dim: int, ndim: int) -> Any:
    """Return the weight (C,) in a shape that broadcasts with scores of `ndim` dimensions; 1 if the weight is None."""
    return 1.0 if weight is None else reshape(weight, shape=[-1 if d == dim else 1 for d in range(ndim)])


# Shape checks and reductions


def _difference(name: str, input: Array, target: Array) -> Any:
    """Return input - target, after checking that the shapes are equal and the difference is floating."""
    _check_same_shape(name, input, target)
    check_floats(name, np.result_type(input.dtype, target.dtype))  # a difference of integers might wrap around
    return input - target


def _check_same_shape(name: str, input: Array, other: Array, what: str = "target") -> None:
    check_tensors(name, input, other)
    check(name, input.shape == other.shape, f"input {input.shape} and {what} {other.shape} must have the same shape")


def _check_reduction(name: str, reduction: str) -> None:
    check(name, reduction in ("mean", "sum", "none"), f'reduction must be "mean", "sum" or "none", not {reduction!r}')


def _reduce(name: str, losses: Tensor, reduction: str, weight: Array = None) -> Tensor:
    """Multiply the losses by the weight, if there is one, and combine them as `reduction` says."""
    _check_reduction(name, reduction)
    losses = losses if weight is None else losses * weight
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)
