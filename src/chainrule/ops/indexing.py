"""Indexing: operations that read elements at an index, and their derivatives, which add elements at an index.

`getitem` reads elements, and `add_at` adds elements to zeros: each is the derivative of the other. `embedding_lookup`
and `add_rows` do the same with rows of a matrix. `pick` reads along one dimension, and `main_diagonal` reads the
diagonals of square matrices. `index_put` writes elements into a copy. Most of the public functions are composed of
these operations.
"""

import math
from types import EllipsisType, NoneType
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.kernels import rows as row_kernels
from chainrule.kernels.memory import writable_diagonal
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.arithmetic import where
from chainrule.ops.operation import NUMPY_FUNCTIONS, Array, Input, Ints, Tensor, operation, stop_gradient
from chainrule.ops.shape import along, cat, clone, contiguous, int_tuple, movedim, reshape, wrap_dim, wrap_dims

__all__ = [
    "diagonal", "embedding", "flip", "gather", "getitem", "index_select", "roll", "take_along_dim", "tril", "triu",
]  # fmt: skip

MIN_ADDED_ROWS = 1_000
"""`add_at` leaves fewer elements to NumPy."""


@operation(view=True)
def getitem(input: Input, *, index: Any) -> Array:
    """input[index], for any index that NumPy accepts.

    Raises:
        IndexError: out of range, or too many indices.
    """
    elements = input[index]
    if not is_basic(index):  # NumPy may return the elements in a memory layout other than C order
        return contiguous(elements)
    if isinstance(elements, np.generic):  # NumPy copies a single element; with an ellipsis, it returns a view
        elements = input[(*index, ...) if isinstance(index, tuple) else (index, ...)]
    return elements


@getitem.derivative
def _(grad: Array, input_shape: tuple[int, ...], index: Any) -> Array:
    """Zeros with the gradient added at the index; the gradients of an element that was read twice add up."""
    return add_at(grad, index=index, shape=input_shape)


@operation
def add_at(source: Array, *, index: Any, shape: Any) -> Array:
    """Zeros of `shape` with the source added at the index."""
    out = np.zeros(shape, source.dtype)
    if is_basic(index):
        out[index] = source
    elif source.size < MIN_ADDED_ROWS or source.dtype not in (np.float32, np.float64):
        np.add.at(out, index, source)
    else:  # the same sums in the same order, in less time: the dimensions that are not indexed make up the rows
        parts = index if isinstance(index, tuple) else (index,)
        n = len(shape) if any(part is ... for part in parts) else sum(map(_dimension_count, parts))
        positions = np.arange(math.prod(shape[:n])).reshape(shape[:n])[index]
        rows = np.broadcast_to(source, (*positions.shape, *shape[n:])).reshape(*positions.shape, math.prod(shape[n:]))
        out = row_kernels.add_rows(rows, positions, math.prod(shape[:n])).reshape(shape)
    return out


# an older name of `add_at`; PyTorch's `scatter_add` is `scatter_reduce(..., reduce="sum")` here
scatter_add = add_at


@add_at.derivative
def _(grad: Array, index: Any) -> Array:
    """The gradient at the index."""
    return grad[index]


@operation
def index_put(input: Array, value: Array, *, index: Any) -> Array:
    """A copy of the input with `value` at the index."""
    out = np.copy(input)
    out[index] = value
    return out


@index_put.derivative
def _(grad: Array, index: Any) -> Any:
    """For the input, the gradient with zeros at the index; for the value, the gradient at the index."""
    return lambda: index_put(grad, 0, index=index), lambda: grad[index]


@takes_axis
def gather(input: Input, dim: int, index: Input) -> Tensor:
    """Read elements by their index along one dimension: out[i, j] = input[index[i, j], j] for dim 0.

    Args:
        input: any shape.
        dim: the dimension that is indexed.
        index: integers, with as many dimensions as the input, no larger than the input in dimensions other than `dim`.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: `dim` or an index is out of range.
        TypeError: the indices are not integers.
    """
    index, dim, source = _as_index(index), wrap_dim(input, dim, "gather"), _at_least_1d(input)
    if not math.prod(index.shape):  # an empty result
        return getitem(reshape(input, shape=(-1,)), index=np.zeros(index.shape, np.int64))
    sizes = zip(index.shape, source.shape, strict=False)
    is_too_long = [index_size > size and d != dim for d, (index_size, size) in enumerate(sizes)]
    if any(is_too_long) or source.ndim != (index.ndim or 1):
        requirement = f"it must have the same number of dimensions and be no larger, except in dim {dim}"
        raise ValueError(f"gather: index {index.shape} does not fit input {input.shape}: {requirement}")
    return pick(source, index, dim=dim, name="gather", sizes=index.shape)


