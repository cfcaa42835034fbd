"""Runs that are changed on purpose: more epochs, other settings, a way back; and what is then said of their bits."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from chainrule import safetensors_io
from chainrule.data import Augment, ImageData
from chainrule.errors import DataError, RunError
from chainrule.models import Recipe
from chainrule.training import Callback, checkpoint, experiment, run
from chainrule.training.changes import change_recipe, change_run, parse_settings
from chainrule.training.optimizers import make_optimizer
from chainrule.training.resume import resume

from .killing import KillAt, Killed

BATCH = {"batch_size": 50}  # five steps an epoch


class Rates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_loss(self, trainer, inputs, loss):
        self.seen.append(trainer.optimizer.param_groups[0]["lr"])


@pytest.fixture
def begin(digits, tmp_path):
    """Makes a run, untrained."""

    def begin(name="run", model="mlp", keep=0, **changes):
        changes = {"epochs": 2, **BATCH, **changes}
        return run.create(experiment.configure(model, digits, keep=keep, **changes), tmp_path / name)

    return begin


def train_on(digits, this_run, *callbacks, saving=math.inf):
    """Trains a run to its end, or to a kill, from where it stands; gives the trainer."""
    this_run = run.Run(this_run.folder)
    trainer = experiment.prepare(this_run, digits, callbacks)
    trainer.callbacks[-1].seconds = saving
    resume(this_run, trainer)
    try:
        trainer.fit(this_run.config["training"]["epochs"])
    except Killed:
        return trainer
    experiment.finish(this_run, digits, 1.0)
    return trainer


@pytest.fixture
def go_on(digits):
    """Trains a run on (see `train_on`)."""
    return functools.partial(train_on, digits)


@pytest.fixture(scope="module", params=["mlp", "best"])
def finished(request, digits, tmp_path_factory):
    """A run of three epochs, all of whose states are kept. Do not modify it."""
    config = experiment.configure(request.param, digits, keep=9, epochs=3, **BATCH)
    this_run = run.create(config, tmp_path_factory.mktemp("finished") / "run")
    train_on(digits, this_run, saving=0.0)
    return this_run


def outcome(this_run):
    """All that must be the same, but for times."""
    state = checkpoint.load(this_run.checkpoint_file)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.Run(this_run.folder).history]
    del state["progress"]
    state["callbacks"] = [saved for saved in state["callbacks"] if "best" in saved]
    arrays = {name: array.tobytes() for name, array in state.pop("network").items()}
    memory = {
        (position, name): np.asarray(value).tobytes()
        for position, entries in state["optimizer"].pop("state").items()
        for name, value in entries.items()
    }
    return arrays, memory, state, rows, this_run.weights_file.read_bytes()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# More epochs


def test_more_epochs_at_a_constant_rate_are_the_bits_of_a_run_begun_with_them(begin, go_on, digits):
    short, long = begin("short", "sigmoid_mlp"), begin("long", "sigmoid_mlp", epochs=4)
    go_on(short)
    assert run.Run(short.folder).result
    changed = change_run(short, digits, {"epochs": 4})
    assert changed.config["training"]["epochs"] == 4
    assert changed.result is None
    (change,) = changed.changes
    assert (change["epoch"], change["step"], change["settings"]) == (2, 0, {"epochs": [2, 4]})
    assert (change["own_bits"], change["why"]) == (False, "")
    go_on(changed)
    go_on(long)
    assert outcome(short) == outcome(long)


@pytest.mark.parametrize(("schedule", "optimizer"), [("one-cycle", "adamw"), ("one-cycle", "sgd"), ("cosine", "adamw")])
def test_more_epochs_go_on_with_the_schedule_of_a_run_begun_with_them(begin, go_on, digits, schedule, optimizer):
    settings = {"schedule": schedule, "optimizer": optimizer}
    short, long = begin("short", **settings), begin("long", epochs=4, **settings)
    rates, expected = Rates(), Rates()
    go_on(short)
    changed = change_run(short, digits, {"epochs": 4})
    assert changed.changes[0]["own_bits"]
    assert changed.changes[0]["why"] == f"the {schedule} schedule spanned 2 epochs until then"
    trainer = go_on(changed, rates)
    twin = go_on(long, expected)
    assert rates.seen == expected.seen[10:]
    assert trainer.optimizer.state_dict()["param_groups"] == twin.optimizer.state_dict()["param_groups"]
    assert [row["epoch"] for row in run.Run(short.folder).history] == [1, 2, 3, 4]
    assert outcome(short) != outcome(long)  # the first two epochs had other rates


@pytest.mark.parametrize("step", [1, 5, 7, 10])
def test_more_epochs_for_a_run_that_was_stopped_on_the_way(begin, go_on, digits, step):
    short, long = begin("short", "sigmoid_mlp"), begin("long", "sigmoid_mlp", epochs=3)
    go_on(short, KillAt(step + 1), saving=0.0)
    changed = change_run(short, digits, {"epochs": 3})
    assert (changed.changes[0]["epoch"], changed.changes[0]["step"]) in {divmod(step, 5), (step // 5 - 1, 5)}
    go_on(changed)
    go_on(long)
    assert outcome(short) == outcome(long)


def test_fewer_epochs_as_long_as_they_are_not_done(begin, go_on, digits):
    this_run, short = begin(model="sigmoid_mlp", epochs=5), begin("short", "sigmoid_mlp", epochs=2)
    go_on(this_run, KillAt(8), saving=0.0)
    with pytest.raises(RunError, match="1 epochs are too few: 1 are complete, and epoch 2 is at step 2"):
        change_run(this_run, digits, {"epochs": 1})
    go_on(change_run(this_run, digits, {"epochs": 2}))
    go_on(short)
    assert outcome(this_run) == outcome(short)
    with pytest.raises(RunError, match="1 epochs are too few: 2 are complete$"):
        change_run(run.Run(this_run.folder), digits, {"epochs": 1})


def test_epochs_without_augmentation_are_the_last_ones_of_all(begin, go_on, digits):
    augment = {"shift": 1.5, "rotation": 8.0}
    options = {"augment": augment, "epochs_without_augmentation": 1, "schedule": "constant"}
    for done, own in ((1, False), (2, True)):
        short, long = begin(f"short {done}", **options), begin(f"long {done}", epochs=3, **options)
        go_on(short, *([KillAt(5 * done + 1)] if done == 1 else []))
        changed = change_run(short, digits, {"epochs": 3})
        assert changed.changes[0]["own_bits"] == own
        assert changed.changes[0]["why"] == ("different epochs run without augmentation" if own else "")
        go_on(changed)
        go_on(long)
        assert (outcome(short) == outcome(long)) != own


def test_a_run_that_becomes_worth_compiling_says_so(begin, go_on, digits, monkeypatch):
    monkeypatch.setattr(experiment, "MIN_COMPILED_STEPS", 15)
    this_run = begin(model="sigmoid_mlp")
    assert not go_on(this_run).compiled
    changed = change_run(this_run, digits, {"epochs": 3})
    assert changed.changes[0]["why"] == "its steps were not compiled until then"
    assert go_on(changed).compiled


# Other settings


@pytest.mark.parametrize(
    ("optimizer", "option", "value"),
    [("sgd", "lr", 0.01), ("sgd", "momentum", 0.5), ("sgd", "weight_decay", 0.1), ("adamw", "lr", 0.001),
     ("adamw", "weight_decay", 0.5)],
)  # fmt: skip
def test_another_setting_is_the_optimizers_from_there_on(begin, go_on, digits, optimizer, option, value):
    """As if somebody had changed the optimizer's own in the middle."""
    settings = {"optimizer": optimizer, "schedule": "constant"}
    this_run, twin = begin(**settings), begin("twin", **settings)
    go_on(this_run, KillAt(6))
    changed = change_run(this_run, digits, {option: value})
    old = experiment.configure("mlp", digits, **settings)["training"][option]
    (change,) = changed.changes
    assert (change["epoch"], change["step"], change["settings"]) == (1, 0, {option: [old, value]})
    assert (change["own_bits"], change["why"]) == (True, f"{option} was {old} until then")
    go_on(changed)
    trainer = experiment.prepare(twin, digits)
    trainer.fit(1)
    trainer.optimizer.param_groups[0][option] = value
    trainer.fit(2)
    np.testing.assert_equal(outcome(this_run)[0], outcome(twin)[0])
    np.testing.assert_equal(outcome(this_run)[1], outcome(twin)[1])


