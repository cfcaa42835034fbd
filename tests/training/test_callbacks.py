"""What each callback writes, keeps, stops, and says."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from chainrule import nn, safetensors_io, tensor
from chainrule.errors import UserError
from chainrule.training import (
    BestModel,
    Callback,
    Checkpoint,
    DivergedError,
    EarlyStopping,
    History,
    StopOnNaN,
    checkpoint,
)
from chainrule.training.callbacks import first_bad_layer
from chainrule.training.replay_states import ReplayStates

EPOCHS, STEPS = 3, 4  # as the trainers are made


class Measures:
    """Stands in for validation: gives the measures one by one."""

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self):
        return {"validation_accuracy": self.values.pop(0)}


class KeepWeights(Callback):
    """Remembers the weights after each epoch."""

    def __init__(self):
        self.epochs = []

    def on_epoch(self, trainer, record):
        self.epochs.append({name: p.numpy().copy() for name, p in trainer.network.named_parameters()})


class Poison(Callback):
    """Puts a value into a weight, as if the step had gone wrong."""

    def __init__(self, step, name="0.weight", value=math.nan):
        self.step, self.name, self.value, self.steps = step, name, value, 0

    def on_step(self, trainer):
        self.steps += 1
        if self.steps == self.step:
            dict(trainer.network.named_parameters())[self.name].data.flat[0] = self.value


def assert_weights(path, expected):
    content = safetensors_io.load(path)
    assert content.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(content[name].numpy(), array)


# BestModel


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.2, 0.5, 0.4], 2),
        ([0.5, 0.2, 0.4], 1),
        ([0.1, 0.2, 0.3], 3),
        ([0.4, 0.4, 0.4], 1),
        ([0.3, math.nan, 0.2], 1),
        ([math.nan, 0.1, math.nan], 2),
        ([0.0, -1.0, math.nan], 1),
        ([0.3, math.inf, 0.4], 3),
        ([-math.inf, 0.2, 0.1], 2),
    ],
    ids=str,
)
def test_the_best_weights_are_kept(make_trainer, tmp_path, values, best):
    best_model, keeper = BestModel(tmp_path / "best"), KeepWeights()
    make_trainer(callbacks=[best_model, keeper], validate=Measures(*values)).fit(3)
    assert (best_model.epoch, best_model.best) == (best, values[best - 1])
    assert_weights(tmp_path / "best", keeper.epochs[best - 1])


def test_without_a_number_no_weights_are_the_best(make_trainer, tmp_path):
    best_model = BestModel(tmp_path / "best")
    make_trainer(callbacks=[best_model], validate=Measures(math.nan, math.nan)).fit(2)
    assert not (tmp_path / "best").exists()
    assert best_model.state_dict() == {"best": None, "epoch": 0}


def test_the_best_so_far_is_remembered(make_trainer, tmp_path):
    first = BestModel(tmp_path / "best")
    make_trainer(callbacks=[first], validate=Measures(0.7)).fit(1)
    before = (tmp_path / "best").read_bytes()
    second = BestModel(tmp_path / "best")
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    make_trainer(callbacks=[second], seed=1, validate=Measures(0.6)).fit(1)
    assert (tmp_path / "best").read_bytes() == before
    empty = BestModel(tmp_path / "best")
    empty.load_state_dict(BestModel(tmp_path / "best").state_dict())
    assert empty.best == -math.inf


@pytest.mark.parametrize("keyword", ["metric", "measure"])  # the second is its former name
def test_another_metric(make_trainer, tmp_path, keyword):
    assert EarlyStopping(1, **{keyword: "minus_loss"}).metric == "minus_loss"
    best_model = BestModel(tmp_path / "best", **{keyword: "minus_loss"})
    losses = [3.0, 1.0, 2.0]
    make_trainer(callbacks=[best_model], validate=lambda: {"minus_loss": -losses.pop(0)}).fit(3)
    assert (best_model.epoch, best_model.best) == (2, -1.0)


@pytest.mark.parametrize("callback", [BestModel("unused"), EarlyStopping(1)], ids=lambda c: type(c).__name__)
def test_a_metric_that_nobody_takes_is_named(make_trainer, callback):
    trainer = make_trainer(callbacks=[callback], validate=None)
    message = "the history has no 'validation_accuracy', only epoch, train_loss, seconds, learning_rate"
    with pytest.raises(ValueError, match=message):
        trainer.fit(1)


# EarlyStopping


@pytest.mark.parametrize(
    ("patience", "values", "epochs"),
    [
        (1, [0.1, 0.2, 0.2, 0.9], 3),
        (1, [0.1, 0.2, 0.3, 0.4], 4),
        (2, [0.3, 0.1, 0.2, 0.9], 3),
        (2, [0.3, 0.1, 0.4, 0.1], 4),
        (1, [math.nan, 0.1, 0.2, 0.3], 4),
        (1, [0.3, math.nan, 0.9, 0.9], 2),
        (2, [math.nan, math.nan, math.nan, 0.1], 3),
        (1, [0.3, math.inf, 0.9, 0.9], 2),
    ],
    ids=str,
)
def test_stops_when_nothing_improves(make_trainer, patience, values, epochs):
    trainer = make_trainer(callbacks=[EarlyStopping(patience)], validate=Measures(*values))
    assert len(trainer.fit(4)) == epochs


@pytest.mark.parametrize("patience", [0, -1])
def test_patience_is_at_least_an_epoch(patience):
    with pytest.raises(ValueError, match=f"patience must be at least 1 epoch, got {patience}"):
        EarlyStopping(patience)


# StopOnNaN


def run(folder):
    """The callbacks of a run, after those that a test adds."""
    return [BestModel(folder / "best"), History(folder / "metrics.jsonl"), Checkpoint(folder, 0.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "layer"),
    [("0.weight", "layer '0', Linear(in_features=6"), ("3.bias", "layer '3', Linear(in_features=8")],
)
def test_the_first_bad_weights_are_named(make_trainer, tmp_path, name, layer, value):
    trainer = make_trainer(callbacks=[StopOnNaN(), BestModel(tmp_path / "best"), Poison(STEPS + 2, name, value)])
    with pytest.raises(DivergedError) as caught:
        trainer.fit(EPOCHS)
    assert isinstance(caught.value, UserError)
    message = str(caught.value)
    assert message.startswith("training diverged in epoch 2, at step 3: the loss is ")
    assert f"the first values that are not finite are in the {name[2:]} of {layer}" in message
    assert "the best weights so far are kept; try a smaller learning rate than 0.05" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "callbacks", ["none", "a BestModel whose metric is never finite", "a BestModel that comes first"]
)
def test_weights_that_are_not_saved_are_not_said_to_be_kept(make_trainer, tmp_path, callbacks):
    best, options = BestModel(tmp_path / "best"), {}
    if callbacks == "none":
        first, later, diverges = [], [], STEPS + 2
    elif callbacks == "a BestModel whose metric is never finite":
        first, later, diverges = [], [best], STEPS + 2
        options = {"validate": lambda: {"validation_accuracy": math.nan}}
    else:  # it has saved the weights of the epoch that diverged, which is not what "best so far" means
        first, later, diverges = [best], [], STEPS
        options = {"validate": lambda: {"validation_loss": math.nan, "validation_accuracy": 0.5}}
    poison = Poison(diverges, "3.weight")
    trainer = make_trainer(callbacks=[*first, StopOnNaN(), *later, poison], **options)
    with pytest.raises(DivergedError) as caught:
        trainer.fit(EPOCHS)
    assert "training diverged in epoch " in str(caught.value)
    assert "kept" not in str(caught.value)


def test_nothing_is_saved_once_it_has_gone_bad(make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[StopOnNaN(), *run(tmp_path), Poison(STEPS + 2)])
    with pytest.raises(DivergedError):
        trainer.fit(EPOCHS)
    for arrays in (
        safetensors_io.load(tmp_path / "best").values(),
        checkpoint.load(tmp_path / checkpoint.FILE_NAME)["network"].values(),
    ):
        assert all(np.isfinite(np.asarray(array)).all() for array in arrays)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_epochs_last_step_may_be_the_one(make_trainer, tmp_path, epoch):
    """The losses of all steps are numbers then, and the accuracy of a network that gives NaN is one too."""
    accuracies = [0.1, 0.2, 0.3]

    def validate():
        return {"validation_loss": trainer_validate()["validation_loss"], "validation_accuracy": accuracies.pop(0)}

    trainer = make_trainer(callbacks=[StopOnNaN(), Poison(epoch * STEPS, "3.weight"), *run(tmp_path)])
    trainer_validate, trainer.validate = trainer.validate, validate
    with pytest.raises(DivergedError) as caught:
        trainer.fit(EPOCHS)
    assert f"diverged in epoch {epoch}, at its last step: the validation_loss is nan" in str(caught.value)
    assert "the weight of layer '3'" in str(caught.value)
    assert ("the best weights so far are kept" in str(caught.value)) == (epoch == 2)
    assert (tmp_path / "best").exists() == (epoch == 2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epoch))
    assert checkpoint.load(tmp_path / checkpoint.FILE_NAME)["progress"]["epoch"] == epoch - 1


def test_a_measure_that_is_no_loss_may_be_nan(make_trainer):
    trainer = make_trainer(callbacks=[StopOnNaN()], validate=lambda: {"validation_precision": math.nan})
    assert len(trainer.fit(2)) == 2


def test_the_loss_itself_may_be_the_one(make_trainer):
    trainer = make_trainer(callbacks=[StopOnNaN()])
    trainer.loss = lambda outputs, targets: (outputs * 0).sum().log() * 0  # 0 · ln 0
    with pytest.raises(
        DivergedError,
        match="step 1: the loss is nan; all layers have finite weights and outputs, so the loss function is the cause",
    ):
        trainer.fit(1)


def test_at_first_there_are_no_best_weights_to_speak_of(make_trainer):
    with pytest.raises(DivergedError) as caught:
        make_trainer(callbacks=[StopOnNaN(), Poison(1)]).fit(1)
    assert "epoch 1, at step 2" in str(caught.value)
    assert "best weights" not in str(caught.value)


def test_a_loss_that_is_a_number_stops_nothing(make_trainer):
    trainer, twin = make_trainer(callbacks=[StopOnNaN()]), make_trainer()
    trainer.fit(2)
    twin.fit(2)
    assert [r["train_loss"] for r in trainer.history] == [r["train_loss"] for r in twin.history]


class Root(nn.Module):
    """Divides by zero by itself, not in one of its layers."""

    def __init__(self):
        self.layer = nn.Linear(2, 2)
        self.scale = nn.Parameter(tensor([1.0]))

    def forward(self, input):
        return self.layer(input) / 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda n: None, "the first values that are not finite are in the output of the network, Root"),
        (
            lambda n: n.scale.data.fill(np.nan),
            "the first values that are not finite are in the scale of the network, Root",
        ),
        (
            lambda n: n.layer.bias.data.fill(np.inf),
            "the first values that are not finite are in the bias of layer 'layer', Linear(in",
        ),
    ],
)
def test_the_network_itself_may_be_the_one(spoil, message):
    network = Root()
    spoil(network)
    said = first_bad_layer(network, tensor([[1.0, 2.0]]))
    assert said.startswith(message)
    assert "\n" not in said
    assert not said.endswith("(")


def test_an_output_may_go_bad_where_all_weights_are_good():
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1))
    for parameter in network.parameters():
        parameter.data.fill(1e30)
    assert "the output of layer '1.0', Linear(in" in first_bad_layer(network, tensor([[1.0, 1.0]]))


def test_the_inputs_may_be_the_ones():
    network = nn.Linear(2, 2)
    assert first_bad_layer(network, tensor([[1.0, math.nan]])) == "the inputs have values that are not finite"
    assert "the loss function" in first_bad_layer(network, tensor([[1.0, 2.0]]))


def test_looking_for_it_leaves_no_hook_behind():
    network = nn.Sequential(nn.Linear(2, 2))
    for inputs in (tensor([[1.0, 2.0]]), tensor([[1.0, 2.0, 3.0]])):
        try:
            first_bad_layer(network, inputs)
        except ValueError:  # the second does not fit
            assert inputs.shape == (1, 3)
    assert not any(module._hooks for module in network.modules())


# History


def test_a_line_an_epoch(make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[History(tmp_path / "metrics.jsonl")])
    trainer.fit(3)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == trainer.history


def test_what_is_no_number_is_null_for_json_has_no_other_word(make_trainer, tmp_path):
    measures = [{"validation_precision": value, "fine": 0.5} for value in (math.nan, math.inf, -math.inf)]
    make_trainer(callbacks=[History(tmp_path / "m.jsonl")], validate=lambda: measures.pop(0)).fit(3)

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    lines = (tmp_path / "m.jsonl").read_text().splitlines()
    content = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [(row["validation_precision"], row["fine"]) for row in content] == [(None, 0.5)] * 3


def test_after_going_on_no_line_stands_twice(make_trainer, tmp_path):
    """Even if the file was written and the checkpoint was not, or holds something else altogether."""
    file = tmp_path / "metrics.jsonl"
    first = make_trainer(callbacks=[History(file)])
    first.fit(2)
    checkpoint.save(first.state_dict(), tmp_path / "state")
    first.fit(3)
    with file.open("a") as lines:
        lines.write("half a li")
    second = make_trainer(callbacks=[History(file)])
    second.load_state_dict(checkpoint.load(tmp_path / "state"))
    second.fit(3)
    assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [1, 2, 3]


def test_a_new_training_begins_the_file_anew(make_trainer, tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text("of another training\n")

    class Look(Callback):
        def on_start(self, trainer):
            assert file.read_text() == ""

    make_trainer(callbacks=[History(file), Look()]).fit(1)
    assert len(file.read_text().splitlines()) == 1


# Checkpoint


class Saves(Callback):
    """Writes down at which step a state was saved."""

    def __init__(self, path):
        self.path, self.seen, self.before = path, [], None

    def _look(self, event):
        now = self.path.stat().st_ino if self.path.exists() else None
        if now != self.before:
            self.seen.append(event)
            self.before = now

    def on_start(self, trainer):
        self._look("start")

    def on_step(self, trainer):
        self._look((trainer.epoch, trainer.step_in_epoch))

    def on_epoch(self, trainer, record):
        self._look(f"epoch {record['epoch']}")


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr("chainrule.training.callbacks.time.perf_counter", lambda: now[0])
    return now


def test_a_state_is_saved_at_the_start_and_after_each_epoch(make_trainer, tmp_path, clock):
    saves = Saves(tmp_path / checkpoint.FILE_NAME)
    make_trainer(callbacks=[Checkpoint(tmp_path), saves]).fit(2)
    assert saves.seen == ["start", "epoch 1", "epoch 2"]


def test_a_state_is_saved_every_so_many_seconds(make_trainer, tmp_path, clock):
    class Slow(Callback):
        def on_loss(self, trainer, inputs, loss):
            clock[0] += 20

    saves = Saves(tmp_path / checkpoint.FILE_NAME)
    make_trainer(callbacks=[Slow(), Checkpoint(tmp_path, seconds=30.0), saves]).fit(2)
    assert saves.seen == ["start", (0, 2), (0, 4), "epoch 1", (1, 2), (1, 4), "epoch 2"]


def test_going_on_writes_nothing_at_the_start(make_trainer, tmp_path, clock):
    first = make_trainer(callbacks=[Checkpoint(tmp_path)])
    first.fit(1)
    saves = Saves(tmp_path / checkpoint.FILE_NAME)
    saves._look("before")
    second = make_trainer(callbacks=[Checkpoint(tmp_path), saves])
    second.load_state_dict(checkpoint.load(tmp_path / checkpoint.FILE_NAME))
    second.fit(2)
    assert saves.seen == ["before", "epoch 2"]


@pytest.mark.parametrize("name", ["best_weights_file", "best"])  # the second is the former name
def test_the_best_weights_are_copied_into_kept_states(make_trainer, tmp_path, name):
    safetensors_io.save({"weight": np.float32([1, 2])}, tmp_path / "best.safetensors")
    own = Checkpoint(
        tmp_path / "states", keep=1, metric="train_loss", mode="min", **{name: tmp_path / "best.safetensors"}
    )
    assert own.best == own.best_weights_file == tmp_path / "best.safetensors"
    own.best = str(tmp_path / "best.safetensors")
    make_trainer(callbacks=[own]).fit(1)
    state = checkpoint.load(tmp_path / "states" / checkpoint.kept_name("epoch", 1))
    assert {key: np.asarray(value).tolist() for key, value in state["best"].items()} == {"weight": [1.0, 2.0]}


def test_its_folder_is_made(make_trainer, tmp_path):
    make_trainer(callbacks=[Checkpoint(tmp_path / "made" / "here")]).fit(1)
    assert (tmp_path / "made" / "here" / checkpoint.FILE_NAME).is_file()


def test_a_deleted_folder_stays_deleted(make_trainer, tmp_path):
    folder = tmp_path / "run" / "checkpoint"
    trainer = make_trainer(callbacks=[Checkpoint(folder)])
    trainer.fit(1)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(FileNotFoundError):
        trainer.callbacks[-1].save(trainer)
    with pytest.raises(FileNotFoundError):
        ReplayStates(folder)._save(trainer, trainer.global_step)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_checkpoint(make_trainer, tmp_path, fill_disk):
    trainer = make_trainer(callbacks=[Checkpoint(tmp_path)])
    trainer.fit(1)
    before = (tmp_path / checkpoint.FILE_NAME).read_bytes()
    fill_disk()
    with pytest.raises(OSError, match="No space left") as caught:
        trainer.fit(2)
    assert caught.value.filename == str(tmp_path / checkpoint.FILE_NAME)
    assert (tmp_path / checkpoint.FILE_NAME).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [checkpoint.FILE_NAME]
