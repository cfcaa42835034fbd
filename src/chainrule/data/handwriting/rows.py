"""Digits for crops: by many writers, in lines or cells, small and large."""

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
    from collections.abc import Callable

    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Box = tuple[int, int, int, int]
    WriteOne = Callable[[float, float], float]  # from x and y to the width of the digit written there

SIDE = 128
"""Height and width of a crop in pixels."""
OVERSAMPLING = 2
"""A crop is drawn this many times as large."""
CANVAS = SIDE * OVERSAMPLING
"""Height and width in pixels of the canvas on which a crop is drawn."""
DRAWN_HEIGHT = 56  # pixels: a writer's digits are drawn at this height, and then scaled
MAX_WRITERS = 1200  # kept for the next crops, since drawing takes longer than scaling
NEW_WRITER = 0.2  # probability, once there are 40
INK_EDGE = 0.2  # of full ink: more counts as ink of the digit, and is inside its box
# Letters and marks of about a digit's size
DISTRACTORS = sorted({*LETTERS, *MARKS} - {"dash", "dot", "comma", "frame", "underline", "blot"})
CanvasContent = tuple["Field", list["Box"], list[int], "tuple[float, float] | None"]
"""Ink, and the boxes and labels of the digits; the height and width of the cells around the digits, or None."""


@dataclass(frozen=True, eq=False)
class Writer:
    """What one writer has drawn with one pen, as ink from 0 to 1: digits, and letters and marks (`others`)."""

    digits: list[tuple[Field, int]]
    others: list[Field]


@dataclass(frozen=True)
class Appearance:
    """How the digits of one crop look.

    Attributes:
        writer: the writer of the digits; None for MNIST's digits.
        aspect, slant, angle: common to all digits, besides each one's own; the angle in radians.
        weight: added to MNIST's ink before its edges are sharpened: more makes strokes wider.
        sharpness: of the edges of MNIST's ink.
        unevenness: how much the pen's pressure varies, from 0 to 1.
    """

    writer: Writer | None
    aspect: float
    slant: float
    angle: float
    weight: float
    sharpness: float
    unevenness: float


