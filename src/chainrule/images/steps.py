"""Convert gray values to MNIST's format step by step, keeping every intermediate stage.

MNIST's digits are clean black and white scans, scaled to fit a 20×20 box with their aspect ratio preserved (which left
soft gray edges) and placed in a 28×28 image by their center of mass (LeCun, Bottou, Bengio and Haffner, "Gradient-based
learning applied to document recognition", 1998, section III.A). For a photo, the brightness of the paper is estimated
and divided out first, which removes lighting and shadows; pixels that differ enough from the paper are ink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import PictureError
from chainrule.images.files import open_picture
from chainrule.images.raster import closing, connected_parts, resize, shrink, sliding_reduce

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray, Values

DIGIT_SIDE, IMAGE_SIDE = 20, 28  # the sizes of MNIST's digits and images
WORKING_SIDE = 256  # pixels of the longer side: enough detail for 20×20, and downsampling averages out noise
WINDOWS = (0.35, 0.15)  # of a side: wider than a stroke, narrower than a shadow; the second is the fallback
MIN_CONTRAST = 0.06  # minimum contrast of ink, as a fraction of the paper's brightness
MIN_CLARITY = 3.5  # minimum contrast of ink, in standard deviations of the paper's noise
STROKE_INK = 0.3  # of full ink: the threshold for pixels of a stroke
MIN_PART_LENGTH = 0.2  # of the longer side: a part this long is not dust
MIN_STROKE_WIDTH = 2.0  # pixels in the 20×20 box: three quarters of MNIST's digits have wider strokes


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of converting an image to MNIST's format; iterating yields `(title, array)` in order.

    `gray` and `paper` are brightness (0 black, 1 white); from `ink` on, 0 is paper and 1 is full ink.
    """

    gray: Gray  # (height, width), as opened, the longer side at most 256
    paper: Gray  # (height, width), the brightness of the background
    ink: Gray  # (height, width), the difference from the background, darker or brighter
    clean: Gray  # (height, width), scaled to 0..1, without noise and specks
    cropped: Gray  # the bounding box of the digit
    scaled: Gray  # the longer side is 20 pixels
    result: NDArray[np.uint8]  # (28, 28), bright on black

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.floating | np.uint8]]]:
        yield "as opened", self.gray
        yield "background", self.paper
        yield "background removed", self.ink
        yield "noise removed", self.clean
        yield "cropped", self.cropped
        yield "scaled to 20×20", self.scaled
        yield "centered in 28×28", self.result


class _BlankError(Exception):
    """The image contains no ink."""


def prepare(picture: str | os.PathLike[str] | NDArray[np.floating | np.uint8]) -> Stages:
    """Convert an image of one digit to MNIST's format, and return all stages.

    Args:
        picture: the path of an image file, or gray values `(height, width)`: floats from 0 (black) to 1 (white), or
            uint8 from 0 to 255. The ink may be darker or brighter than the paper.

    Raises:
        PictureError: the file cannot be read, the array does not hold gray values as above, or no digit is found.
    """
    if isinstance(picture, np.ndarray):
        name, gray = "picture", normalize_gray(picture, WORKING_SIDE)
    else:
        name, gray = str(picture), shrink(open_picture(picture), WORKING_SIDE)
    try:
        return _stages(gray)
    except _BlankError as error:
        raise PictureError(f"{name}: no digit found; the image is blank") from error


def to_mnist(gray: NDArray[np.floating | np.uint8]) -> NDArray[np.uint8]:
    """The `(28, 28)` result of `prepare`, without the other stages."""
    return prepare(gray).result


def ink_to_mnist(ink: Gray) -> NDArray[np.uint8]:
    """Convert clean ink `(height, width)`, 0 for paper and 1 for full ink, to MNIST's format: `(28, 28)`."""
    return _center(_scale(_thicken(_crop(shrink(ink, WORKING_SIDE)))))


