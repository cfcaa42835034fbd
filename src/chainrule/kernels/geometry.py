"""Where the numbers that a convolution reads lie in memory.

A `Plan` is tables of offsets that make strides, dilation and borders a matter of addition, for `convolution_loops`: the
picture is copied into a frame of zeros, (height, width, depth) in memory, and the tables count elements of it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pair = tuple[int, int]
    Padding = tuple[Pair, Pair]
    Table = NDArray[np.intp]


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
