"""Operations that make many elements one: sums, means, largest and smallest.

`dim` is the dimension to reduce: an integer, a tuple of them, or None for all; negative counts from the end. With
`keepdim` the reduced dimensions stay, with size 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from chainrule.ops.operation import NUMPY, Array, operation

if TYPE_CHECKING:
    from collections.abc import Sequence

Dim: TypeAlias = "int | Sequence[int] | None"


@operation(numpy=np.sum)
def sum(input: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """The sum over `dim`. Integers and booleans are summed as int64."""
    dtype = None if input.dtype.kind == "f" else np.int64
    return np.sum(input, axis=_axes(dim), dtype=dtype, keepdims=keepdim)


@sum.derivative
def _(grad: Array, input_shape: tuple[int, ...], dim: Dim) -> Array:
    """∂(Σ x)/∂xᵢ = 1."""
    return _spread(grad, input_shape, dim)


@operation(numpy=np.mean)
def mean(input: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """The mean over `dim`; NaN over nothing.

    Raises:
        TypeError: the input has no floating type.
    """
    if input.dtype.kind != "f":
        raise TypeError(f"mean: takes floats, not {input.dtype}: make it float first, with .float()")
    count = _count(input.shape, dim)
    return np.sum(input, axis=_axes(dim), keepdims=keepdim) / (count or np.nan)


@mean.derivative
def _(grad: Array, input_shape: tuple[int, ...], dim: Dim) -> Array:
    """∂(Σ x / n)/∂xᵢ = 1 / n."""
    return _spread(grad / (_count(input_shape, dim) or 1), input_shape, dim)


@operation(numpy=np.max)
def amax(input: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """The largest element over `dim`; NaN if there is one."""
    return np.max(input, axis=_axes(dim), keepdims=keepdim)


@amax.derivative
def _(grad: Array, out: Array, input: Array, dim: Dim) -> Array:
    """1 for the largest, 0 for the others; shared evenly where several are the largest; NaN if that is NaN."""
    return _to_the_chosen(grad, out, input, dim)


@operation(numpy=np.min)
def amin(input: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """The smallest element over `dim`; NaN if there is one."""
    return np.min(input, axis=_axes(dim), keepdims=keepdim)


@amin.derivative
def _(grad: Array, out: Array, input: Array, dim: Dim) -> Array:
    """1 for the smallest, 0 for the others; shared evenly where several are the smallest; NaN if that is NaN."""
    return _to_the_chosen(grad, out, input, dim)


@operation(numpy=np.argmax)
def argmax(input: Array, *, dim: int | None = None, keepdim: bool = False) -> Array:
    """Where the largest element is, the first if there are several; in the flattened input if `dim` is None."""
    return np.argmax(input, axis=dim, keepdims=keepdim)


@operation(numpy=np.argmin)
def argmin(input: Array, *, dim: int | None = None, keepdim: bool = False) -> Array:
    """Where the smallest element is, the first if there are several; in the flattened input if `dim` is None."""
    return np.argmin(input, axis=dim, keepdims=keepdim)


@operation(numpy=np.all)
def all(input: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """Whether every element is true (not 0)."""
    return np.all(input, axis=_axes(dim), keepdims=keepdim)


@operation(numpy=np.any)
def any(input: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """Whether at least one element is true (not 0)."""
    return np.any(input, axis=_axes(dim), keepdims=keepdim)


NUMPY[np.amax], NUMPY[np.amin] = amax, amin  # older names of np.max and np.min


def _axes(dim: Dim) -> int | tuple[int, ...] | None:
    return dim if dim is None or isinstance(dim, (int, np.integer)) else tuple(dim)


def _kept(shape: tuple[int, ...], dim: Dim) -> tuple[int, ...]:
    """The shape with 1 for each reduced dimension."""
    if dim is None:
        return (1,) * len(shape)
    reduced = {d % len(shape) for d in ((dim,) if isinstance(dim, (int, np.integer)) else dim)} if shape else set()
    return tuple(1 if d in reduced else size for d, size in enumerate(shape))


def _count(shape: tuple[int, ...], dim: Dim) -> int:
    """How many elements come together in one."""
    count = 1
    for size, kept in zip(shape, _kept(shape, dim), strict=True):
        count *= size if kept == 1 else 1
    return count


def _spread(grad: Array, shape: tuple[int, ...], dim: Dim) -> Array:
    """Hand the gradient of a reduction's result to every element that went into it."""
    return np.broadcast_to(np.reshape(grad, _kept(shape, dim)), shape)


def _to_the_chosen(grad: Array, out: Array, input: Array, dim: Dim) -> Array:
    kept = _kept(input.shape, dim)
    chosen = input == np.reshape(out, kept)
    return chosen * (np.reshape(grad, kept) / np.sum(chosen, axis=_axes(dim), keepdims=True))
