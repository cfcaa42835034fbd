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

import numpy as np

from chainrule.kernels.compile import inner, jit
from chainrule.kernels.loops.numbers import exp, larger, log, total, total_product
from chainrule.kernels.team import spread

WIDTH = 1024  # of a block of lines side by side: long runs of memory, but sums that stay in the first cache


def softmax(x: Any, factors: Any, classes: Any, out: Any) -> None:
    """Put f (eˣ / Σ eˣ - [class]) in `out`, with a factor f and a class, if there is such a one, for each line."""
    _share_out(_softmax, _softmax_side_by_side, x, factors, classes, out)


def log_softmax(x: Any, out: Any) -> None:
    """Put x - ln Σ eˣ in `out`."""
    _share_out(_log_softmax, _log_softmax_side_by_side, x, out)


def class_loss(x: Any, classes: Any, out: Any) -> None:
    """Put ln Σ eˣ - x[class] of each line in `out`, or 0 if there is no such class."""
    _share_out(_class_loss, _class_loss_side_by_side, x, classes, out)


def softmax_gradient(p: Any, grad: Any, out: Any) -> None:
    """Put p (G - Σ G p) in `out`."""
    _share_out(_softmax_gradient, _softmax_gradient_side_by_side, p, grad, out)


def log_softmax_gradient(y: Any, grad: Any, out: Any) -> None:
    """Put G - eʸ Σ G in `out`."""
    _share_out(_log_softmax_gradient, _log_softmax_gradient_side_by_side, y, grad, out)


def _share_out(in_one_piece: Any, side_by_side: Any, x: Any, *more: Any) -> None:
    a, _, c, _ = x.shape
    if c == 1:
        spread(in_one_piece, a, x.size, *[array.reshape(a, -1) for array in (x, *more)])
    else:
        spread(side_by_side, a * -(-c // WIDTH), x.size, *[array.reshape(a, -1, c) for array in (x, *more)])


# Lines in one piece: arrays are (A, B), and what there is one of for each line is (A, 1)


@jit
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


@jit
def _log_softmax(x: Any, out: Any, begin: int, end: int) -> None:
    for a in range(begin, end):
        line, result = x[a], out[a]
        high, rest = _normalizer(line, result)
        for b in range(line.size):
            result[b] = line[b] - high - rest


@jit
def _class_loss(x: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    scratch = np.empty(x.shape[1], x.dtype)
    for a in range(begin, end):
        line, place = x[a], classes[a, 0]
        out[a, 0] = 0
        if 0 <= place < line.size:
            high, rest = _normalizer(line, scratch)
            out[a, 0] = rest - (line[place] - high)


@jit
def _softmax_gradient(p: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    zero = p.dtype.type(0)
    for a in range(begin, end):
        line, upstream, result = p[a], grad[a], out[a]
        mean = p.dtype.type(total_product(upstream, zero, line, zero))
        for b in range(line.size):
            result[b] = line[b] * (upstream[b] - mean)


@jit
def _log_softmax_gradient(y: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    for a in range(begin, end):
        line, upstream, result = y[a], grad[a], out[a]
        whole = y.dtype.type(total(upstream))
        for b in range(line.size):
            result[b] = upstream[b] - exp(line[b]) * whole


@inner
def _normalizer(line: Any, powers: Any) -> Any:
    """The largest number m, and ln Σ eˣ⁻ᵐ."""
    high = _largest(line)
    for b in range(line.size):
        powers[b] = exp(line[b] - high)
    return high, line.dtype.type(math.log(total(powers)))


@inner
def _largest(line: Any) -> Any:
    """The largest number. It leaves NaNs out: they come back with the sum of powers."""
    high = line.dtype.type(-math.inf)
    for b in range(line.size):
        high = larger(high, line[b])
    return high


# Lines side by side: arrays are (A, B, C), and what there is one of for each line is (A, 1, C)


@jit
def _softmax_side_by_side(x: Any, factors: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    sums = np.empty(WIDTH, x.dtype)
    for item in range(begin, end):
        a, first, last = _block(x, item)
        high = _largest_side_by_side(x, item)
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


@jit
def _log_softmax_side_by_side(x: Any, out: Any, begin: int, end: int) -> None:
    for item in range(begin, end):
        a, first, last = _block(x, item)
        high, rest = _normalizers(x, item)
        for b in range(x.shape[1]):
            numbers, results = x[a, b, first:last], out[a, b, first:last]
            for c in range(last - first):
                results[c] = numbers[c] - high[c] - rest[c]


@jit
def _class_loss_side_by_side(x: Any, classes: Any, out: Any, begin: int, end: int) -> None:
    for item in range(begin, end):
        a, first, last = _block(x, item)
        high, rest = _normalizers(x, item)
        for c in range(first, last):
            place = classes[a, 0, c]
            there = 0 <= place < x.shape[1]
            out[a, 0, c] = rest[c - first] - (x[a, place, c] - high[c - first]) if there else x.dtype.type(0)


@jit
def _softmax_gradient_side_by_side(p: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    sums = np.empty(WIDTH, p.dtype)
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


@jit
def _log_softmax_gradient_side_by_side(y: Any, grad: Any, out: Any, begin: int, end: int) -> None:
    sums = np.empty(WIDTH, y.dtype)
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
def _normalizers(x: Any, item: int) -> Any:
    """`_normalizer` of each line."""
    a, first, last = _block(x, item)
    high, rest = _largest_side_by_side(x, item), np.zeros(last - first, x.dtype)
    for b in range(x.shape[1]):
        numbers = x[a, b, first:last]
        for c in range(last - first):
            rest[c] += exp(numbers[c] - high[c])
    for c in range(last - first):
        rest[c] = log(rest[c])
    return high, rest


@inner
def _largest_side_by_side(x: Any, item: int) -> Any:
    """`_largest` of each line."""
    a, first, last = _block(x, item)
    high = np.full(last - first, -math.inf, x.dtype)
    for b in range(x.shape[1]):
        numbers = x[a, b, first:last]
        for c in range(last - first):
            high[c] = larger(high[c], numbers[c])
    return high
