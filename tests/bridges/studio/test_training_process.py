"""A training in a process of its own is an ordinary run: paused, stepped, changed or killed, it has the same bits."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chainrule import safetensors_io
from chainrule.data import mnist
from chainrule.models import images_to_inputs
from chainrule.studio import worker
from chainrule.studio.process import TrainingProcess
from chainrule.studio.wire import unpack
from chainrule.tensor import from_numpy
from chainrule.training import Callback, Interrupted, checkpoint, experiment
from chainrule.training import run as runs
from chainrule.training.changes import change_run
from chainrule.training.replay import RunReplay
from chainrule.training.session import save_and_stop, train

LIMIT, BATCH = 300, 50  # six steps an epoch


@pytest.fixture
def begin(tmp_path):
    def begin(name="run", **changes):
        settings = {"epochs": 2, "limit": LIMIT, "batch_size": BATCH, "schedule": "constant", **changes}
        return runs.create(experiment.configure("mlp", mnist(), **settings), tmp_path / name)

    return begin


@pytest.fixture
def start():
    processes = []

    def start(run, **options):
        processes.append(TrainingProcess(run.folder, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.stop()


def weights(run):
    return {name: value.numpy() for name, value in safetensors_io.load(run.weights_file).items()}


def saved(run):
    return checkpoint.load(run.checkpoint_file)["network"]


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_paused_stepped_changed_and_stopped_it_is_the_run_of_those_steps(begin, start):
    run, plain = begin(), begin("plain")
    process = start(run, until=0)
    process.look(mnist().test_images[0])
    assert process.wait("paused")["step"] == 0
    process.step()
    number, state, frame = process.news(0, 10)
    while state["step"] != 1 or state["state"] != "paused":
        number, state, frame = process.news(number, 10)
    process.go(until=4)
    while state["step"] != 4 or state["state"] != "paused":
        number, state, frame = process.news(number, 10)
    assert frame[0]["step"] == 4
    train(plain, mnist(), until=4)
    assert same(saved(run), saved(plain))

    process.change({"lr": 0.003})
    while not state.get("changes"):
        number, state, frame = process.news(number, 10)
    assert state["changes"][0]["settings"] == {"lr": [0.02, 0.003]}
    process.go()
    finished = process.wait("finished")
    plain = change_run(plain, mnist(), {"lr": 0.003})
    trainer = train(plain, mnist())
    assert same(weights(run), weights(plain))
    assert finished["result"]["test_accuracy"] == experiment.finish(plain, mnist(), 0.0)["test_accuracy"]
    for own, other in zip(runs.Run(run.folder).history, plain.history, strict=True):
        assert {**own, "seconds": 0} == {**other, "seconds": 0}

    # What it shows is what the network says of the picture, and its weights
    number, state, (content, buffers) = process.news(0, 1)
    network = trainer.network.eval()
    logits = network(images_to_inputs(from_numpy(mnist().test_images[:1]))).numpy()[0]
    expected = np.exp(logits - logits.max())
    assert content["bars"] == pytest.approx(expected / expected.sum(), rel=1e-4)
    assert [layer["path"] for layer in content["layers"]] == ["1", "3"]
    assert sum(len(buffer) for buffer in buffers) < 100_000
    assert content["completed"] == 2
    process.stop()
    assert process.state["state"] == "stopped"
    deadline = time.monotonic() + 20
    while process.is_alive and time.monotonic() < deadline:  # it says that it has finished, and then ends
        time.sleep(0.02)
    assert not process.is_alive


def test_two_changes_during_a_pause_are_the_last_of_them(begin, start):
    """Half the rate, and half again: no step was taken between, and the record and its replay say so."""
    run, plain = begin(), begin("plain")
    process = start(run, until=4)
    process.wait("paused")
    number = 0
    for rate in (0.01, 0.005):
        process.change({"lr": rate})
        number, state, _ = process.news(number, 10)
        while state.get("lr") != rate or state["state"] != "paused":
            number, state, _ = process.news(number, 10)
    process.go()
    process.wait("finished")
    process.stop()
    run = runs.Run(run.folder)
    assert [(c["epoch"], c["step"], c["settings"]) for c in run.changes] == [(0, 4, {"lr": [0.02, 0.005]})]
    train(plain, mnist(), until=4)
    plain = change_run(plain, mnist(), {"lr": 0.005})
    trained = train(plain, mnist()).network.state_dict()
    assert same(saved(run), saved(plain))
    run.checkpoint_file.unlink()  # so that all steps are computed again
    replayed = RunReplay(run, mnist()).seek(12).network.state_dict()
    assert all(np.array_equal(replayed[name].numpy(), trained[name].numpy()) for name in trained)


STUDIO = """
import sys, time
from pathlib import Path
from chainrule.studio import worker
from chainrule.studio.process import TrainingProcess

