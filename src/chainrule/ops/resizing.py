"""Resizing signals, images and volumes: an output element is the nearest input element, or interpolates neighbors."""

from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.ops.indexing import getitem
from chainrule.ops.operation import Array, Input, Ints, Tensor, check_tensors
from chainrule.ops.scattering import repeat_interleave
from chainrule.ops.shape import along, clone, int_tuple

__all__ = ["interpolate"]

_MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}
"""Maps each mode to the numbers of spatial dimensions that it supports."""


def interpolate(
    input: Input, size: Ints | None = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
) -> Tensor:  # fmt: skip
    """Resize signals (N, C, L), images (N, C, H, W) or volumes (N, C, D, H, W).

    Args:
        input: floats.
        size: the new sizes, L, (H, W) or (D, H, W); or one number for all.
        scale_factor: in place of `size`: a factor for all sizes, or a factor for each; new sizes are rounded down.
        mode: "nearest", the element at the start of each output element; "nearest-exact", the one at its center, as in
            image libraries; "linear" for signals; "bilinear" for images; "trilinear" for volumes.
        align_corners: for the linear modes, whether the centers of the first and the last elements of input and output
            coincide; otherwise, the outer edges of these elements coincide.
        recompute_scale_factor: compute positions from the sizes, not from `scale_factor`.

    Raises:
        ValueError: the mode is unknown or does not fit the input, a size is less than 1, not exactly one of `size` and
            `scale_factor` is given, or another argument does not apply.
        TypeError: the input is not floating.
    """
    name = "interpolate"
    check_tensors(name, input)
    check_floats(name, input)
    ndim = input.ndim - 2
    check(name, mode in _MODES, f"'mode' must be one of {', '.join(_MODES)}, not {mode!r}")
    if ndim not in _MODES[mode] or 0 in input.shape[1:]:
        form = " or ".join({1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}[n] for n in _MODES[mode])
        raise ValueError(f"{name}: mode {mode!r} takes {form}, where only N may be 0, not {input.shape}")
    is_linear = "linear" in mode
    check(name, align_corners is None or is_linear, f"align_corners is for the linear modes, not for {mode!r}")
    check(name, (size is None) != (scale_factor is None), "needs either size or scale_factor")
    check(name, size is None or not recompute_scale_factor, "recompute_scale_factor needs scale_factor")
    sizes, factors = input.shape[2:], [None] * ndim
    if size is not None:
        new_sizes = int_tuple(size, name)
        new_sizes = new_sizes * ndim if isinstance(size, int) else new_sizes
    else:
        factors = list(scale_factor) if isinstance(scale_factor, (list, tuple)) else [scale_factor] * ndim
        for factor in factors:
            is_positive = isinstance(factor, (int, float)) and 0 < factor < np.inf
            check(name, is_positive, f"scale_factor must be a positive number, not {factor!r}")
        new_sizes = tuple(int(np.floor(n * factor)) for n, factor in zip(sizes, factors, strict=False))
        factors = [None] * ndim if recompute_scale_factor else factors
    fits = len(new_sizes) == len(factors) == ndim and min(new_sizes) > 0
    check(name, fits, f"needs {ndim} sizes of at least 1 for input {input.shape}, not {new_sizes}")
    out: Array = input
    for dim, (old_size, new_size, factor) in enumerate(zip(sizes, new_sizes, factors, strict=True), 2):
        if is_linear:
            neighbors = _linear_neighbors(old_size, new_size, factor, bool(align_corners), input.dtype)
            out = _interpolate(out, dim, *neighbors)
        else:
            out = _take_nearest(out, dim, new_size, factor, 0.5 if mode == "nearest-exact" else 0.0)
    return clone(input) if out is input else out


def _step(old_size: int, new_size: int, factor: float | None) -> float:
    """The distance between neighboring output positions, measured in input elements."""
    return old_size / new_size if factor is None else 1 / factor


def _take_nearest(x: Array, dim: int, new_size: int, factor: float | None, shift: float) -> Any:
    """Repeat or leave out elements along a dimension; `shift` is added to output positions before they are scaled."""
    old_size = x.shape[dim]
    if factor in (None, new_size / old_size) and new_size % old_size == 0:
        return x if new_size == old_size else repeat_interleave(x, new_size // old_size, dim)
    # in float32, as in PyTorch, because the rounding of the step and of the product affects which elements are taken
    step = np.float32(_step(old_size, new_size, factor))
    positions = np.floor(np.float32(np.arange(new_size) + shift) * step).astype(np.int64)
    return getitem(x, index=along(dim, np.minimum(positions, old_size - 1)))


def _linear_neighbors(
    old_size: int, new_size: int, factor: float | None, align_corners: bool, dtype: Any
) -> tuple[Any, Any, Any]:
    """For each output position, the input positions before and after it, and the weight of the input after it."""
    if align_corners:
        positions = np.arange(new_size) * ((old_size - 1) / (new_size - 1) if new_size > 1 else 0.0)
    else:
        positions = np.maximum((np.arange(new_size) + 0.5) * _step(old_size, new_size, factor) - 0.5, 0)
    before = np.minimum(np.floor(positions).astype(np.int64), old_size - 1)
    return before, np.minimum(before + 1, old_size - 1), np.clip(positions - before, 0, 1).astype(dtype)


def _interpolate(x: Array, dim: int, before: Any, after: Any, weight: Any) -> Any:
    """Interpolate along a dimension between the elements at two arrays of positions."""
    weight = weight.reshape(-1, *(1,) * (x.ndim - 1 - dim))
    return getitem(x, index=along(dim, before)) * (1 - weight) + getitem(x, index=along(dim, after)) * weight
