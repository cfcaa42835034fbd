"""From a detector's maps to digits, and the levels that it sees: planted digits come back where they were put."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.images.detection import MARGIN, MULTIPLE, TYPICAL_HEIGHT, Detection, _distinct, detect_digits
from chainrule.images.page import EVIDENCE, read_page
from chainrule.images.pyramid import Level, make_levels, normalize_contrast


def planted(digits):
    """A detector that finds digits in a level of 256×200 pixels: (left, top, right, bottom, score, digit)."""

    def detect(contrast):
        height, width = contrast.shape
        maps = np.zeros((15, height // 4, width // 4), np.float32)
        maps[0] = -9
        if (height, width) != (200 + 2 * MARGIN, 256 + 2 * MARGIN):
            return maps
        for left, top, right, bottom, score, digit in digits:
            x, y = (left + right) / 2 + MARGIN, (top + bottom) / 2 + MARGIN
            column, row = int(x // 4), int(y // 4)
            maps[0, row, column] = np.log(score / (1 - score))
            maps[1, row, column] = np.log((bottom - top) / TYPICAL_HEIGHT)
            maps[2, row, column] = np.log((right - left) / TYPICAL_HEIGHT)
            maps[3, row, column], maps[4, row, column] = x / 4 - 0.5 - column, y / 4 - 0.5 - row
            maps[5 + digit, row, column] = 7
        return maps

    return detect


def test_boxes_scores_and_digits():
    digits = [(10, 20, 23, 47, 0.9, 3), (100, 31, 118.5, 57.25, 0.7, 8)]
    found = detect_digits([Level(0.5, np.zeros((200, 256), np.float32))], planted(digits))
    assert len(found) == 2
    for detection, (left, top, right, bottom, score, digit) in zip(found, digits, strict=True):
        box = (detection.left, detection.top, detection.right, detection.bottom)
        assert box == pytest.approx((2 * left, 2 * top, 2 * right, 2 * bottom), abs=1e-3)
        assert detection.score == pytest.approx(score, abs=1e-5)
        assert detection.probabilities.argmax() == digit
        assert detection.probabilities[digit] == pytest.approx(np.exp(7) / (np.exp(7) + 9))
        assert detection.height == pytest.approx(2 * (bottom - top), abs=1e-3)


def test_what_the_detector_calls_unlikely_or_outside_is_dropped():
    digits = [(10, 20, 23, 47, 0.2, 3), (-15, 60, -1, 90, 0.9, 1), (250, 60, 263, 90, 0.9, 1)]
    assert detect_digits([Level(1.0, np.zeros((200, 256), np.float32))], planted(digits)) == []


def plain_distinct(detections):
    """Non-maximum suppression as a plain loop."""
    chosen = []
    for one in detections:
        for other in chosen:
            width = min(one.right, other.right) - max(one.left, other.left)
            height = min(one.bottom, other.bottom) - max(one.top, other.top)
            common = max(width, 0) * max(height, 0)
            areas = one.width * one.height, other.width * other.height
            if common > 0.35 * (sum(areas) - common) or common > 0.65 * min(areas):
                break
        else:
            chosen.append(one)
    return chosen


@pytest.mark.parametrize("seed", range(10))
def test_suppression_is_that_of_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    detections = []
    for score in sorted(random.random(60), reverse=True):
        left, top, width, height = *random.uniform(0, 150, 2), *random.uniform(5, 60, 2)
        detections.append(Detection(left, top, left + width, top + height, score, np.full(10, 0.1)))
    assert _distinct(detections) == plain_distinct(detections)
    assert 5 < len(_distinct(detections)) < 60
    assert _distinct([]) == []


def test_levels_halve_until_a_digit_that_fills_the_photo_fits():
    levels = make_levels(np.zeros((1024, 1920), np.float32))
    assert [level.gray.shape for level in levels] == [(1024 >> k, 1920 >> k) for k in range(7)]
    assert [level.scale for level in levels] == [2.0**-k for k in range(7)]
    assert [level.scale for level in make_levels(np.zeros((38, 55), np.float32))] == [2.0, 1.0, 0.5]


def test_contrast_forgets_brightness_and_light():
    random = np.random.default_rng(0)
    strokes = np.zeros((160, 240), np.float32)
    strokes[random.integers(0, 160, 900), random.integers(0, 240, 900)] = 0.3
    bright, dark = normalize_contrast(0.9 - strokes), normalize_contrast(0.6 - 2 * strokes / 3)
    assert abs(float(bright.mean())) < 0.05
    assert 0.7 < float(bright.std()) < 1.1
    assert np.abs(bright - dark).mean() < 0.05
    plain = np.zeros((160, 240), np.float32)  # by a plain loop over one position
    gray = (0.9 - strokes).astype(np.float64)
    weights = np.convolve(np.ones(13), np.ones(13)) / 169
    blocks, squares = (v.reshape(40, 4, 60, 4).mean(axis=(1, 3)) for v in (gray, gray**2))
    mean, square = (weights @ v[20 - 12 : 20 + 13, 30 - 12 : 30 + 13] @ weights for v in (blocks, squares))
    plain = (gray[80:84, 120:124] - mean) / np.sqrt(square - mean**2 + 0.02**2)
    assert np.abs(plain - bright[80:84, 120:124]).max() < 0.1  # between blocks, the mean is interpolated


def test_the_detectors_input_has_sides_that_it_can_halve():
    shapes = []

    def detect(contrast):
        shapes.append(contrast.shape)
        return np.full((15, contrast.shape[0] // 4, contrast.shape[1] // 4), -9, np.float32)

    assert read_page(np.zeros((37, 1003), np.float32), None, detect) == []
    assert shapes
    assert all(side % MULTIPLE == 0 for shape in shapes for side in shape)


# What the classifier and the detector say of a digit


def sheet():
    """A dark stroke where the planted digit is."""
    gray = np.full((200, 256), 0.9, np.float32)
    gray[60:90, 104:108] = 0.2
    return gray


def read_one(row, score=0.8):
    lines = read_page(sheet(), lambda images: np.array([row] * len(images)), planted([(100, 58, 112, 92, score, 4)]))
    return lines[0][0] if lines else None


def test_confidence_is_that_of_a_digit_times_both_opinions():
    digit = read_one(np.array([0, 0.9, 0, 0, 0.1, 0, 0, 0, 0, 0]))
    own = np.full(10, 1 / (np.exp(7) + 9))
    own[4] = np.exp(7) / (np.exp(7) + 9)
    pooled = [((p + 1e-4) * (q + 1e-4)) ** 0.5 for p, q in zip(own, [0, 0.9, 0, 0, 0.1, 0, 0, 0, 0, 0], strict=True)]
    odds = np.exp(EVIDENCE @ [np.log(0.8 / 0.2), np.log(30), np.log(0.3), np.log(34), 1])  # clear, dark, 34 pixels high
    center = odds / (1 + odds)
    assert (digit.digit, digit.second_digit) == (4, 1)
    assert digit.confidence == pytest.approx(center * pooled[4] / sum(pooled), abs=1e-3)
    assert digit.second_confidence == pytest.approx(center * pooled[1] / sum(pooled), abs=1e-3)


def test_a_surer_detector_and_a_clearer_digit_are_more_confident():
    assert read_one(np.eye(10)[1], 0.9).confidence > read_one(np.eye(10)[1], 0.8).confidence
    assert all(EVIDENCE[:4] > 0)


def test_no_digit_is_the_eleventh_class():
    row = np.zeros(11)
    row[[1, 10]] = 0.75, 0.25
    assert read_one(row).confidence == pytest.approx(0.75 * read_one(row[:10] / 0.75).confidence)
    assert read_one(np.eye(11)[10]) is None


def test_other_classes_are_the_classifiers_alone():
    digit = read_one(np.array([0.1, 0.1, 0.7, 0.1]))
    assert digit.digit == 2
    assert digit.confidence / digit.second_confidence == pytest.approx(7)


@pytest.mark.parametrize(("height", "kept"), [(13, False), (24, True), (58, False)])
def test_a_straight_stroke_is_a_one_if_it_is_as_tall_as_its_neighbors(height, kept):
    gray = np.full((200, 256), 0.9, np.float32)
    digits = []
    for left, digit, tall in ((40, 3, 30), (100, 1, height), (160, 8, 30)):
        top, bottom, width = 100 - tall // 2, 100 + tall // 2, 4 if digit == 1 else 20
        gray[top:bottom, left : left + width] = 0.2
        digits.append((left, top, left + width, bottom, 0.9, digit))
    answers = {0: 3, 1: 1, 2: 8}  # by the order of the cuts, that of their scores, which are equal
    lines = read_page(gray, lambda images: np.eye(10)[[answers[i] for i in range(len(images))]], planted(digits))
    assert [digit.digit for line in lines for digit in line] == ([3, 1, 8] if kept else [3, 8])


def test_a_digit_alone_in_its_line_must_be_surer():
    gray = np.full((200, 256), 0.9, np.float32)
    digits = [(30 + 40 * i, 20, 50 + 40 * i, 50, 0.9, 3) for i in range(4)] + [(30, 140, 50, 170, 0.62, 3)]
    for left, top, right, bottom, *_ in digits:
        gray[top:bottom, left + 5 : right - 5] = 0.2
    classify = lambda images: np.eye(10)[[3] * len(images)]  # noqa: E731
    alone = read_page(gray, classify, planted(digits[-1:]))
    assert 0.5 < alone[0][0].confidence < 0.75
    assert [len(line) for line in read_page(gray, classify, planted(digits))] == [4]
    beside = [(left, 20, right, 50, 0.62, 3) for left, _, right, *_ in [(190, 0, 210)]]
    gray[20:50, 195:205] = 0.2
    assert [len(line) for line in read_page(gray, classify, planted(digits[:4] + beside))] == [5]


def test_ink_much_fainter_than_the_others_is_no_digit():
    gray = sheet()
    gray[60:90, 30:34] = 0.75
    digits = [(100, 58, 112, 92, 0.8, 4), (26, 58, 38, 92, 0.8, 4)]
    lines = read_page(gray, lambda images: np.eye(10)[[1] * len(images)], planted(digits))
    assert [digit.box[0] for line in lines for digit in line] == [100]
