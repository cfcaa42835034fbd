"""A page of digits: each is located, read, and assigned to its line; other objects are ignored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from chainrule.data import mnist
from chainrule.errors import PictureError
from chainrule.images.page import read_page
from chainrule.models import load_detector
from chainrule.reading import classifier
from chainrule.training import run as runs

from .pages import PAPERS, PENS, Score, in_common, make_page, score, stroke


@pytest.fixture(scope="module")
def read():
    """The pretrained classifier and the pretrained detector."""
    return classifier(runs.shipped()), load_detector()


def write(rows, size=(1000, 800), height=60, at=(100, 100), step=(90, 130), paper=0.9, ink=0.15, wider=-0.05):
    """Brightness of a sheet with rows of MNIST's test digits, each an easy example of its class."""
    images, labels = mnist().test_images, mnist().test_labels
    sheet = np.full((size[1], size[0]), paper, np.float32)
    for down, row in enumerate(rows):
        for across, digit in enumerate(row):
            drawn = stroke(images[np.flatnonzero(labels == int(digit))[2]], height, wider)
            top, left = at[1] + down * step[1], at[0] + across * step[0]
            region = sheet[top : top + drawn.shape[0], left : left + drawn.shape[1]]
            region *= 1 - drawn * (1 - ink)
    return sheet


def noisy(sheet, amount=0.01):
    return np.clip(sheet + np.random.default_rng(0).normal(0, amount, sheet.shape), 0, 1)


def digits_of(lines):
    return ["".join(str(digit.digit) for digit in line) for line in lines]


def rotated(sheet, degrees):
    picture = Image.fromarray(np.rint(255 * sheet).astype(np.uint8))
    return np.asarray(picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=int(255 * sheet[0, 0])))


# Detected


def test_lines_in_reading_order_with_boxes_and_confidences(read):
    lines = read_page(noisy(write(["314", "15", "9265"])), *read)
    assert digits_of(lines) == ["314", "15", "9265"]
    left, top, right, bottom = lines[2][1].box
    assert in_common((left, top, right, bottom), (190, 360, 235, 420)) > 0.6
    assert bottom - top == pytest.approx(60, abs=6)
    for digit in (digit for line in lines for digit in line):
        assert all(type(side) is int for side in digit.box)
        assert 0.5 < digit.confidence <= 1
        assert digit.image.shape == (28, 28)


@pytest.mark.parametrize(
    ("pen", "paper"),
    [*[(pen, "white") for pen in PENS], *[("faint pencil", paper) for paper in PAPERS if paper != "white"]],
)
def test_every_pen_and_the_faintest_on_every_paper(read, pen, paper):
    page = make_page(7, pen=pen, paper=paper, width=1000, lines=3)
    result = score(page, read_page(np.asarray(page.image.convert("L")), *read))
    assert result.matched >= 0.97 * result.written
    assert result.right >= 0.95 * result.matched
    assert result.false <= 1


@pytest.mark.slow
def test_pages_of_every_kind(read):
    """Of sides that are quick to make and read; benchmarks/pages.py has all, tests/attack a phone's."""
    total = Score()
    for seed in range(2000, 2010):
        page = make_page(seed, width=(800, 1000, 1200, 1500)[seed % 4])
        total += score(page, read_page(np.asarray(page.image.convert("L")), *read))
    assert total.written > 140
    assert total.matched >= 0.98 * total.written
    assert total.right >= 0.97 * total.matched
    assert total.false <= total.pages
    assert total.in_order >= 0.8 * total.pages


@pytest.mark.parametrize("degrees", [-4, 4])
def test_lines_that_climb_or_fall(read, degrees):
    rows = ["31415926", "53589793", "23846264"]
    assert digits_of(read_page(rotated(noisy(write(rows, step=(95, 110))), degrees), *read)) == rows


@pytest.mark.parametrize("size", [(700, 500), (4032, 3024)], ids=["small", "12 megapixels"])
def test_boxes_are_in_the_photos_own_pixels(read, size):
    scale = size[0] / 1000
    height, step = round(60 * scale), (round(90 * scale), round(130 * scale))
    lines = read_page(write(["27"], size, height, (round(500 * scale), round(300 * scale)), step), *read)
    assert digits_of(lines) == ["27"]
    left, top, _, bottom = lines[0][0].box
    assert (left, top, bottom) == pytest.approx((500 * scale, 300 * scale, 360 * scale), abs=6 * scale)


def test_one_large_digit(read):
    assert digits_of(read_page(noisy(write(["5"], (800, 800), 400, (250, 200))), *read)) == ["5"]


@pytest.mark.parametrize("digit", ["3", "5", "8"])
def test_a_marker_close_up_with_strokes_as_wide_as_a_shadow(read, digit):
    sheet = write([digit], (520, 540), 440, (60, 40), ink=0.45, wider=0.2)
    assert digits_of(read_page(noisy(sheet), *read)) == [digit]


