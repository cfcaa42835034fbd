"""Gathers rows of an array by index (and scales them), and adds rows at indices.

Both loop over rows, then along each row, so memory is read and written in whole vectors. Gathering is divided among
threads. Adding is not, because two rows may have the same index: one thread adds them in order, so the result is
reproducible. Memory bandwidth is the limit: a batch of byte images is read once and written once as floats, whereas
indexing, casting and multiplying would take three passes.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import Job, KernelTemplate
from chainrule.kernels.machine import with_numpy_fallback
from chainrule.kernels.tree import F4, F8, I8, Kernel, Type, type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GATHER_FIELDS = DescriptorLayout("source indices out", "width")
GATHER_SCALED_FIELDS = DescriptorLayout("source indices out", "width scale")
ADD_ROWS_FIELDS = DescriptorLayout("rows indices out", "count width zeros")
"""`width`: the length of a row; `scale`: the bits of a double; `count`: the number of rows that are added; `zeros`: how
many elements of the result are set to 0 first.
"""


def gather_scaled(table: NDArray[Any], indices: NDArray[np.integer[Any]], scale: float) -> NDArray[np.float32]:
    """table[indices] · scale as float32, in one pass: for example a batch of byte images, scaled for a network.

    Args:
        table: (N, ...) numbers of any type.
        indices: (M,), from 0 to N - 1.
        scale: used as float32.

    Returns:
        (M, ...) float32.

    Raises:
        IndexError: an index is out of range.
    """
    if indices.size and not (indices.min() >= 0 and indices.max() < len(table)):
        problem = f"indices are {indices.min()} to {indices.max()}, but must be 0 to {len(table) - 1}"
        raise IndexError(f"gather_scaled: {problem}")
    out = np.empty((len(indices), *table.shape[1:]), np.float32)
    if out.size:
        width = math.prod(table.shape[1:])
        rows = np.ascontiguousarray(table).reshape(len(table), width)
        _gather(rows, np.ascontiguousarray(indices, np.int64), np.float32(scale), out.reshape(len(indices), width))
    return out


def add_rows(rows: NDArray[Any], indices: NDArray[np.integer[Any]], result_rows: int) -> NDArray[Any]:
    """Zeros (result_rows, D) with each row added at its index: the gradient of gathering rows.

    Args:
        rows: (..., D).
        indices: (...), the indices of the rows, from 0 to result_rows - 1; rows with equal indices are summed in order.
        result_rows: the number of rows of the result.
    """
    out = np.zeros((result_rows, rows.shape[-1]), rows.dtype)
    if rows.size:
        flat = np.ascontiguousarray(rows).reshape(-1, rows.shape[-1])
        _add_rows(flat, np.ascontiguousarray(indices, np.int64).ravel(), out)
    return out


def _gather_in_numpy(rows: Any, indices: Any, scale: Any, out: Any) -> None:
    np.multiply(rows[indices], scale, out, dtype=np.float32, casting="unsafe")


@with_numpy_fallback(_gather_in_numpy)
def _gather(rows: Any, indices: Any, scale: Any, out: Any) -> None:
    types, bits = [type_of(rows.dtype)], int(np.float64(scale).view(np.int64))
    job = GATHER_SCALED.job(types, row_count=len(indices), iterations=out.size, width=rows.shape[1], scale=bits)
    job.run(rows, indices, out)


def _add_rows_in_numpy(rows: Any, indices: Any, out: Any) -> None:
    np.add.at(out, indices, rows)


@with_numpy_fallback(_add_rows_in_numpy)
def _add_rows(rows: Any, indices: Any, out: Any) -> None:
    add_rows_job(type_of(rows.dtype), len(rows), rows.shape[1], zeros=0).run(rows, indices, out)


def gather_job(type: Type, count: int, width: int) -> Job:
    """A job that gathers `count` rows of an array by index. It runs on the arrays (source, indices, out)."""
    return GATHER.job([type], row_count=count, iterations=count * width, width=width)


def add_rows_job(type: Type, count: int, width: int, zeros: int) -> Job:
    """A job that sets the first `zeros` elements of `out` to 0, then adds `count` rows to it, each at its index.

    It runs on the arrays (rows, indices, out), on one thread.
    """
    return ADD_ROWS.job([type], row_count=1, iterations=count * width, count=count, width=width, zeros=zeros)


@cache
def gather(type: Type) -> Kernel:
    """Gather rows first … last - 1 of the result from the source, by their indices."""
    kernel = stage_kernel(f"gather_{type}")
    d = GATHER_FIELDS.read(kernel)
    source, indices, out = d.array("source", type), d.array("indices", I8), d.array("out", type)
    with kernel.loop(kernel["first"], kernel["last"], as_written=True) as i:
        out.at(i * d.width).copy_from(source.at(indices[i] * d.width), d.width)
    return kernel


@cache
def gather_and_scale(type: Type) -> Kernel:
    """Gather rows first … last - 1 of the result, convert them to float32 and scale them."""
    kernel = stage_kernel(f"gather_scaled_{type}")
    d = GATHER_SCALED_FIELDS.read(kernel)
    source, indices, out = d.array("source", type), d.array("indices", I8), d.array("out", F4)
    scale = d.scale.bits_as(F8).to(F4)
    with kernel.loop(kernel["first"], kernel["last"], as_written=True) as i:
        row, result = source.at(indices[i] * d.width), out.at(i * d.width)
        with kernel.loop(0, d.width) as j:
            result[j] = row[j].to(F4) * scale
    return kernel


@cache
def add_rows_kernel(type: Type) -> Kernel:
    """Add all rows to the result at their indices, in order."""
    kernel = stage_kernel(f"add_rows_{type}")
    d = ADD_ROWS_FIELDS.read(kernel)
    rows, indices, out = d.array("rows", type), d.array("indices", I8), d.array("out", type)
    out.fill_zero(d.zeros)
    with kernel.loop(0, d.count, as_written=True) as i:
        row, result = rows.at(i * d.width), out.at(indices[i] * d.width)
        with kernel.loop(0, d.width) as j:
            result[j] = result[j] + row[j]
    return kernel


GATHER = KernelTemplate(GATHER_FIELDS, gather)
GATHER_SCALED = KernelTemplate(GATHER_SCALED_FIELDS, gather_and_scale)
ADD_ROWS = KernelTemplate(ADD_ROWS_FIELDS, add_rows_kernel)
