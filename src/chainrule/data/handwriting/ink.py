"""Ink: the mark of a pen along a trace, as coverage and darkness of each pixel.

The tip's pressure varies along a stroke, and with its direction; a ball pen skips, a pencil and chalk leave grain, a
marker bleeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data.handwriting.traces import Trace

    Gray = NDArray[np.float32]

MAX_DISTANCE_HEIGHT = 150  # pixels: distances to larger traces are computed at this height and enlarged


@dataclass(frozen=True)
class InkStyle:
    """A pen.

    Attributes:
        color: red, green and blue of full ink, from 0 to 1.
        width: of the stroke, relative to a digit's height.
        opacity: of full ink, from 0 to 1.
        pressure: how much the opacity varies along a stroke, from 0 (not) to 1 (down to nothing).
        direction: how much fainter sideways strokes are than downstrokes, from 0 to 1.
        swell: how much the width varies with pressure, from 0 to 1.
        natural: how much of the variation in the trace's own width is kept, from 0 to 1.
        nib: how much thinner sideways strokes are, as with a broad nib, from 0 to 1.
        skips: roughly the fraction of a stroke that a ball pen leaves out.
        grain: the amount of the paper's grain in the ink.
        softness: the width of the stroke's edge in pixels.
        is_opaque: whether the color covers the paper, like chalk, and does not filter its light, like ink.
        jitter: how far the line strays, relative to a digit's height, as with a mouse.
    """

    color: tuple[float, float, float]
    width: float = 0.08
    opacity: float = 1.0
    pressure: float = 0.0
    direction: float = 0.0
    swell: float = 0.0
    natural: float = 0.5
    nib: float = 0.0
    skips: float = 0.0
    grain: float = 0.0
    softness: float = 1.0
    is_opaque: bool = False
    jitter: float = 0.0


@dataclass(frozen=True, eq=False)
class Ink:
    """The ink of a trace in a window of the sheet.

    Attributes:
        left, top: the window's position in pixels, relative to the trace's origin.
        coverage: (height, width), the stroke's shape: 1 inside, 0 outside.
        darkness: (height, width), the ink's opacity there, from 0 to 1.
    """

    left: int
    top: int
    coverage: Gray
    darkness: Gray

    def outline(self) -> NDArray[np.float64]:
        """Return the corners (N, 2) of the first and last covered pixel of each row; empty if nothing is covered."""
        covered = self.coverage >= 0.5
        rows = np.flatnonzero(covered.any(axis=1))
        first = covered[rows].argmax(axis=1)
        last = covered.shape[1] - covered[rows, ::-1].argmax(axis=1)
        corners = [(x, rows + down) for x in (first, last) for down in (0, 1)]
        points = np.concatenate([np.stack(corner, axis=1) for corner in corners])
        return np.asarray(points + np.array([self.left, self.top], float))


def draw_ink(
    trace: Trace, pen: InkStyle, size: float, generator: np.random.Generator, offset: tuple[float, float]
) -> Ink:
    """Write a trace.

    Args:
        trace: the trace to write.
        pen: the pen.
        size: the height of a digit in pixels.
        generator: the source of randomness.
        offset: the fractions of a pixel, from 0 to 1, right and down, by which the trace is shifted.
    """
    reduction = max(1.0, size / MAX_DISTANCE_HEIGHT)  # distances are computed at 1/reduction of the size
    scale = size / reduction
    radius = 0.5 * pen.width * scale
    samples, pressure, relative = _sample(trace, pen, scale, generator)
    samples = samples + np.asarray(offset, np.float32) / np.float32(reduction)
    margin = math.ceil(1.6 * radius + pen.softness / reduction + 2)
    start = np.floor(samples.min(axis=0)).astype(int) - margin
    stop = np.ceil(samples.max(axis=0)).astype(int) + margin + 1
    shape = int(stop[1] - start[1]), int(stop[0] - start[0])
    distance, nearest = _distances(samples - start.astype(np.float32), shape)
    signed = (distance - radius * relative[nearest]) * np.float32(reduction)  # pixels from the stroke's edge
    darkness = pressure[nearest]
    if reduction > 1:
        large = round(shape[0] * reduction), round(shape[1] * reduction)
        signed, darkness = (np.asarray(resize(values, large, "BILINEAR"), np.float32) for values in (signed, darkness))
    coverage = np.clip(0.5 - signed / np.float32(max(pen.softness, 1e-3)), 0, 1).astype(np.float32)
    return Ink(round(float(start[0]) * reduction), round(float(start[1]) * reduction), coverage, darkness)


def _sample(
    trace: Trace, pen: InkStyle, scale: float, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return points along a trace less than a pixel apart (N, 2), the opacity and the relative width there (N,)."""
    ends = trace.points[trace.links]  # (M, 2, 2)
    step = ends[:, 1] - ends[:, 0]
    length = np.hypot(*step.T)
    per_link = max(2, math.ceil(float(length.max(initial=0)) * scale / 0.6))
    t = (np.arange(per_link, dtype=np.float32) / per_link)[:, None]
    samples = (ends[:, :1] + t * step[:, None]).reshape(-1, 2)  # (M · per_link, 2)
    tangent = _tangents(trace, step)  # (points, 2)
    cosine = np.abs(tangent[trace.links[:, :1]] * (1 - t) + tangent[trace.links[:, 1:]] * t).reshape(-1, 2)
    upright = cosine[:, 1]
    natural, pressed = (
        (values[trace.links[:, :1]] * (1 - t.T) + values[trace.links[:, 1:]] * t.T).reshape(-1)
        for values in (trace.width, trace.pressure)
    )
    if pen.jitter:
        stray = np.stack([_waves(4 * samples, generator), _waves(4 * samples, generator)], axis=1) - np.float32(0.5)
        samples = samples + np.float32(2 * pen.jitter) * stray
    wave = np.maximum(_waves(samples, generator), 1 - pressed)
    opacity = pen.opacity * (1 - pen.pressure * wave) * (1 - pen.direction * (1 - upright))
    if pen.skips:
        opacity = opacity * np.clip((_waves(3 * samples, generator) - pen.skips) / 0.04, 0.12, 1)
    width = (1 + pen.natural * (natural - 1)) * (1 + pen.swell * (0.5 - wave))
    if pen.nib:
        width = width * (1 - pen.nib * (1 - upright))
    return (samples * np.float32(scale)).astype(np.float32), opacity.astype(np.float32), width.astype(np.float32)


