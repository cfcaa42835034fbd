"""Max and average pooling of images, and their gradients.

The window of position (i, j) of the result begins at (i sₕ - pₕ, j s_w - p_w), with stride s and padding p, and has
kernel[0] × kernel[1] taps, `dilation` apart. Taps outside the image do not count, except in an average with
`count_include_pad`.

Arrays are (N, C, H, W). Results are in channels-last memory order, (N, H, W, C); inputs in that order are not copied.
One-dimensional pooling has H = 1. The caller (`ops.pooling`) has checked that no window is entirely outside (padding is
at most half a window). `pooling_loops` explains the algorithm and what limits its speed.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import numpy_fallback
from chainrule.kernels.geometry import channels_first, channels_last
from chainrule.kernels.machine import with_numpy_fallback
from chainrule.kernels.pooling_loops import AVG_POOL, AVG_POOL_GRADIENT, MAX_POOL, MAX_POOL_GRADIENT
from chainrule.kernels.tree import type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.kernels.job import Job, KernelTemplate

    Pair = tuple[int, int]
    Shape = tuple[int, int, int, int]

NO_DILATION = (1, 1)
KERNELS_BY_IMAGE = (MAX_POOL_GRADIENT, AVG_POOL_GRADIENT)
"""Kernels whose rows are whole images, because windows may overlap; the rows of the other kernels are lines of results.
"""


def pooled_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Pair:
    """The result's (H′, W′): ⌊(H + 2 padding - dilation (K - 1) - 1) / stride⌋ + 1.

    With `ceil_mode` it is rounded up, so that the last window may extend beyond the padding; a window that would begin
    in the padding after the image is dropped.
    """
    result = []
    for a in (0, 1):
        last_begin = size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1  # where the last window can begin
        out_size = (-(-last_begin // stride[a]) if ceil_mode else last_begin // stride[a]) + 1
        if ceil_mode and (out_size - 1) * stride[a] >= size[a] + padding[a]:
            out_size -= 1
        result.append(out_size)
    return result[0], result[1]


def max_pool(
    x: NDArray[Any], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = NO_DILATION, ceil_mode: bool = False
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The maximum of each window of x (N, C, H, W).

    Returns:
        The maxima (N, C, H′, W′), and `argmax`, the tap of each maximum, counted row by row in its window: the first of
        equal maxima. NaN counts as the largest; of several NaNs, the last is taken. `argmax` is uint8 if a window has
        at most 256 taps, else int32.
    """
    out_size = pooled_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    x = channels_last(x)
    out = np.empty((len(x), *out_size, x.shape[3]), x.dtype)
    argmax = np.empty(out.shape, np.uint8 if kernel[0] * kernel[1] <= 256 else np.int32)
    if out.size:
        _max_pool(x, out, argmax, kernel, stride, padding, dilation)
    return channels_first(out), channels_first(argmax)


def max_pool_indices(
    argmax: NDArray[Any], width: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = NO_DILATION
) -> NDArray[np.int64]:
    """PyTorch's `indices`: the position h · width + w of each maximum in its image, from the `argmax` of `max_pool`."""
    y, x = np.divmod(argmax.astype(np.int64), kernel[1])
    i, j = np.arange(argmax.shape[2])[:, None], np.arange(argmax.shape[3])
    h = i * stride[0] - padding[0] + y * dilation[0]
    w = j * stride[1] - padding[1] + x * dilation[1]
    indices: NDArray[np.int64] = h * width + w
    return indices


def max_pool_gradient(
    grad: NDArray[Any],
    argmax: NDArray[Any],
    input_shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = NO_DILATION,
) -> NDArray[Any]:
    """The gradient with respect to x (N, C, H, W), from grad (N, C, H′, W′).

    The position of each maximum receives its window's gradient.
    """
    images, channels, *size = input_shape
    out = np.empty((images, *size, channels), grad.dtype)
    if grad.size:
        _max_pool_gradient(channels_last(grad), channels_last(argmax), out, kernel, stride, padding, dilation)
    return channels_first(out)


