"""Rows of digits for crops: many writers' hands, in lines, cells or at random, small and large."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.catalog import mnist
from chainrule.data.handwriting.letters import LETTERS
from chainrule.data.handwriting.marks import MARKS
from chainrule.data.handwriting.pen import random_pen, render
from chainrule.data.handwriting.sheet import smooth_noise
from chainrule.data.handwriting.strokes import draw, random_style
from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Box = tuple[int, int, int, int]

SIDE, FINE = 128, 2  # pixels of a crop; it is drawn FINE times as large
CANVAS = SIDE * FINE
DRAWN_HEIGHT = 56  # pixels: the height at which a writer's digits are drawn; they are scaled from there
MAX_WRITERS = 1200  # writers remembered, since drawing takes longer than scaling
NEW_WRITER = 0.2  # probability
EDGE = 0.2  # of full ink: what counts as a digit's ink for its box
WITHOUT_MEANING = sorted({*LETTERS, *MARKS} - {"dash", "dot", "comma", "frame", "underline", "blot"})
Written = tuple["Field", list["Box"], list[int], "tuple[float, float] | None"]


@dataclass(frozen=True, eq=False)
class Writer:
    """Digits drawn from strokes with one pen, and what is no digit, as ink from 0 to 1."""

    digits: list[tuple[Field, int]]
    others: list[Field]


@dataclass(frozen=True)
class Hand:
    """How the digits of one crop look.

    Attributes:
        writer: whose digits they are; None for MNIST's.
        aspect, slant, angle: of all of them, beside their own; the angle in radians.
        weight: added to MNIST's ink before its edges are sharpened: the strokes' width.
        sharpness: of the edges of MNIST's ink.
        uneven: how much the pen's pressure varies, from 0 to 1.
    """

    writer: Writer | None
    aspect: float
    slant: float
    angle: float
    weight: float
    sharpness: float
    uneven: float


class Rows:
    """Writes digits.

    Args:
        random: the only source of randomness.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.images, self.labels = mnist().train_images, mnist().train_labels
        self.writers: list[Writer] = []
        self.oldest = 0

    def nothing(self) -> Written:
        """Return an empty canvas."""
        return np.zeros((CANVAS, CANVAS), np.float32), [], [], None

    def write(self, height: float) -> Written:
        """Write digits of about a height, in pixels of the canvas.

        Returns:
            the ink (CANVAS, CANVAS), the digits' boxes and labels, and the height and width of the cells that they
            stand in, or None.
        """
        ink, boxes, labels, _ = self.nothing()
        hand, variation = self._hand(), float(self.random.choice([0.02, 0.06, 0.15]))
        strength = self.random.uniform(0.75, 1.0)

        def write_one(x: float, y: float) -> float:
            """Write a digit with its left side at x and its center at y; returns its width."""
            tall = height * math.exp(self.random.normal(0, variation))
            patch, label = self._digit(hand, tall)
            left, top = round(x), round(y - patch.shape[0] / 2)
            lay_patch(ink, patch * np.float32(strength), left, top)
            boxes.append((left, top, left + patch.shape[1], top + patch.shape[0]))
            labels.append(label)
            return float(patch.shape[1])

        cells = None
        if self.random.random() < 0.7:
            self._lines(height, write_one)
        else:
            cells = self._cells(height, write_one)
        if self.random.random() < 0.12:
            self._another_size(height * math.exp(self.random.uniform(-1, 1)), ink, boxes, labels)
        return ink, boxes, labels, cells

    def letters(self, random: np.random.Generator, shape: tuple[int, ...], height: float) -> Field:
        """Return the ink of letters and marks that a writer has drawn."""
        hand, layer = self._hand(), np.zeros(shape, np.float32)
        writer = self._writer()
        for _ in range(int(random.integers(1, 5))):
            x, y = random.uniform(-0.1, 1) * shape[1], random.uniform(0, 1) * shape[0]
            for _ in range(int(random.integers(1, 9))):
                other = writer.others[int(random.integers(len(writer.others)))]
                scale = height / (DRAWN_HEIGHT + 2) * math.exp(random.normal(0, 0.1))
                patch = _transform(other, scale * np.array([[hand.aspect, -hand.slant], [0, 1]]))
                lay_patch(layer, patch, round(x), round(y - patch.shape[0]))
                x += patch.shape[1] + height * random.uniform(0, 0.4)
        return layer

    def _lines(self, height: float, write_one: WriteOne) -> None:
        """Write lines: one or several, dense or sparse, level or sloping."""
        random = self.random
        gaps, often = (-0.12, -0.04, 0.03, 0.1, 0.25, 0.5, 1.0), (0.07, 0.11, 0.14, 0.25, 0.26, 0.13, 0.04)
        gap = float(random.choice(gaps, p=often))
        crowded = random.random() < 0.15  # lines that touch
        pitch = height * (random.uniform(0.98, 1.25) if crowded else random.uniform(1.25, 2.5))
        slope, rows = random.normal(0, 0.06), int(random.integers(1, 9))
        y = random.uniform(-0.5, 1) * pitch
        if random.random() < 0.3:
            y, rows = random.uniform(0.2, 0.8) * CANVAS, 1
        while y < CANVAS + height and rows:
            x = random.uniform(-1, 0.5) * height if random.random() < 0.6 else random.uniform(0, 0.7) * CANVAS
            usual = gap * random.uniform(0.7, 1.3)
            end = CANVAS + height if random.random() < 0.5 else x + random.uniform(1, 8) * height
            while x < min(end, CANVAS + height):
                width = write_one(x, y + slope * (x - CANVAS / 2) + random.normal(0, 0.05) * height)
                x += width + height * (usual + abs(random.normal(0, 0.06)))
                if random.random() < 0.12:  # a new number
                    x += random.uniform(0.5, 2) * height
            y += pitch * random.uniform(0.95, 1.2)
            rows -= 1

    def _cells(self, height: float, write_one: WriteOne) -> tuple[float, float]:
        """Write into some cells of a grid; returns the cells' height and width."""
        random = self.random
        tall = height * random.uniform(1.15, 2.5) * (2 if random.random() < 0.35 else 1)
        wide = tall * random.uniform(0.7, 1.3)
        share, jitter = random.uniform(0.2, 1), random.uniform(0.02, 0.12) * height
        start = random.uniform(-wide, 0) if random.random() < 0.5 else 0.0
        for y in np.arange(random.uniform(0, tall), CANVAS + tall, tall):
            for x in np.arange(start, CANVAS + wide, wide):
                if random.random() < share:
                    write_one(x + random.normal(0, jitter) - height * 0.3, y + random.normal(0, jitter))
        return tall, wide

    def _another_size(self, height: float, ink: Field, boxes: list[Box], labels: list[int]) -> None:
        """Write a row of a few digits of another size where nothing is written yet."""
        x, y = self.random.uniform(0, CANVAS, 2)
        hand, before = self._hand(), ink.copy()
        for _ in range(int(self.random.integers(1, 5))):
            patch, label = self._digit(hand, height)
            left, top = round(x), round(y)
            right, bottom = left + patch.shape[1], top + patch.shape[0]
            if right < CANVAS and bottom < CANVAS and not before[top:bottom, left:right].any():
                lay_patch(ink, patch, left, top)
                boxes.append((left, top, right, bottom))
                labels.append(label)
            x += patch.shape[1] + 0.2 * height

    def _hand(self) -> Hand:
        """Return how the digits of a crop look."""
        random = self.random
        return Hand(
            writer=self._writer() if random.random() < 0.6 else None,
            aspect=math.exp(random.normal(0, 0.15)),
            slant=random.normal(0, 0.12),
            angle=random.normal(0, 0.05),
            weight=random.uniform(-0.15, 0.25),
            sharpness=random.uniform(1, 3),
            uneven=random.uniform(0, 0.85) if random.random() < 0.35 else 0.0,
        )

    def _writer(self) -> Writer:
        """Return a new writer, or one of those before."""
        random = self.random
        if len(self.writers) >= 40 and random.random() >= NEW_WRITER:
            return self.writers[int(random.integers(len(self.writers)))]
        style, pen = random_style(random), random_pen(random)

        def drawn(name: str) -> Field:
            ink = render(draw(name, random, None, style), DRAWN_HEIGHT, pen, random)
            return np.pad(_trim(ink, EDGE), 1)

        labels = random.permutation(10)[: int(random.integers(6, 11))].tolist()
        digits = [(drawn(str(label)), label) for label in labels for _ in range(int(random.integers(1, 3)))]
        writer = Writer(digits, [drawn(name) for name in random.choice(WITHOUT_MEANING, 8, replace=False).tolist()])
        if len(self.writers) < MAX_WRITERS:
            self.writers.append(writer)
        else:
            self.writers[self.oldest] = writer
            self.oldest = (self.oldest + 1) % MAX_WRITERS
        return writer

    def _digit(self, hand: Hand, height: float) -> tuple[Field, int]:
        """Return a digit's ink (about `height`, width) and its label."""
        random = self.random
        if hand.writer is None:
            index = int(random.integers(len(self.images)))
            label = int(self.labels[index])
            source = np.pad(_trim(self.images[index] / np.float32(255), EDGE), 1)
        else:
            source, label = hand.writer.digits[int(random.integers(len(hand.writer.digits)))]
        scale = height / (source.shape[0] - 2)
        aspect, slant = hand.aspect * random.uniform(0.9, 1.1), hand.slant + random.normal(0, 0.06)
        angle = hand.angle + random.normal(0, 0.06)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        ink = _transform(source, scale * turn @ np.array([[aspect, -slant], [0, 1]]), trim=False)
        if hand.writer is None:
            gain = max(1.0, min(hand.sharpness * scale / 2, 20))
            ink = np.clip(0.5 + gain * (ink - 0.45 + hand.weight + random.normal(0, 0.02)), 0, 1)
        ink = _trim(np.asarray(ink, np.float32), EDGE)
        if hand.uneven:
            field = smooth_noise(random, (ink.shape[0], ink.shape[1]), max(4, height * random.uniform(0.2, 0.6)))
            ink = ink * (1 - np.float32(hand.uneven) * np.clip(0.5 + 0.6 * field, 0, 1))
        if random.random() < 0.03:  # a gap in the strokes
            ink = ink.copy()
            y = int(random.integers(ink.shape[0]))
            ink[y : y + max(1, int(height * random.uniform(0.02, 0.06)))] *= random.uniform(0, 0.3)
        return ink, label


