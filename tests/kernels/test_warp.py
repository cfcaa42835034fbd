"""Resampled images, by compiled loops and in NumPy, against SciPy and by hand."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from chainrule.kernels.warp import warp


def maps(count, y=(1, 0, 0), x=(0, 1, 0)):
    return np.tile(np.array([y, x], float), (count, 1, 1))


def no_field(images):
    count, *size = images.shape
    return np.zeros((count, 2, *size), np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (0, 4, 4), (2, 0, 3)], ids=str)
def test_the_identity_map_returns_the_image(backend, threads, dtype, shape):
    images = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    result = warp(images, maps(len(images)), no_field(images))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, images.astype(np.float32))


@pytest.mark.parametrize("shape", [(6, 28, 28), (2, 5, 9)], ids=str)
def test_bilinear_weights_and_background_equal_scipys(backend, threads, shape):
    random = np.random.default_rng(1)
    images = random.random(shape).astype(np.float32)
    affine = maps(len(images)) + random.normal(0, 0.3, (len(images), 2, 3)) * [1, 1, 5]
    field = random.normal(0, 2, (len(images), 2, *shape[1:])).astype(np.float32)
    result = warp(images, affine, field)
    positions = np.einsum("nrk,kij->nrij", affine, np.stack([*np.indices(shape[1:]), np.ones(shape[1:])])) + field
    for image, position, warped in zip(images, positions, result, strict=True):
        framed = np.pad(image, 1).astype(float)
        expected = map_coordinates(framed, position + 1, order=1, mode="constant", cval=0)
        np.testing.assert_allclose(warped, expected, atol=1e-6)


def test_each_image_has_its_own_map(backend):
    images = np.arange(24.0).reshape(2, 3, 4)
    affine = np.concatenate([maps(1, y=(1, 0, 1)), maps(1, x=(0, 1, -2))])
    up, right = warp(images, affine, no_field(images))
    np.testing.assert_array_equal(up, [[4, 5, 6, 7], [8, 9, 10, 11], [0, 0, 0, 0]])
    np.testing.assert_array_equal(right, [[0, 0, 12, 13], [0, 0, 16, 17], [0, 0, 20, 21]])


@pytest.mark.parametrize("far", [1e3, -1e3, 1e300, -1e300, np.inf, -np.inf, np.nan])
def test_background_far_outside(backend, far):
    images = np.ones((1, 3, 3))
    for row in ({"y": (1, 0, far)}, {"x": (0, 1, far)}):
        np.testing.assert_array_equal(warp(images, maps(1, **row), no_field(images)), np.zeros((1, 3, 3)))


def test_arrays_with_gaps(backend):
    images = np.arange(48.0).reshape(2, 4, 6)[:, ::2, ::-1]
    field = np.zeros((2, 2, 4, 6), np.float32)[:, :, ::2]
    np.testing.assert_array_equal(warp(images, maps(2), field), images)
