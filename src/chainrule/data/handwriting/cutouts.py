"""Cutouts of photographed pages in MNIST's format: digits, and marks that are not digits.

The pages are those of `pages`, written with MNIST's digits and digits drawn from strokes. The cutouts are made by the
same steps as in `chainrule read` (`images.cutting`), so a network sees in training what blur, grain, JPEG, rules and
touching neighbors leave of a digit.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.pages import make_page
from chainrule.images.cutting import cut_out
from chainrule.images.detection import SIDE_MULTIPLE, Detection
from chainrule.images.files import to_gray_image
from chainrule.images.pyramid import PAGE_LONGEST_SIDE, make_levels, normalize_contrast
from chainrule.images.steps import normalize_gray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.data.handwriting.compose import Page
    from chainrule.images.pyramid import Level

    Images = NDArray[np.uint8]
    Boxes = NDArray[np.float64]  # (N, 4): left, top, right, bottom

KINDS = (
    "cells", "strips", "faint", "cells", "light on dark", "broad", "cells", "everyday", "habits", "cells", "several",
    "light on dark", "cells", "strips", "everyday", "cells", "clutter",
)  # fmt: skip
"""The kinds of pages that digits are cut out of, in turn; cells are frequent, since they hold few and hard digits."""
MAX_PIXELS = 1_000_000  # of an everyday page: with more, the same digits are only larger
MAX_PER_PAGE = 12  # cutouts
JITTER = (0.045, 0.033)
"""Standard deviations of a detected box's sides, relative to its height: left and right, top and bottom."""
MIN_INK_CONTRAST = 0.8
"""By how many standard deviations a mark is at least darker or lighter than what surrounds it."""
MARK_HEIGHTS = (12.0, 90.0)
"""The smallest and the largest height of a mark in pixels."""
MIN_ASPECT = 0.4
"""The smallest width of a mark relative to its height; only a 1 is narrower."""
MAX_ASPECT = 1.6
"""The largest width of a mark relative to its height."""
MIN_VARIANCE_RATIO = 0.03
"""A mark whose ink varies less than this across its axis, relative to along it, is a straight stroke: perhaps a 1."""


def digit_cutouts(
    count: int, generator: np.random.Generator, *, train: bool = True
) -> tuple[Images, NDArray[np.uint8]]:
    """Cut digits out of pages, each box as inaccurate as a detector's.

    Args:
        count: how many, N.
        generator: the only source of randomness.
        train: whether the pages are to train with, not to measure with.

    Returns:
        images, uint8 (N, 28, 28), and labels, uint8 (N,).
    """
    images, labels = np.empty((count, 28, 28), np.uint8), np.empty(count, np.uint8)
    for i, (image, label) in enumerate(itertools.islice(_digits(generator, train), count)):
        images[i], labels[i] = image, label
    return images, labels


def mark_cutouts(count: int, generator: np.random.Generator, *, train: bool = True) -> Images:
    """Cut letters, doodles, print and parts of objects out of pages without a digit: (N, 28, 28).

    Args:
        count: how many, N.
        generator: the only source of randomness.
        train: whether the pages are to train with, not to measure with.
    """
    images = np.empty((count, 28, 28), np.uint8)
    for i, image in enumerate(itertools.islice(_marks(generator, train), count)):
        images[i] = image
    return images


def _digits(generator: np.random.Generator, train: bool) -> Iterator[tuple[Images, int]]:
    for kind in itertools.cycle(KINDS):
        page = _page(kind, generator, train)
        digits = page.digits
        chosen = [digits[i] for i in generator.permutation(len(digits))[:MAX_PER_PAGE]]
        boxes = np.array([digit.box for digit in chosen], np.float64).reshape(-1, 4)
        for image, digit in zip(_cut(_levels(page), boxes, generator), chosen, strict=True):
            if image is not None:
                yield image, digit.label


def _marks(generator: np.random.Generator, train: bool) -> Iterator[Images]:
    while True:
        levels = _levels(_page("no digits", generator, train))
        boxes = _mark_boxes(levels)
        chosen = boxes[generator.permutation(len(boxes))[:MAX_PER_PAGE]]
        for image in _cut(levels, chosen, generator):
            if image is not None and not _is_stroke(image):
                yield image


def _page(kind: str, generator: np.random.Generator, train: bool) -> Page:
    return make_page(kind, int(generator.integers(1 << 31)), train=train, max_pixels=MAX_PIXELS)


def _levels(page: Page) -> list[Level]:
    """Return the page at several scales, as `read_page` makes them of a page that it does not shrink."""
    return make_levels(np.asarray(normalize_gray(np.asarray(to_gray_image(page.image)), PAGE_LONGEST_SIDE), np.float32))


def _is_stroke(image: Images) -> bool:
    """Return whether the ink is a straight stroke: it varies much more along one axis than across it."""
    rows, columns = np.nonzero(image > 127)
    if len(rows) < 2:
        return True
    across, along = np.linalg.eigvalsh(np.cov(rows, columns))
    return bool(across < MIN_VARIANCE_RATIO * along)


def _cut(levels: list[Level], boxes: Boxes, generator: np.random.Generator) -> list[Images | None]:
    """Cut out boxes of a page after jittering them, (28, 28) each; None where there is no ink."""
    height = boxes[:, 3:] - boxes[:, 1:2]
    boxes = boxes + height * generator.normal(0, 1, boxes.shape) * np.tile(JITTER, 2)
    detections = [Detection(left, top, right, bottom, 1.0, np.empty(0)) for left, top, right, bottom in boxes.tolist()]
    return [None if cutout is None else cutout.image for cutout in cut_out(levels, detections)]


def _mark_boxes(levels: list[Level]) -> Boxes:
    """Return the boxes of connected ink that has the height and the aspect ratio of a digit."""
    from scipy import ndimage  # slow to import

    level = next((level for level in levels if level.scale <= 1), levels[0])
    height, width = (side - side % SIDE_MULTIPLE for side in level.gray.shape)
    contrast = normalize_contrast(level.gray[:height, :width])
    labels, _ = ndimage.label(np.abs(contrast) > MIN_INK_CONTRAST, np.ones((3, 3)))
    boxes = [
        (columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in ndimage.find_objects(labels)
        if MARK_HEIGHTS[0] <= rows.stop - rows.start <= MARK_HEIGHTS[1]
        and MIN_ASPECT <= (columns.stop - columns.start) / (rows.stop - rows.start) <= MAX_ASPECT
    ]
    return np.array(boxes, np.float64).reshape(-1, 4) / level.scale
