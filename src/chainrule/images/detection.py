"""Find the boxes of digits at every scale, with a detector that is passed as a function.

The detector takes an image with normalized contrast (height, width; see `pyramid.normalize_contrast`) and returns maps
(15, height / 4, width / 4). For each position, they hold the logit of "here is the center of a digit", the logarithms
of the digit's height and width (relative to `TYPICAL_HEIGHT`), the center's horizontal and vertical offset (in
positions), and the logits of the ten digits. Digits are the peaks of the first map (Zhou, Wang and Krähenbühl, "Objects
as points", 2019). Of several detections of the same digit, the one with the highest confidence is kept.
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

    Detector = Callable[[NDArray[np.float32]], NDArray[np.floating]]
    """From an image with normalized contrast (H, W) to maps (15, H / 4, W / 4)."""

STRIDE = 4  # pixels of a level per position of the maps
SIDE_MULTIPLE = 8  # the sides of the detector's input are multiples of this
PADDING = 16  # pixels around a level, which repeat its border: a digit may touch it
TYPICAL_HEIGHT = 22.0  # pixels: the detector returns the logarithms of heights and widths relative to this
MIN_SCORE = 0.35  # minimum confidence of a detection
MIN_SUPPORT_SCORE = 0.2  # from here to `MIN_SCORE`, a detection is not returned, but supports one at a different level
MAX_CANDIDATES = 3000  # maximum detections in one photo, at all levels, before duplicates are dropped
MAX_IOU = 0.35  # maximum intersection over union of two digits' boxes; else the less confident one is dropped
MAX_SMALLER_SHARED = 0.65  # the same, as a share of the smaller box
MIN_SPACING = 0.1  # minimum horizontal distance of centers in the same row, relative to the shorter digit's height
MIN_SAME_OVERLAP = 0.5  # minimum intersection over union of boxes of the same digit at different levels
MIN_LARGER_SHARE = 0.8  # minimum share of a box that lies in a larger box of the same digit
MIN_LARGER_SCORE = 0.75  # minimum confidence of this larger box, relative to that of the smaller one
MAX_LARGER = 3  # maximum number of larger boxes of a detection
# A merged detection covers two digits: it is much taller than the median of the page's confident detections, and it
# contains two detections of about the median height that hardly overlap
MERGED_HEIGHT = 1.6  # a merged detection is taller than this, relative to the median height
MIN_CONFIDENT_SCORE = 0.6  # minimum confidence of the detections from whose heights the median is computed
MIN_CONFIDENT_DETECTIONS = 5  # minimum number of these detections; with fewer, no detection counts as merged
MAX_MEDIAN_RATIO = 1.4  # the two detections are taller or shorter than the median by less than this factor
MAX_PAIR_SHARED = 0.2  # maximum area that the two have in common, relative to the smaller one


@dataclass(frozen=True, eq=False)
class Detection:
    """A detected digit.

    Attributes:
        left, top, right, bottom: its box in pixels of the photo.
        score: the confidence that it is a digit, from 0 to 1.
        probabilities: (10,), the detector's probability of each digit.
        other_level_score: the confidence of the same digit at a different level; 0 if it was not detected there.
        level_scale: the scale of the level at which it was detected.
        larger: detections whose boxes contain most of this one, with nearly the same confidence or more: this box may
            truncate the digit.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float
    probabilities: NDArray[np.float64]
    other_level_score: float = 0.0
    level_scale: float = 1.0
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
    """Return the detections of digits in a photo, the most confident first.

    Args:
        levels: the photo at several scales (see `pyramid`).
        detect: the detector.
    """
    candidates = [detection for level in levels for detection in _detect_at(level, detect)]
    candidates = sorted(candidates, key=lambda detection: -detection.score)[:MAX_CANDIDATES]
    distinct_detections = _suppress_duplicates(candidates)
    unmerged_candidates = _without_merged(candidates, distinct_detections)
    if len(unmerged_candidates) == len(candidates):
        return distinct_detections
    return _suppress_duplicates(unmerged_candidates)


def _without_merged(candidates: Sequence[Detection], distinct_detections: Sequence[Detection]) -> list[Detection]:
    """Return the candidates without those that cover two digits, as a 1 below a 0 looks like a 9.

    Args:
        candidates: the detections at all levels, the most confident first.
        distinct_detections: the detections that remain when duplicates are dropped.
    """
    confident_heights = [
        detection.height for detection in distinct_detections if detection.score >= MIN_CONFIDENT_SCORE
    ]
    if len(confident_heights) < MIN_CONFIDENT_DETECTIONS:
        return list(candidates)
    median_height = float(np.median(confident_heights))
    min_height, max_height = median_height / MAX_MEDIAN_RATIO, median_height * MAX_MEDIAN_RATIO
    usual_detections = [
        candidate
        for candidate in candidates
        if candidate.score >= MIN_SCORE and min_height < candidate.height < max_height
    ]
    merged_detections = []
    for tall in distinct_detections:
        if tall.height > MERGED_HEIGHT * median_height:
            inside = [d for d in usual_detections if _common_area(d, tall) > MAX_SMALLER_SHARED * d.width * d.height]
            if any(_share_of_smaller(d, other) < MAX_PAIR_SHARED for d in inside for other in inside):
                merged_detections.append(tall)
    return [
        candidate
        for candidate in candidates
        if candidate.height <= MERGED_HEIGHT * median_height
        or all(_share_of_smaller(candidate, merged) < MAX_SMALLER_SHARED for merged in merged_detections)
    ]