@takes_axis
def take_along_dim(input: Input, indices: Input, dim: int | None = None) -> Tensor:
    """`gather` after broadcasting all dimensions but `dim`; from the flattened input if `dim` is None.

    Negative indices count from the end.
    """
    indices = _as_index(indices)
    if dim is None:
        flat, indices = reshape(input, shape=(-1,)), reshape(indices, shape=(-1,))
        return pick(flat, indices, dim=0, name="take_along_dim", allow_negative=True)
    if indices.ndim != input.ndim:
        raise ValueError(f"take_along_dim: indices {indices.shape} must have as many dimensions as input {input.shape}")
    dim, source = wrap_dim(input, dim, "take_along_dim"), _at_least_1d(input)
    return pick(source, indices, dim=dim, name="take_along_dim", sizes=input.shape, allow_negative=True)


@takes_axis
def index_select(input: Input, dim: int, index: Input) -> Tensor:
    """Read slices by their index along one dimension.

    Args:
        input: any shape.
        dim: the dimension that is indexed.
        index: integers, (n,) or ().

    Raises:
        ValueError: the index has more than one dimension.
        IndexError: `dim` or an index is out of range.
        TypeError: the indices are not integers.
    """
    index = _as_index(index)
    check("index_select", index.ndim < 2, f"the index must have at most one dimension, but has shape {index.shape}")
    slices = pick(_at_least_1d(input), index, dim=wrap_dim(input, dim, "index_select"), name="index_select")
    return slices if input.ndim else reshape(slices, shape=())


def flip(input: Input, dims: Ints, *more: int) -> Tensor:
    """Reverse the order of the elements along each of the dimensions, given as one sequence or separately; a copy."""
    flipped_dims = wrap_dims(input, (*int_tuple(dims, "flip"), *more), "flip")
    view = getitem(input, index=tuple(slice(None, None, -1 if d in flipped_dims else 1) for d in range(input.ndim)))
    return clone(view)  # a copy, as in PyTorch


def roll(input: Input, shifts: Ints, dims: Ints | None = None) -> Tensor:
    """Shift elements along `dims` by `shifts` positions, wrapping around at the end.

    Without `dims`, the flattened input is shifted.

    Raises:
        ValueError: the numbers of shifts and dimensions differ.
        IndexError: a dimension is out of range.
    """
    shifts, dims = int_tuple(shifts, "roll"), int_tuple(() if dims is None else dims, "roll")
    if len(shifts) == 1 and not dims:
        return reshape(roll(reshape(input, shape=(-1,)), shifts, 0), shape=input.shape)
    check("roll", input.ndim, "a single number has no dimension to roll along", IndexError)
    check("roll", 0 < len(shifts) == len(dims), f"needs a shift for each of {len(dims)} dimensions, not {len(shifts)}")
    out: Array = input
    for shift, dim in zip(shifts, [wrap_dim(input, d, "roll") for d in dims], strict=True):
        start = -shift % (input.shape[dim] or 1)
        if start:
            out = cat([out[along(dim, slice(start, None))], out[along(dim, slice(start))]], dim=dim)
    return clone(input) if out is input else out  # always a copy


def tril(input: Input, diagonal: int = 0) -> Tensor:
    """The lower triangle: matrices (..., n, m) with zeros above a diagonal.

    `diagonal` is 0 for the main diagonal, 1 for the next above.
    """
    mask = _lower_mask("tril", input, *int_tuple(diagonal, "tril"))
    return where(mask, input, False)  # False becomes 0 in the input's type


def triu(input: Input, diagonal: int = 0) -> Tensor:
    """The upper triangle: matrices (..., n, m) with zeros below a diagonal.

    `diagonal` is 0 for the main diagonal, 1 for the next above.
    """
    return where(_lower_mask("triu", input, int_tuple(diagonal, "triu")[0] - 1), False, input)


