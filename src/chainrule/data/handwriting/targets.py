"""The target maps of the digit detector for a crop, and crops of whole pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.crops import Crop
from chainrule.data.handwriting.rows import SIDE
from chainrule.images.detection import PADDING, STRIDE, TYPICAL_HEIGHT
from chainrule.images.files import to_gray_image
from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data.handwriting.compose import Page

CHANNELS = 17  # see `models.digit_detector.detection_loss`
WANTED_HEIGHTS = (14.0, 34.0)
"""The heights in pixels of digits that the detector is to find: a little more than an octave."""
OPTIONAL_HEIGHTS = (10.5, 44.0)
"""The heights in pixels of digits that it may find or not. It must not find larger and smaller digits."""
MIN_INSIDE = 0.6
"""The fraction of a digit's area that must be inside the crop for the digit to be a target."""
SURE_INSIDE = 0.85
"""The fraction of a digit's area that must be inside for the positions around its center to have a weight."""
MIN_BOX_NEARNESS = 0.35
"""The nearness of a center above which the box and the digit are learned."""
AROUND_DIGITS = {"clutter": 0.5, "everyday": 0.7}
"""The probability that a crop is cut around a digit, by kind of page; 0.8 for kinds that are not listed."""
CANDIDATE_COUNTS = (1, 4, 12)
"""The busiest of so many random positions is taken: objects, signs and letters, not only empty paper."""
MAX_SCALE = 2.5
"""Limit on the enlargement of a page."""


def detection_targets(crop: Crop) -> NDArray[np.float32]:
    """Return the target maps of the detector for a crop: (17, side / 4, side / 4).

    In the order of `detection_loss`: nearness of a center, its weight, box (4), weight of box and digit, digit (10).
    """
    count = crop.gray.shape[0] // STRIDE
    maps = np.zeros((CHANNELS, count, count), np.float32)
    center_map, weight_map, box_maps, box_weight_map, digit_maps = maps[0], maps[1], maps[2:6], maps[6], maps[7:]
    weight_map[:] = 1
    row, column = np.ogrid[:count, :count]
    for (left, top, right, bottom), label in zip(crop.boxes.tolist(), crop.labels.tolist(), strict=True):
        width, height = max(right - left, 2.0), max(bottom - top, 2.0)
        x, y = (left + right) / 2 / STRIDE - 0.5, (top + bottom) / 2 / STRIDE - 0.5  # in positions
        # In positions: a tenth of the digit's width and height, but from half a position to two and a half
        spread_x, spread_y = (min(max(share / STRIDE, 0.5), 2.5) for share in (0.11 * width, 0.09 * height))
        nearness = np.exp(-(((column - x) / spread_x) ** 2 + ((row - y) / spread_y) ** 2) / 2).astype(np.float32)
        fraction_inside = _fraction_inside((left, top, right, bottom), crop.gray.shape[0])
        is_wanted_height = WANTED_HEIGHTS[0] <= height <= WANTED_HEIGHTS[1]
        is_optional_height = not is_wanted_height and OPTIONAL_HEIGHTS[0] < height < OPTIONAL_HEIGHTS[1]
        if label < 0 or fraction_inside < SURE_INSIDE or is_optional_height:
            weight_map[nearness > 0.1] = 0
        if label < 0 or fraction_inside < MIN_INSIDE or not is_wanted_height:
            continue
        center = round(y), round(x)
        if 0 <= center[0] < count and 0 <= center[1] < count:
            nearness[center], weight_map[center] = 1, 1
            np.maximum(center_map, nearness, out=center_map)
        chosen = (nearness > MIN_BOX_NEARNESS) & (nearness > box_weight_map)
        box_weight_map[chosen] = nearness[chosen]
        box_maps[0][chosen], box_maps[1][chosen] = math.log(height / TYPICAL_HEIGHT), math.log(width / TYPICAL_HEIGHT)
        box_maps[2][chosen], box_maps[3][chosen] = (x - column + 0 * row)[chosen], (y - row + 0 * column)[chosen]
        digit_maps[:, chosen] = 0
        digit_maps[label][chosen] = 1
    return maps


