"""Operators that read or write elements at positions: Slice, Gather, Scatter, OneHot, NonZero, ..."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import Call, Operator, array, detached, integers, is_float, plain_operator, wrap
from chainrule.ops import scattering
from chainrule.ops.indexing import add_at, index_put


def _slice(call: Call, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    first = call.ints("starts") if starts is None else integers(starts)
    last = call.ints("ends") if ends is None else integers(ends)
    dims = call.ints("axes") if axes is None else integers(axes)
    dims = [*range(len(first))] if dims is None else [wrap(call, d, x.ndim) for d in dims]
    strides = [1] * len(dims) if steps is None else integers(steps)
    index = [slice(None)] * x.ndim
    for d, start, end, step in zip(dims, first, last, strides, strict=True):
        if step < 0 and end < -x.shape[d]:
            index[d] = slice(start, None, step)  # down to the first element; an end of -1 would mean the last
        else:
            index[d] = slice(start, end, step)
    return x[tuple(index)] if x.ndim else x


def _positions(call: Call, indices: Any, size: int) -> Any:
    """Return positions, of which negative ones count from the end, as non-negative numbers; check their range."""
    positions = detached(indices).astype(np.int64)
    if positions.size and not (positions.min() >= -size and positions.max() < size):
        raise ValueError(f"{call.label}: positions are {positions.min()} to {positions.max()}, but the size is {size}")
    return np.where(positions < 0, positions + size, positions)


def _gather(call: Call, x: Any, indices: Any) -> Any:
    axis = wrap(call, call.get("axis", 0), x.ndim)
    if x.ndim == 2 and axis == 0 and is_float(x):  # an embedding
        size = x.shape[0]
        index = indices if not isinstance(indices, np.ndarray) else _positions(call, indices, size)
        if not isinstance(index, np.ndarray):
            index = ops.where(ops.lt(index, 0), ops.add(index, size), index)
        return ops.embedding(index, x)
    return x[(slice(None),) * axis + (_positions(call, indices, x.shape[axis]),)]


def _gather_elements(call: Call, x: Any, indices: Any) -> Any:
    axis = wrap(call, call.get("axis", 0), x.ndim)
    return ops.gather(x, axis, _positions(call, indices, x.shape[axis]))


def _nd_index(call: Call, indices: Any, shape: Any, batch_dims: int = 0) -> tuple[Any, ...]:
    """Return the index of GatherND and ScatterND as arrays, one for each dimension that it covers."""
    positions = detached(indices).astype(np.int64)
    depth = positions.shape[-1]
    grids = np.ogrid[tuple(slice(n) for n in shape[:batch_dims])]
    batch = [g.reshape(*g.shape, *(1,) * (positions.ndim - 1 - batch_dims)) for g in grids]
    return (*batch, *(_positions(call, positions[..., i], shape[batch_dims + i]) for i in range(depth)))


def _gather_nd(call: Call, x: Any, indices: Any) -> Any:
    return x[_nd_index(call, indices, x.shape, call.get("batch_dims", 0))]


_REDUCTIONS = {"add": np.add.at, "mul": np.multiply.at, "max": np.maximum.at, "min": np.minimum.at}


def _scatter(call: Call, x: Any, updates: Any, index: tuple[Any, ...]) -> Any:
    """Return x with updates at an index, which replace its elements or are combined with them."""
    reduction = call.choose("reduction", "none", *_REDUCTIONS)
    if reduction == "none" and is_float(x):
        return index_put(x, updates, index=index)
    if reduction == "add" and is_float(x):
        return ops.add(x, add_at(updates, index=index, shape=x.shape))
    out, values = array(x).copy(), array(updates)
    if reduction == "none":
        out[index] = values
    else:
        _REDUCTIONS[reduction](out, index, values)
    return out


def _scatter_elements(call: Call, x: Any, indices: Any, updates: Any) -> Any:
    axis, reduction = wrap(call, call.get("axis", 0), x.ndim), call.choose("reduction", "none", *_REDUCTIONS)
    options: dict[str, Any] = {"dim": axis, "name": call.name}
    positions = _positions(call, indices, x.shape[axis])
    if reduction in ("max", "min"):
        return scattering.scatter_extreme(x, positions, updates, largest=reduction == "max", **options)
    if reduction == "none":
        return scattering.scatter_values(x, positions, updates, **options)
    combine = scattering.scatter_sum if reduction == "add" else scattering.scatter_product
    return combine(x, positions, updates, **options)


def _scatter_nd(call: Call, x: Any, indices: Any, updates: Any) -> Any:
    return _scatter(call, x, updates, _nd_index(call, indices, x.shape))


def _tensor_scatter(call: Call, past: Any, update: Any, write_indices: Any = None) -> Any:
    """Write a sequence into a cache, at a position for each example of the batch."""
    axis = wrap(call, call.get("axis", -2), past.ndim)
    mode = call.choose("mode", "linear", "circular")
    starts = [0] * past.shape[0] if write_indices is None else integers(write_indices)
    length = past.shape[axis]
    positions = np.array(starts)[:, None] + np.arange(update.shape[axis])
    if mode == "circular":
        positions %= length
    elif positions.size and positions.max() >= length:
        raise ValueError(f"{call.label}: position {positions.max()} is beyond the cache's length {length}")
    index = [*np.ogrid[tuple(slice(n) for n in update.shape)]]
    index[axis] = positions.reshape([n if d in (0, axis) else 1 for d, n in enumerate(update.shape)])
    out = array(past).copy()
    out[tuple(index)] = array(update)
    return out


def _one_hot(call: Call, indices: Any, depth: Any, values: Any) -> Any:
    count, off, on = int(detached(depth).reshape(-1)[0]), values[0], values[1]
    axis = call.get("axis", -1)
    positions = detached(indices)
    positions = np.where(positions < 0, positions + count, positions)
    axis = axis % (positions.ndim + 1)
    grid = np.arange(count).reshape([count if d == axis else 1 for d in range(positions.ndim + 1)])
    return ops.where(np.expand_dims(positions, axis) == grid, on, off)


def _compress(call: Call, x: Any, condition: Any) -> Any:
    axis, positions = call.get("axis"), np.flatnonzero(detached(condition))
    if axis is None:
        return ops.reshape(x, (math.prod(x.shape),))[positions]
    return x[(slice(None),) * wrap(call, axis, x.ndim) + (positions,)]


def _non_zero(x: Any) -> Any:
    return np.array(np.nonzero(detached(x) if x.ndim else detached(x).reshape(1)), np.int64)


OPERATORS: dict[str, Operator] = {
    "Slice": _slice, "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements, "Scatter": _scatter_elements, "ScatterND": _scatter_nd,
    "TensorScatter": _tensor_scatter, "OneHot": _one_hot, "Compress": _compress, "NonZero": plain_operator(_non_zero),
}  # fmt: skip
