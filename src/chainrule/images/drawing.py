"""Annotate a photo of a page with the digits that were read, their boxes and confidences."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import UserError, check_destination
from chainrule.files import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from PIL import Image, ImageDraw, ImageFont

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
NAME_SIZE, GUESS_SIZE, CONFIDENCE_SIZE = 0.45, 0.3, 0.22  # of the height of a digit's box
MIN_TEXT = 10  # pixels
MIN_SIDE = 600  # pixels of the longer side: a smaller photo is enlarged by an integer factor
MAX_TEXT = 0.08  # of the photo's shorter side, but at least MIN_TEXT
READ_COLOR, UNREAD_COLOR = "#0072b2", "#c04a00"  # blue and vermilion, distinguishable for color-blind readers


def draw_page(
    photo: Image.Image,
    lines: Sequence[Sequence[Digit]],
    names: Sequence[str],
    min_confidence: float = 0.0,
    *,
    near: float = 0.1,
    in_place: bool = False,
) -> Image.Image:
    """Draw boxes, digits, near second guesses and confidences on a copy of the photo, and return it.

    A photo of few pixels is enlarged first, so that labels are small beside its digits, and legible. They stand on
    white beside their boxes. Where neighbors leave no space, a digit's name and its second guess stand in the corners
    of its box, and its confidence is left out. A digit with too little confidence has a box of dashes and a question
    mark, so that the drawing says the same without its colors.

    Args:
        photo: a photo in mode RGB.
        lines: the result of `read_page`.
        names: class names.
        min_confidence: digits with less confidence are drawn as a question mark, with what they might be.
        near: minimum confidence of a second guess that is drawn.
        in_place: draw on the photo itself, which saves memory; if the photo is enlarged, it is not changed.
    """
    from PIL import Image, ImageDraw

    factor = math.ceil(MIN_SIDE / max(photo.size))
    if factor > 1:
        photo = photo.resize((factor * photo.width, factor * photo.height), Image.Resampling.BICUBIC)
    elif not in_place:
        photo = photo.copy()
    pen = ImageDraw.Draw(photo)
    stroke = max(1, max(photo.size) // 700)
    digits = [_enlarged(digit, factor) for line in lines for digit in line]
    for digit in digits:
        left, top, right, bottom = digit.box
        for distance, color in ((2 * stroke, "white"), (stroke, _color(digit, min_confidence))):  # a halo of white
            box = (left - distance, top - distance, right - 1 + distance, bottom - 1 + distance)
            if color == UNREAD_COLOR:
                _draw_dashes(pen, box, color, stroke)
            else:
                pen.rectangle(box, outline=color, width=stroke)
    occupied: list[Rectangle] = [digit.box for digit in digits]
    for text_of, size, corner in (
        (_name_of(names, min_confidence), NAME_SIZE, "lt"),
        (_guesses_of(names, min_confidence, near), GUESS_SIZE, "lb"),
        (_percentage, CONFIDENCE_SIZE, ""),
    ):
        for digit in digits:
            text, color = text_of(digit), _color(digit, min_confidence)
            if text and not _draw_beside(pen, photo.size, digit.box, text, size, stroke, color, occupied) and corner:
                left, top, _, bottom = digit.box
                position = _inside(
                    pen.textbbox((left, top if corner == "lt" else bottom), text, _font(MIN_TEXT), corner), photo.size
                )
                pen.rectangle(position, fill="white")
                pen.text(position[:2], text, color, _font(MIN_TEXT), "lt")
    return photo


def _enlarged(digit: Digit, factor: int) -> Digit:
    left, top, right, bottom = digit.box
    return replace(digit, box=(factor * left, factor * top, factor * right, factor * bottom))


def _draw_beside(
    pen: ImageDraw.ImageDraw,
    photo_size: tuple[int, int],
    box: tuple[int, int, int, int],
    text: str,
    size: float,
    stroke: int,
    color: str,
    occupied: list[Rectangle],
) -> bool:
    """Draw a label beside a box where nothing else is, and add it to what is occupied; False if there is no space."""
    left, top, right, bottom = box
    font = _font(max(MIN_TEXT, min(size * (bottom - top), MAX_TEXT * min(photo_size))))
    margin = 3 * stroke
    for position, anchor in (
        ((left, top - margin), "lb"),
        ((left, bottom + margin), "lt"),
        ((right + margin, top), "lt"),
        ((left - margin, top), "rt"),
    ):
        label = _inside(pen.textbbox(position, text, font, anchor, stroke_width=stroke), photo_size)
        if not any(_overlap(label, other) for other in occupied):
            pen.rectangle(label, fill="white")
            pen.text((label[0] + stroke, label[1] + stroke), text, color, font, "lt")
            occupied.append(label)
            return True
    return False


def _draw_dashes(pen: ImageDraw.ImageDraw, box: Rectangle, color: str, stroke: int) -> None:
    """Draw the outline of a box in dashes, from each corner."""
    left, top, right, bottom = box
    length = max(3 * stroke, round(min(right - left, bottom - top) / 5))
    for start in range(round(left), round(right) + 1, 2 * length):
        end = min(start + length - 1, right)
        pen.rectangle((start, top, end, top + stroke - 1), fill=color)
        pen.rectangle((start, bottom - stroke + 1, end, bottom), fill=color)
    for start in range(round(top), round(bottom) + 1, 2 * length):
        end = min(start + length - 1, bottom)
        pen.rectangle((left, start, left + stroke - 1, end), fill=color)
        pen.rectangle((right - stroke + 1, start, right, end), fill=color)


@functools.cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _color(digit: Digit, min_confidence: float) -> str:
    return READ_COLOR if digit.confidence >= min_confidence else UNREAD_COLOR


def _name_of(names: Sequence[str], min_confidence: float) -> Callable[[Digit], str]:
    return lambda digit: names[digit.digit] if digit.confidence >= min_confidence else "?"


def _guesses_of(names: Sequence[str], min_confidence: float, near: float) -> Callable[[Digit], str]:
    """A function that returns "or 1" for a digit with a second guess; "7 or 1" or "7" for one that is not read."""

    def guesses(digit: Digit) -> str:
        second = f"or {names[digit.second_digit]}" if digit.second_confidence >= near else ""
        return second if digit.confidence >= min_confidence else f"{names[digit.digit]} {second}".rstrip()

    return guesses


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
