"""Small text charts for the terminal."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite, nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Lines = list[str]

# A braille character has 2 × 4 dots; each is one bit added to U+2800 (the Unicode Standard, Braille Patterns).
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # four rows, two columns
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def curve(values: Iterable[float | None], width: int = 60, height: int = 6, *, ascii: bool = False) -> Lines:  # noqa: A002 - the builtin is not used here
    """Draw values from left to right as a line chart, with the highest and the lowest value labeled on the left.

    Args:
        values: one number per step; None, NaN and infinities are skipped, and the line connects their neighbors.
        width: width of the chart in characters.
        height: height of the chart in lines.
        ascii: use only ASCII characters.

    Returns:
        `height` lines, or a single line "(no values)".
    """
    values = list(values)
    finite = [(i, float(v)) for i, v in enumerate(values) if v is not None and isfinite(v)]
    if not finite:
        return ["(no values)"]
    low, high = min(v for _, v in finite), max(v for _, v in finite)
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"} if high > low else {height // 2: f"{high:.4g}"}
    margin = max(len(label) for label in labels.values())

    across, down = (1, 1) if ascii else (2, 4)  # dots per character
    columns = max(width - margin - 2, 1)
    step = (columns * across - 1) / max(len(values) - 1, 1)
    bottom, middle = height * down - 1, height // 2 * down  # a constant is drawn in the middle
    points = [(i * step, (high - v) / (high - low) * bottom if high > low else middle) for i, v in finite]

    bits = [[0] * columns for _ in range(height)]
    for x, y in _line(points):
        bits[y // down][x // across] |= _BRAILLE[y % down][x % across]
    lines = []
    for row, cells in enumerate(bits):
        characters = "".join("*" if ascii and cell else chr(0x2800 + cell) if cell else " " for cell in cells)
        axis = "|" if ascii else "┤" if row in labels else "│"
        lines.append(f"{labels.get(row, ''):>{margin}} {axis}{characters}".rstrip())
    return lines


def bars(values: Iterable[float | None], labels: Iterable[object], width: int = 60, *, ascii: bool = False) -> Lines:  # noqa: A002 - as above
    """Draw one horizontal bar per value, with its label on the left and its percentage on the right.

    Args:
        values: fractions from 0 to 1, such as class probabilities; None and NaN have no bar.
        labels: one per value.
        width: width of the chart in characters.
        ascii: use only ASCII characters.

    Returns:
        One line per value.

    Raises:
        ValueError: the numbers of labels and values differ.
    """
    rows = [(nan if v is None else float(v), str(label)) for v, label in zip(values, labels, strict=True)]
    margin = max((len(label) for _, label in rows), default=0)
    space = max(width - margin - len("  100.0%"), 1)
    lines = []
    for value, label in rows:
        eighths = round(8 * space * min(max(value, 0), 1)) if isfinite(value) else 0
        bar = "#" * round(eighths / 8) if ascii else "█" * (eighths // 8) + _EIGHTHS[eighths % 8]
        lines.append(f"{label:>{margin}} {bar:<{space}} {f'{value:.1%}' if isfinite(value) else '-':>6}")
    return lines


def _line(points: Sequence[tuple[float, float]]) -> Iterable[tuple[int, int]]:
    """The dots of a polyline through all points."""
    for (x, y), (to_x, to_y) in pairwise([points[0], *points]):
        steps = int(max(abs(to_x - x), abs(to_y - y))) + 1  # at most one dot apart
        for i in range(steps + 1):
            yield round(x + (to_x - x) * i / steps), round(y + (to_y - y) * i / steps)
