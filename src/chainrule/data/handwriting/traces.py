"""Traces: the path of a pen's tip as short segments, from MNIST's digits or from points.

    from chainrule.data.handwriting.traces import from_strokes, mnist_traces

    one = mnist_traces(train=True, indices=[3, 17])[0]  # the trace of a training digit
    smile = from_strokes([[(0, 0), (0.5, 0.4), (1, 0)]])

A digit's trace has the height 1, so that a pen of any width can write it at any size. MNIST's digits are thinned to the
middle of their strokes (Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", 1984) at twice their
resolution, and smoothed.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.catalog import mnist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Points = NDArray[np.float32]  # (N, 2): x to the right, y down
    Links = NDArray[np.intp]  # (M, 2): pairs of points that are connected

ZOOM = 2  # MNIST's digits are thinned at this multiple of their resolution
STROKE_THRESHOLD = 120  # of 255: brighter pixels belong to a stroke
# (down, across), clockwise from the pixel above
NEIGHBORS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
SMOOTHINGS = 3  # rounds in which each point moves toward its neighbors


@dataclass(frozen=True, eq=False)
class Trace:
    """The middle line of a written character.

    Attributes:
        label: the digit, or -1 for any other mark.
        points: (N, 2), x and y; digits span y from 0 to 1, and x from 0.
        links: (M, 2), the pairs of points that are connected.
        width: (N,), the width of the writer's stroke at each point relative to its mean.
        pressure: (N,), of the pen at each point, from 0 to 1.
    """

    label: int
    points: Points
    links: Links
    width: NDArray[np.float32]
    pressure: NDArray[np.float32]

    def reshape(self, matrix: NDArray[np.floating], bend: float = 0.0, phase: float = 0.0) -> Trace:
        """Apply a linear map (2, 2), bend the result by a sine wave, and make a digit's height 1 again."""
        points = self.points @ np.asarray(matrix, np.float32).T
        x, y = points.T
        bent = np.stack([x + bend * np.sin(4 * y + phase), y + bend * np.sin(4 * x + 2 * phase)], axis=1)
        if self.label >= 0:
            bent -= bent.min(axis=0)
            bent /= max(np.ptp(bent[:, 1]), 1e-3)
        return replace(self, points=bent.astype(np.float32))


def from_strokes(
    strokes: Sequence[Sequence[tuple[float, float]] | NDArray[np.floating]],
    label: int = -1,
    pressure: NDArray[np.floating] | None = None,
) -> Trace:
    """Return the trace of strokes, each a sequence of points (x, y) that are connected in order.

    `pressure` holds the pressure at all points, stroke by stroke; it is 1 by default.
    """
    points = [np.asarray(stroke, np.float32).reshape(-1, 2) for stroke in strokes]
    starts = np.cumsum([0, *(len(stroke) for stroke in points)])
    links = [
        np.stack([np.arange(start, stop - 1), np.arange(start + 1, stop)], axis=1)
        for start, stop in itertools.pairwise(starts)
    ]
    merged = np.concatenate(points)
    ones = np.ones(len(merged), np.float32)
    return Trace(label, merged, np.concatenate(links), ones, ones if pressure is None else pressure.astype(np.float32))


def curve(points: Sequence[tuple[float, float]], steps: int = 8) -> Points:
    """Return a smooth line through points: a Catmull-Rom spline with `steps` segments between neighbors."""
    p = np.asarray(points, np.float32)
    if len(p) < 3:
        return p
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.arange(steps, dtype=np.float32)[:, None] / steps
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))  # each (segments, 1, 2)
    spline = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([spline.reshape(-1, 2), p[-2:-1]]).astype(np.float32)


