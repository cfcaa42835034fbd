"""The training loop: what it does in a step, whom it tells, and that it goes on exactly where it was stopped."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from chainrule import nn, no_grad, optim, tensor
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.optim.lr_scheduler import OneCycleLR
from chainrule.training import BestModel, Callback, Checkpoint, EarlyStopping, History, Interrupted, Trainer, checkpoint

from .killing import Killed

EPOCHS, STEPS = 3, 4  # as the trainers are made
RECIPES = ["momentum", "momentum, one cycle", "adam, one cycle", "adamw, cosine"]


class Log(Callback):
    """Writes down what it is told."""

    def __init__(self, name, events):
        self.name, self.events = name, events

    def on_start(self, trainer):
        self.events.append((self.name, "start", trainer.epoch, trainer.step_in_epoch))

    def on_loss(self, trainer, inputs, loss):
        assert inputs.shape[1:] == (6,)
        assert loss > 0
        self.events.append((self.name, "loss", trainer.epoch, trainer.step_in_epoch))

    def on_step(self, trainer):
        self.events.append((self.name, "step", trainer.epoch, trainer.step_in_epoch))

    def on_epoch(self, trainer, record):
        assert trainer.history[-1] is record
        self.events.append((self.name, "epoch", trainer.epoch, trainer.step_in_epoch))

    def on_end(self, trainer):
        self.events.append((self.name, "end", trainer.epoch, trainer.step_in_epoch))


class At(Callback):
    """Does something at one event: the number of the step, or "start", "epoch 2", "end"."""

    def __init__(self, event, action):
        self.event, self.action, self.steps = event, action, 0

    def _tell(self, trainer, event):
        if event == self.event:
            self.action(trainer)

    def on_start(self, trainer):
        self._tell(trainer, "start")

    def on_loss(self, trainer, inputs, loss):
        self.steps += 1
        self._tell(trainer, f"loss {self.steps}")

    def on_step(self, trainer):
        self._tell(trainer, f"step {self.steps}")

    def on_epoch(self, trainer, record):
        self._tell(trainer, f"epoch {record['epoch']}")

    def on_end(self, trainer):
        self._tell(trainer, "end")


def interrupt(trainer):
    trainer.interrupt = True


def kill(trainer):
    raise Killed


def files(folder, seconds=math.inf):
    """The callbacks of a run."""
    return [BestModel(folder / "best"), History(folder / "metrics.jsonl"), Checkpoint(folder, seconds)]


def without_seconds(state):
    """A state as text, arrays by their bytes, without what the clock has put in."""
    if isinstance(state, dict):
        return {str(k): without_seconds(v) for k, v in state.items() if k != "seconds"}
    if isinstance(state, (list, tuple)):
        return [without_seconds(v) for v in state]
    return (state.dtype.str, state.shape, np.asarray(state).tobytes()) if hasattr(state, "dtype") else state


def everything(trainer, folder):
    """All that must be the same, however often training was stopped on the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "state": without_seconds(trainer.state_dict()),
        "saved": without_seconds(checkpoint.load(folder / checkpoint.FILE_NAME)),
        "history": without_seconds(trainer.history),
        "file": without_seconds(lines),
        "best": (folder / "best").read_bytes(),
    }


def assert_same(actual, expected):
    for part, value in expected.items():
        assert actual[part] == value, part


@pytest.fixture(scope="module")
def finished():
    return {}


@pytest.fixture
def never_stopped(make_trainer, tmp_path, finished):
    """A function that trains by a recipe without a stop, once, and gives everything that came out."""

    def train(recipe):
        if recipe not in finished:
            folder = tmp_path / "never stopped"
            folder.mkdir()
            trainer = make_trainer(recipe, files(folder))
            trainer.fit(EPOCHS)
            finished[recipe] = everything(trainer, folder)
        return finished[recipe]

    return train


def test_the_same_seed_gives_the_same_bits_and_another_others(make_trainer, tmp_path, never_stopped):
    trainer = make_trainer("adamw, cosine", files(tmp_path))
    trainer.fit(EPOCHS)
    assert_same(everything(trainer, tmp_path), never_stopped("adamw, cosine"))
    other = make_trainer("adamw, cosine", files(tmp_path), seed=1)
    other.fit(EPOCHS)
    assert everything(other, tmp_path)["best"] != never_stopped("adamw, cosine")["best"]


