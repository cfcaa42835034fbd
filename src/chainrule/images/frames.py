"""Find what surrounds a digit: a sheet on a desk, the panel of a plot, the canvas of a drawing program, a drawn box."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.images.raster import connected_parts, otsu_threshold, resize, shrink, sliding_reduce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

SEARCH_SIDE = 128  # pixels of the longer side of the copy in which panels are searched for
MIN_PANEL, MAX_PANEL = 0.08, 0.97  # of the picture's area
MIN_PANEL_SIDE = 14  # pixels: a digit in a smaller panel cannot be read
EDGE = 2  # pixels of the search copy: the soft edge of a panel
MIN_RECTANGLE = 0.9  # minimum area of a panel, relative to the smallest rectangle around it: an ellipse has 0.79
MAX_LEAK = 0.1  # maximum share of the pixels around a panel on the panel's side of the threshold
MIN_SHARPNESS = 0.6  # minimum change in brightness within two pixels of an outline, relative to that within six
MIN_SOLID = 0.75  # minimum area of the hole of a ring, relative to its box
HULL_DIRECTIONS = 60  # of rectangles that are tried around a hull
MIN_CONTENT = 0.2  # minimum size of what a frame surrounds, relative to the frame's shorter side
DIRECTIONS = 48  # number of directions from a part in which another one around it is searched for
MIN_SURROUNDED = 0.8  # minimum share of these directions in which it is found
# The axes of a plot: the limit of MIN_SURROUNDED for them, the minimum share of their pixels along the sides of their
# box, and the width of these sides, relative to the shorter one
MIN_STRAIGHT_SURROUNDED, MIN_ALONG_SIDES, SIDE_WIDTH = 0.4, 0.9, 0.06


class Panel(NamedTuple):
    """A region of a picture with a background of its own."""

    gray: Gray  # the box around the region, the background's median brightness outside of it
    mask: NDArray[np.bool_]  # the region without its edge
    background: float  # its median brightness
    surroundings: float  # the median brightness around it
    is_closed: bool  # whether it is surrounded on three or four sides; the picture's border is no side


def find_panels(gray: Gray, mask: NDArray[np.bool_]) -> Iterator[Panel]:
    """The regions of uniform brightness that are rectangles and may contain a digit, the largest first.

    Args:
        gray: brightness `(height, width)`.
        mask: the part of the picture to search, `(height, width)`.
    """
    small = shrink(gray, SEARCH_SIDE)
    if np.ptp(small) < 0.1:
        return
    threshold = otsu_threshold(small)
    candidates = []
    for pixels in (small > threshold, small <= threshold):
        parts = connected_parts(pixels)
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        for number in np.flatnonzero(areas >= 0.5 * MIN_PANEL * small.size):
            part = parts == number
            hull, rectangularity = _convex_hull(part)
            area = int(hull.sum())
            if not MIN_PANEL * small.size <= area <= MAX_PANEL * small.size or areas[number] < 0.5 * area:
                continue
            rows, columns = np.flatnonzero(hull.any(axis=1)), np.flatnonzero(hull.any(axis=0))
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            around = sliding_reduce(hull, 5, np.maximum) & ~hull
            if (
                min(rows.size, columns.size) >= MIN_PANEL_SIDE
                and rectangularity >= MIN_RECTANGLE
                and pixels[around].mean() < MAX_LEAK
                and _is_sharp(small, hull)
                and not _is_ring(part[box], hull[box])
            ):
                background, surroundings = float(np.median(small[part])), float(np.median(small[around]))
                ends = rows[0] > 0, rows[-1] < len(small) - 1, columns[0] > 0, columns[-1] < small.shape[1] - 1
                candidates.append((area, box, hull[box], background, surroundings, sum(ends) >= 3))
    scale = [full / side for full, side in zip(gray.shape, small.shape, strict=True)]
    for _, box, region, background, surroundings, is_closed in sorted(candidates, key=lambda entry: -entry[0]):
        window_rows, window_columns = (
            slice(round(extent.start * factor), round(extent.stop * factor))
            for extent, factor in zip(box, scale, strict=True)
        )
        cropped = gray[window_rows, window_columns]
        inner = sliding_reduce(np.pad(region, 1), 2 * EDGE + 1, np.minimum)[1:-1, 1:-1]
        inside = (resize(inner.astype(np.float32), cropped.shape, "BILINEAR") > 0.5) & mask[window_rows, window_columns]
        yield Panel(np.where(inside, cropped, np.float32(background)), inside, background, surroundings, is_closed)


def _convex_hull(region: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """The convex hull of a region, and its area relative to the smallest rectangle around it, of any orientation."""
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
    extents = np.ptp(corners @ np.stack([sine, cosine]), axis=0) + np.abs(sine) + np.abs(cosine)  # with whole pixels
    half = HULL_DIRECTIONS // 2
    return hull, float(hull.sum() / (extents[:half] * extents[half:]).min())


def _lower_hull(x: NDArray[np.integer], y: NDArray[np.integer]) -> NDArray[np.float64]:
    """The lower convex hull of points with increasing x, (corners, 2) (Andrew 1979)."""
    corners: list[tuple[int, int]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0:
            corners.pop()
        corners.append(point)
    return np.array(corners, np.float64)


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """Positive if the path from a through b to c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _is_sharp(gray: Gray, region: NDArray[np.bool_]) -> bool:
    """Whether the brightness changes abruptly at the outline of a region; it changes gradually at that of a shadow."""
    outline = sliding_reduce(region, 3, np.maximum) & ~region
    near, far = (sliding_reduce(gray, width, np.maximum) - sliding_reduce(gray, width, np.minimum) for width in (5, 13))
    return bool(np.median(near[outline] / np.maximum(far[outline], 1e-6)) >= MIN_SHARPNESS)


