"""Where things lie in memory.

A `View` shows an array as four dimensions, whichever of its own something is done along.

A `Plan` is tables of offsets that make strides, dilation and borders a matter of addition. It serves `loops.tile`: the
picture is copied into a frame of zeros, (height, width, depth) in memory, and the tables count elements of it.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pair = tuple[int, int]
    Padding = tuple[Pair, Pair]
    Sizes = tuple[int, int, int, int]
    Table = NDArray[np.intp]


class View:
    """An array as it lies in memory, seen as (A, B, C, D): B and D are the dimensions `dims`, A and C are the others.

    So, along its last dimension, (rows, width) is (rows, width, 1, 1). Without channels (N, C, H, W) is (1, N, C, HW),
    and (1, NHW, C, 1) if it lies in memory channels last. An array whose memory has more pieces is copied.

    Args:
        x: the array; others of its shape are brought into its order.
        dims: one dimension, or several.

    Attributes:
        whole: (A, B, C, D).
        each: (A, 1, C, 1), what there is one of along `dims`.
        line: (1, B, 1, D), what all others share.
    """

    def __init__(self, x: NDArray[Any], dims: int | tuple[int, ...]) -> None:
        along = normalize_axis_tuple(dims, x.ndim)
        order = sorted(range(x.ndim), key=lambda d: -abs(x.strides[d]))  # the longest steps in memory first
        sizes = [1]
        for d in order:
            if x.shape[d] != 1:
                if (d in along) != (len(sizes) % 2 == 0):
                    sizes.append(1)
                sizes[-1] *= x.shape[d]
        if len(sizes) > 4:
            order.sort(key=lambda d: d in along)
            sizes = [math.prod(x.shape[d] for d in order if (d in along) == inside) for inside in (False, True)]
        a, b, c, d = [*sizes, 1, 1, 1][:4]
        self.whole, self.each, self.line = (a, b, c, d), (a, 1, c, 1), (1, b, 1, d)
        self._order = order
        self._shapes = {
            self.line: tuple([x.shape[d] if d in along else 1 for d in order]),
            self.each: tuple([1 if d in along else x.shape[d] for d in order]),
            self.whole: tuple([x.shape[d] for d in order]),
        }

    def of(self, x: NDArray[Any], sizes: Sizes) -> NDArray[Any]:
        """An array that broadcasts to one of the three, as that; contiguous."""
        shape = self._shapes[sizes]
        ordered = x.reshape((1,) * (len(shape) - x.ndim) + x.shape).transpose(self._order)
        if ordered.shape != shape:
            ordered = np.broadcast_to(ordered, shape)
        return np.ascontiguousarray(ordered).reshape(sizes)

    def back(self, x: NDArray[Any]) -> NDArray[Any]:
        """The other way; no copy."""
        return x.reshape(self._shapes[x.shape]).transpose(np.argsort(self._order))

    def new(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Room for a result such as x, which is one of the three: as it is outside, and the same memory as that."""
        out = np.empty_like(self.back(x))
        return out, self.of(out, x.shape)


class Plan(NamedTuple):
    """One convolution by tables."""

    frame: tuple[int, int, int, int]
    """Top and left of the picture in the frame; the frame's height and width."""
    starts: Table
    """For each place of the result: where it begins to read in the frame."""
    places: Table
    """For each place of the result: its number in the result's picture."""
    taps: tuple[NDArray[np.intp], NDArray[np.intp]]
    """The rows and the columns of the filter that take part, in the order in which they are read."""
    terms: Table
    """How far from `starts` each term of a place's sum lies: the taps row by row, and in each tap the channels."""


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """x (N, C, H, W) as a contiguous (N, H, W, C); a copy only if its memory has another order."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """x (N, H, W, C) seen as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def output_size(size: int, padding: Pair, kernel: int, stride: int, dilation: int) -> int:
    """How many places a filter of `kernel` taps has on a line of `size` numbers."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


@functools.lru_cache(maxsize=256)
def forward_plan(
    size: Pair, depth: int, group_depth: int, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Plan:
    """The plan of a convolution of pictures of `size` with `depth` channels."""
    height, width = (size[a] + sum(padding[a]) for a in (0, 1))
    rows, columns = (
        np.arange(output_size(size[a], padding[a], kernel[a], stride[a], dilation[a])) * stride[a] for a in (0, 1)
    )
    taps = np.arange(kernel[0]), np.arange(kernel[1])
    terms = _terms(taps[0] * dilation[0] * width, taps[1] * dilation[1], depth, group_depth)
    starts = _grid(rows * width, columns) * depth
    return Plan((padding[0][0], padding[1][0], height, width), starts, np.arange(starts.size), taps, terms)


@functools.lru_cache(maxsize=256)
def backward_plans(
    size: Pair,
    output: Pair,
    depth: int,
    group_depth: int,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> list[Plan]:
    """The plans of the gradient to pictures of `size`, from gradients of size `output` with `depth` channels.

    Tap k joins the input's place h with the output's place i = (h + before - k d) / s, where that is whole. Whether it
    is depends on (h + before) mod s and k d mod s: one plan for each pair of remainders that has taps and places.
    """
    lines = []
    for a in (0, 1):
        places = np.arange(size[a]) + padding[a][0]
        taps = np.arange(kernel[a])[::-1]  # so that the gradient is read forwards
        low = min(0, (padding[a][0] - dilation[a] * (kernel[a] - 1)) // stride[a])  # the first i, and the last:
        high = max(output[a] - 1, int(places[-1]) // stride[a])
        choices = []
        for remainder in range(stride[a]):
            mine = places[places % stride[a] == remainder]
            taking = taps[taps * dilation[a] % stride[a] == remainder]
            if mine.size and taking.size:
                choices.append(
                    (mine // stride[a] - low, mine - padding[a][0], taking, -(taking * dilation[a] // stride[a]))
                )
        lines.append((low, high - low + 1, choices))
    (top, height, vertical), (left, width, horizontal) = lines
    plans = []
    for i, h, taps_y, away_y in vertical:
        for j, w, taps_x, away_x in horizontal:
            starts, places = _grid(i * width, j) * depth, _grid(h * size[1], w)
            terms = _terms(away_y * width, away_x, depth, group_depth)
            plans.append(Plan((-top, -left, height, width), starts, places, (taps_y, taps_x), terms))
    return plans


def _grid(rows: Table, columns: Table) -> Table:
    """Every row's number plus every column's, in one line."""
    return (rows[:, None] + columns).ravel().astype(np.intp)


def _terms(rows: Table, columns: Table, depth: int, group_depth: int) -> Table:
    """The offsets of the taps' channels, those of one group."""
    return _grid(_grid(rows, columns) * depth, np.arange(group_depth))
