"""Shape operations: reshaping, permuting, broadcasting, concatenating, splitting; and type conversion.

The operations at the top are primitive; the functions below them are composed of these.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.dtypes import storable_dtype
from chainrule.ops.operation import NUMPY_FUNCTIONS, Array, DTypeLike, Input, Ints, Tensor, check_tensors, operation

__all__ = [
    "broadcast_to", "cast", "cat", "chunk", "expand", "flatten", "movedim", "permute", "repeat", "reshape",
    "split", "squeeze", "stack", "t", "tile", "transpose", "unbind", "unflatten", "unsqueeze",
]  # fmt: skip


@operation(input_count=1, numpy=np.reshape, view=True)
def reshape(input: Input, shape: Ints) -> Array:
    """The same elements in the same order in a different shape; one size may be -1, to be inferred.

    Raises:
        ValueError: the shape does not hold the same number of elements.
    """
    if min(int_tuple(shape, "reshape"), default=0) < -1:  # NumPy treats every negative size as -1
        raise ValueError(f"reshape: a size must be at least 0, or -1 once, not {shape}")
    return np.reshape(input, shape)


@reshape.derivative
def _(grad: Array, input_shape: tuple[int, ...]) -> Array:
    """The gradient in the input's shape."""
    return np.reshape(grad, input_shape)


@operation(input_count=1, numpy=np.transpose, view=True)
def permute(input: Input, dims: Sequence[int] | None = None) -> Array:
    """The input with its dimensions in a different order; in reverse order if `dims` is None.

    Raises:
        ValueError: `dims` does not name every dimension once.
    """
    return np.transpose(input, dims)


@permute.derivative
def _(grad: Array, dims: Sequence[int] | None) -> Array:
    """The gradient with its dimensions in the original order."""
    return np.transpose(grad, None if dims is None else np.argsort([d % len(dims) for d in dims]).tolist())


@operation(input_count=1, numpy=np.broadcast_to, view=True)
def broadcast_to(input: Input, shape: Sequence[int]) -> Array:
    """The input repeated along new leading dimensions and along dimensions of size 1; a read-only view.

    Raises:
        ValueError: the input does not broadcast to the shape.
    """
    return np.broadcast_to(input, shape)


@broadcast_to.derivative
def _(grad: Array) -> Array:
    """The gradient unchanged: the tape sums it over the repeated dimensions."""
    return grad


@operation(promote="common")
def concatenate(*inputs: Array, dim: int = 0) -> Array:
    """The inputs joined along a dimension, in C order; see `cat`."""
    return contiguous(np.concatenate(inputs, dim))


@concatenate.derivative
def _(grad: Array, shapes: Sequence[tuple[int, ...]], dim: int) -> Any:
    """The section of the gradient that belongs to each input."""
    sections = _sections([shape[dim] for shape in shapes], dim % len(shapes[0]))
    return tuple([lambda section=section: grad[section] for section in sections])


@operation
def contiguous_copy(input: Array) -> Array:
    """A copy in C order."""
    return np.copy(input, order="C")


@contiguous_copy.derivative
def _(grad: Array) -> Array:
    """The gradient unchanged."""
    return grad


@operation
def cast(input: Input, *, dtype: DTypeLike) -> Array:
    """The same values in a different type; always a copy.

    Raises:
        TypeError: the type is not boolean, integer or floating.
    """
    return input.astype(storable_dtype(dtype))  # type: ignore[union-attr]  # a formula gets arrays


@cast.derivative
def _(grad: Array) -> Array:
    """The gradient unchanged: the tape converts it to the input's type."""
    return grad


# Composed of the operations above


def as_dtype(input: Array, dtype: Any) -> Tensor:
    """The same values in `dtype`; the input itself if it has that type."""
    out: Tensor = input if input.dtype == dtype else cast(input, dtype=dtype)
    return out


def widen_float16(input: Array) -> Tensor:
    """Convert float16 to float32: `sums.widen_float16` as an operation, with a derivative."""
    return as_dtype(input, np.float32 if input.dtype == np.float16 else input.dtype)


def clone(input: Array) -> Tensor:
    """A copy with its own memory."""
    return cast(input, dtype=input.dtype)  # copies even if the type stays the same


