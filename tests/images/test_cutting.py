"""A digit cut out of its surroundings: its own ink, nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from chainrule.images import cutting
from chainrule.images.cutting import cut_out
from chainrule.images.detection import Detection
from chainrule.images.pyramid import make_levels
from chainrule.reading import classifier
from chainrule.training import run as runs

from .drawn import draw_digits

BOX = (100, 60, 148, 140)  # of a digit of 80 pixels


def cut(picture, box=BOX):
    gray = np.asarray(picture, np.float32) / 255
    return cut_out(make_levels(gray), [Detection(*box, 0.9, np.full(10, 0.1))])[0]


def three(**options):
    return draw_digits("3", (260, 200), 80, 6, BOX[:2], 0, **options)


def test_the_ink_of_a_digit():
    alone = cut(three(ink=40, paper=220))
    assert alone.image.shape == (28, 28)
    assert alone.image.max() == 255
    assert alone.contrast == pytest.approx(180 / 255, abs=0.05)
    assert alone.clarity > 50
    rows, columns = np.nonzero(alone.image > 60)
    assert 18 <= np.ptp(rows) <= 21
    assert 9 <= np.ptp(columns) <= 16


def test_light_ink_is_cut_out_like_dark_ink():
    dark, light = cut(three(ink=20, paper=235)).image, cut(three(ink=235, paper=20)).image
    assert np.abs(dark.astype(int) - light).max() <= 2


def test_neighbors_rules_and_frames_are_left_out():
    alone = cut(three()).image.astype(int)
    beside = draw_digits("838", (260, 200), 80, 6, (BOX[0] - 62, BOX[1]), 62)
    assert np.abs(cut(beside).image - alone).mean() < 2
    framed = three()
    ImageDraw.Draw(framed).rectangle((86, 44, 164, 156), outline=0, width=3)
    assert np.abs(cut(framed).image - alone).mean() < 2


@pytest.mark.parametrize("slope", [-0.1, 0.0, 0.06])
@pytest.mark.parametrize(("width", "tone"), [(3, 0), (8, 0), (5, 120)])
def test_lines_through_a_digit_are_left_out(monkeypatch, slope, width, tone):
    """Regression: squared paper and forms, whose lines were taken for ink, and the digit for none."""
    picture = three()
    draw = ImageDraw.Draw(picture)
    for across, down in ((-22, -22), (30, 18)):
        draw.line((0, 100 + down - 130 * slope, 260, 100 + down + 130 * slope), fill=tone, width=width)
        draw.line((126 + across + 100 * slope, 0, 126 + across - 100 * slope, 200), fill=tone, width=width)
    alone, clean = cut(three()).image.astype(int), cut(picture).image
    assert classifier(runs.shipped())(clean[None])[0, :10].argmax() == 3
    monkeypatch.setattr(cutting, "MIN_SHOWN", np.inf)  # lines stay
    assert np.abs(cut(picture).image - alone).mean() > 1.4 * np.abs(clean - alone).mean()


def test_strokes_that_end_beside_a_digit_are_no_lines():
    """A bar and a stem as long as the digit, and a 1 that touches both borders of its picture, stay."""
    picture = Image.new("L", (260, 200), 255)
    draw = ImageDraw.Draw(picture)
    draw.line((100, 100, 148, 100), fill=0, width=8)
    draw.line((124, 60, 124, 140), fill=0, width=8)
    plus = cut(picture).image
    assert plus[13:15, 9:19].max(axis=0).min() > 120
    assert plus[5:23, 13:15].max(axis=1).min() > 120
    one = Image.new("L", (40, 84), 255)
    ImageDraw.Draw(one).line((20, 0, 20, 84), fill=0, width=7)
    rows = np.flatnonzero((cut(one, (16, 0, 24, 84)).image > 120).any(axis=1))
    assert len(rows) >= 18


def test_a_touching_neighbor_is_cut_off():
    touching = three()
    ImageDraw.Draw(touching).line((BOX[2], 100, 200, 100), fill=0, width=6)
    assert np.abs(cut(touching).image - cut(three()).image.astype(int)).mean() < 12


def test_faint_parts_are_shown_as_dark_as_the_others():
    picture = np.asarray(three(ink=40, paper=220)).astype(float)
    picture[60:100] = 220 - (220 - picture[60:100]) * 0.4
    faint = cut(Image.fromarray(picture.astype(np.uint8))).image
    assert faint[4:13].max() > 200
    assert np.abs(faint - cut(three(ink=40, paper=220)).image.astype(int)).mean() < 12


def test_grain_and_blank_paper():
    grain = np.clip(np.random.default_rng(0).normal(200, 4, (200, 260)), 0, 255).astype(np.uint8)
    part = cut(Image.fromarray(grain))
    assert part is None or part.clarity < 3
    assert cut(Image.new("L", (260, 200), 200)) is None


def test_a_digit_at_the_border_and_no_digits():
    picture = draw_digits("3", (60, 84), 80, 6, (4, 2), 0)
    assert cut(picture, (4, 2, 52, 82)).image.max() == 255
    assert cut_out(make_levels(np.ones((60, 60), np.float32)), []) == []


def test_nothing_beyond_the_photo_is_ink():
    """Regression: strokes that touch the border of a photo went on beyond it, to the end of a box that was too wide."""
    digit = draw_digits("2", (148, 200), 80, 6, BOX[:2], 0)
    ImageDraw.Draw(digit).line((140, 100, 148, 100), fill=0, width=6)
    wider = Image.new("L", (200, 200), 255)
    wider.paste(digit)
    box = (BOX[0], BOX[1], 160, BOX[3])
    assert np.abs(cut(digit, box).image - cut(wider, box).image.astype(int)).mean() < 3


@pytest.mark.parametrize("dark", [True, False])
def test_broad_strokes_on_a_narrow_panel(dark):
    """Regression: a digit of broad strokes fills its panel, and paper of the ink's brightness lies around it."""
    ink, panel = (25, 215) if dark else (215, 25)
    sheet = Image.new("L", (260, 260), 255 - panel)
    sheet.paste(draw_digits("2", (130, 150), 100, 22, (32, 25), 0, ink, panel), (65, 55))
    image = cut(sheet, (86, 70, 168, 190)).image
    assert classifier(runs.shipped())(image[None])[0].argmax() == 2