if TYPE_CHECKING:
    from collections.abc import Callable

    WriteOne = Callable[[float, float], float]


def lay_patch(canvas: Field, patch: Field, left: int, top: int) -> None:
    """Lay a patch's ink on the canvas, where it is within: the darker ink stays."""
    height, width = patch.shape
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(canvas.shape[0], top + height), min(canvas.shape[1], left + width)
    if y0 < y1 and x0 < x1:
        view = canvas[y0:y1, x0:x1]
        np.maximum(view, patch[y0 - top : y1 - top, x0 - left : x1 - left], out=view)


def _trim(ink: Field, edge: float) -> Field:
    """Cut to the ink above a value; unchanged if there is none."""
    rows, columns = np.flatnonzero((ink > edge).any(axis=1)), np.flatnonzero((ink > edge).any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else ink


def _transform(ink: Field, matrix: NDArray[np.float64], *, trim: bool = True) -> Field:
    """Map ink by a linear map of x and y about its center."""
    from PIL import Image  # imported on first use

    scale = math.sqrt(abs(float(np.linalg.det(matrix))))
    if scale < 0.6:  # average down first: interpolation would skip pixels
        height, width = ink.shape
        small = max(2, round(1.2 * scale * height)), max(2, round(1.2 * scale * width))
        matrix = matrix @ np.diag([width / small[1], height / small[0]])
        ink = np.asarray(resize(ink, small), np.float32)
    height, width = ink.shape
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2 @ matrix.T
    wide, tall = (math.ceil(side) + 2 for side in np.ptp(corners, axis=0).tolist())
    back = np.linalg.inv(matrix)
    offset = np.array([width / 2, height / 2]) - back @ np.array([wide / 2, tall / 2])
    data = (*back[0].tolist(), float(offset[0]), *back[1].tolist(), float(offset[1]))
    image = Image.fromarray(ink).transform((wide, tall), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    mapped = np.clip(np.asarray(image), 0, 1).astype(np.float32)
    return _trim(mapped, EDGE) if trim else mapped
