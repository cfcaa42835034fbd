"""Preprocessing to MNIST's format: MNIST digits are unchanged, and drawn digits look like MNIST's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from chainrule.data import mnist
from chainrule.errors import PictureError
from chainrule.images import Stages, prepare, to_mnist

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FIVE = [((0.7, 0), (0.1, 0), (0.1, 0.45), (0.6, 0.45), (0.75, 0.7), (0.6, 1), (0, 1))]
FIVE_IN_TWO_STROKES = [((0.1, 0.1), (0.1, 0.5), (0.6, 0.5), (0.75, 0.75), (0.6, 1), (0, 1)), ((0.2, 0), (0.75, 0))]
SEVEN = [((0, 0), (0.7, 0), (0.25, 1))]
ONE = [((0, 0), (0, 1))]
DIGITS = {"five": FIVE, "seven": SEVEN, "one": ONE}


def draw(
    strokes: Sequence[Sequence[tuple[float, float]]],
    size: tuple[int, int] = (300, 400),
    at: tuple[int, int] = (90, 100),
    height: int = 180,
    pen: int = 22,
) -> np.ndarray:
    """Ink from 0 to 1 on a canvas of `size` (width, height), the digit's top left corner at `at`."""
    canvas = Image.new("L", (2 * size[0], 2 * size[1]))  # drawn twice as large, for soft edges
    pencil = ImageDraw.Draw(canvas)
    for stroke in strokes:
        line = [(2 * (at[0] + height * x), 2 * (at[1] + height * y)) for x, y in stroke]
        pencil.line(line, fill=255, width=2 * pen, joint="curve")
        for x, y in (line[0], line[-1]):
            pencil.ellipse((x - pen, y - pen, x + pen, y + pen), fill=255)
    return np.asarray(canvas.resize(size, Image.Resampling.BOX)) / 255


def on_paper(ink: np.ndarray, paper: float | np.ndarray = 1.0, pigment: float = 0.1) -> np.ndarray:
    """Gray values: the ink's own brightness is `pigment` times the paper's."""
    return paper * (1 - ink * (1 - pigment))


def center_of_mass(image: np.ndarray) -> np.ndarray:
    weight = image / image.sum()
    return np.array([weight.sum(1) @ np.arange(28), weight.sum(0) @ np.arange(28)])


