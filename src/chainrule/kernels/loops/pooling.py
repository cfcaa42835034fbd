"""Pooling and its gradients, channels last.

The order of the loops: lines of the result (shared out among threads), places, the window's taps, channels. Channels lie
side by side in memory, so the innermost loop runs through neighbours whatever the window, and Numba makes vector
instructions of it; the maxima and sums in the making are the result's own numbers, which stay in the first cache while
the taps pass. The gradients share out whole images, for windows may overlap. Memory is the limit: a picture's number is
read once for each window it is in. With one to three channels the innermost loop is too short to be fast.

Arrays are contiguous: pictures (N, H, W, C), results (N, H′, W′, C).
"""

from __future__ import annotations

from typing import Any

from numba import prange

from chainrule.kernels import compile
from chainrule.kernels.compile import jit


def max_pool(x: Any, out: Any, taps: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Put each window's largest number in `out` and its tap in `taps`."""
    _max_pool(x, out, taps, kernel, stride, padding, dilation, compile.threads())


def max_pool_gradient(grad: Any, taps: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Add each window's gradient to `out`, at the window's tap."""
    _max_pool_gradient(grad, taps, out, kernel, stride, padding, dilation, compile.threads())


def avg_pool(x: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any) -> None:
    """Put each window's sum, over its divisor, in `out`."""
    _avg_pool(x, divisors, out, kernel, stride, padding, compile.threads())


def avg_pool_gradient(grad: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any) -> None:
    """Add each window's gradient, over its divisor, to `out`, at all its taps."""
    _avg_pool_gradient(grad, divisors, out, kernel, stride, padding, compile.threads())


@jit(parallel=True)
def _max_pool(x: Any, out: Any, taps: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, threads: int) -> None:
    _, height, width, channels = x.shape
    images, lines, places, _ = out.shape
    for thread in prange(threads):
        for line in range(thread * images * lines // threads, (thread + 1) * images * lines // threads):
            n, i = line // lines, line % lines
            for j in range(places):
                fresh = True
                for tap in range(kernel[0] * kernel[1]):
                    h = i * stride[0] - padding[0] + tap // kernel[1] * dilation[0]
                    w = j * stride[1] - padding[1] + tap % kernel[1] * dilation[1]
                    if 0 <= h < height and 0 <= w < width:
                        if fresh:
                            for c in range(channels):
                                out[n, i, j, c] = x[n, h, w, c]
                                taps[n, i, j, c] = tap
                            fresh = False
                        else:
                            for c in range(channels):
                                value, largest = x[n, h, w, c], out[n, i, j, c]
                                better = (value > largest) | (value != value)
                                out[n, i, j, c] = value if better else largest
                                taps[n, i, j, c] = tap if better else taps[n, i, j, c]


@jit(parallel=True)
def _max_pool_gradient(
    grad: Any, taps: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, threads: int
) -> None:
    images, height, width, channels = out.shape
    _, lines, places, _ = grad.shape
    zero = grad.dtype.type(0)
    for thread in prange(threads):
        for n in range(thread * images // threads, (thread + 1) * images // threads):
            for i in range(lines):
                for j in range(places):
                    for tap in range(kernel[0] * kernel[1]):
                        h = i * stride[0] - padding[0] + tap // kernel[1] * dilation[0]
                        w = j * stride[1] - padding[1] + tap % kernel[1] * dilation[1]
                        if 0 <= h < height and 0 <= w < width:
                            for c in range(channels):
                                out[n, h, w, c] += grad[n, i, j, c] if taps[n, i, j, c] == tap else zero


@jit(parallel=True)
def _avg_pool(x: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any, threads: int) -> None:
    _, height, width, channels = x.shape
    images, lines, places, _ = out.shape
    for thread in prange(threads):
        for line in range(thread * images * lines // threads, (thread + 1) * images * lines // threads):
            n, i = line // lines, line % lines
            for j in range(places):
                top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
                for c in range(channels):
                    out[n, i, j, c] = 0
                for h in range(max(top, 0), min(top + kernel[0], height)):
                    for w in range(max(left, 0), min(left + kernel[1], width)):
                        for c in range(channels):
                            out[n, i, j, c] += x[n, h, w, c]
                for c in range(channels):
                    out[n, i, j, c] /= divisors[i, j]


@jit(parallel=True)
def _avg_pool_gradient(
    grad: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any, threads: int
) -> None:
    images, height, width, channels = out.shape
    _, lines, places, _ = grad.shape
    for thread in prange(threads):
        for n in range(thread * images // threads, (thread + 1) * images // threads):
            for i in range(lines):
                for j in range(places):
                    top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
                    for h in range(max(top, 0), min(top + kernel[0], height)):
                        for w in range(max(left, 0), min(left + kernel[1], width)):
                            for c in range(channels):
                                out[n, h, w, c] += grad[n, i, j, c] / divisors[i, j]
