"""The script that trains the detector of digits: which crops it shows how often."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from chainrule.data.handwriting.crops import Crop
from chainrule.data.handwriting.targets import detection_targets

FILE = Path(__file__).parent.parent / "scripts" / "train_detector.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_detector", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def examples(script, monkeypatch):
    """Crops without pages."""
    monkeypatch.setattr(script, "FIRST", 20)
    return script.Examples(np.random.default_rng(0), [])


def plain_mistake(maps, targets):
    """The greatest mistake about a crop, position by position."""
    greatest = 0.0
    for row in range(maps.shape[1]):
        for column in range(maps.shape[2]):
            near, weight = targets[:2, row, column]
            probability = 1 / (1 + np.exp(-maps[0, row, column]))
            if near == 1:
                powers = np.exp(maps[5:, row, column])
                label = targets[7:, row, column].argmax()
                greatest = max(greatest, weight * (1 - probability), 1 - powers[label] / powers.sum())
            else:
                greatest = max(greatest, weight * (1 - near) ** 2 * probability)
    return greatest


def test_the_greatest_mistake_is_that_of_a_plain_loop(script):
    random = np.random.default_rng(1)
    boxes = [[(20, 30, 34, 52), (60, 64, 78, 90)], [(3, 8, 13, 30)], [(40, 40, 50, 52)]]
    targets = np.stack(
        [
            detection_targets(Crop(np.zeros((128, 128), np.uint8), np.array(b, np.float32), np.arange(len(b)) + 3))
            for b in boxes
        ]
    )
    for spread in (0.5, 3.0):
        maps = random.normal(0, spread, (3, 15, 32, 32)).astype(np.float32)
        expected = [plain_mistake(*pair) for pair in zip(maps, targets, strict=True)]
        np.testing.assert_allclose(script.greatest_mistakes(maps, targets), expected, rtol=1e-5)
    perfect = np.zeros((3, 15, 32, 32), np.float32)
    perfect[:, 0] = np.where(targets[:, 0] >= 1, 40, -40)
    perfect[:, 5:] = 40 * targets[:, 7:]
    assert script.greatest_mistakes(perfect, targets).max() < 1e-6


def test_crops_with_mistakes_are_shown_more_often(examples):
    examples.batch(12)
    examples.mistakes[:20] = 0.05
    examples.mistakes[7] = 0.9
    shown = np.zeros(20, int)
    for _ in range(50):
        examples.batch(12)
        np.add.at(shown, examples.shown[0], 1)
    assert shown.sum() == 600
    assert shown[7] > 0.4 * 600  # of the half drawn by mistakes, 0.81 / (0.81 + 19 · 0.0025)
    assert np.delete(shown, 7).min() > 3  # the other half is drawn at random


def test_a_batch_that_was_right_is_shown_less_often_and_a_new_crop_as_one_that_was_not(examples):
    contrast, targets = examples.batch(12)
    assert contrast.shape == (12, 1, 128, 128)
    indices = examples.shown[0]
    maps = np.zeros((12, 15, 32, 32), np.float32)
    maps[:, 0] = np.where(targets.numpy()[:, 0] >= 1, 40, -40)
    maps[:, 5:] = 40 * targets.numpy()[:, 7:]
    examples.learn_mistakes(maps)
    assert examples.mistakes[indices] == pytest.approx(0.05)
    examples.add()
    assert examples.mistakes[20] == pytest.approx(0.5)


@pytest.mark.parametrize("strength", [10.0, 1.0])
def test_the_weights_of_the_evidence_are_those_of_rows_that_stand_as_often_as_they_count(script, strength):
    random = np.random.default_rng(2)
    rows = np.concatenate([random.normal(0, 1, (60, 3)), np.ones((60, 1))], axis=1)
    right = (rows @ [1, -2, 0.5, 0.3] + random.logistic(0, 1, 60) > 0).astype(float)
    start, counts = np.array([0.5, -0.5, 0, 0]), random.integers(1, 4, 60)
    repeated = np.repeat(np.arange(60), counts)
    weights = script.fit_logistic(rows, right, counts.astype(float), start, strength)
    once = script.fit_logistic(rows[repeated], right[repeated], np.ones(len(repeated)), start, strength)
    np.testing.assert_allclose(weights, once, rtol=1e-8)
    # Where the loss, written out, is the least: its differences in each direction vanish
    signs = 2 * right - 1

    def loss(w):
        held = strength * ((w - start)[:3] ** 2).sum() / 2 + 0.01 * (w - start)[3] ** 2 / 2
        return (counts * np.log1p(np.exp(-signs * (rows @ w)))).sum() + held

    for direction in np.eye(4) * 1e-4:
        assert abs(loss(weights + direction) - loss(weights - direction)) / 2e-4 < 1e-5
