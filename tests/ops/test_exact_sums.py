"""Sums and means are accurate to float32: eager, compiled, and without a compiler; over any dimension."""

import warnings

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.capture import jit
from chainrule.kernels import machine
from chainrule.nn import functional as F  # noqa: N812

CLOSE = 1e-6


@pytest.fixture(params=["eager", "compiled", "without a compiler"])
def run(request, monkeypatch):
    """Run a function of a tensor in one of three ways."""
    if request.param == "without a compiler":
        monkeypatch.setattr(machine, "_available", False)
    return jit if request.param == "compiled" else lambda function: function


def tensor(shape, value):
    return chainrule.from_numpy(np.full(shape, value, np.float32))


SHAPES = [((3000,), 0), ((200, 3), 0), ((1000, 4), 0), ((3, 1000), 1), ((5, 700, 3), 1), ((300, 2, 5), (0, 2)),
          ((60_000, 3), 0), ((20, 3, 40, 40), (0, 2, 3)), ((40_000,), 0)]  # fmt: skip
REDUCTIONS = {
    "sum": (lambda x, dim: x.sum(dim), lambda v, n: v * n),
    "mean": (lambda x, dim: x.mean(dim), lambda v, n: v),
    "square": (lambda x, dim: (x * x).sum(dim), lambda v, n: v * v * n),
    "norm": (lambda x, dim: x.norm(dim=dim), lambda v, n: v * np.sqrt(n)),
    "norm 1": (lambda x, dim: x.norm(p=1, dim=dim), lambda v, n: v * n),
    "norm 3": (lambda x, dim: x.norm(p=3, dim=dim), lambda v, n: v * n ** (1 / 3)),
    "logsumexp": (lambda x, dim: x.logsumexp(dim), lambda v, n: v + np.log(n)),
    "beside another": (lambda x, dim: x.sum(dim) + 0 * x.amax(dim) + 0 * (x * x).sum(dim), lambda v, n: v * n),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, shape, dim, run):
    function, expected = REDUCTIONS[name]
    count = np.prod([shape[d] for d in np.atleast_1d(dim)])
    compute = run(lambda x: function(x, dim))
    for value in (0.1, 1.7, 1.3400001):
        for lies in (lambda x: x, lambda x: np.ascontiguousarray(x.T).T):
            x = chainrule.from_numpy(lies(np.full(shape, value, np.float32)))
            out = compute(x).numpy()
            np.testing.assert_allclose(out, expected(float(np.float32(value)), count), rtol=CLOSE)


@pytest.mark.parametrize(
    ("shape", "dim"), [((1000, 4), 0), ((300_000, 4), 0), ((4, 2000), 1), ((3, 900, 2), 1)], ids=str
)
def test_spread_around_a_mean(shape, dim, run):
    constant = tensor(shape, 1.32)
    std, var = run(lambda x: x.std(dim)), run(lambda x: x.var(dim))
    assert (std(constant).numpy() <= 1e-6).all()
    x = np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)
    np.testing.assert_allclose(var(chainrule.from_numpy(x)).numpy(), x.astype(np.float64).var(dim, ddof=1), rtol=CLOSE)


@pytest.mark.parametrize("number", [3000, 60_000])
def test_losses(number, run):
    x, y = tensor((number, 2), 1.7), tensor((number, 2), 1)
    target = chainrule.from_numpy(np.arange(number) % 2)
    error = float(np.float32(1.7)) - 1
    for loss, expected in (
        (lambda x: F.mse_loss(x, y), error**2), (lambda x: F.l1_loss(x, y, "sum"), error * 2 * number),
        (lambda x: F.cross_entropy(x, target), np.log(2)), (lambda x: F.cross_entropy(x, target, reduction="sum"), np.log(2) * number),
        (lambda x: F.nll_loss(x, target), -float(np.float32(1.7))),
    ):  # fmt: skip
        np.testing.assert_allclose(run(loss)(x).item(), expected, rtol=CLOSE)


@pytest.mark.parametrize("shape", [(2, 3000, 3), (2, 30_000, 2)], ids=str)
def test_softmax_along_a_dimension_in_between(shape, run):
    x = tensor(shape, 0.7)
    np.testing.assert_allclose(run(lambda x: F.softmax(x, 1))(x).numpy(), 1 / shape[1], rtol=CLOSE)
    np.testing.assert_allclose(run(lambda x: F.log_softmax(x, 1))(x).numpy(), -np.log(shape[1]), rtol=CLOSE)
    slope = np.random.default_rng(0).random(shape, np.float32)

    def gradient(x):
        x = x.detach().requires_grad_()
        return chainrule.autograd.grad((F.softmax(x, 1) * chainrule.from_numpy(slope)).sum(), x)[0]

    wide = slope.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = run(gradient)(x).numpy()
    np.testing.assert_allclose(out, expected, atol=CLOSE / shape[1])