# One step, and one epoch


def test_a_step_is_forward_backward_downhill():
    inputs, targets = tensor([[1.0, 2.0], [3.0, 5.0]]), tensor([[1.0], [0.0]])
    network = nn.Linear(2, 1)
    before = {name: p.numpy().copy() for name, p in network.named_parameters()}
    loader = DataLoader(TensorDataset(inputs, targets), 2)
    Trainer(network, nn.functional.mse_loss, optim.SGD(network.parameters(), 0.1), loader).fit(1)

    errors = inputs.numpy() @ before["weight"].T + before["bias"] - targets.numpy()  # (2, 1)
    np.testing.assert_allclose(network.weight.numpy(), before["weight"] - 0.1 * errors.T @ inputs.numpy(), rtol=1e-5)
    np.testing.assert_allclose(network.bias.numpy(), before["bias"] - 0.1 * errors.sum(axis=0), rtol=1e-5)


def test_the_losses_gradients_are_not_added_up_over_steps(make_trainer):
    trainer = make_trainer(validate=None)
    twin = make_trainer()
    trainer.fit(2)
    twin.network.train()
    for _ in range(2):
        for inputs, targets in twin.loader:
            twin.network.zero_grad()
            nn.functional.cross_entropy(twin.network(inputs), targets).backward()
            twin.optimizer.step()
    for a, b in zip(trainer.network.parameters(), twin.network.parameters(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_a_record_says_how_the_epoch_went(make_trainer):
    trainer = make_trainer("adam, one cycle")
    assert trainer.fit(2) is trainer.history
    assert [list(record) for record in trainer.history] == [
        ["epoch", "train_loss", "validation_loss", "validation_accuracy", "seconds", "learning_rate"]
    ] * 2
    assert [record["epoch"] for record in trainer.history] == [1, 2]
    assert all(record["seconds"] > 0 for record in trainer.history)
    json.dumps(trainer.history)


def test_the_loss_of_an_epoch_is_the_mean_over_examples_not_batches(make_trainer):
    trainer = make_trainer(scheduler=None)
    trainer.network[2].p = 0.0
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    with no_grad():
        inputs, targets = trainer.loader.dataset[:]
        loss = nn.functional.cross_entropy(trainer.network(inputs), targets).item()
    (record,) = trainer.fit(1)
    assert record["train_loss"] == pytest.approx(loss, rel=1e-5)


def test_the_mean_loss_so_far_begins_anew_each_epoch(make_trainer):
    seen = []
    trainer = make_trainer(callbacks=[At("epoch 1", lambda t: seen.append(t.mean_loss))])
    assert math.isnan(trainer.mean_loss)
    trainer.fit(2)
    assert math.isnan(seen[0])


def test_the_schedule_takes_a_step_after_each_step(make_trainer):
    rates = []

    class Rates(Callback):
        def on_loss(self, trainer, inputs, loss):
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    trainer = make_trainer("adam, one cycle", [Rates()])
    trainer.fit(EPOCHS)
    twin = make_trainer("adam, one cycle")
    expected = []
    for _ in range(EPOCHS * STEPS):
        expected.append(twin.optimizer.param_groups[0]["lr"])
        twin.scheduler.step()
    assert rates == expected
    assert len(set(rates)) > STEPS
    assert trainer.history[-1]["learning_rate"] == twin.optimizer.param_groups[0]["lr"]


def test_the_network_learns_in_training_mode_whatever_validation_does(make_trainer):
    modes = []

    class Modes(Callback):
        def on_loss(self, trainer, inputs, loss):
            modes.append(trainer.network[2].training)

    trainer = make_trainer(callbacks=[Modes()])  # whose validation puts the network into evaluation mode
    trainer.fit(2)
    assert modes == [True] * 2 * STEPS


@pytest.mark.parametrize(
    "value", [0.5, 1, np.float32(0.5), np.float64(0.5), tensor(0.5)], ids=lambda v: type(v).__name__
)
def test_validation_may_give_any_number(make_trainer, value):
    trainer = make_trainer(validate=lambda: {"validation_accuracy": value})
    (record,) = trainer.fit(1)
    assert type(record["validation_accuracy"]) is float
    assert record["validation_accuracy"] == float(value)
    assert list(record) == ["epoch", "train_loss", "validation_accuracy", "seconds", "learning_rate"]


def test_weights_that_overflow_do_so_quietly(make_trainer):
    trainer = make_trainer(scheduler=None)
    trainer.optimizer.param_groups[0]["lr"] = 1e300
    trainer.fit(1)  # warnings are errors here
    assert math.isnan(trainer.history[0]["train_loss"])


# Whom it tells, and when it ends


def test_callbacks_are_told_in_their_order(make_trainer):
    events = []
    trainer = make_trainer(callbacks=[Log("a", events), Log("b", events)])
    trainer.fit(2)
    assert [event[1:] for event in events if event[0] == "a"] == [event[1:] for event in events if event[0] == "b"]
    assert [name for name, *_ in events] == ["a", "b"] * (len(events) // 2)
    expected = [("start", 0, 0)]
    for epoch in range(2):
        for step in range(STEPS):
            expected += [("loss", epoch, step), ("step", epoch, step + 1)]
        expected.append(("epoch", epoch + 1, 0))
    assert [event[1:] for event in events if event[0] == "a"] == [*expected, ("end", 2, 0)]


def test_a_callback_can_stop_it_after_the_epoch(make_trainer):
    def stop(trainer):
        trainer.stop = True

    trainer = make_trainer(callbacks=[At("step 6", stop)])
    assert len(trainer.fit(5)) == 2


def test_fit_goes_on_to_so_many_epochs_in_all(make_trainer):
    trainer, twin = make_trainer(), make_trainer()
    trainer.fit(1)
    trainer.fit(1)
    trainer.fit(3)
    twin.fit(3)
    assert without_seconds(trainer.state_dict()) == without_seconds(twin.state_dict())
    assert len(trainer.history) == 3


@pytest.mark.parametrize("event", ["start", "loss 1", "step 5", "epoch 1"])
def test_all_are_told_of_the_end_whatever_ends_it(make_trainer, event):
    events = []
    trainer = make_trainer(callbacks=[Log("first", events), At(event, kill), Log("last", events)])
    with pytest.raises(Killed):
        trainer.fit(2)
    assert [name for name, kind, *_ in events if kind == "end"] == ["first", "last"]


def test_an_interruption_ends_it_after_the_step(make_trainer):
    events = []
    trainer = make_trainer(callbacks=[At("loss 6", interrupt), Log("log", events)])
    with pytest.raises(Interrupted):
        trainer.fit(3)
    assert isinstance(Interrupted(), KeyboardInterrupt)
    assert events[-2:] == [("log", "step", 1, 2), ("log", "end", 1, 2)]


@pytest.mark.parametrize("position", ["first", "last"])
def test_an_interruption_at_any_moment_is_saved_before_it_ends(make_trainer, tmp_path, position):
    """Also one that comes when the callbacks have been told of the step already."""
    own = [Checkpoint(tmp_path, math.inf)]
    own.insert(0 if position == "first" else 1, At("step 6", interrupt))
    trainer = make_trainer(callbacks=own)
    with pytest.raises(Interrupted):
        trainer.fit(3)
    assert checkpoint.load(tmp_path / checkpoint.FILE_NAME)["progress"]["step"] == trainer.step_in_epoch == 3


# Going on exactly


@pytest.mark.parametrize("step", range(1, EPOCHS * STEPS + 1))
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interrupted_training_ends_with_the_same_bits(make_trainer, tmp_path, never_stopped, recipe, step):
    trainer = make_trainer(recipe, [At(f"loss {step}", interrupt), *files(tmp_path)])
    with pytest.raises(Interrupted):
        trainer.fit(EPOCHS)
    done = (step - 1) // STEPS
    assert (trainer.epoch, trainer.step_in_epoch) == (done, step - STEPS * done)

    resumed = make_trainer(recipe, files(tmp_path), seed=99)
    resumed.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    resumed.fit(EPOCHS)
    assert_same(everything(resumed, tmp_path), never_stopped(recipe))


KILLS = [  # when, where among BestModel, History and Checkpoint, and how often a checkpoint is saved within an epoch
    *((f"step {step}", 3, math.inf) for step in range(1, EPOCHS * STEPS + 1)),
    *((f"step {step}", 0, 0.0) for step in range(1, EPOCHS * STEPS + 1)),
    *((event, position, 0.0) for event in ("start", "epoch 1", "epoch 2", "epoch 3", "end") for position in range(4)),
]


@pytest.mark.parametrize(("event", "position", "seconds"), KILLS)
def test_a_killed_training_ends_with_the_same_bits(make_trainer, tmp_path, never_stopped, event, position, seconds):
    recipe = "adam, one cycle"
    killed = files(tmp_path, seconds)
    killed.insert(position, At(event, kill))
    with pytest.raises(Killed):
        make_trainer(recipe, killed).fit(EPOCHS)

    if (tmp_path / checkpoint.FILE_NAME).exists():
        resumed = make_trainer(recipe, files(tmp_path, seconds), seed=99)
        resumed.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    else:  # killed before anything was saved
        assert event == "start"
        resumed = make_trainer(recipe, files(tmp_path, seconds))
    resumed.fit(EPOCHS)
    assert_same(everything(resumed, tmp_path), never_stopped(recipe))


def test_a_training_may_be_stopped_many_times(make_trainer, tmp_path, never_stopped):
    recipe = "momentum, one cycle"
    for steps in (2, 1, 4, 3, 2):  # of each stretch; the sum is all steps
        trainer = make_trainer(recipe, [At(f"loss {steps}", interrupt), *files(tmp_path)], seed=steps)
        if (tmp_path / checkpoint.FILE_NAME).exists():
            trainer.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
        else:
            trainer = make_trainer(recipe, [At(f"loss {steps}", interrupt), *files(tmp_path)])
        with pytest.raises(Interrupted):
            trainer.fit(EPOCHS)
    assert trainer.step_in_epoch == STEPS
    trainer.fit(EPOCHS)
    assert_same(everything(trainer, tmp_path), never_stopped(recipe))


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS, STEPS + 1, EPOCHS * STEPS])
def test_the_same_trainer_can_go_on_itself(make_trainer, tmp_path, never_stopped, step):
    trainer = make_trainer("momentum", [At(f"loss {step}", interrupt), *files(tmp_path)])
    with pytest.raises(Interrupted):
        trainer.fit(EPOCHS)
    trainer.fit(EPOCHS)
    assert_same(everything(trainer, tmp_path), never_stopped("momentum"))


def test_a_finished_training_goes_on_to_nothing(make_trainer, tmp_path, never_stopped):
    make_trainer("momentum", files(tmp_path)).fit(EPOCHS)
    resumed = make_trainer("momentum", files(tmp_path), seed=99)
    resumed.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    resumed.fit(EPOCHS)
    assert_same(everything(resumed, tmp_path), never_stopped("momentum"))


def test_early_stopping_stays_stopped(make_trainer, tmp_path):
    def trainer(seed):
        own = [EarlyStopping(1), *files(tmp_path)]
        return make_trainer(callbacks=own, seed=seed, validate=lambda: {"validation_accuracy": 0.5})

    assert len(trainer(0).fit(9)) == 2
    resumed = trainer(99)
    resumed.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    assert len(resumed.fit(9)) == 2


class PassInside(Callback):
    """Goes through the training data within training, in whole or in part, as a measure of accuracy does."""

    def __init__(self, batches=None):
        self.batches, self.seen = batches, []

    def _go(self, trainer):
        parts = itertools.islice(trainer.loader, self.batches)
        self.seen.append(sum(len(labels) for _, labels in parts))

    def on_start(self, trainer):
        self._go(trainer)

    def on_step(self, trainer):
        self._go(trainer)

    def on_epoch(self, trainer, record):
        self._go(trainer)


@pytest.mark.parametrize("batches", [None, 1])
def test_a_pass_inside_training_loses_nothing(make_trainer, batches):
    shown = []
    inside = PassInside(batches)
    trainer = make_trainer(callbacks=[inside])
    loss = trainer.loss
    trainer.loss = lambda outputs, targets: (shown.append(len(targets)), loss(outputs, targets))[1]
    trainer.fit(2)
    assert shown == [6, 6, 6, 4] * 2
    assert inside.seen == [22 if batches is None else 6] * (1 + 2 * (STEPS + 1))


@pytest.mark.parametrize("batches", [None, 1])
@pytest.mark.parametrize("step", range(1, 2 * STEPS + 1))
def test_a_training_with_passes_inside_resumes_with_the_same_bits(make_trainer, tmp_path, batches, step):
    def build_trainer(folder, seed=0, *others):
        return make_trainer("adam, one cycle", [*others, PassInside(batches), *files(folder)], seed=seed)

    whole = build_trainer(tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    whole.fit(EPOCHS)
    stopped = build_trainer(tmp_path, 0, At(f"loss {step}", interrupt))
    with pytest.raises(Interrupted):
        stopped.fit(EPOCHS)
    resumed = build_trainer(tmp_path, 99)
    resumed.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    resumed.callbacks[0].batches = 0  # its pass at the start was there at the first start, too
    resumed._call("on_start")
    resumed.callbacks[0].batches = batches
    resumed.callbacks[0].on_start = lambda trainer: None
    resumed.fit(EPOCHS)
    assert_same(everything(resumed, tmp_path), everything(whole, tmp_path / "whole"))


def test_a_pass_before_going_on_does_not_take_the_rest(make_trainer, tmp_path):
    stopped = make_trainer(callbacks=[At("loss 2", interrupt), *files(tmp_path)])
    with pytest.raises(Interrupted):
        stopped.fit(EPOCHS)
    inside = PassInside()
    resumed = make_trainer(callbacks=[inside, *files(tmp_path)], seed=99)
    resumed.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    resumed.fit(1)
    assert inside.seen == [22] * (1 + (STEPS - 2) + 1)
    assert resumed.history[0]["train_loss"] > 0


@pytest.mark.parametrize("event", ["loss 2", "loss 4", "loss 5"])
def test_an_error_in_a_step_does_not_lose_its_batch(make_trainer, event):
    """The same trainer goes on, and learns from every example once an epoch."""
    shown = []
    trainer = make_trainer(callbacks=[At(event, kill)])
    loss = trainer.loss
    trainer.loss = lambda outputs, targets: (shown.append(targets.tolist()), loss(outputs, targets))[1]
    with pytest.raises(Killed):
        trainer.fit(2)
    stopped = len(shown)
    trainer.callbacks.clear()
    trainer.fit(2)
    assert len(shown) == 2 * STEPS + 1
    assert shown.pop(stopped) == shown[stopped - 1]
    everyone = sorted(trainer.loader.dataset[:][1].tolist())
    for epoch in (shown[:STEPS], shown[STEPS:]):
        assert sorted(itertools.chain(*epoch)) == everyone


@pytest.mark.parametrize("event", ["start", "loss 1", "loss 3", "step 3", "step 4", "epoch 1"])
def test_a_state_taken_at_any_event_can_be_loaded(make_trainer, tmp_path, event):
    """Also between a batch and its step, and while the trained network is judged."""
    path = tmp_path / "state"
    trainer, resumed = (
        make_trainer(callbacks=[At(event, lambda t: checkpoint.save(t.state_dict(), path))]),
        make_trainer(),
    )
    trainer.fit(2)
    resumed.load_state_dict(checkpoint.load(path))
    resumed.fit(2)
    assert [len(one.history) for one in (trainer, resumed)] == [2, 2]
    if "loss" not in event:  # there, dropout has been drawn already
        assert without_seconds(resumed.state_dict()) == without_seconds(trainer.state_dict())


# Its state


def test_callbacks_that_remember_nothing_may_be_others_than_before(make_trainer, tmp_path):
    """A run begun with a bar on the screen can go on without one."""
    first = make_trainer(callbacks=[Log("a", []), *files(tmp_path), Log("b", [])])
    first.fit(1)
    second = make_trainer(callbacks=files(tmp_path), seed=99)
    second.load_state_dict(first.state_dict())
    assert second.callbacks[0].best == first.callbacks[1].best
    assert second.callbacks[0].epoch == 1


def test_a_generator_that_two_layers_share_is_kept_once(make_trainer):
    generator = np.random.default_rng(0)
    trainer = make_trainer()
    trainer.network = nn.Sequential(nn.Dropout(generator=generator), nn.Sequential(nn.Dropout(generator=generator)))
    assert trainer.state_dict()["generators"] == [generator.bit_generator.state]


def test_the_state_is_that_of_the_moment(make_trainer, tmp_path):
    """Saving in mid-epoch must not be changed by the steps that follow."""
    trainer = make_trainer("adam, one cycle")
    trainer.fit(1)
    checkpoint.save(trainer.state_dict(), tmp_path / "one")
    trainer.fit(2)
    again = make_trainer("adam, one cycle", seed=99)
    again.load_state_dict(checkpoint.load(tmp_path / "one"))
    assert again.epoch == 1
    again.fit(2)
    assert without_seconds(again.state_dict()) == without_seconds(trainer.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: setattr(t, "scheduler", None), "both have a schedule"),
        (lambda t: setattr(t.network, "0", nn.Linear(6, 9)), r"wrong shape: 0.weight is \([89], 6\)"),
        (lambda t: setattr(t.network[2], "generator", None), "generators"),
        (lambda t: t.callbacks.pop(), "callbacks"),
        (lambda t: setattr(t, "loader", DataLoader(t.loader.dataset, 4)), "DataLoader"),
    ],
    ids=["schedule", "network", "generators", "callbacks", "loader"],
)
def test_a_state_that_does_not_fit_is_an_error(make_trainer, tmp_path, change, message):
    trainer, other = (make_trainer("adam, one cycle", [BestModel(tmp_path / "best")]) for _ in range(2))
    change(other)
    for state, target in ((trainer.state_dict(), other), (other.state_dict(), trainer)):
        with pytest.raises(ValueError, match=message):
            target.load_state_dict(state)


