"""Scale a photo to several levels, for a detector that was trained on digits of a limited range of heights.

Each level is half the size of the one before, so that any digit has a height between `MIN_HEIGHT` and twice that at
one of them. After each level, an extra level of 1/√2 of its size is inserted, unless the extra level would have more
than `DENSE_SIDE` pixels on its longer side. The detector thus sees large digits, and those of small pictures, at twice
as many levels.

A detector sees contrast, not brightness: the local mean is subtracted, and the difference is divided by the local
standard deviation, which removes lighting, shadows and the color of the paper.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.images.raster import resize, shrink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

PAGE_LONGEST_SIDE = 2000  # pixels: larger photos are downsampled; a page of small digits is still readable
ENLARGED_SIDE = 900  # pixels of the longer side: smaller pictures get a level of twice their size, for small digits
DENSE_SIDE = 1000  # pixels: the maximum longer side of an extra level
MIN_HEIGHT = 16  # pixels: the smallest height at which a digit is detected well; the largest is twice that
# Pixels: the minimum shorter side of a level that is smaller than the photo. The last level is then small enough to
# detect a digit that fills the photo
MIN_SIDE = 10
BLOCK = 4  # pixels: the local mean and standard deviation are computed from means of blocks of 4×4
WINDOW = 13  # blocks: the side of the window of the local mean
MIN_DEVIATION = 0.02  # its square is added to the local variance, so that the noise of empty paper stays small
MAX_CONTRAST = 6.0  # limit of the absolute value of the contrast


class Level(NamedTuple):
    """The photo at one scale.

    Attributes:
        scale: pixels of the level per pixel of the photo.
        gray: brightness (height, width), from 0 to 1.
    """

    scale: float
    gray: Gray


def make_levels(gray: Gray) -> list[Level]:
    """Return the photo at all scales at which digits are detected, the finest first.

    Args:
        gray: brightness (height, width), from 0 to 1.
    """
    longest, shortest = max(gray.shape), min(gray.shape)
    scale = 2.0 if longest <= ENLARGED_SIDE else 1.0
    levels = []
    while scale >= 1 or (shortest * scale >= MIN_SIDE and longest * scale >= MIN_HEIGHT):
        levels.append(_level(gray, scale))
        extra_scale = scale / math.sqrt(2)
        if MIN_HEIGHT <= longest * extra_scale <= DENSE_SIDE and shortest * extra_scale >= MIN_SIDE:
            levels.append(_level(gray, extra_scale))
        scale /= 2
    return levels


def _level(gray: Gray, scale: float) -> Level:
    """Return the photo resampled to `scale`."""
    if scale <= 1:
        return Level(scale, np.asarray(shrink(gray, round(scale * max(gray.shape))), np.float32))
    height, width = (round(scale * side) for side in gray.shape)
    return Level(scale, np.asarray(np.clip(resize(gray, (height, width), "BICUBIC"), 0, 1), np.float32))


def choose_level(levels: Sequence[Level], scale: float) -> Level:
    """Return the coarsest level whose scale is at least `scale`, or the finest level if there is none."""
    return next((level for level in reversed(levels) if level.scale >= scale), levels[0])


def crop(level: Level, sides: tuple[float, float, float, float], scale: float) -> Gray:
    """Return a part of the photo, resampled to `scale`. Beyond the photo, its border is repeated.

    Args:
        level: the photo at a scale near `scale`.
        sides: left, top, right and bottom in pixels of the photo; they need not be whole numbers.
        scale: pixels of the result per pixel of the photo.
    """
    from PIL import Image  # imported on first use

    left, top, right, bottom = (level.scale * side for side in sides)
    x = np.arange(math.floor(left) - 2, math.ceil(right) + 2)
    y = np.arange(math.floor(top) - 2, math.ceil(bottom) + 2)
    level_height, level_width = level.gray.shape
    rows, columns = np.clip(y, 0, level_height - 1), np.clip(x, 0, level_width - 1)
    region = np.ascontiguousarray(level.gray[np.ix_(rows, columns)], np.float32)
    width = max(4, round((right - left) * scale / level.scale))
    height = max(4, round((bottom - top) * scale / level.scale))
    method = Image.Resampling.BICUBIC if scale > level.scale else Image.Resampling.BOX
    source_box = (left - x[0], top - y[0], right - x[0], bottom - y[0])
    return np.asarray(Image.fromarray(region).resize((width, height), method, source_box))


def normalize_contrast(gray: Gray) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local standard deviation; the result (height, width) is the contrast.

    Args:
        gray: brightness (height, width), from 0 to 1; both sides are multiples of `BLOCK`.
    """
    from scipy import ndimage  # slow to import

    mean, mean_square = _block_means(gray), _block_means(gray * gray)
    for _ in range(2):  # a box filter applied twice is a triangle filter, which has no hard edges
        mean = ndimage.uniform_filter(mean, WINDOW, mode="nearest")
        mean_square = ndimage.uniform_filter(mean_square, WINDOW, mode="nearest")
    gain = 1 / np.sqrt(np.maximum(mean_square - mean * mean, 0) + MIN_DEVIATION**2)
    height, width = gray.shape
    pixel_mean = resize(np.asarray(mean, np.float32), (height, width), "BILINEAR")
    pixel_gain = resize(np.asarray(gain, np.float32), (height, width), "BILINEAR")
    return np.asarray(np.clip((gray - pixel_mean) * pixel_gain, -MAX_CONTRAST, MAX_CONTRAST), np.float32)


def _block_means(values: Gray) -> Gray:
    """Return the means of blocks of `BLOCK` × `BLOCK` pixels."""
    height, width = values.shape
    blocks = values.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
