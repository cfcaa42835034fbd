"""From a config to a trainer and a result: the config alone decides, and what makes no sense is told."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from chainrule import models, optim, safetensors_io
from chainrule.data import ImageData
from chainrule.errors import DataError, RunError
from chainrule.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from chainrule.training import Callback, checkpoint, evaluate, experiment, run
from chainrule.training.resume import resume

from .killing import KillAt, Killed


@pytest.fixture
def begin(digits, tmp_path):
    """Makes a run and its trainer."""

    def begin(name="run", model="mlp", data=digits, callbacks=(), **changes):
        this_run = run.create(experiment.configure(model, data, **{"epochs": 2, **changes}), tmp_path / name)
        return this_run, experiment.prepare(this_run, data, callbacks)

    return begin


def rewrite(this_run, **training):
    """Change a run's config by hand."""
    config = {**this_run.config, "training": {**this_run.config["training"], **training}}
    (this_run.folder / "config.json").write_text(json.dumps(config))
    return run.Run(this_run.folder)


# configure


def test_a_config_says_everything(digits):
    config = experiment.configure("mlp", digits, seed=7, limit=100, epochs=3, lr=0.5)
    recipe = models.get("mlp").recipe
    assert config["model"] == {"name": "mlp", "options": {"inputs": 144, "classes": 10}}
    assert config["training"] == {**dataclasses.asdict(recipe), "epochs": 3, "lr": 0.5}
    assert (config["seed"], config["data"]["limit"], config["data"]["name"]) == (7, 100, "toy")
    assert (config["data"]["image_shape"], config["data"]["classes"]) == ([12, 12], list("0123456789"))
    assert config["versions"].keys() == {"chainrule", "numpy", "python", "llvmlite"}
    assert json.loads(json.dumps(config)) == config


def test_changes_that_are_none_change_nothing(digits):
    config = experiment.configure("sigmoid_mlp", digits, epochs=None, lr=None, optimizer=None, batch_size=None)
    assert config["training"] == dataclasses.asdict(models.get("sigmoid_mlp").recipe)


