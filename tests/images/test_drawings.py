"""Drawings that show one difficulty each: strips, faint strokes, broad pens, light on dark, frames, bindings, cells."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from chainrule.images.page import read_page
from chainrule.models import load_detector
from chainrule.reading import classifier
from chainrule.training import run as runs

from .drawn import draw_digits, line


@pytest.fixture(scope="module")
def read():
    """A function from a picture to its lines, as texts."""
    classify, detect = classifier(runs.shipped()), load_detector()

    def lines_of(picture):
        lines = read_page(np.asarray(picture), classify, detect)
        return ["".join(str(digit.digit) for digit in line) for line in lines]

    return lines_of


@pytest.mark.parametrize("height", [40, 50, 75])
def test_digits_are_as_tall_as_their_strip(read, height):
    """What goes straight on for 35% of the shorter side is no ruled line if it is a 1, a 4 or a 7."""
    strip = draw_digits("0123456789", (1000, 150), height, 4, (60, (150 - height) // 2), 90)
    assert read(strip) == ["0123456789"]


@pytest.mark.parametrize("faint", [110, 150])
def test_faint_parts_of_a_stroke_belong_to_it(read, faint):
    """Four 4s whose open part is much paler than the stem."""
    sheet = Image.new("L", (3600, 1600), 210)
    pen = ImageDraw.Draw(sheet)
    for left in range(480, 3160, 680):
        line(pen, [(left + 48, 480), (left, 768), (left + 288, 768)], faint, 16)
        line(pen, [(left + 216, 504), (left + 206, 960)], 70, 16)
    assert read(sheet.resize((900, 400), Image.Resampling.BOX)) == ["4444"]


def test_strokes_of_five_to_nine_percent_of_the_shorter_side(read):
    small = draw_digits("18", (183, 146), 90, 9, (40, 28), 60).filter(ImageFilter.GaussianBlur(1))
    large = Image.new("L", (700, 500), 255)
    large.paste(small, (200, 180))
    assert read(small) == read(large) == ["18"]


@pytest.mark.parametrize(("ink", "paper"), [(255, 0), (235, 30), (200, 90)])
def test_light_on_dark(read, ink, paper):
    assert read(draw_digits("31415", (800, 400), 90, 7, (100, 150), 120, ink, paper)) == ["31415"]


@pytest.mark.parametrize(
    ("digit", "margin", "width"), [("2", 25, 2), ("5", 20, 4), ("7", 16, 3), ("9", 25, 2), ("2", 20, 4), ("5", 16, 3)]
)
def test_a_thin_box_around_a_digit(read, digit, margin, width):
    picture = draw_digits(digit, (200, 200), 100, 8, (70, 50), 0)
    ImageDraw.Draw(picture).rectangle((70 - margin, 50 - margin, 130 + margin, 150 + margin), outline=0, width=width)
    assert read(picture) == [digit]


def test_a_dark_border(read):
    picture = draw_digits("7", (100, 100), 60, 6, (32, 20), 0)
    ImageDraw.Draw(picture).rectangle((0, 0, 99, 99), outline=0, width=4)
    assert read(picture) == ["7"]


def test_the_axes_of_a_plot(read):
    picture = draw_digits("379", (600, 500), 60, 4, (200, 150), 110)
    pen = ImageDraw.Draw(picture)
    pen.line((80, 30, 80, 460), fill=0, width=3)
    pen.line((40, 420, 560, 420), fill=0, width=3)
    for number in range(8):
        pen.line((80 + number * 60, 412, 80 + number * 60, 428), fill=0, width=2)
        pen.line((72, 40 + number * 50, 88, 40 + number * 50), fill=0, width=2)
    assert read(picture) == ["379"]


def test_a_spiral_binding(read):
    picture = draw_digits("12345", (900, 600), 70, 5, (260, 120), 100, ink=40, paper=235)
    pen = ImageDraw.Draw(picture)
    for top in range(10, 600, 28):
        pen.ellipse((40, top, 58, top + 18), fill=30)
        pen.rectangle((20, top + 6, 50, top + 11), fill=60)
    assert read(picture.filter(ImageFilter.GaussianBlur(0.8))) == ["12345"]


@pytest.mark.parametrize(("text", "size"), [("100", (70, 38)), ("00", (90, 44)), ("100", (130, 60)), ("00", (172, 84))])
def test_cells_of_a_register(read, text, size):
    """Touching zeros, a printed rule through the digits, the first digit at the border."""
    height = 0.62 * size[1]
    cell = draw_digits(text, size, height, max(2, 0.07 * size[1]), (3, 0.18 * size[1]), 0.66 * height, 60, 220)
    ImageDraw.Draw(cell).line((0, 0.7 * size[1], size[0], 0.7 * size[1]), fill=170)
    assert read(cell.filter(ImageFilter.GaussianBlur(0.6))) == [text]


def test_a_minus_sign_is_no_digit(read):
    cell = draw_digits("25", (172, 84), 50, 4, (60, 16), 45, 60, 220)
    line(ImageDraw.Draw(cell), [(18, 42), (42, 41)], 60, 4)
    assert read(cell) == ["25"]


@pytest.mark.parametrize(
    ("digit", "side"), [*[(digit, 100) for digit in "0123456789"], *zip("0123456789", [40, 300] * 5, strict=True)]
)
def test_a_picture_of_one_digit(read, digit, side):
    height = 0.8 * side
    picture = draw_digits(digit, (side, side), height, 0.08 * side, (0.26 * side, 0.1 * side), 0)
    assert read(picture) == [digit]


def test_printed_letters_are_hardly_ever_digits(read):
    picture = Image.new("L", (800, 600), 240)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(40)
    text = ["the warm bath and the", "fern rank up the tan", "mark her name where", "we ran and then ate"]
    for number, words in enumerate(text):
        pen.text((60, 60 + 110 * number), words, 40, font)
    assert sum(map(len, read(picture))) <= 3
