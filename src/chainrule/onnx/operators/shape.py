"""Operators that move elements, or compute shapes and ranges: Reshape, Transpose, Concat, Pad, Shape, Range, ..."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import (
    Call,
    Operator,
    array,
    axes_of,
    dtype_of,
    integers,
    is_float,
    plain_operator,
    wrap,
)

MAX_ELEMENTS = 2**31
"""The largest array that a few numbers in a file may ask for."""


def check_size(call: Call, shape: Any) -> None:
    """Refuse a shape that would take gigabytes: a file of a few bytes can ask for any."""
    if min(shape, default=0) < 0 or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{call.label}: cannot make an array of shape {tuple(shape)}")


def _read_constant(call: Call) -> Any:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        value = call.get(name)
        if value is not None:
            kind = {"value_float": np.float32, "value_floats": np.float32}.get(name, np.int64)
            return value if name == "value" else np.array(value, kind)
    return call.refuse("holds no numbers")


def _shape(call: Call, x: Any) -> Any:
    return np.array(x.shape[slice(call.get("start", 0), call.get("end"))], np.int64)


def _size(x: Any) -> Any:
    return np.array(math.prod(x.shape), np.int64)


def _reshape(call: Call, x: Any, shape: Any = None) -> Any:
    sizes = [*call.get("shape")] if shape is None else integers(shape)
    if not call.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return ops.reshape(x, sizes)


def _flatten(call: Call, x: Any) -> Any:
    axis = call.get("axis", 1)
    # a negative axis counts from the end, as in a slice
    return ops.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    dims = axes_of(call, axes, x.ndim)
    for dim in dims or ():
        if x.shape[dim] != 1:
            raise ValueError(f"{call.label}: dimension {dim} of {x.shape} is not 1")
    return ops.squeeze(x, dims)


def _unsqueeze(call: Call, x: Any, axes: Any = None) -> Any:
    numbers = call.ints("axes") if axes is None else integers(axes)
    ndim = x.ndim + len(numbers)
    dims = {wrap(call, axis, ndim) for axis in numbers}
    if len(dims) < len(numbers):
        raise ValueError(f"{call.label}: an axis is named twice in {[*numbers]}")
    sizes = iter(x.shape)
    return ops.reshape(x, [1 if d in dims else next(sizes) for d in range(ndim)])


def _transpose(call: Call, x: Any) -> Any:
    return ops.permute(x, call.ints("perm"))


def _concat(call: Call, *inputs: Any) -> Any:
    axis = call.get("axis", 1)
    if inputs[0].ndim == 1 and any(x.shape == (0,) for x in inputs):  # such as the shape of a scalar
        return np.concatenate([array(x) for x in inputs], axis) if not is_float(inputs[0]) else ops.cat(inputs, axis)
    return ops.shape.concatenate(*inputs, dim=wrap(call, axis, inputs[0].ndim))


def _split(call: Call, x: Any, split: Any = None) -> Any:
    axis, sizes = wrap(call, call.get("axis", 0), x.ndim), call.ints("split") if split is None else integers(split)
    count = call.get("num_outputs", len(call.outputs))
    if sizes is None:
        size = x.shape[axis]
        part = -(-size // count)
        sizes = [min(part, max(size - i * part, 0)) for i in range(count)]
        if call.opset < 18 and size % count:
            call.refuse(f"{size} elements cannot be split evenly into {count}")
    return ops.split(x, [*sizes], axis)


def _expand(call: Call, x: Any, shape: Any) -> Any:
    sizes = np.broadcast_shapes(x.shape, tuple(integers(shape)))
    check_size(call, sizes)
    return x if sizes == x.shape else ops.broadcast_to(x, sizes)


def _tile(call: Call, x: Any, repeats: Any) -> Any:
    counts = integers(repeats)
    check_size(call, [n * size for n, size in zip(counts, x.shape, strict=True)])
    return ops.tile(x, counts)


def _pad(call: Call, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    mode = call.choose("mode", "constant", "reflect", "edge", "wrap")
    widths = [*call.ints("pads", ())] if pads is None else integers(pads)
    dims = [*range(x.ndim)] if axes is None else [wrap(call, axis, x.ndim) for axis in integers(axes)]
    number = call.get("value", 0.0) if value is None else array(value).reshape(-1)[0].item()
    pairs = {d: (widths[i], widths[i + len(dims)]) for i, d in enumerate(dims)}
    check_size(call, [max(0, n + sum(pairs.get(d, (0, 0)))) for d, n in enumerate(x.shape)])
    edges = [width for d in reversed(range(x.ndim)) for width in pairs.get(d, (0, 0))]
    if mode == "constant":
        if x.dtype.kind == "f" or not number:
            return ops.pad(x, edges, value=number or None)
        if min(edges, default=0) < 0:
            call.refuse("negative widths of integers are not supported")
        return np.pad(array(x), [pairs.get(d, (0, 0)) for d in range(x.ndim)], constant_values=number)
    names = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    return ops.pad(x, edges, mode=names[mode])


def _constant_of_shape(call: Call, shape: Any) -> Any:
    value, sizes = call.get("value", np.zeros(1, np.float32)), integers(shape) if shape.size else []
    check_size(call, sizes)
    return np.full(sizes, value.reshape(-1)[0], value.dtype)


def _range(call: Call, start: Any, limit: Any, delta: Any) -> Any:
    first, last, step = (array(x).item() for x in (start, limit, delta))
    if not step:
        raise ValueError(f"{call.label}: the step is 0")
    count = max(0, math.ceil((last - first) / step))
    check_size(call, [count])
    return (first + np.arange(count) * step).astype(start.dtype)


def _eye_like(call: Call, x: Any) -> Any:
    number = call.get("dtype")
    dtype = x.dtype if number is None else dtype_of(number, call.label)
    rows, columns = x.shape
    return np.eye(rows, columns, k=call.get("k", 0), dtype=dtype)


def _trilu(call: Call, x: Any, k: Any = None) -> Any:
    diagonal = 0 if k is None else integers(k)[0]
    # beyond the matrix all diagonals are the same, and NumPy takes no arbitrarily large number
    diagonal = max(-x.shape[-2] - 1, min(diagonal, x.shape[-1] + 1))
    return ops.triu(x, diagonal) if call.get("upper", 1) else ops.tril(x, diagonal)


def _depth_to_space(call: Call, x: Any) -> Any:
    n, channels, height, width = x.shape
    size = call.get("blocksize")
    if call.choose("mode", "DCR", "CRD") == "DCR":
        blocks = ops.reshape(x, (n, size, size, channels // size**2, height, width))
        out = ops.permute(blocks, (0, 3, 4, 1, 5, 2))
    else:
        blocks = ops.reshape(x, (n, channels // size**2, size, size, height, width))
        out = ops.permute(blocks, (0, 1, 4, 2, 5, 3))
    return ops.reshape(out, (n, channels // size**2, height * size, width * size))


def _space_to_depth(call: Call, x: Any) -> Any:
    n, channels, height, width = x.shape
    size = call.get("blocksize")
    mode = call.choose("mode", "DCR", "CRD")
    blocks = ops.reshape(x, (n, channels, height // size, size, width // size, size))
    out = ops.permute(blocks, (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
    return ops.reshape(out, (n, channels * size**2, height // size, width // size))


def _center_crop_pad(call: Call, x: Any, shape: Any) -> Any:
    sizes = integers(shape)
    axes = call.ints("axes", range(x.ndim))
    index, edges = [slice(None)] * x.ndim, [(0, 0)] * x.ndim
    for axis, size in zip((wrap(call, a, x.ndim) for a in axes), sizes, strict=True):
        extra = size - x.shape[axis]
        if extra < 0:
            start = -extra // 2
            index[axis] = slice(start, start + size)
        else:
            edges[axis] = extra // 2, extra - extra // 2
    return ops.pad(x[tuple(index)], [width for pair in reversed(edges) for width in pair])


def _reverse_sequence(call: Call, x: Any, lengths: Any) -> Any:
    time, batch = call.get("time_axis", 0), call.get("batch_axis", 1)
    positions = np.broadcast_to(np.arange(x.shape[time])[:, None], (x.shape[time], x.shape[batch])).copy()
    for i, length in enumerate(integers(lengths)):
        positions[:length, i] = np.arange(length)[::-1]
    out = _moveaxis(x, (time, batch), (0, 1))[positions, np.arange(x.shape[batch])]
    return _moveaxis(out, (0, 1), (time, batch))


def _moveaxis(x: Any, source: tuple[int, int], destination: tuple[int, int]) -> Any:
    """Move two axes of an array or a Tensor."""
    move = np.moveaxis if isinstance(x, np.ndarray) else ops.movedim
    return move(x, source, destination)


OPERATORS: dict[str, Operator] = {
    "Constant": _read_constant, "Shape": _shape, "Size": plain_operator(_size), "Reshape": _reshape,
    "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Concat": _concat,
    "Split": _split, "Expand": _expand, "Tile": _tile, "Pad": _pad, "ConstantOfShape": _constant_of_shape,
    "Range": _range, "EyeLike": _eye_like, "Trilu": _trilu, "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth, "CenterCropPad": _center_crop_pad, "ReverseSequence": _reverse_sequence,
}  # fmt: skip
