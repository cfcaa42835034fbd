"""Any step of a run, computed again, has the bits of a run that was trained so far and stopped; and forks go on from it."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil

import numpy as np
import pytest

from chainrule.errors import RunError
from chainrule.models import Recipe
from chainrule.training import Callback, checkpoint, experiment, replay_states, run
from chainrule.training.changes import change_run
from chainrule.training.fork import fork
from chainrule.training.optimizers import make_optimizer
from chainrule.training.replay import CanceledError, RunReplay, weights_digest
from chainrule.training.replay_states import least_needed_step
from chainrule.training.resume import resume
from chainrule.training.trainer import Interrupted

from .killing import KillAt, Killed

STEPS = 5  # an epoch: 250 images in batches of 50


class InterruptAt(Callback):
    """Interrupts training as Ctrl-C does, while a step is taken."""

    def __init__(self, step):
        self.step = step

    def on_loss(self, trainer, inputs, loss):
        trainer.interrupt = trainer.global_step + 1 == self.step


@pytest.fixture
def begin(digits, tmp_path):
    """Makes a run, untrained."""

    def begin(name="run", model="mlp", keep=0, **changes):
        changes = {"epochs": 3, "batch_size": 50, **changes}
        return run.create(experiment.configure(model, digits, keep=keep, **changes), tmp_path / name)

    return begin


@pytest.fixture
def train(digits):
    """Trains a run as `chainrule train` does, to its end or to a step, from where it stands; gives the trainer."""

    def train(this_run, stop_after=None):
        this_run = run.Run(this_run.folder)
        trainer = experiment.prepare(this_run, digits)
        resume(this_run, trainer)
        if stop_after:
            trainer.callbacks.insert(0, KillAt(stop_after))
        with contextlib.suppress(Killed):
            trainer.fit(this_run.config["training"]["epochs"])
        return trainer

    return train


def complete(trainer):
    """Everything that later steps depend on, as bytes and texts."""
    state = trainer.state_dict()
    memory = state["optimizer"]["state"]
    generators = [generator.bit_generator.state for generator in (trainer.loader.generator,)]
    return {
        "network": weights_digest(trainer.network),
        "optimizer": {(i, k): np.asarray(v).tobytes() for i, entries in memory.items() for k, v in entries.items()},
        "options": state["optimizer"]["param_groups"],
        "scheduler": json.dumps(state["scheduler"]),  # tuples or lists
        "generators": [str(generator) for generator in [*state["generators"], *generators]],
        "loss": state["progress"]["total"],
        "position": (state["progress"]["epoch"], state["progress"]["step"]),
    }


def outcome(folder):
    """What a trained run leaves, but for times."""
    this_run = run.Run(folder)
    state = checkpoint.load(this_run.checkpoint_file)
    memory = state["optimizer"].pop("state")
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in this_run.history]
    return (
        {name: np.asarray(array).tobytes() for name, array in state["network"].items()},
        {(i, k): np.asarray(v).tobytes() for i, entries in memory.items() for k, v in entries.items()},
        state["optimizer"], state["scheduler"], state["loader"], rows, this_run.weights_file.read_bytes(),
    )  # fmt: skip


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Any step


@pytest.mark.parametrize(
    ("model", "settings"),
    [("mlp", {}), ("mlp", {"augment": {"shift": 1.5}, "epochs_without_augmentation": 1}), ("cnn", {"epochs": 2})],
    ids=["mlp", "augmented mlp", "cnn"],
)
def test_the_state_at_any_step_is_that_of_a_fresh_run_stopped_there(begin, train, digits, monkeypatch, model, settings):
    monkeypatch.setattr(experiment, "MIN_COMPILED_STEPS", 10)
    whole = begin(model=model, **settings)
    assert train(whole).compiled
    before = files(whole.folder)
    replay = RunReplay(whole, digits)
    last = len(whole.history) * STEPS
    assert (replay.last_step, replay.notes) == (last, [])
    steps = np.random.default_rng(3).permutation(np.arange(1, last))[: 6 if model == "mlp" else 3].tolist()
    for number, step in enumerate([last, *steps]):
        stopped = train(begin(f"stopped {number}", model, **settings), step)
        trainer = replay.seek(step)
        assert replay.step == step
        expected = complete(stopped)
        if stopped.step == STEPS:  # stopped between the last step of an epoch and its end
            expected["position"], expected["loss"] = (stopped.epoch + 1, 0), 0.0
        found = complete(trainer)
        if not trainer.step_in_epoch:
            del found["generators"], expected["generators"]  # `stopped` still has those of its pass
        assert found == expected, step
        assert weights_digest(replay.trainer.network) == weights_digest(stopped.network)
    assert replay.notes == []
    assert files(whole.folder) == before


def test_a_replay_starts_from_the_states_that_a_run_has_kept(begin, train, digits, monkeypatch):
    monkeypatch.setattr(replay_states, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(replay_states, "MAX_TIME_FRACTION", np.inf)
    monkeypatch.setattr(replay_states, "MIN_STEPS", 4)
    this_run = begin(keep=1)
    train(this_run)
    assert sorted(this_run.replay_states) == [6, 11]  # four steps apart, and not at the end of an epoch
    replay = RunReplay(this_run, digits)
    digest = weights_digest(replay.seek(13).network)
    assert sorted(replay.losses) == [12, 13]
    assert weights_digest(replay.seek(6).network) != digest
    assert sorted(replay.losses) == [12, 13]
    for file in this_run.folder.glob("checkpoint/*.safetensors"):
        file.unlink()
    alone = RunReplay(this_run, digits)  # from the first step
    assert weights_digest(alone.seek(13).network) == digest
    assert sorted(alone.losses) == [*range(1, 14)]
    assert alone.notes == []


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, None], ids=["empty", "zeros", "of another run"])
def test_a_damaged_state_is_named_and_another_is_taken(begin, train, digits, damage):
    this_run, other = begin(keep=2), begin("other", batch_size=25, keep=2)
    train(this_run)
    digest = weights_digest(RunReplay(this_run, digits).seek(12).network)
    train(other)
    for name in ("epoch-2.safetensors", "state.safetensors"):
        content = damage if damage is not None else (other.folder / "checkpoint" / name).read_bytes()
        (this_run.folder / "checkpoint" / name).write_bytes(content)
    before = files(this_run.folder)
    replay = RunReplay(this_run, digits)
    assert weights_digest(replay.seek(12).network) == digest
    assert weights_digest(replay.seek(15).network) == weights_digest(RunReplay(this_run, digits).seek(15).network)
    assert all("checkpoint" in note for note in replay.notes)
    assert len(replay.notes) == 2
    assert files(this_run.folder) == before


def test_a_state_between_the_last_step_of_an_epoch_and_its_end(begin, train, digits):
    """A run that is interrupted there leaves one; the replay ends the epoch, and a fork can begin with the next."""
    this_run = begin()
    trainer = experiment.prepare(this_run, digits, [InterruptAt(STEPS)])
    with pytest.raises(Interrupted):
        trainer.fit(3)
    progress = checkpoint.load(this_run.checkpoint_file)["progress"]
    assert (progress["epoch"], progress["step"]) == (0, STEPS)
    replay = RunReplay(this_run, digits)
    assert replay.last_step == STEPS
    assert (replay.seek(STEPS).epoch, replay.trainer.step_in_epoch, replay.losses) == (1, 0, {})
    assert weights_digest(replay.trainer.network) == weights_digest(trainer.network)


def test_a_state_that_claims_to_be_past_the_end_is_left_out(begin, train, digits):
    this_run = begin(keep=1)
    train(this_run)
    folder = this_run.folder / "checkpoint"
    (folder / "epoch-3.safetensors").rename(folder / "epoch-99999999999.safetensors")
    replay = RunReplay(this_run, digits)
    assert replay.last_step == 15
    (note,) = replay.notes
    assert note.endswith("is of step 499,999,999,995, and the run ends at step 15; it is left out")


def test_settings_that_changed_on_the_way(begin, train, digits):
    """A replay from the start passes the changes; the steps after them are those of the resumed run."""
    this_run = begin(epochs=2)
    train(this_run, 7)
    change_run(this_run, digits, {"epochs": 3}, keep=9)  # at the end of the first epoch, which was saved
    train(this_run, 8)
    change_run(run.Run(this_run.folder), digits, {"lr": 0.001, "batch_size": 25, "epochs": 4})
    last = train(this_run)
    changed = run.Run(this_run.folder)
    assert [(change["epoch"], change["step"]) for change in changed.changes] == [(1, 0), (2, 0)]
    shutil.rmtree(changed.folder / "checkpoint")
    replay = RunReplay(changed, digits)
    segments = [(segment.start, segment.epoch, segment.steps_per_epoch) for segment in replay.segments]
    assert segments == [(0, 0, 5), (5, 1, 5), (10, 2, 10)]
    assert replay.last_step == 30
    assert complete(replay.seek(30)) | {"generators": 0} == complete(last) | {"generators": 0}
    assert replay.segment_of(10).position(12) == (2, 2)
    assert replay.notes == []  # so the losses of all epochs are those of metrics.jsonl
    stopped = begin("stopped", epochs=2)
    assert weights_digest(replay.seek(4).network) == weights_digest(train(stopped, 4).network)


def test_another_machines_numbers_are_told(begin, train, digits):
    this_run = begin()
    train(this_run)
    shutil.rmtree(this_run.folder / "checkpoint")
    rows = [json.loads(line) for line in (this_run.folder / "metrics.jsonl").read_text().splitlines()]
    rows[1]["train_loss"] *= 1 + 1e-7
    (this_run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    replay = RunReplay(run.Run(this_run.folder), digits)
    replay.seek(15)
    (note,) = replay.notes
    assert note.startswith("the training loss of epoch 2 was ")
    assert "on a different processor" in note


def test_the_shipped_run_and_an_untrained_one_have_no_steps(begin):
    for this_run in (begin(), run.shipped()):  # without its data, which take minutes to draw
        with pytest.raises(RunError, match="has no history and no state of its training, so there is no step to go to"):
            RunReplay(this_run)


def test_a_canceled_replay_goes_on_from_where_it_was(begin, train, digits):
    this_run = begin()
    train(this_run)
    shutil.rmtree(this_run.folder / "checkpoint")
    replay = RunReplay(this_run, digits)
    calls = iter([False, False, True])
    with pytest.raises(CanceledError, match="the replay was canceled at step 3"):
        replay.seek(14, lambda: next(calls))
    assert replay.step == 3
    digest = weights_digest(replay.seek(14).network)
    assert digest == weights_digest(RunReplay(this_run, digits).seek(14).network)


def test_memory_has_a_limit(begin, train, digits, monkeypatch):
    monkeypatch.setattr("chainrule.training.replay._SECONDS_BETWEEN", 0.0)
    this_run = begin(epochs=2)
    train(this_run)
    state = 3 * 4 * (144 * 128 + 128 + 128 * 10 + 10)  # weights and two moments
    replay = RunReplay(this_run, digits, memory=4 * state + 1000)
    digests = [weights_digest(replay.seek(step).network) for step in range(11)]
    assert len(replay._states) == 4
    assert [weights_digest(replay.seek(step).network) for step in range(10, -1, -1)] == digests[::-1]


@pytest.mark.parametrize("step", [-1, 16, 2.0, True, None, "3"])
def test_steps_that_a_run_has_not(begin, train, digits, step):
    this_run = begin()
    train(this_run)
    with pytest.raises(RunError, match=r"a step must be an integer from 0 to 15, not"):
        RunReplay(this_run, digits).seek(step)


def test_what_is_measured_at_a_step(begin, train, digits):
    this_run = begin(model="sigmoid_mlp")
    train(this_run)
    replay = RunReplay(this_run, digits)
    state = complete(replay.seek(10))
    expected = {name: value for name, value in this_run.history[1].items() if name.startswith("validation")}
    assert replay.validate() == expected
    trainer = replay.trainer
    images, labels = digits.split().train
    inputs, hot = images[:50].reshape(50, -1) / 255, np.eye(10)[labels[:50]]
    weights = {name: p.numpy().astype(np.float64) for name, p in trainer.network.named_parameters()}

    def loss(**moved):
        a, names = inputs, list(weights)
        for weight, bias in zip(names[::2], names[1::2], strict=True):
            a = 1 / (1 + np.exp(-(a @ (weights | moved)[weight].T + (weights | moved)[bias])))
        return ((a - hot) ** 2).sum() / (2 * len(a))  # the quadratic cost of the book's network

    gradients, random = replay.gradients(), np.random.default_rng(0)
    assert list(gradients) == list(weights)
    for name, gradient in gradients.items():
        step = np.zeros(gradient.shape)
        step[tuple(random.integers(n) for n in gradient.shape)] = 1e-4
        numeric = (loss(**{name: weights[name] + step}) - loss(**{name: weights[name] - step})) / 2e-4
        assert gradient[step > 0] == pytest.approx(numeric, rel=1e-3, abs=1e-7), name
    assert complete(trainer) == state  # nothing was drawn, nothing moved


# States saved for replays


def test_least_needed():
    assert least_needed_step([10, 20, 25, 40]) == 20
    assert least_needed_step([40, 1, 20]) == 1
    steps = []
    for step in range(1, 200):
        steps.append(step)
        if len(steps) > 8:
            steps.remove(least_needed_step(steps))
    gaps = np.diff([0, *steps])
    assert steps[-1] == 199
    assert gaps.max() <= 3 * 200 / 8


def test_few_states_and_none_of_a_large_network(begin, train, monkeypatch):
    monkeypatch.setattr(replay_states, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(replay_states, "MAX_TIME_FRACTION", np.inf)
    monkeypatch.setattr(replay_states, "MIN_STEPS", 1)
    monkeypatch.setattr(replay_states, "MAX_STATES", 4)
    this_run = begin()
    train(this_run)
    assert len(this_run.replay_states) == 4
    assert max(this_run.replay_states) == 14
    monkeypatch.setattr(replay_states, "MAX_BYTES", 900_000)  # a state has 0.24 MB
    large = begin("large")
    train(large)
    assert large.replay_states == {}


def test_going_back_removes_the_later_ones(begin, train, digits, monkeypatch):
    monkeypatch.setattr(replay_states, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(replay_states, "MAX_TIME_FRACTION", np.inf)
    monkeypatch.setattr(replay_states, "MIN_STEPS", 3)
    this_run = begin(keep=3)
    train(this_run)
    assert sorted(this_run.replay_states) == [4, 7, 11, 14]
    change_run(this_run, digits, {"lr": 0.001}, epoch=2)
    assert sorted(this_run.replay_states) == [4, 7]


# Forks


@pytest.mark.parametrize(
    "settings",
    [{"lr": 0.003, "epochs": 4, "weight_decay": 0.1}, {"optimizer": "sgd", "epochs": 4}, {"augment": {"shift": 1.5}}],
    ids=["rate", "optimizer", "augment"],
)
def test_a_fork_is_the_run_resumed_from_that_checkpoint_with_those_settings(begin, train, digits, tmp_path, settings):
    source = begin(keep=9)
    train(source)
    before = files(source.folder)
    forked = fork(RunReplay(source, digits), 10, settings, tmp_path / "fork")
    assert files(source.folder) == before
    assert forked.config["fork"] == {"run": str(source.folder), "step": 10}
    copy = tmp_path / "copy"
    shutil.copytree(source.folder, copy)
    changed = change_run(run.Run(copy), digits, settings, epoch=2)
    keys = ("epoch", "step", "settings", "own_bits", "why")
    assert [{k: c[k] for k in keys} for c in forked.changes] == [{k: c[k] for k in keys} for c in changed.changes]
    train(changed)
    train(forked)
    assert outcome(forked.folder) == outcome(copy)
    assert forked.history[:2] == run.Run(source.folder).history[:2]


@pytest.mark.parametrize("step", [0, 3, 10, 13])
def test_a_fork_without_changes_is_the_run(begin, train, digits, tmp_path, step):
    source = begin(augment={"shift": 1.0}, epochs_without_augmentation=1)
    train(source)
    forked = fork(RunReplay(source, digits), step, {}, tmp_path / "fork")
    train(forked)
    assert outcome(forked.folder) == outcome(source.folder)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("lion", None), ("muon", 0.02)])
def test_a_fork_with_another_optimizer(begin, train, digits, tmp_path, optimizer, rate):
    """As if somebody had put another one into the trainer, on its way through the second epoch."""
    source = begin(schedule="constant")
    train(source)
    settings = {"optimizer": optimizer, **({} if rate is None else {"lr": rate})}
    forked = fork(RunReplay(source, digits), 8, settings, tmp_path / "fork")
    stopped = train(forked, 3)  # and it can be stopped and resumed, also
    assert stopped.global_step == 11
    trainer = train(forked)
    twin = experiment.prepare(begin("twin", schedule="constant"), digits, [KillAt(8)])
    with pytest.raises(Killed):
        twin.fit(3)
    twin.optimizer = make_optimizer(twin.network, Recipe(**forked.config["training"]))
    twin.fit(3)
    assert weights_digest(trainer.network) == weights_digest(twin.network)
    assert forked.config["training"]["lr"] == (rate or 0.001)


def test_a_fork_with_another_batch_size(begin, train, digits, tmp_path):
    source = begin(keep=9)
    train(source)
    copy = tmp_path / "copy"
    shutil.copytree(source.folder, copy)
    train(change_run(run.Run(copy), digits, {"batch_size": 25}, epoch=1))
    forked = fork(RunReplay(source, digits), 5, {"batch_size": 25}, tmp_path / "fork")
    train(forked)
    assert outcome(forked.folder) == outcome(copy)
    again = RunReplay(run.Run(forked.folder), digits)  # a fork is a run like any other
    assert again.last_step == 25
    assert weights_digest(again.seek(3).network) == weights_digest(RunReplay(source, digits).seek(3).network)
    second = fork(again, 20, {"lr": 0.5}, tmp_path / "second")
    assert [(change["epoch"], change["step"]) for change in second.changes] == [(1, 0), (2, 5)]
    assert train(second).epoch == 3


@pytest.mark.parametrize(
    ("step", "settings", "message"),
    [
        (7, {"batch_size": 25}, "the batch size can only be changed between epochs, and epoch 2 is at step 2 with"),
        (7, {"epochs": 1}, "1 epochs are too few: 1 are complete, and epoch 2 is at step 2"),
        (15, {"lr": 0.1}, "step 15 ends the last of 3 epochs: give more epochs, or an earlier step"),
        (16, {}, "a step must be an integer from 0 to 15, not 16"),
        (5, {"lr": 0.0}, "the learning rate must be a number above 0, not 0.0"),
        (5, {"lr": "fast"}, "the fork's settings: lr must be of type float, not str"),
        (5, {"lr": float("nan")}, "the learning rate must be a number above 0, not nan"),
        (5, {"optimizer": "newton"}, "unknown optimizer 'newton'"),
        (5, {"optimizer": "adam", "momentum": 0.9}, "momentum is a setting of sgd, rmsprop, muon, and this run's"),
        (5, {"momentum": 0.9}, "momentum is a setting of sgd, rmsprop, muon, and this run's optimizer is adamw"),
        (5, {"augment": {"shift": "far"}}, "invalid augmentation {'shift': 'far'}"),
        (5, {"steps_per_epoch": 3}, "steps_per_epoch cannot be changed"),
        (5, {"shards": 2}, "shards cannot be changed in a fork"),
        (5, {"seed": 3}, "the fork's settings: has unknown seed"),
        (5, {"epochs_without_augmentation": 1}, "epochs_without_augmentation has no effect"),
    ],
    ids=str,
)
def test_forks_that_cannot_be(begin, train, digits, tmp_path, step, settings, message):
    source = begin()
    train(source)
    with pytest.raises(RunError) as caught:
        fork(RunReplay(source, digits), step, settings, tmp_path / "fork")
    assert message in str(caught.value)
    assert not (tmp_path / "fork").exists()


def test_a_fork_never_writes_over_anything(begin, train, digits, tmp_path, monkeypatch):
    source = begin()
    train(source)
    (tmp_path / "fork").mkdir()
    (tmp_path / "fork" / "model.safetensors").write_text("mine")
    with monkeypatch.context() as patched:
        patched.delattr(RunReplay, "seek")  # minutes for a long run: it is refused before
        with pytest.raises(RunError, match="is not empty; choose another folder for the run"):
            fork(RunReplay(source, digits), 5, {"lr": 0.1}, tmp_path / "fork")
    assert files(tmp_path / "fork") == {tmp_path / "fork" / "model.safetensors": b"mine"}
    (source.folder / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match=r"metrics.jsonl: lacks finite records of the first 2 epochs"):
        fork(RunReplay(run.Run(source.folder), digits), 10, {"lr": 0.1})


def test_a_fork_that_cannot_be_written_leaves_nothing(begin, train, digits, tmp_path, monkeypatch):
    source = begin()
    train(source)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    replay = RunReplay(source, digits)
    monkeypatch.setattr("chainrule.training.fork.checkpoint.save", full)
    with pytest.raises(RunError, match="cannot create the run's folder"):
        fork(replay, 12, {}, tmp_path / "fork")
    assert not (tmp_path / "fork").exists()


def test_an_epoch_that_is_none_is_refused(begin, train, digits):
    source = begin()
    train(source)
    replay = RunReplay(source, digits)
    assert replay.step_of_epoch(0) == 0
    for epoch in (-1, True, 1.0, "1", None):
        with pytest.raises(RunError, match="an epoch must be an integer of at least 0, not "):
            replay.step_of_epoch(epoch)