def test_momentum_may_begin_on_the_way(begin, go_on, digits):
    this_run = begin(optimizer="sgd", momentum=0.0, schedule="constant")
    go_on(this_run, KillAt(6))
    trainer = go_on(change_run(this_run, digits, {"momentum": 0.9}))
    assert set(trainer.optimizer.state[0]) == {"momentum_buffer"}
    trainer = go_on(change_run(run.Run(this_run.folder), digits, {"momentum": 0.0, "epochs": 3}))
    assert len(trainer.history) == 3


@pytest.mark.parametrize("settings", [{"optimizer": "lion"}, {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}])
def test_a_different_optimizer_begins_on_the_way(begin, go_on, digits, settings):
    """As if somebody had put it into the trainer; its own rate and weight decay, unless others are named."""
    this_run, twin = begin(schedule="constant", epochs=3), begin("twin", schedule="constant", epochs=3)
    go_on(this_run, KillAt(6))
    changed = change_run(this_run, digits, settings)
    (change,) = changed.changes
    expected = {"lion": (0.001, 0.0, 0.01), "sgd": (0.05, 0.5, 0.0)}[settings["optimizer"]]
    recipe = changed.config["training"]
    assert (recipe["lr"], recipe["momentum"], recipe["weight_decay"]) == expected
    assert change["settings"]["optimizer"] == ["adamw", settings["optimizer"]]
    assert change["own_bits"]
    assert "optimizer was adamw until then" in change["why"]
    go_on(changed, KillAt(8))  # and it can be stopped and resumed, also
    go_on(changed)
    trainer = experiment.prepare(twin, digits)
    trainer.fit(1)
    trainer.optimizer = make_optimizer(trainer.network, Recipe(**recipe))
    trainer.fit(3)
    np.testing.assert_equal(outcome(this_run)[0], outcome(twin)[0])
    np.testing.assert_equal(outcome(this_run)[1], outcome(twin)[1])


