"""One neuron: gradients as in the engine, including the bias, and decreasing losses."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.first_principles.finite_difference import central_difference
from chainrule.first_principles.neuron import LIKED, TEA, forward, gradients, mean_squared_error, train

RANDOM = np.random.default_rng(0)
FEATURES, LABELS = RANDOM.normal(size=(12, 3)), RANDOM.random(12)
WEIGHTS, BIAS = RANDOM.normal(size=3), 0.4


def engine() -> tuple[float, np.ndarray, float]:
    """The loss and its gradients, from the tape."""
    w, b = chainrule.tensor(WEIGHTS, requires_grad=True), chainrule.tensor(BIAS, requires_grad=True, dtype=np.float64)
    out = chainrule.sigmoid(chainrule.tensor(FEATURES) @ w + b)
    loss = nn.functional.mse_loss(out, chainrule.tensor(LABELS))
    loss.backward()
    return loss.item(), np.asarray(w.grad), b.grad.item()


def test_agrees_with_the_engine() -> None:
    predictions = forward(FEATURES, WEIGHTS, BIAS)
    slope_w, slope_b = gradients(FEATURES, LABELS, predictions)
    loss, engine_w, engine_b = engine()
    assert mean_squared_error(predictions, LABELS) == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(slope_w, engine_w, rtol=0, atol=1e-12)
    assert slope_b == pytest.approx(engine_b, abs=1e-12)


def test_agrees_with_finite_differences() -> None:
    def loss(numbers: np.ndarray) -> float:
        return mean_squared_error(forward(FEATURES, numbers[:3], numbers[3]), LABELS)

    expected = central_difference(loss, np.append(WEIGHTS, BIAS))
    slope = np.append(*gradients(FEATURES, LABELS, forward(FEATURES, WEIGHTS, BIAS)))
    np.testing.assert_allclose(slope, expected, rtol=0, atol=1e-9)


def test_the_bias_gradient_is_a_sum() -> None:
    """Duplicating every example changes neither the loss nor its gradients, which are means."""
    once = gradients(FEATURES, LABELS, forward(FEATURES, WEIGHTS, BIAS))
    features, labels = np.tile(FEATURES, (2, 1)), np.tile(LABELS, 2)
    twice = gradients(features, labels, forward(features, WEIGHTS, BIAS))
    np.testing.assert_allclose(once[0], twice[0], rtol=1e-12)
    assert once[1] == pytest.approx(twice[1], rel=1e-12)


def test_losses_are_listed_and_fall() -> None:
    weights, bias, losses = train(TEA, LIKED, [0.1, -0.2], learning_rate=1.0, epochs=50)
    assert len(losses) == 50
    assert losses[0] == mean_squared_error(forward(TEA, np.array([0.1, -0.2]), 0.0), LIKED)
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_array_equal(forward(TEA, weights, bias) > 0.5, LIKED == 1)


def test_the_start_is_left_alone() -> None:
    start = np.zeros(2)
    train(TEA, LIKED, start, epochs=3)
    assert start.tolist() == [0, 0]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"features \(8, 2\), labels \(3,\) and weights \(2,\) are not"):
        train(TEA, [0, 1, 1], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"weights \(3,\) are not"):
        train(TEA, LIKED, [0.0, 0.0, 0.0])
