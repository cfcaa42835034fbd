"""Look at each detection closely: cut it out, classify it, and tell how likely it is a digit at all."""

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
LEAST_OPINION = 1e-4  # added to each probability before opinions are pooled
DIGITS = 10  # classes of a classifier of digits; one more is "no digit"
MIN_GAIN = 0.02  # of the ink: by so much less of it is outside of a larger box that is read
MIN_CLASS = 0.7  # confidence of the class in a larger box
MIN_NEIGHBOR, MAX_SHARED = 0.5, 0.5  # a larger box holds no larger share of a detection of so much confidence


def judge(
    levels: Sequence[Level], detections: Sequence[Detection], classify: Classifier
) -> tuple[list[Detection], list[Cut | None], NDArray[np.float64], NDArray[np.float64]]:
    """Look at each detection closely.

    Returns:
        the detections, a larger box in the place of one that cuts the digit; their ink, or None; the probabilities
        (N, classes) of each class, if it is a digit; their `evidence` of being one.
    """
    boxes, cuts = _whole(levels, detections, cut_out(levels, detections), classify)
    opinions, no_digit = pool_opinions(boxes, cuts, classify)
    side = min(levels[0].gray.shape) / levels[0].scale if levels else 1.0
    return boxes, cuts, opinions, evidence(boxes, cuts, opinions, no_digit, side)


def _whole(
    levels: Sequence[Level], detections: Sequence[Detection], cuts: list[Cut | None], classify: Classifier
) -> tuple[list[Detection], list[Cut | None]]:
    """Replace boxes whose ink goes on outside of them by larger ones, where it does not, and their cuts.

    Faint strokes are hardly seen at the level that is surest of a digit, which may be a 1 that is a stroke of a 4.
    """
    chosen, chosen_cuts = list(detections), list(cuts)
    sides = np.array([(d.left, d.top, d.right, d.bottom) for d in detections]).reshape(-1, 4)
    sure = np.array([detection.score >= MIN_NEIGHBOR for detection in detections], bool)
    owners = [
        (i, larger)
        for i, (detection, cut) in enumerate(zip(detections, cuts, strict=True))
        if cut is not None and sum(cut.leaving) > MIN_GAIN
        for larger in detection.larger
        if (_shares(larger, sides) * sure)[np.arange(len(sides)) != i].max(initial=0) <= MAX_SHARED
    ]
    if not owners:
        return chosen, chosen_cuts
    wider = [larger for _, larger in owners]
    wider_cuts = cut_out(levels, wider)
    opinions, no_digit = pool_opinions(wider, wider_cuts, classify)
    probabilities = (opinions.max(axis=1) * (1 - no_digit)).tolist()
    for (i, larger), cut, probability in reversed(list(zip(owners, wider_cuts, probabilities, strict=True))):
        own = cuts[i]
        if cut is None or own is None or probability <= MIN_CLASS:
            continue
        if sum(own.leaving) - sum(cut.leaving) > MIN_GAIN:
            # Of several, the surest is the first
            chosen[i], chosen_cuts[i] = replace(larger, again=detections[i].again), cut
    return chosen, chosen_cuts


def _shares(larger: Detection, sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of each box, by its sides (N, 4), that is in a larger one."""
    low = np.maximum(sides[:, :2], (larger.left, larger.top))
    high = np.minimum(sides[:, 2:], (larger.right, larger.bottom))
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1) / (sides[:, 2:] - sides[:, :2]).prod(axis=1))


def pool_opinions(
    detections: Sequence[Detection], cuts: Sequence[Cut | None], classify: Classifier
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities (N, classes) of each class, and the classifier's (N,) that it is no digit.

    Those of detections without ink are 0.
    """
    inked = [i for i, cut in enumerate(cuts) if cut is not None]
    no_digit = np.zeros(len(cuts))
    if not inked:
        return np.zeros((len(cuts), DIGITS)), no_digit
    rows = classify(np.stack([cut.image for cut in cuts if cut is not None])).astype(np.float64)
    if rows.shape[1] == DIGITS + 1:
        no_digit[inked] = rows[:, DIGITS]
        rows = rows[:, :DIGITS] / np.maximum(rows[:, :DIGITS].sum(axis=1, keepdims=True), 1e-9)
    if rows.shape[1] == DIGITS:  # else the classes are no digits, and the detector has no opinion on them
        # Opinions are pooled as logarithms, so that a class which one of them excludes is hardly chosen
        own = np.stack([detections[i].probabilities for i in inked])
        rows = (own + LEAST_OPINION) ** VOTE * (rows + LEAST_OPINION) ** (1 - VOTE)
        rows /= rows.sum(axis=1, keepdims=True)
    opinions = np.zeros((len(cuts), rows.shape[1]))
    opinions[inked] = rows
    return opinions, no_digit
