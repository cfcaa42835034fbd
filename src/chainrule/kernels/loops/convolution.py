"""The three convolutions as one kind of matrix product whose rows are places in a picture.

The order of the loops: images (shared out among threads), groups, slabs of places, blocks of columns as wide as a few
vector registers, blocks of taps and channels, small tiles of places; inside a tile taps and channels. An image is first
copied into a frame of zeros, which fits the second cache, so that no loop asks whether it is at the border; tables
(`geometry`) say where each place begins and how far away each tap's channels lie. So strides, dilation and borders, and
the first layer with its single channel, need no loops of their own, and one compiled product (`loops.tile`) serves
three purposes:

- forward: rows are places, columns output channels, the sum goes over taps and input channels;
- gradient of the input: the same from grad, with the filter turned round. With a stride the input's places fall into
  classes that meet different taps; each class is a convolution of its own;
- gradient of the weights: the two tables change places. Rows are taps × input channels, columns output channels, the
  sum goes over places. Images are summed in a number of parts that depends on the shapes alone, so that the bits do not
  depend on the threads.

A product's rows are written where they belong if they are neighbours there, as without groups and strides they are;
otherwise they are copied from a small buffer.

What limits it: the multipliers, where a group has at least as many columns as a vector register has lanes (4 to 16);
with fewer columns lanes go idle. With few terms, as in a first layer, it is memory. On one core with AVX-512 the second
layer of a small network (64 images, 32 channels of 14 × 14 to 64, taps 5 × 5: 1.28 billion multiplications and
additions) takes 6.7 ms forward, 6.8 ms to its input and 6.9 ms to its weights, some 190 GFLOP/s; the first (1 channel
of 28 × 28 to 32) takes 0.9 ms forward and 1.0 ms to its weights, of which 0.5 are arithmetic. Memory beyond the result:
a framed image and a slab for each thread; for the weights' gradient at most eight copies of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import jit
from chainrule.kernels.geometry import (
    Plan,
    backward_plans,
    channels_first,
    channels_last,
    forward_plan,
    output_size,
)
from chainrule.kernels.loops.tile import NARROW_ROWS, PAIR_ROWS, SPARE_ROWS, VECTOR_BYTES, WIDE_ROWS, copy, product
from chainrule.kernels.team import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SLAB_ROWS = 4 * math.lcm(WIDE_ROWS, PAIR_ROWS, NARROW_ROWS)  # places at a time, whole tiles of each kind
PARTS = 8  # of the weights' gradient: so many threads can work at it
PARTS_ELEMENTS = 2**20  # but no more parts than have so many elements together


def convolve(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    """See `kernels.convolution`."""
    outputs, depth, *kernel = weight.shape
    images, channels, *size = x.shape
    plan = forward_plan(tuple(size), channels, depth, tuple(kernel), stride, padding, dilation)
    places = [output_size(size[a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    if not (x.size and weight.size):
        return channels_first(np.zeros((images, *places, outputs), x.dtype))
    out = np.empty((images, *places, outputs), x.dtype)
    by_group = weight.reshape(groups, outputs // groups, depth, *kernel)
    _correlate_by(plan, channels_last(x), by_group.transpose(0, 3, 4, 2, 1), out)
    return channels_first(out)


def convolve_input_gradient(
    grad: Array, weight: Array, input_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """See `kernels.convolution`."""
    outputs, depth, *kernel = weight.shape
    images, channels, *size = input_shape
    plans = []
    if grad.size and weight.size and 0 not in size:
        plans = backward_plans(
            tuple(size), grad.shape[2:], outputs, outputs // groups, tuple(kernel), stride, padding, dilation
        )
    complete = sum(plan.places.size for plan in plans) == size[0] * size[1]
    out = (np.empty if complete else np.zeros)((images, *size, channels), grad.dtype)
    upstream = channels_last(grad)
    by_group = weight.reshape(groups, outputs // groups, depth, *kernel).transpose(0, 3, 4, 1, 2)
    for plan in plans:
        _correlate_by(plan, upstream, by_group[:, plan.taps[0]][:, :, plan.taps[1]], out)
    return channels_first(out)


def convolve_weight_gradient(
    x: Array, grad: Array, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """See `kernels.convolution`."""
    outputs, depth, *kernel = weight_shape
    images, channels, *size = x.shape
    if not (x.size and grad.size and outputs * depth):
        return np.zeros(weight_shape, x.dtype)
    plan = forward_plan(tuple(size), channels, depth, tuple(kernel), stride, padding, dilation)
    _, _, height, width = grad.shape
    per_group = outputs // groups
    columns = _whole_vectors(per_group, x.dtype)
    parts = max(1, min(PARTS, images, PARTS_ELEMENTS // (groups * plan.terms.size * columns)))
    pieces = np.array_split(plan.terms, min(plan.terms.size, PARTS // parts))  # a row for each tap and channel
    rows = len(pieces[0])  # the longest
    tables = np.concatenate([_pad(piece, rows + SPARE_ROWS) for piece in pieces])
    total = np.empty((parts, len(pieces), groups, rows + SPARE_ROWS, columns), x.dtype)
    spread(
        _weight_gradient, parts * len(pieces), images * height * width * outputs * kernel[0] * kernel[1] * depth // 8,
        _flat(channels_last(x)), _flat(channels_last(grad)), total.ravel(), tables, plan.starts,
        (images, *size, channels), plan.frame, outputs, total.shape,
    )  # fmt: skip
    summed = total[..., :rows, :per_group].sum(axis=0)  # (pieces, groups, rows, O / groups)
    rows_in_order = np.concatenate([summed[q, :, : len(piece)] for q, piece in enumerate(pieces)], axis=1)
    by_group = rows_in_order.reshape(groups, *kernel, depth, per_group)
    return np.ascontiguousarray(by_group.transpose(0, 4, 3, 1, 2)).reshape(weight_shape)


def _correlate_by(plan: Plan, x: Array, weight: Array, out: Array) -> None:
    """Convolve x (N, H, W, C) with weight (groups, KH, KW, C / groups, O / groups) into the plan's places of out."""
    groups, used = weight.shape[0], weight.shape[-1]
    columns = _whole_vectors(used, x.dtype)
    matrix = np.zeros((*weight.shape[:-1], columns), x.dtype)
    matrix[..., :used] = weight
    spread(
        _correlate, len(x), len(x) * plan.places.size * matrix.size // 8, _flat(x), matrix.ravel(), out.ravel(),
        _pad(plan.starts, plan.starts.size + SPARE_ROWS), plan.places, plan.terms, x.shape, plan.frame,
        (groups, columns), out.shape,
    )  # fmt: skip


