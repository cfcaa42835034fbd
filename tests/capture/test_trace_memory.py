"""Tracing needs about as much memory as an eager call: the arrays that nothing refers to any more are freed."""

import tracemalloc

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture.trace import Trace

N = 250_000  # a megabyte of float32


@pytest.fixture
def peak_of(monkeypatch):
    """The peak of the memory that a call allocates until it ends or, if it traces, the trace does: in arrays of N."""
    peaks = []

    def end(trace, end=Trace.end):
        peaks.append(tracemalloc.get_traced_memory()[1])
        end(trace)

    def measure(call):
        peaks.clear()
        tracemalloc.start()
        try:
            call()
            return min([*peaks, tracemalloc.get_traced_memory()[1]]) / (4 * N)
        finally:
            tracemalloc.stop()

    monkeypatch.setattr(Trace, "end", end)
    return measure


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal(N).astype(np.float32)


def test_a_chain_of_operations(x, peak_of):
    @chainrule.jit
    def f(x):
        for step in range(40):
            x = (x + step).tanh()[::-1]
        return x

    expected = x
    for step in range(40):
        expected = np.tanh(expected + np.float32(step))[::-1]
    first = []
    with chainrule.no_grad():
        assert (
            peak_of(lambda: first.append(f(chainrule.from_numpy(x)))) < 12
        )  # 80 results, and the program's own memory
    for result in (first[0], f(chainrule.from_numpy(x))):
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)


def test_a_training_step_needs_no_more_than_eagerly(peak_of):
    rng = np.random.default_rng(6)
    x, y = (chainrule.from_numpy(rng.standard_normal((1000, 250)).astype(np.float32)) for _ in range(2))
    network = nn.Sequential(*(part for _ in range(8) for part in (nn.Linear(250, 250), nn.Tanh(), nn.GELU())))
    optimizer = optim.Adam(network.parameters())

    def step():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step()  # creates the optimizer's state
    eager, traced = peak_of(step), peak_of(chainrule.jit(step))
    assert (
        traced < 1.6 * eager
    )  # new weights and states are not in place; all intermediate arrays are ten times as much


def test_a_freed_result_that_is_computed_again(x):
    @chainrule.jit
    def f(x):
        total = x.exp().sum()  # nothing refers to exp(x) from here on
        for _ in range(3):
            x = x * 1.0
        again = (x * 1.0 / x).sqrt().sum() * 0 + x.exp()[:5].max()
        return total, again, x.exp().min()

    for factor in (1, -2):
        results = f(chainrule.from_numpy(factor * x))
        powers = np.exp(factor * x.astype(np.float64))
        expected = powers.sum(), powers[:5].max(), powers.min()
        np.testing.assert_allclose([float(result) for result in results], expected, rtol=1e-5)


def test_views_and_changes_in_place_of_what_is_freed(x):
    @chainrule.jit
    def f(x):
        a = x * 2
        view = a[10:20]
        b = a + 1
        a += 1  # the array that `a` was is freed; its view follows the change
        c = b * b
        del b
        view *= 3
        return a, view.sum(), c[:3]

    for offset in (0, 5):
        a = (x + offset) * 2 + 1
        c = a[:3] * a[:3]
        a[10:20] *= 3
        results = f(chainrule.from_numpy(x + offset))
        for result, expected in zip(results, (a, a[10:20].sum(), c), strict=True):
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)
