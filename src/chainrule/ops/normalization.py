"""Normalization: shifts and scales values to mean 0 and variance 1, over a layer, a group, a batch or an instance.

`standardize`, the primitive operation, does this for layer, group and instance normalization, and for batch
normalization in training; in evaluation, that shifts and scales by running statistics. `rms_norm` only scales.
"""

import math
from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import sums
from chainrule.ops.elementwise import sqrt
from chainrule.ops.operation import Array, Input, Ints, Operand, Tensor, check_tensors, operation, stop_gradient
from chainrule.ops.reductions import mean, variance
from chainrule.ops.shape import as_dtype, int_tuple, reshape, widen_float16

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm", "standardize"]


@operation(promote="floating", fused=True)
def standardize(input: Input, weight: Operand = 1.0, bias: Operand = 0.0, *, dim: Any, eps: float) -> Array:
    """(x - mean) / √(variance + eps) · weight + bias, with the mean and the variance over `dim`."""
    centered, inverse_std = _center(input, dim, eps)
    return centered * inverse_std * weight + bias


@standardize.derivative
def _(grad: Array, input: Array, weight: Array, bias: Array, dim: Any, eps: float) -> Any:
    """(H - mean(H) - y mean(H y)) / √(variance + eps) for the input, G y for the weight, G for the bias.

    G is the gradient of the result, H = G · weight, and y = (x - mean) / √(variance + eps).

    Source: Ioffe and Szegedy, Batch normalization (2015).
    """
    centered, inverse_std = _center(input, dim, eps)
    standardized = centered * inverse_std

    def input_grad() -> Array:
        scaled_grad = grad * weight
        projection = standardized * sums.mean(scaled_grad * standardized, dim, True)
        return (scaled_grad - sums.mean(scaled_grad, dim, True) - projection) * inverse_std

    # summed here, not by the tape, so that one loop computes all three gradients
    return (
        input_grad,
        lambda: sums.total_over_broadcast(grad * standardized, weight.shape),
        lambda: sums.total_over_broadcast(grad, bias.shape),
    )


def _center(input: Array, dim: Any, eps: float) -> tuple[Array, Array]:
    """Return x - mean and 1 / √(variance + eps)."""
    centered = input - sums.mean(input, dim, True)
    return centered, 1 / np.sqrt(sums.mean(centered * centered, dim, True) + eps)


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
        eps: added to the mean square to avoid division by 0; the machine epsilon of the input's type if None,
            of float32 for float16.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the input is not floating.

    Source: Zhang and Sennrich, Root mean square layer normalization (2019).
    """
    dim = _normalized_dims("rms_norm", input, normalized_shape, weight)
    x = widen_float16(input)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
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
        running_mean: (C,), updated in place if `training`; may be None only in training, together with `running_var`.
        running_var: (C,), the unbiased variance, updated in place if `training`; may be None like `running_mean`.
        weight: the scale, (C,), or None.
        bias: the shift, (C,), or None.
        training: normalize by the statistics of the batch; otherwise by the running statistics.
        momentum: the weight of the batch in the update of the running statistics.
        eps: added to the variance to avoid division by 0.

    Raises:
        ValueError: the shapes do not fit, a channel has a single value in training, running statistics are missing in
            evaluation, only one is given in training, or eps is not positive (it may be 0 in evaluation).

    Source: Ioffe and Szegedy, Batch normalization (2015).
    """
    check_tensors("batch_norm", input, optional=[running_mean, running_var, weight, bias])
    if input.shape == (0,):  # there are neither examples nor channels
        return input  # type: ignore[return-value]  # a Tensor, if the caller passed one
    check("batch_norm", input.ndim > 1, f"takes (N, C, ...), not {input.shape}")
    weight, bias, center, variances = _by_channel("batch_norm", input, weight, bias, running_mean, running_var)
    check("batch_norm", eps > 0 or (eps == 0 and not training), f"eps must be positive, got {eps}")
    if not training:
        has_statistics = center is not None and variances is not None
        check("batch_norm", has_statistics, "needs running_mean and running_var when not training")
        return _scale_and_shift((input - stop_gradient(center)) / sqrt(stop_gradient(variances) + eps), weight, bias)
    check("batch_norm", (center is None) == (variances is None), "needs running_mean and running_var, or neither")
    dim = (0, *range(2, input.ndim))
    count = math.prod(input.shape[d] for d in dim)
    check("batch_norm", count != 1, f"needs more than one value per channel in training, got {input.shape}")
    if running_mean is not None and count:
        x = stop_gradient(input)
        _ema_update(running_mean, mean(x, dim=dim), momentum)
        _ema_update(running_var, variance(x, dim=dim), momentum)
    return _standardize_widened(input, weight, bias, dim, eps) if count else _scale_and_shift(input, weight, bias)