@pytest.mark.parametrize(
    ("model", "optimizer", "expected"),
    [
        ("sigmoid_mlp", "sgd", {"lr": 3.0, "momentum": 0.0, "weight_decay": 0.0}),
        ("sigmoid_mlp", "adam", {"lr": 0.002, "momentum": 0.0, "weight_decay": 0.0}),
        ("sigmoid_mlp", "adamw", {"lr": 0.002, "momentum": 0.0, "weight_decay": 0.01}),
        ("mlp", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}),
    ],
)
def test_another_optimizer_has_its_own_settings(digits, model, optimizer, expected):
    training = experiment.configure(model, digits, optimizer=optimizer)["training"]
    assert {key: training[key] for key in expected} == expected
    assert experiment.configure(model, digits, optimizer=optimizer, lr=0.7)["training"]["lr"] == 0.7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "the number of epochs must be at least 1, not 0"),
        ({"epochs": -3}, "the number of epochs must be at least 1, not -3"),
        ({"batch_size": 0}, "the batch size must be at least 1, not 0"),
        ({"limit": 0}, "the limit must be at least 1, not 0"),
        ({"limit": 251}, "the limit is 251, but toy has 250 training images"),
        ({"lr": 0.0}, "the learning rate must be a number above 0, not 0.0"),
        ({"lr": -1.0}, "the learning rate must be a number above 0, not -1.0"),
        ({"lr": math.nan}, "the learning rate must be a number above 0, not nan"),
        ({"lr": math.inf}, "the learning rate must be a number above 0, not inf"),
        ({"momentum": -0.1}, "momentum and the weight decay must be finite and at least 0"),
        ({"weight_decay": math.nan}, "momentum and the weight decay must be finite and at least 0"),
        ({"seed": -1}, "the seed must be at least 0, not -1"),
        ({"optimizer": "newton"}, "unknown optimizer 'newton'; choose from sgd, adam, adamw"),
        ({"schedule": "steps"}, "unknown schedule 'steps'; choose from constant, cosine, one-cycle"),
        (
            {"augment": {"shift": -1}},
            "invalid augmentation .*: Augment: shift must be a number of at least 0",
        ),
        ({"augment": {"shift": "2"}}, "invalid augmentation .*: "),
        ({"epochs_without_augmentation": -1}, "epochs_without_augmentation must be at least 0, not -1"),
        ({"keep": -1}, "the number of states to keep must be at least 0, not -1"),
        ({"augment": {"zoom": 2}}, "invalid augmentation .*: .*zoom"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told(digits, changes, message):
    with pytest.raises(RunError, match=message):
        experiment.configure("mlp", digits, **changes)


def test_an_unknown_model_is_told(digits):
    with pytest.raises(RunError, match="unknown model 'resnet'; choose from mlp, sigmoid_mlp"):
        experiment.configure("resnet", digits)


def test_a_model_of_text_is_refused_for_images(digits):
    with pytest.raises(
        RunError, match=rf"^model 'gpt' does not read images, and {digits.name} is a set of images; .*mlp"
    ):
        experiment.configure("gpt", digits)


def test_too_few_images_to_set_some_aside_are_told(make_digits):
    with pytest.raises(RunError, match="toy has too few training images, 5: at least 6 are needed"):
        experiment.configure("mlp", make_digits(train=5))
    assert experiment.configure("mlp", make_digits(train=6))


def test_a_data_set_without_test_images_is_refused_before_the_training(make_digits):
    with pytest.raises(RunError, match="^toy has no test images: at least 1 is needed$"):
        experiment.configure("mlp", make_digits(test=0))
    assert experiment.configure("mlp", make_digits(test=1))


@pytest.mark.parametrize(
    ("height", "width", "message"), [(9, 16, "does not take images of 9×16"), (3, 3, "takes square images")]
)
def test_images_that_a_model_does_not_take_are_told(make_digits, height, width, message):
    square = make_digits(train=12, test=2)
    images = np.zeros((14, height, width), np.uint8)
    data = ImageData("toy", square.classes, images[:12], square.train_labels, images[12:], square.test_labels)
    assert experiment.configure("mlp", data)
    with pytest.raises(RunError, match=f"model 'cnn' {message}"):
        experiment.configure("cnn", data)


@pytest.mark.parametrize("error", [ZeroDivisionError, IndexError, MemoryError, TypeError, ValueError])
def test_however_a_model_refuses_images_it_is_one_sentence(digits, monkeypatch, error):
    def refuse(images):
        raise error("too small")

    monkeypatch.setattr(models, "images_to_inputs", refuse)
    with pytest.raises(RunError, match=r"^model 'mlp' does not take images of \d+×\d+: too small$"):
        experiment.configure("mlp", digits)


# prepare


def test_the_limit_takes_the_first_images(begin, digits):
    _, trainer = begin(limit=7)
    images, labels = trainer.loader.dataset[:]
    np.testing.assert_allclose(images.numpy(), digits.train_images[:7] / 255, rtol=1e-6)
    assert labels.tolist() == digits.train_labels[:7].tolist()


def test_validation_images_are_never_learned_from(begin, digits):
    _, trainer = begin()
    assert len(trainer.loader.dataset) == 250
    calls = trainer.validate()
    assert set(calls) == {"validation_loss", "validation_accuracy"}
    assert 0 <= calls["validation_accuracy"] <= 1


@pytest.mark.parametrize(
    ("changes", "optimizer", "schedule"),
    [
        ({}, optim.AdamW, OneCycleLR),
        ({"optimizer": "adam"}, optim.Adam, OneCycleLR),
        ({"optimizer": "sgd"}, optim.SGD, OneCycleLR),
        ({"optimizer": "sgd", "momentum": 0.0}, optim.SGD, OneCycleLR),
        ({"schedule": "cosine"}, optim.AdamW, CosineAnnealingLR),
        ({"schedule": "constant"}, optim.AdamW, type(None)),
    ],
    ids=str,
)
def test_the_recipe_decides_optimizer_and_schedule(begin, changes, optimizer, schedule):
    this_run, trainer = begin(**changes, batch_size=100)
    assert type(trainer.optimizer) is optimizer
    assert type(trainer.scheduler) is schedule
    trainer.fit(2)  # as many steps as the schedule has
    if schedule is OneCycleLR:
        assert trainer.history[-1]["learning_rate"] < 1e-3 * this_run.config["training"]["lr"]


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_a_training_of_a_single_step(begin, schedule):
    _, trainer = begin(epochs=1, batch_size=10_000, schedule=schedule)
    assert len(trainer.fit(1)) == 1


def train(this_run, trainer, data):
    trainer.fit(this_run.config["training"]["epochs"])
    experiment.finish(this_run, data, 1.5)
    return {
        "weights": (this_run.folder / "model.safetensors").read_bytes(),
        "result": (this_run.folder / "result.json").read_bytes(),
        "losses": [record["train_loss"] for record in this_run.history],
    }


@pytest.mark.parametrize("model", ["mlp", "sigmoid_mlp"])
def test_the_same_config_gives_the_same_bits_and_another_seed_others(begin, digits, model):
    first, second, third = (
        train(*begin(name, model=model, epochs=2, seed=seed), digits) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == second
    assert first["weights"] != third["weights"]
    assert first["losses"] != third["losses"]


def test_it_learns(begin, digits):
    for model, changes in (("mlp", {}), ("sigmoid_mlp", {"epochs": 8})):
        this_run, trainer = begin(model, model=model, **changes)
        trainer.fit(this_run.config["training"]["epochs"])
        result = experiment.finish(this_run, digits, 1.5)
        evaluation = evaluate(this_run.load_network(), this_run.model, digits.test_images, digits.test_labels)
        assert result["test_accuracy"] == evaluation.accuracy > 0.9
        assert (
            this_run.result
            == result
            == {"test_accuracy": evaluation.accuracy, "test_loss": evaluation.loss, "seconds": 1.5}
        )
        assert [record["epoch"] for record in this_run.history] == list(range(1, len(trainer.history) + 1))


def test_the_result_is_of_the_best_weights_not_the_last(begin, digits):
    this_run, trainer = begin()
    trainer.fit(2)
    spoiled = {name: np.zeros(p.shape, np.float32) for name, p in this_run.load_network().named_parameters()}
    safetensors_io.save(spoiled, this_run.weights_file)
    result = experiment.finish(this_run, digits, 1.0)
    assert result["test_loss"] == pytest.approx(math.log(10), rel=1e-5)


def test_a_network_that_gives_no_numbers_has_no_result(begin, digits):
    this_run, trainer = begin()
    trainer.fit(2)
    state = {name: np.full(p.shape, 1e38, np.float32) for name, p in this_run.load_network().named_parameters()}
    safetensors_io.save(state, this_run.weights_file)  # finite, but what comes of them is not
    message = f"{this_run.weights_file}: the network outputs NaN for 60 of 60 images: its weights are too large"
    with pytest.raises(RunError, match=message):
        experiment.finish(this_run, digits, 1.0)
    assert this_run.result is None


def test_changed_images_are_noticed(begin, digits):
    this_run, _ = begin()
    images, labels = digits.train_images.copy(), digits.train_labels.copy()
    images[17, 3, 4] ^= 1
    labels[5] = (labels[5] + 1) % 10
    parts = {"train_images": digits.train_images, "train_labels": digits.train_labels}
    for changed in (
        {"train_images": images},
        {"train_labels": labels},
        {"train_images": digits.train_images[:-1], "train_labels": digits.train_labels[:-1]},
    ):
        other = ImageData(
            "toy",
            digits.classes,
            **{**parts, **changed},
            test_images=digits.test_images,
            test_labels=digits.test_labels,
        )
        with pytest.raises(DataError, match=f"toy: the images have changed since {this_run.folder} was started"):
            experiment.prepare(this_run, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "newton"}, "unknown optimizer 'newton'"),
        ({"schedule": "chainrule.schedule"}, "unknown schedule 'chainrule.schedule'"),
        ({"batch_size": -5}, "the batch size must be at least 1, not -5"),
        ({"epochs": 0}, "the number of epochs must be at least 1"),
        ({"lr": -1}, "the learning rate must be a number above 0"),
    ],
    ids=str,
)
def test_a_config_changed_by_hand_is_checked_too(begin, digits, change, message):
    this_run, _ = begin()
    with pytest.raises(RunError, match=f"{this_run.folder / 'config.json'}: {message}"):
        experiment.prepare(rewrite(this_run, **change), digits)


