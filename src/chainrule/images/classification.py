"""Cut out detections and classify them.

The class probabilities of classifier and detector are pooled. The features that tell whether a detection is a digit at
all are computed as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.images.cutting import cut_out
from chainrule.images.evidence import detection_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.cutting import Cutout
    from chainrule.images.detection import Detection
    from chainrule.images.pyramid import Level

    Classifier = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
    """From images (N, 28, 28) to probabilities (N, classes)."""

DETECTOR_WEIGHT = 0.5  # the weight of the detector's class probabilities; the classifier's have the rest
PROBABILITY_FLOOR = 1e-4  # added to each probability before pooling, so that no network alone can exclude a class
DIGITS = 10  # number of classes of a classifier of digits; an 11th is "no digit"
MIN_GAIN = 0.02  # a larger box is chosen only if it contains at least this much more of the ink, as a share of it
MIN_CLASS_PROBABILITY = 0.7  # minimum probability of the class in a larger box
MIN_NEIGHBOR_SCORE = 0.5  # minimum confidence of a detection that a larger box must not contain
MAX_SHARED = 0.5  # maximum share of such a detection that a larger box may contain


class Classification(NamedTuple):
    """The detections of a page, classified; each field has one entry per detection.

    Attributes:
        detections: the detections, with a larger box where the original one truncates the digit.
        cutouts: their cut-outs; None for a detection without ink.
        class_probabilities: (N, classes), the probability of each digit, given that the detection is a digit.
        features: (N, 15), see `evidence.detection_features`.
    """

    detections: list[Detection]
    cutouts: list[Cutout | None]
    class_probabilities: NDArray[np.float64]
    features: NDArray[np.float64]


def classify_detections(
    levels: Sequence[Level], detections: Sequence[Detection], classify: Classifier
) -> Classification:
    """Cut out and classify each detection."""
    chosen, cutouts = _replace_truncating_boxes(levels, detections, cut_out(levels, detections), classify)
    class_probabilities, no_digit = pool_probabilities(chosen, cutouts, classify)
    side = min(levels[0].gray.shape) / levels[0].scale if levels else 1.0
    features = detection_features(chosen, cutouts, class_probabilities, no_digit, side)
    return Classification(chosen, cutouts, class_probabilities, features)


def _replace_truncating_boxes(
    levels: Sequence[Level], detections: Sequence[Detection], cutouts: list[Cutout | None], classify: Classifier
) -> tuple[list[Detection], list[Cutout | None]]:
    """Replace boxes that truncate a digit, and their cut-outs, by larger ones that contain more of its ink.

    At the level at which the detector is most confident, faint strokes may hardly be visible; it may then take one
    stroke of a 4 for a 1.
    """
    chosen, chosen_cutouts = list(detections), list(cutouts)
    sides = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    is_sure = np.array([detection.score >= MIN_NEIGHBOR_SCORE for detection in detections], bool)
    candidates = [
        (i, larger)
        for i, (detection, cutout) in enumerate(zip(detections, cutouts, strict=True))
        if cutout is not None and sum(cutout.ink_outside) > MIN_GAIN
        for larger in detection.larger
        if (_shares_inside(larger, sides) * is_sure)[np.arange(len(sides)) != i].max(initial=0) <= MAX_SHARED
    ]
    if not candidates:
        return chosen, chosen_cutouts
    larger_detections = [larger for _, larger in candidates]
    larger_cutouts = cut_out(levels, larger_detections)
    class_probabilities, no_digit = pool_probabilities(larger_detections, larger_cutouts, classify)
    probabilities = (class_probabilities.max(axis=1) * (1 - no_digit)).tolist()
    # In reverse: of several larger boxes of one detection, the first, the surest, replaces the others
    for (i, larger), cutout, probability in reversed(list(zip(candidates, larger_cutouts, probabilities, strict=True))):
        original = cutouts[i]
        if cutout is None or original is None or probability <= MIN_CLASS_PROBABILITY:
            continue
        if sum(original.ink_outside) - sum(cutout.ink_outside) > MIN_GAIN:
            chosen[i] = replace(larger, other_level_score=detections[i].other_level_score)
            chosen_cutouts[i] = cutout
    return chosen, chosen_cutouts


def _shares_inside(larger: Detection, sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each box, given by its sides (N, 4), that lies in a larger one."""
    low = np.maximum(sides[:, :2], (larger.left, larger.top))
    high = np.minimum(sides[:, 2:], (larger.right, larger.bottom))
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1) / (sides[:, 2:] - sides[:, :2]).prod(axis=1))


def pool_probabilities(
    detections: Sequence[Detection], cutouts: Sequence[Cutout | None], classify: Classifier
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pool the class probabilities of the classifier and the detector by their weighted geometric mean.

    Returns:
        The probabilities of the classes without "no digit", (N, classes), and the classifier's probability of
        "no digit", (N,). Detections without ink have probabilities of 0.
    """
    inked = [i for i, cutout in enumerate(cutouts) if cutout is not None]
    no_digit = np.zeros(len(cutouts))
    if not inked:
        return np.zeros((len(cutouts), DIGITS)), no_digit
    pooled = classify(np.stack([cutout.image for cutout in cutouts if cutout is not None])).astype(np.float64)
    if pooled.shape[1] == DIGITS + 1:
        no_digit[inked] = pooled[:, DIGITS]
        pooled = pooled[:, :DIGITS] / np.maximum(pooled[:, :DIGITS].sum(axis=1, keepdims=True), 1e-9)
    if pooled.shape[1] == DIGITS:  # otherwise the classes are not digits, and the detector does not know them
        detector = np.stack([detections[i].probabilities for i in inked])
        pooled = (detector + PROBABILITY_FLOOR) ** DETECTOR_WEIGHT * (pooled + PROBABILITY_FLOOR) ** (
            1 - DETECTOR_WEIGHT
        )
        pooled /= pooled.sum(axis=1, keepdims=True)
    class_probabilities = np.zeros((len(cutouts), pooled.shape[1]))
    class_probabilities[inked] = pooled
    return class_probabilities, no_digit
