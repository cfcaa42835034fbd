"""Group the digits of a page into lines, in reading order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class Part(Protocol):
    """Something on a page, by its box in pixels."""

    @property
    def left(self) -> float:
        """The left side."""

    @property
    def top(self) -> float:
        """The upper side."""

    @property
    def bottom(self) -> float:
        """The lower side."""

    @property
    def width(self) -> float:
        """The width."""

    @property
    def height(self) -> float:
        """The height."""


PartT = TypeVar("PartT", bound=Part)


def group_into_lines(parts: Sequence[PartT]) -> list[list[PartT]]:
    """Group parts into lines, from top to bottom; each line is sorted from left to right."""
    if not parts:
        return []
    slope = _slope(parts)
    lines: list[list[PartT]] = []
    line_y, heights = np.empty(len(parts)), np.empty(len(parts))  # means over the last three parts of each line
    for part in sorted(parts, key=lambda part: part.left):
        distances = np.abs(_deskewed_y(part, slope) - line_y[: len(lines)]) / np.maximum(
            part.height, heights[: len(lines)]
        )
        best = int(distances.argmin()) if lines else 0
        if lines and distances[best] < 0.5:  # vertical distance from the line, in heights
            lines[best].append(part)
        else:
            best = len(lines)
            lines.append([part])
        last = lines[best][-3:]
        line_y[best], heights[best] = _mean([_deskewed_y(p, slope) for p in last]), _mean([p.height for p in last])
    return sorted(lines, key=lambda line: _mean([_deskewed_y(part, slope) for part in line]))


def _deskewed_y(part: Part, slope: float) -> float:
    """The vertical position of a part's center, corrected for the slope of the lines."""
    return _middle(part) - slope * part.left


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _middle(part: Part) -> float:
    return (part.top + part.bottom) / 2


def _slope(parts: Sequence[Part]) -> float:
    """The slope of the lines, in pixels down per pixel across: the median over parts and their right neighbors."""
    middles = np.array([(part.left + part.width / 2, _middle(part)) for part in parts])  # (N, 2)
    slopes = []
    for x, y in middles:
        across, down = middles[:, 0] - x, np.abs(middles[:, 1] - y)
        right = np.flatnonzero((across > 0) & (down < 0.35 * across))
        if right.size:
            neighbor = right[np.argmin(across[right] + 2 * down[right])]
            slopes.append((middles[neighbor, 1] - y) / across[neighbor])
    return float(np.median(slopes)) if slopes else 0.0
