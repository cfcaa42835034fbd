"""Pooling and its gradients, channels last.

The order of the loops: lines of the result (shared out among threads), places, the window's taps, channels. Channels
lie side by side in memory, so the innermost loop runs through neighbours whatever the window, and Numba makes vector
instructions of it; the maxima and sums in the making are the result's own numbers, which stay in the first cache while
the taps pass. A window of two by two, the usual one, has its four taps in one pass over the channels.

The gradients share out whole images, for windows may overlap. Where the windows tile the picture (each number in one
window) every number is written once, line by line; otherwise the image is filled with zeros and added to. Memory is the
limit: a picture's number is read or written once for each window it is in, and asked for ahead of time. On one core 64
pictures of 28 × 28 with 32 channels, 6.4 MB, take 0.3 ms forward and 0.3 ms back, as long as filling them with zeros
takes, if they are in a cache; twice as long if not. With one to three channels the innermost loop is too short to be
fast.

Arrays are contiguous: pictures (N, H, W, C), results (N, H′, W′, C).
"""

from __future__ import annotations

from typing import Any

from numba.np.numpy_support import carray

from chainrule.kernels.compile import inner
from chainrule.kernels.loops.memory import line_of
from chainrule.kernels.loops.tile import fetch
from chainrule.kernels.processor import CACHE_LINE

AHEAD = 4096  # so many bytes before its turn memory is fetched


@inner
def told(description: Any) -> Any:
    """What `plans` says: the shapes of pictures and places, the window, and whether windows tile the picture."""
    d = line_of(description)
    return (
        (d[0], d[1], d[2], d[3]), (d[0], d[4], d[5], d[3]), (d[6], d[7]), (d[8], d[9]), (d[10], d[11]),
        (d[12], d[13]), d[14] != 0,
    )  # fmt: skip


def max_pool(
    description: Any, x_at: Any, out_at: Any, taps_at: Any, scratch: Any, begin: int, end: int, fresh: int
) -> None:
    """Put each window's largest number in `out` and its tap in `taps`, for lines of places begin … end - 1."""
    pictures, results, kernel, stride, padding, dilation, _ = told(description)
    x, out, taps = carray(x_at, pictures), carray(out_at, results), carray(taps_at, results)
    _, height, width, channels = pictures
    _, lines, places, _ = results
    small = kernel == (2, 2)
    for line in range(begin, end):
        n, i = line // lines, line % lines
        for j in range(places):
            top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
            bottom, right = top + dilation[0], left + dilation[1]  # of a window of two by two
            if small and top >= 0 and left >= 0 and bottom < height and right < width:
                _fetch_ahead(x, n, top, left, stride[1], False)
                _fetch_ahead(x, n, bottom, left, stride[1], False)
                for c in range(channels):
                    value, tap = x[n, top, left, c], taps.dtype.type(0)
                    value, tap = _larger(value, tap, x[n, top, right, c], taps.dtype.type(1))
                    value, tap = _larger(value, tap, x[n, bottom, left, c], taps.dtype.type(2))
                    value, tap = _larger(value, tap, x[n, bottom, right, c], taps.dtype.type(3))
                    out[n, i, j, c], taps[n, i, j, c] = value, tap
                continue
            fresh = True
            for tap in range(kernel[0] * kernel[1]):
                h, w = top + tap // kernel[1] * dilation[0], left + tap % kernel[1] * dilation[1]
                if 0 <= h < height and 0 <= w < width:
                    this = taps.dtype.type(tap)  # a byte, so that the loop below has no wider numbers in it
                    if fresh:
                        for c in range(channels):
                            out[n, i, j, c], taps[n, i, j, c] = x[n, h, w, c], this
                        fresh = False
                    else:
                        for c in range(channels):
                            largest, best = out[n, i, j, c], taps[n, i, j, c]
                            out[n, i, j, c], taps[n, i, j, c] = _larger(largest, best, x[n, h, w, c], this)


