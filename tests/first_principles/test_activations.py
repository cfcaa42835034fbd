"""Activations: no overflow, and derivatives that agree with the engine's and with finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.first_principles.activations import (
    ACTIVATIONS,
    leaky_relu,
    leaky_relu_derivative,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
)
from chainrule.first_principles.finite_difference import central_difference

ENGINE = {
    "sigmoid": chainrule.sigmoid,
    "tanh": chainrule.tanh,
    "ReLU": chainrule.relu,
    "leaky ReLU": nn.functional.leaky_relu,
}
POINTS = np.random.default_rng(0).normal(0, 4, (5, 7))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_agrees_with_the_engine(name: str) -> None:
    function, derivative = ACTIVATIONS[name]
    z = chainrule.tensor(POINTS, requires_grad=True)
    out = ENGINE[name](z)
    upstream = np.random.default_rng(1).normal(size=POINTS.shape)
    (out * chainrule.tensor(upstream)).sum().backward()
    np.testing.assert_allclose(function(POINTS), np.asarray(out.detach()), rtol=0, atol=1e-12)
    np.testing.assert_allclose(upstream * derivative(POINTS), np.asarray(z.grad), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_agrees_with_finite_differences(name: str) -> None:
    function, derivative = ACTIVATIONS[name]
    weight = np.random.default_rng(2).normal(size=POINTS.shape)
    expected = central_difference(lambda z: float((weight * function(z)).sum()), POINTS)
    np.testing.assert_allclose(weight * derivative(POINTS), expected, rtol=0, atol=1e-8)


def test_far_away_nothing_overflows() -> None:
    far = np.array([-np.inf, -1e308, -1000.0, -750.0, 0.0, 750.0, 1000.0, 1e308, np.inf])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(far), [0, 0, 0, 0, 0.5, 1, 1, 1, 1], atol=1e-308)
        assert sigmoid_derivative(far).tolist() == [0, 0, 0, 0, 0.25, 0, 0, 0, 0]
    assert sigmoid(-40.0) == pytest.approx(np.exp(-40.0), rel=1e-14)  # small, but not lost


def test_at_the_corner_and_slopes() -> None:
    assert relu_derivative(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 0, 1]
    assert leaky_relu(np.array([-2.0, 3.0]), 0.5).tolist() == [-1, 3]
    assert leaky_relu_derivative(np.array([-2.0, 3.0]), 0.5).tolist() == [0.5, 1]
