"""Lowering rules: how operations are recorded that are not traced through their formulas.

`RULES` maps an operation to its rule, which `Trace.apply` calls. Most rules record calls of hand-written kernels;
recurrent scans become Python calls, and a check of indices is repeated by each run. A rule that does not support its
arrays raises `Untraceable`, and the operation becomes a Python call.

A rule for a kernel brings the inputs into the memory order that the kernel reads, creates the kernel's job
(`kernels.job`), and adds a value to the graph with `record`. A convolution is recorded as two kernels: the first packs
the weights, the second multiplies. So is the gradient of its weights: the first computes partial sums over the images,
the second adds them. `lower.schedule` groups kernels that work image by image with the stages that follow.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import attention as attention_kernels
from chainrule.kernels import convolution as convolution_kernels
from chainrule.kernels import convolution_setup, pooling_loops, team
from chainrule.kernels import pooling as pooling_kernels
from chainrule.kernels import rows as row_kernels
from chainrule.kernels.copy import copy_job
from chainrule.kernels.pooling import pool_divisors, pool_job
from chainrule.kernels.tree import computes_with, type_of
from chainrule.lower.graph import Value, base_of
from chainrule.lower.schedule import is_balanced
from chainrule.lower.tracer import Tracer, Untraceable
from chainrule.ops import attention, convolution, indexing, pooling, recurrent, shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.capture.trace import Trace


UNSUPPORTED = "arrays of a shape or type that the kernel does not support"
"""Why a rule raises `Untraceable`."""


def record(
    trace: Trace,
    name: str,
    job: Any,
    inputs: Sequence[Tracer],
    example: Any,
    other_examples: Sequence[Any] = (),
    **options: Any,
) -> tuple[Tracer, ...]:
    """Record a call of a kernel and return its results.

    Args:
        trace: the trace.
        name: the name of the step in `explain()`.
        job: the kernel with its descriptor; its arrays are the inputs and the results, in this order.
        inputs: the kernel's inputs.
        example: an array like the first result.
        other_examples: arrays like the other results.
        options: `flops`: the number of additions and multiplications; `n_images`: the number of images, if the kernel
            works image by image; `n_parts`: the number of parts, if it sums over images in parts; `bytes_per_thread`:
            the size of one thread's result, if each thread computes a result of its own.
    """
    values = [x.value for x in inputs]
    result = trace.add_value("kernel", name, values, example, job=job, **options)
    other_results = tuple(trace.add_value("tuple_item", name, [result.value], array) for array in other_examples)
    scratch_bytes = -(-job.scratch_bytes // 64) * 64  # whole cache lines, so that threads do not share one
    scratch = Value(
        "scratch", name, (), np.empty(scratch_bytes * team.threads(), np.uint8), {"bytes_per_thread": scratch_bytes}
    )
    result.value.options["other_results"] = [*(x.value for x in other_results), *([scratch] if scratch_bytes else [])]
    return result, *other_results


def channels_last(trace: Trace, x: Any) -> Tracer:
    """Return x (N, C, H, W) in the memory order (N, H, W, C)."""
    tracer = trace.as_tracer(x)
    view = tracer.value.example.transpose(0, 2, 3, 1)
    if view.flags.c_contiguous:
        return tracer
    return trace.reorder(tracer, np.ascontiguousarray(view).transpose(0, 3, 1, 2))


def contiguous(trace: Trace, x: Any) -> Tracer:
    """Return x in C order."""
    tracer = trace.as_tracer(x)
    example = tracer.value.example
    return tracer if example.flags.c_contiguous else trace.reorder(tracer, np.ascontiguousarray(example))


def _convolution(trace: Trace, input: Any, weight: Any, *, params: Any) -> Tracer:
    x, weight = trace.as_tracer(input), trace.as_tracer(weight)
    jobs = convolution_setup.forward(x.shape, weight.shape, tuple(params), x.dtype)
    example = convolution_kernels.convolve(x.value.example, weight.value.example, *params)
    return _correlation(trace, "convolution", jobs, x, weight, example, example.size * _terms(weight))


def _convolution_input_gradient(trace: Trace, input: Any, weight: Any, *, shape: Any, params: Any) -> Tracer:
    grad, weight = trace.as_tracer(input), trace.as_tracer(weight)
    jobs = convolution_setup.input_gradient(grad.shape, weight.shape, tuple(shape), tuple(params), grad.dtype)
    example = convolution_kernels.convolve_input_gradient(grad.value.example, weight.value.example, shape, *params)
    return _correlation(trace, "convolution_input_gradient", jobs, grad, weight, example, grad.size * _terms(weight))


def _correlation(
    trace: Trace, name: str, jobs: Any, x: Tracer, weight: Tracer, example: Any, multiply_adds: int
) -> Tracer:
    _require(jobs.correlate is not None and x.dtype == weight.dtype)
    copy_count = 1
    options: dict[str, Any] = {}
    if not is_balanced(x.shape[0]):
        # With so few images, threads share an image, and a thread hardly reuses the packed weights. Then it is faster
        # for each thread to pack all weights into its own cache than to fetch them from another thread's cache.
        copy_count, options = team.threads(), {"bytes_per_thread": jobs.packed_size * x.dtype.itemsize}
    example_packed = np.empty((copy_count, jobs.packed_size), x.dtype)
    packed = record(trace, "packed weights", jobs.pack, [contiguous(trace, weight)], example_packed, **options)
    inputs = [channels_last(trace, x), *packed]
    return record(trace, name, jobs.correlate, inputs, example, flops=2 * multiply_adds, n_images=x.shape[0])[0]


def _convolution_weight_gradient(trace: Trace, input: Any, out_grad: Any, *, shape: Any, params: Any) -> Tracer:
    x, grad = trace.as_tracer(input), trace.as_tracer(out_grad)
    jobs = convolution_setup.weight_gradient(x.shape, grad.shape, tuple(shape), tuple(params), x.dtype)
    if jobs is None or x.dtype != grad.dtype:
        raise Untraceable(UNSUPPORTED)
    parts, pieces = jobs.sums_shape[:2]
    inputs, example = [channels_last(trace, x), channels_last(trace, grad)], np.empty(jobs.sums_shape, x.dtype)
    flops = 2 * grad.size * math.prod(shape[1:])
    name = "convolution_weight_gradient"
    if pieces == 1:  # rows (one for each tap and channel) are not divided: images are added one by one, in a group
        sums = record(trace, name, jobs.add_images, inputs, example, flops=flops, n_images=x.shape[0], n_parts=parts)
    else:
        sums = record(trace, name, jobs.partial_sums, inputs, example, flops=flops)
    example = convolution_kernels.convolve_weight_gradient(x.value.example, grad.value.example, shape, *params)
    return record(trace, "sum of parts", jobs.add_parts, sums, example, flops=math.prod(jobs.sums_shape))[0]


def _max_pool(trace: Trace, input: Any, *, params: Any) -> tuple[Tracer, Tracer]:
    x = trace.as_tracer(input)
    out, argmax = pooling_kernels.max_pool(x.value.example, *params)
    job = _pool_job(pooling_loops.MAX_POOL, x.shape, out, params, x.dtype, argmax.dtype)
    results = record(trace, "max_pool", job, [channels_last(trace, x)], out, [argmax], n_images=x.shape[0])
    return results[0], results[1]


def _max_pool_gradient(trace: Trace, input: Any, *, argmax: Any, shape: Any, params: Any) -> Tracer:
    grad, argmax = trace.as_tracer(input), trace.as_tracer(argmax)
    job = _pool_job(pooling_loops.MAX_POOL_GRADIENT, shape, grad, params, grad.dtype, argmax.dtype)
    example = pooling_kernels.max_pool_gradient(grad.value.example, argmax.value.example, shape, *params[:4])
    inputs = [channels_last(trace, grad), channels_last(trace, argmax)]
    return record(trace, "max_pool_gradient", job, inputs, example, n_images=shape[0])[0]


def _avg_pool(trace: Trace, input: Any, *, params: Any, divisor_options: Any) -> Tracer:
    x = trace.as_tracer(input)
    kernel, stride, padding, _, ceil_mode = params
    count_pad, override = divisor_options
    example = pooling_kernels.avg_pool(x.value.example, kernel, stride, padding, ceil_mode, count_pad, override)
    job = _pool_job(pooling_loops.AVG_POOL, x.shape, example, params, x.dtype)
    divisors = pool_divisors(x.shape[2:], example.shape[2:], kernel, stride, padding, count_pad, override, x.dtype)
    inputs = [channels_last(trace, x), trace.add_array(divisors)]
    return record(trace, "avg_pool", job, inputs, example, n_images=x.shape[0])[0]


def _avg_pool_gradient(trace: Trace, input: Any, *, shape: Any, params: Any, divisor_options: Any) -> Tracer:
    grad = trace.as_tracer(input)
    kernel, stride, padding, *_ = params
    count_pad, override = divisor_options
    job = _pool_job(pooling_loops.AVG_POOL_GRADIENT, shape, grad, params, grad.dtype)
    example = pooling_kernels.avg_pool_gradient(grad.value.example, shape, kernel, stride, padding, count_pad, override)
    divisors = pool_divisors(shape[2:], grad.shape[2:], kernel, stride, padding, count_pad, override, grad.dtype)
    inputs = [channels_last(trace, grad), trace.add_array(divisors)]
    return record(trace, "avg_pool_gradient", job, inputs, example, n_images=shape[0])[0]


def _pool_job(pool: Any, shape: Any, outputs: Any, params: Any, *dtypes: Any) -> Any:
    """Return the job of a pooling kernel.

    Args:
        pool: the kernel's template.
        shape: the shape of the images, (N, C, H, W).
        outputs: an array with one element for each window, (N, C, H′, W′).
        params: the kernel size, stride, padding and dilation come first.
        dtypes: the types of the kernel's arrays.
    """
    images, channels, *size = shape
    _require(math.prod(shape) > 0 and outputs.size > 0)
    return pool_job(pool, (images, *size, channels), (images, *outputs.shape[2:], channels), tuple(params[:4]), dtypes)


def _fused_attention(trace: Trace, *inputs: Any, **options: Any) -> tuple[Tracer, ...]:
    """Record attention of query, key and value; return its result and the logsumexp of its scores."""
    arrays = [_with_contiguous_rows(trace, x) for x in inputs]
    examples: list[Any] = [x.value.example for x in arrays]
    out, logsumexp = attention_kernels.attention(*examples, **options)
    job = attention_kernels.forward_job(attention_kernels.layouts_of(*examples, out), dtype=out.dtype, **options)
    return record(trace, "fused_attention", job, arrays, out, [logsumexp], flops=attention_kernels.flops(job))


def _fused_attention_gradients(trace: Trace, *inputs: Any, **options: Any) -> tuple[Tracer, ...]:
    """Record the gradients of query, key and value, from grad, query, key, value, out and logsumexp."""
    arrays = [*(_with_contiguous_rows(trace, x) for x in inputs[:-1]), contiguous(trace, inputs[-1])]
    examples: list[Any] = [x.value.example for x in arrays]
    results = attention_kernels.attention_gradients(*examples, **options)
    layouts = attention_kernels.layouts_of(*examples[:-1], *results)
    job = attention_kernels.gradient_job(layouts, dtype=results[0].dtype, **options)
    flops = attention_kernels.flops(job)
    return record(trace, "fused_attention_gradients", job, arrays, results[0], results[1:], flops=flops)


def _with_contiguous_rows(trace: Trace, x: Any) -> Tracer:
    """Return x, or a copy of it if the attention kernels cannot read its rows in place."""
    tracer = trace.as_tracer(x)
    return tracer if attention_kernels.has_contiguous_rows(tracer.value.example) else contiguous(trace, tracer)


def _terms(weight: Any) -> int:
    """Return how many products are summed for one element of a convolution's result."""
    return int(math.prod(weight.shape[1:]))