@pytest.mark.parametrize("shape", [(3000, 3), (100_000, 3), (50, 3, 30, 30)], ids=str)
def test_batch_norm(shape, run):
    norm = nn.BatchNorm1d(3, momentum=1.0) if len(shape) == 2 else nn.BatchNorm2d(3, momentum=1.0)
    x = np.random.default_rng(1).normal(5, 2, shape).astype(np.float32)
    out = run(lambda x: norm(x))(chainrule.from_numpy(x)).numpy()
    dims = tuple(d for d in range(len(shape)) if d != 1)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(norm.running_mean.numpy(), wide.mean(dims), rtol=CLOSE)
    np.testing.assert_allclose(norm.running_var.numpy(), wide.var(dims, ddof=1), rtol=CLOSE)
    expected = (wide - wide.mean(dims, keepdims=True)) / np.sqrt(wide.var(dims, keepdims=True) + norm.eps)
    np.testing.assert_allclose(out, expected, atol=4e-6)


@pytest.mark.parametrize("examples", [200, 3000, 30_000])
def test_gradients_of_what_is_repeated(examples, run):
    """Gradients of a bias, a scale, a single number: the tape sums over the broadcast dimensions."""
    bias, scale, number = (chainrule.ones(*shape, requires_grad=True) for shape in ((3,), (1, 3), ()))
    upstream = tensor((examples, 3), 0.7)

    def step(x):
        for p in (bias, scale, number):
            p.grad = None
        ((x * scale + bias) * upstream + number * upstream).sum().backward()

    run(step)(tensor((examples, 3), 1.7))
    each = float(np.float32(0.7)) * examples
    np.testing.assert_allclose(bias.grad.numpy(), each, rtol=CLOSE)
    np.testing.assert_allclose(scale.grad.numpy(), each * float(np.float32(1.7)), rtol=CLOSE)
    np.testing.assert_allclose(number.grad.numpy(), 3 * each, rtol=CLOSE)


def test_gradient_of_a_convolutions_bias(run):
    convolution = nn.Conv2d(2, 3, 3)
    upstream = tensor((30, 3, 20, 20), 0.7)

    def step(x):
        convolution.zero_grad()
        (convolution(x) * upstream).sum().backward()

    run(step)(tensor((30, 2, 22, 22), 1.7))
    np.testing.assert_allclose(convolution.bias.grad.numpy(), float(np.float32(0.7)) * 30 * 400, rtol=CLOSE)


@pytest.mark.parametrize(("side", "kernel"), [(30, 30), (100, 100), (40, (40, 3)), (80, (2, 80))])
@pytest.mark.parametrize("channels", [1, 3, 300])
def test_means_of_large_windows(side, kernel, channels, run):
    x = tensor((2, channels, side, side), 1.7)
    out = run(lambda x: F.avg_pool2d(x, kernel))(x).numpy()
    np.testing.assert_allclose(out, np.float32(1.7), rtol=CLOSE)


def test_windows_of_many_taps_that_overlap_the_border(run):
    x = np.random.default_rng(0).random((2, 3, 20, 25), np.float32)
    out = run(lambda x: F.avg_pool2d(x, (13, 15), stride=(3, 4), padding=(6, 7)))(chainrule.from_numpy(x)).numpy()
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (6, 6), (7, 7)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (13, 15), (2, 3))[:, :, ::3, ::4]
    np.testing.assert_allclose(out, windows.mean((-1, -2)), rtol=CLOSE)


@pytest.mark.parametrize("shape", [(5000,), (3, 5000), (5000, 3)], ids=str)
def test_sums_so_far(shape, run):
    dim = int(np.argmax(shape))
    x = tensor(shape, 0.1)
    expected = np.cumsum(np.full(shape, np.float32(0.1), np.float64), dim)
    np.testing.assert_allclose(run(lambda x: x.cumsum(dim))(x).numpy(), expected, rtol=CLOSE)

    def gradient(x):
        x = x.detach().requires_grad_()
        return chainrule.autograd.grad((x.cumsum(dim) * 0.1).sum(), x)[0]

    np.testing.assert_allclose(run(gradient)(x).numpy(), np.flip(expected, dim), rtol=CLOSE)


def test_a_product_of_few_rows_and_many_terms():
    """A product that BLAS does not compute."""
    x = tensor((2, 1_000_000), 1.7)
    out = jit(lambda x: x @ x.T)(x).numpy()
    np.testing.assert_allclose(out, float(np.float32(1.7)) ** 2 * 1_000_000, rtol=5e-6)


@pytest.mark.slow
def test_twenty_million(run):
    ones = chainrule.ones(20_000_000)
    assert run(lambda x: x.sum())(ones).item() == 20_000_000
    mean, largest = run(lambda x: (x.mean(), x.max()))(ones)
    assert (mean.item(), largest.item()) == (1, 1)
    assert run(lambda x: x.cumsum(0)[-1])(ones).item() == 20_000_000
    tenths = tensor(10_000_000, 0.1)
    mean, square = run(lambda x: (x.mean(), (x * x).sum()))(tenths)
    np.testing.assert_allclose(mean.item(), np.float32(0.1), rtol=CLOSE)
    np.testing.assert_allclose(square.item(), float(np.float32(0.1)) ** 2 * 10_000_000, rtol=CLOSE)
    rows = tensor((1_000_000, 4), 1.7)
    np.testing.assert_allclose(run(lambda x: x.mean(0))(rows).numpy(), np.float32(1.7), rtol=CLOSE)