def test_digits_of_a_third_of_its_size_beside_a_large_one(read):
    large = write(["5"], (900, 800), 330, (80, 60), wider=0.1)
    sheet = np.minimum(large, write(["2580"], (900, 800), 120, (80, 560), step=(180, 0)))
    assert digits_of(read_page(noisy(sheet), *read)) == ["5", "2580"]


def test_a_thin_pen(read):
    picture = Image.new("L", (1280, 720), 150)
    pen = ImageDraw.Draw(picture)
    for left in (200, 500, 800):
        pen.line([(left, 200), (left + 90, 200), (left + 30, 360)], fill=70, width=2)
    photo = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))) / 255
    assert digits_of(read_page(noisy(photo), *read)) == ["777"]


def test_small_zeros_close_to_tall_digits(read):
    sheet = write(["2", "6"], height=80, at=(200, 150), step=(0, 200))
    beside = [np.flatnonzero((sheet[top : top + 80] < 0.5).any(axis=0)).max() + 10 for top in (150, 350)]
    for left, top in zip(beside, (195, 395), strict=True):
        sheet = np.minimum(sheet, write(["0"], height=35, at=(left, top)))
    assert digits_of(read_page(noisy(sheet), *read)) == ["20", "60"]


def test_sizes_may_differ_from_line_to_line(read):
    sheet = write(["2718"], height=45)
    sheet = np.minimum(sheet, write(["2818"], height=100, at=(100, 300), step=(150, 0)))
    assert digits_of(read_page(noisy(sheet), *read)) == ["2718", "2818"]


def test_a_pencil_keeps_its_place_beside_a_marker(read):
    sheet = np.minimum(write(["2345"], ink=0.6), write(["6789"], at=(100, 300), ink=0.05, wider=0.1))
    assert digits_of(read_page(noisy(sheet), *read)) == ["2345", "6789"]


def test_broken_strokes_are_joined(read):
    sheet = write(["2380", "2580"], height=80, step=(120, 140))
    sheet[138:143, :320] = 0.9  # a gap across the first two
    lines = read_page(noisy(sheet), *read)
    assert [len(line) for line in lines] == [4, 4]
    assert digits_of(lines) == ["2380", "2580"]


def test_touching_digits_are_cut(read):
    sheet = write(["3"], height=80, step=(60, 0))
    columns = np.flatnonzero((sheet < 0.5).any(axis=0))
    step = int(columns[-1] - columns[0])
    sheet = np.minimum(
        write(["33"], height=80, step=(step - 2, 0)), write(["2580"], height=80, at=(100, 300), step=(120, 0))
    )
    assert digits_of(read_page(noisy(sheet), *read)) == ["33", "2580"]


def test_gray_values_as_bytes_read_the_same(read):
    sheet = noisy(write(["42"]))
    assert (
        digits_of(read_page(np.rint(255 * sheet).astype(np.uint8), *read))
        == digits_of(read_page(sheet, *read))
        == ["42"]
    )


def test_the_same_photo_gives_the_same_bits(read):
    sheet = noisy(write(["2718"]))
    one, other = read_page(sheet, *read), read_page(sheet, *read)
    assert [(d.box, d.confidence) for d in one[0]] == [(d.box, d.confidence) for d in other[0]]


# Ignored


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_empty_page(read, value):
    sheet = np.full((300, 400), value, np.float32)
    assert read_page(sheet, *read) == []
    sheet[150, 200] += 0.02 if value < 1 else -0.02  # a speck, so that the networks are asked
    assert read_page(sheet, *read) == []


def test_of_one_brightness_no_network_is_asked():
    def network(_):
        raise AssertionError("asked")

    for shape in [(300, 400), (3000, 2000)]:
        assert read_page(np.full(shape, 201, np.uint8), network, network) == []
    sheet = np.full((300, 400), 201, np.uint8)
    sheet[0, 0] = 200
    with pytest.raises(AssertionError, match="asked"):
        read_page(sheet, network, network)


def test_noise_alone(read):
    for amount in (0.02, 0.1):
        assert read_page(noisy(np.full((600, 800), 0.8), amount), *read) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 3), (20, 20), (5, 2000)])
def test_pictures_too_small_for_any_digit(read, shape):
    assert read_page(noisy(np.full(shape, 0.8)), *read) == []


