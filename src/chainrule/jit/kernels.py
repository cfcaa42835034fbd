"""Convolution and pooling in programs, and indices: the steps that each is made of, with the kernels that make them.

A kernel is called by its address (`kernels.job`), so it is never compiled for a program. A convolution is two
steps, weights packed side by side and the product itself; its gradient to the weights is two, the sums over parts of
the images and the sum of the parts. What lies between them has its place in the arena like any other array. Where
stages follow one another image by image, `schedule` makes groups of them.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.jit.graph import Value
from chainrule.jit.schedule import balanced
from chainrule.jit.tracer import Tracer, Untraceable
from chainrule.kernels import convolution as convolutions
from chainrule.kernels import pooling as pools
from chainrule.kernels import team
from chainrule.ops import convolution, indexing, pooling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.jit.trace import Trace


def step(
    trace: Trace, name: str, job: Any, inputs: Sequence[Tracer], example: Any, also: Sequence[Any] = (), **options: Any
) -> tuple[Tracer, ...]:
    """A kernel's results: `example`, and `also`; its arrays are the inputs, then these.

    Options: `flops`, additions and multiplications; `images`, if it works image by image; `parts`, if it sums over
    images in so many parts; `each`, if every thread makes a result of its own, of so many bytes.
    """
    values = [x.value for x in inputs]
    made = trace.made("kernel", name, [*values, trace.constant(job.description).value], example, job=job, **options)
    others = tuple(trace.made("part", name, [made.value], array) for array in also)
    each = -(-job.scratch // 64) * 64
    scratch = Value("scratch", name, (), np.empty(each * team.threads(), np.uint8), {"each": each})
    made.value.options["also"] = [*(x.value for x in others), *([scratch] if each else [])]
    return made, *others


def channels_last(trace: Trace, x: Any) -> Tracer:
    """X (N, C, H, W), in memory as (N, H, W, C)."""
    tracer = trace.named(x)
    seen = tracer.value.example.transpose(0, 2, 3, 1)
    if seen.flags.c_contiguous:
        return tracer
    return trace.ordered(tracer, np.ascontiguousarray(seen).transpose(0, 3, 1, 2))


def contiguous(trace: Trace, x: Any) -> Tracer:
    """X, in memory dimension by dimension."""
    tracer = trace.named(x)
    example = tracer.value.example
    return tracer if example.flags.c_contiguous else trace.ordered(tracer, np.ascontiguousarray(example))


def _plans() -> Any:
    return import_module("chainrule.kernels.plans")  # here, for it loads LLVM


def _convolution(trace: Trace, input: Any, weight: Any, *, slide: Any) -> Tracer:
    plans = _plans()
    x, weight = trace.named(input), trace.named(weight)
    how = plans.forward(x.shape, weight.shape, tuple(slide), x.dtype)
    example = convolutions.convolve(x.value.example, weight.value.example, *slide)
    return _correlated(trace, "convolution", how, x, weight, example, example.size * _terms(weight))


def _convolution_to_input(trace: Trace, input: Any, weight: Any, *, shape: Any, slide: Any) -> Tracer:
    plans = _plans()
    grad, weight = trace.named(input), trace.named(weight)
    how = plans.input_gradient(grad.shape, weight.shape, tuple(shape), tuple(slide), grad.dtype)
    example = convolutions.convolve_input_gradient(grad.value.example, weight.value.example, shape, *slide)
    return _correlated(trace, "convolution_to_input", how, grad, weight, example, grad.size * _terms(weight))


def _correlated(trace: Trace, name: str, how: Any, x: Tracer, weight: Tracer, example: Any, pairs: int) -> Tracer:
    _check(how.correlate is not None and x.dtype == weight.dtype)
    # threads that share out one image read the weights but once each, so each packs its own
    copies, each = (1, {}) if balanced(x.shape[0]) else (team.threads(), {"each": how.packed * x.dtype.itemsize})
    example_packed = np.empty((copies, how.packed), x.dtype)
    packed = step(trace, "packed weights", how.pack, [contiguous(trace, weight)], example_packed, **each)
    inputs = [channels_last(trace, x), *packed]
    return step(trace, name, how.correlate, inputs, example, flops=2 * pairs, images=x.shape[0])[0]


def _convolution_to_weight(trace: Trace, input: Any, out_grad: Any, *, shape: Any, slide: Any) -> Tracer:
    plans = _plans()
    x, grad = trace.named(input), trace.named(out_grad)
    how = plans.weight_gradient(x.shape, grad.shape, tuple(shape), tuple(slide), x.dtype)
    _check(how is not None and x.dtype == grad.dtype)
    parts, pieces = how.sums[:2]
    inputs, example = [channels_last(trace, x), channels_last(trace, grad)], np.empty(how.sums, x.dtype)
    flops = 2 * grad.size * math.prod(shape[1:])
    name = "convolution_to_weight"
    if pieces == 1:
        sums = step(trace, name, how.images, inputs, example, flops=flops, images=x.shape[0], parts=parts)
    else:
        sums = step(trace, name, how.items, inputs, example, flops=flops)
    example = convolutions.convolve_weight_gradient(x.value.example, grad.value.example, shape, *slide)
    return step(trace, "sum of parts", how.unpack, sums, example, flops=math.prod(how.sums))[0]


def _max_pool(trace: Trace, input: Any, *, window: Any) -> tuple[Tracer, Tracer]:
    plans = _plans()
    x = trace.named(input)
    out, taps = pools.max_pool(x.value.example, *window)
    job = _windows(plans.MAX, x.shape, out, window, x.dtype, taps.dtype)
    found = step(trace, "max_pool", job, [channels_last(trace, x)], out, [taps], images=x.shape[0])
    return found[0], found[1]


def _unpool(trace: Trace, input: Any, *, taps: Any, shape: Any, window: Any) -> Tracer:
    plans = _plans()
    grad, taps = trace.named(input), trace.named(taps)
    job = _windows(plans.MAX_GRADIENT, shape, grad, window, grad.dtype, taps.dtype)
    example = pools.max_pool_gradient(grad.value.example, taps.value.example, shape, *window[:4])
    inputs = [channels_last(trace, grad), channels_last(trace, taps)]
    return step(trace, "max_pool_gradient", job, inputs, example, images=shape[0])[0]


def _avg_pool(trace: Trace, input: Any, *, window: Any, by: Any) -> Tracer:
    plans = _plans()
    x = trace.named(input)
    kernel, stride, padding, _, ceil_mode = window
    example = pools.avg_pool(x.value.example, kernel, stride, padding, ceil_mode, *by)
    job = _windows(plans.AVG, x.shape, example, window, x.dtype)
    divisors = pools.pool_divisors(x.shape[2:], example.shape[2:], kernel, stride, padding, by[0], by[1], x.dtype)
    inputs = [channels_last(trace, x), trace.constant(divisors)]
    return step(trace, "avg_pool", job, inputs, example, images=x.shape[0])[0]


def _spread_pool(trace: Trace, input: Any, *, shape: Any, window: Any, by: Any) -> Tracer:
    plans = _plans()
    grad = trace.named(input)
    kernel, stride, padding, *_ = window
    job = _windows(plans.AVG_GRADIENT, shape, grad, window, grad.dtype)
    example = pools.avg_pool_gradient(grad.value.example, shape, kernel, stride, padding, *by)
    divisors = pools.pool_divisors(shape[2:], grad.shape[2:], kernel, stride, padding, by[0], by[1], grad.dtype)
    inputs = [channels_last(trace, grad), trace.constant(divisors)]
    return step(trace, "avg_pool_gradient", job, inputs, example, images=shape[0])[0]


def _windows(pool: Any, shape: Any, places: Any, window: Any, *dtypes: Any) -> Any:
    """The kernel for pictures (N, C, H, W) and an array of places (N, C, H′, W′)."""
    images, channels, *size = shape
    _check(math.prod(shape) > 0 and places.size > 0)
    return pool.windows((images, *size, channels), (images, *places.shape[2:], channels), window[:4], *dtypes)


def _terms(weight: Any) -> int:
    """How many products a place's sum has, for each output channel."""
    return int(math.prod(weight.shape[1:]))


def _check(works: bool) -> None:
    if not works:
        raise Untraceable("a convolution or pooling of nothing, or of two types")


def _indices(trace: Trace, input: Any, *, size: int, name: str, spared: int | None = None) -> Tracer:
    """An argument is looked at before the run, whose error then comes before anything has changed."""
    x = trace.named(input)
    _check(x.value.kind == "argument" and x.dtype.kind in "iu")
    indexing.indices(x.value.example, size=size, name=name, spared=spared)
    trace.host.indices.append((x.value, size, name, spared))
    return Tracer(trace, x.value) if x.dtype == np.int64 else trace.cast(x, np.int64)


STEPS: dict[Any, Callable[..., Any]] = {
    indexing.indices: _indices,
    convolution.convolution: _convolution,
    convolution.convolution_to_input: _convolution_to_input,
    convolution.convolution_to_weight: _convolution_to_weight,
    pooling.max_pool: _max_pool,
    pooling.unpool: _unpool,
    pooling.avg_pool: _avg_pool,
    pooling.spread_pool: _spread_pool,
}
"""How operations are written down that are not NumPy's."""