if __name__ == "__main__":
    process = TrainingProcess(Path(sys.argv[1]))
    number, frame = 0, None
    while frame is None or frame[0]["step"] < 8:
        number, _, frame = process.news(number, 10)
    print(process.pid, flush=True)
    time.sleep(60)
"""


def check_that_it_goes_on_to_the_same_bits(run, plain):
    done = checkpoint.load(run.checkpoint_file)["progress"]
    step = done["epoch"] * 6 + done["step"] + 5
    for each in (run, plain):
        train(each, mnist(), until=step)
    assert same(saved(run), saved(plain))


def test_a_killed_studio_loses_nothing(begin, tmp_path):
    run, plain = begin(epochs=400), begin("plain", epochs=400)
    (tmp_path / "studio.py").write_text(STUDIO)
    with subprocess.Popen(
        [sys.executable, tmp_path / "studio.py", run.folder], stdout=subprocess.PIPE, text=True
    ) as studio:
        command_line = Path(f"/proc/{int(studio.stdout.readline())}/cmdline")
        studio.kill()
    while command_line.exists() and command_line.read_bytes():  # a process that nobody waits for has none
        time.sleep(0.05)
    check_that_it_goes_on_to_the_same_bits(run, plain)


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no priorities of processes")
def test_the_page_goes_before_training(begin, start):
    process = start(begin(), until=0)
    process.wait("paused")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, own + 10)


def test_a_killed_training_loses_nothing(begin, start):
    run, plain = begin(epochs=400), begin("plain", epochs=400)
    process = start(run)
    number, frame = 0, None
    while frame is None or frame[0]["step"] < 8:
        number, _, frame = process.news(number, 10)
    os.kill(process.pid, signal.SIGKILL)
    sentence = process.wait("failed")["sentence"]
    assert sentence.startswith("the training's process was killed (signal 9) at about step ")
    check_that_it_goes_on_to_the_same_bits(run, plain)


def test_a_training_that_does_not_stop_in_time_is_stopped_and_says_so(begin, start):
    """Here it cannot, because its process is held; in use, it validates on a large set."""
    process = start(begin(epochs=400), until=3)
    process.wait("paused")
    os.kill(process.pid, signal.SIGSTOP)
    process.stop(timeout=0.2)
    state = process.wait("stopped")
    assert (state["state"], state["step"]) == ("stopped", 3)
    assert state["sentence"] == (
        "the training did not stop in time, so its process was ended at about step 3; nothing that was saved is lost: "
        "go on from there, to the same bits"
    )


LOADING = """
import sys, time
from pathlib import Path
from chainrule.studio.process import TrainingProcess
from chainrule.training.image_task import ImageTask

ImageTask.load = lambda self, run: time.sleep(60)  # also in the training's process, which imports this file

if __name__ == "__main__":
    process = TrainingProcess(Path(sys.argv[1]))
    process.wait("loading")
    start = time.monotonic()
    process.stop()
    print(time.monotonic() - start < 10, process.wait("stopped")["sentence"])
