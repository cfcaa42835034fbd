"""The view Time machine shows what a run was at a step; forks and races are runs like any other."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule.data import mnist
from chainrule.studio import races
from chainrule.studio.server import reply
from chainrule.studio.shelf import Shelf
from chainrule.studio.time_machine import TimeMachine
from chainrule.studio.views import Views
from chainrule.studio.weights import MAX_TILES, weights_sheet
from chainrule.studio.wire import pack, unpack
from chainrule.training import experiment
from chainrule.training import run as runs
from chainrule.training.fork import fork
from chainrule.training.replay import RunReplay, weights_digest
from chainrule.training.session import train

STEPS = 6  # an epoch: 300 images in batches of 50
BATCH = {"limit": 300, "batch_size": 50, "epochs": 3}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A shelf with a trained network."""
    folder = tmp_path_factory.mktemp("time") / "runs"
    train(runs.create(experiment.configure("mlp", mnist(), **BATCH), folder / "first"), mnist())
    return Shelf(folder)


@pytest.fixture
def machine(shelf):
    made = TimeMachine(shelf)
    yield made
    made.close()


def ask(machine, ask_for, *buffers, **content):
    told, parts = machine.answer({"ask": ask_for, **content}, list(buffers))
    return told, parts


def step_of(machine, step, *buffers, number=1, page=1, run="first"):
    return ask(machine, "step", *buffers, run=run, step=step, number=number, page=page)


