"""`chainrule sweep`: trials are runs, proposals depend on the seed alone, and a sweep that was stopped or killed goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from chainrule.cli import main
from chainrule.training import run as runs

optuna = pytest.importorskip("optuna", reason="optuna is not installed: pip install 'chainrule[bridges]'")

from chainrule.sweep import Search, Sweep, read_config  # noqa: E402  # needs optuna to be of use
from chainrule.sweep.trials import Worker  # noqa: E402

CONFIG = """
data = "data"
trials = 4
pruning = "none"
[training]
epochs = 2
batch_size = [32, 64]
lr = { low = 0.001, high = 0.1, log = true }
[options]
hidden = { low = 4, high = 12, step = 4 }
"""


@pytest.fixture
def here(tmp_path, monkeypatch, make_digits):
    """A folder with a small data set and a config."""
    digits = make_digits()
    (tmp_path / "data").mkdir()
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.save(tmp_path / "data" / f"{name.replace('_', '-')}.npy", getattr(digits, name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def command(here, capfd):
    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        return (end.value.code, *capfd.readouterr())

    return run


def trials(folder):
    """What Optuna itself reads from the study: settings, value and state of each trial."""
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'study.db'}")
    return [(trial.params, trial.value, trial.state.name) for trial in study.trials]


def test_trials_are_runs_and_jobs_share_the_threads(command, here):
    code, out, err = command("sweep", "a.toml", "--jobs", 2)
    assert (code, err) == (0, "")
    folder = here / "sweeps" / "a"
    found = trials(folder)
    assert [state for _, _, state in found] == ["COMPLETE"] * 4
    best = max(range(4), key=lambda i: found[i][1])
    assert f"next: chainrule evaluate sweeps/a/trial-{best:04}" in out.splitlines()
    assert "2 jobs with 1 thread each; runs in sweeps/a" in out.splitlines()
    for number, (params, value, _) in enumerate(found):
        run = runs.find(folder / f"trial-{number:04}")
        assert max(record["validation_accuracy"] for record in run.history) == value
        settings = run.config["training"]
        assert settings["lr"] == params["training.lr"]
        assert settings["batch_size"] == params["training.batch_size"]
        assert run.config["model"]["options"]["hidden"] == params["options.hidden"]
        assert 0.001 <= params["training.lr"] <= 0.1
        assert params["options.hidden"] in (4, 8, 12)
        assert run.result is not None
        assert (run.folder / "curves.png").exists()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = command("sweep", "a.toml", "--json")  # nothing is left to do
    document = json.loads(out)
    assert (code, err, document["best"]) == (0, "", best)
    assert [trial["value"] for trial in document["trials"]] == [value for _, value, _ in found]
    code, out, err = command("runs", folder, "--sort", "validation_accuracy")
    assert (code, len(out.splitlines())) == (0, 4)
    again = command("sweep", "a.toml", "--out", "again", "--quiet")
    assert again[0] == 0
    assert trials(here / "again") == found  # the same seed, one job instead of two: random trials


class Workerless(Sweep):
    """Answers for the trials: no process is started."""

    def __init__(self, search, curves, stop_after=10**9):
        super().__init__(search, None, None)
        self.curves, self.left = curves, stop_after

    def run(self):
        while (trial := self._search.next(set())) is not None:
            for epoch, value in enumerate(self.curves(trial.settings), start=1):
                if not self.left:
                    return
                self.left -= 1
                if self._search.report(trial, epoch, value):
                    self._search.prune(trial)
                    break
            else:
                self._search.complete(trial)


def curves(settings):
    """The accuracy of three epochs: best at a learning rate of 0.02."""
    quality = 1 - abs(np.log10(settings["training.lr"] / 0.02)) / 2
    return [quality * share for share in (0.5, 0.8, 1.0)]


SPACE = "trials = {trials}\nseed = {seed}\n{more}\n[training]\nlr = {{ low = 0.0002, high = 2, log = true }}"


def searched(folder, *, seed=0, more="", count=13, stop_after=10**9):
    folder.mkdir(exist_ok=True)
    (folder / "space.toml").write_text(SPACE.format(seed=seed, more=more, trials=count))
    search = Search(read_config(folder / "space.toml"), folder)
    Workerless(search, curves, stop_after).run()
    return search.trials


def test_the_proposals_depend_on_the_seed_alone(tmp_path):
    """Ten of them are random; the others depend on what was found."""
    first = searched(tmp_path / "a")
    assert len(first) == 13
    assert searched(tmp_path / "b", seed=1, count=1)[0].settings != first[0].settings
    for events in (1, 17, 3):  # stopped within a trial, and gone on with
        assert sum(trial.state != "running" for trial in searched(tmp_path / "c", stop_after=events)) < 13
    assert len(searched(tmp_path / "c", count=12)) == 12
    assert searched(tmp_path / "c") == first


def test_it_finds_what_is_good_and_prunes_what_is_not(tmp_path):
    tpe, random = (searched(tmp_path / name, more=f'sampler = "{name}"', count=18) for name in ("tpe", "random"))
    for found in (tpe, random):
        complete = []
        for trial in found:
            whole = curves(trial.settings)
            behind = [
                epoch for epoch in (2, 3)
                if len(complete) >= 5 and whole[epoch - 1] < np.median([values[epoch - 1] for values in complete])
            ]  # fmt: skip
            assert trial.state == ("pruned" if behind else "complete")
            assert list(trial.values.values()) == whole[: behind[0] if behind else 3]
            complete += [] if behind else [whole]
        assert {trial.state for trial in found} == {"pruned", "complete"}
    late = [np.mean([abs(np.log10(t.settings["training.lr"] / 0.02)) for t in found[10:]]) for found in (tpe, random)]
    assert late[0] < late[1]


def test_the_other_ways_to_prune(tmp_path):
    hyperband = searched(tmp_path / "hyperband", more='pruning = "hyperband"')
    assert {trial.state for trial in hyperband} == {"pruned", "complete"}
    assert {trial.state for trial in searched(tmp_path / "none", more='pruning = "none"')} == {"complete"}


def test_another_config_is_refused(tmp_path):
    searched(tmp_path / "a", count=3)
    for change, message in {
        "seed": r"a: this sweep was begun with seed = 0, and .*space.toml has 1; go on with the former",
        "lr": r"begun with training.lr = \{.*\"high\": 2.0.*, and .* has \{.*\"high\": 3.0",
    }.items():
        text = SPACE.format(seed=int(change == "seed"), more="", trials=3)
        (tmp_path / "space.toml").write_text(text.replace("high = 2", "high = 3") if change == "lr" else text)
        with pytest.raises(runs.RunError, match=message):
            Search(read_config(tmp_path / "space.toml"), tmp_path / "a")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "study.db").write_text("no database, though of some length" * 100)
    with pytest.raises(
        runs.RunError, match=r"study.db: cannot be used as the study of a sweep \(file is not a database\)"
    ):
        Search(read_config(tmp_path / "space.toml"), tmp_path / "bad")


def test_odd_names_of_folders(tmp_path):
    folder = tmp_path / "50% of a?b#c ü"
    assert len(searched(folder, count=2)) == 2
    assert (folder / "study.db").exists()
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]


def test_wrong_configs_are_one_sentence(command, here):
    for text, message in {
        "[training]\nlr = [0.1, -0.1]": "with training.lr = -0.1: the learning rate must be a number above 0, not -0.1",
        "[training]\naugment.rotate = [1, 2]": "with training.augment.rotate = 1.0: invalid augmentation",
        "[options]\nhidden = {low = 0, high = 8}": "with options.hidden = 0: model 'mlp': option hidden must be at least 1",
        "limit = 9999\n[options]\nhidden = [8, 16]": "wrong.toml: the limit is 9,999, but ",
        "image_size = 9\n[options]\nhidden = [8, 16]": "wrong.toml: image_size is for a folder of class folders",
        'data = "nowhere"\n[options]\nhidden = [8]': "wrong.toml: there is no data set or folder 'nowhere'",
    }.items():
        (here / "wrong.toml").write_text(text if text.startswith("data") else f'data = "data"\n{text}')
        code, out, err = command("sweep", "wrong.toml")
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert not (here / "sweeps").exists()
    (here / "file").write_text("")
    for out, message in {"file": "file: cannot be written (File exists)", "data": None}.items():
        if message:
            assert command("sweep", "a.toml", "--out", out)[2] == f"chainrule: {message}\n"
    (here / "data" / "config.json").write_text("{}")
    assert "data: this is a run's folder" in command("sweep", "a.toml", "--out", "data")[2]


def test_trials_that_diverge_or_do_not_fit_are_told(command, here):
    (here / "b.toml").write_text(
        'data = "data"\ntrials = 3\nmodel = "mlp"\nsampler = "random"\n'
        '[training]\nepochs = 2\noptimizer = ["sgd"]\nlr = { low = 1e30, high = 1e31 }\nmomentum = 0.9\n'
    )
    code, out, err = command("sweep", "b.toml")
    assert code == 2
    assert err.startswith("chainrule: sweeps/b: none of 3 trials is complete: training diverged in epoch 1")
    assert out.count("diverged: ") == 3
    assert [state for _, _, state in trials(here / "sweeps" / "b")] == ["PRUNED"] * 3


def test_a_worker_that_is_killed_fails_its_trial_only(command, here, monkeypatch):
    """As the kernel does when memory is short."""
    send, sent = Worker.send, []

    def kill_first(worker, **message):
        sent.append(message)
        if len(sent) == 1:
            worker.process.kill()
        send(worker, **message)

    monkeypatch.setattr(Worker, "send", kill_first)
    code, out, err = command("sweep", "a.toml", "--trials", 2)
    assert (code, err) == (0, "")
    assert [state for _, _, state in trials(here / "sweeps" / "a")] == ["FAIL", "COMPLETE"]
    assert "failed: its process ended with code -9" in out


def start(*arguments, threads="1"):
    environment = {**os.environ, "CHAINRULE_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-m", "chainrule", "sweep", *arguments]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_or_killed_it_goes_on(command, here, number):
    (here / "long.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 30").replace("trials = 4", "trials = 3"))
    process = start("long.toml", "--out", "stopped", "--jobs", "2")
    second = here / "stopped" / "trial-0001" / "metrics.jsonl"
    wait_for(lambda: second.exists() and second.read_text().count("\n") > 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=200)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[0].startswith("stopping after this step (Ctrl-C again")
        assert err.splitlines()[1].endswith("; continue with: chainrule sweep long.toml --out stopped")
    else:
        assert process.returncode == -9
    before = second.read_text().splitlines()
    assert 2 < len(before) < 30
    code, _, err = command("sweep", "long.toml", "--out", "stopped", "--quiet")
    assert code == 0, err
    assert second.read_text().splitlines()[: len(before) - 1] == before[:-1]  # it went on, and did not start again
    found = trials(here / "stopped")
    assert [state for _, _, state in found] == ["COMPLETE"] * 3
    assert command("sweep", "long.toml", "--out", "straight", "--quiet")[0] == 0
    assert trials(here / "straight") == found


def test_a_second_process_is_refused(command, here):
    import filelock

    (here / "sweeps" / "a").mkdir(parents=True)
    with filelock.FileLock(here / "sweeps" / "a" / "sweep.lock"):
        code, _, err = command("sweep", "a.toml")
    assert (code, err) == (2, "chainrule: sweeps/a: another process is working on this sweep\n")
