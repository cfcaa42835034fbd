"""Objects that lie on a sheet or hold it: fingers, pens, bindings, holes, stains.

The functions draw on a scene (height, width, 3) in place. Those that draw one object return its box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.data.handwriting.sheet import Color, Colors, Extent

    Point = tuple[float, float]

SKIN = ((0.93, 0.76, 0.66), (0.85, 0.65, 0.52), (0.72, 0.50, 0.38), (0.50, 0.33, 0.25), (0.36, 0.24, 0.18))


def rod(
    scene: Colors,
    start: Point,
    end: Point,
    radii: tuple[float, float],
    color: Color,
    *,
    gloss: float = 0.3,
    shadow: float = 0.35,
) -> Extent:
    """Draw a round rod, such as a pen, a finger or a wire, with its shadow; return its box in the picture."""
    reach = 2.2 * max(radii) + 2
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    height, width = scene.shape[:2]
    rows = slice(max(0, int(top - reach)), min(height, int(bottom + reach) + 1))
    columns = slice(max(0, int(left - reach)), min(width, int(right + reach) + 1))
    extent = (
        max(0.0, left - radii[0]),
        max(0.0, top - radii[0]),
        min(width, right + radii[0]),
        min(height, bottom + radii[0]),
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return extent
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
    x = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5)
    window = scene[rows, columns]
    if shadow:
        distance, radius, _ = _distance_to_rod(x - 0.5 * radii[0], y - 0.5 * radii[0], start, end, radii)
        window *= (1 - shadow * np.clip(1.3 - distance / (1.4 * radius), 0, 1))[..., None]
    distance, radius, side = _distance_to_rod(x, y, start, end, radii)
    cover = np.clip(radius - distance + 0.5, 0, 1)[..., None]
    roundness = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
    light = np.clip(0.55 + 0.45 * roundness + 0.15 * side, 0, 1.2) + gloss * np.exp(-(((side + 0.35) / 0.15) ** 2))
    window += cover * (light[..., None] * np.asarray(color, np.float32) - window)
    return extent


def _distance_to_rod(
    x: NDArray[np.float32], y: NDArray[np.float32], start: Point, end: Point, radii: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return each pixel's distance from the axis, the rod's radius there, and the side: from -1 to 1 across the rod."""
    along = np.array([end[0] - start[0], end[1] - start[1]], np.float32)
    length = max(float(np.hypot(*along)), 1e-3)
    across, down = x - np.float32(start[0]), y - np.float32(start[1])
    t = np.clip((across * along[0] + down * along[1]) / np.float32(length**2), 0, 1)
    radius = radii[0] + (radii[1] - radii[0]) * t
    distance = np.hypot(across - t * along[0], down - t * along[1])
    side = np.clip((across * -along[1] + down * along[0]) / (length * radius), -1, 1)
    return distance.astype(np.float32), radius.astype(np.float32), side.astype(np.float32)


def finger(scene: Colors, tip: Point, root: Point, radius: float, generator: np.random.Generator) -> Extent:
    """Draw a finger that holds the sheet, its nail near the tip."""
    color = np.asarray(SKIN[generator.choice(len(SKIN))]) * generator.uniform(0.9, 1.05)
    extent = rod(scene, tip, root, (radius, 1.15 * radius), tuple(color), gloss=0.05)
    along = np.array(root, float) - tip
    along /= max(float(np.hypot(*along)), 1e-3)
    nail = tip + 0.15 * radius * along, tip + 0.75 * radius * along
    rod(
        scene,
        tuple(nail[0]),
        tuple(nail[1]),
        (0.5 * radius, 0.5 * radius),
        tuple(color * (1.1, 1.02, 1.02)),
        gloss=0.15,
        shadow=0.15,
    )
    for crease in (2.2, 2.4, 4.2):
        middle = np.array(tip) + crease * radius * along
        sideways = 0.6 * radius * np.array([-along[1], along[0]])
        rod(
            scene,
            tuple(middle - sideways),
            tuple(middle + sideways),
            (0.05 * radius,) * 2,
            tuple(0.7 * color),
            gloss=0,
            shadow=0,
        )
    return extent


