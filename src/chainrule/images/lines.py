"""Which parts of a page's ink stand in one line, and in which order lines are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.images.page import Part


def in_lines(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts in lines, from top to bottom, and in each from left to right."""
    if not parts:
        return []
    slope = _slope(parts)
    lines: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: part.left):
        fitting = [(_step(line, part, slope), i) for i, line in enumerate(lines)]
        off, best = min(fitting, default=(math.inf, -1))
        if off < 0.5:
            lines[best].append(part)
        else:
            lines.append([part])
    return sorted(lines, key=lambda line: _mean([_middle(part) - slope * part.left for part in line]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _middle(part: Part) -> float:
    return (part.top + part.bottom) / 2


def _step(line: Sequence[Part], part: Part, slope: float) -> float:
    """How far a part is above or below where a line would go on, in heights; by the line's last three parts."""
    last = line[-3:]
    expected = _mean([_middle(p) + slope * (part.left - p.left) for p in last])
    return abs(_middle(part) - expected) / max(part.height, _mean([p.height for p in last]))


def _slope(parts: Sequence[Part]) -> float:
    """How much lines go down for each pixel to the right: the median of each part to its next neighbour."""
    middles = np.array([(part.left + part.width / 2, _middle(part)) for part in parts])  # (N, 2)
    slopes = []
    for x, y in middles:
        across, down = middles[:, 0] - x, np.abs(middles[:, 1] - y)
        right = np.flatnonzero((across > 0) & (down < 0.35 * across))
        if right.size:
            next_one = right[np.argmin(across[right] + 2 * down[right])]
            slopes.append((middles[next_one, 1] - y) / across[next_one])
    return float(np.median(slopes)) if slopes else 0.0
