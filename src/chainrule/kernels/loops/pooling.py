"""Pooling and its gradients, channels last.

The order of the loops: lines of the result (shared out among threads), places, the window's taps, channels. Channels
lie side by side in memory, so the innermost loop runs through neighbours whatever the window, and Numba makes vector
instructions of it; the maxima and sums in the making are the result's own numbers, which stay in the first cache while
the taps pass. The gradients share out whole images, for windows may overlap. Memory is the limit: a picture's number is
read once for each window it is in. With one to three channels the innermost loop is too short to be fast.

Arrays are contiguous: pictures (N, H, W, C), results (N, H′, W′, C).
"""

from __future__ import annotations

from typing import Any

from chainrule.kernels.compile import jit
from chainrule.kernels.team import spread

LANES = 4  # about how many channels a step takes


def max_pool(x: Any, out: Any, taps: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Put each window's largest number in `out` and its tap in `taps`."""
    steps = out.size * kernel[0] * kernel[1] // LANES
    spread(_max_pool, out.shape[0] * out.shape[1], steps, x, out, taps, kernel, stride, padding, dilation)


def max_pool_gradient(grad: Any, taps: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Add each window's gradient to `out`, at the window's tap."""
    steps = grad.size * kernel[0] * kernel[1] // LANES
    spread(_max_pool_gradient, len(out), steps, grad, taps, out, kernel, stride, padding, dilation)


def avg_pool(x: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any) -> None:
    """Put each window's sum, over its divisor, in `out`."""
    steps = out.size * kernel[0] * kernel[1] // LANES
    spread(_avg_pool, out.shape[0] * out.shape[1], steps, x, divisors, out, kernel, stride, padding)


def avg_pool_gradient(grad: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any) -> None:
    """Add each window's gradient, over its divisor, to `out`, at all its taps."""
    steps = grad.size * kernel[0] * kernel[1] // LANES
    spread(_avg_pool_gradient, len(out), steps, grad, divisors, out, kernel, stride, padding)


@jit
def _max_pool(
    x: Any, out: Any, taps: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, begin: int, end: int
) -> None:
    _, height, width, channels = x.shape
    _, lines, places, _ = out.shape
    for line in range(begin, end):
        n, i = line // lines, line % lines
        for j in range(places):
            fresh = True
            for tap in range(kernel[0] * kernel[1]):
                h = i * stride[0] - padding[0] + tap // kernel[1] * dilation[0]
                w = j * stride[1] - padding[1] + tap % kernel[1] * dilation[1]
                if 0 <= h < height and 0 <= w < width:
                    this = taps.dtype.type(tap)  # a byte, so that the loop below has no wider numbers in it
                    if fresh:
                        for c in range(channels):
                            out[n, i, j, c] = x[n, h, w, c]
                            taps[n, i, j, c] = this
                        fresh = False
                    else:
                        for c in range(channels):
                            value, largest, best = x[n, h, w, c], out[n, i, j, c], taps[n, i, j, c]
                            better = (value > largest) | (value != value)
                            out[n, i, j, c] = value if better else largest
                            taps[n, i, j, c] = this if better else best


@jit
def _max_pool_gradient(
    grad: Any, taps: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, begin: int, end: int
) -> None:
    _, height, width, channels = out.shape
    _, lines, places, _ = grad.shape
    zero = grad.dtype.type(0)
    for n in range(begin, end):
        for i in range(lines):
            for j in range(places):
                for tap in range(kernel[0] * kernel[1]):
                    h = i * stride[0] - padding[0] + tap // kernel[1] * dilation[0]
                    w = j * stride[1] - padding[1] + tap % kernel[1] * dilation[1]
                    if 0 <= h < height and 0 <= w < width:
                        this = taps.dtype.type(tap)
                        for c in range(channels):
                            out[n, h, w, c] += grad[n, i, j, c] if taps[n, i, j, c] == this else zero


@jit
def _avg_pool(x: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any, begin: int, end: int) -> None:
    _, height, width, channels = x.shape
    _, lines, places, _ = out.shape
    for line in range(begin, end):
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


@jit
def _avg_pool_gradient(
    grad: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any, begin: int, end: int
) -> None:
    _, height, width, channels = out.shape
    _, lines, places, _ = grad.shape
    for n in range(begin, end):
        for i in range(lines):
            for j in range(places):
                top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
                for h in range(max(top, 0), min(top + kernel[0], height)):
                    for w in range(max(left, 0), min(left + kernel[1], width)):
                        for c in range(channels):
                            out[n, h, w, c] += grad[n, i, j, c] / divisors[i, j]
