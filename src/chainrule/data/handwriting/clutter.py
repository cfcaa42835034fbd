"""What is on a photo of a page and is no digit: ruled lines, cells, frames, axes, bindings, fingers, desks, letters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.data.handwriting.sheet import smooth_noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

    Field = NDArray[np.float32]
    Shape = tuple[int, ...]

PRINTED = "abcdefhijkmnprtuvwxyzACDEFGHJKLMNPQRTUVWXYZ?!&%+=*#@"  # letters that no digit is mistaken for


def streaks(random: np.random.Generator, shape: Shape, scale: float) -> Field:
    """Return noise of standard deviation 1, half of the time drawn out along one axis, like wood and cloth."""
    field = smooth_noise(random, (shape[0], shape[1]), scale)
    if random.random() < 0.5:
        field = ndimage.uniform_filter1d(field, int(random.integers(5, 80)), axis=int(random.integers(2)))
    return np.asarray(field / (field.std() + 1e-6), np.float32)


def rules(random: np.random.Generator, shape: Shape, height: float, cells: tuple[float, float] | None) -> Field:
    """Return ruled lines, squares, frames or axes as ink from 0 to 1.

    Args:
        random: the source of randomness.
        shape: of the canvas.
        height: of the digits.
        cells: the height and width of the cells to draw; None for anything.
    """
    span = 2 * max(shape)  # the canvas is cut out of the middle, after rotation
    layer, pen = _canvas((span, span))
    thick = max(1, int(height * random.choice([0.03, 0.05, 0.08, 0.12])))
    kind = random.random()
    if cells is not None or kind < 0.8:
        pitches = cells or (height * random.uniform(0.5, 2.5),) * 2
        fan = random.normal(0, 0.08) if random.random() < 0.3 else 0.0  # lines that are not quite parallel
        for axis in (0, 1) if cells is not None or kind < 0.4 else (0,):
            pitch = max(6.0, pitches[axis])
            for number, at in enumerate(np.arange(random.random() * pitch, span, pitch).tolist()):
                lean = fan * (number / 5 - 1) * span / 2
                ends = [(0, at - lean), (span, at + lean)] if axis == 0 else [(at - lean, 0), (at + lean, span)]
                pen.line(ends, fill=255, width=thick)
    elif kind < 0.9:
        for _ in range(int(random.integers(1, 5))):
            x, y = random.uniform(0.2, 0.7, 2) * span
            box = (x, y, x + height * random.uniform(1.2, 8), y + height * random.uniform(1.2, 4))
            (pen.rectangle if random.random() < 0.8 else pen.ellipse)(box, outline=255, width=thick)
    else:
        x, y = random.uniform(0.3, 0.7, 2) * span
        tick = height * random.uniform(0.1, 0.4)
        pen.line((x, 0, x, span), fill=255, width=thick)
        pen.line((0, y, span, y), fill=255, width=thick)
        for at in np.arange(0, span, max(8, height * random.uniform(0.5, 3))).tolist():
            pen.line((x - tick, at, x + tick, at), fill=255, width=thick)
            pen.line((at, y - tick, at, y + tick), fill=255, width=thick)
    angle = random.normal(0, 3) if random.random() < 0.8 else random.uniform(-45, 45)
    left, top = (span - shape[1]) // 2, (span - shape[0]) // 2
    ink = _ink(_rotated(layer, angle))[top : top + shape[0], left : left + shape[1]]
    return ndimage.gaussian_filter(ink, random.uniform(1, 6)) if random.random() < 0.3 else ink


def lay_thing(random: np.random.Generator, sheet: Field, height: float) -> Field:
    """Return the sheet with a thing on it: a binding, a finger or a pen, a desk or a shadow, blots, dust."""
    shade: float | Field = random.uniform(0.02, 0.6) if random.random() < 0.75 else random.uniform(0.7, 1)
    things: list[Callable[[np.random.Generator, Shape, float], Field]]
    things = [_binding, _long_thing, _half_plane, _half_plane, _blots, _dust]
    thing = things[int(random.integers(len(things)))]
    mask = thing(random, sheet.shape, height)
    if thing is _half_plane and random.random() < 0.5:
        grain = random.uniform(0.05, 0.5) * streaks(random, sheet.shape, float(random.choice([2, 4, 10])))
        shade = np.clip(shade * (1 + grain), 0, 1).astype(np.float32)
    return np.asarray(sheet + mask * (shade - sheet), np.float32)


def printed_letters(random: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the ink of words in a font, most of them bent as if written by hand."""
    from PIL import ImageFont  # imported on first use

    layer, pen = _canvas(shape)
    font = ImageFont.load_default(max(8, int(height * random.uniform(0.9, 1.6))))
    for _ in range(int(random.integers(1, 6))):
        word = "".join(random.choice(list(PRINTED), size=int(random.integers(1, 9))))
        start = random.uniform(-0.2, 0.9) * shape[1], random.uniform(-0.05, 0.95) * shape[0]
        weight = int(random.integers(0, 2 + int(height / 20)))
        pen.text(start, word, int(255 * random.uniform(0.6, 1)), font, stroke_width=weight)
    ink = _ink(layer)
    if random.random() < 0.3:
        return ink
    amount, size = height * random.uniform(0.02, 0.08), (shape[0], shape[1])
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    down, across = (amount * smooth_noise(random, size, height * 0.6) for _ in range(2))
    slant = random.uniform(-0.3, 0.3) * (y - shape[0] / 2)
    return np.asarray(ndimage.map_coordinates(ink, [y + down, x + across + slant], order=1), np.float32)


