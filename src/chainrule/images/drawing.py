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

    Rectangle = tuple[float, float, float, float]  # left, top, right, bottom

FORMATS = {  # Pillow's name of the format, by file extension
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
SAVE_OPTIONS = {"PNG": {"compress_level": 1}, "JPEG": {"quality": 90}, "WEBP": {"quality": 90}}  # level 1 for speed
MIN_SIDE = 600  # pixels of the longer side: a smaller photo is enlarged by an integer factor
NAME_SIZE = 0.45  # font size of a digit's name, relative to the height of its box
GUESS_SIZE = 0.3  # the same for its second guess
CONFIDENCE_SIZE = 0.22  # the same for its confidence
MIN_FONT_SIZE = 10  # pixels
MAX_FONT_SIZE = 0.08  # relative to the photo's shorter side; MIN_FONT_SIZE takes precedence
READ_COLOR = "#0072b2"  # blue, which color-blind readers can tell from vermilion
UNREAD_COLOR = "#c04a00"  # vermilion


def draw_page(
    photo: Image.Image,
    lines: Sequence[Sequence[Digit]],
    names: Sequence[str],
    min_confidence: float = 0.0,
    *,
    min_second_confidence: float = 0.1,
    in_place: bool = False,
    near: float | None = None,
) -> Image.Image:
    """Draw the digits' boxes, names, likely second guesses and confidences on a copy of the photo, and return it.

    A photo of few pixels is enlarged first, so that labels are legible but small compared to its digits. Labels are
    drawn on white beside the boxes. Where neighbors leave no space, a digit's name and its second guess are drawn in
    corners of its box, and its confidence is left out. A digit with too little confidence has a dashed box and a
    question mark, so that the drawing can be understood without its colors.

    Args:
        photo: a photo in mode RGB.
        lines: the result of `page.read_page`.
        names: the names of the classes.
        min_confidence: digits with less confidence are drawn with a question mark and their most likely classes.
        min_second_confidence: minimum confidence of a second guess that is drawn.
        in_place: draw on the photo itself, which saves memory; a photo that is enlarged is not changed.
        near: former name of `min_second_confidence`.
    """
    from PIL import Image, ImageDraw

    if near is not None:
        min_second_confidence = near
    factor = math.ceil(MIN_SIDE / max(photo.size))
    if factor > 1:
        photo = photo.resize((factor * photo.width, factor * photo.height), Image.Resampling.BICUBIC)
    elif not in_place:
        photo = photo.copy()
    draw = ImageDraw.Draw(photo)
    line_width = max(1, max(photo.size) // 700)
    digits = [_enlarged(digit, factor) for line in lines for digit in line]
    for digit in digits:
        left, top, right, bottom = digit.box
        halo = (2 * line_width, "white")
        for distance, color in (halo, (line_width, _color(digit, min_confidence))):
            box = (left - distance, top - distance, right - 1 + distance, bottom - 1 + distance)
            if color == UNREAD_COLOR:
                _draw_dashes(draw, box, color, line_width)
            else:
                draw.rectangle(box, outline=color, width=line_width)
    occupied: list[Rectangle] = [digit.box for digit in digits]
    # All names first, then all second guesses, then all confidences: what matters more finds more space. A corner is
    # Pillow's anchor of the text in the box ("lt" left top, "lb" left bottom); without one, the text is left out
    for get_text, size, corner in (
        (_name_getter(names, min_confidence), NAME_SIZE, "lt"),
        (_guess_getter(names, min_confidence, min_second_confidence), GUESS_SIZE, "lb"),
        (_percentage, CONFIDENCE_SIZE, ""),
    ):
        for digit in digits:
            text, color = get_text(digit), _color(digit, min_confidence)
            if not text or _draw_beside(draw, photo.size, digit.box, text, size, line_width, color, occupied):
                continue
            if corner:
                left, top, _, bottom = digit.box
                anchor_y = top if corner == "lt" else bottom
                label = _moved_inside(draw.textbbox((left, anchor_y), text, _font(MIN_FONT_SIZE), corner), photo.size)
                draw.rectangle(label, fill="white")
                draw.text(label[:2], text, color, _font(MIN_FONT_SIZE), "lt")
    return photo


def _enlarged(digit: Digit, factor: int) -> Digit:
    """Return the digit with its box in a photo that is enlarged by a factor."""
    left, top, right, bottom = digit.box
    return replace(digit, box=(factor * left, factor * top, factor * right, factor * bottom))


def _draw_beside(
    draw: ImageDraw.ImageDraw,
    photo_size: tuple[int, int],
    box: tuple[int, int, int, int],
    text: str,
    size: float,
    line_width: int,
    color: str,
    occupied: list[Rectangle],
) -> bool:
    """Draw a label beside a box if there is space: above, below, to the right or to the left of it.

    Args:
        draw: draws on the photo.
        photo_size: width and height of the photo.
        box: the digit's box.
        text: the label.
        size: the font size, relative to the box's height.
        line_width: the width of the boxes' lines in pixels.
        color: the color of the text.
        occupied: boxes and labels that the label must not overlap; the label is appended.

    Returns:
        Whether the label was drawn.
    """
    left, top, right, bottom = box
    font = _font(max(MIN_FONT_SIZE, min(size * (bottom - top), MAX_FONT_SIZE * min(photo_size))))
    margin = 3 * line_width
    for position, anchor in (
        ((left, top - margin), "lb"),
        ((left, bottom + margin), "lt"),
        ((right + margin, top), "lt"),
        ((left - margin, top), "rt"),
    ):
        label = _moved_inside(draw.textbbox(position, text, font, anchor, stroke_width=line_width), photo_size)
        if not any(_do_overlap(label, other) for other in occupied):
            draw.rectangle(label, fill="white")
            draw.text((label[0] + line_width, label[1] + line_width), text, color, font, "lt")
            occupied.append(label)
            return True
    return False


def _draw_dashes(draw: ImageDraw.ImageDraw, box: Rectangle, color: str, line_width: int) -> None:
    """Draw the outline of a box in dashes, from left to right and from top to bottom."""
    left, top, right, bottom = box
    length = max(3 * line_width, round(min(right - left, bottom - top) / 5))
    for start in range(round(left), round(right) + 1, 2 * length):
        end = min(start + length - 1, right)
        draw.rectangle((start, top, end, top + line_width - 1), fill=color)
        draw.rectangle((start, bottom - line_width + 1, end, bottom), fill=color)
    for start in range(round(top), round(bottom) + 1, 2 * length):
        end = min(start + length - 1, bottom)
        draw.rectangle((left, start, left + line_width - 1, end), fill=color)
        draw.rectangle((right - line_width + 1, start, right, end), fill=color)


@functools.cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _color(digit: Digit, min_confidence: float) -> str:
    return READ_COLOR if digit.confidence >= min_confidence else UNREAD_COLOR


def _name_getter(names: Sequence[str], min_confidence: float) -> Callable[[Digit], str]:
    """Return a function that returns the name of a digit, or "?" for one with too little confidence."""
    return lambda digit: names[digit.digit] if digit.confidence >= min_confidence else "?"


def _guess_getter(names: Sequence[str], min_confidence: float, min_second_confidence: float) -> Callable[[Digit], str]:
    """Return a function that returns the guesses to draw beside a digit's name.

    They are "or 1" if there is a second guess, else "". For a digit with too little confidence, whose name is drawn as
    "?", they start with the first guess: "7 or 1", or "7".
    """

    def get_guesses(digit: Digit) -> str:
        second = f"or {names[digit.second_digit]}" if digit.second_confidence >= min_second_confidence else ""
        return second if digit.confidence >= min_confidence else f"{names[digit.digit]} {second}".rstrip()

    return get_guesses


def _percentage(digit: Digit) -> str:
    return f"{digit.confidence:.0%}"


def _moved_inside(box: Rectangle, size: tuple[int, int]) -> Rectangle:
    """Return a rectangle moved into a picture of size `size` (width, height)."""
    left = min(max(box[0], 0), max(0, size[0] - (box[2] - box[0])))
    top = min(max(box[1], 0), max(0, size[1] - (box[3] - box[1])))
    return left, top, left + box[2] - box[0], top + box[3] - box[1]


def _do_overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def save_photo(photo: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a photo atomically, in the format of the file extension.

    Raises:
        UserError: the file extension is not supported, the folder is missing, or the file cannot be written.
    """
    check_destination(path, "photo", FORMATS)
    image_format = FORMATS[Path(path).suffix.lower()]
    try:
        with atomic_write(path) as file:
            photo.save(file, image_format, **SAVE_OPTIONS.get(image_format, {}))
    except OSError as error:
        raise UserError(f"{path}: the photo cannot be written ({error.strerror or error})") from error
