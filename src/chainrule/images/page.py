"""Find and read the digits in a photo of a page, line by line.

A detector finds the digits (see `detection`). Each is cut out (see `cutting`) and classified, and the probabilities of
classifier and detector are pooled (see `classification`). The digits are then grouped into lines (see `lines`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.classification import classify_detections, pool_probabilities
from chainrule.images.cutting import cut_out
from chainrule.images.detection import detect_digits
from chainrule.images.evidence import digit_probability
from chainrule.images.lines import group_into_lines
from chainrule.images.pyramid import PAGE_LONGEST_SIDE, make_levels
from chainrule.images.rescoring import rescore
from chainrule.images.steps import normalize_gray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.classification import Classifier
    from chainrule.images.cutting import Cutout
    from chainrule.images.detection import Detection, Detector
    from chainrule.images.pyramid import Level

    Box = tuple[int, int, int, int]  # left, top, right, bottom

# From this probability of being a digit, a detection is a likely digit: it counts toward the usual height and contrast
# of the page's digits, and its class may be read again
LIKELY_DIGIT_PROBABILITY = 0.5
# From this probability of being a digit, a detection is returned whatever its class; with a lower probability, it is
# returned only if the product with that of its class is at least MIN_READ_PROBABILITY
SURE_DIGIT_PROBABILITY = 0.95
MIN_READ_PROBABILITY = 0.5
GIANT_RATIO = 6.0  # a detection is a giant if it is taller than this many times the median height of the likely digits
MIN_DIGITS_FOR_GIANTS = 5  # minimum number of likely digits on a page for this median
MIN_DIGITS_BESIDE = 2  # a giant with at least this many likely digits on each side is not a digit
MIN_OTHER_LEVEL_SCORE = 0.4  # with less confidence at a different level, a digit counts as detected at one level only
# Minimum contrast of a detection below SURE_DIGIT_PROBABILITY, relative to the usual contrast of the page's digits:
# pencil has a third of a marker's
MIN_RELATIVE_CONTRAST = 0.25
MAX_JOINED_SHARE = 0.4  # limit of `Cutout.joined_share`, which is higher for a vertical line of a table
MAX_STROKE_ASPECT = 0.35  # width over height: a 1 that is narrower counts as a straight stroke
# Minimum and maximum height of a straight stroke, relative to the median height of the other digits in its line
STROKE_HEIGHTS = (0.5, 1.8)
MIN_HEIGHTS = 2  # minimum number of digits from which a median height is computed
# Minimum confidence in a line of straight strokes only, if there are other lines; and the minimum and maximum height,
# relative to the median height of the page's digits, of strokes that need no such confidence
LONE_STROKE_CONFIDENCE = 0.9
LONE_STROKE_HEIGHTS = (0.75, 1.3)
UNSURE_CLASS_PROBABILITY = 0.97  # a likely digit whose class is less probable is read again with two other boxes
BOX_MARGINS = (0.05, -0.04)  # of these boxes, relative to the digit's height: the first is larger, the second smaller
MIN_PROBABILITY = 1e-12  # lower limit of probabilities, so that their logarithms are finite


@dataclass(frozen=True)
class Digit:
    """A digit on a page.

    Attributes:
        digit: the digit that was read, from 0 to 9; for a network with other classes, the index of its class.
        confidence: the probability that it is a digit, and of this class.
        box: left, top, right, bottom in pixels of the photo; right and bottom are exclusive.
        image: (28, 28), the classifier's input.
        second_digit: the second most probable digit, or the index of the second most probable class.
        second_confidence: the probability that it is a digit, and of this second class.
    """

    digit: int
    confidence: float
    box: Box
    image: NDArray[np.uint8]
    second_digit: int
    second_confidence: float


def read_page(photo: NDArray[np.floating | np.uint8], classify: Classifier, detect: Detector) -> list[list[Digit]]:
    """Find and read the handwritten digits in a photo of a page, or of a single digit.

    Args:
        photo: gray values `(height, width)`: floats from 0 (black) to 1 (white), or uint8 from 0 to 255. The ink may be
            darker or brighter than the paper.
        classify: the network that reads, a function from images `(N, 28, 28)`, uint8, in MNIST's format, to class
            probabilities `(N, classes)`. With 11 classes, the last one is "no digit".
        detect: the network that finds digits, a function from an image with normalized contrast `(H, W)` to maps
            `(15, H / 4, W / 4)`, as `detection` describes them: `chainrule.models.load_detector()`.

    Returns:
        The lines from top to bottom, each a list of digits from left to right; an empty list for an empty page.

    Raises:
        PictureError: the array does not hold gray values as above.
    """
    gray = np.asarray(normalize_gray(photo, PAGE_LONGEST_SIDE), np.float32)
    if gray.min() == gray.max():  # blank: the networks would take a second to find nothing
        return []
    levels = make_levels(gray)
    detections, cutouts, class_probabilities, features = classify_detections(
        levels, detect_digits(levels, detect), classify
    )
    probability = digit_probability(features, lambda indices: rescore(levels, [detections[i] for i in indices], detect))
    probability = _without_table_lines(probability, detections, cutouts)
    probability = _without_giants(_without_faint_ink(probability, cutouts), detections)
    class_probabilities = _reread_unsure_classes(
        levels, detections, class_probabilities, probability >= LIKELY_DIGIT_PROBABILITY, classify
    )
    scale = max(photo.shape) / max(gray.shape)
    digits = {
        id(detection): _digit(detection, cutout.image, own_probability * class_row, scale, photo.shape)
        for detection, cutout, class_row, own_probability in zip(
            detections, cutouts, class_probabilities, probability.tolist(), strict=True
        )
        if cutout is not None
        and (own_probability >= SURE_DIGIT_PROBABILITY or own_probability * class_row.max() >= MIN_READ_PROBABILITY)
    }
    grouped = group_into_lines([detection for detection in detections if id(detection) in digits])
    lines = [[digits[id(detection)] for detection in line] for line in grouped]
    ordinary_heights = [_height(digit) for line in lines for digit in line if not _is_stroke(digit)]
    lines = [_without_stray_strokes(line, ordinary_heights, is_alone=len(lines) == 1) for line in lines]
    return [line for line in lines if line]


def _reread_unsure_classes(
    levels: Sequence[Level],
    detections: Sequence[Detection],
    class_probabilities: NDArray[np.float64],
    is_likely_digit: NDArray[np.bool_],
    classify: Classifier,
) -> NDArray[np.float64]:
    """Return the class probabilities (N, classes), pooled over three boxes for likely digits whose class is unsure.

    The two additional boxes are a little larger and a little smaller: a box that is some pixels off truncates a stroke,
    or contains a part of a neighbor.
    """
    is_unsure = is_likely_digit & (class_probabilities.max(axis=1, initial=0.0) < UNSURE_CLASS_PROBABILITY)
    unsure_indices = np.flatnonzero(is_unsure).tolist()
    if not unsure_indices:
        return class_probabilities
    resized = [_with_margin(detections[i], relative_margin) for i in unsure_indices for relative_margin in BOX_MARGINS]
    cutouts = cut_out(levels, resized)
    rereadings = pool_probabilities(resized, cutouts, classify)[0].reshape(len(unsure_indices), len(BOX_MARGINS), -1)
    pooled = class_probabilities.copy()
    for i, rows in zip(unsure_indices, rereadings, strict=True):
        has_ink = rows.any(axis=1)
        logarithms = np.log(np.maximum([class_probabilities[i], *rows[has_ink]], MIN_PROBABILITY))
        geometric_mean = np.exp(logarithms.mean(axis=0))
        pooled[i] = geometric_mean / geometric_mean.sum()
    return pooled


def _with_margin(detection: Detection, relative_margin: float) -> Detection:
    """Return a detection with a margin around its box, relative to its height; a negative margin shrinks the box."""
    margin = relative_margin * detection.height
    return replace(
        detection,
        left=detection.left - margin,
        top=detection.top - margin,
        right=detection.right + margin,
        bottom=detection.bottom + margin,
    )


def _without_table_lines(
    probability: NDArray[np.float64], detections: Sequence[Detection], cutouts: Sequence[Cutout | None]
) -> NDArray[np.float64]:
    """Return the probabilities of being a digit, 0 for vertical lines of a table: strokes joined to lines at both ends.

    A 1 that fills a square of squared paper looks the same, but it is detected at more than one level.
    """
    at_one_level = np.array([d.other_level_score < MIN_OTHER_LEVEL_SCORE for d in detections], bool)
    is_narrow = np.array([d.width < MAX_STROKE_ASPECT * d.height for d in detections], bool)
    is_joined = np.array([cutout is not None and cutout.joined_share > MAX_JOINED_SHARE for cutout in cutouts], bool)
    return np.asarray(np.where(at_one_level & is_narrow & is_joined, 0.0, probability))


def _without_faint_ink(probability: NDArray[np.float64], cutouts: Sequence[Cutout | None]) -> NDArray[np.float64]:
    """Return the probabilities of being a digit, 0 for detections much fainter than the page's digits.

    Those that are surely digits keep their probability.
    """
    contrasts = np.array([0.0 if cutout is None else cutout.contrast for cutout in cutouts])
    is_likely_digit = probability >= LIKELY_DIGIT_PROBABILITY
    if not is_likely_digit.any():
        return probability
    usual_contrast = np.percentile(contrasts[is_likely_digit], 75, method="higher")
    is_faint = contrasts < MIN_RELATIVE_CONTRAST * usual_contrast
    return np.asarray(np.where(is_faint & (probability < SURE_DIGIT_PROBABILITY), 0.0, probability))


def _without_giants(probability: NDArray[np.float64], detections: Sequence[Detection]) -> NDArray[np.float64]:
    """Return the probabilities of being a digit, 0 for detections many times as tall as the page's digits.

    Such a detection is a pen on the page, for example. It is dropped if it was detected at one level only, or if there
    are digits on both sides of it: a large digit in a plot has the numbers of the axis on one side only.
    """
    is_likely_digit = probability >= LIKELY_DIGIT_PROBABILITY
    if np.count_nonzero(is_likely_digit) < MIN_DIGITS_FOR_GIANTS:
        return probability
    heights = np.array([detection.height for detection in detections])
    is_giant = heights > GIANT_RATIO * np.median(heights[is_likely_digit])
    is_dropped = np.array([d.other_level_score < MIN_OTHER_LEVEL_SCORE for d in detections], bool)
    ordinary_digits = [detections[i] for i in np.flatnonzero(is_likely_digit & ~is_giant).tolist()]
    for i in np.flatnonzero(is_giant & ~is_dropped).tolist():
        giant = detections[i]
        same_rows = [other for other in ordinary_digits if giant.top < (other.top + other.bottom) / 2 < giant.bottom]
        n_left = sum(other.right < giant.left + giant.width / 2 for other in same_rows)
        is_dropped[i] = min(n_left, len(same_rows) - n_left) >= MIN_DIGITS_BESIDE
    return np.asarray(np.where(is_dropped & is_giant, 0.0, probability))


def _without_stray_strokes(line: list[Digit], ordinary_heights: Sequence[int], *, is_alone: bool) -> list[Digit]:
    """Drop straight strokes that are not 1s.

    In a line with at least `MIN_HEIGHTS` other digits, these are strokes much shorter or taller than those. In a line
    of strokes only, they are strokes with a low confidence and an unusual height for the page.

    Args:
        line: the digits of a line.
        ordinary_heights: the heights of all digits of the page that are not straight strokes.
        is_alone: whether there are no other lines.
    """
    if not is_alone and all(_is_stroke(digit) for digit in line):
        return [
            digit
            for digit in line
            if digit.confidence >= LONE_STROKE_CONFIDENCE or _is_as_tall(digit, ordinary_heights, LONE_STROKE_HEIGHTS)
        ]
    heights = [_height(digit) for digit in line if not _is_stroke(digit)]
    if len(heights) < MIN_HEIGHTS:
        return line
    return [digit for digit in line if not _is_stroke(digit) or _is_as_tall(digit, heights, STROKE_HEIGHTS)]


def _is_as_tall(digit: Digit, heights: Sequence[int], limits: tuple[float, float]) -> bool:
    """Whether a digit's height, relative to the median of `heights`, is within limits; False if there are too few."""
    if len(heights) < MIN_HEIGHTS:
        return False
    low, high = (limit * float(np.median(heights)) for limit in limits)
    return low <= _height(digit) <= high