def avg_pool(
    x: NDArray[Any],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> NDArray[Any]:
    """The average of each window of x (N, C, H, W): (N, C, H′, W′).

    The sum is divided by `divisor_override` or, if that is None, by the number of taps inside the image; with
    `count_include_pad`, taps inside its padding count as well.
    """
    out_size = pooled_size(x.shape[2:], kernel, stride, padding, NO_DILATION, ceil_mode)
    divisors = pool_divisors(
        x.shape[2:], out_size, kernel, stride, padding, count_include_pad, divisor_override, x.dtype
    )
    x = channels_last(x)
    out = np.empty((len(x), *out_size, x.shape[3]), x.dtype)
    if out.size:
        _avg_pool(x, divisors, out, kernel, stride, padding)
    return channels_first(out)


def avg_pool_gradient(
    grad: NDArray[Any],
    input_shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> NDArray[Any]:
    """The gradient with respect to x (N, C, H, W), from grad (N, C, H′, W′).

    Every tap receives its window's gradient, divided by the window's divisor.
    """
    images, channels, *size = input_shape
    out_size = grad.shape[2], grad.shape[3]
    divisors = pool_divisors(
        (size[0], size[1]), out_size, kernel, stride, padding, count_include_pad, divisor_override, grad.dtype
    )
    out = np.empty((images, *size, channels), grad.dtype)
    if grad.size:
        _avg_pool_gradient(channels_last(grad), divisors, out, kernel, stride, padding)
    return channels_first(out)


def pool_divisors(
    size: Pair,
    out_size: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
    dtype: Any,
) -> NDArray[Any]:
    """The divisor of each window, (H′, W′)."""
    if divisor_override is not None:
        return np.full(out_size, divisor_override, dtype)
    counts = []
    for a in (0, 1):
        begin = np.arange(out_size[a]) * stride[a] - padding[a]
        end = np.minimum(begin + kernel[a], size[a] + padding[a])
        counts.append(end - begin if count_include_pad else np.minimum(end, size[a]) - np.maximum(begin, 0))
    divisors: NDArray[Any] = np.multiply.outer(counts[0], counts[1]).astype(dtype)
    return divisors


@functools.lru_cache(maxsize=256)
def pool_job(template: KernelTemplate, shape: Shape, out_shape: Shape, params: Any, dtypes: Any) -> Job:
    """The job for images (N, H, W, C), results (N, H′, W′, C), and params (kernel, stride, padding, dilation)."""
    kernel, stride, padding, dilation = params
    images, height, width, channels = shape
    row_count = images if template in KERNELS_BY_IMAGE else images * out_shape[1]
    return template.job(
        [type_of(dtype) for dtype in dtypes], row_count=row_count,
        iterations=math.prod(out_shape) * kernel[0] * kernel[1], images=images, height=height, width=width,
        channels=channels, out_height=out_shape[1], out_width=out_shape[2], kernel_height=kernel[0],
        kernel_width=kernel[1], stride_down=stride[0], stride_across=stride[1], padding_top=padding[0],
        padding_left=padding[1], dilation_down=dilation[0], dilation_across=dilation[1],
        is_tiled=_is_tiled(shape, out_shape, *params),
    )  # fmt: skip


def _is_tiled(shape: Any, out_shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> bool:
    """Whether each pixel is in exactly one window."""
    return all(
        kernel[a] == stride[a]
        and (dilation[a] == 1 or kernel[a] == 1)
        and out_shape[1 + a] * stride[a] - padding[a] >= shape[1 + a]
        for a in (0, 1)
    )


@with_numpy_fallback(numpy_fallback.max_pool)
def _max_pool(x: Any, out: Any, argmax: Any, *params: Pair) -> None:
    pool_job(MAX_POOL, x.shape, out.shape, params, (x.dtype, argmax.dtype)).run(x, out, argmax)


@with_numpy_fallback(numpy_fallback.max_pool_gradient)
def _max_pool_gradient(grad: Any, argmax: Any, out: Any, *params: Pair) -> None:
    pool_job(MAX_POOL_GRADIENT, out.shape, grad.shape, params, (grad.dtype, argmax.dtype)).run(grad, argmax, out)


@with_numpy_fallback(numpy_fallback.avg_pool)
def _avg_pool(x: Any, divisors: Any, out: Any, *params: Pair) -> None:
    pool_job(AVG_POOL, x.shape, out.shape, (*params, NO_DILATION), (x.dtype,)).run(x, divisors, out)


@with_numpy_fallback(numpy_fallback.avg_pool_gradient)
def _avg_pool_gradient(grad: Any, divisors: Any, out: Any, *params: Pair) -> None:
    pool_job(AVG_POOL_GRADIENT, out.shape, grad.shape, (*params, NO_DILATION), (grad.dtype,)).run(grad, divisors, out)
