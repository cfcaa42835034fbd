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

from typing import Any

from numba.np.numpy_support import carray

from chainrule.kernels.compile import inner
from chainrule.kernels.loops.memory import line_of
from chainrule.kernels.loops.tile import clear, copy, product, turn
from chainrule.kernels.processor import SLAB_ROWS, SPARE_ROWS


def pack(description: Any, weight: Any, packed: Any, _: Any, scratch: Any, first: int, last: int, fresh: int) -> None:
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


def correlate(
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


@inner
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


def sum_items(description: Any, x: Any, grad: Any, total: Any, scratch: Any, first: int, last: int, fresh: int) -> None:
    """Sums over images of x's windows times grad (N, places, O): total (parts, pieces, groups, rows, columns).

    A part has a share of the images, a piece a share of the rows, with its table; pairs of both are numbered, and these
    are first … last - 1.
    """
    d = line_of(description)
    images, parts, pieces = d[0], d[9], d[10]
    for item in range(first, last):
        part, piece = item // pieces, item % pieces
        add_images(d, x, grad, total, scratch, part * images // parts, (part + 1) * images // parts, item, piece, True)


def sum_images(
    description: Any, x: Any, grad: Any, total: Any, scratch: Any, first: int, last: int, fresh: int
) -> None:
    """The same for images first … last - 1 of one part, to which `total` belongs."""
    d = line_of(description)
    for piece in range(d[10]):
        add_images(d, x, grad, total, scratch, first, last, piece, piece, fresh != 0)


@inner
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


def unpack(description: Any, total: Any, out: Any, _: Any, scratch: Any, first: int, last: int, fresh: int) -> None:
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


@inner
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
