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
MOST_SURE = 0.999  # limit of a probability, for no single one to decide alone
REACH = 2.5  # heights: neighbors in a line are not farther apart
SIMILAR = 2.5  # the largest ratio of the heights of neighbors: an exponent is a neighbor, too
USUAL, USUAL_COUNT = 0.6, 1.5  # the confidence that is supposed before others are seen, and as how many it counts
LEAVES = 0.08  # of a digit's ink: with so much above or below its box, it is likely a part of a letter
ASIDE = 0.3  # the same to its left and right, where digits touch, and rules go on
LIKE = 0.25  # the standard deviation of the logarithms of the heights of one page's digits
SUPPOSED = 0.5  # detections that are supposed before others are seen, as high as this one
LEAST_CONTRAST = 0.005
ZERO = 0  # the class of a closed loop: letters hold many


def evidence(
    detections: Sequence[Detection],
    cuts: Sequence[Cut | None],
    opinions: NDArray[np.float64],
    no_digit: NDArray[np.float64],
    side: float,
) -> NDArray[np.float64]:
    """What tells digits from all else, for each detection: (N, 15).

    The logarithms of: the detector's odds, the ink's clarity and contrast, the height in pixels and as a share of the
    photo's shorter side, the odds of the likeliest class, and the share that the classifier leaves to digits. The
    detector's confidence at another level, that of the surest neighbor, and the mean of all others on the page, which
    is low beside words. How much of the ink of what is read as a 0 goes on above or below: it may be the bowl of a
    letter. How much of any ink goes on aside: of a drawing much does. The share of the page's other detections that are
    as high as this one, and the logarithm of its contrast relative to theirs, if it is fainter. And a constant 1.

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
        score, sure = min(detection.score, MOST_SURE), min(float(opinions[i].max()), MOST_SURE)
        clarity, contrast = min(max(cut.clarity, 0.5), 30), min(max(cut.contrast, LEAST_CONTRAST), 0.3)
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
        rows[i] = *logarithms, detection.again, *around, 1
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
        taller, lower = np.maximum(height, height[i]), np.minimum(height, height[i])
        gap = np.maximum(boxes[:, 0] - right, left - boxes[:, 2])
        beside = (gap < REACH * lower) & (np.abs(middle - middle[i]) < 0.5 * taller) & (taller < SIMILAR * lower)
        beside[i] = False
        surest[i] = scores[beside].max(initial=0.0)
    return surest


def _others(detections: Sequence[Detection], cuts: Sequence[Cut | None]) -> NDArray[np.float64]:
    """How sure all other detections with ink are on the average, of a few that are supposed."""
    inked = np.array([cut is not None for cut in cuts], bool)
    scores = np.where(inked, [detection.score for detection in detections], 0.0)
    return np.asarray((scores.sum() - scores + USUAL * USUAL_COUNT) / (inked.sum() - inked + USUAL_COUNT))


def _likeness(
    detections: Sequence[Detection], cuts: Sequence[Cut | None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of the page's other ink is as high as each detection, and how much fainter it is than they are.

    Each other detection counts by the square of its confidence.
    """
    contrasts = np.log([LEAST_CONTRAST if cut is None else max(cut.contrast, LEAST_CONTRAST) for cut in cuts])
    heights = np.log([detection.height for detection in detections])
    weights = np.array([0.0 if c is None else d.score**2 for d, c in zip(detections, cuts, strict=True)])
    others = weights.sum() - weights
    usual = np.where(others > 0, (weights @ contrasts - weights * contrasts) / np.maximum(others, 1e-9), contrasts)
    alike = np.zeros(len(weights))
    for i, height in enumerate(heights.tolist()):
        near = weights @ np.exp(-0.5 * ((heights - height) / LIKE) ** 2) - weights[i]
        alike[i] = (near + SUPPOSED) / (others[i] + SUPPOSED)
    return alike, np.minimum(contrasts - usual, 0)
