"""Parts of later networks: normalisation, embedding, attention, borders, the Gaussian activations.

All but three are made of other operations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import special
from chainrule.ops.arithmetic import where
from chainrule.ops.elementwise import tanh
from chainrule.ops.indexing import getitem, put
from chainrule.ops.linalg import matmul
from chainrule.ops.losses import softmax
from chainrule.ops.operation import Array, operation
from chainrule.ops.reductions import mean
from chainrule.ops.shape import broadcast_to, reshape, transpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.tensor import Tensor

__all__ = [
    "batch_norm", "embedding", "erf", "gelu", "group_norm", "layer_norm", "pad", "rms_norm",
    "scaled_dot_product_attention", "standardize",
]  # fmt: skip


@operation(promote="floating")
def erf(input: Array) -> Array:
    """The error function, 2/√π ∫₀ˣ e^(-t²) dt. Source: Abramowitz and Stegun, 7.1.1."""
    return special.erf(input)


@erf.derivative
def _(grad: Array, input: Array) -> Array:
    """d erf(x)/dx = 2/√π e^(-x²)."""
    return grad * (2 / math.sqrt(math.pi) * np.exp(-input * input))


def gelu(input: Array, *, approximate: str = "none") -> Tensor:
    """x Φ(x), where Φ(x) is the chance that a standard normal number is below x.

    Args:
        input: any shape.
        approximate: "none" for Φ itself, by erf; "tanh" for the approximation by tanh.

    Raises:
        ValueError: another way.

    Source: Hendrycks and Gimpel, Gaussian error linear units (2016).
    """
    if approximate == "none":
        below = 0.5 * (1 + erf(input * math.sqrt(0.5)))
    elif approximate == "tanh":
        below = 0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)))
    else:
        raise ValueError(f'gelu: approximate must be "none" or "tanh", not {approximate!r}')
    out: Tensor = below * input
    return out


# Normalisation


@operation(promote="floating")
def standardize(input: Array, *, dim: Any, eps: float) -> Array:
    """(x - mean) / √(variance + eps) over `dim`: mean 0 and variance 1."""
    away = input - np.mean(input, axis=dim, keepdims=True)
    return away / np.sqrt(np.mean(away * away, axis=dim, keepdims=True) + eps)


@standardize.derivative
def _(grad: Array, out: Array, input: Array, dim: Any, eps: float) -> Array:
    """(G - mean(G) - y mean(G y)) / √(variance + eps), y being the result. Source: Ioffe and Szegedy (2015)."""
    away = input - np.mean(input, axis=dim, keepdims=True)
    spread = np.sqrt(np.mean(away * away, axis=dim, keepdims=True) + eps)
    centred = grad - np.mean(grad, axis=dim, keepdims=True)
    return (centred - out * np.mean(grad * out, axis=dim, keepdims=True)) / spread


def layer_norm(
    input: Array, normalized_shape: Sequence[int], weight: Array = None, bias: Array = None, eps: float = 1e-5
) -> Tensor:
    """Each example brought to mean 0 and variance 1 over its last dimensions, then scaled and shifted.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the dimensions to normalise over.
        weight: scale, of that shape, or None.
        bias: shift, of that shape, or None.
        eps: keeps the quotient finite.

    Raises:
        ValueError: shapes that do not fit.

    Source: Ba et al., Layer normalization (2016).
    """
    return _scaled(
        standardize(input, dim=_last("layer_norm", input, normalized_shape, weight, bias), eps=eps), weight, bias
    )


def rms_norm(input: Array, normalized_shape: Sequence[int], weight: Array = None, eps: float | None = None) -> Tensor:
    """Each example divided by the root of its mean square over its last dimensions, then scaled.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the dimensions to normalise over.
        weight: scale, of that shape, or None.
        eps: keeps the quotient finite; the type's own precision if None.

    Raises:
        ValueError: shapes that do not fit.

    Source: Zhang and Sennrich, Root mean square layer normalization (2019).
    """
    dim = _last("rms_norm", input, normalized_shape, weight, None)
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    return _scaled(input / np.sqrt(mean(input * input, dim=dim, keepdim=True) + eps), weight, None)


def group_norm(input: Array, num_groups: int, weight: Array = None, bias: Array = None, eps: float = 1e-5) -> Tensor:
    """Each example brought to mean 0 and variance 1 in each group of channels, then scaled and shifted by channel.

    Args:
        input: (N, C, ...).
        num_groups: divides C.
        weight: scale (C,), or None.
        bias: shift (C,), or None.
        eps: keeps the quotient finite.

    Raises:
        ValueError: shapes that do not fit.

    Source: Wu and He, Group normalization (2018).
    """
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: num_groups={num_groups} must divide the channels of (N, C, ...) {tuple(input.shape)}"
        )
    _by_channel("group_norm", input, weight, bias)
    grouped = reshape(input, shape=(input.shape[0], num_groups, input.shape[1] // num_groups, *input.shape[2:]))
    out = reshape(standardize(grouped, dim=tuple(range(2, grouped.ndim)), eps=eps), shape=tuple(input.shape))
    return _scaled(out, _channels(weight, input.ndim), _channels(bias, input.ndim))


def batch_norm(
    input: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array = None,
    bias: Array = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel brought to mean 0 and variance 1 over the batch, then scaled and shifted.

    Args:
        input: (N, C) or (N, C, ...).
        running_mean: (C,), changed in place while training; or None.
        running_var: (C,), the unbiased variance, likewise.
        weight: scale (C,), or None.
        bias: shift (C,), or None.
        training: normalise by the batch itself; otherwise by the running statistics.
        momentum: how much of the batch goes into the running statistics.
        eps: keeps the quotient finite.

    Raises:
        ValueError: shapes that do not fit, or a single value a channel while training.

    Source: Ioffe and Szegedy, Batch normalization (2015).
    """
    if tuple(input.shape) == (0,):  # no example, no channel
        return input  # type: ignore[no-any-return]
    if input.ndim < 2:
        raise ValueError(f"batch_norm: takes (N, C, ...), not {tuple(input.shape)}")
    _by_channel("batch_norm", input, weight, bias, running_mean, running_var)
    dim = (0, *range(2, input.ndim))
    if not training and (running_mean is None or running_var is None):
        raise ValueError("batch_norm: needs running_mean and running_var when not training")
    if training:
        count = math.prod(input.shape[d] for d in dim)
        if count <= 1:
            raise ValueError(
                f"batch_norm: needs more than one value a channel while training, got {tuple(input.shape)}"
            )
        if running_mean is not None and running_var is not None:
            values = np.asarray(input)
            _blend(running_mean, values.mean(axis=dim), momentum)
            _blend(running_var, values.var(axis=dim) * (count / (count - 1)), momentum)
        out = standardize(input, dim=dim, eps=eps)
    else:
        centre, spread = np.asarray(running_mean), np.sqrt(np.asarray(running_var) + eps)
        out = (input - _channels(centre, input.ndim)) / _channels(spread, input.ndim)
    return _scaled(out, _channels(weight, input.ndim), _channels(bias, input.ndim))


