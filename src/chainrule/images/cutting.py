"""Cut a detected digit out of a photo: its own ink, without paper, ruled lines and neighbors, in MNIST's format.

The window around the digit is scaled so that every digit has the same height in it. The brightness of the paper is
estimated by a morphological closing that fills everything as narrow as a stroke; ink is the difference between paper
and photo. Strokes may be partly faint: the digit's ink is what is connected to its strokes and exceeds the noise of the
paper, and it is divided by the darkest ink nearby.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from chainrule.images.foreground import STROKE_INK, BlankError
from chainrule.images.pyramid import choose_level, crop
from chainrule.images.ruled_lines import remove_horizontal_lines
from chainrule.images.steps import ink_to_mnist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.detection import Detection
    from chainrule.images.pyramid import Level
    from chainrule.images.raster import Gray

    Box = tuple[float, float, float, float]  # left, top, right, bottom
    Margins = tuple[float, float, float, float]
    """Widths of the strips to the left of a box, above it, to its right and below it that show the photo and not its
    repeated border, in pixels of the window."""

# Lengths in pixels are measured in the window.
DIGIT_HEIGHT = 40  # pixels: the height of a digit
MARGIN = 0.35  # width of the margin around the digit, relative to its height
SLACK = 3  # pixels by which a digit may exceed its box
RING_REACH = 5  # pixels: the outer limit of the ring around a box whose brightness counts as the paper's
MAX_SKEWNESS = 1.5
"""Limits the skewness in `_lightness`: if the brightness score contradicts it fully, their sum is at most 0.5, and
`cut_out` uses the median of all digits instead."""
MAX_STROKE_WIDTH = 17  # pixels: anything wider is paper
LOCAL_WINDOW = 9  # pixels: the side of the window in which the darkest ink nearby is looked for
MIN_PIXELS = 4  # minimum number of pixels of a digit's strokes
MIN_INK = 0.01  # minimum difference in brightness between ink and paper
LINE_SLOPES = np.linspace(-0.14, 0.14, 15)  # of ruled lines: a page may be photographed at an angle
MAX_LINE_THICKNESS = 8  # pixels, a fifth of a digit's height; this includes the lines of a form
MIN_SHOWN = 8  # pixels of the photo beside a digit that are needed to tell a ruled line, which continues, from a stroke
MIN_STROKE_INK = 0.18  # relative to the digit's full ink: fainter pixels are blur
MIN_LINE_INK = 0.3  # relative to the digit's full ink: a printed line beside the digit is at least as dark
EDGE_REACH = 8  # pixels above and below the box's top edge, and its bottom edge, where `joined_share` looks for lines
MAX_LEFTOVER = 0.3  # relative to the digit's largest piece: a smaller piece at the side of the box is a neighbor's
MIN_LOCAL_INK = 0.35  # relative to the digit's full ink: strokes down to this are made as dark as the others


class Cutout(NamedTuple):
    """A digit that is cut out of a photo.

    Attributes:
        image: (28, 28), in MNIST's format.
        contrast: the difference in brightness between its ink and the paper, from 0 to 1.
        clarity: `contrast` minus the window's median ink, in standard deviations of the paper's noise.
        ink_outside: the share of the ink, the digit's and all ink connected to it, that lies above or below the box,
            and the share to its left or right. They are high for a part of a letter, and for a digit that touches
            another.
        joined_share: how much of the width beside the box is covered by lines that touch the digit near the box's top,
            and how much near its bottom: the smaller of the two shares. It is high for a vertical line of a table,
            which may be detected as a 1, but meets horizontal lines at both ends.
    """

    image: NDArray[np.uint8]
    contrast: float
    clarity: float
    ink_outside: tuple[float, float] = (0.0, 0.0)
    joined_share: float = 0.0


def cut_out(levels: Sequence[Level], detections: Sequence[Detection]) -> list[Cutout | None]:
    """Cut out digits. The result has an entry for each detection: None where there is no ink.

    Args:
        levels: the photo at several scales, the finest first.
        detections: the digits.
    """
    windows = [_window(levels, detection) for detection in detections]
    lightness = [_lightness(*window) for window in windows]
    median_lightness = float(np.median(lightness)) if lightness else 0.0
    cutouts: list[Cutout | None] = []
    for (window, box, shown), own_lightness in zip(windows, lightness, strict=True):
        # A page may have dark and light digits (paper beside a blackboard). If a digit's own score is close to 0, the
        # median decides
        is_dark = (own_lightness if abs(own_lightness) > 0.5 else median_lightness) < 0
        cutouts.append(_cut_out_of_window(window if is_dark else 1 - window, box, shown))
    return cutouts


def _window(levels: Sequence[Level], detection: Detection) -> tuple[Gray, Box, Margins]:
    """Return the window around a digit, the digit's box in it, and how much of the margins the photo shows.

    Beyond the photo, its border is repeated.
    """
    digit_height = max(detection.height, detection.width / 2)
    scale = DIGIT_HEIGHT / digit_height
    level = choose_level(levels, scale)
    margin = MARGIN * digit_height
    sides = (detection.left - margin, detection.top - margin, detection.right + margin, detection.bottom + margin)
    window = crop(level, sides, scale)
    height, width = window.shape
    level_height, level_width = level.gray.shape
    left, top, right, bottom = (level.scale * side for side in sides)
    border = margin * scale
    beyond = (-left, -top, right - level_width, bottom - level_height)  # how far the window exceeds the level
    shown = tuple(border - max(0.0, distance) * scale / level.scale for distance in beyond)
    return window, (border, border, width - border, height - border), (shown[0], shown[1], shown[2], shown[3])


def _lightness(window: Gray, box: Box, shown: Margins) -> float:
    """Return a score that is positive if strokes are lighter than the paper, and negative if they are darker.

    It is the sum of two scores. The first is the skewness of the differences from the local mean, since strokes cover
    less area than paper. The second compares the brightness around the box, which is that of paper, with the dark and
    the light pixels in the box. The first fails for broad strokes, the second for neighbors that touch.
    """
    left, top, right, bottom = (round(side) for side in box)
    difference = window - ndimage.uniform_filter(window, 25, mode="nearest")
    difference = difference[max(0, top - SLACK) : bottom + SLACK, max(0, left - SLACK) : right + SLACK]
    skewness = float(np.mean(difference**3) / (np.mean(difference**2) ** 1.5 + 1e-12))
    dark, light = np.percentile(window[top : max(bottom, top + 1), left : max(right, left + 1)], [10, 90]).tolist()
    ring = _within(window, box, RING_REACH, shown) & ~_within(window, box, SLACK - 1, shown)
    if not ring.any():
        return skewness
    # -1 if the paper is as dark as the dark pixels, 1 if it is as light as the light ones
    paper_lightness = (2 * float(np.median(window[ring])) - dark - light) / max(light - dark, 1e-6)
    return float(np.clip(skewness, -MAX_SKEWNESS, MAX_SKEWNESS) - np.clip(paper_lightness, -1, 1))


def _within(window: NDArray[np.generic], box: Box, margin: float, shown: Margins) -> NDArray[np.bool_]:
    """Return which pixels of a window are in a box that is extended by a margin, or by as much as the photo shows."""
    y, x = np.ogrid[: window.shape[0], : window.shape[1]]
    left, top, right, bottom = (min(margin, shown_margin) for shown_margin in shown)
    columns = (x >= box[0] - left) & (x < box[2] + right)
    return np.asarray(columns & (y >= box[1] - top) & (y < box[3] + bottom))


def _cut_out_of_window(gray: Gray, box: Box, shown: Margins) -> Cutout | None:
    """Cut out the digit in a box; None if there is no ink.

    Args:
        gray: the window, in which ink is dark.
        box: the digit's box in the window.
        shown: how much of the margins the photo shows.
    """
    smooth = ndimage.gaussian_filter(gray, 0.6)
    paper = ndimage.grey_closing(smooth, (MAX_STROKE_WIDTH, MAX_STROKE_WIDTH), mode="nearest")
    ink = np.maximum(ndimage.uniform_filter(paper, LOCAL_WINDOW, mode="nearest") - gray, 0)
    inside = _within(gray, box, SLACK, shown)
    if not inside.any():
        return None
    full_ink = float(np.percentile(ink[inside], 95))
    if full_ink < MIN_INK:
        return None
    joined_share = _joined_share(ink > MIN_LINE_INK * full_ink, box, shown)
    ink = _without_ruled_lines(ink / full_ink, shown) * full_ink
    median_ink = float(np.median(ink))
    noise = 1.4826 * float(np.median(np.abs(ink - median_ink)))  # standard deviation from the median absolute deviation
    faintest = min(max(MIN_STROKE_INK * full_ink, float(np.percentile(ink, 30)) + 2 * noise), 0.5 * full_ink)
    darkest_nearby = ndimage.gaussian_filter(ndimage.maximum_filter(ndimage.uniform_filter(ink, 3), LOCAL_WINDOW), 2)
    zero_ink = 0.8 * faintest
    local_full_ink = np.clip(0.85 * darkest_nearby, MIN_LOCAL_INK * full_ink, full_ink)
    even_ink = np.clip((ink - zero_ink) / np.maximum(local_full_ink - zero_ink, 1e-6), 0, 1)
    is_digit, is_connected = _digit_parts(ink, ink > faintest, inside, full_ink)
    digit_ink = even_ink * is_digit
    if np.count_nonzero(digit_ink > STROKE_INK) < MIN_PIXELS:
        return None
    try:
        image = ink_to_mnist(np.pad(digit_ink, 2))
    except BlankError:  # a hairline stroke in a large window
        return None
    ink_outside = _ink_outside(even_ink * is_connected * _within(gray, box, math.inf, shown), box)
    return Cutout(image, full_ink, (full_ink - median_ink) / max(noise, 1e-3), ink_outside, joined_share)


def _ink_outside(ink: Gray, box: Box) -> tuple[float, float]:
    """Return the share of the ink that lies above or below a box, and the share to its left or right."""
    left, top, right, bottom = (round(side) for side in box)
    row_ink, column_ink = ink.sum(axis=1), ink.sum(axis=0)
    total = max(float(ink.sum()), 1e-6)
    inside_rows = float(row_ink[max(0, top - SLACK) : bottom + SLACK].sum())
    inside_columns = float(column_ink[max(0, left - SLACK) : right + SLACK].sum())
    return max(0.0, 1 - inside_rows / total), max(0.0, 1 - inside_columns / total)


def _joined_share(dark: NDArray[np.bool_], box: Box, shown: Margins) -> float:
    """Return `Cutout.joined_share` for a mask of ink that is at least as dark as a line."""
    left, top, right, bottom = (round(side) for side in box)
    labels, n_parts = ndimage.label(dark, np.ones((3, 3)))
    sizes = np.bincount(labels[top:bottom, left : right + 1].ravel(), minlength=n_parts + 1)
    sizes[0] = 0
    if not sizes.any():
        return 0.0
    connected = labels == sizes.argmax()
    is_beside = _within(dark, box, math.inf, shown)[top]  # which columns beside the box the photo shows
    is_beside[max(0, left - SLACK) : right + SLACK] = False
    if not is_beside.any():
        return 0.0
    covered_columns = [connected[max(0, y - EDGE_REACH) : y + EDGE_REACH].any(axis=0) for y in (top, bottom)]
    return min(float(is_covered[is_beside].mean()) for is_covered in covered_columns)


def _without_ruled_lines(ink: Gray, shown: Margins) -> Gray:
    """Return the ink, clipped to 0..1, without lines that run across the whole window.

    Lines are removed only in directions in which enough of the photo beside the digit is shown: since the border is
    repeated beyond the photo, a stroke that touches it looks like a line.
    """
    ink = np.clip(ink, 0, 1)
    if max(shown[0], shown[2]) >= MIN_SHOWN:
        ink = remove_horizontal_lines(ink, LINE_SLOPES, MAX_LINE_THICKNESS)
    if max(shown[1], shown[3]) >= MIN_SHOWN:
        ink = remove_horizontal_lines(ink.T, LINE_SLOPES, MAX_LINE_THICKNESS).T
    return ink


def _digit_parts(
    ink: Gray, strokes: NDArray[np.bool_], inside: NDArray[np.bool_], full_ink: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels belong to the digit in its box, and which are connected to them.

    The digit consists of the connected parts that lie in the box, and of larger parts that cross it, cut at the box.
    """
    labels, n_parts = ndimage.label(strokes, np.ones((3, 3)))
    mass = np.bincount(labels.ravel(), ink.ravel(), n_parts + 1)
    mass_inside = np.bincount(labels.ravel(), (ink * inside).ravel(), n_parts + 1)
    darkest = ndimage.maximum(ink, labels, np.arange(n_parts + 1))
    mass_inside[0] = 0
    total = mass_inside.sum()
    in_box = (mass_inside > 0.6 * mass) & (mass_inside > 0.02 * total)
    is_digit_part = in_box | (mass_inside > 0.25 * total)
    is_digit_part &= np.asarray(darkest) > 0.4 * full_ink
    is_digit_part[0] = False
    pixels = is_digit_part[labels] & inside
    # A part that crosses the box, such as a neighbor that touches it, may leave pieces at its sides
    pieces, n_pieces = ndimage.label(pixels, np.ones((3, 3)))
    piece_mass = np.bincount(pieces.ravel(), ink.ravel(), n_pieces + 1)
    piece_mass[0] = 0
    at_side = np.zeros(n_pieces + 1, bool)
    at_side[np.unique(pieces[inside & ~ndimage.binary_erosion(inside, border_value=1)])] = True
    is_leftover = at_side & (piece_mass < MAX_LEFTOVER * piece_mass.max())
    digit = pixels & ~is_leftover[pieces]
    digit_labels = np.unique(labels[digit])
    return np.asarray(ndimage.maximum_filter(digit, 3) & inside), np.isin(labels, digit_labels)
