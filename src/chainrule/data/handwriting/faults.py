"""Pages that are hard to read, for one reason each: strips, faint or broad strokes, light ink, clutter, small cells."""

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


def strips(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A line of digits cut out of a page: a long strip, of whose height the digits take a large part."""
    size = generator.uniform(40, 90)
    height = round(size * generator.uniform(1.3, 2.2))
    width = round(height * generator.uniform(4, 8))
    sheet = blank(generator, (height, width), inks.choose_color(generator, inks.PAPERS), rough=0.005)
    pen = replace(inks.gel_pen(generator), width=max(3.0, size * generator.uniform(0.05, 0.09)) / size)
    y = max(3.0, (height - size) / 2 + generator.uniform(-0.1, 0.1) * size)
    spacing = Spacing(generator.uniform(0.3, 0.8), 0.3)
    write_line(sheet, hand, hand.digits(14), pen, size, (0.3 * size, y), spacing, generator)
    camera = Camera(size=(width, height), blur=generator.uniform(0.3, 0.8), noise=0.006, light=0.95, quality=85)
    return take(sheet, camera, generator)


def faint(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A ball pen on gray paper: downstrokes are dark, arcs and sideways strokes are faint."""
    size = generator.uniform(40, 70)
    gray = generator.uniform(0.6, 0.82)
    sheet = blank(generator, (1200, 900), (gray, gray, gray), rough=0.006)
    pen = InkStyle(
        inks.choose_color(generator, inks.INKS[:4]),
        width=generator.uniform(0.035, 0.055),
        opacity=generator.uniform(0.62, 0.75),
        pressure=0.15,
        direction=generator.uniform(0.72, 0.82),
    )
    write_lines(sheet, hand, pen, size, Spacing(0.35, 0.4), generator, max_digits=40)
    camera = Camera(
        size=(900, 1200), blur=generator.uniform(0.5, 0.8), noise=0.006, light=0.97, unevenness=0.2, quality=88
    )
    return take(sheet, camera, generator)


def broad(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """Two to four digits fill a small picture: strokes of 5 to 9% of its height."""
    height = round(generator.uniform(100, 170))
    size = height * generator.uniform(0.52, 0.74)
    stroke = height * generator.triangular(0.05, 0.055, 0.09)
    traces = hand.digits(int(generator.choice([2, 2, 3, 4])))
    spacing = Spacing(generator.uniform(0.15, 0.3), 0.2)
    wide = sum(float(trace.points[:, 0].max()) + spacing.gap + stroke / size for trace in traces) * size
    width = max(height, round(wide + 0.4 * height))
    sheet = blank(generator, (height, width), inks.choose_color(generator, inks.PAPERS[:2]), rough=0.003)
    pen = InkStyle(inks.choose_color(generator, inks.INKS[:4]), width=stroke / size, natural=generator.uniform(0, 0.5))
    write_line(sheet, hand, traces, pen, size, (0.18 * height, (height - size) / 2), spacing, generator)
    camera = Camera(size=(width, height), blur=1.0, noise=0.003, light=0.99, quality=92)
    return take(sheet, camera, generator)


def light_on_dark(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """Chalk on a board, a white pen on dark paper, or a dark screen."""
    fmt = everyday.random_format(generator, min(max_pixels, 2_000_000))
    if generator.random() < 0.7:
        return everyday.blackboard(generator, hand, fmt)
    return everyday.screen(generator, hand, fmt, dark=True)


def clutter(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A few small digits beside objects on a desk, or on squared paper whose lines fan out of focus."""
    picture_size = (1200, 900) if generator.random() < 0.5 else (900, 1200)
    fmt = everyday.Format(picture_size, picture_size)
    size = generator.uniform(34, 60)
    color = inks.choose_color(generator, inks.PAPERS[:3])
    sheet = blank(generator, fmt.work[::-1], color, rough=0.008)
    fans = generator.random() < 0.4
    if fans:
        squared(
            generator,
            sheet,
            size * generator.uniform(0.9, 1.6),
            generator.uniform(1.5, 3.0),
            (0.4, 0.5, 0.7),
            generator.uniform(0.3, 0.6),
        )
    elif generator.random() < 0.4:
        rule(
            sheet,
            np.arange(generator.uniform(0, size), sheet.height, 1.6 * size),
            axis=0,
            thickness=1.6,
            color=(0.4, 0.5, 0.75),
            strength=generator.uniform(0.25, 0.5),
        )
    pen = replace(inks.ball_pen(generator), width=generator.uniform(0.05, 0.08), pressure=0.2, direction=0.1, skips=0)
    write_lines(
        sheet,
        hand,
        pen,
        size,
        random_spacing(generator),
        generator,
        max_digits=int(generator.integers(3, 16)),
        margin_fraction=0.2,
    )
    zoom = generator.uniform(1.0, 1.15) if fans else generator.uniform(0.7, 0.95)
    corners = tilted(generator, fmt.work, fmt.work, zoom=zoom, angle=2, tilt=0.02)
    if fans:
        middle = corners.mean(axis=0)
        corners = middle + (corners - middle) * np.array([[0.9, 1], [0.9, 1], [1.25, 1.1], [1.25, 1.1]])
    camera = Camera(
        size=fmt.work,
        corners=corners,
        blur=0.7,
        far_blur=generator.uniform(3, 6) if fans else 0.0,
        far_direction=generator.choice([-np.pi / 2, np.pi / 2]),
        noise=0.012,
        light=generator.uniform(0.75, 0.98),
        unevenness=0.3,
        vignette=0.1,
        quality=int(generator.integers(60, 92)),
    )

    def add_objects(scene: Colors, boxes: list[Extent]) -> None:
        for _ in range(2):
            if things.binding(generator, scene, boxes, size * generator.uniform(0.8, 1.4), corners):
                break
        for _ in range(generator.integers(1, 4)):
            things.lay_thing(generator, scene, boxes, size * generator.uniform(0.7, 1.6), corners)

    return take(
        sheet,
        camera,
        generator,
        background=surfaces.desk(generator, fmt.work[::-1]),
        add_objects=None if fans else add_objects,
    )


def cells(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A tiny JPEG of a register's cell: digits that touch, often with a printed rule through them."""
    zoom = 4
    width, height = round(generator.uniform(55, 172)), round(generator.uniform(38, 84))
    size = max(18, height * generator.uniform(0.4, 0.62)) * zoom
    color = inks.choose_color(generator, inks.PAPERS[:3])
    sheet = blank(generator, (height * zoom, width * zoom), color, rough=0.01)
    dark, thickness = generator.uniform(0.1, 0.5), generator.uniform(0.8, 1.8) * zoom
    y = (height * zoom - size) * generator.uniform(0.3, 0.7)
    pen = replace(inks.ball_pen(generator), width=generator.uniform(0.06, 0.1), pressure=0.25, direction=0.1, skips=0)
    x = generator.choice([0.55 * pen.width * size, generator.uniform(0.2, 0.6) * size])
    if generator.random() < 0.3:
        dash = sheet.write(hand.draw("dash"), pen, size, x, y, generator)
        x = (dash.extent[2] if dash else x) + 0.15 * size
    traces = hand.digits(int(generator.integers(2, 5)))
    if generator.random() < 0.5:  # a round number
        zeros = [hand.draw("0") for _ in range(generator.integers(1, 3))]
        traces = [*traces[: -len(zeros)], *zeros] if len(traces) > len(zeros) else zeros
    gap = generator.uniform(-0.12, 0.1)
    wide = sum(float(trace.points[:, 0].max()) + max(gap, 0) + pen.width + 0.15 for trace in traces)
    size = min(size, (sheet.width - x) / wide)
    write_line(sheet, hand, traces, pen, size, (x, y), Spacing(gap, 0.15), generator)
    if generator.random() < 0.6:  # a rule across the digits, which joins their ink
        rows = [y + size * generator.uniform(0.15, 1.05)]
        rule(sheet, rows, axis=0, thickness=thickness, color=(dark, dark, dark), strength=generator.uniform(0.4, 0.9))
    if generator.random() < 0.5:
        columns = [generator.choice([generator.uniform(0, 2) * zoom, sheet.width - generator.uniform(0, 2) * zoom])]
        rule(
            sheet, columns, axis=1, thickness=thickness, color=(dark, dark, dark), strength=generator.uniform(0.5, 0.9)
        )
    camera = Camera(
        size=(width * zoom, height * zoom),
        blur=0.3 * zoom,
        noise=0.01,
        light=generator.uniform(0.8, 1.0),
        unevenness=0.1,
        saved_size=(width, height),
        quality=int(generator.integers(35, 80)),
    )
    return take(sheet, camera, generator)
