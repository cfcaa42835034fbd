"""A network is taken apart into layers, whose outputs are those of the same modules in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chainrule import explain, from_numpy, models, nn
from chainrule.torch import to_torch

RNG = np.random.default_rng(0)
INPUTS = RNG.random((3, 28, 28), np.float32)
SIZES = {
    "mlp": [128, 10],
    "sigmoid_mlp": [30, 10],
    "cnn": [32, 64, 10],
    "lenet5": [6, 16, 120, 84, 10],
    "quick": [16, 32, 64, 10],
    "reader": [48, 64, 64, 128, 128, 10],
}


@pytest.fixture(params=SIZES)
def network(request):
    network = models.build(request.param, generator=np.random.default_rng(1)).eval()
    network.name = request.param
    return network


def test_the_layers_are_those_with_weights(network):
    parts = explain.layers(network)
    assert [layer.size for layer in parts] == SIZES[network.name]
    weights = [name for name, value in network.state_dict().items() if name.endswith("weight") and value.ndim > 1]
    assert [f"{layer.path}.weight" for layer in parts] == weights
    assert [layer.has_filters for layer in parts] == [network.state_dict()[name].ndim == 4 for name in weights]


def test_their_outputs_are_what_pytorch_hands_to_the_next_layer(network):
    theirs = to_torch(network).eval()
    seen = []
    with torch.no_grad():
        for name, module in theirs.named_modules():
            if name in [layer.path for layer in explain.layers(network)]:
                module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
        seen.append(theirs(torch.from_numpy(INPUTS)).numpy())
    for ours, expected in zip(explain.activations(network, INPUTS), seen[1:], strict=True):
        np.testing.assert_allclose(ours.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_the_network_up_to_a_layer_puts_out_what_that_layer_does(network):
    for layer, outputs in zip(explain.layers(network), explain.activations(network, INPUTS), strict=True):
        np.testing.assert_array_equal(layer.prefix(from_numpy(INPUTS)).detach().numpy(), outputs)
        assert (outputs.ndim == 4) == layer.has_filters


def test_modes_stay_and_dropout_is_off():
    network = models.build("best", generator=np.random.default_rng(2))
    network[0].eval()
    modes = [module.training for module in network.modules()]
    first, second = (explain.activations(network, INPUTS)[-1] for _ in range(2))
    assert np.array_equal(first, second)
    assert [module.training for module in network.modules()] == modes


def test_nested_sequentials_are_one_chain():
    inner = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
    network = nn.Sequential(nn.Flatten(), inner, nn.Sequential(nn.Linear(4, 3)))
    assert [layer.path for layer in explain.layers(network)] == ["1.0", "2.0"]
    x = RNG.random((2, 2, 3))
    w, b = (p.detach().numpy() for p in inner[0].parameters())
    np.testing.assert_allclose(
        explain.activations(network.double(), x)[0], np.tanh(x.reshape(2, 6) @ w.T + b), rtol=1e-12
    )


class Doubled(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * 2


def shared():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), nn.Sequential(layer, nn.ReLU()), nn.Linear(8, 2))


def after_filters(*modules):
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), *modules)


@pytest.mark.parametrize(
    ("network", "error", "sentence"),
    [
        (nn.Linear(3, 2), TypeError, "takes a Sequential, .*, not Linear"),
        (nn.Sequential(nn.ReLU()), ValueError, "no Linear and no Conv2d"),
        (nn.Sequential(), ValueError, "no Linear and no Conv2d"),
        (nn.Sequential(nn.Linear(3, 3), nn.Conv1d(3, 2, 1)), TypeError, "1 is a Conv1d"),
        (nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.GRU(3, 2))), TypeError, r"1\.0 is a GRU"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), ValueError, "0 is a convolution in groups"),
        (Doubled(nn.Linear(3, 3)), TypeError, r"layers: Doubled has a forward\(\) of its own"),
        (shared(), ValueError, r"layers: layers '0' and '2\.0' share weights; each must have its own"),
        (after_filters(nn.Linear(26, 3)), ValueError, r"put an nn.Flatten\(\) between 0, a Conv2d, and 2, a Linear"),
        (after_filters(nn.Flatten(2), nn.Linear(676, 3)), ValueError, r"put an nn.Flatten\(\) between 0, a Conv2d"),
        (after_filters(nn.Flatten(), nn.Linear(5, 3)), ValueError, "3 takes 5 inputs, no multiple of 2 filters"),
        (after_filters(nn.Conv2d(3, 2, 3)), ValueError, "2 takes 3 inputs, but 0 puts out 2"),
        (
            nn.Sequential(nn.Linear(28, 10), nn.Flatten(), nn.Linear(280, 3)),
            ValueError,
            "2 takes 280 inputs, but 0 puts",
        ),
        (nn.Sequential(nn.Linear(28, 1), nn.Conv2d(1, 2, 1)), ValueError, "1 is a Conv2d after 0, a Linear, whose"),
    ],
)
def test_what_is_no_such_chain_is_refused(network, error, sentence):
    with pytest.raises(error, match=sentence):
        explain.layers(network)


def test_inputs_are_finite_floats():
    network = models.build("mlp")
    with pytest.raises(TypeError, match="floats, not uint8"):
        explain.activations(network, np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        explain.activations(network, np.full((1, 28, 28), np.nan, np.float32))


def test_layers_that_get_other_dimensions_are_refused():
    images = np.zeros((3, 28, 28), np.float32)
    with pytest.raises(ValueError, match=r"activations: 0 is a Linear .*, not \(3, 28, 28\): put a Flatten before it"):
        explain.activations(nn.Sequential(nn.Linear(28, 10)), images)
    with pytest.raises(ValueError, match=r"0 is a Conv2d .*, not \(1, 28, 28\): put an Unflatten before it"):
        explain.activations(nn.Sequential(nn.Conv2d(1, 2, 3)), images[:1])
