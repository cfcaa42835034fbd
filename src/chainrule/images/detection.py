"""Detect digits: where they are and how tall, at every scale, by a detector that is passed as a function.

The detector maps contrast (height, width) to maps (15, height / 4, width / 4): for each position the logit of "here is
the center of a digit", the logarithms of the digit's height and width, the center's offset, and the logits of the ten
digits. Digits are the peaks of the first map (Zhou, Wang and Krähenbühl, "Objects as points", 2019). A digit that is
detected at several scales, or twice, is kept once, where the detector is most confident.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.images.pyramid import normalize_contrast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.pyramid import Level

    Detector = Callable[[NDArray[np.float32]], NDArray[np.floating]]  # contrast (H, W) to maps (15, H / 4, W / 4)

STRIDE = 4  # pixels of a level per position of the maps
MULTIPLE = 8  # the sides of the detector's input are multiples of this
MARGIN = 16  # pixels around a level, which repeat its border: a digit may touch it
TYPICAL_HEIGHT = 22.0  # pixels: the detector returns the logarithms of heights and widths relative to this
MIN_SCORE = 0.35  # minimum confidence that a position is the center of a digit
MIN_SUPPORT = 0.2  # the same at another level, where it only supports a digit
MAX_DETECTIONS = 3000  # of one photo: a page with more is no page of digits
# The less confident of two boxes is dropped if they share more than this: of their union, or of the smaller one
MAX_OVERLAP, MAX_CONTAINED = 0.35, 0.65
# Of the shorter one's height: the centers of two digits in the same row are at least this far apart, from left to right
MIN_SPACING = 0.1
SAME_OVERLAP = 0.5  # of their union: two boxes of the same digit, at different levels, share more than this
# Larger boxes of a digit: minimum share of the smaller box in them, minimum confidence relative to its, maximum number
MIN_INSIDE, MIN_RELATIVE_SCORE, MAX_LARGER = 0.8, 0.75, 3


@dataclass(frozen=True, eq=False)
class Detection:
    """A detected digit.

    Attributes:
        left, top, right, bottom: its box in pixels of the photo.
        score: the confidence that it is a digit, from 0 to 1.
        probabilities: (10,), which digit it is in the detector's opinion.
        other_level_score: the confidence of the same digit at another level; 0 if it was not detected there.
        level: the scale of the level at which it was detected.
        larger: other boxes that contain most of this one, with nearly the same confidence: this one may cut the digit.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float
    probabilities: NDArray[np.float64]
    other_level_score: float = 0.0
    level: float = 1.0
    larger: tuple[Detection, ...] = ()

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left


def detect_digits(levels: Sequence[Level], detect: Detector) -> list[Detection]:
    """Return the digits of a photo, the most confident first.

    Args:
        levels: the photo at several scales (see `pyramid`).
        detect: the detector.
    """
    candidates = [detection for level in levels for detection in _detect_at(level, detect)]
    return _distinct(sorted(candidates, key=lambda detection: -detection.score)[:MAX_DETECTIONS])


def _detect_at(level: Level, detect: Detector) -> list[Detection]:
    """Return the peaks of one level."""
    height, width = level.gray.shape
    rest = [-(side + 2 * MARGIN) % MULTIPLE for side in (height, width)]
    padded = np.pad(level.gray, [(MARGIN, MARGIN + more) for more in rest], mode="edge")
    maps = detect(normalize_contrast(padded))
    logit = maps[0]
    is_peak = (logit == ndimage.maximum_filter(logit, 3)) & (logit > math.log(MIN_SUPPORT / (1 - MIN_SUPPORT)))
    rows, columns = np.nonzero(is_peak)
    values = maps[:, rows, columns].astype(np.float64)  # (15, N)
    tall, wide = TYPICAL_HEIGHT * np.exp(np.clip(values[1:3], -3, 3))
    x = (columns + 0.5 + values[3]) * STRIDE - MARGIN
    y = (rows + 0.5 + values[4]) * STRIDE - MARGIN
    boxes = np.stack([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2]) / level.scale
    scores = 1 / (1 + np.exp(-values[0]))
    powers = np.exp(values[5:] - values[5:].max(axis=0, initial=-np.inf))
    probabilities = (powers / powers.sum(axis=0)).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    detections = []
    for i in np.flatnonzero(inside).tolist():
        left, top, right, bottom = boxes[:, i].tolist()
        detections.append(Detection(left, top, right, bottom, float(scores[i]), probabilities[i], level=level.scale))
    return detections


def _distinct(detections: Sequence[Detection]) -> list[Detection]:
    """Drop every detection that has too much in common with a more confident one (non-maximum suppression).

    Detections below `MIN_SCORE` are not returned; they only count for the fields of others.
    """
    boxes = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    heights = boxes[:, 3] - boxes[:, 1]
    scores, scales = np.array([d.score for d in detections]), np.array([d.level for d in detections])
    remaining = np.ones(len(detections), bool)
    distinct = []
    for index, detection in enumerate(detections):
        if detection.score < MIN_SCORE:
            break
        if not remaining[index]:
            continue
        low, high = np.maximum(boxes[:, :2], boxes[index, :2]), np.minimum(boxes[:, 2:], boxes[index, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        union, smaller = areas + areas[index] - common, np.minimum(areas, areas[index])
        same = remaining & (common > SAME_OVERLAP * union) & (scales != detection.level)
        around = remaining & (common > MIN_INSIDE * areas[index]) & (scores > MIN_RELATIVE_SCORE * detection.score)
        around[index] = False
        larger = tuple(detections[other] for other in np.flatnonzero(around)[:MAX_LARGER].tolist())
        distinct.append(replace(detection, other_level_score=float(scores[same].max(initial=0.0)), larger=larger))
        remaining &= (common <= MAX_OVERLAP * union) & (common <= MAX_CONTAINED * smaller)
        # A 1 is narrow: a coarse level may detect it so far beside its position that the boxes hardly overlap
        distance = np.abs(boxes[:, 0] + boxes[:, 2] - detection.left - detection.right) / 2
        same_row = np.clip(high - low, 0, None)[:, 1] > MAX_CONTAINED * np.maximum(heights, detection.height)
        remaining &= ~(same_row & (distance < MIN_SPACING * np.minimum(heights, detection.height)))
    return distinct
