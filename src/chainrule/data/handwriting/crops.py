"""Synthetic crops of photographed pages with the boxes of their digits, drawn fast, to train the digit detector.

    import numpy as np

    from chainrule.data.handwriting.crops import CropMaker

    crop = CropMaker(np.random.default_rng(0)).make()
    crop.gray      # brightness, 128 pixels wide and high
    crop.boxes     # the digits' tight boxes in pixels: left, top, right, bottom
    crop.labels    # the digits; -1 for a digit that the detector may find or not: it is cut off or too faint

`pages` makes whole pages of the kinds that people photograph. Crops combine any layout, ground, clutter, light and
camera, however unlikely, so that the detector has seen most of what a real photo shows.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.data.handwriting import clutter
from chainrule.data.handwriting.rows import OVERSAMPLING, SIDE, Rows
from chainrule.data.handwriting.sheet import smooth_noise
from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Boxes = NDArray[np.float32]

USUAL_HEIGHTS = (13.0, 38.0)
"""The heights in pixels of the digits in four crops of five."""
ALL_HEIGHTS = (7.0, 120.0)
"""The heights of the digits in the other crops."""
MIN_CONTRAST = 0.035  # of full brightness: a fainter digit has the label -1
NOISE = ((0.003, 0.01, 0.02, 0.05), (0.45, 0.35, 0.15, 0.05))  # standard deviations, and how often each
MIN_INSIDE = 0.75  # of a digit's area: with less of it in a small picture, its label is -1


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a photo.

    Attributes:
        gray: uint8 (side, side).
        boxes: (N, 4), the tight boxes of the digits' ink in pixels: left, top, right, bottom.
        labels: (N,), the digits; -1 for one that the detector may find or not.
    """

    gray: NDArray[np.uint8]
    boxes: Boxes
    labels: NDArray[np.int64]


