"""What the digit detector should say about a crop, and crops of whole pages."""

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
HEIGHTS = (14.0, 34.0)  # pixels: digits that the detector is to find, an octave and some more
OPTIONAL_HEIGHTS = (10.5, 44.0)  # pixels: outside of `HEIGHTS`, digits that it may find or not; others it must not find
# Of a digit's area: with less than the first it is not asked for; with less than the second, the positions around its
# center may say what they like
LEAST_INSIDE, SURE_INSIDE = 0.6, 0.85
BOX_REACH = 0.35  # the box is learned where a center is at least as near as this
AROUND_DIGITS = {"clutter": 0.5, "everyday": 0.7}
"""How often a crop is cut around a digit, not anywhere, where much else is on pages of a kind; else 0.8."""
PLACES = (1, 4, 12)  # of which the busiest is shown: things, signs and letters, not only empty paper
LARGEST_SCALE = 2.5  # pages are not enlarged more than that


def detection_targets(crop: Crop) -> NDArray[np.float32]:
    """Return the maps that the detector should give for a crop: (17, side / 4, side / 4).

    They are what `detection_loss` takes: nearness of a center, weight, box (4), weight of the box, digit (10).
    """
    count = crop.gray.shape[0] // STRIDE
    maps = np.zeros((CHANNELS, count, count), np.float32)
    near, weight, box, box_weight, digit = maps[0], maps[1], maps[2:6], maps[6], maps[7:]
    weight[:] = 1
    row, column = np.ogrid[:count, :count]
    for (left, top, right, bottom), label in zip(crop.boxes.tolist(), crop.labels.tolist(), strict=True):
        width, height = max(right - left, 2.0), max(bottom - top, 2.0)
        x, y = (left + right) / 2 / STRIDE - 0.5, (top + bottom) / 2 / STRIDE - 0.5  # in positions
        # As wide as a tenth of the digit, but at least about one position, and at most two and a half
        spread_x, spread_y = (min(max(share / STRIDE, 0.5), 2.5) for share in (0.11 * width, 0.09 * height))
        nearness = np.exp(-(((column - x) / spread_x) ** 2 + ((row - y) / spread_y) ** 2) / 2).astype(np.float32)
        inside = _share_inside((left, top, right, bottom), crop.gray.shape[0])
        is_wanted_height = HEIGHTS[0] <= height <= HEIGHTS[1]
        is_optional_height = not is_wanted_height and OPTIONAL_HEIGHTS[0] < height < OPTIONAL_HEIGHTS[1]
        if label < 0 or inside < SURE_INSIDE or is_optional_height:
            weight[nearness > 0.1] = 0
        if label < 0 or inside < LEAST_INSIDE or not is_wanted_height:
            continue
        center = round(y), round(x)
        if 0 <= center[0] < count and 0 <= center[1] < count:
            nearness[center], weight[center] = 1, 1
            np.maximum(near, nearness, out=near)
        chosen = (nearness > BOX_REACH) & (nearness > box_weight)
        box_weight[chosen] = nearness[chosen]
        box[0][chosen], box[1][chosen] = math.log(height / TYPICAL_HEIGHT), math.log(width / TYPICAL_HEIGHT)
        box[2][chosen], box[3][chosen] = (x - column + 0 * row)[chosen], (y - row + 0 * column)[chosen]
        digit[:, chosen] = 0
        digit[label][chosen] = 1
    return maps


def crop_page(page: Page, random: np.random.Generator) -> Crop:
    """Cut a crop out of a page: most often around one of its digits, at a size that the detector is to find."""
    gray = np.asarray(to_gray_image(page.image))
    boxes = np.array([digit.box for digit in page.digits] + list(page.ignored), np.float64).reshape(-1, 4)
    labels = np.array([digit.label for digit in page.digits] + [-1] * len(page.ignored), np.int64)
    count = len(page.digits)
    if count and random.random() < AROUND_DIGITS.get(page.kind, 0.8):
        low, high = HEIGHTS if random.random() < 0.8 else (6.0, 100.0)
        left, top, right, bottom = boxes[int(random.integers(count))].tolist()
        x, y = (left + right) / 2, (top + bottom) / 2
        scale = math.exp(random.uniform(math.log(low), math.log(high))) / max(bottom - top, 1.0)
    else:  # anywhere, most often where something is, at any scale: most of a page is no digit
        smallest = min(SIDE / max(gray.shape) / 2, 1.0)
        scale = math.exp(random.uniform(math.log(smallest), math.log(LARGEST_SCALE)))
        if count and random.random() < 0.5:  # such that it is about as large as digits that are to be found
            usual = float(np.median(boxes[:count, 3] - boxes[:count, 1]))
            scale = math.exp(random.uniform(*np.log(HEIGHTS))) / max(usual, 1.0)
        x, y = _busy_place(gray, 0.5 * HEIGHTS[1] / scale, random)
    scale = min(scale, LARGEST_SCALE)
    side = max(8, round(SIDE / scale))
    x0, y0 = (
        _start(center - side * random.uniform(0.1, 0.9), side, length)
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
    """Where a crop of `side` pixels begins: no more of it than needed is beyond the margin that a level has."""
    margin = PADDING * side / SIDE
    low, high = sorted((-margin, length + margin - side))
    return round(min(max(start, low), high))


def _busy_place(gray: NDArray[np.uint8], reach: float, random: np.random.Generator) -> tuple[float, float]:
    """The place x, y where brightness varies most within `reach` pixels, of some places at random."""
    points = random.uniform(0, 1, (int(random.choice(PLACES)), 2)) * (gray.shape[1], gray.shape[0])

    def variation(point: NDArray[np.float64]) -> float:
        columns, rows = (slice(max(0, int(center - reach)), int(center + reach) + 1) for center in point)
        step = max(1, int(reach / 12))  # a sample will do
        return float(gray[rows, columns][::step, ::step].std())

    x, y = max(points, key=variation)
    return float(x), float(y)


def _share_inside(box: tuple[float, float, float, float], side: float) -> float:
    """The share of a box's area that is inside a crop."""
    left, top, right, bottom = box
    width, height = min(right, side) - max(left, 0), min(bottom, side) - max(top, 0)
    area = (right - left) * (bottom - top)
    return max(width, 0) * max(height, 0) / area if area > 0 else 0.0
