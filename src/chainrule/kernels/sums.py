"""Sums in NumPy that keep the digits of float32, however many numbers there are and over whichever dimensions.

NumPy adds numbers that lie side by side in pairs, so that the error hardly grows with their count. But where neighbors
belong to different sums, as in a sum over the rows of a matrix, it adds row after row to one total in float32: each
addition rounds a total that grows, and after a thousand rows two digits are gone. Here rows are added in blocks, and
these in float64: the error of a sum stays below 1e-6 of the sum of the absolute values.

This is for small arrays, and for machines where nothing can be compiled: generated loops go on in doubles, too
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
"""So many rows are added in float32. Even if each addition rounds the same way, each costs 1.6e-8 of the sum."""
SHORT = 2 * BLOCK
"""Sums of no more numbers are left to NumPy."""
CACHED = 2**20
"""So many numbers at a time, which a cache holds."""
NEIGHBORS = 64
"""So many numbers of one sum side by side are worth a pass of their own."""

_ndarray = np.ndarray
_add: Any = np.add.reduce


def total(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """np.sum(x, axis=axis, keepdims=keepdims) with all the digits of float32, and of float16.

    Args:
        x: an array; all else that np.sum takes, such as a Tensor or a Tracer, goes there.
        axis: the dimension or dimensions to sum over, None for all.
        keepdims: keep the summed dimensions, with size 1.
    """
    if type(x) is not _ndarray:
        return np.sum(x, axis=axis, keepdims=keepdims)
    if x.size <= SHORT or x.dtype.char not in "fe":
        return _add(x, axis=axis, keepdims=keepdims)
    how, contiguous = _how(x.shape, axis), x.flags.c_contiguous
    in_pairs = (contiguous and how.paired) or (axis is None and x.flags.f_contiguous)
    if how.short or (in_pairs and x.size <= CACHED):  # older NumPys do not add all of a longer line in pairs
        return _add(x, axis=axis, keepdims=keepdims)
    if type(axis) is int and x.flags.f_contiguous and not contiguous:
        return total(x.T, ~axis, keepdims).T
    if how.rows is None or not contiguous or x.dtype != np.float32:
        sums = _over_any(x, how.axes)
        return sums.reshape(how.kept) if keepdims else sums
    if how.lines and x.size <= CACHED:
        lines, line, at = how.lines
        sums = _add(_add(x.reshape(lines), axis=at).reshape(line), axis=at)
        return sums.reshape(how.kept) if keepdims else sums
    out = np.empty(how.kept if keepdims else how.left, np.float32)
    _add_rows(x.reshape(how.rows), out.reshape(how.rows[0], how.rows[2]))
    return out if out.ndim else out[()]


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """np.mean(x, axis=axis, keepdims=keepdims) of floats, likewise; NaN over nothing."""
    if type(x) is not _ndarray:
        return np.mean(x, axis=axis, keepdims=keepdims)
    sums = total(wide(x), axis, keepdims)
    return (sums / (x.size // max(1, sums.size) or np.nan)).astype(x.dtype, copy=False)


def wide(x: Any) -> Any:
    """Float16 as float32: the sum of numbers whose mean it can hold may be too large for it, as may their squares."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


class _How(NamedTuple):
    """How arrays of a shape are summed.

    Attributes:
        axes: the dimensions to sum over, from 0 on.
        short: NumPy's sum is exact enough, or an error.
        paired: likewise if there are no gaps between numbers, for enough of them are neighbors, which it adds in pairs.
        rows: (A, B, C) if the dimensions are neighbors, and B stands for all of them; or None.
        lines: the shapes of even lines, and of the rows of a line, with the position of what is summed; or None.
        kept: the shape of the result with keepdims.
        left: and without.
    """

    axes: frozenset[int]
    short: bool
    paired: bool
    rows: tuple[int, int, int] | None
    lines: tuple[tuple[int, ...], tuple[int, ...], int] | None
    kept: tuple[int, ...]
    left: tuple[int, ...]