def test_how_much_of_the_ink_goes_on_beyond_the_box():
    assert cut(draw_digits("0", (260, 200), 80, 6, BOX[:2], 0)).ink_outside == pytest.approx((0, 0), abs=1e-5)
    bowl = draw_digits("0", (260, 200), 40, 6, (100, 80), 0)
    ImageDraw.Draw(bowl).line((100, 80, 100, 160), fill=0, width=6)  # the stem of a p
    down, aside = cut(bowl, (98, 77, 127, 123)).ink_outside
    assert 0.08 < down < 0.3
    assert aside == pytest.approx(0, abs=1e-5)
    touching = three()
    ImageDraw.Draw(touching).line((140, 119, 200, 119), fill=0, width=6)
    down, aside = cut(touching).ink_outside
    assert down == pytest.approx(0, abs=1e-5)
    assert 0.05 < aside < 0.4


def test_the_line_between_two_cells_joins_others_at_both_ends():
    """Regression: where cells are as high as digits, the lines between them were read as 1."""
    sheet = Image.new("L", (260, 200), 255)
    pen = ImageDraw.Draw(sheet)
    for y in (58, 142):
        pen.line((0, y, 260, y), fill=60, width=3)
    for x in (44, 124, 204):
        pen.line((x, 58, x, 142), fill=60, width=3)
    assert cut(sheet, (120, 60, 128, 140)).joined_share > 0.9
    pen.line((164, 70, 164, 130), fill=60, width=3)  # a 1 in a cell
    assert cut(sheet, (160, 70, 168, 130)).joined_share == 0
    pen.line((84, 70, 84, 142), fill=60, width=3)  # one that stands on the line
    assert cut(sheet, (80, 70, 88, 142)).joined_share == 0
    for number in (1, 4, 7):
        assert cut(draw_digits(str(number), (260, 200), 80, 6, BOX[:2], 0)).joined_share < 0.1
