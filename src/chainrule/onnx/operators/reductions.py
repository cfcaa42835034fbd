"""Reductions: sums, extremes, norms, positions, cumulative sums, sorting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import Call, Operator, array, axes_of, detached, integers, is_float, wrap

if TYPE_CHECKING:
    from collections.abc import Callable


def _reduction(of_floats: Callable[..., Any], of_integers: Callable[..., Any]) -> Operator:
    """Return the operator of two functions of (x, axes, keepdims): one with a derivative, and one of NumPy arrays.

    The latter computes integers, and floats without elements.
    """

    def reduce(call: Call, x: Any, axes: Any = None) -> Any:
        dims, keepdims = axes_of(call, axes, x.ndim), bool(call.get("keepdims", 1))
        is_noop = bool(call.get("noop_with_empty_axes", 0))
        if not dims:
            dims = [] if is_noop else [*range(x.ndim)]
        dims = sorted(dims)
        if not is_float(x) or not math.prod(x.shape):
            return of_integers(array(x), tuple(dims), keepdims)
        if dims:
            return of_floats(x, tuple(dims), keepdims)
        return of_floats(ops.reshape(x, (1, *x.shape)), (0,), False)  # over each element by itself

    return reduce


def _prod(x: Any, dims: tuple[int, ...], keepdims: bool) -> Any:
    for dim in dims[::-1]:
        x = ops.prod(x, dim, keepdims)
    return x


def _sum_of_integers(x: Any, dims: Any, keepdims: bool) -> Any:
    return np.sum(x, axis=dims, keepdims=keepdims, dtype=x.dtype)


def _limits(dtype: Any) -> tuple[Any, Any]:
    if dtype.kind == "f":
        return -np.inf, np.inf
    return (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


def _max_of_arrays(x: Any, dims: Any, keepdims: bool) -> Any:
    return np.max(x, axis=dims, keepdims=keepdims, initial=_limits(x.dtype)[0])


def _min_of_arrays(x: Any, dims: Any, keepdims: bool) -> Any:
    return np.min(x, axis=dims, keepdims=keepdims, initial=_limits(x.dtype)[1])


def _sum_square(x: Any, dims: Any, keepdims: bool) -> Any:
    return ops.sum(ops.square(x), dims, keepdims)


def _log_sum(x: Any, dims: Any, keepdims: bool) -> Any:
    return ops.log(ops.sum(x, dims, keepdims))


def _in_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays whose result is converted to the type of its input."""
    return lambda x, dims, keepdims: np.asarray(function(x, dims, keepdims)).astype(x.dtype)


def _arg_extreme(function: Any) -> Operator:
    def find(call: Call, x: Any) -> Any:
        axis, keepdims = wrap(call, call.get("axis", 0), x.ndim), bool(call.get("keepdims", 1))
        values = detached(x)
        if not call.get("select_last_index", 0):
            return function(values, axis=axis, keepdims=keepdims).astype(np.int64)
        return (x.shape[axis] - 1 - function(np.flip(values, axis), axis=axis, keepdims=keepdims)).astype(np.int64)

    return find


def _cumulative(of_floats: Any, of_arrays: Any, neutral: int) -> Operator:
    def accumulate(call: Call, x: Any, axis: Any) -> Any:
        dim = wrap(call, integers(axis)[0], x.ndim)
        exclusive, reverse = call.get("exclusive", 0), call.get("reverse", 0)
        if reverse:
            x = ops.flip(x, dim)
        if exclusive and x.shape[dim]:  # each element gets the sum or product of those before it
            index = tuple(slice(0, -1) if d == dim else slice(None) for d in range(x.ndim))
            first = np.full([1 if d == dim else n for d, n in enumerate(x.shape)], neutral, x.dtype)
            x = ops.cat([first, x[index]], dim)
        out = of_floats(x, dim) if is_float(x) else of_arrays(array(x), axis=dim, dtype=x.dtype)
        return ops.flip(out, dim) if reverse else out

    return accumulate


def _top_k(call: Call, x: Any, k: Any = None) -> Any:
    count = call.get("k") if k is None else integers(k)[0]
    axis, largest = wrap(call, call.get("axis", -1), x.ndim), call.get("largest", 1)
    call.get("sorted", 1)  # without it any order is valid, including the sorted one
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"{call.label}: cannot take {count} of {x.shape[axis]} elements")
    return ops.topk(x, count, axis, bool(largest))


def _unique(call: Call, x: Any) -> Any:
    axis, is_sorted = call.get("axis"), call.get("sorted", 1)
    _, first, inverse, counts = np.unique(
        detached(x), return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not is_sorted:  # in the order in which they occur
        order = np.argsort(first)
        first, inverse, counts = first[order], np.argsort(order)[inverse], counts[order]
    flat, axis = (ops.reshape(x, (math.prod(x.shape),)), 0) if axis is None else (x, wrap(call, axis, x.ndim))
    values = flat[(slice(None),) * axis + (first,)]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


OPERATORS: dict[str, Operator] = {
    "ReduceSum": _reduction(ops.sum, _sum_of_integers),
    "ReduceMean": _reduction(ops.mean, _in_type(lambda x, dims, keep: np.mean(x, axis=dims, keepdims=keep))),
    "ReduceMax": _reduction(ops.amax, _max_of_arrays),
    "ReduceMin": _reduction(ops.amin, _min_of_arrays),
    "ReduceProd": _reduction(_prod, _in_type(lambda x, dims, keep: np.prod(x, axis=dims, keepdims=keep))),
    "ReduceL1": _reduction(
        lambda x, dims, keep: ops.sum(ops.abs(x), dims, keep),
        lambda x, dims, keep: _sum_of_integers(np.abs(x), dims, keep),
    ),
    "ReduceL2": _reduction(
        lambda x, dims, keep: ops.norm(x, 2, dims, keep),
        _in_type(lambda x, dims, keep: np.sqrt(np.sum(np.square(x.astype(np.float64)), axis=dims, keepdims=keep))),
    ),
    "ReduceSumSquare": _reduction(_sum_square, lambda x, dims, keep: _sum_of_integers(x * x, dims, keep)),
    "ReduceLogSum": _reduction(
        _log_sum, _in_type(lambda x, dims, keep: np.log(np.sum(x.astype(np.float64), axis=dims, keepdims=keep)))
    ),
    "ReduceLogSumExp": _reduction(
        ops.logsumexp,
        _in_type(lambda x, dims, keep: np.log(np.sum(np.exp(x.astype(np.float64)), axis=dims, keepdims=keep))),
    ),
    "ArgMax": _arg_extreme(np.argmax), "ArgMin": _arg_extreme(np.argmin),
    "CumSum": _cumulative(ops.cumsum, np.cumsum, 0), "CumProd": _cumulative(ops.cumprod, np.cumprod, 1),
    "TopK": _top_k, "Unique": _unique,
}  # fmt: skip
