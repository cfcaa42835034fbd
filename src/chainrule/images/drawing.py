"""Annotate a photo of a page with the digits that were read, their boxes and confidences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import UserError, check_destination
from chainrule.files import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from PIL import Image

    from chainrule.images.page import Digit

    Rectangle = tuple[float, float, float, float]

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
OPTIONS = {"PNG": {"compress_level": 1}, "JPEG": {"quality": 90}, "WEBP": {"quality": 90}}  # level 1 for speed
NAME_SIZE, CONFIDENCE_SIZE = 0.45, 0.22  # of the height of a digit's box
MIN_TEXT = 10  # pixels
MAX_TEXT = 0.08  # of the photo's shorter side, but at least MIN_TEXT
READ_COLOR, UNREAD_COLOR = "#0072b2", "#d55e00"  # blue and vermilion, distinguishable for color-blind readers


def draw_page(
    photo: Image.Image,
    lines: Sequence[Sequence[Digit]],
    names: Sequence[str],
    min_confidence: float = 0.0,
    *,
    in_place: bool = False,
) -> Image.Image:
    """Draw boxes, digits and confidences on a copy of the photo, and return it.

    Labels stand on white beside their boxes. Where neighbors leave no space, a digit's name stands in the corner of its
    box, and its confidence is left out.

    Args:
        photo: a photo in mode RGB.
        lines: the result of `read_page`.
        names: class names.
        min_confidence: digits with less confidence are drawn as a question mark in another color.
        in_place: draw on the photo itself, which takes no more memory.
    """
    from PIL import ImageDraw, ImageFont

    annotated = photo if in_place else photo.copy()
    pen = ImageDraw.Draw(annotated)
    stroke = max(1, max(photo.size) // 700)
    digits = [digit for line in lines for digit in line]
    for digit in digits:
        left, top, right, bottom = digit.box
        for distance, color in ((2 * stroke, "white"), (stroke, _color(digit, min_confidence))):  # a halo of white
            box = (left - distance, top - distance, right - 1 + distance, bottom - 1 + distance)
            pen.rectangle(box, outline=color, width=stroke)
    small = ImageFont.load_default(MIN_TEXT)
    occupied: list[Rectangle] = [digit.box for digit in digits]
    for text_of, size in ((_name_of(names, min_confidence), NAME_SIZE), (_percentage, CONFIDENCE_SIZE)):
        for digit in digits:
            left, top, right, bottom = digit.box
            font = ImageFont.load_default(max(MIN_TEXT, min(size * (bottom - top), MAX_TEXT * min(photo.size))))
            margin = 3 * stroke
            for position, anchor in (
                ((left, top - margin), "lb"),
                ((left, bottom + margin), "lt"),
                ((right + margin, top), "lt"),
                ((left - margin, top), "rt"),
            ):
                text = text_of(digit)
                label = _inside(pen.textbbox(position, text, font, anchor, stroke_width=stroke), photo.size)
                if not any(_overlap(label, other) for other in occupied):
                    pen.rectangle(label, fill="white")
                    pen.text(label[:2], text, _color(digit, min_confidence), font, "lt")
                    occupied.append(label)
                    break
            else:
                if size == NAME_SIZE:
                    corner = pen.textbbox((left, top), text_of(digit), small, "lt")
                    pen.rectangle(corner, fill="white")
                    pen.text((left, top), text_of(digit), _color(digit, min_confidence), small, "lt")
    return annotated


def _color(digit: Digit, min_confidence: float) -> str:
    return READ_COLOR if digit.confidence >= min_confidence else UNREAD_COLOR


def _name_of(names: Sequence[str], min_confidence: float) -> Callable[[Digit], str]:
    return lambda digit: names[digit.digit] if digit.confidence >= min_confidence else "?"


def _percentage(digit: Digit) -> str:
    return f"{digit.confidence:.0%}"


def _inside(box: Rectangle, size: tuple[int, int]) -> Rectangle:
    """A rectangle moved into a picture of this size."""
    left = min(max(box[0], 0), max(0, size[0] - (box[2] - box[0])))
    top = min(max(box[1], 0), max(0, size[1] - (box[3] - box[1])))
    return left, top, left + box[2] - box[0], top + box[3] - box[1]


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def save_photo(photo: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a photo atomically, in the format of the file extension.

    Raises:
        UserError: the file extension is not supported, the folder is missing, or the file cannot be written.
    """
    check_destination(path, "photo", FORMATS)
    kind = FORMATS[Path(path).suffix.lower()]
    try:
        with atomic_write(path) as file:
            photo.save(file, kind, **OPTIONS.get(kind, {}))
    except OSError as error:
        raise UserError(f"{path}: the photo cannot be written ({error.strerror or error})") from error