def _common_area(first: Detection, second: Detection) -> float:
    """Return the area that the boxes of two detections have in common."""
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return max(width, 0.0) * max(height, 0.0)


def _share_of_smaller(first: Detection, second: Detection) -> float:
    """Return the area that two boxes have in common, relative to the smaller one's."""
    return _common_area(first, second) / min(first.width * first.height, second.width * second.height)


def _detect_at(level: Level, detect: Detector) -> list[Detection]:
    """Return the peaks of the detector's first map at one level as detections, with boxes in pixels of the photo."""
    level_height, level_width = level.gray.shape
    fill = [-(side + 2 * PADDING) % SIDE_MULTIPLE for side in (level_height, level_width)]
    padded = np.pad(level.gray, [(PADDING, PADDING + extra) for extra in fill], mode="edge")
    maps = detect(normalize_contrast(padded))
    center_logit = maps[0]
    is_peak = center_logit == ndimage.maximum_filter(center_logit, 3)
    is_peak &= center_logit > math.log(MIN_SUPPORT_SCORE / (1 - MIN_SUPPORT_SCORE))
    rows, columns = np.nonzero(is_peak)
    values = maps[:, rows, columns].astype(np.float64)  # (15, N)
    heights, widths = TYPICAL_HEIGHT * np.exp(np.clip(values[1:3], -3, 3))
    x = (columns + 0.5 + values[3]) * STRIDE - PADDING
    y = (rows + 0.5 + values[4]) * STRIDE - PADDING
    boxes = np.stack([x - widths / 2, y - heights / 2, x + widths / 2, y + heights / 2]) / level.scale
    scores = 1 / (1 + np.exp(-values[0]))
    exponentials = np.exp(values[5:] - values[5:].max(axis=0, initial=-np.inf))
    probabilities = (exponentials / exponentials.sum(axis=0)).T
    is_inside = (x >= 0) & (x < level_width) & (y >= 0) & (y < level_height)
    detections = []
    for i in np.flatnonzero(is_inside).tolist():
        left, top, right, bottom = boxes[:, i].tolist()
        score = float(scores[i])
        detections.append(Detection(left, top, right, bottom, score, probabilities[i], level_scale=level.scale))
    return detections


def _suppress_duplicates(detections: Sequence[Detection]) -> list[Detection]:
    """Drop every detection that overlaps too much with a more confident one (non-maximum suppression).

    Also fills in `other_level_score` and `larger`. Detections below `MIN_SCORE` contribute to these fields of others,
    but are not returned.

    Args:
        detections: the detections at all levels, the most confident first.
    """
    boxes = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    heights = boxes[:, 3] - boxes[:, 1]
    scores, scales = np.array([d.score for d in detections]), np.array([d.level_scale for d in detections])
    remaining = np.ones(len(detections), bool)
    distinct_detections = []
    for index, detection in enumerate(detections):
        if detection.score < MIN_SCORE:
            break
        if not remaining[index]:
            continue
        low, high = np.maximum(boxes[:, :2], boxes[index, :2]), np.minimum(boxes[:, 2:], boxes[index, 2:])
        overlap = np.clip(high - low, 0, None)  # (N, 2): width and height
        common = overlap.prod(axis=1)
        union, smaller = areas + areas[index] - common, np.minimum(areas, areas[index])
        same_digit = remaining & (common > MIN_SAME_OVERLAP * union) & (scales != detection.level_scale)
        is_larger = remaining & (common > MIN_LARGER_SHARE * areas[index])
        is_larger &= scores > MIN_LARGER_SCORE * detection.score
        is_larger[index] = False
        larger = tuple(detections[other] for other in np.flatnonzero(is_larger)[:MAX_LARGER].tolist())
        other_level_score = float(scores[same_digit].max(initial=0.0))
        distinct_detections.append(replace(detection, other_level_score=other_level_score, larger=larger))
        remaining &= (common <= MAX_IOU * union) & (common <= MAX_SMALLER_SHARED * smaller)
        # A 1 is narrow: a coarse level may misplace it sideways by so much that the boxes hardly overlap
        distance = np.abs(boxes[:, 0] + boxes[:, 2] - detection.left - detection.right) / 2
        same_row = overlap[:, 1] > MAX_SMALLER_SHARED * np.maximum(heights, detection.height)
        remaining &= ~(same_row & (distance < MIN_SPACING * np.minimum(heights, detection.height)))
    return distinct_detections
