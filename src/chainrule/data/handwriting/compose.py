"""A page: a picture and the digits in it, from a sheet and a camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.camera import Camera, corners_of, photograph, projection, to_picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from chainrule.data.handwriting.camera import Matrix
    from chainrule.data.handwriting.sheet import Colors, Extent, Mark, Sheet

    AddObjects = Callable[[Colors, list[Extent]], None]  # draws objects on a scene, given the boxes of the digits


@dataclass(frozen=True)
class Written:
    """A digit in a picture.

    Attributes:
        label: the digit, 0 to 9.
        box: the tight box of its ink, in pixels: left, top, right, bottom.
    """

    label: int
    box: Extent


@dataclass(eq=False)
class Page:
    """A picture and the digits in it.

    Attributes:
        image: in mode RGB, or RGBA if it is transparent.
        lines: the digits, line by line.
        ignored: boxes of digits that may be read or not: partly outside the picture, crossed out, or printed.
        kind, seed, train: the arguments of `make_page`.
    """

    image: Image.Image
    lines: list[list[Written]]
    ignored: list[Extent] = field(default_factory=list)
    kind: str = ""
    seed: int = 0
    train: bool = False

    @property
    def digits(self) -> list[Written]:
        """All digits, line by line."""
        return [digit for line in self.lines for digit in line]


def take(
    sheet: Sheet,
    camera: Camera,
    generator: np.random.Generator,
    *,
    background: Colors | None = None,
    add_objects: AddObjects | None = None,
) -> Page:
    """Photograph a sheet; return the page, with the digits' boxes in the picture's pixels.

    Args:
        sheet: the sheet.
        camera: how it is photographed.
        generator: the source of randomness.
        background: as in `photograph`.
        add_objects: draws objects on the scene in place, given the scene and the digits' boxes in it.
    """
    matrix = projection(camera, sheet.width, sheet.height)
    boxes = [box_of(mark, matrix) for line in sheet.lines for mark in line]
    image, matrix = photograph(
        sheet.colors,
        camera,
        generator,
        background,
        None if add_objects is None else lambda scene: add_objects(scene, boxes),
    )
    page = Page(image, [], [box_of(mark, matrix) for mark in sheet.ignored])
    for line in sheet.lines:
        row = []
        for mark in line:
            box = box_of(mark, matrix)
            if is_inside(box, image.size):
                row.append(Written(mark.label, box))
            else:
                page.ignored.append(box)
        if row:
            page.lines.append(row)
    return page


def box_of(mark: Mark, matrix: Matrix) -> Extent:
    """Return the tight box of a digit in a picture."""
    points = to_picture(matrix, mark.outline)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def is_inside(box: Extent, size: tuple[int, int]) -> bool:
    """Return whether a box is in the picture, except for at most a tenth of its width and height."""
    left, top, right, bottom = box
    slack = 0.1 * (right - left), 0.1 * (bottom - top)
    return left >= -slack[0] and top >= -slack[1] and right <= size[0] + slack[0] and bottom <= size[1] + slack[1]


def tilted(
    generator: np.random.Generator,
    size: tuple[int, int],
    sheet_size: tuple[int, int],
    *,
    zoom: float,
    angle: float = 3.0,
    tilt: float = 0.03,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the corners (4, 2) in the picture of a sheet that is photographed by hand.

    Args:
        generator: the source of randomness.
        size: the picture's width and height.
        sheet_size: the sheet's width and height.
        zoom: the sheet's size relative to the picture: below 1, the background shows.
        angle: the standard deviation of the rotation in degrees.
        tilt: the standard deviation of the corners' displacement by perspective, relative to the picture.
    """
    scale = zoom * min(size[0] / sheet_size[0], size[1] / sheet_size[1])
    turn = np.deg2rad(generator.normal(0, angle))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array(size, float) / 2
    corners = (corners_of(*sheet_size) - np.array(sheet_size, float) / 2) * scale @ rotation.T + middle
    return np.asarray(corners + generator.normal(0, tilt, (4, 2)) * min(size))
