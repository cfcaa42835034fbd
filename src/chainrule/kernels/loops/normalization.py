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

from chainrule.kernels.compile import inner
from chainrule.kernels.loops.numbers import total, total_product
from chainrule.kernels.shares import PART

# Pieces


@inner
def _moments_of_pieces(x: Any, mean: Any, variance: Any, begin: int, end: int) -> None:
    for item in range(begin, end):
        a, c = item // x.shape[2], item % x.shape[2]
        mean[a, 0, c, 0], variance[a, 0, c, 0] = _mean_and_variance(x, a, c)


@inner
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


@inner
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


@inner
def _standardize_lines(x: Any, factors: Any, shifts: Any, eps: float, out: Any, begin: int, end: int) -> None:
    factor, shift = factors[0, 0, 0], shifts[0, 0, 0]
    for a in range(begin, end):
        numbers, results = x[a, 0, 0], out[a, 0, 0]
        mean, variance = _mean_and_variance(x, a, 0)
        centre, scale = x.dtype.type(mean), x.dtype.type(1 / math.sqrt(variance + eps))
        for d in range(numbers.size):
            results[d] = (numbers[d] - centre) * scale * factor[d] + shift[d]


@inner
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


@inner
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


@inner
def _standardize_columns(x: Any, mean: Any, scale: Any, shifts: Any, out: Any, begin: int, end: int) -> None:
    for item in range(begin, end):
        a, b = item // x.shape[1], item % x.shape[1]
        numbers, results, means, scales, adds = x[a, b], out[a, b], mean[a, 0], scale[a, 0], shifts[a, 0]
        for c in range(numbers.size):
            results[c] = (numbers[c] - means[c]) * scales[c] + adds[c]


@inner
def _standardize_gradient_of_columns(
    x: Any, grad: Any, mean: Any, scale: Any, level: Any, slope: Any, out: Any, begin: int, end: int
) -> None:
    for item in range(begin, end):
        a, b = item // x.shape[1], item % x.shape[1]
        numbers, ups, results = x[a, b], grad[a, b], out[a, b]
        means, scales, levels, slopes = mean[a, 0], scale[a, 0], level[a, 0], slope[a, 0]
        for c in range(numbers.size):
            results[c] = scales[c] * (ups[c] - levels[c] - (numbers[c] - means[c]) * slopes[c])
