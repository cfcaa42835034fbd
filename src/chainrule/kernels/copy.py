"""Copies several arrays into parts of one array: for concatenation, padding, and the gradient of a slice.

Loop order: pieces, then a piece's dimensions in the order of the result's memory, innermost last. Memory bandwidth is
the limit. Only compiled programs use it; eager operations call NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import Job, KernelTemplate
from chainrule.kernels.memory import coalesce
from chainrule.kernels.tree import Kernel, Type

if TYPE_CHECKING:
    from chainrule.kernels.tree import Array, Expr

DIMS = 4  # the number of nested loops that copy a piece
PIECE_WORDS = 1 + 3 * DIMS
"""Integers for each piece: its offset in the result; then, each by dimension, its sizes, its strides in the source, and
its strides in the result.
"""

Piece: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[int], int]
"""The sizes of a piece; its strides in the source and in the result, in elements; its offset in the result."""


def copy_job(dtype: Any, shape: Sequence[int], pieces: Sequence[Piece], fill: bool) -> Job | None:
    """A job that copies pieces into an array. It runs on the source of each piece, then the result.

    Args:
        dtype: the type of all arrays.
        shape: the shape of the result.
        pieces: one for each source.
        fill: whether to fill the result with zeros first.

    Returns:
        The job, or None if a piece needs more than DIMS loops.
    """
    table: list[int] = []
    for sizes, source_strides, target_strides, offset in pieces:
        order = sorted(range(len(sizes)), key=lambda d: -abs(target_strides[d]))  # outermost first
        strides = [[s[d] for d in order] for s in (source_strides, target_strides)]
        loop_sizes, loop_strides = coalesce([sizes[d] for d in order], strides)
        unused_loops = DIMS - len(loop_sizes)
        if unused_loops < 0:
            return None
        table += [offset, *[1] * unused_loops, *loop_sizes]
        for steps in loop_strides:
            table += [*[0] * unused_loops, *steps]
    type = Type("u", np.dtype(dtype).itemsize)
    size = math.prod(shape)
    return copy_template(len(pieces)).job(
        [type], row_count=1, iterations=2 * size, zeros=size if fill else 0, pieces=np.array(table, np.int64)
    )


@cache
def copy_template(piece_count: int) -> KernelTemplate:
    """The kernel for a number of pieces. `zeros`: how many elements of the result are set to 0 first."""
    names = " ".join(f"x{i}" for i in range(piece_count))
    fields = DescriptorLayout(f"{names} out", "zeros pieces")
    return KernelTemplate(fields, partial(copy_kernel, fields, piece_count), f"{__name__} {piece_count}")


def copy_kernel(fields: DescriptorLayout, piece_count: int, type: Type) -> Kernel:
    """Copy all pieces, one after the other."""
    kernel = stage_kernel(f"copy_{piece_count}_{type}")
    d = fields.read(kernel)
    out = d.array("out", type)
    out.fill_zero(d.zeros)
    for piece_index in range(piece_count):
        piece = d.lookup_table("pieces").at(piece_index * PIECE_WORDS)
        sizes, x_steps, out_steps = ([piece[1 + i * DIMS + k] for k in range(DIMS)] for i in range(3))
        _copy(kernel, d.array(f"x{piece_index}", type), out.at(piece[0]), sizes, x_steps, out_steps)
    return kernel


def _copy(kernel: Kernel, x: Array, out: Array, sizes: list[Expr], x_steps: list[Expr], out_steps: list[Expr]) -> None:
    """Write the loops that copy a piece, from the outermost dimension to the innermost."""
    if len(sizes) > 1:
        with kernel.loop(0, sizes[0], as_written=True) as i:
            _copy(kernel, x.at(i * x_steps[0]), out.at(i * out_steps[0]), sizes[1:], x_steps[1:], out_steps[1:])
        return
    is_contiguous = x_steps[0].equals(1) & out_steps[0].equals(1)
    with kernel.when(is_contiguous), kernel.loop(0, sizes[0]) as i:
        out[i] = x[i]
    with kernel.otherwise(), kernel.loop(0, sizes[0]) as i:
        out[i * out_steps[0]] = x[i * x_steps[0]]
