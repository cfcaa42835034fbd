"""Pooling: the maximum or the mean of a window at each position of an image.

The loops are in `chainrule.kernels`. `adaptive_avg_pool2d` is composed of matrix products.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import pooling as pooling_kernels
from chainrule.ops.convolution import pair
from chainrule.ops.indexing import gather
from chainrule.ops.linalg import matmul
from chainrule.ops.operation import Array, Input, Ints, Operation, Tensor, check_tensors, operation
from chainrule.ops.shape import reshape, squeeze, transpose, unsqueeze

__all__ = ["adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d"]


class PoolParams(NamedTuple):
    """The parameters of pooling, each pair as (vertical, horizontal).

    `kernel_size` is the window's size. `ceil_mode` lets the last window extend past the end of the image.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False


@operation(extra="argmax")
def max_pool(input: Array, *, params: PoolParams) -> Any:
    """The maximum of each window, (N, C, H, W) to (N, C, H′, W′).

    For the derivative, the formula also returns `argmax`, the position of the maximum in the window.
    """
    return pooling_kernels.max_pool(input, *params)


@max_pool.derivative
def _(grad: Array, argmax: Any, input_shape: Any, params: PoolParams) -> Array:
    """The gradient goes to the maximum of each window."""
    return max_pool_gradient(grad, argmax=argmax, shape=input_shape, params=params)


@operation
def max_pool_gradient(input: Array, *, argmax: Any, shape: Any, params: PoolParams) -> Array:
    """Zeros of `shape`, with each element of the input added at the position of its window's maximum."""
    kernel_size, stride, padding, dilation, _ = params
    return pooling_kernels.max_pool_gradient(input, argmax, shape, kernel_size, stride, padding, dilation)


@max_pool_gradient.derivative
def _(grad: Array, argmax: Any, shape: Any, params: PoolParams) -> Array:
    """The gradient at the position of each window's maximum."""
    indices = _image_indices(argmax, shape[3], params)  # (N, C, H′, W′)
    flat = reshape(grad, shape=(*shape[:2], -1))  # (N, C, H W)
    return reshape(gather(flat, 2, indices.reshape(*shape[:2], -1)), shape=indices.shape)


@operation
def max_pool_indices(input: Array, *, params: PoolParams) -> Array:
    """For each window, the index h W + w of its maximum, which is at row h and column w: (N, C, H′, W′) int64."""
    _, argmax = pooling_kernels.max_pool(input, *params)
    return _image_indices(argmax, input.shape[3], params)


def _image_indices(argmax: Array, width: int, params: PoolParams) -> Any:
    """For each window, the index of its maximum in the image, given its position in the window."""
    kernel_size, stride, padding, dilation, _ = params
    return pooling_kernels.max_pool_indices(argmax, width, kernel_size, stride, padding, dilation)


@operation
def avg_pool(input: Array, *, params: PoolParams, divisor_options: tuple[bool, int | None]) -> Array:
    """The mean of each window, (N, C, H, W) to (N, C, H′, W′).

    `divisor_options` is the pair (count_include_pad, divisor_override), which determines the divisor; see `avg_pool2d`.
    """
    check_floats("avg_pool", input)
    kernel_size, stride, padding, _, ceil_mode = params
    return pooling_kernels.avg_pool(input, kernel_size, stride, padding, ceil_mode, *divisor_options)


@avg_pool.derivative
def _(grad: Array, input_shape: Any, params: PoolParams, divisor_options: Any) -> Array:
    """The gradient is distributed evenly over the window."""
    return avg_pool_gradient(grad, shape=input_shape, params=params, divisor_options=divisor_options)


@operation
def avg_pool_gradient(input: Array, *, shape: Any, params: PoolParams, divisor_options: Any) -> Array:
    """Zeros of `shape`, with each element of the input distributed evenly over its window."""
    kernel_size, stride, padding, _, _ = params
    return pooling_kernels.avg_pool_gradient(input, shape, kernel_size, stride, padding, *divisor_options)


@avg_pool_gradient.derivative
def _(grad: Array, params: PoolParams, divisor_options: Any) -> Array:
    """The mean of the gradient over each window."""
    return avg_pool(grad, params=params, divisor_options=divisor_options)


@overload
def max_pool2d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: Literal[False] = False,
) -> Tensor: ...  # fmt: skip


@overload
def max_pool2d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, *, return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip


def max_pool2d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum of each window.

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        kernel_size: the window's size, a number or (height, width).
        stride: the distance between windows; their size if None.
        padding: implicit negative infinities on each side of the image, at most half the window.
        dilation: the distance between a window's elements.
        ceil_mode: let the last window extend past the end of the image.
        return_indices: also return the index of each maximum, h W + w for row h and column w, as int64.

    Returns:
        The maxima (N, C, H′, W′); with `return_indices`, the pair (maxima, indices).

    Raises:
        ValueError: the parameters do not fit.
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@overload
def max_pool1d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: Literal[False] = False,
) -> Tensor: ...  # fmt: skip


@overload
def max_pool1d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, *, return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip


