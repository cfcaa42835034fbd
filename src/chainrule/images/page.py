"""Find and read the digits in a photo of a page, line by line.

A detector (see `detection`) says where digits are and how tall; each is cut out (see `cutting`) and given to the
classifier, and the detector's own opinion counts, too. The digits are then grouped into lines by following neighbors to
the right, so a line may slope or bend a little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.cutting import cut_out
from chainrule.images.detection import detect_digits
from chainrule.images.lines import group_into_lines
from chainrule.images.pyramid import LONGEST_SIDE, make_levels
from chainrule.images.steps import normalize_gray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.cutting import Cut
    from chainrule.images.detection import Detection, Detector

    Classifier = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # images (N, 28, 28) to probabilities (N, classes)
    Box = tuple[int, int, int, int]

MIN_CONFIDENCE = 0.35  # that something is a digit
MIN_SHARE = 0.25  # minimum contrast of ink, relative to the page's usual ink: pencil next to a marker has a third
EVIDENCE = np.array([3.42, 0.79, 0.32, 1.96, -9.63])
"""The weights of `evidence` in the log odds that a detection is a digit; `scripts/train_detector.py` fits them."""
STROKE_WIDTH = 0.35  # of its height: a 1 that is narrower is a straight stroke
STROKE_HEIGHTS = (0.5, 1.8)  # of the median height of the other digits in the line: other straight strokes are no 1s
MIN_NEIGHBORS = 2  # with fewer digits that are no strokes in the line, nothing is known about its height
LONE_CONFIDENCE = 0.75  # minimum confidence of a digit that is alone in its line, on a page with more lines
MIN_COMPANY = 4  # digits: with fewer on the page, a digit may well be alone
VOTE = 0.5  # the weight of the detector's opinion on which digit it is; the classifier's is the rest
LEAST_OPINION = 1e-4  # added to each probability before opinions are pooled
DIGITS = 10  # classes of a classifier of digits; one more is "no digit"


@dataclass(frozen=True)
class Digit:
    """A digit on the page.

    Attributes:
        digit: the class.
        confidence: that it is a digit and this one, from 0 to 1.
        box: left, top, right, bottom in pixels of the photo; right and bottom are exclusive.
        image: (28, 28), the classifier's input.
        second_digit: the second guess.
        second_confidence: its confidence.
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
        detect: the network that finds digits, a function from contrast `(H, W)` to maps `(15, H / 4, W / 4)`, as
            `detection` describes them: `chainrule.models.load_detector()`.

    Returns:
        The lines from top to bottom, each a list of digits from left to right; an empty list for an empty page.

    Raises:
        PictureError: the array does not hold gray values as above.
    """
    gray = np.asarray(normalize_gray(photo, LONGEST_SIDE), np.float32)
    levels = make_levels(gray)
    detections = detect_digits(levels, detect)
    cuts = cut_out(levels, detections)
    presence = _presence(detections, cuts)
    rows = _probabilities(detections, cuts, presence, classify)
    scale = max(photo.shape) / max(gray.shape)
    digits = {
        id(detection): _digit(detection, cut.image, row, scale, photo.shape)
        for detection, cut, row in zip(detections, cuts, rows, strict=True)
        if cut is not None and row.sum() >= MIN_CONFIDENCE
    }
    lines = group_into_lines([detection for detection in detections if id(detection) in digits])
    read = [_without_stray_strokes([digits[id(detection)] for detection in line]) for line in lines]
    if len(digits) >= MIN_COMPANY:
        read = [line for line in read if len(line) > 1 or line[0].confidence >= LONE_CONFIDENCE]
    return read


def evidence(detection: Detection, cut: Cut) -> NDArray[np.float64]:
    """What tells a digit from the paper's grain, each as a logarithm, and a constant 1: (5,).

    They are the odds of the detector, the ink's clarity and contrast, and the height in pixels.
    """
    odds = detection.score / max(1 - detection.score, 1e-6)
    clarity, contrast = min(max(cut.clarity, 0.5), 30), min(max(cut.contrast, 0.005), 0.3)
    return np.array([*np.log([odds, clarity, contrast, min(max(detection.height, 6), 60)]), 1.0])


def _presence(detections: Sequence[Detection], cuts: Sequence[Cut | None]) -> NDArray[np.float64]:
    """Return the probability that each detection is a digit; 0 for ink much fainter than the page's usual ink."""
    pairs = list(zip(detections, cuts, strict=True))
    odds = [0.0 if cut is None else math.exp(EVIDENCE @ evidence(detection, cut)) for detection, cut in pairs]
    presence = np.array([value / (1 + value) for value in odds])
    contrasts = np.array([0.0 if cut is None else cut.contrast for cut in cuts])
    sure = presence >= MIN_CONFIDENCE
    if sure.any():
        presence[contrasts < MIN_SHARE * np.percentile(contrasts[sure], 75, method="higher")] = 0
    return presence


def _probabilities(
    detections: Sequence[Detection],
    cuts: Sequence[Cut | None],
    presence: NDArray[np.float64],
    classify: Classifier,
) -> list[NDArray[np.float64]]:
    """Return the probability of each class for each detection; the rest to 1 is "no digit"."""
    images = [cut.image for cut in cuts if cut is not None]
    read = iter(classify(np.stack(images)).astype(np.float64)) if images else iter(())
    rows = []
    for detection, cut, confidence in zip(detections, cuts, presence.tolist(), strict=True):
        row = detection.probabilities if cut is None else next(read)
        if len(row) == DIGITS + 1:
            confidence *= 1 - 0.5 * row[DIGITS]
            row = row[:DIGITS] / max(row[:DIGITS].sum(), 1e-9)
        if len(row) == DIGITS:  # else the classes are no digits, and the detector has no opinion on them
            # Opinions are pooled as logarithms, so that a class which one of them excludes is hardly chosen
            row = (detection.probabilities + LEAST_OPINION) ** VOTE * (row + LEAST_OPINION) ** (1 - VOTE)
            row /= row.sum()
        rows.append(confidence * row)
    return rows


def _without_stray_strokes(line: list[Digit]) -> list[Digit]:
    """Drop straight strokes that are no 1s, being much lower or higher than the other digits of their line."""
    heights = [digit.box[3] - digit.box[1] for digit in line if not _is_stroke(digit)]
    if len(heights) < MIN_NEIGHBORS:
        return line
    low, high = (factor * float(np.median(heights)) for factor in STROKE_HEIGHTS)
    return [digit for digit in line if not _is_stroke(digit) or low <= digit.box[3] - digit.box[1] <= high]


def _is_stroke(digit: Digit) -> bool:
    """Whether a digit is read as a 1 and is hardly more than a straight stroke."""
    left, top, right, bottom = digit.box
    return digit.digit == 1 and right - left < STROKE_WIDTH * (bottom - top)


def _digit(
    detection: Detection,
    image: NDArray[np.uint8],
    row: NDArray[np.float64],
    scale: float,
    shape: tuple[int, ...],
) -> Digit:
    """Return a detection as a digit, in pixels of the photo."""
    order = np.argsort(-row, kind="stable")
    first, second = int(order[0]), int(order[min(1, len(order) - 1)])  # a single class is the second guess, too
    height, width = shape
    left, right = (min(max(round(scale * x), 0), width) for x in (detection.left, detection.right))
    top, bottom = (min(max(round(scale * y), 0), height) for y in (detection.top, detection.bottom))
    box = (left, top, max(right, left + 1), max(bottom, top + 1))
    return Digit(first, float(row[first]), box, image, second, float(row[second]))
