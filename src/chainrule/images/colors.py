"""Convert colors to gray values in which ink differs from paper, whatever their colors are.

Luminance is the usual gray value, but it does not tell red from green of the same brightness, yellow from white, or
white strokes from the transparent canvas they are drawn on. Ink differs from the paper next to it, so the principal
axis of the local color differences (with opacity as a fourth channel) separates them best. The axis replaces luminance
if luminance has only a small share of the variance of these differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.raster import box_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

SAMPLE_SIDE = 192  # pixels of the longer side of the reduced image from which the axis is computed
LOCAL_WINDOW = 32  # side of the window of the local mean, in pixels of the reduced image; a power of two
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114, 0], np.float32)  # of red, green, blue, opacity (ITU-R BT.601)
MIN_LUMINANCE_VARIANCE = (
    0.3  # relative to the variance along the principal axis: with less, the axis replaces luminance
)


def gray_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image] | None:
    """Return a function that converts bands of an image to gray values (mode L) along the axis of highest contrast.

    Returns None where `contrast_axis` does: the caller then uses luminance.
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
    """Return the direction in which ink differs most from paper, and the lowest and highest value along it.

    The direction is a unit vector (4,) for red, green and blue (composited over white) and opacity. Returns None if
    luminance has enough contrast, or the image is opaque and has only shades of gray.
    """
    from PIL import Image

    if image.mode in ("1", "L") and not image.has_transparency_data:
        return None
    scale = min(1, SAMPLE_SIDE / max(image.size))
    sample = image.resize([max(1, round(scale * side)) for side in image.size], Image.Resampling.NEAREST)
    colors = _channels(sample)  # (height, width, 4)
    if (colors[..., 1:3] == colors[..., :1]).all() and (colors[..., 3] == 1).all():
        return None
    means = [box_mean(channel, LOCAL_WINDOW) for channel in np.moveaxis(colors, 2, 0)]
    differences = (colors - np.stack(means, axis=2)).reshape(-1, 4)
    covariance = differences.T @ differences / len(differences)  # (4, 4)
    variances, axes = np.linalg.eigh(covariance)
    luminance = LUMINANCE_WEIGHTS / np.linalg.norm(LUMINANCE_WEIGHTS)
    if luminance @ covariance @ luminance >= MIN_LUMINANCE_VARIANCE * variances[-1]:
        return None
    direction = axes[:, -1].astype(np.float32)
    direction *= np.sign(direction.sum()) or 1  # orients the axis: on the whole, brighter and more opaque is larger
    values = colors @ direction
    return direction, float(values.min()), float(values.max())


def canvas_color(image: Image.Image) -> str:
    """Return the color to composite an image over: gray if its strokes would have too little contrast on white."""
    axis = contrast_axis(image) if image.has_transparency_data else None
    return "white" if axis is None else "#606060"


def _channels(image: Image.Image) -> NDArray[np.float32]:
    """Return red, green and blue over white, and opacity, each from 0 to 1: (height, width, 4)."""
    from PIL import Image

    rgba = image.convert("RGBA")
    over_white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    channels = np.asarray(over_white, np.float32) / np.float32(255)
    channels[..., 3] = np.asarray(rgba.getchannel("A"), np.float32) / np.float32(255)
    return channels