def transpose(input: Input, dim0: int, dim1: int) -> Tensor:
    """The input with two dimensions swapped.

    Raises:
        IndexError: `dim0` or `dim1` is out of range.
    """
    first, second = wrap_dim(input, dim0, "transpose"), wrap_dim(input, dim1, "transpose")
    dims = list(range(input.ndim))
    if dims:
        dims[first], dims[second] = second, first
    return permute(input, dims=dims)


def t(input: Input) -> Tensor:
    """A matrix transposed, (n, m) to (m, n); a vector or a number unchanged.

    Raises:
        ValueError: the input has more than two dimensions.
    """
    check_tensors("t", input)
    check("t", input.ndim < 3, f"takes a matrix, not shape {input.shape}: use transpose or permute")
    return transpose(input, 0, 1) if input.ndim == 2 else reshape(input, shape=input.shape)


def movedim(input: Input, source: Ints, destination: Ints) -> Tensor:
    """The input with the dimensions `source` moved to the positions `destination`; the others keep their order.

    Raises:
        ValueError: `source` and `destination` have different lengths, or a dimension is repeated.
        IndexError: a dimension is out of range.
    """
    sources, targets = wrap_dims(input, source, "movedim"), wrap_dims(input, destination, "movedim")
    check("movedim", len(sources) == len(targets), f"{len(sources)} dimensions for {len(targets)} positions")
    dims = [d for d in range(input.ndim) if d not in sources]
    for target, d in sorted(zip(targets, sources, strict=True)):
        dims.insert(target, d)
    return permute(input, dims=dims[: input.ndim])  # a zero-dimensional input counts as one-dimensional above


@takes_axis
def unsqueeze(input: Input, dim: int) -> Tensor:
    """The input with a new dimension of size 1 at `dim`, which is from -(n + 1) to n for n dimensions.

    Raises:
        IndexError: `dim` is out of that range.
    """
    dim = wrap_dim(input, dim, "unsqueeze", new_dims=1)
    return reshape(input, shape=(*input.shape[:dim], 1, *input.shape[dim:]))


@takes_axis
def squeeze(input: Input, dim: Ints | None = None) -> Tensor:
    """The input without its dimensions of size 1, or only without those in `dim`.

    Raises:
        IndexError: `dim` is out of range.
    """
    dims = wrap_dims(input, range(input.ndim) if dim is None else dim, "squeeze")
    return reshape(input, shape=[size for d, size in enumerate(input.shape) if size != 1 or d not in dims])


