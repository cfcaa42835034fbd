"""What is measured of a network while it trains, against NumPy and against networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import nn, tensor
from chainrule.tensor import from_numpy
from chainrule.training import Callback, experiment, run
from chainrule.training.observation import (
    LossCurve,
    dead_neurons,
    gradient_rms,
    histogram,
    layers,
    rms,
    weight_rms,
)
from chainrule.training.session import train


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.load_state_dict({"weight": tensor(weight), "bias": tensor(bias)})
    return layer


def test_rms_is_that_of_float64_also_of_tiny_and_huge_numbers():
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    assert rms([values, values[0]]) == pytest.approx(np.sqrt(np.square(np.r_[values.ravel(), values[0]]).mean()))
    assert rms([np.full((3, 2), 1e-30, np.float32)]) == pytest.approx(1e-30)  # its square is 0 in float32
    assert rms([np.full(4, 1e30, np.float32)]) == pytest.approx(1e30)
    assert np.isnan(rms([]))


def test_gradient_of_each_layer_by_hand():
    # y = 2x + 1, loss = mean of y²: d/dw = mean of 2·y·x, d/db = mean of 2·y
    network = nn.Sequential(linear([[2.0]], [1.0]), nn.Identity())
    assert gradient_rms(network) == {"0": None}
    network(tensor([[1.0], [3.0]])).square().mean().backward()  # y = 3 and 7
    by_weight, by_bias = (2 * 3 * 1 + 2 * 7 * 3) / 2, (2 * 3 + 2 * 7) / 2
    assert gradient_rms(network)["0"] == pytest.approx(np.sqrt((by_weight**2 + by_bias**2) / 2))
    assert weight_rms(network)["0"] == pytest.approx(np.sqrt((2**2 + 1) / 2))
    assert {path: len(own) for path, own in layers(network).items()} == {"0": 2}


def test_gradients_after_a_compiled_step_are_those_of_that_step(digits, tmp_path):
    """Against the same step, taken eagerly from the state before it."""

    class Look(Callback):
        def __init__(self):
            self.sizes = {}

        def on_step(self, trainer):
            self.sizes[trainer.global_step] = gradient_rms(trainer.network)

    looks = []
    for eager in (False, True):
        config = experiment.configure("mlp", digits, epochs=60, batch_size=50, eager=eager)
        look = Look()
        trainer = train(run.create(config, tmp_path / f"{eager}"), digits, until=12, callbacks=[look])
        assert trainer.compiled is not eager
        looks.append(look.sizes)
    for step in (1, 2, 7, 12):
        assert looks[0][step] == pytest.approx(looks[1][step], rel=1e-3), step
        assert min(looks[0][step].values()) > 0


def test_histogram_is_that_of_numpy():
    values = np.random.default_rng(1).normal(size=(30, 20))
    limit, counts = histogram(np.append(values, [np.nan, np.inf]), bins=9)
    assert limit == np.abs(values).max()
    assert counts.tolist() == np.histogram(values, 9, (-limit, limit))[0].tolist()
    assert histogram(np.zeros(5), bins=3) == (0.0, pytest.approx([0, 5, 0]))
    assert histogram(np.array([np.nan]), bins=3)[1].sum() == 0


def test_dead_neurons_are_those_that_no_example_wakes():
    # Of the four sums over x in {-1, 2}: x, -x, x - 3 and 0·x: the last two are never above 0
    network = nn.Sequential(linear([[1.0], [-1.0], [1.0], [0.0]], [0.0, 0.0, -3.0, 0.0]), nn.ReLU(), nn.Tanh())
    found = dead_neurons(network, tensor([[-1.0], [2.0]]))
    assert found["1"].inactive.tolist() == [False, False, True, True]
    assert found["1"].kind == "dead"
    assert found["2"].kind == "saturated"
    assert not found["2"].inactive.any()
    assert network.training
    assert not network[1]._hooks


def test_a_layer_that_is_called_twice_has_the_neurons_of_both_calls():
    act = nn.ReLU()
    first, second = (
        linear([[1.0], [-1.0]], [0.0, -9.0]),
        linear([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], [0.0, 9.0, -1.0]),
    )
    found = dead_neurons(nn.Sequential(first, act, second, act), tensor([[1.0], [2.0]]))
    assert {path: neurons.inactive.tolist() for path, neurons in found.items()} == {
        "1": [False, True],
        "1 (call 2)": [False, False, True],
    }


def test_dead_channels_and_saturated_sigmoids():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    weight = np.array([1.0, -1.0], np.float32).reshape(2, 1, 1, 1)
    network[0].load_state_dict({"weight": from_numpy(weight), "bias": tensor([0.0, -0.5])})
    images = np.random.default_rng(0).random((3, 1, 4, 4), np.float32)  # -x - 0.5 is never above 0
    assert dead_neurons(network, from_numpy(images))["1"].inactive.tolist() == [False, True]
    sigmoids = nn.Sequential(linear([[10.0], [1.0]], [0.0, 0.0]), nn.Sigmoid())
    assert dead_neurons(sigmoids, tensor([[1.0], [-2.0]]))["1"].inactive.tolist() == [True, False]


def test_a_network_without_layers_of_neurons_is_not_run_for_them():
    class Attention(nn.Module):
        def forward(self, inputs):
            raise AssertionError("the network was run for nothing")

    assert dead_neurons(nn.Sequential(linear([[1.0]], [0.0]), Attention()), tensor([[1.0]])) == {}


def test_a_curve_is_bounded_and_its_points_are_means():
    curve, losses = LossCurve(max_points=8), np.random.default_rng(0).random(100)
    for step, loss in enumerate(losses, start=1):
        curve.add(step, loss)
    points = curve.array()
    assert len(points) < 8
    width = curve.steps_per_point
    assert points[:, 0].tolist() == list(range(width, 100 + 1, width))
    expected = [losses[step - width : step].mean() for step in points[:, 0].astype(int)]
    np.testing.assert_allclose(points[:, 1], expected, rtol=1e-6)
    curve.cut(50)
    assert curve.array()[-1, 0] <= 50 < 50 + width
    assert LossCurve().array().shape == (0, 2)
