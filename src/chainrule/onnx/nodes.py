"""The operations that have an ONNX node of their own, or need more than their formula to be written.

One table, operation → function that writes it. An operation that is missing here is written by its formula, as NumPy
functions (`symbol.py`). A function may write fewer nodes than the formula would, never another value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import ops
from chainrule.onnx.errors import UnsupportedError
from chainrule.onnx.graph import Sizes, int64
from chainrule.onnx.symbol import Symbol, Writer
from chainrule.ops import attention, convolution, indexing, linalg, networks, pooling, reductions, shape
from chainrule.ops.indexing import is_basic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LAST, FIRST = np.iinfo(np.int64).max, np.iinfo(np.int64).min
"""The ends of a Slice that has no end."""


def _relu(writer: Writer, x: Symbol) -> Any:
    return writer.node("Relu", x) if x.dtype.kind == "f" else np.maximum(x, 0)


def _leaky_relu(writer: Writer, x: Symbol, negative_slope: float = 0.01) -> Symbol:
    return writer.node("LeakyRelu", x, alpha=float(negative_slope))


def _elu(writer: Writer, x: Symbol, alpha: float = 1.0) -> Symbol:
    return writer.node("Elu", x, alpha=float(alpha))


def _softplus(writer: Writer, x: Symbol, beta: float = 1.0, threshold: float = 20.0) -> Any:
    if beta == 1:
        return writer.node("Softplus", x, example=x.example)
    return writer.node("Softplus", x * beta, example=x.example) / beta


def _gelu(writer: Writer, x: Symbol, approximate: str = "none") -> Any:
    if writer.opset >= 20:
        return writer.node("Gelu", x, approximate=approximate)
    formula: Any = ops.gelu.formula
    return formula(x, approximate=approximate)


def _softmax(op_type: str) -> Callable[..., Symbol]:
    def write(writer: Writer, x: Symbol, dim: int = -1, dtype: Any = None) -> Symbol:
        x = x if dtype is None else writer.cast(x, dtype)
        return writer.node(op_type, x, axis=dim) if x.ndim else writer.cast(x - x + (op_type == "Softmax"), x.dtype)

    return write


def _logsumexp(writer: Writer, x: Symbol, dim: Any, keepdim: bool = False) -> Symbol:
    dim = dim if x.ndim else None
    return writer.reduce("ReduceLogSumExp", x, None if dim in ((), []) else dim, keepdim, x.example)


def _arg_extreme(op_type: str) -> Callable[..., Symbol]:
    def write(writer: Writer, x: Symbol, dim: int | None = None, keepdim: bool = False) -> Symbol:
        if dim is None or not x.ndim:
            index = writer.node(op_type, writer.reshape(x, (-1,)), example=np.zeros((), np.int64), axis=0, keepdims=0)
            ones = (1,) * x.ndim if keepdim else ()
            return writer.node("Reshape", index, int64(*ones)) if ones else index
        return writer.node(op_type, x, axis=dim, keepdims=int(keepdim))

    return write


def _cumsum(writer: Writer, x: Symbol, dim: int, dtype: Any = None) -> Symbol:
    x = writer.cast(x, dtype or (np.int64 if x.dtype.kind in "biu" else x.dtype))
    return writer.node("CumSum", x, np.asarray(dim, np.int64)) if x.ndim else x


def _prod(writer: Writer, x: Symbol, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Symbol:
    x = writer.cast(x, dtype or (np.int64 if x.dtype.kind in "biu" else x.dtype))
    return writer.reduce("ReduceProd", x, dim, keepdim, x.example)


# Products


def _linear(writer: Writer, x: Symbol, weight: Symbol, bias: Symbol | None = None) -> Any:
    """One Gemm for a matrix, (N, in); MatMul with the transposed weight for any other shape."""
    if x.ndim == 2:
        return writer.node("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
    example = np.empty((*x.shape[:-1], weight.shape[0]), x.dtype)
    product = writer.node("MatMul", x, writer.transpose(weight), example=example)
    return product if bias is None else product + bias


def _standardize(writer: Writer, x: Symbol, weight: Any = 1.0, bias: Any = 0.0, *, dim: Any, eps: float) -> Any:
    """LayerNormalization where the formula is one: over the last dimensions, with a weight of their shape."""
    dims = sorted(d % x.ndim for d in ((dim,) if isinstance(dim, int) else dim))
    sizes = x.shape[dims[0] :]
    is_last = dims == [*range(dims[0], x.ndim)]
    if writer.opset < 17 or not is_last or not isinstance(weight, Symbol) or weight.shape != sizes:
        formula: Any = networks.standardize.formula
        return formula(x, weight, bias, dim=dim, eps=eps)
    shift = [bias] if isinstance(bias, Symbol) else []
    return writer.node("LayerNormalization", x, weight, *shift, axis=dims[0] - x.ndim, epsilon=float(eps))


# Convolution and pooling


def _convolution(writer: Writer, x: Symbol, weight: Symbol, *, params: Any) -> Symbol:
    (top, bottom), (left, right) = params.padding
    return writer.node(
        "Conv", x, weight, kernel_shape=weight.shape[2:], strides=params.stride, dilations=params.dilation,
        group=params.groups, pads=(top, left, bottom, right),
    )  # fmt: skip


def _transposed_convolution(writer: Writer, x: Symbol, weight: Symbol, *, shape: Any, params: Any) -> Symbol:
    (top, bottom), (left, right) = params.padding
    sizes = zip(x.shape[2:], shape[2:], params.stride, params.padding, params.dilation, weight.shape[2:], strict=True)
    extra = [out - ((n - 1) * s - sum(pads) + d * (k - 1) + 1) for n, out, s, pads, d, k in sizes]
    return writer.node(
        "ConvTranspose", x, weight, kernel_shape=weight.shape[2:], strides=params.stride, dilations=params.dilation,
        group=params.groups, pads=(top, left, bottom, right), output_padding=extra,
    )  # fmt: skip


def _window(x: Symbol, params: Any, out: Sequence[int]) -> dict[str, Any]:
    """The attributes of pooling. `ceil_mode` becomes padding at the end: runtimes differ in what they make of it."""
    ends = [
        max(p, (o - 1) * s + d * (k - 1) + 1 - n - p)
        for n, o, k, s, p, d in zip(
            x.shape[2:], out, params.kernel, params.stride, params.padding, params.dilation, strict=True
        )
    ]
    return {"kernel_shape": params.kernel, "strides": params.stride, "pads": (*params.padding, *ends)}


def _max_pool(writer: Writer, x: Symbol, *, params: Any) -> Symbol:
    out = pooling.max_pool(x.example, params=params).shape[2:]
    return writer.node("MaxPool", x, dilations=params.dilation, **_window(x, params, out))


def _max_pool_indices(writer: Writer, x: Symbol, *, params: Any) -> Any:
    """Positions in the whole input are reduced to positions in one image."""
    example = pooling.max_pool_indices(x.example, params=params)
    window = _window(x, params, example.shape[2:])
    _, indices = writer.nodes("MaxPool", x, examples=[None, example], dilations=params.dilation, **window)
    return writer.node("Mod", indices, np.asarray(math.prod(x.shape[2:]), np.int64))


def _avg_pool(writer: Writer, x: Symbol, *, params: Any, divisor: tuple[bool, int | None]) -> Any:
    """The mean over the whole window, padding included, times a constant where another divisor is meant."""
    include_pad, override = divisor
    out = pooling.avg_pool(x.example, params=params, divisor=divisor)
    window = _window(x, params, out.shape[2:])
    if not params.ceil_mode and override is None:
        return writer.node("AveragePool", x, count_include_pad=int(include_pad), **window)
    mean = writer.node("AveragePool", x, example=out, count_include_pad=1, **window)
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    area = math.prod(params.kernel)
    factor = pooling.avg_pool(ones, params=params, divisor=divisor) / pooling.avg_pool(
        ones, params=params, divisor=(True, area)
    )
    return mean * np.asarray(factor, x.dtype)


# Shapes


def _concatenate(writer: Writer, *inputs: Symbol, dim: int = 0) -> Symbol:
    return writer.node("Concat", *inputs, axis=dim)


def _getitem(writer: Writer, x: Symbol, *, index: Any) -> Symbol:
    """Write an index as Slice, Gather, Squeeze and Unsqueeze."""
    parts = list(index) if isinstance(index, tuple) else [index]
    covered = sum(part is not None and part is not ... for part in parts)
    position = next((i for i, part in enumerate(parts) if part is ...), len(parts))
    parts[position : position + 1] = [slice(None)] * (x.ndim - covered)
    dim = 0
    slices: list[tuple[int, slice]] = []
    integers: list[tuple[int, int]] = []
    arrays: list[tuple[int, Any]] = []
    added: list[int] = []
    for part in parts:
        if part is None:
            added.append(dim - len(integers) + len(added))
            continue
        if isinstance(part, slice):
            slices += [(dim, part)] if part not in (slice(None), slice(None, None, 1)) else []
        elif is_basic(part):
            integers.append((dim, int(part)))
        else:
            arrays.append((dim - len(integers), part))
        dim += 1
    x = _slice(writer, x, slices)
    for done, (d, i) in enumerate(integers):
        x = writer.node("Gather", x, np.asarray(i, np.int64), example=np.take(x.example, i, d - done), axis=d - done)
    if arrays:
        if added:
            raise UnsupportedError("an index with both arrays and None")
        return _gather_arrays(writer, x, arrays)
    if added:
        return writer.node("Unsqueeze", x, int64(*added), example=np.expand_dims(x.example, tuple(added)))
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
        starts.append(int(part.start) if part.start is not None else 0 if step > 0 else LAST)
        ends.append(int(part.stop) if part.stop is not None else LAST if step > 0 else FIRST)
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
        raise UnsupportedError("an index of arrays for dimensions that are not side by side")
    rest = [d for d in range(x.ndim) if d not in dims]
    data = writer.transpose(x, dims + rest)
    common = np.broadcast_shapes(*(s.shape for s in symbols))
    columns = [writer.reshape(writer.expand(s, common), (*common, 1)) for s in symbols]
    if all(s.is_constant for s in columns):
        indices = writer.as_constant(np.concatenate([s.example for s in columns], -1))
    else:
        indices = writer.node("Concat", *columns, axis=-1)
    picked = data.example[tuple(s.example for s in symbols)]
    out = writer.node("GatherND", data, indices, example=picked)
    # the dimensions of the index come first: move them to where the arrays are
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


def _scatter_add(writer: Writer, source: Symbol, *, index: Any, shape: Any) -> Symbol:
    return _pad(writer, source, _padding(index, shape, "scatter_add"), 0)


def _index_put(writer: Writer, x: Symbol, value: Any, *, index: Any) -> Symbol:
    """A block of an array whose other elements have one value, which is what padding is."""
    if not x.is_constant or not isinstance(value, Symbol) or np.unique(x.example).size != 1:
        raise UnsupportedError("an assignment to elements")
    pairs = _padding(index, x.shape, "index_put")
    inside = [n - before - after for n, (before, after) in zip(x.shape, pairs, strict=True)]
    return _pad(writer, writer.cast(writer.expand(value, inside), x.dtype), pairs, x.example.flat[0])


def _pick(
    writer: Writer, x: Symbol, index: Any, *, dim: int, name: str, sizes: Any = None, from_end: bool = False
) -> Symbol:
    index = writer.as_symbol(index, np.int64)
    if sizes is None:
        return writer.node("Gather", x, writer.reshape(index, (-1,)), axis=dim)
    shape = np.broadcast_shapes(index.shape, (*sizes[:dim], index.shape[dim], *sizes[dim + 1 :]))
    return writer.node("GatherElements", x, writer.expand(index, shape), axis=dim)


def _check_indices(writer: Writer, x: Symbol, *, size: int, name: str, ignore_index: int | None = None) -> Symbol:
    return writer.cast(x, np.int64)


def _embedding_lookup(writer: Writer, weight: Symbol, index: Symbol) -> Symbol:
    return writer.node("Gather", weight, index, axis=0)


def _main_diagonal(writer: Writer, x: Symbol) -> Any:
    eye = np.eye(x.shape[-1], dtype=bool)
    return np.sum(np.where(eye, x, np.asarray(0, x.dtype)), axis=-1)


def _fused_attention(writer: Writer, query: Any, key: Any, value: Any, *, is_causal: bool, scale: float) -> Any:
    scores = np.matmul(query * scale, np.swapaxes(key, -1, -2))
    if is_causal:
        scores = np.where(np.tri(query.shape[-2], key.shape[-2], dtype=bool), scores, -np.inf)
    weights = writer.node("Softmax", scores, axis=-1, example=scores.example)
    return np.matmul(weights, value)


OPERATIONS: dict[Any, Callable[..., Any]] = {
    ops.relu: _relu, ops.leaky_relu: _leaky_relu, ops.elu: _elu, ops.softplus: _softplus, ops.gelu: _gelu,
    ops.sigmoid: lambda writer, x: writer.node("Sigmoid", x), ops.erf: lambda writer, x: writer.node("Erf", x),
    ops.softmax: _softmax("Softmax"), ops.log_softmax: _softmax("LogSoftmax"), ops.logsumexp: _logsumexp,
    reductions.argmax: _arg_extreme("ArgMax"), reductions.argmin: _arg_extreme("ArgMin"),
    ops.cumsum: _cumsum, reductions.prod: _prod,
    linalg.linear: _linear, networks.standardize: _standardize,
    convolution.convolution: _convolution, convolution.convolution_input_gradient: _transposed_convolution,
    pooling.max_pool: _max_pool, pooling.max_pool_indices: _max_pool_indices, pooling.avg_pool: _avg_pool,
    shape.reshape: lambda writer, x, shape: writer.reshape(x, shape),
    shape.permute: lambda writer, x, dims=None: writer.transpose(x, dims),
    shape.broadcast_to: lambda writer, x, shape: writer.expand(x, shape),
    shape.concatenate: _concatenate,
    shape.contiguous_copy: lambda _, x: x,
    shape.cast: lambda writer, x, dtype: writer.cast(x, dtype),
    indexing.getitem: _getitem, indexing.scatter_add: _scatter_add, indexing.index_put: _index_put,
    indexing.pick: _pick, indexing.check_indices: _check_indices, indexing.embedding_lookup: _embedding_lookup,
    indexing.main_diagonal: _main_diagonal,
    attention.fused_attention: _fused_attention,
}  # fmt: skip
"""How each operation is written: a function of the writer, the operation's inputs and its options."""
