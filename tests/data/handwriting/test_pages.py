"""Synthetic pages: the same from the same seed, with exact boxes, and different digits to train and to measure with."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chainrule.data import mnist
from chainrule.data.handwriting import traces
from chainrule.data.handwriting.camera import Camera, homography, to_picture
from chainrule.data.handwriting.compose import take, tilted
from chainrule.data.handwriting.ink import InkStyle, draw_ink
from chainrule.data.handwriting.pages import KINDS, make_page
from chainrule.data.handwriting.sheet import blank

SMALL = 200_000  # pixels: quick to make


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_page(kind):
    one, other = (make_page(kind, 3, max_pixels=SMALL) for _ in range(2))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.lines == other.lines
    assert one.image.mode in ("RGB", "RGBA")
    for digit in one.digits:
        assert 0 <= digit.label <= 9
        left, top, right, bottom = digit.box
        assert left < right
        assert top < bottom


def test_pages_to_train_and_to_measure_with_differ():
    pages = [make_page("strips", seed, train=train) for seed in (0, 1) for train in (False, True)]
    assert len({page.image.tobytes() for page in pages}) == 4


@pytest.mark.parametrize("train", [False, True])
def test_digits_are_those_of_their_part_of_mnist(train, monkeypatch):
    data = mnist()
    labels = data.train_labels if train else data.test_labels
    chosen = []
    original = traces.mnist_traces

    def recorded(*, train, indices):
        made = original(train=train, indices=indices)
        chosen.append((train, list(indices), [trace.label for trace in made]))
        return made

    monkeypatch.setattr("chainrule.data.handwriting.writing.mnist_traces", recorded)
    make_page("strips", 4, train=train)
    assert chosen
    for part, indices, made in chosen:
        assert part is train
        assert made == labels[indices].tolist()


def test_a_box_is_tight_around_the_ink():
    """In a picture in perspective: compared with the dark pixels of a picture with one digit alone."""
    random = np.random.default_rng(5)
    for trace in traces.mnist_traces(train=False, indices=range(8)):
        sheet = blank(random, (300, 260), (1, 1, 1), rough=0)
        mark = sheet.write(trace, InkStyle((0, 0, 0), width=0.1), 150, 50.3, 60.7, random)
        sheet.lines.append([mark])
        corners = tilted(random, (520, 600), (260, 300), zoom=0.95, angle=8, tilt=0.05)
        page = take(
            sheet, Camera(size=(520, 600), corners=corners), random, background=np.ones((600, 520, 3), np.float32)
        )
        rows, columns = np.nonzero(np.asarray(page.image.convert("L")) < 128)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert page.digits[0].box == pytest.approx(box, abs=2.5)


def test_a_homography_maps_its_four_points():
    source = np.array([(0, 0), (7, 0), (7, 5), (0, 5)], float)
    target = np.array([(1, 2), (9, 1), (8, 8), (0, 6)], float)
    np.testing.assert_allclose(to_picture(homography(source, target), source), target, atol=1e-9)


def test_thinning_keeps_a_line_of_one_pixel_along_the_middle():
    masks = np.zeros((2, 30, 40), bool)
    masks[0, 10:17, 5:35] = True
    masks[1, 4:26, 12:19] = True
    masks[1, 8:22, 14:17] = False  # a ring
    level, ring = traces.thin(masks)
    assert set(level[:, 12:28].sum(axis=0)) == {1}
    assert level[13, 12:28].all()
    assert set(ring[10:20].sum(axis=1)) == {2}


def test_a_trace_written_at_its_own_size_covers_the_digit_it_was_made_of():
    images = mnist().test_images[:12]
    overlap = []
    for trace, image in zip(traces.mnist_traces(train=False, indices=range(12)), images, strict=True):
        rows, columns = np.nonzero(image > 128)
        stroke = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] > 128
        ink = draw_ink(trace, InkStyle((0, 0, 0), width=0.15, natural=1), 17, np.random.default_rng(0), (0, 0))
        rows, columns = np.nonzero(ink.coverage > 0.5)
        tight = ink.coverage[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        again = np.asarray(Image.fromarray(tight).resize(stroke.shape[::-1], Image.Resampling.BILINEAR)) > 0.5
        overlap.append((again & stroke).sum() / (again | stroke).sum())
    assert np.mean(overlap) > 0.65


def test_ink_is_as_wide_and_dark_as_the_pen():
    stem = traces.from_strokes([[(0.0, 0.0), (0.0, 1.0)]])
    for width, opacity in ((0.05, 0.4), (0.2, 0.9)):
        ink = draw_ink(stem, InkStyle((0, 0, 0), width=width, opacity=opacity), 100, np.random.default_rng(0), (0, 0))
        middle = ink.coverage[ink.coverage.shape[0] // 2]
        assert middle.sum() == pytest.approx(100 * width, abs=0.6)
        assert ink.darkness[ink.coverage > 0].max() == pytest.approx(opacity)


def test_strokes_to_the_side_are_faint():
    corner = traces.from_strokes([[(0.0, 0.0), (0.0, 1.0)], [(0.3, 1.0), (1.0, 1.0)]])
    ink = draw_ink(corner, InkStyle((0, 0, 0), direction=0.75), 100, np.random.default_rng(0), (0, 0))
    stem, foot = -ink.left, 100 - ink.top
    assert ink.darkness[50 - ink.top, stem] == pytest.approx(1)
    assert ink.darkness[foot, 70 - ink.left] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense", 0), "there is no kind 'nonsense'; there are strips"),
        (("strips", -1), "the seed must be at least 0, got -1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_page(*arguments)


def test_a_page_of_at_most_so_many_pixels():
    for seed in range(6):
        image = make_page("everyday", seed, max_pixels=50_000).image
        assert isinstance(image, Image.Image)
        assert image.width * image.height <= 52_000
    with pytest.raises(ValueError, match="max_pixels must be at least 10,000, got 5"):
        make_page("everyday", 0, max_pixels=5)
