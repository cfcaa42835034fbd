"""Indexing: operations that read elements at an index and write them back.

`getitem` reads elements and `scatter_add` adds elements into zeros: each is the other's derivative. The rest (gather,
flip, diagonal, ...) is composed of these two with the right index.
"""

import math
from types import EllipsisType, NoneType
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.kernels import rows as row_kernels
from chainrule.kernels.memory import writable_diagonal
from chainrule.ops.arithmetic import where
from chainrule.ops.operation import NUMPY, Array, Ints, Tensor, operation
from chainrule.ops.shape import along, cat, clone, contiguous, int_tuple, movedim, reshape, wrap_dim, wrap_dims

__all__ = [
    "diagonal", "flip", "gather", "getitem", "index_select", "roll", "take_along_dim", "tril", "triu",
]  # fmt: skip


@operation(view=True)
def getitem(input: Array, *, index: Any) -> Array:
    """input[index], for whatever NumPy takes as an index.

    Raises:
        IndexError: out of range, or too many indices.
    """
    picked = input[index]
    if not is_basic(index):  # NumPy may put the picked dimension last in memory
        return contiguous(picked)
    if isinstance(picked, np.generic):  # a single element: with ... it is a view too, like all that slices give
        picked = input[(*index, ...) if isinstance(index, tuple) else (index, ...)]
    return picked


@getitem.derivative
def _(grad: Array, input_shape: tuple[int, ...], index: Any) -> Array:
    """The gradient, at the index, in zeros; where an element was taken twice, both are added."""
    return scatter_add(grad, index=index, shape=input_shape)


@operation
def scatter_add(input: Array, *, index: Any, shape: Any) -> Array:
    """Zeros of a shape, with the input added at the index."""
    out = np.zeros(shape, input.dtype)
    if is_basic(index):
        out[index] = input
    else:
        np.add.at(out, index, input)
    return out


@scatter_add.derivative
def _(grad: Array, index: Any) -> Array:
    """The gradient at the index."""
    return grad[index]


@operation
def index_put(input: Array, value: Array, *, index: Any) -> Array:
    """A copy of the input in which `input[index]` is `value`."""
    out = np.copy(input)
    out[index] = value
    return out


@index_put.derivative
def _(grad: Array, index: Any) -> Any:
    """The gradient stays where the input stayed, and goes to the value at the index."""
    return lambda: index_put(grad, 0, index=index), lambda: grad[index]


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
    index, dim, source = _as_index(index), wrap_dim(input, dim, "gather"), _row(input)
    if not math.prod(index.shape):  # nothing to pick
        return getitem(reshape(input, shape=(-1,)), index=np.zeros(index.shape, np.int64))
    longer = [d for d, (n, size) in enumerate(zip(index.shape, source.shape, strict=False)) if n > size and d != dim]
    if longer or source.ndim != (index.ndim or 1):
        raise ValueError(f"gather: index {index.shape} does not fit input {input.shape}: only dim {dim} may be longer")
    return pick(source, index, dim=dim, name="gather", sizes=index.shape)


def take_along_dim(input: Array, indices: Array, dim: int | None = None) -> Tensor:
    """`gather` with both brought to one shape first, but for `dim`; in the flattened input if `dim` is None."""
    indices = _as_index(indices)
    if dim is None:
        flat, indices = reshape(input, shape=(-1,)), reshape(indices, shape=(-1,))
        return pick(flat, indices, dim=0, name="take_along_dim", from_end=True)
    if indices.ndim != input.ndim:
        raise ValueError(f"take_along_dim: indices {indices.shape} must have the dimensions of input {input.shape}")
    dim, source = wrap_dim(input, dim, "take_along_dim"), _row(input)
    return pick(source, indices, dim=dim, name="take_along_dim", sizes=input.shape, from_end=True)


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
    index = _as_index(index)
    check("index_select", index.ndim < 2, f"the index must have one dimension, it has shape {index.shape}")
    picked = pick(_row(input), index, dim=wrap_dim(input, dim, "index_select"), name="index_select")
    return picked if input.ndim else reshape(picked, shape=())


def flip(input: Array, dims: Ints, *more: int) -> Tensor:
    """The order of elements turned round along each of `dims`."""
    flipped = wrap_dims(input, (*int_tuple(dims, "flip"), *more), "flip")
    view = getitem(input, index=tuple(slice(None, None, -1 if d in flipped else 1) for d in range(input.ndim)))
    return clone(view)  # as PyTorch's is


