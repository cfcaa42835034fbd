"""Writers, and how their digits, letters and marks are arranged on a sheet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.letters import LETTERS
from chainrule.data.handwriting.strokes import draw, random_style
from chainrule.data.handwriting.traces import from_strokes, mnist_size, mnist_traces

if TYPE_CHECKING:
    from chainrule.data.handwriting.ink import InkStyle
    from chainrule.data.handwriting.sheet import Extent, Mark, Sheet
    from chainrule.data.handwriting.traces import Trace

CAPITALS = tuple(letter for letter in LETTERS if letter.isupper())
LOWERCASE = tuple(letter for letter in LETTERS if letter.islower())
MAX_WIDTH_RATIO = 1.5
"""Limit on a stroke's largest width relative to its mean: above, as in a filled loop, thinning loses the shape."""
MAX_OVERLAP = 0.3
"""Limit on the overlap of two digits, relative to the narrower one: a 1 written over a 5 could not be read."""
SIGNS = ("comma", "dot", "dash", "equals", "plus", "euro")
DOODLES = (
    "smiley",
    "cross",
    "check",
    "arrow",
    "scribble",
    "tangle",
    "wave",
    "star",
    "hash",
    "asterisk",
    "heart",
    "triangle",
    "blot",
)


class Hand:
    """A writer of digits: MNIST's, deformed to lean and bend alike, or drawn from strokes in one style.

    Args:
        generator: the source of randomness.
        train: whether MNIST's training digits are used, rather than its test digits.
        drawn: the fraction of digits that are drawn from strokes; by default 0, 0.3 or 1 at random.
    """

    def __init__(self, generator: np.random.Generator, *, train: bool, drawn: float | None = None) -> None:
        self.generator = generator
        self.train = train
        self.slant = generator.normal(0, 0.1)
        self.aspect = float(np.exp(generator.normal(0, 0.1)))
        self.untidiness = generator.uniform(0.2, 1.5)
        self.style = random_style(generator)
        self.drawn = generator.choice([0.0, 0.3, 1.0], p=[0.4, 0.2, 0.4]) if drawn is None else drawn

    def digits(self, count: int) -> list[Trace]:
        """Return the traces of `count` random digits."""
        drawn = self.generator.random(count) < self.drawn
        images = iter(self._mnist(int(count - drawn.sum())))
        return [
            self.draw(str(self.generator.integers(10))) if is_drawn else self._personal(next(images))
            for is_drawn in drawn
        ]

    def _mnist(self, count: int) -> list[Trace]:
        """Return the traces of `count` digits of MNIST, without those whose shape thinning loses."""
        traces: list[Trace] = []
        while len(traces) < count:
            indices = self.generator.integers(mnist_size(train=self.train), size=count - len(traces) + 4)
            candidates = mnist_traces(train=self.train, indices=indices)
            traces += [trace for trace in candidates if trace.width.max() <= MAX_WIDTH_RATIO]
        return traces[:count]

    def draw(self, character: str, variant: str | None = None) -> Trace:
        """Return the trace of a digit, a letter or a mark, drawn from strokes in this writer's style."""
        drawing = draw(character, self.generator, variant, self.style)
        pressure = np.concatenate([stroke.pressure for stroke in drawing.strokes])
        label = int(character) if character.isdigit() else -1
        trace = from_strokes([stroke.points for stroke in drawing.strokes], label, pressure)
        if label >= 0:
            return trace.reshape(np.eye(2))
        left = np.array([trace.points[:, 0].min(), 0], np.float32)
        return replace(trace, points=trace.points - left)

    def word(self, letters: int) -> list[Trace]:
        """Return the traces of a random word of lowercase letters, sometimes with a capital first."""
        capital = self.generator.random() < 0.4
        names = [str(self.generator.choice(CAPITALS if capital and not i else LOWERCASE)) for i in range(letters)]
        return [self.draw(name) for name in names]

    def _personal(self, trace: Trace) -> Trace:
        """Return a trace deformed in this writer's way."""
        generator = self.generator
        slant = self.slant + 0.05 * self.untidiness * generator.normal()
        aspect = self.aspect * np.exp(0.08 * self.untidiness * generator.normal())
        turn = 0.04 * self.untidiness * generator.normal()
        matrix = np.array([[aspect, -slant - turn], [turn, 1.0]])
        return trace.reshape(matrix, 0.02 * self.untidiness * generator.random(), generator.uniform(0, 6))


