"""Sums in NumPy that keep float32 precision, for any number of terms and any dimensions.

NumPy sums contiguous numbers pairwise, so the error hardly grows with their count. But where neighbors belong to
different sums, as in a sum over the rows of a matrix, it adds row after row to one float32 total: each addition rounds
a growing total, and after a thousand rows two digits are lost. Here rows are added in blocks, and the blocks in
float64: the error of a sum stays below 1e-6 of the sum of absolute values.

Used for small arrays, and on machines without a compiler. Generated loops also continue long sums in double precision
(`lower.loops`).

Source: Higham, The accuracy of floating point summation (1993).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Axis = int | tuple[int, ...] | None

BLOCK = 32
"""Rows added in float32. In the worst case, each addition adds an error of 1.6e-8 of the sum."""
SHORT = 2 * BLOCK
"""Sums of at most this many numbers are left to NumPy."""
CACHE_ELEMENTS = 2**20
"""Numbers processed at a time; they fit into a cache."""
NEIGHBORS = 64
"""If this many numbers of one sum are contiguous, summing them first is worth a separate pass."""

_ndarray, _FLOAT32 = np.ndarray, np.dtype(np.float32)
_add: Any = np.add.reduce


def total(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """np.sum(x, axis=axis, keepdims=keepdims) with full float32 (or float16) precision.

    Args:
        x: an array; anything else, such as a Tensor or a Tracer, is passed to np.sum.
        axis: the dimension or dimensions to sum over, None for all.
        keepdims: keep the summed dimensions, with size 1.
    """
    if type(x) is not _ndarray:
        return np.sum(x, axis=axis, keepdims=keepdims)
    if x.size <= SHORT or x.dtype.char not in "fe":
        return _add(x, axis=axis, keepdims=keepdims)
    strategy, contiguous = _strategy(x.shape, axis), x.flags.c_contiguous
    in_pairs = strategy.paired if contiguous else axis is None and x.flags.f_contiguous
    # larger arrays may have longer lines, which older versions of NumPy sum pairwise only in part
    if strategy.short or (in_pairs and x.size <= CACHE_ELEMENTS):
        return _add(x, axis=axis, keepdims=keepdims)
    if not contiguous and type(axis) is int and x.flags.f_contiguous:
        return total(x.T, ~axis, keepdims).T
    if strategy.rows is None or not contiguous or x.dtype is not _FLOAT32:
        sums = _sum_any_layout(x, strategy.axes)
        return sums.reshape(strategy.keepdims_shape) if keepdims else sums
    if strategy.lines and x.size <= CACHE_ELEMENTS:
        lines_shape, line_shape, line_axis = strategy.lines
        sums = _add(_add(x.reshape(lines_shape), axis=line_axis).reshape(line_shape), axis=line_axis)
        return sums.reshape(strategy.keepdims_shape) if keepdims else sums
    out = np.empty(strategy.keepdims_shape if keepdims else strategy.result_shape, np.float32)
    _add_rows(x.reshape(strategy.rows), out.reshape(strategy.rows[0], strategy.rows[2]))
    return out if out.ndim else out[()]


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """np.mean(x, axis=axis, keepdims=keepdims) of floats, with the same precision; NaN over no elements."""
    if type(x) is not _ndarray:
        return np.mean(x, axis=axis, keepdims=keepdims)
    sums = total(widen_float16(x), axis, keepdims)
    return (sums / (x.size // max(1, sums.size) or np.nan)).astype(x.dtype, copy=False)


def widen_float16(x: Any) -> Any:
    """Float16 as float32: a sum of numbers, or of squares, may overflow float16 even if the mean does not."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


class _SumStrategy(NamedTuple):
    """How to sum arrays of a shape.

    Attributes:
        axes: the dimensions to sum over, as non-negative numbers.
        short: leave the sum to NumPy, which is accurate enough, or raises its own error.
        paired: the same if the array is contiguous: NumPy then sums enough neighbors pairwise.
        rows: (A, B, C) if the summed dimensions are adjacent: B is their product. Otherwise None.
        lines: None, or how to sum in two steps, if B = n · m. The array is seen as n lines of m rows each; the first
            step adds the lines into one, the second adds the m rows of that line: (the shape as lines, the shape of one
            line as rows, the axis of both sums).
        keepdims_shape: the shape of the result with keepdims.
        result_shape: the shape of the result without.
    """

    axes: frozenset[int]
    short: bool
    paired: bool
    rows: tuple[int, int, int] | None
    lines: tuple[tuple[int, ...], tuple[int, ...], int] | None
    keepdims_shape: tuple[int, ...]
    result_shape: tuple[int, ...]


