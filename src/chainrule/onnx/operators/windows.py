"""Convolution and pooling: operators that slide a window over images, sequences or volumes.

In one and two dimensions they use chainrule's own operations. Volumes, and options that those operations do not have,
are composed: `_slices` reads, for each element of the window, its values at all positions, which are then reduced.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import Call, Operator, array, detached, integers
from chainrule.ops.convolution import ConvParams, convolution, convolution_input_gradient
from chainrule.ops.indexing import add_at, index_put
from chainrule.ops.pooling import PoolParams, avg_pool, max_pool
from chainrule.ops.shape import as_dtype, widen_float16

if TYPE_CHECKING:
    from collections.abc import Sequence


class WindowParams(NamedTuple):
    """A window that slides over the last dimensions; each attribute has a number for each dimension.

    Attributes:
        kernel: the size of the window.
        strides: the distance between neighboring positions of the window.
        dilations: the spacing of its elements.
        before: the padding at the beginning.
        after: the padding at the end.
        extra: what `ceil_mode` appends after that; averages do not count it.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    extra: tuple[int, ...]


def _window(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> WindowParams:
    """Return the window that the attributes of a node describe."""
    n = len(sizes)
    strides, dilations = call.ints("strides", (1,) * n), call.ints("dilations", (1,) * n)
    pads, auto = call.ints("pads"), call.choose("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if auto.startswith("SAME"):
        totals = [
            max(0, (-(-size // s) - 1) * s + span - size) for size, s, span in zip(sizes, strides, spans, strict=True)
        ]
        smaller, larger = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        before, after = (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)
    else:
        pads = (0,) * 2 * n if pads is None or auto == "VALID" else pads
        if len(pads) != 2 * n or min(pads, default=0) < 0:
            call.refuse(f"pads={pads} is not supported for {n} dimensions")
        before, after = pads[:n], pads[n:]
    extra = [0] * n
    if call.get("ceil_mode", 0):
        for d in range(n):
            room = sizes[d] + before[d] + after[d] - spans[d]
            steps = -(-room // strides[d])
            if steps * strides[d] >= sizes[d] + before[d]:  # a window must not begin in the padding at the end
                steps -= 1
            extra[d] = max(0, steps * strides[d] - room)
    return WindowParams(tuple(kernel), strides, dilations, tuple(before), tuple(after), tuple(extra))


def _padded(x: Any, window: WindowParams, value: float, with_extra: bool = True) -> Any:
    """Pad the last dimensions."""
    edges = [
        width
        for before, after, extra in zip(window.before[::-1], window.after[::-1], window.extra[::-1], strict=True)
        for width in (before, after + extra if with_extra else after)
    ]
    return ops.pad(x, edges, value=value or None) if any(edges) else x


def _kernel_shape(call: Call, weight: Any) -> tuple[int, ...]:
    """Return the size of the filters, which the attribute `kernel_shape` may only repeat."""
    kernel: tuple[int, ...] = call.ints("kernel_shape", weight.shape[2:])
    if tuple(weight.shape[2:]) != kernel:
        raise ValueError(f"{call.label}: kernel_shape {kernel} does not fit the weight {weight.shape}")
    return kernel


def _conv(call: Call, x: Any, weight: Any, bias: Any = None) -> Any:
    window, groups = _window(call, x.shape[2:], _kernel_shape(call, weight)), call.get("group", 1)
    n, dtype = len(window.kernel), x.dtype
    if dtype == np.float16:  # the kernels compute in float32
        x, weight, bias = (None if v is None else as_dtype(v, np.float32) for v in (x, weight, bias))
    if n > 2:
        return as_dtype(_conv_by_windows(x, weight, bias, window, groups), dtype)
    image, filters = (x, weight) if n == 2 else (ops.unsqueeze(x, 2), ops.unsqueeze(weight, 2))
    pads = [*zip(window.before, window.after, strict=True)]
    one = [(0, 0)] * (2 - n)
    padding: Any = tuple(one + pads)
    params = ConvParams(_two(window.strides), padding, _two(window.dilations), groups)
    out = convolution(image, filters, params=params)
    out = out if n == 2 else ops.squeeze(out, 2)
    return as_dtype(_with_bias(out, bias), dtype)


def _two(numbers: Sequence[int]) -> tuple[int, int]:
    """Return numbers for the two dimensions of an image; a sequence is an image of one row."""
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _with_bias(out: Any, bias: Any) -> Any:
    return out if bias is None else ops.add(out, ops.reshape(bias, (1, -1, *(1,) * (out.ndim - 2))))


def _conv_by_windows(x: Any, weight: Any, bias: Any, window: WindowParams, groups: int) -> Any:
    """Convolve in any number of dimensions, as a sum over the elements of the filter."""
    x = _padded(x, window, 0.0)
    n, outputs, counts = x.shape[0], weight.shape[0], ()
    total: Any = None
    for offset, part in zip(np.ndindex(*window.kernel), _slices(x, window), strict=True):
        counts = part.shape[2:]
        columns = ops.reshape(part, (n, groups, -1, math.prod(counts)))
        taps = ops.reshape(weight[(slice(None), slice(None), *offset)], (1, groups, outputs // groups, -1))
        product: Any = ops.matmul(taps, columns)  # (N, groups, O / groups, positions)
        total = product if total is None else ops.add(total, product)
    return _with_bias(ops.reshape(total, (n, outputs, *counts)), bias)


def _conv_transpose(call: Call, x: Any, weight: Any, bias: Any = None) -> Any:
    n, groups = x.ndim - 2, call.get("group", 1)
    kernel = _kernel_shape(call, weight)
    strides, dilations = call.ints("strides", (1,) * n), call.ints("dilations", (1,) * n)
    extra = call.ints("output_padding", (0,) * n)
    auto = call.choose("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    pads, target = call.ints("pads", (0,) * 2 * n), call.ints("output_shape")
    if n > 2:
        call.refuse("more than two dimensions are not supported")
    full = [
        (size - 1) * s + d * (k - 1) + 1 + e
        for size, s, d, k, e in zip(x.shape[2:], strides, dilations, kernel, extra, strict=True)
    ]
    if target is None and auto.startswith("SAME"):
        target = tuple(size * s for size, s in zip(x.shape[2:], strides, strict=True))
    if target is not None:
        totals = [f - t for f, t in zip(full, target[-n:], strict=True)]
        smaller, larger = [t // 2 for t in totals], [t - t // 2 for t in totals]
        before, after = (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)
        pads = (*before, *after)
    dtype = x.dtype
    if dtype == np.float16:  # the kernels compute in float32
        x, weight, bias = (None if v is None else as_dtype(v, np.float32) for v in (x, weight, bias))
    image, filters = (x, weight) if n == 2 else (ops.unsqueeze(x, 2), ops.unsqueeze(weight, 2))
    sizes = _two(full) if n == 2 else (1, full[0])
    # the whole result is the gradient of a convolution without padding; then padding is cut off, or zeros are appended
    whole = [size - e for size, e in zip(sizes, extra if n == 2 else (0, *extra), strict=True)]
    params = ConvParams(_two(strides), ((0, 0), (0, 0)), _two(dilations), groups)
    shape = (x.shape[0], weight.shape[1] * groups, *whole)
    out = convolution_input_gradient(image, filters, shape=shape, params=params)
    before, after = pads[:n], pads[n:]
    edges = [width for b, a, e in zip(before[::-1], after[::-1], extra[::-1], strict=True) for width in (-b, e - a)]
    out = out if n == 2 else ops.squeeze(out, 2)
    out = ops.pad(out, edges) if any(edges) else out
    return as_dtype(_with_bias(out, bias), dtype)


# Pooling


def _pooling_window(call: Call, x: Any) -> WindowParams:
    return _window(call, x.shape[2:], call.ints("kernel_shape"))


def _is_supported_by_ops(x: Any, window: WindowParams) -> bool:
    """Whether chainrule's own pooling has these options: images, and as much padding before as after."""
    return (
        x.ndim == 4 and window.before == window.after and not any(window.extra)
        and all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True))
    )  # fmt: skip


def _slices(x: Any, window: WindowParams) -> list[Any]:
    """Return, for each element of the window, its values at all positions."""
    counts = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[2:], window.kernel, window.strides, window.dilations, strict=True)
    ]
    return [
        x[(
            slice(None), slice(None),
            *(
                slice(o * d, o * d + (count - 1) * s + 1, s)
                for o, d, s, count in zip(offset, window.dilations, window.strides, counts, strict=True)
            ),
        )]
        for offset in np.ndindex(*window.kernel)
    ]  # fmt: skip


def _max_pool(call: Call, x: Any) -> Any:
    window, column_major = _pooling_window(call, x), call.get("storage_order", 0)
    if x.dtype.kind != "f":  # small integers, which float32 holds exactly
        if x.dtype.itemsize > 1:
            call.refuse(f"takes floats or bytes, not {x.dtype}")
        values: Any = array(x).astype(np.float32)
    else:
        values = widen_float16(x)
    if len(call.outputs) == 1 and _is_supported_by_ops(x, window):
        params = PoolParams(window.kernel, window.strides, window.before, window.dilations)  # type: ignore[arg-type]
        out: Any = max_pool(values, params=params)
    else:
        parts = _slices(_padded(values, window, -np.inf), window)
        out = ops.amax(ops.stack(parts), 0)
    out = as_dtype(out, x.dtype) if x.dtype.kind == "f" else array(out).astype(x.dtype)
    if len(call.outputs) == 1:
        return out
    sizes = x.shape[2:]
    flat = np.arange(math.prod(sizes)).reshape(sizes, order="F" if column_major else "C")
    flat = np.broadcast_to(flat, (1, 1, *sizes)).astype(np.float64)  # floats, which `_padded` takes; exact below 2⁵³
    positions = np.stack([detached(p) for p in _slices(_padded(flat, window, -1.0), window)])  # -1 in the padding
    best = np.stack([detached(p) for p in parts]).argmax(0)
    positions = np.broadcast_to(positions, (len(parts), *best.shape))
    # where all values of a window are -inf, the first maximum may be in the padding
    is_padding = np.take_along_axis(positions, best[None], 0)[0] < 0
    best = np.where(is_padding, (positions >= 0).argmax(0), best)
    index = np.take_along_axis(positions, best[None], 0)[0]
    n, channels = x.shape[:2]
    start_of_image = np.arange(n * channels).reshape(n, channels, *(1,) * len(sizes)) * math.prod(sizes)
    return out, (index + start_of_image).astype(np.int64)


def _average_pool(call: Call, x: Any) -> Any:
    window, with_padding = _pooling_window(call, x), bool(call.get("count_include_pad", 0))
    if _is_supported_by_ops(x, window) and set(window.dilations) == {1}:
        params = PoolParams(window.kernel, window.strides, window.before)  # type: ignore[arg-type]
        return as_dtype(avg_pool(widen_float16(x), params=params, divisor_options=(with_padding, None)), x.dtype)
    total = _sum_of_windows(_padded(x, window, 0.0), window)
    ones: Any = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if with_padding:  # the padding is counted, unlike what ceil_mode appends
        ones = _padded(ones, window, 1.0, with_extra=False)
        edges = [width for extra in window.extra[::-1] for width in (0, extra)]
        ones = ops.pad(ones, edges)
    else:
        ones = _padded(ones, window, 0.0)
    return ops.true_divide(total, detached(_sum_of_windows(ones, window)))


def _sum_of_windows(x: Any, window: WindowParams) -> Any:
    return ops.sum(ops.stack(_slices(x, window)), 0)


def _lp_pool(call: Call, x: Any) -> Any:
    window, p = _pooling_window(call, x), call.get("p", 2)
    return ops.pow(_sum_of_windows(ops.pow(ops.abs(_padded(x, window, 0.0)), p), window), 1 / p)


def _global_pool(reduce: Any) -> Operator:
    """Return the operator that reduces all dimensions after the channels."""
    return lambda call, x: reduce(x, tuple(range(2, x.ndim)), True)


def _global_lp_pool(call: Call, x: Any) -> Any:
    return ops.norm(x, call.get("p", 2), tuple(range(2, x.ndim)), True)


def _max_unpool(call: Call, x: Any, indices: Any, shape: Any = None) -> Any:
    kernel = call.ints("kernel_shape")
    n = len(kernel)
    strides, pads = call.ints("strides", (1,) * n), call.ints("pads", (0,) * 2 * n)
    sizes = [
        (size - 1) * s + k - pads[i] - pads[i + n]
        for i, (size, s, k) in enumerate(zip(x.shape[2:], strides, kernel, strict=True))
    ]
    inner = (*x.shape[:2], *sizes)
    flat = ops.reshape(x, (math.prod(x.shape),))
    # put, not add: the maximum of overlapping windows occurs several times
    out: Any = index_put(np.zeros(math.prod(inner), x.dtype), flat, index=(detached(indices).reshape(-1),))
    out = ops.reshape(out, inner)
    if shape is None:
        return out
    # the indices count in an array of the shape `inner`; a larger output_shape appends zeros
    outer = integers(shape)
    sizes_from_last = zip(outer[::-1], inner[::-1], strict=True)
    return ops.pad(out, [width for new_size, size in sizes_from_last for width in (0, new_size - size)])


def _col2im(call: Call, x: Any, image_shape: Any, block_shape: Any) -> Any:
    """Add the columns of blocks into an image: the transpose of reading blocks."""
    sizes, kernel = integers(image_shape), integers(block_shape)
    n = len(sizes)
    strides, dilations = call.ints("strides", (1,) * n), call.ints("dilations", (1,) * n)
    pads = call.ints("pads", (0,) * 2 * n)
    padded = [size + pads[i] + pads[i + n] for i, size in enumerate(sizes)]
    counts = [(p - d * (k - 1) - 1) // s + 1 for p, k, s, d in zip(padded, kernel, strides, dilations, strict=True)]
    channels = x.shape[1] // math.prod(kernel)
    blocks = ops.reshape(x, (x.shape[0], channels, math.prod(kernel), *counts))
    shape, out = (x.shape[0], channels, *padded), None
    for i, offset in enumerate(np.ndindex(*kernel)):
        index = tuple(
            slice(o * d, o * d + (c - 1) * s + 1, s)
            for o, d, s, c in zip(offset, dilations, strides, counts, strict=True)
        )
        part: Any = add_at(blocks[:, :, i], index=(slice(None), slice(None), *index), shape=shape)
        out = part if out is None else ops.add(out, part)
    inner = (slice(pads[i], pads[i] + size) for i, size in enumerate(sizes))
    return out if out is None else out[(slice(None), slice(None), *inner)]


OPERATORS: dict[str, Operator] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "LpPool": _lp_pool, "GlobalAveragePool": _global_pool(ops.mean), "GlobalMaxPool": _global_pool(ops.amax),
    "GlobalLpPool": _global_lp_pool, "MaxUnpool": _max_unpool, "Col2Im": _col2im,
}  # fmt: skip
