"""Convert colors to gray values such that ink differs from paper, whatever their colors are.

Luminance is the usual gray value, but it does not tell red from green of the same brightness, yellow from white, or
white strokes from the transparent canvas they are drawn on. Ink differs from the paper next to it, so the principal
axis of the local color differences (with opacity as a fourth color) separates them best. It replaces luminance where
luminance has only a small part of the differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.raster import box_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

SAMPLE_SIDE = 192  # pixels of the longer side of the sample from which the axis is computed
NEIGHBORHOOD = 32  # pixels of the sample: the window of the local mean, a power of two
LUMINANCE = np.array([0.299, 0.587, 0.114, 0], np.float32)  # of red, green, blue and opacity (ITU-R BT.601)
MIN_SHARE = 0.3  # of the variance along the principal axis: if luminance has less, the axis replaces it


def gray_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image] | None:
    """A function that converts bands of an image to gray values (mode L) along the axis of most contrast.

    Returns None if luminance, over white where the image is transparent, has enough contrast.
    """
    axis = contrast_axis(image)
    if axis is None:
        return None
    direction, low, high = axis

    def convert(band: Image.Image) -> Image.Image:
        from PIL import Image

        gray = (_channels(band) @ direction - np.float32(low)) / np.float32(high - low)
        return Image.fromarray(np.rint(255 * np.clip(gray, 0, 1)).astype(np.uint8))

    return convert


def contrast_axis(image: Image.Image) -> tuple[NDArray[np.float32], float, float] | None:
    """The axis of red, green, blue and opacity along which ink differs most from paper, and the range of values on it.

    Returns None if luminance has enough contrast, or the image has no colors.
    """
    from PIL import Image

    if image.mode in ("1", "L") and not image.has_transparency_data:
        return None
    scale = min(1, SAMPLE_SIDE / max(image.size))
    sample = image.resize([max(1, round(scale * side)) for side in image.size], Image.Resampling.NEAREST)
    colors = _channels(sample)  # (height, width, 4)
    if (colors[..., 1:3] == colors[..., :1]).all() and (colors[..., 3] == 1).all():
        return None  # shades of gray, as most drawings are
    means = [box_mean(channel, NEIGHBORHOOD) for channel in np.moveaxis(colors, 2, 0)]
    differences = (colors - np.stack(means, axis=2)).reshape(-1, 4)
    covariance = differences.T @ differences / len(differences)  # (4, 4)
    variances, axes = np.linalg.eigh(covariance)
    luminance = LUMINANCE / np.linalg.norm(LUMINANCE)
    if luminance @ covariance @ luminance >= MIN_SHARE * variances[-1]:
        return None
    direction = axes[:, -1].astype(np.float32)
    direction *= np.sign(direction.sum()) or 1  # brighter colors, and more opaque ones, have larger values
    values = colors @ direction
    return direction, float(values.min()), float(values.max())


def canvas_color(image: Image.Image) -> str:
    """The color to composite a transparent image over: gray if its strokes would not be visible on white."""
    axis = contrast_axis(image) if image.has_transparency_data else None
    return "white" if axis is None else "#606060"


def _channels(image: Image.Image) -> NDArray[np.float32]:
    """Red, green and blue over white, and opacity, each from 0 to 1: (height, width, 4)."""
    from PIL import Image

    rgba = image.convert("RGBA")
    over_white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    channels = np.asarray(over_white, np.float32) / np.float32(255)
    channels[..., 3] = np.asarray(rgba.getchannel("A"), np.float32) / np.float32(255)
    return channels
