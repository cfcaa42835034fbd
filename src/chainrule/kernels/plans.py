"""How convolution and pooling are cut into jobs for compiled loops: sizes, tables, and what is shared out.

All of this depends on shapes alone, and is remembered by them. `loops.convolution` and `loops.pooling` say how the work
itself is done. Nothing here needs Numba, so that compiled loops kept on disk can be used without it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.geometry import (
    Plan,
    backward_plans,
    channels_first,
    channels_last,
    forward_plan,
    output_size,
)
from chainrule.kernels.job import Job, Kernel
from chainrule.kernels.processor import SLAB_ROWS, SPARE_ROWS, VECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Dtype = np.dtype[Any]
    Shape = tuple[int, ...]

PACK, CORRELATE = Kernel("convolution", "pack"), Kernel("convolution", "correlate")
SUM_ITEMS, SUM_IMAGES = Kernel("convolution", "sum_items"), Kernel("convolution", "sum_images")
UNPACK = Kernel("convolution", "unpack")

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


# Pooling


def max_pool(x: Any, out: Any, taps: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Put each window's largest number in `out` and its tap in `taps`."""
    MAX.windows(x.shape, out.shape, (kernel, stride, padding, dilation), x.dtype, taps.dtype).run(x, out, taps)


def max_pool_gradient(grad: Any, taps: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Put the sum of the windows' gradients in `out`, each at its window's tap."""
    how = kernel, stride, padding, dilation
    MAX_GRADIENT.windows(out.shape, grad.shape, how, grad.dtype, taps.dtype).run(grad, taps, out)


def avg_pool(x: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any) -> None:
    """Put each window's sum, over its divisor, in `out`."""
    AVG.windows(x.shape, out.shape, (kernel, stride, padding, (1, 1)), x.dtype).run(x, divisors, out)


def avg_pool_gradient(grad: Any, divisors: Any, out: Any, kernel: Any, stride: Any, padding: Any) -> None:
    """Put the sum of the windows' gradients in `out`, each over its divisor at all its taps."""
    how = kernel, stride, padding, (1, 1)
    AVG_GRADIENT.windows(out.shape, grad.shape, how, grad.dtype).run(grad, divisors, out)


@dataclass(frozen=True, eq=False)
class Pool(Kernel):
    """A kernel of pooling.

    Attributes:
        by_image: what is shared out: whole images, or lines of places.
    """

    by_image: bool = False

    def windows(self, shape: Shape, places: Shape, how: Any, *dtypes: np.dtype[Any]) -> Job:
        """It, for pictures of a shape (N, H, W, C), places (N, H′, W′, C), and (kernel, stride, padding, dilation)."""
        return _windows(self, shape, places, how, dtypes)


@functools.lru_cache(maxsize=256)
def _windows(pool: Pool, shape: Shape, places: Shape, how: Any, dtypes: Any) -> Job:
    kernel, stride, padding, dilation = how
    numbers = [*shape, *places[1:3], *kernel, *stride, *padding, *dilation, _tiled(shape, places, *how)]
    rows = shape[0] if pool.by_image else shape[0] * places[1]
    return pool.job(dtypes, numbers, rows, math.prod(places) * kernel[0] * kernel[1], 0)


def _tiled(shape: Any, places: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> bool:
    """Whether each number of a picture is in one window, no more and no less."""
    return all(
        kernel[a] == stride[a]
        and (dilation[a] == 1 or kernel[a] == 1)
        and places[1 + a] * stride[a] - padding[a] >= shape[1 + a]
        for a in (0, 1)
    )


MAX, AVG = Pool("pooling", "max_pool", (0, 0, 1)), Pool("pooling", "avg_pool")
MAX_GRADIENT = Pool("pooling", "max_pool_gradient", (0, 1, 0), by_image=True)
AVG_GRADIENT = Pool("pooling", "avg_pool_gradient", by_image=True)
