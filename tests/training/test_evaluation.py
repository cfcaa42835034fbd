"""Judging a model: numbers checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import models, nn, tensor
from chainrule.training import evaluate
from chainrule.training.evaluation import Evaluation, evaluate_rows, expected_calibration_error


class Fixed(nn.Module):
    """Takes its scores from the first pixels of an image."""

    def __init__(self, classes):
        self.classes = classes
        self.calls = []

    def forward(self, images):
        self.calls.append((images.shape, images.dtype, self.training))
        return images.flatten(1)[:, : self.classes] * 255


@pytest.fixture
def model():
    return models.get("mlp")


def pictures(scores):
    images = np.zeros((len(scores), 2, 3), np.uint8)
    images.reshape(len(scores), 6)[:, : len(scores[0])] = scores
    return images


SCORES = [[5, 1, 1], [0, 9, 0], [0, 1, 4], [2, 3, 0], [7, 7, 1]]
LABELS = np.array([0, 1, 0, 1, 1], np.uint8)


def test_counts_what_is_right(model):
    evaluation = evaluate(Fixed(3), model, pictures(SCORES), LABELS)
    assert evaluation.predictions.tolist() == [0, 1, 2, 1, 0]
    assert evaluation.accuracy == 3 / 5
    assert evaluation.confusion.tolist() == [[1, 0, 1], [1, 2, 0], [0, 0, 0]]
    assert evaluation.labels.tolist() == LABELS.tolist()
    assert evaluation.labels.dtype == evaluation.predictions.dtype == np.int64


def test_the_loss_is_the_mean_over_images_whatever_the_batches(model):
    scores = np.array(SCORES, float)
    log_softmax = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = -log_softmax[np.arange(5), LABELS].mean()
    for batch_size in (1, 2, 5, 100):
        evaluation = evaluate(Fixed(3), model, pictures(SCORES), LABELS, batch_size)
        assert evaluation.loss == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(evaluation.probabilities, np.exp(log_softmax), rtol=1e-4)
        assert evaluation.predictions.tolist() == [0, 1, 2, 1, 0]


def test_mistakes_come_with_the_most_confident_first():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.7, 0.3]])
    evaluation = Evaluation(0.0, probabilities.argmax(1), probabilities, np.array([1, 1, 1, 1, 0]))
    assert evaluation.mistakes.tolist() == [1, 3, 0]
    assert evaluation.accuracy == 2 / 5


def test_images_go_in_as_fractions_in_evaluation_mode_without_a_graph(model):
    network = Fixed(3)
    evaluate(network, model, pictures(SCORES), LABELS, batch_size=4)
    assert network.calls == [((4, 2, 3), np.float32, False), ((1, 2, 3), np.float32, False)]

    outputs = []
    learned = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    learned.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    evaluate(learned, model, pictures(SCORES), LABELS)
    assert not outputs[0].requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_in_the_mode_it_was_in(model, training):
    network = Fixed(3).train(training)
    evaluate(network, model, pictures(SCORES), LABELS)
    assert network.training is training


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_the_network_gives_no_numbers_for_is_read_as_nothing(model, value):
    """And not as the first class, where the largest of NaN would be."""
    network = Fixed(3)
    network.register_forward_hook(
        lambda module, inputs, output: tensor(np.where(output.numpy() == 9, value, output.numpy()))
    )
    evaluation = evaluate(network, model, pictures(SCORES), np.zeros(5, np.uint8), batch_size=2)
    expected = [0, -1, 2, 1, 0] if value != -np.inf else [0, 0, 2, 1, 0]
    assert evaluation.predictions.tolist() == expected
    assert evaluation.nan_count == expected.count(-1)
    assert evaluation.accuracy == expected.count(0) / 5
    assert np.isfinite(evaluation.loss) == (evaluation.nan_count == 0)
    if evaluation.nan_count:
        with pytest.raises(ValueError, match="confusion: 1 of 5 examples have no prediction"):
            _ = evaluation.confusion
        assert evaluation.mistakes.tolist()[-1] == 1


def test_nothing_to_judge_by_is_an_error(model):
    with pytest.raises(ValueError, match="evaluate: there are no images"):
        evaluate(Fixed(3), model, np.zeros((0, 2, 3), np.uint8), np.zeros(0, np.uint8))


@pytest.mark.parametrize("n_labels", [0, 1, len(LABELS) - 1, len(LABELS) + 1])
def test_each_example_has_one_label(model, n_labels):
    labels = np.resize(LABELS, n_labels)
    with pytest.raises(ValueError, match=f"evaluate: {len(LABELS)} images need as many labels, not {n_labels}"):
        evaluate(Fixed(3), model, pictures(SCORES), labels)
    with pytest.raises(ValueError, match=f"evaluate_rows: 7 rows need as many labels, not {n_labels}"):
        evaluate_rows(Fixed(3), model, np.zeros((7, 4), np.float32), labels)


def test_the_images_are_left_as_they_were(model):
    images = pictures(SCORES)
    images.flags.writeable = False
    evaluate(Fixed(3), model, images, LABELS)
    assert tensor(images[0, 0]).tolist() == [5, 1, 1]


@pytest.mark.parametrize(
    ("side", "count", "batches"),
    [(28, 2500, [1000, 1000, 500]), (512, 3, [1, 1, 1]), (100, 120, [50, 50, 20]), (1, 3, [3])],
)
def test_large_images_are_judged_fewer_at_a_time(side, count, batches, monkeypatch):
    seen = []
    model = models.get("mlp")
    network = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 2))
    network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    images = np.random.default_rng(0).integers(0, 256, (count, side, side), np.uint8)
    labels = np.zeros(count, np.int64)
    result = evaluate(network, model, images, labels)
    assert seen == batches
    assert result.accuracy == evaluate(network, model, images, labels, batch_size=count).accuracy


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_calibration_error_is_that_of_a_plain_loop(bins):
    generator = np.random.default_rng(bins)
    rows = generator.dirichlet(np.full(5, 0.4), 300)
    labels = generator.integers(5, size=300)
    total = 0.0
    for i in range(bins):
        confidences, correct = [], []
        for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
            if i / bins < max(row) <= (i + 1) / bins:
                confidences.append(max(row))
                correct.append(row.index(max(row)) == label)
        if correct:
            gap = abs(sum(confidences) / len(correct) - sum(correct) / len(correct))
            total += len(correct) / 300 * gap
    assert expected_calibration_error(rows, labels, bins) == pytest.approx(total, rel=1e-12)
    evaluation = Evaluation(0.0, rows.argmax(axis=1), rows, labels)
    assert evaluation.calibration_error == expected_calibration_error(rows, labels, 15)


def test_certainty_is_calibrated_if_it_is_right():
    certain = np.eye(3, dtype=np.float32)
    assert expected_calibration_error(certain, np.arange(3)) == 0
    assert expected_calibration_error(certain, np.zeros(3, int)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("rows", "labels", "bins", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), 15, r"N of at least 1, got \(0, 3\) and \(0,\)"),
        (np.zeros((2, 3)), np.zeros(3, int), 15, r"got \(2, 3\) and \(3,\)"),
        (np.zeros(3), np.zeros(3, int), 15, r"got \(3,\) and \(3,\)"),
        (np.full((1, 2), np.nan), np.zeros(1, int), 15, "from 0 to 1, and some are not"),
        (np.array([[2.0, -1.0]]), np.zeros(1, int), 15, "from 0 to 1, and some are not"),
        (np.array([[0.5, 0.5]]), np.zeros(1, int), 0, "bins must be at least 1, got 0"),
    ],
)
def test_what_has_no_calibration_error_is_refused(rows, labels, bins, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(rows, labels, bins)