def _is_ring(part: NDArray[np.bool_], hull: NDArray[np.bool_]) -> bool:
    """Whether a part is a closed stroke, such as an angular zero: its only content is a solid hole in its middle."""
    inner = sliding_reduce(np.pad(hull, 1), 3, np.minimum)[1:-1, 1:-1]
    hole = inner & ~part
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if not rows.size or hole.sum() < MIN_SOLID * np.ptp(rows) * np.ptp(columns):
        return False
    margins = rows[0], columns[0], part.shape[0] - 1 - rows[-1], part.shape[1] - 1 - columns[-1]
    return bool(max(margins) <= 1.5 * min(margins) + 2)


def find_frame(parts: NDArray[np.intp], sides: NDArray[np.float64]) -> int | None:
    """Return the number of the innermost part that is a frame around another one; None if there is none.

    A frame is a box, a circle, or the axes of a plot.

    Args:
        parts: the number of the part at each pixel, (height, width); 0 is paper.
        sides: top, left, -bottom and -right of each part, (4, parts); infinite for the paper.
    """
    height, width = -sides[2] - sides[0] + 1, -sides[3] - sides[1] + 1  # of each part
    height[0] = width[0] = 0
    best = None
    for outer in np.argsort(height * width)[::-1]:
        if min(height[outer], width[outer]) < MIN_PANEL_SIDE:
            break
        if best is not None and not (sides[:, outer] > sides[:, best]).all():
            continue
        contained = (sides > sides[:, [outer]]).all(axis=0) & np.isfinite(sides[0])
        contained &= np.maximum(height, width) >= MIN_CONTENT * min(height[outer], width[outer])
        if contained.any():
            inner = np.flatnonzero(contained)[np.argmax((height * width)[contained])]
            if _surrounds(parts, sides, int(outer), int(inner)):
                best = int(outer)
    return best


def _surrounds(parts: NDArray[np.intp], sides: NDArray[np.float64], outer: int, inner: int) -> bool:
    """Whether a part lies around another: in nearly all directions, or along two or more sides of its own box."""
    top, left, bottom, right = (int(side) for side in sides[:, outer] * (1, 1, -1, -1))
    y, x = np.nonzero(parts[top : bottom + 1, left : right + 1] == outer)
    middle = (sides[:2, inner] - sides[2:, inner]) / 2 - (top, left)
    angles = np.arctan2(y - middle[0], x - middle[1])
    directions = np.unique(((angles / (2 * np.pi) + 0.5) * DIRECTIONS).astype(int) % DIRECTIONS)
    surrounded = directions.size / DIRECTIONS
    margin = max(2, SIDE_WIDTH * min(bottom - top, right - left))
    along = np.minimum(np.minimum(y, bottom - top - y), np.minimum(x, right - left - x)) <= margin
    straight = float(along.mean()) >= MIN_ALONG_SIDES
    return surrounded >= (MIN_STRAIGHT_SURROUNDED if straight else MIN_SURROUNDED)