@dataclass(frozen=True)
class Spacing:
    """How the digits of a line are placed, relative to their height.

    Attributes:
        gap: the space between neighbors; with a negative gap they overlap.
        unevenness: how much gaps and sizes vary, from 0 to 1.
        slope: the slope of the line, positive downward.
        words: the probability of a wide gap behind a digit, as between words.
        marks: the probability of a comma, a point, a dash or a sign behind a digit.
        crossed: the probability that a digit is crossed out.
    """

    gap: float = 0.25
    unevenness: float = 0.3
    slope: float = 0.0
    words: float = 0.0
    marks: float = 0.0
    crossed: float = 0.0


def write_line(
    sheet: Sheet,
    hand: Hand,
    traces: list[Trace],
    pen: InkStyle,
    size: float,
    start: tuple[float, float],
    spacing: Spacing,
    generator: np.random.Generator,
) -> list[Mark]:
    """Write digits in a line from `start` (left, top) to the sheet's right edge, and add them to the sheet's lines.

    Args:
        sheet: the sheet.
        hand: the writer, who also writes the signs between digits.
        traces: the digits.
        pen: the pen.
        size: the height of a digit in pixels.
        start: left and top of the first digit.
        spacing: how the digits are placed.
        generator: the source of randomness.

    Returns:
        The digits of the line, without those that were crossed out.
    """
    x, y = start
    line: list[Mark] = []
    previous_width = 0.0  # of the ink of the digit before
    overlap = 0.0  # of that ink with the next digit
    for trace in traces:
        height = size * (1 + 0.15 * spacing.unevenness * generator.normal())
        width = float(trace.points[:, 0].max()) * height
        x += max(0.0, overlap - MAX_OVERLAP * min(previous_width, width + pen.width * size))
        if x + width + 0.06 * size + 2 > sheet.width:
            break
        down = (
            y + spacing.slope * (x - start[0]) + (size - height) + 0.06 * spacing.unevenness * size * generator.normal()
        )
        mark = sheet.write(trace, pen, height, x, max(2 + pen.width * size, down), generator)
        if mark is not None and generator.random() < spacing.crossed:
            cross_out(sheet, mark, pen, size, generator)
        elif mark is not None:
            line.append(mark)
        gap = spacing.gap * (1 + spacing.unevenness * generator.uniform(-0.8, 0.8))
        previous_width, overlap = width + pen.width * size, -gap * size
        x += previous_width + gap * size
        if generator.random() < spacing.marks:
            sign = hand.draw(str(generator.choice(SIGNS)))
            sign_width = float(sign.points[:, 0].max()) * height
            if x + sign_width + 0.1 * size < sheet.width:
                sheet.write(sign, pen, height, x, max(2 + pen.width * size, down), generator)
                x += sign_width + pen.width * size + (0.1 + max(0.1, spacing.gap)) * size
                overlap = 0.0
        if generator.random() < spacing.words:
            x += generator.uniform(0.5, 1.5) * size
    if line:
        sheet.lines.append(line)
    return line


def cross_out(sheet: Sheet, mark: Mark, pen: InkStyle, size: float, generator: np.random.Generator) -> None:
    """Cross a digit out, by one or two strokes, and add it to the sheet's ignored digits."""
    left, top, right, bottom = mark.extent
    width, height = (right - left) / size, (bottom - top) / size
    ends = generator.uniform(-0.1, 0.1, (4, 2))
    strokes = [
        [(-0.1 + ends[0, 0], height * 0.9 + ends[0, 1]), (width + 0.1 + ends[1, 0], height * 0.1 + ends[1, 1])],
        [(-0.1 + ends[2, 0], height * 0.1 + ends[2, 1]), (width + 0.1 + ends[3, 0], height * 0.9 + ends[3, 1])],
    ]
    sheet.write(from_strokes(strokes[: generator.integers(1, 3)]), pen, size, left, top, generator)
    sheet.ignored.append(mark)


def line_extent(x: float, y: float, traces: list[Trace], size: float, spacing: Spacing) -> Extent:
    """Return the approximate box of a line of traces that starts at x and y."""
    width = sum(float(trace.points[:, 0].max()) + spacing.gap + 0.1 for trace in traces) * size
    return x, y - 0.15 * size, x + width, y + 1.2 * size


