"""Computes the jobs of a convolution: sizes, tables, and how the work is divided.

Everything here depends only on shapes, and is cached by shape. Called by `convolution` (eager) and by the lowering
rules of compiled programs; `convolution_loops` does the arithmetic.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.convolution_loops import ADD_IMAGES, ADD_PARTS, CORRELATE, PACK, PARTIAL_SUMS, PASS_WORDS
from chainrule.kernels.geometry import IndexTables, backward_tables, forward_tables, output_size
from chainrule.kernels.processor import SPARE_ROWS, registers, whole_vectors
from chainrule.kernels.tree import type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.job import Job

    Array = NDArray[Any]
    Dtype = np.dtype[Any]
    Shape = tuple[int, ...]

PARTS = 8  # partial sums of the weight gradient: the number of threads that can share it
PARTS_ELEMENTS = 2**20  # the largest total size of these partial sums, in elements


@dataclass(frozen=True, eq=False)
class Correlation:
    """The jobs of a convolution, or of the gradient of its input: pack the weights, then multiply.

    Attributes:
        packed_size: the number of elements of the packed weights.
        shape: the shape of the result, (N, H, W, C).
        pack: job for (weight, packed), or None if the result is 0.
        correlate: job for (x, packed, result).
    """

    packed_size: int
    shape: Shape
    pack: Job | None = None
    correlate: Job | None = None


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """The jobs of the gradient of the weights: sums over parts of the images, then the sum of the parts.

    A part is a share of the images, a piece a share of the rows of the result.

    Attributes:
        sums_shape: the shape of the partial sums: (parts, pieces, groups, rows, columns).
        partial_sums: job for (x, grad, sums), with a row for each pair of a part and a piece.
        add_images: job for (x, grad, the sums of one part), with a row for each image of the part. `overwrite` must be
            1 for the part's first rows, 0 for later ones.
        add_parts: job for (sums, gradient).
    """

    sums_shape: Shape
    partial_sums: Job
    add_images: Job
    add_parts: Job


@functools.lru_cache(maxsize=256)
def forward(shape: Shape, weight: Shape, params: Any, dtype: Dtype) -> Correlation:
    """The jobs of a convolution of images (N, C, H, W); params are (stride, padding, dilation, groups)."""
    stride, padding, dilation, groups = params
    outputs, group_channels, *kernel = weight
    images, channels, *size = shape
    tables = forward_tables(tuple(size), channels, group_channels, tuple(kernel), stride, padding, dilation)
    positions = [output_size(size[a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    sources = _flat_indices(weight, groups).transpose(0, 3, 4, 2, 1)
    return _correlation([tables], shape, sources, (images, *positions, outputs), dtype)


@functools.lru_cache(maxsize=256)
def input_gradient(shape: Shape, weight: Shape, input_shape: Shape, params: Any, dtype: Dtype) -> Correlation:
    """The jobs of the gradient with respect to images of `input_shape`, from grad of `shape` (N, O, H', W')."""
    stride, padding, dilation, groups = params
    outputs, _, *kernel = weight
    images, channels, *size = input_shape
    passes = []
    if math.prod(shape) and math.prod(weight) and 0 not in size:
        passes = backward_tables(
            tuple(size), shape[2:], outputs, outputs // groups, tuple(kernel), stride, padding, dilation
        )
    sources = _flat_indices(weight, groups).transpose(0, 3, 4, 1, 2)
    return _correlation(passes, shape, sources, (images, *size, channels), dtype)


def _flat_indices(weight: Shape, groups: int) -> NDArray[np.int64]:
    """The flat index of each weight, as (group, its output channel, its input channel, row, column)."""
    return np.arange(math.prod(weight)).reshape(groups, weight[0] // groups, *weight[1:])


def _correlation(
    pass_tables: Sequence[IndexTables], shape: Shape, sources: Array, out_shape: Shape, dtype: Dtype
) -> Correlation:
    """The jobs for weights whose flat indices are `sources` (groups, KH, KW, C / groups, O / groups)."""
    if not (pass_tables and math.prod(shape) and sources.size):
        return Correlation(0, out_shape)
    groups, used_columns = sources.shape[0], sources.shape[-1]
    columns = whole_vectors(used_columns, dtype)
    rows, packed_size = [], 0
    passes: list[int] = []
    tables: list[Array] = []
    for pass_ in pass_tables:
        pass_sources = sources[:, pass_.taps[0]][:, :, pass_.taps[1]][..., 0].ravel()
        passes += [pass_.positions.size, pass_.terms.size, packed_size]
        for table in (_pad(pass_.starts, pass_.starts.size + SPARE_ROWS), pass_.positions, pass_.terms):
            passes.append(sum(t.size for t in tables))
            tables.append(table)
        packed_size += pass_sources.size * columns
        rows.append(pass_sources)
    first_row = sources[0, 0, 0, 0]
    column_stride = first_row[1] - first_row[0] if used_columns > 1 else 0  # the same in every row
    table = np.concatenate(rows)
    lanes = registers().vector_bytes // dtype.itemsize
    order = np.argsort(table)
    ends = _blocks(table[order], lanes)
    types = [type_of(dtype)]
    pack = PACK.job(
        types, ends.size, packed_size // 4, columns=columns, used_columns=used_columns,
        column_stride=column_stride, rows=order, ends=ends, sources=table[order],
    )  # fmt: skip
    is_uncovered = np.ones(out_shape[1] * out_shape[2], bool)
    for pass_ in pass_tables:
        is_uncovered[pass_.positions] = False
    uncovered = np.flatnonzero(is_uncovered)
    shares = max(pass_.positions.size for pass_ in pass_tables)
    scratch = (
        pass_tables[0].frame[2] * pass_tables[0].frame[3] * shape[1] + (registers().slab_rows + SPARE_ROWS) * columns
    )
    work = out_shape[0] * shares * packed_size // 8
    correlate = CORRELATE.job(
        types, out_shape[0] * shares, work, scratch, shares, shares=shares, **_frame_fields(shape, pass_tables[0]),
        groups=groups, columns=columns, positions=out_shape[1] * out_shape[2], outputs=out_shape[3],
        uncovered=uncovered, uncovered_count=uncovered.size, passes=np.array(passes),
        pass_count=len(passes) // PASS_WORDS, tables=np.concatenate(tables),
    )  # fmt: skip
    return Correlation(packed_size, out_shape, pack, correlate)


def _frame_fields(shape: Shape, tables: IndexTables) -> dict[str, int]:
    """The descriptor's fields for images (N, C, H, W) and the frame that each is copied into."""
    top, left, height, width = tables.frame
    return {
        "channels": shape[1], "height": shape[2], "width": shape[3], "top": top, "left": left, "frame_height": height,
        "frame_width": width,
    }  # fmt: skip


