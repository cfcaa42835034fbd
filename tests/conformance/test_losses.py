"""Losses beside PyTorch's: every reduction and shape, class indices and probabilities, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

REDUCTIONS = ["mean", "sum", "none"]
SHAPES = [(5,), (1,), (4, 5), (4, 1), (1, 5), (4, 5, 3), (2, 5, 3, 2), (2, 3, 1, 4), (0, 5)]
TYPES = pytest.mark.parametrize(
    ("dtype", "relative"), [(np.float64, 1e-14), (np.float32, 1e-6)], ids=["float64", "float32"]
)


def compare(name, scores, target, reduction, relative, assert_same, target_learns=False):
    a, b = chainrule.tensor(scores, requires_grad=True), torch.tensor(scores, requires_grad=True)
    s = chainrule.tensor(target, requires_grad=target_learns)
    t = torch.tensor(target, requires_grad=target_learns)
    one = getattr(nn, name)(reduction=reduction)(a, s)
    two = getattr(torch.nn, name)(reduction=reduction)(b, t)
    assert_same(one, two, relative)
    upstream = np.random.default_rng(0).uniform(0.5, 1.5, one.shape).astype(one.dtype)
    one.backward(chainrule.tensor(upstream))
    two.backward(torch.tensor(upstream))
    assert_same(a.grad, b.grad, relative, "gradient of the scores")
    if target_learns:
        assert_same(s.grad, t.grad, relative, "gradient of the target")


@TYPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestCrossEntropy:
    def test_of_class_indices(self, shape, reduction, dtype, relative, assert_same):
        rng = np.random.default_rng(1)
        scores = (3 * rng.standard_normal(shape)).astype(dtype)
        classes = 1 if len(shape) > 1 else 0
        target = rng.integers(0, shape[classes], shape[:classes] + shape[classes + 1 :])
        compare("CrossEntropyLoss", scores, np.asarray(target), reduction, relative, assert_same)

    def test_of_probabilities(self, shape, reduction, dtype, relative, assert_same):
        rng = np.random.default_rng(2)
        scores, target = (3 * rng.standard_normal(shape)).astype(dtype), rng.random(shape).astype(dtype)
        compare("CrossEntropyLoss", scores, target, reduction, relative, assert_same, target_learns=True)

    def test_of_squares(self, shape, reduction, dtype, relative, assert_same):
        rng = np.random.default_rng(3)
        one, two = rng.standard_normal((2, *shape)).astype(dtype)
        compare("MSELoss", one, two, reduction, relative, assert_same, target_learns=True)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_huge_scores(reduction, assert_same):
    scores = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, -1e4], [700, -800, 650]])
    compare("CrossEntropyLoss", scores, np.array([1, 1, 2, 0]), reduction, 1e-14, assert_same)
    compare("CrossEntropyLoss", scores, np.full((4, 3), 1 / 3), reduction, 1e-14, assert_same)


def test_hopeless_scores(assert_same):
    scores = np.array([[-np.inf, 1.0, 2.0], [0.0, -np.inf, 0.0], [np.nan, 1.0, 1.0], [-np.inf, -np.inf, -np.inf]])
    compare("CrossEntropyLoss", scores, np.array([1, 1, 0, 0]), "none", 1e-14, assert_same)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_huber_loss_with_weights(reduction, assert_same):
    rng = np.random.default_rng(4)
    arrays = [2 * rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), rng.random((4, 3))]
    found = []
    for library, tensor in ((nn, chainrule.tensor), (torch.nn, torch.tensor)):
        input, target, weight = (tensor(a, requires_grad=True) for a in arrays)
        loss = library.functional.huber_loss(input, target, reduction, 0.7, weight)
        loss.square().sum().backward()
        found.append([loss, input.grad, target.grad, weight.grad])
    for one, two in zip(*found, strict=True):
        assert_same(one, two, 1e-14)


def test_squares_of_a_whole_number_target(assert_same):
    a, b = chainrule.tensor([0.5, 2.0], requires_grad=True), torch.tensor([0.5, 2.0], requires_grad=True)
    one = nn.functional.mse_loss(a, chainrule.tensor([1, 2]))
    two = torch.nn.functional.mse_loss(b, torch.tensor([1, 2]))
    assert_same(one, two, 1e-7)


def test_kl_div_of_a_target_that_learns(assert_same):
    """At a probability of 0, the derivative for the target is not finite: PyTorch gives NaN."""
    target = np.array([[0.0, 0.3, 0.7], [0.2, 0.0, 0.8]])
    found = []
    for library, tensor in ((nn, chainrule.tensor), (torch.nn, torch.tensor)):
        x, y = tensor(np.log([[0.1, 0.2, 0.7]] * 2), requires_grad=True), tensor(target, requires_grad=True)
        loss = library.functional.kl_div(x, y, reduction="sum")
        loss.backward()
        found.append([loss, x.grad, y.grad])
    for one, two in zip(*found, strict=True):
        assert_same(one, two, 1e-14)
