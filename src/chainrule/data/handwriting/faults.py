"""Pages that are hard to read for one reason each: strips, faint or broad strokes, light ink, clutter, small cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting import everyday, inks, surfaces, things
from chainrule.data.handwriting.camera import Camera
from chainrule.data.handwriting.compose import take, tilted
from chainrule.data.handwriting.ink import InkStyle
from chainrule.data.handwriting.print import squared
from chainrule.data.handwriting.sheet import blank, rule
from chainrule.data.handwriting.writing import Spacing, random_spacing, write_line, write_lines

if TYPE_CHECKING:
    from chainrule.data.handwriting.compose import Page
    from chainrule.data.handwriting.sheet import Colors, Extent
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
    write_line(sheet, hand, hand.digits(14), pen, size, (0.3 * size, y), spacing, random)
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
    height = round(random.uniform(100, 170))
    size = height * random.uniform(0.52, 0.74)
    stroke = height * random.triangular(0.05, 0.055, 0.09)
    traces = hand.digits(int(random.choice([2, 2, 3, 4])))
    spacing = Spacing(random.uniform(0.15, 0.3), 0.2)
    wide = sum(float(trace.points[:, 0].max()) + spacing.gap + stroke / size for trace in traces) * size
    width = max(height, round(wide + 0.4 * height))
    sheet = blank(random, (height, width), inks.choose_color(random, inks.PAPERS[:2]), rough=0.003)
    pen = InkStyle(inks.choose_color(random, inks.INKS[:4]), width=stroke / size, natural=random.uniform(0, 0.5))
    write_line(sheet, hand, traces, pen, size, (0.18 * height, (height - size) / 2), spacing, random)
    camera = Camera(size=(width, height), blur=1.0, noise=0.003, light=0.99, quality=92)
    return take(sheet, camera, random)


def light_on_dark(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """Chalk on a board, a white pen on dark paper, or a dark screen."""
    form = everyday.random_format(random, min(most, 2_000_000))
    if random.random() < 0.7:
        return everyday.blackboard(random, hand, form)
    return everyday.screen(random, hand, form, dark=True)


def clutter(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """A few small digits beside a binding, fingers, cloth, a desk's corner, or out-of-focus rules that fan out."""
    form = (
        everyday.Format((1200, 900), (1200, 900))
        if random.random() < 0.5
        else everyday.Format((900, 1200), (900, 1200))
    )
    size = random.uniform(34, 60)
    color = inks.choose_color(random, inks.PAPERS[:3])
    sheet = blank(random, form.work[::-1], color, rough=0.008)
    fans = random.random() < 0.4
    if fans:
        squared(
            random,
            sheet,
            size * random.uniform(0.9, 1.6),
            random.uniform(1.5, 3.0),
            (0.4, 0.5, 0.7),
            random.uniform(0.3, 0.6),
        )
    elif random.random() < 0.4:
        rule(
            sheet,
            np.arange(random.uniform(0, size), sheet.height, 1.6 * size),
            axis=0,
            thickness=1.6,
            color=(0.4, 0.5, 0.75),
            strength=random.uniform(0.25, 0.5),
        )
    pen = replace(inks.ball_pen(random), width=random.uniform(0.05, 0.08), pressure=0.2, direction=0.1, skips=0)
    write_lines(sheet, hand, pen, size, random_spacing(random), random, most=int(random.integers(3, 16)), edge=0.2)
    zoom = random.uniform(1.0, 1.15) if fans else random.uniform(0.7, 0.95)
    corners = tilted(random, form.work, form.work, zoom=zoom, angle=2, tilt=0.02)
    if fans:
        middle = corners.mean(axis=0)
        corners = middle + (corners - middle) * np.array([[0.9, 1], [0.9, 1], [1.25, 1.1], [1.25, 1.1]])
    camera = Camera(
        size=form.work,
        corners=corners,
        blur=0.7,
        far_blur=random.uniform(3, 6) if fans else 0.0,
        focus=random.choice([-np.pi / 2, np.pi / 2]),
        noise=0.012,
        light=random.uniform(0.75, 0.98),
        uneven=0.3,
        vignette=0.1,
        quality=int(random.integers(60, 92)),
    )

    def lay(scene: Colors, boxes: list[Extent]) -> None:
        for _ in range(2):
            if things.binding(random, scene, boxes, size * random.uniform(0.8, 1.4), corners):
                break
        for _ in range(random.integers(1, 4)):
            things.lay_thing(random, scene, boxes, size * random.uniform(0.7, 1.6), corners)

    return take(sheet, camera, random, background=surfaces.desk(random, form.work[::-1]), lay=None if fans else lay)


def cells(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """A cell of a register: tiny, JPEG, digits that touch, a printed rule through them, the first one at the border."""
    zoom = 4
    width, height = round(random.uniform(55, 172)), round(random.uniform(38, 84))
    size = max(18, height * random.uniform(0.4, 0.62)) * zoom
    color = inks.choose_color(random, inks.PAPERS[:3])
    sheet = blank(random, (height * zoom, width * zoom), color, rough=0.01)
    dark, thickness = random.uniform(0.1, 0.5), random.uniform(0.8, 1.8) * zoom
    y = (height * zoom - size) * random.uniform(0.3, 0.7)
    pen = replace(inks.ball_pen(random), width=random.uniform(0.06, 0.1), pressure=0.25, direction=0.1, skips=0)
    x = random.choice([0.55 * pen.width * size, random.uniform(0.2, 0.6) * size])
    if random.random() < 0.3:
        dash = sheet.write(hand.draw("dash"), pen, size, x, y, random)
        x = (dash.extent[2] if dash else x) + 0.15 * size
    traces = hand.digits(int(random.integers(2, 5)))
    if random.random() < 0.5:  # a round number
        zeros = [hand.draw("0") for _ in range(random.integers(1, 3))]
        traces = [*traces[: -len(zeros)], *zeros] if len(traces) > len(zeros) else zeros
    gap = random.uniform(-0.12, 0.1)
    wide = sum(float(trace.points[:, 0].max()) + max(gap, 0) + pen.width + 0.15 for trace in traces)
    size = min(size, (sheet.width - x) / wide)
    write_line(sheet, hand, traces, pen, size, (x, y), Spacing(gap, 0.15), random)
    if random.random() < 0.6:  # over the digits: ink and print are one
        rows = [y + size * random.uniform(0.15, 1.05)]
        rule(sheet, rows, axis=0, thickness=thickness, color=(dark, dark, dark), strength=random.uniform(0.4, 0.9))
    if random.random() < 0.5:
        columns = [random.choice([random.uniform(0, 2) * zoom, sheet.width - random.uniform(0, 2) * zoom])]
        rule(sheet, columns, axis=1, thickness=thickness, color=(dark, dark, dark), strength=random.uniform(0.5, 0.9))
    camera = Camera(
        size=(width * zoom, height * zoom),
        blur=0.3 * zoom,
        noise=0.01,
        light=random.uniform(0.8, 1.0),
        uneven=0.1,
        resampled=(width, height),
        quality=int(random.integers(35, 80)),
    )
    return take(sheet, camera, random)
