"""Maps of pixels: gradients against PyTorch, integrated gradients against their sum, occlusion against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import chainrule
from chainrule import explain, models, nn
from chainrule.torch import to_torch

IMAGE = np.random.default_rng(0).random((28, 28))


def build(name, **options):
    return models.build(name, options, generator=np.random.default_rng(1)).double().eval()


@pytest.mark.parametrize("name", ["mlp", "sigmoid_mlp", "cnn", "quick"])
@pytest.mark.parametrize("target", [None, 3])
def test_the_gradient_is_pytorchs(name, target):
    network = build(name)
    x = torch.from_numpy(IMAGE)[None].requires_grad_()
    scores = to_torch(network).eval()(x)[0]
    scores[scores.argmax() if target is None else target].backward()
    np.testing.assert_allclose(explain.gradient_map(network, IMAGE, target), x.grad[0], rtol=1e-9, atol=1e-14)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_of_a_filter_it_is_the_gradient_of_its_largest_output():
    network = build("cnn")
    part = explain.layers(network)[1].prefix
    x = torch.from_numpy(IMAGE)[None].requires_grad_()
    to_torch(part).eval()(x)[0, 17].max().backward()
    assert x.grad.abs().max() > 0
    np.testing.assert_allclose(explain.gradient_map(part, IMAGE, 17), x.grad[0], rtol=1e-9, atol=1e-14)


def test_integrated_gradients_add_up_to_the_score():
    network, other = build("sigmoid_mlp"), np.random.default_rng(5).random((28, 28))
    scores = explain.activations(network, np.stack([IMAGE, other, 0 * other]))[-1][:, 4]
    for baseline, score in ((None, scores[2]), (other, scores[1])):
        parts = explain.integrated_gradients(network, IMAGE, 4, baseline=baseline, steps=700)
        assert parts.shape == IMAGE.shape
        assert parts.sum() == pytest.approx(scores[0] - score, abs=1e-6)


def test_they_are_the_mean_gradient_on_the_way_times_the_way():
    network, baseline = build("mlp"), np.random.default_rng(3).random((28, 28))
    slopes = [explain.gradient_map(network, baseline + (k + 0.5) / 8 * (IMAGE - baseline), 2) for k in range(8)]
    parts = explain.integrated_gradients(network, IMAGE, 2, baseline=baseline, steps=8)
    np.testing.assert_allclose(parts, (IMAGE - baseline) * np.mean(slopes, 0), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("size", "fill"), [(1, 0.0), (5, 0.0), (7, 0.5)])
def test_occlusion_is_a_plain_loop_over_squares(size, fill):
    network, image = build("mlp", inputs=30), np.random.default_rng(4).random((5, 6))
    with chainrule.no_grad():
        for target in (None, 8):
            found = explain.occlusion_map(network, image, target, size=size, fill=fill)
            before = network(chainrule.from_numpy(image[None])).softmax(1).numpy()[0]
            target = before.argmax() if target is None else target
            for row in range(5):
                for column in range(6):
                    covered, half = image.copy(), size // 2
                    covered[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1] = fill
                    after = network(chainrule.from_numpy(covered[None])).softmax(1).numpy()[0]
                    assert found[row, column] == pytest.approx(before[target] - after[target], abs=1e-12)


def test_all_channels_of_a_color_image_are_covered():
    network, image = build("mlp", inputs=3 * 12), np.random.default_rng(4).random((3, 3, 4))
    found = explain.occlusion_map(network, image, 1, size=9)  # covers everything
    with chainrule.no_grad():
        before, after = (
            network(chainrule.from_numpy(x[None])).softmax(1).numpy()[0, 1] for x in (image, np.zeros_like(image))
        )
    np.testing.assert_allclose(found, np.full((3, 4), before - after), rtol=1e-9)
    assert explain.gradient_map(network, image, 1).shape == image.shape


def test_the_models_own_probabilities_can_be_asked_for():
    network, image = build("sigmoid_mlp", inputs=9), np.random.default_rng(4).random((3, 3))
    model = models.get("sigmoid_mlp")
    found = explain.occlusion_map(network, image, 2, size=3, probabilities=model.probabilities)
    with chainrule.no_grad():
        first, last = (
            model.probabilities(network(chainrule.from_numpy(x[None]))).numpy()[0, 2] for x in (image, 0 * image)
        )
    assert found[1, 1] == pytest.approx(first - last, abs=1e-12)  # the square around the middle covers everything


def test_modes_stay():
    network = models.build("best", generator=np.random.default_rng(2))
    image = IMAGE.astype(np.float32)
    for function in (explain.gradient_map, explain.integrated_gradients, explain.occlusion_map):
        assert np.array_equal(function(network, image, 1), function(network, image, 1))  # no dropout
        assert all(module.training for module in network.modules())


@pytest.mark.parametrize("function", [explain.gradient_map, explain.integrated_gradients, explain.occlusion_map])
def test_what_does_not_fit_is_refused(function):
    network, name = models.build("mlp", {"inputs": 9}), function.__name__
    image = np.zeros((3, 3), np.float32)
    with pytest.raises(TypeError, match=f"{name}: takes inputs of the network, which are floats, not uint8"):
        function(network, image.astype(np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        function(network, image + np.inf)
    with pytest.raises(IndexError, match="there is no class 10: the network has 10"):
        function(network, image, 10)
    for target in (-1, 1.5, True, "3"):
        with pytest.raises((TypeError, ValueError), match=f"{name}: target must be"):
            function(network, image, target)
    with pytest.raises(ValueError, match="must be"):
        function(network, np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"outputs must be \(N, classes\)"):
        function(Sum(), image)
    with pytest.raises(ValueError, match=r"outputs must be \(N, classes\), or .*, not \(1, 3, 2\)"):
        function(nn.Sequential(nn.Linear(3, 2)), image)  # its rows are no neurons


class Sum(nn.Module):
    def forward(self, x):
        return x.sum(0).sum(0).sum(0)


def test_options_are_checked():
    network, image = models.build("mlp", {"inputs": 9}), np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match="size must be odd"):
        explain.occlusion_map(network, image, size=4)
    with pytest.raises(ValueError, match="size must be at least 1"):
        explain.occlusion_map(network, image, size=-1)
    with pytest.raises(ValueError, match="fill must be finite"):
        explain.occlusion_map(network, image, fill=np.nan)
    with pytest.raises(ValueError, match="takes an image"):
        explain.occlusion_map(network, image.ravel())
    with pytest.raises(ValueError, match="steps must be at least 1"):
        explain.integrated_gradients(network, image, steps=0)
    with pytest.raises(ValueError, match=r"the baseline is \(2, 2\)"):
        explain.integrated_gradients(network, image, baseline=np.zeros((2, 2), np.float32))
