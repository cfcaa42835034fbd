"""The digit detector: its shapes, its loss against PyTorch, the weights that are shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule import models
from chainrule.models.digit_detector import SHIPPED, detection_loss
from chainrule.safetensors_io import load
from chainrule.tensor import from_numpy, tensor


def test_maps_of_a_picture_of_any_size():
    network = models.build("digit_detector", generator=np.random.default_rng(0))
    network.eval()
    assert network(tensor(np.zeros((2, 1, 40, 72), np.float32))).shape == (2, 15, 10, 18)


def example():
    random = np.random.default_rng(0)
    outputs = random.normal(size=(3, 15, 4, 5)).astype(np.float32)
    targets = random.random((3, 17, 4, 5)).astype(np.float32)
    targets[:, 0, 1, 2] = 1
    targets[:, 7:] = np.eye(10, dtype=np.float32)[random.integers(10, size=(3, 4, 5))].transpose(0, 3, 1, 2)
    return outputs, targets


def test_the_loss_and_its_gradient_are_pytorchs():
    torch = pytest.importorskip("torch")
    outputs, targets = example()
    out, goal = torch.tensor(outputs, dtype=torch.float64, requires_grad=True), torch.tensor(targets.astype(np.float64))
    yes = torch.sigmoid(out[:, 0])
    near, weight, box_weight = goal[:, 0], goal[:, 1], goal[:, 6]
    is_center = near == 1
    focal = torch.where(is_center, (1 - yes) ** 2 * -torch.log(yes), (1 - near) ** 4 * yes**2 * -torch.log(1 - yes))
    boxes = torch.nn.functional.smooth_l1_loss(out[:, 1:5], goal[:, 2:6], beta=0.2, reduction="none").sum(1)
    digits = torch.nn.functional.cross_entropy(out[:, 5:], goal[:, 7:].argmax(1), reduction="none")
    share = box_weight / (box_weight.sum() + 1)
    expected = (weight * focal).sum() / (is_center.sum() + 1) + (share * (boxes + digits)).sum()
    expected.backward()
    ours = from_numpy(outputs).requires_grad_()
    loss = detection_loss(ours, from_numpy(targets))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(ours.grad.numpy(), out.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_the_shipped_weights_are_small_and_repeat_their_bits():
    assert (SHIPPED / "model.safetensors").stat().st_size < 1_500_000
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["model"]["name"] == "digit_detector"
    assert config["training"]["steps"] == 2 * models.get("digit_detector").recipe.steps_per_epoch  # it is trained twice
    contrast = np.random.default_rng(0).normal(size=(48, 64)).astype(np.float32)
    one, other = models.load_detector()(contrast), models.load_detector()(contrast)
    assert one.shape == (15, 12, 16)
    assert one.tobytes() == other.tobytes()


def test_the_loaded_function_is_the_network():
    """Batch normalization is folded into the convolutions."""
    network = models.build("digit_detector")
    network.load_state_dict(load(SHIPPED / "model.safetensors"))
    network.eval()
    contrast = np.random.default_rng(1).normal(size=(40, 56)).astype(np.float32)
    expected = network(from_numpy(contrast[None, None])).numpy()[0]
    np.testing.assert_allclose(models.load_detector()(contrast), expected, rtol=1e-4, atol=1e-4)


def test_it_is_trained_by_its_own_script_only():
    from chainrule.errors import RunError
    from chainrule.training import tasks

    with pytest.raises(RunError, match="model 'digit_detector' has a training script of its own"):
        tasks.of(models.get("digit_detector"))