"""


def test_stop_reaches_the_reading_of_data(begin, tmp_path):
    (tmp_path / "loading.py").write_text(LOADING)
    command = [sys.executable, tmp_path / "loading.py", begin().folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "True stopped while its data were read, before it took a step: go on whenever you like\n"


def test_stop_reaches_the_search_for_where_a_training_diverged(begin):
    told = []

    class Pipe:
        def send_bytes(self, message):
            told.append(unpack(message)[0])
            if told[-1].get("state") == "searching":
                desk.stopping = True

    desk = worker.Desk(Pipe(), None)
    worker._work(begin(optimizer="sgd", momentum=0.0, lr=1e6, epochs=4).folder, desk)
    states = [content["state"] for content in told if content["tell"] == "state"]
    assert states == ["loading", "running", "searching", "stopped"]


def test_what_goes_wrong_is_one_sentence(begin, start):
    run = begin(epochs=400)
    process = start(run, until=2)
    process.wait("paused")
    process.change({"lr": -1.0})
    number, state, _ = process.news(0, 10)
    while "refused" not in state or state["state"] != "paused":
        number, state, _ = process.news(number, 10)
    assert state["refused"] == "the learning rate must be a number above 0, not -1.0"
    shutil.rmtree(run.folder)
    process.go()
    assert process.wait("failed")["sentence"] == (
        "run: its folder was deleted while it trained, so training has ended at step 2; start it again with the same "
        "settings: they give the same bits"
    )
    missing = TrainingProcess(run.folder)
    assert missing.wait("failed")["sentence"] == f"{run.folder}: there is no such run"
    missing.stop()


def test_a_disk_that_takes_nothing(begin, start):
    run = begin(epochs=400)
    process = start(run, until=2)
    process.wait("paused")
    shutil.rmtree(run.checkpoint_file.parent)
    run.checkpoint_file.parent.write_text("no folder")
    process.go(until=4)
    assert process.wait("failed")["sentence"] == (
        f"{run.checkpoint_file.parent}: cannot be written (File exists), so training has stopped at step 4; what was "
        "saved before is whole: mend that, and go on"
    )


def test_a_training_that_diverges_names_where_and_goes_back(begin, start):
    run = begin(optimizer="sgd", momentum=0.0, lr=1e6, epochs=4)
    process = start(run)
    state = process.wait("diverged")
    assert state["step"] - state["last_good"] in (1, 2)
    assert "layer '" in state["where"]
    process.change({"lr": 1e-6, "epochs": 1}, step=state["last_good"])
    assert process.wait("finished")["step"] == 6


def test_frames_cost_at_most_a_twentieth_of_the_processor_at_20_a_second(begin, monkeypatch):
    """On the clock of the training's own processor time, so that others on the machine change nothing."""
    monkeypatch.setattr(worker, "perf_counter", time.thread_time)
    sizes = []

    class Pipe:
        def send_bytes(self, message):
            sizes.append(len(message))

    desk = worker.Desk(Pipe(), None)
    desk.picture, desk.watched_until = mnist().test_images[0], math.inf

    class Watched(worker.Watch):
        spent = 0.0

        def on_step(self, trainer):
            if trainer.global_step == 40:  # compiled, and each measurement has been made once
                self.spent, self.begun, self.number = 0.0, time.thread_time(), len(sizes)
            start = time.thread_time()
            super().on_step(trainer)
            self.spent += time.thread_time() - start

    run = begin(epochs=30, limit=50_000, batch_size=256)
    watch = Watched(desk, run)
    stop = {}

    class Stop(Callback):
        def on_step(self, trainer):
            if trainer.global_step == 1240:
                stop["seconds"] = time.thread_time() - watch.begun
                save_and_stop(trainer)

    with pytest.raises(Interrupted):
        train(run, mnist(), callbacks=[watch, Stop()])
    frames = len(sizes) - watch.number
    assert frames / stop["seconds"] >= 20
    assert watch.spent / stop["seconds"] <= 0.05
    assert max(sizes) <= 100_000
