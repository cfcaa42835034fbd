"""Convolution of pictures and its two gradients.

For each image n, place (i, j) and output channel o, whose group has the input channels c:

    out[n, o, i, j] = Σ_c Σ_ky Σ_kx  x[n, c, i sₕ + ky dₕ - top, j s_w + kx d_w - left] · weight[o, c, ky, kx]

where x is 0 beyond its borders (Goodfellow, Bengio and Courville, "Deep Learning", chapter 9; as in PyTorch it is a
cross-correlation, the filter is not turned round). `loops.convolution` says how it is done and what limits it.

Arrays are (N, C, H, W); results lie in memory as (N, H, W, C), "channels last", and inputs that do so are not copied.
A convolution in one dimension is one with H = 1. The type is float32 or float64, the same for all arrays of a call.
The caller has checked that shapes fit and that the result has at least one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pair = tuple[int, int]
    Padding = tuple[Pair, Pair]
    Shape = tuple[int, int, int, int]


def convolve(
    x: NDArray[Any], weight: NDArray[Any], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> NDArray[Any]:
    """The convolution of x (N, C, H, W) with weight (O, C / groups, KH, KW): (N, O, H′, W′).

    Args:
        x: the pictures.
        weight: the filters.
        stride: (down, across), how far the filter moves.
        padding: zeros around x, ((top, bottom), (left, right)).
        dilation: (down, across), how far apart the filter's taps lie.
        groups: channels are split into so many groups, each convolved by itself.

    Returns:
        The result, with H′ = ⌊(H + top + bottom - dilation (KH - 1) - 1) / stride⌋ + 1, and W′ likewise.
    """
    return _run("convolve", x, weight, stride, padding, dilation, groups)


def convolve_input_gradient(
    grad: NDArray[Any],
    weight: NDArray[Any],
    input_shape: Shape,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> NDArray[Any]:
    """The gradient to x, (N, C, H, W), from the one to the result, grad (N, O, H′, W′).

    ∂/∂x[n, c, h, w] = Σ_o Σ_ky Σ_kx grad[n, o, i, j] · weight[o, c, ky, kx], over the places (i, j) that the filter's
    tap joins with (h, w).
    """
    return _run("convolve_input_gradient", grad, weight, input_shape, stride, padding, dilation, groups)


def convolve_weight_gradient(
    x: NDArray[Any],
    grad: NDArray[Any],
    weight_shape: Shape,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> NDArray[Any]:
    """The gradient to weight, (O, C / groups, KH, KW), from the one to the result, grad (N, O, H′, W′).

    ∂/∂weight[o, c, ky, kx] = Σ_n Σ_i Σ_j grad[n, o, i, j] · x[n, c, i sₕ + ky dₕ - top, j s_w + kx d_w - left]. The
    order of the sum depends on the shapes alone, so the bits are the same in every run, with any number of threads.
    """
    return _run("convolve_weight_gradient", x, grad, weight_shape, stride, padding, dilation, groups)


def _run(name: str, first: NDArray[Any], second: NDArray[Any], *arguments: Any) -> NDArray[Any]:
    result: NDArray[Any] = run("plans", name, first, np.asarray(second, first.dtype), *arguments)
    return result
