"""Computes the jobs of a convolution: sizes, tables, and how the work is divided.

Everything here depends only on shapes, parameters and the element type, and is cached by these. `convolution` calls it
for eager operations, the lowering rules for compiled programs; `convolution_loops` does the arithmetic.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.convolution_loops import ADD_IMAGES, ADD_PARTS, CORRELATE, PACK, PARTIAL_SUMS
from chainrule.kernels.geometry import IndexTables, backward_tables, forward_tables, output_size
from chainrule.kernels.job import MULTIPLY_ADDS_PER_ITERATION, Job
from chainrule.kernels.processor import SPARE_ROWS, registers, whole_vectors
from chainrule.kernels.tree import type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Dtype = np.dtype[Any]
    Shape = tuple[int, ...]

PARTS = 8  # the largest number of partial sums of a weight gradient, so also of threads that share its work
PARTS_ELEMENTS = 2**20  # the largest total size of these partial sums, in elements


@dataclass(frozen=True, eq=False)
class Correlation:
    """The jobs of a convolution, or of the gradient of its input: pack the weights, then multiply.

    Attributes:
        packed_size: the number of elements of the packed weights.
        shape: the shape of the result, (N, H, W, C).
        pack: a job whose arrays are (weight, packed), or None if the result is 0.
        correlate: a job whose arrays are (x, packed, result), or None if the result is 0.
    """

    packed_size: int
    shape: Shape
    pack: Job | None = None
    correlate: Job | None = None


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """The jobs of the gradient of the weights: sums over parts of the images, then the sum of the parts.

    A part is a share of the images, a piece is a share of the product's rows (taps × input channels).

    Attributes:
        sums_shape: the shape of the partial sums: (parts, pieces, groups, rows, columns).
        partial_sums: a job whose arrays are (x, grad, sums), with a row for each pair of a part and a piece.
        add_images: a job whose arrays are (x, grad, the sums of one part), with a row for each image. It is called for
            the images of one part at a time; `overwrite` must be 1 for the first of these calls, 0 for later ones.
        add_parts: a job whose arrays are (sums, gradient).
    """

    sums_shape: Shape
    partial_sums: Job
    add_images: Job
    add_parts: Job


@functools.lru_cache(maxsize=256)
def forward(shape: Shape, weight: Shape, params: Any, dtype: Dtype) -> Correlation:
    """The jobs of a convolution of images (N, C, H, W); params are (stride, padding, dilation, groups)."""
    stride, padding, dilation, groups = params
    out_channels, group_channels, *kernel = weight
    image_count, channels, *size = shape
    tables = forward_tables(tuple(size), channels, group_channels, tuple(kernel), stride, padding, dilation)
    out_size = [output_size(size[a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    sources = _flat_indices(weight, groups).transpose(0, 3, 4, 2, 1)
    return _correlation([tables], shape, sources, (image_count, *out_size, out_channels), dtype)


@functools.lru_cache(maxsize=256)
def input_gradient(shape: Shape, weight: Shape, input_shape: Shape, params: Any, dtype: Dtype) -> Correlation:
    """The jobs of the gradient with respect to images of `input_shape`, from grad of `shape` (N, O, H', W')."""
    stride, padding, dilation, groups = params
    out_channels, _, *kernel = weight
    image_count, channels, *size = input_shape
    passes = []
    if math.prod(shape) and math.prod(weight) and 0 not in size:
        passes = backward_tables(
            tuple(size), shape[2:], out_channels, out_channels // groups, tuple(kernel), stride, padding, dilation
        )
    sources = _flat_indices(weight, groups).transpose(0, 3, 4, 1, 2)
    return _correlation(passes, shape, sources, (image_count, *size, channels), dtype)


def _flat_indices(weight: Shape, groups: int) -> NDArray[np.int64]:
    """The flat index of each weight, as an array (groups, O / groups, C / groups, KH, KW)."""
    return np.arange(math.prod(weight)).reshape(groups, weight[0] // groups, *weight[1:])


def _correlation(
    pass_tables: Sequence[IndexTables], shape: Shape, sources: Array, out_shape: Shape, dtype: Dtype
) -> Correlation:
    """The jobs of a correlation of an array of `shape` (N, C, H, W) with the weights, to `out_shape` (N, H′, W′, O).

    In an input gradient, the correlated array is grad, and the result is the gradient of the images: C is then the
    number of the convolution's output channels, and O that of its input channels.

    Args:
        pass_tables: the index tables of each pass.
        shape: the shape of the correlated array.
        sources: the flat index of each weight, (groups, KH, KW, C / groups, O / groups).
        out_shape: the shape of the result.
        dtype: the type of all elements.
    """
    if not (pass_tables and math.prod(shape) and sources.size):
        return Correlation(0, out_shape)
    groups, used_columns = sources.shape[0], sources.shape[-1]
    columns = whole_vectors(used_columns, dtype)
    packed_size = 0
    pass_records: list[int] = []
    tables: list[Array] = []
    sources_by_pass: list[Array] = []  # for each packed row, the flat index of its first column
    for pass_ in pass_tables:
        pass_sources = sources[:, pass_.taps[0]][:, :, pass_.taps[1]][..., 0].ravel()
        pass_records += [pass_.positions.size, pass_.terms.size, packed_size]
        for table in (_pad(pass_.starts, pass_.starts.size + SPARE_ROWS), pass_.positions, pass_.terms):
            pass_records.append(sum(t.size for t in tables))
            tables.append(table)
        packed_size += pass_sources.size * columns
        sources_by_pass.append(pass_sources)
    first_row = sources[0, 0, 0, 0]
    column_stride = first_row[1] - first_row[0] if used_columns > 1 else 0  # the same in every row
    row_sources = np.concatenate(sources_by_pass)
    order = np.argsort(row_sources)
    ends = _block_ends(row_sources[order], registers().vector_bytes // dtype.itemsize)
    types = [type_of(dtype)]
    pack = PACK.job(  # copying four elements takes about as long as one iteration of a simple loop
        types, row_count=ends.size, iterations=packed_size // 4, columns=columns, used_columns=used_columns,
        column_stride=column_stride, packed_rows=order, ends=ends, sources=row_sources[order],
    )  # fmt: skip
    covered = np.concatenate([pass_.positions for pass_ in pass_tables])
    uncovered = np.setdiff1d(np.arange(out_shape[1] * out_shape[2]), covered)
    # as many as the largest pass has positions: so any number of threads can divide even a single image
    share_count = max(pass_.positions.size for pass_ in pass_tables)
    scratch_elements = (
        pass_tables[0].frame[2] * pass_tables[0].frame[3] * shape[1] + (registers().slab_rows + SPARE_ROWS) * columns
    )
    iterations = out_shape[0] * share_count * packed_size // MULTIPLY_ADDS_PER_ITERATION
    correlate = CORRELATE.job(
        types, row_count=out_shape[0] * share_count, iterations=iterations, scratch_elements=scratch_elements,
        row_multiple=share_count, share_count=share_count, **_frame_fields(shape, pass_tables[0]), groups=groups,
        columns=columns, position_count=out_shape[1] * out_shape[2], out_channels=out_shape[3], uncovered=uncovered,
        uncovered_count=uncovered.size, passes=np.array(pass_records), pass_count=len(pass_tables),
        tables=np.concatenate(tables),
    )  # fmt: skip
    return Correlation(packed_size, out_shape, pack, correlate)


def _frame_fields(shape: Shape, tables: IndexTables) -> dict[str, int]:
    """The descriptor's fields for images (N, C, H, W) and for the frame that each image is copied into."""
    top, left, height, width = tables.frame
    return {
        "channels": shape[1], "height": shape[2], "width": shape[3], "top": top, "left": left, "frame_height": height,
        "frame_width": width,
    }  # fmt: skip


