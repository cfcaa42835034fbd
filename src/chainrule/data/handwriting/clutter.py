"""What photos of pages show besides digits: ruled lines, cells, frames, axes, bindings, fingers, desks, letters."""

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

PRINTED = "abcdefhijkmnprtuvwxyzACDEFGHJKLMNPQRTUVWXYZ?!&%+=*#@"  # characters that do not look like digits


def streaks(generator: np.random.Generator, shape: Shape, scale: float) -> Field:
    """Return noise of standard deviation 1, in half of the cases smeared along one axis, like wood and cloth."""
    field = smooth_noise(generator, (shape[0], shape[1]), scale)
    if generator.random() < 0.5:
        field = ndimage.uniform_filter1d(field, int(generator.integers(5, 80)), axis=int(generator.integers(2)))
    return np.asarray(field / (field.std() + 1e-6), np.float32)


def rules(generator: np.random.Generator, shape: Shape, height: float, cells: tuple[float, float] | None) -> Field:
    """Return ruled lines, squares, frames or axes as ink from 0 to 1.

    Args:
        generator: the source of randomness.
        shape: of the canvas.
        height: of the digits.
        cells: the height and width of the cells to draw; None for random lines, squares, frames or axes.
    """
    span = 2 * max(shape)  # the canvas is cut out of the middle, after rotation
    layer, context = _canvas((span, span))
    thickness = max(1, int(height * generator.choice([0.03, 0.05, 0.08, 0.12])))
    kind = generator.random()
    if cells is not None or kind < 0.8:
        pitches = cells or (height * generator.uniform(0.5, 2.5),) * 2
        fan = generator.normal(0, 0.08) if generator.random() < 0.3 else 0.0  # lines that are not quite parallel
        for axis in (0, 1) if cells is not None or kind < 0.4 else (0,):
            pitch = max(6.0, pitches[axis])
            for index, position in enumerate(np.arange(generator.random() * pitch, span, pitch).tolist()):
                lean = fan * (index / 5 - 1) * span / 2
                if axis == 0:
                    ends = [(0, position - lean), (span, position + lean)]
                else:
                    ends = [(position - lean, 0), (position + lean, span)]
                context.line(ends, fill=255, width=thickness)
    elif kind < 0.9:
        for _ in range(int(generator.integers(1, 5))):
            x, y = generator.uniform(0.2, 0.7, 2) * span
            box = (x, y, x + height * generator.uniform(1.2, 8), y + height * generator.uniform(1.2, 4))
            (context.rectangle if generator.random() < 0.8 else context.ellipse)(box, outline=255, width=thickness)
    else:
        x, y = generator.uniform(0.3, 0.7, 2) * span
        tick = height * generator.uniform(0.1, 0.4)
        context.line((x, 0, x, span), fill=255, width=thickness)
        context.line((0, y, span, y), fill=255, width=thickness)
        for position in np.arange(0, span, max(8, height * generator.uniform(0.5, 3))).tolist():
            context.line((x - tick, position, x + tick, position), fill=255, width=thickness)
            context.line((position, y - tick, position, y + tick), fill=255, width=thickness)
    angle = generator.normal(0, 3) if generator.random() < 0.8 else generator.uniform(-45, 45)
    left, top = (span - shape[1]) // 2, (span - shape[0]) // 2
    ink = _ink(_rotated(layer, angle))[top : top + shape[0], left : left + shape[1]]
    return ndimage.gaussian_filter(ink, generator.uniform(1, 6)) if generator.random() < 0.3 else ink


def add_object(generator: np.random.Generator, sheet: Field, height: float) -> Field:
    """Return the sheet with an object on it: a binding, a finger or a pen, a desk or a shadow, blots, dust."""
    shade: float | Field = generator.uniform(0.02, 0.6) if generator.random() < 0.75 else generator.uniform(0.7, 1)
    makers: list[Callable[[np.random.Generator, Shape, float], Field]]
    makers = [_binding, _long_object, _half_plane, _half_plane, _blots, _dust]
    make_mask = makers[int(generator.integers(len(makers)))]
    mask = make_mask(generator, sheet.shape, height)
    if make_mask is _half_plane and generator.random() < 0.5:
        grain = generator.uniform(0.05, 0.5) * streaks(generator, sheet.shape, float(generator.choice([2, 4, 10])))
        shade = np.clip(shade * (1 + grain), 0, 1).astype(np.float32)
    return np.asarray(sheet + mask * (shade - sheet), np.float32)


