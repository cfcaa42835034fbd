"""Crops of photographed pages with the boxes of their digits, drawn fast: what the digit detector learns from.

    import numpy as np

    from chainrule.data.handwriting.crops import CropMaker

    crop = CropMaker(np.random.default_rng(0)).make()
    crop.gray      # brightness, 128 pixels wide and high
    crop.boxes     # the digits' tight boxes in pixels: left, top, right, bottom
    crop.labels    # the digits, or -1 for one that is cut off or too faint to be asked for

`pages` makes whole pages of the kinds that people photograph, with care for each. Crops mix everything with everything
else (any layout, ground, clutter, light, camera), far beyond what is likely, so that little in a real photo is new.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.data.handwriting import clutter
from chainrule.data.handwriting.rows import FINE, SIDE, Rows
from chainrule.data.handwriting.sheet import smooth_noise
from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Boxes = NDArray[np.float32]

USUAL_HEIGHTS, ALL_HEIGHTS = (13.0, 38.0), (7.0, 120.0)  # pixels of a crop: heights of most digits, and of the others
MIN_CONTRAST = 0.035  # of full brightness: a fainter digit is not asked for
NOISE = ((0.003, 0.01, 0.02, 0.05), (0.45, 0.35, 0.15, 0.05))  # standard deviations, and how often each
MOST_CUT = 0.75  # of a digit's area: with less of it in a small picture, it is not asked for


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a photo.

    Attributes:
        gray: uint8 (side, side).
        boxes: (N, 4), the tight boxes of the digits' ink in pixels: left, top, right, bottom.
        labels: (N,), the digits; -1 for one that is not asked for.
    """

    gray: NDArray[np.uint8]
    boxes: Boxes
    labels: NDArray[np.int64]


