"""A run that is trained in pieces, by one function, has the bits of one that is trained at once."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule.errors import RunError
from chainrule.sweep import worker as sweep
from chainrule.training import Callback, Interrupted, checkpoint, experiment, run
from chainrule.training.changes import change_run
from chainrule.training.fork import fork
from chainrule.training.replay import RunReplay
from chainrule.training.session import save_and_stop, train, training_lock


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
        assert trainer.global_step == step
        assert checkpoint.load(pieces.checkpoint_file)["progress"]["step"] == (step - trainer.epoch * 5)
    assert not same(weights(trainer), expected)
    assert same(weights(train(pieces, digits)), expected)
    assert [r["train_loss"] for r in pieces.history] == [r["train_loss"] for r in whole.history]


def test_a_change_between_pieces_is_the_change_of_the_rate_from_that_step_on(begin, digits):
    """Against a trainer whose optimizer gets the other rate by hand."""

    class ByHand(Callback):
        def on_step(self, trainer):
            if trainer.global_step == 4:
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


@pytest.mark.parametrize("step", [0, 4, 5])  # an epoch has 5 steps
def test_two_changes_at_one_step_are_recorded_as_one_and_replayed(begin, digits, step):
    """Against a trainer whose optimizer gets the last rate by hand; the rate between the two took no step."""

    class ByHand(Callback):
        def on_start(self, trainer):
            self.on_step(trainer)

        def on_step(self, trainer):
            if trainer.global_step == step:
                trainer.optimizer.param_groups[0]["lr"] = 0.003

    by_hand = weights(train(begin("hand", schedule="constant"), digits, callbacks=[ByHand()]))
    changed = begin("changed", schedule="constant")
    for rate in (0.01, 0.003):
        train(changed, digits, until=step)
        changed = change_run(changed, digits, {"lr": rate})
    train(changed, digits, until=step)
    assert [(c["epoch"] * 5 + c["step"], c["settings"]) for c in changed.changes] == [(step, {"lr": [0.02, 0.003]})]
    assert same(weights(train(changed, digits)), by_hand)
    changed.checkpoint_file.unlink()  # so that all steps are computed again
    assert same(weights(RunReplay(changed, digits).seek(10)), by_hand)


@pytest.mark.parametrize("step", [3, 5])
def test_a_fork_whose_rate_is_changed_before_its_first_step_keeps_its_own_change(begin, digits, tmp_path, step):
    source = begin("source", schedule="constant")
    train(source, digits)
    forked = fork(RunReplay(source, digits), step, {"lr": 0.5}, tmp_path / "fork")
    train(forked, digits, until=step)
    forked = change_run(forked, digits, {"lr": 0.003})
    assert [c["settings"] for c in forked.changes] == [{"lr": [0.02, 0.003]}]
    expected = weights(train(forked, digits))
    forked.checkpoint_file.unlink()
    assert same(weights(RunReplay(forked, digits).seek(10)), expected)


@pytest.mark.parametrize("step", [3, 5, 8])
def test_a_fork_with_another_optimizer_can_be_stopped_before_its_first_step(begin, digits, tmp_path, step):
    source = begin("source")
    train(source, digits)
    replay = RunReplay(source, digits)
    whole, pieces = (fork(replay, step, {"optimizer": "lion"}, tmp_path / name) for name in ("whole", "pieces"))
    expected = weights(train(whole, digits))
    for until in (step, step, step + 1):
        train(pieces, digits, until=until)
    assert same(weights(train(pieces, digits)), expected)


def test_another_optimizer_from_the_last_step_of_an_epoch_on_has_no_state_at_its_end(begin, digits):
    """The end of the epoch is saved with no step between: a state that remembers nothing, and is right."""
    changed = begin("changed")
    train(changed, digits, until=5)
    assert checkpoint.load(changed.checkpoint_file)["progress"]["step"] == 5
    changed = change_run(changed, digits, {"optimizer": "lion", "lr": 0.001})

    class Killed(Callback):
        def on_loss(self, trainer, inputs, loss):
            raise Interrupted  # before the next step is complete, and without saving

    with pytest.raises(Interrupted):
        train(changed, digits, callbacks=[Killed()])
    progress = checkpoint.load(changed.checkpoint_file)["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 0)
    assert train(changed, digits).epoch == 2


HOLD = """import sys
from pathlib import Path
from chainrule.training.run import Run
from chainrule.training.session import training_lock
with training_lock(Run(Path(sys.argv[1]))):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_a_run_is_trained_by_one_process_at_a_time(begin, digits):
    one, other = begin("one"), begin("other")
    command = [sys.executable, "-c", HOLD, str(one.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        before = sorted(one.folder.rglob("*"))
        with pytest.raises(RunError) as caught:
            train(one, digits)
        assert str(caught.value) == (
            f"{one.folder}: this run is being trained already; stop that first, or wait for its end"
        )
        assert sorted(one.folder.rglob("*")) == before
        train(other, digits, until=1)
        process.kill()  # the kernel lets go
        process.wait()
    assert train(one, digits, until=1).global_step == 1
    assert train(one, digits, until=2).global_step == 2


def test_a_sweep_does_not_train_a_trial_that_is_being_trained(begin, digits):
    run = begin("trial")
    sentence = f"{run.folder}: this run is being trained already; stop that first, or wait for its end"
    with training_lock(run):
        assert sweep.train(run, digits, SimpleNamespace()) == ("failed", sentence)
    assert not run.history
