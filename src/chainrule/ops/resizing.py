"""Resizing signals and images: each output position reads the nearest input position, or interpolates its neighbors."""

from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.ops.indexing import getitem
from chainrule.ops.operation import Array, Input, Ints, Tensor, check_tensors
from chainrule.ops.scattering import repeat_interleave
from chainrule.ops.shape import along, clone, int_tuple

__all__ = ["interpolate"]

_MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}
"""The numbers of spatial dimensions that each mode is for."""


def interpolate(
    input: Input, size: Ints | None = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
) -> Tensor:  # fmt: skip
    """Resize signals (N, C, L), images (N, C, H, W) or volumes (N, C, D, H, W).

    Args:
        input: floats.
        size: the new sizes, L, (H, W) or (D, H, W); or one number for all.
        scale_factor: in place of `size`: the factor, or one for each dimension; new sizes are rounded down.
        mode: "nearest"; "nearest-exact", which rounds positions like image libraries; "linear" for signals, "bilinear"
            for images, "trilinear" for volumes.
        align_corners: for the linear modes, whether the first and last positions of input and output coincide;
            otherwise their outer edges do.
        recompute_scale_factor: compute positions from the sizes, not from `scale_factor`.

    Raises:
        ValueError: not exactly one of `size` and `scale_factor`, another mode, or a size below 1.
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
    for dim, (old, new, factor) in enumerate(zip(sizes, new_sizes, factors, strict=True), 2):
        if is_linear:
            out = _interpolated(out, dim, *_linear_positions(old, new, factor, bool(align_corners), input.dtype))
        else:
            out = _nearest(out, dim, new, factor, 0.5 if mode == "nearest-exact" else 0.0)
    return clone(input) if out is input else out


def _step(old: int, new: int, factor: float | None) -> float:
    """The distance between neighboring output positions, measured in input elements."""
    return old / new if factor is None else 1 / factor


def _nearest(x: Array, dim: int, new: int, factor: float | None, shift: float) -> Any:
    """Repeat or leave out elements along a dimension."""
    old = x.shape[dim]
    if factor in (None, new / old) and new % old == 0:
        return x if new == old else repeat_interleave(x, new // old, dim)
    positions = np.floor((np.arange(new) + shift) * np.float32(_step(old, new, factor))).astype(np.int64)
    return getitem(x, index=along(dim, np.minimum(positions, old - 1)))


def _linear_positions(
    old: int, new: int, factor: float | None, align_corners: bool, dtype: Any
) -> tuple[Any, Any, Any]:
    """For each output position, the input positions before and after it, and the weight of the one after."""
    if align_corners:
        positions = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        positions = np.maximum((np.arange(new) + 0.5) * _step(old, new, factor) - 0.5, 0)
    before = np.minimum(np.floor(positions).astype(np.int64), old - 1)
    return before, np.minimum(before + 1, old - 1), np.clip(positions - before, 0, 1).astype(dtype)


def _interpolated(x: Array, dim: int, before: Any, after: Any, weight: Any) -> Any:
    """Interpolate between two neighbors along a dimension."""
    weight = weight.reshape(-1, *(1,) * (x.ndim - 1 - dim))
    return getitem(x, index=along(dim, before)) * (1 - weight) + getitem(x, index=along(dim, after)) * weight