def pen(scene: Colors, tip: Point, end: Point, radius: float, generator: np.random.Generator) -> Extent:
    """Draw a pen or a pencil that lies on the sheet."""
    body = generator.uniform(0.02, 0.95, 3)
    away = np.array(end, float) - tip
    cone = tuple(np.array(tip) + 0.12 * away)
    cap = tuple(np.array(tip) + generator.uniform(0.6, 0.85) * away)
    rod(scene, tip, cone, (0.25 * radius, radius), tuple(generator.choice([0.15, 0.7, 0.85]) * np.ones(3)))
    extent = rod(scene, cone, end, (radius, radius), tuple(body))
    rod(scene, cap, end, (1.05 * radius, 1.05 * radius), tuple(generator.uniform(0.02, 0.95, 3)), shadow=0)
    return extent


def spiral(scene: Colors, start: Point, end: Point, pitch: float, generator: np.random.Generator) -> Extent:
    """Draw a spiral binding: holes along a line from `start` to `end`, and the wire through them, to its left."""
    along = np.array(end, float) - start
    count = max(2, int(np.hypot(*along) / pitch))
    unit = along / np.hypot(*along)
    outward = np.array([unit[1], -unit[0]])
    wire, metal = generator.uniform(0.05, 0.12) * pitch, generator.choice([0.12, 0.55, 0.85])
    hole, reach = generator.uniform(0.14, 0.28) * pitch, generator.uniform(0.8, 1.8) * pitch
    lean, doubled = generator.uniform(-0.3, 0.3) * pitch, generator.random() < 0.4
    for i in range(count):
        center = np.array(start) + (i + 0.5) * pitch * unit
        rod(
            scene, tuple(center), tuple(center + 0.3 * hole * unit), (hole, hole), (0.07, 0.07, 0.08), gloss=0, shadow=0
        )
        for shift in (-0.5, 0.5) if doubled else (0,):
            base = center + shift * hole * unit
            top = base + reach * outward + lean * unit
            middle = (base + top) / 2 + 0.15 * pitch * unit
            rod(scene, tuple(base), tuple(middle), (wire, wire), (metal,) * 3, gloss=0.5)
            rod(scene, tuple(middle), tuple(top), (wire, wire), (metal,) * 3, gloss=0.5)
    corners = np.array([start, end, np.array(start) + reach * outward, np.array(end) + reach * outward])
    (left, top), (right, bottom) = corners.min(axis=0) - hole, corners.max(axis=0) + hole
    return float(left), float(top), float(right), float(bottom)


def disk(scene: Colors, center: Point, radius: float, color: Color, strength: float = 1.0, ring: float = 0.0) -> Extent:
    """Draw a round hole, blot or stain; with `ring`, from 0 to 1, mostly its rim of that relative width."""
    height, width = scene.shape[:2]
    x, y = center
    rows = slice(max(0, int(y - radius - 2)), min(height, int(y + radius + 3)))
    columns = slice(max(0, int(x - radius - 2)), min(width, int(x + radius + 3)))
    if rows.start < rows.stop and columns.start < columns.stop:
        down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5 - y)
        across = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - x)
        angle = np.arctan2(down, across)
        distance = np.hypot(down, across) * (1 + np.float32(0.03) * np.sin(3 * angle + x))
        cover = np.clip(radius - distance + 0.5, 0, 1)
        if ring:
            cover = cover * np.clip(distance - radius * (1 - ring) + 0.5, 0.15, 1)
        scene[rows, columns] += strength * cover[..., None] * (np.asarray(color, np.float32) - scene[rows, columns])
    return x - radius, y - radius, x + radius, y + radius


def overlaps(extent: Extent, others: Sequence[Extent], margin: float = 0.0) -> bool:
    """Return whether a box is within `margin` pixels of any of the others."""
    left, top, right, bottom = extent
    return any(
        left - margin < other[2]
        and right + margin > other[0]
        and top - margin < other[3]
        and bottom + margin > other[1]
        for other in others
    )


