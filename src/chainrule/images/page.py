"""Find and read the digits in a photo of a page, line by line.

A detector (see `detection`) says where digits are and how tall; each is cut out (see `cutting`) and given to the
classifier, and the detector's own opinion counts, too. The digits are then grouped into lines by following neighbors to
the right, so a line may slope or bend a little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.cutting import cut_out
from chainrule.images.detection import detect_digits
from chainrule.images.evidence import presence
from chainrule.images.judging import judge, pool_opinions
from chainrule.images.lines import group_into_lines
from chainrule.images.pyramid import LONGEST_SIDE, make_levels
from chainrule.images.steps import normalize_gray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.cutting import Cut
    from chainrule.images.detection import Detection, Detector
    from chainrule.images.judging import Classifier
    from chainrule.images.pyramid import Level

    Box = tuple[int, int, int, int]

MIN_CONFIDENCE = 0.5  # minimum probability of what counts as a digit
# A detection is reported if it is a digit with probability SURELY, whatever its class; else if that probability times
# that of its class is at least MIN_READ
MIN_READ, SURELY = 0.5, 0.95
# Giants are taller than this many times the median height of a page's digits, if it has at least MIN_USUAL of them
GIANT, MIN_USUAL = 6.0, 5
MIN_ASIDE = 2  # digits on each side of a giant that show that it is no digit
MIN_OTHER_LEVEL = 0.4  # confidence at another level: with less, a digit counts as detected at one level only
MIN_SHARE = 0.25  # minimum contrast of doubtful ink, relative to the page's usual ink: pencil has a third of a marker's
MAX_JOINED = 0.4  # limit of `Cut.joined`, which is higher for the side of a cell
STROKE_WIDTH = 0.35  # of its height: a 1 that is narrower counts as a straight stroke
STROKE_HEIGHTS = (0.5, 1.8)  # of the median height of the other digits in the line: limits for straight strokes
MIN_NEIGHBORS = 2  # digits other than straight strokes: with fewer, the usual height is unknown
LONE_CONFIDENCE = 0.9  # minimum confidence in a line of straight strokes only, if there are other lines
LONE_HEIGHTS = (0.75, 1.3)  # of the median height of the page's digits: within them, LONE_CONFIDENCE is not needed
# A digit whose class has a lower probability than DOUBTFUL is cut out and read again, twice, with its box widened on
# each side by WIDENINGS (shares of its height)
DOUBTFUL = 0.97
WIDENINGS = (0.05, -0.04)
MIN_PROBABILITY = 1e-12  # so that its logarithm is finite


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
    if gray.min() == gray.max():  # blank: the networks would take a second to find nothing
        return []
    levels = make_levels(gray)
    detections = detect_digits(levels, detect)
    detections, cuts, opinions, rows = judge(levels, detections, classify)
    probability = _without_lines(presence(rows), detections, cuts)
    probability = _without_giants(_without_faint(probability, cuts), detections)
    opinions = _read_again(levels, detections, opinions, probability >= MIN_CONFIDENCE, classify)
    scale = max(photo.shape) / max(gray.shape)
    digits = {
        id(detection): _digit(detection, cut.image, confidence * opinion, scale, photo.shape)
        for detection, cut, opinion, confidence in zip(detections, cuts, opinions, probability.tolist(), strict=True)
        if cut is not None and (confidence >= SURELY or confidence * opinion.max() >= MIN_READ)
    }
    lines = group_into_lines([detection for detection in detections if id(detection) in digits])
    read = [[digits[id(detection)] for detection in line] for line in lines]
    usual = [_height(digit) for line in read for digit in line if not _is_stroke(digit)]
    read = [_without_stray_strokes(line, usual, is_alone=len(lines) == 1) for line in read]
    return [line for line in read if line]


def _read_again(
    levels: Sequence[Level],
    detections: Sequence[Detection],
    opinions: NDArray[np.float64],
    is_digit: NDArray[np.bool_],
    classify: Classifier,
) -> NDArray[np.float64]:
    """Return the class probabilities (N, classes); those of doubtful digits are pooled over three boxes.

    The other two boxes are a little larger and a little smaller: a box that is some pixels off cuts a stroke, or
    contains a neighbor's.
    """
    doubtful = np.flatnonzero(is_digit & (opinions.max(axis=1, initial=0.0) < DOUBTFUL)).tolist()
    if not doubtful:
        return opinions
    again = [_widened(detections[i], share) for i in doubtful for share in WIDENINGS]
    cuts = cut_out(levels, again)
    looks = pool_opinions(again, cuts, classify)[0].reshape(len(doubtful), len(WIDENINGS), -1)
    pooled = opinions.copy()
    for i, rows in zip(doubtful, looks, strict=True):
        logarithms = np.log(np.maximum([opinions[i], *rows[rows.any(axis=1)]], MIN_PROBABILITY))
        shares = np.exp(logarithms.mean(axis=0))
        pooled[i] = shares / shares.sum()
    return pooled


def _widened(detection: Detection, share: float) -> Detection:
    """A detection with a box that is larger on each side by a share of its height."""
    more = share * detection.height
    left, right = detection.left - more, detection.right + more
    return replace(detection, left=left, top=detection.top - more, right=right, bottom=detection.bottom + more)


def _without_lines(
    probability: NDArray[np.float64], detections: Sequence[Detection], cuts: Sequence[Cut | None]
) -> NDArray[np.float64]:
    """Return the probabilities of being a digit, 0 for strokes that join lines at both ends: the sides of cells.

    A 1 that fills a square of squared paper looks the same, but it is detected at more than one level.
    """
    doubtful = np.array([detection.other_level_score < MIN_OTHER_LEVEL for detection in detections], bool)
    narrow = np.array([detection.width < STROKE_WIDTH * detection.height for detection in detections], bool)
    joined = np.array([cut is not None and cut.joined > MAX_JOINED for cut in cuts], bool)
    return np.asarray(np.where(doubtful & narrow & joined, 0.0, probability))


def _without_faint(probability: NDArray[np.float64], cuts: Sequence[Cut | None]) -> NDArray[np.float64]:
    """Return the probabilities of being a digit, 0 for doubtful ink much fainter than the page's usual ink."""
    contrasts = np.array([0.0 if cut is None else cut.contrast for cut in cuts])
    sure = probability >= MIN_CONFIDENCE
    if not sure.any():
        return probability
    usual = np.percentile(contrasts[sure], 75, method="higher")
    return np.asarray(np.where((contrasts < MIN_SHARE * usual) & (probability < SURELY), 0.0, probability))


