"""Pooling: a window slides over a picture and keeps the largest number it sees, or their mean.

The loops are in `chainrule.kernels`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import pooling as kernels
from chainrule.ops.convolution import pair
from chainrule.ops.indexing import gather
from chainrule.ops.linalg import matmul
from chainrule.ops.operation import Array, Ints, Operation, Tensor, only_tensors, operation
from chainrule.ops.shape import reshape, squeeze, transpose, unsqueeze

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"]


class PoolParams(NamedTuple):
    """A window and how it slides: numbers (down, across), and whether a last one may reach beyond the border."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False


@operation(extra="taps")
def max_pool(input: Array, *, params: PoolParams) -> Any:
    """The largest number of each window, (N, C, H, W) to (N, C, H′, W′); and which tap of its window each one is."""
    return kernels.max_pool(input, *params)


@max_pool.derivative
def _(grad: Array, taps: Any, input_shape: Any, params: PoolParams) -> Array:
    """The gradient goes to the largest number of each window."""
    return max_unpool(grad, taps=taps, shape=input_shape, params=params)


@operation
def max_unpool(input: Array, *, taps: Any, shape: Any, params: PoolParams) -> Array:
    """Zeros of a shape, with each number of the input added where its window's largest was."""
    return kernels.max_pool_gradient(input, taps, shape, *params[:4])


@max_unpool.derivative
def _(grad: Array, taps: Any, shape: Any, params: PoolParams) -> Array:
    """The gradient, where each window's largest was."""
    places = kernels.max_pool_indices(taps, shape[3], *params[:4])  # (N, C, H′, W′)
    flat = reshape(grad, shape=(*shape[:2], -1))  # (N, C, H W)
    return reshape(gather(flat, 2, places.reshape(*shape[:2], -1)), shape=places.shape)


@operation
def max_pool_indices(input: Array, *, params: PoolParams) -> Array:
    """Where the largest number of each window is, h W + w in its picture: (N, C, H′, W′) int64."""
    return kernels.max_pool_indices(kernels.max_pool(input, *params)[1], input.shape[3], *params[:4])


@operation
def avg_pool(input: Array, *, params: PoolParams, by: tuple[bool, int | None]) -> Array:
    """The mean of each window, (N, C, H, W) to (N, C, H′, W′); `by` says whether zeros count, or a divisor."""
    return kernels.avg_pool(input, *params[:3], params.ceil_mode, *by)


@avg_pool.derivative
def _(grad: Array, input_shape: Any, params: PoolParams, by: Any) -> Array:
    """Each window shares its gradient evenly."""
    return avg_unpool(grad, shape=input_shape, params=params, by=by)


@operation
def avg_unpool(input: Array, *, shape: Any, params: PoolParams, by: Any) -> Array:
    """Each number of the input shared evenly by its window."""
    return kernels.avg_pool_gradient(input, shape, *params[:3], *by)


@avg_unpool.derivative
def _(grad: Array, params: PoolParams, by: Any) -> Array:
    """The mean of the gradient over each window."""
    return avg_pool(grad, params=params, by=by)


def max_pool2d(
    input: Array, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest number of each window.

    Args:
        input: (N, C, H, W), or one picture (C, H, W).
        kernel_size: the window, a number or (height, width).
        stride: how far it moves; its own size if None.
        padding: a border that never wins, at most half the window.
        dilation: how far apart the window's taps lie.
        ceil_mode: let a last window reach beyond the border.
        return_indices: also give where each largest is, h W + w in its picture, int64.

    Returns:
        (N, C, H′, W′), and the indices if asked for.

    Raises:
        ValueError: numbers that do not fit.
    """
    params = _pool_params("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    out = _on_each(max_pool, input, params=params)
    return (out, _on_each(max_pool_indices, input, params=params)) if return_indices else out


def avg_pool2d(
    input: Array, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window.

    Args:
        input: (N, C, H, W), or one picture (C, H, W).
        kernel_size: the window, a number or (height, width).
        stride: how far it moves; its own size if None.
        padding: zeros around, at most half the window.
        ceil_mode: let a last window reach beyond the border.
        count_include_pad: count the zeros of the border too.
        divisor_override: divide the sums by this number instead.

    Raises:
        ValueError: numbers that do not fit.
    """
    params = _pool_params("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode)
    check("avg_pool2d", divisor_override != 0, "divisor_override must not be 0")
    return _on_each(avg_pool, input, params=params, by=(count_include_pad, divisor_override))


def _pool_params(
    name: str, input: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> PoolParams:
    """The window's numbers, checked."""
    only_tensors(name, input)
    if input.ndim not in (3, 4) or 0 in input.shape[-3:]:
        raise ValueError(f"{name}: takes (N, C, H, W) or (C, H, W), not {input.shape}")
    stride = kernel if stride in (None, (), []) else stride
    kernel, stride = pair(name, "kernel_size", kernel, 1), pair(name, "stride", stride, 1)
    padding, dilation = pair(name, "padding", padding, 0), pair(name, "dilation", dilation, 1)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"{name}: padding {padding} must be at most half the kernel_size {kernel}")
    params, size = PoolParams(kernel, stride, padding, dilation, ceil_mode), input.shape[-2:]
    if min(kernels.pooled_size(size, *params)) < 1:
        raise ValueError(f"{name}: the window {kernel} (dilation {dilation}) is larger than {size} padded by {padding}")
    return params


def _on_each(pool: Operation[...], input: Array, **how: Any) -> Tensor:
    """Pool several pictures, or one."""
    return pool(input, **how) if input.ndim == 4 else squeeze(pool(unsqueeze(input, 0), **how), 0)


def adaptive_avg_pool2d(input: Array, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean over as many windows as the result is to have: (..., H, W) to (..., H′, W′).

    Window i of n over H rows goes from ⌊i H / n⌋ up to, without, ⌈(i + 1) H / n⌉. The means are two matrix products.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: H′ and W′, one number for both, or None for as it is.

    Raises:
        ValueError: other dimensions.
        TypeError: the input has no floating type.
    """
    check_floats("adaptive_avg_pool2d", input)
    check("adaptive_avg_pool2d", input.ndim in (3, 4), f"takes (N, C, H, W) or (C, H, W), not {input.shape}")
    sizes = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != 2 or any(s is not None and s < 0 for s in sizes):
        raise ValueError(f"adaptive_avg_pool2d: output_size must be a number or two, not negative, not {output_size}")
    down, across = (_means(n, n if s is None else s, input.dtype) for n, s in zip(input.shape[-2:], sizes, strict=True))
    return matmul(matmul(down, input), transpose(across, 0, 1))


def _means(size: int, places: int, dtype: Any) -> Any:
    """(places, size): the rows take the means of the windows."""
    window, row = np.arange(places)[:, None], np.arange(size)
    inside = (window * size // places <= row) & (row < -(-(window + 1) * size // places))
    return (inside / inside.sum(1, keepdims=True)).astype(dtype)