def test_augmentation_may_begin_and_end_on_the_way(begin, go_on, digits):
    augment = {"shift": 1.5}
    this_run, twin = begin(schedule="constant", epochs=3), begin("twin", schedule="constant", epochs=3)
    go_on(this_run, KillAt(6))
    changed = change_run(this_run, digits, {"augment": augment, "epochs_without_augmentation": 1})
    (change,) = changed.changes
    assert change["settings"] == {"augment": [{}, augment], "epochs_without_augmentation": [0, 1]}
    assert change["own_bits"]
    assert "augment was {} until then" in change["why"]
    go_on(changed)
    trainer = experiment.prepare(twin, digits)
    trainer.fit(1)
    trainer.loader.augment = Augment(**augment)
    trainer.fit(2)
    trainer.loader.augment = None
    trainer.fit(3)
    np.testing.assert_equal(outcome(this_run)[0], outcome(twin)[0])
    ended = change_run(run.Run(this_run.folder), digits, {"epochs": 4, "augment": {}})
    assert ended.changes[-1]["settings"]["augment"] == [augment, {}]
    assert go_on(ended).epoch == 4


def test_a_schedule_may_begin_and_end_on_the_way(begin, go_on, digits):
    this_run, rates = begin(model="sigmoid_mlp", epochs=3), Rates()
    go_on(this_run, KillAt(6))
    changed = change_run(this_run, digits, {"schedule": "cosine"})
    go_on(changed, rates, KillAt(6))
    expected = [3.0 * (1 + math.cos(math.pi * t / 15)) / 2 for t in range(5, 10)]
    np.testing.assert_allclose(rates.seen[:5], expected, rtol=1e-12)
    changed, rates = change_run(run.Run(this_run.folder), digits, {"schedule": "constant"}), Rates()
    go_on(changed, rates)
    assert rates.seen == [3.0] * 5
    assert [change["epoch"] for change in run.Run(this_run.folder).changes] == [1, 2]


def test_another_batch_size_between_epochs(begin, go_on, digits):
    this_run = begin(epochs=3)
    go_on(this_run, KillAt(6))
    trainer = go_on(change_run(this_run, digits, {"batch_size": 25}))
    assert trainer.loader.batch_size == 25
    assert trainer.optimizer.state[0]["step"] == 5 + 2 * 10
    again = run.Run(this_run.folder)
    resume(again, experiment.prepare(again, digits))  # though its optimizer has counted other steps than the schedule


def test_not_within_an_epoch(begin, go_on, digits):
    this_run = begin(epochs=3)
    go_on(this_run, KillAt(8), saving=0.0)
    before = files(this_run.folder)
    message = "the batch size can only be changed between epochs, and epoch 2 is at step 2 with batches of 50"
    with pytest.raises(RunError, match=message):
        change_run(this_run, digits, {"batch_size": 25})
    assert files(this_run.folder) == before


@pytest.mark.parametrize("killed", [6, 8])
def test_a_changed_run_resumes_to_its_own_bits(begin, go_on, digits, killed):
    """Whether the change was made and the process killed before it trained, or on the way."""
    whole, stopped = begin("whole", epochs=3), begin("stopped", epochs=3)
    for this_run in (whole, stopped):
        go_on(this_run, KillAt(6), saving=0.0)
        change_run(this_run, digits, {"lr": 0.001, "epochs": 4})
    go_on(whole)
    for step in (1, killed - 5, 3):  # nothing is saved before the first step
        go_on(stopped, KillAt(step), saving=0.0)
    go_on(stopped)
    assert outcome(stopped) == outcome(whole)
    assert len(run.Run(stopped.folder).changes) == 1


def test_what_is_changed_before_the_first_step_is_as_if_it_had_been_begun_so(begin, go_on, digits):
    this_run, twin = begin(), begin("twin", lr=0.001, batch_size=25)
    changed = change_run(this_run, digits, {"lr": 0.001, "batch_size": 25})
    assert not changed.changes[0]["own_bits"]
    go_on(changed)
    go_on(twin)
    assert outcome(this_run) == outcome(twin)


def test_own_bits_stay_own_bits(begin, go_on, digits):
    this_run = begin(model="sigmoid_mlp")
    go_on(this_run)
    go_on(change_run(this_run, digits, {"epochs": 3, "lr": 1.0}))
    changed = change_run(run.Run(this_run.folder), digits, {"epochs": 4})
    assert [(change["own_bits"], change["why"]) for change in changed.changes] == [
        (True, "lr was 3.0 until then"),
        (True, ""),
    ]


def test_the_same_settings_are_no_change(begin, go_on, digits):
    this_run = begin()
    go_on(this_run)
    before = files(this_run.folder)
    assert not change_run(this_run, digits, {"lr": 0.02, "epochs": 2}).changes
    assert files(this_run.folder) == before


