"""Writers: whose digits, letters and marks, and how they are arranged on a sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.traces import mnist_size, mnist_traces

if TYPE_CHECKING:
    from chainrule.data.handwriting.ink import InkStyle
    from chainrule.data.handwriting.sheet import Extent, Mark, Sheet
    from chainrule.data.handwriting.traces import Trace


class Hand:
    """A writer: digits of MNIST, which all lean and bend in a similar way.

    Args:
        random: the source of randomness.
        train: whether the digits are MNIST's training digits, or its test digits.
    """

    def __init__(self, random: np.random.Generator, *, train: bool) -> None:
        self.random = random
        self.train = train
        self.slant = random.normal(0, 0.12)
        self.aspect = float(np.exp(random.normal(0, 0.12)))
        self.untidy = random.uniform(0.2, 1.5)

    def digits(self, count: int) -> list[Trace]:
        """The traces of `count` digits drawn at random."""
        indices = self.random.integers(mnist_size(train=self.train), size=count)
        return [self._personal(trace) for trace in mnist_traces(train=self.train, indices=indices)]

    def _personal(self, trace: Trace) -> Trace:
        random = self.random
        slant = self.slant + 0.05 * self.untidy * random.normal()
        aspect = self.aspect * np.exp(0.08 * self.untidy * random.normal())
        turn = 0.04 * self.untidy * random.normal()
        matrix = np.array([[aspect, -slant - turn], [turn, 1.0]])
        return trace.reshape(matrix, 0.02 * self.untidy * random.random(), random.uniform(0, 6))


@dataclass(frozen=True)
class Spacing:
    """How the digits of a line are placed, relative to their height.

    Attributes:
        gap: between neighbors; negative ones touch.
        uneven: how much gaps and sizes vary, from 0 to 1.
        slope: of the line, down per pixel across.
        words: the probability of a gap as wide as a digit.
    """

    gap: float = 0.25
    uneven: float = 0.3
    slope: float = 0.0
    words: float = 0.0


def write_line(
    sheet: Sheet,
    traces: list[Trace],
    pen: InkStyle,
    size: float,
    start: tuple[float, float],
    spacing: Spacing,
    random: np.random.Generator,
) -> list[Mark]:
    """Write digits in a line from `start` (left, top) until the sheet ends, and add them to the sheet's lines."""
    x, y = start
    line: list[Mark] = []
    for trace in traces:
        height = size * (1 + 0.15 * spacing.uneven * random.normal())
        wide = float(trace.points[:, 0].max()) * height
        if x + wide + 0.06 * size + 2 > sheet.width:
            break
        down = y + spacing.slope * (x - start[0]) + (size - height) + 0.06 * spacing.uneven * size * random.normal()
        mark = sheet.write(trace, pen, height, x, max(2 + pen.width * size, down), random)
        if mark is not None:
            line.append(mark)
        gap = spacing.gap * (1 + spacing.uneven * random.uniform(-0.8, 0.8))
        x += wide + pen.width * size + gap * size
        if random.random() < spacing.words:
            x += random.uniform(0.5, 1.5) * size
    if line:
        sheet.lines.append(line)
    return line


def line_extent(x: float, y: float, traces: list[Trace], size: float, spacing: Spacing) -> Extent:
    """The box in which a line of traces will be, roughly."""
    wide = sum(float(trace.points[:, 0].max()) + spacing.gap + 0.1 for trace in traces) * size
    return x, y - 0.15 * size, x + wide, y + 1.2 * size


def random_spacing(random: np.random.Generator) -> Spacing:
    """How one writer spaces digits: closely or widely, evenly or not, level or sloping."""
    return Spacing(
        gap=random.choice([random.uniform(0.08, 0.3), random.uniform(0.3, 1.0)], p=[0.7, 0.3]),
        uneven=random.uniform(0.1, 1.0),
        slope=random.normal(0, 0.02),
        words=random.choice([0.0, 0.12, 0.35]),
    )


def write_lines(
    sheet: Sheet,
    hand: Hand,
    pen: InkStyle,
    size: float,
    spacing: Spacing,
    random: np.random.Generator,
    *,
    most: int = 90,
    edge: float = 0.06,
) -> None:
    """Fill some of a sheet with lines of digits, from the top; `edge` is the margin relative to the shorter side."""
    margin = edge * min(sheet.height, sheet.width) + (0.5 * pen.width + 0.05) * size
    lead = size * random.uniform(1.35, 2.4)
    room = sheet.height - 2 * margin - size
    rows = max(1, min(int(room / lead) + 1, int(random.choice([1, 2, 3, 5, 12]))))
    y = margin + max(0.0, room - (rows - 1) * lead) * random.random()
    per_row = random.choice([3, 6, 10, 16])
    traces = hand.digits(min(most, rows * per_row + 2))
    for row in range(rows):
        count = max(1, min(per_row, int(random.normal(per_row, 0.25 * per_row))))
        line, traces = traces[:count], traces[count:]
        wide = sum(float(trace.points[:, 0].max()) + spacing.gap + pen.width for trace in line) * size
        x = margin + max(0.0, sheet.width - 2 * margin - wide) * random.random() * random.choice([0.1, 1.0])
        height = size * (1 + 0.08 * spacing.uneven * random.normal())
        write_line(sheet, line, pen, height, (x, y + row * lead), spacing, random)


def scatter(
    sheet: Sheet, hand: Hand, pen: InkStyle, size: float, random: np.random.Generator, *, most: int = 30
) -> None:
    """Write numbers of one to five digits here and there, of different sizes."""
    traces = hand.digits(most)
    variation = random.choice([0.0, 0.15, 0.35])
    for _ in range(random.integers(1, most // 2)):
        height = size * float(np.exp(variation * random.normal()))
        count = min(len(traces), int(random.integers(1, 6)))
        spacing = random_spacing(random)
        line = traces[:count]
        left, top, right, bottom = line_extent(0, 0, line, height, spacing)
        if not count or right - left > sheet.width or bottom - top > sheet.height:
            break
        for _ in range(8):
            x = random.uniform(0.1 * size, max(0.2 * size, sheet.width - right))
            y = random.uniform(0.2 * size, max(0.3 * size, sheet.height - 1.3 * height))
            if sheet.is_free(line_extent(x, y, line, height, spacing), 0.15 * size):
                write_line(sheet, line, pen, height, (x, y), spacing, random)
                traces = traces[count:]
                break
