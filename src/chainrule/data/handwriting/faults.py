"""Pages that are hard to read for one reason each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chainrule.data.handwriting import inks
from chainrule.data.handwriting.camera import Camera
from chainrule.data.handwriting.compose import take
from chainrule.data.handwriting.ink import InkStyle
from chainrule.data.handwriting.sheet import blank
from chainrule.data.handwriting.writing import Spacing, write_line, write_lines

if TYPE_CHECKING:
    import numpy as np

    from chainrule.data.handwriting.compose import Page
    from chainrule.data.handwriting.writing import Hand


def strips(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """A line of digits cut out of a page: long and low, the strokes a large part of its height."""
    size = random.uniform(40, 90)
    height = round(size * random.uniform(1.3, 2.2))
    width = round(height * random.uniform(4, 8))
    sheet = blank(random, (height, width), inks.choose_color(random, inks.PAPERS), rough=0.005)
    pen = replace(inks.gel_pen(random), width=max(3.0, size * random.uniform(0.05, 0.09)) / size)
    y = max(3.0, (height - size) / 2 + random.uniform(-0.1, 0.1) * size)
    spacing = Spacing(random.uniform(0.3, 0.8), 0.3)
    write_line(sheet, hand.digits(14), pen, size, (0.3 * size, y), spacing, random)
    camera = Camera(size=(width, height), blur=random.uniform(0.3, 0.8), noise=0.006, light=0.95, quality=85)
    return take(sheet, camera, random)


def faint(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """A ball pen on gray paper: strokes down are dark, arcs and strokes to the side are faint."""
    size = random.uniform(40, 70)
    gray = random.uniform(0.6, 0.82)
    sheet = blank(random, (1200, 900), (gray, gray, gray), rough=0.006)
    pen = InkStyle(
        inks.choose_color(random, inks.INKS[:4]),
        width=random.uniform(0.035, 0.055),
        opacity=random.uniform(0.62, 0.75),
        pressure=0.15,
        direction=random.uniform(0.72, 0.82),
    )
    write_lines(sheet, hand, pen, size, Spacing(0.35, 0.4), random, most=40)
    camera = Camera(size=(900, 1200), blur=random.uniform(0.5, 0.8), noise=0.006, light=0.97, uneven=0.2, quality=88)
    return take(sheet, camera, random)


def broad(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """Two to four digits fill a small picture: strokes of 5 to 9% of its shorter side."""
    height = round(random.uniform(110, 260))
    size = height * random.uniform(0.55, 0.75)
    stroke = height * random.uniform(0.05, 0.09)
    count = int(random.integers(2, 5))
    traces = hand.digits(count)
    spacing = Spacing(random.uniform(0.15, 0.3), 0.2)
    wide = sum(float(trace.points[:, 0].max()) + spacing.gap + stroke / size for trace in traces) * size
    width = round(wide + 2 * 0.2 * height)
    sheet = blank(random, (height, max(width, height)), inks.choose_color(random, inks.PAPERS[:4]), rough=0.005)
    pen = InkStyle(inks.choose_color(random, inks.INKS[:4]), width=stroke / size)
    start = (0.18 * height, (height - size) / 2)
    write_line(sheet, traces, pen, size, start, spacing, random)
    camera = Camera(size=(sheet.width, height), blur=1.0, noise=0.006, light=0.97, uneven=0.1, quality=88)
    return take(sheet, camera, random)


def light_on_dark(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """Chalk on a board, white ink on dark paper, a screen in dark mode."""
    from chainrule.data.handwriting import everyday

    form = everyday.random_format(random, min(most, 2_000_000))
    return everyday.blackboard(random, hand, form)
