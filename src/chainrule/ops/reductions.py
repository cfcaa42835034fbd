"""Reductions: sums, means, maxima, minima, norms.

`dim` names the dimensions to reduce: one dimension, a sequence of dimensions, or None for all. Negative numbers count
from the end. An empty sequence also means all dimensions, except in `all` and `any`. With `keepdim`, the reduced
dimensions stay in the result, with size 1.
"""

import math
from typing import Any, TypeAlias, overload

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import sums
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.arithmetic import maximum, minimum, where
from chainrule.ops.dtypes import ACCUMULATION_DTYPES
from chainrule.ops.elementwise import sqrt
from chainrule.ops.indexing import gather
from chainrule.ops.operation import NUMPY_FUNCTIONS, Array, DTypeLike, Input, Ints, Tensor, operation
from chainrule.ops.shape import as_dtype, cast, int_tuple, squeeze, widen_float16, wrap_dim, wrap_dims

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "norm",
    "prod", "std", "sum", "var", "vector_norm",
]  # fmt: skip


Dim: TypeAlias = Ints | None
"""The dimensions to reduce; None for all."""


@operation(input_count=1, numpy=np.sum, fused=True)
def sum(input: Input, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Array:
    """The sum over `dim`, in `dtype`; by default, integers and booleans are summed as int64."""
    sum_dtype = dtype or ACCUMULATION_DTYPES.get(input.dtype.kind)
    axes = _axes(input, dim, "sum")
    if sum_dtype is None:
        return sums.total(input, axes, keepdim)
    if np.dtype(sum_dtype).kind == "f":
        return sums.total(input.astype(sum_dtype), axes, keepdim)  # type: ignore[union-attr]  # a formula gets arrays
    return np.sum(input, axis=axes, dtype=sum_dtype, keepdims=keepdim)


@sum.derivative
def _(grad: Array, input_shape: tuple[int, ...], dim: Dim) -> Array:
    """∂(Σ x)/∂xᵢ = 1."""
    return _broadcast(grad, input_shape, dim)


@operation(input_count=1, numpy=np.mean, fused=True)
def mean(input: Input, dim: Dim = None, keepdim: bool = False) -> Array:
    """The mean over `dim`; NaN if there are no elements.

    Raises:
        TypeError: the input is not floating.
    """
    check_floats("mean", input)
    return sums.mean(input, _axes(input, dim, "mean"), keepdim)


@mean.derivative
def _(grad: Array, input_shape: tuple[int, ...], dim: Dim) -> Array:
    """∂(Σ x / n)/∂xᵢ = 1 / n; here and below, n may be too large for float16."""
    count = _reduced_count(input_shape, dim) or 1  # if it is 0, the input's gradient is empty
    return _broadcast(widen_float16(grad) / count, input_shape, dim)


@operation(input_count=1, numpy=np.max)
def amax(input: Input, dim: Dim = None, keepdim: bool = False) -> Array:
    """The maximum over `dim`; NaN if an element is NaN."""
    return np.max(input, axis=_axes(input, dim, "amax"), keepdims=keepdim)


@operation(input_count=1, numpy=np.min)
def amin(input: Input, dim: Dim = None, keepdim: bool = False) -> Array:
    """The minimum over `dim`; NaN if an element is NaN."""
    return np.min(input, axis=_axes(input, dim, "amin"), keepdims=keepdim)


def _extreme_gradient(grad: Array, out: Array, input: Array, dim: Dim) -> Array:
    """1 for the maximum or minimum, divided evenly among ties; 0 for other elements; NaN if the result is NaN."""
    keepdim_shape = _keepdim_shape(input.shape, dim)
    selected = cast(input == np.reshape(out, keepdim_shape), dtype=np.promote_types(input.dtype, np.float32))  # 1 or 0
    return selected * (np.reshape(grad, keepdim_shape) / sums.total(selected, _axes(selected, dim, "amax"), True))


amax.derivative(_extreme_gradient)
amin.derivative(_extreme_gradient)


@operation(input_count=1, numpy=np.argmax)
def argmax(input: Input, dim: int | None = None, keepdim: bool = False) -> Array:
    """The index of the maximum: the first one in case of ties; in the flattened input if `dim` is None."""
    return np.argmax(input, axis=None if dim is None else wrap_dim(input, dim, "argmax"), keepdims=keepdim)


@operation(input_count=1, numpy=np.argmin)
def argmin(input: Input, dim: int | None = None, keepdim: bool = False) -> Array:
    """The index of the minimum: the first one in case of ties; in the flattened input if `dim` is None."""
    return np.argmin(input, axis=None if dim is None else wrap_dim(input, dim, "argmin"), keepdims=keepdim)


@operation(input_count=1, numpy=np.all)
def all(input: Input, dim: Dim = None, keepdim: bool = False) -> Array:
    """Whether all elements are nonzero. As in PyTorch, an empty sequence of dimensions reduces no dimension."""
    return np.all(input, axis=_axes(input, dim, "all", empty=()), keepdims=keepdim)


@operation(input_count=1, numpy=np.any)
def any(input: Input, dim: Dim = None, keepdim: bool = False) -> Array:
    """Whether any element is nonzero. As in PyTorch, an empty sequence of dimensions reduces no dimension."""
    return np.any(input, axis=_axes(input, dim, "any", empty=()), keepdims=keepdim)


@operation(input_count=1)
def prod(input: Input, dim: int | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Array:
    """The product over one dimension, or of all elements, in `dtype`; by default int64 for integers and booleans."""
    axis = None if dim is None else wrap_dim(input, dim, "prod")
    return np.prod(input, axis=axis, dtype=dtype or ACCUMULATION_DTYPES.get(input.dtype.kind), keepdims=keepdim)


@prod.derivative
def _(grad: Array, out: Array, input: Array, dim: int | None) -> Array:
    """∂(Π x)/∂xᵢ = the product of the other elements: Π x / xᵢ or, if an element is 0, without a division."""
    keepdim_shape = _keepdim_shape(input.shape, dim)
    grad, out = np.reshape(grad, keepdim_shape), np.reshape(out, keepdim_shape)
    if not input.ndim:
        dim = None
    if np.asarray(input != 0).all():
        return grad * out / input
    x = np.reshape(input, (-1,)) if dim is None else np.moveaxis(input, dim, -1)  # (..., n)
    others = np.where(np.eye(x.shape[-1], dtype=bool), 1, np.expand_dims(x, -2))  # (..., n, n)
    derivatives: Array = prod(others, dim=-1)  # (..., n)
    return grad * (np.reshape(derivatives, input.shape) if dim is None else np.moveaxis(derivatives, -1, dim))


@operation(input_count=1, promote="floating")
def logsumexp(input: Input, dim: Dim, keepdim: bool = False) -> Array:
    """ln(Σ eˣ); the largest x is subtracted first so that nothing overflows."""
    axes = _axes(input, dim, "logsumexp")
    axes = axes if input.ndim else None  # np.squeeze takes no axis for a zero-dimensional array
    maxima = np.max(input, axis=axes, keepdims=True, initial=-np.inf)
    maxima = np.where(np.isfinite(maxima), maxima, 0)  # inf - inf would be NaN
    total = np.log(sums.total(np.exp(input - maxima), axes, True)) + maxima
    return total if keepdim else np.squeeze(total, axes)


@logsumexp.derivative
def _(grad: Array, out: Array, input: Array, dim: Dim) -> Array:
    """∂ ln(Σ eˣ)/∂xᵢ = eˣⁱ / Σ eˣ."""
    keepdim_shape = _keepdim_shape(input.shape, dim)
    return np.exp(input - np.reshape(out, keepdim_shape)) * np.reshape(grad, keepdim_shape)


@operation(fused=True)
def variance(input: Array, *, dim: Dim = None, keepdim: bool = False, correction: float = 1) -> Array:
    """Σ (x - mean)² / (n - correction); see `var`."""
    x, axes = sums.widen_float16(input), _axes(input, dim, "var")
    centered = x - sums.mean(x, axes, True)
    divisor = _reduced_count(input.shape, dim) - correction
    total = sums.total(centered * centered, axes, keepdim)
    # as in PyTorch, the result is NaN or infinite if there are too few elements
    return (total / (divisor if divisor > 0 else 0.0)).astype(input.dtype, copy=False)


@variance.derivative
def _(grad: Array, input: Array, dim: Dim, correction: float) -> Array:
    """∂/∂xᵢ = 2 (xᵢ - mean) / (n - correction); the terms that come from the mean cancel.

    If n ≤ correction, the derivative is NaN where xᵢ is the mean and infinite elsewhere, as in PyTorch.
    """
    divisor = _reduced_count(input.shape, dim) - correction
    grad = np.reshape(grad, _keepdim_shape(input.shape, dim))
    center = sums.mean(input, _axes(input, dim, "var"), True)
    if divisor <= 0:
        return grad * where(input == center, input * math.nan, math.inf)
    return widen_float16(grad) / (divisor / 2) * (input - center)


@operation(fused=True)
def vector_norm(input: Input, *, p: float, dim: Dim = None, keepdim: bool = False) -> Array:
    """(Σ |x|ᵖ)^(1/p); for p = inf the largest |x|, for -inf the smallest, for 0 the number of nonzero elements.

    Powers are computed and summed in float64. For p = 2, the norm of float16 or float32 inputs therefore overflows or
    underflows only if the norm itself does not fit the type. float64 inputs are not divided by their largest element
    first, so their powers may overflow or underflow, as in PyTorch.
    """
    check_floats("norm", input)
    axes = _axes(input, dim, "norm")
    if np.isinf(p):
        out = (np.max if p > 0 else np.min)(np.absolute(input), axis=axes, keepdims=keepdim)
    elif p == 0:
        out = np.sum(input != 0, axis=axes, keepdims=keepdim)
    elif p == 2:
        x = input.astype(np.float64)  # type: ignore[union-attr]  # a formula gets arrays
        out = np.sqrt(sums.total(x * x, axes, keepdim))
    else:
        out = sums.total(np.absolute(input).astype(np.float64) ** p, axes, keepdim) ** (1 / p)
    return out.astype(input.dtype, copy=False)


@vector_norm.derivative
def _(grad: Array, out: Array, input: Array, p: float, dim: Dim) -> Array:
    """sign(x) (|x| / norm)^(p-1), and 0 where x or the norm is 0; for p = ±inf, divided evenly among ties."""
    if p == 0:
        return np.zeros_like(input)
    if np.isinf(p):
        return np.sign(input) * _extreme_gradient(grad, out, np.absolute(input), dim)
    keepdim_shape = _keepdim_shape(input.shape, dim)
    grad, out = np.reshape(grad, keepdim_shape), np.reshape(out, keepdim_shape)
    divisor = np.where(out == 0, np.ones_like(out), out)
    if p == 2:
        return np.where(out == 0, 0, input / divisor * grad)
    derivative = np.sign(input) * (np.absolute(input) / divisor) ** (p - 1)
    return np.where((out == 0) | (input == 0), 0, derivative * grad)


# Composed of the operations above


@takes_axis
def var(
    input: Input, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The variance over `dim`: Σ (x - mean)² / (n - correction).

    Args:
        input: floats.
        dim: the dimensions to reduce.
        unbiased: the older spelling of correction=1 (True) and correction=0 (False).
        keepdim: keep the reduced dimensions, with size 1.
        correction: 1 by default, for the unbiased estimate from a sample (Bessel's correction).

    Raises:
        TypeError: the input is not floating.
    """
    return _variance("var", input, dim, unbiased, keepdim, correction)


@takes_axis
def std(
    input: Input, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation over `dim`: the square root of `var`. Where it is 0, the derivative is 0."""
    variances = _variance("std", widen_float16(input), dim, unbiased, keepdim, correction)
    is_zero = variances == 0  # the derivative of the square root is infinite there
    return as_dtype(where(is_zero, 0, sqrt(where(is_zero, 1, variances))), input.dtype)


def _variance(
    name: str, input: Array, dim: Dim, unbiased: bool | None, keepdim: bool, correction: float | None
) -> Tensor:  # fmt: skip
    """Check the arguments of `var` or `std` (`name` says which), and return the variance."""
    if isinstance(dim, bool) and unbiased is None:  # x.var(False): PyTorch also takes `unbiased` as the first argument
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased in (None, True) else 0
    _axes(input, dim, name)
    check_floats(name, input)
    return variance(input, dim=dim, keepdim=keepdim, correction=correction)


@takes_axis
def norm(
    input: Input, p: float | str | None = "fro", dim: Dim = None, keepdim: bool = False, dtype: DTypeLike | None = None
) -> Tensor:
    """The p-norm of vectors; see `vector_norm`.

    Args:
        input: floats.
        p: a number or ±inf; "fro" or None for 2.
        dim: the dimensions to reduce.
        keepdim: keep the reduced dimensions, with size 1.
        dtype: the type to which the input is converted first.

    Raises:
        ValueError: `p` is a string other than "fro", such as "nuc": the nuclear norm is not supported.
        TypeError: the input is not floating.
    """
    check("norm", p == "fro" or not isinstance(p, str), f"p must be a number, 'fro' or None, not {p!r}")
    input = input if dtype is None else cast(input, dtype=dtype)
    return vector_norm(input, p=2.0 if p is None or isinstance(p, str) else p, dim=dim, keepdim=keepdim)


@overload
def max(input: Input) -> Tensor: ...


@overload
def max(input: Input, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]: ...


@overload
def max(input: Input, dim: Input) -> Tensor: ...


@takes_axis
def max(input: Input, dim: Any = None, keepdim: bool = False) -> Any:
    """The maximum of all elements. If `dim` is a dimension, the pair (values, indices); if a tensor, `maximum`."""
    return _extreme("max", input, dim, keepdim, amax, argmax, maximum)


@overload
def min(input: Input) -> Tensor: ...


@overload
def min(input: Input, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]: ...


@overload
def min(input: Input, dim: Input) -> Tensor: ...


@takes_axis
def min(input: Input, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum of all elements. If `dim` is a dimension, the pair (values, indices); if a tensor, `minimum`."""
    return _extreme("min", input, dim, keepdim, amin, argmin, minimum)


def _extreme(name: str, input: Array, dim: Any, keepdim: bool, reduce: Any, arg_reduce: Any, elementwise: Any) -> Any:
    """Implement `max` or `min` (`name` says which), with the three operations for its three cases."""
    if dim is None:
        return reduce(input)
    if not isinstance(dim, (int, np.integer)):  # a tensor; `maximum` refuses anything else
        return elementwise(input, dim)
    if not hasattr(input, "ndim"):
        raise TypeError(f"{name}: takes a tensor, not the number {input}")
    dim = wrap_dim(input, dim, name)  # type: ignore[arg-type]  # NumPy's integers are accepted as well
    indices = arg_reduce(input, dim=dim, keepdim=True)
    values = gather(input, dim, indices)
    return (values, indices) if keepdim else (squeeze(values, dim), squeeze(indices, dim))


NUMPY_FUNCTIONS[np.amax] = amax  # the older name of np.max
NUMPY_FUNCTIONS[np.amin] = amin  # the older name of np.min


def _axes(input: Array, dim: Dim, name: str, empty: Any = None) -> int | tuple[int, ...] | None:
    """Return `dim` as a non-negative `axis` for NumPy, or None for all dimensions; for an empty sequence, `empty`."""
    if dim is None:
        return None
    if type(dim) is int:
        return wrap_dim(input, dim, name)
    axes = wrap_dims(input, dim, name)
    if len(axes) == 1:  # for a zero-dimensional array, NumPy accepts 0, but not (0,)
        return axes[0]
    return tuple(axes) or empty


def _keepdim_shape(shape: tuple[int, ...], dim: Dim) -> tuple[int, ...]:
    """Return the shape of a result with `keepdim`: that of the input, with 1 for each reduced dimension."""
    reduced_dims = {d % (len(shape) or 1) for d in int_tuple(() if dim is None else dim, "the dimension")}
    return tuple(1 if d in reduced_dims or not reduced_dims else size for d, size in enumerate(shape))


def _reduced_count(shape: tuple[int, ...], dim: Dim) -> int:
    """Return the number of elements that are reduced to one element."""
    sizes = zip(shape, _keepdim_shape(shape, dim), strict=True)
    return math.prod([size for size, reduced_size in sizes if reduced_size == 1])


def _broadcast(grad: Array, shape: tuple[int, ...], dim: Dim) -> Array:
    """Broadcast the gradient of a reduction to the shape of its input."""
    return np.broadcast_to(np.reshape(grad, _keepdim_shape(shape, dim)), shape)
