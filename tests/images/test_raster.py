"""The image operations agree with SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chainrule.images.raster import closing, connected_parts, shrink, sliding_reduce


@pytest.mark.parametrize("density", [0, 0.1, 0.4, 0.5, 0.7, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (37, 53)])
def test_connected_parts(density: float, shape: tuple[int, int]):
    mask = np.random.default_rng(3).random(shape) < density
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    parts = connected_parts(mask)
    assert parts.max() == count
    assert len(np.unique(np.stack([parts[mask], expected[mask]]), axis=1).T) == count  # a one-to-one mapping of labels
    np.testing.assert_array_equal(parts == 0, ~mask)


def test_a_long_winding_line_is_one_part():
    mask = np.zeros((101, 101), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    np.testing.assert_array_equal(connected_parts(mask), mask)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 17, 64])
def test_running_windows(width: int):
    values = np.random.default_rng(1).random((20, 33))
    most = ndimage.maximum_filter(values, width, mode="nearest")
    np.testing.assert_array_equal(sliding_reduce(values, width, np.maximum), most)
    least = ndimage.minimum_filter(values, width, mode="nearest")
    np.testing.assert_array_equal(sliding_reduce(values, width, np.minimum), least)
    if width & (width - 1) == 0:
        mean = ndimage.uniform_filter(values, width, mode="nearest")
        np.testing.assert_allclose(sliding_reduce(values, width, np.add) / width**2, mean, rtol=1e-9)


@pytest.mark.parametrize("width", [1, 2, 5, 16])
def test_running_windows_over_masks(width: int):
    mask = np.random.default_rng(2).random((20, 33)) < 0.5
    near = sliding_reduce(mask, width, np.maximum)
    assert near.dtype == bool
    np.testing.assert_array_equal(near, ndimage.maximum_filter(mask, width, mode="nearest"))
    np.testing.assert_array_equal(
        sliding_reduce(mask, width, np.minimum), ndimage.minimum_filter(mask, width, mode="nearest")
    )


@pytest.mark.parametrize("width", [3, 8, 17])
def test_outside_is_the_mirror_image(width: int):
    values = np.random.default_rng(4).random((20, 33))
    np.testing.assert_array_equal(
        sliding_reduce(values, width, np.maximum, "symmetric"), ndimage.maximum_filter(values, width, mode="reflect")
    )
    np.testing.assert_array_equal(closing(values, width), ndimage.grey_closing(values, width | 1, mode="reflect"))


def test_closing_fills_strokes_and_keeps_the_edges_of_shadows():
    shadow = np.ones((40, 60))
    shadow[:, 35:] = 0.5
    drawn = shadow.copy()
    drawn[5:30, 10:14] = drawn[20:25, 2:30] = drawn[32:36, 40:56] = 0.1
    np.testing.assert_array_equal(closing(drawn, 8), shadow)
    assert closing(drawn, 3)[10, 12] == 0.1  # a window no wider than the stroke leaves it


def test_shrinking_averages():
    values = np.random.default_rng(1).random((40, 20)).astype(np.float32)
    means = values.reshape(10, 4, 5, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(shrink(values, 10), means, atol=1e-6)
    assert shrink(values, 40) is values
    assert shrink(np.ones((3, 5000), np.float32), 100).shape == (1, 100)
