"""Judge each detection: cut it out, classify it, and collect the evidence that it is a digit at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.cutting import cut_out
from chainrule.images.evidence import evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.cutting import Cut
    from chainrule.images.detection import Detection
    from chainrule.images.pyramid import Level

    Classifier = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # images (N, 28, 28) to probabilities (N, classes)

VOTE = 0.5  # the weight of the detector's opinion on which digit it is; the classifier's is the rest
OPINION_FLOOR = 1e-4  # added to each probability before opinions are pooled
DIGITS = 10  # classes of a classifier of digits; one more is "no digit"
MIN_GAIN = 0.02  # of the ink: a larger box must contain more of it by this share
MIN_CLASS = 0.7  # minimum confidence of the class in a larger box
# A larger box must not contain more than the share MAX_SHARED of another detection with at least this confidence
MIN_NEIGHBOR, MAX_SHARED = 0.5, 0.5


def judge(
    levels: Sequence[Level], detections: Sequence[Detection], classify: Classifier
) -> tuple[list[Detection], list[Cut | None], NDArray[np.float64], NDArray[np.float64]]:
    """Cut out and classify each detection.

    Returns:
        The detections, with a larger box where the first one cuts the digit; their ink, or None; the probabilities
        (N, classes) of the classes, if it is a digit; and their `evidence` of being digits.
    """
    boxes, cuts = _replace_cut_boxes(levels, detections, cut_out(levels, detections), classify)
    opinions, no_digit = pool_opinions(boxes, cuts, classify)
    side = min(levels[0].gray.shape) / levels[0].scale if levels else 1.0
    return boxes, cuts, opinions, evidence(boxes, cuts, opinions, no_digit, side)


def _replace_cut_boxes(
    levels: Sequence[Level], detections: Sequence[Detection], cuts: list[Cut | None], classify: Classifier
) -> tuple[list[Detection], list[Cut | None]]:
    """Replace boxes that cut a digit's ink, and their cuts, by larger ones that contain more of it.

    The level with the highest confidence may hardly show faint strokes, and take one stroke of a 4 for a 1.
    """
    chosen, chosen_cuts = list(detections), list(cuts)
    sides = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    sure = np.array([detection.score >= MIN_NEIGHBOR for detection in detections], bool)
    candidates = [
        (i, larger)
        for i, (detection, cut) in enumerate(zip(detections, cuts, strict=True))
        if cut is not None and sum(cut.leaving) > MIN_GAIN
        for larger in detection.larger
        if (_shares(larger, sides) * sure)[np.arange(len(sides)) != i].max(initial=0) <= MAX_SHARED
    ]
    if not candidates:
        return chosen, chosen_cuts
    wider = [larger for _, larger in candidates]
    wider_cuts = cut_out(levels, wider)
    opinions, no_digit = pool_opinions(wider, wider_cuts, classify)
    probabilities = (opinions.max(axis=1) * (1 - no_digit)).tolist()
    # In reverse: of several boxes around one, the first is the surest, and replaces the others
    for (i, larger), cut, probability in reversed(list(zip(candidates, wider_cuts, probabilities, strict=True))):
        own = cuts[i]
        if cut is None or own is None or probability <= MIN_CLASS:
            continue
        if sum(own.leaving) - sum(cut.leaving) > MIN_GAIN:
            chosen[i], chosen_cuts[i] = replace(larger, other_level_score=detections[i].other_level_score), cut
    return chosen, chosen_cuts


def _shares(larger: Detection, sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each box, given by its sides (N, 4), that lies in a larger one."""
    low = np.maximum(sides[:, :2], (larger.left, larger.top))
    high = np.minimum(sides[:, 2:], (larger.right, larger.bottom))
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1) / (sides[:, 2:] - sides[:, :2]).prod(axis=1))


def pool_opinions(
    detections: Sequence[Detection], cuts: Sequence[Cut | None], classify: Classifier
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities of the classes (N, classes), and the classifier's probability (N,) of no digit.

    Detections without ink have probabilities of 0.
    """
    inked = [i for i, cut in enumerate(cuts) if cut is not None]
    no_digit = np.zeros(len(cuts))
    if not inked:
        return np.zeros((len(cuts), DIGITS)), no_digit
    rows = classify(np.stack([cut.image for cut in cuts if cut is not None])).astype(np.float64)
    if rows.shape[1] == DIGITS + 1:
        no_digit[inked] = rows[:, DIGITS]
        rows = rows[:, :DIGITS] / np.maximum(rows[:, :DIGITS].sum(axis=1, keepdims=True), 1e-9)
    if rows.shape[1] == DIGITS:  # otherwise the classes are not digits, and the detector does not know them
        # Probabilities are pooled geometrically, so that a class that one network excludes is hardly chosen
        own = np.stack([detections[i].probabilities for i in inked])
        rows = (own + OPINION_FLOOR) ** VOTE * (rows + OPINION_FLOOR) ** (1 - VOTE)
        rows /= rows.sum(axis=1, keepdims=True)
    opinions = np.zeros((len(cuts), rows.shape[1]))
    opinions[inked] = rows
    return opinions, no_digit
