"""Images of drawn characters in MNIST's format: digits, non-digits, and digits damaged as by a photo.

They are scaled and centered as `chainrule read` does it (`images.steps.ink_to_mnist`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.letters import LETTERS
from chainrule.data.handwriting.marks import MARKS
from chainrule.data.handwriting.pen import random_pen, render
from chainrule.data.handwriting.strokes import draw
from chainrule.images.raster import resize
from chainrule.images.steps import ink_to_mnist

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Ink = NDArray[np.float32]
    Images = NDArray[np.uint8]

RARE = (
    ("0", "open"),
    ("1", "upstroke"),
    ("1", "upstroke"),
    ("1", "base"),
    ("1", "upstroke-base"),
    ("4", "triangular"),
    ("7", "crossed"),
    ("7", "serif-crossed"),
    ("9", "german"),
    ("9", "german"),
)
"""Ways to write a digit that MNIST has few examples of; some count twice."""

WITHOUT_SIZE = ("comma", "dot")
"""Marks recognizable only by their size: scaled to 20×20 pixels, a comma looks like a 1 and a dot like a filled 0."""


def drawn_digits(
    count: int, generator: np.random.Generator, *, rare: float = 0.35, damaged: float = 0.0
) -> tuple[Images, NDArray[np.uint8]]:
    """Draw digits, each by a new writer with a new pen.

    Args:
        count: how many, N.
        generator: the only source of randomness.
        rare: the probability that a digit is one of `RARE`.
        damaged: the probability that a digit is changed by `damage`.

    Returns:
        images, uint8 (N, 28, 28), and labels, uint8 (N,).
    """
    images, labels = np.empty((count, 28, 28), np.uint8), np.empty(count, np.uint8)
    for i in range(count):
        label, variant = str(generator.integers(10)), None
        if generator.random() < rare:
            label, variant = RARE[generator.integers(len(RARE))]
        images[i] = draw_image(label, generator, variant, damaged=bool(generator.random() < damaged))
        labels[i] = int(label)
    return images, labels


def draw_image(
    label: str, generator: np.random.Generator, variant: str | None = None, *, damaged: bool = False
) -> Images:
    """Draw a character in MNIST's format, (28, 28), by a new writer with a new pen.

    Raises:
        ValueError: there is no such character or variant.
    """
    ink = _drawn_ink(label, generator, variant)
    return to_image(damage(ink, generator) if damaged else ink)


def damaged_digits(images: Images, generator: np.random.Generator) -> Images:
    """Return images of digits, uint8 (N, 28, 28), as a photo of each might leave it: see `damage`.

    Raises:
        ValueError: an image is blank.
    """
    damaged = np.empty_like(images)
    for i, image in enumerate(images):
        if not image.any():
            raise ValueError(f"damaged_digits: image {i} is blank")
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        ink = resize(np.ascontiguousarray(digit), (3 * digit.shape[0], 3 * digit.shape[1]), "BICUBIC") / 255
        damaged[i] = to_image(damage(np.clip(ink, 0, 1).astype(np.float32), generator))
    return damaged


def non_digits(count: int, generator: np.random.Generator, *, damaged: float = 0.2) -> Images:
    """Draw images without a single digit, (N, 28, 28): letters, marks, pairs of digits, shapeless spots.

    Args:
        count: how many, N.
        generator: the only source of randomness.
        damaged: the probability that an image is changed by `damage`.
    """
    images = np.empty((count, 28, 28), np.uint8)
    letters, marks = list(LETTERS), [mark for mark in MARKS if mark not in WITHOUT_SIZE]
    for i in range(count):
        kind = generator.random()
        if kind < 0.45:
            ink = _drawn_ink(letters[generator.integers(len(letters))], generator)
        elif kind < 0.8:
            ink = _drawn_ink(marks[generator.integers(len(marks))], generator)
        elif kind < 0.92:
            ink = _two_digits(generator)
        else:
            ink = _spot(generator)
        images[i] = to_image(damage(ink, generator) if generator.random() < damaged else ink)
    return images


def to_image(ink: Ink) -> Images:
    """Scale and center ink, (h, w), as `chainrule read` does: (28, 28)."""
    return ink_to_mnist(np.clip(ink / max(float(ink.max()), 1e-3), 0, 1))


def damage(ink: Ink, generator: np.random.Generator) -> Ink:
    """Change ink, (h, w), as cameras, paper and the first steps of `chainrule read` do.

    Each change is made with a probability of its own: a different aspect ratio, a lower resolution, noise, a threshold
    that cuts faint parts away or makes edges hard, specks, the remains of a neighbor at the side or of a ruled line
    below or across, or the gap that the removal of such a line leaves.
    """
    changes: tuple[tuple[float, Callable[[Ink, np.random.Generator], Ink]], ...] = (
        (0.3, _stretch),
        (0.08, _rule),
        (0.08, _gap),
        (0.08, _neighbor),
        (0.3, _lower_resolution),
        (0.2, _noise),
        (0.5, _threshold),
        (0.06, _specks),
    )
    for probability, change in changes:
        if generator.random() < probability:
            changed = change(ink, generator)
            ink = changed if changed.max() > 0.35 else ink  # a change may leave nothing
    return ink


def _drawn_ink(label: str, generator: np.random.Generator, variant: str | None = None) -> Ink:
    """Draw a character by a new writer with a new pen; the darkest ink is 1."""
    height = float(np.exp(generator.uniform(np.log(18), np.log(90))))
    ink = render(draw(label, generator, variant), height, random_pen(generator), generator)
    return np.asarray(ink / max(float(ink.max()), 1e-3), np.float32)


def _two_digits(generator: np.random.Generator) -> Ink:
    """Draw two digits side by side, which may touch."""
    pen, height = random_pen(generator), float(generator.uniform(24, 60))
    left, right = (render(draw(str(generator.integers(10)), generator), height, pen, generator) for _ in range(2))
    return _beside(left, right, round(float(generator.uniform(-0.12, 0.15)) * height))


def _beside(left: Ink, right: Ink, gap: int) -> Ink:
    """Put two pieces of ink side by side, centered vertically; a negative gap lets them overlap."""
    height, start = max(len(left), len(right)), max(0, left.shape[1] + gap)
    both = np.zeros((height, max(left.shape[1], start + right.shape[1])), np.float32)
    for piece, column in ((left, 0), (right, start)):
        top = (height - len(piece)) // 2
        area = both[top : top + len(piece), column : column + piece.shape[1]]
        np.maximum(area, piece, out=area)
    return both


def _spot(generator: np.random.Generator) -> Ink:
    """Draw shapeless spots: smooth noise above a threshold, mostly within the middle."""
    cells = int(generator.integers(3, 9))
    noise = np.asarray(resize(generator.standard_normal((cells, cells), np.float32), (48, 48), "BICUBIC"), np.float32)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    noise = noise - np.float32(2.5) * np.asarray((x**2 + y**2) ** 2, np.float32)
    level = np.float32(np.quantile(noise, generator.uniform(0.55, 0.9)))
    return np.asarray(np.clip(4 * (noise - level), 0, 1), np.float32)


def _stretch(ink: Ink, generator: np.random.Generator) -> Ink:
    """Change the aspect ratio."""
    factor = np.exp(generator.normal(0, 0.15))
    height, width = (max(2, round(side * f)) for side, f in zip(ink.shape, (factor, 1 / factor), strict=True))
    return np.asarray(np.clip(resize(ink, (height, width), "BILINEAR"), 0, 1), np.float32)


def _rule(ink: Ink, generator: np.random.Generator) -> Ink:
    """Add the remains of a ruled line in the lower half, at most as long as the digit is wide."""
    height, width = ink.shape
    ink = np.pad(ink, ((0, max(1, height // 20)), (0, 0)))
    thick = max(1, round(height * generator.uniform(0.015, 0.05)))
    row = round((height - thick) * generator.uniform(0.55, 1.0))
    first, last = sorted(round(width * generator.uniform(0.0, 1.0)) for _ in range(2))
    area = ink[row : row + thick, first : last + 1]
    np.maximum(area, np.float32(generator.uniform(0.35, 1.0)), out=area)
    return ink


def _gap(ink: Ink, generator: np.random.Generator) -> Ink:
    """Fade a horizontal line, as where a ruled line was removed."""
    ink, height = ink.copy(), len(ink)
    row, thick = round(height * generator.uniform(0.15, 0.85)), max(1, round(height * generator.uniform(0.02, 0.06)))
    ink[row : row + thick] *= np.float32(generator.uniform(0.0, 0.3))
    return ink


def _neighbor(ink: Ink, generator: np.random.Generator) -> Ink:
    """Add a strip of a different digit at one side."""
    height, width = ink.shape
    other = render(draw(str(generator.integers(10)), generator), max(4, 0.9 * height), random_pen(generator), generator)
    strip = max(1, round(width * generator.uniform(0.05, 0.2)))
    gap = round(width * generator.uniform(0.02, 0.15))
    if generator.random() < 0.5:
        return _beside(other[:, -strip:], ink, gap)
    return _beside(ink, other[:, :strip], gap)


def _lower_resolution(ink: Ink, generator: np.random.Generator) -> Ink:
    """Scale down to a height of 12 to 25 pixels and back."""
    height = int(generator.integers(12, 26))
    width = max(2, round(ink.shape[1] * height / len(ink)))
    small = resize(ink, (height, width), "BOX" if height < len(ink) else "BILINEAR")
    return np.asarray(np.clip(resize(small, ink.shape, "BILINEAR"), 0, 1), np.float32)


def _noise(ink: Ink, generator: np.random.Generator) -> Ink:
    """Add noise in proportion to the ink."""
    noise = generator.normal(0, generator.uniform(0.02, 0.12), ink.shape)
    return np.asarray(np.clip(ink * (1 + noise), 0, 1), np.float32)


def _threshold(ink: Ink, generator: np.random.Generator) -> Ink:
    """Apply a threshold with a soft or hard edge."""
    level, hardness = generator.uniform(0.1, 0.5), np.exp(generator.uniform(0, 2.5))
    return np.asarray(np.clip(0.5 + hardness * (ink - level), 0, 1) * (ink > 0.02), np.float32)


def _specks(ink: Ink, generator: np.random.Generator) -> Ink:
    """Add one to three specks of dust."""
    ink = ink.copy()
    size = max(1, round(len(ink) * 0.04))
    for _ in range(int(generator.integers(1, 4))):
        row, column = (int(generator.integers(side)) for side in ink.shape)
        area = ink[row : row + size, column : column + size]
        np.maximum(area, np.float32(generator.uniform(0.35, 1.0)), out=area)
    return ink