def _height(digit: Digit) -> int:
    return digit.box[3] - digit.box[1]


def _is_stroke(digit: Digit) -> bool:
    """Whether a digit is read as a 1 and is hardly more than a straight stroke."""
    left, top, right, bottom = digit.box
    return digit.digit == 1 and right - left < MAX_STROKE_ASPECT * (bottom - top)


def _digit(
    detection: Detection,
    image: NDArray[np.uint8],
    confidences_by_class: NDArray[np.float64],
    scale: float,
    shape: tuple[int, ...],
) -> Digit:
    """Return a detection as a digit of the page.

    Args:
        detection: the detection.
        image: the classifier's input.
        confidences_by_class: (classes,), the probability that it is a digit, and of each class.
        scale: pixels of the photo per pixel of the detection's box.
        shape: (height, width) of the photo.
    """
    order = np.argsort(-confidences_by_class, kind="stable").tolist()
    first = order[0]
    second = order[1] if len(order) > 1 else first
    height, width = shape
    left, right = (min(max(round(scale * x), 0), width) for x in (detection.left, detection.right))
    top, bottom = (min(max(round(scale * y), 0), height) for y in (detection.top, detection.bottom))
    box = (left, top, max(right, left + 1), max(bottom, top + 1))
    return Digit(first, float(confidences_by_class[first]), box, image, second, float(confidences_by_class[second]))
