"""Operations that pick elements out and put them back.

`getitem` takes elements out and `put` lays them into zeros: each is the other's derivative. All that picks elements
(gather, flip, diagonal, ...) is one of the two with the right index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.ops.arithmetic import where
from chainrule.ops.operation import NUMPY, Array, operation
from chainrule.ops.shape import along, broadcast_to, cat, each_place, movedim, place, reshape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.tensor import Tensor

__all__ = [
    "diagonal", "flip", "gather", "getitem", "index_select", "put", "replace", "roll", "take_along_dim", "tril", "triu",
]  # fmt: skip


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


def gather(input: Array, dim: int, index: Array) -> Tensor:
    """Elements by their indices along one dimension: out[i, j] = input[index[i, j], j] for dim 0.

    Args:
        input: any shape.
        dim: the dimension that `index` counts along.
        index: integers, as many dimensions as the input, no longer than it in the other dimensions.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an index is out of range.
        TypeError: the index is not made of integers.
    """
    places, dim = integers(index, "gather"), place(input, dim, "gather")
    if not places.size:  # nothing to pick
        return getitem(reshape(input, shape=(-1,)), index=places)
    shape, wanted = input.shape or (1,), places.shape or (1,)  # single numbers count as one of one
    longer = [d for d, (w, s) in enumerate(zip(wanted, shape, strict=False)) if w > s and d != dim]
    if longer or len(wanted) != len(shape):
        raise ValueError(f"gather: index {places.shape} does not fit input {shape}: it may be longer in dim {dim} only")
    grid: list[Any] = list(np.ogrid[tuple(slice(n) for n in wanted)])
    grid[dim] = in_range(places.reshape(wanted), shape[dim], "gather")
    picked = getitem(input if input.ndim else reshape(input, shape=(1,)), index=tuple(grid))
    return picked if places.ndim else reshape(picked, shape=())


def take_along_dim(input: Array, indices: Array, dim: int | None = None) -> Tensor:
    """`gather` with both brought to one shape first, but for `dim`; in the flattened input if `dim` is None."""
    places = integers(indices, "take_along_dim")
    if dim is None:
        return getitem(reshape(input, shape=(-1,)), index=places.reshape(-1))
    if places.ndim != input.ndim:
        shapes = f"input {input.shape} and indices {places.shape}"
        raise ValueError(f"take_along_dim: {shapes} must have as many dimensions")
    dim = place(input, dim, "take_along_dim")
    places = np.where(places < 0, places + input.shape[dim], places)  # from the end
    common = [max(a, b) if a and b else 0 for a, b in zip(input.shape, places.shape, strict=True)]
    wide = broadcast_to(input, shape=(*common[:dim], input.shape[dim], *common[dim + 1 :]))
    return gather(wide, dim, np.broadcast_to(places, (*common[:dim], places.shape[dim], *common[dim + 1 :])))


def index_select(input: Array, dim: int, index: Array) -> Tensor:
    """The slices of one dimension by their indices.

    Args:
        input: any shape.
        dim: the dimension.
        index: integers, (n,) or a single one.

    Raises:
        ValueError: the index has more than one dimension.
        IndexError: out of range.
    """
    places = integers(index, "index_select")
    if places.ndim > 1:
        raise ValueError(f"index_select: the index must have one dimension, it has shape {places.shape}")
    dim, row = place(input, dim, "index_select"), input if input.ndim else reshape(input, shape=(1,))
    picked = getitem(row, index=along(dim, in_range(places.reshape(-1), row.shape[dim], "index_select")))
    return picked if input.ndim else reshape(picked, shape=())


def flip(input: Array, dims: int | Sequence[int], *more: int) -> Tensor:
    """The order of elements turned round along each of `dims`."""
    turned = each_place(input, (dims, *more) if isinstance(dims, int) else dims, "flip")
    if not turned:
        return getitem(input, index=...)
    return getitem(input, index=tuple(slice(None, None, -1 if d in turned else 1) for d in range(input.ndim)))


def roll(input: Array, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved along `dims` by `shifts` places; what leaves at one end enters at the other.

    With `dims` left out, the input is rolled as if flat.

    Raises:
        ValueError: other numbers of shifts and dimensions.
    """
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not shifts:
        raise ValueError("roll: needs at least one shift")
    if not dims and len(shifts) == 1:
        return reshape(roll(reshape(input, shape=(-1,)), shifts, 0), shape=input.shape)
    if not input.ndim:
        raise IndexError("roll: a single number has no dimension to roll along")
    if len(shifts) != len(dims):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(dims)} dimensions")
    for shift, dim in zip(shifts, [place(input, d, "roll") for d in dims], strict=True):
        cut = -shift % (input.shape[dim] or 1)
        if cut:
            input = cat([input[along(dim, slice(cut, None))], input[along(dim, slice(cut))]], dim=dim)
    return input  # type: ignore[no-any-return]