def printed_letters(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the ink of words in a font, mostly bent as if written by hand."""
    from PIL import ImageFont  # imported on first use

    layer, context = _canvas(shape)
    font = ImageFont.load_default(max(8, int(height * generator.uniform(0.9, 1.6))))
    for _ in range(int(generator.integers(1, 6))):
        word = "".join(generator.choice(list(PRINTED), size=int(generator.integers(1, 9))))
        start = generator.uniform(-0.2, 0.9) * shape[1], generator.uniform(-0.05, 0.95) * shape[0]
        weight = int(generator.integers(0, 2 + int(height / 20)))
        context.text(start, word, int(255 * generator.uniform(0.6, 1)), font, stroke_width=weight)
    ink = _ink(layer)
    if generator.random() < 0.3:
        return ink
    amount, size = height * generator.uniform(0.02, 0.08), (shape[0], shape[1])
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    down, across = (amount * smooth_noise(generator, size, height * 0.6) for _ in range(2))
    slant = generator.uniform(-0.3, 0.3) * (y - shape[0] / 2)
    return np.asarray(ndimage.map_coordinates(ink, [y + down, x + across + slant], order=1), np.float32)


def lines(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the ink of curves, dashes, long lines, plus signs and colons."""
    layer, context = _canvas(shape)
    for _ in range(int(generator.integers(1, 4))):
        kind, width = generator.random(), max(1, int(height * generator.uniform(0.03, 0.15)))
        x, y = generator.uniform(0, shape[1]), generator.uniform(0, shape[0])
        if kind < 0.5:
            _curve(generator, context, (x, y), height, width)
        elif kind < 0.8:
            length = height * generator.choice([0.3, 0.6, 2, 6, 20])
            angle = generator.normal(0, 0.15) if length < 3 * height else generator.uniform(0, math.pi)
            context.line((x, y, x + length * math.cos(angle), y + length * math.sin(angle)), fill=255, width=width)
        else:
            reach = height * generator.uniform(0.15, 0.35)
            if generator.random() < 0.5:
                context.line((x - reach, y, x + reach, y), fill=255, width=width)
                context.line((x, y - reach, x, y + reach), fill=255, width=width)
            else:
                for down in (y, y + 2 * reach):
                    context.ellipse((x - width, down - width, x + width, down + width), fill=255)
    return _ink(layer)


def _curve(
    generator: np.random.Generator, context: ImageDraw.ImageDraw, start: tuple[float, float], height: float, width: int
) -> None:
    """Draw a random smooth curve."""
    count = int(generator.integers(3, 7))
    points = np.array(start) + np.cumsum(generator.normal(0, height * generator.uniform(0.4, 2.5), (count, 2)), axis=0)
    steps = np.linspace(0, count - 1, 40)
    x, y = (ndimage.gaussian_filter1d(np.interp(steps, np.arange(count), axis), 4, mode="nearest") for axis in points.T)
    context.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=width, joint="curve")


def _binding(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the mask of a row of equal holes or rings."""
    layer, context = _canvas(shape)
    pitch = height * generator.uniform(0.4, 1.6)
    radius = min(height * generator.uniform(0.1, 0.4), 0.4 * pitch)
    length = radius * generator.uniform(0.4, 3.0)
    is_vertical = generator.random() < 0.5
    position = generator.uniform(0, max(shape))
    fill = 0 if generator.random() < 0.3 else 255
    for along in np.arange(generator.uniform(0, pitch), max(shape) + pitch, pitch).tolist():
        if is_vertical:
            x, y, half_width, half_height = position, along, length, radius
        else:
            x, y, half_width, half_height = along, position, radius, length
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        context.ellipse(box, fill=fill, outline=255, width=max(1, int(0.3 * radius)))
    return _ink(_rotated(layer, generator.normal(0, 2)))


def _long_object(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the mask of a finger, a pen or a ruler that comes in from one side."""
    angle = generator.uniform(0, math.pi)
    x = np.arange(shape[1]) - generator.uniform(0, shape[1])
    y = np.arange(shape[0])[:, None] - generator.uniform(0, shape[0])
    along = x * math.cos(angle) + y * math.sin(angle)
    off = y * math.cos(angle) - x * math.sin(angle)
    return _step(height * generator.uniform(0.2, 1.5) - np.abs(off), generator.uniform(0.5, 4)) * (along > 0)


def _half_plane(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the mask of all that is beyond a straight edge, sharp or soft."""
    angle = generator.uniform(0, 2 * math.pi)
    x, y = np.arange(shape[1]) - shape[1] / 2, np.arange(shape[0])[:, None] - shape[0] / 2
    across = x * math.cos(angle) + y * math.sin(angle) - generator.uniform(-0.45, 0.45) * max(shape)
    return _step(across, float(generator.choice([0.5, 2, 10, 40])))


def _blots(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the mask of one to eleven elliptical blots."""
    mask = np.zeros(shape, bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for _ in range(int(generator.integers(1, 12))):
        radius = height * generator.choice([0.05, 0.1, 0.2, 0.5, 1]) * generator.uniform(0.6, 1.4)
        down = y - generator.uniform(0, shape[0])
        across = (x - generator.uniform(0, shape[1])) * generator.uniform(0.6, 1.6)
        mask |= np.hypot(down, across) < radius
    return mask.astype(np.float32)


def _dust(generator: np.random.Generator, shape: Shape, height: float) -> Field:
    """Return the mask of dust: square dots of one to four pixels."""
    dots = generator.random(shape) < generator.choice([0.0003, 0.002, 0.01])
    return np.asarray(ndimage.maximum_filter(dots, int(generator.integers(1, 5))), np.float32)


def _step(distance: NDArray[np.float64], softness: float) -> Field:
    """Return a smooth step: 0 at negative distances from an edge, 1 at positive ones."""
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
