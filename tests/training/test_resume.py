"""Nothing that a checkpoint says is believed: whatever does not fit is told before training, not found out within it."""

from __future__ import annotations

import copy
import json
import math
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from chainrule import safetensors_io
from chainrule.data import ImageData
from chainrule.errors import DataError, RunError, UserError
from chainrule.training import checkpoint, experiment, run
from chainrule.training.changes import change_run
from chainrule.training.resume import VersionWarning, resume


@pytest.fixture
def begin(digits, tmp_path):
    """Makes a run and trains it to the middle of its second epoch of two."""

    def begin(model="mlp", steps=3, name="run", **changes):
        config = experiment.configure(model, digits, **{"epochs": 2, "batch_size": 100, **changes})
        this_run = run.create(config, tmp_path / name)
        trainer = experiment.prepare(this_run, digits)
        trainer.fit(1)
        for inputs, targets in list(trainer._current_pass())[: steps - 3]:
            trainer._take_step(inputs, targets)
            trainer.step_in_epoch += 1
        checkpoint.save(trainer.state_dict(), this_run.checkpoint_file)
        return this_run

    return begin


SMALL = {"hidden": 8}


def leaves(value, path=()):
    """The ways to all numbers, texts, nulls and arrays in a state, and to all lists and dicts around them."""
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from leaves(part, (*path, i))


def at(state, path):
    for key in path:
        state = state[key]
    return state


def replaced(state, path, value):
    state = copy.deepcopy(state)
    if not path:
        return value
    at(state, path[:-1])[path[-1]] = value
    return state


def others(value):
    """What may stand in the place of something."""
    yield from (None, "text", True, [], {}, [1], {"a": 1}, -1, 10**400, math.nan)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (value + 1, value * 2 + 1, -value - 1, float(value) if isinstance(value, int) else 0)
    if isinstance(value, str):
        yield from ("MT19937", "")
    if isinstance(value, np.ndarray):
        bad = value.astype("f8")
        bad.flat[0] = math.nan
        yield from (value[:1], value.astype("i4"), value.reshape(-1), bad, -np.abs(value) - 1)


