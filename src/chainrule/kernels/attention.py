"""Scaled dot-product attention and its gradients, without the (L, S) matrix of weights in memory.

For each head, with queries Q (L, E), keys K (S, E), values V (S, F), and the upstream gradient G (L, F):

    P = softmax(scale Q Kᵀ)          row by row; if attention is causal, query i sees only keys 0 … i
    out = P V
    dV = Pᵀ G,   dS = P ∘ (G Vᵀ - D),   dQ = scale dS K,   dK = scale dSᵀ Q

where D = Σ_f (G ∘ out), one number for each row. `attention_loops` explains the algorithm and what limits its speed.

The arrays of a call are all float32 or all float64. Their last two dimensions are those above; each index of the
leading dimensions is a head. Rows and heads may have gaps between them. The result has the memory order of the queries,
each gradient that of its input. The caller (`ops.attention`) has checked that shapes fit and that no array is empty.

Source: Dao, FlashAttention-2 (2023), section 3.1.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.kernels import numpy_fallback
from chainrule.kernels.attention_blocks import KEYS, QUERIES
from chainrule.kernels.attention_loops import FORWARD, GRADIENT
from chainrule.kernels.job import MULTIPLY_ADDS_PER_ITERATION, Job
from chainrule.kernels.machine import with_numpy_fallback
from chainrule.kernels.processor import SPARE_ROWS, whole_vectors
from chainrule.kernels.tree import type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]


class ArrayLayout(NamedTuple):
    """The shape of an array, and its strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


@with_numpy_fallback(numpy_fallback.attention)
def attention(query: Array, key: Array, value: Array, is_causal: bool, scale: float) -> tuple[Array, Array]:
    """Attention, and what its gradient needs.

    Args:
        query: (..., L, E).
        key: (..., S, E), with the same leading dimensions.
        value: (..., S, F), with the same leading dimensions.
        is_causal: whether query i sees only keys 0 to i.
        scale: the factor of the scores.

    Returns:
        The result (..., L, F); and (..., L), for each query ln Σ exp(score) over the keys that it sees.
    """
    query, key, value = map(with_contiguous_rows, (query, key, value))
    out, logsumexp = _like(query, value.shape[-1]), np.empty(query.shape[:-1], query.dtype)
    job = forward_job(layouts_of(query, key, value, out), is_causal, scale, query.dtype)
    job.run(query, key, value, out, logsumexp)
    return out, logsumexp


@with_numpy_fallback(numpy_fallback.attention_gradients)
def attention_gradients(
    grad: Array, query: Array, key: Array, value: Array, out: Array, logsumexp: Array, is_causal: bool, scale: float
) -> tuple[Array, Array, Array]:
    """The gradients with respect to query, key and value.

    Args:
        grad: the gradient of the result, (..., L, F).
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, F).
        out: the result, (..., L, F).
        logsumexp: the second result of `attention`.
        is_causal: whether query i sees only keys 0 to i.
        scale: the factor of the scores.
    """
    grad, query, key, value, out = map(with_contiguous_rows, (grad, query, key, value, out))
    results = _like(query, query.shape[-1]), _like(key, key.shape[-1]), _like(value, value.shape[-1])
    job = gradient_job(layouts_of(grad, query, key, value, out, *results), is_causal, scale, query.dtype)
    job.run(grad, query, key, value, out, np.ascontiguousarray(logsumexp), *results)
    return results