def _require(is_supported: bool) -> None:
    """Raise `Untraceable` unless the kernel supports the arrays."""
    if not is_supported:
        raise Untraceable(UNSUPPORTED)


def _indices(trace: Trace, input: Any, *, size: int, name: str, ignore_index: int | None = None) -> Tracer:
    """Check an argument that holds indices, or a view of all its elements.

    Each run repeats the check before it changes anything.
    """
    x = trace.as_tracer(input)
    argument = base_of(x.value)
    _require(argument.kind == "argument" and argument.example.size == x.size and x.dtype.kind in "iu")
    indexing.check_indices(x.value.example, size=size, name=name, ignore_index=ignore_index)
    validate = partial(indexing.check_indices, size=size, name=name, ignore_index=ignore_index)
    trace.glue.index_checks.append((argument, size, ignore_index, validate))
    return Tracer(trace, x.value) if x.dtype == np.int64 else trace.cast(x, np.int64)


def _embedding_lookup(trace: Trace, input: Any, index: Any) -> Tracer:
    """Copy rows of a matrix by index."""
    table, indices = contiguous(trace, input), contiguous(trace, index)
    _require(table.ndim == 2 and indices.dtype == np.int64 and computes_with(table.dtype))
    example = table.value.example[indices.value.example]
    job = row_kernels.gather_job(type_of(table.dtype), indices.size, table.shape[1])
    return record(trace, "embedding_lookup", job, [table, indices], example)[0]


