"""How weights start: bounds, spreads, and errors."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.nn import init

FANS = (300, 200)  # in, out


def weight() -> nn.Parameter:
    return nn.Parameter(chainrule.zeros(FANS[1], FANS[0]))


@pytest.mark.parametrize(
    ("function", "options", "bound"),
    [
        (init.uniform_, {}, None),
        (init.uniform_, {"a": -2.0, "b": 2.0}, 2.0),
        (init.xavier_uniform_, {}, math.sqrt(6 / 500)),
        (init.xavier_uniform_, {"gain": 3.0}, 3 * math.sqrt(6 / 500)),
        (init.kaiming_uniform_, {}, math.sqrt(2) * math.sqrt(3 / 300)),
        (init.kaiming_uniform_, {"mode": "fan_out"}, math.sqrt(2) * math.sqrt(3 / 200)),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, 1 / math.sqrt(300)),
        (init.kaiming_uniform_, {"nonlinearity": "tanh"}, 5 / 3 * math.sqrt(3 / 300)),
    ],
)
def test_even(function, options, bound):
    w = function(weight(), generator=np.random.default_rng(0), **options).numpy()
    low, high = (0, 1) if bound is None else (-bound, bound)
    width = high - low
    assert low <= w.min() < low + 0.001 * width
    assert high - 0.001 * width < w.max() <= np.float32(high)
    assert w.mean() == pytest.approx((low + high) / 2, abs=0.01 * width)
    assert w.std() == pytest.approx(width / math.sqrt(12), rel=0.01)


@pytest.mark.parametrize(
    ("function", "options", "mean", "std"),
    [
        (init.normal_, {}, 0, 1),
        (init.normal_, {"mean": 3.0, "std": 0.5}, 3, 0.5),
        (init.xavier_normal_, {}, 0, math.sqrt(2 / 500)),
        (init.xavier_normal_, {"gain": 2.0}, 0, 2 * math.sqrt(2 / 500)),
        (init.kaiming_normal_, {}, 0, math.sqrt(2 / 300)),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "linear"}, 0, math.sqrt(1 / 200)),
        (init.kaiming_normal_, {"a": 0.5}, 0, math.sqrt(2 / 1.25 / 300)),
    ],
)
def test_bell(function, options, mean, std):
    w = function(weight(), generator=np.random.default_rng(0), **options).numpy()
    assert w.mean() == pytest.approx(mean, abs=0.02 * std)
    assert w.std() == pytest.approx(std, rel=0.01)
    assert np.abs(w - mean).max() > 3.5 * std  # not cut off


def test_constants():
    w = weight()
    assert (init.constant_(w, 2.5).numpy() == 2.5).all()
    assert (init.zeros_(w).numpy() == 0).all()
    assert init.ones_(w) is w
    assert (w.numpy() == 1).all()
    assert (w.requires_grad, w.is_leaf) == (True, True)


def test_the_same_seed_gives_the_same_bits():
    for function in (
        init.uniform_,
        init.normal_,
        init.xavier_uniform_,
        init.xavier_normal_,
        init.kaiming_uniform_,
        init.kaiming_normal_,
    ):
        own = [function(weight(), generator=np.random.default_rng(3)).numpy().tobytes() for _ in range(2)]
        assert own[0] == own[1]
        default = []
        for _ in range(2):
            chainrule.manual_seed(3)
            default.append(function(weight()).numpy().tobytes())
        assert default[0] == default[1]


def test_fans():
    assert init.fans(chainrule.zeros(5, 3)) == (3, 5)
    assert init.fans(chainrule.zeros(8, 3, 5, 5)) == (75, 200)
    with pytest.raises(ValueError, match=re.escape("needs two dimensions or more to have a fan, this has shape (3,)")):
        init.xavier_uniform_(chainrule.zeros(3))


def test_gains():
    assert [init.calculate_gain(n) for n in ("linear", "sigmoid", "tanh", "relu")] == [1, 1, 5 / 3, math.sqrt(2)]
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / 1.0001)
    with pytest.raises(
        ValueError, match="nonlinearity must be one of linear, sigmoid, tanh, relu, leaky_relu, not 'gelu'"
    ):
        init.kaiming_normal_(weight(), nonlinearity="gelu")
    with pytest.raises(ValueError, match="""mode must be "fan_in" or "fan_out", not 'in'"""):
        init.kaiming_uniform_(weight(), mode="in")
