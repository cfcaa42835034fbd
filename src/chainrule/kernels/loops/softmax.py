"""Softmax and its kin along B of x (A, B, C, 1), contiguous (`geometry.View`).

With C = 1 a line lies in one piece, and is finished before the next one, while it is in the first cache: its largest
number, the sum of its powers, the results. Otherwise a block of neighbouring lines is done side by side: the same
walks along B, each step a loop over the block. Either way the innermost loop runs through neighbours, and Numba makes
vector instructions of it, of `exp` too. Lines are independent, so they are shared out among threads.

Arithmetic is the limit, some 0.5 ns for an `exp` of float32 with eight lanes; and memory, for arrays that are in no
cache: each number is read once and written once.
"""

from __future__ import annotations

import math
from typing import Any

from numba.np.numpy_support import carray

from chainrule.kernels.compile import inner
from chainrule.kernels.loops.memory import room
from chainrule.kernels.loops.numbers import CHUNK, add, exp, larger, log, total, total_product
from chainrule.kernels.shares import WIDTH

# Lines in one piece: arrays are (A, B), and what there is one of for each line is (A, 1)


@inner
def _softmax(x: Any, factors: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    for a in range(begin, end):
        line, result, factor, place = x[a], out[a], factors[a, 0], classes[a, 0]
        high = _largest(line)
        for b in range(line.size):
            result[b] = exp(line[b] - high)
        share = x.dtype.type(factor / total(result))
        for b in range(line.size):
            result[b] *= share
        if 0 <= place < line.size:
            result[place] -= factor


@inner
def _log_softmax(x: Any, out: Any, begin: int, end: int) -> None:
    for a in range(begin, end):
        line, result = x[a], out[a]
        high, rest = _normalizer(line)
        for b in range(line.size):
            result[b] = line[b] - high - rest


@inner
def _class_loss(x: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    for a in range(begin, end):
        line, place = x[a], classes[a, 0]
        out[a, 0] = 0
        if 0 <= place < line.size:
            high, rest = _normalizer(line)
            out[a, 0] = rest - (line[place] - high)


@inner
def _softmax_gradient(p: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    zero = p.dtype.type(0)
    for a in range(begin, end):
        line, upstream, result = p[a], grad[a], out[a]
        mean = p.dtype.type(total_product(upstream, zero, line, zero))
        for b in range(line.size):
            result[b] = line[b] * (upstream[b] - mean)


@inner
def _log_softmax_gradient(y: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    for a in range(begin, end):
        line, upstream, result = y[a], grad[a], out[a]
        whole = y.dtype.type(total(upstream))
        for b in range(line.size):
            result[b] = upstream[b] - exp(line[b]) * whole


@inner
def _normalizer(line: Any) -> Any:
    """The largest number m, and ln Σ eˣ⁻ᵐ."""
    high, whole = _largest(line), 0.0
    for first in range(0, line.size, CHUNK):
        numbers, part = line[first : first + CHUNK], line.dtype.type(0)
        for b in range(numbers.size):
            part = add(part, exp(numbers[b] - high))
        whole += part
    return high, line.dtype.type(math.log(whole))


@inner
def _largest(line: Any) -> Any:
    """The largest number. It leaves NaNs out: they come back with the sum of powers."""
    high = line.dtype.type(-math.inf)
    for b in range(line.size):
        high = larger(high, line[b])
    return high


# Lines side by side: arrays are (A, B, C), and what there is one of for each line is (A, 1, C)


@inner
def _softmax_side_by_side(x: Any, factors: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    sums, high = carray(room(x, WIDTH), (WIDTH,)), carray(room(x, WIDTH), (WIDTH,))
    for item in range(begin, end):
        a, first, last = _block(x, item)
        _largest_side_by_side(x, item, high)
        sums[:] = 0
        for b in range(x.shape[1]):
            numbers, powers = x[a, b, first:last], out[a, b, first:last]
            for c in range(last - first):
                powers[c] = exp(numbers[c] - high[c])
                sums[c] += powers[c]
        for c in range(last - first):
            sums[c] = factors[a, 0, first + c] / sums[c]
        for b in range(x.shape[1]):
            powers = out[a, b, first:last]
            for c in range(last - first):
                powers[c] *= sums[c]
        for c in range(first, last):
            place = classes[a, 0, c]
            if 0 <= place < x.shape[1]:
                out[a, place, c] -= factors[a, 0, c]


@inner
def _log_softmax_side_by_side(x: Any, out: Any, begin: int, end: int) -> None:
    high, rest = carray(room(x, WIDTH), (WIDTH,)), carray(room(x, WIDTH), (WIDTH,))
    for item in range(begin, end):
        a, first, last = _block(x, item)
        _normalizers(x, item, high, rest)
        for b in range(x.shape[1]):
            numbers, results = x[a, b, first:last], out[a, b, first:last]
            for c in range(last - first):
                results[c] = numbers[c] - high[c] - rest[c]


@inner
def _class_loss_side_by_side(x: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    high, rest = carray(room(x, WIDTH), (WIDTH,)), carray(room(x, WIDTH), (WIDTH,))
    for item in range(begin, end):
        a, first, last = _block(x, item)
        _normalizers(x, item, high, rest)
        for c in range(first, last):
            place = classes[a, 0, c]
            there = 0 <= place < x.shape[1]
            out[a, 0, c] = rest[c - first] - (x[a, place, c] - high[c - first]) if there else x.dtype.type(0)


@inner
def _softmax_gradient_side_by_side(p: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    sums = carray(room(p, WIDTH), (WIDTH,))
    for item in range(begin, end):
        a, first, last = _block(p, item)
        sums[:] = 0
        for b in range(p.shape[1]):
            ups, numbers = grad[a, b, first:last], p[a, b, first:last]
            for c in range(last - first):
                sums[c] += ups[c] * numbers[c]
        for b in range(p.shape[1]):
            ups, numbers, results = grad[a, b, first:last], p[a, b, first:last], out[a, b, first:last]
            for c in range(last - first):
                results[c] = numbers[c] * (ups[c] - sums[c])


@inner
def _log_softmax_gradient_side_by_side(y: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    sums = carray(room(y, WIDTH), (WIDTH,))
    for item in range(begin, end):
        a, first, last = _block(y, item)
        sums[:] = 0
        for b in range(y.shape[1]):
            ups = grad[a, b, first:last]
            for c in range(last - first):
                sums[c] += ups[c]
        for b in range(y.shape[1]):
            ups, numbers, results = grad[a, b, first:last], y[a, b, first:last], out[a, b, first:last]
            for c in range(last - first):
                results[c] = ups[c] - exp(numbers[c]) * sums[c]


@inner
def _block(x: Any, item: int) -> Any:
    """Which lines an item is: a, and from where to where in C."""
    blocks = (x.shape[2] + WIDTH - 1) // WIDTH
    first = item % blocks * WIDTH
    return item // blocks, first, min(first + WIDTH, x.shape[2])


@inner
def _normalizers(x: Any, item: int, high: Any, rest: Any) -> None:
    """Put what `_normalizer` gives for each line in `high` and `rest`."""
    a, first, last = _block(x, item)
    _largest_side_by_side(x, item, high)
    rest[: last - first] = 0
    for b in range(x.shape[1]):
        numbers = x[a, b, first:last]
        for c in range(last - first):
            rest[c] += exp(numbers[c] - high[c])
    for c in range(last - first):
        rest[c] = log(rest[c])


@inner
def _largest_side_by_side(x: Any, item: int, high: Any) -> None:
    """Put what `_largest` gives for each line in `high`."""
    a, first, last = _block(x, item)
    high[: last - first] = -math.inf
    for b in range(x.shape[1]):
        numbers = x[a, b, first:last]
        for c in range(last - first):
            high[c] = larger(high[c], numbers[c])
