"""The perceptron: what it can and cannot learn, and its rule as a gradient."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.first_principles.perceptron import AND, INPUTS, NAND, OR, XOR, decision_line, learn, predict, xor


@pytest.mark.parametrize("targets", [AND, OR, NAND, INPUTS[:, 0], np.zeros(4), np.ones(4)])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_learns_what_a_line_can_part(targets: np.ndarray, rate: float) -> None:
    weights, bias, mistakes = learn(INPUTS, targets, rate=rate)
    np.testing.assert_array_equal(predict(INPUTS, weights, bias), targets)
    assert mistakes[-1] == 0
    assert len(mistakes) < 20


def test_never_learns_xor() -> None:
    weights, bias, mistakes = learn(INPUTS, XOR, epochs=1000)
    assert len(mistakes) == 1000
    assert min(mistakes) > 0
    assert (predict(INPUTS, weights, bias) != XOR).any()


def test_no_line_parts_xor_but_two_layers_do() -> None:
    grid = np.linspace(-2, 2, 41)
    w1, w2, b = (axis.ravel() for axis in np.meshgrid(grid, grid, grid))
    fires = INPUTS @ np.stack([w1, w2]) + b > 0  # (4, 68921)
    right = (fires == XOR[:, None].astype(bool)).sum(axis=0)
    assert right.max() == 3
    assert (fires == AND[:, None].astype(bool)).all(axis=0).any()  # the search finds existing solutions
    np.testing.assert_array_equal(xor(INPUTS), XOR)
    assert xor([1.0, 0.0]) == 1


def test_one_step_is_the_gradient_of_the_perceptron_loss() -> None:
    """max(0, -s (w · x + b)) with s = 1 or -1 for a target of 1 or 0 (Bishop, Pattern Recognition, 4.1.7)."""
    random = np.random.default_rng(3)
    for _ in range(20):
        x, target = random.normal(size=4), float(random.integers(2))
        start, bias = random.normal(size=4), float(random.normal())
        w, b = chainrule.tensor(start, requires_grad=True), chainrule.tensor(bias, requires_grad=True)
        sign = 2 * target - 1
        chainrule.relu(-sign * ((w * chainrule.tensor(x)).sum() + b)).backward()
        learned = learn(x[None], [target], epochs=1, rate=0.3, weights=start, bias=bias)
        np.testing.assert_allclose(learned.weights, start - 0.3 * np.asarray(w.grad), rtol=0, atol=1e-12)
        np.testing.assert_allclose(learned.bias, bias - 0.3 * b.grad.item(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("weights", "bias"), [([1.0, 1.0], -1.5), ([2.0, 0.0], 3.0), ([0.0, -4.0], 1.0), ([1, 2], 0)])
def test_the_decision_line(weights: list[float], bias: float) -> None:
    point, direction = decision_line(weights, bias)
    for along in (-3.0, 0.0, 2.0):
        assert (point + along * direction) @ weights + bias == pytest.approx(0, abs=1e-12)
    assert np.linalg.norm(direction) == pytest.approx(1)
    assert point @ direction == pytest.approx(0, abs=1e-12)  # nearest to the origin


def test_what_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"needs inputs \(N, n\) and N targets of 0 or 1, got shapes \(4, 2\) and \(3,\)"
    ):
        learn(INPUTS, [0, 1, 1])
    with pytest.raises(ValueError, match="targets of 0 or 1"):
        learn(INPUTS, [-1, 1, 1, 1])
    with pytest.raises(ValueError, match=r"two finite weights that are not both 0, got \[0.0, 0.0\]"):
        decision_line([0, 0], 1.0)
    with pytest.raises(ValueError, match=r"of shape \(3,\)"):
        decision_line([1, 2, 3], 1.0)


@pytest.mark.parametrize("spoil", ["inputs", "weights", "bias"])
def test_nobody_can_say_whether_nan_is_above_zero(spoil: str) -> None:
    parts = {"inputs": np.ones((3, 2)), "weights": np.ones(2), "bias": 0.0}
    parts[spoil] = parts[spoil] * np.nan
    with pytest.raises(ValueError, match=r"predict: w · x \+ b is not a number"):
        predict(parts["inputs"], parts["weights"], parts["bias"])
    assert predict([[1.0]], [np.inf], 0.0).tolist() == [1.0]  # infinity is above 0
    with pytest.raises(ValueError, match="learn|predict"):
        learn([[np.nan, 1.0]], [1])
    with pytest.raises(ValueError, match="decision_line: needs two finite weights"):
        decision_line([np.nan, 1.0], 0.0)
