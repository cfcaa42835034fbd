"""Pooling and its gradients, against windows computed one by one and against PyTorch."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chainrule.kernels.pooling import (
    avg_pool,
    avg_pool_gradient,
    max_pool,
    max_pool_gradient,
    max_pool_indices,
    pooled_size,
)

RNG = np.random.default_rng(3)

# shape, kernel, stride, padding, dilation, ceil_mode
CASES = {
    "halves": ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    "rest left over": ((2, 3, 7, 9), (2, 3), (2, 3), (0, 0), (1, 1), False),
    "overlap and padding": ((2, 9, 9, 7), (3, 2), (2, 1), (1, 1), (1, 2), True),
    "one dimension": ((1, 4, 1, 20), (1, 5), (1, 3), (0, 2), (1, 1), True),
    "gaps": ((2, 3, 9, 9), (2, 2), (5, 4), (1, 1), (2, 1), True),
    "large window": ((1, 2, 17, 17), (17, 16), (1, 1), (0, 0), (1, 1), False),
    "no images": ((0, 3, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    "no channels": ((2, 0, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
}


def windows(shape, kernel, stride, padding, dilation, ceil_mode):
    """For each position: its window's taps inside the image, as (tap, h, w)."""
    height, width = pooled_size(shape[2:], kernel, stride, padding, dilation, ceil_mode)
    for i in range(height):
        for j in range(width):
            taps = []
            for tap in range(kernel[0] * kernel[1]):
                h = i * stride[0] - padding[0] + tap // kernel[1] * dilation[0]
                w = j * stride[1] - padding[1] + tap % kernel[1] * dilation[1]
                if 0 <= h < shape[2] and 0 <= w < shape[3]:
                    taps.append((tap, h, w))
            yield i, j, taps