def _tangents(trace: Trace, step: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the direction of the stroke at each point (N, 2), of length 1; its sign is arbitrary."""
    doubled = np.arctan2(step[:, 1], step[:, 0]) * 2  # so that opposite directions are equal
    total = np.zeros((len(trace.points), 2), np.float32)
    for end in (0, 1):
        np.add.at(total, trace.links[:, end], np.stack([np.cos(doubled), np.sin(doubled)], axis=1))
    angle = np.arctan2(total[:, 1], total[:, 0]) / 2
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _waves(points: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """Return a smooth random value from 0 to 1 at each point (N, 2): a sum of sines."""
    waves = generator.normal(0, 4, (2, 4)).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, 4).astype(np.float32)
    return np.asarray(0.5 + 0.5 * np.clip(np.sin(points @ waves + phases).sum(axis=1) / 2.2, -1, 1), np.float32)


def _distances(samples: NDArray[np.float32], shape: tuple[int, int]) -> tuple[Gray, NDArray[np.intp]]:
    """Return, for each pixel's center, the distance to the nearest sample and the sample's index."""
    from scipy import ndimage  # slow to import

    owner = np.full(shape, -1)
    x, y = np.floor(samples).astype(int).T
    owner[y, x] = np.arange(len(samples))
    rows, columns = ndimage.distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    nearest = owner[rows, columns]
    position = samples[nearest]  # (height, width, 2)
    down = np.arange(shape[0], dtype=np.float32)[:, None] + np.float32(0.5) - position[..., 1]
    across = np.arange(shape[1], dtype=np.float32) + np.float32(0.5) - position[..., 0]
    return np.hypot(down, across), nearest