def crop_page(page: Page, generator: np.random.Generator) -> Crop:
    """Cut a crop out of a page: most often around a digit, scaled to a height that the detector is to find."""
    gray = np.asarray(to_gray_image(page.image))
    boxes = np.array([digit.box for digit in page.digits] + list(page.ignored), np.float64).reshape(-1, 4)
    labels = np.array([digit.label for digit in page.digits] + [-1] * len(page.ignored), np.int64)
    count = len(page.digits)
    if count and generator.random() < AROUND_DIGITS.get(page.kind, 0.8):
        low, high = WANTED_HEIGHTS if generator.random() < 0.8 else (6.0, 100.0)
        left, top, right, bottom = boxes[int(generator.integers(count))].tolist()
        x, y = (left + right) / 2, (top + bottom) / 2
        scale = math.exp(generator.uniform(math.log(low), math.log(high))) / max(bottom - top, 1.0)
    else:  # anywhere, preferably where something is, at any scale: most of a page is not a digit
        smallest = min(SIDE / max(gray.shape) / 2, 1.0)
        scale = math.exp(generator.uniform(math.log(smallest), math.log(MAX_SCALE)))
        if count and generator.random() < 0.5:  # at the scale at which the page's digits are to be found
            usual = float(np.median(boxes[:count, 3] - boxes[:count, 1]))
            scale = math.exp(generator.uniform(*np.log(WANTED_HEIGHTS))) / max(usual, 1.0)
        x, y = _busy_place(gray, 0.5 * WANTED_HEIGHTS[1] / scale, generator)
    scale = min(scale, MAX_SCALE)
    side = max(8, round(SIDE / scale))
    x0, y0 = (
        _start(center - side * generator.uniform(0.1, 0.9), side, length)
        for center, length in ((x, gray.shape[1]), (y, gray.shape[0]))
    )
    columns, rows = (
        np.clip(np.arange(start, start + side), 0, length - 1)
        for start, length in ((x0, gray.shape[1]), (y0, gray.shape[0]))
    )
    part = np.ascontiguousarray(gray[np.ix_(rows, columns)])
    scaled = resize(part, (SIDE, SIDE), "BOX" if side >= SIDE else "BICUBIC")
    boxes = (boxes - (x0, y0, x0, y0)) * (SIDE / side)
    return Crop(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8), boxes.astype(np.float32), labels)


def _start(start: float, side: int, length: int) -> int:
    """Return where a crop of `side` pixels begins: as close to `start` as a level's margin around the page allows."""
    margin = PADDING * side / SIDE
    low, high = sorted((-margin, length + margin - side))
    return round(min(max(start, low), high))


def _busy_place(gray: NDArray[np.uint8], reach: float, generator: np.random.Generator) -> tuple[float, float]:
    """Return the one of some random points (x, y) around which brightness varies most, within `reach` pixels."""
    points = generator.uniform(0, 1, (int(generator.choice(CANDIDATE_COUNTS)), 2)) * (gray.shape[1], gray.shape[0])

    def variation(point: NDArray[np.float64]) -> float:
        columns, rows = (slice(max(0, int(center - reach)), int(center + reach) + 1) for center in point)
        step = max(1, int(reach / 12))  # some of the pixels suffice
        return float(gray[rows, columns][::step, ::step].std())

    x, y = max(points, key=variation)
    return float(x), float(y)


def _fraction_inside(box: tuple[float, float, float, float], side: float) -> float:
    """Return the fraction of a box's area that is inside a crop."""
    left, top, right, bottom = box
    width, height = min(right, side) - max(left, 0), min(bottom, side) - max(top, 0)
    area = (right - left) * (bottom - top)
    return max(width, 0) * max(height, 0) / area if area > 0 else 0.0
