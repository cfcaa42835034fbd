"""Writers: whose digits, letters and marks, and how they are arranged on a sheet."""

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
SMALL = tuple(letter for letter in LETTERS if letter.islower())
MAX_WIDTH_RATIO = (
    1.5  # of a stroke's widest place to its mean: in wider ones, as in a filled loop, thinning loses shape
)
MOST_SHARED = 0.3  # of the narrower one's width: digits that overlap more, such as a 1 on a 5, nobody can tell apart
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
    """A writer: digits of MNIST that lean and bend in a similar way, or digits drawn from strokes in one style.

    Args:
        random: the source of randomness.
        train: whether the digits of MNIST are training digits, or test digits.
        drawn: the share of digits that are drawn from strokes; by default none, some or all of them.
    """

    def __init__(self, random: np.random.Generator, *, train: bool, drawn: float | None = None) -> None:
        self.random = random
        self.train = train
        self.slant = random.normal(0, 0.1)
        self.aspect = float(np.exp(random.normal(0, 0.1)))
        self.untidy = random.uniform(0.2, 1.5)
        self.style = random_style(random)
        self.drawn = random.choice([0.0, 0.3, 1.0], p=[0.4, 0.2, 0.4]) if drawn is None else drawn

    def digits(self, count: int) -> list[Trace]:
        """The traces of `count` digits at random."""
        drawn = self.random.random(count) < self.drawn
        images = iter(self._mnist(int(count - drawn.sum())))
        return [
            self.draw(str(self.random.integers(10))) if is_drawn else self._personal(next(images)) for is_drawn in drawn
        ]

    def _mnist(self, count: int) -> list[Trace]:
        """The traces of `count` digits of MNIST, without those of which thinning leaves too little."""
        traces: list[Trace] = []
        while len(traces) < count:
            indices = self.random.integers(mnist_size(train=self.train), size=count - len(traces) + 4)
            candidates = mnist_traces(train=self.train, indices=indices)
            traces += [trace for trace in candidates if trace.width.max() <= MAX_WIDTH_RATIO]
        return traces[:count]

    def draw(self, character: str, variant: str | None = None) -> Trace:
        """The trace of a digit, a letter or a mark that is drawn from strokes, in this writer's style."""
        drawing = draw(character, self.random, variant, self.style)
        pressure = np.concatenate([stroke.pressure for stroke in drawing.strokes])
        label = int(character) if character.isdigit() else -1
        trace = from_strokes([stroke.points for stroke in drawing.strokes], label, pressure)
        if label >= 0:
            return trace.reshape(np.eye(2))
        left = np.array([trace.points[:, 0].min(), 0], np.float32)
        return replace(trace, points=trace.points - left)

    def word(self, letters: int) -> list[Trace]:
        """The traces of a word: a capital or not, then small letters."""
        capital = self.random.random() < 0.4
        names = [str(self.random.choice(CAPITALS if capital and not i else SMALL)) for i in range(letters)]
        return [self.draw(name) for name in names]

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
        marks: the probability of a comma, a point, a dash or a sign behind a digit.
        crossed: the probability that a digit is crossed out.
    """

    gap: float = 0.25
    uneven: float = 0.3
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
    random: np.random.Generator,
) -> list[Mark]:
    """Write digits in a line from `start` (left, top) until the sheet ends, and add them to the sheet's lines."""
    x, y = start
    line: list[Mark] = []
    before = shared = 0.0  # the width of the ink before, and how far the next one reaches into it
    for trace in traces:
        height = size * (1 + 0.15 * spacing.uneven * random.normal())
        wide = float(trace.points[:, 0].max()) * height
        x += max(0.0, shared - MOST_SHARED * min(before, wide + pen.width * size))
        if x + wide + 0.06 * size + 2 > sheet.width:
            break
        down = y + spacing.slope * (x - start[0]) + (size - height) + 0.06 * spacing.uneven * size * random.normal()
        mark = sheet.write(trace, pen, height, x, max(2 + pen.width * size, down), random)
        if mark is not None and random.random() < spacing.crossed:
            cross_out(sheet, mark, pen, size, random)
        elif mark is not None:
            line.append(mark)
        gap = spacing.gap * (1 + spacing.uneven * random.uniform(-0.8, 0.8))
        before, shared = wide + pen.width * size, -gap * size
        x += before + gap * size
        if random.random() < spacing.marks:
            sign = hand.draw(str(random.choice(SIGNS)))
            sign_wide = float(sign.points[:, 0].max()) * height
            if x + sign_wide + 0.1 * size < sheet.width:
                sheet.write(sign, pen, height, x, max(2 + pen.width * size, down), random)
                x += sign_wide + pen.width * size + (0.1 + max(0.1, spacing.gap)) * size
                shared = 0.0
        if random.random() < spacing.words:
            x += random.uniform(0.5, 1.5) * size
    if line:
        sheet.lines.append(line)
    return line