@functools.lru_cache(maxsize=1024)
def _how(shape: tuple[int, ...], axis: Axis) -> _How:
    ndim = len(shape)
    given = range(ndim) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else axis
    axes = frozenset(int(d) + ndim if d < 0 else int(d) for d in given)
    if len(axes) < len(given) or not axes <= {*range(ndim)} or not axes:
        return _How(axes, True, False, None, None, (), ())
    first, last = min(axes), max(axes) + 1
    rows = math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])
    kept = tuple([1 if d in axes else size for d, size in enumerate(shape)])
    left = tuple([size for d, size in enumerate(shape) if d not in axes])
    count = math.prod(shape) // math.prod(kept)
    end = next((d for d in reversed(range(ndim)) if d not in axes), -1) + 1
    pairs = math.prod(shape[end:])
    short, paired, neighbors = count <= SHORT, count <= SHORT * pairs and pairs > 1, last - first == len(axes)
    lines = None
    for number in range(BLOCK, BLOCK // 4, -1):
        each = rows[1] // number  # rows of a line
        if neighbors and lines is None and each * number == rows[1] and each + number <= SHORT:
            lines = (*shape[:first], number, each * rows[2]), (*shape[:first], each, *shape[last:]), first
    return _How(axes, short, paired, rows if neighbors else None, lines, kept, left)


def _over_any(x: Array, axes: frozenset[int]) -> Any:
    """The sums over some dimensions, which are left out; they come in the memory order of x, as np.sum's do."""
    kind, times = x.dtype.newbyteorder("="), 1
    x = x.astype(np.float32, copy=False)
    for d in axes:
        if x.strides[d] == 0:  # repeated: the sum is a multiple
            x, times = x[(slice(None),) * d + (slice(1),)], times * x.shape[d]
    order = sorted(range(x.ndim), key=lambda d: -abs(x.strides[d]))
    kept = [d for d in order if d not in axes]
    sums = np.asarray(_over(x.transpose(order), [d for d, where in enumerate(order) if where in axes]))
    result = (sums * np.float64(times) if times != 1 else sums).astype(kind, copy=False)
    return result.transpose(np.argsort(kept)) if kept else result[()]


def _over(x: Array, axes: list[int]) -> Any:
    """The sums over some dimensions of x, whose strides become smaller from one to the next."""
    x = np.ascontiguousarray(x)
    if len(axes) > 1 and axes[-1] == x.ndim - 1 and x.shape[-1] >= NEIGHBORS:
        x = _add(x, axis=axes.pop())
    if len(axes) == 1 and axes[0] == x.ndim - 1:
        return _add(x, axis=-1)
    longest = max(axes, key=lambda d: x.shape[d])
    before, after = x.shape[:longest], x.shape[longest + 1 :]
    sums = np.empty((*before, *after))
    rows = math.prod(before), x.shape[longest], math.prod(after)
    _add_rows(x.reshape(rows), sums.reshape(rows[0], rows[2]))
    rest = tuple([d - (d > longest) for d in axes if d != longest])
    return _add(sums, axis=rest) if rest else sums


def _add_rows(x: Array, out: Array) -> None:
    """Put the sums over B of x (A, B, C), which has no gaps, in `out` (A, C)."""
    a, b, c = x.shape
    at_once = max(SHORT, CACHED // max(1, a * c))
    if b <= at_once:
        _add_few_rows(x, out)
        return
    sums, part = np.zeros((a, c)), np.empty((a, c))
    for begin in range(0, b, at_once):
        _add_few_rows(x[:, begin : begin + at_once], part)
        sums += part
    out[...] = sums


def _add_few_rows(x: Array, out: Array) -> None:
    """BLOCK lines of as many rows each are added up, then the rows of a line, and what does not fill a line."""
    a, b, c = x.shape
    rows = b // BLOCK
    if not rows:
        _add(x, axis=1, out=out)
        return
    lines = x[:, : rows * BLOCK].reshape(a, BLOCK, rows * c)  # long lines, for NumPy is quick with those
    sums = _add(lines, axis=1).reshape(a, rows, c)
    _add(sums, axis=1, dtype=None if rows <= BLOCK // 2 else np.float64, out=out)
    if rows * BLOCK < b:
        out += _add(x[:, rows * BLOCK :], axis=1)
