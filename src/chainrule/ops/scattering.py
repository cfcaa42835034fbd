"""Scattering: writes, or adds, elements of one tensor at indices along one dimension of another.

`scatter` is the counterpart of `gather`, which reads at such indices. Compiled programs call the primitive operations
in this file as Python functions. The formulas of these operations also return `positions`, the checked indices, for the
derivatives. `repeat_interleave`, which copies elements several times, is composed of indexing and broadcasting.
"""

from typing import Any

import numpy as np

from chainrule.errors import check, check_numbers
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.arithmetic import floor_divide, maximum, true_divide
from chainrule.ops.dtypes import convert_numbers
from chainrule.ops.indexing import check_range, getitem, grid_index, index_put, int64_copy, pick
from chainrule.ops.operation import Array, Input, Operand, Tensor, check_tensors, is_tensor, operation
from chainrule.ops.shape import broadcast_to, cast, contiguous_copy, reshape, unsqueeze, wrap_dim

__all__ = ["repeat_interleave", "scatter", "scatter_reduce"]


@operation(extra="positions")
def scatter_values(input: Array, index: Array, source: Array, *, dim: int, name: str) -> Any:
    """A copy of the input with the source written at indices along one dimension."""
    positions = _positions(index, input.shape[dim], name)
    out = np.array(input, order="C")
    out[grid_index(dim, positions, positions.shape)] = source
    return out, positions


@scatter_values.derivative
def _(grad: Array, positions: Any, dim: int) -> Any:
    """For the input, the gradient with zeros at the indices; for the source, the gradient at the indices."""
    index = grid_index(dim, positions, positions.shape)
    return lambda: index_put(grad, 0, index=index), None, lambda: grad[index]


def _reduce_at(ufunc: Any, input: Array, index: Array, source: Array, dim: int, name: str) -> Any:
    """A copy of the input with the source combined with it at indices along one dimension; and the indices, checked."""
    positions = _positions(index, input.shape[dim], name)
    out = np.array(input, order="C")
    ufunc.at(out, grid_index(dim, positions, positions.shape), source)
    return out, positions


@operation(extra="positions")
def scatter_sum(input: Array, index: Array, source: Array, *, dim: int, name: str) -> Any:
    """The input with the source added at indices along one dimension."""
    return _reduce_at(np.add, input, index, source, dim, name)


@scatter_sum.derivative
def _(grad: Array, positions: Any, dim: int) -> Any:
    """For the input, the gradient; for the source, the gradient at the indices."""
    return grad, None, lambda: grad[grid_index(dim, positions, positions.shape)]


@operation(extra="positions")
def scatter_product(input: Array, index: Array, source: Array, *, dim: int, name: str) -> Any:
    """The input multiplied by the source at indices along one dimension."""
    return _reduce_at(np.multiply, input, index, source, dim, name)


@scatter_product.derivative
def _(grad: Array, input: Array, source: Array, positions: Any, dim: int) -> Any:
    """For each factor, the product of the other factors of the same element.

    This product is 0 if one of the other factors is 0. Otherwise, it is the product of all nonzero factors of the
    element, divided by the factor itself unless that is 0.
    """
    index = grid_index(dim, positions, positions.shape)
    zero_counts = np.array(input == 0, np.int64)  # for each element, how many of its factors are 0
    np.add.at(zero_counts, index, np.asarray(source == 0))
    if zero_counts.any() and is_tensor(grad):
        problem = "the second derivative of a product with a factor of 0 is not supported"
        raise RuntimeError(f"scatter_reduce: {problem}")
    nonzero_input, nonzero_source = np.where(input == 0, 1, input), np.where(source == 0, 1, source)
    product = scatter_product(nonzero_input, positions, nonzero_source, dim=dim, name="scatter_reduce")

    def gradient(factor: Array, nonzero_factor: Array, at: Any) -> Array:
        others_are_nonzero = zero_counts[at] - np.asarray(factor == 0) == 0
        return np.where(others_are_nonzero, grad[at] * product[at] / nonzero_factor, 0)

    return lambda: gradient(input, nonzero_input, ...), None, lambda: gradient(source, nonzero_source, index)


@operation(extra="positions")
def scatter_extreme(input: Array, index: Array, source: Array, *, dim: int, name: str, largest: bool) -> Any:
    """The maximum, or minimum, of the input and the source at indices along one dimension."""
    return _reduce_at(np.maximum if largest else np.minimum, input, index, source, dim, name)