class Rows:
    """Writes the digits of crops; its writers are kept from crop to crop.

    Args:
        generator: the only source of randomness.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.images, self.labels = mnist().train_images, mnist().train_labels
        self.writers: list[Writer] = []
        self.oldest = 0

    def nothing(self) -> CanvasContent:
        """Return an empty canvas."""
        return np.zeros((CANVAS, CANVAS), np.float32), [], [], None

    def write(self, height: float) -> CanvasContent:
        """Write digits of about the same height, in pixels of the canvas.

        Returns:
            the ink (CANVAS, CANVAS), the digits' boxes and labels, and the height and width of the cells around the
            digits, or None.
        """
        ink, boxes, labels, _ = self.nothing()
        appearance, variation = self._appearance(), float(self.generator.choice([0.02, 0.06, 0.15]))
        strength = self.generator.uniform(0.75, 1.0)

        def write_one(x: float, y: float) -> float:
            """Write a digit with its left side at x and its middle at height y; return its width."""
            tall = height * math.exp(self.generator.normal(0, variation))
            patch, label = self._digit(appearance, tall)
            left, top = round(x), round(y - patch.shape[0] / 2)
            lay_patch(ink, patch * np.float32(strength), left, top)
            boxes.append((left, top, left + patch.shape[1], top + patch.shape[0]))
            labels.append(label)
            return float(patch.shape[1])

        cells = None
        if self.generator.random() < 0.7:
            self._lines(height, write_one)
        else:
            cells = self._cells(height, write_one)
        if self.generator.random() < 0.12:
            self._another_size(height * math.exp(self.generator.uniform(-1, 1)), ink, boxes, labels)
        return ink, boxes, labels, cells

    def letters(self, generator: np.random.Generator, shape: tuple[int, ...], height: float) -> Field:
        """Return the ink of letters and marks that a writer has drawn."""
        appearance, layer = self._appearance(), np.zeros(shape, np.float32)
        writer = self._writer()
        for _ in range(int(generator.integers(1, 5))):
            x, y = generator.uniform(-0.1, 1) * shape[1], generator.uniform(0, 1) * shape[0]
            for _ in range(int(generator.integers(1, 9))):
                other = writer.others[int(generator.integers(len(writer.others)))]
                scale = height / (DRAWN_HEIGHT + 2) * math.exp(generator.normal(0, 0.1))
                patch = _transform(other, scale * np.array([[appearance.aspect, -appearance.slant], [0, 1]]))
                lay_patch(layer, patch, round(x), round(y - patch.shape[0]))
                x += patch.shape[1] + height * generator.uniform(0, 0.4)
        return layer

    def _lines(self, height: float, write_one: WriteOne) -> None:
        """Write lines: one or several, dense or sparse, level or sloping."""
        generator = self.generator
        gaps, probabilities = (-0.12, -0.04, 0.03, 0.1, 0.25, 0.5, 1.0), (0.07, 0.11, 0.14, 0.25, 0.26, 0.13, 0.04)
        gap = float(generator.choice(gaps, p=probabilities))
        crowded = generator.random() < 0.15  # lines that touch
        pitch = height * (generator.uniform(0.98, 1.25) if crowded else generator.uniform(1.25, 2.5))
        slope, rows = generator.normal(0, 0.06), int(generator.integers(1, 9))
        y = generator.uniform(-0.5, 1) * pitch
        if generator.random() < 0.3:
            y, rows = generator.uniform(0.2, 0.8) * CANVAS, 1
        while y < CANVAS + height and rows:
            x = generator.uniform(-1, 0.5) * height if generator.random() < 0.6 else generator.uniform(0, 0.7) * CANVAS
            usual = gap * generator.uniform(0.7, 1.3)
            end = CANVAS + height if generator.random() < 0.5 else x + generator.uniform(1, 8) * height
            while x < min(end, CANVAS + height):
                width = write_one(x, y + slope * (x - CANVAS / 2) + generator.normal(0, 0.05) * height)
                x += width + height * (usual + abs(generator.normal(0, 0.06)))
                if generator.random() < 0.12:  # a new number
                    x += generator.uniform(0.5, 2) * height
            y += pitch * generator.uniform(0.95, 1.2)
            rows -= 1

    def _cells(self, height: float, write_one: WriteOne) -> tuple[float, float]:
        """Write into some cells of a grid; return the cells' height and width."""
        generator = self.generator
        tall = height * generator.uniform(1.15, 2.5) * (2 if generator.random() < 0.35 else 1)
        wide = tall * generator.uniform(0.7, 1.3)
        share, jitter = generator.uniform(0.2, 1), generator.uniform(0.02, 0.12) * height
        start = generator.uniform(-wide, 0) if generator.random() < 0.5 else 0.0
        for y in np.arange(generator.uniform(0, tall), CANVAS + tall, tall):
            for x in np.arange(start, CANVAS + wide, wide):
                if generator.random() < share:
                    write_one(x + generator.normal(0, jitter) - height * 0.3, y + generator.normal(0, jitter))
        return tall, wide

    def _another_size(self, height: float, ink: Field, boxes: list[Box], labels: list[int]) -> None:
        """Write a row of a few digits of a different size where nothing is written yet."""
        x, y = self.generator.uniform(0, CANVAS, 2)
        appearance, before = self._appearance(), ink.copy()
        for _ in range(int(self.generator.integers(1, 5))):
            patch, label = self._digit(appearance, height)
            left, top = round(x), round(y)
            right, bottom = left + patch.shape[1], top + patch.shape[0]
            if right < CANVAS and bottom < CANVAS and not before[top:bottom, left:right].any():
                lay_patch(ink, patch, left, top)
                boxes.append((left, top, right, bottom))
                labels.append(label)
            x += patch.shape[1] + 0.2 * height

    def _appearance(self) -> Appearance:
        """Return how the digits of a crop look."""
        generator = self.generator
        return Appearance(
            writer=self._writer() if generator.random() < 0.6 else None,
            aspect=math.exp(generator.normal(0, 0.15)),
            slant=generator.normal(0, 0.12),
            angle=generator.normal(0, 0.05),
            weight=generator.uniform(-0.15, 0.25),
            sharpness=generator.uniform(1, 3),
            unevenness=generator.uniform(0, 0.85) if generator.random() < 0.35 else 0.0,
        )

    def _writer(self) -> Writer:
        """Return a new writer or an earlier one."""
        generator = self.generator
        if len(self.writers) >= 40 and generator.random() >= NEW_WRITER:
            return self.writers[int(generator.integers(len(self.writers)))]
        style, pen = random_style(generator), random_pen(generator)

        def drawn(name: str) -> Field:
            ink = render(draw(name, generator, None, style), DRAWN_HEIGHT, pen, generator)
            return np.pad(_trim(ink, INK_EDGE), 1)

        labels = generator.permutation(10)[: int(generator.integers(6, 11))].tolist()
        digits = [(drawn(str(label)), label) for label in labels for _ in range(int(generator.integers(1, 3)))]
        writer = Writer(digits, [drawn(name) for name in generator.choice(DISTRACTORS, 8, replace=False).tolist()])
        if len(self.writers) < MAX_WRITERS:
            self.writers.append(writer)
        else:
            self.writers[self.oldest] = writer
            self.oldest = (self.oldest + 1) % MAX_WRITERS
        return writer

    def _digit(self, appearance: Appearance, height: float) -> tuple[Field, int]:
        """Return a digit's ink (about `height`, width) and its label, from 0 to 9."""
        generator = self.generator
        if appearance.writer is None:
            index = int(generator.integers(len(self.images)))
            label = int(self.labels[index])
            source = np.pad(_trim(self.images[index] / np.float32(255), INK_EDGE), 1)
        else:
            source, label = appearance.writer.digits[int(generator.integers(len(appearance.writer.digits)))]
        scale = height / (source.shape[0] - 2)
        aspect, slant = appearance.aspect * generator.uniform(0.9, 1.1), appearance.slant + generator.normal(0, 0.06)
        angle = appearance.angle + generator.normal(0, 0.06)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        ink = _transform(source, scale * turn @ np.array([[aspect, -slant], [0, 1]]), trim=False)
        if appearance.writer is None:
            gain = max(1.0, min(appearance.sharpness * scale / 2, 20))
            ink = np.clip(0.5 + gain * (ink - 0.45 + appearance.weight + generator.normal(0, 0.02)), 0, 1)
        ink = _trim(np.asarray(ink, np.float32), INK_EDGE)
        if appearance.unevenness:
            field = smooth_noise(generator, (ink.shape[0], ink.shape[1]), max(4, height * generator.uniform(0.2, 0.6)))
            ink = ink * (1 - np.float32(appearance.unevenness) * np.clip(0.5 + 0.6 * field, 0, 1))
        if generator.random() < 0.03:  # a gap in the strokes
            ink = ink.copy()
            y = int(generator.integers(ink.shape[0]))
            ink[y : y + max(1, int(height * generator.uniform(0.02, 0.06)))] *= generator.uniform(0, 0.3)
        return ink, label


def lay_patch(canvas: Field, patch: Field, left: int, top: int) -> None:
    """Draw the part of a patch that is on the canvas: each pixel keeps the darker ink."""
    height, width = patch.shape
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(canvas.shape[0], top + height), min(canvas.shape[1], left + width)
    if y0 < y1 and x0 < x1:
        view = canvas[y0:y1, x0:x1]
        np.maximum(view, patch[y0 - top : y1 - top, x0 - left : x1 - left], out=view)


def _trim(ink: Field, edge: float) -> Field:
    """Crop to the ink above `edge`; unchanged if there is none."""
    rows, columns = np.flatnonzero((ink > edge).any(axis=1)), np.flatnonzero((ink > edge).any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else ink


def _transform(ink: Field, matrix: NDArray[np.float64], *, trim: bool = True) -> Field:
    """Transform ink by a linear map of x and y about its center; the result is cropped if `trim`."""
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
    return _trim(mapped, INK_EDGE) if trim else mapped
