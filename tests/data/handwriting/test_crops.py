"""Crops of pages, and what the detector is to say about them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chainrule.data.handwriting import targets
from chainrule.data.handwriting.compose import Page, Written
from chainrule.data.handwriting.crops import Crop, CropMaker
from chainrule.data.handwriting.pages import make_page
from chainrule.data.handwriting.rows import SIDE, lay_patch
from chainrule.data.handwriting.targets import crop_page, detection_targets
from chainrule.images.detection import PADDING


@pytest.fixture(scope="module")
def crops():
    maker = CropMaker(np.random.default_rng(3))
    return [maker.make() for _ in range(60)]


def test_the_same_seed_gives_the_same_crops(crops):
    maker = CropMaker(np.random.default_rng(3))
    for crop in crops[:10]:
        again = maker.make()
        assert crop.gray.tobytes() == again.gray.tobytes()
        assert (crop.boxes == again.boxes).all()
        assert (crop.labels == again.labels).all()


def test_crops_are_of_every_kind(crops):
    labels = np.concatenate([crop.labels for crop in crops])
    assert {*labels.tolist()} == {-1, *range(10)}
    assert all(crop.gray.shape == (SIDE, SIDE) and crop.gray.dtype == np.uint8 for crop in crops)
    assert 0 < sum(len(crop.labels) == 0 for crop in crops) < 30
    means = [float(crop.gray.mean()) for crop in crops]
    assert min(means) < 100 < 200 < max(means)


def test_there_is_ink_in_every_box_that_is_asked_for(crops):
    for crop in crops:
        for box, label in zip(crop.boxes, crop.labels, strict=True):
            left, top, right, bottom = (int(side) for side in np.clip(np.rint(box), 0, SIDE))
            if label >= 0 and right - left > 4 and bottom - top > 4:
                assert np.ptp(crop.gray[top:bottom, left:right]) > 5


def test_a_patch_is_laid_where_it_is_within_the_canvas():
    canvas = np.zeros((4, 5), np.float32)
    lay_patch(canvas, np.full((3, 3), 0.5, np.float32), -1, 2)
    lay_patch(canvas, np.full((2, 2), 0.25, np.float32), 0, 2)
    lay_patch(canvas, np.ones((2, 2), np.float32), 5, 0)
    expected = np.zeros((4, 5))
    expected[2:, :2] = 0.5
    assert (canvas == expected).all()


def crop_of(*digits):
    boxes, labels = zip(*digits, strict=True)
    return Crop(np.zeros((SIDE, SIDE), np.uint8), np.array(boxes, np.float32), np.array(labels))


def test_targets_of_a_digit():
    near, weight, *box, box_weight = detection_targets(crop_of(((40, 36, 56, 60), 7)))[:7]
    row, column = np.argwhere(near == 1).tolist()[0]
    assert (near == 1).sum() == 1
    assert (row, column) == (12, 12) or (row, column) == (12, 11)  # the center, (48, 48), is between four positions
    assert weight.min() == 1
    assert box[0][row, column] == pytest.approx(np.log(24 / 22))
    assert box[1][row, column] == pytest.approx(np.log(16 / 22))
    assert 4 * (column + 0.5 + box[2][row, column]) == pytest.approx(48)
    assert 4 * (row + 0.5 + box[3][row, column]) == pytest.approx(48)
    assert box_weight[row, column] > 0.35
    digit = detection_targets(crop_of(((40, 36, 56, 60), 7)))[7:]
    assert digit[:, row, column].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("box", [(40, 40, 47, 48), (10, 10, 70, 90)], ids=["small", "large"])
def test_digits_of_another_level_are_none(box):
    maps = detection_targets(crop_of((box, 3)))
    assert maps[0].max() == 0
    assert maps[1].min() == 1


@pytest.mark.parametrize(("box", "label"), [((40, 40, 50, 52), 3), ((40, 40, 70, 80), 3), ((40, 36, 56, 60), -1)])
def test_doubtful_digits_are_neither_asked_for_nor_forbidden(box, label):
    maps = detection_targets(crop_of((box, label)))
    center = round((box[1] + box[3]) / 8 - 0.5), round((box[0] + box[2]) / 8 - 0.5)
    assert maps[1][center] == 0
    assert maps[1].sum() > 0.9 * maps[1].size


def test_crops_of_a_page_show_its_digits_where_they_say():
    page = make_page("strips", 3, train=True)
    gray = np.asarray(page.image.convert("L"))
    random, seen = np.random.default_rng(0), 0
    for _ in range(20):
        crop = crop_page(page, random)
        assert crop.gray.shape == (SIDE, SIDE)
        assert len(crop.labels) == len(page.digits) + len(page.ignored)
        for digit, box in zip(page.digits, crop.boxes, strict=False):
            left, top, right, bottom = box.tolist()
            if left >= 0 and top >= 0 and right <= SIDE and bottom <= SIDE and bottom - top > 20:
                part = gray[int(digit.box[1]) : int(digit.box[3]) + 1, int(digit.box[0]) : int(digit.box[2]) + 1]
                own = crop.gray[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
                assert abs(float(part.mean()) - float(own.mean())) < 12
                seen += 1
    assert seen > 10


def test_crops_are_cut_around_digits_not_around_what_is_ignored():
    """Regression: of a plot, with a dozen numbers beside the axes, its digit was hardly ever shown."""
    page, random = make_page("plots", 1, train=True), np.random.default_rng(0)
    assert len(page.ignored) > 5
    shown = 0
    for _ in range(40):
        left, top, right, bottom = crop_page(page, random).boxes[0].tolist()
        shown += left >= 0 and top >= 0 and right <= SIDE and bottom <= SIDE and 14 <= bottom - top <= 34
    assert shown > 20


@pytest.mark.parametrize(("places", "least", "most"), [(1, 30, 70), (12, 98, 100)])
def test_crops_without_digits_are_cut_where_something_is(monkeypatch, places, least, most):
    """A page that is written on to the right: of one place at random, half are there, and the busiest of 12 always."""
    monkeypatch.setattr(targets, "CANDIDATE_COUNTS", (places,))
    random = np.random.default_rng(2)
    gray = np.full((600, 900), 220, np.uint8)
    gray[:, 450:][random.random((600, 450)) < 0.1] = 30
    shown = sum(targets._busy_place(gray, 20, random)[0] > 430 for _ in range(100))
    assert least <= shown <= most


def test_crops_show_no_more_beyond_the_page_than_the_detector_sees():
    """A row or column beyond the page repeats its border: more than `PADDING` of them are seen only beside small pages."""
    random = np.random.default_rng(0)
    gray = np.arange(300 * 400, dtype=np.uint32).reshape(300, 400)
    page = Page(Image.fromarray((gray * 7919 >> 3).astype(np.uint8)), [[Written(1, (2.0, 3.0, 14.0, 25.0))]])
    for _ in range(60):
        crop = crop_page(page, random)
        left, top, _, bottom = crop.boxes[0].tolist()
        scale = (bottom - top) / 22
        if scale > SIDE / 250:  # the page is larger than the crop
            beyond_left, beyond_top = left - 2 * scale, top - 3 * scale
            assert max(beyond_left, beyond_top) <= PADDING + scale + 1


def test_panels_reverse_what_is_around_digits_and_nothing_else():
    maker = CropMaker(np.random.default_rng(5))
    sheet = np.full((256, 256), 0.8, np.float32)
    sheet[100:140, 60:66] = 0.2
    panels = maker._panels(sheet, [(60, 100, 66, 140)], 40.0)
    changed = panels != sheet
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert rows[0] < 100 < 140 < rows[-1] + 1 < 200
    assert 0 <= columns[0] < 60 < 66 < columns[-1] + 1 < 120
    assert panels[120, 62] > 0.6 > 0.4 > panels[rows[0], columns[0]]
