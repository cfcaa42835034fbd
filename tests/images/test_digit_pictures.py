"""A digit is read in a frame, in any colors, at any size, faint or thick; and with several digits, that is noticed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from chainrule.data import mnist
from chainrule.images import open_digit, prepare
from chainrule.images.count import count_digits
from chainrule.images.frames import find_panels
from chainrule.images.raster import connected_parts
from chainrule.images.ruled_lines import remove_ruled_lines
from chainrule.reading import classifier
from chainrule.training import run

from .digit_pictures import SITUATIONS, make_picture, stroke

if TYPE_CHECKING:
    from pathlib import Path


@cache
def network():
    return classifier(run.shipped())


def digits(count: int) -> list[tuple[np.ndarray, int]]:
    """MNIST test digits as ink on fields of 140×140, and their labels."""
    data = mnist()
    inks = [np.pad(stroke(image, 80), 30) for image in data.test_images[:count]]
    inks = [np.pad(ink, [(0, 0), (0, max(0, 140 - ink.shape[1]))])[:140, :140] for ink in inks]
    return list(zip(inks, data.test_labels[:count].tolist(), strict=True))


def read(picture: np.ndarray | Path) -> int:
    return int(network()(prepare(picture).result[None])[0][:10].argmax())


def boxed(ink: np.ndarray, inset: int, pen: int, shade: float = 1.0) -> np.ndarray:
    """Gray values of dark ink in a box that many pixels inside the border."""
    gray = 1 - 0.9 * ink
    box = np.zeros(ink.shape, bool)
    box[inset : len(ink) - inset, inset : ink.shape[1] - inset] = True
    box[inset + pen : len(ink) - inset - pen, inset + pen : ink.shape[1] - inset - pen] = False
    gray[box] = 1 - shade
    return gray


# Frames


@pytest.mark.parametrize(
    ("inset", "pen", "shade", "pictures"), [(8, 1, 0.9, 40), (0, 4, 1.0, 40), (8, 2, 0.5, 30), (3, 6, 0.8, 30)]
)
def test_a_box_around_the_digit_and_a_dark_border(inset, pen, shade, pictures):
    right = sum(read(boxed(ink, inset, pen, shade)) == label for ink, label in digits(pictures))
    assert right >= 0.97 * pictures


@pytest.mark.parametrize("situation", [name for name in SITUATIONS if name not in ("far", "hairline")])
def test_every_situation(situation, tmp_path):
    right = 0
    for number in range(1000, 1008):
        picture, label = make_picture(situation, number)
        picture.save(tmp_path / "digit.png", compress_level=1)  # the same pixels in a fifth of the time
        right += read(tmp_path / "digit.png") == label
    assert right >= 7


def test_the_panel_of_a_plot_is_found_and_a_zero_is_none():
    ink = digits(1)[0][0]
    figure = np.ones((220, 240), np.float32)
    figure[30:170, 50:190] = ink  # light on a dark panel
    panels = list(find_panels(figure, np.ones(figure.shape, bool)))
    assert [panel.gray.shape for panel in panels] == [(140, 140)] or abs(panels[0].gray.shape[0] - 140) <= 4
    assert panels[0].background == 0
    assert panels[0].surroundings == 1
    zero = np.ones((200, 200), np.float32)
    zero[40:160, 60:140] = 0
    zero[70:130, 85:115] = 1  # an angular zero
    assert not list(find_panels(zero, np.ones(zero.shape, bool)))


def test_parts_without_diagonals():
    mask = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]], bool)
    assert connected_parts(mask).max() == 1
    np.testing.assert_array_equal(connected_parts(mask, diagonals=False), [[1, 0, 0], [0, 2, 2], [0, 0, 2]])


def test_rules_are_removed_and_strokes_that_cross_them_stay():
    ink = np.zeros((200, 240), np.float32)
    ink[30:170, 100:112] = 1  # a one
    expected = ink.copy()
    columns = np.arange(240)
    for top in (40, 90, 140):
        for thick in range(3):
            ink[top + thick + np.rint(0.03 * (columns - 120)).astype(int), columns] = 1
    result = remove_ruled_lines(ink)
    assert np.abs(result - expected).mean() < 0.004
    assert (result[30:170, 102:110] > 0.5).all()
    np.testing.assert_array_equal(remove_ruled_lines(expected), expected)  # nothing to remove: the same bits


# Colors


@pytest.mark.parametrize(
    ("color", "pictures"), [((255, 255, 255), 40), ((0, 0, 0), 20), ((235, 235, 235), 20), ((200, 30, 30), 20)]
)
def test_strokes_on_a_transparent_canvas(tmp_path, color, pictures):
    right = 0
    for ink, label in digits(pictures):
        canvas = np.empty((*ink.shape, 4), np.uint8)
        canvas[..., :3] = color
        canvas[..., 3] = np.rint(255 * ink)
        Image.fromarray(canvas).save(tmp_path / "digit.png", compress_level=1)
        right += read(tmp_path / "digit.png") == label
    assert right >= 0.97 * pictures


@pytest.mark.parametrize(
    ("pen", "paper"),
    [((220, 30, 30), (60, 104, 60)), ((250, 250, 60), (255, 255, 255)), ((20, 20, 200), (62, 62, 30))],
    ids=["red on green", "yellow on white", "blue on olive"],
)
def test_colors_of_equal_luminance(tmp_path, pen, paper):
    ink, label = digits(3)[2]
    colors = np.rint(np.array(paper) * (1 - ink[..., None]) + np.array(pen) * ink[..., None]).astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "digit.png")
    assert np.ptp(np.asarray(Image.open(tmp_path / "digit.png").convert("L"), float)) < 30
    assert read(tmp_path / "digit.png") == label


def test_the_gray_values_of_gray_pictures_are_luminance(tmp_path):
    random = np.random.default_rng(2)
    colors = np.repeat(random.integers(0, 256, (30, 40, 1)), 3, axis=2).astype(np.uint8)
    colors[..., 2] = colors[..., 2] // 2  # the difference is still one of luminance
    Image.fromarray(colors).save(tmp_path / "colors.png")
    expected = np.asarray(Image.fromarray(colors).convert("L"), np.float32) / 255
    np.testing.assert_allclose(open_digit(tmp_path / "colors.png"), expected, atol=1e-6)


# Faint, thick and thin strokes


@pytest.mark.parametrize("pale", [150, 170])
def test_a_four_whose_open_part_is_faint(pale):
    canvas = Image.new("L", (400, 500), 210)
    pen = ImageDraw.Draw(canvas)
    pen.line([(150, 100), (120, 280), (280, 280)], fill=pale, width=18, joint="curve")
    pen.line([(240, 110), (240, 400)], fill=70, width=18)
    assert read(np.asarray(canvas)) == 4


@pytest.mark.parametrize("pen", [2, 4, 9, 20, 40])
@pytest.mark.parametrize("side", [160, 700])
def test_pens_of_any_width(pen, side):
    scale = side / 160
    canvas = Image.new("L", (2 * side, 2 * side), 255)
    draw = ImageDraw.Draw(canvas)
    points = [(60, 40), (110, 40), (75, 130)]
    draw.line(
        [(2 * scale * x, 2 * scale * y) for x, y in points],
        fill=0,
        width=round(2 * pen * max(1, side / 350)),
        joint="curve",
    )
    assert read(np.asarray(canvas.reduce(2))) == 7


# Several digits


def pair(first: np.ndarray, second: np.ndarray, gap: int) -> np.ndarray:
    ink = np.zeros((140, first.shape[1] + second.shape[1] + gap + 60), np.float32)
    for part, left in ((first, 30), (second, 30 + first.shape[1] + gap)):
        ink[30 : 30 + len(part), left : left + part.shape[1]] = part
    return 1 - 0.9 * ink


def count(gray: np.ndarray) -> int:
    stages = prepare(gray)
    return count_digits(stages.clean, float(network()(stages.result[None])[0].max()), network())


def test_two_digits_are_noticed_and_one_is_one():
    images = mnist().train_images[:200]
    inks = []
    for image in images:
        ink = stroke(image, 80)
        inks.append(ink[:, np.flatnonzero(ink.any(0))[0] : np.flatnonzero(ink.any(0))[-1] + 1])
    pairs = [count(pair(inks[i], inks[i + 1], gap=4 + i % 30)) == 2 for i in range(0, 80, 2)]
    assert sum(pairs) >= 39
    assert all(count(np.pad(1 - 0.9 * ink, 30, constant_values=1)) == 1 for ink in inks[:60])


def test_three_digits_and_a_five_in_two_pieces():
    inks = [np.pad(stroke(image, 80), 4) for image in mnist().test_images[:3]]
    row = np.concatenate(
        [np.pad(ink, [(0, 90 - len(ink) if len(ink) < 90 else 0), (0, 8)])[:88] for ink in inks], axis=1
    )
    assert count(np.pad(1 - 0.9 * row, 20, constant_values=1)) == 3
    canvas = Image.new("L", (200, 240), 255)
    pen = ImageDraw.Draw(canvas)
    pen.line([(70, 60), (70, 110), (120, 115), (130, 150), (105, 185), (60, 180)], fill=0, width=12, joint="curve")
    pen.line([(85, 50), (140, 46)], fill=0, width=12)
    assert count(np.asarray(canvas)) == 1
    assert read(np.asarray(canvas)) == 5


def test_a_drawing_with_parts_like_digits_is_not_several_digits():
    """Of three parts side by side, two are read with little confidence, and one is no digit: a face, not a number."""
    ink = np.zeros((100, 300), np.float32)
    for left in (30, 130, 230):
        ink[20:80, left : left + 12] = 1
    rows = np.array([[0.8, 0.0], [0.0, 0.05], [0.1, 0.85]])
    for values, expected in ((rows, 1), (rows[[0, 2, 2]], 3), (np.array([[0.95, 0], [0, 0.05], [0.92, 0]]), 2)):
        assert count_digits(ink, 0.3, lambda images, values=values: values[: len(images)]) == expected
