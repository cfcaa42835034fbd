"""Characters drawn from strokes, and the pens that render them."""

import dataclasses
import math

import numpy as np
import pytest

from chainrule.data import handwriting as hw
from chainrule.data.handwriting.digits import arc
from chainrule.data.handwriting.strokes import SAMPLES, _curve

PLAIN = hw.Pen("fiber", 0.1, width_range=0, darkness_range=0)
VARIANTS = [(label, variant) for label, variants in hw.CHARACTERS.items() for variant in variants]


def straight(*points, pressure=1.0):
    """A drawing of one stroke, as given."""
    path = np.array(points, float)
    return hw.Drawing((hw.Stroke(path, np.full(len(path), pressure)),), "1", "plain")


def distance(x, y, start, end):
    """From a point to a segment, by the formula."""
    (x0, y0), (x1, y1) = start, end
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
    along = min(max(along, 0), 1)
    return math.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))


def test_the_digits_and_their_variants_are_there():
    assert list(hw.DIGITS) == list("0123456789")
    assert {"plain", "upstroke", "base", "upstroke-base"} <= set(hw.DIGITS["1"])
    assert {"german", "straight", "round"} == set(hw.DIGITS["9"])
    assert {"open", "closed", "triangular"} <= set(hw.DIGITS["4"])
    assert not set("OoCacIlZzSsBbgqGyuUQDJi") & set(hw.LETTERS)  # digits are written like these


@pytest.mark.parametrize(("label", "variant"), VARIANTS)
def test_the_same_generator_draws_the_same_and_every_number_is_finite(label, variant):
    first, second = (hw.draw(label, np.random.default_rng(3), variant) for _ in range(2))
    assert (first.label, first.variant) == (label, variant)
    for one, other in zip(first.strokes, second.strokes, strict=True):
        assert np.array_equal(one.points, other.points)
        assert np.array_equal(one.pressure, other.pressure)
        assert np.isfinite(one.points).all()
        assert one.points.shape == (len(one.pressure), 2)
        assert one.pressure.min() > 0
        assert one.pressure.max() <= 1
    other = hw.draw(label, np.random.default_rng(4), variant)
    assert not np.array_equal(first.strokes[0].points[:3], other.strokes[0].points[:3])
    left, top, right, bottom = first.bounds
    if label in hw.DIGITS:
        assert -0.2 < top < 0.25
        assert 0.8 < bottom < 1.25
        assert right - left < 2


def test_the_upstroke_of_a_1_is_a_fifth_to_three_fifths_of_its_height():
    for edge, drop in ((0, 0.2), (1, 0.6)):
        path = hw.DIGITS["1"]["upstroke"].template(lambda low, high, edge=edge: high if edge else low)[0]
        assert path[0][1] - min(y for _, y in path) == pytest.approx(drop)


def test_a_curve_goes_through_its_control_points_and_keeps_corners():
    control = np.array([(0, 0), (0.3, 0.1), (0.4, 0.5), (0.4, 0.5), (0.9, 0.2)])
    curve = _curve(control)
    assert np.allclose(curve[::SAMPLES], control[[0, 1, 2, 4]])
    line = curve[2 * SAMPLES :]  # after the corner only two points: a straight line
    assert np.allclose(line[:, 1], 0.5 - 0.6 * (line[:, 0] - 0.4))


def test_an_arc_is_on_its_ellipse():
    for x, y in arc(1.0, 2.0, 0.6, 1.0, -90, 200):
        assert ((x - 1) / 0.3) ** 2 + ((y - 2) / 0.5) ** 2 == pytest.approx(1)
    assert arc(0, 0, 2, 2, -90, 0)[0] == pytest.approx((0, -1))  # the top: y grows downwards


def test_a_writer_has_habits():
    generator = np.random.default_rng(1)
    shares = []
    for _ in range(12):
        style = hw.random_style(generator)
        names = [hw.draw("7", generator, style=style).variant for _ in range(20)]
        shares.append(max(names.count(name) for name in set(names)) / 20)
    assert np.mean(shares) > 0.75  # of four variants, one is preferred
    everyone = {hw.draw("7", generator).variant for _ in range(60)}
    assert everyone == set(hw.DIGITS["7"])