def test_a_change_by_hand_is_refused_also_beside_one_on_purpose(begin, go_on, digits):
    this_run = begin(epochs=3)
    go_on(this_run, KillAt(6))
    changed = change_run(this_run, digits, {"lr": 0.01})
    for training in ({"weight_decay": 0.5}, {"lr": 0.5}, {"lr": 0.01, "epochs": 4}):
        config = {**changed.config, "training": {**changed.config["training"], **training}}
        this_run.config_file.write_text(json.dumps(config))
        again = run.Run(this_run.folder)
        with pytest.raises(RunError, match="does not fit .*config.json: .* was .* and is now "):
            resume(again, experiment.prepare(again, digits))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "the learning rate must be a number above 0, not 0.0"),
        ({"epochs": 0}, "the number of epochs must be at least 1, not 0"),
        ({"epochs": 10**10}, "the number of epochs must be at most 1,000,000,000, not 10,000,000,000"),
        ({"schedule": "steps"}, "unknown schedule 'steps'"),
        ({"momentum": 0.5}, "momentum is a setting of sgd, rmsprop, muon, and this run's optimizer is adamw"),
        (
            {"epochs_without_augmentation": 1},
            "epochs_without_augmentation has no effect: this run does not use augmentation",
        ),
        (
            {"lr": 0.1, "eager": True},
            "all 2 epochs are complete, so lr, eager would have no effect; give --epochs as well",
        ),
        ({"rate": 0.1}, "the new settings: has unknown rate"),
        ({"lr": "fast"}, "the new settings: lr must be of type float, not str"),
        ({"epochs": 3.0}, "the new settings: epochs must be of type int, not float"),
        ({"epochs": True}, "the new settings: epochs must be of type int, not bool"),
        ({"steps_per_epoch": 3}, "steps_per_epoch cannot be changed: the run's states count its steps by it"),
        ({"epochs": 3, "optimizer": "newton"}, "unknown optimizer 'newton'"),
        ({"epochs": 3, "optimizer": "adam", "momentum": 0.5}, "momentum is a setting of sgd, rmsprop, muon, and this"),
        ({"epochs": 3, "augment": {"shear": "x"}}, "invalid augmentation"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_change_nothing(begin, go_on, digits, settings, message):
    this_run = begin()
    go_on(this_run)
    before = files(this_run.folder)
    with pytest.raises(RunError, match=message):
        change_run(this_run, digits, settings)
    assert files(this_run.folder) == before


def test_other_data_and_the_shipped_run_change_nothing(begin, go_on, digits, monkeypatch):
    this_run = begin()
    go_on(this_run)
    before = files(this_run.folder)
    parts = digits.train_images, digits.train_labels, digits.test_images
    other = ImageData("toy", digits.classes, *parts, (digits.test_labels + 1) % 10)
    with pytest.raises(DataError, match="toy: the test images have changed since .* was started"):
        change_run(this_run, other, {"epochs": 3})
    monkeypatch.setattr(experiment, "SHIPPED", this_run.folder)
    with pytest.raises(RunError, match="is a run shipped with chainrule"):
        change_run(this_run, digits, {"epochs": 3})
    assert files(this_run.folder) == before


def test_settings_from_texts():
    texts = [
        "lr=0.5",
        "batch-size= 7",
        "schedule=cosine",
        "eager=True",
        "optimizer=sgd",
        "epochs=3",
        "momentum=0",
        "weight_decay=1e-3",
    ]
    assert parse_settings(texts) == {
        "lr": 0.5, "batch_size": 7, "schedule": "cosine", "eager": True, "optimizer": "sgd", "epochs": 3, "momentum": 0.0,
        "weight_decay": 1e-3,
    }  # fmt: skip
    assert parse_settings([]) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["lr"], "'lr' is not a setting that can be changed; write NAME=VALUE, where NAME is one of epochs, "),
        (["=3"], "'=3' is not a setting"),
        (["rate=3"], "'rate=3' is not a setting"),
        (["augment={}"], "'augment={}' is not a setting that can be changed"),
        (["seed=3"], "'seed=3' is not a setting that can be changed"),
        (["lr=fast"], "lr must be a number, not 'fast'"),
        (["epochs=2.5"], "epochs must be an integer, not '2.5'"),
        (["eager=1"], "eager must be true or false, not '1'"),
        (["lr=1", "lr=2"], "lr is given twice"),
    ],
    ids=str,
)
def test_texts_that_are_no_settings(texts, message):
    with pytest.raises(RunError) as caught:
        parse_settings(texts)
    assert str(caught.value).startswith(message)


# A way back


def kept_files(this_run):
    return sorted(this_run.kept_states)


class Accuracies:
    """Stands in for validation."""

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self):
        return {"validation_loss": 1.0, "validation_accuracy": self.values.pop(0)}


def test_without_being_asked_only_the_last_state_is_kept(begin, go_on):
    this_run = begin(epochs=3)
    go_on(this_run, saving=0.0)
    assert kept_files(this_run) == []
    assert [path.name for path in this_run.checkpoint_file.parent.iterdir()] == [checkpoint.FILE_NAME]


