"""Convert gray values to MNIST's format step by step, and keep every intermediate stage.

MNIST's digits are clean black and white scans, scaled to fit a 20×20 box with their aspect ratio preserved (which left
soft gray edges) and placed in a 28×28 image by their center of mass (LeCun, Bottou, Bengio and Haffner, "Gradient-based
learning applied to document recognition", 1998, section III.A). The ink of a photo is separated from the paper first,
see `foreground`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import PictureError
from chainrule.images.files import DIGIT_LONGEST_SIDE, open_digit
from chainrule.images.foreground import STROKE_INK, BlankError, Foreground, find_foreground, ink_is_dark, stroke_width
from chainrule.images.frames import Panel, find_panels
from chainrule.images.raster import resize, shrink, sliding_reduce

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray, Values

DIGIT_SIDE = 20  # pixels of the longer side of MNIST's digits
IMAGE_SIDE = 28  # pixels of a side of MNIST's images
WORKING_SIDE = 256  # pixels of the longer side: enough detail for 20×20, and downsampling averages out noise
# If the darker of a panel and its surroundings has more than this brightness, relative to the other, the panel may be
# only the lit part of the paper, beside a shadow
MIN_SHADE = 0.6
MAX_INK_DIFFERENCE = 0.12  # maximum difference in brightness between strokes of one digit
MIN_STROKE_WIDTH = 2.0  # pixels in the 20×20 box: three quarters of MNIST's digits have wider strokes


class BlankPictureError(PictureError):
    """Nothing in a picture looks like the ink of a digit."""


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of converting an image to MNIST's format; iterating yields `(title, array)` in order.

    `gray` and `paper` are brightness (0 black, 1 white); from `ink` on, 0 is paper, and larger values are ink, whether
    it is darker or brighter than the paper.

    Attributes:
        gray: (height, width), the whole picture, the longer side at most 256.
        paper: (panel height, panel width), the brightness of the background; like `ink` and `clean`, it shows the
            innermost panel in which the digit was found, or the whole picture (see `frames.find_panels`).
        ink: of the same shape, the relative difference from the background.
        clean: of the same shape, the ink of the digit alone, scaled to 0..1, without noise and specks.
        cropped: the bounding box of the digit.
        scaled: the same with a longer side of 20 pixels.
        result: (28, 28), bright on black.
    """

    gray: Gray
    paper: Gray
    ink: Gray
    clean: Gray
    cropped: Gray
    scaled: Gray
    result: NDArray[np.uint8]

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.floating | np.uint8]]]:
        yield "as opened", self.gray
        yield "background", self.paper
        yield "background removed", self.ink
        yield "noise removed", self.clean
        yield "cropped", self.cropped
        yield "scaled to 20×20", self.scaled
        yield "centered in 28×28", self.result


def prepare(picture: str | os.PathLike[str] | NDArray[np.floating | np.uint8], name: str | None = None) -> Stages:
    """Convert an image of one digit to MNIST's format, and return all stages.

    Args:
        picture: the path of an image file, or gray values `(height, width)`: floats from 0 (black) to 1 (white), or
            uint8 from 0 to 255. The ink may be darker or brighter than the paper.
        name: the picture's name in error messages; by default, its path.

    Raises:
        PictureError: the file cannot be read, the array does not hold gray values as above, or no digit is found.
    """
    if isinstance(picture, np.ndarray):
        name, gray = name or "picture", normalize_gray(picture, DIGIT_LONGEST_SIDE)
    else:
        name, gray = name or str(picture), open_digit(picture, name)
    try:
        return _stages(gray)
    except BlankError as error:
        raise BlankPictureError(f"{name}: no digit found; the image is blank") from error


def to_mnist(gray: NDArray[np.floating | np.uint8]) -> NDArray[np.uint8]:
    """Convert gray values `(height, width)` to MNIST's format: the result of `prepare`, `(28, 28)`."""
    return prepare(gray).result


def ink_to_mnist(ink: Gray) -> NDArray[np.uint8]:
    """Convert clean ink `(height, width)`, 0 for paper and 1 for full ink, to MNIST's format: `(28, 28)`.

    Raises:
        BlankError: no pixel has the ink of a stroke once the picture is scaled down to `WORKING_SIDE`.
    """
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
    opened = shrink(gray, WORKING_SIDE)
    foreground = _find_innermost(gray)
    cropped = _crop(foreground.clean)
    scaled = _scale(_thicken(cropped))
    return Stages(opened, *foreground[:3], cropped, scaled, _center(scaled))


