"""Remove the ruled lines of a notebook, and of squared paper, from ink.

A rule is straight and thin, and runs across the whole picture; strokes do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.raster import sliding_reduce

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

SLOPES = np.linspace(-0.08, 0.08, 17)  # candidate slopes of rules, in pixels down per pixel across
MIN_SIDE = 64  # pixels: in smaller pictures, a rule is not thinner than a stroke
MIN_LENGTH = 0.92  # of the picture's width: a rule has ink along at least this much of it
MIN_RULE = 0.04  # minimum ink of a rule
MAX_THICKNESS = 0.03  # of the longer side


def remove_rules(ink: Gray) -> Gray:
    """The ink without horizontal and vertical rules; strokes that cross them are kept."""
    if min(ink.shape) < MIN_SIDE:
        return ink
    thickest = 2 + round(MAX_THICKNESS * max(ink.shape))
    return remove_horizontal_rules(remove_horizontal_rules(ink, SLOPES, thickest).T, SLOPES, thickest).T


def remove_horizontal_rules(ink: Gray, slopes: NDArray[np.float64], thickest: int) -> Gray:
    """The ink without lines that run from the left side to the right.

    Args:
        ink: (height, width), from 0 to 1.
        slopes: the slopes that a rule can have, in pixels down per pixel across.
        thickest: maximum thickness of a rule in pixels.
    """
    height, width = ink.shape
    sampled = np.arange(0, width, 3)
    skipped = round((1 - MIN_LENGTH) * sampled.size)
    smooth = sliding_reduce(ink, 2, np.maximum)[:, sampled]
    most = np.partition(smooth.max(axis=0), skipped)[skipped]  # upper limit of the ink along any line
    if float(most) - float(smooth.min()) <= MIN_RULE:
        return ink
    drops = np.rint(slopes[:, None] * (sampled - width / 2)).astype(int)
    farthest = int(np.abs(drops).max())
    extended = _repeat_edges(smooth, farthest, farthest)
    rows, columns = np.arange(farthest, farthest + height)[:, None], np.arange(sampled.size)
    # For each row and slope, the ink that is reached or exceeded along MIN_LENGTH of the line
    line_ink = np.empty((height, slopes.size))
    for index, drop in enumerate(drops):
        sheared = extended[rows + drop, columns]
        sheared.partition(skipped, axis=1)
        line_ink[:, index] = sheared[:, skipped]
    line_ink -= _opening(line_ink, thickest)  # keeps thin lines only
    best = int(np.argmax(np.sum(line_ink**2, axis=0)))
    best_slope = slopes[best]
    rule = np.where(line_ink[:, best] > MIN_RULE, line_ink[:, best], 0)
    if not rule.any():
        return ink
    shifts = np.rint(best_slope * (np.arange(width) - width / 2)).astype(int)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    straightened = ink[(rows + shifts).clip(0, height - 1), columns]
    rule = np.max([np.roll(rule, step) for step in (-1, 0, 1)], axis=0)[:, None]
    without = np.clip((straightened - rule) / np.maximum(1 - rule, 0.1), 0, 1)
    band = thickest + 3
    closed = -_opening(-without, band)  # bridges the gap in a stroke that crosses the rule
    without = np.where(rule > 0, np.maximum(without, np.minimum(closed, straightened)), straightened)
    return np.asarray(without[(rows - shifts).clip(0, height - 1), columns])


def _opening(values: Gray, length: int) -> Gray:
    """Morphological opening along the first axis: removes what is shorter than `length`."""
    reach = length // 2
    for combine in (np.minimum, np.maximum):
        extended = _repeat_edges(values, reach, length - 1 - reach)
        values = combine.reduce([extended[start : start + len(values)] for start in range(length)])
        reach = length - 1 - reach
    return values


def _repeat_edges(values: Gray, before: int, after: int) -> Gray:
    """Pad rows with copies of the first and the last row: np.pad takes ten times as long for a digit's window."""
    return np.asarray(values[np.arange(-before, len(values) + after).clip(0, len(values) - 1)])