def check_max(x, kernel, stride, padding, dilation, ceil_mode):
    out, taps = max_pool(x, kernel, stride, padding, dilation, ceil_mode)
    grad = RNG.standard_normal(out.shape).astype(x.dtype)
    dx = np.zeros_like(x)
    indices = max_pool_indices(taps, x.shape[3], kernel, stride, padding, dilation)
    for i, j, inside in windows(x.shape, kernel, stride, padding, dilation, ceil_mode):
        values = np.stack([x[:, :, h, w] for _, h, w in inside])
        np.testing.assert_array_equal(out[:, :, i, j], values.max(axis=0))
        which = values.argmax(axis=0)
        np.testing.assert_array_equal(taps[:, :, i, j], np.array([tap for tap, _, _ in inside])[which])
        np.testing.assert_array_equal(indices[:, :, i, j], np.array([h * x.shape[3] + w for _, h, w in inside])[which])
        for n, c in np.ndindex(x.shape[:2]):
            dx[n, c, inside[which[n, c]][1], inside[which[n, c]][2]] += grad[n, c, i, j]
    ours = max_pool_gradient(grad, taps, x.shape, kernel, stride, padding, dilation)
    np.testing.assert_allclose(ours, dx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_max_pool_window_by_window(backend, threads, case, dtype):
    shape, *how = case
    if dtype == np.float64 and how[0] == (17, 16):
        pytest.skip("tested with float32; another type only needs another compilation")
    check_max(RNG.integers(-3, 3, shape).astype(dtype), *how)  # few values, so that there are ties


@st.composite
def cases(draw):
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, stride, dilation = draw(pair), draw(pair), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2))
    shape = draw(st.integers(1, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    how = kernel, stride, padding, dilation, draw(st.booleans())
    assume(all(shape[2 + a] + 2 * padding[a] > dilation[a] * (kernel[a] - 1) for a in (0, 1)))
    assume(all(taps for *_, taps in windows(shape, *how)))
    return shape, *how


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_max_pool_with_any_geometry(backend, case):
    shape, *how = case
    check_max(RNG.integers(-3, 3, shape).astype(np.float32), *how)


def test_nan_wins_and_minus_infinity_is_a_maximum(backend):
    x = np.array([[1, np.nan, 5, 2, -np.inf, -np.inf], [3, np.nan, 7, np.inf, -np.inf, -np.inf]], np.float32)
    out, taps = max_pool(x[None, None], (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(out.ravel(), [np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(taps.ravel(), [3, 3, 0])
    many = np.repeat(x[None, None], 37, axis=1)  # more channels than a vector has lanes
    np.testing.assert_array_equal(max_pool(many, (2, 2), (2, 2), (0, 0))[0], np.repeat(out, 37, axis=1))
    np.testing.assert_array_equal(max_pool(many, (2, 2), (2, 2), (0, 0))[1], np.repeat(taps, 37, axis=1))


@pytest.mark.parametrize("case", [
    *CASES.values(),
    ((2, 5, 7, 7), (2, 2), (2, 2), (0, 0), (1, 1), True),  # the last windows reach beyond the border
    ((2, 5, 9, 8), (3, 2), (3, 2), (1, 1), (1, 1), True),
    ((2, 5, 6, 6), (2, 2), (2, 2), (0, 0), (1, 2), False),  # as many taps as numbers, but not one for each
])  # fmt: skip
def test_gradients_write_every_number(backend, case):
    """Also pixels that are in no window, whatever the memory held before."""
    shape, kernel, stride, padding, dilation, ceil_mode = case
    x = RNG.permutation(np.prod(shape)).reshape(shape).astype(np.float32)  # each window has one largest number
    check_max(x, kernel, stride, padding, dilation, ceil_mode)
    average = avg_pool(x, kernel, stride, padding)
    expected = np.zeros(shape, np.float32)
    for i, j, inside in windows(shape, kernel, stride, padding, (1, 1), False):
        for _, h, w in inside:
            expected[:, :, h, w] += average[:, :, i, j] / np.prod(kernel)
    result = avg_pool_gradient(average, shape, kernel, stride, padding)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


def test_taps_are_bytes_unless_there_are_too_many(backend):
    x = RNG.standard_normal((1, 1, 17, 17)).astype(np.float32)
    assert max_pool(x, (16, 16), (1, 1), (0, 0))[1].dtype == np.uint8
    assert max_pool(x, (17, 16), (1, 1), (0, 0))[1].dtype == np.int32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", [(True, None), (False, None), (True, 7)])
@pytest.mark.parametrize("name", ["halves", "rest left over", "one dimension", "no images", "padded", "over the edge"])
def test_avg_pool_agrees_with_pytorch(backend, threads, name, how, dtype):
    torch = pytest.importorskip("torch")
    more = {
        "padded": ((2, 9, 7, 6), (3, 4), (1, 2), (1, 2), None, False),
        "over the edge": ((2, 3, 6, 7), (3, 3), (2, 4), (1, 1), None, True),
    }
    shape, kernel, stride, padding, _, ceil_mode = {**CASES, **more}[name]
    x = RNG.standard_normal(shape).astype(dtype)
    tx = torch.tensor(x, requires_grad=True)
    theirs = torch.nn.functional.avg_pool2d(tx, kernel, stride, padding, ceil_mode, *how)
    grad = RNG.standard_normal(theirs.shape).astype(dtype)
    theirs.backward(torch.tensor(grad))
    ours = avg_pool(x, kernel, stride, padding, ceil_mode, *how)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    back = avg_pool_gradient(grad, x.shape, kernel, stride, padding, *how)
    np.testing.assert_allclose(back, tx.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_max_pool_agrees_with_pytorch(backend, case):
    torch = pytest.importorskip("torch")
    shape, kernel, stride, padding, dilation, ceil_mode = case
    if 0 in shape:
        pytest.skip("PyTorch returns no indices for empty arrays of every shape")
    x = RNG.integers(-3, 3, shape).astype(np.float32)
    x[0, 0, 0, 1:3] = np.nan
    out, indices = torch.nn.functional.max_pool2d(
        torch.tensor(x), kernel, stride, padding, dilation, ceil_mode, return_indices=True
    )
    ours, taps = max_pool(x, kernel, stride, padding, dilation, ceil_mode)
    np.testing.assert_array_equal(ours, out.numpy())
    np.testing.assert_array_equal(max_pool_indices(taps, shape[3], kernel, stride, padding, dilation), indices.numpy())


def test_avg_pool_by_hand(backend):
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    np.testing.assert_array_equal(avg_pool(x, (2, 2), (2, 2), (1, 1)).ravel(), [0, 0.75, 2.25, 6])
    np.testing.assert_array_equal(
        avg_pool(x, (2, 2), (2, 2), (1, 1), count_include_pad=False).ravel(), [0, 1.5, 4.5, 6]
    )
    grad = np.full((1, 1, 2, 2), 4, np.float32)
    np.testing.assert_array_equal(avg_pool_gradient(grad, x.shape, (2, 2), (2, 2), (1, 1)), np.ones((1, 1, 3, 3)))


def test_results_are_channels_last_for_any_input(backend):
    shape, *how = CASES["overlap and padding"]
    x = RNG.standard_normal(shape).astype(np.float32)
    spaced = np.repeat(x, 2, axis=3)[..., ::2]
    out, taps = max_pool(x, *how)
    np.testing.assert_array_equal(max_pool(spaced, *how)[0], out)
    np.testing.assert_array_equal(avg_pool(spaced, *how[:3]), avg_pool(x, *how[:3]))
    grad = np.broadcast_to(np.float32(2), out.shape)
    back = max_pool_gradient(grad, taps, shape, *how[:4])
    np.testing.assert_array_equal(back, max_pool_gradient(np.full(out.shape, 2, np.float32), taps, shape, *how[:4]))
    assert np.isclose(back.sum(), grad.sum())
    for result in (out, taps, back, avg_pool(x, *how[:3])):
        assert result.transpose(0, 2, 3, 1).flags.c_contiguous
