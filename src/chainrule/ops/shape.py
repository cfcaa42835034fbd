"""Operations that move elements without changing them: shapes, indices, types.

Each one's derivative moves the gradient back, so they come in pairs: `getitem` takes elements out and `put` lays them
into zeros; `take_along_dim` and `put_along_dim` do the same along one dimension; `reshape` and `permute` undo
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.ops.dtypes import storable
from chainrule.ops.operation import NUMPY, Array, operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.tensor import Tensor


@operation(numpy=np.reshape, view=True)
def reshape(input: Array, *, shape: int | Sequence[int]) -> Array:
    """The same elements in the same order in another shape; one size may be -1, to be worked out.

    Raises:
        ValueError: the shape does not hold as many elements.
    """
    return np.reshape(input, shape)


@reshape.derivative
def _(grad: Array, input_shape: tuple[int, ...]) -> Array:
    """The gradient, in the input's shape."""
    return np.reshape(grad, input_shape)


@operation(numpy=np.transpose, view=True)
def permute(input: Array, *, dims: Sequence[int] | None = None) -> Array:
    """The dimensions in another order; reversed if `dims` is None.

    Raises:
        ValueError: `dims` does not name every dimension once.
    """
    return np.transpose(input, dims)


@permute.derivative
def _(grad: Array, dims: Sequence[int] | None) -> Array:
    """The gradient, with its dimensions put back."""
    if dims is None:
        return np.transpose(grad)
    return np.transpose(grad, tuple(int(d) for d in np.argsort([d % len(dims) for d in dims])))


@operation(numpy=np.broadcast_to, view=True)
def broadcast_to(input: Array, *, shape: Sequence[int]) -> Array:
    """The input, repeated along new dimensions and along those of size 1 until it has the shape (a read-only view)."""
    return np.broadcast_to(input, shape)


@broadcast_to.derivative
def _(grad: Array) -> Array:
    """The gradient as it comes: the tape sums it back to the input's shape."""
    return grad


@operation(view=True)
def getitem(input: Array, *, index: Any) -> Array:
    """input[index], for whatever NumPy takes as an index.

    Raises:
        IndexError: out of range, or too many indices.
    """
    picked = input[index]
    if isinstance(picked, np.generic):  # a single element: with ... it is a view too, like all that slices give
        picked = input[(*index, ...) if isinstance(index, tuple) else (index, ...)]
    return picked


@getitem.derivative
def _(grad: Array, input_shape: tuple[int, ...], index: Any) -> Array:
    """The gradient, at the index, in zeros; where an element was taken twice, both are added."""
    return put(grad, index=index, shape=input_shape)


@operation
def put(input: Array, *, index: Any, shape: Sequence[int]) -> Array:
    """Zeros of a shape, with the input added at the index."""
    out = np.zeros(shape, input.dtype)
    if _is_basic(index):
        out[index] = input
    else:
        np.add.at(out, index, input)
    return out


@put.derivative
def _(grad: Array, index: Any) -> Array:
    """The gradient at the index."""
    return grad[index]


@operation
def replace(input: Array, value: Array, *, index: Any) -> Array:
    """A copy of the input in which `input[index]` is `value`."""
    out = input.copy()
    out[index] = value
    return out


@replace.derivative
def _(grad: Array, index: Any) -> Any:
    """The gradient stays where the input stayed, and goes to the value at the index."""
    return lambda: replace(grad, 0, index=index), lambda: grad[index]


@operation(numpy=np.take_along_axis)
def take_along_dim(input: Array, *, indices: Any, dim: int) -> Array:
    """Elements of the input by their indices along one dimension; out[i, j] = input[indices[i, j], j] for dim 0.

    Raises:
        IndexError: an index is out of range.
    """
    return np.take_along_axis(input, np.asarray(indices), dim)


@take_along_dim.derivative
def _(grad: Array, input_shape: tuple[int, ...], indices: Any, dim: int) -> Array:
    """The gradient, at the indices, in zeros."""
    return put_along_dim(grad, indices=indices, dim=dim, shape=input_shape)


@operation
def put_along_dim(input: Array, *, indices: Any, dim: int, shape: Sequence[int]) -> Array:
    """Zeros of a shape, with the input added at the indices along one dimension."""
    out = np.zeros(shape, input.dtype)
    where = list(np.ogrid[tuple(slice(n) for n in input.shape)])
    where[dim] = np.asarray(indices)
    np.add.at(out, tuple(where), input)
    return out


@put_along_dim.derivative
def _(grad: Array, indices: Any, dim: int) -> Array:
    """The gradient at the indices."""
    return take_along_dim(grad, indices=indices, dim=dim)


@operation
def cast(input: Array, *, dtype: Any) -> Array:
    """The same values in another type.

    Raises:
        TypeError: not a boolean, integer or floating type.
    """
    return input.astype(storable(dtype))


@cast.derivative
def _(grad: Array) -> Array:
    """The gradient as it comes: the tape gives it the input's type."""
    return grad


def transpose(input: Array, dim0: int, dim1: int) -> Tensor:
    """The input with two dimensions exchanged.

    Raises:
        IndexError: `dim0` or `dim1` is out of range.
    """
    dims, one, two = list(range(input.ndim)), _place(input, dim0, "transpose"), _place(input, dim1, "transpose")
    dims[one], dims[two] = two, one
    return permute(input, dims=dims)


def unsqueeze(input: Array, dim: int) -> Tensor:
    """The input with a new dimension of size 1 at `dim`, from -(n + 1) to n for n dimensions.

    Raises:
        IndexError: `dim` is out of that range.
    """
    n = input.ndim
    if not -n - 1 <= dim <= n:
        raise IndexError(f"unsqueeze: dim {dim} is out of range for shape {input.shape}: use {-n - 1} to {n}")
    shape = list(input.shape)
    shape.insert(dim % (n + 1), 1)
    return reshape(input, shape=shape)


def squeeze(input: Array, dim: int | Sequence[int] | None = None) -> Tensor:
    """The input without its dimensions of size 1, or without those of `dim` that have it.

    Raises:
        IndexError: `dim` is out of range.
    """
    chosen = range(input.ndim) if dim is None else [dim] if isinstance(dim, (int, np.integer)) else dim
    gone = {_place(input, d, "squeeze") for d in chosen}
    return reshape(input, shape=[size for d, size in enumerate(input.shape) if size != 1 or d not in gone])


def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The input with dimensions `start_dim` to `end_dim` (inclusive) made one.

    Raises:
        IndexError: `start_dim` or `end_dim` is out of range.
        ValueError: `start_dim` comes after `end_dim`.
    """
    start, end = _place(input, start_dim, "flatten"), _place(input, end_dim, "flatten")
    shape = tuple(input.shape) or (1,)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {shape}")
    merged = int(np.prod(shape[start : end + 1], dtype=np.int64))
    return reshape(input, shape=(*shape[:start], merged, *shape[end + 1 :]))


NUMPY[np.swapaxes], NUMPY[np.expand_dims], NUMPY[np.squeeze], NUMPY[np.ravel] = transpose, unsqueeze, squeeze, flatten


def _place(input: Array, dim: int, name: str) -> int:
    """A dimension counted from the front; a single number is taken to have one."""
    n = input.ndim or 1
    if not -n <= dim < n:
        raise IndexError(f"{name}: dim {dim} is out of range for shape {tuple(input.shape)}: use {-n} to {n - 1}")
    return dim % n


def _is_basic(index: Any) -> bool:
    """Whether an index is made of integers, slices, None and ... alone, so that it takes no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (int, slice, np.integer)) for part in parts)
