"""Top images and connections, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import explain, models, nn
from chainrule.explain import neurons

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (70, 28, 28), np.uint8)


@pytest.mark.parametrize("name", ["mlp", "lenet5"])
def test_top_images_are_those_of_a_plain_loop(name, monkeypatch):
    monkeypatch.setattr(neurons, "BATCH", 32)  # three passes
    network = models.build(name, generator=np.random.default_rng(1)).eval()
    outputs = explain.activations(network, IMAGES.astype(np.float32) / 255)
    for top, maps in zip(explain.top_images(network, IMAGES, count=5), outputs, strict=True):
        for neuron in range(maps.shape[1]):
            values = [float(maps[i, neuron].max()) for i in range(len(IMAGES))]
            best = sorted(range(len(IMAGES)), key=lambda i: (-values[i], i))[:5]
            np.testing.assert_allclose(top.values[neuron], [values[i] for i in best], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(
                [values[i] for i in top.indices[neuron]], top.values[neuron], rtol=1e-5, atol=1e-6
            )


def test_equal_images_come_in_order_and_all_if_there_are_few():
    network = models.build("mlp", generator=np.random.default_rng(1))
    same = np.repeat(IMAGES[:1], 4, 0)
    assert (explain.top_images(network, same, count=9)[0].indices == [0, 1, 2, 3]).all()
    network[1].weight.data[3], network[1].bias.data[3] = 0, -1  # never active
    top = explain.top_images(network, IMAGES, count=3)[0]
    assert top.indices[3].tolist() == [0, 1, 2]
    assert top.values[3].tolist() == [0, 0, 0]


def test_connections_between_neurons_are_weights():
    network = models.build("mlp", generator=np.random.default_rng(1))
    np.testing.assert_array_equal(explain.connections(network, 0), network[1].weight.detach().numpy())
    np.testing.assert_array_equal(explain.connections(network, 1), network[3].weight.detach().numpy())


def test_connections_of_filters_are_lengths():
    network = models.build("lenet5", generator=np.random.default_rng(1))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    between = explain.connections(network, 1)
    after = explain.connections(network, 2)
    assert (between.shape, after.shape, explain.connections(network, 0).shape) == ((16, 6), (120, 16), (6, 1))
    for source, target in ((0, 0), (5, 15), (3, 7)):
        assert between[target, source] == pytest.approx(np.linalg.norm(state["4.weight"][target, source]), rel=1e-5)
    for source, target in ((0, 0), (15, 119)):
        block = state["8.weight"][target, 25 * source : 25 * (source + 1)]
        assert after[target, source] == pytest.approx(np.linalg.norm(block), rel=1e-5)


def test_what_does_not_fit_is_refused():
    network = models.build("mlp")
    with pytest.raises(TypeError, match="array of uint8, not float64"):
        explain.top_images(network, IMAGES / 255)
    with pytest.raises(TypeError, match="array of uint8, not list"):
        explain.top_images(network, [[1, 2]])
    with pytest.raises(ValueError, match="there are no images"):
        explain.top_images(network, IMAGES[:0])
    with pytest.raises(ValueError, match="count must be at least 1"):
        explain.top_images(network, IMAGES, count=0)
    for layer in (2, -1):
        with pytest.raises(IndexError, match=f"no layer {layer}: the network has 2"):
            explain.connections(network, layer)
    with pytest.raises(ValueError, match=r"0 is a Linear and takes \(N, features\), not \(70, 28, 28\): put a Flatten"):
        explain.top_images(nn.Sequential(nn.Linear(28, 10)), IMAGES)
    with pytest.raises(TypeError, match="a layer must be an integer, not True"):
        explain.connections(network, True)


def test_large_images_come_in_smaller_batches(monkeypatch):
    sizes = []

    def activations(network, inputs):
        sizes.append(inputs.numpy().nbytes)
        return explain.activations(network, inputs)

    monkeypatch.setattr(neurons, "activations", activations)
    images = RNG.integers(0, 256, (3, 600, 600), np.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(360_000, 1))
    outputs = images.reshape(3, -1) / 255 @ network[1].weight.detach().numpy()[0].astype(np.float64)
    assert explain.top_images(network, images)[0].indices[0].tolist() == np.argsort(-outputs).tolist()
    assert max(sizes) <= 4 * 500_000
