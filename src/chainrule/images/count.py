"""Count the digits in a picture: tell several digits from one digit in several pieces."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.images.foreground import STROKE_INK, BlankError
from chainrule.images.raster import connected_parts
from chainrule.images.steps import ink_to_mnist

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

    DigitClassifier = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
    """From images (N, 28, 28) to the probabilities (N, digits) of the digits, without the class "no digit"."""

MIN_HEIGHT = 0.5  # minimum height of a digit, relative to the tallest part: a shorter part is a piece of a digit
MAX_OVERLAP = 0.05  # maximum overlap of two digits, relative to the tallest part's height
MIN_CONFIDENCE_OF_ALL = 0.6  # if all tall parts are read with at least this confidence, each counts as a digit
MIN_CONFIDENCE_OF_SOME = 0.9  # else, if there are at least three, those read with at least this confidence count
MIN_WHOLE_CONFIDENCE = 0.95  # minimum confidence with which one digit in several pieces is read as a whole
MAX_WHOLE_ASPECT = 0.85  # maximum width of one digit in several pieces, relative to its height
MIN_TOUCHING_ASPECT = 1.25  # minimum width of two digits that touch, relative to their height
MIN_TOUCHING_CONFIDENCE = 0.9  # minimum confidence with which each of two digits that touch is read alone


class _Part(NamedTuple):
    """A connected part of the ink; `bottom` and `right` are exclusive."""

    top: int
    bottom: int
    left: int
    right: int
    ink: Gray  # (bottom - top, right - left), 0 where the ink belongs to other parts


def count_digits(clean: Gray, confidence: float, classify: DigitClassifier) -> int:
    """Return the number of digits in a picture: 1, unless the parts of its ink are read as digits of their own.

    Args:
        clean: the ink `(height, width)`, as in `Stages.clean`.
        confidence: the probability of the likeliest digit when all of the ink is read as one digit.
        classify: a function from images `(N, 28, 28)` to the probabilities `(N, digits)` of the digits.
    """
    parts = _parts(clean)
    top, left = min(part.top for part in parts), min(part.left for part in parts)
    height, width = max(part.bottom for part in parts) - top, max(part.right for part in parts) - left
    tallest = max(part.bottom - part.top for part in parts)
    tall = [part for part in parts if part.bottom - part.top >= MIN_HEIGHT * tallest]
    if len(tall) == 1:
        if width < MIN_TOUCHING_ASPECT * height or confidence >= MIN_WHOLE_CONFIDENCE:
            return 1
        halves = _halves(clean[top : top + height, left : left + width])
        return 2 if min(_best_probabilities(halves, classify)) >= MIN_TOUCHING_CONFIDENCE else 1
    is_one_digit = width <= MAX_WHOLE_ASPECT * height and confidence >= MIN_WHOLE_CONFIDENCE
    if is_one_digit or not _are_apart(tall, MAX_OVERLAP * tallest):
        return 1
    best = _best_probabilities([part.ink for part in tall], classify)
    if all(probability >= MIN_CONFIDENCE_OF_ALL for probability in best):
        return len(best)
    if len(best) == 2:
        return 1
    return max(1, sum(probability >= MIN_CONFIDENCE_OF_SOME for probability in best))


def _parts(clean: Gray) -> list[_Part]:
    """Return the connected parts of the ink."""
    labels = connected_parts(clean > STROKE_INK)
    parts = []
    for label in range(1, labels.max() + 1):
        y, x = np.nonzero(labels == label)
        top, bottom, left, right = int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1
        ink = np.where(labels == label, clean, 0)[top:bottom, left:right]
        parts.append(_Part(top, bottom, left, right, ink))
    return parts


def _are_apart(parts: list[_Part], overlap: float) -> bool:
    """Whether no two parts overlap by more than `overlap` pixels both horizontally and vertically."""
    return all(
        max(part.left, other.left) - min(part.right, other.right) >= -overlap
        or max(part.top, other.top) - min(part.bottom, other.bottom) >= -overlap
        for index, part in enumerate(parts)
        for other in parts[:index]
    )


def _halves(ink: Gray) -> list[Gray]:
    """Split the ink at the column with the least ink in the middle half of the picture."""
    width = ink.shape[1]
    start = width // 4
    column = start + int(ink[:, start : width - start].sum(axis=0).argmin())
    return [ink[:, :column], ink[:, column:]]


def _best_probabilities(inks: list[Gray], classify: DigitClassifier) -> list[float]:
    """Return the probability of the likeliest digit in each ink: 0 where there is too little ink for a digit."""
    images = {}
    for index, ink in enumerate(inks):
        with suppress(BlankError):
            images[index] = ink_to_mnist(np.pad(ink, 2))
    best = [0.0] * len(inks)
    if images:
        for index, probabilities in zip(images, classify(np.stack(list(images.values()))), strict=True):
            best[index] = float(probabilities.max())
    return best