@scatter_extreme.derivative
def _(grad: Array, out: Array, input: Array, source: Array, positions: Any, dim: int) -> Any:
    """1 for the maximum, divided evenly among ties; 0 for other elements."""
    index = grid_index(dim, positions, positions.shape)
    input_is_extreme, source_is_extreme = input == out, source == out[index]
    dtype = np.promote_types(out.dtype, np.float32)  # float16 counts to 2,048
    ones, source_ones = cast(input_is_extreme, dtype=dtype), cast(source_is_extreme, dtype=dtype)
    tie_counts = scatter_sum(ones, positions, source_ones, dim=dim, name="scatter_reduce")
    shared = grad / np.maximum(tie_counts, 1)
    return lambda: np.where(input_is_extreme, shared, 0), None, lambda: np.where(source_is_extreme, shared[index], 0)


@takes_axis
def scatter(input: Input, dim: int, index: Input, src: Operand, *, reduce: str | None = None) -> Tensor:
    """Write elements at indices along one dimension, into a copy: out[index[i, j], j] = src[i, j] for dim 0.

    Args:
        input: any shape.
        dim: the dimension that is indexed.
        index: integers, with as many dimensions as the input, no larger than the input in dimensions other than `dim`.
        src: the elements to write, of the input's type and at least the index's sizes; or a number. If an index occurs
            twice, one of its elements is written.
        reduce: "add" or "multiply": add `src` to the input's elements, or multiply them by it, instead of overwriting.

    Raises:
        ValueError: the shapes do not fit, or `reduce` is unknown.
        IndexError: `dim` or an index is out of range.
        TypeError: the indices are not integers, or the types differ.
    """
    operations = {None: scatter_values, "add": scatter_sum, "multiply": scatter_product}
    check("scatter", reduce in operations, f'reduce must be "add", "multiply" or None, not {reduce!r}')
    input, dim, index, source, shape = _scatter_inputs("scatter", input, dim, index, src)
    if 0 in index.shape:
        return reshape(contiguous_copy(input), shape=shape)
    out = operations[reduce](input, index, source, dim=dim, name="scatter")
    return out if out.shape == shape else reshape(out, shape=shape)


@takes_axis
def scatter_reduce(
    input: Input, dim: int, index: Input, src: Input, reduce: str, *, include_self: bool = True
) -> Tensor:  # fmt: skip
    """Reduce elements that have the same index along one dimension, into a copy of the input.

    Args:
        input: any shape.
        dim: the dimension that is indexed.
        index: integers, as in `scatter`.
        src: the elements, of the input's type and at least the index's sizes.
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether the input's own elements are reduced as well; otherwise, the input's elements at the
            indices are replaced.

    Raises:
        ValueError: the shapes do not fit, or `reduce` is unknown.
        IndexError: `dim` or an index is out of range.
        TypeError: the indices are not integers, or the types differ.
    """
    name = "scatter_reduce"
    check(name, reduce in _OPERATIONS, f"reduce must be one of {', '.join(_OPERATIONS)}, not {reduce!r}")
    check_tensors(name, src)
    input, dim, index, source, shape = _scatter_inputs(name, input, dim, index, src)
    if 0 in index.shape:
        return reshape(contiguous_copy(input), shape=shape)
    if not include_self:
        neutral = {"prod": 1, "amax": _limit(input.dtype, -1), "amin": _limit(input.dtype, 1)}.get(reduce, 0)
        input = scatter_values(input, index, np.array(neutral, input.dtype), dim=dim, name=name)
    out = _OPERATIONS[reduce](input, index, source, dim=dim, name=name)
    if reduce == "mean":
        ones = np.ones(input.shape, np.int64)
        own_counts = ones if include_self else scatter_values(ones, index, 0, dim=dim, name=name)
        counts = scatter_sum(own_counts, index, 1, dim=dim, name=name)
        counts = cast(maximum(counts, np.ones((), np.int64)), dtype=input.dtype)
        out = true_divide(out, counts) if input.dtype.kind == "f" else floor_divide(out, counts)
    return out if out.shape == shape else reshape(out, shape=shape)


_OPERATIONS: dict[str, Any] = {
    "sum": scatter_sum,
    "prod": scatter_product,
    "mean": scatter_sum,
    "amax": lambda *inputs, **options: scatter_extreme(*inputs, **options, largest=True),
    "amin": lambda *inputs, **options: scatter_extreme(*inputs, **options, largest=False),
}
"""The operation of each `reduce` of `scatter_reduce`; a mean is a sum, divided afterwards."""


