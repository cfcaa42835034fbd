"""Padding, composed of indexing."""

import math
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.dtypes import convert_numbers
from chainrule.ops.indexing import add_at, getitem, index_put
from chainrule.ops.operation import Input, Ints, Tensor
from chainrule.ops.shape import along, clone, int_tuple

__all__ = ["pad"]


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
        crop_index = [slice(max(-b, 0), max(n + min(a, 0), 0)) for n, (b, a) in zip(input.shape, pairs, strict=True)]
        input, pairs = getitem(input, index=tuple(crop_index)), [(max(b, 0), max(a, 0)) for b, a in pairs]
    if mode == "constant":
        # where the input lies in the result
        input_index = tuple(slice(b, size - a) for size, (b, a) in zip(shape, pairs, strict=True))
        if not value:
            return add_at(input, index=input_index, shape=shape)
        return index_put(np.full(shape, convert_numbers(value, input.dtype)), input, index=input_index)
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
