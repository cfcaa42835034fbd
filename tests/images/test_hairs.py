"""Ink as thin as a hair, in pictures of any size: a 28×28 image, or a sentence that nothing is there."""

from __future__ import annotations

import itertools
from contextlib import suppress

import numpy as np
import pytest

from chainrule.errors import PictureError
from chainrule.images import prepare
from chainrule.images.count import count_digits
from chainrule.images.foreground import BlankError
from chainrule.images.steps import ink_to_mnist

SIDES = (1, 2, 7, 30, 257, 600)  # pictures of more than 256 pixels are scaled down


def hairs(height, width):
    """A row, a column and a dot of ink, each from half faint to black."""
    random = np.random.default_rng((height, width))
    y, x = random.integers(height), random.integers(width)
    for where in ((y, slice(None)), (slice(None), x), (y, x)):
        ink = np.zeros((height, width), np.float32)
        ink[where] = random.uniform(0.31, 1)
        yield ink


@pytest.mark.parametrize("height", SIDES)
def test_hairs(height):
    for width, confidence in itertools.product(SIDES, (0.2, 0.99)):
        for ink in hairs(height, width):
            assert count_digits(ink, confidence, lambda images: np.full((len(images), 10), 0.1)) == 1
            try:
                assert ink_to_mnist(ink).max() == 255
            except BlankError:
                assert max(height, width) > 256  # scaled down, a hair fades away
            with suppress(PictureError):  # no digit found
                assert prepare(1 - ink).result.max() == 255
