"""The error function, GELU, embedding and padding.

`erf` and `gelu` are primitive; `embedding` and `pad` are composed of other operations.
"""

import math
from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.kernels import special
from chainrule.ops.arithmetic import where
from chainrule.ops.elementwise import tanh
from chainrule.ops.indexing import add_at, check_indices, embedding_lookup, getitem, index_put
from chainrule.ops.operation import Array, Input, Ints, Tensor, operation, stop_gradient
from chainrule.ops.shape import along, clone, int_tuple, unsqueeze

__all__ = ["embedding", "erf", "gelu", "pad"]


@operation(promote="floating")
def erf(input: Input) -> Array:
    """The error function, 2/√π ∫₀ˣ e^(-t²) dt. Source: Abramowitz and Stegun, 7.1.1."""
    return special.erf(input)  # type: ignore[arg-type]  # a formula gets arrays


@erf.derivative
def _(grad: Array, input: Array) -> Array:
    """d erf(x)/dx = 2/√π e^(-x²)."""
    return grad * (2 / math.sqrt(math.pi) * np.exp(-input * input))


@operation
def gelu(input: Input, *, approximate: str = "none") -> Array:
    """x Φ(x), where Φ is the cumulative distribution function of the standard normal distribution.

    Args:
        input: any shape.
        approximate: "none" to compute Φ with erf; "tanh" to approximate it with tanh.

    Raises:
        ValueError: `approximate` is unknown.

    Source: Hendrycks and Gimpel, Gaussian error linear units (2016).
    """
    check_floats("gelu", input)
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", not {approximate!r}')
    return input * _normal_cdf(input, approximate)


@gelu.derivative
def _(grad: Array, input: Array, approximate: str) -> Array:
    """d(x Φ(x))/dx = Φ(x) + x φ(x), where φ is the derivative of Φ: e^(-x²/2) / √2π, or that of the approximation."""
    cdf = _normal_cdf(input, approximate)
    if approximate == "none":
        density = np.exp(-0.5 * input * input) / math.sqrt(2 * math.pi)
    else:
        density = 2 * cdf * (1 - cdf) * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * input * input))
    return grad * (cdf + input * density)


def _normal_cdf(x: Array, approximate: str) -> Any:
    """Φ(x), or its approximation with tanh."""
    if approximate == "none":
        return 0.5 * (1 + erf(x * math.sqrt(0.5)))
    return 0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def embedding(input: Input, weight: Input, padding_idx: int | None = None) -> Tensor:
    """Look up rows of the weight: indices (...) and a weight (V, D) give (..., D).

    Args:
        input: indices from 0 to V - 1.
        weight: the rows, (V, D).
        padding_idx: the index of a row that gets no gradient; a negative index counts from the end.

    Raises:
        IndexError: an index is out of range.
        TypeError: the indices are not integers.
        ValueError: the weight is not a matrix, or `padding_idx` is out of range.
    """
    check("embedding", weight.ndim == 2, f"the weight must be (V, D), not {weight.shape}")
    size = weight.shape[0]
    index = check_indices(input, size=size, name="embedding")
    out = embedding_lookup(weight, index)
    if padding_idx is None:
        return out
    check("embedding", -size <= padding_idx < size, f"padding_idx {padding_idx} is out of range for {size} rows")
    return where(unsqueeze(index == padding_idx % size, -1), stop_gradient(out), out)


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""Maps the modes of `pad` to those of `np.pad`."""


def pad(input: Input, pad: Ints, mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad the last dimensions; a negative number crops.

    Args:
        input: any shape.
        pad: (before, after) for the last dimension, then for the second to last, and so on.
        mode: "constant", "reflect", "replicate" or "circular".
        value: the value of constant padding; 0 if None.

    Raises:
        ValueError: `pad` is not a pair for each of the last dimensions or crops too much, the mode is unknown or does
            not take a value, or the input has too few elements to reflect or wrap around.
    """
    widths = int_tuple(pad, "pad")
    if len(widths) % 2 or len(widths) > 2 * input.ndim:
        raise ValueError(f"pad: needs a pair of numbers for each of the last dimensions of {input.shape}, not {widths}")
    if mode not in PAD_MODES or (mode != "constant" and value is not None):
        modes = ", ".join(PAD_MODES)
        raise ValueError(f"pad: mode must be one of {modes}, and only constant takes a value; got {mode!r}")
    pairs = [(0, 0)] * (input.ndim - len(widths) // 2) + list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    shape = [n + before + after for n, (before, after) in zip(input.shape, pairs, strict=True)]
    check("pad", min(shape, default=0) >= 0, f"{widths} crops more than the input {input.shape} has")
    if mode in ("constant", "circular"):  # crop first, so that cropped elements do not wrap around
        inner = [slice(max(-b, 0), max(n + min(a, 0), 0)) for n, (b, a) in zip(input.shape, pairs, strict=True)]
        input, pairs = getitem(input, index=tuple(inner)), [(max(b, 0), max(a, 0)) for b, a in pairs]
    if mode == "constant":
        inside = tuple(slice(b, size - a) for size, (b, a) in zip(shape, pairs, strict=True))
        if not value:
            return add_at(input, index=inside, shape=shape)
        return index_put(np.full(shape, value, input.dtype), input, index=inside)
    if pairs == [(0, 0)] * input.ndim:
        return clone(input)
    for dim, (before, after) in enumerate(pairs):
        if before or after:
            input = getitem(input, index=along(dim, _padded_indices(mode, input.shape[dim], before, after)))
    return input  # type: ignore[return-value]  # a Tensor, if the caller passed one


def _padded_indices(mode: str, n: int, before: int, after: int) -> Any:
    """For each position of a padded dimension, the index of the element of the input that it repeats."""
    limit = {"reflect": n - 1, "circular": n}.get(mode, math.inf)
    if max(before, after) > limit:
        raise ValueError(f"pad: {mode} padding of an input of size {n} must be at most {limit}, not {before, after}")
    repeated = np.pad(np.arange(n), (max(before, 0), max(after, 0)), PAD_MODES[mode])  # type: ignore[call-overload]
    return repeated[max(-before, 0) : len(repeated) + min(after, 0)]