def _add_rows(trace: Trace, input: Any, index: Any, *, count: int) -> Tracer:
    """Add rows to a matrix of zeros, by index."""
    grad, indices = contiguous(trace, input), contiguous(trace, index)
    width = grad.shape[-1]
    _require(indices.dtype == np.int64 and grad.dtype.kind == "f" and grad.dtype.itemsize > 2)
    example = row_kernels.add_rows(grad.value.example, indices.value.example, count)
    job = row_kernels.add_rows_job(type_of(grad.dtype), indices.size, width, count * width)
    return record(trace, "add_rows", job, [grad, indices], example)[0]


def _add_at(trace: Trace, input: Any, *, index: Any, shape: Any) -> Tracer:
    """Compute the gradient of a slice, which is zero outside the slice."""
    _require(indexing.is_basic(index))
    x = trace.as_tracer(input)
    out = np.zeros(shape, x.dtype)
    return copies(trace, out, [(x, out[index])], fill=True)


def _index_put(trace: Trace, input: Any, value: Any, *, index: Any) -> Tracer:
    """Copy an array, and set the elements of the copy at an index."""
    _require(indexing.is_basic(index))
    x = trace.as_tracer(input)
    value = trace.as_tracer(value).astype(x.dtype, copy=False)
    out = np.array(x.value.example)
    return copies(trace, out, [(x, out), (value, out[index])])