def diagonal(input: Input, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal over two dimensions, moved to the last dimension.

    Args:
        input: at least two dimensions.
        offset: the diagonal: 0 is the main diagonal, 1 the next above.
        dim1: the dimension of the rows.
        dim2: the dimension of the columns.

    Raises:
        ValueError: `dim1` and `dim2` are the same dimension.
        IndexError: a dimension is out of range.
    """
    matrices = movedim(input, wrap_dims(input, (dim1, dim2), "diagonal"), (-2, -1))
    n_rows, n_columns = matrices.shape[-2:]
    first_row, first_column = max(0, -offset), max(0, offset)
    length = max(0, min(n_rows - first_row, n_columns - first_column))
    if (n_rows, n_columns) != (length, length):
        matrices = matrices[..., first_row : first_row + length, first_column : first_column + length]
    return main_diagonal(matrices)


@operation(view=True)
def main_diagonal(input: Array) -> Array:
    """The diagonal of square matrices (..., n, n): a view (..., n)."""
    return writable_diagonal(input, 0, -2, -1) if isinstance(input, np.ndarray) else np.diagonal(input, 0, -2, -1)


@main_diagonal.derivative
def _(grad: Array, input_shape: tuple[int, ...]) -> Array:
    """Zeros with the gradient on the diagonal."""
    return add_at(grad, index=diagonal_index(input_shape[-1]), shape=input_shape)


def diagonal_index(size: int) -> tuple[Any, ...]:
    """The index that reads the diagonal of matrices (..., size, size)."""
    return ..., np.arange(size), np.arange(size)


NUMPY_FUNCTIONS[np.take_along_axis] = take_along_dim


_BASIC = frozenset({int, slice, NoneType, EllipsisType})


def is_basic(index: Any) -> bool:
    """Whether an index has only integers, slices, None and ...; such an index reads each element at most once."""
    for part in index if type(index) is tuple else (index,):
        if type(part) not in _BASIC and not isinstance(part, np.integer):
            return False
    return True


def is_basic_with_tensors(index: Any) -> bool:
    """Whether an index is basic except for zero-dimensional tensors, whose values are unknown during tracing."""
    return all(is_basic(part) or _is_integer(part) for part in (index if type(index) is tuple else (index,)))


def _is_integer(part: Any) -> bool:
    """Whether an entry of an index is an integer or a zero-dimensional array or Tensor of integers."""
    if type(part) is int or isinstance(part, np.integer):
        return True
    return getattr(part, "ndim", None) == 0 and part.dtype.kind in "iu"


def split_index(index: tuple[Any, ...], ndim: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split an index with arrays into two indices that, applied by NumPy in sequence, give PyTorch's result.

    In an index with arrays, NumPy treats an integer as one more array: in x[0, :, [0, 1]], the slice separates two
    arrays, and then NumPy puts the dimensions of the arrays first: the result's shape is (2, n). PyTorch applies x[0]
    before the arrays: (n, 2). An ellipsis that covers no dimension separates arrays in NumPy, but not in PyTorch.

    Args:
        index: integers, slices, None, ... and arrays.
        ndim: the number of dimensions of the indexed array.

    Returns:
        The index for the input, and the index for the result of the first; the first is empty if the second suffices.
    """
    parts = list(index)
    position = next((i for i, part in enumerate(parts) if part is ...), None)
    if position is not None:
        parts[position : position + 1] = [slice(None)] * (ndim - sum(_dimension_count(part) for part in parts))
    is_number = [_is_integer(part) for part in parts]
    is_array = [not number and not is_basic(part) for part, number in zip(parts, is_number, strict=True)]
    # the positions of the entries that NumPy treats as arrays: arrays and integers
    advanced = [i for i in range(len(parts)) if is_number[i] or is_array[i]]
    # NumPy gives PyTorch's result if there are no integers, or if all these entries are adjacent
    if not any(is_number) or advanced[-1] - advanced[0] + 1 == len(advanced):
        return (), tuple(parts)
    first: list[Any] = []
    second: list[Any] = []
    for part, part_is_number, part_is_array in zip(parts, is_number, is_array, strict=True):
        first += [slice(None)] * _dimension_count(part) if part_is_array else [part]
        if not part_is_number:
            second.append(part if part_is_array else slice(None))
    return tuple(first), tuple(second)


def _dimension_count(part: Any) -> int:
    """The number of dimensions of the input that an entry of an index covers."""
    if part is None or part is ... or isinstance(part, bool):
        return 0
    return part.ndim if getattr(part, "dtype", None) == np.bool_ else 1


def _at_least_1d(input: Array) -> Any:
    """The input, with at least one dimension."""
    return input if input.ndim else reshape(input, shape=(1,))


def _as_index(index: Any) -> Any:
    """The index as an array or Tensor, which has a shape."""
    return index if hasattr(index, "dtype") else np.array(index)


@operation(extra="positions")
def pick(
    input: Array, index: Array, *, dim: int, name: str, sizes: tuple[int, ...] | None = None,
    allow_negative: bool = False,
) -> Any:  # fmt: skip
    """Read elements by their index along one dimension.

    If `sizes` is None, whole slices are read: out[i] = input[index[i]] for dim 0. If it is a tuple, single elements are
    read: out[i, j] = input[index[i, j], j] for dim 0. `index` then broadcasts, and each dimension d other than `dim` is
    read from 0 to sizes[d] - 1; sizes[dim] is ignored. With `allow_negative`, negative indices count from the end;
    otherwise they are an error. `name` is the name in error messages. For the derivative, the formula also returns
    `positions`, the checked indices.

    Raises:
        TypeError: the indices are not integers.
        IndexError: an index is out of range.
    """
    positions, size = int64_copy(index, name), input.shape[dim]
    positions = np.where(positions < 0, positions + size, positions) if allow_negative else positions
    positions = check_range(positions, size, name)
    return contiguous(np.asarray(input[grid_index(dim, positions, sizes)])), positions


@pick.derivative
def _(grad: Array, input_shape: tuple[int, ...], positions: Any, dim: int, sizes: tuple[int, ...] | None) -> Any:
    """Zeros with the gradient added at the indices; the gradients of an element that was read twice add up."""
    return lambda: add_at(grad, index=grid_index(dim, positions, sizes), shape=input_shape), None


def grid_index(dim: int, positions: Any, sizes: tuple[int, ...] | None) -> tuple[Any, ...]:
    """The index that reads `positions` along one dimension.

    If there are `sizes`, it reads 0 to sizes[d] - 1 along each other dimension d; otherwise whole slices.
    """
    if sizes is None:
        return along(dim, positions.reshape(-1))
    last = len(sizes) - 1
    # the same as np.ogrid, but several times as fast
    grid = [np.arange(size).reshape(-1, *(1,) * (last - d)) for d, size in enumerate(sizes)]
    grid[dim : dim + 1] = [positions]
    return tuple(grid)


@operation
def check_indices(input: Array, *, size: int, name: str, ignore_index: int | None = None) -> Array:
    """Return the input as an int64 copy, after checking that it holds integers from 0 to size - 1, or `ignore_index`.

    This is an operation, so that a compiled function checks the indices of each call.

    Raises:
        TypeError: the input does not hold integers.
        IndexError: an index is out of range.
    """
    index = int64_copy(input, name)
    if index.size and index.view(np.uint64).max() >= size:  # as unsigned numbers, negative ones are very large
        check_range(index if ignore_index is None else index[index != ignore_index], size, name)
    return index


@operation
def embedding_lookup(input: Array, index: Array) -> Array:
    """Read rows of a matrix (V, D) by their indices (...), giving (..., D)."""
    return input[index]


@embedding_lookup.derivative
def _(grad: Array, input_shape: tuple[int, ...], index: Array) -> Any:
    """Zeros with the gradient of each row added at its index."""
    return lambda: add_rows(grad, index, count=input_shape[0]), None


@operation
def add_rows(source: Array, index: Array, *, count: int) -> Array:
    """Zeros (count, D), with the rows of the source (..., D) added at their indices (...)."""
    return row_kernels.add_rows(source, index, count)


@add_rows.derivative
def _(grad: Array, index: Array) -> Any:
    """The rows of the gradient at the indices."""
    return lambda: embedding_lookup(grad, index), None


def embedding(input: Input, weight: Input, padding_idx: int | None = None) -> Tensor:
    """Look up rows of the weight: indices (...) and a weight (V, D) give (..., D).

    Args:
        input: indices from 0 to V - 1.
        weight: the rows, (V, D).
        padding_idx: the index of a row that gets no gradient; a negative index counts from the end.

    Raises:
        IndexError: an index is out of range.
        TypeError: the indices are not integers.
        ValueError: the weight is not a matrix, or `padding_idx` is out of range.
    """
    check("embedding", weight.ndim == 2, f"the weight must be (V, D), not {weight.shape}")
    size = weight.shape[0]
    index = check_indices(input, size=size, name="embedding")
    out = embedding_lookup(weight, index)
    if padding_idx is None:
        return out
    check("embedding", -size <= padding_idx < size, f"padding_idx {padding_idx} is out of range for {size} rows")
    return where(np.expand_dims(index == padding_idx % size, -1), stop_gradient(out), out)


def int64_copy(index: Array, name: str) -> Any:
    """Return the indices as an int64 copy.

    Raises:
        TypeError: the indices are not integers.
    """
    copy = np.array(index)  # the caller may change the original before `backward()`
    if copy.dtype.kind not in "iu" and copy.size:
        raise TypeError(f"{name}: the index must be integers, not {copy.dtype}")
    return copy.astype(np.int64, copy=False)


def check_range(index: Any, size: int, name: str) -> Any:
    """Return the indices, after checking that all are from 0 to size - 1.

    Raises:
        IndexError: an index is out of range.
    """
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise IndexError(f"{name}: indices are {index.min()} to {index.max()}, but must be 0 to {size - 1}")
    return index


def _lower_mask(name: str, input: Array, diagonal: int) -> Any:
    """A mask of the elements on and below a diagonal."""
    check(name, input.ndim > 1, f"takes matrices (..., n, m), not shape {input.shape}")
    n_rows, n_columns = input.shape[-2:]
    return np.tri(n_rows, n_columns, diagonal, dtype=bool)
