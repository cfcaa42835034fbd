"""Index tables of a convolution: the memory offsets that it reads.

`IndexTables` reduce strides, dilation and padding to additions of offsets, for `convolution_loops`: each image is
copied into a zero-padded frame (height, width, channels), and the tables hold element offsets in that frame.
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


class IndexTables(NamedTuple):
    """The index tables of a convolution, or of one pass of its input gradient."""

    frame: tuple[int, int, int, int]
    """Top and left of the image in the frame; the frame's height and width."""
    starts: Table
    """For each position of the result: the offset in the frame where its window begins."""
    positions: Table
    """For each position of the result: its index i · W′ + j in an image of the result."""
    taps: tuple[NDArray[np.intp], NDArray[np.intp]]
    """The filter's rows and columns that are used, in the order in which they are read."""
    terms: Table
    """The offset of each term of a position's sum from `starts`: tap by tap, for each tap the channels of a group."""


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """x (N, C, H, W) as a contiguous array (N, H, W, C); copied only if its memory has a different order."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """x (N, H, W, C) viewed as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def output_size(size: int, padding: Pair, kernel: int, stride: int, dilation: int) -> int:
    """The number of positions of a filter with `kernel` taps along a dimension of `size` pixels."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


@functools.lru_cache(maxsize=256)
def forward_tables(
    size: Pair, channels: int, group_channels: int, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> IndexTables:
    """The tables of a convolution of images of `size` with `channels` channels."""
    height, width = (size[a] + sum(padding[a]) for a in (0, 1))
    rows, columns = (
        np.arange(output_size(size[a], padding[a], kernel[a], stride[a], dilation[a])) * stride[a] for a in (0, 1)
    )
    taps = np.arange(kernel[0]), np.arange(kernel[1])
    terms = _terms(taps[0] * dilation[0] * width, taps[1] * dilation[1], channels, group_channels)
    starts = _grid(rows * width, columns) * channels
    return IndexTables((padding[0][0], padding[1][0], height, width), starts, np.arange(starts.size), taps, terms)


@functools.lru_cache(maxsize=256)
def backward_tables(
    size: Pair,
    out_size: Pair,
    channels: int,
    group_channels: int,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> list[IndexTables]:
    """The tables of the input gradient: images of `size`, from gradients of size `out_size` with `channels` channels.

    With padding p, dilation d and stride s, tap k connects the input's position h with the output's position
    i = (h + p - k d) / s, if that is an integer: that is, if h + p and k d have the same remainder modulo s. There is
    one pass for each pair of remainders (down and across) that has taps and positions.
    """
    directions = []
    for a in (0, 1):
        positions = np.arange(size[a]) + padding[a][0]  # h + p for each h
        taps = np.arange(kernel[a])[::-1]  # reversed, so that the gradient is read forwards
        # the frame holds all i from low to high, among them those outside the gradient
        low = min(0, (padding[a][0] - dilation[a] * (kernel[a] - 1)) // stride[a])
        high = max(out_size[a] - 1, int(positions[-1]) // stride[a])
        classes = []  # for each remainder: where windows start in the frame, and their positions h; taps, their offsets
        for remainder in range(stride[a]):
            class_positions = positions[positions % stride[a] == remainder]
            class_taps = taps[taps * dilation[a] % stride[a] == remainder]
            if class_positions.size and class_taps.size:
                offsets = -(class_taps * dilation[a] // stride[a])
                starts = class_positions // stride[a] - low
                classes.append((starts, class_positions - padding[a][0], class_taps, offsets))
        directions.append((low, high - low + 1, classes))
    (top, height, vertical), (left, width, horizontal) = directions
    passes = []
    for i, h, taps_y, offsets_y in vertical:
        for j, w, taps_x, offsets_x in horizontal:
            starts, positions = _grid(i * width, j) * channels, _grid(h * size[1], w)
            terms = _terms(offsets_y * width, offsets_x, channels, group_channels)
            passes.append(IndexTables((-top, -left, height, width), starts, positions, (taps_y, taps_x), terms))
    return passes


def _grid(rows: Table, columns: Table) -> Table:
    """Every row offset plus every column offset, flattened."""
    return (rows[:, None] + columns).ravel().astype(np.intp)


def _terms(rows: Table, columns: Table, channels: int, group_channels: int) -> Table:
    """The offset of each tap's channels in a group."""
    return _grid(_grid(rows, columns) * channels, np.arange(group_channels))
