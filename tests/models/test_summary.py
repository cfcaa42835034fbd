"""`summary`: shapes, parameters, memory and multiply-adds of layers, counted by hand; the profile of a step."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import models, nn, optim
from chainrule.models.examples import random_batch
from chainrule.training.profiler import profile


def rows(*arguments, **options):
    table = chainrule.summary(*arguments, **options)
    return table, {row.path: row for row in table.rows}


def test_a_convolutional_network_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2, groups=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10, bias=False),
    )  # fmt: skip
    table, by_path = rows(network, (2, 3, 8, 8))
    assert [row.kind for row in table.rows] == [
        "Sequential",
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "MaxPool2d",
        "Flatten",
        "Linear",
    ]
    assert [by_path[str(i)].shapes for i in (0, 3, 5)] == [[(2, 8, 8, 8)], [(2, 8, 4, 4)], [(2, 10)]]
    convolution, linear = 2 * 8 * 8 * 8 * 3 * 25, 2 * 10 * 128
    assert [by_path[p].multiply_adds for p in ("", "0", "2", "5")] == [convolution + linear, convolution, 0, linear]
    assert [by_path[p].parameters for p in ("0", "1", "5")] == [8 * 75 + 8, 16, 1280]
    assert table.parameters == table.trainable == 608 + 16 + 1280
    assert table.parameter_bytes == 4 * (608 + 16 + 16 + 1280) + 8  # with running statistics, and a count in int64
    assert table.output_bytes == 4 * 2 * (3 * 512 + 128 + 128 + 10)


def test_recurrent_layers_and_attention_by_hand():
    table, _ = rows(nn.LSTM(3, 4, 2, bidirectional=True), (7, 2, 3))
    assert table.multiply_adds == 7 * 2 * 2 * (16 * (3 + 4) + 16 * (8 + 4))
    assert table.rows[0].shapes == [(7, 2, 8), (4, 2, 4), (4, 2, 4)]

    class Attention(nn.Module):
        def __init__(self):
            self.inner = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            return self.inner(x, x, x)[0]

    _, by_path = rows(Attention(), (2, 5, 6))
    projections, scores = 4 * 2 * 5 * 6 * 6, 2 * 2 * 5 * 5 * 6
    assert by_path[""].multiply_adds == projections + scores


def test_shared_and_repeated_and_frozen_parts():
    part = nn.Linear(3, 3)
    part.bias.requires_grad_(False)
    table, by_path = rows(nn.Sequential(part, nn.Tanh(), part), (2, 3))
    assert (by_path["0"].calls, by_path["0"].multiply_adds) == (2, 2 * 2 * 9)
    assert (table.parameters, table.trainable) == (12, 9)
    assert "0: Linear ×2" in str(table)


def test_nothing_is_changed():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    network[1].eval()
    before = {name: t.numpy().copy() for name, t in network.state_dict().items()}
    table = chainrule.summary(network, (4, 3))
    assert [m.training for m in network.modules()] == [True, True, False]
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    assert not any(module._hooks or module._pre_hooks for module in network.modules())
    with pytest.raises(ValueError, match="must have 3 channels"):
        chainrule.summary(network, (4, 5))
    assert network.training
    assert not any(module._hooks or module._pre_hooks for module in network.modules())
    assert table.multiply_adds == 0


def test_a_module_of_ones_own_is_not_counted_as_nothing():
    class Own(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones((3, 3), "f"))

        def forward(self, x):
            return x @ self.weight

    table = chainrule.summary(nn.Sequential(nn.Linear(3, 3), Own()), (2, 3))
    assert table.multiply_adds is None
    assert re.search(r"1: Own +2×3 +9 +\d+ B +\?", str(table))
    assert "multiply-adds  18 of layers, forward; about three times as many in a training step (at least;" in str(table)


@pytest.mark.parametrize("name", sorted(n for n, m in models.REGISTRY.items() if m.task != "pages"))
def test_every_model_has_a_summary(name):
    network = models.build(name)
    table = chainrule.summary(network, random_batch(models.get(name), network, 2)[0])
    assert table.parameters == sum(p.numel() for p in network.parameters())
    assert table.multiply_adds > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, (1, 2)), TypeError, "summary: takes a module, not int"),
        ((nn.Linear(2, 1),), TypeError, "summary: needs the shape of the input, with the batch"),
        ((nn.Linear(2, 1), 5), TypeError, "summary: an input is a shape such as (64, 1, 28, 28) or a Tensor, not 5"),
        ((nn.Linear(2, 1), (2.5, 2)), TypeError, "summary: a size must be an integer, not 2.5"),
        ((nn.Linear(2, 1), (-1, 2)), ValueError, "summary: a size must be at least 0, not -1"),
    ],
)
def test_what_makes_no_sense(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        chainrule.summary(*arguments)


def test_a_profile_of_a_step():
    network = nn.Sequential(nn.Linear(20, 400), nn.Sequential(nn.ReLU(), nn.Linear(400, 3)))
    x, y = chainrule.rand(50, 20), chainrule.zeros(50, dtype=np.int64)
    before = network[0].weight.detach().clone()
    result = profile(network, nn.functional.cross_entropy, optim.SGD(network.parameters(), 0.1), x, y, repeats=2)
    assert [name for name, _ in result.layers] == ["0: Linear", "1.0: ReLU", "1.1: Linear"]
    assert all(seconds > 0 for seconds in (result.compiled, result.eager, *(s for _, s in result.layers)))
    assert "matrix product" in result.stages
    assert result.kernels == result.stages  # the former name
    assert "50×20 @ 20×400" in str(result)
    assert not np.array_equal(network[0].weight.numpy(), before.numpy())  # the step is a whole one