def lines(random: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the ink of curves, dashes, long lines, plus signs and colons."""
    layer, pen = _canvas(shape)
    for _ in range(int(random.integers(1, 4))):
        kind, width = random.random(), max(1, int(height * random.uniform(0.03, 0.15)))
        x, y = random.uniform(0, shape[1]), random.uniform(0, shape[0])
        if kind < 0.5:
            _curve(random, pen, (x, y), height, width)
        elif kind < 0.8:
            length = height * random.choice([0.3, 0.6, 2, 6, 20])
            angle = random.normal(0, 0.15) if length < 3 * height else random.uniform(0, math.pi)
            pen.line((x, y, x + length * math.cos(angle), y + length * math.sin(angle)), fill=255, width=width)
        else:
            reach = height * random.uniform(0.15, 0.35)
            if random.random() < 0.5:
                pen.line((x - reach, y, x + reach, y), fill=255, width=width)
                pen.line((x, y - reach, x, y + reach), fill=255, width=width)
            else:
                for down in (y, y + 2 * reach):
                    pen.ellipse((x - width, down - width, x + width, down + width), fill=255)
    return _ink(layer)


def _curve(
    random: np.random.Generator, pen: ImageDraw.ImageDraw, start: tuple[float, float], height: float, width: int
) -> None:
    """Draw a smooth curve at random."""
    count = int(random.integers(3, 7))
    points = np.array(start) + np.cumsum(random.normal(0, height * random.uniform(0.4, 2.5), (count, 2)), axis=0)
    steps = np.linspace(0, count - 1, 40)
    x, y = (ndimage.gaussian_filter1d(np.interp(steps, np.arange(count), axis), 4, mode="nearest") for axis in points.T)
    pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=width, joint="curve")


def _binding(random: np.random.Generator, shape: Shape, height: float) -> Field:
    """A row of equal holes or rings."""
    layer, pen = _canvas(shape)
    pitch = height * random.uniform(0.4, 1.6)
    radius = min(height * random.uniform(0.1, 0.4), 0.4 * pitch)
    long, vertical, at = radius * random.uniform(0.4, 3.0), random.random() < 0.5, random.uniform(0, max(shape))
    fill = 0 if random.random() < 0.3 else 255
    for along in np.arange(random.uniform(0, pitch), max(shape) + pitch, pitch).tolist():
        (x, y), (wide, tall) = ((at, along), (long, radius)) if vertical else ((along, at), (radius, long))
        pen.ellipse((x - wide, y - tall, x + wide, y + tall), fill=fill, outline=255, width=max(1, int(0.3 * radius)))
    return _ink(_rotated(layer, random.normal(0, 2)))


def _long_thing(random: np.random.Generator, shape: Shape, height: float) -> Field:
    """A finger, a pen or a ruler that comes in from one side."""
    angle = random.uniform(0, math.pi)
    x, y = np.arange(shape[1]) - random.uniform(0, shape[1]), np.arange(shape[0])[:, None] - random.uniform(0, shape[0])
    along, off = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return _step(height * random.uniform(0.2, 1.5) - np.abs(off), random.uniform(0.5, 4)) * (along > 0)


def _half_plane(random: np.random.Generator, shape: Shape, height: float) -> Field:
    """What lies beyond a straight edge, sharp or soft."""
    angle = random.uniform(0, 2 * math.pi)
    x, y = np.arange(shape[1]) - shape[1] / 2, np.arange(shape[0])[:, None] - shape[0] / 2
    across = x * math.cos(angle) + y * math.sin(angle) - random.uniform(-0.45, 0.45) * max(shape)
    return _step(across, float(random.choice([0.5, 2, 10, 40])))


def _blots(random: np.random.Generator, shape: Shape, height: float) -> Field:
    mask = np.zeros(shape, bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for _ in range(int(random.integers(1, 12))):
        radius = height * random.choice([0.05, 0.1, 0.2, 0.5, 1]) * random.uniform(0.6, 1.4)
        down, across = y - random.uniform(0, shape[0]), (x - random.uniform(0, shape[1])) * random.uniform(0.6, 1.6)
        mask |= np.hypot(down, across) < radius
    return mask.astype(np.float32)


def _dust(random: np.random.Generator, shape: Shape, height: float) -> Field:
    dots = random.random(shape) < random.choice([0.0003, 0.002, 0.01])
    return np.asarray(ndimage.maximum_filter(dots, int(random.integers(1, 5))), np.float32)


def _step(distance: NDArray[np.float64], softness: float) -> Field:
    """From 0 at negative distances from an edge to 1 at positive ones."""
    return (1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))).astype(np.float32)


def _canvas(shape: Shape) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw  # imported on first use

    layer = Image.new("L", (shape[1], shape[0]))
    return layer, ImageDraw.Draw(layer)


def _rotated(layer: Image.Image, degrees: float) -> Image.Image:
    from PIL import Image  # imported on first use

    return layer.rotate(degrees, Image.Resampling.BILINEAR)


def _ink(layer: Image.Image) -> Field:
    return np.asarray(layer, np.float32) / np.float32(255)
