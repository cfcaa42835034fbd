"""A run that is trained in pieces, by one function, has the bits of one that is trained at once."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.training import Callback, Interrupted, checkpoint, experiment, run
from chainrule.training.changes import change_run
from chainrule.training.session import save_and_stop, train


@pytest.fixture
def begin(digits, tmp_path):
    def begin(name, **changes):
        return run.create(
            experiment.configure("mlp", digits, batch_size=50, **{"epochs": 2, **changes}), tmp_path / name
        )

    return begin


def weights(trainer):
    return {name: value.numpy().copy() for name, value in trainer.network.state_dict().items()}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_in_pieces_and_at_once(begin, digits):
    whole, pieces = begin("whole"), begin("pieces")
    expected = weights(train(whole, digits))
    for step in (0, 3, 5, 7):  # an epoch has 5 steps
        trainer = train(pieces, digits, until=step)
        assert trainer.total_steps == step
        assert checkpoint.load(pieces.checkpoint_file)["progress"]["step"] == (step - trainer.epoch * 5)
    assert not same(weights(trainer), expected)
    assert same(weights(train(pieces, digits)), expected)
    assert [r["train_loss"] for r in pieces.history] == [r["train_loss"] for r in whole.history]


def test_a_change_between_pieces_is_the_change_of_the_rate_from_that_step_on(begin, digits):
    """Against a trainer whose optimizer gets the other rate by hand."""

    class ByHand(Callback):
        def on_step(self, trainer):
            if trainer.total_steps == 4:
                trainer.optimizer.param_groups[0]["lr"] = 0.003

    by_hand = weights(train(begin("hand", schedule="constant"), digits, callbacks=[ByHand()]))
    changed = begin("changed", schedule="constant")
    train(changed, digits, until=4)
    changed = change_run(changed, digits, {"lr": 0.003})
    assert same(weights(train(changed, digits)), by_hand)
    assert [(c["epoch"], c["step"], c["settings"]) for c in changed.changes] == [(0, 4, {"lr": [0.02, 0.003]})]


def test_a_callback_that_ends_training_earlier_is_not_hidden(begin, digits):
    class Early(Callback):
        def on_step(self, trainer):
            save_and_stop(trainer)

    early = begin("early")
    with pytest.raises(Interrupted):
        train(early, digits, until=5, callbacks=[Early()])
    with pytest.raises(Interrupted):
        train(early, digits, callbacks=[Early()])
    assert checkpoint.load(early.checkpoint_file)["progress"]["step"] == 2