def roll(input: Array, shifts: Ints, dims: Ints | None = None) -> Tensor:
    """Elements moved along `dims` by `shifts` places; what leaves at one end enters at the other.

    With `dims` left out, the input is rolled as if flat.

    Raises:
        ValueError: other numbers of shifts and dimensions.
    """
    shifts, dims = int_tuple(shifts, "roll"), int_tuple(() if dims is None else dims, "roll")
    if len(shifts) == 1 and not dims:
        return reshape(roll(reshape(input, shape=(-1,)), shifts, 0), shape=input.shape)
    check("roll", input.ndim, "a single number has no dimension to roll along", IndexError)
    check("roll", 0 < len(shifts) == len(dims), f"needs a shift for each of {len(dims)} dimensions, not {len(shifts)}")
    out = input
    for shift, dim in zip(shifts, [wrap_dim(input, d, "roll") for d in dims], strict=True):
        cut = -shift % (input.shape[dim] or 1)
        if cut:
            out = cat([out[along(dim, slice(cut, None))], out[along(dim, slice(cut))]], dim=dim)
    return clone(input) if out is input else out  # a copy, even if nothing moves


def tril(input: Array, diagonal: int = 0) -> Tensor:
    """Matrices (..., n, m) with zeros above a diagonal; 0 is the main one, 1 the one above."""
    return where(_below("tril", input, *int_tuple(diagonal, "tril")), input, False)  # 0 in the input's own type


def triu(input: Array, diagonal: int = 0) -> Tensor:
    """Matrices (..., n, m) with zeros below a diagonal; 0 is the main one, 1 the one above."""
    return where(_below("triu", input, int_tuple(diagonal, "triu")[0] - 1), False, input)


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
    matrices = movedim(input, wrap_dims(input, (dim1, dim2), "diagonal"), (-2, -1))
    rows, columns = matrices.shape[-2:]
    row, column = max(0, -offset), max(0, offset)
    length = max(0, min(rows - row, columns - column))
    if (rows, columns) != (length, length):
        matrices = matrices[..., row : row + length, column : column + length]
    return main_diagonal(matrices)


@operation(view=True)
def main_diagonal(input: Array) -> Array:
    """The diagonal of square matrices (..., n, n): a view (..., n)."""
    return writable_diagonal(input, 0, -2, -1) if isinstance(input, np.ndarray) else np.diagonal(input, 0, -2, -1)


@main_diagonal.derivative
def _(grad: Array, input_shape: tuple[int, ...]) -> Array:
    """The gradient on the diagonal of zeros."""
    return scatter_add(grad, index=diagonal_index(input_shape[-1]), shape=input_shape)


def diagonal_index(size: int) -> tuple[Any, ...]:
    """The index of the diagonal of matrices (..., size, size)."""
    return ..., np.arange(size), np.arange(size)


NUMPY[np.flip], NUMPY[np.roll], NUMPY[np.take_along_axis] = flip, roll, take_along_dim
NUMPY[np.tril], NUMPY[np.triu], NUMPY[np.diagonal] = tril, triu, diagonal


_BASIC = frozenset({int, slice, NoneType, EllipsisType})


def is_basic(index: Any) -> bool:
    """Whether an index is made of integers, slices, None and ... alone, so that it takes no element twice."""
    for part in index if type(index) is tuple else (index,):
        if type(part) not in _BASIC and not isinstance(part, np.integer):
            return False
    return True


def is_basic_with_tensors(index: Any) -> bool:
    """Whether an index is basic but for tensors of one number, whose value a traced function does not know."""
    return all(is_basic(part) or _is_number(part) for part in (index if type(index) is tuple else (index,)))


def _is_number(part: Any) -> bool:
    """Whether a part of an index is a whole number, or a tensor of one."""
    if type(part) is int or isinstance(part, np.integer):
        return True
    return getattr(part, "ndim", None) == 0 and part.dtype.kind in "iu"