def _standardize_widened(input: Array, weight: Any, bias: Any, dim: Any, eps: float) -> Tensor:
    """Apply `standardize` with an optional weight and bias; compute float16 in float32."""
    weight = 1.0 if weight is None else widen_float16(weight)
    bias = 0.0 if bias is None else widen_float16(bias)
    return as_dtype(standardize(widen_float16(input), weight, bias, dim=dim, eps=eps), input.dtype)


def _ema_update(running: Any, value: Any, momentum: float) -> None:
    """Update an exponential moving average in place; `momentum` is the weight of the new value."""
    running[...] = stop_gradient(running) * (1 - momentum) + momentum * value


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
    """Raise a ValueError unless all arrays that are not None have this shape."""
    for array in arrays:
        if array is not None and array.shape != shape:
            raise ValueError(f"{name}: weight, bias and statistics must have shape {shape}, but one has {array.shape}")


def _scale_and_shift(out: Array, weight: Any, bias: Any = None) -> Tensor:
    """Multiply by the weight and add the bias, unless they are None."""
    out = out if weight is None else out * weight
    return out if bias is None else out + bias  # type: ignore[no-any-return]


def instance_norm(
    input: Input, running_mean: Input | None = None, running_var: Input | None = None, weight: Input | None = None,
    bias: Input | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalize each channel of each example to mean 0 and variance 1, then scale and shift each channel.

    Args:
        input: (N, C, ...), with at least one further dimension.
        running_mean: (C,), updated in place with the mean of the examples' means if `use_input_stats`; may be None only
            in this case, together with `running_var`.
        running_var: (C,), updated in place with the mean of the examples' unbiased variances if `use_input_stats`; may
            be None like `running_mean`.
        weight: the scale, (C,), or None.
        bias: the shift, (C,), or None.
        use_input_stats: normalize by the statistics of the input; otherwise by the running statistics.
        momentum: the weight of the input in the update of the running statistics.
        eps: added to the variance to avoid division by 0.

    Raises:
        ValueError: the shapes do not fit, a channel of an example has a single value, running statistics are missing
            where they are used, or only one is given.

    Source: Ulyanov et al., Instance normalization: the missing ingredient for fast stylization (2016).
    """
    name = "instance_norm"
    check_tensors(name, input, optional=[running_mean, running_var, weight, bias])
    check(name, input.ndim > 2, f"takes (N, C, ...) with at least one more dimension, not {input.shape}")
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError(f"{name}: with use_input_stats=False, running_mean and running_var must be given")
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    check(name, (running_mean is None) == (running_var is None), "needs running_mean and running_var, or neither")
    dim = tuple(range(2, input.ndim))
    count = math.prod(input.shape[2:])
    check(name, count != 1, f"needs more than one value per channel and example, got {input.shape}")
    weight, bias, *_ = _by_channel(name, input, weight, bias, running_mean, running_var)
    if running_mean is not None and input.shape[0] and count:
        x = stop_gradient(input)
        _ema_update(running_mean, mean(mean(x, dim=dim), dim=0), momentum)
        _ema_update(running_var, mean(variance(x, dim=dim), dim=0), momentum)
    return _standardize_widened(input, weight, bias, dim, eps) if count else _scale_and_shift(input, weight, bias)
