"""Of the boxes of a digit, one that does not cut it is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chainrule.images.classification import classify_detections
from chainrule.images.detection import Detection
from chainrule.images.pyramid import make_levels

from .drawn import draw_digits

FOUR = Detection(58, 38, 98, 82, 0.7, np.eye(10)[4])  # where the digit is
STROKE = Detection(78, 48, 92, 82, 0.8, np.eye(10)[1], other_level_score=0.6, larger=(FOUR,))  # only its stroke down


def looked_at(detections, row=None):
    """Judge boxes on a page with a 4, by a classifier with an opinion of its own, or none."""
    gray = np.asarray(draw_digits("4", (200, 120), 40, 4, (60, 40), 0), np.float32) / 255
    row = np.eye(11)[4] if row is None else row
    return classify_detections(make_levels(gray), detections, lambda images: np.tile(row, (len(images), 1)))


def sides(detection):
    return detection.left, detection.top, detection.right, detection.bottom


def test_the_larger_box_is_read_if_the_surer_one_cuts_strokes():
    """Regression: strokes of faint 4s, which are darker than the rest, were read as 1."""
    found, cuts, opinions, rows = looked_at([STROKE])
    assert [sides(one) for one in found] == [sides(FOUR)]
    assert (found[0].score, found[0].other_level_score) == (0.7, 0.6)
    assert opinions[0].argmax() == 4
    assert sum(cuts[0].ink_outside) < 0.02
    alone = looked_at([replace(FOUR, other_level_score=0.6)])
    assert np.array_equal(cuts[0].image, alone[1][0].image)
    assert np.array_equal(rows, alone[3])


def test_of_several_larger_boxes_the_surest_is_read():
    other = replace(FOUR, left=56, score=0.65)
    found = looked_at([replace(STROKE, larger=(FOUR, other))])[0]
    assert [sides(one) for one in found] == [sides(FOUR)]


@pytest.mark.parametrize("share", [0.2, 0.65])
def test_not_if_its_class_is_unknown(share):
    row = np.zeros(11)
    row[4], row[10] = share, 1 - share
    assert looked_at([STROKE], row)[0] == [STROKE]


def test_not_if_the_surer_one_cuts_nothing():
    whole = replace(FOUR, larger=(replace(FOUR, left=50, right=106, score=0.69),))
    assert looked_at([whole])[0] == [whole]


def test_not_if_another_digit_is_in_it():
    neighbor = Detection(58, 50, 76, 72, 0.75, np.eye(10)[7])
    assert looked_at([STROKE, neighbor])[0] == [STROKE, neighbor]
    doubtful = replace(neighbor, score=0.4)
    assert sides(looked_at([STROKE, doubtful])[0][0]) == sides(FOUR)


def test_nothing_is_judged_on_an_empty_page():
    found, cuts, opinions, rows = looked_at([])
    assert (found, cuts) == ([], [])
    assert opinions.shape == (0, 10)
    assert rows.shape == (0, 15)