def finishes(this_run, digits):
    """Whether a run is refused before it trains, or trains to its end."""
    this_run = run.Run(this_run.folder)
    trainer = experiment.prepare(this_run, digits)
    try:
        resume(this_run, trainer)
    except UserError as error:
        return "refused" if "\n" not in str(error) else f"refused in several lines: {error}"
    trainer.fit(2)
    assert len(this_run.history) == 2
    assert all(math.isfinite(value) for row in this_run.history for value in row.values())
    return "trained"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes", "steps", "parts"),
    [
        ("mlp", {"options": SMALL}, 4, None),  # all of it
        ("mlp", {"options": SMALL, "optimizer": "sgd", "schedule": "cosine"}, 3, ["optimizer", "scheduler"]),
        ("sigmoid_mlp", {}, 5, ["optimizer", "scheduler", "callbacks"]),
        ("best", {"augment": {"shift": 1.0}}, 4, ["generators", "loader"]),
    ],
    ids=str,
)
def test_whatever_stands_in_a_checkpoint_it_is_refused_or_trained_with(begin, digits, model, changes, steps, parts):
    """Each number, text and array, replaced by each kind of thing. Its checksum is right, as if somebody meant it."""
    this_run = begin(model, steps, **changes)
    state = checkpoint.load(this_run.checkpoint_file)
    outcomes = {"refused": 0, "trained": 0}
    for path in list(leaves(state)):
        if path[:2] == ("optimizer", "state") and path[2:3] not in [(), ("0",), ("1",)]:
            continue  # all parameters are alike
        if (parts and path[:1] and path[0] not in parts) or path == ("progress", "stop"):
            continue
        if path[:1] == ("network",) and path[1:] not in [(), *((name,) for name in list(state["network"])[:2])]:
            continue
        for value in others(at(state, path)):
            try:
                checkpoint.save(replaced(state, path, value), this_run.checkpoint_file)
            except (TypeError, ValueError):
                continue
            try:
                outcomes[finishes(this_run, digits)] += 1
            except BaseException as error:
                if isinstance(error, UserError) and path[0] == "network":
                    continue  # weights that are not numbers are told of by the first step
                raise AssertionError(f"{'.'.join(map(str, path))} = {value!r}: {error!r}") from error
    assert outcomes["refused"] > 5 * outcomes["trained"] > 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("progress", "total"), math.nan, "its running totals do not fit 1 steps: 100 examples, a total loss of nan"),
        (("progress", "seen"), 99, "its running totals do not fit 1 steps: 99 examples"),
        (("progress", "seconds"), -1.0, ", -1.0 seconds"),
        (("progress", "epoch"), 3, "it is at step 1 of 3 after 3 of 2 epochs"),
        (("progress", "step"), 4, "it is at step 4 of 3 after 1 of 2 epochs"),
        (("progress", "step"), 2, "its running totals do not fit 2 steps: 100 examples"),
        (("progress", "stop"), 1, "progress.stop must be of type bool, not int"),
        (("progress", "history", 0, "train_loss"), "low", "train_loss must be of type float, not str"),
        (("progress", "history", 0, "epoch"), 2, "epoch 1 and step 1 of the state do not fit its history"),
        (("scheduler", "last_epoch"), 5, "scheduler.last_epoch is 5, not 4"),
        (("scheduler", "total_steps"), 70, "scheduler.total_steps is 70, not 7"),
        (("scheduler", "rates", 0, 1), 0.5, "scheduler.rates[0][1] is 0.5, not 0.02"),
        (("scheduler", "anneal_strategy"), "linear", "scheduler.anneal_strategy is 'linear', not 'cos'"),
        (("scheduler", "new"), 1, "scheduler has unknown new"),
        (("optimizer", "param_groups", 0, "lr"), 0.9, "optimizer.param_groups[0].lr is 0.9, not 0.0"),
        (("optimizer", "param_groups", 0, "betas", 1), 1.5, "optimizer.param_groups[0].betas[1] is 1.5, not 0.999"),
        (("optimizer", "state", "0", "step"), 9, "the optimizer's step of parameter 0 is not possible after 4 steps"),
        (("optimizer", "state", "0", "step"), 4.0, "the optimizer's step of parameter 0 is not possible after 4 steps"),
        (("optimizer", "state", "1"), {}, "the optimizer's state of parameter 1 lacks exp_avg"),
        (("callbacks", 0, "best"), "high", "BestModel: the best value cannot be 'high'"),
        (
            ("callbacks", 0, "best"),
            0.123,
            "the best epoch is recorded as {'best': 0.123, 'epoch': 1}, but is {'best': ",
        ),
        (("generators",), [{}], "the state has 1 generators, but the trainer has 0"),
        (("loader", "current", "state", "state"), -1, "int"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_named(begin, digits, path, value, message):
    this_run = begin(steps=4)
    state = checkpoint.load(this_run.checkpoint_file)
    checkpoint.save(replaced(state, path, value), this_run.checkpoint_file)
    with pytest.raises(RunError) as caught:
        resume(this_run, experiment.prepare(this_run, digits))
    assert str(caught.value).startswith(f"{this_run.checkpoint_file}: does not fit {this_run.config_file}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_memory_that_would_spoil_the_next_step_is_named(begin, digits, name, value):
    this_run = begin()
    state = checkpoint.load(this_run.checkpoint_file)
    state["optimizer"]["state"]["2"][name].flat[5] = value
    checkpoint.save(state, this_run.checkpoint_file)
    trainer = experiment.prepare(this_run, digits)
    if (name, value) == ("exp_avg", -1.0):
        resume(this_run, trainer)  # a mean may be negative
    else:
        with pytest.raises(RunError, match=f"the optimizer's {name} of parameter 2 is not possible after 3 steps"):
            resume(this_run, trainer)


def test_the_last_bits_of_a_rate_may_be_another_machines(begin, digits):
    this_run = begin(schedule="cosine")
    state = checkpoint.load(this_run.checkpoint_file)
    group = state["optimizer"]["param_groups"][0]
    group["lr"] = np.nextafter(group["lr"], 1).item()
    checkpoint.save(state, this_run.checkpoint_file)
    trainer = experiment.prepare(this_run, digits)
    resume(this_run, trainer)
    assert trainer.optimizer.param_groups[0]["lr"] == group["lr"]


def as_before(this_run):
    """Make a run's files what earlier versions wrote: no checksum, fewer settings, no present state of the generator."""
    state = checkpoint.load(this_run.checkpoint_file)
    state["loader"].pop("current", None)
    (settings,) = (saved for saved in state["callbacks"] if "batch_size" in saved)
    config = json.loads(this_run.config_file.read_text())
    for later in ("augment", "epochs_without_augmentation", "eager", "steps_per_epoch"):
        del settings[later], config["training"][later]
    del config["data"]["test_crc32"], config["versions"]["llvmlite"]
    this_run.config_file.write_text(json.dumps(config))
    checkpoint.save(state, this_run.checkpoint_file)
    for file in (this_run.checkpoint_file, this_run.weights_file):
        arrays, note = safetensors_io.load_with_note(file)
        save_file(arrays, file, None if note is None else {"note": note})


@pytest.mark.filterwarnings("ignore::chainrule.safetensors_io.ChecksumWarning")
@pytest.mark.parametrize("steps", [3, 4, 6])
def test_a_run_of_earlier_versions_is_resumed_to_the_same_bits(begin, digits, steps):
    outcomes = []
    for name in ("before", "now"):
        this_run = begin(steps=steps, name=name)
        if name == "before":
            as_before(this_run)
        this_run = run.Run(this_run.folder)
        trainer = experiment.prepare(this_run, digits)
        resume(this_run, trainer)
        trainer.fit(2)
        best = {
            key: tensor.numpy().tobytes()
            for key, tensor in safetensors_io.load(this_run.weights_file, from_chainrule=True).items()
        }
        outcomes.append((best, [row["train_loss"] for row in this_run.history]))
    assert outcomes[0] == outcomes[1]


@pytest.mark.filterwarnings("ignore::chainrule.safetensors_io.ChecksumWarning")
def test_a_run_of_earlier_versions_may_be_changed(begin, digits):
    this_run = begin(model="sigmoid_mlp")
    as_before(this_run)
    changed = change_run(run.Run(this_run.folder), digits, {"epochs": 3, "lr": 1.0})
    trainer = experiment.prepare(changed, digits)
    resume(changed, trainer)
    assert len(trainer.fit(3)) == 3
    assert trainer.optimizer.param_groups[0]["lr"] == 1.0


@pytest.mark.parametrize("best", [3, [], {"1.weight": "text"}, {"1.weight": [1, None]}], ids=str)
def test_best_weights_of_an_earlier_state_that_are_none(begin, digits, best):
    this_run = begin()
    state = checkpoint.load(this_run.checkpoint_file)
    checkpoint.save({**state, "best": best}, this_run.checkpoint_file)
    with pytest.raises(RunError, match=f"{this_run.checkpoint_file}: .*best"):
        resume(this_run, experiment.prepare(this_run, digits))


# What else the same bits depend on


def test_a_changed_test_set_is_noticed(begin, digits):
    this_run = begin()
    train, labels = digits.train_images, digits.train_labels
    images = digits.test_images.copy()
    images[3, 4, 5] ^= 1
    for changed in (
        (images, digits.test_labels),
        (digits.test_images, (digits.test_labels + 1) % 10),
        (digits.test_images[:-1], digits.test_labels[:-1]),
    ):
        other = ImageData("toy", digits.classes, train, labels, *changed)
        with pytest.raises(DataError, match=f"toy: the test images have changed since {this_run.folder} was started"):
            experiment.prepare(this_run, other)
    config = {**this_run.config, "data": {**this_run.config["data"]}}
    del config["data"]["test_crc32"]  # as in configs of before
    this_run.config_file.write_text(json.dumps(config))
    experiment.prepare(run.Run(this_run.folder), other)


@pytest.mark.parametrize("name", ["numpy", "chainrule", "python", "llvmlite"])
def test_other_versions_are_told_of(begin, digits, name):
    this_run = begin()
    now = this_run.config["versions"][name]
    this_run.config_file.write_text(
        json.dumps({**this_run.config, "versions": {**this_run.config["versions"], name: "1.2.3"}})
    )
    this_run = run.Run(this_run.folder)
    with pytest.warns(VersionWarning) as caught:
        resume(this_run, experiment.prepare(this_run, digits))
    assert [str(warning.message) for warning in caught] == [
        f"{this_run.folder} was started with {name} 1.2.3 (now {now}): its result may differ slightly"
    ]


def test_a_finished_run_depends_on_no_version_any_more(begin, digits):
    this_run = begin()
    trainer = experiment.prepare(this_run, digits)
    resume(this_run, trainer)
    trainer.fit(2)
    this_run.config_file.write_text(json.dumps({**this_run.config, "versions": {"numpy": "1.2.3"}}))
    resume(run.Run(this_run.folder), experiment.prepare(this_run, digits))


@pytest.mark.parametrize("versions", [{}, {"numpy": None}, {"numpy": 3}, {"numpy": {}, "other": "x"}], ids=str)
def test_versions_that_are_none_are_told_of_or_not_known(begin, digits, versions):
    this_run = begin()
    this_run.config_file.write_text(json.dumps({**this_run.config, "versions": versions}))
    this_run = run.Run(this_run.folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resume(this_run, experiment.prepare(this_run, digits))
    assert [warning.category for warning in caught] == [VersionWarning] * ("numpy" in versions)
