"""What `draw_page` draws: legible without colors, beside the digits, and second guesses where they are near."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chainrule.images.drawing import MIN_SIDE, draw_page
from chainrule.images.page import Digit

NAMES = tuple("0123456789")
BLANK = np.zeros((28, 28), np.uint8)


def digit(box: tuple[int, int, int, int], confidence: float = 0.9, second: float = 0.05) -> Digit:
    return Digit(7, confidence, box, BLANK, 1, second)


def drawn(*digits: Digit, size: tuple[int, int] = (800, 400), **options: float) -> np.ndarray:
    return np.asarray(
        draw_page(Image.new("RGB", size, "#cccccc"), [list(digits)], NAMES, **options).convert("L"), float
    )


def test_a_second_guess_is_drawn_where_it_is_near() -> None:
    box = (300, 100, 360, 200)
    sure = drawn(digit(box))
    np.testing.assert_array_equal(drawn(digit(box, second=0.09)), sure)
    below = drawn(digit(box, second=0.1))[200:] != sure[200:]  # where the confidence stands without a second guess
    assert below.sum() > 100
    np.testing.assert_array_equal(drawn(digit(box, second=0.3), min_second_confidence=0.4), sure)


@pytest.mark.parametrize(("confidence", "solid"), [(0.9, True), (0.3, False)])
def test_what_is_not_read_has_a_box_of_dashes_in_gray_too(confidence: float, solid: bool) -> None:
    left, top, right, bottom = 300, 100, 360, 200
    picture = drawn(digit((left, top, right, bottom), confidence), min_confidence=0.5)
    sides = (
        picture[top - 1, left:right],
        picture[bottom, left:right],
        picture[top:bottom, left - 1],
        picture[top:bottom, right],
    )
    for side in sides:
        dark = side < 120
        assert dark.all() == solid
        assert 0.3 < dark.mean() <= 1
        assert np.count_nonzero(np.diff(dark)) >= (0 if solid else 3)


def test_a_digit_that_is_not_read_has_what_it_might_be() -> None:
    """A question mark above, and below it the guesses: two of them are wider than one."""
    box = (300, 100, 360, 200)
    one, two = (drawn(digit(box, 0.3, second), min_confidence=0.5) for second in (0.0, 0.25))
    widths = [np.ptp(np.flatnonzero((picture[203:] < 120).any(axis=0))) for picture in (one, two)]
    assert 5 < widths[0] < widths[1]


def test_the_digits_themselves_stay_free_where_there_is_space() -> None:
    boxes = [(100, 150, 160, 250), (300, 150, 330, 250), (500, 150, 560, 250)]
    picture = drawn(*(digit(box, second=0.2) for box in boxes))
    for left, top, right, bottom in boxes:
        assert (picture[top:bottom, left:right] == 0xCC).all()
    assert (picture < 120).sum() > 500


def test_digits_without_space_have_name_and_guess_in_their_corners() -> None:
    """A grid of boxes that touch, one of which is in the middle."""
    boxes = [(100 + 60 * i, 60 + 80 * j, 160 + 60 * i, 140 + 80 * j) for j in range(3) for i in range(5)]
    picture = drawn(*(digit(box, second=0.2) for box in boxes))
    left, top, right, bottom = boxes[7]
    inside = picture[top + 3 : bottom - 3, left + 3 : right - 3]
    dark = inside < 190
    assert dark[:12, :20].any()
    assert dark[-12:, :30].any()
    assert not dark[15:-15].any()


@pytest.mark.parametrize(
    ("size", "factor"), [((55, 38), 11), ((599, 20), 2), ((600, 600), 1), ((20, 700), 1), ((1, 1), 600)]
)
def test_small_photos_are_enlarged(size: tuple[int, int], factor: int) -> None:
    photo = Image.new("RGB", size, "#cccccc")
    result = draw_page(photo, [[digit((0, 0, size[0], size[1]))]], NAMES)
    assert result.size == (factor * size[0], factor * size[1])
    assert max(result.size) >= MIN_SIDE
    assert photo.getcolors() == [(size[0] * size[1], (0xCC, 0xCC, 0xCC))]


def test_an_enlarged_box_is_around_the_same_place() -> None:
    picture = drawn(digit((20, 10, 40, 30)), size=(60, 40))
    edge = picture[200, :] < 120
    assert np.flatnonzero(edge[150:250]).tolist() == [49]  # left of 20 pixels, ten times as many
    assert np.flatnonzero(edge[350:450]).tolist() == [50]


def test_in_place() -> None:
    photo = Image.new("RGB", (800, 400), "#cccccc")
    assert draw_page(photo, [[digit((300, 100, 360, 200))]], NAMES, in_place=True) is photo
    assert draw_page(photo, [], NAMES) is not photo