def _without_giants(probability: NDArray[np.float64], detections: Sequence[Detection]) -> NDArray[np.float64]:
    """Return the probabilities of being a digit, 0 for what is many times as tall as the other digits.

    Such a detection is a pen on the page, say. It is dropped if it was detected at one level only, or if there are
    digits on both sides of it; a large digit in a plot has the numbers of the axis on one side only.
    """
    heights = np.array([detection.height for detection in detections])
    doubtful = np.array([detection.other_level_score for detection in detections]) < MIN_OTHER_LEVEL
    sure = probability >= MIN_CONFIDENCE
    if np.count_nonzero(sure) < MIN_USUAL:
        return probability
    giant = heights > GIANT * np.median(heights[sure])
    usual = [detection for detection, chosen in zip(detections, sure & ~giant, strict=True) if chosen]
    for i in np.flatnonzero(giant & ~doubtful).tolist():
        one = detections[i]
        beside = [other for other in usual if one.top < (other.top + other.bottom) / 2 < one.bottom]
        to_left = sum(other.right < one.left + one.width / 2 for other in beside)
        doubtful[i] = min(to_left, len(beside) - to_left) >= MIN_ASIDE
    return np.asarray(np.where(doubtful & giant, 0.0, probability))


def _without_stray_strokes(line: list[Digit], usual: Sequence[int], *, is_alone: bool) -> list[Digit]:
    """Drop straight strokes that are no 1s: much shorter or taller than the other digits of their line, or without any.

    Args:
        line: the digits of a line.
        usual: the heights of all digits of the page that are no strokes.
        is_alone: whether there are no other lines.
    """
    if not is_alone and all(_is_stroke(digit) for digit in line):
        return [digit for digit in line if digit.confidence >= LONE_CONFIDENCE or _is_usual(digit, usual, LONE_HEIGHTS)]
    heights = [_height(digit) for digit in line if not _is_stroke(digit)]
    if len(heights) < MIN_NEIGHBORS:
        return line
    return [digit for digit in line if not _is_stroke(digit) or _is_usual(digit, heights, STROKE_HEIGHTS)]


def _is_usual(digit: Digit, heights: Sequence[int], limits: tuple[float, float]) -> bool:
    """Whether a digit's height is within limits relative to the median of others; False if there are too few."""
    if len(heights) < MIN_NEIGHBORS:
        return False
    low, high = (factor * float(np.median(heights)) for factor in limits)
    return low <= _height(digit) <= high


def _height(digit: Digit) -> int:
    return digit.box[3] - digit.box[1]


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
