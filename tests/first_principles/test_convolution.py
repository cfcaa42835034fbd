"""Convolution and pooling as loops, against the engine's and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.first_principles.convolution import convolve, convolve_backward, max_pool, max_pool_backward
from chainrule.first_principles.finite_difference import central_difference

RANDOM = np.random.default_rng(0)
IMAGE, FILTERS, BIAS = RANDOM.normal(size=(3, 7, 6)), RANDOM.normal(size=(4, 3, 3, 2)), RANDOM.normal(size=4)
SETTINGS = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize(("stride", "padding"), SETTINGS)
def test_convolution_agrees_with_the_engine(stride: int, padding: int) -> None:
    image, filters, bias = (chainrule.tensor(part, requires_grad=True) for part in (IMAGE, FILTERS, BIAS))
    out = nn.functional.conv2d(image[None], filters, bias, stride=stride, padding=padding)[0]
    ours = convolve(IMAGE, FILTERS, BIAS, stride, padding)
    assert ours.shape == tuple(out.shape)
    np.testing.assert_allclose(ours, np.asarray(out.detach()), rtol=0, atol=1e-12)
    error = RANDOM.normal(size=ours.shape)
    (out * chainrule.tensor(error)).sum().backward()
    gradients = convolve_backward(error, IMAGE, FILTERS, stride, padding)
    for mine, theirs in zip(gradients, (image, filters, bias), strict=True):
        np.testing.assert_allclose(mine, np.asarray(theirs.grad), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding"), SETTINGS)
def test_convolution_agrees_with_finite_differences(stride: int, padding: int) -> None:
    error = RANDOM.normal(size=convolve(IMAGE, FILTERS, BIAS, stride, padding).shape)
    parts = [IMAGE, FILTERS, BIAS]
    for at, gradient in enumerate(convolve_backward(error, IMAGE, FILTERS, stride, padding)):

        def score(values: np.ndarray, at: int = at) -> float:
            changed = [*parts[:at], values, *parts[at + 1 :]]
            return float((error * convolve(*changed, stride, padding)).sum())

        np.testing.assert_allclose(gradient, central_difference(score, parts[at]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pooling_agrees_with_the_engine(size: int) -> None:
    picture = np.round(IMAGE)  # with ties in many squares
    image = chainrule.tensor(picture, requires_grad=True)
    out = nn.functional.max_pool2d(image[None], size)[0]
    ours = max_pool(picture, size)
    np.testing.assert_array_equal(ours, np.asarray(out.detach()))
    error = RANDOM.normal(size=ours.shape)
    (out * chainrule.tensor(error)).sum().backward()
    np.testing.assert_allclose(max_pool_backward(error, picture, size), np.asarray(image.grad), rtol=0, atol=1e-12)


def test_pooling_agrees_with_finite_differences() -> None:
    error = RANDOM.normal(size=(3, 3, 3))
    expected = central_difference(lambda image: float((error * max_pool(image)).sum()), IMAGE)
    np.testing.assert_allclose(max_pool_backward(error, IMAGE), expected, rtol=0, atol=1e-8)


def test_finds_what_the_filter_looks_like() -> None:
    picture = np.zeros((1, 5, 5))
    picture[0, 1:4, 2] = 1  # an upright stroke
    upright = np.array([[[[-1.0, 2.0, -1.0]] * 3]])
    out = convolve(picture, upright, np.zeros(1))
    assert np.unravel_index(out.argmax(), out.shape) == (0, 1, 1)
    assert out.max() == 6


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"filters \(4, 3, 3, 2\) and bias \(4,\) do not fit image \(1, 7, 6\)"):
        convolve(IMAGE[:1], FILTERS, BIAS)
    with pytest.raises(ValueError, match=r"padded by 0; expected \(F, 3, at most 2, at most 6\) and \(F,\)"):
        convolve(IMAGE[:, :2], FILTERS, BIAS)
    with pytest.raises(ValueError, match=r"bias \(3,\) do not fit"):
        convolve(IMAGE, FILTERS, BIAS[:3])
    with pytest.raises(ValueError, match=r"needs image \(C, H, W\) of at least 8×8, got \(3, 7, 6\)"):
        max_pool(IMAGE, 8)
    with pytest.raises(ValueError, match=r"got \(7, 6\)"):
        max_pool(IMAGE[0])
    with pytest.raises(
        ValueError, match=r"needs image \(C, H, W\) and filters \(F, C, U, V\), got \(7, 6\), \(4, 3, 3, 2\)"
    ):
        convolve(IMAGE[0], FILTERS, BIAS)


def test_pictures_of_whole_numbers_have_gradients_that_are_not() -> None:
    error = np.full((3, 3, 3), 0.5)
    assert max_pool_backward(error, IMAGE.astype(int)).sum() == 13.5
    whole = convolve_backward(np.full((4, 5, 5), 0.5), IMAGE.astype(int), FILTERS.astype(int))
    assert whole[2].tolist() == [12.5] * 4