def box(image: np.ndarray) -> tuple[int, int]:
    """Height and width of the bright area."""
    rows, columns = np.nonzero(image > 25)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The fraction of the ink by which two results differ, up to a shift by one pixel: from 0 to 2."""
    ink = (a.sum(dtype=float) + b.sum(dtype=float)) / 2
    shifts = [np.roll(a.astype(float), (y, x), axis=(0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return float(min(np.abs(shifted - b).sum() for shifted in shifts) / ink)


def light(shape: tuple[int, int], kind: str) -> np.ndarray:
    y, x = np.linspace(0, 1, shape[0])[:, None], np.linspace(0, 1, shape[1])
    return {
        "even": np.ones(shape),
        "from the left": 1 - 0.6 * x + 0 * y,
        "from a corner": 1 - 0.35 * (x + y),
        "vignette": 1 - 0.9 * ((x - 0.5) ** 2 + (y - 0.4) ** 2),
        "shadow across": 1 - 0.5 / (1 + np.exp(-(x + 0.3 * y - 0.6) / 0.05)),
        "shadow in a corner": np.where(x + y > 1.6, 0.55, 1.0),
    }[kind]


LIGHTS = ["even", "from the left", "from a corner", "vignette", "shadow across", "shadow in a corner"]


@pytest.mark.parametrize("inverted", [False, True])
def test_mnist_comes_out_as_it_went_in(tmp_path: Path, inverted: bool):
    differences, shifts = [], []
    for image in mnist().test_images[:150]:
        Image.fromarray(255 - image if inverted else image).save(tmp_path / "digit.png")
        result = prepare(tmp_path / "digit.png").result
        differences.append(np.abs(result.astype(int) - image).mean())
        shifts.append(np.abs(center_of_mass(result) - center_of_mass(image)).max())
    assert np.median(differences) < 1  # of 255
    assert np.mean(differences) < 2
    assert max(shifts) <= 1.01
    assert np.mean(np.array(shifts) < 0.5) > 0.95


@pytest.mark.parametrize("name", DIGITS)
def test_the_form_is_mnists(name: str):
    result = prepare(on_paper(draw(DIGITS[name]))).result
    assert result.shape == (28, 28)
    assert result.dtype == np.uint8
    assert result.max() == 255
    assert result[0].max() == 0
    assert max(box(result)) == 20
    assert np.abs(center_of_mass(result) - 14).max() <= 0.6
    assert 20 < np.mean((result > 0) & (result < 255)) * 784 < 250  # soft edges, as in MNIST


@pytest.mark.parametrize(("width", "height", "expected"), [(60, 200, (20, 6)), (200, 80, (8, 20)), (90, 120, (20, 15))])
def test_proportions_are_kept(width: int, height: int, expected: tuple[int, int]):
    ink = np.zeros((400, 400))
    ink[60 : 60 + height, 80 : 80 + width] = 1
    ink[60 + 25 : 60 + height - 25, 80 + 25 : 80 + width - 25] = 0  # a frame drawn with a pen of 25
    assert box(prepare(on_paper(ink)).result) == expected


@pytest.mark.parametrize("pigment", [0.05, 0.4, 0.75])
@pytest.mark.parametrize("kind", LIGHTS)
def test_uneven_light_on_white_paper(kind: str, pigment: float):
    ink = draw(FIVE)
    noise = np.random.default_rng(0).normal(0, 0.01, ink.shape)
    photo = np.clip(on_paper(ink, 0.95 * light(ink.shape, kind), pigment) + noise, 0, 1)
    assert difference(to_mnist(photo), to_mnist(on_paper(ink))) < 0.25


@pytest.mark.parametrize("kind", LIGHTS[:4])
def test_chalk_on_a_blackboard(kind: str):
    ink = draw(FIVE)
    noise = np.random.default_rng(0).normal(0, 0.01, ink.shape)
    photo = np.clip((0.15 + 0.7 * ink) * light(ink.shape, kind) + noise, 0, 1)
    assert difference(to_mnist(photo), to_mnist(on_paper(ink))) < 0.25


@pytest.mark.parametrize("name", DIGITS)
def test_the_place_and_the_size_do_not_matter(name: str):
    strokes = DIGITS[name]
    expected = to_mnist(on_paper(draw(strokes)))
    for size, at, height in (((900, 700), (600, 30), 360), ((260, 240), (20, 150), 70), ((120, 100), (40, 20), 60)):
        moved = draw(strokes, size, at, height, pen=height * 22 // 180)
        assert difference(to_mnist(on_paper(moved)), expected) < 0.3


@pytest.mark.parametrize("name", DIGITS)
@pytest.mark.parametrize("margin", [0, 2, 10])
def test_tight_crops_of_both_polarities(name: str, margin: int):
    ink = draw(DIGITS[name], pen=30)
    rows, columns = np.nonzero(ink > 0.5)
    tight = np.pad(ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], margin)
    if name == "one" and margin < 10:
        pytest.skip("a bar that fills the picture has no paper to tell it from")
    for photo in (on_paper(tight), 1 - on_paper(tight)):
        assert difference(to_mnist(photo), to_mnist(on_paper(ink))) < 0.25


def test_a_white_sheet_on_a_dark_desk():
    ink = draw(FIVE)
    sheet = on_paper(ink, 0.95)
    for desk in (((60, 0), (0, 0)), ((0, 40), (90, 0)), ((50, 50), (50, 50))):
        photo = np.pad(sheet, desk, constant_values=0.25)
        assert difference(to_mnist(photo), to_mnist(on_paper(ink))) < 0.3


def test_thick_strokes():
    result = to_mnist(on_paper(draw(SEVEN, pen=60)))
    assert box(result) == (20, 16)
    assert np.mean(result[4:24, 4:24] > 200) > 0.3  # the strokes are filled, not outlined


def test_thin_strokes_are_widened():
    result = to_mnist(on_paper(draw(SEVEN, size=(900, 900), height=700, pen=4)))
    assert (result.max(axis=1) > 180).sum() >= 18  # the line is visible in every row
    assert box(result)[0] == 20


def test_specks_are_dropped_and_parts_of_the_digit_are_kept():
    ink = draw(FIVE_IN_TWO_STROKES)
    expected = to_mnist(on_paper(ink))
    assert np.mean(expected[4:7, 12:20] > 200) > 0.4  # the bar stands above the rest of the five
    dusty = ink.copy()
    for y, x in ((20, 30), (380, 280), (200, 15), (60, 270)):
        dusty[y : y + 4, x : x + 4] = 1
    np.testing.assert_array_equal(to_mnist(on_paper(dusty)), expected)
    neighbor = ink.copy()
    neighbor[150:230, -12:] = 1  # a stroke of the next digit
    np.testing.assert_array_equal(to_mnist(on_paper(neighbor)), expected)


def test_every_stage_is_kept():
    gray = on_paper(draw(FIVE), 0.8)
    stages = prepare(gray)
    assert isinstance(stages, Stages)
    titles, arrays = zip(*stages, strict=True)
    assert titles[0] == "as opened"
    assert titles[-1] == "centered in 28×28"
    assert len(set(titles)) == 7
    assert arrays[-1] is stages.result
    assert all(array.ndim == 2 for array in arrays)
    assert stages.gray.shape == stages.paper.shape == stages.ink.shape == stages.clean.shape == (256, 192)
    np.testing.assert_allclose(stages.paper, 0.8, atol=0.02)
    assert stages.clean.min() == 0
    assert stages.clean.max() == 1
    assert max(stages.scaled.shape) == 20
    np.testing.assert_allclose(prepare(1 - gray).paper, 0.2, atol=0.02)  # the original brightness, not inverted


def test_bytes_and_floats_are_the_same_picture():
    gray = np.rint(255 * on_paper(draw(SEVEN))).astype(np.uint8)
    np.testing.assert_array_equal(to_mnist(gray), to_mnist(gray / 255))


def test_a_file_and_its_values_are_the_same_picture(tmp_path: Path):
    gray = np.rint(255 * on_paper(draw(SEVEN))).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "seven.png")
    np.testing.assert_array_equal(prepare(str(tmp_path / "seven.png")).result, to_mnist(gray))


def test_blank_pictures(tmp_path: Path):
    noise = np.random.default_rng(0).normal(0, 0.03, (200, 300))
    pages = [np.zeros((28, 28)), np.ones((1, 1)), np.full((50, 70), 0.4)]
    pages += [np.clip(0.8 * light((200, 300), kind) + noise, 0, 1) for kind in LIGHTS[:3]]
    for page in pages:
        with pytest.raises(PictureError, match="^picture: no digit found; the image is blank$"):
            prepare(page)
    Image.new("RGB", (40, 30), "white").save(tmp_path / "white.png")
    with pytest.raises(PictureError, match=r"white\.png: no digit found; the image is blank$"):
        prepare(tmp_path / "white.png")


@pytest.mark.parametrize("shape", [(1, 2), (1, 50), (50, 1), (2, 2), (3, 7), (2000, 3), (28, 28)])
def test_odd_shapes_end_in_a_result_or_one_sentence(shape: tuple[int, int]):
    values = np.ones(shape)
    values[shape[0] // 2, shape[1] // 2] = 0
    try:
        assert to_mnist(values).max() == 255
    except PictureError as error:
        assert str(error) == "picture: no digit found; the image is blank"  # noqa: PT017 (either end is right)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros((28, 28, 3)), r"shape \(28, 28, 3\) is not gray values"),
        (np.zeros((0, 5)), r"shape \(0, 5\)"),
        (np.arange(6).reshape(2, 3), "must be floats from 0"),
        (np.array([[0.0, 1.5]]), "must be floats from 0"),
        (np.array([[0.0, np.nan]]), "must be floats from 0"),
    ],
)
def test_arrays_that_are_no_pictures(values: np.ndarray, sentence: str):
    with pytest.raises(PictureError, match=sentence):
        prepare(values)
