"""The three convolutions as one kind of matrix product whose rows are places in a picture.

The order of the loops: images and shares of an image (for threads), groups, slabs of places, blocks of columns as wide
as a few vector registers, blocks of taps and channels, small tiles of places; inside a tile taps and channels. An image
is first copied into a frame of zeros, which fits the second cache, so that no loop asks whether it is at the border;
tables (`geometry`) say where each place begins and how far away each tap's channels lie. So strides, dilation and
borders, and the first layer with its single channel, need no loops of their own, and one compiled product
(`loops.tile`) serves three purposes:

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

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.np.numpy_support import carray

from chainrule.kernels.compile import jit
from chainrule.kernels.geometry import (
    Plan,
    backward_plans,
    channels_first,
    channels_last,
    forward_plan,
    output_size,
)
from chainrule.kernels.loops.job import Job, Kernel, line_of
from chainrule.kernels.loops.tile import (
    NARROW_ROWS,
    PAIR_ROWS,
    SPARE_ROWS,
    VECTOR_BYTES,
    WIDE_ROWS,
    clear,
    copy,
    product,
    turn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Dtype = np.dtype[Any]
    Shape = tuple[int, ...]

SLAB_ROWS = 4 * math.lcm(WIDE_ROWS, PAIR_ROWS, NARROW_ROWS)  # places at a time, whole tiles of each kind
PARTS = 8  # of the weights' gradient: so many threads can work at it
PARTS_ELEMENTS = 2**20  # but no more parts than have so many elements together


def convolve(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    """See `kernels.convolution`."""
    how = forward(x.shape, weight.shape, (stride, padding, dilation, groups), x.dtype)
    return _correlate_by(how, x, weight)


def convolve_input_gradient(
    grad: Array, weight: Array, input_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """See `kernels.convolution`."""
    how = input_gradient(grad.shape, weight.shape, tuple(input_shape), (stride, padding, dilation, groups), grad.dtype)
    return _correlate_by(how, grad, weight)


def _correlate_by(how: Correlation, x: Array, weight: Array) -> Array:
    if how.correlate is None or how.pack is None:
        return channels_first(np.zeros(how.shape, x.dtype))
    packed, out = np.empty(how.packed, x.dtype), np.empty(how.shape, x.dtype)
    how.pack.run(np.ascontiguousarray(weight), packed)
    how.correlate.run(channels_last(x), packed, out)
    return channels_first(out)


def convolve_weight_gradient(
    x: Array, grad: Array, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """See `kernels.convolution`."""
    how = weight_gradient(x.shape, grad.shape, tuple(weight_shape), (stride, padding, dilation, groups), x.dtype)
    if how is None:
        return np.zeros(weight_shape, x.dtype)
    sums, out = np.empty(how.sums, x.dtype), np.empty(weight_shape, x.dtype)
    how.items.run(channels_last(x), channels_last(grad), sums)
    how.unpack.run(sums, out)
    return out


@dataclass(frozen=True, eq=False)
class Correlation:
    """What makes a convolution, or the gradient to its input: weights packed, then multiplied.

    Attributes:
        packed: how many numbers the packed weights are.
        shape: of the result, (N, H, W, C).
        pack: (weight, packed), or None if the result is 0.
        correlate: (x, packed, result).
    """

    packed: int
    shape: Shape
    pack: Job | None = None
    correlate: Job | None = None


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """What makes the gradient to the weights: sums over parts of the images, then the sum of the parts.

    Attributes:
        sums: (parts, pieces, groups, rows, columns) of them.
        items: (x, grad, sums), with a row for each pair of a part and a piece.
        images: the same for one part, whose images are the rows; `fresh` for its first.
        unpack: (sums, gradient).
    """

    sums: Shape
    items: Job
    images: Job
    unpack: Job


@functools.lru_cache(maxsize=256)
def forward(shape: Shape, weight: Shape, slide: Any, dtype: Dtype) -> Correlation:
    """The convolution of pictures (N, C, H, W)."""
    stride, padding, dilation, groups = slide
    outputs, depth, *kernel = weight
    images, channels, *size = shape
    plan = forward_plan(tuple(size), channels, depth, tuple(kernel), stride, padding, dilation)
    places = [output_size(size[a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    sources = _numbered(weight, groups).transpose(0, 3, 4, 2, 1)
    return _correlation([plan], shape, sources, (images, *places, outputs), dtype)


@functools.lru_cache(maxsize=256)
def input_gradient(shape: Shape, weight: Shape, input_shape: Shape, slide: Any, dtype: Dtype) -> Correlation:
    """The gradient to pictures of a shape, from one of the shape (N, O, H', W')."""
    stride, padding, dilation, groups = slide
    outputs, _, *kernel = weight
    images, channels, *size = input_shape
    plans = []
    if math.prod(shape) and math.prod(weight) and 0 not in size:
        plans = backward_plans(
            tuple(size), shape[2:], outputs, outputs // groups, tuple(kernel), stride, padding, dilation
        )
    sources = _numbered(weight, groups).transpose(0, 3, 4, 1, 2)
    return _correlation(plans, shape, sources, (images, *size, channels), dtype)


def _numbered(weight: Shape, groups: int) -> NDArray[np.int64]:
    """Each weight's number, by (group, its output channel, its input channel, row, column)."""
    return np.arange(math.prod(weight)).reshape(groups, weight[0] // groups, *weight[1:])


def _correlation(plans: Sequence[Plan], shape: Shape, sources: Array, out: Shape, dtype: Dtype) -> Correlation:
    """By weights that are numbered `sources` (groups, KH, KW, C / groups, O / groups)."""
    if not (plans and math.prod(shape) and sources.size):
        return Correlation(0, out)
    groups, used = sources.shape[0], sources.shape[-1]
    columns = _whole_vectors(used, dtype)
    rows, packed = [], 0
    tables: list[Any] = []
    for plan in plans:
        mine = sources[:, plan.taps[0]][:, :, plan.taps[1]][..., 0].ravel()
        tables += [plan.places.size, plan.terms.size, packed]
        tables += [_pad(plan.starts, plan.starts.size + SPARE_ROWS), plan.places, plan.terms]
        packed += mine.size * columns
        rows.append(mine)
    apart = sources[(0,) * 4 + (slice(2),)]
    table = np.concatenate(rows)
    lanes = VECTOR_BYTES // dtype.itemsize
    order = np.argsort(table)
    ends = _blocks(table[order], lanes)
    numbers = [columns, used, apart[-1] - apart[0], lanes, order, ends, table[order]]
    pack = PACK.job([dtype], numbers, ends.size, packed // 4, 0)
    bare = np.setdiff1d(np.arange(out[1] * out[2]), np.concatenate([plan.places for plan in plans]))
    steps = max(plan.places.size for plan in plans)
    numbers = [
        steps, *shape[1:], *plans[0].frame, groups, columns, out[1] * out[2], out[3], bare.size, bare, len(plans),
        *tables,
    ]  # fmt: skip
    scratch = plans[0].frame[2] * plans[0].frame[3] * shape[1] + (SLAB_ROWS + SPARE_ROWS) * columns
    work = out[0] * steps * packed // 8
    return Correlation(packed, out, pack, CORRELATE.job([dtype], numbers, out[0] * steps, work, scratch, steps))


@functools.lru_cache(maxsize=256)
def weight_gradient(shape: Shape, grad: Shape, weight: Shape, slide: Any, dtype: Dtype) -> WeightGradient | None:
    """The gradient to weights, from pictures (N, C, H, W) and the gradient (N, O, H', W'); None if it is 0."""
    stride, padding, dilation, groups = slide
    outputs, depth, *kernel = weight
    images, channels, *size = shape
    if not (math.prod(shape) and math.prod(grad) and outputs * depth):
        return None
    plan = forward_plan(tuple(size), channels, depth, tuple(kernel), stride, padding, dilation)
    places, per_group = plan.places.size, outputs // groups
    columns = _whole_vectors(per_group, dtype)
    parts = max(1, min(PARTS, images, PARTS_ELEMENTS // (groups * plan.terms.size * columns)))
    pieces = np.array_split(plan.terms, min(plan.terms.size, PARTS // parts))  # a row for each tap and channel
    rows = len(pieces[0]) + SPARE_ROWS  # of the longest
    sums = parts, len(pieces), groups, rows, columns
    numbers = [
        images, *shape[1:], *plan.frame, outputs, *sums, places,
        np.concatenate([_pad(piece, rows) for piece in pieces]), plan.starts,
    ]  # fmt: skip
    work = images * places * outputs * plan.terms.size // 8
    scratch = plan.frame[2] * plan.frame[3] * channels + places * columns
    where = [(q, i) for q, piece in enumerate(pieces) for i in range(len(piece))]
    first = _numbered(weight, groups).transpose(0, 3, 4, 2, 1)[..., 0].reshape(groups, -1)
    sources = np.array([[(q * groups + g) * rows + i for q, i in where] for g in range(groups)]) * columns
    unpack = [parts, math.prod(sums[1:]), per_group, depth * kernel[0] * kernel[1], sources, first]
    return WeightGradient(
        sums,
        SUM_ITEMS.job([dtype], numbers, parts * len(pieces), work, scratch),
        SUM_IMAGES.job([dtype], numbers, images, work, scratch),
        UNPACK.job([dtype], unpack, first.size, math.prod(sums), columns),
    )


def _blocks(sources: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Ends of blocks of up to so many neighbours each."""
    runs = np.split(sources, np.flatnonzero(np.diff(sources) != 1) + 1)
    sizes = [min(most, run.size - begin) for run in runs for begin in range(0, run.size, most)]
    return np.cumsum(sizes)


def _whole_vectors(columns: int, dtype: Dtype) -> int:
    lanes = VECTOR_BYTES // dtype.itemsize
    return -(-columns // lanes) * lanes


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The table made longer by its last entry, for rows that are computed and not used."""
    return np.pad(table, (0, size - table.size), mode="edge")


def _pack(description: Any, weight: Any, packed: Any, _: Any, scratch: Any, first: int, last: int, fresh: int) -> None:
    """Put the weights of each row side by side, column by column; missing columns are 0.

    A row's column j is the weight `source` + j `apart`. Rows come in blocks, first … last - 1 of these, whose sources
    are neighbours, so that whole vectors can be read and turned round; if there are as many as a vector has lanes.
    """
    d = line_of(description)
    columns, used, apart, lanes = d[0], d[1], d[2], d[3]
    table, ends, sources = d[d[4] :], d[d[5] :], d[d[6] :]
    weights, matrix = carray(weight, (used * apart,)), carray(packed, (columns,))
    for block in range(first, last):
        begin, end = (ends[block - 1] if block else 0), ends[block]
        turned = used // lanes * lanes if end - begin == lanes else 0
        for column in range(0, turned, lanes):
            at = sources[begin] + column * apart
            turn(weights, at, apart, matrix, table[begin : begin + lanes], columns, column)
        for k in range(begin, end):
            at = table[k] * columns
            for column in range(turned, used):
                packed[at + column] = weight[sources[k] + column * apart]
            for column in range(used, columns):
                packed[at + column] = 0


def _correlate(
    description: Any, x: Any, weights: Any, out: Any, scratch: Any, first: int, last: int, fresh: int
) -> None:
    """Convolve a part of x (N, H, W, C), framed, with packed weights (groups, K, columns): out (N, H′, W′, O).

    Each image is cut into `steps`; these are steps first … last - 1 of all images'.
    """
    d = line_of(description)
    steps, channels, h, w = d[0], d[1], d[2], d[3]
    frame = d[4], d[5], d[6], d[7]
    groups, columns, places, outputs, bare, plans = d[8], d[9], d[10], d[11], d[12], d[14]
    in_frame = frame[2] * frame[3] * channels
    framed, sums = carray(scratch, (in_frame,)), carray(scratch, (in_frame + SLAB_ROWS * columns,))[in_frame:]
    images = -(-last // steps)
    pictures = carray(x, (images * h * w * channels,))
    packed, results = carray(weights, (groups * columns,)), carray(out, (images * places * outputs,))
    for image in range(first // steps, images):
        begin, end = max(first - image * steps, 0), min(last - image * steps, steps)
        put_in_frame(pictures, image * h * w * channels, h, w * channels, framed, frame, channels)
        for k in range(begin * bare // steps, end * bare // steps):  # places that no tap reaches
            clear(results, (image * places + d[d[13] + k]) * outputs, outputs)
        for plan in range(plans):
            p = d[15 + 6 * plan : 21 + 6 * plan]
            low, high = begin * p[0] // steps, end * p[0] // steps
            slabs(
                framed, channels, packed, p[2], results, image * places * outputs, sums, d[p[3] :], d[p[4] :],
                d[p[5] : p[5] + p[1]], p[0], low, high, groups, columns, outputs,
            )  # fmt: skip


@jit
def slabs(
    framed: Any, channels: int, weights: Any, weights_at: int, out: Any, out_at: int, sums: Any, table: Any,
    places: Any, terms: Any, count: int, low: int, high: int, groups: int, columns: int, outputs: int,
) -> None:  # fmt: skip
    """Places low … high - 1 of one image by one plan; place `places[i]` of out reads from `table[i]` on."""
    used = outputs // groups
    # whether a slab of the product lies as a slab of the result does
    neighbours = groups == 1 and columns == outputs and places[count - 1] == count - 1
    for group in range(groups):
        for first in range(low, high, SLAB_ROWS):
            rows = min(SLAB_ROWS, high - first)
            direct = neighbours and rows == SLAB_ROWS
            to, to_at = (out, out_at + first * outputs) if direct else (sums, 0)
            product(
                framed, group * (channels // groups), table[first:], rows, terms, weights,
                weights_at + group * terms.size * columns, to, to_at, columns, True,
            )  # fmt: skip
            for row in range(0 if direct else rows):
                copy(out, out_at + places[first + row] * outputs + group * used, sums, row * columns, used)


def _sum_items(
    description: Any, x: Any, grad: Any, total: Any, scratch: Any, first: int, last: int, fresh: int
) -> None:
    """Sums over images of x's windows times grad (N, places, O): total (parts, pieces, groups, rows, columns).

    A part has a share of the images, a piece a share of the rows, with its table; pairs of both are numbered, and these
    are first … last - 1.
    """
    d = line_of(description)
    images, parts, pieces = d[0], d[9], d[10]
    for item in range(first, last):
        part, piece = item // pieces, item % pieces
        add_images(d, x, grad, total, scratch, part * images // parts, (part + 1) * images // parts, item, piece, True)


def _sum_images(
    description: Any, x: Any, grad: Any, total: Any, scratch: Any, first: int, last: int, fresh: int
) -> None:
    """The same for images first … last - 1 of one part, to which `total` belongs."""
    d = line_of(description)
    for piece in range(d[10]):
        add_images(d, x, grad, total, scratch, first, last, piece, piece, fresh != 0)


@jit
def add_images(
    d: Any, x: Any, grad: Any, total: Any, scratch: Any, first: int, last: int, item: int, piece: int, fresh: bool
) -> None:
    """One item's sums over images first … last - 1."""
    channels, h, w = d[1], d[2], d[3]
    frame, outputs = (d[4], d[5], d[6], d[7]), d[8]
    groups, rows, columns, places = d[11], d[12], d[13], d[14]
    table, starts = d[d[15] + piece * rows : d[15] + (piece + 1) * rows], d[d[16] : d[16] + places]
    used, in_frame = outputs // groups, frame[2] * frame[3] * channels
    framed, copied = carray(scratch, (in_frame,)), carray(scratch, (in_frame + places * columns,))[in_frame:]
    pictures, grads = carray(x, (last * h * w * channels,)), carray(grad, (last * places * outputs,))
    sums = carray(total, ((item + 1) * groups * rows * columns,))
    direct = groups == 1 and columns == outputs  # the product takes grad as it lies
    for image in range(first, last):
        put_in_frame(pictures, image * h * w * channels, h, w * channels, framed, frame, channels)
        for group in range(groups):
            at = image * places * outputs + group * used
            if not direct:
                for place in range(places):
                    copy(copied, place * columns, grads, at + place * outputs, used)
            upstream, upstream_at = (grads, at) if direct else (copied, 0)
            product(
                framed, group * (channels // groups), table, rows - SPARE_ROWS, starts, upstream, upstream_at,
                sums, (item * groups + group) * rows * columns, columns, fresh and image == first,
            )  # fmt: skip


def _unpack(description: Any, total: Any, out: Any, _: Any, scratch: Any, first: int, last: int, fresh: int) -> None:
    """Sum the parts, for rows first … last - 1, and put each row's columns where they belong."""
    d = line_of(description)
    parts, size, columns, apart = d[0], d[1], d[2], d[3]
    sources, targets = d[d[4] :], d[d[5] :]
    for row in range(first, last):
        source, at = sources[row], targets[row]
        for column in range(columns):
            scratch[column] = total[source + column]
        for part in range(1, parts):
            for column in range(columns):
                scratch[column] += total[source + part * size + column]
        for column in range(columns):
            out[at + column * apart] = scratch[column]


@jit
def put_in_frame(x: Any, x_at: int, height: int, length: int, framed: Any, frame: Any, channels: int) -> None:
    """Copy a picture of so many lines of so many numbers into its place in the frame, and 0 around it."""
    top, left, lines, width = frame
    across = width * channels
    clear(framed, 0, top * across)
    for line in range(height):
        at = (top + line) * across
        clear(framed, at, left * channels)
        copy(framed, at + left * channels, x, x_at + line * length, length)
        clear(framed, at + left * channels + length, across - left * channels - length)
    clear(framed, (top + height) * across, (lines - top - height) * across)


PACK, CORRELATE, UNPACK = Kernel(_pack), Kernel(_correlate), Kernel(_unpack)
SUM_ITEMS, SUM_IMAGES = Kernel(_sum_items), Kernel(_sum_images)
