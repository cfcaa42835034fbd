"""Cut a detected digit out of a photo: its own ink, without paper, rules and neighbors, in MNIST's format.

The window around the digit is scaled so that all digits have the same height in it. The paper is what is left when
everything as narrow as a stroke is filled; ink is the difference. A faint part of a stroke is as much a part of it as a
dark one: ink is what is connected with the digit's strokes and stands out of the paper's noise, relative to the darkest
ink nearby.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from chainrule.images.foreground import STROKE_INK, BlankError
from chainrule.images.rules import remove_horizontal_rules
from chainrule.images.steps import ink_to_mnist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.detection import Detection
    from chainrule.images.pyramid import Level
    from chainrule.images.raster import Gray

    Box = tuple[float, float, float, float]  # left, top, right, bottom

HEIGHT = 40  # pixels of a digit in its window
MARGIN = 0.35  # of a digit's height: the width of the paper around it in the window
SLACK = 3  # pixels by which a digit may exceed its box
AROUND = 5  # pixels around its box that are taken for paper
MAX_SKEWNESS = 1.5  # limit of the skewness, so that it cannot outvote the brightness around the box (see `_lightness`)
MAX_STROKE_WIDTH = 17  # pixels: what is wider is paper
LOCAL = 9  # pixels: the window in which faint ink is compared with the darkest ink
MIN_PIXELS = 4  # of a digit's ink
MIN_INK = 0.01  # of full brightness: anything fainter is no digit
RULE_SLOPES = np.linspace(-0.14, 0.14, 15)  # of lines across a window: a page is photographed askew
MAX_RULE_THICKNESS = 8  # pixels, a fifth of a digit's height; this includes the lines of a form
MIN_SHOWN = 8  # pixels of the photo beside a digit, needed to tell a rule, which goes on there, from a stroke
MIN_STROKE = 0.18  # of a digit's darkest ink: fainter pixels are blur
LINE = 0.3  # of a digit's darkest ink: a printed line beside it is at least as dark
END = 8  # pixels above and below the end of a line between two cells, where it meets others
LEFT_OVER = 0.3  # of the digit's largest piece: a smaller piece that the box cuts off belongs to a neighbor
MIN_LOCAL_INK = 0.35  # of a digit's darkest ink: strokes down to this are made as dark as the others


class Cut(NamedTuple):
    """A digit that is cut out.

    Attributes:
        image: (28, 28), in MNIST's format.
        contrast: how much its ink differs from the paper's brightness, from 0 to 1.
        clarity: the same difference, in standard deviations of the paper's grain.
        leaving: of the ink connected to the digit's, the share above or below its box, and the share to its left or
            right. They are high for a part of a letter, and for a digit that touches another.
        joined: the share of the width beside the box that is crossed by lines connected to the digit's ink, at the
            upper or the lower end of the box, whichever is less. It is high for the side of a cell in a table, which
            meets other lines at both ends.
    """

    image: NDArray[np.uint8]
    contrast: float
    clarity: float
    leaving: tuple[float, float] = (0.0, 0.0)
    joined: float = 0.0


def cut_out(levels: Sequence[Level], digits: Sequence[Detection]) -> list[Cut | None]:
    """Cut out digits; None where there is no ink.

    Args:
        levels: the photo at several scales.
        digits: the detections.
    """
    windows = [_window(levels, digit) for digit in digits]
    lightness = [_lightness(*window) for window in windows]
    usual = float(np.median(lightness)) if lightness else 0.0
    cuts: list[Cut | None] = []
    for (window, box, shown), own in zip(windows, lightness, strict=True):
        # A page may have dark and light digits (paper beside a blackboard). If a digit's own estimate is doubtful, the
        # median decides
        dark = (own if abs(own) > 0.5 else usual) < 0
        cuts.append(_cut(window if dark else 1 - window, box, shown))
    return cuts


def _window(levels: Sequence[Level], digit: Detection) -> tuple[Gray, Box, Box]:
    """Return the window around a digit; the digit's box in it; and how many pixels of each margin the photo shows.

    Beyond the photo, its border is repeated.
    """
    from PIL import Image  # imported on first use

    height = max(digit.height, digit.width / 2)
    scale = HEIGHT / height
    finer = [level for level in levels if level.scale >= scale]
    level = finer[-1] if finer else levels[0]
    margin = MARGIN * height
    sides = np.array([digit.left - margin, digit.top - margin, digit.right + margin, digit.bottom + margin])
    left, top, right, bottom = (sides * level.scale).tolist()
    x, y = (np.arange(math.floor(low) - 2, math.ceil(high) + 2) for low, high in ((left, right), (top, bottom)))
    rows, columns = (np.clip(index, 0, side - 1) for index, side in zip((y, x), level.gray.shape, strict=True))
    part = np.ascontiguousarray(level.gray[np.ix_(rows, columns)], np.float32)
    size = tuple(max(4, round((high - low) * scale / level.scale)) for low, high in ((left, right), (top, bottom)))
    method = Image.Resampling.BICUBIC if scale > level.scale else Image.Resampling.BOX
    corner = (left - x[0], top - y[0], right - x[0], bottom - y[0])
    window = np.asarray(Image.fromarray(part).resize(size, method, corner))
    border = margin * scale
    height, width = level.gray.shape
    beyond = (-left, -top, right - width, bottom - height)  # how far the window exceeds the photo on each side
    shown = tuple(border - max(0.0, distance) * scale / level.scale for distance in beyond)
    return window, (border, border, size[0] - border, size[1] - border), (shown[0], shown[1], shown[2], shown[3])


def _lightness(window: Gray, box: Box, shown: Box) -> float:
    """Return a score that is positive if strokes are lighter than the paper, and negative if they are darker.

    It is the sum of two: the skewness of the differences from the local mean, since strokes cover less area than paper;
    and where the brightness around the box, which is that of paper, lies between the dark and the light pixels in the
    box. The first fails for broad strokes, the second for neighbors that touch.
    """
    left, top, right, bottom = (round(side) for side in box)
    difference = window - ndimage.uniform_filter(window, 25, mode="nearest")
    difference = difference[max(0, top - SLACK) : bottom + SLACK, max(0, left - SLACK) : right + SLACK]
    skewness = float(np.mean(difference**3) / (np.mean(difference**2) ** 1.5 + 1e-12))
    dark, light = np.percentile(window[top : max(bottom, top + 1), left : max(right, left + 1)], [10, 90]).tolist()
    ring = _within(window, box, AROUND, shown) & ~_within(window, box, SLACK - 1, shown)
    if not ring.any():
        return skewness
    around = (2 * float(np.median(window[ring])) - dark - light) / max(light - dark, 1e-6)
    return float(np.clip(skewness, -MAX_SKEWNESS, MAX_SKEWNESS) - np.clip(around, -1, 1))


def _within(window: NDArray[np.generic], box: Box, margin: float, shown: Box) -> NDArray[np.bool_]:
    """Which pixels of a window are in a box with a margin, as far as the photo shows it."""
    y, x = np.ogrid[: window.shape[0], : window.shape[1]]
    left, top, right, bottom = (min(margin, beside) for beside in shown)
    columns = (x >= box[0] - left) & (x < box[2] + right)
    return np.asarray(columns & (y >= box[1] - top) & (y < box[3] + bottom))


def _cut(gray: Gray, box: Box, shown: Box) -> Cut | None:
    """Cut out the digit in a box; None if there is no ink.

    Args:
        gray: the window; ink is dark.
        box: where the digit is in it.
        shown: pixels of the photo beside the box: to the left, above, to the right, below.
    """
    paper = ndimage.grey_closing(
        ndimage.gaussian_filter(gray, 0.6), (MAX_STROKE_WIDTH, MAX_STROKE_WIDTH), mode="nearest"
    )
    ink = np.maximum(ndimage.uniform_filter(paper, LOCAL, mode="nearest") - gray, 0)
    inside = _within(gray, box, SLACK, shown)
    if not inside.any():
        return None
    full = float(np.percentile(ink[inside], 95))
    if full < MIN_INK:
        return None
    joined = _joined(ink > LINE * full, box, shown)
    ink = _without_rules(ink / full, shown) * full
    usual = float(np.median(ink))
    noise = 1.4826 * float(np.median(np.abs(ink - usual)))  # from the median absolute deviation
    faintest = min(max(MIN_STROKE * full, float(np.percentile(ink, 30)) + 2 * noise), 0.5 * full)
    near = ndimage.gaussian_filter(ndimage.maximum_filter(ndimage.uniform_filter(ink, 3), LOCAL), 2)
    start = 0.8 * faintest
    local_full = np.clip(0.85 * near, MIN_LOCAL_INK * full, full)
    even = np.clip((ink - start) / np.maximum(local_full - start, 1e-6), 0, 1)
    chosen, connected = _digits_parts(ink, ink > faintest, inside, full)
    result = even * chosen
    if np.count_nonzero(result > STROKE_INK) < MIN_PIXELS:
        return None
    try:
        image = ink_to_mnist(np.pad(result, 2))
    except BlankError:  # a hair in a large window
        return None
    leaving = _leaving(even * connected * _within(gray, box, gray.size, shown), box)
    return Cut(image, full, (full - usual) / max(noise, 1e-3), leaving, joined)


def _leaving(ink: Gray, box: Box) -> tuple[float, float]:
    """The shares of ink above or below a box, and to its left or right."""
    left, top, right, bottom = (round(side) for side in box)
    rows, columns = ink.sum(axis=1), ink.sum(axis=0)
    inside = rows[max(0, top - SLACK) : bottom + SLACK].sum(), columns[max(0, left - SLACK) : right + SLACK].sum()
    total = max(float(ink.sum()), 1e-6)
    above_or_below, aside = (max(0.0, 1 - float(part) / total) for part in inside)
    return above_or_below, aside


def _joined(marks: NDArray[np.bool_], box: Box, shown: Box) -> float:
    """Return `Cut.joined` for a mask of ink at least as dark as a line."""
    left, top, right, bottom = (round(side) for side in box)
    labels, count = ndimage.label(marks, np.ones((3, 3)))
    sizes = np.bincount(labels[top:bottom, left : right + 1].ravel(), minlength=count + 1)
    sizes[0] = 0
    if not sizes.any():
        return 0.0
    connected = labels == sizes.argmax()
    beside = _within(marks, box, marks.size, shown)[top]  # what the photo shows
    beside[max(0, left - SLACK) : right + SLACK] = False
    ends = [connected[max(0, end - END) : end + END].any(axis=0) for end in (top, bottom)]
    return min(float(end[beside].mean()) for end in ends) if beside.any() else 0.0


def _without_rules(ink: Gray, shown: Box) -> Gray:
    """Return the ink, clipped to 0..1, without lines that run across the whole window.

    Lines are removed only in directions in which enough of the photo beside the digit is shown: beyond the photo its
    border is repeated, so that a stroke that touches the border looks like a line.
    """
    ink = np.clip(ink, 0, 1)
    if max(shown[0], shown[2]) >= MIN_SHOWN:
        ink = remove_horizontal_rules(ink, RULE_SLOPES, MAX_RULE_THICKNESS)
    if max(shown[1], shown[3]) >= MIN_SHOWN:
        ink = remove_horizontal_rules(ink.T, RULE_SLOPES, MAX_RULE_THICKNESS).T
    return ink


def _digits_parts(
    ink: Gray, strokes: NDArray[np.bool_], inside: NDArray[np.bool_], full: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels belong to the digit in its box, and which are connected to them.

    The digit consists of the connected parts that lie in the box, and of larger parts that cross it, cut at the box.
    """
    labels, count = ndimage.label(strokes, np.ones((3, 3)))
    flat = labels.ravel()
    mass = np.bincount(flat, ink.ravel(), count + 1)
    own = np.bincount(flat, (ink * inside).ravel(), count + 1)
    darkest = ndimage.maximum(ink, labels, np.arange(count + 1))
    own[0] = 0
    total = own.sum()
    chosen = ((own > 0.6 * mass) & (own > 0.02 * total)) | (own > 0.25 * total)
    chosen &= np.asarray(darkest) > 0.4 * full
    chosen[0] = False
    pixels = chosen[labels] & inside
    # A part that crosses the box, such as a neighbor that touches it, may leave pieces at its sides
    pieces, count = ndimage.label(pixels, np.ones((3, 3)))
    mass = np.bincount(pieces.ravel(), ink.ravel(), count + 1)
    mass[0] = 0
    at_side = np.zeros(count + 1, bool)
    at_side[np.unique(pieces[inside & ~ndimage.binary_erosion(inside, border_value=1)])] = True
    left_over = at_side & (mass < LEFT_OVER * mass.max())
    digit = pixels & ~left_over[pieces]
    own_labels = np.unique(labels[digit])
    return np.asarray(ndimage.maximum_filter(digit, 3) & inside), np.isin(labels, own_labels)
