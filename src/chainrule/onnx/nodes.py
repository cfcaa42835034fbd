"""The operations that have an ONNX node of their own, or need more than their formula to be written.

`OPERATIONS` maps each to the function that writes it. An operation that is missing there is written by its formula, as
NumPy functions (`symbol.py`). A function may write fewer nodes than the formula would, but never a different value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import ops
from chainrule.onnx import nodes_indexing, nodes_recurrent
from chainrule.onnx.graph import int64
from chainrule.onnx.symbol import Symbol, Writer
from chainrule.ops import (
    attention,
    convolution,
    indexing,
    linalg,
    losses,
    normalization,
    pooling,
    reductions,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOFTPLUS_LINEAR_FROM = 15.0
"""From this x on, ln(1 + eˣ) is x up to rounding in float32."""


def _relu(writer: Writer, x: Symbol) -> Any:
    return writer.node("Relu", x) if x.dtype.kind == "f" else np.maximum(x, 0)


def _leaky_relu(writer: Writer, x: Symbol, negative_slope: float = 0.01) -> Symbol:
    return writer.node("LeakyRelu", x, alpha=float(negative_slope))


def _elu(writer: Writer, x: Symbol, alpha: float = 1.0) -> Symbol:
    return writer.node("Elu", x, alpha=float(alpha))


def _softplus(writer: Writer, x: Symbol, beta: float = 1.0, threshold: float = 20.0) -> Any:
    if threshold < SOFTPLUS_LINEAR_FROM:
        formula: Any = ops.softplus.formula
        return formula(x, beta=beta, threshold=threshold)
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
        x = writer.cast(x, np.uint8) if x.dtype.kind == "b" else x
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


def _binary_cross_entropy(writer: Writer, x: Any, target: Any) -> Any:
    """Write the formula without its check of the probabilities."""
    return -(target * np.maximum(np.log(x), -100) + (1 - target) * np.maximum(np.log1p(-x), -100))


# Products


def _linear(writer: Writer, x: Symbol, weight: Symbol, bias: Symbol | None = None) -> Any:
    """Write Gemm for a matrix, (N, in), and MatMul with the transposed weight for any other shape."""
    if x.ndim == 2:
        return writer.node("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
    example = np.empty((*x.shape[:-1], weight.shape[0]), x.dtype)
    product = writer.node("MatMul", x, writer.transpose(weight), example=example)
    return product if bias is None else product + bias


def _standardize(writer: Writer, x: Symbol, weight: Any = 1.0, bias: Any = 0.0, *, dim: Any, eps: float) -> Any:
    """Write LayerNormalization if the dimensions are the last ones and the weight has their shape; else the formula."""
    dims = sorted(d % x.ndim for d in ((dim,) if isinstance(dim, int) else dim))
    sizes = x.shape[dims[0] :]
    is_last = dims == [*range(dims[0], x.ndim)]
    if writer.opset < 17 or not is_last or not isinstance(weight, Symbol) or weight.shape != sizes:
        formula: Any = normalization.standardize.formula
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
    """Return the attributes of pooling, with `ceil_mode` as padding at the end: runtimes interpret it differently."""
    ends = [
        max(p, (o - 1) * s + d * (k - 1) + 1 - n - p)
        for n, o, k, s, p, d in zip(
            x.shape[2:], out, params.kernel_size, params.stride, params.padding, params.dilation, strict=True
        )
    ]
    return {"kernel_shape": params.kernel_size, "strides": params.stride, "pads": (*params.padding, *ends)}


def _max_pool(writer: Writer, x: Symbol, *, params: Any) -> Symbol:
    out = pooling.max_pool(x.example, params=params).shape[2:]
    return writer.node("MaxPool", x, dilations=params.dilation, **_window(x, params, out))


def _max_pool_indices(writer: Writer, x: Symbol, *, params: Any) -> Any:
    """Write MaxPool's indices, which count through the whole input, modulo the size of one image."""
    example = pooling.max_pool_indices(x.example, params=params)
    window = _window(x, params, example.shape[2:])
    _, indices = writer.nodes("MaxPool", x, examples=[None, example], dilations=params.dilation, **window)
    return writer.node("Mod", indices, np.asarray(math.prod(x.shape[2:]), np.int64))


def _avg_pool(writer: Writer, x: Symbol, *, params: Any, divisor_options: tuple[bool, int | None]) -> Any:
    """Write the mean over the whole window, padding included, times a constant for any other divisor."""
    include_pad, override = divisor_options
    out = pooling.avg_pool(x.example, params=params, divisor_options=divisor_options)
    window = _window(x, params, out.shape[2:])
    if not params.ceil_mode and override is None:
        return writer.node("AveragePool", x, count_include_pad=int(include_pad), **window)
    mean = writer.node("AveragePool", x, example=out, count_include_pad=1, **window)
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    area = math.prod(params.kernel_size)
    factor = pooling.avg_pool(ones, params=params, divisor_options=divisor_options) / pooling.avg_pool(
        ones, params=params, divisor_options=(True, area)
    )
    return mean * np.asarray(factor, x.dtype)


# Shapes


def _concatenate(writer: Writer, *inputs: Symbol, dim: int = 0) -> Symbol:
    dtype = np.result_type(*(x.dtype for x in inputs))  # booleans may be joined to numbers
    return writer.node("Concat", *(writer.cast(x, dtype) for x in inputs), axis=dim)


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
    **nodes_indexing.OPERATIONS,
    **nodes_recurrent.OPERATIONS,
    ops.relu: _relu, ops.leaky_relu: _leaky_relu, ops.elu: _elu, ops.softplus: _softplus, ops.gelu: _gelu,
    ops.sigmoid: lambda writer, x: writer.node("Sigmoid", x), ops.erf: lambda writer, x: writer.node("Erf", x),
    ops.softmax: _softmax("Softmax"), ops.log_softmax: _softmax("LogSoftmax"), ops.logsumexp: _logsumexp,
    reductions.argmax: _arg_extreme("ArgMax"), reductions.argmin: _arg_extreme("ArgMin"),
    ops.cumsum: _cumsum, reductions.prod: _prod,
    linalg.linear: _linear, normalization.standardize: _standardize,
    convolution.convolution: _convolution, convolution.convolution_input_gradient: _transposed_convolution,
    pooling.max_pool: _max_pool, pooling.max_pool_indices: _max_pool_indices, pooling.avg_pool: _avg_pool,
    shape.reshape: lambda writer, x, shape: writer.reshape(x, shape),
    shape.permute: lambda writer, x, dims=None: writer.transpose(x, dims),
    shape.broadcast_to: lambda writer, x, shape: writer.expand(x, shape),
    shape.concatenate: _concatenate,
    shape.contiguous_copy: lambda _, x: x,
    shape.cast: lambda writer, x, dtype: writer.cast(x, dtype),
    indexing.main_diagonal: _main_diagonal,
    attention.fused_attention: _fused_attention,
    losses.elementwise_binary_cross_entropy: _binary_cross_entropy,
}  # fmt: skip
"""The function that writes each operation, from the writer, the operation's inputs and its options."""