class CropMaker:
    """Draws crops.

    Args:
        random: the only source of randomness.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.rows = Rows(random)

    def make(self) -> Crop:
        """Draw the next crop."""
        random = self.random
        low, high = USUAL_HEIGHTS if random.random() < 0.8 else ALL_HEIGHTS
        height = FINE * math.exp(random.uniform(math.log(low), math.log(high)))
        is_drawing = random.random() < 0.08  # of a drawing program: no grain, no shadows
        sheet = self._ground(is_drawing)
        ink, boxes, labels, cells = self.rows.write(height) if random.random() < 0.82 else self.rows.nothing()
        tone = random.uniform(0, 0.6) if random.random() < 0.8 else random.uniform(0.6, 0.88)
        tone = 0.0 if is_drawing and random.random() < 0.7 else tone
        sheet = self._clutter(sheet, ink, height, tone, cells)
        if random.random() < 0.15:  # pencil or chalk
            grain = 1 + random.uniform(0.1, 0.5) * smooth_noise(random, ink.shape, random.uniform(1, 4))
            ink = ink * np.clip(grain, 0.2, 1)
        written = sheet * (1 - ink * np.float32(1 - tone))
        contrast = np.array([_contrast(sheet - written, box) for box in boxes])
        if boxes and random.random() < 0.12:
            written = self._panels(written, boxes, height)
        gray, share, noise = self._photograph(written, is_drawing)
        visible = contrast * share > max(MIN_CONTRAST, 2 * noise)
        array = np.asarray(boxes, np.float32).reshape(-1, 4) / np.float32(FINE)
        crop = Crop(gray, array, np.where(visible, np.asarray(labels, np.int64).reshape(-1), -1))
        return self._small_picture(crop) if len(labels) and random.random() < 0.22 else crop

    def _ground(self, is_drawing: bool) -> Field:
        """Paper, a board, cloth: brightness from 0 to 1, or a little above."""
        random, shape = self.random, (SIDE * FINE, SIDE * FINE)
        if is_drawing:
            return np.full(shape, 1.0 if random.random() < 0.8 else random.uniform(0.5, 1), np.float32)
        sheet = np.full(shape, random.uniform(0.45, 1.0), np.float32)
        sheet *= 1 + random.uniform(0, 0.2) * smooth_noise(random, shape, shape[0] * random.uniform(0.5, 1.5))
        sheet *= 1 + random.uniform(0, 0.04) * smooth_noise(random, shape, random.uniform(1.2, 6))
        if random.random() < 0.08:
            sheet *= 1 + random.uniform(0.03, 0.25) * clutter.streaks(random, shape, random.uniform(2, 12))
        return sheet

    def _clutter(
        self, sheet: Field, ink: Field, height: float, tone: float, cells: tuple[float, float] | None
    ) -> Field:
        """Add what is no digit: rules, things, letters, lines."""
        random = self.random
        if random.random() < (0.75 if cells else 0.4):
            color = random.uniform(0.3, 0.97) if random.random() < 0.75 else tone
            lines = clutter.rules(random, sheet.shape, height, cells if random.random() < 0.8 else None)
            sheet = sheet * (1 - lines * np.float32(1 - color))
        for chance in (0.3, 0.1):
            if random.random() < chance:
                sheet = clutter.lay_thing(random, sheet, height)
        if random.random() < (0.35 if ink.any() else 0.85):
            free = 1 - ndimage.maximum_filter(ink, int(height * 0.5) | 1)
            size = height * math.exp(random.normal(0, 0.4))
            letters = clutter.printed_letters if random.random() < 0.5 else self.rows.letters
            color = tone if random.random() < 0.6 else random.uniform(0, 0.8)
            sheet = sheet * (1 - letters(random, sheet.shape, size) * free * np.float32(1 - color))
        if random.random() < 0.25:
            sheet = sheet * (1 - clutter.lines(random, sheet.shape, height) * np.float32(1 - tone))
        return np.asarray(sheet, np.float32)

    def _panels(self, sheet: Field, boxes: list[tuple[int, int, int, int]], height: float) -> Field:
        """Reverse panels: one about each digit, or one about neighbors, as plots and forms on a screen have them."""
        random, panels = self.random, np.zeros(sheet.shape, bool)
        margins = height * random.uniform(0.1, 0.7, 4)
        extents = np.asarray(boxes, float) + np.array([-1, -1, 1, 1]) * margins
        if random.random() < 0.3:  # a number's
            extents = np.concatenate([extents[:3, :2].min(axis=0), extents[:3, 2:].max(axis=0)])[None]
        for left, top, right, bottom in np.maximum(extents, 0).astype(int).tolist():
            panels[top:bottom, left:right] = True
        brightest, darkest = random.uniform(0.8, 1.0), random.uniform(0.0, 0.2)
        reversed_ = darkest + (brightest - darkest) * np.clip(1 - sheet, 0, 1)
        return np.asarray(np.where(panels, reversed_, sheet), np.float32)

    def _photograph(self, sheet: Field, is_drawing: bool) -> tuple[NDArray[np.uint8], float, float]:
        """Blur, light, noise, resampling, JPEG; returns the crop, the contrast's share that is left, and the noise."""
        random = self.random
        if not is_drawing or random.random() < 0.3:
            blur = FINE * (random.uniform(0, 0.8) if random.random() < 0.8 else random.uniform(0.5, 1.6))
            sheet = ndimage.gaussian_filter(sheet, blur) if blur > 0.3 else sheet
            if random.random() < 0.1:  # motion
                sheet = ndimage.uniform_filter1d(sheet, int(random.integers(3, 9)), axis=int(random.integers(2)))
        if not is_drawing and random.random() < 0.5:
            light = smooth_noise(random, sheet.shape, sheet.shape[0] * random.uniform(0.35, 1.2))
            sheet = sheet * np.clip(1 + random.uniform(0, 0.25) * light, 0.3, 2)
        sheet = np.clip(sheet, 0, 1.2)
        share = random.uniform(0.35, 1) if random.random() < 0.3 else 1.0
        sheet = random.uniform(0, 1 - share) + share * sheet
        if random.random() < 0.25:
            sheet = 1 - np.clip(sheet, 0, 1)
        picture = np.asarray(sheet.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3)), np.float32)
        noise = 0.0
        if not is_drawing or random.random() < 0.2:
            noise = float(random.choice(NOISE[0], p=NOISE[1]))
            picture = picture + random.normal(0, noise, picture.shape).astype(np.float32) * (0.5 + picture)
        if random.random() < 0.15:  # the camera's sharpening
            picture = picture + random.uniform(0.3, 1.5) * (picture - ndimage.gaussian_filter(picture, 1.2))
        if random.random() < 0.12:  # enlarged from few pixels
            few = int(SIDE * random.uniform(0.4, 0.8))
            picture = resize(resize(picture, (few, few)), (SIDE, SIDE), "BICUBIC")
        values = np.rint(255 * np.clip(picture, 0, 1) ** random.uniform(0.7, 1.4)).astype(np.uint8)
        return (_jpeg(values, int(random.integers(25, 96))) if random.random() < 0.5 else values), share, noise

    def _small_picture(self, crop: Crop) -> Crop:
        """Cut to a few digits; what lies beyond a picture repeats its border, as the detector sees it."""
        random = self.random
        left, top, right, bottom = crop.boxes[int(random.integers(len(crop.labels)))].tolist()
        height = bottom - top
        if random.random() < 0.5:
            right += height * random.uniform(0, 3)
        margins = height * random.uniform(-0.04, 0.7, 4)
        x0, y0 = int(max(0, left - margins[0])), int(max(0, top - margins[1]))
        x1, y1 = int(min(SIDE, right + margins[2])), int(min(SIDE, bottom + margins[3]))
        if min(x1 - x0, y1 - y0) < 8:
            return crop
        gray = np.pad(crop.gray[y0:y1, x0:x1], ((y0, SIDE - y1), (x0, SIDE - x1)), mode="edge")
        boxes = np.clip(crop.boxes, (x0, y0, x0, y0), (x1, y1, x1, y1))
        whole = _areas(boxes) >= MOST_CUT * _areas(crop.boxes)
        return Crop(gray, np.asarray(boxes, np.float32), np.where(whole, crop.labels, -1))


def _areas(boxes: Boxes) -> Boxes:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _contrast(difference: Field, box: tuple[int, int, int, int]) -> float:
    """How much darker than the sheet a digit's strokes are: a high percentile within its box; 0 outside the crop."""
    left, top, right, bottom = (max(0, side) for side in box)
    part = difference[top:bottom, left:right]
    return float(np.percentile(part, 90)) if part.size > 9 else 0.0


def _jpeg(values: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image  # imported on first use

    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
