"""Group the digits of a page into lines, in reading order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class HasBox(Protocol):
    """An item on a page with a box, in pixels."""

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

MAX_DISTANCE = 0.5  # maximum vertical distance of an item from its line, in heights of the taller one


def group_into_lines(items: Sequence[ItemT]) -> list[list[ItemT]]:
    """Group items into lines, from top to bottom; each line is sorted from left to right.

    Items are visited from left to right. Each joins the line whose last items are at about the same vertical
    position, or starts a new line. A line may therefore be sloped or slightly curved.
    """
    if not items:
        return []
    slope = _slope(items)
    lines: list[list[ItemT]] = []
    # Means over the last three items of each line
    line_y = np.empty(len(items))
    line_heights = np.empty(len(items))
    for item in sorted(items, key=lambda item: item.left):
        n_lines = len(lines)
        distances = np.abs(_deskewed_y(item, slope) - line_y[:n_lines])
        distances /= np.maximum(item.height, line_heights[:n_lines])  # in heights of the taller one
        best = int(distances.argmin()) if lines else 0
        if lines and distances[best] < MAX_DISTANCE:
            lines[best].append(item)
        else:
            best = n_lines
            lines.append([item])
        last = lines[best][-3:]
        line_y[best] = _mean([_deskewed_y(other, slope) for other in last])
        line_heights[best] = _mean([other.height for other in last])
    return sorted(lines, key=lambda line: _mean([_deskewed_y(item, slope) for item in line]))


def _deskewed_y(item: HasBox, slope: float) -> float:
    """Return the vertical position of an item's center, corrected for the slope of the lines."""
    return _middle(item) - slope * item.left


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _middle(item: HasBox) -> float:
    return (item.top + item.bottom) / 2


def _slope(items: Sequence[HasBox]) -> float:
    """Return the slope of the lines, in pixels down per pixel across: the median over pairs of neighbors."""
    centers = np.array([(item.left + item.width / 2, _middle(item)) for item in items])  # (N, 2)
    slopes = []
    for x, y in centers:
        dx, abs_dy = centers[:, 0] - x, np.abs(centers[:, 1] - y)
        to_right = np.flatnonzero((dx > 0) & (abs_dy < 0.35 * dx))
        if to_right.size:
            neighbor = to_right[np.argmin(dx[to_right] + 2 * abs_dy[to_right])]
            slopes.append((centers[neighbor, 1] - y) / dx[neighbor])
    return float(np.median(slopes)) if slopes else 0.0
