"""Stacking (vstack, hstack, column_stack), diag, trace and tensordot; composed of other operations."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.arithmetic import where
from chainrule.ops.indexing import add_at
from chainrule.ops.indexing import diagonal as diagonal_of
from chainrule.ops.linalg import matmul
from chainrule.ops.operation import Array, Input, Tensor, check_tensors
from chainrule.ops.reductions import sum
from chainrule.ops.shape import cat, check_sequence, int_tuple, permute, reshape, wrap_dims

__all__ = ["column_stack", "diag", "hstack", "tensordot", "trace", "vstack"]


def vstack(tensors: Sequence[Input]) -> Tensor:
    """The tensors joined along the first dimension; a vector (n,) counts as a row (1, n).

    Raises:
        ValueError: there are no tensors, or the shapes do not fit.
    """
    return cat([t if t.ndim > 1 else reshape(t, shape=(1, -1)) for t in check_sequence("vstack", tensors)], 0)


def hstack(tensors: Sequence[Input]) -> Tensor:
    """The tensors joined along the second dimension; vectors are joined along their only dimension.

    Raises:
        ValueError: there are no tensors, or the shapes do not fit.
    """
    parts = [t if t.ndim else reshape(t, shape=(1,)) for t in check_sequence("hstack", tensors)]
    return cat(parts, min(1, parts[0].ndim - 1))


def column_stack(tensors: Sequence[Input]) -> Tensor:
    """The tensors joined along the second dimension; a vector (n,) counts as a column (n, 1).

    Raises:
        ValueError: there are no tensors, or the shapes do not fit.
    """
    return cat([t if t.ndim > 1 else reshape(t, shape=(-1, 1)) for t in check_sequence("column_stack", tensors)], 1)


def diag(input: Input, diagonal: int = 0) -> Tensor:
    """A matrix with a vector (n,) on its diagonal, and zeros elsewhere; or the diagonal of a matrix (n, m).

    Args:
        input: a vector or a matrix.
        diagonal: the diagonal: 0 is the main diagonal, 1 the next above.

    Raises:
        ValueError: the input is neither a vector nor a matrix.
    """
    check_tensors("diag", input)
    (offset,) = int_tuple(diagonal, "diag")
    if input.ndim == 2:
        return diagonal_of(input, offset)
    check("diag", input.ndim == 1, f"takes a vector or a matrix, not shape {input.shape}")
    size = input.shape[0] + abs(offset)
    if offset:
        start = max(offset, 0)  # column j of the matrix holds element j - start of the vector
        input = add_at(input, index=slice(start, start + input.shape[0]), shape=(size,))
    return where(np.eye(size, k=offset, dtype=bool), input, False)  # False becomes 0 in the input's type


def trace(input: Input) -> Tensor:
    """The sum of the diagonal of a matrix (n, m).

    Raises:
        ValueError: the input is not a matrix.
    """
    check_tensors("trace", input)
    check("trace", input.ndim == 2, f"takes a matrix, not shape {input.shape}")
    return sum(diagonal_of(input))


def tensordot(a: Input, b: Input, dims: int | Sequence[Any] = 2) -> Tensor:
    """Products of a and b, summed over pairs of a dimension of a and a dimension of b.

    The result has the remaining dimensions of a, then the remaining dimensions of b.

    Args:
        a: any shape.
        b: any shape, of the same type.
        dims: the number of dimensions to sum over, the last dimensions of a and the first of b; or a pair of sequences,
            the dimensions of a and those of b.

    Raises:
        ValueError: the dimensions or their sizes do not fit.
        TypeError: the types differ.
    """
    check_tensors("tensordot", a, b)
    if isinstance(dims, int):
        fits = 0 <= dims <= min(a.ndim, b.ndim)
        check("tensordot", fits, f"cannot sum over {dims} dimensions of shapes {a.shape} and {b.shape}")
        a_dims, b_dims = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        check("tensordot", len(dims) == 2, "dims must be a number, or the dimensions of a and those of b")
        a_dims, b_dims = wrap_dims(a, dims[0], "tensordot"), wrap_dims(b, dims[1], "tensordot")
    for i, k in zip(a_dims, b_dims, strict=False):
        # a size of 1 broadcasts, as in PyTorch
        if a.shape[i] == 1 and b.shape[k] != 1:
            b = sum(b, k, True)
        elif b.shape[k] == 1 and a.shape[i] != 1:
            a = sum(a, i, True)
    fits = [a.shape[d] for d in a_dims] == [b.shape[d] for d in b_dims]
    check("tensordot", fits, f"dimensions {a_dims} of {a.shape} and {b_dims} of {b.shape} must have the same sizes")
    row_dims = [d for d in range(a.ndim) if d not in a_dims]
    column_dims = [d for d in range(b.ndim) if d not in b_dims]
    product = matmul(_matrix(a, row_dims, a_dims), _matrix(b, b_dims, column_dims))
    return reshape(product, shape=[a.shape[d] for d in row_dims] + [b.shape[d] for d in column_dims])


def _matrix(x: Array, row_dims: list[int], column_dims: list[int]) -> Tensor:
    """Reshape to a matrix whose rows run over the dimensions `row_dims`, and its columns over `column_dims`."""
    sizes = [prod(x.shape[d] for d in dims) for dims in (row_dims, column_dims)]
    return reshape(permute(x, dims=row_dims + column_dims), shape=sizes)
