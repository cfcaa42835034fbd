"""Standardisation on compiled loops and in plain NumPy, against the plainest loop, and in operations."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule.kernels import compile as kernels
from chainrule.kernels import team
from chainrule.kernels.normalization import moments, standardize, standardize_gradient

F = chainrule.nn.functional
RNG = np.random.default_rng(6)
EPS = 0.1
# shape, dims, the weight's shape
CASES = {
    "rows": ((5, 9), (1,), (9,)),
    "long rows": ((130, 600), -1, (600,)),
    "columns": ((300, 7), (0,), (7,)),
    "pictures, each channel": ((3, 5, 6, 7), (0, 2, 3), (1, 5, 1, 1)),
    "small pictures": ((70, 5, 2, 2), (0, 2, 3), (1, 5, 1, 1)),
    "pictures, each one's": ((3, 5, 6, 7), (2, 3), (5, 1, 1)),
    "groups": ((3, 2, 4, 6, 7), (2, 3, 4), (2, 4, 1, 1)),
    "dimensions apart": ((2, 3, 2, 3, 2), (1, 3), (2, 3, 2)),
    "everything": ((4, 5), (0, 1), ()),
    "one number each": ((4, 1), (1,), (4, 1)),
    "none": ((0, 4), (1,), (4,)),
    "of nothing": ((4, 0), (1,), ()),
}


def lines(shape, dims):
    """For each place in the other dimensions, which elements belong together: a tuple of indices each."""
    along = {d % len(shape) for d in np.atleast_1d(dims).tolist()}
    for at in itertools.product(*(range(1 if d in along else size) for d, size in enumerate(shape))):
        ranges = [range(size) if d in along else [at[d]] for d, size in enumerate(shape)]
        yield at, list(itertools.product(*ranges))


def summed_to(shape, array):
    """Summed where an array of that shape was broadcast."""
    array = array.sum(tuple(range(array.ndim - len(shape))))
    return array.sum(tuple(d for d, size in enumerate(shape) if size == 1), keepdims=True)


def check(x, dims, weight_shape, rtol):
    weight, bias = RNG.standard_normal((2, *weight_shape)).astype(x.dtype)
    grad = RNG.standard_normal(x.shape).astype(x.dtype)
    weights = np.broadcast_to(weight, x.shape)
    y, of_x = np.zeros(x.shape), np.zeros(x.shape)
    means, variances = moments(x, dims)
    for at, places in lines(x.shape, dims):
        numbers, n = [float(x[place]) for place in places], len(places)
        if not n:
            continue
        mean = math.fsum(numbers) / n
        variance = math.fsum((v - mean) ** 2 for v in numbers) / n
        np.testing.assert_allclose([means[at], variances[at]], [mean, variance], rtol=10 * rtol, atol=rtol)
        spread = math.sqrt(variance + EPS)
        for place, v in zip(places, numbers, strict=True):
            y[place] = (v - mean) / spread
        ups = [float(grad[place]) * float(weights[place]) for place in places]
        level, slope = math.fsum(ups) / n, math.fsum(u * y[place] for u, place in zip(ups, places, strict=True)) / n
        for place, up in zip(places, ups, strict=True):
            of_x[place] = (up - level - y[place] * slope) / spread
    out = standardize(x, weight, bias, dims, EPS)
    found = standardize_gradient(grad, x, weight, weight.shape, dims, EPS)
    assert out.dtype == x.dtype
    np.testing.assert_allclose(out, y * weight + bias, rtol=rtol, atol=10 * rtol)
    np.testing.assert_allclose(found[0], of_x, rtol=rtol, atol=10 * rtol)
    for part, expected in zip(found[1:], (grad * y, grad), strict=True):
        full = np.broadcast_to(part, np.broadcast_shapes(part.shape, weight.shape))
        expected = summed_to(weight.shape, expected.astype(np.float64))
        np.testing.assert_allclose(summed_to(weight.shape, full), expected, rtol=rtol, atol=10 * rtol * x.size**0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "dims", "weight"), CASES.values(), ids=CASES)
def test_number_by_number(backend, threads, shape, dims, weight, dtype):
    x = (2 + 3 * RNG.standard_normal(shape)).astype(dtype)
    check(x, dims, weight, 2e-6 if dtype == np.float32 else 1e-13)
    if len(shape) > 2:
        check(np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1), dims, weight, 2e-6)  # channels last


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_any_shape_in_any_order(backend, shape, data):
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    x = random.standard_normal(shape).transpose(random.permutation(len(shape)))
    x = x[tuple(slice(None, None, random.choice([1, -1, 2])) for _ in shape)]
    dims = data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1).map(lambda found: tuple(sorted(found))))
    weight = [size if data.draw(st.booleans()) else 1 for size in x.shape]
    check(x, dims, tuple(weight), 1e-12)


@pytest.mark.parametrize("dims", [(0, 2, 3), (1, 2, 3), (2, 3), (1,)], ids=str)
def test_results_keep_the_order_in_memory(backend, dims):
    x = np.moveaxis(RNG.standard_normal((2, 5, 6, 3)), -1, 1)  # channels last
    assert standardize(x, 1.0, 0.0, dims, EPS).strides == x.strides
    assert standardize_gradient(x.copy(), x, 1.0, (), dims, EPS)[0].strides == x.strides


def test_arrays_that_must_not_be_written_to(backend):
    x = RNG.standard_normal((3, 4))
    x.flags.writeable = False
    np.testing.assert_allclose(standardize(x, 1.0, 0.0, 1, 0.0).var(1), 1)
    np.testing.assert_allclose(standardize(np.broadcast_to(x[0], (3, 4)), 1.0, 0.0, 0, EPS), 0, atol=1e-14)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dims", [0, 1])
def test_what_is_not_finite_spoils_its_own_line(backend, dims, value):
    x = RNG.standard_normal((70, 70)).astype(np.float32)
    x[3, 3] = value
    with np.errstate(all="ignore"):
        found = standardize(x, 1.0, 0.0, dims, EPS), standardize_gradient(x, x, 1.0, (), dims, EPS)[0]
    for result in found:
        wrong = np.isnan(result)
        assert wrong.take(3, 1 - dims).all()
        assert wrong.sum() == 70


@pytest.mark.parametrize("dims", [0, 1])
def test_numbers_far_from_zero_keep_their_digits(dims):
    x = (1000 + RNG.standard_normal((4000, 16))).astype(np.float32)
    x = x if dims == 0 else np.ascontiguousarray(x.T)
    exact = x.astype(np.float64)
    mean, variance = moments(x, dims)
    np.testing.assert_allclose(mean, exact.mean(dims, keepdims=True), rtol=2e-7)
    np.testing.assert_allclose(variance, exact.var(dims, keepdims=True), rtol=2e-5)
    same = standardize(np.full((50, 50), 0.1, np.float32), 1.0, 0.0, dims, 1e-5)
    np.testing.assert_allclose(same, 0, atol=1e-4)


@pytest.mark.parametrize(("shape", "dims", "weight"), [
    ((4000, 24), 0, (24,)), ((999, 77), 1, (77,)), ((20, 7, 9, 9), (0, 2, 3), (7, 1, 1)),
], ids=["columns", "rows", "pieces"])  # fmt: skip
def test_threads_change_no_bit(monkeypatch, shape, dims, weight):
    monkeypatch.setattr(team, "WORTH_A_THREAD", 1)
    x, grad = RNG.standard_normal((2, *shape)).astype(np.float32)
    weight, bias = RNG.standard_normal((2, *weight)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(team, "_threads", threads)
        gradients = standardize_gradient(grad, x, weight, weight.shape, dims, EPS)
        found.append([standardize(x, weight, bias, dims, EPS), *gradients, *moments(x, dims)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


# In operations

LAYERS = {
    "layer_norm": ((4, 3, 6), (6,), lambda x, w, b: F.layer_norm(x, (6,), w, b)),
    "layer_norm of two": ((4, 3, 6), (3, 6), lambda x, w, b: F.layer_norm(x, (3, 6), w, b)),
    "group_norm": ((2, 6, 5), (6,), lambda x, w, b: F.group_norm(x, 3, w, b)),
    "group_norm of single channels": ((2, 6, 5), (6,), lambda x, w, b: F.group_norm(x, 6, w, b)),
    "batch_norm": ((4, 3, 2, 2), (3,), lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
    "batch_norm of rows": ((6, 5), (5,), lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
}


@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True), (False, False)], ids=str)
@pytest.mark.parametrize(("shape", "channels", "layer"), LAYERS.values(), ids=LAYERS)
def test_operations_by_kernels_and_by_numpy_agree(monkeypatch, shape, channels, layer, parts):
    start, weights = RNG.standard_normal(shape), RNG.standard_normal((2, *channels))
    found = []
    for size in (10**9, 1):
        monkeypatch.setattr(kernels, "LARGE", size)
        x, w, b = (chainrule.from_numpy(array.copy()).requires_grad_() for array in (start, *weights))
        out = layer(x, w if parts[0] else None, b if parts[1] else None)
        leaves = [leaf for leaf, there in zip((x, w, b), (True, *parts), strict=True) if there]
        grads = chainrule.autograd.grad((out + 1).square().sum(), leaves)
        found.append([out.detach().numpy(), *(grad.numpy() for grad in grads)])
    for by_numpy, by_kernel in zip(*found, strict=True):
        assert by_kernel.shape == by_numpy.shape
        np.testing.assert_allclose(by_kernel, by_numpy, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("shape", "channels", "layer"), LAYERS.values(), ids=LAYERS)
def test_derivatives_by_kernels(monkeypatch, shape, channels, layer):
    monkeypatch.setattr(kernels, "LARGE", 1)
    given = [chainrule.from_numpy(RNG.standard_normal(size)).requires_grad_() for size in (shape, channels, channels)]
    assert chainrule.autograd.gradcheck(layer, given)
    assert chainrule.autograd.gradgradcheck(layer, given)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_running_statistics_of_large_pictures(last):
    x = (3 + RNG.standard_normal((40, 5, 10, 10))).astype(np.float32)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x
    mean, variance = chainrule.zeros(5), chainrule.ones(5)
    out = F.batch_norm(chainrule.from_numpy(x), mean, variance, training=True)
    assert out.numpy().strides == x.strides
    np.testing.assert_allclose(mean.numpy(), 0.1 * x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(variance.numpy(), 0.9 + 0.1 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