class CropMaker:
    """Draws random crops.

    Args:
        generator: the only source of randomness.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.rows = Rows(generator)

    def make(self) -> Crop:
        """Draw the next crop."""
        generator = self.generator
        low, high = USUAL_HEIGHTS if generator.random() < 0.8 else ALL_HEIGHTS
        height = OVERSAMPLING * math.exp(generator.uniform(math.log(low), math.log(high)))
        is_drawing = generator.random() < 0.08  # made with a drawing program: neither grain nor shadows
        sheet = self._ground(is_drawing)
        ink, boxes, labels, cells = self.rows.write(height) if generator.random() < 0.82 else self.rows.nothing()
        ink_brightness = generator.uniform(0, 0.6) if generator.random() < 0.8 else generator.uniform(0.6, 0.88)
        ink_brightness = 0.0 if is_drawing and generator.random() < 0.7 else ink_brightness
        sheet = self._clutter(sheet, ink, height, ink_brightness, cells)
        if generator.random() < 0.15:  # pencil or chalk
            grain = 1 + generator.uniform(0.1, 0.5) * smooth_noise(generator, ink.shape, generator.uniform(1, 4))
            ink = ink * np.clip(grain, 0.2, 1)
        written = sheet * (1 - ink * np.float32(1 - ink_brightness))
        contrast = np.array([_contrast(sheet - written, box) for box in boxes])
        if boxes and generator.random() < 0.12:
            written = self._panels(written, boxes, height)
        gray, share, noise = self._photograph(written, is_drawing)
        visible = contrast * share > max(MIN_CONTRAST, 2 * noise)
        array = np.asarray(boxes, np.float32).reshape(-1, 4) / np.float32(OVERSAMPLING)
        crop = Crop(gray, array, np.where(visible, np.asarray(labels, np.int64).reshape(-1), -1))
        return self._small_picture(crop) if len(labels) and generator.random() < 0.22 else crop

    def _ground(self, is_drawing: bool) -> Field:
        """Return the brightness of paper, a board or cloth: from 0 to 1, or a little above."""
        generator, shape = self.generator, (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING)
        if is_drawing:
            return np.full(shape, 1.0 if generator.random() < 0.8 else generator.uniform(0.5, 1), np.float32)
        sheet = np.full(shape, generator.uniform(0.45, 1.0), np.float32)
        sheet *= 1 + generator.uniform(0, 0.2) * smooth_noise(generator, shape, shape[0] * generator.uniform(0.5, 1.5))
        sheet *= 1 + generator.uniform(0, 0.04) * smooth_noise(generator, shape, generator.uniform(1.2, 6))
        if generator.random() < 0.08:
            sheet *= 1 + generator.uniform(0.03, 0.25) * clutter.streaks(generator, shape, generator.uniform(2, 12))
        return sheet

    def _clutter(
        self, sheet: Field, ink: Field, height: float, ink_brightness: float, cells: tuple[float, float] | None
    ) -> Field:
        """Add what is not a digit: rules, objects, letters, lines."""
        generator = self.generator
        if generator.random() < (0.75 if cells else 0.4):
            color = generator.uniform(0.3, 0.97) if generator.random() < 0.75 else ink_brightness
            lines = clutter.rules(generator, sheet.shape, height, cells if generator.random() < 0.8 else None)
            sheet = sheet * (1 - lines * np.float32(1 - color))
        for chance in (0.3, 0.1):
            if generator.random() < chance:
                sheet = clutter.add_object(generator, sheet, height)
        if generator.random() < (0.35 if ink.any() else 0.85):
            free = 1 - ndimage.maximum_filter(ink, int(height * 0.5) | 1)
            size = height * math.exp(generator.normal(0, 0.4))
            letters = clutter.printed_letters if generator.random() < 0.5 else self.rows.letters
            color = ink_brightness if generator.random() < 0.6 else generator.uniform(0, 0.8)
            sheet = sheet * (1 - letters(generator, sheet.shape, size) * free * np.float32(1 - color))
        if generator.random() < 0.25:
            sheet = sheet * (1 - clutter.lines(generator, sheet.shape, height) * np.float32(1 - ink_brightness))
        return np.asarray(sheet, np.float32)

    def _panels(self, sheet: Field, boxes: list[tuple[int, int, int, int]], height: float) -> Field:
        """Invert panels around each digit, or one panel around a few digits, as in plots and forms on a screen."""
        generator, panels = self.generator, np.zeros(sheet.shape, bool)
        margins = height * generator.uniform(0.1, 0.7, 4)
        extents = np.asarray(boxes, float) + np.array([-1, -1, 1, 1]) * margins
        if generator.random() < 0.3:  # around a number
            extents = np.concatenate([extents[:3, :2].min(axis=0), extents[:3, 2:].max(axis=0)])[None]
        for left, top, right, bottom in np.maximum(extents, 0).astype(int).tolist():
            panels[top:bottom, left:right] = True
        brightest, darkest = generator.uniform(0.8, 1.0), generator.uniform(0.0, 0.2)
        inverted = darkest + (brightest - darkest) * np.clip(1 - sheet, 0, 1)
        return np.asarray(np.where(panels, inverted, sheet), np.float32)

    def _photograph(self, sheet: Field, is_drawing: bool) -> tuple[NDArray[np.uint8], float, float]:
        """Add blur, light, noise and JPEG; return the crop, the fraction of contrast that is left, and the noise."""
        generator = self.generator
        if not is_drawing or generator.random() < 0.3:
            blur = OVERSAMPLING * (
                generator.uniform(0, 0.8) if generator.random() < 0.8 else generator.uniform(0.5, 1.6)
            )
            sheet = ndimage.gaussian_filter(sheet, blur) if blur > 0.3 else sheet
            if generator.random() < 0.1:  # motion
                sheet = ndimage.uniform_filter1d(sheet, int(generator.integers(3, 9)), axis=int(generator.integers(2)))
        if not is_drawing and generator.random() < 0.5:
            light = smooth_noise(generator, sheet.shape, sheet.shape[0] * generator.uniform(0.35, 1.2))
            sheet = sheet * np.clip(1 + generator.uniform(0, 0.25) * light, 0.3, 2)
        sheet = np.clip(sheet, 0, 1.2)
        share = generator.uniform(0.35, 1) if generator.random() < 0.3 else 1.0
        sheet = generator.uniform(0, 1 - share) + share * sheet
        if generator.random() < 0.25:
            sheet = 1 - np.clip(sheet, 0, 1)
        picture = np.asarray(sheet.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING).mean(axis=(1, 3)), np.float32)
        noise = 0.0
        if not is_drawing or generator.random() < 0.2:
            noise = float(generator.choice(NOISE[0], p=NOISE[1]))
            picture = picture + generator.normal(0, noise, picture.shape).astype(np.float32) * (0.5 + picture)
        if generator.random() < 0.15:  # the camera's sharpening
            picture = picture + generator.uniform(0.3, 1.5) * (picture - ndimage.gaussian_filter(picture, 1.2))
        if generator.random() < 0.12:  # enlarged from few pixels
            few = int(SIDE * generator.uniform(0.4, 0.8))
            picture = resize(resize(picture, (few, few)), (SIDE, SIDE), "BICUBIC")
        values = np.rint(255 * np.clip(picture, 0, 1) ** generator.uniform(0.7, 1.4)).astype(np.uint8)
        return (_jpeg(values, int(generator.integers(25, 96))) if generator.random() < 0.5 else values), share, noise

    def _small_picture(self, crop: Crop) -> Crop:
        """Cut to a few digits; the border is repeated around them, as the detector pads a picture."""
        generator = self.generator
        left, top, right, bottom = crop.boxes[int(generator.integers(len(crop.labels)))].tolist()
        height = bottom - top
        if generator.random() < 0.5:
            right += height * generator.uniform(0, 3)
        margins = height * generator.uniform(-0.04, 0.7, 4)
        x0, y0 = int(max(0, left - margins[0])), int(max(0, top - margins[1]))
        x1, y1 = int(min(SIDE, right + margins[2])), int(min(SIDE, bottom + margins[3]))
        if min(x1 - x0, y1 - y0) < 8:
            return crop
        gray = np.pad(crop.gray[y0:y1, x0:x1], ((y0, SIDE - y1), (x0, SIDE - x1)), mode="edge")
        boxes = np.clip(crop.boxes, (x0, y0, x0, y0), (x1, y1, x1, y1))
        whole = _areas(boxes) >= MIN_INSIDE * _areas(crop.boxes)
        return Crop(gray, np.asarray(boxes, np.float32), np.where(whole, crop.labels, -1))


def _areas(boxes: Boxes) -> NDArray[np.float32]:
    """Return the area of each box, (N,)."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _contrast(difference: Field, box: tuple[int, int, int, int]) -> float:
    """Return how much darker than the sheet a digit's strokes are: a high percentile in its box; 0 outside the crop."""
    left, top, right, bottom = (max(0, side) for side in box)
    part = difference[top:bottom, left:right]
    return float(np.percentile(part, 90)) if part.size > 9 else 0.0


def _jpeg(values: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image  # imported on first use

    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
