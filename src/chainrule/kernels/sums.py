"""Sums in NumPy that keep float32 precision, for any number of terms and any dimensions.

NumPy sums contiguous numbers pairwise, so the error hardly grows with their count. But where neighbors belong to
different sums, as in a sum over the rows of a matrix, it adds row after row to one float32 total. Each addition rounds
this growing total, so the error grows with the number of rows. Here the rows are divided into equal blocks, at most
N_BLOCKS of them. The blocks are added to each other in float32, then the rows of the resulting block, in float64 if
they are many.

**Error**, as a fraction of the sum of absolute values. An addition in float32 rounds by up to 2⁻²⁴ = 6e-8 of its
result. Fewer than 64 additions of rows follow one another. Where NumPy first sums up to 2²⁰ neighbors pairwise, up to
37 additions precede them: 24 in a block of at most 128 numbers, and 13 for the halvings from 2²⁰ numbers to such
blocks. In the worst case, where all of them round by that much in the same direction, the error is below 4e-6 for a sum
over one dimension, and below 6e-6 for a sum over several. For equal and for uniformly distributed numbers, all errors
were below 1e-6. `tests/kernels/test_sums.py` checks these three figures. One exception: where contiguous numbers are
not aligned or not in native byte order (in older versions of NumPy: always), NumPy sums runs of 8,192 of them pairwise,
and then adds these sums one after the other. For 2²⁰ numbers, the worst case is then 1e-5.

These sums are used where no generated loop runs: for small arrays, in operations that are not fused, and on machines
without a compiler. Generated loops also accumulate long float32 sums in float64 (`lower.loops`).

Source: Higham, The accuracy of floating point summation (1993).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Axis = int | tuple[int, ...] | None

N_BLOCKS = 32
"""The largest number of blocks that rows are divided into."""
SHORT_SUM = 2 * N_BLOCKS
"""Sums of at most this many numbers are left to NumPy, even if it adds them one after the other."""
CACHE_ELEMENTS = 2**20
"""How many numbers are processed at a time: 4 MB in float32, which fit into a cache."""
MIN_NEIGHBORS = 64
"""If at least this many numbers of one sum are contiguous, summing them first is worth a separate pass."""

_ndarray, _FLOAT32 = np.ndarray, np.dtype(np.float32)
_add: Any = np.add.reduce


def total(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """np.sum(x, axis=axis, keepdims=keepdims), whose error does not grow with the number of terms (see above).

    Only float32 and float16 arrays are summed differently from np.sum; float16 is added in float32.

    Args:
        x: an array; anything else, such as a Tensor or a Tracer, is passed to np.sum.
        axis: the dimension or dimensions to sum over, None for all.
        keepdims: keep the summed dimensions, with size 1.
    """
    if type(x) is not _ndarray:
        return np.sum(x, axis=axis, keepdims=keepdims)
    if x.size <= SHORT_SUM or x.dtype.char not in "fe":  # neither float32 nor float16
        return _add(x, axis=axis, keepdims=keepdims)
    strategy, contiguous = _strategy(x.shape, axis), x.flags.c_contiguous
    is_pairwise = strategy.is_pairwise if contiguous else axis is None and x.flags.f_contiguous
    # larger arrays may have longer runs of neighbors, which older versions of NumPy sum pairwise only in part
    if strategy.is_short or (is_pairwise and x.size <= CACHE_ELEMENTS):
        return _add(x, axis=axis, keepdims=keepdims)
    if not contiguous and type(axis) is int and x.flags.f_contiguous:
        return total(x.T, ~axis, keepdims).T
    if strategy.rows is None or not contiguous or x.dtype is not _FLOAT32:
        sums = _sum_any_layout(x, strategy.axes)
        return sums.reshape(strategy.keepdims_shape) if keepdims else sums
    if strategy.blocks and x.size <= CACHE_ELEMENTS:
        blocks_shape, block_shape, block_axis = strategy.blocks
        sums = _add(_add(x.reshape(blocks_shape), axis=block_axis).reshape(block_shape), axis=block_axis)
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


def broadcast_dims(shape: Sequence[int], result_shape: Sequence[int]) -> tuple[int, ...]:
    """The dimensions of `result_shape` along which an array of this shape is repeated when it is broadcast to it."""
    added = len(result_shape) - len(shape)
    repeated = (added + d for d, size in enumerate(shape) if size == 1 and result_shape[added + d] != 1)
    return (*range(added), *repeated)


def total_over_broadcast(x: Any, shape: Sequence[int]) -> Any:
    """The sum of x over its `broadcast_dims`, in this shape: the gradient of an array that was broadcast to x."""
    dims = broadcast_dims(shape, x.shape)
    return np.reshape(total(x, dims), shape) if dims else x


def widen_float16(x: Any) -> Any:
    """Float16 as float32: a sum of numbers, or of squares, may overflow float16 even if the mean does not."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


