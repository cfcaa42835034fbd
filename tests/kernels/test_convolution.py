"""Convolution and its gradients, against the plain sum and against PyTorch."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chainrule.kernels import convolution_setup, machine
from chainrule.kernels import team as kernels
from chainrule.kernels.convolution import convolve, convolve_input_gradient, convolve_weight_gradient
from chainrule.kernels.geometry import output_size

TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}
RNG = np.random.default_rng(7)


def naive(x, weight, stride, padding, dilation, groups, grad=None):
    """(out, gradient of x, gradient of weight), term by term."""
    outputs, depth, *kernel = weight.shape
    sizes = [output_size(x.shape[2 + a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    out = np.zeros((len(x), outputs, *sizes))
    grad = np.ones_like(out) if grad is None else grad
    dx, dw = np.zeros(x.shape), np.zeros(weight.shape)
    for o, i, j, c, ky, kx in itertools.product(range(outputs), *map(range, sizes), range(depth), *map(range, kernel)):
        h = i * stride[0] + ky * dilation[0] - padding[0][0]
        w = j * stride[1] + kx * dilation[1] - padding[1][0]
        if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
            channel = o // (outputs // groups) * depth + c
            out[:, o, i, j] += x[:, channel, h, w] * weight[o, c, ky, kx]
            dx[:, channel, h, w] += grad[:, o, i, j] * weight[o, c, ky, kx]
            dw[o, c, ky, kx] += np.sum(grad[:, o, i, j] * x[:, channel, h, w])
    return out, dx, dw


def all_three(x, weight, grad, *how):
    return (
        convolve(x, weight, *how),
        convolve_input_gradient(grad, weight, x.shape, *how),
        convolve_weight_gradient(x, grad, weight.shape, *how),
    )


def check(x, weight, grad, *how):
    for ours, expected in zip(all_three(x, weight, grad, *how), naive(x, weight, *how, grad), strict=True):
        assert ours.dtype == x.dtype
        assert ours.shape == expected.shape
        scale = max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE[x.dtype.type] * scale)


def sample(shape, outputs, kernel, stride, padding, dilation, groups, dtype=np.float32):
    sizes = [output_size(shape[2 + a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    x = RNG.standard_normal(shape).astype(dtype)
    weight = RNG.standard_normal((outputs, shape[1] // groups, *kernel)).astype(dtype)
    grad = RNG.standard_normal((shape[0], outputs, *sizes)).astype(dtype)
    return x, weight, grad, stride, padding, dilation, groups


# shape, output channels, kernel, stride, padding, dilation, groups
CASES = {
    "plain": ((2, 3, 6, 5), 4, (3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "one place": ((1, 2, 3, 3), 1, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "one tap": ((2, 3, 4, 4), 9, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "uneven padding, stride": ((2, 2, 7, 6), 3, (3, 2), (2, 3), ((2, 1), (0, 3)), (1, 1), 1),
    "padding beyond the kernel": ((1, 2, 3, 4), 2, (2, 2), (1, 2), ((4, 5), (3, 3)), (1, 1), 1),
    "dilation and stride": ((2, 2, 9, 8), 2, (3, 3), (2, 1), ((1, 1), (2, 2)), (2, 3), 1),
    "stride beyond the kernel": ((1, 2, 7, 7), 2, (2, 1), (3, 4), ((0, 0), (0, 0)), (1, 1), 1),
    "rows never read": ((1, 1, 8, 8), 2, (2, 2), (5, 5), ((0, 0), (0, 0)), (1, 1), 1),
    "groups": ((2, 6, 5, 5), 9, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    "depthwise": ((2, 4, 5, 5), 4, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4),
    "one dimension": ((2, 3, 1, 20), 5, (1, 4), (1, 2), ((0, 0), (7, 7)), (1, 3), 1),
    "wide and narrow tiles": ((1, 3, 4, 5), 41, (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "groups that fill a vector together": ((2, 4, 12, 11), 16, (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
    "no images": ((0, 3, 5, 5), 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "no input channels": ((2, 0, 5, 5), 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "no output channels": ((2, 3, 5, 5), 0, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "nothing but padding": ((2, 3, 0, 2), 2, (3, 3), (1, 1), ((2, 2), (1, 1)), (1, 1), 1),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_plain_sum(backend, threads, case, dtype):
    check(*sample(*case, dtype))


@st.composite
def cases(draw):
    small = st.integers(1, 3)
    pair = st.tuples(small, small)
    groups = draw(small)
    shape = draw(st.integers(0, 2)), groups * draw(st.integers(0, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    ends = st.tuples(st.integers(0, 3), st.integers(0, 3))
    case = (
        shape,
        groups * draw(st.integers(1, 9)),
        draw(pair),
        draw(pair),
        draw(st.tuples(ends, ends)),
        draw(pair),
        groups,
    )
    _, _, kernel, stride, padding, dilation, _ = case
    assume(all(output_size(shape[2 + a], padding[a], kernel[a], stride[a], dilation[a]) > 0 for a in (0, 1)))
    return case


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_geometry(backend, case):
    check(*sample(*case))


@pytest.mark.parametrize("case", [
    ((3, 1, 28, 28), 32, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    ((3, 32, 14, 14), 64, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    ((2, 64, 15, 13), 72, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 2),
    ((2, 40, 12, 13), 112, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),  # tiles of 4, 2 and 1 vectors, several slabs
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_pytorch(backend, case, dtype):
    torch = pytest.importorskip("torch")
    x, weight, grad, stride, padding, dilation, groups = sample(*case, dtype)
    tx, tw = torch.tensor(x, requires_grad=True), torch.tensor(weight, requires_grad=True)
    out = torch.nn.functional.conv2d(
        tx, tw, stride=stride, padding=[p[0] for p in padding], dilation=dilation, groups=groups
    )
    out.backward(torch.tensor(grad))
    ours = all_three(x, weight, grad, stride, padding, dilation, groups)
    for mine, theirs in zip(ours, (out.detach(), tx.grad, tw.grad), strict=True):
        scale = float(theirs.abs().max())
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE[dtype] * scale)


def test_any_memory_order(backend):
    x, weight, grad, *how = sample(*CASES["groups"])
    spaced = np.repeat(x, 2, axis=3)[..., ::2]
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    backwards = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    for other in (spaced, last, backwards, np.asfortranarray(x)):
        check(other, np.asfortranarray(weight), np.asfortranarray(grad), *how)


def test_broadcast_gradient(backend):
    """The gradient of a sum is one broadcast number: read-only, with strides of 0."""
    x, weight, grad, *how = sample(*CASES["plain"])
    check(x, weight, np.broadcast_to(np.float32(2), grad.shape), *how)


def test_read_only_arrays_need_no_other_kernel():
    arrays = sample(*CASES["groups"])
    x, weight, grad, *how = arrays
    check(*arrays)
    expected = all_three(*arrays)
    for order in (np.array, lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        x, weight, grad = (order(array) for array in (x, weight, grad))
        for array in (x, weight, grad):
            array.flags.writeable = False
        before = set(machine._addresses)
        for ours, right in zip(all_three(x, weight, grad, *how), expected, strict=True):
            np.testing.assert_array_equal(ours, right)
        assert set(machine._addresses) == before


OTHER_PROCESSOR = """
import sys
from chainrule.kernels import processor
processor.features = lambda: {sys.argv[1]: True}
import numpy as np
from tests.kernels.test_convolution import CASES, check, sample
for name in ("uneven padding, stride", "groups", "wide and narrow tiles"):
    check(*sample(*CASES[name], getattr(np, sys.argv[2])))