def cross_out(sheet: Sheet, mark: Mark, pen: InkStyle, size: float, random: np.random.Generator) -> None:
    """Strike a digit through; it is ignored from then on."""
    left, top, right, bottom = mark.extent
    width, height = (right - left) / size, (bottom - top) / size
    ends = random.uniform(-0.1, 0.1, (4, 2))
    strokes = [
        [(-0.1 + ends[0, 0], height * 0.9 + ends[0, 1]), (width + 0.1 + ends[1, 0], height * 0.1 + ends[1, 1])],
        [(-0.1 + ends[2, 0], height * 0.1 + ends[2, 1]), (width + 0.1 + ends[3, 0], height * 0.9 + ends[3, 1])],
    ]
    sheet.write(from_strokes(strokes[: random.integers(1, 3)]), pen, size, left, top, random)
    sheet.ignored.append(mark)


def line_extent(x: float, y: float, traces: list[Trace], size: float, spacing: Spacing) -> Extent:
    """The box in which a line of traces will be, roughly."""
    wide = sum(float(trace.points[:, 0].max()) + spacing.gap + 0.1 for trace in traces) * size
    return x, y - 0.15 * size, x + wide, y + 1.2 * size


def random_spacing(random: np.random.Generator) -> Spacing:
    """How one writer spaces digits: closely or widely, evenly or not, level or sloping."""
    return Spacing(
        gap=random.choice(
            [random.uniform(-0.06, 0.08), random.uniform(0.08, 0.3), random.uniform(0.3, 1)], p=[0.1, 0.6, 0.3]
        ),
        uneven=random.uniform(0.1, 1.0),
        slope=random.normal(0, 0.02),
        words=random.choice([0.0, 0.12, 0.35]),
        marks=random.choice([0.0, 0.1, 0.3], p=[0.6, 0.25, 0.15]),
        crossed=random.choice([0.0, 0.04], p=[0.85, 0.15]),
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
        write_line(sheet, hand, line, pen, height, (x, y + row * lead), spacing, random)


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
                write_line(sheet, hand, line, pen, height, (x, y), spacing, random)
                traces = traces[count:]
                break


def write_words(sheet: Sheet, hand: Hand, pen: InkStyle, size: float, random: np.random.Generator, count: int) -> None:
    """Write words, or doodles, where nothing is yet."""
    for _ in range(count):
        if random.random() < 0.25:
            traces = [hand.draw(str(random.choice(DOODLES)))]
        else:
            traces = hand.word(int(random.integers(2, 9)))
        gap = random.uniform(0.02, 0.15)
        wide = sum(float(trace.points[:, 0].max()) + gap + pen.width for trace in traces) * size
        for _ in range(8):
            x, y = (
                random.uniform(0, max(1, sheet.width - wide)),
                random.uniform(0.1 * size, max(0.2 * size, sheet.height - 1.5 * size)),
            )
            if not sheet.is_free((x, y - 0.1 * size, x + wide, y + 1.3 * size), 0.1 * size):
                continue
            for trace in traces:
                sheet.write(trace, pen, size, x, y, random)
                x += (float(trace.points[:, 0].max()) + gap + pen.width) * size
            break
