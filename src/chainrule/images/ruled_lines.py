"""Remove the ruled lines of a notebook, and of squared paper, from ink.

A ruled line is straight and thin, and runs across the whole picture; strokes do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.raster import sliding_reduce

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

SLOPES = np.linspace(-0.08, 0.08, 17)  # candidate slopes of ruled lines, in pixels down per pixel across
MIN_SIDE = 64  # pixels of the shorter side: in smaller pictures, a ruled line is as thick as a stroke
MIN_LENGTH = 0.92  # relative to the picture's width: a ruled line has ink along at least this much of it
MIN_LINE_INK = 0.04  # minimum ink of a ruled line
MAX_THICKNESS = 0.03  # relative to the longer side
SAMPLE_STEP = 3  # pixels: the lines' ink is sampled in every third column


def remove_ruled_lines(ink: Gray) -> Gray:
    """Return the ink without horizontal and vertical ruled lines; strokes that cross them are kept."""
    if min(ink.shape) < MIN_SIDE:
        return ink
    max_thickness = 2 + round(MAX_THICKNESS * max(ink.shape))
    without_horizontal = remove_horizontal_lines(ink, SLOPES, max_thickness)
    return remove_horizontal_lines(without_horizontal.T, SLOPES, max_thickness).T


def remove_horizontal_lines(ink: Gray, slopes: NDArray[np.float64], max_thickness: int) -> Gray:
    """Return the ink without ruled lines that run from the left side to the right.

    Args:
        ink: (height, width), from 0 to 1.
        slopes: the slopes that ruled lines can have, in pixels down per pixel across; all lines have the same one.
        max_thickness: maximum thickness of a ruled line in pixels.
    """
    height, width = ink.shape
    sampled = np.arange(0, width, SAMPLE_STEP)
    n_skipped = round((1 - MIN_LENGTH) * sampled.size)  # samples along a line that may lack ink
    dilated = sliding_reduce(ink, 2, np.maximum)[:, sampled]
    upper_limit = np.partition(dilated.max(axis=0), n_skipped)[n_skipped]  # of the ink along any line
    if float(upper_limit) - float(dilated.min()) <= MIN_LINE_INK:
        return ink
    drops = np.rint(slopes[:, None] * (sampled - width / 2)).astype(int)  # (slopes, samples)
    max_drop = int(np.abs(drops).max())
    extended = _repeat_edges(dilated, max_drop, max_drop)
    rows, columns = np.arange(max_drop, max_drop + height)[:, None], np.arange(sampled.size)
    # For each row and slope, the ink that is reached or exceeded along MIN_LENGTH of the line
    line_ink = np.empty((height, slopes.size))
    for index, drop in enumerate(drops):
        sheared = extended[rows + drop, columns]
        sheared.partition(n_skipped, axis=1)
        line_ink[:, index] = sheared[:, n_skipped]
    line_ink -= _opening(line_ink, max_thickness)  # keeps thin lines only
    best = int(np.argmax(np.sum(line_ink**2, axis=0)))
    row_ink = np.where(line_ink[:, best] > MIN_LINE_INK, line_ink[:, best], 0)  # of the lines in each sheared row
    if not row_ink.any():
        return ink
    shifts = np.rint(slopes[best] * (np.arange(width) - width / 2)).astype(int)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    sheared = ink[(rows + shifts).clip(0, height - 1), columns]
    row_ink = np.max([np.roll(row_ink, step) for step in (-1, 0, 1)], axis=0)[:, None]
    cleaned = np.clip((sheared - row_ink) / np.maximum(1 - row_ink, 0.1), 0, 1)
    bridge_length = max_thickness + 3
    bridged = -_opening(-cleaned, bridge_length)  # a closing bridges the gap in a stroke that crosses the line
    cleaned = np.where(row_ink > 0, np.maximum(cleaned, np.minimum(bridged, sheared)), sheared)
    return np.asarray(cleaned[(rows - shifts).clip(0, height - 1), columns])


def _opening(values: Gray, length: int) -> Gray:
    """Morphological opening along the first axis: removes details shorter than `length`."""
    n_before = length // 2
    for combine in (np.minimum, np.maximum):
        n_after = length - 1 - n_before
        extended = _repeat_edges(values, n_before, n_after)
        values = combine.reduce([extended[start : start + len(values)] for start in range(length)])
        n_before = n_after  # the second step is the mirror image of the first, so that nothing is shifted
    return values


def _repeat_edges(values: Gray, n_before: int, n_after: int) -> Gray:
    """Pad with copies of the first and the last row: for a digit's window, np.pad takes ten times as long."""
    return np.asarray(values[np.arange(-n_before, len(values) + n_after).clip(0, len(values) - 1)])
