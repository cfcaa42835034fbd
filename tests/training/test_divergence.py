"""Where a run diverged: the step and the layer, and the state of the step before, from which it can be saved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule import nn
from chainrule.training import DivergedError, checkpoint, experiment, run
from chainrule.training.changes import change_run
from chainrule.training.divergence import locate
from chainrule.training.replay import CanceledError
from chainrule.training.session import train


def begin(digits, folder, **changes):
    settings = {"epochs": 60, "batch_size": 50, "optimizer": "sgd", "momentum": 0.0, "schedule": "constant", **changes}
    return run.create(experiment.configure("mlp", digits, **settings), folder)


@pytest.fixture
def diverged(digits, tmp_path, request):
    """A run that has diverged."""
    this = begin(digits, tmp_path / "run", lr=1e6, eager=request.param)
    with pytest.raises(DivergedError):
        train(this, digits)
    return this


def first_bad_step(this, digits):
    """By a loop over the loader's batches, with nothing but the formulas of the model: float32, as the network."""
    trainer = experiment.prepare(this, digits)
    network, optimizer, loss = trainer.network, trainer.optimizer, trainer.loss
    step = 0
    while True:
        for inputs, targets in trainer.loader:
            step += 1
            optimizer.zero_grad()
            value = loss(network(inputs), targets)
            if not math.isfinite(float(value)):
                return step
            value.backward()
            optimizer.step()
            if not all(np.isfinite(p.numpy()).all() for p in network.parameters()):
                return step


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("diverged", [False, True], indirect=True, ids=["compiled", "eager"])
def test_the_step_the_layer_and_the_way_back(diverged, digits, tmp_path):
    found = locate(diverged, digits)
    assert found.step == first_bad_step(diverged, digits)
    assert found.epoch == (found.step - 1) // 5 + 1
    assert found.last_good == found.step - 2  # the update of the step before made the weights too large
    assert found.where.startswith("the first values that are not finite are in the ")
    assert "layer '" in found.where
    kept = diverged.kept_states[("step", found.last_good) if found.last_good % 5 else ("epoch", found.last_good // 5)]
    fresh = begin(digits, tmp_path / "fresh", lr=1e6, eager=diverged.config["training"]["eager"])
    expected = train(fresh, digits, until=found.last_good).network.state_dict()
    saved = checkpoint.load(kept)["network"]
    assert all(np.array_equal(saved[name], expected[name].numpy()) for name in expected)
    back = change_run(diverged, digits, {"lr": 1e-9, "epochs": found.epoch}, step=found.last_good)
    assert math.isfinite(train(back, digits).history[-1]["validation_loss"])


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_an_output_that_overflows_is_named_by_its_layer(digits, tmp_path):
    """The first layer's weights are finite and so large that the sums of the second are not."""
    this = begin(digits, tmp_path / "run", lr=0.1)
    trainer = train(this, digits, until=3)
    state = checkpoint.load(this.checkpoint_file)
    for layer in ("1", "3"):
        values = state["network"][f"{layer}.weight"]
        values[...] = 1e30
    checkpoint.save(state, this.checkpoint_file)
    found = locate(this, digits)
    assert (found.step, found.last_good) == (4, None)  # the checkpoint is too late
    assert found.where == "the first values that are not finite are in the output of layer '3', " + repr(
        trainer.network[3]
    )
    assert isinstance(trainer.network[3], nn.Linear)


def test_a_run_that_does_not_diverge_and_a_checkpoint_that_has(digits, tmp_path):
    this = begin(digits, tmp_path / "run", lr=0.1)
    train(this, digits, until=3)
    before = {file: file.read_bytes() for file in this.folder.rglob("*") if file.is_file()}
    assert locate(this, digits) is None
    assert {file: file.read_bytes() for file in this.folder.rglob("*") if file.is_file()} == before
    state = checkpoint.load(this.checkpoint_file)
    state["network"]["3.bias"][0] = np.nan
    checkpoint.save(state, this.checkpoint_file)
    found = locate(this, digits)
    assert (found.step, found.last_good) == (3, None)
    assert found.where == "the first values that are not finite are in the bias of layer '3' in the last checkpoint"


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_an_update_that_overflows_is_found_in_its_own_step(digits, tmp_path):
    this = begin(digits, tmp_path / "run", lr=1e39)  # no float32
    with pytest.raises(DivergedError):
        train(this, digits)
    found = locate(this, digits)
    assert (found.step, found.epoch, found.last_good) == (1, 1, 0)
    assert found.where == "the first values that are not finite are in the bias of layer '3'"
    back = change_run(this, digits, {"lr": 0.01, "weight_decay": 0.0, "epochs": 1}, step=0)
    assert train(back, digits).history[0]["train_loss"] < 3


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_outputs_that_are_too_large_for_the_loss(digits, tmp_path):
    this = begin(digits, tmp_path / "run", lr=0.1)
    train(this, digits, until=3)
    state = checkpoint.load(this.checkpoint_file)
    state["network"]["3.bias"][:] = [3e38, -3e38] * 5  # their difference is not finite
    checkpoint.save(state, this.checkpoint_file)
    found = locate(this, digits)
    assert found.where == "the outputs of the last layer, '3', reach 3e+38, which is too large for the loss"


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
def test_the_layer_is_unknown_with_shards(digits, tmp_path, eager):
    """The outputs are too large for the loss, as above, but each shard has computed its own."""
    this = begin(digits, tmp_path / "run", lr=0.1, shards=2, eager=eager)
    train(this, digits, until=3)
    state = checkpoint.load(this.checkpoint_file)
    state["network"]["3.bias"][:] = [3e38, -3e38] * 5
    checkpoint.save(state, this.checkpoint_file)
    found = locate(this, digits)
    assert (found.step, found.last_good) == (4, None)
    assert found.where == "the layer is unknown, since the run divides each batch into shards"


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("diverged", [True], indirect=True, ids=["eager"])
def test_the_search_can_be_canceled_in_both_its_passes(diverged, digits):
    """It looks after each step, and leaves the run as it was."""
    config, states = diverged.config_file.read_bytes(), set(diverged.checkpoint_file.parent.iterdir())
    asked = []
    assert locate(diverged, digits, lambda: bool(asked.append(None))) is not None
    for path in set(diverged.checkpoint_file.parent.iterdir()) - states:
        path.unlink()
    for most in (1, len(asked)):  # the last time it is asked is in the second pass
        answers = iter([False] * (most - 1) + [True])
        with pytest.raises(CanceledError, match=r"the search for the step was canceled at step \d"):
            locate(diverged, digits, answers.__next__)
    assert diverged.config_file.read_bytes() == config