def test_a_schedule_of_another_kind_is_an_error(make_trainer):
    state = make_trainer("adam, one cycle").state_dict()
    other = make_trainer("adam, one cycle")
    other.scheduler = optim.lr_scheduler.CosineAnnealingLR(other.optimizer, 5)
    with pytest.raises(ValueError, match="CosineAnnealingLR: the state does not fit"):
        other.load_state_dict(state)
    assert isinstance(make_trainer("adam, one cycle").scheduler, OneCycleLR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loader": [1, 2]}, "Trainer: the loader must be a DataLoader, not list"),
        ({"loss": "mse"}, "Trainer: the loss must be a function of outputs and targets, not str"),
    ],
    ids=["loader", "loss"],
)
def test_what_makes_no_trainer(make_trainer, options, message):
    default_trainer = make_trainer()
    arguments = {
        "loss": default_trainer.loss,
        "optimizer": default_trainer.optimizer,
        "loader": default_trainer.loader,
        **options,
    }
    with pytest.raises(TypeError, match=message):
        Trainer(default_trainer.network, **arguments)


@pytest.mark.parametrize("epochs", ["2", 1.5, True, None])
def test_a_number_of_epochs_that_is_none(make_trainer, epochs):
    trainer = make_trainer()
    with pytest.raises(TypeError, match="fit: the number of epochs must be an integer, not "):
        trainer.fit(epochs)
    assert trainer.history == []


def test_an_optimizer_of_another_network_is_told(make_trainer):
    trainer, other = make_trainer(), make_trainer()
    trainer.optimizer, before = other.optimizer, trainer.network[0].weight.tolist()
    trainer.scheduler = other.scheduler
    with pytest.warns(UserWarning, match="the optimizer has none of the network's parameters"):
        trainer.fit(1)
    assert trainer.network[0].weight.tolist() == before


def test_the_former_names_of_counts(make_trainer):
    trainer = make_trainer()
    trainer.fit(2)
    trainer.step = 3
    assert (trainer.step, trainer.step_in_epoch) == (3, 3)
    assert trainer.total_steps == trainer.global_step == 2 * STEPS + 3