def _flat(array: Array) -> Array:
    """The array in one line; copied if it is read-only, for which loops would have to be compiled anew."""
    return array.ravel() if array.flags.writeable else array.flatten()


def _whole_vectors(columns: int, dtype: np.dtype[Any]) -> int:
    lanes = VECTOR_BYTES // dtype.itemsize
    return -(-columns // lanes) * lanes


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The table made longer by its last entry, for rows that are computed and not used."""
    return np.pad(table, (0, size - table.size), mode="edge")


@jit
def _correlate(
    x: Any, weights: Any, out: Any, table: Any, places: Any, terms: Any, x_shape: Any, frame: Any, weights_shape: Any,
    out_shape: Any, begin: int, end: int,
) -> None:  # fmt: skip
    """Convolve images begin … end - 1 of x (N, H, W, C), framed, with weights (groups, K, columns): out (N, H′, W′, O).

    Place `places[i]` of out reads from `table[i]` on. Arrays are flat.
    """
    _, h, w, channels = x_shape
    _, _, height, width = frame
    groups, columns = weights_shape
    _, out_height, out_width, outputs = out_shape
    used = outputs // groups
    # whether a slab of the product lies as a slab of the result does
    neighbours = groups == 1 and columns == outputs and places[-1] == places.size - 1
    framed = np.zeros(height * width * channels, x.dtype)
    sums = np.empty((SLAB_ROWS + SPARE_ROWS) * columns, x.dtype)
    for image in range(begin, end):
        _put_in_frame(x, image * h * w * channels, h, w * channels, framed, frame, channels)
        for group in range(groups):
            out_at = image * out_height * out_width * outputs + group * used
            for first in range(0, places.size, SLAB_ROWS):
                rows = min(SLAB_ROWS, places.size - first)
                direct = neighbours and rows == SLAB_ROWS
                to, to_at = (out, out_at + first * outputs) if direct else (sums, 0)
                product(
                    framed, group * (channels // groups), table[first:], rows, terms, weights,
                    group * terms.size * columns, to, to_at, columns, True,
                )  # fmt: skip
                for row in range(0 if direct else rows):
                    copy(out, out_at + places[first + row] * outputs, sums, row * columns, used)


@jit
def _weight_gradient(
    x: Any, grad: Any, total: Any, tables: Any, places: Any, x_shape: Any, frame: Any, outputs: int, total_shape: Any,
    begin: int, end: int,
) -> None:  # fmt: skip
    """Sums over images of x's windows times grad (N, places, O): total (parts, pieces, groups, rows, columns).

    A part has a share of the images, a piece a share of the rows, with its table; pairs of both are numbered, and these
    are begin … end - 1. Arrays are flat.
    """
    images, h, w, channels = x_shape
    _, _, frame_height, frame_width = frame
    parts, pieces, groups, rows, columns = total_shape
    used = outputs // groups
    framed = np.zeros(frame_height * frame_width * channels, x.dtype)
    direct = groups == 1 and columns == outputs  # the product takes grad as it lies
    copied = np.zeros(0 if direct else places.size * columns, x.dtype)
    for item in range(begin, end):
        part, piece = item // pieces, item % pieces
        first, last = part * images // parts, (part + 1) * images // parts
        table = tables[piece * rows : (piece + 1) * rows]
        for image in range(first, last):
            _put_in_frame(x, image * h * w * channels, h, w * channels, framed, frame, channels)
            for group in range(groups):
                grad_at = image * places.size * outputs + group * used
                if direct:
                    upstream, upstream_at = grad, grad_at
                else:
                    upstream, upstream_at = copied, 0
                    for place in range(places.size):
                        copy(copied, place * columns, grad, grad_at + place * outputs, used)
                product(
                    framed, group * (channels // groups), table, rows - SPARE_ROWS, places, upstream, upstream_at,
                    total, (item * groups + group) * rows * columns, columns, image == first,
                )  # fmt: skip


@jit
def _put_in_frame(x: Any, x_at: int, height: int, length: int, framed: Any, frame: Any, channels: int) -> None:
    """Copy a picture of so many lines of so many numbers into its place in the frame."""
    top, left, _, width = frame
    for line in range(height):
        copy(framed, ((top + line) * width + left) * channels, x, x_at + line * length, length)
