"""How likely a detection is a digit: the detector's confidence, what its ink looks like, and what stands beside it.

Each is a number, and logistic regression on synthetic pages gives their weights; so the probability is calibrated: it
is how often such a detection is a digit on those pages. `scripts/train_detector.py` fits the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.cutting import Cut
    from chainrule.images.detection import Detection

WEIGHTS = np.array([1.85, -0.22, -0.96, -0.69, 1.3, 0.47, 0.54, 4.12, 4.06, 2.32, -2.02, -0.75, 0.66, 0.65, -3.81])
"""The weights of `evidence` in the log odds that a detection is a digit."""
MAX_PROBABILITY = 0.999  # limit of each probability, so that none decides alone
REACH = 2.5  # maximum distance of neighbors in a line, in heights of the shorter one
SIMILAR = 2.5  # the largest ratio of the heights of neighbors: an exponent is a neighbor, too
# The mean confidence of the others before any is seen, and how many detections it counts as
PRIOR_MEAN, PRIOR_COUNT = 0.6, 1.5
LEAVES = 0.08  # of a digit's ink: with as much above or below its box, it is likely a part of a letter
ASIDE = 0.3  # the same to its left and right; the limit is higher, because digits touch and rules run there
HEIGHT_STD = 0.25  # standard deviation of the logarithms of the heights of one page's digits
PRIOR_ALIKE = 0.5  # how many detections as tall as this one are assumed before others are seen
MIN_CONTRAST = 0.005  # fainter ink counts as this faint
ZERO = 0  # the class of a closed loop, of which letters have many


def evidence(
    detections: Sequence[Detection],
    cuts: Sequence[Cut | None],
    opinions: NDArray[np.float64],
    no_digit: NDArray[np.float64],
    side: float,
) -> NDArray[np.float64]:
    """Return the features of each detection that tell digits from all else: (N, 15).

    Seven are logarithms: of the detector's odds, the ink's clarity and contrast, the height in pixels and as a share of
    the photo's shorter side, the odds of the likeliest class, and the probability that the classifier leaves to digits.
    Three are confidences of the detector: at another level, of the surest neighbor, and the mean of all others on the
    page, which is low beside words. Two say how much of the ink goes on outside of the box: of a 0, above or below, as
    in the bowl of a letter; of any class, to the left or right, as in a drawing. Two compare the detection with the
    others on the page: the share of them that are as tall, and the logarithm of its contrast relative to theirs, if it
    is fainter. The last is a constant 1.

    Args:
        detections: what was detected.
        cuts: their ink; None if there is none, where the evidence is 0.
        opinions: the probabilities (N, classes) of each class.
        no_digit: the classifier's probability that it is no digit.
        side: the photo's shorter side in pixels.
    """
    rows = np.zeros((len(detections), len(WEIGHTS)))
    neighbors, others = _surest_neighbors(detections), _others(detections, cuts)
    alike, fainter = _likeness(detections, cuts)
    for i, (detection, cut) in enumerate(zip(detections, cuts, strict=True)):
        if cut is None:
            continue
        score, sure = min(detection.score, MAX_PROBABILITY), min(float(opinions[i].max()), MAX_PROBABILITY)
        clarity, contrast = min(max(cut.clarity, 0.5), 30), min(max(cut.contrast, MIN_CONTRAST), 0.3)
        logarithms = np.log(
            [
                score / (1 - score),
                clarity,
                contrast,
                min(max(detection.height, 6), 60),
                min(max(detection.height / side, 0.01), 0.8),
                sure / (1 - sure),
                max(1 - no_digit[i], 1e-3),
            ]
        )
        goes_on = float(opinions[i, ZERO]) * min(cut.leaving[0] / LEAVES, 1.0)
        goes_aside = min(cut.leaving[1] / ASIDE, 1.0)
        around = neighbors[i], others[i], goes_on, goes_aside, alike[i], fainter[i]
        rows[i] = *logarithms, detection.other_level_score, *around, 1
    return rows


def presence(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability that each detection is a digit, from its `evidence`; 0 where there is no ink."""
    probability = 1 / (1 + np.exp(-np.clip(rows @ WEIGHTS, -50, 50)))
    return np.asarray(np.where(rows[:, -1] == 1, probability, 0.0))


def _surest_neighbors(detections: Sequence[Detection]) -> NDArray[np.float64]:
    """The confidence of the surest detection beside each, in a line with it and about as tall; 0 if there is none."""
    boxes = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    scores = np.array([d.score for d in detections])
    height, middle = boxes[:, 3] - boxes[:, 1], (boxes[:, 1] + boxes[:, 3]) / 2
    surest = np.zeros(len(detections))
    for i, (left, _, right, _) in enumerate(boxes):
        taller, shorter = np.maximum(height, height[i]), np.minimum(height, height[i])
        gap = np.maximum(boxes[:, 0] - right, left - boxes[:, 2])
        beside = (gap < REACH * shorter) & (np.abs(middle - middle[i]) < 0.5 * taller) & (taller < SIMILAR * shorter)
        beside[i] = False
        surest[i] = scores[beside].max(initial=0.0)
    return surest


def _others(detections: Sequence[Detection], cuts: Sequence[Cut | None]) -> NDArray[np.float64]:
    """The mean confidence of all other detections with ink, smoothed by a prior (see `PRIOR_MEAN`)."""
    inked = np.array([cut is not None for cut in cuts], bool)
    scores = np.where(inked, [detection.score for detection in detections], 0.0)
    return np.asarray((scores.sum() - scores + PRIOR_MEAN * PRIOR_COUNT) / (inked.sum() - inked + PRIOR_COUNT))


def _likeness(
    detections: Sequence[Detection], cuts: Sequence[Cut | None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare each detection with the others on the page: the share of them as tall as it, and its relative contrast.

    The others are weighted by the squares of their confidences. The contrast is a logarithm, 0 if it is not fainter.
    """
    contrasts = np.log([MIN_CONTRAST if cut is None else max(cut.contrast, MIN_CONTRAST) for cut in cuts])
    heights = np.log([detection.height for detection in detections])
    weights = np.array([0.0 if c is None else d.score**2 for d, c in zip(detections, cuts, strict=True)])
    others = weights.sum() - weights
    usual = np.where(others > 0, (weights @ contrasts - weights * contrasts) / np.maximum(others, 1e-9), contrasts)
    alike = np.zeros(len(weights))
    for i, height in enumerate(heights.tolist()):
        near = weights @ np.exp(-0.5 * ((heights - height) / HEIGHT_STD) ** 2) - weights[i]
        alike[i] = (near + PRIOR_ALIKE) / (others[i] + PRIOR_ALIKE)
    return alike, np.minimum(contrasts - usual, 0)