def max_pool1d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum of each window of a signal, (N, C, L) to (N, C, L′) or (C, L) to (C, L′); see `max_pool2d`."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_pool(
    ndim: int, input: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    """Implement `max_pool1d` and `max_pool2d`."""
    images, params = _pool_params("max_pool", ndim, input, kernel_size, stride, padding, dilation, ceil_mode)
    out = _pool_images(max_pool, input, ndim, images, params=params)
    return (out, _pool_images(max_pool_indices, input, ndim, images, params=params)) if return_indices else out


def avg_pool2d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window.

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        kernel_size: the window's size, a number or (height, width).
        stride: the distance between windows; their size if None.
        padding: zeros on each side of the image, at most half the window.
        ceil_mode: let the last window extend past the end of the image.
        count_include_pad: count the zeros of the padding in the mean.
        divisor_override: divide the sums by this number instead of the number of elements.

    Raises:
        ValueError: the parameters do not fit.
        TypeError: the input is not floating.
    """
    images, params = _pool_params("avg_pool", 2, input, kernel_size, stride, padding, 1, ceil_mode)
    check("avg_pool2d", divisor_override != 0, "divisor_override must not be 0")
    divisor_options = count_include_pad, divisor_override
    return _pool_images(avg_pool, input, 2, images, params=params, divisor_options=divisor_options)


def avg_pool1d(
    input: Input, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of a signal, (N, C, L) to (N, C, L′) or (C, L) to (C, L′); see `avg_pool2d`."""
    images, params = _pool_params("avg_pool", 1, input, kernel_size, stride, padding, 1, ceil_mode)
    return _pool_images(avg_pool, input, 1, images, params=params, divisor_options=(count_include_pad, None))


def _pool_params(
    name: str, ndim: int, input: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Array, PoolParams]:
    """Return the input as a batch of images, and the parameters, checked. A signal becomes an image of one row."""
    name = f"{name}{ndim}d"
    check_tensors(name, input)
    if input.ndim not in (ndim + 1, ndim + 2) or 0 in input.shape[-ndim - 1 :]:
        sizes = "L" if ndim == 1 else "H, W"
        raise ValueError(f"{name}: takes (N, C, {sizes}) or (C, {sizes}), where only N may be 0, not {input.shape}")
    stride = kernel_size if stride in (None, (), []) else stride
    kernel_size, stride = pair(name, "kernel_size", kernel_size, 1, ndim), pair(name, "stride", stride, 1, ndim)
    padding, dilation = pair(name, "padding", padding, 0, ndim), pair(name, "dilation", dilation, 1, ndim)
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ValueError(f"{name}: padding {padding[-ndim:]} must be at most half of kernel_size {kernel_size[-ndim:]}")
    images = input if input.ndim == ndim + 2 else unsqueeze(input, 0)
    images = unsqueeze(images, 2) if ndim == 1 else images
    params = PoolParams(kernel_size, stride, padding, dilation, ceil_mode)
    size = images.shape[-2], images.shape[-1]
    if min(pooling_kernels.pooled_size(size, *params)) < 1:
        window = f"{kernel_size[-ndim:]} (dilation {dilation[-ndim:]})"
        raise ValueError(f"{name}: the window {window} is larger than {size[-ndim:]} padded by {padding[-ndim:]}")
    return images, params


def _pool_images(pool: Operation[...], input: Array, ndim: int, images: Array, **options: Any) -> Tensor:
    """Apply a pooling operation to images, and remove the dimensions that the input did not have."""
    out = pool(images, **options)
    added_dims = ([0] if input.ndim == ndim + 1 else []) + ([2] if ndim == 1 else [])
    return squeeze(out, added_dims) if added_dims else out


def adaptive_avg_pool2d(input: Input, output_size: int | Sequence[int | None]) -> Tensor:
    """The means of a grid of H′ by W′ windows that together cover the image: (..., H, W) to (..., H′, W′).

    Window i of the H′ windows over H rows begins at row ⌊i H / H′⌋ and ends before row ⌈(i + 1) H / H′⌉; columns are
    divided likewise. Two matrix products compute the means.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: H′ and W′, or one number for both; None keeps the size of the input.

    Raises:
        ValueError: the input is not a batch of images or one image, or `output_size` does not fit.
        TypeError: the input is not floating.
    """
    check_floats("adaptive_avg_pool2d", input)
    check("adaptive_avg_pool2d", input.ndim in (3, 4), f"takes (N, C, H, W) or (C, H, W), not {input.shape}")
    sizes = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != 2 or any(s is not None and s < 0 for s in sizes):
        raise ValueError(f"adaptive_avg_pool2d: output_size must be one or two numbers, at least 0, not {output_size}")
    height, width = input.shape[-2:]
    row_weights = _mean_weights(height, height if sizes[0] is None else sizes[0], input.dtype)
    column_weights = _mean_weights(width, width if sizes[1] is None else sizes[1], input.dtype)
    return matmul(matmul(row_weights, input), transpose(column_weights, 0, 1))


def _mean_weights(size: int, n_windows: int, dtype: Any) -> Any:
    """A matrix (n_windows, size) whose product with a vector gives the means of the windows."""
    window, position = np.arange(n_windows)[:, None], np.arange(size)
    start, stop = window * size // n_windows, -(-(window + 1) * size // n_windows)
    is_inside = (start <= position) & (position < stop)
    return (is_inside / is_inside.sum(1, keepdims=True)).astype(dtype)
