"""A photo at several scales, for a detector that knows digits of one range of heights.

Each level is half as large as the one before, so that any digit has a height between `MIN_HEIGHT` and twice that at
one of them; there are twice as many small levels, so that large digits and those of small pictures are seen twice. A
detector sees contrast, not brightness: the local mean is subtracted, and the rest is divided by the local standard
deviation, which removes lighting, shadows and the color of the paper.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.images.raster import resize, shrink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

LONGEST_SIDE = 2000  # pixels: larger photos are downsampled; a page of small digits is still readable
ENLARGED_SIDE = 900  # pixels: pictures up to this size have a level of twice their size, for their small digits
DENSE_SIDE = 1000  # pixels of the longer side: each two levels up to this size have one more between them
MIN_HEIGHT = 16  # pixels, in the level where a digit is best detected; the largest height is twice that
MIN_SIDE = 10  # pixels of the shorter side of the last level: a digit that fills the photo fits its range
BLOCK = 4  # pixels: local mean and standard deviation are those of blocks of 4×4
WINDOW = 13  # blocks: the side of the window of the local mean, which is applied twice
MIN_DEVIATION = 0.02  # added to the local standard deviation, so that the grain of empty paper stays small
MAX_VALUE = 6.0  # limit of the absolute value of the contrast


class Level(NamedTuple):
    """The photo at one scale.

    Attributes:
        scale: pixels of the level per pixel of the photo.
        gray: brightness (height, width), from 0 to 1.
    """

    scale: float
    gray: Gray


def make_levels(gray: Gray) -> list[Level]:
    """Return the photo at all scales at which digits are detected, the finest first."""
    longest, shortest = max(gray.shape), min(gray.shape)
    scale = 2.0 if longest <= ENLARGED_SIDE else 1.0
    levels = []
    while scale >= 1 or (shortest * scale >= MIN_SIDE and longest * scale >= MIN_HEIGHT):
        levels.append(_level(gray, scale))
        half = scale / math.sqrt(2)
        if longest * half <= DENSE_SIDE and shortest * half >= MIN_SIDE and longest * half >= MIN_HEIGHT:
            levels.append(_level(gray, half))
        scale /= 2
    return levels


def _level(gray: Gray, scale: float) -> Level:
    """Return the photo at one scale."""
    if scale <= 1:
        return Level(scale, np.asarray(shrink(gray, round(scale * max(gray.shape))), np.float32))
    height, width = (round(scale * side) for side in gray.shape)
    return Level(scale, np.asarray(np.clip(resize(gray, (height, width), "BICUBIC"), 0, 1), np.float32))


def normalize_contrast(gray: Gray) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local standard deviation.

    Args:
        gray: brightness (height, width), from 0 to 1; both sides are multiples of `BLOCK`.
    """
    from scipy import ndimage  # slow to import

    mean, square = _block_means(gray), _block_means(gray * gray)
    for _ in range(2):  # a box filter applied twice is a triangle filter, which has no hard edges
        mean = ndimage.uniform_filter(mean, WINDOW, mode="nearest")
        square = ndimage.uniform_filter(square, WINDOW, mode="nearest")
    gain = 1 / np.sqrt(np.maximum(square - mean * mean, 0) + MIN_DEVIATION**2)
    height, width = gray.shape
    fine_mean, fine_gain = (resize(np.asarray(v, np.float32), (height, width), "BILINEAR") for v in (mean, gain))
    return np.asarray(np.clip((gray - fine_mean) * fine_gain, -MAX_VALUE, MAX_VALUE), np.float32)


def _block_means(values: Gray) -> Gray:
    """The means of blocks of `BLOCK` × `BLOCK` pixels."""
    height, width = values.shape
    blocks = values.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
