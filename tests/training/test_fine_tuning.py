"""Runs that start from another's weights: what they gain, what they freeze, resume to the same bits, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule import data
from chainrule.data import ImageData
from chainrule.errors import RunError
from chainrule.training import experiment, run
from chainrule.training.evaluation import evaluate
from chainrule.training.fine_tuning import write_start
from chainrule.training.resume import resume
from chainrule.training.trainer import Callback, Interrupted


def create(folder, source, images, model=None, **changes):
    """A new run from the weights of another, or from none."""
    name = model or source.model.name
    config = experiment.configure(name, images, source=source, **changes)
    return run.create(config, folder, None if source is None else lambda target: write_start(source, target))


@pytest.fixture
def base(digits, tmp_path):
    """A small trained run."""
    this_run = create(tmp_path / "base", None, digits, "mlp", epochs=2, batch_size=50)
    experiment.prepare(this_run, digits).fit(2)
    return this_run


def test_a_hundred_faint_shifted_digits_are_enough(tmp_path):
    """The network that chainrule ships, on MNIST's test images in another style: before, after, and from scratch."""
    mnist, source = data.load("mnist"), run.shipped()

    def restyle(images):
        return np.roll((0.5 * images).astype(np.uint8) + 40, (4, -4), (1, 2))

    parts = [
        part
        for rows in (slice(120), slice(500, 800))
        for part in (restyle(mnist.test_images[rows]), mnist.test_labels[rows])
    ]
    own = ImageData("own", mnist.classes, *parts)  # 100 to train on, 20 for validation, 300 to test
    before = evaluate(source.load_network(), source.model, own.test_images, own.test_labels).accuracy
    accuracy = {}
    for name, start in (("after", source), ("from scratch", None)):
        this_run = create(tmp_path / name, start, own, "reader", epochs=4, batch_size=20, lr=0.003, augment={})
        experiment.prepare(this_run, own).fit(4)
        accuracy[name] = experiment.finish(this_run, own, 0.0)["test_accuracy"]
    assert before < 0.6
    assert accuracy["after"] > 0.85
    assert accuracy["after"] > max(before, accuracy["from scratch"]) + 0.25


def test_frozen_parameters_keep_their_bits(base, digits, tmp_path):
    this_run = create(tmp_path / "new", base, digits, freeze=["1"], epochs=2, batch_size=50)
    trainer = experiment.prepare(this_run, digits)
    assert [p.requires_grad for p in trainer.network.parameters()] == [False, False, True, True]
    assert [module.training for module in trainer.network] == [True, False, True, True]
    trainer.fit(2)
    old, new = (one.load_network().state_dict() for one in (base, this_run))
    same = {name: np.array_equal(old[name].numpy(), new[name].numpy()) for name in old}
    assert same == {"1.weight": True, "1.bias": True, "3.weight": False, "3.bias": False}


def test_another_number_of_classes_gets_a_new_last_layer(base, make_digits, tmp_path):
    other = make_digits("other", classes=4)
    this_run = create(tmp_path / "new", base, other, epochs=3, batch_size=50)
    assert this_run.config["start"]["replaced"] == ["3.weight", "3.bias"]
    trainer = experiment.prepare(this_run, other)
    np.testing.assert_array_equal(trainer.network[1].weight.numpy(), base.load_network()[1].weight.numpy())
    assert trainer.network[3].weight.shape == (4, 128)
    assert trainer.fit(3)[-1]["validation_accuracy"] > 0.9


class StopAfter(Callback):
    def on_step(self, trainer):
        trainer.interrupt = trainer.global_step == 3


def test_resumes_to_the_same_bits_without_the_run_it_came_from(base, digits, tmp_path):
    options = {"freeze": ["3.bias"], "epochs": 2, "batch_size": 50}
    whole, halved = (create(tmp_path / name, base, digits, **options) for name in ("whole", "halved"))
    base.weights_file.unlink()
    experiment.prepare(whole, digits).fit(2)
    with pytest.raises(Interrupted):
        experiment.prepare(halved, digits, [StopAfter()]).fit(2)
    trainer = experiment.prepare(halved, digits)
    resume(halved, trainer)
    trainer.fit(2)
    states = [
        {name: t.numpy().tobytes() for name, t in one.load_network().state_dict().items()} for one in (whole, halved)
    ]
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"freeze": ["2"]},
            "--freeze 2: no parameter's name begins with it; the names are 1.weight, 1.bias, 3.weight, 3.bias",
        ),
        ({"freeze": ["1", "3"]}, "--freeze leaves no parameter to train"),
        ({"model": "sigmoid_mlp"}, "only the last layer can be replaced, but 1.weight is"),
        ({"model": "lenet5"}, "its weights do not fit the model: only one of the two has "),
    ],
)
def test_what_does_not_fit_is_refused(base, digits, tmp_path, options, message):
    with pytest.raises(RunError, match=message):
        create(tmp_path / "new", base, digits, **options)


def test_a_new_layer_cannot_be_frozen(base, make_digits, tmp_path):
    with pytest.raises(
        RunError, match="3.weight, 3.bias cannot be frozen: the shape differs from that of the run's weights"
    ):
        create(tmp_path / "new", base, make_digits("other", classes=4), freeze=["3"])
    with pytest.raises(RunError, match="only a run that starts from another run's weights can freeze parameters"):
        create(tmp_path / "new", None, make_digits("other"), "mlp", freeze=["3"])


def test_weights_that_are_gone_are_told(base, digits, tmp_path):
    this_run = create(tmp_path / "new", base, digits)
    (this_run.folder / "start.safetensors").unlink()
    with pytest.raises(RunError, match="start.safetensors: is missing: the run starts from these weights"):
        experiment.prepare(this_run, digits)
    base.weights_file.unlink()
    with pytest.raises(RunError, match="the run has no complete epoch to start from"):
        create(tmp_path / "another", base, digits)


def test_a_config_of_another_kind_is_refused(base, digits, tmp_path):
    this_run = create(tmp_path / "new", base, digits)
    config = json.loads(this_run.config_file.read_text())
    config["start"]["freeze"] = "1"
    this_run.config_file.write_text(json.dumps(config))
    with pytest.raises(RunError, match="start.freeze must be"):
        run.Run(this_run.folder)
