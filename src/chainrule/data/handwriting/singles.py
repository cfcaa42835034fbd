"""Pictures of one digit or a few that are hard to recognize, for one reason each.

Frames around the digit, transparent canvases, colors of equal luminance, two digits, writing habits that MNIST has few
examples of, and plots.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting import inks
from chainrule.data.handwriting.camera import Camera
from chainrule.data.handwriting.compose import take
from chainrule.data.handwriting.ink import InkStyle
from chainrule.data.handwriting.print import frame, text
from chainrule.data.handwriting.sheet import Sheet, blank, rule
from chainrule.data.handwriting.writing import Spacing, write_line

if TYPE_CHECKING:
    from chainrule.data.handwriting.compose import Page
    from chainrule.data.handwriting.sheet import Color
    from chainrule.data.handwriting.traces import Trace
    from chainrule.data.handwriting.writing import Hand

HABITS = (  # digits and variants that are rare in MNIST
    ("1", "upstroke"),
    ("9", "german"),
    ("4", "triangular"),
    ("1", "base"),
    ("4", "closed"),
    ("1", "upstroke-base"),
)
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R 601: of red, green and blue


def _write_centered(
    generator: np.random.Generator, hand: Hand, sheet: Sheet, traces: list[Trace], pen: InkStyle, share: float
) -> None:
    """Write digits in a row about the middle, `share` of the sheet's shorter side high, or smaller to fit its width."""
    gap = generator.uniform(0.2, 0.4)
    wide = sum(float(trace.points[:, 0].max()) + gap + pen.width for trace in traces) - gap
    size = min(share * min(sheet.width, sheet.height), 0.8 * sheet.width / max(wide, 0.2))
    x = (sheet.width - wide * size) * generator.uniform(0.4, 0.6)
    y = (sheet.height - size) * generator.uniform(0.4, 0.6)
    write_line(sheet, hand, traces, pen, size, (x, y), Spacing(gap, 0.1), generator)


def _photo(generator: np.random.Generator, sheet: Sheet) -> Page:
    camera = Camera(
        size=(sheet.width, sheet.height),
        blur=generator.uniform(0.4, 1.0),
        noise=generator.uniform(0.003, 0.02),
        light=generator.uniform(0.8, 1.0),
        unevenness=generator.uniform(0, 0.3),
        quality=int(generator.integers(60, 95)),
    )
    return take(sheet, camera, generator)


def _paper(generator: np.random.Generator, low: float = 90, high: float = 420) -> Sheet:
    height = round(generator.uniform(low, high))
    width = round(height * generator.uniform(0.75, 1.35))
    return blank(generator, (height, width), inks.choose_color(generator, inks.PAPERS[:4]), rough=0.006)