@functools.lru_cache(maxsize=1024)
def _strategy(shape: tuple[int, ...], axis: Axis) -> _SumStrategy:
    """Decide how to sum arrays of a shape over some dimensions."""
    ndim = len(shape)
    dims = range(ndim) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else axis
    axes = frozenset(int(d) + ndim if d < 0 else int(d) for d in dims)
    if len(axes) < len(dims) or not axes <= {*range(ndim)} or not axes:
        return _SumStrategy(axes, True, False, None, None, (), ())
    first, last = min(axes), max(axes) + 1
    rows = math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])
    keepdims_shape = tuple([1 if d in axes else size for d, size in enumerate(shape)])
    result_shape = tuple([size for d, size in enumerate(shape) if d not in axes])
    count = math.prod(shape) // math.prod(keepdims_shape)
    end = next((d for d in reversed(range(ndim)) if d not in axes), -1) + 1
    neighbors = math.prod(shape[end:])  # contiguous numbers of one sum
    short, paired, is_adjacent = count <= SHORT, count <= SHORT * neighbors and neighbors > 1, last - first == len(axes)
    lines = None
    for line_count in range(BLOCK, BLOCK // 4, -1):  # the largest number of lines that divides the rows evenly
        line_rows = rows[1] // line_count
        if is_adjacent and lines is None and line_rows * line_count == rows[1] and line_rows + line_count <= SHORT:
            lines = (*shape[:first], line_count, line_rows * rows[2]), (*shape[:first], line_rows, *shape[last:]), first
    return _SumStrategy(axes, short, paired, rows if is_adjacent else None, lines, keepdims_shape, result_shape)


def _sum_any_layout(x: Array, axes: frozenset[int]) -> Any:
    """The sums over some dimensions, which are dropped. Like np.sum, the result keeps the memory order of x."""
    result_type, factor = x.dtype.newbyteorder("="), 1
    x = x.astype(np.float32, copy=False)
    for d in axes:
        if x.strides[d] == 0:  # a broadcast dimension: the sum is a multiple
            x, factor = x[(slice(None),) * d + (slice(1),)], factor * x.shape[d]
    order = sorted(range(x.ndim), key=lambda d: -abs(x.strides[d]))
    remaining = [d for d in order if d not in axes]
    sums = np.asarray(_sum_in_memory_order(x.transpose(order), [d for d, dim in enumerate(order) if dim in axes]))
    result = (sums * np.float64(factor) if factor != 1 else sums).astype(result_type, copy=False)
    return result.transpose(np.argsort(remaining)) if remaining else result[()]


def _sum_in_memory_order(x: Array, axes: list[int]) -> Any:
    """The sums over some dimensions of x, whose dimensions are in memory order."""
    x = np.ascontiguousarray(x)
    if len(axes) > 1 and axes[-1] == x.ndim - 1 and x.shape[-1] >= NEIGHBORS:
        x = _add(x, axis=axes.pop())
    if len(axes) == 1 and axes[0] == x.ndim - 1:
        return _add(x, axis=-1)
    longest = max(axes, key=lambda d: x.shape[d])
    leading, trailing = x.shape[:longest], x.shape[longest + 1 :]
    sums = np.empty((*leading, *trailing))
    rows = math.prod(leading), x.shape[longest], math.prod(trailing)
    _add_rows(x.reshape(rows), sums.reshape(rows[0], rows[2]))
    rest = tuple([d - (d > longest) for d in axes if d != longest])
    return _add(sums, axis=rest) if rest else sums


def _add_rows(x: Array, out: Array) -> None:
    """Store the sums over B of x (A, B, C), which is contiguous, in `out` (A, C)."""
    a, b, c = x.shape
    rows_at_once = max(SHORT, CACHE_ELEMENTS // max(1, a * c))
    if b <= rows_at_once:
        _add_few_rows(x, out)
        return
    sums, part = np.zeros((a, c)), np.empty((a, c))
    for begin in range(0, b, rows_at_once):
        _add_few_rows(x[:, begin : begin + rows_at_once], part)
        sums += part
    out[...] = sums


def _add_few_rows(x: Array, out: Array) -> None:
    """Add BLOCK lines of equally many rows, then the rows of a line, then the rows that do not fill a line."""
    a, b, c = x.shape
    rows = b // BLOCK
    if not rows:
        _add(x, axis=1, out=out)
        return
    lines = x[:, : rows * BLOCK].reshape(a, BLOCK, rows * c)  # NumPy is fast on long lines
    sums = _add(lines, axis=1).reshape(a, rows, c)
    _add(sums, axis=1, dtype=None if rows <= BLOCK // 2 else np.float64, out=out)
    if rows * BLOCK < b:
        out += _add(x[:, rows * BLOCK :], axis=1)