@functools.lru_cache(maxsize=256)
def weight_gradient(shape: Shape, grad: Shape, weight: Shape, params: Any, dtype: Dtype) -> WeightGradient | None:
    """The jobs of the weight gradient, from images (N, C, H, W) and grad (N, O, H', W'); None if it is 0."""
    stride, padding, dilation, groups = params
    outputs, group_channels, *kernel = weight
    images, channels, *size = shape
    if not (math.prod(shape) and math.prod(grad) and outputs * group_channels):
        return None
    tables = forward_tables(tuple(size), channels, group_channels, tuple(kernel), stride, padding, dilation)
    positions, per_group = tables.positions.size, outputs // groups
    columns = whole_vectors(per_group, dtype)
    parts = max(1, min(PARTS, images, PARTS_ELEMENTS // (groups * tables.terms.size * columns)))
    pieces = np.array_split(tables.terms, min(tables.terms.size, PARTS // parts))  # a row for each tap and channel
    rows = len(pieces[0]) + SPARE_ROWS  # the first piece is the longest
    sums_shape = parts, len(pieces), groups, rows, columns
    fields = {
        "images": images, **_frame_fields(shape, tables), "outputs": outputs, "parts": parts, "pieces": len(pieces),
        "groups": groups, "rows": rows, "columns": columns, "positions": positions,
        "terms": np.concatenate([_pad(piece, rows) for piece in pieces]), "starts": tables.starts,
    }  # fmt: skip
    work = images * positions * outputs * tables.terms.size // 8
    scratch = tables.frame[2] * tables.frame[3] * channels + positions * columns
    locations = [(number, i) for number, piece in enumerate(pieces) for i in range(len(piece))]
    targets = _flat_indices(weight, groups).transpose(0, 3, 4, 2, 1)[..., 0].reshape(groups, -1)
    sources = np.array([[(number * groups + g) * rows + i for number, i in locations] for g in range(groups)]) * columns
    types = [type_of(dtype)]
    add_parts = ADD_PARTS.job(
        types, targets.size, math.prod(sums_shape), columns, parts=parts, size=math.prod(sums_shape[1:]),
        columns=per_group, column_stride=group_channels * kernel[0] * kernel[1], sources=sources, targets=targets,
    )  # fmt: skip
    partial_sums = PARTIAL_SUMS.job(types, parts * len(pieces), work, scratch, **fields)
    return WeightGradient(sums_shape, partial_sums, ADD_IMAGES.job(types, images, work, scratch, **fields), add_parts)


def _blocks(sources: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """The ends of blocks of adjacent sources, of at most `limit` each."""
    runs = np.split(sources, np.flatnonzero(np.diff(sources) != 1) + 1)
    sizes = [min(limit, run.size - begin) for run in runs for begin in range(0, run.size, limit)]
    return np.cumsum(sizes)


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The table extended by copies of its last entry, for rows that are computed but not used."""
    return np.pad(table, (0, size - table.size), mode="edge")