def mnist_traces(*, train: bool, indices: Sequence[int] | NDArray[np.integer]) -> list[Trace]:
    """Return the traces of MNIST's digits at these indices of the training images, or of the test images."""
    images, labels = _mnist(train)
    chosen = np.asarray(indices, np.intp)
    masks = np.stack([_enlarged(image) > STROKE_THRESHOLD for image in images[chosen]])  # (N, 56, 56)
    skeletons = thin(masks)
    return [
        _trace(int(label), mask, skeleton)
        for label, mask, skeleton in zip(labels[chosen], masks, skeletons, strict=True)
    ]


@functools.cache
def _mnist(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    data = mnist()
    return (data.train_images, data.train_labels) if train else (data.test_images, data.test_labels)


def mnist_size(*, train: bool) -> int:
    """Return the number of digits of the training images, or of the test images."""
    return len(_mnist(train)[1])


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image  # imported on first use

    side = ZOOM * image.shape[0]
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _trace(label: int, mask: NDArray[np.bool_], skeleton: NDArray[np.bool_]) -> Trace:
    """Return the smoothed middle line of a thinned digit."""
    from scipy import ndimage  # slow to import

    rows, columns = np.nonzero(skeleton)
    point_index = np.full(skeleton.shape, -1)
    point_index[rows, columns] = np.arange(len(rows))
    links = []
    padded = np.pad(point_index, 1, constant_values=-1)
    inside = padded[1:-1, 1:-1]
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = padded[1 + down : padded.shape[0] - 1 + down, 1 + across : padded.shape[1] - 1 + across]
        both = (inside >= 0) & (other >= 0)
        if down and across:  # a diagonal only where no corner pixel connects the two already
            corners = (
                padded[1 + down : padded.shape[0] - 1 + down, 1:-1],
                padded[1:-1, 1 + across :][:, : both.shape[1]],
            )
            both &= (corners[0] < 0) & (corners[1] < 0)
        links.append(np.stack([inside[both], other[both]], axis=1))
    pairs = np.concatenate(links)
    radius = ndimage.distance_transform_edt(mask)[rows, columns]
    values = np.stack([columns, rows, radius], axis=1).astype(np.float32)
    degree = np.bincount(pairs.ravel(), minlength=len(rows))
    for _ in range(SMOOTHINGS):
        total = np.zeros_like(values)
        np.add.at(total, pairs[:, 0], values[pairs[:, 1]])
        np.add.at(total, pairs[:, 1], values[pairs[:, 0]])
        smooth = (values + total) / (1 + degree[:, None])
        values = np.where(degree[:, None] > 1, smooth, values)  # the ends stay where they are
    points, radius = values[:, :2], values[:, 2]
    points = points - points.min(axis=0)
    scale = max(float(np.ptp(points[:, 1])), 1.0)
    width = radius / max(float(radius.mean()), 0.5)
    return Trace(label, points / np.float32(scale), pairs, width, np.ones(len(points), np.float32))


def thin(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin masks (N, height, width) to lines of one pixel, in parallel (Zhang and Suen 1984)."""
    removable = _removable()
    thinned = np.pad(masks, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    inside = thinned[:, 1:-1, 1:-1]
    while True:
        changed = False
        for table in removable:
            neighborhood = np.zeros_like(inside)  # the eight neighbors as bits, in the order of `NEIGHBORS`
            for bit, (down, across) in enumerate(NEIGHBORS):
                rows = slice(1 + down, thinned.shape[1] - 1 + down)
                columns = slice(1 + across, thinned.shape[2] - 1 + across)
                neighborhood |= thinned[:, rows, columns] << bit
            remove = table[neighborhood] & (inside > 0)
            changed |= bool(remove.any())
            inside[remove] = 0
        if not changed:
            return inside.astype(bool)


@functools.cache
def _removable() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for each of the two passes and each neighborhood (256,), whether a pixel is removed."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # (256, 8)
    count = bits.sum(axis=1)
    rises = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    up, right, down, left = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    simple = (count >= 2) & (count <= 6) & (rises == 1)
    first = simple & (up * right * down == 0) & (right * down * left == 0)
    second = simple & (up * right * left == 0) & (up * down * left == 0)
    return first, second