def random_spacing(generator: np.random.Generator) -> Spacing:
    """Return a random spacing: narrow or wide, even or uneven, level or sloping."""
    return Spacing(
        gap=generator.choice(
            [generator.uniform(-0.06, 0.08), generator.uniform(0.08, 0.3), generator.uniform(0.3, 1)], p=[0.1, 0.6, 0.3]
        ),
        unevenness=generator.uniform(0.1, 1.0),
        slope=generator.normal(0, 0.02),
        words=generator.choice([0.0, 0.12, 0.35]),
        marks=generator.choice([0.0, 0.1, 0.3], p=[0.6, 0.25, 0.15]),
        crossed=generator.choice([0.0, 0.04], p=[0.85, 0.15]),
    )


def write_lines(
    sheet: Sheet,
    hand: Hand,
    pen: InkStyle,
    size: float,
    spacing: Spacing,
    generator: np.random.Generator,
    *,
    max_digits: int = 90,
    margin_fraction: float = 0.06,
) -> None:
    """Write lines of digits on a sheet, with a margin of `margin_fraction` of its shorter side."""
    margin = margin_fraction * min(sheet.height, sheet.width) + (0.5 * pen.width + 0.05) * size
    lead = size * generator.uniform(1.35, 2.4)
    room = sheet.height - 2 * margin - size
    rows = max(1, min(int(room / lead) + 1, int(generator.choice([1, 2, 3, 5, 12]))))
    y = margin + max(0.0, room - (rows - 1) * lead) * generator.random()
    per_row = generator.choice([3, 6, 10, 16])
    traces = hand.digits(min(max_digits, rows * per_row + 2))
    for row in range(rows):
        count = max(1, min(per_row, int(generator.normal(per_row, 0.25 * per_row))))
        line, traces = traces[:count], traces[count:]
        width = sum(float(trace.points[:, 0].max()) + spacing.gap + pen.width for trace in line) * size
        x = margin + max(0.0, sheet.width - 2 * margin - width) * generator.random() * generator.choice([0.1, 1.0])
        height = size * (1 + 0.08 * spacing.unevenness * generator.normal())
        write_line(sheet, hand, line, pen, height, (x, y + row * lead), spacing, generator)


def scatter(
    sheet: Sheet, hand: Hand, pen: InkStyle, size: float, generator: np.random.Generator, *, max_digits: int = 30
) -> None:
    """Write numbers of one to five digits at free places of the sheet, in different sizes."""
    traces = hand.digits(max_digits)
    variation = generator.choice([0.0, 0.15, 0.35])
    for _ in range(generator.integers(1, max_digits // 2)):
        height = size * float(np.exp(variation * generator.normal()))
        count = min(len(traces), int(generator.integers(1, 6)))
        spacing = random_spacing(generator)
        line = traces[:count]
        left, top, right, bottom = line_extent(0, 0, line, height, spacing)
        if not count or right - left > sheet.width or bottom - top > sheet.height:
            break
        for _ in range(8):
            x = generator.uniform(0.1 * size, max(0.2 * size, sheet.width - right))
            y = generator.uniform(0.2 * size, max(0.3 * size, sheet.height - 1.3 * height))
            if sheet.is_free(line_extent(x, y, line, height, spacing), 0.15 * size):
                write_line(sheet, hand, line, pen, height, (x, y), spacing, generator)
                traces = traces[count:]
                break


def write_words(
    sheet: Sheet, hand: Hand, pen: InkStyle, size: float, generator: np.random.Generator, count: int
) -> None:
    """Write words and doodles at free places of the sheet, at most `count`."""
    for _ in range(count):
        if generator.random() < 0.25:
            traces = [hand.draw(str(generator.choice(DOODLES)))]
        else:
            traces = hand.word(int(generator.integers(2, 9)))
        gap = generator.uniform(0.02, 0.15)
        width = sum(float(trace.points[:, 0].max()) + gap + pen.width for trace in traces) * size
        for _ in range(8):
            x, y = (
                generator.uniform(0, max(1, sheet.width - width)),
                generator.uniform(0.1 * size, max(0.2 * size, sheet.height - 1.5 * size)),
            )
            if not sheet.is_free((x, y - 0.1 * size, x + width, y + 1.3 * size), 0.1 * size):
                continue
            for trace in traces:
                sheet.write(trace, pen, size, x, y, generator)
                x += (float(trace.points[:, 0].max()) + gap + pen.width) * size
            break
