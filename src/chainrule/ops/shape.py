"""Operations that move whole dimensions: shapes, orders, copies side by side, types.

The ones at the top are primitive; the others are made of them.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.dtypes import storable
from chainrule.ops.operation import NUMPY, Array, Ints, Tensor, only_tensors, operation

__all__ = [
    "broadcast_to", "cast", "cat", "chunk", "expand", "flatten", "movedim", "permute", "repeat", "reshape",
    "split", "squeeze", "stack", "tile", "transpose", "unbind", "unflatten", "unsqueeze",
]  # fmt: skip


@operation(inputs=1, numpy=np.reshape, view=True)
def reshape(input: Array, shape: Ints) -> Array:
    """The same elements in the same order in another shape; one size may be -1, to be worked out.

    Raises:
        ValueError: the shape does not hold as many elements.
    """
    if min(int_tuple(shape, "reshape"), default=0) < -1:  # NumPy takes every negative size for -1
        raise ValueError(f"reshape: a size must be at least 0, or -1 once, not {shape}")
    return np.reshape(input, shape)


@reshape.derivative
def _(grad: Array, input_shape: tuple[int, ...]) -> Array:
    """The gradient, in the input's shape."""
    return np.reshape(grad, input_shape)


@operation(inputs=1, numpy=np.transpose, view=True)
def permute(input: Array, dims: Sequence[int] | None = None) -> Array:
    """The dimensions in another order; reversed if `dims` is None.

    Raises:
        ValueError: `dims` does not name every dimension once.
    """
    return np.transpose(input, dims)


@permute.derivative
def _(grad: Array, dims: Sequence[int] | None) -> Array:
    """The gradient, with its dimensions put back."""
    return np.transpose(grad, None if dims is None else np.argsort([d % len(dims) for d in dims]).tolist())


@operation(inputs=1, numpy=np.broadcast_to, view=True)
def broadcast_to(input: Array, shape: Sequence[int]) -> Array:
    """The input, repeated along new dimensions and along those of size 1 until it has the shape (a read-only view)."""
    return np.broadcast_to(input, shape)


@broadcast_to.derivative
def _(grad: Array) -> Array:
    """The gradient as it comes: the tape sums it back to the input's shape."""
    return grad


@operation(promote="common")
def concatenate(*inputs: Array, dim: int = 0) -> Array:
    """The inputs one after the other along a dimension, the last dimension innermost in memory; see `cat`."""
    return contiguous(np.concatenate(inputs, dim))


@concatenate.derivative
def _(grad: Array, shapes: Sequence[tuple[int, ...]], dim: int) -> Any:
    """Each input's own stretch of the gradient."""
    stretches = _stretches([shape[dim] for shape in shapes], dim % len(shapes[0]))
    return tuple([lambda stretch=stretch: grad[stretch] for stretch in stretches])


@operation
def contiguous_copy(input: Array) -> Array:
    """A copy without gaps, the last dimension innermost in memory."""
    ordered = contiguous(input)
    return np.copy(ordered) if ordered is input else ordered


@contiguous_copy.derivative
def _(grad: Array) -> Array:
    """The gradient as it comes."""
    return grad


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


# Made of those


def as_dtype(input: Array, dtype: Any) -> Tensor:
    """The same values in a type; the input itself if it has it."""
    out: Tensor = input if input.dtype == dtype else cast(input, dtype=dtype)
    return out


def wide(input: Array) -> Tensor:
    """Float16 as float32, for squares and sums that are too large for it; other types stay."""
    return as_dtype(input, np.float32 if input.dtype == np.float16 else input.dtype)


def clone(input: Array) -> Tensor:
    """A copy, in memory of its own."""
    return cast(input, dtype=input.dtype)


def transpose(input: Array, dim0: int, dim1: int) -> Tensor:
    """The input with two dimensions exchanged.

    Raises:
        IndexError: `dim0` or `dim1` is out of range.
    """
    dims, one, two = list(range(input.ndim)), wrap_dim(input, dim0, "transpose"), wrap_dim(input, dim1, "transpose")
    if dims:
        dims[one], dims[two] = two, one
    return permute(input, dims=dims)


def movedim(input: Array, source: Ints, destination: Ints) -> Tensor:
    """The dimensions `source` moved to the places `destination`; the others keep their order.

    Raises:
        ValueError: other numbers of the two, or one named twice.
        IndexError: one is out of range.
    """
    sources, targets = wrap_dims(input, source, "movedim"), wrap_dims(input, destination, "movedim")
    check("movedim", len(sources) == len(targets), f"{len(sources)} dimensions for {len(targets)} places")
    dims = [d for d in range(input.ndim) if d not in sources]
    for target, d in sorted(zip(targets, sources, strict=True)):
        dims.insert(target, d)
    return permute(input, dims=dims[: input.ndim])  # a single number has none


