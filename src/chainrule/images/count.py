"""Tell several digits in a picture from one digit in pieces."""

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

    Classify = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

MIN_HEIGHT = 0.5  # of the tallest part: shorter ones are pieces of a digit
MAX_OVERLAP = 0.05  # of the tallest part: neighbors overlap no more, from left to right or from top to bottom
# Minimum confidence of each of several digits, read alone: if all tall parts reach the first, all of them count; else,
# as in a drawing, only those that reach the second
MIN_CONFIDENCE, MIN_AMONG_OTHERS = 0.6, 0.9
# One digit in pieces is read as a whole with more confidence than SURE_WHOLE, and is narrower than MAX_ASPECT (width
# over height).
SURE_WHOLE, MAX_ASPECT = 0.95, 0.85
MIN_TOUCHING_ASPECT, MIN_TOUCHING_CONFIDENCE = 1.25, 0.9  # of two digits that touch; the confidence of each half


class _Part(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int
    ink: Gray  # its own


def count_digits(clean: Gray, confidence: float, classify: Classify) -> int:
    """The number of digits in the ink of a picture: 1, unless its parts are read as digits of their own.

    Args:
        clean: the ink `(height, width)`, as in `Stages.clean`.
        confidence: the probability of the digit that all of the ink together was read as.
        classify: a function from images `(N, 28, 28)` to the probabilities `(N, digits)` of the digits.
    """
    parts = _parts(clean)
    top, left = min(part.top for part in parts), min(part.left for part in parts)
    height, width = max(part.bottom for part in parts) - top, max(part.right for part in parts) - left
    tallest = max(part.bottom - part.top for part in parts)
    tall = [part for part in parts if part.bottom - part.top >= MIN_HEIGHT * tallest]
    if len(tall) == 1:
        if width < MIN_TOUCHING_ASPECT * height or confidence >= SURE_WHOLE:
            return 1
        halves = _halves(clean[top : top + height, left : left + width])
        return 2 if min(_best_probabilities(halves, classify)) >= MIN_TOUCHING_CONFIDENCE else 1
    is_one = width <= MAX_ASPECT * height and confidence >= SURE_WHOLE
    if is_one or not _are_apart(tall, MAX_OVERLAP * tallest):
        return 1
    values = _best_probabilities([part.ink for part in tall], classify)
    if all(value >= MIN_CONFIDENCE for value in values):
        return len(values)
    return max(1, sum(value >= MIN_AMONG_OTHERS for value in values)) if len(values) > 2 else 1


def _parts(clean: Gray) -> list[_Part]:
    labels = connected_parts(clean > STROKE_INK)
    parts = []
    for number in range(1, labels.max() + 1):
        y, x = np.nonzero(labels == number)
        top, bottom, left, right = int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1
        own = np.where(labels == number, clean, 0)[top:bottom, left:right]
        parts.append(_Part(top, bottom, left, right, own))
    return parts


def _are_apart(parts: list[_Part], overlap: float) -> bool:
    """Whether each part is beside, or below, each other one."""
    return all(
        max(one.left, other.left) - min(one.right, other.right) >= -overlap
        or max(one.top, other.top) - min(one.bottom, other.bottom) >= -overlap
        for index, one in enumerate(parts)
        for other in parts[:index]
    )


def _halves(ink: Gray) -> list[Gray]:
    """The ink to the left and to the right of the column with the least ink in the middle half."""
    width = ink.shape[1]
    start = width // 4
    cut = start + int(ink[:, start : width - start].sum(axis=0).argmin())
    return [ink[:, :cut], ink[:, cut:]]


def _best_probabilities(inks: list[Gray], classify: Classify) -> list[float]:
    """The probability of the likeliest digit in each ink: 0 where there is too little ink to show one."""
    images = {}
    for number, ink in enumerate(inks):
        with suppress(BlankError):
            images[number] = ink_to_mnist(np.pad(ink, 2))
    best = [0.0] * len(inks)
    if images:
        for number, row in zip(images, classify(np.stack(list(images.values()))), strict=True):
            best[number] = float(row.max())
    return best