def _find_innermost(gray: Gray) -> Foreground:
    """Find the ink of the digit in the innermost panel that contains one, such as a sheet on a desk.

    Without panels, the digit is looked for in the whole picture.

    Raises:
        BlankError: there is no digit.
    """
    panel = Panel(gray, np.ones(gray.shape, bool), background=1.0, surroundings=1.0, is_closed=True)
    best = _find_digit(panel)
    is_searching = True
    while is_searching:
        is_searching = False
        for inner_panel in find_panels(panel.gray, panel.mask):
            digit = _find_digit(inner_panel)
            if digit is not None and (best is None or not _may_extend_outside(inner_panel, digit)):
                panel, best, is_searching = inner_panel, digit, True
                break
    if best is None:
        raise BlankError
    return best


def _may_extend_outside(panel: Panel, digit: Foreground) -> bool:
    """Whether a panel may show only a part of the digit: its edge may be that of a shadow, or that of a stroke."""
    if not digit.is_truncated:
        return False
    may_be_shadow = min(panel.background, panel.surroundings) > MIN_SHADE * max(panel.background, panel.surroundings)
    ink = float(np.median(shrink(panel.gray, WORKING_SIDE)[digit.clean > STROKE_INK]))
    may_be_stroke = not panel.is_closed and abs(ink - panel.surroundings) < MAX_INK_DIFFERENCE
    return may_be_shadow or may_be_stroke


def _find_digit(panel: Panel) -> Foreground | None:
    """Find the ink of the digit in a panel; None if there is none."""
    gray = shrink(panel.gray, WORKING_SIDE)
    mask = panel.mask if gray.shape == panel.mask.shape else resize(panel.mask.astype(np.float32), gray.shape) > 0.5
    try:
        if ink_is_dark(shrink(gray, WORKING_SIDE // 2)):
            return find_foreground(gray, mask)
        foreground = find_foreground(1 - gray, mask)
    except BlankError:
        return None
    return foreground._replace(paper=1 - foreground.paper)


def _crop(ink: Gray) -> Gray:
    """Crop to the digit's bounding box, and sharpen edges to compensate for the blur of scaling down.

    Raises:
        BlankError: no pixel has the ink of a stroke.
    """
    rows, columns = (np.flatnonzero((ink > STROKE_INK).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise BlankError
    gain = np.clip(max(np.ptp(rows) + 1, np.ptp(columns) + 1) / DIGIT_SIDE, 1, 3)
    sharp = np.clip(0.5 + gain * (ink - 0.5), 0, 1)
    if not (sharp > 0.5).any():  # a hairline stroke, too faint to sharpen
        sharp = ink / ink.max()
    rows, columns = (np.flatnonzero((sharp > 0.1).any(axis=axis)) for axis in (1, 0))
    return sharp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thicken(ink: Gray) -> Gray:
    """Widen thin strokes that would be thinner than MNIST's after scaling."""
    growth = int(MIN_STROKE_WIDTH * max(ink.shape) / DIGIT_SIDE - stroke_width(ink > 0.5))
    return sliding_reduce(np.pad(ink, growth), growth + 1, np.maximum) if growth > 0 else ink


def _scale(ink: Gray) -> Gray:
    """Scale the longer side to 20 pixels, preserving the aspect ratio, and the maximum ink to 1."""
    scale = DIGIT_SIDE / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    scaled: Gray = np.clip(resize(ink, (height, width), "BOX" if scale < 1 else "BICUBIC"), 0, 1)
    return np.asarray(scaled / scaled.max())


def _center(ink: Gray) -> NDArray[np.uint8]:
    """Center the digit in 28×28 by its center of mass, shifted by whole pixels as in MNIST."""
    image = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    starts = []
    for axis, side in enumerate(ink.shape):
        center = float(ink.sum(axis=1 - axis) @ np.arange(side) / ink.sum())
        starts.append(min(max(round(IMAGE_SIDE / 2 - center), 0), IMAGE_SIDE - side))
    top, left = starts
    height, width = ink.shape
    image[top : top + height, left : left + width] = np.rint(255 * ink)
    return image
