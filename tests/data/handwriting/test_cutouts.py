"""What is cut out of pages: the digit that stands there, what is no digit, and the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.data.handwriting import cutouts
from chainrule.data.handwriting.pages import make_page
from chainrule.images.raster import resize


def centered(image: np.ndarray) -> np.ndarray:
    """Ink relative to its mean, of length 1."""
    ink = image.astype(float).ravel() - image.mean()
    return ink / np.linalg.norm(ink)


def test_a_cutout_shows_the_digit_in_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is most like the gray values in the box of its own digit, of all digits on its page."""
    monkeypatch.setattr(cutouts, "JITTER", (0.0, 0.0))
    page = make_page("strips", 5, train=True)
    gray = 255 - np.asarray(page.image.convert("L"), np.float32)
    digits = page.digits
    assert len(digits) > 4
    boxes = np.array([digit.box for digit in digits])
    cuts = cutouts._cut(cutouts._levels(page), boxes, np.random.default_rng(0))
    found = []
    for cut in cuts:
        assert cut is not None
        rows, columns = (np.flatnonzero(cut.any(axis=axis)) for axis in (1, 0))
        ink = cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        likeness = []
        for left, top, right, bottom in boxes.round().astype(int):
            part = np.ascontiguousarray(gray[top:bottom, left:right])
            likeness.append(float(centered(resize(part, ink.shape, "BILINEAR")) @ centered(ink)))
        found.append(int(np.argmax(likeness)))
    assert found == list(range(len(digits)))


def test_digits_and_marks_in_mnists_format(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[tuple[str, bool]] = []

    def page(kind: str, seed: int, *, train: bool, max_pixels: int) -> object:
        pages.append((kind, train))
        return make_page(kind, seed, train=train, max_pixels=max_pixels)

    monkeypatch.setattr(cutouts, "make_page", page)
    images, labels = cutouts.digit_cutouts(30, np.random.default_rng(3))
    assert (images.shape, images.dtype, labels.dtype) == ((30, 28, 28), np.uint8, np.uint8)
    assert len(set(labels.tolist())) > 5
    again, same = cutouts.digit_cutouts(30, np.random.default_rng(3))
    assert np.array_equal(images, again)
    assert np.array_equal(labels, same)
    marks = cutouts.mark_cutouts(12, np.random.default_rng(3))
    assert marks.shape == (12, 28, 28)
    for image in (*images, *marks):
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) <= 27
        assert image.max() > 200
    assert len({mark.tobytes() for mark in marks}) == 12
    assert all(train for _, train in pages)  # none of them is a page to measure with
    assert {kind for kind, _ in pages} >= {"cells", "strips", "no digits"}
    pages.clear()
    cutouts.digit_cutouts(2, np.random.default_rng(3), train=False)
    cutouts.mark_cutouts(1, np.random.default_rng(3), train=False)
    assert not any(train for _, train in pages)


def test_a_box_is_off_by_as_much_as_a_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.tile([10.0, 20.0, 40.0, 120.0], (4000, 1))
    seen = []
    monkeypatch.setattr(cutouts, "cut_out", lambda levels, detections: (seen.extend(detections), [])[1])
    cutouts._cut([], boxes, np.random.default_rng(0))
    off = np.array([(d.left, d.top, d.right, d.bottom) for d in seen]) - boxes
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=0.3)
    np.testing.assert_allclose(off.std(axis=0), [4.5, 3.3, 4.5, 3.3], rtol=0.05)


@pytest.mark.parametrize(("slope", "expected"), [(0.0, True), (0.6, True), (None, False)])
def test_a_straight_stroke_may_be_a_1_and_is_no_mark(slope: float | None, expected: bool) -> None:
    image = np.zeros((28, 28), np.uint8)
    for row in range(4, 24):
        for column in (14.0,) if slope is None else (14 + slope * (row - 14),):
            image[row, round(column) : round(column) + 2] = 255
    if slope is None:
        image[4:6, 8:22] = 255  # a T
    assert cutouts._is_stroke(image) is expected


def test_marks_are_neither_too_narrow_nor_too_wide_for_digits() -> None:
    from chainrule.images.pyramid import make_levels

    gray = np.ones((240, 320), np.float32)
    for left, top, right, bottom in ((30, 30, 60, 70), (100, 30, 106, 70), (150, 30, 300, 60), (30, 120, 34, 124)):
        gray[top : top + 4, left:right] = gray[bottom - 4 : bottom, left:right] = 0.2  # the outline of a box
        gray[top:bottom, left : left + 4] = gray[top:bottom, right - 4 : right] = 0.2
    (box,) = cutouts._mark_boxes(make_levels(gray))
    np.testing.assert_allclose(box, [30, 30, 60, 70], atol=2)