def forward(state, images):
    """The network in NumPy: 784-128-10."""
    weights = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    hidden = np.maximum(images.reshape(len(images), -1) / 255 @ weights["1.weight"].T + weights["1.bias"], 0)
    outputs = hidden @ weights["3.weight"].T + weights["3.bias"]
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_what_is_shown_at_a_step(machine, shelf, tmp_path):
    told, (history,) = ask(machine, "open", run="first")
    assert (told["last"], told["steps_per_epoch"], told["notes"]) == (18, STEPS, [])
    assert told["about"].startswith("mlp on ")
    rows = np.frombuffer(history).reshape(-1, 4)
    records = shelf.run("first").history
    assert rows[:, 0].tolist() == [6, 12, 18]
    assert rows[:, 1].tolist() == [record["train_loss"] for record in records]
    image, (pixels,) = ask(machine, "image", run="first", number=5)
    assert image["label"] == str(mnist().test_labels[5])
    stopped = runs.create(experiment.configure("mlp", mnist(), **BATCH), tmp_path / "stopped")
    trainer = train(stopped, mnist(), until=8)
    state = trainer.network.state_dict()
    told, (sheet, curve) = step_of(machine, 8, pixels)
    assert told["digest"] == weights_digest(trainer.network)
    assert (told["epoch"], told["position"], told["rate"]) == (1, 2, trainer.optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(told["bars"], forward(state, mnist().test_images[5:6])[0], rtol=1e-4, atol=1e-7)
    values = np.frombuffer(sheet, np.int8).reshape(told["sheet"]["shape"])
    weights = state["1.weight"].numpy()[:MAX_TILES].reshape(-1, 28, 28)
    assert told["sheet"]["limit"] == pytest.approx(np.abs(weights).max())
    assert (
        np.abs(values[29:57, 58:86] / 127 * told["sheet"]["limit"] - weights[10]).max() < told["sheet"]["limit"] / 250
    )
    points = np.frombuffer(curve, np.float32).reshape(-1, 2)
    assert points[-1, 0] == 8
    assert points[-1, 1] == pytest.approx(told["loss"], rel=1e-6)
    assert list(told["gradients"]) == ["1.weight", "1.bias", "3.weight", "3.bias"]
    told, _ = ask(machine, "metrics", run="first", step=8, number=2, page=1)
    images, labels = mnist().split().validation
    rows = forward(state, images)
    assert told["metrics"]["validation_accuracy"] == pytest.approx((rows.argmax(1) == labels).mean(), abs=2e-4)
    loss = -np.log(rows[np.arange(len(labels)), labels]).mean()
    assert told["metrics"]["validation_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_code_prints_the_same_numbers(machine):
    told, _ = step_of(machine, 11)
    metrics, _ = ask(machine, "metrics", run="first", step=11, number=2, page=1)
    done = subprocess.run([sys.executable, "-c", told["code"]], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [told["digest"], str(metrics["metrics"])]


def test_a_newer_request_ends_an_older_one(shelf):
    machine = TimeMachine(shelf)
    started, go_on = threading.Event(), threading.Event()
    opened = machine._open("first")
    seek = opened.replay.seek

    def slow(step, canceled):
        def wait_at_each_step():
            started.set()
            go_on.wait(20)
            return canceled()

        return seek(step, wait_at_each_step)

    opened.replay.seek = slow
    opened.replay._files.clear()
    answers = []
    older = threading.Thread(target=lambda: answers.append(step_of(machine, 17, number=1)[0]))
    older.start()
    assert started.wait(20)
    opened.replay.seek = seek
    newer = threading.Thread(target=lambda: answers.append(step_of(machine, 3, number=2)[0]))
    newer.start()
    while machine._newest.get(1) != 2:
        pass
    go_on.set()
    older.join()
    newer.join()
    by_number = {answer["number"]: answer for answer in answers}
    assert by_number[1] == {"tell": "step", "run": "first", "step": 17, "number": 1, "canceled": True}
    assert by_number[2]["digest"] == weights_digest(RunReplay(shelf.run("first"), mnist()).seek(3).network)
    assert step_of(machine, 4, number=1)[0]["canceled"]  # it came too late
    assert "digest" in step_of(machine, 4, number=1, page=2)[0]  # another page's requests are its own
    machine.close()


@pytest.mark.parametrize("race", [False, True])
def test_a_fork_and_a_race_are_the_runs_that_are_trained_alone(machine, shelf, tmp_path, race):
    settings = {"lr": 0.003}
    told, _ = ask(machine, "fork", run="first", step=9, settings=settings, race=race)
    assert len(told["runs"]) == 1 + race
    lanes, curves = {}, {}
    for name in told["runs"]:
        number = 0
        while True:
            lane, (curve, epochs) = ask(machine, "lane", run=name, after=number)
            number = lane["number"]
            if not lane["is_running"] and lane["state"] != "starting":
                break
        lanes[name], curves[name] = lane, np.frombuffer(curve, np.float32).reshape(-1, 2)
        assert (lane["state"], lane["step"], lane["steps"], lane["from"]) == ("finished", 18, 18, 9)
        assert len(np.frombuffer(epochs, np.float32)) == 6
    alone = [{}, settings][not race :]
    for name, changes in zip(told["runs"], alone, strict=True):
        replay = RunReplay(shelf.run("first"), mnist())
        other = fork(replay, 9, changes, tmp_path / name)
        trainer = train(other, mnist())
        mine = RunReplay(shelf.run(name), mnist())
        assert weights_digest(mine.seek(18).network) == weights_digest(trainer.network)
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in shelf.run(name).history]
        assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in runs.Run(other.folder).history]
        assert lanes[name]["test_accuracy"] is not None
        steps = RunReplay(runs.Run(other.folder), mnist())
        steps._files.clear()
        steps.seek(18)
        assert curves[name][:, 0].tolist() == list(range(10, 19))
        np.testing.assert_array_equal(curves[name][:, 1], np.float32([steps.losses[step] for step in range(10, 19)]))
    machine.close()
    for name in told["runs"]:  # what is known of it remains
        lane, (curve, _) = ask(machine, "lane", run=name, after=0)
        assert (lane["state"], len(curve)) == ("finished", curves[name].nbytes)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"ask": "open", "run": "../first"}, "there is no run of this name; it may have been deleted"),
        ({"ask": "open", "run": "shipped"}, "came without the steps of its training"),
        ({"ask": "step", "run": "first", "step": -1, "number": 1, "page": 9}, "a step must be an integer from 0 to 18"),
        (
            {"ask": "step", "run": "first", "step": 10**30, "number": 2, "page": 9},
            "a step must be an integer from 0 to",
        ),
        ({"ask": "step", "run": "first", "step": True, "number": 3, "page": 9}, "a step must be an integer from 0 to"),
        (
            {"ask": "fork", "run": "first", "step": 3, "settings": {"lr": "a"}, "race": False},
            "lr must be of type float",
        ),
        ({"ask": "fork", "run": "first", "step": 3, "settings": {"lr": math.nan}, "race": True}, "a number above 0"),
        ({"ask": "fork", "run": "first", "step": 3, "settings": {"seed": 1}, "race": False}, "not seed"),
        ({"ask": "fork", "run": "first", "step": 3, "settings": {"batch_size": 9}, "race": True}, "between epochs"),
        ({"ask": "fork", "run": "first", "step": 18, "settings": {}, "race": True}, "give more epochs"),
        ({"ask": "lane", "run": "none", "after": 0}, "there is no run of this name"),
        ({"ask": "go on", "runs": ["none"]}, "there is no run of this name"),
    ],
    ids=str,
)
def test_what_is_refused_is_one_sentence_and_leaves_nothing(machine, shelf, message, sentence):
    before = sorted(shelf.runs())
    told, buffers = machine.answer(message, [])
    assert sentence in told["error"]
    assert "\n" not in told["error"]
    assert buffers == []
    assert sorted(shelf.runs()) == before


