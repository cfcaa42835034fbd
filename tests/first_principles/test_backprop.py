"""The four equations agree with the engine and with finite differences; XOR with a hidden layer."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.first_principles import backprop
from chainrule.first_principles.backprop import Layers, Pass
from chainrule.first_principles.finite_difference import central_difference

RANDOM = np.random.default_rng(5)
LAYERS = Layers(*(RANDOM.normal(size=shape) for shape in ((4, 3), (4, 1), (2, 4), (2, 1))))
X, TARGET = RANDOM.normal(size=(3, 6)), RANDOM.random((2, 6))  # six examples


@pytest.fixture
def tape() -> tuple[Layers, Pass, float]:
    """The same network in the engine, after backward, with gradients of parameters and intermediate results."""
    w1, b1, w2, b2 = (chainrule.tensor(part, requires_grad=True) for part in LAYERS)
    z1 = w1 @ chainrule.tensor(X) + b1
    hidden = chainrule.sigmoid(z1)
    z2 = w2 @ hidden + b2
    prediction = chainrule.sigmoid(z2)
    for number in (z1, hidden, z2, prediction):
        number.retain_grad()
    cost = 0.5 * ((prediction - chainrule.tensor(TARGET)) ** 2).sum()
    cost.backward()
    return Layers(w1, b1, w2, b2), Pass(z1, hidden, z2, prediction), cost.item()


def close(ours: np.ndarray, theirs: object) -> None:
    assert ours.shape == np.shape(theirs)
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=0, atol=1e-12)


def test_each_equation_agrees_with_the_engine(tape: tuple[Layers, Pass, float]) -> None:
    parameters, numbers, cost = tape
    step = backprop.forward(LAYERS, X)
    for ours, theirs in zip(step, numbers, strict=True):
        close(ours, theirs.detach())
    assert backprop.cost(step.prediction, TARGET) == pytest.approx(cost, abs=1e-12)
    delta2 = backprop.output_error(step.prediction, TARGET, step.z2)
    close(delta2, numbers.z2.grad)
    for ours, theirs in zip(backprop.output_gradients(delta2, step.hidden), parameters[2:], strict=True):
        close(ours, theirs.grad)
    delta1 = backprop.hidden_error(LAYERS.w2, delta2, step.z1)
    close(delta1, numbers.z1.grad)
    for ours, theirs in zip(backprop.hidden_gradients(delta1, X), parameters[:2], strict=True):
        close(ours, theirs.grad)
    for ours, theirs in zip(backprop.backpropagate(LAYERS, X, TARGET), parameters, strict=True):
        close(ours, theirs.grad)


@pytest.mark.parametrize("part", Layers._fields)
def test_agrees_with_finite_differences(part: str) -> None:
    def cost(values: np.ndarray) -> float:
        return backprop.cost(backprop.forward(LAYERS._replace(**{part: values}), X).prediction, TARGET)

    expected = central_difference(cost, getattr(LAYERS, part))
    np.testing.assert_allclose(getattr(backprop.backpropagate(LAYERS, X, TARGET), part), expected, rtol=0, atol=1e-8)


def test_learns_xor() -> None:
    pairs, xor = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 1.0, 0.0]])
    for seed in range(3):
        start = backprop.start(2, 4, 1, np.random.default_rng(seed))
        layers, costs = backprop.train(start, pairs, xor, learning_rate=2.0, epochs=5000)
        assert costs[-1] < 0.01 < 0.4 < costs[0]
        np.testing.assert_allclose(backprop.forward(layers, pairs).prediction, xor, atol=0.1)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"forward: x \(3,\) does not fit weights \(4, 3\); expected \(3, m\)"):
        backprop.forward(LAYERS, X[:, 0])
    with pytest.raises(ValueError, match=r"target \(2,\) does not fit the prediction, \(2, 1\)"):
        backprop.backpropagate(LAYERS, X[:, :1], TARGET[:, 0])
