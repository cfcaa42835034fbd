"""Standardisation of x (A, B, C, D), contiguous (`geometry.View`): mean 0 and variance 1 over B and D, for each A, C.

There are two cases. With a long D, or C = 1, the numbers that belong together lie in B pieces of D neighbours. One
thread goes over them for the mean, for the variance, backward for the gradient's sums, and for the results, and finds
them in a cache after the first time if they fit. Factors may run along the pieces, as in layer normalisation; their
gradients are summed over PART pieces, and then over what those gave.

Otherwise they are columns, C D side by side, and each walk is row by row, for the innermost loop to run through
neighbours; short rows are taken several at a time. PART of them give each column's mean, the sum of squares around it
and, backward, the gradient's sums. What belongs together is put together by Chan's formulas, and a second walk makes
the results. Parts depend on the shape alone, so the bits do not depend on the threads.

Sums go on in doubles after some hundred numbers, to be as exact as NumPy's. Memory is the limit, or the second cache.

Source: Chan, Golub and LeVeque, Algorithms for computing the sample variance (1983).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.kernels.compile import inner, jit
from chainrule.kernels.loops.numbers import total, total_product
from chainrule.kernels.team import spread

LONG = 32  # so many neighbours are worth a loop
PART = 64  # rows or pieces
WIDE = 128  # columns, if a row is made of several


def moments(x: Any, mean: Any, variance: Any) -> None:
    """Put each mean and variance in arrays (A, 1, C, 1)."""
    if _in_pieces(x):
        spread(_moments_of_pieces, mean.size, x.size, _pieces(x), _pieces(mean), _pieces(variance))
    else:
        mean[:], variance[:], _, _ = _moments_of_columns(x, x, False)


def standardize(x: Any, factors: Any, shifts: Any, eps: float, out: Any) -> None:
    """Put f (x - mean) / √(variance + eps) + s in `out`.

    Factors f and shifts s are (A, 1, C, 1); or, of x (A, B, 1, 1), they are (1, B, 1, 1), the same for all of A.
    """
    if factors.shape[1] > 1:
        spread(_standardize_lines, len(x), x.size, _pieces(x), _pieces(factors), _pieces(shifts), eps, _pieces(out))
    elif _in_pieces(x):
        given = _pieces(x), _pieces(factors), _pieces(shifts)
        spread(_standardize_pieces, factors.size, x.size, *given, eps, _pieces(out))
    else:
        mean, variance, _, _ = _moments_of_columns(x, x, False)
        scale = factors / np.sqrt(variance + eps)
        columns = _columns(x, mean, scale, shifts, out)
        spread(_standardize_columns, len(x) * columns[0].shape[1], x.size, *columns)


def standardize_gradient(x: Any, grad: Any, factors: Any, eps: float, out: Any, sums: Any, products: Any) -> None:
    """From the gradient G to the result, those to x, s and f.

    With y = (x - mean) / √(variance + eps) and H = f G they are (H - mean(H) - y mean(H y)) / √(variance + eps), put in
    `out`, and Σ G and Σ G y, put in arrays of the factors' shape.
    """
    if factors.shape[1] > 1:
        parts = np.zeros((2, -(-len(x) // PART), x.shape[1]), x.dtype)
        given = _pieces(x), _pieces(grad), _pieces(factors)
        spread(_standardize_gradient_of_lines, parts.shape[1], 2 * x.size, *given, eps, _pieces(out), *parts)
        sums[0, :, 0, 0], products[0, :, 0, 0] = parts.sum(1, np.float64)
    elif _in_pieces(x):
        given, results = (_pieces(x), _pieces(grad), _pieces(factors)), (_pieces(out), _pieces(sums), _pieces(products))
        spread(_standardize_gradient_of_pieces, factors.size, 2 * x.size, *given, eps, *results)
    else:
        mean, variance, sums[:], along = _moments_of_columns(x, grad, True)
        scale = 1 / np.sqrt(variance + eps)
        products[:] = along * scale
        count = x.shape[1] * x.shape[3]
        how = mean, factors * scale, sums / count, along * scale * scale / count
        columns = _columns(x, grad, *how, out)
        spread(_standardize_gradient_of_columns, len(x) * columns[0].shape[1], 2 * x.size, *columns)


def _in_pieces(x: Any) -> bool:
    return bool(x.shape[2] == 1 or x.shape[3] >= LONG)


# Pieces


def _pieces(x: Any) -> Any:
    """(A, B, 1, D) is one piece for each of A: (A, 1, 1, B D)."""
    return x.reshape(len(x), 1, 1, -1) if x.shape[2] == 1 else x


@jit
def _moments_of_pieces(x: Any, mean: Any, variance: Any, begin: int, end: int) -> None:
    for item in range(begin, end):
        a, c = item // x.shape[2], item % x.shape[2]
        mean[a, 0, c, 0], variance[a, 0, c, 0] = _mean_and_variance(x, a, c)


@jit
def _standardize_pieces(x: Any, factors: Any, shifts: Any, eps: float, out: Any, begin: int, end: int) -> None:
    number = x.dtype.type
    for item in range(begin, end):
        a, c = item // x.shape[2], item % x.shape[2]
        mean, variance = _mean_and_variance(x, a, c)
        centre, shift = number(mean), shifts[a, 0, c, 0]
        scale = number(factors[a, 0, c, 0] / math.sqrt(variance + eps))
        for b in range(x.shape[1]):
            numbers, results = x[a, b, c], out[a, b, c]
            for d in range(numbers.size):
                results[d] = (numbers[d] - centre) * scale + shift


@jit
def _standardize_gradient_of_pieces(
    x: Any, grad: Any, factors: Any, eps: float, out: Any, sums: Any, products: Any, begin: int, end: int
) -> None:
    number = x.dtype.type
    for item in range(begin, end):
        a, c = item // x.shape[2], item % x.shape[2]
        mean, variance = _mean_and_variance(x, a, c)
        centre, scale, count = number(mean), 1 / math.sqrt(variance + eps), x.shape[1] * x.shape[3]
        whole, along = 0.0, 0.0
        for b in range(x.shape[1]):
            whole += total(grad[a, b, c])
            along += total_product(grad[a, b, c], number(0), x[a, b, c], centre)
        sums[a, 0, c, 0], products[a, 0, c, 0] = whole, along * scale
        level, slope = number(whole / count), number(along * scale * scale / count)
        scale_back = number(factors[a, 0, c, 0] * scale)
        for b in range(x.shape[1]):
            numbers, ups, results = x[a, b, c], grad[a, b, c], out[a, b, c]
            for d in range(numbers.size):
                results[d] = scale_back * (ups[d] - level - (numbers[d] - centre) * slope)


@inner
def _mean_and_variance(x: Any, a: int, c: int) -> Any:
    count, mean, variance = x.shape[1] * x.shape[3], 0.0, 0.0
    for b in range(x.shape[1]):
        mean += total(x[a, b, c])
    mean /= count
    centre = x.dtype.type(mean)
    for b in range(x.shape[1]):
        variance += total_product(x[a, b, c], centre, x[a, b, c], centre)
    return mean, variance / count


# Pieces whose numbers have factors of their own: arrays are (A, 1, 1, D), factors and shifts (1, 1, 1, D)


@jit
def _standardize_lines(x: Any, factors: Any, shifts: Any, eps: float, out: Any, begin: int, end: int) -> None:
    factor, shift = factors[0, 0, 0], shifts[0, 0, 0]
    for a in range(begin, end):
        numbers, results = x[a, 0, 0], out[a, 0, 0]
        mean, variance = _mean_and_variance(x, a, 0)
        centre, scale = x.dtype.type(mean), x.dtype.type(1 / math.sqrt(variance + eps))
        for d in range(numbers.size):
            results[d] = (numbers[d] - centre) * scale * factor[d] + shift[d]


@jit
def _standardize_gradient_of_lines(
    x: Any, grad: Any, factors: Any, eps: float, out: Any, sums: Any, products: Any, begin: int, end: int
) -> None:
    number, factor = x.dtype.type, factors[0, 0, 0]
    for part in range(begin, end):
        whole, along = sums[part], products[part]
        for a in range(part * PART, min((part + 1) * PART, len(x))):
            numbers, ups, results = x[a, 0, 0], grad[a, 0, 0], out[a, 0, 0]
            mean, variance = _mean_and_variance(x, a, 0)
            centre, scale = number(mean), number(1 / math.sqrt(variance + eps))
            for d in range(numbers.size):
                results[d] = ups[d] * factor[d]
            for d in range(numbers.size):
                whole[d] += ups[d]
            for d in range(numbers.size):
                along[d] += ups[d] * ((numbers[d] - centre) * scale)
            level = number(total(results) / numbers.size)
            slope = number(total_product(results, number(0), numbers, centre) * scale * scale / numbers.size)
            for d in range(numbers.size):
                results[d] = scale * (results[d] - level - (numbers[d] - centre) * slope)


# Columns


def _columns(x: Any, *more: Any) -> list[Any]:
    """R rows together: (A, B, C, D) as (A, B / R, R C D), and what there is one of for each A, C as (A, 1, R C D)."""
    a, b, c, d = x.shape
    together = max(rows for rows in range(1, max(1, WIDE // (c * d)) + 1) if b % rows == 0)
    wide = [np.broadcast_to(array, (a, together, c, d)) if array.shape[1] == 1 else array for array in (x, *more)]
    return [np.ascontiguousarray(array, x.dtype).reshape(a, -1, together * c * d) for array in wide]


def _moments_of_columns(x: Any, grad: Any, backward: bool) -> Any:
    """Each mean, variance and, backward, Σ G and Σ G (x - mean), in doubles (A, 1, C, 1)."""
    a, count, c, d = len(x), x.shape[1] * x.shape[3], x.shape[2], x.shape[3]
    x, grad = _columns(x, grad)
    parts = -(-x.shape[1] // PART)
    found = np.zeros((4, a, parts, x.shape[2]), x.dtype)
    spread(_sum_parts, a * parts, x.size, x, grad, backward, found)
    rows = np.full((parts, 1, 1, 1), PART)
    rows[-1] = x.shape[1] - PART * (parts - 1)
    means, squares, sums, products = found.reshape(4, a, parts, -1, c, d).astype(np.float64)

    def together(parts: Any) -> Any:
        return parts.sum((1, 2, 4))[:, None, :, None]

    mean = together(rows * means) / count
    away = means - mean[:, :, None]
    variance = together(squares + rows * away * away) / count
    return mean, variance, together(sums), together(products + away * sums)


@jit
def _sum_parts(x: Any, grad: Any, backward: bool, found: Any, begin: int, end: int) -> None:
    _, _, parts, width = found.shape
    for item in range(begin, end):
        a, part = item // parts, item % parts
        first, last = part * PART, min((part + 1) * PART, x.shape[1])
        means, squares, sums, products = found[0, a, part], found[1, a, part], found[2, a, part], found[3, a, part]
        for b in range(first, last):
            numbers = x[a, b]
            for c in range(width):
                means[c] += numbers[c]
        for c in range(width):
            means[c] /= x.dtype.type(last - first)
        for b in range(first, last):
            numbers = x[a, b]
            for c in range(width):
                away = numbers[c] - means[c]
                squares[c] += away * away
        for b in range(first, last if backward else first):
            numbers, ups = x[a, b], grad[a, b]
            for c in range(width):
                sums[c] += ups[c]
                products[c] += ups[c] * (numbers[c] - means[c])


@jit
def _standardize_columns(x: Any, mean: Any, scale: Any, shifts: Any, out: Any, begin: int, end: int) -> None:
    for item in range(begin, end):
        a, b = item // x.shape[1], item % x.shape[1]
        numbers, results, means, scales, adds = x[a, b], out[a, b], mean[a, 0], scale[a, 0], shifts[a, 0]
        for c in range(numbers.size):
            results[c] = (numbers[c] - means[c]) * scales[c] + adds[c]


@jit
def _standardize_gradient_of_columns(
    x: Any, grad: Any, mean: Any, scale: Any, level: Any, slope: Any, out: Any, begin: int, end: int
) -> None:
    for item in range(begin, end):
        a, b = item // x.shape[1], item % x.shape[1]
        numbers, ups, results = x[a, b], grad[a, b], out[a, b]
        means, scales, levels, slopes = mean[a, 0], scale[a, 0], level[a, 0], slope[a, 0]
        for c in range(numbers.size):
            results[c] = scales[c] * (ups[c] - levels[c] - (numbers[c] - means[c]) * slopes[c])