@pytest.mark.parametrize(
    "message",
    [
        {"ask": "open"},
        {"ask": "open", "run": 3},
        {"ask": "step", "run": "first", "step": 1.5, "number": 1, "page": 1},
        {"ask": "step", "run": "first", "step": 1},
        {"ask": "fork", "run": "first", "step": 1, "settings": [], "race": True},
        {"ask": "go on", "runs": [3]},
        {"ask": "nothing"},
        {},
    ],
    ids=str,
)
def test_messages_that_are_none(machine, message):
    assert machine.answer(message, []) is None


def test_pictures(machine):
    assert "an image of 28×28 values is needed, not 3 bytes" in step_of(machine, 3, b"abc")[0]["error"]
    told, _ = ask(machine, "picture", b"no picture", run="first", number=1)
    assert told["error"].startswith("the drawing: not an image")


def test_a_damaged_state_a_deleted_folder_and_an_untrained_run(shelf, machine):
    first = shelf.folder / "first"
    copy = shelf.folder / "copy"
    shutil.copytree(first, copy)
    (copy / "checkpoint" / "state.safetensors").write_bytes(b"damaged")
    told, _ = ask(machine, "open", run="copy")
    assert told["last"] == 18
    (note,) = told["notes"]
    assert note.endswith("the replay does without it")
    expected = step_of(machine, 18)[0]["digest"]
    assert step_of(machine, 18, run="copy", number=2)[0]["digest"] == expected
    (copy / "config.json").write_text("{")
    assert "is not JSON" in step_of(machine, 18, run="copy", number=3)[0]["error"]
    shutil.rmtree(copy)
    told, _ = step_of(machine, 18, run="copy", number=4)
    assert told["error"] == "there is no run of this name; it may have been deleted"
    runs.create(experiment.configure("mlp", mnist(), **BATCH), shelf.folder / "empty")
    assert "has no history and no state of its training" in ask(machine, "open", run="empty")[0]["error"]
    shutil.rmtree(shelf.folder / "empty")


