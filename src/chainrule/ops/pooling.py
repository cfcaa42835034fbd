"""Pooling: a window slides over a picture and keeps the largest number it sees, or their mean.

The loops are in `chainrule.kernels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import pooling as kernels
from chainrule.ops.indexing import gather
from chainrule.ops.linalg import matmul
from chainrule.ops.operation import Array, operation
from chainrule.ops.shape import reshape, squeeze, transpose, unsqueeze

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.tensor import Tensor

    Pair = int | Sequence[int]

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"]


@operation(extra="taps")
def max_pool(input: Array, *, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    """The largest number of each window, (N, C, H, W) to (N, C, H′, W′); and which tap of its window each one is."""
    return kernels.max_pool(input, kernel, stride, padding, dilation, ceil_mode)


@max_pool.derivative
def _(grad: Array, taps: Any, input_shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Array:
    """The gradient goes to the largest number of each window."""
    return unpool(grad, taps=taps, shape=input_shape, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


@operation
def unpool(input: Array, *, taps: Any, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Array:
    """Zeros of a shape, with each number of the input added where its window's largest was."""
    return kernels.max_pool_gradient(input, taps, shape, kernel, stride, padding, dilation)


@unpool.derivative
def _(grad: Array, taps: Any, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Array:
    """The gradient, where each window's largest was."""
    places = kernels.max_pool_indices(taps, shape[3], kernel, stride, padding, dilation)  # (N, C, H′, W′)
    flat = reshape(grad, shape=(*shape[:2], -1))  # (N, C, H W)
    return reshape(gather(flat, 2, places.reshape(*shape[:2], -1)), shape=places.shape)


@operation
def max_pool_places(input: Array, *, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Array:
    """Where the largest number of each window is, h W + w in its picture: (N, C, H′, W′) int64."""
    taps = kernels.max_pool(input, kernel, stride, padding, dilation, ceil_mode)[1]
    return kernels.max_pool_indices(taps, input.shape[3], kernel, stride, padding, dilation)


@operation
def avg_pool(
    input: Array, *, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool, divisor: Any
) -> Array:
    """The mean of each window, (N, C, H, W) to (N, C, H′, W′)."""
    return kernels.avg_pool(input, kernel, stride, padding, ceil_mode, count_include_pad, divisor)


@avg_pool.derivative
def _(
    grad: Array, input_shape: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor: Any,
) -> Array:  # fmt: skip
    """Each window shares its gradient evenly."""
    return spread_pool(
        grad, shape=input_shape, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, divisor=divisor,
    )  # fmt: skip


@operation
def spread_pool(
    input: Array, *, shape: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor: Any,
) -> Array:  # fmt: skip
    """Each number of the input shared evenly by its window."""
    return kernels.avg_pool_gradient(input, shape, kernel, stride, padding, count_include_pad, divisor)


@spread_pool.derivative
def _(
    grad: Array, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool, divisor: Any
) -> Array:
    """The mean of the gradient over each window."""
    return avg_pool(
        grad, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, divisor=divisor,
    )  # fmt: skip


def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
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
    x, single, kernel, steps, around = _prepare("max_pool2d", input, kernel_size, stride, padding)
    apart = _two("max_pool2d", "dilation", dilation, 1)
    _places("max_pool2d", x, kernel, steps, around, apart, ceil_mode)
    how = {"kernel": kernel, "stride": steps, "padding": around, "dilation": apart, "ceil_mode": ceil_mode}
    results = [run(x, **how) for run in ((max_pool, max_pool_places) if return_indices else (max_pool,))]
    out, *places = [squeeze(result, 0) if single else result for result in results]
    return (out, *places) if return_indices else out


def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
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
    x, single, kernel, stride, padding = _prepare("avg_pool2d", input, kernel_size, stride, padding)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    _places("avg_pool2d", x, kernel, stride, padding, (1, 1), ceil_mode)
    out = avg_pool(
        x, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
        divisor=divisor_override,
    )  # fmt: skip
    return squeeze(out, 0) if single else out


def adaptive_avg_pool2d(input: Array, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean over as many windows as the result is to have: (..., H, W) to (..., H′, W′).

    Window i of n over H rows goes from ⌊i H / n⌋ up to, without, ⌈(i + 1) H / n⌉. The means are two matrix products.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: H′ and W′, one number for both, or None for as it is.

    Raises:
        ValueError: other dimensions.
    """
    if input.ndim not in (3, 4):
        raise ValueError(f"adaptive_avg_pool2d: takes (N, C, H, W) or (C, H, W), not {tuple(input.shape)}")
    sizes = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != 2 or any(s is not None and s < 0 for s in sizes):
        raise ValueError(f"adaptive_avg_pool2d: output_size must be a number or two, not negative, not {output_size}")
    down, across = (_means(n, n if s is None else s, input.dtype) for n, s in zip(input.shape[-2:], sizes, strict=True))
    return matmul(matmul(down, input), transpose(across, 0, 1))


def _means(size: int, places: int, dtype: Any) -> Any:
    """(places, size): the rows take the means of the windows."""
    matrix = np.zeros((places, size), dtype)
    for i in range(places):
        start, end = i * size // places, -(-(i + 1) * size // places)
        matrix[i, start:end] = 1 / max(end - start, 1)
    return matrix


def _two(name: str, what: str, value: Any, least: int) -> tuple[int, int]:
    given = (value, value) if isinstance(value, int) else tuple(value)
    given = given * 2 if len(given) == 1 else given
    if len(given) != 2 or any(v < least for v in given):
        raise ValueError(f"{name}: {what} must be a number or two, at least {least}, not {value}")
    return given[0], given[1]


def _prepare(name: str, input: Array, kernel_size: Any, stride: Any, padding: Any) -> Any:
    if input.ndim not in (3, 4) or any(n == 0 for n in input.shape[-3:]):
        raise ValueError(f"{name}: takes (N, C, H, W) or (C, H, W), not {tuple(input.shape)}")
    kernel, around = _two(name, "kernel_size", kernel_size, 1), _two(name, "padding", padding, 0)
    steps = kernel if stride is None or stride == () or stride == [] else _two(name, "stride", stride, 1)
    if any(2 * p > k for p, k in zip(around, kernel, strict=True)):
        raise ValueError(f"{name}: padding {around} must be at most half the kernel_size {kernel}")
    single = input.ndim == 3
    return (unsqueeze(input, 0) if single else input), single, kernel, steps, around


def _places(name: str, x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
    size = (x.shape[2], x.shape[3])
    if min(kernels.pooled_size(size, kernel, stride, padding, dilation, ceil_mode)) < 1:
        raise ValueError(
            f"{name}: the window {kernel} (dilation {dilation}) is larger than the input, {size} with padding {padding}"
        )
