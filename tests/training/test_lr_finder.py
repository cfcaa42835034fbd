"""The learning-rate finder: what it finds, that it leaves no trace, and its picture."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from chainrule import nn
from chainrule.errors import UserError
from chainrule.plots.training import learning_rates
from chainrule.training.lr_finder import find_learning_rate


def bits(state):
    """A state as something that can be compared."""
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [bits(value) for value in state]
    return (
        state.numpy().tobytes() if hasattr(state, "numpy") else state.tobytes() if hasattr(state, "tobytes") else state
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_finds_a_rate_and_leaves_no_trace(make_trainer, compiled):
    trainer = make_trainer("adam, one cycle", compiled=compiled)
    before = bits(copy.deepcopy(trainer.state_dict()))
    search = find_learning_rate(trainer, steps=60)
    assert bits(trainer.state_dict()) == before
    untouched = make_trainer("adam, one cycle", compiled=compiled)
    losses = [[record["train_loss"] for record in one.fit(2)] for one in (trainer, untouched)]
    assert losses[0] == losses[1]
    np.testing.assert_allclose(np.diff(np.log(search.rates)), np.log(1e7) / 59)
    assert search.rates[0] == 1e-6
    best = search.rates[int(np.argmin(search.smoothed))]
    assert search.suggestion == best / 10
    assert 1e-3 < best < 10  # the optimizer is Adam
    weights = 0.9 ** np.arange(len(search.losses))[::-1]
    assert search.smoothed[-1] == pytest.approx((weights * search.losses).sum() / weights.sum())
    assert len(search.losses) == len(search.smoothed) == len(search.rates) <= 60


def test_ends_where_the_loss_diverges(make_trainer):
    search = find_learning_rate(make_trainer("momentum"), low=1e-3, high=1e6, steps=80)
    assert len(search.rates) < 80
    assert search.smoothed[-1] > 4 * min(search.smoothed) or not np.isfinite(search.losses[-1] * 1e30)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"low": 0.0}, ValueError, "needs 0 < low < high, got 0.0 and 10.0"),
        ({"low": 1.0, "high": 0.1}, ValueError, "needs 0 < low < high, got 1.0 and 0.1"),
        ({"high": float("nan")}, ValueError, "high must not be negative, got nan"),
        ({"steps": 3}, ValueError, "steps must be at least 10, not 3"),
    ],
)
def test_what_makes_no_sense(make_trainer, options, error, message):
    with pytest.raises(error, match=message):
        find_learning_rate(make_trainer(), **options)


def test_shards_and_losses_that_are_not_finite_are_refused(make_trainer):
    with pytest.raises(UserError, match="whole batches, but this trainer divides them into 2 shards"):
        find_learning_rate(make_trainer(shards=2))
    trainer = make_trainer()
    nn.init.constant_(trainer.network[0].weight, float("nan"))
    with pytest.raises(UserError, match="the first loss is not finite"):
        find_learning_rate(trainer)


def test_the_picture_shows_losses_and_suggestion():
    figure = learning_rates([1e-3, 1e-2, 1e-1], [2.0, 1.0, 5.0], [2.0, 1.4, 2.7], 1e-3)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    loss, smoothed, marker = axes.lines
    assert [list(line.get_ydata()) for line in (loss, smoothed)] == [[2, 1, 5], [2, 1.4, 2.7]]
    assert list(marker.get_xdata()) == [1e-3, 1e-3]
    with pytest.raises(ValueError, match="needs as many rates as losses, at least one, not 0 rates, 0 losses"):
        learning_rates([], [], [], 0.1)