@inner
def _larger(largest: Any, best: Any, value: Any, tap: Any) -> Any:
    """The larger number and its tap: the first of two equal ones, and a NaN in any case."""
    better = (value > largest) | (value != value)
    return value if better else largest, tap if better else best


@inner
def _fetch_ahead(pictures: Any, n: int, h: int, w: int, pixels: int, for_writing: bool) -> None:
    """Ask for the memory that lies AHEAD of so many pixels, if a pixel fills a cache line."""
    _, height, width, channels = pictures.shape
    item = pictures.itemsize
    if channels * item >= CACHE_LINE:
        first = ((n * height + h) * width + w) * channels + AHEAD // item
        for at in range(first, first + pixels * channels, CACHE_LINE // item):
            if for_writing:
                fetch(pictures, at, True)
            else:
                fetch(pictures, at, False)


def max_pool_gradient(
    description: Any, grad_at: Any, taps_at: Any, out_at: Any, scratch: Any, begin: int, end: int, fresh: int
) -> None:
    """Put the sum of the windows' gradients in `out`, each at its window's tap, for images begin … end - 1."""
    pictures, results, kernel, stride, padding, dilation, tiled = told(description)
    grad, taps, out = carray(grad_at, results), carray(taps_at, results), carray(out_at, pictures)
    _, height, width, channels = pictures
    _, lines, places, _ = results
    zero = grad.dtype.type(0)
    for n in range(begin, end):
        if not tiled:
            out[n] = zero
        for i in range(lines):
            for y in range(kernel[0]):
                h = i * stride[0] - padding[0] + y * dilation[0]
                for j in range(places if 0 <= h < height else 0):
                    _fetch_ahead(out, n, h, j * stride[1] - padding[1], stride[1], True)
                    for x in range(kernel[1]):
                        w = j * stride[1] - padding[1] + x * dilation[1]
                        this = taps.dtype.type(y * kernel[1] + x)
                        if not 0 <= w < width:
                            continue
                        if tiled:
                            for c in range(channels):
                                out[n, h, w, c] = grad[n, i, j, c] if taps[n, i, j, c] == this else zero
                        else:
                            for c in range(channels):
                                out[n, h, w, c] += grad[n, i, j, c] if taps[n, i, j, c] == this else zero


def avg_pool(
    description: Any, x_at: Any, divisors_at: Any, out_at: Any, scratch: Any, begin: int, end: int, fresh: int
) -> None:
    """Put each window's sum, over its divisor, in `out`, for lines of places begin … end - 1."""
    pictures, results, kernel, stride, padding, _, _ = told(description)
    x, divisors, out = carray(x_at, pictures), carray(divisors_at, results[1:3]), carray(out_at, results)
    _, height, width, channels = pictures
    _, lines, places, _ = results
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


def avg_pool_gradient(
    description: Any, grad_at: Any, divisors_at: Any, out_at: Any, scratch: Any, begin: int, end: int, fresh: int
) -> None:
    """Put the sum of the windows' gradients, each over its divisor, in `out`, for images begin … end - 1."""
    pictures, results, kernel, stride, padding, _, tiled = told(description)
    grad, divisors, out = carray(grad_at, results), carray(divisors_at, results[1:3]), carray(out_at, pictures)
    _, height, width, channels = pictures
    _, lines, places, _ = results
    for n in range(begin, end):
        if not tiled:
            out[n] = 0
        for i in range(lines):
            top = i * stride[0] - padding[0]
            for h in range(max(top, 0), min(top + kernel[0], height)):
                for j in range(places):
                    left = j * stride[1] - padding[1]
                    _fetch_ahead(out, n, h, left, stride[1], True)
                    for w in range(max(left, 0), min(left + kernel[1], width)):
                        if tiled:
                            for c in range(channels):
                                out[n, h, w, c] = grad[n, i, j, c] / divisors[i, j]
                        else:
                            for c in range(channels):
                                out[n, h, w, c] += grad[n, i, j, c] / divisors[i, j]