@pytest.mark.parametrize("height", [20, 64, 300])
@pytest.mark.parametrize("ends", [((0, 0), (0, 1)), ((0.2, 0.1), (0.8, 1.0))])
def test_ink_is_where_a_plain_loop_puts_it(height, ends):
    drawing = straight(*ends)
    ink = hw.render(drawing, height, PLAIN, np.random.default_rng(0))
    border, (left, top, _, _) = hw.margin(height, PLAIN), drawing.bounds
    assert ink.dtype == np.float32
    checked = 0
    for row in range(0, ink.shape[0], max(1, height // 20)):
        for column in range(ink.shape[1]):
            x, y = left + (column + 0.5 - border) / height, top + (row + 0.5 - border) / height
            away = height * (distance(x, y, *ends) - PLAIN.width / 2)  # pixels outside of the stroke's edge
            if abs(away) > 0.9:  # not on the edge
                assert ink[row, column] == (away < 0), (row, column, away)
                checked += 1
    assert checked >= (4 if height == 20 else 50)


def test_pressure_makes_a_stroke_wide_and_dark():
    pen = hw.Pen("ball", 0.1, 0.8, width_range=0.5, darkness_range=0.25)
    for pressure, width, dark in ((1.0, 0.1, 0.8), (0.0, 0.05, 0.6)):
        ink = hw.render(straight((0, 0), (0, 1), pressure=pressure), 200, pen, np.random.default_rng(0))
        assert ink.max() == pytest.approx(dark, abs=1 / 255)
        middle = ink[ink.shape[0] // 2]
        assert middle.sum() / dark == pytest.approx(200 * width, abs=1)


def test_where_strokes_cross_the_darker_one_wins():
    light, dark = straight((0, 0.5), (1, 0.5), pressure=0), straight((0.5, 0), (0.5, 1), pressure=1)
    pen = hw.Pen("ball", 0.1, 1.0, width_range=0, darkness_range=0.5)
    both = hw.Drawing((*dark.strokes, *light.strokes), "+", "plain")
    ink = hw.render(both, 100, pen, np.random.default_rng(0))
    center = tuple(side // 2 for side in ink.shape)
    assert ink[center] == 1
    assert ink[center[0], 15] == pytest.approx(0.5, abs=0.01)


def test_a_chisel_draws_thick_across_its_edge_and_thin_along_it():
    pen = hw.Pen("chisel", 0.2, width_range=0, darkness_range=0, nib=0.0)  # the edge lies level
    areas = [hw.render(straight((0, 0), end), 100, pen, np.random.default_rng(0)).sum() for end in ((0, 1), (1, 0))]
    assert areas[0] > 3 * areas[1]


def test_pens_without_soft_edges_have_two_values_and_soft_ones_keep_the_amount_of_ink():
    drawing = hw.draw("8", np.random.default_rng(2))
    hard = hw.render(drawing, 50, dataclasses.replace(PLAIN, darkness=0.7, aliased=True), np.random.default_rng(0))
    assert set(np.unique(hard).tolist()) == {0.0, np.float32(0.7).item()}
    plain = hw.render(drawing, 50, PLAIN, np.random.default_rng(0))
    soft = hw.render(drawing, 50, dataclasses.replace(PLAIN, soft=0.2), np.random.default_rng(0))
    assert soft.sum() == pytest.approx(plain.sum(), rel=0.01)
    assert np.abs(np.diff(soft)).max() < np.abs(np.diff(plain)).max()


@pytest.mark.parametrize("kind", ["ball", "pencil", "marker", "brush", "chisel", "fiber"])
def test_every_pen_draws_every_size_within_0_and_1_and_the_same_twice(kind):
    generator = np.random.default_rng(5)
    pen, drawing = hw.random_pen(generator, kind), hw.draw("5", generator)
    assert pen.kind == kind
    for height in (1, 9, 28.5, 400):
        ink, again = (hw.render(drawing, height, pen, np.random.default_rng(1)) for _ in range(2))
        assert np.array_equal(ink, again)
        assert ink.min() == 0
        assert 0 < ink.max() <= 1


def test_wrong_requests_are_refused_in_one_sentence():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"draw: there is no character 'å'; there are 0 1 2"):
        hw.draw("å", generator)
    with pytest.raises(ValueError, match=r"draw: 7 is not drawn as 'german'; its variants are plain, crossed"):
        hw.draw("7", generator, "german")
    with pytest.raises(ValueError, match="the width must be a positive fraction of a digit's height, got 0"):
        hw.Pen("ball", 0)
    with pytest.raises(ValueError, match=r"darkness must be from 0 to 1, got 1\.5"):
        hw.Pen("ball", 0.1, 1.5)
    for height in (0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"must be at least 1 pixel, got {height}"):
            hw.render(straight((0, 0), (0, 1)), height, PLAIN, generator)
    with pytest.raises(ValueError, match="needs 110,008 × 110,008 pixels, too many|too many"):
        hw.render(straight((0, 0), (1, 1)), 100_000, PLAIN, generator)
