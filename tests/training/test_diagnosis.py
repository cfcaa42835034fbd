"""A training that came to nothing says so, and what to try; one that went well says nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.data import ImageData
from chainrule.training import experiment, run
from chainrule.training.diagnosis import chance_limit, diagnose
from chainrule.training.evaluation import evaluate
from chainrule.training.fine_tuning import write_start


@pytest.fixture
def train(digits, tmp_path):
    """Trains a run, or only pretends to, by a history of (train loss, validation accuracy)."""

    def train(data=digits, history=None, model="mlp", **changes):
        this_run = run.create(experiment.configure(model, data, **{"epochs": 2, **changes}), tmp_path / "run")
        trainer = experiment.prepare(this_run, data)
        trainer.fit(this_run.config["training"]["epochs"])
        if history is not None:
            rows = [
                {"epoch": i, "train_loss": loss, "validation_accuracy": accuracy}
                for i, (loss, accuracy) in enumerate(history, start=1)
            ]
            (this_run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return this_run

    return train


def other_labels(digits, labels):
    """The same pictures with other labels to learn from."""
    return ImageData("toy", digits.classes, digits.train_images, labels, digits.test_images, digits.test_labels)


@pytest.mark.parametrize("model", ["mlp", "sigmoid_mlp"])
def test_nothing_is_said_of_what_works(train, digits, model):
    assert diagnose(train(model=model, epochs=8), digits) is None


def test_a_learning_rate_that_is_far_too_large(train, digits):
    said = diagnose(train(lr=3e3, epochs=3, batch_size=50), digits)
    assert said.startswith("training did not work: the loss rose from 2.")
    assert "before training to" in said
    assert said.endswith("is no better than guessing; try a smaller learning rate than 3000, such as 0.02")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("losses", "optimizer", "message"),
    [
        (
            [184.3, 8.0, 2.32],
            "adam",
            "to 184.3 in epoch 1, and the best validation accuracy, 11.00%, is no better than "
            "guessing; try a smaller learning rate than 1e-09, such as 1e-10",
        ),
        (
            [2.3, 9.7, 5411.4],
            "adamw",
            "to 5411 in epoch 3, and the best validation accuracy, 11.00%, is no better than "
            "guessing; try a smaller learning rate than 1e-09, such as 1e-10",
        ),
    ],
    ids=str,
)
def test_a_loss_above_that_of_the_untrained_network(train, digits, losses, optimizer, message):
    this_run = train(history=[(loss, 0.11) for loss in losses], lr=1e-9, optimizer=optimizer)
    said = diagnose(this_run, digits)
    assert said.startswith("training did not work: the loss rose from 2.")
    assert said.endswith(f" before training {message}")


def test_a_loss_that_rises_from_epoch_to_epoch(train, digits):
    said = diagnose(train(lr=3e3, epochs=3, optimizer="sgd"), digits)
    assert said.startswith("training went wrong after epoch 1 of 3: the loss rose from 2.3")
    assert "; the weights of epoch 1 are kept; try a smaller learning rate than 3000, such as 3e+02" in said


def test_a_network_that_always_answers_the_same(train, digits):
    """Saturated sigmoids: the squared error falls, to that of a constant answer."""
    said = diagnose(train(model="sigmoid_mlp", lr=1e4, batch_size=50), digits)
    assert said.startswith("training did not work: the best validation accuracy, ")
    assert said.endswith("the answer hardly depends on the image; try a smaller learning rate than 10000, such as 3")


def test_a_learning_rate_that_is_far_too_small(train, digits):
    said = diagnose(train(lr=1e-9), digits)
    assert said.startswith("training did not work: the loss has hardly moved, from 2.3")
    assert said.endswith("try more epochs than 2, or a larger learning rate than 1e-09, such as 0.02")


def test_a_run_that_starts_from_weights_is_compared_with_these_weights(train, digits, tmp_path):
    """They are sure of labels that the new data set does not have: their loss is far above an untrained network's."""
    source = train(epochs=8, batch_size=10)
    data = other_labels(digits, np.random.default_rng(2).permutation(digits.train_labels))
    config = experiment.configure("mlp", data, source=source, epochs=2, lr=1e-9, augment={})
    this_run = run.create(config, tmp_path / "tuned", lambda folder: write_start(source, folder))
    experiment.prepare(this_run, data).fit(2)
    before = evaluate(source.load_network(), source.model, *data.split().train).loss
    untrained = evaluate(this_run.build_network(this_run.generators()[0]), source.model, *data.split().train).loss
    assert before > 1.1 * untrained
    said = diagnose(this_run, data)
    assert said.startswith(f"training did not work: the loss has hardly moved, from {before:.4g} before training to ")
    assert said.endswith("try more epochs than 2, or a larger learning rate than 1e-09, such as 0.02")