def test_blots_dust_dashes_and_a_frame_are_no_digits(read):
    picture = Image.fromarray(np.rint(255 * write(["2580"])).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((600, 100, 650, 150), fill=30)  # a blot as large as a digit
    pen.ellipse((700, 400, 720, 420), fill=30)
    pen.line((100, 600, 500, 604), fill=30, width=5)  # a dash
    pen.rectangle((560, 560, 900, 760), outline=30, width=5)
    for x in range(100, 900, 37):
        pen.rectangle((x, 500 + x % 50, x + 1, 501 + x % 50), fill=60)
    assert digits_of(read_page(noisy(np.asarray(picture) / 255), *read)) == ["2580"]


@pytest.mark.parametrize("ends", [(400, 90, 640, 780), (720, 40, 700, 760)])
def test_a_pen_on_the_sheet_hides_no_digits_beside_it(read, ends):
    sheet = np.minimum(write(["31", "26", "58", "93", "84"]), write(["27"] * 5, at=(780, 100)))
    picture = Image.fromarray(np.rint(255 * sheet).astype(np.uint8))
    ImageDraw.Draw(picture).line(ends, fill=40, width=34)
    photo = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8))) / 255
    assert digits_of(read_page(noisy(photo), *read)) == ["3127", "2627", "5827", "9327", "8427"]


@pytest.mark.parametrize("sharp", [1, 40], ids=lambda sharp: f"{sharp} pixels wide")
def test_the_edge_of_a_shadow_is_no_digit(read, sharp):
    x = np.arange(1000) + 0.3 * np.arange(800)[:, None]
    light = 1 - 0.45 / (1 + np.exp(-np.clip((x - 600) / sharp, -50, 50)))
    assert digits_of(read_page(noisy(write(["2580", "5082"]) * light), *read)) == ["2580", "5082"]


@pytest.mark.parametrize("desk", [0.05, 0.3])
def test_the_sheets_border_is_no_digit(read, desk):
    photo = np.full((1000, 1300), desk, np.float32)
    photo[90:890, 150:1150] = write(["2580", "5082"])
    photo = Image.fromarray(np.rint(255 * photo).astype(np.uint8)).rotate(3, fillcolor=int(255 * desk))
    photo = np.asarray(photo.filter(ImageFilter.GaussianBlur(1.5))) / 255
    assert digits_of(read_page(noisy(photo), *read)) == ["2580", "5082"]


def test_hardly_any_of_the_border_on_a_desk_about_as_bright_is_a_digit(read):
    page = make_page(301, rules="ruled", desk=True, shadow=True, width=1000, lines=2, shade=0.6)
    photo = page.image.convert("L").filter(ImageFilter.UnsharpMask(radius=2, percent=100, threshold=2))
    result = score(page, read_page(np.asarray(photo), *read))
    assert result.matched == result.written
    assert result.false <= 2


@pytest.mark.parametrize(("kind", "degrees"), [("ruled", 0), ("squared", 0), ("squared", 3)])
def test_rules_are_no_digits_and_digits_on_them_stay(read, kind, degrees):
    sheet = write(["2580", "5082", "2580"])
    sheet[30::60] *= 0.75
    sheet[31::60] *= 0.75
    if kind == "squared":
        sheet[:, 20::60] *= 0.75
        sheet[:, 21::60] *= 0.75
    assert digits_of(read_page(rotated(noisy(sheet), degrees), *read)) == ["2580", "5082", "2580"]


def test_dark_squares_that_the_camera_has_sharpened(read):
    sheet = write(["2580", "5082", "2580"], (1400, 1000), step=(100, 140))
    for start in range(20, 1400, 50):
        sheet[start : start + 3] *= 0.7
        sheet[:, start : start + 3] *= 0.7
    photo = Image.fromarray(rotated(noisy(np.clip(sheet, 0, 1)), 3)).filter(ImageFilter.GaussianBlur(1))
    photo = photo.filter(ImageFilter.UnsharpMask(radius=2.5, percent=120, threshold=2))
    assert digits_of(read_page(np.asarray(photo), *read)) == ["2580", "5082", "2580"]


def test_rules_that_leave_the_picture_are_no_digits(read):
    sheet = write(["2580", "5082"], (1500, 2000), step=(100, 140))
    for start in range(50, 2000, 80):
        sheet[start : start + 3] *= 0.65
    across = np.arange(1500)
    for start in range(-60, 1500, 80):  # slight perspective
        sheet[np.abs(across - start - 0.06 * np.arange(2000)[:, None]) < 1.5] *= 0.65
    photo = Image.fromarray(np.rint(255 * noisy(sheet)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    photo = photo.filter(ImageFilter.UnsharpMask(radius=2.5, percent=120, threshold=2))
    assert digits_of(read_page(np.asarray(photo), *read)) == ["2580", "5082"]


def test_the_thick_rules_of_a_close_up(read):
    sheet = write(["2580"], (1280, 560), 150, (120, 200), (250, 0))
    for top in (90, 345):
        sheet[top : top + 5] *= 0.3
    assert digits_of(read_page(rotated(noisy(sheet), 1.5), *read)) == ["2580"]


@pytest.mark.parametrize("shape", [(3, 10, 10), (0, 5), (5,)])
def test_arrays_of_another_form(read, shape):
    with pytest.raises(PictureError, match="is not gray values of shape"):
        read_page(np.zeros(shape, np.float32), *read)