@pytest.mark.parametrize(
    ("keep", "accuracies", "epochs"),
    [
        (1, [0.1, 0.2, 0.3, 0.4], [4]),
        (2, [0.1, 0.2, 0.3, 0.4], [3, 4]),
        (1, [0.1, 0.4, 0.3, 0.2], [2, 4]),
        (2, [0.4, 0.4, 0.3, 0.2], [1, 3, 4]),
        (9, [0.4, 0.4, 0.3, 0.2], [1, 2, 3, 4]),
        (1, [0.2, math.nan, 0.1, math.nan], [1, 4]),
    ],
)
def test_the_last_epochs_and_the_best_one_are_kept(begin, digits, keep, accuracies, epochs):
    this_run = begin(epochs=4, keep=keep)
    trainer = experiment.prepare(this_run, digits)
    trainer.validate = Accuracies(*accuracies)
    trainer.fit(4)
    assert kept_files(this_run) == [("epoch", epoch) for epoch in epochs]


def test_states_within_an_epoch_are_kept_too(begin, go_on):
    this_run = begin(epochs=2, keep=2)
    go_on(this_run, KillAt(9), saving=0.0)
    assert kept_files(this_run) == [("epoch", 1), ("step", 7), ("step", 8)]


def test_what_a_kill_left_of_a_kept_state_is_removed(begin, go_on, digits):
    """The last state was saved, and the kept one was being written: its name does not come again."""
    this_run = begin(epochs=2, keep=2)
    go_on(this_run, KillAt(8), saving=0.0)
    left = [
        this_run.checkpoint_file.parent / ".step-7.safetensors.0123abcd.tmp",
        this_run.folder / ".curves.png.01234567.tmp",
    ]
    for file in left:
        file.write_bytes(b"half")
    go_on(this_run)
    assert not any(file.exists() for file in left)


def test_the_number_to_keep_may_change(begin, go_on, digits):
    this_run = begin(epochs=2)
    go_on(this_run)
    changed = change_run(this_run, digits, {"epochs": 4}, keep=2)
    assert changed.config["keep"] == 2
    go_on(changed)
    assert kept_files(this_run) == [("epoch", 3), ("epoch", 4)]
    go_on(change_run(run.Run(this_run.folder), digits, {"epochs": 5}, keep=0))
    assert "keep" in run.Run(this_run.folder).config
    assert kept_files(this_run) == [("epoch", 3), ("epoch", 4)]  # those that there are stay
    with pytest.raises(RunError, match="the number of states to keep must be at least 0, not -1"):
        change_run(run.Run(this_run.folder), digits, {}, keep=-1)


@pytest.mark.parametrize("where", [{"epoch": 1}, {"epoch": 2}, {"step": 10}, {"step": 13}, {"step": 15}], ids=str)
def test_back_and_on_again_comes_to_the_same_bits(go_on, digits, finished, tmp_path, where):
    this_run = run.Run(shutil.copytree(finished.folder, tmp_path / "run"))
    back = change_run(this_run, digits, {}, **where)
    assert back.result is None
    total = where.get("step", 5 * where.get("epoch", 0))
    (change,) = back.changes
    assert (change["settings"], change["own_bits"]) == ({}, False)
    assert 5 * change["epoch"] + change["step"] == total
    trainer = go_on(back, KillAt(1), saving=0.0)  # killed before anything was saved
    assert trainer.global_step == min(total + 1, 15)
    go_on(back, saving=0.0)
    assert outcome(this_run) == outcome(finished)
    assert kept_files(this_run) == kept_files(finished)


def test_back_the_best_weights_are_those_of_then(begin, digits):
    this_run = begin(epochs=4, keep=99)
    trainer = experiment.prepare(this_run, digits)
    trainer.callbacks[-1].seconds = 0.0
    trainer.validate = Accuracies(0.5, 0.3, 0.9, 0.2)
    trainer.fit(4)
    networks = {epoch: checkpoint.load(this_run.kept_states["epoch", epoch])["network"] for epoch in (1, 2, 3, 4)}

    def best():
        return {name: tensor.numpy().tobytes() for name, tensor in safetensors_io.load(this_run.weights_file).items()}

    def bits(network):
        return {name: np.asarray(array).tobytes() for name, array in network.items()}

    assert best() == bits(networks[3])
    for where, expected in (({"epoch": 3}, 3), ({"epoch": 2}, 1), ({"step": 8}, 1)):
        back = change_run(run.Run(this_run.folder), digits, {}, **where)
        again = experiment.prepare(back, digits)
        resume(back, again)
        assert best() == bits(networks[expected])
        assert again.callbacks[2].epoch == expected
    back = change_run(run.Run(this_run.folder), digits, {}, step=3)
    resume(back, experiment.prepare(back, digits))
    assert not this_run.weights_file.exists()
    assert kept_files(this_run) == [("step", 1), ("step", 2), ("step", 3)]


