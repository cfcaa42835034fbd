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

WEIGHTS = np.array([2.75, -0.26, 0.09, -0.54, 1.01, 0.3, 0.41, 3.88, 5.1, -1.74])
"""The weights of `evidence` in the log odds that a detection is a digit."""
MOST_SURE = 0.999  # limit of a probability, for no single one to decide alone
REACH = 2.5  # heights: neighbors in a line are not farther apart
SIMILAR = 2.5  # the largest ratio of the heights of neighbors: an exponent is a neighbor, too


def evidence(
    detections: Sequence[Detection],
    cuts: Sequence[Cut | None],
    opinions: NDArray[np.float64],
    no_digit: NDArray[np.float64],
    side: float,
) -> NDArray[np.float64]:
    """What tells digits from all else, for each detection: (N, 10).

    The logarithms of: the detector's odds, the ink's clarity and contrast, the height in pixels and as a share of the
    photo's shorter side, the odds of the likeliest class, and the share that the classifier leaves to digits. The
    detector's confidence at another level, and that of the surest neighbor; and a constant 1.

    Args:
        detections: what was detected.
        cuts: their ink; None if there is none, where the evidence is 0.
        opinions: the probabilities (N, classes) of each class.
        no_digit: the classifier's probability that it is no digit.
        side: the photo's shorter side in pixels.
    """
    rows = np.zeros((len(detections), len(WEIGHTS)))
    neighbors = _surest_neighbors(detections)
    for i, (detection, cut) in enumerate(zip(detections, cuts, strict=True)):
        if cut is None:
            continue
        score, sure = min(detection.score, MOST_SURE), min(float(opinions[i].max()), MOST_SURE)
        clarity, contrast = min(max(cut.clarity, 0.5), 30), min(max(cut.contrast, 0.005), 0.3)
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
        rows[i] = *logarithms, detection.again, neighbors[i], 1
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
