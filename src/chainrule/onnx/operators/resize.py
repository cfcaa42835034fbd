"""Resize and Upsample: each dimension is resampled by its own rule, a product with a matrix of weights or a choice.

Source: the ONNX operator reference, Resize; for cubic weights Keys, Cubic convolution interpolation (1981).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import Call, Operator, array, integers, is_float, wrap


class Axis(NamedTuple):
    """How one dimension is resized.

    Attributes:
        size: the number of elements before.
        new_size: the number of elements after.
        scale: the factor; `new_size` is about `scale` times `size`.
        start: the start of the region to crop, as a fraction, for tf_crop_and_resize.
        end: the end of that region.
    """

    size: int
    new_size: int
    scale: float
    start: float = 0.0
    end: float = 1.0


def _coordinates(call: Call, axis: Axis) -> Any:
    """Return where each new element lies in the old dimension."""
    mode = call.choose(
        "coordinate_transformation_mode", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize",
    ) if call.opset >= 11 else "asymmetric"  # fmt: skip
    x, length = np.arange(axis.new_size, dtype=np.float64), axis.scale * axis.size
    if mode == "asymmetric":
        return x / axis.scale
    if mode == "align_corners":
        return x * (axis.size - 1) / (length - 1) if length != 1 else x * 0
    if mode == "tf_crop_and_resize":
        region = (axis.end - axis.start) * (axis.size - 1)
        first = axis.start * (axis.size - 1)
        return first + (x * region / (length - 1) if length != 1 else region / 2 + x * 0)
    if mode == "pytorch_half_pixel" and length == 1:
        return x - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (x + 0.5) / axis.scale
    centered = (x + 0.5) / axis.scale - 0.5
    if mode == "half_pixel_symmetric":
        return axis.size / 2 * (1 - axis.new_size / length) + centered
    return centered


def _nearest(call: Call, positions: Any, size: int) -> Any:
    """Return the index of the nearest element."""
    rounding = (
        call.choose("nearest_mode", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        if call.opset >= 11
        else "floor"
    )
    rules: dict[str, Any] = {
        "floor": np.floor, "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5), "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }  # fmt: skip
    return np.clip(rules[rounding](positions), 0, size - 1).astype(np.int64)


def _triangle(distance: Any) -> Any:
    return np.clip(1 - np.abs(distance), 0, 1)


def _cubic(a: float) -> Any:
    def kernel(distance: Any) -> Any:
        x = np.abs(distance)
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel


def _weights(call: Call, axis: Axis, positions: Any, mode: str) -> Any:
    """Return the matrix (new_size, size) of interpolation."""
    kernel, reach = (_triangle, 1) if mode == "linear" else (_cubic(call.get("cubic_coeff_a", -0.75)), 2)
    exclude, antialias = call.get("exclude_outside", 0), call.get("antialias", 0)
    stretch = min(axis.scale, 1.0) if antialias else 1.0  # below 1, the kernel is wider and averages more elements
    span = math.ceil(reach / stretch) + 1
    offsets = np.floor(positions)[:, None] + np.arange(-span, span + 1)
    taps = kernel((offsets - positions[:, None]) * stretch)
    if exclude:
        taps = np.where((offsets >= 0) & (offsets < axis.size), taps, 0)
    if exclude or antialias:
        taps = taps / taps.sum(1, keepdims=True)
    matrix = np.zeros((axis.new_size, axis.size))
    columns = np.clip(offsets, 0, axis.size - 1).astype(np.int64)  # repeats the elements at the border
    np.add.at(matrix, (np.arange(axis.new_size)[:, None], columns), taps)
    return matrix


def _resize(call: Call, x: Any, *inputs: Any) -> Any:
    roi, scales, sizes = _inputs(call, inputs)
    mode = call.choose("mode", "nearest", "linear", "cubic")
    axes = [wrap(call, a, x.ndim) for a in call.ints("axes", range(x.ndim))]
    resized_axes = _resized_axes(call, x, axes, roi, scales, sizes)
    extrapolated = call.get("extrapolation_value", 0.0)
    is_cropped = call.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    for name in ("cubic_coeff_a", "exclude_outside", "antialias", "nearest_mode"):
        call.get(name)  # counts as read, although only some modes use it
    dtype = x.dtype
    if mode != "nearest" and not is_float(x):
        x = array(x).astype(np.float64)
    for dim, axis in resized_axes.items():
        if axis.new_size == axis.size and axis.scale == 1 and not is_cropped:
            continue
        positions = _coordinates(call, axis)
        if mode == "nearest":
            x = x[(slice(None),) * dim + (_nearest(call, positions, axis.size),)]
        else:
            matrix = _weights(call, axis, positions, mode).astype(x.dtype)
            x = ops.movedim(ops.matmul(ops.movedim(x, dim, -1), matrix.T), -1, dim)
        if is_cropped:
            outside = (positions < 0) | (positions > axis.size - 1)
            shape = [axis.new_size if d == dim else 1 for d in range(x.ndim)]
            x = ops.where(outside.reshape(shape), np.asarray(extrapolated, x.dtype), x)
    return x if x.dtype == dtype else _rounded(array(x), dtype)


def _rounded(x: Any, dtype: Any) -> Any:
    """Return floats as the nearest numbers of an integer type, or as booleans.

    Cubic interpolation can leave the type's range.
    """
    if dtype.kind == "b":
        return np.rint(x).astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.rint(x)
    is_too_large = rounded >= float(limits.max)  # which may be above `limits.max`: 2⁶³ for int64
    out = np.where(is_too_large, 0, np.maximum(rounded, limits.min)).astype(dtype)
    out[is_too_large] = limits.max
    return out


def _inputs(call: Call, inputs: Any) -> tuple[Any, Any, Any]:
    """Return the region, the scales and the sizes; None for those that the node does not have."""
    if call.opset < 11:
        return None, array(inputs[0]), None
    values = [None if v is None or not math.prod(v.shape) else array(v) for v in inputs]
    values += [None] * (3 - len(values))
    roi, scales, sizes = values
    return roi, scales, sizes


def _resized_axes(call: Call, x: Any, axes: list[int], roi: Any, scales: Any, sizes: Any) -> dict[int, Axis]:
    """Return how each dimension in `axes` is resized."""
    policy = call.choose("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller")
    if sizes is None:
        factors = [float(s) for s in scales]
        new_sizes = [math.floor(x.shape[d] * f) for d, f in zip(axes, factors, strict=True)]
    else:
        new_sizes = integers(sizes)
        factors = [n / x.shape[d] for d, n in zip(axes, new_sizes, strict=True)]
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(axes)
            new_sizes = [math.floor(x.shape[d] * factor + 0.5) for d in axes]
    if min(factors, default=1) <= 0:
        raise ValueError(f"{call.label}: scales must be positive, not {factors}")
    regions = [(0.0, 1.0)] * len(axes)
    if roi is not None and call.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        regions = [(float(roi[i]), float(roi[i + len(axes)])) for i in range(len(axes))]
    return {
        d: Axis(x.shape[d], n, f, *region)
        for d, n, f, region in zip(axes, new_sizes, factors, regions, strict=True)
    }  # fmt: skip


def _upsample(call: Call, x: Any, scales: Any = None) -> Any:
    """Compute Upsample, the former name of Resize: its version 9 is that of Resize in version 10."""
    factors = call.get("scales") if scales is None else array(scales)
    return _resize(call, x, np.asarray(factors, np.float32))


OPERATORS: dict[str, Operator] = {"Resize": _resize, "Upsample": _upsample}