def tril(input: Array, diagonal: int = 0) -> Tensor:
    """Matrices (..., n, m) with zeros above a diagonal; 0 is the main one, 1 the one above."""
    return where(_below("tril", input, diagonal), input, 0)


def triu(input: Array, diagonal: int = 0) -> Tensor:
    """Matrices (..., n, m) with zeros below a diagonal; 0 is the main one, 1 the one above."""
    return where(_below("triu", input, diagonal - 1), 0, input)


def diagonal(input: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of matrices that lie in two dimensions; it becomes the last dimension.

    Args:
        input: at least two dimensions.
        offset: which diagonal: 0 the main one, 1 the one above.
        dim1: the dimension of rows.
        dim2: the dimension of columns.

    Raises:
        ValueError: `dim1` and `dim2` are the same.
        IndexError: one is out of range.
    """
    if place(input, dim1, "diagonal") == place(input, dim2, "diagonal"):
        raise ValueError(f"diagonal: dim1 and dim2 must differ, both are {dim1}")
    matrices = movedim(input, (dim1, dim2), (-2, -1))
    rows, columns = matrices.shape[-2:]
    length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    steps = np.arange(length)
    return getitem(matrices, index=(..., steps - min(offset, 0), steps + max(offset, 0)))


NUMPY[np.flip], NUMPY[np.roll], NUMPY[np.take_along_axis] = flip, roll, take_along_dim
NUMPY[np.tril], NUMPY[np.triu], NUMPY[np.diagonal] = tril, triu, diagonal


def _is_basic(index: Any) -> bool:
    """Whether an index is made of integers, slices, None and ... alone, so that it takes no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is ... or (isinstance(part, (int, slice, np.integer)) and not isinstance(part, bool))
        for part in parts
    )


@operation
def indices(input: Array, *, size: int, name: str, spared: int | None = None) -> Array:
    """The input, if it holds integers from 0 to size - 1 or `spared`: a copy, for the caller may change his.

    Raises:
        TypeError: not integers.
        IndexError: one is out of range.
    """
    places = integers(input, name)
    if places.size and places.view(np.uint64).max() >= size:  # a negative one is a very large one there
        in_range(places if spared is None else places[places != spared], size, name)
    return places


@operation
def rows(input: Array, places: Array) -> Array:
    """Rows of a matrix (V, D) by their places (...): (..., D)."""
    return input[places]


@rows.derivative
def _(grad: Array, input_shape: tuple[int, ...], places: Array) -> Any:
    """Each row's gradient, added where it was taken from."""
    return lambda: put(grad, index=np.asarray(places), shape=input_shape), None


def integers(index: Array, name: str) -> Any:
    """Indices as an array that nobody else holds.

    Raises:
        TypeError: not integers.
    """
    places = np.array(index)  # a copy: the caller may fill his array with other places before `backward()`
    if places.dtype.kind not in "iu" and places.size:
        raise TypeError(f"{name}: the index must be integers, not {places.dtype}")
    return places.astype(np.int64, copy=False)


def in_range(places: Any, size: int, name: str) -> Any:
    """Indices that are known to be from 0 to size - 1.

    Raises:
        IndexError: one is out of range.
    """
    if places.size and not (places.min() >= 0 and places.max() < size):
        raise IndexError(f"{name}: indices are {places.min()} to {places.max()}, they must be 0 to {size - 1}")
    return places


def _below(name: str, input: Array, diagonal: int) -> Any:
    """True on and below a diagonal of matrices."""
    if input.ndim < 2:
        raise ValueError(f"{name}: takes matrices (..., n, m), not shape {input.shape}")
    rows, columns = input.shape[-2:]
    return np.tri(rows, columns, diagonal, dtype=bool)