def _concatenate(trace: Trace, *inputs: Any, dim: int = 0) -> Tracer:
    """Concatenate arrays along a dimension."""
    arrays = [trace.as_tracer(x) for x in inputs]
    _require(len({x.dtype for x in arrays}) == 1)
    out = np.ascontiguousarray(np.concatenate([x.value.example for x in arrays], dim))
    ends = np.cumsum([x.shape[dim] for x in arrays])
    return copies(trace, out, list(zip(arrays, np.split(out, ends[:-1], dim), strict=True)))


def copies(trace: Trace, out: Any, pieces: Sequence[tuple[Tracer, Any]], fill: bool = False) -> Tracer:
    """Record copies of arrays into parts of one result.

    Args:
        trace: the trace.
        out: an array like the result, in C order.
        pieces: the arrays, each with a view of the part of `out` that it is copied to.
        fill: set all other elements to 0.
    """
    pieces = [(x, target) for x, target in pieces if x.size]
    _require(bool(pieces) and out.flags.c_contiguous and all(np.may_share_memory(target, out) for _, target in pieces))
    copied_pieces = []
    for x, target in pieces:
        source = np.broadcast_to(x.value.example, target.shape)
        offset = target.__array_interface__["data"][0] - out.__array_interface__["data"][0]
        strides = [[s // out.itemsize for s in array.strides] for array in (source, target)]
        copied_pieces.append((target.shape, *strides, offset // out.itemsize))
    job = copy_job(out.dtype, out.shape, copied_pieces, fill)
    if job is None:
        raise Untraceable("copies of more than four dimensions")
    return record(trace, "copy", job, [x for x, _ in pieces], out)[0]


def _python_call(operation: Any) -> Callable[..., Any]:
    """Return a rule that records a Python call of the formula: for operations whose loops a trace would unroll."""
    return lambda trace, *inputs, **options: trace.add_call(operation.name, operation.formula, inputs, options)


RULES: dict[Any, Callable[..., Any]] = {
    indexing.check_indices: _indices,
    indexing.embedding_lookup: _embedding_lookup,
    indexing.add_rows: _add_rows,
    indexing.add_at: _add_at,
    indexing.index_put: _index_put,
    shape.concatenate: _concatenate,
    attention.fused_attention: _fused_attention,
    attention.fused_attention_gradients: _fused_attention_gradients,
    convolution.convolution: _convolution,
    convolution.convolution_input_gradient: _convolution_input_gradient,
    convolution.convolution_weight_gradient: _convolution_weight_gradient,
    pooling.max_pool: _max_pool,
    pooling.max_pool_gradient: _max_pool_gradient,
    pooling.avg_pool: _avg_pool,
    pooling.avg_pool_gradient: _avg_pool_gradient,
    recurrent.recurrent_scan: _python_call(recurrent.recurrent_scan),
    recurrent.recurrent_scan_gradients: _python_call(recurrent.recurrent_scan_gradients),
}
"""The lowering rule of each operation that has one."""