def _blend(running: Any, batch: Any, momentum: float) -> None:
    running[...] = np.asarray(running) * (1 - momentum) + momentum * batch


def _last(name: str, input: Array, shape: Any, weight: Array, bias: Array) -> tuple[int, ...]:
    """The last dimensions, checked."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if not sizes or tuple(input.shape[-len(sizes) :]) != sizes:
        raise ValueError(f"{name}: input {tuple(input.shape)} must end with normalized_shape {sizes}")
    for what, part in (("weight", weight), ("bias", bias)):
        if part is not None and tuple(part.shape) != sizes:
            raise ValueError(f"{name}: {what} {tuple(part.shape)} must have normalized_shape {sizes}")
    return tuple(range(-len(sizes), 0))


def _by_channel(name: str, input: Array, *parts: Array) -> None:
    for part in parts:
        if part is not None and tuple(part.shape) != (input.shape[1],):
            raise ValueError(
                f"{name}: weight, bias and statistics must be ({input.shape[1]},), one has {tuple(part.shape)}"
            )


def _channels(part: Array, ndim: int) -> Any:
    return None if part is None else reshape(part, shape=(1, -1, *(1,) * (ndim - 2)))


def _scaled(out: Tensor, weight: Any, bias: Any) -> Tensor:
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


# Embedding, attention, borders


def embedding(input: Array, weight: Array, padding_idx: int | None = None) -> Tensor:
    """The weight's rows by their indices: (...) integers and (V, D) to (..., D).

    Args:
        input: indices from 0 to V - 1.
        weight: a row for each of V things.
        padding_idx: a row that gets no gradient; negative counts from the end.

    Raises:
        IndexError: an index is out of range.
        TypeError: the indices are not integers.
        ValueError: the weight is no matrix, or `padding_idx` is out of range.
    """
    places = np.array(input)
    if places.dtype.kind not in "iu":
        raise TypeError(f"embedding: indices must be integers, not {places.dtype}")
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight must be (V, D), not {tuple(weight.shape)}")
    rows = weight.shape[0]
    if places.size and not (places.min() >= 0 and places.max() < rows):
        raise IndexError(f"embedding: indices are {places.min()} to {places.max()}, they must be 0 to {rows - 1}")
    out = getitem(weight, index=places)
    if padding_idx is None:
        return out
    if not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx {padding_idx} is out of range for {rows} rows")
    return where((places == padding_idx % rows)[..., None], np.asarray(out), out)


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(Q Kᵀ / √E) V: each of L queries takes a mean of S values, weighed by how well their keys answer it.

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, F).
        attn_mask: broadcasts to (..., L, S): booleans, False for keys that do not count; or floats added to the scores.
        dropout_p: must be 0: drop the weights out in your own module, which has a generator.
        is_causal: query i sees keys 0 to i only.
        scale: instead of 1/√E.
        enable_gqa: several query heads share a key and value head (dimension -3).

    Returns:
        (..., L, F).

    Raises:
        ValueError: shapes that do not fit, or a mask together with `is_causal`.

    Source: Vaswani et al., Attention is all you need (2017), section 3.2.1.
    """
    name = "scaled_dot_product_attention"
    if dropout_p:
        raise ValueError(f"{name}: 'dropout_p' is not supported, it must be 0")
    if (
        min(query.ndim, key.ndim, value.ndim) < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        shapes = f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        raise ValueError(f"{name}: takes query (..., L, E), key (..., S, E) and value (..., S, F), not {shapes}")
    if attn_mask is not None and is_causal:
        raise ValueError(f"{name}: takes attn_mask or is_causal, not both")
    if enable_gqa:
        key, value = (_repeat_heads(part, query.shape[-3]) for part in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = matmul(query * scale, transpose(key, -2, -1))  # (..., L, S)
    if is_causal:
        attn_mask = np.tri(query.shape[-2], key.shape[-2], dtype=bool)
    if attn_mask is None:
        return matmul(softmax(scores, dim=-1), value)
    seen = np.array(attn_mask)  # a copy: the caller may change his before `backward()`
    if seen.dtype == bool:
        scores = where(seen, scores, -np.inf)
    else:
        scores, seen = scores + attn_mask, seen > -np.inf
    awake = seen.any(axis=-1, keepdims=True)
    if awake.all():
        return matmul(softmax(scores, dim=-1), value)
    return matmul(where(awake, softmax(where(awake, scores, 0), dim=-1), 0), value)  # who sees nothing gets nothing


def _repeat_heads(part: Array, heads: int) -> Tensor:
    """(..., h, S, E) with each head repeated, to (..., heads, S, E)."""
    own = part.shape[-3]
    if heads % own:
        raise ValueError(f"scaled_dot_product_attention: {heads} query heads cannot share {own} key heads evenly")
    *rest, length, width = part.shape
    spread = reshape(part, shape=(*rest, 1, length, width))
    wide = broadcast_to(spread, shape=(*rest, heads // own, length, width))
    return reshape(wide, shape=(*rest[:-1], heads, length, width))


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """A border around the last dimensions, or, where a number is negative, one cut away.

    Args:
        input: any shape.
        pad: (before, after) of the last dimension, then of the one before it, and so on.
        mode: "constant", "reflect", "replicate" or "circular".
        value: what a constant border is filled with; 0 if None.

    Raises:
        ValueError: an odd count, more pairs than dimensions, an unknown mode, or a border larger than there is to
            reflect or go round.
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(
            f"pad: needs a pair of numbers for each of the last dimensions, got {tuple(pad)} for {input.ndim}"
        )
    pairs = [(0, 0)] * (input.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    sizes = [n + before + after for n, (before, after) in zip(input.shape, pairs, strict=True)]
    if any(size < 0 for size in sizes):
        raise ValueError(f"pad: {tuple(pad)} cuts more than there is of {tuple(input.shape)}")
    if mode == "constant":
        inside = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(input.shape, pairs, strict=True))
        laid = tuple(slice(max(b, 0), s - max(a, 0)) for s, (b, a) in zip(sizes, pairs, strict=True))
        out = put(getitem(input, index=inside), index=laid, shape=tuple(sizes))
        if not value:
            return out
        border = np.ones(sizes, bool)
        border[laid] = False
        return where(border, value, out)
    if value is not None:
        raise ValueError(f"pad: a value is for mode 'constant' only, not {mode!r}")
    for dim, (n, (before, after)) in enumerate(zip(input.shape, pairs, strict=True)):
        if mode == "circular":  # what is cut away does not go round
            input = getitem(input, index=(*[slice(None)] * dim, slice(max(-before, 0), n - max(-after, 0))))
            before, after, n = max(before, 0), max(after, 0), input.shape[dim]
        if before or after:
            places = _border(mode, n, np.arange(-before, n + after))
            input = getitem(input, index=(*[slice(None)] * dim, places))
    return input  # type: ignore[no-any-return]


def _border(mode: str, n: int, places: Any) -> Any:
    """Which element stands at each place, some of which lie outside 0 to n - 1."""
    if mode == "replicate":
        return np.clip(places, 0, n - 1)
    if mode == "circular":
        if -places[0] > n or places[-1] >= 2 * n:
            raise ValueError(f"pad: a circular border cannot be larger than the input's size {n}")
        return places % n
    if mode == "reflect":
        if -places[0] >= n or places[-1] > 2 * n - 2:
            raise ValueError(f"pad: a reflected border must be smaller than the input's size {n}")
        mirrored = np.absolute(places)
        return np.where(mirrored >= n, 2 * n - 2 - mirrored, mirrored)
    raise ValueError(f'pad: mode must be "constant", "reflect", "replicate" or "circular", not {mode!r}')