@functools.lru_cache(maxsize=256)
def weight_gradient(shape: Shape, grad: Shape, weight: Shape, params: Any, dtype: Dtype) -> WeightGradient | None:
    """The jobs of the weight gradient, from images (N, C, H, W) and grad (N, O, H', W'); None if it is 0."""
    stride, padding, dilation, groups = params
    out_channels, group_channels, *kernel = weight
    image_count, channels, *size = shape
    if not (math.prod(shape) and math.prod(grad) and out_channels * group_channels):
        return None
    tables = forward_tables(tuple(size), channels, group_channels, tuple(kernel), stride, padding, dilation)
    position_count, group_out_channels = tables.positions.size, out_channels // groups
    columns = whole_vectors(group_out_channels, dtype)
    part_count = max(1, min(PARTS, image_count, PARTS_ELEMENTS // (groups * tables.terms.size * columns)))
    # a product's row is a tap and an input channel; with few parts, these rows are divided among threads as well
    pieces = np.array_split(tables.terms, min(tables.terms.size, PARTS // part_count))
    rows = len(pieces[0]) + SPARE_ROWS  # the first piece is the longest
    sums_shape = part_count, len(pieces), groups, rows, columns
    iterations = image_count * position_count * out_channels * tables.terms.size // MULTIPLY_ADDS_PER_ITERATION
    scratch_elements = tables.frame[2] * tables.frame[3] * channels + position_count * columns
    common_arguments: dict[str, Any] = {
        "iterations": iterations, "scratch_elements": scratch_elements, "image_count": image_count,
        **_frame_fields(shape, tables), "out_channels": out_channels, "part_count": part_count,
        "piece_count": len(pieces), "groups": groups, "rows": rows, "columns": columns, "starts": tables.starts,
        "terms": np.concatenate([_pad(piece, rows) for piece in pieces]), "position_count": position_count,
    }  # fmt: skip
    # where the rows are in the sums: the piece, and the row's index in it
    locations = [(piece_index, i) for piece_index, piece in enumerate(pieces) for i in range(len(piece))]
    targets = _flat_indices(weight, groups).transpose(0, 3, 4, 2, 1)[..., 0].reshape(groups, -1)
    row_indices = [[(piece_index * groups + g) * rows + i for piece_index, i in locations] for g in range(groups)]
    types = [type_of(dtype)]
    add_parts = ADD_PARTS.job(
        types, row_count=targets.size, iterations=math.prod(sums_shape), scratch_elements=columns,
        part_count=part_count, part_size=math.prod(sums_shape[1:]), columns=group_out_channels,
        column_stride=group_channels * kernel[0] * kernel[1], sources=np.array(row_indices) * columns, targets=targets,
    )  # fmt: skip
    partial_sums = PARTIAL_SUMS.job(types, row_count=part_count * len(pieces), **common_arguments)
    add_images = ADD_IMAGES.job(types, row_count=image_count, **common_arguments)
    return WeightGradient(sums_shape, partial_sums, add_images, add_parts)


def _block_ends(sources: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Divide sorted sources into blocks of at most `limit` adjacent ones, and return where the blocks end."""
    runs = np.split(sources, np.flatnonzero(np.diff(sources) != 1) + 1)
    return np.cumsum([min(limit, run.size - begin) for run in runs for begin in range(0, run.size, limit)])


def _pad(table: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Extend a table by copies of its last entry, for rows that are computed but not used."""
    return np.pad(table, (0, size - table.size), mode="edge")