def test_back_with_other_settings(begin, go_on, digits):
    this_run, twin = begin(epochs=3, keep=9, schedule="constant"), begin("twin", epochs=3, schedule="constant")
    go_on(this_run)
    go_on(twin, KillAt(6))
    changed = change_run(this_run, digits, {"lr": 0.001}, epoch=1)
    assert changed.changes[0]["settings"] == {"lr": [0.02, 0.001]}
    go_on(changed)
    go_on(change_run(twin, digits, {"lr": 0.001}))
    assert outcome(this_run)[0] == outcome(twin)[0]
    assert [row["epoch"] for row in run.Run(this_run.folder).history] == [1, 2, 3]


@pytest.mark.parametrize("killed", [False, True])
def test_back_to_before_a_change_that_is_undone_are_the_bits_of_a_run_begun_so(begin, go_on, digits, killed):
    this_run, twin = begin(model="sigmoid_mlp", epochs=3, keep=9), begin("twin", "sigmoid_mlp", epochs=4, keep=9)
    go_on(this_run)
    go_on(change_run(this_run, digits, {"epochs": 4, "lr": 1.0}))
    back = change_run(run.Run(this_run.folder), digits, {"lr": 3.0}, epoch=2)
    (change,) = back.changes
    assert (change["epoch"], change["step"], change["settings"]) == (2, 0, {"epochs": [3, 4]})
    assert (change["own_bits"], change["why"]) == (False, "")
    if killed:
        go_on(back, KillAt(3), saving=0.0)
    go_on(back)
    go_on(twin)
    assert outcome(this_run) == outcome(twin)


def test_back_to_before_a_change_that_stays_are_own_bits(begin, go_on, digits):
    this_run, twin = begin(model="sigmoid_mlp", epochs=3, keep=9), begin("twin", "sigmoid_mlp", epochs=4, lr=1.0)
    go_on(this_run)
    go_on(change_run(this_run, digits, {"epochs": 4, "lr": 1.0}))
    back = change_run(run.Run(this_run.folder), digits, {}, epoch=2)
    (change,) = back.changes
    assert change["settings"] == {"epochs": [3, 4], "lr": [3.0, 1.0]}
    assert (change["own_bits"], change["why"]) == (True, "lr was 3.0 until then")
    go_on(back)
    go_on(twin)
    assert outcome(this_run)[0] != outcome(twin)[0]


def test_back_to_after_a_change_are_own_bits(begin, go_on, digits):
    this_run, twin = begin(model="sigmoid_mlp", epochs=3, keep=9), begin("twin", "sigmoid_mlp", epochs=3)
    go_on(this_run, KillAt(6))
    go_on(change_run(this_run, digits, {"lr": 1.0}))
    back = change_run(run.Run(this_run.folder), digits, {"lr": 3.0}, epoch=2)
    assert [(change["epoch"], change["settings"], change["own_bits"], change["why"]) for change in back.changes] == [
        (1, {"lr": [3.0, 1.0]}, True, "lr was 3.0 until then"),
        (2, {"lr": [1.0, 3.0]}, True, "lr was 1.0 until then"),
    ]
    go_on(back)
    go_on(twin)
    assert outcome(this_run)[0] != outcome(twin)[0]
    again = change_run(run.Run(this_run.folder), digits, {}, epoch=1)  # before both
    assert [(change["settings"], change["own_bits"]) for change in again.changes] == [({}, False)]
    go_on(again)
    assert outcome(this_run)[0] == outcome(twin)[0]


def test_a_change_that_is_undone_before_it_was_trained_with_is_none(begin, go_on, digits):
    this_run, twin = begin(model="sigmoid_mlp", epochs=3), begin("twin", "sigmoid_mlp", epochs=3)
    go_on(this_run, KillAt(6))
    change_run(this_run, digits, {"lr": 1.0})
    back = change_run(run.Run(this_run.folder), digits, {"lr": 3.0})
    assert back.changes == []
    go_on(back)
    go_on(twin)
    assert outcome(this_run) == outcome(twin)


def test_back_twice_before_training_cannot_come_to_states_of_dropped_changes(begin, go_on, digits):
    this_run = begin(model="sigmoid_mlp", epochs=3, keep=9)
    go_on(this_run, KillAt(6))
    go_on(change_run(this_run, digits, {"lr": 1.0}))
    change_run(run.Run(this_run.folder), digits, {"lr": 3.0}, epoch=1)
    with pytest.raises(RunError, match="the state of epoch 2 was not kept; kept states: epoch 1"):
        change_run(run.Run(this_run.folder), digits, {}, epoch=2)


def settings_and_bits(this_run):
    """What a run has come to, and what config.json tells of it, but for times."""
    this_run = run.Run(this_run.folder)
    changes = [{k: v for k, v in change.items() if k != "created"} for change in this_run.changes]
    return this_run.config["training"], changes, this_run.result["test_accuracy"], outcome(this_run)


