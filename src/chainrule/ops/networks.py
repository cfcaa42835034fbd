"""Operations of modern networks: GELU, normalization, embedding, padding.

All but `erf`, `gelu` and `standardize` are composed of other operations.
"""

import math
from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import special, sums
from chainrule.ops.arithmetic import where
from chainrule.ops.elementwise import sqrt, tanh
from chainrule.ops.indexing import check_indices, embedding_lookup, getitem, index_put, scatter_add
from chainrule.ops.operation import Array, Input, Ints, Operand, Tensor, check_tensors, operation, stop_gradient
from chainrule.ops.reductions import mean, variance
from chainrule.ops.shape import (
    along,
    as_dtype,
    clone,
    int_tuple,
    reshape,
    unsqueeze,
    widen_float16,
)

__all__ = [
    "batch_norm", "embedding", "erf", "gelu", "group_norm", "layer_norm", "pad", "rms_norm", "standardize",
]  # fmt: skip


@operation(promote="floating")
def erf(input: Input) -> Array:
    """The error function, 2/√π ∫₀ˣ e^(-t²) dt. Source: Abramowitz and Stegun, 7.1.1."""
    return special.erf(input)  # type: ignore[arg-type]  # a formula gets arrays


@erf.derivative
def _(grad: Array, input: Array) -> Array:
    """d erf(x)/dx = 2/√π e^(-x²)."""
    return grad * (2 / math.sqrt(math.pi) * np.exp(-input * input))


@operation
def gelu(input: Input, *, approximate: str = "none") -> Array:
    """x Φ(x), where Φ is the cumulative distribution function of the standard normal distribution.

    Args:
        input: any shape.
        approximate: "none" to compute Φ with erf; "tanh" to approximate it with tanh.

    Raises:
        ValueError: `approximate` is unknown.

    Source: Hendrycks and Gimpel, Gaussian error linear units (2016).
    """
    check_floats("gelu", input)
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", not {approximate!r}')
    return input * _normal_cdf(input, approximate)


@gelu.derivative
def _(grad: Array, input: Array, approximate: str) -> Array:
    """d(x Φ(x))/dx = Φ(x) + x φ(x), φ being the derivative of Φ: e^(-x²/2) / √2π, or that of the approximation."""
    cdf = _normal_cdf(input, approximate)
    if approximate == "none":
        density = np.exp(-0.5 * input * input) / math.sqrt(2 * math.pi)
    else:
        density = 2 * cdf * (1 - cdf) * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * input * input))
    return grad * (cdf + input * density)


def _normal_cdf(x: Array, approximate: str) -> Any:
    """Φ(x)."""
    if approximate == "none":
        return 0.5 * (1 + erf(x * math.sqrt(0.5)))
    return 0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


# Normalization


@operation(promote="floating", fused=True)
def standardize(input: Input, weight: Operand = 1.0, bias: Operand = 0.0, *, dim: Any, eps: float) -> Array:
    """(x - mean) / √(variance + eps), which has mean 0 and variance 1 over `dim`; times a weight, plus a bias."""
    centered, std = _center(input, dim, eps)
    return centered / std * weight + bias


@standardize.derivative
def _(grad: Array, input: Array, weight: Array, dim: Any, eps: float) -> Any:
    """(H - mean(H) - y mean(H y)) / √(variance + eps) for the input, G y for the weight, G for the bias.

    G is the gradient of the result, H = G · weight, and y is the standardized x.

    Source: Ioffe and Szegedy (2015).
    """
    centered, std = _center(input, dim, eps)
    out = centered / std

    def input_grad() -> Array:
        scaled_grad = grad * weight
        projection = out * sums.mean(scaled_grad * out, dim, True)
        return (scaled_grad - sums.mean(scaled_grad, dim, True) - projection) / std

    return input_grad, lambda: grad * out, lambda: grad


def _center(input: Array, dim: Any, eps: float) -> tuple[Array, Array]:
    """Return x - mean and √(variance + eps)."""
    centered = input - sums.mean(input, dim, True)
    return centered, np.sqrt(sums.mean(centered * centered, dim, True) + eps)


