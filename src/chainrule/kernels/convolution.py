"""Convolution of images and its two gradients.

For each image n, position (i, j) and output channel o, whose group has the input channels c:

    out[n, o, i, j] = Σ_c Σ_ky Σ_kx  x[n, c, i sₕ + ky dₕ - top, j s_w + kx d_w - left] · weight[o, c, ky, kx]

with x = 0 in the padding (Goodfellow, Bengio and Courville, "Deep Learning", chapter 9; as in PyTorch this is a
cross-correlation: the filter is not flipped). `convolution_loops` explains the algorithm and what limits its speed.

Arrays are (N, C, H, W). Results are in channels-last memory order, (N, H, W, C); inputs in that order are not copied.
One-dimensional convolution has H = 1. All arrays of a call are float32, or all float64. The caller (`ops.convolution`)
has checked that shapes fit and that the result is not empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import numpy_fallback
from chainrule.kernels.convolution_setup import forward, input_gradient, weight_gradient
from chainrule.kernels.geometry import channels_first, channels_last
from chainrule.kernels.machine import with_numpy_fallback

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.kernels.convolution_setup import Correlation

    Pair = tuple[int, int]
    Padding = tuple[Pair, Pair]
    Shape = tuple[int, int, int, int]


@with_numpy_fallback(numpy_fallback.convolve)
def convolve(
    x: NDArray[Any], weight: NDArray[Any], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> NDArray[Any]:
    """The convolution of x (N, C, H, W) with weight (O, C / groups, KH, KW): (N, O, H′, W′).

    Args:
        x: the images.
        weight: the filters.
        stride: (down, across), the distance between neighboring windows.
        padding: zeros around x, ((top, bottom), (left, right)).
        dilation: (down, across), the distance between the filter's taps.
        groups: channels are split into this many groups, each convolved separately.

    Returns:
        The result, with H′ = ⌊(H + top + bottom - dilation (KH - 1) - 1) / stride⌋ + 1, and W′ accordingly.
    """
    return _correlate(forward(x.shape, weight.shape, (stride, padding, dilation, groups), x.dtype), x, weight)


@with_numpy_fallback(numpy_fallback.convolve_input_gradient)
def convolve_input_gradient(
    grad: NDArray[Any],
    weight: NDArray[Any],
    input_shape: Shape,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> NDArray[Any]:
    """The gradient with respect to x, (N, C, H, W), from grad (N, O, H′, W′).

    ∂/∂x[n, c, h, w] = Σ_o Σ_ky Σ_kx grad[n, o, i, j] · weight[o, c, ky, kx], over the positions (i, j) whose tap (ky,
    kx) reads (h, w).
    """
    params = stride, padding, dilation, groups
    return _correlate(input_gradient(grad.shape, weight.shape, tuple(input_shape), params, grad.dtype), grad, weight)


def _correlate(setup: Correlation, x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    if setup.correlate is None or setup.pack is None:
        return channels_first(np.zeros(setup.shape, x.dtype))
    packed, out = np.empty(setup.packed_size, x.dtype), np.empty(setup.shape, x.dtype)
    setup.pack.run(np.ascontiguousarray(weight, x.dtype), packed)
    setup.correlate.run(channels_last(x), packed, out)
    return channels_first(out)


@with_numpy_fallback(numpy_fallback.convolve_weight_gradient)
def convolve_weight_gradient(
    x: NDArray[Any],
    grad: NDArray[Any],
    weight_shape: Shape,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> NDArray[Any]:
    """The gradient with respect to weight, (O, C / groups, KH, KW), from grad (N, O, H′, W′).

    ∂/∂weight[o, c, ky, kx] = Σ_n Σ_i Σ_j grad[n, o, i, j] · x[n, c, i sₕ + ky dₕ - top, j s_w + kx d_w - left]. The
    order of the sum depends on the shapes only, so the result is reproducible with any number of threads.
    """
    setup = weight_gradient(x.shape, grad.shape, tuple(weight_shape), (stride, padding, dilation, groups), x.dtype)
    if setup is None:
        return np.zeros(weight_shape, x.dtype)
    sums, out = np.empty(setup.sums_shape, x.dtype), np.empty(weight_shape, x.dtype)
    setup.partial_sums.run(channels_last(x), channels_last(np.asarray(grad, x.dtype)), sums)
    setup.add_parts.run(sums, out)
    return out
