"""Copies several arrays into parts of one: concatenation, padding, and the gradient of a slice.

Loop order: pieces, then a piece's dimensions in the order of the result's memory, innermost last. Memory bandwidth is
the limit.

Called by the lowering rules of compiled programs; eager operations use NumPy.
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

DIMS = 4  # loops around a piece
PIECE_WORDS = 2 + 3 * DIMS
"""Integers for each piece: its offsets in its source and in the result; then by dimension its sizes, source strides and
result strides.
"""


Piece: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[int], int]
"""Sizes; strides in the source and in the result, in elements; the offset in the result."""


def copy_job(dtype: Any, shape: Sequence[int], pieces: Sequence[Piece], fill: bool) -> Job | None:
    """A job that copies pieces into an array.

    Args:
        dtype: the type of all arrays.
        shape: the shape of the result.
        pieces: what to copy, and where.
        fill: whether to fill the result with zeros first.

    Returns:
        The job, or None if a piece has too many dimensions.
    """
    table: list[int] = []
    for sizes, source, target, begin in pieces:
        order = sorted(range(len(sizes)), key=lambda d: -abs(target[d]))
        outer, strides = coalesce([sizes[d] for d in order], [[s[d] for d in order] for s in (source, target)])
        missing = DIMS - len(outer)
        if missing < 0:
            return None
        table += [0, begin, *[1] * missing, *outer]
        for steps in strides:
            table += [*[0] * missing, *steps]
    type = Type("u", np.dtype(dtype).itemsize)
    size = math.prod(shape)
    return copy_template(len(pieces)).job(
        [type], 1, 2 * size, zeros=size if fill else 0, pieces=np.array(table, np.int64)
    )


@cache
def copy_template(count: int) -> KernelTemplate:
    """The kernel for `count` pieces."""
    names = " ".join(f"x{i}" for i in range(count))
    fields = DescriptorLayout(f"{names} out", "zeros pieces")
    build = partial(copy_kernel, fields, count)
    return KernelTemplate(fields, build, f"{__name__} {count}")


def copy_kernel(fields: DescriptorLayout, count: int, type: Type) -> Kernel:
    """Copy all pieces, one after the other."""
    kernel = stage_kernel(f"copy_{count}_{type}")
    d = fields.read(kernel)
    out = d.array("out", type)
    out.fill_zero(d.zeros)
    for number in range(count):
        piece = d.lookup_table("pieces").at(number * PIECE_WORDS)
        sizes, source, target = ([piece[2 + i * DIMS + k] for k in range(DIMS)] for i in range(3))
        _copy(kernel, d.array(f"x{number}", type), out.at(piece[1]), sizes, source, target)
    return kernel


def _copy(kernel: Kernel, x: Array, out: Array, sizes: list[Expr], source: list[Expr], target: list[Expr]) -> None:
    """Copy a piece, looping from the outermost dimension inwards."""
    if len(sizes) > 1:
        with kernel.loop(0, sizes[0], as_written=True) as i:
            _copy(kernel, x.at(i * source[0]), out.at(i * target[0]), sizes[1:], source[1:], target[1:])
        return
    is_contiguous = source[0].equals(1) & target[0].equals(1)
    with kernel.when(is_contiguous), kernel.loop(0, sizes[0]) as i:
        out[i] = x[i]
    with kernel.otherwise(), kernel.loop(0, sizes[0]) as i:
        out[i * target[0]] = x[i * source[0]]
