"""Attention and rotary positions.

Source: Vaswani et al., Attention is all you need (2017); Su et al., RoFormer (2021).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import Call, Operator, detached, dtype_of
from chainrule.ops.shape import as_dtype

# What the fourth output of Attention is, by the attribute qk_matmul_output_mode
MATRIX_PRODUCT = 0
SOFT_CAPPED = 1
MASKED = 2
WEIGHTS = 3


def _attention(
    call: Call, query: Any, key: Any, value: Any, mask: Any = None, past_key: Any = None, past_value: Any = None,
    lengths: Any = None,
) -> Any:  # fmt: skip
    """Compute softmax(scale Q Kᵀ + mask) V, with a cache of past keys and values, which several heads may share."""
    heads, shared_heads = call.get("q_num_heads"), call.get("kv_num_heads")
    is_causal, cap, mode = call.get("is_causal", 0), call.get("softcap", 0.0), call.get("qk_matmul_output_mode", 0)
    windows = call.get("left_window_size", -1), call.get("right_window_size", -1)
    precision = call.get("softmax_precision")
    is_flat = query.ndim == 3
    if is_flat:
        query, key, value = (
            _split_heads(x, n) for x, n in ((query, heads), (key, shared_heads), (value, shared_heads))
        )
    scale = call.get("scale", 1 / math.sqrt(query.shape[-1]))
    if past_key is not None:
        key, value = ops.cat([past_key, key], 2), ops.cat([past_value, value], 2)
    present = key, value
    if lengths is not None and len(call.outputs) > 1 and any(call.outputs[1:3]):
        call.refuse("a cache with lengths has no present keys and values")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (_repeat_heads(x, groups) for x in (key, value))
    root = math.sqrt(scale)  # multiplies both factors: their unscaled product could overflow
    scores = ops.matmul(ops.mul(query, root), ops.transpose(ops.mul(key, root), -1, -2))
    product = scores
    if cap:
        scores = ops.mul(ops.tanh(ops.true_divide(scores, cap)), cap)
    capped = scores
    dtype, shape = query.dtype, scores.shape[-2:]
    first = past_key.shape[2] if past_key is not None else None if lengths is None else detached(lengths) - shape[0]
    bias, allowed = _bias(call, mask, shape, dtype)
    allowed = _visible(allowed, shape, first, is_causal, windows)
    if lengths is not None:
        inside = np.arange(shape[1]) < detached(lengths).reshape(-1, 1, 1, 1)
        allowed = inside if allowed is None else allowed & inside
    masked = scores if bias is None else ops.add(scores, bias)
    if allowed is not None:
        masked = ops.where(allowed, masked, -np.inf)
    softmax_dtype = dtype if precision is None else dtype_of(precision, call.label)
    weights = _softmax(as_dtype(masked, softmax_dtype), allowed, bias)
    weights = as_dtype(weights, dtype)
    out = ops.matmul(weights, value)
    if is_flat:
        out = ops.transpose(out, 1, 2)
        out = ops.reshape(out, (*out.shape[:2], -1))
    scores_output = {MATRIX_PRODUCT: product, SOFT_CAPPED: capped, MASKED: masked, WEIGHTS: weights}
    if mode not in scores_output:
        call.refuse(f"qk_matmul_output_mode={mode} is not supported")
    return (out, *present, as_dtype(scores_output[mode], dtype)) if len(call.outputs) > 1 else out


def _split_heads(x: Any, heads: int) -> Any:
    """Reshape (N, L, heads E) to (N, heads, L, E)."""
    return ops.transpose(ops.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads)), 1, 2)


def _repeat_heads(x: Any, groups: int) -> Any:
    """Repeat each head: (N, h, S, E) to (N, h groups, S, E)."""
    n, heads, length, width = x.shape
    repeated = ops.broadcast_to(ops.unsqueeze(x, 2), (n, heads, groups, length, width))
    return ops.reshape(repeated, (n, heads * groups, length, width))


def _bias(call: Call, mask: Any, shape: Any, dtype: Any) -> tuple[Any, Any]:
    """Return the terms to add to the scores, and which keys are allowed; a shorter mask allows no keys beyond it."""
    if mask is None:
        return None, None
    missing = shape[1] - mask.shape[-1]
    if mask.dtype == bool:
        allowed = detached(mask)
        return None, np.pad(allowed, [(0, 0)] * (mask.ndim - 1) + [(0, missing)]) if missing else allowed
    bias = ops.pad(mask, (0, missing), value=-np.inf) if missing else mask
    return as_dtype(bias, dtype), None


def _visible(allowed: Any, shape: Any, first: Any, is_causal: int, windows: tuple[int, int]) -> Any:
    """Return which keys each query sees. `first` is the position of the first query, for all or for each example."""
    left, right = windows
    if not is_causal and left < 0 and right < 0:
        return allowed
    offset = np.asarray(0 if first is None else first).reshape(-1, 1, 1, 1)
    distance = np.arange(shape[0])[:, None] + offset - np.arange(shape[1])  # position of the query - that of the key
    visible = np.ones(distance.shape, bool) if allowed is None else np.asarray(allowed)
    if is_causal:
        visible = visible & (distance >= 0)
    if left >= 0:
        visible = visible & (distance <= left)
    return visible & (-distance <= right) if right >= 0 else visible


def _softmax(scores: Any, allowed: Any, bias: Any) -> Any:
    """Compute softmax, with zeros instead of NaN for a query without keys."""
    has_keys: Any = True if allowed is None else allowed
    if bias is not None:
        has_keys = has_keys & (detached(bias) != -np.inf)
    if has_keys is True:
        return ops.softmax(scores, -1)
    has_keys = np.broadcast_to(has_keys, scores.shape).any(-1, keepdims=True)
    return ops.where(has_keys, ops.softmax(ops.where(has_keys, scores, 0.0), -1), 0.0)


def _rotary_embedding(call: Call, x: Any, cosines: Any, sines: Any, positions: Any = None) -> Any:
    """Rotate pairs of features by an angle that grows with the position."""
    heads, width, interleaved = call.get("num_heads"), call.get("rotary_embedding_dim", 0), call.get("interleaved", 0)
    shape = x.shape
    # (N, T, h, E)
    x = ops.transpose(x, 1, 2) if x.ndim == 4 else ops.reshape(x, (*shape[:2], heads, shape[2] // heads))
    width = width or x.shape[3]
    rotated, rest = x[..., :width], x[..., width:]
    if positions is not None:
        index = detached(positions).astype(np.int64)
        cosines, sines = cosines[index], sines[index]  # (N, T, width / 2)
    cosines, sines = ops.unsqueeze(cosines, 2), ops.unsqueeze(sines, 2)
    half = width // 2
    pairs = (rotated[..., 0::2], rotated[..., 1::2]) if interleaved else (rotated[..., :half], rotated[..., half:])
    first = ops.sub(ops.mul(cosines, pairs[0]), ops.mul(sines, pairs[1]))
    second = ops.add(ops.mul(sines, pairs[0]), ops.mul(cosines, pairs[1]))
    out = ops.reshape(ops.stack([first, second], -1), rotated.shape) if interleaved else ops.cat([first, second], -1)
    out = ops.cat([out, rest], -1) if rest.shape[-1] else out
    return ops.transpose(out, 1, 2) if len(shape) == 4 else ops.reshape(out, shape)


OPERATORS: dict[str, Operator] = {"Attention": _attention, "RotaryEmbedding": _rotary_embedding}
