"""How convolutions are cut into jobs for their kernels: sizes, tables, and what is shared out.

All of this depends on shapes alone, and is remembered by them. `convolution_loops` does the work itself.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.convolution_loops import CORRELATE, PACK, PASS_WORDS, SUM_IMAGES, SUM_ITEMS, UNPACK
from chainrule.kernels.geometry import (
    Plan,
    backward_plans,
    forward_plan,
    output_size,
)
from chainrule.kernels.processor import SPARE_ROWS, registers
from chainrule.kernels.tree import type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.job import Job

    Array = NDArray[Any]
    Dtype = np.dtype[Any]
    Shape = tuple[int, ...]

PARTS = 8  # of the weights' gradient: so many threads can work at it
PARTS_ELEMENTS = 2**20  # but no more parts than have so many elements together


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
    passes: list[int] = []
    tables: list[Array] = []
    for plan in plans:
        mine = sources[:, plan.taps[0]][:, :, plan.taps[1]][..., 0].ravel()
        passes += [plan.places.size, plan.terms.size, packed]
        for table in (_pad(plan.starts, plan.starts.size + SPARE_ROWS), plan.places, plan.terms):
            passes.append(sum(t.size for t in tables))
            tables.append(table)
        packed += mine.size * columns
        rows.append(mine)
    apart = sources[(0,) * 4 + (slice(2),)]
    table = np.concatenate(rows)
    lanes = registers().vector_bytes // dtype.itemsize
    order = np.argsort(table)
    ends = _blocks(table[order], lanes)
    kind = [type_of(dtype)]
    pack = PACK.job(
        kind, ends.size, packed // 4, columns=columns, used=used, apart=apart[-1] - apart[0], rows=order, ends=ends,
        sources=table[order],
    )  # fmt: skip
    bare = np.setdiff1d(np.arange(out[1] * out[2]), np.concatenate([plan.places for plan in plans]))
    steps = max(plan.places.size for plan in plans)
    scratch = plans[0].frame[2] * plans[0].frame[3] * shape[1] + (registers().slab_rows + SPARE_ROWS) * columns
    work = out[0] * steps * packed // 8
    correlate = CORRELATE.job(
        kind, out[0] * steps, work, scratch, steps, steps=steps, **_frame(shape, plans[0]), groups=groups,
        columns=columns, positions=out[1] * out[2], outputs=out[3], bare=bare, bare_count=bare.size,
        passes=np.array(passes), pass_count=len(passes) // PASS_WORDS, tables=np.concatenate(tables),
    )  # fmt: skip
    return Correlation(packed, out, pack, correlate)


def _frame(shape: Shape, plan: Plan) -> dict[str, int]:
    """The words that tell of pictures (N, C, H, W) and of the frame that each is copied into."""
    top, left, height, width = plan.frame
    return {
        "channels": shape[1], "height": shape[2], "width": shape[3], "top": top, "left": left, "frame_height": height,
        "frame_width": width,
    }  # fmt: skip


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
    words = {
        "images": images, **_frame(shape, plan), "outputs": outputs, "parts": parts, "pieces": len(pieces),
        "groups": groups, "rows": rows, "columns": columns, "positions": places,
        "terms": np.concatenate([_pad(piece, rows) for piece in pieces]), "starts": plan.starts,
    }  # fmt: skip
    work = images * places * outputs * plan.terms.size // 8
    scratch = plan.frame[2] * plan.frame[3] * channels + places * columns
    where = [(q, i) for q, piece in enumerate(pieces) for i in range(len(piece))]
    first = _numbered(weight, groups).transpose(0, 3, 4, 2, 1)[..., 0].reshape(groups, -1)
    sources = np.array([[(q * groups + g) * rows + i for q, i in where] for g in range(groups)]) * columns
    kind = [type_of(dtype)]
    unpack = UNPACK.job(
        kind, first.size, math.prod(sums), columns, parts=parts, size=math.prod(sums[1:]), columns=per_group,
        apart=depth * kernel[0] * kernel[1], sources=sources, targets=first,
    )  # fmt: skip
    items = SUM_ITEMS.job(kind, parts * len(pieces), work, scratch, **words)
    return WeightGradient(sums, items, SUM_IMAGES.job(kind, images, work, scratch, **words), unpack)


def _blocks(sources: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Ends of blocks of up to so many neighbors each."""
    runs = np.split(sources, np.flatnonzero(np.diff(sources) != 1) + 1)
    sizes = [min(most, run.size - begin) for run in runs for begin in range(0, run.size, most)]
    return np.cumsum(sizes)


def _whole_vectors(columns: int, dtype: Dtype) -> int:
    lanes = registers().vector_bytes // dtype.itemsize
    return -(-columns // lanes) * lanes


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The table made longer by its last entry, for rows that are computed and not used."""
    return np.pad(table, (0, size - table.size), mode="edge")