def test_the_number_to_keep_changed_by_hand_is_checked_too(begin, digits):
    this_run, _ = begin()
    this_run.config_file.write_text(json.dumps({**this_run.config, "keep": -1}))
    with pytest.raises(RunError, match="config.json: the number of states to keep must be at least 0, not -1"):
        experiment.prepare(run.Run(this_run.folder), digits)


# resume


BENT = {"shift": 1.5, "rotation": 8.0, "elastic": 0.5}


@pytest.fixture(scope="module")
def whole_runs():
    return {}


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("mlp", {}),
        ("sigmoid_mlp", {}),
        ("mlp", {"augment": BENT}),
        ("mlp", {"augment": BENT, "epochs_without_augmentation": 1}),
        ("best", {}),
    ],
    ids=str,
)
def test_a_run_goes_on_after_a_kill_with_the_same_bits(begin, digits, whole_runs, model, changes, step):
    options = {"model": model, "epochs": 2, "batch_size": 100, "seed": 4, **changes}  # three steps an epoch
    whole = model, str(changes)
    if whole not in whole_runs:
        whole_runs[whole] = train(*begin("whole", **options), digits)
    this_run, trainer = begin(callbacks=[KillAt(step)], **options)
    next(c for c in trainer.callbacks if hasattr(c, "seconds")).seconds = 0.0
    with pytest.raises(Killed):
        trainer.fit(2)
    again = run.Run(this_run.folder)
    resumed = experiment.prepare(again, digits)
    resume(again, resumed)
    assert resumed.epoch * 3 + resumed.step == step - 1  # it was killed before this step was saved
    assert train(again, resumed, digits) == whole_runs[whole]


