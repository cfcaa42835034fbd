"""Layouts: lines of digits, scattered numbers, tables and frames, with words and print beside them."""

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


def write_something(generator: np.random.Generator, hand: Hand, sheet: Sheet, pen: InkStyle, size: float) -> None:
    """Write lines of digits, scattered numbers or a table; sometimes also words, print and frames."""
    kind = generator.random()
    if kind < 0.6:
        write_lines(sheet, hand, pen, size, random_spacing(generator), generator)
    elif kind < 0.75:
        write_table(generator, hand, sheet, pen, size)
    else:
        scatter(sheet, hand, pen, size, generator)
    if generator.random() < 0.3:
        write_words(sheet, hand, pen, size * generator.uniform(0.6, 1.1), generator, int(generator.integers(1, 7)))
    if generator.random() < 0.2:
        print_lines(generator, sheet, size * generator.uniform(0.3, 0.9), int(generator.integers(1, 9)))
    if generator.random() < 0.12:
        draw_frames(generator, sheet, size)


def show_through(generator: np.random.Generator, hand: Hand, sheet: Sheet, pen: InkStyle, size: float) -> None:
    """Let the writing on the back of the sheet show through, faint and mirrored."""
    reverse = Sheet(np.ones_like(sheet.colors))
    write_words(reverse, hand, pen, size, generator, int(generator.integers(2, 10)))
    scatter(reverse, hand, pen, size, generator, max_digits=12)
    amount = ndimage.gaussian_filter(1 - reverse.colors[:, ::-1].min(axis=2), 0.03 * size)
    strength = np.float32(generator.uniform(0.03, 0.12))
    sheet.stain(slice(0, sheet.height), slice(0, sheet.width), amount * strength, pen.color)


def write_table(generator: np.random.Generator, hand: Hand, sheet: Sheet, pen: InkStyle, size: float) -> None:
    """Print the cells of a form or table, and write a number of one to four digits into most of them."""
    longest = int(generator.choice([1, 1, 2, 4]))
    cell_width = size * (0.25 + 0.85 * longest) * generator.uniform(0.95, 1.5)
    cell_height = size * generator.uniform(1.15, 2.2)
    columns, rows = (
        max(1, min(8, int(0.9 * side / cell)))
        for side, cell in ((sheet.width, cell_width), (sheet.height, cell_height))
    )
    rows = int(generator.integers(1, rows + 1))
    left = (sheet.width - columns * cell_width) * generator.uniform(0.1, 0.9)
    top = (sheet.height - rows * cell_height) * generator.uniform(0.1, 0.9)
    thickness = max(1.0, size * generator.uniform(0.015, 0.06))
    color = inks.choose_color(generator, inks.INKS) if generator.random() < 0.4 else (generator.uniform(0, 0.5),) * 3
    strength, has_outer_lines_only = generator.uniform(0.3, 1), generator.random() < 0.25
    for axis, first, cell, count, span in (
        (0, top, cell_height, rows, (left, left + columns * cell_width)),
        (1, left, cell_width, columns, (top, top + rows * cell_height)),
    ):
        if has_outer_lines_only and axis == 0:  # only the outer lines
            positions = np.array([first, first + count * cell])
        else:
            positions = first + cell * np.arange(count + 1)
        rule(sheet, positions, axis=axis, thickness=thickness, color=color, strength=strength, span=span)
    traces = hand.digits(min(90, rows * columns * longest))
    for row in range(rows):
        for column in range(columns):
            number, traces = traces[:longest], traces[longest:]
            number = number[: generator.integers(1, longest + 1)] if number and generator.random() < 0.9 else []
            x = left + cell_width * (column + generator.uniform(0.12, 0.3))
            y = top + row * cell_height + (cell_height - size) * generator.uniform(0.25, 0.75)
            room = (left + cell_width * (column + 1.1) - x) / size
            while number and sum(float(trace.points[:, 0].max()) + 0.1 for trace in number) > room:
                number = number[1:]
            write_line(sheet, hand, number, pen, size, (x, y), Spacing(0.1, 0.3), generator)


def draw_frames(generator: np.random.Generator, sheet: Sheet, size: float) -> None:
    """Draw boxes around lines of digits or underline them, and draw empty check boxes."""
    thickness = max(1.0, size * generator.uniform(0.015, 0.07))
    color, strength = (generator.uniform(0, 0.4),) * 3, generator.uniform(0.4, 1)
    for line in sheet.lines:
        extents = [mark.extent for mark in line]
        margin = size * generator.uniform(0.12, 0.4)
        left, top = (min(extent[side] for extent in extents) - margin for side in (0, 1))
        right, bottom = (max(extent[side] for extent in extents) + margin for side in (2, 3))
        if generator.random() < 0.5:
            frame(sheet, (left, top, right, bottom), thickness, color, strength)
        elif generator.random() < 0.5:
            rule(sheet, [bottom], axis=0, thickness=thickness, color=color, strength=strength, span=(left, right))
    side = size * generator.uniform(0.4, 1)
    for _ in range(generator.integers(0, 5)):
        x, y = generator.uniform(0, sheet.width), generator.uniform(0, sheet.height)
        if sheet.is_free((x, y, x + side, y + side), 0.2 * size):
            frame(sheet, (x, y, x + side, y + side), thickness, color, strength)