from chainrule.kernels import machine
assert any("convolution_loops.correlate" in key for key in machine._addresses)  # not NumPy
"""


@pytest.mark.parametrize(("feature", "dtype"), [("avx512f", "float32"), ("avx", "float64"), ("neon", "float32")])
def test_vectors_of_any_width(tmp_path, feature, dtype):
    """LLVM splits vectors that are wider than the registers, so other processors' tiles can be tested on this one."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", OTHER_PROCESSOR, feature, dtype],
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CHAINRULE_CACHE": str(tmp_path)},
    )


def test_results_are_channels_last(backend):
    x, weight, grad, *how = sample(*CASES["uneven padding, stride"])
    for result in all_three(x, weight, grad, *how)[:2]:
        assert result.transpose(0, 2, 3, 1).flags.c_contiguous


def test_inputs_are_unchanged(backend):
    arrays = sample(*CASES["groups"])
    before = [array.copy() for array in arrays[:3]]
    all_three(*arrays)
    for array, copy in zip(arrays, before, strict=False):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("elements", [2**20, 1])  # parts of the images, or pieces of the weights
def test_results_do_not_depend_on_the_number_of_threads(monkeypatch, elements):
    monkeypatch.setattr(convolution_setup, "PARTS_ELEMENTS", elements)
    convolution_setup.weight_gradient.cache_clear()
    monkeypatch.setattr(kernels, "ITERATIONS_PER_THREAD", 1)
    x, weight, grad, *how = sample((21, 2, 5, 6), 19, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    results = []
    for threads in (1, 2, 5, 5):
        monkeypatch.setattr(kernels, "_threads", threads)
        results.append([array.tobytes() for array in all_three(x, weight, grad, *how)])
    assert all(result == results[0] for result in results)
    check(x, weight, grad, *how)
