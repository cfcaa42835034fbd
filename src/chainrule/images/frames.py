"""Find the panel or the frame around a digit.

A panel is a region with a background of its own: a sheet on a desk, the background of a plot, the canvas of a drawing
program. A frame consists of ink: a drawn box or circle, the axes of a plot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.images.raster import connected_parts, otsu_threshold, resize, shrink, sliding_reduce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

# Panels
SEARCH_SIDE = 128  # pixels of the longer side of the reduced copy in which panels are looked for
MIN_PANEL_AREA = 0.08  # relative to the picture's area
MAX_PANEL_AREA = 0.97  # relative to the picture's area
MIN_PANEL_SIDE = 14  # pixels of the reduced copy: a digit in a smaller panel cannot be read
EDGE_WIDTH = 2  # pixels of the reduced copy: the soft edge of a panel
MIN_RECTANGULARITY = 0.9  # minimum area of a panel, relative to the smallest rectangle around it: an ellipse has 0.79
MAX_LEAK = 0.1  # maximum share of the pixels just outside a panel that are on the panel's side of the threshold
MIN_SHARPNESS = 0.6  # minimum change in brightness within two pixels of an outline, relative to that within six
MIN_HOLE_AREA = 0.75  # minimum area of the hole in a ring, relative to the hole's bounding box
HULL_DIRECTIONS = 60  # directions in which a hull is measured; two at right angles give a rectangle around it

# Frames
MIN_FRAME_SIDE = 14  # pixels of the picture that `find_frame` searches: a digit in a smaller frame cannot be read
MIN_CONTENT_SIZE = 0.2  # minimum length of a frame's content, relative to the frame's shorter side
DIRECTIONS = 48  # number of directions, as seen from the content, in which the frame is looked for
MIN_SURROUNDED = 0.8  # minimum share of these directions in which there is a part of the frame
MIN_AXES_SURROUNDED = 0.4  # the same for the axes of a plot, which may be on two sides only
MIN_ALONG_SIDES = 0.9  # minimum share of the pixels of axes that lie along the sides of their bounding box
SIDE_WIDTH = 0.06  # width of these sides, relative to the shorter side of the box


class Panel(NamedTuple):
    """A region of a picture with a background of its own.

    Attributes:
        gray: the crop to the region's bounding box. Pixels outside of `mask` have the background's brightness.
        mask: the region without its edge, in the crop.
        background: the region's median brightness.
        surroundings: the median brightness just outside the region.
        is_closed: whether at most one side of the region lies at the picture's border.
    """

    gray: Gray
    mask: NDArray[np.bool_]
    background: float
    surroundings: float
    is_closed: bool


def find_panels(gray: Gray, mask: NDArray[np.bool_]) -> Iterator[Panel]:
    """Yield the rectangular regions, darker or brighter than their surroundings, that may contain a digit.

    The largest is first.

    Args:
        gray: brightness `(height, width)`.
        mask: the part of the picture to search, `(height, width)`.
    """
    small = shrink(gray, SEARCH_SIDE)
    if np.ptp(small) < 0.1:
        return
    threshold = otsu_threshold(small)
    candidates = []
    for thresholded in (small > threshold, small <= threshold):
        labels = connected_parts(thresholded)
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        for label in np.flatnonzero(areas >= 0.5 * MIN_PANEL_AREA * small.size):
            part = labels == label
            hull, rectangularity = _convex_hull(part)
            area = int(hull.sum())
            has_panel_area = MIN_PANEL_AREA * small.size <= area <= MAX_PANEL_AREA * small.size
            if not has_panel_area or areas[label] < 0.5 * area:
                continue
            rows, columns = np.flatnonzero(hull.any(axis=1)), np.flatnonzero(hull.any(axis=0))
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            around = sliding_reduce(hull, 5, np.maximum) & ~hull
            if (
                min(rows.size, columns.size) >= MIN_PANEL_SIDE
                and rectangularity >= MIN_RECTANGULARITY
                and thresholded[around].mean() < MAX_LEAK
                and _is_sharp(small, hull)
                and not _is_ring(part[box], hull[box])
            ):
                background, surroundings = float(np.median(small[part])), float(np.median(small[around]))
                free_sides = (
                    rows[0] > 0,
                    rows[-1] < len(small) - 1,
                    columns[0] > 0,
                    columns[-1] < small.shape[1] - 1,
                )
                candidates.append((area, box, hull[box], background, surroundings, sum(free_sides) >= 3))
    row_scale, column_scale = gray.shape[0] / small.shape[0], gray.shape[1] / small.shape[1]
    for _, box, region, background, surroundings, is_closed in sorted(candidates, key=lambda c: -c[0]):
        crop = (
            slice(round(box[0].start * row_scale), round(box[0].stop * row_scale)),
            slice(round(box[1].start * column_scale), round(box[1].stop * column_scale)),
        )
        cropped = gray[crop]
        inner = sliding_reduce(np.pad(region, 1), 2 * EDGE_WIDTH + 1, np.minimum)[1:-1, 1:-1]
        inside = (resize(inner.astype(np.float32), cropped.shape, "BILINEAR") > 0.5) & mask[crop]
        yield Panel(np.where(inside, cropped, np.float32(background)), inside, background, surroundings, is_closed)


def _convex_hull(region: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """Return the convex hull of a region as a mask, and the hull's rectangularity.

    The rectangularity is the area relative to that of the smallest rectangle around the hull, of any orientation.
    """
    rows = np.flatnonzero(region.any(axis=1))
    left, right = region[rows].argmax(axis=1), region.shape[1] - 1 - region[rows, ::-1].argmax(axis=1)
    left_hull, right_hull = _lower_hull(rows, left), _lower_hull(rows, -right)
    first = np.interp(rows, left_hull[:, 0], left_hull[:, 1])  # the hull's first and last column in each row
    last = -np.interp(rows, right_hull[:, 0], right_hull[:, 1])
    columns = np.arange(region.shape[1])
    hull = np.zeros(region.shape, bool)
    hull[rows] = (columns >= first[:, None] - 0.01) & (columns <= last[:, None] + 0.01)
    corners = np.concatenate([left_hull, right_hull * (1, -1)])  # (corners, 2)
    angles = np.deg2rad(np.arange(0, 180, 180 / HULL_DIRECTIONS))
    sine, cosine = np.sin(angles), np.cos(angles)
    # The extent of the corners in each direction, plus that of one pixel, since a corner is a pixel's center
    extents = np.ptp(corners @ np.stack([sine, cosine]), axis=0) + np.abs(sine) + np.abs(cosine)
    half = HULL_DIRECTIONS // 2  # two directions that are this far apart are at right angles
    return hull, float(hull.sum() / (extents[:half] * extents[half:]).min())


def _lower_hull(x: NDArray[np.integer], y: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the lower convex hull (corners, 2) of points with increasing x (monotone chain, Andrew 1979)."""
    corners: list[tuple[int, int]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(corners) > 1 and _cross_product(corners[-2], corners[-1], point) <= 0:
            corners.pop()
        corners.append(point)
    return np.array(corners, np.float64)


def _cross_product(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """Return the cross product of b - a and c - a: positive if the path from a through b to c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _is_sharp(gray: Gray, region: NDArray[np.bool_]) -> bool:
    """Whether the brightness changes abruptly at the outline of a region; at that of a shadow it changes gradually."""
    outline = sliding_reduce(region, 3, np.maximum) & ~region
    near_range = sliding_reduce(gray, 5, np.maximum) - sliding_reduce(gray, 5, np.minimum)
    far_range = sliding_reduce(gray, 13, np.maximum) - sliding_reduce(gray, 13, np.minimum)
    return bool(np.median(near_range[outline] / np.maximum(far_range[outline], 1e-6)) >= MIN_SHARPNESS)


def _is_ring(part: NDArray[np.bool_], hull: NDArray[np.bool_]) -> bool:
    """Whether a part is a closed stroke, such as an angular zero, and not the background of a digit.

    The rest of its convex hull is then a single hole in the middle, which nearly fills its own bounding box.
    """
    inner = sliding_reduce(np.pad(hull, 1), 3, np.minimum)[1:-1, 1:-1]
    hole = inner & ~part
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if not rows.size or hole.sum() < MIN_HOLE_AREA * np.ptp(rows) * np.ptp(columns):
        return False
    margins = rows[0], columns[0], part.shape[0] - 1 - rows[-1], part.shape[1] - 1 - columns[-1]
    return bool(max(margins) <= 1.5 * min(margins) + 2)


def find_frame(labels: NDArray[np.intp], bounds: NDArray[np.float64]) -> int | None:
    """Return the label of the innermost part that is a frame around another part; None if no part is.

    A frame is a box, a circle, or the axes of a plot.

    Args:
        labels: the label of the part at each pixel, (height, width); 0 is paper.
        bounds: top, left, -bottom and -right of each part, (4, parts), so that those of a part inside another one are
            all larger; infinite for the paper.
    """
    heights, widths = -bounds[2] - bounds[0] + 1, -bounds[3] - bounds[1] + 1
    heights[0] = widths[0] = 0
    innermost = None
    for outer in np.argsort(heights * widths)[::-1]:
        shorter_side = min(heights[outer], widths[outer])
        if shorter_side < MIN_FRAME_SIDE:
            break
        if innermost is not None and not (bounds[:, outer] > bounds[:, innermost]).all():
            continue
        is_content = (bounds > bounds[:, [outer]]).all(axis=0) & np.isfinite(bounds[0])
        is_content &= np.maximum(heights, widths) >= MIN_CONTENT_SIZE * shorter_side
        if is_content.any():
            inner = np.flatnonzero(is_content)[np.argmax((heights * widths)[is_content])]
            if _surrounds(labels, bounds, int(outer), int(inner)):
                innermost = int(outer)
    return innermost


def _surrounds(labels: NDArray[np.intp], bounds: NDArray[np.float64], outer: int, inner: int) -> bool:
    """Whether the part `outer` is a frame around the part `inner`.

    Seen from the center of `inner`, the pixels of a frame lie in nearly all directions. Those of the axes of a plot,
    which run along the sides of their own bounding box, may leave more directions free.
    """
    top, left, bottom, right = (int(side) for side in bounds[:, outer] * (1, 1, -1, -1))
    y, x = np.nonzero(labels[top : bottom + 1, left : right + 1] == outer)
    center = (bounds[:2, inner] - bounds[2:, inner]) / 2 - (top, left)
    angles = np.arctan2(y - center[0], x - center[1])
    directions = np.unique(((angles / (2 * np.pi) + 0.5) * DIRECTIONS).astype(int) % DIRECTIONS)
    surrounded = directions.size / DIRECTIONS
    side_width = max(2, SIDE_WIDTH * min(bottom - top, right - left))
    distance = np.minimum(np.minimum(y, bottom - top - y), np.minimum(x, right - left - x))  # to the nearest side
    are_axes = float((distance <= side_width).mean()) >= MIN_ALONG_SIDES
    return surrounded >= (MIN_AXES_SURROUNDED if are_axes else MIN_SURROUNDED)
