"""The three convolutions as one kind of matrix product whose rows are places in a picture.

The order of the loops: images (shared out among threads), groups, blocks of columns as wide as a few vector registers,
blocks of the filter's rows, small tiles of places; inside a tile taps and channels. An image is first copied into a
frame of zeros, which fits the second cache, so that no loop asks whether it is at the border; tables (`geometry`) say
where each place begins and how far away each tap lies. So strides, dilation and borders, and the first layer with its
single channel, need no loops of their own, and one compiled product (`loops.tile`) serves three purposes:

- forward: rows are places, columns output channels, the sum goes over taps and input channels;
- gradient of the input: the same from grad, with the filter turned round. With a stride the input's places fall into
  classes that meet different taps; each class is a convolution of its own;
- gradient of the weights: rows are taps × input channels, columns output channels, the sum goes over places. Images are
  summed in a number of parts that depends on the shapes alone, so that the bits do not depend on the threads.

What limits it: the multipliers, where a group has at least as many columns as a vector register has lanes (4 to 16);
with fewer columns lanes go idle. Memory beyond the result: a framed image and a result's image for each thread; for
the weights' gradient at most eight copies of it.
"""

from __future__ import annotations

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
from chainrule.kernels.loops.tile import SPARE_ROWS, VECTOR_BYTES, copy, product
from chainrule.kernels.team import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

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
    # Here a row begins at a tap and a channel, and runs along the places of one line of the result.
    starts = ((plan.runs[:, None]) + np.arange(plan.length)).ravel()
    runs = plan.starts.reshape(height, width)[:, 0].copy()
    parts = max(1, min(PARTS, images, PARTS_ELEMENTS // (groups * starts.size * columns)))
    pieces = np.array_split(starts, min(starts.size, PARTS // parts))
    rows = len(pieces[0])  # the longest
    tables = np.concatenate([_pad(piece, rows + SPARE_ROWS) for piece in pieces])
    total = np.empty((parts, len(pieces), groups, rows + SPARE_ROWS, columns), x.dtype)
    spread(
        _weight_gradient, parts * len(pieces), images * height * width * outputs * kernel[0] * kernel[1] * depth // 8,
        channels_last(x).ravel(), channels_last(grad).ravel(), total.ravel(), tables, runs,
        np.arange(height) * (width * columns), (images, *size, channels), plan.frame, (height, width, outputs),
        total.shape, stride[1] * channels,
    )  # fmt: skip
    summed = total[..., :rows, :per_group].sum(axis=0)  # (pieces, groups, rows, O / groups)
    rows_in_order = np.concatenate([summed[q, :, : len(piece)] for q, piece in enumerate(pieces)], axis=1)
    by_group = rows_in_order.reshape(groups, *kernel, depth, per_group)
    return np.ascontiguousarray(by_group.transpose(0, 4, 3, 1, 2)).reshape(weight_shape)


def _correlate_by(plan: Plan, x: Array, weight: Array, out: Array) -> None:
    """Convolve x (N, H, W, C) with weight (groups, KH, KW, C / groups, O / groups) into the plan's places of out."""
    groups, used = weight.shape[0], weight.shape[-1]
    columns = _whole_vectors(used, x.dtype)
    rows = weight.size // (groups * used)
    matrix = np.zeros((*weight.shape[:-1], columns), x.dtype)
    matrix[..., :used] = weight
    spread(
        _correlate, len(x), len(x) * plan.places.size * matrix.size // 8, x.ravel(), matrix.ravel(), out.ravel(),
        _pad(plan.starts, plan.starts.size + SPARE_ROWS), plan.places, plan.runs,
        np.arange(plan.runs.size) * (plan.length * columns), plan.length, 1, x.shape, plan.frame,
        (groups, rows, columns), out.shape,
    )  # fmt: skip


def _whole_vectors(columns: int, dtype: np.dtype[Any]) -> int:
    lanes = VECTOR_BYTES // dtype.itemsize
    return -(-columns // lanes) * lanes


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The table made longer by its last entry, for rows that are computed and not used."""
    return np.pad(table, (0, size - table.size), mode="edge")


@jit
def _correlate(
    x: Any, weights: Any, out: Any, table: Any, places: Any, run_x: Any, run_w: Any, length: int, x_step: int,
    x_shape: Any, frame: Any, weights_shape: Any, out_shape: Any, begin: int, end: int,
) -> None:  # fmt: skip
    """Convolve images begin … end - 1 of x (N, H, W, C), framed, with weights (groups, K, columns): out (N, H′, W′, O).

    Place `places[i]` of out reads from `table[i]` on. Arrays are flat.
    """
    _, h, w, channels = x_shape
    _, _, height, width = frame
    groups, depth, columns = weights_shape
    _, out_height, out_width, outputs = out_shape
    used, rows = outputs // groups, places.size
    framed = np.zeros(height * width * channels, x.dtype)
    sums = np.empty((rows + SPARE_ROWS) * columns, x.dtype)
    for image in range(begin, end):
        _put_in_frame(x, image * h * w * channels, h, w * channels, framed, frame, channels)
        for group in range(groups):
            product(
                framed, group * (channels // groups), table, weights, group * depth * columns, run_x, run_w, length,
                x_step, columns, sums, 0, rows, columns, True,
            )  # fmt: skip
            out_at = image * out_height * out_width * outputs + group * used
            for row in range(rows):
                copy(out, out_at + places[row] * outputs, sums, row * columns, used)


@jit
def _weight_gradient(
    x: Any, grad: Any, total: Any, tables: Any, run_x: Any, run_w: Any, x_shape: Any, frame: Any, grad_shape: Any,
    total_shape: Any, x_step: int, begin: int, end: int,
) -> None:  # fmt: skip
    """Sums over images of x's windows times grad (N, H′, W′, O): total (parts, pieces, groups, rows, columns).

    A part has a share of the images, a piece a share of the rows, with its table; pairs of both are numbered, and these
    are begin … end - 1. Arrays are flat.
    """
    images, h, w, channels = x_shape
    _, _, frame_height, frame_width = frame
    parts, pieces, groups, rows, columns = total_shape
    height, width, outputs = grad_shape
    used = outputs // groups
    framed = np.zeros(frame_height * frame_width * channels, x.dtype)
    upstream = np.zeros(height * width * columns, x.dtype)
    for item in range(begin, end):
        part, piece = item // pieces, item % pieces
        first, last = part * images // parts, (part + 1) * images // parts
        table = tables[piece * rows : (piece + 1) * rows]
        for image in range(first, last):
            _put_in_frame(x, image * h * w * channels, h, w * channels, framed, frame, channels)
            for group in range(groups):
                grad_at = image * height * width * outputs + group * used
                for place in range(height * width):
                    copy(upstream, place * columns, grad, grad_at + place * outputs, used)
                product(
                    framed, group * (channels // groups), table, upstream, group * 0, run_x, run_w, width, x_step,
                    columns, total, (item * groups + group) * rows * columns, rows - SPARE_ROWS, columns,
                    image == first,
                )  # fmt: skip


@jit
def _put_in_frame(x: Any, x_at: int, height: int, length: int, framed: Any, frame: Any, channels: int) -> None:
    """Copy a picture of so many lines of so many numbers into its place in the frame."""
    top, left, _, width = frame
    for line in range(height):
        copy(framed, ((top + line) * width + left) * channels, x, x_at + line * length, length)
