"""Doubtful detections are scored again, in windows of their own; and the parts of a photo that windows show."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.images.detection import MIN_SCORE, TYPICAL_HEIGHT, Detection, detect_digits
from chainrule.images.evidence import (
    DOUBTFUL,
    MAX_RESCORED,
    RESCORED_WEIGHTS,
    WEIGHTS,
    digit_probability,
    first_probability,
    is_doubtful,
)
from chainrule.images.pyramid import Level, choose_level, crop, make_levels
from chainrule.images.rescoring import rescore

PROBABILITIES = np.full(10, 0.1)


def detection(left, top, right, bottom, score=0.5):
    return Detection(left, top, right, bottom, score, PROBABILITIES)


def features(log_odds):
    """Rows of features with these log odds: all of it in the neighbor's confidence, which has no limit here."""
    rows = np.zeros((len(log_odds), len(WEIGHTS)))
    rows[:, -1] = 1
    rows[:, 8] = (np.asarray(log_odds) - WEIGHTS[-1]) / WEIGHTS[8]
    return rows


def logistic(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


@pytest.mark.parametrize(("scale", "chosen"), [(3.0, 1.0), (1.0, 1.0), (0.7, 1.0), (0.5, 0.5), (0.3, 0.5), (0.1, 0.25)])
def test_the_coarsest_level_that_is_fine_enough(scale, chosen):
    levels = [Level(each, np.zeros((4, 4), np.float32)) for each in (1.0, 0.5, 0.25)]
    assert choose_level(levels, scale).scale == chosen


def test_a_crop_at_the_scale_of_the_level_is_a_slice_and_repeats_the_border_beyond_the_photo():
    gray = np.random.default_rng(1).random((30, 40), np.float32)
    level = Level(1.0, gray)
    np.testing.assert_array_equal(crop(level, (5, 6, 25, 16), 1.0), gray[6:16, 5:25])
    beyond = crop(level, (-7, 25, 8, 36), 1.0)
    rows, columns = np.clip(np.arange(25, 36), 0, 29), np.clip(np.arange(-7, 8), 0, 39)
    np.testing.assert_array_equal(beyond, gray[np.ix_(rows, columns)])


def test_a_crop_at_half_the_scale_has_the_means_of_blocks():
    gray = np.random.default_rng(2).random((24, 32), np.float32)
    half = crop(Level(1.0, gray), (4, 2, 20, 22), 0.5)
    expected = gray[2:22, 4:20].reshape(10, 2, 8, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(half, expected, atol=1e-6)
    # The same part of the photo from a level that is half as large already
    coarse = gray.reshape(12, 2, 16, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(crop(Level(0.5, coarse), (4, 2, 20, 22), 0.5), coarse[1:11, 2:10])


@pytest.mark.parametrize("height", [11.0, 22.0, 30.0, 70.0])
def test_in_its_windows_a_digit_has_the_height_that_the_detector_knows(height):
    """The detector measures the bar in the window: its answers, averaged, are those for 0.8, 1 and 1.25 times 22."""
    gray = np.full((300, 300), 0.9, np.float32)
    top, left = 120, 140
    gray[top : top + round(height), left : left + 6] = 0.1
    tall = []

    def detect(contrast):
        assert contrast.shape == (96, 96)
        column = contrast[:, 48]
        tall.append(int((column < column.min() / 2).sum()))
        maps = np.zeros((15, 24, 24), np.float32)
        maps[0] = -20
        maps[0, 12, 11] = len(tall)  # within 8 pixels of the center
        maps[0, 2, 2] = 50  # another digit
        return maps

    scores = rescore(make_levels(gray), [detection(left, top, left + 6, top + height)], detect)
    assert tall == pytest.approx([0.8 * TYPICAL_HEIGHT, TYPICAL_HEIGHT, 1.25 * TYPICAL_HEIGHT], abs=2.5)
    assert scores == pytest.approx([(1 + 2 + 3) / 3])


def test_no_window_decides_alone():
    answers = iter([-40.0, 3.0, 40.0])
    gray = np.random.default_rng(3).random((60, 60), np.float32)
    scores = rescore(
        make_levels(gray), [detection(20, 20, 35, 42)], lambda _: np.full((15, 24, 24), next(answers), np.float32)
    )
    assert scores == pytest.approx([(-6 + 3 + 6) / 3])
    assert rescore(make_levels(gray), [], lambda _: None).shape == (0,)


def test_only_doubtful_detections_are_scored_again():
    log_odds = np.array([-9.0, -1.0, 0.5, 3.0, 9.0])
    rows = features(log_odds)
    rows[1] = 0  # no ink
    asked = []

    def ask(indices):
        asked.extend(indices)
        return np.array([2.5, -4.0])

    probability = digit_probability(rows, ask)
    assert asked == [2, 3]
    assert probability[[0, 1, 4]] == pytest.approx([logistic(-9), 0, logistic(9)])
    for index, answer in ((2, 2.5), (3, -4.0)):
        known = float(np.delete(RESCORED_WEIGHTS, -2) @ rows[index])
        assert probability[index] == pytest.approx(logistic(known + RESCORED_WEIGHTS[-2] * answer))


def test_of_many_doubtful_detections_the_most_doubtful_are_scored_again():
    log_odds = np.random.default_rng(4).permutation(np.linspace(-3, 3.5, 3 * MAX_RESCORED))
    asked = []

    def ask(indices):
        asked.extend(indices)
        return np.zeros(len(indices))

    probability = digit_probability(features(log_odds), ask)
    expected = sorted(range(len(log_odds)), key=lambda i: abs(logistic(log_odds[i]) - 0.5))[:MAX_RESCORED]
    assert sorted(asked) == sorted(expected)
    others = np.setdiff1d(np.arange(len(log_odds)), asked)
    np.testing.assert_allclose(probability[others], logistic(log_odds[others]))


def test_what_is_doubtful_has_limits():
    low, high = DOUBTFUL
    edge = [np.log(low / (1 - low)), np.log(high / (1 - high))]
    rows = features([edge[0] - 1e-6, edge[0] + 1e-6, 0, edge[1] - 1e-6, edge[1] + 1e-6])
    assert is_doubtful(first_probability(rows)).tolist() == [False, True, True, True, False]


def a_page(*more):
    """Six digits of 30 pixels in a row, and more detections."""
    row = [detection(20 + 40 * i, 20, 40 + 40 * i, 50, 0.9) for i in range(6)]
    return sorted([*row, *more], key=lambda each: -each.score)


def boxes(detections):
    return {(d.left, d.top, d.right, d.bottom) for d in detections}


def found(candidates, monkeypatch):
    monkeypatch.setattr("chainrule.images.detection._detect_at", lambda level, detect: candidates)
    return boxes(detect_digits([Level(1.0, np.zeros((200, 300), np.float32))], None))


UPPER, LOWER, BOTH = (100, 80, 120, 108), (101, 110, 120, 140), (98, 80, 122, 140)


def test_two_digits_of_the_usual_height_are_not_one_tall_digit(monkeypatch):
    page = a_page(detection(*BOTH, 0.8), detection(*UPPER, 0.5), detection(*LOWER, 0.45), detection(*BOTH, 0.4))
    assert boxes(page) - {BOTH} == found(page, monkeypatch)


@pytest.mark.parametrize(
    "others",
    [
        [],
        [detection(*UPPER, 0.5)],  # one digit is not two
        [detection(*UPPER, 0.5), detection(*LOWER, MIN_SCORE - 0.01)],
        [detection(*UPPER, 0.5), detection(100, 90, 120, 118, 0.5)],  # they overlap: the same digit, twice
        [detection(100, 80, 120, 98, 0.5), detection(101, 122, 120, 140, 0.45)],  # pieces, lower than the others
    ],
)
def test_a_tall_digit_stays_where_there_are_not_two_in_it(others, monkeypatch):
    page = a_page(detection(*BOTH, 0.8), *others)
    assert BOTH in found(page, monkeypatch)


def test_a_few_digits_have_no_usual_height(monkeypatch):
    page = [detection(20, 20, 40, 50, 0.9), detection(*BOTH, 0.8), detection(*UPPER, 0.5), detection(*LOWER, 0.45)]
    assert BOTH in found(page, monkeypatch)