def flatten(input: Input, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The input with dimensions `start_dim` to `end_dim` (inclusive) merged into one.

    Raises:
        IndexError: `start_dim` or `end_dim` is out of range.
        ValueError: `start_dim` comes after `end_dim`.
    """
    start, end = wrap_dim(input, start_dim, "flatten"), wrap_dim(input, end_dim, "flatten")
    shape = input.shape or (1,)
    check("flatten", start <= end, f"start_dim {start_dim} comes after end_dim {end_dim} in shape {shape}")
    return reshape(input, shape=(*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]))


@takes_axis
def unflatten(input: Input, dim: int, sizes: Sequence[int]) -> Tensor:
    """The input with one dimension split into dimensions of these sizes; one size may be -1, to be inferred.

    Raises:
        ValueError: the product of the sizes is not the size of the dimension.
        IndexError: `dim` is out of range.
    """
    check("unflatten", input.ndim, "a single number has no dimension to split", IndexError)
    dim = wrap_dim(input, dim, "unflatten")
    product = prod(size for size in sizes if size != -1)
    filled = [(input.shape[dim] // product if product else 0) if size == -1 else size for size in sizes]
    problem = f"sizes {tuple(sizes)} do not multiply to {input.shape[dim]}, the size of dim {dim}"
    check("unflatten", prod(filled) == input.shape[dim], problem)
    return reshape(input, shape=(*input.shape[:dim], *filled, *input.shape[dim + 1 :]))


def expand(input: Input, *sizes: Ints) -> Tensor:
    """The input repeated along dimensions of size 1 and along new leading dimensions; -1 keeps a size.

    Raises:
        ValueError: a size of the input is neither 1 nor the requested size, or there are fewer sizes than dimensions.
    """
    target = _unpack(sizes, "expand")
    check("expand", len(target) >= input.ndim, f"{target} has fewer dimensions than the input's shape {input.shape}")
    new_dim_count = len(target) - input.ndim
    padded_shape = (1,) * new_dim_count + input.shape
    shape = [padded_shape[d] if size == -1 and d >= new_dim_count else size for d, size in enumerate(target)]
    if shape == [*padded_shape]:  # nothing is repeated: a writable view
        return reshape(input, shape=shape)
    return broadcast_to(input, shape=shape)


def tile(input: Input, *reps: Ints) -> Tensor:
    """Copies of the input joined along each dimension; `reps` are the numbers of copies along the last dimensions.

    If there are more numbers than dimensions, the input gets new leading dimensions.

    Raises:
        ValueError: a number of copies is negative.
    """
    counts = _unpack(reps, "tile")
    counts = (1,) * (input.ndim - len(counts)) + counts
    check("tile", min(counts, default=0) >= 0, f"the numbers of copies must not be negative, got {counts}")
    shape = (1,) * (len(counts) - input.ndim) + input.shape
    # the shapes in the comments are those for an input of shape (a, b) and counts (t, u)
    pairs = list(zip(counts, shape, strict=True))
    unsqueezed = reshape(input, shape=[n for size in shape for n in (1, size)])  # (1, a, 1, b)
    repeated = broadcast_to(unsqueezed, shape=[n for pair in pairs for n in pair])  # (t, a, u, b)
    return reshape(contiguous_copy(repeated), shape=[count * size for count, size in pairs])  # (t a, u b)


def repeat(input: Input, *repeats: Ints) -> Tensor:
    """`tile` with a number of copies for every dimension.

    Raises:
        ValueError: there are fewer numbers than dimensions, or a number is negative.
    """
    counts = _unpack(repeats, "repeat")
    check("repeat", len(counts) >= input.ndim, f"{len(counts)} numbers for {input.ndim} dimensions")
    check("repeat", min(counts, default=0) >= 0, f"the numbers of copies must not be negative, got {counts}")
    return tile(input, counts)


def check_sequence(name: str, tensors: Any) -> Any:
    """Return the argument, after checking that it is a list or tuple of at least one tensor."""
    check(name, isinstance(tensors, (list, tuple)) and len(tensors), "takes a list or tuple of at least one tensor")
    check_tensors(name, *tensors)
    return tensors


@takes_axis
def cat(tensors: Sequence[Input], dim: int = 0) -> Tensor:
    """The tensors joined along a dimension.

    Args:
        tensors: tensors whose shapes are equal except in `dim`; those of shape (0,) are skipped, as in PyTorch.
        dim: the dimension to join along.

    Raises:
        ValueError: there are no tensors, or the shapes do not fit.
        IndexError: `dim` is out of range.
    """
    check_sequence("cat", tensors)
    parts = [t for t in tensors if t.shape != (0,)] or list(tensors)
    return concatenate(*parts, dim=wrap_dim(parts[0], dim, "cat"))


@takes_axis
def stack(tensors: Sequence[Input], dim: int = 0) -> Tensor:
    """Tensors of the same shape joined along a new dimension.

    Raises:
        ValueError: there are no tensors, or their shapes differ.
        IndexError: `dim` is out of range.
    """
    check_sequence("stack", tensors)
    dim = wrap_dim(tensors[0], dim, "stack", new_dims=1)
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack: tensors must have the same shape, not {', '.join(str(t.shape) for t in tensors)}")
    return cat([unsqueeze(t, dim) for t in tensors], dim)


@takes_axis
def split(tensor: Input, split_size_or_sections: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Split along a dimension into sections of equal size (the last may be shorter), or of the given sizes.

    Raises:
        ValueError: the size is not positive, or the sizes do not add up to that of the dimension.
        IndexError: `dim` is out of range.
    """
    check("split", tensor.ndim, "a single number has no dimension to split")
    dim, size = wrap_dim(tensor, dim, "split"), split_size_or_sections
    n = tensor.shape[dim]
    if isinstance(size, int):
        check("split", size > 0 or not n, f"the size must be at least 1, got {size}")
        sizes = [min(size, n - start) for start in range(0, n, max(size, 1))] or [0]
    else:
        sizes = list(int_tuple(size, "split"))
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise ValueError(f"split: sizes {tuple(sizes)} must add up to {n}, the size of dim {dim}")
    return tuple(tensor[section] for section in _sections(sizes, dim))


@takes_axis
def chunk(input: Input, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Split along a dimension into at most `chunks` sections of equal size; the last may be shorter.

    Raises:
        ValueError: `chunks` is less than 1.
        IndexError: `dim` is out of range.
    """
    if not isinstance(chunks, int) or chunks < 1:
        raise ValueError(f"chunk: the number of chunks must be an integer, at least 1, got {chunks}")
    check("chunk", input.ndim, "a single number has no dimension to split")
    size = input.shape[wrap_dim(input, dim, "chunk")]
    return split(input, max(1, -(-size // chunks)), dim)


@takes_axis
def unbind(input: Input, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension, without that dimension.

    Raises:
        IndexError: `dim` is out of range.
    """
    check("unbind", input.ndim, "a single number has no dimension to unbind")
    dim = wrap_dim(input, dim, "unbind")
    return tuple(input[along(dim, i)] for i in range(input.shape[dim]))


# Arguments for dimensions and sizes


def int_tuple(value: Ints, name: str) -> tuple[int, ...]:
    """Return an integer or a sequence of integers as a tuple; `name` is the name of the operation, for the error.

    Raises:
        TypeError: the value is not an integer or a sequence of integers.
    """
    if type(value) is int:
        return (value,)
    numbers = tuple(value) if type(value) in (tuple, list) or isinstance(value, Iterable) else (value,)  # type: ignore[arg-type]
    for number in numbers:
        if type(number) is not int and (isinstance(number, bool) or not hasattr(number, "__index__")):
            raise TypeError(f"{name}: takes one or more integers, not {value!r}")
    return numbers


def wrap_dim(input: Array, dim: int, name: str, new_dims: int = 0) -> int:
    """Return a dimension as a non-negative number. A zero-dimensional input counts as one-dimensional.

    Args:
        input: the array or Tensor.
        dim: the dimension; a negative number counts from the end.
        name: the operation's name, for the error.
        new_dims: the number of dimensions that will be added.

    Raises:
        IndexError: the dimension is out of range.
        TypeError: the dimension is not an integer.
    """
    n = input.ndim + new_dims or 1
    if type(dim) is not int and (isinstance(dim, bool) or not hasattr(dim, "__index__")):
        raise TypeError(f"{name}: a dimension must be an integer, not {dim!r}")
    if not -n <= dim < n:
        raise IndexError(f"{name}: dim {dim} is out of range for shape {input.shape}: use {-n} to {n - 1}")
    return dim % n


def wrap_dims(input: Array, dims: Ints, name: str) -> list[int]:
    """Return one or several dimensions as a list of non-negative numbers.

    Raises:
        IndexError: a dimension is out of range.
        ValueError: a dimension is repeated.
    """
    wrapped = [wrap_dim(input, d, name) for d in int_tuple(dims, name)]
    check(name, len(set(wrapped)) == len(wrapped), f"a dimension is named twice in {dims}")
    return wrapped


def contiguous(x: Any) -> Any:
    """The array itself if it is in C order, else a copy in C order."""
    return np.ascontiguousarray(x) if x.ndim else x


def along(dim: int, part: Any) -> tuple[Any, ...]:
    """The index that selects `part` of one dimension, and all elements of the other dimensions."""
    return (*[slice(None)] * dim, part)


def _sections(sizes: Sequence[int], dim: int) -> list[tuple[Any, ...]]:
    """The indices of consecutive sections of a dimension."""
    ends = np.cumsum(sizes).tolist()
    return [along(dim, slice(end - size, end)) for end, size in zip(ends, sizes, strict=True)]


def _unpack(sizes: Any, name: str) -> tuple[int, ...]:
    """Return sizes that are passed as separate arguments or as one sequence."""
    return int_tuple(sizes[0] if len(sizes) == 1 else sizes, name)


NUMPY_FUNCTIONS.update({np.moveaxis: movedim, np.expand_dims: unsqueeze, np.squeeze: squeeze})
NUMPY_FUNCTIONS.update({np.ravel: flatten, np.concatenate: cat, np.stack: stack})
