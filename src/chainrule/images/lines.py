"""Group the digits of a page into lines, in reading order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class HasBox(Protocol):
    """Something on a page with a box, in pixels."""

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


ItemT = TypeVar("ItemT", bound=HasBox)


def group_into_lines(items: Sequence[ItemT]) -> list[list[ItemT]]:
    """Group items into lines, from top to bottom; each line is sorted from left to right."""
    if not items:
        return []
    slope = _slope(items)
    lines: list[list[ItemT]] = []
    line_y, heights = np.empty(len(items)), np.empty(len(items))  # means over the last three items of each line
    for item in sorted(items, key=lambda item: item.left):
        distances = np.abs(_deskewed_y(item, slope) - line_y[: len(lines)]) / np.maximum(
            item.height, heights[: len(lines)]
        )
        best = int(distances.argmin()) if lines else 0
        if lines and distances[best] < 0.5:  # vertical distance from the line, in heights
            lines[best].append(item)
        else:
            best = len(lines)
            lines.append([item])
        last = lines[best][-3:]
        line_y[best], heights[best] = _mean([_deskewed_y(p, slope) for p in last]), _mean([p.height for p in last])
    return sorted(lines, key=lambda line: _mean([_deskewed_y(item, slope) for item in line]))


def _deskewed_y(item: HasBox, slope: float) -> float:
    """The vertical position of an item's center, corrected for the slope of the lines."""
    return _middle(item) - slope * item.left


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _middle(item: HasBox) -> float:
    return (item.top + item.bottom) / 2


def _slope(items: Sequence[HasBox]) -> float:
    """The slope of the lines, in pixels down per pixel across: the median over items and their right neighbors."""
    middles = np.array([(item.left + item.width / 2, _middle(item)) for item in items])  # (N, 2)
    slopes = []
    for x, y in middles:
        across, down = middles[:, 0] - x, np.abs(middles[:, 1] - y)
        right = np.flatnonzero((across > 0) & (down < 0.35 * across))
        if right.size:
            neighbor = right[np.argmin(across[right] + 2 * down[right])]
            slopes.append((middles[neighbor, 1] - y) / across[neighbor])
    return float(np.median(slopes)) if slopes else 0.0