def _limit(dtype: Any, sign: int) -> Any:
    """The largest (sign 1) or smallest value of a type."""
    if dtype.kind == "f":
        return sign * np.inf
    if dtype.kind == "b":
        return sign > 0
    return np.iinfo(dtype).max if sign > 0 else np.iinfo(dtype).min


def _scatter_inputs(name: str, input: Any, dim: int, index: Any, src: Any) -> tuple[Any, int, Any, Any, Any]:
    """Return input, `dim`, index and source, checked, with at least one dimension; and the shape of the result."""
    check_tensors(name, input, index)
    dim, shape = wrap_dim(input, dim, name), input.shape
    if isinstance(src, np.generic) or not hasattr(src, "dtype"):
        check_numbers(name, src)
        src = convert_numbers(src, input.dtype).item()
    source = src
    if hasattr(src, "dtype"):
        if src.dtype != input.dtype:
            raise TypeError(f"{name}: input and src must have one type, not {input.dtype} and {src.dtype}")
        source = src if src.ndim else reshape(src, shape=(1,))
    input = input if input.ndim else reshape(input, shape=(1,))
    index = index if index.ndim else reshape(index, shape=(1,))
    if 0 not in index.shape:
        fits = index.ndim == input.ndim and all(index.shape[d] <= input.shape[d] for d in range(input.ndim) if d != dim)
        if fits and hasattr(source, "dtype"):
            fits = source.ndim == index.ndim and all(i <= n for i, n in zip(index.shape, source.shape, strict=True))
        if not fits:
            others = f"input {shape} and src {src.shape}" if hasattr(src, "dtype") else f"input {shape}"
            requirement = f"the same number of dimensions, and the index must be no larger except in dim {dim} of input"
            raise ValueError(f"{name}: index {index.shape} does not fit {others}: they must have {requirement}")
        if hasattr(source, "dtype") and source.shape != index.shape:
            source = getitem(source, index=tuple(slice(n) for n in index.shape))
    return input, dim, index, source, shape


def _positions(index: Array, size: int, name: str) -> Any:
    """Return the indices as an int64 copy, after checking them."""
    return check_range(int64_copy(index, name), size, name)


@takes_axis
def repeat_interleave(
    input: Input, repeats: Input | int, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:  # fmt: skip
    """Repeat each element along a dimension: [1, 2] with two repeats is [1, 1, 2, 2].

    Args:
        input: any shape.
        repeats: the number of repeats of all elements, or of each element along the dimension, (n,).
        dim: the dimension; None for the flattened input.
        output_size: the size of `dim` in the result, which is checked.

    Raises:
        ValueError: a number of repeats is negative, the numbers do not fit the dimension, or `output_size` is wrong.
        TypeError: the numbers of repeats are not integers.
        IndexError: `dim` is out of range.
    """
    name = "repeat_interleave"
    check_tensors(name, input)
    if dim is None:
        input, dim = reshape(input, shape=(-1,)), 0
    dim = wrap_dim(input, dim, name)
    input = input if input.ndim else reshape(input, shape=(1,))
    size = input.shape[dim]
    counts = repeats if isinstance(repeats, int) and not isinstance(repeats, bool) else np.asarray(repeats)
    if isinstance(counts, np.ndarray):
        check(name, counts.dtype.kind in "iu", f"repeats must be integers, not {counts.dtype}", TypeError)
        counts = int(counts.reshape(())) if counts.size == 1 else counts
    if isinstance(counts, int):
        check(name, counts >= 0, f"repeats must not be negative, got {counts}")
        total = counts * size
    else:
        requirement = f"must be a number, or one for each of the {size} elements of dim {dim}"
        check(name, counts.shape == (size,), f"repeats {counts.shape} {requirement}")
        check(name, counts.min(initial=0) >= 0, f"repeats must not be negative, got {counts.min(initial=0)}")
        total = int(counts.sum())
    check(name, output_size in (None, total), f"output_size is {output_size}, but dim {dim} would have size {total}")
    if isinstance(counts, int):  # the copy of a broadcast view needs no index
        shape = (*input.shape[:dim], size, counts, *input.shape[dim + 1 :])
        repeated = contiguous_copy(broadcast_to(unsqueeze(input, dim + 1), shape=shape))
        return reshape(repeated, shape=(*shape[:dim], total, *shape[dim + 2 :]))
    return pick(input, np.repeat(np.arange(size), counts), dim=dim, name=name)
