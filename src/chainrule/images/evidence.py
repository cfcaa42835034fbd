"""Compute the probability that a detection is a digit at all, and not a letter or an object.

Its features are the detector's confidence, properties of the ink, and what surrounds the detection. Logistic regression
on synthetic pages gives their weights (`scripts/train_detector.py` fits them), so the probability is calibrated for
these pages: it is how often such a detection is a digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.cutting import Cutout
    from chainrule.images.detection import Detection

WEIGHTS = np.array([1.86, -0.3, -1.12, -0.69, 1.26, 0.36, 0.68, 4.6, 3.92, 2.79, -2.26, -0.84, 1.37, 1.54, -3.95])
"""The weights of `detection_features` in the log odds that a detection is a digit."""
RESCORED_WEIGHTS = np.array(
    [0.49, -0.29, -1.51, -0.78, 1.37, 0.31, 0.69, 4.24, 3.36, 3.8, -2.69, -0.89, 1.73, 2.17, 2.54, -3.19]
)
"""The weights of `rescored_features`, the same for doubtful detections."""
DOUBTFUL = (0.02, 0.98)  # limits of the probabilities with which a detection is doubtful
MAX_RESCORED = 60  # maximum number of detections of a photo that are scored again, so that it takes less than a second
MAX_PROBABILITY = 0.999  # upper limit of probabilities before their log odds are taken, so that none decides alone
MAX_NEIGHBOR_GAP = 2.5  # maximum distance of neighbors in a line, in heights of the shorter one
MAX_HEIGHT_RATIO = 2.5  # maximum ratio of the heights of neighbors: an exponent is a neighbor, too
PRIOR_MEAN = 0.6  # prior of the mean confidence of the other detections on the page
PRIOR_COUNT = 1.5  # weight of this prior, in detections
MAX_SHARE_ABOVE_OR_BELOW = 0.08
"""Share of the ink above or below the box at which it counts in full: the ink is then likely that of a letter."""
MAX_SHARE_LEFT_OR_RIGHT = 0.3
"""The same to the left or right of the box; it is higher because digits touch, and lines run there."""
HEIGHT_STD = 0.25  # standard deviation of the logarithms of the heights of one page's digits
PRIOR_AS_TALL = 0.5  # number of detections as tall as this one that are assumed in addition to those on the page
MIN_CONTRAST = 0.005  # fainter ink counts as this faint
ZERO_CLASS = 0  # the class of the digit 0: a closed loop, of which letters have many


def detection_features(
    detections: Sequence[Detection],
    cutouts: Sequence[Cutout | None],
    class_probabilities: NDArray[np.float64],
    no_digit: NDArray[np.float64],
    side: float,
) -> NDArray[np.float64]:
    """Return the features of each detection that distinguish digits from everything else: (N, 15).

    In this order:

    - seven logarithms: of the odds of the detector's confidence; of the ink's clarity and contrast; of the height in
      pixels and relative to the photo's shorter side; of the odds of the likeliest class; and of the classifier's
      probability that it is a digit (1 - `no_digit`);
    - three confidences of the detector: in this detection at a different level, in the surest neighbor, and the mean
      over all others on the page, which is low beside words;
    - how much of the ink lies outside of the box: above or below, times the probability of a 0, as in the bowl of a
      letter; and to the left or right, as in a drawing;
    - two comparisons with the others on the page: the share of them that are as tall, and the logarithm of the contrast
      relative to theirs, if it is lower;
    - the constant 1.

    Args:
        detections: the detections, N.
        cutouts: their cut-outs; None for a detection without ink, whose features are all 0.
        class_probabilities: the probabilities (N, classes) of the digits.
        no_digit: the classifier's probability (N,) of "no digit".
        side: the photo's shorter side in pixels.
    """
    features = np.zeros((len(detections), len(WEIGHTS)))
    neighbor_scores, mean_scores = _best_neighbor_scores(detections), _mean_scores_of_others(detections, cutouts)
    shares_as_tall, relative_log_contrasts = _compare_with_others(detections, cutouts)
    for i, (detection, cutout) in enumerate(zip(detections, cutouts, strict=True)):
        if cutout is None:
            continue
        score = min(detection.score, MAX_PROBABILITY)
        best_class = min(float(class_probabilities[i].max()), MAX_PROBABILITY)
        logarithms = np.log(
            [
                score / (1 - score),
                min(max(cutout.clarity, 0.5), 30),
                min(max(cutout.contrast, MIN_CONTRAST), 0.3),
                min(max(detection.height, 6), 60),
                min(max(detection.height / side, 0.01), 0.8),
                best_class / (1 - best_class),
                max(1 - no_digit[i], 1e-3),
            ]
        )
        above_or_below, left_or_right = cutout.ink_outside
        features[i] = (
            *logarithms,
            detection.other_level_score,
            neighbor_scores[i],
            mean_scores[i],
            float(class_probabilities[i, ZERO_CLASS]) * min(above_or_below / MAX_SHARE_ABOVE_OR_BELOW, 1.0),
            min(left_or_right / MAX_SHARE_LEFT_OR_RIGHT, 1.0),
            shares_as_tall[i],
            relative_log_contrasts[i],
            1,
        )
    return features


def digit_probability(
    features: NDArray[np.float64], rescore: Callable[[Sequence[int]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the probability (N,) that each detection is a digit; 0 where there is no ink.

    Args:
        features: see `detection_features`.
        rescore: a function from the indices of doubtful detections to their log odds (see `rescoring`).
    """
    probability = first_probability(features)
    doubtful = np.flatnonzero(is_doubtful(probability))
    if len(doubtful) > MAX_RESCORED:  # the most doubtful
        doubtful = doubtful[np.argsort(np.abs(probability[doubtful] - 0.5), kind="stable")[:MAX_RESCORED]]
    if len(doubtful):
        rescored = rescored_features(features[doubtful], rescore(doubtful.tolist()))
        probability[doubtful] = _logistic(rescored @ RESCORED_WEIGHTS)
    return probability