def test_labels_that_have_nothing_to_do_with_the_images(train, digits):
    shuffled = np.random.default_rng(2).permutation(digits.train_labels)
    data = other_labels(digits, shuffled)
    said = diagnose(train(data, epochs=40), data)
    assert said.startswith("training did not work: the best validation accuracy, ")
    assert "of the training images are classified correctly" in said
    assert "check that each image has the right label" in said


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (
            [(0.5, 0.9), (0.3, 0.95), (2.4, 0.1)],
            "training went wrong after epoch 2 of 3: the loss rose from 0.3 to 2.4 and the validation accuracy fell "
            "from 95.00% to 10.00%; the weights of epoch 2 are kept; try a smaller learning rate than 0.02, such as "
            "0.002",
        ),
        (
            [(5.0, 0.8), (0.3, 0.9), (2.4, 0.1)],
            "training went wrong after epoch 2 of 3: the loss rose from 0.3 to 2.4 and the validation accuracy fell "
            "from 90.00% to 10.00%; the weights of epoch 2 are kept; try a smaller learning rate than 0.02, such as "
            "0.002",
        ),
        (
            [(0.5, 0.9), (0.6, 0.95)],  # the last epoch is the best
            "training went wrong after epoch 1 of 2: the loss rose from 0.5 to 0.6; the weights of epoch 2 are kept; "
            "try a smaller learning rate than 0.02, such as 0.002",
        ),
        (
            [(0.5, 0.9), (0.4, 0.95), (0.6, 0.95)],  # as good as the best
            "training went wrong after epoch 2 of 3: the loss rose from 0.4 to 0.6; the weights of epoch 2 are kept; "
            "try a smaller learning rate than 0.02, such as 0.002",
        ),
        (
            [(0.5, 0.9), (0.7, 0.95), (0.6, 0.94)],  # lower than in the best epoch
            "training went wrong after epoch 2 of 3: the loss rose from 0.5 to 0.6 and the validation accuracy fell "
            "from 95.00% to 94.00%; the weights of epoch 2 are kept; try a smaller learning rate than 0.02, such as "
            "0.002",
        ),
        (
            [(2.4, 0.95), (0.3, 0.1)],  # the loss falls
            "training went wrong after epoch 1 of 2: the validation accuracy fell from 95.00% to 10.00%; the weights "
            "of epoch 1 are kept; try a smaller learning rate than 0.02, such as 0.002",
        ),
        ([(0.50, 0.90), (0.51, 0.91)], None),
        ([(0.50, 0.91), (0.51, 0.90)], None),
        ([(0.5, 0.9), (0.3, 0.95), (0.4, 0.94)], None),  # ups and downs
        ([(2.3, 0.1), (0.3, 0.95)], None),
        ([(0.5, 0.9)], None),
    ],
    ids=str,
)
def test_what_a_history_says(train, digits, history, message):
    assert diagnose(train(history=history), digits) == message


def test_guessing_is_naming_the_most_common():
    labels = np.array([0] * 90 + [1] * 10)
    assert chance_limit(labels) == pytest.approx(0.9 + 3 * np.sqrt(0.9 * 0.1 / 100))
    draws = np.random.default_rng(0).random((2000, 100)) < 0.9  # the accuracy of guessing, many times
    assert (draws.mean(axis=1) > chance_limit(labels)).mean() < 0.005


def test_too_few_images_to_tell_say_nothing(train, make_digits):
    few = make_digits(train=6, test=2)
    assert diagnose(train(few, lr=1e-9), few) is None


def test_a_single_class_says_nothing(train, make_digits):
    one = make_digits(classes=1)
    assert diagnose(train(one), one) is None


def test_a_run_that_is_not_trained_says_nothing(digits, tmp_path):
    this_run = run.create(experiment.configure("mlp", digits), tmp_path / "run")
    assert diagnose(this_run, digits) is None
