"""Small data sets in the plane: without noise each follows its formula; with noise, it is off by as much as was asked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule.data import toys

CLASSIFIED = [toys.circles, toys.spirals, toys.blobs, toys.moons, toys.xor]
VALUED = [toys.plane, toys.hills]


def rng(seed=0):
    return np.random.default_rng(seed)


def polar(points):
    return np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_circles_are_rings_with_gaps_between(classes):
    points, labels = toys.circles(1200, classes, generator=rng())
    radius, angle = polar(points)
    ends = [(radius[labels == k].min(), radius[labels == k].max()) for k in range(classes)]
    for (_, inner), (outer, _) in itertools.pairwise(ends):
        assert outer - inner > 0.05
    assert ends[-1][1] <= 0.9 + 1e-6
    assert np.abs(np.histogram(angle, 4, (-np.pi, np.pi))[0] - 300).max() < 60  # four standard deviations


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_spirals_are_the_same_arm_rotated(classes):
    points, labels = toys.spirals(90 * classes, classes, generator=rng())
    z = points[:, 0] + 1j * points[:, 1]
    arm = 0.95 * np.arange(1, 91) / 90 * np.exp(2j * np.pi * 1.25 * np.arange(1, 91) / 90)
    for k in range(classes):
        assert z[labels == k] == pytest.approx(arm * np.exp(2j * np.pi * k / classes), abs=1e-6)


def test_moons_are_half_circles_and_a_point_reflection_of_each_other():
    points, labels = toys.moons(200, generator=rng())
    upper, lower = points[labels == 0], points[labels == 1]
    assert lower == pytest.approx(-upper, abs=1e-6)
    x, y = (upper[:, 0] + 0.3) / 0.6, (upper[:, 1] + 0.2) / 0.7
    assert np.hypot(x, y) == pytest.approx(np.ones(100), abs=1e-6)
    assert y.min() > 0
    assert lower[:, 1].max() > upper[:, 1].min()  # no straight line between them is level


def test_xor_is_the_exclusive_or_of_the_signs():
    points, labels = toys.xor(400, generator=rng())
    assert np.array_equal((points[:, 0] > 0) ^ (points[:, 1] > 0), labels == 1)
    quadrants = np.bincount(2 * (points[:, 0] > 0) + (points[:, 1] > 0))
    assert quadrants.min() > 60


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_blobs_are_normal_clouds(classes):
    points, labels = toys.blobs(500 * classes, classes, generator=rng())
    centers = np.array([points[labels == k].mean(axis=0) for k in range(classes)])
    radius, angle = polar(centers)
    assert radius == pytest.approx(np.full(classes, 0.6), abs=0.03)
    assert np.diff(np.sort(np.mod(angle, 2 * np.pi))) == pytest.approx(
        np.full(classes - 1, 2 * np.pi / classes), abs=0.1
    )
    assert (points - centers[labels]).std() == pytest.approx(0.12, rel=0.06)


def test_values_follow_their_formulas():
    points, values = toys.plane(50, generator=rng())
    assert values == pytest.approx(points @ np.array([0.5, 0.5]), abs=1e-6)
    points, values = toys.hills(50, generator=rng())
    expected = [
        sum(
            height * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.18)
            for a, b, height in ((-0.5, 0.5, 1), (0.5, 0.5, -1), (0.5, -0.5, 1), (-0.5, -0.5, -1))
        )
        for x, y in points.tolist()
    ]
    assert values == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize("function", CLASSIFIED + VALUED, ids=lambda function: function.__name__)
def test_shapes_types_seeds_and_noise(function):
    points, targets = function(1001, generator=rng(3))
    assert points.shape == (1001, 2)
    assert points.dtype == np.float32
    assert np.abs(points).max() <= 1
    if function in CLASSIFIED:
        assert targets.dtype == np.int64
        assert np.array_equal(targets, np.arange(1001) % 2)
    else:
        assert targets.dtype == np.float32
        assert np.abs(targets).max() <= 1.001
    again, noisy = function(1001, generator=rng(3)), function(1001, noise=0.3, generator=rng(3))
    assert np.array_equal(points, again[0])
    assert np.array_equal(targets, again[1])
    index = 0 if function in CLASSIFIED else 1
    assert (noisy[index] - again[index]).std() == pytest.approx(0.3, rel=0.1)
    assert np.array_equal(noisy[1 - index], again[1 - index])
    one, _ = function(1, generator=rng())
    assert one.shape == (1, 2)


@pytest.mark.parametrize("function", CLASSIFIED + VALUED, ids=lambda function: function.__name__)
def test_what_cannot_be(function):
    name = function.__name__
    with pytest.raises(ValueError, match=f"{name}: the number of points must be at least 1, not 0"):
        function(0, generator=rng())
    with pytest.raises(TypeError, match=f"{name}: the number of points must be an integer, not 2.5"):
        function(2.5, generator=rng())
    with pytest.raises(ValueError, match=f"{name}: noise must not be negative, got -1"):
        function(5, noise=-1, generator=rng())
    with pytest.raises(ValueError, match=f"{name}: noise must be finite, got inf"):
        function(5, noise=np.inf, generator=rng())
    for wrong in (0, None, np.random):
        with pytest.raises(TypeError, match=f"{name}: the generator must be a numpy.random.Generator, not "):
            function(5, generator=wrong)


def test_one_class_is_none():
    with pytest.raises(ValueError, match="spirals: the number of classes must be at least 2, not 1"):
        toys.spirals(5, 1, generator=rng())