def rescored_features(features: NDArray[np.float64], log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `features` with the log odds (N,) of `rescoring.rescore` inserted before the constant: (N, 16)."""
    return np.insert(features, -1, log_odds, axis=1)


def is_doubtful(probability: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which detections (N,) are scored again, from their `first_probability`."""
    low, high = DOUBTFUL
    return np.asarray((probability > low) & (probability < high))


def first_probability(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability (N,) that each detection is a digit before any is scored again."""
    return np.asarray(np.where(features[:, -1] == 1, _logistic(features @ WEIGHTS), 0.0))


def _logistic(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -50, 50))))


def _best_neighbor_scores(detections: Sequence[Detection]) -> NDArray[np.float64]:
    """Return the highest confidence of each detection's neighbors: those in a line with it, and about as tall.

    It is 0 for a detection without neighbors.
    """
    boxes = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    scores = np.array([d.score for d in detections])
    height, middle = boxes[:, 3] - boxes[:, 1], (boxes[:, 1] + boxes[:, 3]) / 2
    best_scores = np.zeros(len(detections))
    for i, (left, _, right, _) in enumerate(boxes):
        taller, shorter = np.maximum(height, height[i]), np.minimum(height, height[i])
        gap = np.maximum(boxes[:, 0] - right, left - boxes[:, 2])
        is_neighbor = (gap < MAX_NEIGHBOR_GAP * shorter) & (taller < MAX_HEIGHT_RATIO * shorter)
        is_neighbor &= np.abs(middle - middle[i]) < 0.5 * taller
        is_neighbor[i] = False
        best_scores[i] = scores[is_neighbor].max(initial=0.0)
    return best_scores


def _mean_scores_of_others(detections: Sequence[Detection], cutouts: Sequence[Cutout | None]) -> NDArray[np.float64]:
    """Return, for each detection, the mean confidence of all others with ink, smoothed by a prior."""
    has_ink = np.array([cutout is not None for cutout in cutouts], bool)
    scores = np.where(has_ink, [detection.score for detection in detections], 0.0)
    total, count = scores.sum() - scores, has_ink.sum() - has_ink
    return np.asarray((total + PRIOR_MEAN * PRIOR_COUNT) / (count + PRIOR_COUNT))


def _compare_with_others(
    detections: Sequence[Detection], cutouts: Sequence[Cutout | None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare each detection with the others on the page, weighted by the squares of their confidences.

    Returns:
        The share of the others that are as tall as it, (N,); and the logarithm of its contrast relative to the mean of
        theirs, (N,), 0 if it is not fainter.
    """
    contrasts = np.log([MIN_CONTRAST if cutout is None else max(cutout.contrast, MIN_CONTRAST) for cutout in cutouts])
    heights = np.log([detection.height for detection in detections])
    weights = np.array([0.0 if c is None else d.score**2 for d, c in zip(detections, cutouts, strict=True)])
    other_weights = weights.sum() - weights
    weighted_sum = weights @ contrasts - weights * contrasts
    mean_contrasts = np.where(other_weights > 0, weighted_sum / np.maximum(other_weights, 1e-9), contrasts)
    shares_as_tall = np.zeros(len(weights))
    for i, height in enumerate(heights.tolist()):
        weight_as_tall = weights @ np.exp(-0.5 * ((heights - height) / HEIGHT_STD) ** 2) - weights[i]
        shares_as_tall[i] = (weight_as_tall + PRIOR_AS_TALL) / (other_weights[i] + PRIOR_AS_TALL)
    return shares_as_tall, np.minimum(contrasts - mean_contrasts, 0)