@functools.lru_cache(maxsize=256)
def forward_job(layouts: tuple[ArrayLayout, ...], is_causal: bool, scale: float, dtype: np.dtype[Any]) -> Job:
    """The job of attention, with a row for each block of queries of each head.

    Its arrays are (query, key, value, out, logsumexp); `layouts` has the layout of each, except of logsumexp.
    """
    query, _, value, _ = layouts
    fields, multiply_adds = _shape_fields(query.shape, value.shape, is_causal, scale, dtype)
    keys = fields["keys"]
    blocks = -(-fields["queries"] // QUERIES)
    width, value_width = fields["packed_width"], fields["packed_value_width"]
    buffers = _lay_out(
        dtype,
        packed_query=(QUERIES + SPARE_ROWS) * width,
        keys_transposed=-(-keys // KEYS) * KEYS * fields["width"],
        packed_value=(keys + SPARE_ROWS) * value_width,
        scores=(QUERIES + SPARE_ROWS) * KEYS,
        sums=(QUERIES + SPARE_ROWS) * value_width,
    )
    fields |= _array_fields(("query", "key", "value", "out"), layouts)
    row_count = math.prod(query.shape[:-2]) * blocks
    iterations = multiply_adds // MULTIPLY_ADDS_PER_ITERATION
    return FORWARD.job([type_of(dtype)], row_count=row_count, iterations=iterations, blocks=blocks, **fields, **buffers)


@functools.lru_cache(maxsize=256)
def gradient_job(layouts: tuple[ArrayLayout, ...], is_causal: bool, scale: float, dtype: np.dtype[Any]) -> Job:
    """The job of the gradients of attention, with a row for each head.

    Its arrays are (grad, query, key, value, out, logsumexp, query_grad, key_grad, value_grad); `layouts` has the layout
    of each, except of logsumexp.
    """
    _, query, _, value, *_ = layouts
    fields, multiply_adds = _shape_fields(query.shape, value.shape, is_causal, scale, dtype)
    width, value_width = fields["packed_width"], fields["packed_value_width"]
    rows = fields["queries"] + SPARE_ROWS
    buffers = _lay_out(
        dtype,
        packed_query=rows * width,
        packed_grad=rows * value_width,
        query_sums=rows * width,
        dots=rows,
        keys_transposed=KEYS * fields["width"],
        values_transposed=KEYS * fields["value_width"],
        packed_key=(KEYS + SPARE_ROWS) * width,
        scores=(QUERIES + SPARE_ROWS) * KEYS,
        score_grads=(QUERIES + SPARE_ROWS) * KEYS,
        key_sums=(KEYS + SPARE_ROWS) * width,
        value_sums=(KEYS + SPARE_ROWS) * value_width,
    )
    names = ("grad", "query", "key", "value", "out", "query_grad", "key_grad", "value_grad")
    fields |= _array_fields(names, layouts)
    # `multiply_adds` counts the two products of the forward pass; the gradient has five
    iterations = multiply_adds * 5 // (2 * MULTIPLY_ADDS_PER_ITERATION)
    head_count = math.prod(query.shape[:-2])
    return GRADIENT.job([type_of(dtype)], row_count=head_count, iterations=iterations, **fields, **buffers)


def _shape_fields(
    query_shape: Sequence[int], value_shape: Sequence[int], is_causal: bool, scale: float, dtype: np.dtype[Any]
) -> tuple[dict[str, Any], int]:
    """The descriptor's fields for the shape, and the number of multiply-adds of the forward pass."""
    *leading, queries, width = query_shape
    keys, value_width = value_shape[-2:]
    packed_width, packed_value_width = whole_vectors(width, dtype), whole_vectors(value_width, dtype)
    table_length = max(QUERIES, KEYS, width, value_width) + SPARE_ROWS
    steps = {"by_one": 1, "by_width": packed_width, "by_value_width": packed_value_width, "by_key": KEYS}
    pairs = queries * keys  # of a query and a key that it sees
    if is_causal:  # query i sees i + 1 keys, or all keys if there are fewer
        shorter = min(queries, keys)
        pairs = shorter * (shorter + 1) // 2 + (queries - shorter) * keys
    fields = {
        "queries": queries, "keys": keys, "width": width, "value_width": value_width, "packed_width": packed_width,
        "packed_value_width": packed_value_width, "causal": is_causal, "scale": int(np.float64(scale).view(np.int64)),
        **{name: np.arange(table_length) * step for name, step in steps.items()},
    }  # fmt: skip
    return fields, math.prod(leading) * pairs * (width + value_width)


def _array_fields(names: Sequence[str], layouts: Sequence[ArrayLayout]) -> dict[str, Any]:
    """The descriptor's fields for arrays: for each array the distance between rows, and the offset of each head."""
    fields: dict[str, Any] = {}
    for name, (shape, strides) in zip(names, layouts, strict=True):
        offsets = np.zeros(1, np.int64)
        for size, stride in zip(shape[:-2], strides[:-2], strict=True):
            offsets = (offsets[:, None] + np.arange(size) * stride).ravel()
        fields |= {f"{name}_row": strides[-2], f"{name}_heads": offsets}
    return fields


def _lay_out(dtype: np.dtype[Any], **sizes: int) -> dict[str, int]:
    """Where each buffer begins in the scratch array, and as `scratch_elements` the size of the array, in elements.

    Each buffer begins at a multiple of a vector.
    """
    arguments = {"scratch_elements": 0}
    for name, count in sizes.items():
        arguments[name] = arguments["scratch_elements"]
        arguments["scratch_elements"] += whole_vectors(count, dtype)
    return arguments


def has_contiguous_rows(array: Array) -> bool:
    """Whether the kernels can read an array in place."""
    strides = array.strides
    is_aligned = array.dtype.isnative and array.flags.aligned and not any(s % array.itemsize for s in strides)
    return is_aligned and (strides[-1] == array.itemsize or array.shape[-1] == 1)


def with_contiguous_rows(array: Array) -> Array:
    """The array, copied if the kernels cannot read it in place."""
    return array if has_contiguous_rows(array) else np.array(array, array.dtype.newbyteorder("="), order="C")


def _like(array: Array, width: int) -> Array:
    """An uninitialized array with the memory order of `array`, whose rows have `width` contiguous elements."""
    out = np.empty_like(array, shape=(*array.shape[:-1], width))
    return out if out.strides[-1] == out.itemsize else np.empty(out.shape, out.dtype)


def layouts_of(*arrays: Array) -> tuple[ArrayLayout, ...]:
    """The layout of each array."""
    return tuple(ArrayLayout(x.shape, tuple(s // x.itemsize for s in x.strides)) for x in arrays)


def flops(job: Job) -> int:
    """The number of additions and multiplications of a job: two for each multiply-add."""
    return 2 * MULTIPLY_ADDS_PER_ITERATION * job.iterations