class Cut:
    """Ends everything before the files of a process change for so many times and once more, as a signal would."""

    def __init__(self, monkeypatch, changes):
        self.left = changes
        for name in ("replace", "unlink"):
            monkeypatch.setattr(Path, name, self._wrap(getattr(Path, name)))

    def _wrap(self, method):
        def wrapped(path, *arguments, **options):
            if path.suffix != ".tmp" or method.__name__ != "unlink":  # what `atomic_write` tidies up
                if not self.left:
                    raise Killed
                self.left -= 1
            return method(path, *arguments, **options)

        return wrapped


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("settings", [{"lr": 3.0}, {"lr": 1.0, "epochs": 5}, {}], ids=str)
def test_a_way_back_that_is_cut_off_is_the_old_run_or_the_new_one(begin, go_on, digits, monkeypatch, settings, trained):
    first = begin("first", "network", epochs=3, keep=9)
    go_on(first)
    change_run(first, digits, {"epochs": 4, "lr": 0.3})
    if trained:
        go_on(first)

    def prepared(name):
        return run.Run(shutil.copytree(first.folder, first.folder.with_name(name)))

    old, new = prepared("old"), prepared("new")
    go_on(old)
    change_run(new, digits, settings, epoch=1)
    go_on(new)
    expected = [settings_and_bits(old), settings_and_bits(new)]
    assert expected[0] != expected[1]
    came_to = []
    for changes in itertools.count():
        this_run = prepared(f"cut {changes}")
        again = prepared(f"cut {changes}, and given again")
        for one in (this_run, again):
            with monkeypatch.context() as patch:
                cut = Cut(patch, changes)
                with contextlib.suppress(Killed):
                    change_run(one, digits, settings, epoch=1)
        go_on(this_run)
        came_to.append(expected.index(settings_and_bits(this_run)))
        change_run(run.Run(again.folder), digits, settings, epoch=1)
        go_on(again)
        assert expected.index(settings_and_bits(again)) == 1
        assert kept_files(again) == kept_files(new)
        if cut.left:
            break
    assert came_to[0] == 0
    assert came_to[-1] == 1
    assert came_to == sorted(came_to)
    assert len(came_to) >= 5  # config.json, the checkpoint, two later states, config.json


def test_the_state_to_go_back_to_is_damaged_or_gone(begin, go_on, digits, monkeypatch):
    this_run = begin(epochs=2, keep=9)
    go_on(this_run)
    with monkeypatch.context() as patch:
        Cut(patch, 2)  # the result is gone, config.json is written
        with pytest.raises(Killed):
            change_run(this_run, digits, {}, epoch=1)
    last, file = this_run.checkpoint_file.read_bytes(), this_run.kept_states["epoch", 1]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"epoch-1.safetensors: is not a complete safetensors file"):
        go_on(this_run)
    file.unlink()
    with pytest.raises(RunError, match=r"config.json: going_back names the state of epoch 1, which is not kept"):
        go_on(this_run)
    assert this_run.checkpoint_file.read_bytes() == last


def test_the_state_to_go_back_to_is_damaged_in_config(begin, go_on):
    this_run = begin(epochs=2, keep=9)
    go_on(this_run)
    last = this_run.checkpoint_file.read_bytes()
    for change, message in (
        ({"kind": "year"}, "going_back names the state of year 1, which is not kept"),
        ({"steps_per_epoch": 0}, "going_back.steps_per_epoch must be at least 1, not 0"),
        ({"number": 1.5}, "going_back.number must be of type int, not float"),
    ):
        this_run.config["going_back"] = {"kind": "epoch", "number": 1, "steps_per_epoch": 5, **change}
        run.write_config(this_run.config, this_run.folder)
        with pytest.raises(RunError, match=f"config.json: {message}"):
            go_on(this_run)
        assert (this_run.checkpoint_file.read_bytes(), len(kept_files(this_run))) == (last, 2)


def test_a_state_of_before_the_last_change_is_refused(begin, go_on, digits):
    """As a copy of an earlier one is."""
    this_run = begin(model="network", epochs=3, keep=9)
    go_on(this_run)
    go_on(change_run(this_run, digits, {"epochs": 4, "lr": 0.3}))
    this_run.checkpoint_file.write_bytes(this_run.kept_states["epoch", 1].read_bytes())
    message = "it is at step 0 after 1 epochs, before the change at step 0 after 3 epochs; go back to a kept state with --epoch"
    with pytest.raises(RunError, match=message):
        go_on(this_run)
    back = change_run(run.Run(this_run.folder), digits, {"lr": 3.0}, epoch=1)
    assert [change["settings"] for change in back.changes] == [{"epochs": [3, 4]}]
    go_on(back)


def test_back_to_a_state_whose_settings_are_damaged(begin, go_on, digits):
    this_run = begin(epochs=2, keep=2)
    go_on(this_run)
    file = this_run.kept_states["epoch", 1]
    state = checkpoint.load(file)
    next(saved for saved in state["callbacks"] if "batch_size" in saved)["epochs"] = "many"
    checkpoint.save(state, file)
    before = files(this_run.folder)
    with pytest.raises(RunError, match="epoch-1.safetensors: epochs must be of type int, not str"):
        change_run(this_run, digits, {}, epoch=1)
    assert files(this_run.folder) == before