def test_the_recipe_decides_what_augmentation_makes_of_the_images(begin, digits):
    """Images are changed where the recipe says so, anew each pass, and never those of the validation."""
    _, plain = begin("plain")
    _, bent = begin("bent", augment=BENT)
    assert plain.loader.augment is None
    shown = [next(iter(bent.loader)) for _ in range(2)]
    by_label = {tuple(labels.tolist()): images.numpy() for images, labels in shown}
    assert len(by_label) == 2
    still = digits.train_images[:250] / 255
    for images in by_label.values():
        assert images.shape == (250, 12, 12)
        assert images.dtype == np.float32
        assert images.mean() == pytest.approx(still.mean(), rel=0.2)
    assert plain.validate() == bent.validate()


@pytest.mark.parametrize(("plain", "shown"), [(0, [False, False, False]), (1, [False, False, True]), (9, [True] * 3)])
def test_the_last_epochs_are_plain_where_the_recipe_says_so(begin, digits, plain, shown):
    class Look(Callback):
        def on_loss(self, trainer, inputs, loss):
            pictures.append((inputs.numpy() * 255).round().astype(np.uint8))

    pictures = []
    this_run, trainer = begin(
        epochs=3, batch_size=250, augment=BENT, epochs_without_augmentation=plain, callbacks=[Look()]
    )
    train(this_run, trainer, digits)
    still = sorted(picture.tobytes() for picture in digits.train_images[:250])
    assert [sorted(picture.tobytes() for picture in batch) == still for batch in pictures] == shown


def test_a_run_with_augmentation_says_so_and_others_differ(begin, digits):
    this_run, trainer = begin("bent", augment=BENT)
    assert this_run.config["training"]["augment"] == BENT
    bent, plain = train(this_run, trainer, digits), train(*begin("plain"), digits)
    assert bent["losses"] != plain["losses"]


def test_a_run_stopped_before_its_first_step_begins_at_the_beginning(begin, digits):
    this_run, _ = begin("never started")
    resumed = experiment.prepare(this_run, digits)
    resume(this_run, resumed)
    assert (resumed.epoch, resumed.step) == (0, 0)
    assert train(this_run, resumed, digits) == train(*begin("other"), digits)


def test_a_checkpoint_that_went_missing_is_named(begin, digits):
    this_run, trainer = begin()
    trainer.fit(1)
    this_run.checkpoint_file.unlink()
    with pytest.raises(RunError, match=f"{this_run.checkpoint_file}: no such file"):
        resume(this_run, trainer)


@pytest.mark.parametrize("length", [0, 7, 500, -1])
def test_a_truncated_checkpoint_is_named(begin, length):
    this_run, trainer = begin()
    trainer.fit(1)
    this_run.checkpoint_file.write_bytes(this_run.checkpoint_file.read_bytes()[:length])
    with pytest.raises(RunError, match=f"{this_run.checkpoint_file}: is not a complete safetensors file"):
        resume(this_run, trainer)


def drop(state, *path):
    for key in path[:-1]:
        state = state[key]
    del state[path[-1]]