def normalize_gray(values: Values, longest: int) -> Gray:
    """Convert gray values to floats from 0 to 1, downsampled to at most `longest` pixels on the longer side.

    Raises:
        PictureError: the values are not uint8 or floats from 0 to 1, or the shape is not `(height, width)`.
    """
    if values.ndim != 2 or not values.size:
        raise PictureError(f"picture: an array of shape {values.shape} is not gray values of shape (height, width)")
    if values.dtype == np.uint8:
        return shrink(values, longest) / np.float32(255)
    if not (np.issubdtype(values.dtype, np.floating) and values.min() >= 0 and values.max() <= 1):
        raise PictureError("picture: gray values must be floats from 0 (black) to 1 (white), or uint8")
    return shrink(values, longest).astype(np.float32)


def _stages(gray: Gray) -> Stages:
    dark = _ink_is_dark(shrink(gray, WORKING_SIDE // 2))
    paper, ink, clean = _find_ink(gray if dark else 1 - gray)
    cropped = _crop(clean)
    scaled = _scale(_thicken(cropped))
    return Stages(gray, paper if dark else 1 - paper, ink, clean, cropped, scaled, _center(scaled))


def _ink_is_dark(gray: Gray) -> bool:
    """Whether the ink is darker than the paper.

    Ink covers less area than paper, so the few pixels far from their local mean are ink. The third moment of this
    difference has the sign of the rarer, larger deviations. The edge of a shadow deviates equally on both sides and
    contributes nothing. Narrow windows get more weight: a stroke is narrower than a white sheet on a dark desk.
    """
    widest = round(math.log2(max(8, max(gray.shape) / 2)))
    skewness = 0.0
    for width in (2**widest, 2 ** (widest - 1), 2 ** (widest - 2)):
        local_mean = sliding_reduce(gray, width, np.add) / width**2
        skewness += float(np.mean((gray - local_mean) ** 3)) / width
    return skewness < 0


def _find_ink(gray: Gray) -> tuple[Gray, Gray, Gray]:
    """The brightness of the paper, all dark ink on it, and the digit's ink, each (height, width).

    A window wide enough for any stroke can mistake a narrow shadow at the border for a stroke. If ink reaches the
    border, a narrower window is tried, and used if it finds a digit inside.
    """
    results = []
    for window in WINDOWS:
        paper = _paper(gray, window)
        ink = 1 - gray / np.maximum(paper, 0.05)
        try:
            clean = _drop_specks(_stretch(ink))
        except _BlankError:
            continue
        results.append((paper, ink, clean))
        if not _border(clean).any():
            return results[-1]
    if not results:
        raise _BlankError
    return results[0]


def _border(values: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _paper(gray: Gray, window: float) -> Gray:
    """The brightness of the paper at every pixel, including under the dark ink.

    A plane is fitted to the lighting of the whole image. A closing of the remainder fills every dark detail narrower
    than the window with the brightness beside it, and preserves the edges of shadows.
    """
    plane = _fitted_plane(gray)
    return plane + closing(gray - plane, max(3, round(window * sum(gray.shape) / 2)))


def _fitted_plane(gray: Gray) -> Gray:
    """A plane fitted to the half of the pixels closest to it (trimmed least squares, by repeated fits)."""
    y, x = np.linspace(-1, 1, gray.shape[0])[:, None], np.linspace(-1, 1, gray.shape[1])
    terms = np.stack(np.broadcast_arrays(1.0, x, y), axis=-1).reshape(-1, 3)  # (pixels, 3)
    values = gray.ravel()
    nearest = np.ones(values.size, bool)
    for _ in range(6):
        chosen = terms[nearest]
        plane: Gray = terms @ np.linalg.lstsq(chosen.T @ chosen, chosen.T @ values[nearest], rcond=None)[0]
        error = np.abs(values - plane)
        nearest = error <= np.median(error)
    return plane.reshape(gray.shape)


def _stretch(ink: Gray) -> Gray:
    """Scale the ink so that paper, with its noise, is 0 and full ink is 1."""
    if np.ptp(ink) < MIN_CONTRAST:
        raise _BlankError
    threshold = _threshold(ink)
    full, paper = float(np.median(ink[ink > threshold])), ink[ink <= threshold]
    level = float(np.median(paper))
    noise = 1.4826 * float(np.median(np.abs(paper - level)))  # standard deviation from the median absolute deviation
    if full - level < max(MIN_CONTRAST, MIN_CLARITY * noise):
        raise _BlankError
    start = min(level + 3 * noise, full / 2)
    stretched: Gray = np.clip((ink - start) / (full - start), 0, 1)
    return stretched


def _threshold(values: Gray) -> float:
    """The threshold that maximizes the variance between the two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    moments = counts * (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    difference = np.cumsum(moments)[:-1] - below / total * moments.sum()
    return float(edges[1 + np.argmax(difference**2 / (below * (total - below)))])


def _drop_specks(ink: Gray) -> Gray:
    """Keep only the parts of the digit; remove dust, and objects that touch the image's border."""
    parts = connected_parts(ink > STROKE_INK)  # (height, width)
    mass = np.bincount(parts.ravel(), ink.ravel())  # (parts,); part 0 is the paper
    mass[0] = 0
    y, x = np.nonzero(parts)
    sides = np.full((4, mass.size), np.inf)  # top, left, -bottom, -right of each part
    for side, coordinate in zip(sides, (y, x, -y, -x), strict=True):
        np.minimum.at(side, parts[y, x], coordinate)
    length = -np.minimum(sides[2] + sides[0], sides[3] + sides[1])
    inside = ~np.isin(np.arange(mass.size), _border(parts)) & (mass > 0.02 * mass.max())
    if (length[inside] > MIN_PART_LENGTH * max(ink.shape)).any():  # else the digit itself touches the border
        mass = np.where(inside, mass, 0)
    is_digit = mass >= 0.15 * mass.max()
    bounds = sides[:, is_digit].min(axis=1)
    bounds -= 0.1 * max(-bounds[2] - bounds[0], -bounds[3] - bounds[1])  # keep small parts only if they are near
    is_digit |= (sides >= bounds[:, None]).all(axis=0) & (mass > 0.01 * mass.max())
    return ink * sliding_reduce(is_digit[parts].astype(np.float32), 3, np.maximum)  # includes the soft edge


def _crop(ink: Gray) -> Gray:
    """Crop to the digit's bounding box, sharpening edges to compensate for the blur of scaling down."""
    rows, columns = (np.flatnonzero((ink > STROKE_INK).any(axis=axis)) for axis in (1, 0))
    gain = np.clip(max(np.ptp(rows) + 1, np.ptp(columns) + 1) / DIGIT_SIDE, 1, 3)
    sharp = np.clip(0.5 + gain * (ink - 0.5), 0, 1)
    rows, columns = (np.flatnonzero((sharp > 0.1).any(axis=axis)) for axis in (1, 0))
    return sharp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thicken(ink: Gray) -> Gray:
    """Widen thin strokes that would be thinner than MNIST's after scaling."""
    mask = np.pad(ink > 0.5, 1)
    outline = np.sum(mask[1:] != mask[:-1]) + np.sum(mask[:, 1:] != mask[:, :-1])
    width = 2 * np.sum(mask) / (math.pi / 4 * outline)  # a pixelated outline is 4/π times as long as a smooth one
    growth = int(MIN_STROKE_WIDTH * max(ink.shape) / DIGIT_SIDE - width)
    return sliding_reduce(np.pad(ink, growth), growth + 1, np.maximum) if growth > 0 else ink


def _scale(ink: Gray) -> Gray:
    """Scale the longer side to 20 pixels, preserving the aspect ratio, and the maximum ink to 1."""
    scale = DIGIT_SIDE / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    scaled: Gray = np.clip(resize(ink, (height, width), "BOX" if scale < 1 else "BICUBIC"), 0, 1)
    return np.asarray(scaled / scaled.max())


def _center(ink: Gray) -> NDArray[np.uint8]:
    """Center the digit in 28×28 by its center of mass, shifted by whole pixels as in MNIST."""
    field = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    start = []
    for axis, side in enumerate(ink.shape):
        center = float(ink.sum(axis=1 - axis) @ np.arange(side) / ink.sum())
        start.append(min(max(round(IMAGE_SIDE / 2 - center), 0), IMAGE_SIDE - side))
    field[start[0] : start[0] + ink.shape[0], start[1] : start[1] + ink.shape[1]] = np.rint(255 * ink)
    return field
