"""Attention: for each query, a mean of values, weighted by how well their keys match the query.

`scaled_dot_product_attention` is composed of matrix products and a softmax. Without a mask, and for enough queries and
keys, it is a single operation, `fused_attention`, which does not keep a matrix of scores or weights in memory.
"""

import math
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.kernels import attention as kernels
from chainrule.kernels import numpy_fallback
from chainrule.ops.arithmetic import where
from chainrule.ops.comparisons import ne
from chainrule.ops.linalg import matmul
from chainrule.ops.losses import softmax
from chainrule.ops.operation import Array, Input, Tensor, is_tensor, operation
from chainrule.ops.reductions import any
from chainrule.ops.shape import broadcast_to, flatten, transpose, unsqueeze

__all__ = ["scaled_dot_product_attention"]

MIN_QUERIES = 8
"""The smallest number of queries for which attention is fused. With fewer queries, it would be slower in a compiled
function, because most of its time would be spent on packing keys and values."""

MIN_SCORES = 1024
"""The smallest number of scores of a head, queries × keys, for which attention is fused, for the same reason."""


@operation(extra="logsumexp", promote="floating_only")
def fused_attention(query: Array, key: Array, value: Array, *, is_causal: bool, scale: float) -> Any:
    """softmax(scale Q Kᵀ) V, in one pass over blocks of keys: (..., L, E), (..., S, E) and (..., S, F) to (..., L, F).

    `logsumexp` is ln Σ exp(score) for each query.
    """
    return kernels.attention(query, key, value, is_causal, scale)


@fused_attention.derivative
def _(
    grad: Array, query: Array, key: Array, value: Array, out: Array, logsumexp: Any, is_causal: bool, scale: float
) -> Any:
    """dV = Pᵀ G, dS = P ∘ (G Vᵀ - Σ G out), dQ = scale dS K, dK = scale dSᵀ Q, for P = softmax(scale Q Kᵀ)."""
    if is_tensor(grad):
        # with `create_graph`: `attention_gradients` consists of operations that have derivatives, unlike the kernel
        return numpy_fallback.attention_gradients(grad, query, key, value, out, logsumexp, is_causal, scale)
    return fused_attention_gradients(grad, query, key, value, out, logsumexp, is_causal=is_causal, scale=scale)


@operation
def fused_attention_gradients(
    grad: Array, query: Array, key: Array, value: Array, out: Array, logsumexp: Array, *, is_causal: bool, scale: float
) -> Any:
    """The tuple of the three gradients of fused attention, in one pass over blocks of keys.

    Called on arrays and tracers only: the result is a tuple.
    """
    return kernels.attention_gradients(grad, query, key, value, out, logsumexp, is_causal, scale)


def scaled_dot_product_attention(
    query: Input, key: Input, value: Input, attn_mask: Input | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(Q Kᵀ / √E) V: for each of L queries, the mean of S values, weighted by how well the keys match.

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, F).
        attn_mask: of a shape that broadcasts to (..., L, S): booleans, False for keys to ignore; or floats to add to
            the scores.
        dropout_p: must be 0: dropout of the attention weights needs a generator; `nn.MultiheadAttention` has it.
        is_causal: whether query i attends to keys 0 to i only.
        scale: the factor of the scores; 1/√E if None.
        enable_gqa: grouped-query attention: several query heads share a key and value head; dimension -3 is the heads.

    Returns:
        (..., L, F).

    Raises:
        ValueError: the shapes do not fit, there is a mask and `is_causal` is set, or `dropout_p` is not 0.
        TypeError: the mask is neither boolean nor floating.

    Source: Vaswani et al., Attention is all you need (2017), section 3.2.1.
    """
    name = "scaled_dot_product_attention"
    check(name, not dropout_p, "'dropout_p' is not supported; it must be 0")
    ndim = min(query.ndim, key.ndim, value.ndim)
    if ndim < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        shapes = f"{query.shape}, {key.shape} and {value.shape}"
        raise ValueError(f"{name}: takes query (..., L, E), key (..., S, E) and value (..., S, F), not {shapes}")
    check(name, attn_mask is None or not is_causal, "takes attn_mask or is_causal, not both")
    if enable_gqa:
        check(name, ndim > 2, "enable_gqa needs inputs with a head dimension, (..., heads, L, E)")
        key, value = (_repeat_heads(part, query.shape[-3]) for part in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if attn_mask is None and isinstance(scale, (int, float)) and _can_fuse(query, key, value):
        return fused_attention(query, key, value, is_causal=bool(is_causal), scale=float(scale))
    scores = matmul(query * scale, transpose(key, -2, -1))  # (..., L, S)
    if is_causal:
        scores = where(np.tri(query.shape[-2], key.shape[-2], dtype=bool), scores, -np.inf)
    if attn_mask is None:
        return matmul(softmax(scores, dim=-1), value)
    check(name, attn_mask.dtype.kind in "bf", f"attn_mask must be boolean or float, not {attn_mask.dtype}", TypeError)
    if attn_mask.dtype == bool:
        allowed = ne(attn_mask, False)  # a copy: the caller may change the mask before `backward()`
        scores = where(allowed, scores, -np.inf)
    else:
        scores, allowed = scores + attn_mask, ne(attn_mask, -np.inf)
    has_keys = any(allowed, dim=-1, keepdim=True)  # a query without keys gets 0, not NaN
    return matmul(where(has_keys, softmax(where(has_keys, scores, 0), dim=-1), 0), value)


def _can_fuse(query: Array, key: Array, value: Array) -> bool:
    """Whether fused attention supports these arrays, and is faster."""
    *heads, n_queries, width = query.shape
    return (
        (n_queries >= MIN_QUERIES and n_queries * key.shape[-2] >= MIN_SCORES)
        and query.dtype == key.dtype == value.dtype
        and query.dtype in (np.float32, np.float64)
        and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
        and math.prod(heads) * width * value.shape[-1] > 0
    )


def _repeat_heads(part: Array, n_heads: int) -> Tensor:
    """Repeat each head: (..., h, S, E) to (..., n_heads, S, E)."""
    n_key_heads = part.shape[-3]
    message = f"{n_heads} query heads cannot share {n_key_heads} key heads evenly"
    check("scaled_dot_product_attention", n_key_heads > 0 and not n_heads % n_key_heads, message)
    repeated = broadcast_to(unsqueeze(part, -3), shape=(*part.shape[:-2], n_heads // n_key_heads, *part.shape[-2:]))
    return flatten(repeated, -4, -3)
