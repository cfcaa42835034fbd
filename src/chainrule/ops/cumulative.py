"""Running sums, products, maxima and minima along one dimension.

NumPy computes them; compiled programs call these formulas as Python code.
"""

from typing import Any

import numpy as np

from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.dtypes import ACCUMULATION_DTYPES
from chainrule.ops.indexing import gather
from chainrule.ops.operation import Array, DTypeLike, Input, Tensor, check_tensors, operation
from chainrule.ops.shape import wrap_dim

__all__ = ["cummax", "cummin", "cumprod", "cumsum"]


@operation(input_count=1)
def cumsum(input: Input, dim: int, *, dtype: DTypeLike | None = None) -> Array:
    """Cumulative sums along a dimension, in `dtype`; by default, those of integers and booleans are int64.

    Floats are summed in float64, because rounding errors accumulate, and then converted.
    """
    return _accumulate(np.add, "cumsum", input, dim, dtype)


@cumsum.derivative
def _(grad: Array, dim: int) -> Array:
    """The cumulative sums of G from the end: an element contributes to its own sum and to all later ones."""
    return np.flip(cumsum(np.flip(grad, dim), dim=dim), dim) if grad.ndim else grad


@operation(input_count=1)
def cumprod(input: Input, dim: int, *, dtype: DTypeLike | None = None) -> Array:
    """Cumulative products along a dimension, in `dtype`, computed like `cumsum`."""
    return _accumulate(np.multiply, "cumprod", input, dim, dtype)


@cumprod.derivative
def _(grad: Array, out: Array, input: Array, dim: int) -> Array:
    """For k ≥ i, ∂outₖ/∂xᵢ is the product of the elements up to k without xᵢ; for k < i it is 0.

    If no element is 0, that product is outₖ / xᵢ; otherwise it is computed without a division.
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
    """Apply a ufunc cumulatively, to floats in float64.

    The result has `dtype` or, if that is None, int64 for integers and booleans, and the input's type for floats.
    """
    out_dtype = np.dtype(dtype or ACCUMULATION_DTYPES.get(input.dtype.kind) or input.dtype)
    axis = wrap_dim(input, dim, name)
    if not input.ndim:
        return input.astype(out_dtype)
    x = input.astype(out_dtype, copy=False)
    out = ufunc.accumulate(x, axis=axis, dtype=np.float64 if out_dtype.kind == "f" else out_dtype)
    return out.astype(out_dtype, copy=False)


@takes_axis
def cummax(input: Input, dim: int) -> tuple[Tensor, Tensor]:
    """The running maxima along a dimension, and the index of each maximum: the last one in case of ties.

    From the first NaN on, the maxima are NaN.

    Raises:
        IndexError: `dim` is out of range.
    """
    return _running_extreme("cummax", input, dim)


@takes_axis
def cummin(input: Input, dim: int) -> tuple[Tensor, Tensor]:
    """The running minima along a dimension, and the index of each minimum: the last one in case of ties.

    From the first NaN on, the minima are NaN.

    Raises:
        IndexError: `dim` is out of range.
    """
    return _running_extreme("cummin", input, dim)


def _running_extreme(name: str, input: Array, dim: int) -> tuple[Tensor, Tensor]:
    """Implement `cummax` or `cummin`; `name` says which."""
    check_tensors(name, input)
    dim = wrap_dim(input, dim, name)
    indices = running_extreme_indices(input, dim=dim, largest=name == "cummax")
    return gather(input, dim, indices), indices


@operation
def running_extreme_indices(input: Array, *, dim: int, largest: bool) -> Array:
    """For each element, the index of the largest (or smallest) element up to it: the last one in case of ties."""
    if not input.ndim:
        return np.zeros((), np.int64)
    extremes = (np.maximum if largest else np.minimum).accumulate(input, axis=dim)
    is_extreme = (input == extremes) | (input != input)  # a NaN, which is not even equal to itself, is extreme, too
    indices = np.arange(input.shape[dim]).reshape(-1, *(1,) * (input.ndim - 1 - dim))
    return np.maximum.accumulate(np.where(is_extreme, indices, 0), axis=dim)