def torch_order(index: tuple[Any, ...], ndim: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """An index with arrays as PyTorch reads it, in two: the first for the input, the second for what that gives.

    To NumPy, a number beside arrays is one more array: in x[0, :, [0, 1]] a slice stands between arrays, so their
    dimension comes first. PyTorch takes x[0] before it looks at the arrays. And an ellipsis that stands for no
    dimension is like a slice between arrays to NumPy, and nothing to PyTorch.

    Args:
        index: integers, slices, None, ... and arrays.
        ndim: how many dimensions there are to index.

    Returns:
        The two; the first is empty where the second alone says it all.
    """
    parts = list(index)
    position = next((i for i, part in enumerate(parts) if part is ...), None)
    if position is not None:
        parts[position : position + 1] = [slice(None)] * (ndim - sum(_dimensions(part) for part in parts))
    numbers = [_is_number(part) for part in parts]
    arrays = [not number and not is_basic(part) for part, number in zip(parts, numbers, strict=True)]
    met = [i for i in range(len(parts)) if numbers[i] or arrays[i]]
    if not any(numbers) or met[-1] - met[0] + 1 == len(met):  # nothing stands between them
        return (), tuple(parts)
    first: list[Any] = []
    second: list[Any] = []
    for part, number, array in zip(parts, numbers, arrays, strict=True):
        first += [slice(None)] * _dimensions(part) if array else [part]
        second += [] if number else [part if array else slice(None)]
    return tuple(first), tuple(second)


def _dimensions(part: Any) -> int:
    """How many dimensions a part of an index stands for."""
    if part is None or part is ... or isinstance(part, bool):
        return 0
    return part.ndim if getattr(part, "dtype", None) == np.bool_ else 1


def _row(input: Array) -> Any:
    """The input; a single number as one of one."""
    return input if input.ndim else reshape(input, shape=(1,))


def _as_index(index: Any) -> Any:
    """Indices as something that has a shape."""
    return index if hasattr(index, "dtype") else np.array(index)


@operation(extra="places")
def pick(
    input: Array, index: Array, *, dim: int, name: str, sizes: tuple[int, ...] | None = None, from_end: bool = False
) -> Any:
    """The elements at `index` along one dimension, and at 0, 1, ... along the others, up to `sizes`; these broadcast.

    Without `sizes`, whole slices. `from_end`: negative indices count from the end. The indices are handed on, too.

    Raises:
        TypeError: the index is not made of integers.
        IndexError: an index is out of range.
    """
    places, count = integers(index, name), input.shape[dim]
    places = in_range(np.where(places < 0, places + count, places) if from_end else places, count, name)
    return contiguous(np.asarray(input[_along_others(dim, places, sizes)])), places


@pick.derivative
def _(grad: Array, input_shape: tuple[int, ...], places: Any, dim: int, sizes: tuple[int, ...] | None) -> Any:
    """The gradient, at the indices, in zeros; where an element was taken twice, both are added."""
    return lambda: scatter_add(grad, index=_along_others(dim, places, sizes), shape=input_shape), None


def _along_others(dim: int, places: Any, sizes: tuple[int, ...] | None) -> tuple[Any, ...]:
    """The index that takes places along one dimension, and what `pick` says along the others."""
    if sizes is None:
        return along(dim, places.reshape(-1))
    later = len(sizes) - 1
    # what np.ogrid gives, in a tenth of its time
    grid = [np.arange(size).reshape(-1, *(1,) * (later - d)) for d, size in enumerate(sizes)]
    grid[dim : dim + 1] = [places]
    return tuple(grid)


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
def embedding_lookup(input: Array, index: Array) -> Array:
    """Rows of a matrix (V, D) by their indices (...): (..., D)."""
    return input[index]


@embedding_lookup.derivative
def _(grad: Array, input_shape: tuple[int, ...], index: Array) -> Any:
    """Each row's gradient, added where it was taken from."""
    return lambda: index_add(grad, index=np.asarray(index), count=input_shape[0]), None


@operation
def index_add(input: Array, *, index: Any, count: int) -> Array:
    """Zeros (count, D), with rows (..., D) added at their indices (...)."""
    return row_kernels.scatter_add(input, index, count)


@index_add.derivative
def _(grad: Array, index: Any) -> Array:
    """The gradient's rows at the indices."""
    return embedding_lookup(grad, index)


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
    check(name, input.ndim > 1, f"takes matrices (..., n, m), not shape {input.shape}")
    rows, columns = input.shape[-2:]
    return np.tri(rows, columns, diagonal, dtype=bool)
