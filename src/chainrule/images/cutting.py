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
WIDEST_STROKE = 17  # pixels: what is wider is paper
LOCAL = 9  # pixels: faint ink is compared with the darkest ink this near
MIN_PIXELS = 4  # of a digit's ink
MIN_INK = 0.01  # of full brightness: a fainter digit is none
RULE_SLOPES = np.linspace(-0.14, 0.14, 15)  # of lines across a window: a page is photographed askew
THICKEST_RULE = 8  # pixels, a fifth of a digit's height: of the lines of a form, too
LEAST_SHOWN = 8  # pixels beside a digit that tell a rule, which goes on there, from a stroke
FAINTEST = 0.18  # of a digit's darkest ink: fainter pixels are blur
LEFT_OVER = 0.3  # of the digit's ink: a smaller piece that is cut off by the box belongs to a neighbor
LEAST_LEVEL = 0.35  # of a digit's darkest ink: strokes as faint as this are shown as dark as the others


class Cut(NamedTuple):
    """A digit that is cut out.

    Attributes:
        image: (28, 28), in MNIST's format.
        contrast: how much its ink differs from the paper's brightness, from 0 to 1.
        clarity: the same in standard deviations of the paper's grain.
    """

    image: NDArray[np.uint8]
    contrast: float
    clarity: float


def cut_out(levels: Sequence[Level], digits: Sequence[Detection]) -> list[Cut | None]:
    """Cut out digits; None where there is no ink.

    Args:
        levels: the photo at several scales.
        digits: the detections.
    """
    windows = [_window(levels, digit) for digit in digits]
    skewness = [_skewness(window, box) for window, box, _ in windows]
    usual = float(np.median(skewness)) if skewness else 0.0
    cuts: list[Cut | None] = []
    for (window, box, shown), own in zip(windows, skewness, strict=True):
        # A digit of its own brightness on a page is possible: chalk beside paper. A doubtful one is like the others.
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


def _skewness(window: Gray, box: Box) -> float:
    """The skewness of the differences from the local mean: negative for dark strokes, since strokes cover less area."""
    left, top, right, bottom = (round(side) for side in box)
    difference = window - ndimage.uniform_filter(window, 25, mode="nearest")
    difference = difference[max(0, top - SLACK) : bottom + SLACK, max(0, left - SLACK) : right + SLACK]
    return float(np.mean(difference**3) / (np.mean(difference**2) ** 1.5 + 1e-12))


def _cut(gray: Gray, box: Box, shown: Box) -> Cut | None:
    """Cut out the digit in a box; None if there is no ink.

    Args:
        gray: the window; ink is dark.
        box: where the digit is in it.
        shown: pixels of the photo beside the box: to the left, above, to the right, below.
    """
    paper = ndimage.grey_closing(ndimage.gaussian_filter(gray, 0.6), (WIDEST_STROKE, WIDEST_STROKE), mode="nearest")
    ink = np.maximum(ndimage.uniform_filter(paper, LOCAL, mode="nearest") - gray, 0)
    y, x = np.ogrid[: ink.shape[0], : ink.shape[1]]
    left, top, right, bottom = box
    inside = (x >= left - SLACK) & (x < right + SLACK) & (y >= top - SLACK) & (y < bottom + SLACK)
    full = float(np.percentile(ink[inside], 95))
    if full < MIN_INK:
        return None
    ink = _without_rules(ink / full, shown) * full
    usual = float(np.median(ink))
    noise = 1.4826 * float(np.median(np.abs(ink - usual)))  # from the median absolute deviation
    faintest = min(max(FAINTEST * full, float(np.percentile(ink, 30)) + 2 * noise), 0.5 * full)
    near = ndimage.gaussian_filter(ndimage.maximum_filter(ndimage.uniform_filter(ink, 3), LOCAL), 2)
    start = 0.8 * faintest
    level = np.clip(0.85 * near, LEAST_LEVEL * full, full)
    even = np.clip((ink - start) / np.maximum(level - start, 1e-6), 0, 1)
    chosen = _digits_parts(ink, ink > faintest, inside, full)
    result = even * chosen
    if np.count_nonzero(result > STROKE_INK) < MIN_PIXELS:
        return None
    try:
        image = ink_to_mnist(np.pad(result, 2))
    except BlankError:  # a hair in a large window
        return None
    return Cut(image, full, (full - usual) / max(noise, 1e-3))


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


def _digits_parts(ink: Gray, strokes: NDArray[np.bool_], inside: NDArray[np.bool_], full: float) -> NDArray[np.bool_]:
    """Return which pixels belong to the digit in its box: connected parts that lie in it, and what crosses it, cut."""
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
    return np.asarray(ndimage.maximum_filter(pixels & ~left_over[pieces], 3) & inside)