class _SumStrategy(NamedTuple):
    """How to sum arrays of a shape.

    Attributes:
        axes: the dimensions to sum over, as non-negative numbers.
        is_short: whether to leave the sum to NumPy, because it has few terms, or because NumPy refuses the axes and
            raises its own error.
        is_pairwise: whether to leave the sum to NumPy if the array is contiguous: NumPy sums the neighbors pairwise,
            and then adds at most SHORT_SUM such sums to each other.
        rows: (A, B, C) if the summed dimensions are adjacent: B is their product, A and C are the products of the
            dimensions before and after them. Otherwise None.
        blocks: how to sum in two steps if B = n · m. The array is viewed as n blocks of m rows each; the first step
            adds the blocks, the second adds the m rows of the resulting block. The tuple holds the shape of the array
            as blocks, the shape of the resulting block as rows, and the axis of both sums. None if B has no such
            factors.
        keepdims_shape: the shape of the result if keepdims is true.
        result_shape: the shape of the result if keepdims is false.
    """

    axes: frozenset[int]
    is_short: bool
    is_pairwise: bool
    rows: tuple[int, int, int] | None
    blocks: tuple[tuple[int, ...], tuple[int, ...], int] | None
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
    trailing_axis = next((d for d in reversed(range(ndim)) if d not in axes), -1) + 1
    n_neighbors = math.prod(shape[trailing_axis:])  # contiguous numbers of one sum
    is_pairwise = count <= SHORT_SUM * n_neighbors and n_neighbors > 1
    is_adjacent = last - first == len(axes)
    blocks = None
    for n_blocks in range(N_BLOCKS, N_BLOCKS // 4, -1):  # the largest number that divides the rows evenly
        n_rows = rows[1] // n_blocks  # of a block
        if is_adjacent and blocks is None and n_rows * n_blocks == rows[1] and n_rows + n_blocks <= SHORT_SUM:
            blocks = (*shape[:first], n_blocks, n_rows * rows[2]), (*shape[:first], n_rows, *shape[last:]), first
    rows_if_adjacent = rows if is_adjacent else None
    return _SumStrategy(axes, count <= SHORT_SUM, is_pairwise, rows_if_adjacent, blocks, keepdims_shape, result_shape)


def _sum_any_layout(x: Array, axes: frozenset[int]) -> Any:
    """The sums over some dimensions, which are dropped. The result keeps the memory order of x, as np.sum's does."""
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
    """The sums over some dimensions of x, which are dropped. The dimensions of x are in memory order."""
    x = np.ascontiguousarray(x)
    if len(axes) > 1 and axes[-1] == x.ndim - 1 and x.shape[-1] >= MIN_NEIGHBORS:
        x = _add(x, axis=axes.pop())
    if len(axes) == 1 and axes[0] == x.ndim - 1:
        return _add(x, axis=-1)
    longest = max(axes, key=lambda d: x.shape[d])
    leading, trailing = x.shape[:longest], x.shape[longest + 1 :]
    sums = np.empty((*leading, *trailing))
    rows = math.prod(leading), x.shape[longest], math.prod(trailing)
    _add_rows(x.reshape(rows), sums.reshape(rows[0], rows[2]))
    other_axes = tuple([d - (d > longest) for d in axes if d != longest])  # in `sums`, which lacks the longest axis
    return _add(sums, axis=other_axes) if other_axes else sums


def _add_rows(x: Array, out: Array) -> None:
    """Store the sums over B of x (A, B, C), which is contiguous, in `out` (A, C)."""
    a, b, c = x.shape
    rows_at_once = max(SHORT_SUM, CACHE_ELEMENTS // max(1, a * c))
    if b <= rows_at_once:
        _add_few_rows(x, out)
        return
    sums, chunk_sums = np.zeros((a, c)), np.empty((a, c))  # in float64
    for begin in range(0, b, rows_at_once):
        _add_few_rows(x[:, begin : begin + rows_at_once], chunk_sums)
        sums += chunk_sums
    out[...] = sums


def _add_few_rows(x: Array, out: Array) -> None:
    """Store the sums over B of x (A, B, C) in `out` (A, C).

    The rows are divided into N_BLOCKS blocks of equally many rows. The blocks are added, then the rows of the resulting
    block, then the rows that are left over.
    """
    a, b, c = x.shape
    n_rows = b // N_BLOCKS  # of a block
    if not n_rows:
        _add(x, axis=1, out=out)
        return
    blocks = x[:, : n_rows * N_BLOCKS].reshape(a, N_BLOCKS, n_rows * c)  # NumPy is fast on long rows
    sums = _add(blocks, axis=1).reshape(a, n_rows, c)
    _add(sums, axis=1, dtype=None if n_rows <= N_BLOCKS // 2 else np.float64, out=out)
    if n_rows * N_BLOCKS < b:
        out += _add(x[:, n_rows * N_BLOCKS :], axis=1)