def layer_norm(
    input: Input, normalized_shape: Ints, weight: Input | None = None, bias: Input | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each example to mean 0 and variance 1 over its last dimensions, then scale and shift it.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the dimensions to normalize over.
        weight: the scale, of shape `normalized_shape`, or None.
        bias: the shift, of shape `normalized_shape`, or None.
        eps: added to the variance to avoid division by 0.

    Raises:
        ValueError: the shapes do not fit.

    Source: Ba et al., Layer normalization (2016).
    """
    dim = _normalized_dims("layer_norm", input, normalized_shape, weight, bias)
    return _standardize_widened(input, weight, bias, dim, eps)


def rms_norm(input: Input, normalized_shape: Ints, weight: Input | None = None, eps: float | None = None) -> Tensor:
    """Divide each example by its root mean square over its last dimensions, then scale it.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the dimensions to normalize over.
        weight: the scale, of shape `normalized_shape`, or None.
        eps: added to the mean square to avoid division by 0; the machine epsilon of the input's type if None.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the input is not floating.

    Source: Zhang and Sennrich, Root mean square layer normalization (2019).
    """
    dim = _normalized_dims("rms_norm", input, normalized_shape, weight)
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    x = widen_float16(input)
    out = x / np.sqrt(mean(x * x, dim=dim, keepdim=True) + eps)
    return _scale_and_shift(as_dtype(out, input.dtype), weight)


def group_norm(
    input: Input, num_groups: int, weight: Input | None = None, bias: Input | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each group of channels of each example to mean 0 and variance 1, then scale and shift each channel.

    Args:
        input: (N, C, ...).
        num_groups: the number of groups; must divide C.
        weight: the scale, (C,), or None.
        bias: the shift, (C,), or None.
        eps: added to the variance to avoid division by 0.

    Raises:
        ValueError: the shapes do not fit, or there is a single example with a single value per group.

    Source: Wu and He, Group normalization (2018).
    """
    check_tensors("group_norm", input, optional=[weight, bias])
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups} must divide the channels of (N, C, ...) {input.shape}")
    examples, channels, *rest = input.shape
    count = examples * (channels // num_groups) * math.prod(rest)
    check("group_norm", count != 1, f"needs more than one value per group, or several examples, got {input.shape}")
    channel_shape = num_groups, channels // num_groups
    weight, bias = _by_channel("group_norm", input, weight, bias, shape=channel_shape)
    grouped = reshape(input, shape=(examples, *channel_shape, *rest))
    out = _standardize_widened(grouped, weight, bias, tuple(range(2, grouped.ndim)), eps)
    return reshape(out, shape=input.shape)


def batch_norm(
    input: Input, running_mean: Input | None, running_var: Input | None, weight: Input | None = None,
    bias: Input | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalize each channel to mean 0 and variance 1 over the batch, then scale and shift it.

    Args:
        input: (N, C) or (N, C, ...).
        running_mean: (C,), updated in place during training; or None.
        running_var: (C,), the unbiased variance, updated in place during training; or None.
        weight: the scale, (C,), or None.
        bias: the shift, (C,), or None.
        training: normalize by the statistics of the batch; otherwise by the running statistics.
        momentum: the weight of the batch in the update of the running statistics.
        eps: added to the variance to avoid division by 0.

    Raises:
        ValueError: the shapes do not fit, a channel has a single value in training, or eps is not positive (it may be 0
            in evaluation).

    Source: Ioffe and Szegedy, Batch normalization (2015).
    """
    check_tensors("batch_norm", input, optional=[running_mean, running_var, weight, bias])
    if input.shape == (0,):  # neither examples nor channels
        return as_dtype(input, input.dtype)
    check("batch_norm", input.ndim > 1, f"takes (N, C, ...), not {input.shape}")
    weight, bias, center, variances = _by_channel("batch_norm", input, weight, bias, running_mean, running_var)
    check("batch_norm", eps > 0 or (eps == 0 and not training), f"eps must be positive, got {eps}")
    if not training:
        if center is None or variances is None:
            raise ValueError("batch_norm: needs running_mean and running_var when not training")
        return _scale_and_shift((input - stop_gradient(center)) / sqrt(stop_gradient(variances) + eps), weight, bias)
    dim = (0, *range(2, input.ndim))
    count = math.prod(input.shape[d] for d in dim)
    check("batch_norm", count != 1, f"needs more than one value per channel in training, got {input.shape}")
    if running_mean is not None and running_var is not None and count:
        x = stop_gradient(input)
        _ema_update(running_mean, mean(x, dim=dim), momentum)
        _ema_update(running_var, variance(x, dim=dim), momentum)
    return _standardize_widened(input, weight, bias, dim, eps) if count else _scale_and_shift(input, weight, bias)


def _standardize_widened(input: Array, weight: Any, bias: Any, dim: Any, eps: float) -> Tensor:
    """Apply `standardize` with optional weight and bias; float16 is computed in float32."""
    weight = 1.0 if weight is None else widen_float16(weight)
    bias = 0.0 if bias is None else widen_float16(bias)
    return as_dtype(standardize(widen_float16(input), weight, bias, dim=dim, eps=eps), input.dtype)


def _ema_update(running: Any, batch: Any, momentum: float) -> None:
    """Update an exponential moving average in place."""
    running[...] = stop_gradient(running) * (1 - momentum) + momentum * batch


def _normalized_dims(name: str, input: Array, shape: Ints, *arrays: Array) -> tuple[int, ...]:
    """Return the dimensions to normalize over, after checking that input, weight and bias fit."""
    check_tensors(name, input, optional=arrays)
    check_floats(name, input)
    sizes = int_tuple(shape, name)
    if not sizes or input.shape[-len(sizes) :] != sizes:
        raise ValueError(f"{name}: input {input.shape} must end with normalized_shape {sizes}")
    _check_shapes(name, sizes, arrays)
    return tuple(range(-len(sizes), 0))


def _by_channel(name: str, input: Array, *arrays: Array, shape: tuple[int, ...] = (-1,)) -> list[Any]:
    """Reshape weights, biases or statistics (C,) to broadcast with an input (N, C, ...), or with (N, *shape, ...)."""
    check_floats(name, input)
    _check_shapes(name, (input.shape[1],), arrays)
    shape = (1, *shape, *(1,) * (input.ndim - 2))
    return [None if array is None else reshape(array, shape=shape) for array in arrays]


def _check_shapes(name: str, shape: tuple[int, ...], arrays: tuple[Array, ...]) -> None:
    for array in arrays:
        if array is not None and array.shape != shape:
            raise ValueError(f"{name}: weight, bias and statistics must have shape {shape}, but one has {array.shape}")


def _scale_and_shift(out: Array, weight: Any, bias: Any = None) -> Tensor:
    out = out if weight is None else out * weight
    return out if bias is None else out + bias  # type: ignore[no-any-return]


# Embedding, padding


def embedding(input: Input, weight: Input, padding_idx: int | None = None) -> Tensor:
    """Look up rows of the weight: indices (...) and a weight (V, D) give (..., D).

    Args:
        input: indices from 0 to V - 1.
        weight: one row for each of V entries.
        padding_idx: the index of a row that gets no gradient; negative counts from the end.

    Raises:
        IndexError: an index is out of range.
        TypeError: the indices are not integers.
        ValueError: the weight is not a matrix, or `padding_idx` is out of range.
    """
    check("embedding", weight.ndim == 2, f"the weight must be (V, D), not {weight.shape}")
    size = weight.shape[0]
    checked = check_indices(input, size=size, name="embedding")
    out = embedding_lookup(weight, checked)
    if padding_idx is None:
        return out
    check("embedding", -size <= padding_idx < size, f"padding_idx {padding_idx} is out of range for {size} rows")
    return where(unsqueeze(checked == padding_idx % size, -1), stop_gradient(out), out)


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # NumPy's names


def pad(input: Input, pad: Ints, mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad the last dimensions; a negative number crops.

    Args:
        input: any shape.
        pad: (before, after) for the last dimension, then for the one before it, and so on.
        mode: "constant", "reflect", "replicate" or "circular".
        value: the value of constant padding; 0 if None.

    Raises:
        ValueError: an odd number of sizes, more pairs than dimensions, an unknown mode, or more padding than the input
            has elements to reflect or wrap around.
    """
    edges = int_tuple(pad, "pad")
    if len(edges) % 2 or len(edges) > 2 * input.ndim:
        raise ValueError(f"pad: needs a pair of numbers for each of the last dimensions of {input.shape}, not {edges}")
    if mode not in _MODES or (mode != "constant" and value is not None):
        raise ValueError(f"pad: mode must be one of {', '.join(_MODES)}, and only constant takes a value; got {mode!r}")
    pairs = [(0, 0)] * (input.ndim - len(edges) // 2) + list(zip(edges[::2], edges[1::2], strict=True))[::-1]
    shape = [n + before + after for n, (before, after) in zip(input.shape, pairs, strict=True)]
    check("pad", min(shape, default=0) >= 0, f"{edges} crops more than the input {input.shape} has")
    if mode in ("constant", "circular"):  # crop first, so that cropped elements do not wrap around
        inner = [slice(max(-b, 0), max(n + min(a, 0), 0)) for n, (b, a) in zip(input.shape, pairs, strict=True)]
        input, pairs = getitem(input, index=tuple(inner)), [(max(b, 0), max(a, 0)) for b, a in pairs]
    if mode == "constant":
        inside = tuple(slice(b, size - a) for size, (b, a) in zip(shape, pairs, strict=True))
        if not value:
            return scatter_add(input, index=inside, shape=shape)
        return index_put(np.full(shape, value, input.dtype), input, index=inside)
    if pairs == [(0, 0)] * input.ndim:
        return clone(input)
    for dim, (before, after) in enumerate(pairs):
        if before or after:
            input = getitem(input, index=along(dim, _padded_indices(mode, input.shape[dim], before, after)))
    return as_dtype(input, input.dtype)


def _padded_indices(mode: str, n: int, before: int, after: int) -> Any:
    """For each position of a padded dimension, the index of the element of the input that it repeats."""
    limit = {"reflect": n - 1, "circular": n}.get(mode, math.inf)
    if max(before, after) > limit:
        raise ValueError(f"pad: {mode} padding of an input of size {n} must be at most {limit}, not {before, after}")
    repeated = np.pad(np.arange(n), (max(before, 0), max(after, 0)), _MODES[mode])  # type: ignore[call-overload]
    return repeated[max(-before, 0) : len(repeated) + min(after, 0)]