def unsqueeze(input: Array, dim: int) -> Tensor:
    """The input with a new dimension of size 1 at `dim`, from -(n + 1) to n for n dimensions.

    Raises:
        IndexError: `dim` is out of that range.
    """
    dim = wrap_dim(input, dim, "unsqueeze", new=1)
    return reshape(input, shape=(*input.shape[:dim], 1, *input.shape[dim:]))


def squeeze(input: Array, dim: Ints | None = None) -> Tensor:
    """The input without its dimensions of size 1, or without those of `dim` that have it.

    Raises:
        IndexError: `dim` is out of range.
    """
    gone = wrap_dims(input, range(input.ndim) if dim is None else dim, "squeeze")
    return reshape(input, shape=[size for d, size in enumerate(input.shape) if size != 1 or d not in gone])


def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The input with dimensions `start_dim` to `end_dim` (inclusive) made one.

    Raises:
        IndexError: `start_dim` or `end_dim` is out of range.
        ValueError: `start_dim` comes after `end_dim`.
    """
    start, end = wrap_dim(input, start_dim, "flatten"), wrap_dim(input, end_dim, "flatten")
    shape = input.shape or (1,)
    check("flatten", start <= end, f"start_dim {start_dim} comes after end_dim {end_dim} in shape {shape}")
    return reshape(input, shape=(*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Array, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension made several, of `sizes`; one of them may be -1."""
    check("unflatten", input.ndim, "a single number has no dimension to make several of", IndexError)
    dim = wrap_dim(input, dim, "unflatten")
    known = prod(size for size in sizes if size != -1)
    filled = [(input.shape[dim] // known if known else 0) if size == -1 else size for size in sizes]
    if prod(filled) != input.shape[dim]:
        raise ValueError(f"unflatten: sizes {tuple(sizes)} do not make {input.shape[dim]}, the size of dim {dim}")
    return reshape(input, shape=(*input.shape[:dim], *filled, *input.shape[dim + 1 :]))


def expand(input: Array, *sizes: Ints) -> Tensor:
    """The input repeated along dimensions of size 1 and along new ones in front; -1 keeps a size.

    Raises:
        ValueError: a size that is neither 1 nor the one asked for, or fewer dimensions than the input has.
    """
    wanted = _unpacked(sizes, "expand")
    check("expand", len(wanted) >= input.ndim, f"{wanted} has fewer dimensions than the input's shape {input.shape}")
    new = len(wanted) - input.ndim
    own = (1,) * new + input.shape
    shape = [own[d] if size == -1 and d >= new else size for d, size in enumerate(wanted)]
    if shape == [*own]:  # nothing is repeated: a view that may be written into
        return reshape(input, shape=shape)
    return broadcast_to(input, shape=shape)


def tile(input: Array, *reps: Ints) -> Tensor:
    """The input side by side with itself: so many times along each dimension, counted from the last.

    Raises:
        ValueError: a negative number of times.
    """
    given = _unpacked(reps, "tile")
    times = (1,) * (input.ndim - len(given)) + given
    check("tile", min(times, default=0) >= 0, f"numbers of times must not be negative, got {times}")
    shape = (1,) * (len(times) - input.ndim) + input.shape
    pairs = list(zip(times, shape, strict=True))
    spread = reshape(input, shape=[part for size in shape for part in (1, size)])  # (1, a, 1, b)
    wide = broadcast_to(spread, shape=[part for pair in pairs for part in pair])  # (t, a, u, b)
    return reshape(contiguous_copy(wide), shape=[t * size for t, size in pairs])  # (t a, u b)


def repeat(input: Array, *repeats: Ints) -> Tensor:
    """`tile` with a number for every dimension.

    Raises:
        ValueError: fewer numbers than dimensions, or a negative one.
    """
    given = _unpacked(repeats, "repeat")
    check("repeat", len(given) >= input.ndim, f"{len(given)} numbers for {input.ndim} dimensions")
    return tile(input, given)


def cat(tensors: Sequence[Array], dim: int = 0) -> Tensor:
    """The tensors one after the other along a dimension.

    Args:
        tensors: of one shape but for `dim`; empty ones of shape (0,) are passed over, as PyTorch does.
        dim: the dimension.

    Raises:
        ValueError: no tensors, or shapes that do not fit.
        IndexError: `dim` is out of range.
    """
    check("cat", hasattr(tensors, "__len__") and len(tensors), "needs at least one tensor")
    only_tensors("cat", *tensors)
    given = [t for t in tensors if t.shape != (0,)] or list(tensors)
    return concatenate(*given, dim=wrap_dim(given[0], dim, "cat"))


def stack(tensors: Sequence[Array], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new dimension.

    Raises:
        ValueError: no tensors, or shapes that differ.
    """
    only_tensors("stack", *tensors)
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack: tensors must have one shape, not {', '.join(str(t.shape) for t in tensors)}")
    return cat([unsqueeze(t, dim) for t in tensors], dim)


def split(tensor: Array, split_size_or_sections: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Stretches along a dimension: of one size (the last may be shorter), or of the sizes given.

    Raises:
        ValueError: a size that is not positive, or sizes that do not add up.
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
    return tuple(tensor[stretch] for stretch in _stretches(sizes, dim))


def chunk(input: Array, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About `chunks` stretches of one size along a dimension; the last may be shorter.

    Raises:
        ValueError: fewer than one.
        IndexError: `dim` is out of range.
    """
    if not isinstance(chunks, int) or chunks < 1:
        raise ValueError(f"chunk: the number of chunks must be a whole number, at least 1, got {chunks}")
    size = input.shape[wrap_dim(input, dim, "chunk")] if input.ndim else 0
    return split(input, max(1, -(-size // chunks)), dim)


def unbind(input: Array, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension, one by one, without it.

    Raises:
        IndexError: `dim` is out of range.
    """
    check("unbind", input.ndim, "a single number has no dimension to take apart")
    dim = wrap_dim(input, dim, "unbind")
    return tuple(input[along(dim, i)] for i in range(input.shape[dim]))


# What to write dimensions and sizes in


def int_tuple(given: Ints, name: str) -> tuple[int, ...]:
    """One whole number, or several, as a tuple; `name` says whose they are, for the error.

    Raises:
        TypeError: something else.
    """
    if type(given) is int:
        return (given,)
    numbers = tuple(given) if type(given) in (tuple, list) or isinstance(given, Iterable) else (given,)  # type: ignore[arg-type]
    for number in numbers:
        if type(number) is not int and (isinstance(number, bool) or not hasattr(number, "__index__")):
            raise TypeError(f"{name}: takes a whole number or several, not {given!r}")
    return numbers


def wrap_dim(input: Array, dim: int, name: str, new: int = 0) -> int:
    """A dimension counted from the front; a single number is taken to have one.

    Args:
        input: whose dimension it is.
        dim: the dimension; negative counts from the end.
        name: of the operation, for the error.
        new: how many dimensions are to be added first.

    Raises:
        IndexError: it is out of range.
    """
    n = input.ndim + new or 1
    if type(dim) is not int and (isinstance(dim, bool) or not hasattr(dim, "__index__")):
        raise TypeError(f"{name}: a dimension must be a whole number, not {dim!r}")
    if not -n <= dim < n:
        raise IndexError(f"{name}: dim {dim} is out of range for shape {input.shape}: use {-n} to {n - 1}")
    return dim % n


def wrap_dims(input: Array, dims: Ints, name: str) -> list[int]:
    """One dimension, or several, counted from the front.

    Raises:
        IndexError: one is out of range.
        ValueError: one is named twice.
    """
    found = [wrap_dim(input, d, name) for d in int_tuple(dims, name)]
    check(name, len(set(found)) == len(found), f"a dimension is named twice in {dims}")
    return found


def contiguous(x: Any) -> Any:
    """The array as it is, or a copy, so that its last dimension is innermost in memory and there are no gaps."""
    return np.ascontiguousarray(x) if x.ndim else x


def along(dim: int, part: Any) -> tuple[Any, ...]:
    """The index that takes a part of one dimension, and all of those before and after it."""
    return (*[slice(None)] * dim, part)


def _stretches(sizes: Sequence[int], dim: int) -> list[tuple[Any, ...]]:
    """The indices of stretches that lie one after the other along a dimension."""
    ends = np.cumsum(sizes).tolist()
    return [along(dim, slice(end - size, end)) for end, size in zip(ends, sizes, strict=True)]


def _unpacked(sizes: Any, name: str) -> tuple[int, ...]:
    """Sizes that are given one by one, or as one sequence."""
    return int_tuple(sizes[0] if len(sizes) == 1 else sizes, name)


NUMPY.update({np.swapaxes: transpose, np.moveaxis: movedim, np.expand_dims: unsqueeze, np.squeeze: squeeze})
NUMPY.update({np.ravel: flatten, np.concatenate: cat, np.stack: stack, np.tile: tile})
