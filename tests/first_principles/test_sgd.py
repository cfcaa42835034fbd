"""Mini-batches: each example once per epoch, an unbiased gradient, and the theoretical variance."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.first_principles import sgd

RANDOM = np.random.default_rng(0)
FEATURES, LABELS = sgd.examples(200, RANDOM)
PARAMETERS = np.array([0.5, -0.2, 0.1, 0.3])
SIZES = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(("count", "size"), [(10, 3), (12, 4), (5, 5), (5, 1)])
def test_an_epoch_has_every_example_once(count: int, size: int) -> None:
    batches = sgd.mini_batches(count, size, np.random.default_rng(1))
    assert [len(b) for b in batches] == [size] * (count // size) + [count % size] * (count % size > 0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    again = sgd.mini_batches(count, size, np.random.default_rng(1))
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_agrees_with_the_engine() -> None:
    batch = sgd.mini_batches(200, 16, np.random.default_rng(2))[0]
    p = chainrule.tensor(PARAMETERS, requires_grad=True)
    out = chainrule.sigmoid(chainrule.tensor(FEATURES[batch]) @ p[:-1] + p[-1])
    nn.functional.mse_loss(out, chainrule.tensor(LABELS[batch])).backward()
    actual = sgd.gradient(FEATURES[batch], LABELS[batch], PARAMETERS)
    np.testing.assert_allclose(actual, np.asarray(p.grad), rtol=0, atol=1e-12)


def test_the_mean_over_an_epoch_is_the_full_gradient() -> None:
    batches = sgd.mini_batches(200, 20, np.random.default_rng(3))
    mean = np.mean([sgd.gradient(FEATURES[b], LABELS[b], PARAMETERS) for b in batches], axis=0)
    np.testing.assert_allclose(mean, sgd.gradient(FEATURES, LABELS, PARAMETERS), rtol=0, atol=1e-15)


def test_the_variance_falls_as_one_over_the_size() -> None:
    features, labels = sgd.examples(2000, np.random.default_rng(4))
    random = np.random.default_rng(5)
    drawn = [sgd.sampled_gradients(features, labels, PARAMETERS, size, 1000, random) for size in SIZES]
    measured = np.array([sgd.variance(gradients) for gradients in drawn])
    power = np.polyfit(np.log(SIZES), np.log(measured), 1)[0]
    assert power == pytest.approx(-1, abs=0.05)
    theory = [sgd.expected_variance(features, labels, PARAMETERS, size) for size in SIZES]
    np.testing.assert_allclose(measured, theory, rtol=0.15)
    full = sgd.gradient(features, labels, PARAMETERS)
    for gradients, expected in zip(drawn, theory, strict=True):  # unbiased: within four standard errors of the mean
        assert np.linalg.norm(gradients.mean(axis=0) - full) < 4 * (expected / 1000) ** 0.5


def test_all_examples_leave_no_noise() -> None:
    assert sgd.expected_variance(FEATURES, LABELS, PARAMETERS, 200) == 0
    assert sgd.variance(sgd.sampled_gradients(FEATURES, LABELS, PARAMETERS, 200, 5, RANDOM)) < 1e-30


def test_small_steps_get_further_in_an_epoch() -> None:
    losses = [
        sgd.train(FEATURES, LABELS, np.zeros(4), size, 0.5, 3, np.random.default_rng(6))[1] for size in (200, 50, 10)
    ]
    assert losses[2][-1] < losses[1][-1] < losses[0][-1]


def test_what_is_refused() -> None:
    for size in (0, 11):
        with pytest.raises(ValueError, match=rf"size must be from 1 to 10, the number of examples, got {size}"):
            sgd.mini_batches(10, size, RANDOM)
