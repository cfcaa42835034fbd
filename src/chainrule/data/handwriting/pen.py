"""Pens: from a drawing's strokes to ink on paper, as an image.

The strokes are drawn as polygons on a finer canvas and averaged down. Where strokes cross, the darker one wins: the
pieces are drawn in order of darkness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data.handwriting.strokes import Drawing

Kind = Literal["ball", "pencil", "marker", "brush", "chisel", "fiber"]
MIN_CANVAS_HEIGHT = 192
"""The height in pixels that a digit has at least on the finer canvas, as far as `MAX_OVERSAMPLING` allows."""
MAX_OVERSAMPLING = 6
"""Limit on the size of the finer canvas relative to the image."""


@dataclass(frozen=True)
class Pen:
    """A pen.

    Attributes:
        kind: the kind of pen.
        width: the width of a stroke under full pressure, relative to a digit's height.
        darkness: the darkness of the ink under full pressure, 0 to 1.
        width_range: how far the width falls without pressure, from 0 (not at all) to 1 (to nothing).
        darkness_range: how far the darkness falls without pressure, likewise.
        grain: the standard deviation of the paper's grain in the ink, relative to its darkness.
        skips: how easily the ball of a pen skips the paper's grain and leaves it almost white, 0 to 1.
        nib: the direction of a chisel's edge, in radians; None for a round tip.
        soft: the standard deviation of the edges' blur, relative to the stroke's width.
        aliased: whether pixels are either full ink or paper.
    """

    kind: Kind
    width: float
    darkness: float = 1.0
    width_range: float = 0.2
    darkness_range: float = 0.3
    grain: float = 0.0
    skips: float = 0.0
    nib: float | None = None
    soft: float = 0.0
    aliased: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise ValueError(f"Pen: the width must be a positive fraction of a digit's height, got {self.width}")
        for name in ("darkness", "width_range", "darkness_range", "skips"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"Pen: {name} must be from 0 to 1, got {value}")


def random_pen(generator: np.random.Generator, kind: Kind | None = None) -> Pen:
    """Return a pen of a kind, or of any kind, with properties drawn at random."""
    kinds: tuple[Kind, ...] = ("ball", "pencil", "marker", "brush", "chisel", "fiber")
    kind = kind or kinds[int(generator.choice(len(kinds), p=[0.34, 0.18, 0.12, 0.06, 0.06, 0.24]))]
    uniform = generator.uniform
    if kind == "ball":
        width, dark = uniform(0.025, 0.075), uniform(0.55, 1.0)
        return Pen(kind, width, dark, uniform(0, 0.3), uniform(0.2, 0.85), uniform(0, 0.15), uniform(0, 0.08))
    if kind == "pencil":
        width, dark = uniform(0.03, 0.1), uniform(0.35, 0.85)
        return Pen(kind, width, dark, uniform(0, 0.35), uniform(0.3, 0.8), uniform(0.1, 0.35), soft=uniform(0, 0.15))
    if kind == "marker":
        return Pen(kind, uniform(0.12, 0.26), uniform(0.8, 1.0), uniform(0, 0.1), uniform(0, 0.1))
    if kind == "brush":
        return Pen(kind, uniform(0.08, 0.2), uniform(0.8, 1.0), uniform(0.4, 0.8), uniform(0, 0.3))
    if kind == "chisel":
        return Pen(kind, uniform(0.07, 0.18), uniform(0.8, 1.0), uniform(0, 0.2), 0.1, nib=uniform(-1.0, -0.4))
    return Pen(kind, uniform(0.05, 0.13), uniform(0.75, 1.0), uniform(0, 0.25), uniform(0, 0.25))


def margin(height: float, pen: Pen) -> int:
    """Return the pixels between the edge of a rendered image and the bounds of the pen's path."""
    return math.ceil(height * pen.width * (0.5 + pen.soft)) + 1


