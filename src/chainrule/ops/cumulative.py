"""Running sums, products, maxima and minima along one dimension.

NumPy computes them; in a compiled program they are Python calls.
"""

from typing import Any

import numpy as np

from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.indexing import gather
from chainrule.ops.operation import Array, DTypeLike, Input, Tensor, check_tensors, operation
from chainrule.ops.shape import wrap_dim

__all__ = ["cummax", "cummin", "cumprod", "cumsum"]

_WIDE_TYPES = dict.fromkeys("biu", np.int64)  # booleans and integers; floats keep their type


@operation(input_count=1)
def cumsum(input: Input, dim: int, *, dtype: DTypeLike | None = None) -> Array:
    """Cumulative sums along a dimension; floats are summed in float64, because rounding errors accumulate."""
    return _accumulate(np.add, "cumsum", input, dim, dtype)


@cumsum.derivative
def _(grad: Array, dim: int) -> Array:
    """An element contributes to its own sum and all later ones: the cumulative sums of the gradient from the end."""
    return np.flip(cumsum(np.flip(grad, dim), dim=dim), dim) if grad.ndim else grad


@operation(input_count=1)
def cumprod(input: Input, dim: int, *, dtype: DTypeLike | None = None) -> Array:
    """Cumulative products along a dimension; floats are multiplied in float64."""
    return _accumulate(np.multiply, "cumprod", input, dim, dtype)


@cumprod.derivative
def _(grad: Array, out: Array, input: Array, dim: int) -> Array:
    """For k ≥ i, ∂outₖ/∂xᵢ is the product of the elements up to k without xᵢ; for k < i it is 0.

    The product is outₖ / xᵢ, or computed directly if an element is 0.
    """
    if not input.ndim:
        return grad
    if np.asarray(input != 0).all():
        return np.flip(cumsum(np.flip(grad * out, dim), dim=dim), dim) / input
    x, g = np.moveaxis(input, dim, -1), np.moveaxis(grad, dim, -1)  # (..., n)
    n = x.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, np.expand_dims(x, -2))  # (..., n, n): row i without xᵢ
    products: Array = cumprod(others, dim=-1)  # (..., i, k)
    derivatives = np.where(np.tri(n, n, -1, dtype=bool), 0, products)  # 0 for k < i
    return np.moveaxis(np.sum(np.expand_dims(g, -2) * derivatives, axis=-1), -1, dim)


def _accumulate(ufunc: Any, name: str, input: Array, dim: int, dtype: Any) -> Any:
    """Apply a ufunc cumulatively; floats are widened, because rounding errors accumulate."""
    out_dtype = np.dtype(dtype or _WIDE_TYPES.get(input.dtype.kind) or input.dtype)
    axis = wrap_dim(input, dim, name)
    if not input.ndim:
        return input.astype(out_dtype)
    x = input.astype(out_dtype, copy=False)
    out = ufunc.accumulate(x, axis=axis, dtype=np.float64 if out_dtype.kind == "f" else out_dtype)
    return out.astype(out_dtype, copy=False)


@takes_axis
def cummax(input: Input, dim: int) -> tuple[Tensor, Tensor]:
    """The running maxima along a dimension, and the index of each, the last if there are ties.

    They are NaN once an element is NaN.

    Raises:
        IndexError: `dim` is out of range.
    """
    return _running_extreme("cummax", input, dim)


@takes_axis
def cummin(input: Input, dim: int) -> tuple[Tensor, Tensor]:
    """The running minima along a dimension, and the index of each, the last if there are ties.

    They are NaN once an element is NaN.

    Raises:
        IndexError: `dim` is out of range.
    """
    return _running_extreme("cummin", input, dim)


def _running_extreme(name: str, input: Array, dim: int) -> tuple[Tensor, Tensor]:
    check_tensors(name, input)
    dim = wrap_dim(input, dim, name)
    indices = running_extreme_indices(input, dim=dim, largest=name == "cummax")
    return gather(input, dim, indices), indices


@operation
def running_extreme_indices(input: Array, *, dim: int, largest: bool) -> Array:
    """The index of the maximum, or the minimum, of the elements up to each; the last if there are ties."""
    if not input.ndim:
        return np.zeros((), np.int64)
    running = (np.maximum if largest else np.minimum).accumulate(input, axis=dim)
    is_extreme = (input == running) | (input != input)  # NaN equals nothing
    positions = np.arange(input.shape[dim]).reshape(-1, *(1,) * (input.ndim - 1 - dim))
    return np.maximum.accumulate(np.where(is_extreme, positions, 0), axis=dim)
