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
from chainrule.images.rules import remove_level_rules
from chainrule.images.steps import ink_to_mnist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.detection import Detection
    from chainrule.images.pyramid import Level
    from chainrule.images.raster import Gray

    Box = tuple[float, float, float, float]  # left, top, right, bottom

HEIGHT = 40  # pixels of a digit in its window
MARGIN = 0.35  # of a digit's height: the paper around it that the window shows
SLACK = 3  # pixels by which a digit may exceed its box
AROUND = 5  # pixels around its box where paper is
MOST_SKEWED = 1.5  # limit of a skewness, beside what is around the box
WIDEST_STROKE = 17  # pixels: what is wider is paper
LOCAL = 9  # pixels: faint ink is compared with the darkest ink this near
MIN_PIXELS = 4  # of a digit's ink
MIN_INK = 0.01  # of full brightness: a fainter digit is none
RULE_SLOPES = np.linspace(-0.14, 0.14, 15)  # of lines across a window: a page is photographed askew
THICKEST_RULE = 8  # pixels, a fifth of a digit's height: of the lines of a form, too
LEAST_SHOWN = 8  # pixels beside a digit that tell a rule, which goes on there, from a stroke
FAINTEST = 0.18  # of a digit's darkest ink: fainter pixels are blur
LINE = 0.3  # of a digit's darkest ink: a printed line beside it is as dark
END = 8  # pixels above and below the end of a line between two cells, where it meets others
LEFT_OVER = 0.3  # of the digit's ink: a smaller piece that is cut off by the box belongs to a neighbor
LEAST_LEVEL = 0.35  # of a digit's darkest ink: strokes as faint as this are shown as dark as the others


class Cut(NamedTuple):
    """A digit that is cut out.

    Attributes:
        image: (28, 28), in MNIST's format.
        contrast: how much its ink differs from the paper's brightness, from 0 to 1.
        clarity: the same in standard deviations of the paper's grain.
        leaving: how much of the ink that is connected to the digit's is above or below its box, and how much is to the
            left or right, as shares of all of it: a part of a letter goes on, and so does a digit that touches another.
        joined: how much of the width beside the box is crossed by lines that are connected to the digit's ink, at its
            upper end and at its lower end, the smaller of both: that joins the side of a cell to others.
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
        # A digit of its own brightness on a page is possible: chalk beside paper. A doubtful one is like the others
        dark = (own if abs(own) > 0.5 else usual) < 0
        cuts.append(_cut(window if dark else 1 - window, box, shown))
    return cuts


def _window(levels: Sequence[Level], digit: Detection) -> tuple[Gray, Box, Box]:
    """Return the scaled surroundings of a digit; its box in them; and of their margins, what the photo shows.

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
    seen = (-left, -top, right - width, bottom - height)
    shown = tuple(border - max(0.0, beyond) * scale / level.scale for beyond in seen)
    return window, (border, border, size[0] - border, size[1] - border), (shown[0], shown[1], shown[2], shown[3])


def _lightness(window: Gray, box: Box, shown: Box) -> float:
    """How likely strokes are lighter than the paper: negative for dark ones.

    The sum of two figures: the skewness of the differences from the local mean, since strokes cover less area; and
    where the brightness around the box is between the dark and the light of the box: there is paper. The first fails
    for broad strokes, the second for neighbors that touch.
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
    return float(np.clip(skewness, -MOST_SKEWED, MOST_SKEWED) - np.clip(around, -1, 1))


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
    paper = ndimage.grey_closing(ndimage.gaussian_filter(gray, 0.6), (WIDEST_STROKE, WIDEST_STROKE), mode="nearest")
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
    faintest = min(max(FAINTEST * full, float(np.percentile(ink, 30)) + 2 * noise), 0.5 * full)
    near = ndimage.gaussian_filter(ndimage.maximum_filter(ndimage.uniform_filter(ink, 3), LOCAL), 2)
    start = 0.8 * faintest
    level = np.clip(0.85 * near, LEAST_LEVEL * full, full)
    even = np.clip((ink - start) / np.maximum(level - start, 1e-6), 0, 1)
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
    """The share of the columns beside a box that are crossed by marks connected to those in it, at its worse end."""
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
    """Remove lines that go on across the window, from 0 to 1, if the window shows that they do so beside the digit.

    Beyond the photo its border is repeated: there, a stroke that touches the border looks like a line.
    """
    ink = np.clip(ink, 0, 1)
    if max(shown[0], shown[2]) >= LEAST_SHOWN:
        ink = remove_level_rules(ink, RULE_SLOPES, THICKEST_RULE)
    if max(shown[1], shown[3]) >= LEAST_SHOWN:
        ink = remove_level_rules(ink.T, RULE_SLOPES, THICKEST_RULE).T
    return ink


def _digits_parts(
    ink: Gray, strokes: NDArray[np.bool_], inside: NDArray[np.bool_], full: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels belong to the digit in its box, and which are connected to them.

    The digit is the connected parts that lie in the box, and what crosses it, cut.
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
    # Of what crosses the box, such as a neighbor that touches, pieces may be left at the sides
    pieces, count = ndimage.label(pixels, np.ones((3, 3)))
    mass = np.bincount(pieces.ravel(), ink.ravel(), count + 1)
    mass[0] = 0
    at_side = np.zeros(count + 1, bool)
    at_side[np.unique(pieces[inside & ~ndimage.binary_erosion(inside, border_value=1)])] = True
    left_over = at_side & (mass < LEFT_OVER * mass.max())
    digit = pixels & ~left_over[pieces]
    own_labels = np.unique(labels[digit])
    return np.asarray(ndimage.maximum_filter(digit, 3) & inside), np.isin(labels, own_labels)
