"""Layouts: lines of digits, numbers here and there, tables and frames, with words and print beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.data.handwriting import inks
from chainrule.data.handwriting.print import frame, print_lines
from chainrule.data.handwriting.sheet import Sheet, rule
from chainrule.data.handwriting.writing import Spacing, random_spacing, scatter, write_line, write_lines, write_words

if TYPE_CHECKING:
    from chainrule.data.handwriting.ink import InkStyle
    from chainrule.data.handwriting.writing import Hand


def write_something(random: np.random.Generator, hand: Hand, sheet: Sheet, pen: InkStyle, size: float) -> None:
    """Write lines of digits, numbers here and there, or a table."""
    kind = random.random()
    if kind < 0.6:
        write_lines(sheet, hand, pen, size, random_spacing(random), random)
    elif kind < 0.75:
        write_table(random, hand, sheet, pen, size)
    else:
        scatter(sheet, hand, pen, size, random)
    if random.random() < 0.3:
        write_words(sheet, hand, pen, size * random.uniform(0.6, 1.1), random, int(random.integers(1, 7)))
    if random.random() < 0.2:
        print_lines(random, sheet, size * random.uniform(0.3, 0.9), int(random.integers(1, 9)))
    if random.random() < 0.12:
        draw_frames(random, sheet, size)


def show_through(random: np.random.Generator, hand: Hand, sheet: Sheet, pen: InkStyle, size: float) -> None:
    """The writing of the other side, faint and reversed."""
    reverse = Sheet(np.ones_like(sheet.colors))
    write_words(reverse, hand, pen, size, random, int(random.integers(2, 10)))
    scatter(reverse, hand, pen, size, random, most=12)
    amount = ndimage.gaussian_filter(1 - reverse.colors[:, ::-1].min(axis=2), 0.03 * size)
    strength = np.float32(random.uniform(0.03, 0.12))
    sheet.stain(slice(0, sheet.height), slice(0, sheet.width), amount * strength, pen.color)


def write_table(random: np.random.Generator, hand: Hand, sheet: Sheet, pen: InkStyle, size: float) -> None:
    """Print the cells of a form or a table, and write a digit or a number into most of them."""
    longest = int(random.choice([1, 1, 2, 4]))
    wide, tall = size * (0.25 + 0.85 * longest) * random.uniform(0.95, 1.5), size * random.uniform(1.15, 2.2)
    columns, rows = (
        max(1, min(8, int(0.9 * side / cell))) for side, cell in ((sheet.width, wide), (sheet.height, tall))
    )
    rows = int(random.integers(1, rows + 1))
    left = (sheet.width - columns * wide) * random.uniform(0.1, 0.9)
    top = (sheet.height - rows * tall) * random.uniform(0.1, 0.9)
    thickness = max(1.0, size * random.uniform(0.015, 0.06))
    tint = inks.choose_color(random, inks.INKS) if random.random() < 0.4 else (random.uniform(0, 0.5),) * 3
    strength, parted = random.uniform(0.3, 1), random.random() < 0.25
    for axis, first, cell, count, span in (
        (0, top, tall, rows, (left, left + columns * wide)),
        (1, left, wide, columns, (top, top + rows * tall)),
    ):
        if parted and axis == 0:  # only the outer lines
            positions = np.array([first, first + count * cell])
        else:
            positions = first + cell * np.arange(count + 1)
        rule(sheet, positions, axis=axis, thickness=thickness, color=tint, strength=strength, span=span)
    traces = hand.digits(min(90, rows * columns * longest))
    for row in range(rows):
        for column in range(columns):
            number, traces = traces[:longest], traces[longest:]
            number = number[: random.integers(1, longest + 1)] if number and random.random() < 0.9 else []
            x = left + wide * (column + random.uniform(0.12, 0.3))
            y = top + row * tall + (tall - size) * random.uniform(0.25, 0.75)
            room = (left + wide * (column + 1.1) - x) / size
            while number and sum(float(trace.points[:, 0].max()) + 0.1 for trace in number) > room:
                number = number[1:]
            write_line(sheet, hand, number, pen, size, (x, y), Spacing(0.1, 0.3), random)


def draw_frames(random: np.random.Generator, sheet: Sheet, size: float) -> None:
    """Draw boxes around lines of digits, underlines, and empty check boxes."""
    thickness = max(1.0, size * random.uniform(0.015, 0.07))
    color, strength = (random.uniform(0, 0.4),) * 3, random.uniform(0.4, 1)
    for line in sheet.lines:
        extents = [mark.extent for mark in line]
        margin = size * random.uniform(0.12, 0.4)
        left, top = (min(extent[side] for extent in extents) - margin for side in (0, 1))
        right, bottom = (max(extent[side] for extent in extents) + margin for side in (2, 3))
        if random.random() < 0.5:
            frame(sheet, (left, top, right, bottom), thickness, color, strength)
        elif random.random() < 0.5:
            rule(sheet, [bottom], axis=0, thickness=thickness, color=color, strength=strength, span=(left, right))
    side = size * random.uniform(0.4, 1)
    for _ in range(random.integers(0, 5)):
        x, y = random.uniform(0, sheet.width), random.uniform(0, sheet.height)
        if sheet.is_free((x, y, x + side, y + side), 0.2 * size):
            frame(sheet, (x, y, x + side, y + side), thickness, color, strength)