SPOILED = {
    "no network": lambda s: drop(s, "network"),
    "a missing weight": lambda s: drop(s, "network", "1.weight"),
    "a misshapen weight": lambda s: s["network"].update({"1.bias": np.zeros(3)}),
    "a number for a weight": lambda s: s["network"].update({"1.bias": 3}),
    "no optimizer": lambda s: drop(s, "optimizer"),
    "a misshapen mean": lambda s: s["optimizer"]["state"]["0"].update({"exp_avg": np.zeros(3)}),
    "no groups": lambda s: s["optimizer"].update({"param_groups": []}),
    "no schedule": lambda s: s.update({"scheduler": None}),
    "a list for a schedule": lambda s: s.update({"scheduler": []}),
    "no position": lambda s: drop(s, "loader", "position"),
    "a position past the end": lambda s: s["loader"].update({"position": 99}),
    "a text for a generator": lambda s: s["loader"].update({"generator": "PCG64"}),
    "another generator": lambda s: s["loader"]["generator"].update({"bit_generator": "MT19937"}),
    "too many generators": lambda s: s["generators"].append({}),
    "no callbacks": lambda s: s.update({"callbacks": []}),
    "no progress": lambda s: drop(s, "progress"),
    "no history": lambda s: drop(s, "progress", "history"),
    "an epoch without a record": lambda s: s["progress"].update({"epoch": 2}),
    "a text for an epoch": lambda s: s["progress"].update({"epoch": "1"}),
    "records of nothing": lambda s: s["progress"].update({"history": [{}]}),
    "a number for a record": lambda s: s["progress"].update({"history": [1]}),
    "a step below 0": lambda s: s["progress"].update({"step": -1}),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_checkpoint_that_does_not_fit_is_named(begin, digits, name):
    this_run, trainer = begin()
    trainer.fit(1)
    state = checkpoint.load(this_run.checkpoint_file)
    SPOILED[name](state)
    checkpoint.save(state, this_run.checkpoint_file)
    message = f"{this_run.checkpoint_file}: does not fit {this_run.folder / 'config.json'}: "
    with pytest.raises(RunError, match=message):
        resume(this_run, experiment.prepare(this_run, digits))


@pytest.mark.parametrize("content", [[], 3, None, "text"], ids=str)
def test_a_checkpoint_of_something_else_is_named(begin, digits, content):
    this_run, trainer = begin()
    this_run.checkpoint_file.parent.mkdir()
    checkpoint.save(content, this_run.checkpoint_file)
    with pytest.raises(RunError, match="does not fit"):
        resume(this_run, trainer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "epochs was 2 and is now 3"),
        ({"epochs": 1}, "epochs was 2 and is now 1"),
        ({"batch_size": 50, "lr": 0.5}, "batch_size was 256 and is now 50, lr was 0.02 and is now 0.5"),
        ({"augment": BENT}, "augment was {} and is now {'shift': 1.5, "),
    ],
    ids=str,
)
def test_a_config_changed_after_it_was_begun_is_told(begin, digits, change, message):
    this_run, trainer = begin()
    trainer.fit(1)
    changed = rewrite(this_run, **change)
    with pytest.raises(RunError, match=f"does not fit {this_run.config_file}: {re.escape(message)}"):
        resume(changed, experiment.prepare(changed, digits))


def test_a_config_that_says_the_same_in_fewer_words_goes_on(begin, digits):
    """As those that were written before a setting was there."""
    this_run, trainer = begin()
    trainer.fit(1)
    config = json.loads(this_run.config_file.read_text())
    for later in ("augment", "epochs_without_augmentation", "eager"):
        del config["training"][later]
    this_run.config_file.write_text(json.dumps(config))
    again = run.Run(this_run.folder)
    resumed = experiment.prepare(again, digits)
    resume(again, resumed)
    assert resumed.epoch == 1


def test_the_run_that_comes_with_chainrule_is_not_written_over(begin, digits, monkeypatch):
    this_run, _ = begin("shipped")
    monkeypatch.setattr(experiment, "SHIPPED", this_run.folder)
    with pytest.raises(RunError, match="is a run shipped with chainrule; .*: chainrule train --model mlp"):
        experiment.prepare(this_run, digits)


def test_the_checkpoint_of_another_model_is_named(begin, digits):
    this_run, trainer = begin(model="sigmoid_mlp")
    trainer.fit(1)
    other, _ = begin("other")
    (other.folder / "checkpoint").mkdir()
    this_run.checkpoint_file.replace(other.checkpoint_file)
    with pytest.raises(RunError, match=f"{other.checkpoint_file}: does not fit {other.folder / 'config.json'}: "):
        resume(other, experiment.prepare(other, digits))
