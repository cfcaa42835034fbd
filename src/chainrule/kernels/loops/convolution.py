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
from numba import prange

from chainrule.kernels.compile import jit, threads
from chainrule.kernels.geometry import Plan, backward_plans, channels_first, channels_last, forward_plan
from chainrule.kernels.loops.tile import SPARE_ROWS, VECTOR_BYTES, copy, product

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
    place = [(size[a] + sum(padding[a]) - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    if not (x.size and weight.size):
        return channels_first(np.zeros((images, *place, outputs), x.dtype))
    out = np.empty((images, *place, outputs), x.dtype)
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
    if grad.size and weight.size:
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
    number, (_, _, frame_height, frame_width) = threads(), plan.frame
    frames = np.zeros(number * frame_height * frame_width * channels, x.dtype)
    upstream = np.zeros(number * height * width * columns, x.dtype)
    weight_gradient(
        channels_last(x).ravel(), channels_last(grad).ravel(), frames, upstream, total.ravel(), tables, runs,
        np.arange(height) * (width * columns), (images, *size, channels), plan.frame, (height, width, outputs),
        (parts, len(pieces), groups, rows + SPARE_ROWS, columns), stride[1] * channels, number,
    )  # fmt: skip
    summed = total.sum(axis=0)[..., :per_group]  # (pieces, groups, rows, O / groups)
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
    number, (_, _, height, width) = threads(), plan.frame
    frames = np.zeros(number * height * width * x.shape[3], x.dtype)
    sums = np.empty(number * (plan.places.size + SPARE_ROWS) * columns, x.dtype)
    correlate(
        x.ravel(), matrix.ravel(), frames, sums, out.ravel(), _pad(plan.starts, plan.starts.size + SPARE_ROWS),
        plan.places, plan.runs, np.arange(plan.runs.size) * (plan.length * columns), plan.length, x.shape, plan.frame,
        (groups, rows, columns), out.shape, number,
    )  # fmt: skip


def _whole_vectors(columns: int, dtype: np.dtype[Any]) -> int:
    lanes = VECTOR_BYTES // dtype.itemsize
    return -(-columns // lanes) * lanes


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The table made longer by its last entry, for rows that are computed and not used."""
    return np.pad(table, (0, size - table.size), mode="edge")


@jit(parallel=True)
def correlate(
    x: Any, weights: Any, frames: Any, sums: Any, out: Any, table: Any, places: Any, run_x: Any, run_w: Any,
    length: int, x_shape: Any, frame: Any, weights_shape: Any, out_shape: Any, threads: int,
) -> None:  # fmt: skip
    """Convolve x (N, H, W, C), framed, with weights (groups, K, columns) into out (N, H′, W′, O); arrays are flat.

    Place `places[i]` of out reads from `table[i]` on. frames and sums are room for each thread to work in.
    """
    images, h, w, channels = x_shape
    groups, depth, columns = weights_shape
    outputs, used, rows = out_shape[3], out_shape[3] // groups, places.size
    for thread in prange(threads):
        frame_at = thread * (frames.size // threads)
        sums_at = thread * (sums.size // threads)
        for image in range(thread * images // threads, (thread + 1) * images // threads):
            put_in_frame(x, image * h * w * channels, h, w * channels, frames, frame_at, frame, channels)
            for group in range(groups):
                product(
                    frames, frame_at + group * (channels // groups), table, 0, weights, group * depth * columns, run_x,
                    run_w, length, 1, columns, sums, sums_at, rows, columns, True,
                )  # fmt: skip
                out_at = image * out_shape[1] * out_shape[2] * outputs + group * used
                for row in range(rows):
                    copy(out, out_at + places[row] * outputs, sums, sums_at + row * columns, used)


@jit(parallel=True)
def weight_gradient(
    x: Any, grad: Any, frames: Any, upstreams: Any, total: Any, tables: Any, run_x: Any, run_w: Any, x_shape: Any,
    frame: Any, grad_shape: Any, total_shape: Any, x_step: int, threads: int,
) -> None:  # fmt: skip
    """Sums over images of x's windows times grad (N, H′, W′, O) into total (parts, pieces, groups, rows, columns).

    A part has a share of the images, a piece a share of the rows, each with its table. Arrays are flat; frames and
    upstreams are room for each thread to work in.
    """
    images, h, w, channels = x_shape
    parts, pieces, groups, rows, columns = total_shape
    height, width, outputs = grad_shape
    used = outputs // groups
    for thread in prange(threads):
        frame_at = thread * (frames.size // threads)
        upstream_at = thread * (upstreams.size // threads)
        for item in range(thread, parts * pieces, threads):
            part, piece = item // pieces, item % pieces
            for image in range(part * images // parts, (part + 1) * images // parts):
                put_in_frame(x, image * h * w * channels, h, w * channels, frames, frame_at, frame, channels)
                for group in range(groups):
                    grad_at = image * height * width * outputs + group * used
                    for place in range(height * width):
                        copy(upstreams, upstream_at + place * columns, grad, grad_at + place * outputs, used)
                    product(
                        frames, frame_at + group * (channels // groups), tables, piece * rows, upstreams, upstream_at,
                        run_x, run_w, width, x_step, columns, total, (item * groups + group) * rows * columns,
                        rows - SPARE_ROWS, columns, image == part * images // parts,
                    )  # fmt: skip


@jit()
def put_in_frame(
    x: Any, x_at: int, height: int, length: int, frames: Any, frame_at: int, frame: Any, channels: int
) -> None:
    """Copy a picture of so many lines of so many numbers into its place in the frame."""
    top, left, _, width = frame
    for line in range(height):
        to = frame_at + ((top + line) * width + left) * channels
        copy(frames, to, x, x_at + line * length, length)