def test_back_to_a_state_of_other_settings_takes_the_present_ones(begin, go_on, digits):
    this_run = begin(epochs=2, keep=9, schedule="constant")
    go_on(this_run)
    go_on(change_run(this_run, digits, {"lr": 0.001, "epochs": 3}))
    rates = Rates()
    go_on(change_run(run.Run(this_run.folder), digits, {}, epoch=1), rates)
    assert rates.seen == [0.001] * 10


def test_back_within_an_epoch_of_another_batch_size(begin, go_on, digits):
    this_run = begin(epochs=2, keep=9)
    go_on(this_run, saving=0.0)
    change_run(this_run, digits, {"batch_size": 25, "epochs": 3})
    before = files(this_run.folder)
    with pytest.raises(RunError, match="between epochs, and epoch 1 is at step 3 with batches of 50"):
        change_run(run.Run(this_run.folder), digits, {}, step=3)
    assert files(this_run.folder) == before


@pytest.mark.parametrize(
    ("keep", "where", "message"),
    [
        (0, {"epoch": 1}, "the state of epoch 1 was not kept; there are no kept states; train with --keep N"),
        (1, {"epoch": 1}, "the state of epoch 1 was not kept; kept states: epoch 3"),
        (2, {"epoch": 9}, "the state of epoch 9 was not kept; kept states: epochs 2, 3"),
        (2, {"step": 7}, "the state of step 7 was not kept; kept states: epochs 2, 3"),
        (2, {"step": 5}, "the state of step 5 was not kept; kept states: epochs 2, 3"),
        (2, {"epoch": -1}, "the state of epoch -1 was not kept"),
        (2, {"epoch": 0}, "the state of epoch 0 was not kept"),
    ],
    ids=str,
)
def test_a_state_that_was_not_kept(begin, digits, keep, where, message):
    this_run = begin(epochs=3, keep=keep)
    trainer = experiment.prepare(this_run, digits)
    trainer.validate = Accuracies(0.1, 0.2, 0.3)
    trainer.fit(3)
    before = files(this_run.folder)
    with pytest.raises(RunError, match=f"{this_run.folder}: {message}"):
        change_run(this_run, digits, {"lr": 0.1}, **where)
    assert files(this_run.folder) == before


def test_a_kept_state_that_is_damaged(begin, go_on, digits):
    this_run = begin(epochs=2, keep=2)
    go_on(this_run)
    file = this_run.kept_states["epoch", 1]
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)
    before = files(this_run.folder)
    with pytest.raises(RunError, match="epoch-1.safetensors: does not match its checksum"):
        change_run(this_run, digits, {}, epoch=1)
    checkpoint.save([1, 2], file)
    with pytest.raises(RunError, match="epoch-1.safetensors: is not a training state"):
        change_run(this_run, digits, {}, epoch=1)
    file.write_bytes(content)
    assert files(this_run.folder) == before


def test_a_full_disk_leaves_the_last_state_and_those_that_were_kept(begin, digits, monkeypatch):
    this_run = begin(epochs=3, keep=3)
    trainer = experiment.prepare(this_run, digits)
    trainer.fit(2)
    before = kept_files(this_run)
    save = checkpoint.save

    def full(state, path):
        if "epoch-3" in str(path):
            raise OSError(28, "No space left on device", str(path))
        save(state, path)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(3)
    assert kept_files(this_run) == before
    again = experiment.prepare(this_run, digits)
    resume(this_run, again)
    assert again.epoch == 3


def test_a_state_whose_history_lacks_the_loss(begin, go_on, digits):
    this_run = begin(epochs=3)
    go_on(this_run, KillAt(6))
    state = checkpoint.load(this_run.checkpoint_file)
    del state["progress"]["history"][0]["train_loss"]
    checkpoint.save(state, this_run.checkpoint_file)
    with pytest.raises(RunError, match="each epoch of its history needs a train_loss and only finite values, not"):
        go_on(this_run)


def test_a_setting_may_have_its_former_name():
    assert parse_settings(["plain-epochs=2"]) == {"epochs_without_augmentation": 2}


def test_settings_that_end_together_with_what_they_belong_to():
    """A momentum of 0 beside an optimizer that has none, and no epochs without augmentation beside none at all."""
    recipe = Recipe(
        epochs=3, batch_size=8, optimizer="sgd", lr=0.1, momentum=0.9, augment={"shift": 1.0},
        epochs_without_augmentation=1,
    )  # fmt: skip
    changed = change_recipe(recipe, {"optimizer": "adam", "momentum": 0.0}, "settings")
    assert (changed.optimizer, changed.momentum) == ("adam", 0)
    changed = change_recipe(recipe, {"augment": {}, "epochs_without_augmentation": 0}, "settings")
    assert (changed.augment, changed.epochs_without_augmentation) == ({}, 0)
    for settings in ({"optimizer": "adam", "momentum": 0.5}, {"augment": {}, "epochs_without_augmentation": 2}):
        with pytest.raises(RunError):
            change_recipe(recipe, settings, "settings")