def frames(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A digit in a box, in a picture with dark borders, or beside axes."""
    sheet = _paper(generator)
    shorter = min(sheet.width, sheet.height)
    pen = replace(inks.gel_pen(generator), width=generator.uniform(0.05, 0.11))
    _write_centered(generator, hand, sheet, hand.digits(1), pen, generator.uniform(0.4, 0.6))
    dark = (generator.uniform(0.02, 0.35),) * 3
    kind = generator.random()
    if kind < 0.5:
        inset = shorter * generator.uniform(0.05, 0.14)
        box = (inset, inset, sheet.width - inset, sheet.height - inset)
        frame(sheet, box, max(1.0, shorter * generator.uniform(0.006, 0.02)), dark, generator.uniform(0.6, 1))
    elif kind < 0.85:
        thickness = generator.uniform(2, 7)
        sides = generator.random(4) < 0.7
        sides[generator.integers(4)] = True
        for side, shows in enumerate(sides):
            axis, end = side % 2, (sheet.height, sheet.width)[side % 2]
            position = thickness / 2 if side < 2 else end - thickness / 2
            if shows:
                rule(sheet, [position], axis=axis, thickness=thickness, color=dark, strength=1)
    else:
        inset = shorter * generator.uniform(0.08, 0.15)
        rule(sheet, [sheet.height - inset], axis=0, thickness=2, color=dark, strength=1, span=(inset, sheet.width))
        rule(sheet, [inset], axis=1, thickness=2, color=dark, strength=1, span=(0, sheet.height - inset))
    return _photo(generator, sheet)


def colors(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """Strokes invisible in luminance: on a transparent canvas, or in a color of the paper's luminance."""
    count = int(generator.choice([1, 1, 3]))
    height = round(generator.uniform(100, 400))
    width = round(height * (1 if count == 1 else 2))
    style = InkStyle((1, 1, 1), width=generator.uniform(0.05, 0.13), is_opaque=True)
    if generator.random() < 0.55:
        sheet = Sheet(np.zeros((height, width, 3), np.float32))
        _write_centered(generator, hand, sheet, hand.digits(count), style, generator.uniform(0.5, 0.7))
        page = take(sheet, Camera(size=(width, height)), generator)
        tone = generator.choice([255, 255, 255, 245, 0])
        alpha = page.image.convert("L")
        page.image = alpha.convert("RGB").point(lambda value: tone)
        page.image.putalpha(alpha)
        return page
    ink, paper = _equal_luminance(generator)
    sheet = blank(generator, (height, width), paper, rough=0.004)
    pen = replace(style, color=ink)
    _write_centered(generator, hand, sheet, hand.digits(count), pen, generator.uniform(0.5, 0.7))
    return take(sheet, Camera(size=(width, height), blur=0.5, noise=0.003, quality=92), generator)


def _equal_luminance(generator: np.random.Generator) -> tuple[tuple[float, float, float], Color]:
    """Return two colors of equal luminance that differ clearly: a red, blue or mixed one, and a green one."""
    red, blue = ((0.9, 0.1), (0.85, 0.4), (0.15, 0.95), (0.6, 0.9))[generator.integers(4)]
    green = generator.uniform(0.05, 0.15)
    first = np.array([red, green, blue])
    luminance = float(first @ LUMINANCE)
    other = np.array([generator.uniform(0, 0.1), 0, generator.uniform(0, 0.2)])
    other[1] = (luminance - float(other @ LUMINANCE)) / LUMINANCE[1]
    one, two = first.tolist(), other.tolist()
    if generator.random() < 0.5:
        one, two = two, one
    return (one[0], one[1], one[2]), (two[0], two[1], two[2])


def several(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """Two or three digits in a picture of the kind that people take of one digit."""
    height = round(generator.uniform(140, 420))
    width = round(height * generator.uniform(1.2, 1.9))
    sheet = blank(generator, (height, width), inks.choose_color(generator, inks.PAPERS[:4]), rough=0.006)
    pen = replace(inks.random_ink(generator), width=generator.uniform(0.06, 0.13), opacity=0.9, skips=0, pressure=0.1)
    count = int(generator.choice([2, 2, 3]))
    _write_centered(generator, hand, sheet, hand.digits(count), pen, generator.uniform(0.4, 0.6))
    return _photo(generator, sheet)


def habits(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """Digits in variants that are rare in MNIST: a 1 with an upstroke or a base line, the German 9, a closed 4."""
    size = generator.uniform(40, 100)
    traces = []
    for _ in range(generator.integers(5, 9)):
        label, variant = HABITS[generator.choice(len(HABITS), p=[0.32, 0.22, 0.16, 0.12, 0.08, 0.1])]
        traces.append(hand.draw(label, variant))
    wide = sum(float(trace.points[:, 0].max()) + 1.0 for trace in traces) * size
    sheet = blank(
        generator, (round(2.6 * size), round(wide + size)), inks.choose_color(generator, inks.PAPERS[:4]), rough=0.006
    )
    pen = replace(inks.gel_pen(generator), width=generator.uniform(0.05, 0.11))
    write_line(sheet, hand, traces, pen, size, (0.5 * size, 0.8 * size), Spacing(0.8, 0.15), generator)
    return _photo(generator, sheet)


def plots(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A digit as a plotting program shows it: a panel with axes, ticks, their numbers and a title."""
    side = round(generator.uniform(150, 420))
    margin = round(side * generator.uniform(0.1, 0.2))
    width, height = side + 2 * margin, side + 2 * margin
    sheet = Sheet(np.ones((height, width, 3), np.float32))
    ground, ink = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    look = generator.random()
    if look < 0.35:
        ground, ink = ink, ground
    elif look < 0.6:
        ground, ink = (0.267, 0.005, 0.329), (0.993, 0.906, 0.144)  # as in the color map viridis
    panel = Sheet(np.broadcast_to(np.asarray(ground, np.float32), (side, side, 3)).copy())
    pen = InkStyle(ink, width=generator.uniform(0.06, 0.14), is_opaque=True, softness=generator.choice([1.0, 4.0]))
    _write_centered(generator, hand, panel, hand.digits(1), pen, generator.uniform(0.55, 0.72))
    sheet.colors[margin : margin + side, margin : margin + side] = panel.colors
    for line in panel.lines:
        sheet.lines.append([replace(mark, outline=mark.outline + margin) for mark in line])
    thickness = max(1.0, side / 250)
    frame(sheet, (margin, margin, margin + side, margin + side), thickness, (0, 0, 0), 1)
    ticks = int(generator.integers(3, 7))
    labels = Sheet(sheet.colors)
    size, length = 0.28 * margin, 0.12 * margin
    printed = []
    for i in range(ticks):
        at = margin + side * (i + 0.5) / ticks
        edge = margin + side
        rule(sheet, [at], axis=1, thickness=thickness, color=(0, 0, 0), strength=1, span=(edge, edge + length))
        rule(sheet, [at], axis=0, thickness=thickness, color=(0, 0, 0), strength=1, span=(margin - length, margin))
        number = str(5 * i)
        printed.append(text(labels, number, at - 0.3 * size, edge + 1.5 * length, size, (0, 0, 0), 1))
        printed.append(
            text(labels, number, margin - 1.6 * length - 0.65 * size * len(number), at - 0.5 * size, size, (0, 0, 0), 1)
        )
    if generator.random() < 0.5:
        text(labels, "hend mvexf", margin + 0.3 * side, 0.3 * margin, 1.2 * size, (0, 0, 0), 1)
    page = take(sheet, Camera(size=(width, height), quality=int(generator.choice([0, 90]))), generator)
    page.ignored += printed
    return page