def render(drawing: Drawing, height: float, pen: Pen, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw with a pen.

    Args:
        drawing: the strokes.
        height: the height of a digit in pixels, which is the drawing's unit; a dash or a dot is less high.
        pen: the pen.
        generator: the source of the paper's grain; not used for a pen without grain and skips.

    Returns:
        ink, (h, w) from 0 to 1: the drawing's bounds with a margin of `margin(height, pen)` pixels all around, so
        pixel (row, column) shows the point x = left + (column + 0.5 - margin) / height, y likewise.

    Raises:
        ValueError: the height is not at least 1 pixel, or the image would have more than 100 million pixels.
    """
    if not 1 <= height < math.inf:
        raise ValueError(f"render: the height of a digit must be at least 1 pixel, got {height}")
    left, top, right, bottom = drawing.bounds
    border = margin(height, pen)
    columns, rows = (math.ceil(height * length) + 2 * border for length in (right - left, bottom - top))
    if rows * columns > 100_000_000:
        raise ValueError(f"render: a height of {height:g} pixels needs {rows:,} × {columns:,} pixels, too many")
    factor = min(max(math.ceil(MIN_CANVAS_HEIGHT / height), 1), MAX_OVERSAMPLING)
    canvas = _fill(drawing, height * factor, pen, (left, top), border * factor, (rows * factor, columns * factor))
    values = np.asarray(resize(canvas, (rows, columns)), np.float32) / np.float32(255)
    if pen.soft:
        values = _blur(values, pen.soft * pen.width * height)
    if pen.grain or pen.skips:
        values *= _grain(values.shape, height, pen, generator)
    if pen.aliased:
        values = np.float32(pen.darkness) * (values > 0.5 * pen.darkness)
    return np.asarray(np.clip(values, 0, 1), np.float32)


def _fill(
    drawing: Drawing, height: float, pen: Pen, origin: tuple[float, float], border: int, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw the strokes on a canvas, uint8, with `origin` at the inner top left corner of the border."""
    from PIL import Image, ImageDraw  # imported on first use

    canvas = Image.new("L", (shape[1], shape[0]))
    context = ImageDraw.Draw(canvas)
    pieces: list[tuple[int, list[float], list[float]]] = []  # brightness, polygon, disk at its start
    for stroke in drawing.strokes:
        points = (stroke.points - origin) * height + (border - 0.5)
        radii = height * pen.width / 2 * (1 - pen.width_range * (1 - stroke.pressure))
        radii = np.maximum(radii, 0.6)
        dark = 255 * pen.darkness * (1 - pen.darkness_range * (1 - stroke.pressure))
        step = np.diff(points, axis=0)
        lengths = np.hypot(step[:, 0], step[:, 1])[:, None] + 1e-9
        normals = step[:, ::-1] * (-1, 1) / lengths
        if pen.nib is None:
            starts, ends = normals * radii[:-1, None], normals * radii[1:, None]
            tips = radii
        else:  # the edge keeps its direction; it is a fifth as thick as it is long
            edge = np.array([math.cos(pen.nib), math.sin(pen.nib)])
            starts, ends = edge * radii[:-1, None], edge * radii[1:, None]
            tips = radii / 5
        first, second = points[:-1], points[1:]
        polygons = np.concatenate([first + starts, first - starts, second - ends, second + ends], axis=1)
        disks = np.concatenate([points - tips[:, None], points + tips[:, None]], axis=1)
        values = np.rint(dark).astype(int).tolist()
        polygon_list, disk_list = polygons.tolist(), disks.tolist()
        pieces += zip(values, [*polygon_list, []], disk_list, strict=True)
    pieces.sort(key=lambda piece: piece[0])
    for value, polygon, disk in pieces:
        if polygon:
            context.polygon(polygon, fill=value)
        context.ellipse(disk, fill=value)
    return np.asarray(canvas)


def _blur(values: NDArray[np.float32], std: float) -> NDArray[np.float32]:
    """Blur with a Gaussian of a standard deviation in pixels."""
    reach = max(1, math.ceil(2.5 * std))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / max(std, 1e-3)) ** 2).astype(np.float32)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if axis == side else (0, 0) for side in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, padding), 2 * reach + 1, axis=axis)
        values = windows @ weights
    return values


def _grain(shape: tuple[int, ...], height: float, pen: Pen, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the factor of the paper's grain, which has the size of a digit's fine detail, not of a pixel."""
    cell = max(1.0, height / 40)
    coarse = (max(1, round(shape[0] / cell)), max(1, round(shape[1] / cell)))
    noise = generator.standard_normal(coarse, np.float32)
    if coarse != shape:
        noise = np.asarray(resize(noise, (shape[0], shape[1]), "BILINEAR"), np.float32)
    factor = np.clip(1 + np.float32(pen.grain) * noise, 0, 1.4)
    if pen.skips:
        factor = np.where(noise < -2.2 * (1 - pen.skips) ** 4, factor * np.float32(0.3), factor)
    return np.asarray(factor, np.float32)
