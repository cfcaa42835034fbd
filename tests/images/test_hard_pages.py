"""Pages that were misread for one reason each: a panel, a binding, signs, lines through the digits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from chainrule.data.handwriting.pen import Pen, render
from chainrule.data.handwriting.strokes import draw
from chainrule.data.handwriting.things import spiral
from chainrule.images.page import read_page
from chainrule.models import load_detector
from chainrule.reading import classifier
from chainrule.training import run as runs

from .drawn import draw_digits
from .test_page import digits_of, noisy, write


@pytest.fixture(scope="module")
def read():
    """The pretrained classifier and the pretrained detector."""
    return classifier(runs.shipped()), load_detector()


@pytest.mark.parametrize("digit", ["1", "4", "7"])
@pytest.mark.parametrize("side", [140, 280])
def test_a_broad_digit_that_fills_the_dark_panel_of_a_plot(read, digit, side):
    panel = draw_digits(digit, (side, side), 0.66 * side, round(0.1 * side), (0.3 * side, 0.17 * side), 0, 255, 0)
    plot = Image.new("L", (round(1.3 * side), round(1.3 * side)), 255)
    left = round(0.15 * side)
    plot.paste(panel, (left, left))
    pen = ImageDraw.Draw(plot)
    for k in range(5):
        at = left + side * (k + 0.5) / 5
        pen.line((left - 5, at, left, at), fill=0)
        pen.line((at, left + side, at, left + side + 5), fill=0)
    assert digits_of(read_page(np.asarray(plot), *read)) == [digit]


@pytest.mark.parametrize(("pitch", "seed"), [(34, 0), (60, 1)])
def test_hardly_any_loop_of_a_binding_is_a_digit(read, pitch, seed):
    scene = np.repeat(noisy(write(["314", "159"], (1000, 700), at=(200, 250)))[..., None], 3, axis=2)
    scene[:60] *= 0.4  # the desk
    spiral(scene, (40.0, 80.0), (960.0, 95.0), pitch, np.random.default_rng(seed))
    photo = np.clip(scene.mean(axis=2), 0, 1)  # the wire shines
    *loops, first, second = digits_of(read_page(photo, *read))
    assert [first, second] == ["314", "159"]
    assert len("".join(loops)) <= 0.3 * 920 / pitch  # it was up to four of five


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_euro_sign_in_chalk_is_no_digit(read, seed):
    random = np.random.default_rng(seed)
    board, pen = np.zeros((200, 520), np.float32), Pen("fiber", 0.09)
    for left, name in ((40, "3"), (120, "9"), (210, "euro"), (330, "4"), (410, "euro")):
        ink = render(draw(name, random), 70, pen, random)
        region = board[60 : 60 + ink.shape[0], left : left + ink.shape[1]]
        np.maximum(region, ink, out=region)
    assert digits_of(read_page(noisy(0.15 + 0.6 * board), *read)) == ["394"]


@pytest.mark.parametrize("degrees", [0, 3])
def test_digits_across_the_lines_of_squared_paper(read, degrees):
    """Lines as dark as the ink, as in a scan."""
    rows = ["2580", "6394"]
    sheet = write(rows, (560, 420), at=(100, 100))
    for start in range(25, 560, 45):
        sheet[start : start + 3] = 0.2
        sheet[:, start : start + 3] = 0.2
    page = Image.fromarray(np.rint(255 * sheet).astype(np.uint8)).rotate(
        degrees, Image.Resampling.BICUBIC, fillcolor=230
    )
    assert digits_of(read_page(np.asarray(page), *read)) == rows