def lay_thing(
    generator: np.random.Generator,
    scene: Colors,
    boxes: Sequence[Extent],
    size: float,
    corners: NDArray[np.float64] | None = None,
) -> None:
    """Draw an object where there is no digit, if possible: a finger, a pen, a binding, a hole, a stain.

    Args:
        generator: the source of randomness.
        scene: the picture, which is changed in place.
        boxes: the boxes of the digits.
        size: roughly the height of a digit in pixels, which sets the size of the object.
        corners: the sheet's corners, as for `binding`.
    """
    height, width = scene.shape[:2]
    for _ in range(6):
        kind = generator.choice(5, p=[0.3, 0.2, 0.2, 0.15, 0.15])
        radius = size * generator.uniform(0.3, 1.2)
        if kind <= 1:  # from the border
            angle = generator.uniform(0, 2 * np.pi)
            middle = np.array([width, height]) / 2
            root = middle + 0.75 * np.hypot(width, height) * np.array([np.cos(angle), np.sin(angle)])
            reach = generator.uniform(0.02, 0.25) if kind == 0 else generator.uniform(0.1, 0.8)
            border = np.clip(root, 0, (width, height))
            inward = generator.uniform(0.2, 0.8, 2) * (width, height) - border
            tip = border + reach * inward
            end = border - 0.5 * inward
            extent = _hull(tip, border, 1.3 * radius)
            if overlaps(extent, boxes):
                continue
            if kind == 0:
                finger(scene, tuple(tip), tuple(end), radius, generator)
            else:
                pen(scene, tuple(tip), tuple(end), 0.4 * radius, generator)
            return
        if kind == 2:  # a binding along a side
            if binding(generator, scene, boxes, size, corners):
                return
            continue
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        extent = (x - radius, y - radius, x + radius, y + radius)
        if overlaps(extent, boxes, 0.2 * size):
            continue
        if kind == 3:
            disk(scene, (x, y), 0.5 * radius, (generator.uniform(0.02, 0.4),) * 3, generator.uniform(0.5, 1))
        else:
            disk(scene, (x, y), 1.5 * radius, (0.55, 0.38, 0.2), generator.uniform(0.1, 0.5), 0.12)
        return


def _hull(tip: NDArray[np.float64], border: NDArray[np.float64], radius: float) -> Extent:
    low, high = np.minimum(tip, border) - radius, np.maximum(tip, border) + radius
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def binding(
    generator: np.random.Generator,
    scene: Colors,
    boxes: Sequence[Extent],
    size: float,
    corners: NDArray[np.float64] | None = None,
) -> bool:
    """Draw a spiral binding along a random side of the sheet if no digit is there; return whether it was drawn.

    Args:
        generator: the source of randomness.
        scene: the picture, which is changed in place.
        boxes: the boxes of the digits.
        size: the height of the digits in pixels.
        corners: the sheet's corners (4, 2), clockwise from the top left; None for the picture's.
    """
    height, width = scene.shape[:2]
    pitch = size * generator.uniform(0.5, 1.2)
    inset = pitch * generator.uniform(0.5, 1.2)
    ends = np.array([(0, 0), (width, 0), (width, height), (0, height)], float) if corners is None else corners
    side = generator.integers(4)
    start, end = ends[side], ends[(side + 1) % 4]
    along = (end - start) / np.hypot(*(end - start))
    inward = inset * np.array([-along[1], along[0]])
    start, end = start + inward, end + inward
    (left, top), (right, bottom) = np.minimum(start, end), np.maximum(start, end)
    inside = left < 0.98 * width and right > 0.02 * width and top < 0.98 * height and bottom > 0.02 * height
    if not inside or overlaps((left - pitch, top - pitch, right + pitch, bottom + pitch), boxes):
        return False
    spiral(scene, tuple(start), tuple(end), pitch, generator)
    return True
