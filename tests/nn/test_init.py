"""How weights start: bounds, spreads, and errors."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import scipy.stats

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


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({}, -2, 2),
        ({"std": 0.02}, -0.1, 0.1),  # never near the bounds
        ({"mean": 1.0, "std": 2.0, "a": 0.5, "b": 1.5}, 0.5, 1.5),  # nearly flat
        ({"a": 1.0, "b": 3.0}, 1, 3),  # a side
        ({"a": 4.0, "b": 9.0}, 4, 9),  # far out
        ({"mean": -3.0, "std": 0.5, "a": -9.0, "b": -4.5}, -9, -4.5),
    ],
)
def test_bell_cut_off(options, low, high):
    w = init.trunc_normal_(weight(), generator=np.random.default_rng(0), **options)
    mean, std = options.get("mean", 0.0), options.get("std", 1.0)
    a, b = options.get("a", -2.0), options.get("b", 2.0)
    assert a <= w.numpy().min()
    assert w.numpy().max() <= b
    cut = scipy.stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert scipy.stats.kstest(w.numpy().ravel(), cut.cdf).pvalue > 0.01
    assert low <= w.numpy().min() < w.numpy().max() <= high


def test_bell_cut_off_needs_room():
    for options in ({"a": 2.0}, {"std": 0.0}, {"b": float("nan")}):
        with pytest.raises(ValueError, match="trunc_normal_: needs a < b and std > 0, got a="):
            init.trunc_normal_(weight(), **options)
    assert init.trunc_normal_(nn.Parameter(np.zeros(()))).shape == ()
    assert init.trunc_normal_(nn.Parameter(np.zeros((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (6, 2, 3), (2, 5, 2, 1), (1, 1)])
def test_right_angles(shape):
    w = init.orthogonal_(nn.Parameter(np.zeros(shape)), gain=3.0).numpy().reshape(shape[0], -1) / 3
    smaller = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(smaller, np.eye(min(w.shape)), atol=1e-14)


def test_right_angles_turn_every_way():
    """Without the signs of R's diagonal the first element would nearly always be negative."""
    rng = np.random.default_rng(0)
    first = [init.orthogonal_(nn.Parameter(np.zeros((3, 3))), generator=rng).numpy()[0, 0] for _ in range(400)]
    assert abs(np.mean(np.sign(first))) < 0.15
    assert np.mean(np.square(first)) == pytest.approx(1 / 3, abs=0.05)


def test_right_angles_need_two_dimensions():
    with pytest.raises(
        ValueError, match=re.escape("orthogonal_: a weight needs at least two dimensions, got shape (3,)")
    ):
        init.orthogonal_(chainrule.zeros(3))
    assert init.orthogonal_(chainrule.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (lambda w: init.uniform_(w, 2, 1), ValueError, "uniform_: needs finite bounds with a <= b, got a=2, b=1"),
        (lambda w: init.uniform_(w, 0, math.inf), ValueError, "uniform_: needs finite bounds with a <= b, got a=0"),
        (lambda w: init.uniform_(w, math.nan), ValueError, "uniform_: needs finite bounds with a <= b, got a=nan"),
        (lambda w: init.uniform_(w, "0"), TypeError, "uniform_: takes numbers, not str"),
        (lambda w: init.normal_(w, std=-1), ValueError, "normal_: std must not be negative, got -1"),
        (lambda w: init.normal_(w, std=math.nan), ValueError, "normal_: std must not be negative, got nan"),
        (lambda w: init.normal_(w, std="1"), TypeError, "normal_: std must be a number, not '1'"),
        (lambda w: init.trunc_normal_(w, a="1"), TypeError, "trunc_normal_: takes numbers, not str"),
        (lambda w: init.xavier_uniform_(w, -1), ValueError, "xavier_uniform_: gain must not be negative, got -1"),
        (lambda w: init.xavier_normal_(w, None), TypeError, "xavier_normal_: gain must be a number, not None"),
        (lambda w: init.orthogonal_(w, "1"), TypeError, "orthogonal_: takes numbers, not str"),
        (lambda w: init.kaiming_normal_(w, a="1"), TypeError, "calculate_gain: takes numbers, not str"),
        (lambda w: init.normal_(w.long()), TypeError, "normal_: needs a Tensor of floats, not int64"),
        (lambda w: init.orthogonal_(w.long()), TypeError, "orthogonal_: needs a Tensor of floats, not int64"),
    ],
)
def test_what_cannot_be_drawn(start, error, message):
    w = weight()
    with pytest.raises(error, match="^" + re.escape(message)):
        start(w)
    assert not w.detach().numpy().any()


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
        init.trunc_normal_,
        init.orthogonal_,
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
    with pytest.raises(ValueError, match=re.escape("needs at least two dimensions to have a fan, got shape (3,)")):
        init.xavier_uniform_(chainrule.zeros(3))


@pytest.mark.parametrize(
    "fill", [init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.kaiming_normal_]
)
@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0), (2, 2, 0)])
def test_an_empty_weight_is_filled(fill, shape):
    tensor = chainrule.zeros(shape)
    assert fill(tensor) is tensor
    assert nn.MultiheadAttention(0, 1).in_proj_weight.shape == (0, 0)


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


def test_what_is_no_tensor_is_not_filled():
    fillers = [fill for name, fill in vars(nn.init).items() if name.endswith("_") and not name.startswith("_")]
    assert len(fillers) >= 11
    for value, kind in ((np.ones((2, 2)), r"numpy\.ndarray"), ([1.0], "list")):
        for fill in fillers:
            more = (1.0,) if fill is nn.init.constant_ else ()
            with pytest.raises(TypeError, match=rf"^\w+: can only fill a Tensor, not {kind}"):
                fill(value, *more)


@pytest.mark.parametrize("fill", [init.uniform_, init.normal_, init.trunc_normal_, init.orthogonal_])
@pytest.mark.parametrize("named", [True, False])
def test_compiled_code_draws_anew_in_each_call(fill, named):
    drawn = []
    for wrap in (lambda function: function, chainrule.jit):
        rng = chainrule.manual_seed(3)
        w = weight()
        step = wrap(lambda w=w, rng=rng: (fill(w, generator=rng if named else None) * 1).detach())
        drawn.append([step().numpy().copy() for _ in range(3)] + [w.detach().numpy().copy()])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0][0], drawn[0][1])
