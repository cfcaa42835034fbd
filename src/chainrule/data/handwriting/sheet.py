"""Sheets: paper with its color, grain and print, on which traces are written."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.ink import draw_ink
from chainrule.images.raster import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.data.handwriting.ink import InkStyle
    from chainrule.data.handwriting.traces import Trace

    Colors = NDArray[np.float32]  # (height, width, 3), from 0 to 1
    Color = Sequence[float]
    Extent = tuple[float, float, float, float]  # left, top, right, bottom

TILE = 512  # pixels: the side of the texture of grain, which is repeated


@dataclass(eq=False)
class Mark:
    """A digit on a sheet: its label and the outline (N, 2) of its ink in the sheet's pixels."""

    label: int
    outline: NDArray[np.float64]

    @property
    def extent(self) -> Extent:
        """The tight box of the ink."""
        (left, top), (right, bottom) = self.outline.min(axis=0), self.outline.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


@dataclass(eq=False)
class Sheet:
    """A sheet of paper.

    Attributes:
        colors: (height, width, 3), the light that the sheet reflects, from 0 to 1.
        lines: the digits, line by line.
        ignored: digits that are crossed out, which a reader may read or not.
        occupied: the boxes of everything on the sheet.
    """

    colors: Colors
    lines: list[list[Mark]] = field(default_factory=list)
    ignored: list[Mark] = field(default_factory=list)
    occupied: list[Extent] = field(default_factory=list)

    @property
    def width(self) -> int:
        """The width in pixels."""
        return int(self.colors.shape[1])

    @property
    def height(self) -> int:
        """The height in pixels."""
        return int(self.colors.shape[0])

    def is_free(self, extent: Extent, margin: float = 0.0) -> bool:
        """Return whether a box is inside the sheet with nothing within `margin` pixels of it."""
        left, top, right, bottom = extent
        if min(left, top) < 0 or right > self.width or bottom > self.height:
            return False
        return all(
            left - margin >= other[2]
            or right + margin <= other[0]
            or top - margin >= other[3]
            or bottom + margin <= other[1]
            for other in self.occupied
        )

    def write(
        self, trace: Trace, pen: InkStyle, size: float, x: float, y: float, generator: np.random.Generator
    ) -> Mark | None:
        """Write a trace with its origin at (x, y), and return its mark; None if no part of it is on the sheet."""
        left, top = int(np.floor(x)), int(np.floor(y))
        ink = draw_ink(trace, pen, size, generator, (x - left, y - top))
        outline = ink.outline()
        left, top = left + ink.left, top + ink.top
        height, width = ink.coverage.shape
        rows = slice(max(0, top), min(self.height, top + height))
        columns = slice(max(0, left), min(self.width, left + width))
        if rows.start >= rows.stop or columns.start >= columns.stop or not len(outline):
            return None
        inside = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        amount = ink.coverage[inside] * ink.darkness[inside]
        if pen.grain:
            amount = amount * np.clip(1 + pen.grain * grain(rows, columns), 0, 1.15)
        self.stain(rows, columns, np.minimum(amount, 1), pen.color, is_opaque=pen.is_opaque)
        mark = Mark(trace.label, outline + np.array([int(np.floor(x)), int(np.floor(y))], float))
        self.occupied.append(mark.extent)
        return mark

    def stain(
        self, rows: slice, columns: slice, amount: NDArray[np.float32], color: Color, *, is_opaque: bool = False
    ) -> None:
        """Color a window by an amount (height, width), 0 to 1: filter the paper's light or, if opaque, cover it."""
        window = self.colors[rows, columns]
        tint = np.asarray(color, np.float32)
        if is_opaque:
            window += amount[..., None] * (tint - window)
        else:
            window *= 1 - amount[..., None] * (1 - tint)


@functools.cache
def _grain_tile() -> NDArray[np.float32]:
    from scipy import ndimage  # slow to import

    generator = np.random.default_rng(7)
    fine = ndimage.gaussian_filter(generator.normal(size=(TILE, TILE)), 0.7, mode="wrap")
    coarse = ndimage.gaussian_filter(generator.normal(size=(TILE, TILE)), 2.0, mode="wrap")
    tile = fine / fine.std() + 0.7 * coarse / coarse.std()
    tile /= tile.std()
    return np.asarray(tile, np.float32)


def grain(rows: slice, columns: slice) -> NDArray[np.float32]:
    """Return the paper's grain in a window of the sheet: mean 0, standard deviation 1; it repeats every 512 pixels."""
    y, x = np.arange(rows.start, rows.stop) % TILE, np.arange(columns.start, columns.stop) % TILE
    return np.asarray(_grain_tile()[y[:, None], x])


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int], length: float, octaves: int = 1
) -> NDArray[np.float32]:
    """Return random values (height, width) about 0 that vary smoothly over `length` pixels.

    Each further octave halves the length and the amplitude.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(1.0, length / 2**octave)
        coarse = [max(2, round(side / step) + 1) for side in shape]
        values = generator.standard_normal(coarse).astype(np.float32)
        total += resize(values, shape, "BICUBIC") / np.float32(2**octave)
    return total


def blank(generator: np.random.Generator, shape: tuple[int, int], color: Color, *, rough: float = 0.01) -> Sheet:
    """Return an empty sheet of a color; `rough` is the standard deviation of its grain."""
    height, width = shape
    rows, columns = slice(0, height), slice(0, width)
    texture = np.float32(rough) * grain(rows, columns)
    if generator.random() < 0.5:  # cloudy
        texture += np.float32(rough) * smooth_noise(generator, shape, max(shape) / 5, 3)
    for axis in (0, 1):  # folds
        if generator.random() < 0.1:
            across = np.arange(shape[axis], dtype=np.float32) - np.float32(shape[axis] * generator.uniform(0.2, 0.8))
            fold = (
                np.float32(generator.uniform(0.01, 0.05))
                * np.tanh(across / 3)
                * np.exp(-np.abs(across) / max(shape) / 0.03)
            )
            texture += np.expand_dims(fold, 1 - axis)
    colors = (1 + texture)[..., None] * np.asarray(color, np.float32)
    return Sheet(np.clip(colors, 0, 1, dtype=np.float32))


def rule(
    sheet: Sheet,
    positions: Sequence[float] | NDArray[np.floating],
    *,
    axis: int,
    thickness: float,
    color: Color,
    strength: float,
    span: tuple[float, float] | None = None,
) -> None:
    """Print straight lines: horizontal ones (axis 0) at the rows `positions`, or vertical ones (axis 1) at the columns.

    Args:
        sheet: the sheet.
        positions: the lines' middles in pixels.
        axis: 0 for horizontal lines, 1 for vertical ones.
        thickness: of a line, in pixels.
        color: of the print.
        strength: from 0 (invisible) to 1.
        span: where each line begins and ends, in pixels; None for the whole sheet.
    """
    sides = sheet.height, sheet.width
    other = slice(0, sides[1 - axis])
    if span is not None:
        other = slice(max(0, round(span[0])), min(sides[1 - axis], round(span[1])))
    for position in positions:
        start = max(0, int(position - thickness / 2 - 1))
        stop = min(sides[axis], int(position + thickness / 2 + 2))
        if start >= stop or other.start >= other.stop:
            continue
        centers = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
        amount = np.clip(thickness / 2 + 0.5 - np.abs(centers - position), 0, min(1.0, thickness)) * strength
        window = (slice(start, stop), other) if axis == 0 else (other, slice(start, stop))
        shaped = amount[:, None] if axis == 0 else amount[None]
        sheet.stain(*window, np.asarray(shaped, np.float32), color)
