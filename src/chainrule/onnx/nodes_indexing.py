"""How the operations of `indexing`, `scattering` and `sorting` are written: Slice, Gather, Scatter, Pad, TopK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.onnx.errors import UnsupportedError
from chainrule.onnx.graph import Sizes, int64
from chainrule.onnx.symbol import Symbol, Writer
from chainrule.ops import indexing, scattering, sorting
from chainrule.ops.indexing import is_basic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BEYOND_LAST = np.iinfo(np.int64).max
"""The end of a Slice up to the last element; with a negative step, its start."""

BEFORE_FIRST = np.iinfo(np.int64).min
"""The end of a Slice with a negative step that goes down to the first element."""


def _getitem(writer: Writer, x: Symbol, *, index: Any) -> Symbol:
    """Write an index as Slice, Gather, Squeeze and Unsqueeze."""
    parts = list(index) if isinstance(index, tuple) else [index]
    n_indexed = sum(part is not None and part is not ... for part in parts)
    position = next((i for i, part in enumerate(parts) if part is ...), len(parts))
    parts[position : position + 1] = [slice(None)] * (x.ndim - n_indexed)
    dim = 0
    slices: list[tuple[int, slice]] = []
    integers: list[tuple[int, int]] = []
    arrays: list[tuple[int, Any]] = []
    new_dims: list[int] = []
    for part in parts:
        if part is None:
            new_dims.append(dim - len(integers) + len(new_dims))
            continue
        if isinstance(part, slice):
            slices += [(dim, part)] if part not in (slice(None), slice(None, None, 1)) else []
        elif is_basic(part):
            integers.append((dim, int(part)))
        else:
            arrays.append((dim - len(integers), part))
        dim += 1
    x = _slice(writer, x, slices)
    for n_removed, (dim, i) in enumerate(integers):
        axis = dim - n_removed
        x = writer.node("Gather", x, np.asarray(i, np.int64), example=np.take(x.example, i, axis), axis=axis)
    if arrays:
        if new_dims:
            raise UnsupportedError("an index with both arrays and None")
        return _gather_arrays(writer, x, arrays)
    if new_dims:
        return writer.node("Unsqueeze", x, int64(*new_dims), example=np.expand_dims(x.example, tuple(new_dims)))
    return x if slices or integers else writer.node("Identity", x, example=x.example)


def _slice(writer: Writer, x: Symbol, slices: Sequence[tuple[int, slice]]) -> Symbol:
    """Write slices of several dimensions."""
    if not slices:
        return x
    index: list[Any] = [slice(None)] * x.ndim
    starts, ends, steps = [], [], []
    for dim, part in slices:
        step = 1 if part.step is None else int(part.step)
        index[dim] = part
        default_start, default_end = (0, BEYOND_LAST) if step > 0 else (BEYOND_LAST, BEFORE_FIRST)
        starts.append(default_start if part.start is None else int(part.start))
        ends.append(default_end if part.stop is None else int(part.stop))
        steps.append(step)
    axes = int64(*(dim for dim, _ in slices))
    example = x.example[tuple(index)]
    return writer.node("Slice", x, Sizes(tuple(starts)), Sizes(tuple(ends)), axes, int64(*steps), example=example)


def _gather_arrays(writer: Writer, x: Symbol, arrays: Sequence[tuple[int, Any]]) -> Symbol:
    """Write an index of arrays: Gather for one, GatherND for several that index successive dimensions."""
    dims = [dim for dim, _ in arrays]
    for _, part in arrays:
        if (part.dtype if hasattr(part, "dtype") else np.asarray(part).dtype).kind == "b":
            raise UnsupportedError("an index of booleans, which gives a size that depends on values")
    symbols = [writer.as_symbol(part, np.int64) for _, part in arrays]
    if len(arrays) == 1:
        example = np.take(x.example, symbols[0].example, dims[0])
        return writer.node("Gather", x, symbols[0], example=example, axis=dims[0])
    if dims != [*range(dims[0], dims[0] + len(dims))]:
        raise UnsupportedError("an index of arrays for dimensions that are not adjacent")
    other_dims = [d for d in range(x.ndim) if d not in dims]
    data = writer.transpose(x, dims + other_dims)
    common = np.broadcast_shapes(*(s.shape for s in symbols))
    columns = [writer.reshape(writer.expand(s, common), (*common, 1)) for s in symbols]
    if all(s.is_constant for s in columns):
        indices = writer.as_constant(np.concatenate([s.example for s in columns], -1))
    else:
        indices = writer.node("Concat", *columns, axis=-1)
    picked = data.example[tuple(s.example for s in symbols)]
    out = writer.node("GatherND", data, indices, example=picked)
    # GatherND puts the dimensions of the index first: move them to where the arrays stand in the index
    before, count = dims[0], len(common)
    order = [*range(count, count + before), *range(count), *range(count + before, picked.ndim)]
    return writer.transpose(out, order)


def _padding(index: Any, sizes: Sequence[int], name: str) -> list[tuple[int, int]]:
    """Return (before, after) for each dimension, for an index that selects one block of an array of these sizes."""
    parts = list(index) if isinstance(index, tuple) else [index]
    position = next((i for i, part in enumerate(parts) if part is ...), len(parts))
    parts[position : position + 1] = [slice(None)] * (len(sizes) - sum(part is not ... for part in parts))
    pairs = []
    for part, size in zip(parts, sizes, strict=True):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise UnsupportedError(f"{name} at other than a block of elements")
        start, stop, _ = part.indices(size)
        pairs.append((start, size - stop))
    return pairs


def _pad(writer: Writer, x: Symbol, pairs: Sequence[tuple[int, int]], value: Any) -> Symbol:
    if not any(before or after for before, after in pairs):
        return x
    sizes = Sizes(tuple(before for before, _ in pairs) + tuple(after for _, after in pairs))
    return writer.node("Pad", x, sizes, np.asarray(value, x.dtype))


def _add_at(writer: Writer, source: Symbol, *, index: Any, shape: Any) -> Symbol:
    return _pad(writer, source, _padding(index, shape, "add_at"), 0)


def _index_put(writer: Writer, x: Symbol, value: Any, *, index: Any) -> Symbol:
    """Write an assignment to a block of a constant whose elements are all equal: the value is padded with these."""
    if not x.is_constant or not isinstance(value, Symbol) or np.unique(x.example).size != 1:
        raise UnsupportedError("an assignment to elements")
    pairs = _padding(index, x.shape, "index_put")
    inside = [n - before - after for n, (before, after) in zip(x.shape, pairs, strict=True)]
    return _pad(writer, writer.cast(writer.expand(value, inside), x.dtype), pairs, x.example.flat[0])


def _pick(
    writer: Writer, x: Symbol, index: Any, *, dim: int, name: str, sizes: Any = None, allow_negative: bool = False
) -> Symbol:
    index = writer.as_symbol(index, np.int64)
    if sizes == ():  # one element of an array of one dimension
        return writer.reshape(writer.node("Gather", x, writer.reshape(index, (1,)), example=x.example[:1], axis=0), ())
    if sizes is None:
        return writer.node("Gather", x, writer.reshape(index, (-1,)), axis=dim)
    shape = np.broadcast_shapes(index.shape, (*sizes[:dim], index.shape[dim], *sizes[dim + 1 :]))
    return writer.node("GatherElements", x, writer.expand(index, shape), axis=dim)


def _check_indices(writer: Writer, x: Symbol, *, size: int, name: str, ignore_index: int | None = None) -> Symbol:
    return writer.cast(x, np.int64)


def _embedding_lookup(writer: Writer, weight: Symbol, index: Symbol) -> Symbol:
    return writer.node("Gather", weight, index, axis=0)


def _scatter(reduction: str | None, opset: int) -> Callable[..., Symbol]:
    """Return how to write a scatter operation; `opset` is the first version that has the reduction."""

    def write(writer: Writer, x: Symbol, index: Any, source: Any, *, dim: int, name: str, **options: bool) -> Symbol:
        kind = reduction if "largest" not in options else "max" if options["largest"] else "min"
        if writer.opset < opset:
            raise UnsupportedError(f"{name} with {kind}, which needs opset {opset}")
        index = writer.as_symbol(index, np.int64)
        source = writer.expand(writer.as_symbol(source, x.dtype), index.shape)
        return writer.node("ScatterElements", x, index, source, axis=dim, reduction=kind)

    return write


def _argsort(writer: Writer, x: Symbol, dim: int = -1, descending: bool = False, stable: bool = False) -> Symbol:
    """Write TopK of all elements, which puts the earlier of equal elements first."""
    if not x.ndim:
        return writer.as_constant(np.zeros((), np.int64))
    count = Sizes((x.shape[dim],))
    _, indices = writer.nodes("TopK", x, count, examples=[None, None], axis=dim, largest=int(descending), sorted=1)
    return indices


OPERATIONS: dict[Any, Callable[..., Any]] = {
    indexing.getitem: _getitem, indexing.add_at: _add_at, indexing.index_put: _index_put,
    indexing.pick: _pick, indexing.check_indices: _check_indices, indexing.embedding_lookup: _embedding_lookup,
    scattering.scatter_values: _scatter(None, 13), scattering.scatter_sum: _scatter("add", 16),
    scattering.scatter_product: _scatter("mul", 16), scattering.scatter_extreme: _scatter(None, 18),
    sorting.argsort: _argsort,
}  # fmt: skip
"""The function that writes each of these operations."""
