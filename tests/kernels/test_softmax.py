"""Softmax and its kin on compiled loops and in plain NumPy, against the plainest loop, and in operations."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule.kernels import compile as kernels
from chainrule.kernels import softmax, team

F = chainrule.nn.functional
RNG = np.random.default_rng(5)
SHAPES = {
    "rows": ((5, 9), -1),
    "long rows": ((3, 1100), 1),
    "columns": ((3, 1500), 0),
    "pictures": ((2, 5, 3, 4), 1),
    "a line": ((6,), 0),
    "one class": ((4, 1), 1),
    "one example": ((1, 4), -1),
    "none": ((0, 4), 1),
    "no class": ((4, 0), 1),
}


def by_hand(x, grad, classes, losses_grad, dim):
    """Line by line: softmax, its logarithm, their gradients, the losses and their gradient."""
    lines, ups = np.moveaxis(x, dim, -1), np.moveaxis(grad, dim, -1)
    p, y, of_p, of_y, of_loss = (np.zeros(lines.shape) for _ in range(5))
    losses = np.zeros(classes.shape)
    for at in np.ndindex(lines.shape[:-1] if lines.size else (0,)):
        line, up, high = lines[at].tolist(), ups[at].tolist(), max(lines[at].tolist())
        total = math.fsum(math.exp(v - high) for v in line)
        p[at] = [math.exp(v - high) / total for v in line]
        y[at] = [v - high - math.log(total) for v in line]
        along, whole = math.fsum(u * v for u, v in zip(up, p[at], strict=True)), math.fsum(up)
        of_p[at] = [v * (u - along) for u, v in zip(up, p[at], strict=True)]
        of_y[at] = [u - v * whole for u, v in zip(up, p[at], strict=True)]
        place = classes[at]
        there = 0 <= place < len(line)
        losses[at] = -y[at][place] if there else 0
        of_loss[at] = [losses_grad[at] * (v - (there and i == place)) for i, v in enumerate(p[at])]
    return losses, *(np.moveaxis(found, -1, dim) for found in (p, y, of_p, of_y, of_loss))


def check(x, dim, rtol):
    shape = np.moveaxis(x, dim, -1).shape
    grad = RNG.standard_normal(x.shape).astype(x.dtype)
    classes, losses_grad = RNG.integers(-1, shape[-1] + 1, shape[:-1]), RNG.standard_normal(shape[:-1]).astype(x.dtype)
    losses, p, y, of_p, of_y, of_loss = by_hand(x, grad, classes, losses_grad, dim)
    found = [
        (softmax.class_loss(x, classes, dim), losses),
        (softmax.softmax(x, dim), p),
        (softmax.log_softmax(x, dim), y),
        (softmax.softmax_gradient(grad, p.astype(x.dtype), dim), of_p),
        (softmax.log_softmax_gradient(grad, y.astype(x.dtype), dim), of_y),
        (softmax.class_loss_gradient(losses_grad, x, classes, dim), of_loss),
    ]
    long_sums = rtol * np.sqrt(shape[-1])  # rounding of a gradient's sum along a line
    for result, expected in found:
        assert result.dtype == x.dtype
        np.testing.assert_allclose(result, expected, rtol=10 * rtol, atol=long_sums * np.abs(expected).max(initial=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "dim"), SHAPES.values(), ids=SHAPES)
def test_line_by_line(backend, threads, shape, dim, dtype):
    check((3 * RNG.standard_normal(shape)).astype(dtype), dim, 1e-6 if dtype == np.float32 else 1e-14)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 10**6))
def test_any_shape_in_any_order(backend, shape, dim, seed):
    random = np.random.default_rng(seed)
    x = random.standard_normal(shape).transpose(random.permutation(len(shape)))
    check(x[tuple(slice(None, None, random.choice([1, -1, 2])) for _ in shape)], dim % x.ndim, 1e-13)


@pytest.mark.parametrize("dim", [1, -1])
def test_results_keep_the_order_in_memory(backend, dim):
    x = np.moveaxis(RNG.standard_normal((2, 5, 6, 3)), -1, 1)  # channels last
    classes = np.zeros(np.delete(x.shape, dim), np.int64)
    results = [
        softmax.softmax(x, dim), softmax.log_softmax(x, dim), softmax.softmax_gradient(x.copy(), x, dim),
        softmax.log_softmax_gradient(x.copy(), x, dim), softmax.class_loss_gradient(classes * 1.0, x, classes, dim),
    ]  # fmt: skip
    for result in results:
        assert result.strides == x.strides


def test_arrays_that_must_not_be_written_to(backend):
    x = RNG.standard_normal((3, 4))
    x.flags.writeable = False
    np.testing.assert_allclose(softmax.softmax(x, 1).sum(1), 1)
    np.testing.assert_allclose(softmax.softmax(np.broadcast_to(x[0], (3, 4)), 0), 1 / 3)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_as_in_numpy(backend, value, dim):
    x = RNG.standard_normal((40, 40)).astype(np.float32)
    x[3, 5], x[7], x[:, 9] = value, value, value
    classes = np.arange(40)
    with np.errstate(all="ignore"):
        powers = np.exp(x - x.max(dim, keepdims=True))
        p = powers / powers.sum(dim, keepdims=True)
        np.testing.assert_allclose(softmax.softmax(x, dim), p, rtol=1e-5)
        y = x - x.max(dim, keepdims=True)
        y = y - np.log(np.exp(y).sum(dim, keepdims=True))
        np.testing.assert_allclose(softmax.log_softmax(x, dim), y, rtol=1e-5, atol=1e-6)
        losses = softmax.class_loss(x, classes, dim)
        np.testing.assert_allclose(losses, -np.diagonal(y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [0, 1])
def test_large_numbers_do_not_overflow(backend, dim):
    x = np.full((33, 33), 3e38, np.float32)
    np.testing.assert_allclose(softmax.softmax(x, dim), 1 / 33, rtol=1e-6)
    np.testing.assert_allclose(softmax.log_softmax(-x, dim), -math.log(33), rtol=1e-6)


@pytest.mark.parametrize("dim", [0, 1])
def test_threads_change_no_bit(monkeypatch, dim):
    monkeypatch.setattr(team, "WORTH_A_THREAD", 1)
    x, grad = RNG.standard_normal((2, 60, 3001)).astype(np.float32)
    classes, ups = RNG.integers(0, 60, 3001 if dim == 0 else 60), grad.take(0, dim)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(team, "_threads", threads)
        p, y = softmax.softmax(x, dim), softmax.log_softmax(x, dim)
        found.append([
            p, y, softmax.softmax_gradient(grad, p, dim), softmax.log_softmax_gradient(grad, y, dim),
            softmax.class_loss(x, classes, dim), softmax.class_loss_gradient(ups, x, classes, dim),
        ])  # fmt: skip
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


# In operations


CLASSES = np.array([[0, 2, 1], [1, -100, 3]])
FORMULAS = {
    "softmax": lambda x: F.softmax(x, 1),
    "softmax, the last": lambda x: F.softmax(x, -1),
    "softmax, the first": lambda x: x.softmax(0),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "log_softmax, the last": lambda x: F.log_softmax(x, -1),
    **{
        f"cross_entropy, {how}": lambda x, how=how: F.cross_entropy(x, chainrule.from_numpy(CLASSES), reduction=how)
        for how in ("none", "sum", "mean")
    },
    "cross_entropy, a class to ignore": lambda x: F.cross_entropy(
        x, chainrule.from_numpy(abs(CLASSES) % 4), ignore_index=0
    ),
    "cross_entropy of rows": lambda x: F.cross_entropy(x[0].T, chainrule.from_numpy(np.array([1, 2, 0]))),
}


def both_ways(monkeypatch, run):
    """What comes of it by NumPy and by kernels."""
    for size in (10**9, 1):
        monkeypatch.setattr(kernels, "LARGE", size)
        yield run()


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_by_kernels_and_by_numpy_agree(monkeypatch, formula, dtype):
    start = RNG.standard_normal((2, 4, 3)).astype(dtype)

    def run():
        x = chainrule.from_numpy(start.copy()).requires_grad_()
        out = formula(x)
        (grad,) = chainrule.autograd.grad((out + 1).square().sum(), [x])
        return out.detach().numpy(), grad.numpy()

    for by_numpy, by_kernel in zip(*both_ways(monkeypatch, run), strict=True):
        assert by_kernel.dtype == dtype
        np.testing.assert_allclose(by_kernel, by_numpy, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_derivatives_by_kernels(monkeypatch, formula):
    monkeypatch.setattr(kernels, "LARGE", 1)
    x = chainrule.from_numpy(RNG.standard_normal((2, 4, 3))).requires_grad_()
    assert chainrule.autograd.gradcheck(formula, (x,))
    assert chainrule.autograd.gradgradcheck(formula, (x,))


def test_large_arrays_take_kernels_and_no_others(monkeypatch):
    taken = []
    monkeypatch.setattr(softmax, "softmax", lambda x, dim: taken.append(x.shape) or x)
    for shape in ((4, kernels.LARGE // 4), (4, kernels.LARGE // 4 - 1)):
        F.softmax(chainrule.zeros(*shape), -1)
    F.softmax(chainrule.zeros(4, kernels.LARGE), -1, dtype=np.float64)
    assert taken == [(4, kernels.LARGE // 4), (4, kernels.LARGE)]


def test_a_dimension_that_is_not_there():
    with pytest.raises(IndexError, match="out of"):
        F.softmax(chainrule.zeros(2, kernels.LARGE), 2)
