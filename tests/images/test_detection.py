"""From a detector's maps to digits, and the levels that it sees: planted digits come back where they were put."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.images.cutting import Cutout
from chainrule.images.detection import (
    MIN_SCORE,
    PADDING,
    SIDE_MULTIPLE,
    TYPICAL_HEIGHT,
    Detection,
    _suppress_duplicates,
    detect_digits,
)
from chainrule.images.evidence import RESCORED_WEIGHTS, WEIGHTS, detection_features
from chainrule.images.page import _without_table_lines, read_page
from chainrule.images.pyramid import Level, make_levels, normalize_contrast
from chainrule.images.rescoring import WINDOW_SIDE

AGAIN = 1.0  # the log odds of a doubtful detection that is scored again


def planted(digits, again=AGAIN):
    """A detector that finds digits in a level of 256×200 pixels: (left, top, right, bottom, score, digit).

    In a window of its own, every detection has the log odds `again`.
    """

    def detect(contrast):
        height, width = contrast.shape
        maps = np.zeros((15, height // 4, width // 4), np.float32)
        maps[0] = -9
        if (height, width) == (WINDOW_SIDE, WINDOW_SIDE):
            maps[0] = again
            return maps
        if (height, width) != (200 + 2 * PADDING, 256 + 2 * PADDING):
            return maps
        for left, top, right, bottom, score, digit in digits:
            x, y = (left + right) / 2 + PADDING, (top + bottom) / 2 + PADDING
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
    for one in [one for one in detections if one.score >= MIN_SCORE]:
        for other in chosen:
            width = min(one.right, other.right) - max(one.left, other.left)
            height = min(one.bottom, other.bottom) - max(one.top, other.top)
            common = max(width, 0) * max(height, 0)
            areas = one.width * one.height, other.width * other.height
            if common > 0.35 * (sum(areas) - common) or common > 0.65 * min(areas):
                break
            aside = abs(one.left + one.right - other.left - other.right) / 2
            if height > 0.65 * max(one.height, other.height) and aside < 0.1 * min(one.height, other.height):
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
    kept = [(d.left, d.top, d.score) for d in _suppress_duplicates(detections)]
    assert kept == [(d.left, d.top, d.score) for d in plain_distinct(detections)]
    assert 5 < len(_suppress_duplicates(detections)) < 40
    assert _suppress_duplicates([]) == []


def test_a_stroke_that_a_coarse_level_places_beside_it_is_one_digit():
    """Regression: narrow boxes that are a few pixels apart have little in common."""
    one = Detection(326, 60, 336, 180, 0.88, np.full(10, 0.1), level_scale=0.25)
    beside = Detection(319, 59, 332, 185, 0.83, np.full(10, 0.1), level_scale=0.125)
    neighbor = Detection(350, 59, 362, 185, 0.8, np.full(10, 0.1), level_scale=0.125)
    assert [d.left for d in _suppress_duplicates([one, beside, neighbor])] == [326, 350]


def test_a_digit_that_two_levels_show_has_both_confidences():
    twice = [(0, 30, 0.9, 1.0), (2, 31, 0.8, 1.0), (1, 31, 0.6, 0.5), (0, 29, 0.4, 2.0), (50, 80, 0.36, 0.5)]
    twice += [(51, 81, 0.22, 1.0), (90, 40, 0.3, 0.5)]  # too doubtful for a digit, but not to confirm one
    found = [
        Detection(left, 0, left + 20, bottom, score, np.full(10, 0.1), level_scale=s)
        for left, bottom, score, s in twice
    ]
    assert [(d.score, d.other_level_score) for d in _suppress_duplicates(found)] == [(0.9, 0.6), (0.36, 0.22)]


def test_a_box_knows_the_larger_ones_of_nearly_its_confidence():
    """They hold at least 0.8 of it, and are at least 0.75 times as sure."""

    def box(left, right, score):
        return Detection(left, 0, right, 40, score, np.full(10, 0.1))

    stroke, digit, doubtful, beside = box(40, 46, 0.8), box(10, 50, 0.7), box(10, 48, 0.55), box(43, 80, 0.7)
    found = _suppress_duplicates([stroke, digit, beside, doubtful])
    assert [detection.larger for detection in found if detection.right == 46] == [(digit,)]
    assert [detection.larger for detection in found if detection.left == 43] == [()]


def test_levels_halve_until_a_digit_that_fills_the_photo_fits_and_small_ones_are_twice_as_many():
    levels = make_levels(np.zeros((1024, 1920), np.float32))
    whole = [level for level in levels if np.log2(level.scale) % 1 == 0]
    assert [level.gray.shape for level in whole] == [(1024 >> k, 1920 >> k) for k in range(7)]
    assert [level.scale for level in whole] == [2.0**-k for k in range(7)]
    between = [2 ** -(k + 0.5) for k in range(1, 7)]  # 679 pixels long, and less
    assert [level.scale for level in levels if np.log2(level.scale) % 1] == pytest.approx(between)
    small = [level.scale for level in make_levels(np.zeros((38, 55), np.float32))]
    assert small == pytest.approx([2, 2**0.5, 1, 2**-0.5, 0.5, 2**-1.5])
    assert make_levels(np.zeros((38, 55), np.float32))[1].gray.shape == (54, 78)


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

    picture = np.zeros((37, 1003), np.float32)
    picture[5, 7] = 1  # a page of one brightness is not looked at
    assert read_page(picture, None, detect) == []
    assert shapes
    assert all(side % SIDE_MULTIPLE == 0 for shape in shapes for side in shape)


# What the classifier and the detector say of a digit


def sheet():
    """A dark stroke where the planted digit is."""
    gray = np.full((200, 256), 0.9, np.float32)
    gray[60:90, 104:108] = 0.2
    return gray


def read_one(row, score=0.8):
    lines = read_page(sheet(), lambda images: np.array([row] * len(images)), planted([(100, 58, 112, 92, score, 4)]))
    return lines[0][0] if lines else None


def pooled(*rows):
    """The geometric mean of opinions on which digit it is, as probabilities."""
    powers = np.prod([(np.asarray(row) + 1e-4) ** 0.5 for row in rows], axis=0)
    return powers / powers.sum()


OWN = np.full(10, 1 / (np.exp(7) + 9))  # the opinion of a planted detector
OWN[4] = np.exp(7) / (np.exp(7) + 9)


def test_confidence_is_that_of_a_digit_times_both_opinions():
    opinion = pooled(OWN, [0, 0.9, 0, 0, 0.1, 0, 0, 0, 0, 0])
    digit = read_one([0, 0.9, 0, 0, 0.1, 0, 0, 0, 0, 0], 0.95)
    # Clear, dark, 34 pixels high, on a photo of 200 pixels; found at one level only, and nothing else on the page
    odds = [0.95 / 0.05, 30, 0.3, 34, 34 / 200, opinion[4] / (1 - opinion[4]), 1]
    features = [*np.log(odds), 0, 0, 0.6, 0, 0, 1, 0]
    assert 0.02 < 1 / (1 + np.exp(-WEIGHTS @ [*features, 1])) < 0.98  # so it is scored again
    center = 1 / (1 + np.exp(-RESCORED_WEIGHTS @ [*features, AGAIN, 1]))
    assert (digit.digit, digit.second_digit) == (4, 1)
    assert digit.confidence == pytest.approx(center * opinion[4], abs=1e-3)
    assert digit.second_confidence == pytest.approx(center * opinion[1], abs=1e-3)


def test_a_surer_detector_a_clearer_digit_a_neighbor_and_any_other_make_more_confident():
    one = np.eye(10)[4]
    assert read_one(one, 0.98).confidence > read_one(one, 0.95).confidence
    assert read_one(one, 0.98).confidence > read_one(pooled(one, OWN[::-1]), 0.98).confidence

    def beside(left):
        gray = sheet()
        gray[60:90, left + 4 : left + 8] = 0.2
        digits = [(100, 58, 112, 92, 0.95, 4), (left, 58, left + 12, 92, 0.9, 4)]
        lines = read_page(gray, lambda images: np.array([one] * len(images)), planted(digits))
        return {digit.box[0]: digit.confidence for line in lines for digit in line}.get(100, 0)

    assert beside(130) > beside(220) > read_one(one, 0.95).confidence
    assert all(WEIGHTS[[0, 4, 5, 6, 7, 8, 9, 12, 13]] > 0)
    assert all(WEIGHTS[[10, 11]] < 0)  # what goes on below a 0, and aside


def plain_surroundings(detections, inked, index):
    """The surest neighbor in the line, and the mean of the others on the page, by a plain loop."""
    one = detections[index]
    beside, others = [0.0], [0.6, 0.5 * 0.6]  # one and a half are supposed
    for other, has_ink in zip(detections, inked, strict=True):
        if other is one:
            continue
        taller, lower = max(one.height, other.height), min(one.height, other.height)
        gap = max(other.left - one.right, one.left - other.right)
        level = abs((other.top + other.bottom) / 2 - (one.top + one.bottom) / 2) < 0.5 * taller
        if gap < 2.5 * lower and level and taller < 2.5 * lower:
            beside.append(other.score)
        if has_ink:
            others.append(other.score)
    return [max(beside), sum(others) / (len(others) - 0.5)]


def plain_likeness(detections, cuts, index):
    """The share of the others that are as high, and how much fainter it is than they are, by a plain loop."""
    near, total, logarithms = 0.5, 0.5, 0.0
    for other, cut in zip(detections, cuts, strict=True):
        if other is detections[index] or cut is None:
            continue
        ratio = np.log(other.height / detections[index].height)
        near += other.score**2 * np.exp(-(ratio**2) / (2 * 0.25**2))
        total += other.score**2
        logarithms += other.score**2 * np.log(cut.contrast)
    usual = logarithms / (total - 0.5) if total > 0.5 else np.log(cuts[index].contrast)
    return [near / total, min(np.log(cuts[index].contrast) - usual, 0)]


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_evidence_of_the_line_and_the_page(count):
    random = np.random.default_rng(count)
    detections, cuts = [], []
    for _ in range(count):
        left, top, height = *random.uniform(0, 300, 2), random.uniform(10, 40)
        detections.append(Detection(left, top, left + 0.6 * height, top + height, random.random(), np.full(10, 0.1)))
        leaving, contrast = (random.choice([0.0, 0.02, 0.2]), random.choice([0.06, 0.5])), random.uniform(0.05, 0.5)
        image = np.zeros((28, 28), np.uint8)
        cuts.append(Cutout(image, contrast, 20.0, leaving) if random.random() < 0.8 or count < 3 else None)
    opinions = random.dirichlet(np.ones(10), count)
    rows = detection_features(detections, cuts, opinions, np.zeros(count), 500.0)
    inked = [cut is not None for cut in cuts]
    for i, (row, cut) in enumerate(zip(rows, cuts, strict=True)):
        if cut is None:
            assert not row.any()
            continue
        assert row[8:10] == pytest.approx(plain_surroundings(detections, inked, i))
        assert row[10] == pytest.approx(opinions[i, 0] * min(cut.ink_outside[0] / 0.08, 1))
        assert row[11] == pytest.approx(0.2 if cut.ink_outside[1] == 0.06 else 1)
        assert row[12:14] == pytest.approx(plain_likeness(detections, cuts, i))
        assert row[14] == 1


def test_a_digit_of_an_unsure_class_is_read_again():
    """Its box a little larger, then smaller; the opinions are pooled as logarithms. A sure one is read once."""
    asked = []

    def classify(images):
        asked.append(len(images))
        rows = np.tile(np.full(10, 1e-4), (len(images), 1))
        rows[:, 4], rows[:, 9] = (0.4996, 0.4996) if len(asked) == 1 else (0.9892, 0.01)
        return rows

    gray = sheet()
    for left in (30, 60, 140, 170):
        gray[60:90, left + 4 : left + 8] = 0.2
    places = [(left, 58, left + 12, 92, 0.9, 4) for left in (30, 60, 100, 140, 170)]
    flat = planted(places)

    def detect(contrast):
        maps = flat(contrast)
        maps[5:, maps[0] > -9] = 0  # no opinion which digit it is
        return maps

    lines = read_page(gray, classify, detect)
    assert asked == [5, 10]
    first, looks = np.full(10, 1e-4), np.full(10, 1e-4)
    first[[4, 9]], looks[4], looks[9] = 0.4996, 0.9892, 0.01
    first, looks = (pooled(np.full(10, 0.1), row) for row in (first, looks))
    expected = (first * looks**2) ** (1 / 3)
    digit = lines[0][2]
    assert digit.digit == 4
    assert digit.second_confidence / digit.confidence == pytest.approx(expected[9] / expected[4], rel=1e-3)

    asked.clear()
    read_page(gray, lambda images: (asked.append(len(images)), np.eye(10)[[4] * len(images)])[1], flat)
    assert asked == [5]


def test_no_digit_is_the_eleventh_class():
    row = np.zeros(11)
    row[[4, 10]] = 0.75, 0.25
    without, with_none = read_one(np.eye(10)[4], 0.95).confidence, read_one(row, 0.95).confidence
    odds = without / (1 - without), with_none / (1 - with_none)
    assert odds[1] / odds[0] == pytest.approx(0.75 ** WEIGHTS[6], rel=0.02)
    assert read_one(np.eye(11)[10], 0.7) is None


def test_other_classes_are_the_classifiers_alone():
    digit = read_one(np.array([0.1, 0.1, 0.7, 0.1]), 0.99)
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


@pytest.mark.parametrize(("height", "kept"), [(14, False), (30, True), (60, False)])
def test_a_doubtful_stroke_in_a_line_of_its_own_is_a_one_if_it_is_as_tall_as_the_pages_digits(height, kept):
    """Regression: 1 and 11 in lines of their own were dropped, as ticks of an axis are, unless they were 90% sure."""
    gray = np.full((200, 256), 0.9, np.float32)
    gray[40:70, 40:60] = gray[40:70, 100:120] = 0.2
    gray[130 : 130 + height, 180:184] = 0.2
    digits = [(40, 40, 60, 70, 0.95, 3), (100, 40, 120, 70, 0.94, 8), (180, 130, 184, 130 + height, 0.93, 1)]
    lines = read_page(gray, lambda images: np.eye(10)[[3, 8, 1][: len(images)]], planted(digits, again=0.5))
    assert [digit.digit for line in lines for digit in line] == ([3, 8, 1] if kept else [3, 8])
    if kept:
        assert lines[1][0].confidence < 0.9


@pytest.mark.parametrize(("count", "kept"), [(3, True), (6, False)])
def test_what_is_many_times_as_high_as_the_other_digits_is_none(count, kept):
    gray = np.full((200, 256), 0.9, np.float32)
    gray[5:180, 20:60] = 0.2
    digits = [(20, 5, 60, 180, 0.999, 1)]
    for k in range(count):
        gray[60:84, 90 + 25 * k : 106 + 25 * k] = 0.2
        digits.append((90 + 25 * k, 60, 106 + 25 * k, 84, 0.95, 4))
    lines = read_page(gray, lambda images: np.eye(10)[[4] * len(images)], planted(digits))
    assert (20 in [digit.box[0] for line in lines for digit in line]) == kept


@pytest.mark.parametrize(("score", "kept"), [(0.65, False), (0.999, True)])
def test_ink_much_fainter_than_the_others_is_no_digit_unless_it_is_surely_one(score, kept):
    gray = sheet()
    gray[60:90, 30:34] = 0.75
    digits = [(100, 58, 112, 92, 0.95, 4), (26, 58, 38, 92, score, 4)]
    lines = read_page(gray, lambda images: np.eye(10)[[4] * len(images)], planted(digits, again=0.5))
    assert [digit.box[0] for line in lines for digit in line] == ([26, 100] if kept else [100])


@pytest.mark.parametrize(
    ("width", "joined", "again", "kept"),
    [(6, 0.9, 0.0, False), (6, 0.9, 0.6, True), (6, 0.2, 0.0, True), (20, 0.9, 0.0, True)],
)
def test_a_stroke_that_joins_lines_at_both_ends_is_no_one_unless_two_levels_show_it(width, joined, again, kept):
    """Regression: the sides of cells as high as the digits in them were read as 1."""
    detections = [Detection(10, 10, 10 + width, 50, 0.8, np.eye(10)[1], other_level_score=again)] * 2
    cuts = [Cutout(np.zeros((28, 28), np.uint8), 0.2, 20.0, joined_share=joined), None]
    assert _without_table_lines(np.array([0.9, 0.0]), detections, cuts).tolist() == [0.9 * kept, 0.0]
