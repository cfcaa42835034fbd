"""Synthetic pages: the same from the same seed, with exact boxes, and different digits to train and to measure with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from chainrule.data import mnist
from chainrule.data.handwriting import everyday, traces
from chainrule.data.handwriting.camera import Camera, homography, to_picture
from chainrule.data.handwriting.compose import take, tilted
from chainrule.data.handwriting.ink import InkStyle, draw_ink
from chainrule.data.handwriting.pages import KINDS, make_page
from chainrule.data.handwriting.sheet import blank
from chainrule.data.handwriting.writing import Hand, Spacing, write_line

SMALL = 200_000  # pixels: quick to make


def pages(kind, count=4):
    return [make_page(kind, seed, max_pixels=SMALL) for seed in range(count)]


def dark_ink(page):
    """A mask (height, width) of what is clearly darker than the paper."""
    gray = np.asarray(page.image.convert("L"), float)
    return gray < 0.6 * np.median(gray)


def sides(box):
    left, top, right, bottom = box
    return right - left, bottom - top


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


# Each kind is what its name says


def test_strips_are_long_and_low_with_strokes_of_some_pixels():
    for page in pages("strips"):
        assert page.image.width >= 3.5 * page.image.height
        assert max(sides(digit.box)[1] for digit in page.digits) > 0.35 * page.image.height


def test_strokes_of_faint_pages_are_dark_and_faint():
    """Of the ink, a good part has less than half of the contrast of the darkest tenth."""
    for page in pages("faint", 2):
        gray = np.asarray(page.image.convert("L"), float)
        shares = []
        for digit in page.digits:
            left, top, right, bottom = (round(side) for side in digit.box)
            window = gray[top - 3 : bottom + 3, left - 3 : right + 3]
            contrast = 1 - window / np.median(window)
            stroke = contrast[contrast > 0.07]
            shares.append((stroke < 0.5 * np.percentile(stroke, 90)).mean())
        assert np.mean(shares) > 0.3


def test_strokes_of_broad_pages_are_a_twentieth_of_the_shorter_side_and_more():
    for page in pages("broad"):
        distance = ndimage.distance_transform_edt(np.pad(dark_ink(page), 1))
        ridge = distance[(distance == ndimage.maximum_filter(distance, 3)) & (distance > 1)]
        assert 0.035 < 2 * np.median(ridge) / min(page.image.size) < 0.11


def test_light_on_dark_pages_are_dark_with_lighter_digits():
    for page in pages("light on dark"):
        gray = np.asarray(page.image.convert("L"), float)
        assert np.median(gray) < 110
        for digit in page.digits:
            left, top, right, bottom = (round(side) for side in digit.box)
            window = gray[max(0, top) : bottom, max(0, left) : right]
            assert window.max() > np.median(gray) + 15


def test_frames_are_straight_lines_apart_from_the_digit():
    for page in pages("frames", 6):
        gray = np.asarray(page.image.convert("L"), float)[:, ::2]
        assert len(page.digits) == 1
        dark = gray < 0.8 * ndimage.percentile_filter(gray[::2], 50, 13).repeat(2, axis=0)[: len(gray)]
        rows, columns = dark.mean(axis=1), dark.mean(axis=0)
        assert max(rows.max(), columns.max()) > 0.6


def test_colors_show_in_alpha_or_in_a_channel_but_not_in_luminance():
    modes = set()
    for page in pages("colors", 8):
        modes.add(page.image.mode)
        if page.image.mode == "RGBA":
            assert np.ptp(np.asarray(page.image)[..., 3]) == 255
            assert np.ptp(np.asarray(page.image.convert("RGB")).reshape(-1, 3), axis=0).max() == 0
        else:
            left, top, right, bottom = (round(side) for side in page.digits[0].box)
            window = np.asarray(page.image, float)[top:bottom, left:right]
            channels = np.percentile(window, 99, axis=(0, 1)) - np.percentile(window, 1, axis=(0, 1))
            gray = window @ (0.299, 0.587, 0.114)
            assert channels.max() > 60
            assert np.percentile(gray, 99) - np.percentile(gray, 1) < 30
    assert modes == {"RGB", "RGBA"}


def test_several_is_two_or_three_digits():
    assert {len(page.digits) for page in pages("several", 8)} == {2, 3}


def test_clutter_has_more_edges_beside_the_digits_than_in_them():
    for page in pages("clutter", 3):
        gray = np.asarray(page.image.convert("L"), float)
        edges = np.hypot(ndimage.sobel(gray, 0), ndimage.sobel(gray, 1)) > 40
        inside = np.zeros_like(edges)
        for digit in page.digits:
            left, top, right, bottom = (round(side) for side in digit.box)
            inside[top:bottom, left:right] = True
        assert page.digits
        assert (edges & ~inside).sum() > 2 * (edges & inside).sum()


def test_cells_are_tiny_and_their_digits_close_together():
    close = 0
    for page in pages("cells", 8):
        width, height = page.image.size
        assert 55 <= width <= 172
        assert 38 <= height <= 84
        assert len(page.digits) >= 1
        boxes = sorted(digit.box for digit in page.digits)
        close += sum(after[0] - before[2] < 3 for before, after in pairwise(boxes))
    assert close >= 8


def test_digits_that_touch_share_no_more_than_a_part_of_their_width():
    """Regression: a 1 was written on the right side of a 5."""
    random = np.random.default_rng(0)
    hand, pen = Hand(random, train=True, drawn=1.0), InkStyle((0, 0, 0), width=0.08)
    sheet = blank(random, (120, 900), (1.0, 1.0, 1.0), rough=0)
    traces = [hand.draw(digit) for digit in "5151810151"]
    line = write_line(sheet, hand, traces, pen, 60, (10, 20), Spacing(-0.6, 0.3), random)
    extents = sorted(mark.extent for mark in line)
    assert len(extents) == 10
    for before, after in pairwise(extents):
        shared = before[2] - after[0]
        assert 0 < shared < 0.3 * min(before[2] - before[0], after[2] - after[0]) + 2


def test_black_and_white_scans_keep_the_strokes_of_faint_digits():
    """Regression: the threshold was the paper's brightness times a number, and pencil fell apart into dots."""
    scans = kept = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        page = everyday.scan(random, Hand(random, train=True), everyday.Format((500, 400), (500, 400)))
        gray = np.asarray(page.image.convert("L"))
        if len(np.unique(gray)) > 2:
            continue
        for digit in page.digits:
            left, top, right, bottom = (max(0, round(side)) for side in digit.box)
            scans += 1
            kept += (gray[top : bottom + 1, left : right + 1] == 0).any(axis=1).mean() > 0.9
    assert scans > 25
    assert kept / scans > 0.95


def test_habits_are_ones_fours_and_nines():
    assert {digit.label for page in pages("habits", 6) for digit in page.digits} == {1, 4, 9}


def test_plots_have_a_white_margin_with_numbers_that_are_ignored():
    for page in pages("plots"):
        assert len(page.digits) == 1
        assert len(page.ignored) >= 6
        assert np.asarray(page.image)[:3].min() > 240


def test_everyday_pages_are_of_many_sizes():
    sizes = [make_page("everyday", seed, max_pixels=SMALL).image.size for seed in range(12)]
    assert len(set(sizes)) >= 8
    assert min(width * height for width, height in sizes) < 60_000
    assert max(max(size) / min(size) for size in sizes) > 3


def test_pages_without_digits():
    assert not any(page.digits or page.ignored for page in pages("no digits"))


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
        (("strips", -1), "the seed must be an integer of at least 0, got -1"),
        (("strips", 0.5), "the seed must be an integer of at least 0, got 0.5"),
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