def test_a_step_with_outputs_that_are_not_finite(shelf, machine):
    name = "huge"
    run = runs.create(experiment.configure("mlp", mnist(), **BATCH, optimizer="sgd", lr=1e30), shelf.folder / name)
    with np.errstate(all="ignore"):
        trainer = train(run, mnist(), until=1)
    assert all(np.isfinite(parameter.numpy()).all() for parameter in trainer.network.parameters())
    views = Views({"time": lambda: machine})
    image = bytes(mnist().test_images[0].tobytes())
    message = {"view": "time", "ask": "step", "run": name, "step": 1, "number": 1, "page": 1}
    told, _ = unpack(reply(views, pack(message, [image])))
    assert (told.get("error"), told["tell"], told["bars"]) == (None, "step", [None] * 10)
    assert None in told["gradients"].values()
    shutil.rmtree(run.folder)


def test_a_fork_that_nobody_waits_for_is_not_trained(shelf, machine, monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    begun = []
    monkeypatch.setattr(races, "TrainingProcess", begun.append)
    opened = machine._open("first")
    seek = opened.replay.seek

    def slow(step, is_canceled):
        started.set()
        assert go_on.wait(20)
        return seek(step, is_canceled)

    monkeypatch.setattr(opened.replay, "seek", slow)
    before, answers = sorted(shelf.runs()), []
    fork = {"ask": "fork", "run": "first", "step": 9, "settings": {}, "race": True}
    asking = threading.Thread(target=lambda: answers.append(machine.answer(fork, [])))
    asking.start()
    assert started.wait(20)
    machine.close()
    go_on.set()
    asking.join()
    assert answers == [({"tell": "forked", "run": "first", "step": 9, "canceled": True}, [])]
    assert (begun, sorted(shelf.runs())) == ([], before)


def test_two_requests_at_once_leave_no_training_that_cannot_be_stopped(shelf, machine, monkeypatch):
    begun, stopping = [], threading.Barrier(2)

    class Process:
        def __init__(self, folder):
            self.is_alive = True
            begun.append(self)

        def stop(self):
            if len(begun) == 1:
                with suppress(threading.BrokenBarrierError):
                    stopping.wait(0.5)  # both are here at once, unless one waits for the other
            self.is_alive = False

    monkeypatch.setattr(races, "TrainingProcess", Process)
    ask(machine, "go on", runs=["first"])
    asking = [threading.Thread(target=ask, args=(machine, "go on"), kwargs={"runs": ["first"]}) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(begun) == 3
    assert [process.is_alive for process in begun].count(True) == 1
    machine.close()
    assert not any(process.is_alive for process in begun)


def test_a_run_that_trains_is_opened_once_for_each_change(shelf, machine, monkeypatch):
    loads, builds = [], []
    load, build = type(shelf.run("first").task).load, RunReplay.__init__

    def slow(self, *args, **options):
        builds.append(self)
        time.sleep(0.2)
        build(self, *args, **options)

    monkeypatch.setattr(type(shelf.run("first").task), "load", lambda *args: loads.append(1) or load(*args))
    monkeypatch.setattr(RunReplay, "__init__", slow)
    run = runs.create(experiment.configure("mlp", mnist(), **BATCH), shelf.folder / "trains")
    for count, until in enumerate((STEPS, 2 * STEPS), start=1):
        train(run, mnist(), until=until)
        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(machine._open, ["trains"] * 8))
        assert (len(set(map(id, opened))), len(builds), len(loads)) == (1, count, 1)
        assert opened[0].replay.last_step == until
    shutil.rmtree(run.folder)


def test_sheets_of_other_networks():
    from chainrule import nn
    from chainrule.models import build

    filters = weights_sheet(build("cnn"), (28, 28))
    assert (filters.kind, filters.shown, filters.values.shape) == ("filters", 32, (4 * 6 - 1, 8 * 6 - 1))
    matrix = weights_sheet(nn.Sequential(nn.Linear(5, 3)), None)
    assert (matrix.kind, matrix.values.shape) == ("matrix", (3, 5))
    network = nn.Sequential(nn.Linear(4, 2))
    nn.init.constant_(network[0].weight, np.nan)
    assert not weights_sheet(network, (2, 2)).values.any()
    assert weights_sheet(nn.Sequential(), (2, 2)).total == 0
