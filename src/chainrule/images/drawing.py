"""Annotate a photo of a page with the digits that were read, their boxes and confidences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import UserError, check_destination
from chainrule.files import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import Image

    from chainrule.images.page import Digit

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
READ_COLOR, UNREAD_COLOR = "#0072b2", "#d55e00"  # blue and vermilion, distinguishable for color-blind readers


def draw_page(
    photo: Image.Image, lines: Sequence[Sequence[Digit]], names: Sequence[str], min_confidence: float = 0.0
) -> Image.Image:
    """Draw boxes, digits and confidences on a copy of the photo.

    Args:
        photo: a photo in mode RGB.
        lines: the result of `read_page`.
        names: class names.
        min_confidence: digits with less confidence are drawn as a question mark in another color.
    """
    from PIL import ImageDraw, ImageFont

    annotated = photo.copy()
    pen = ImageDraw.Draw(annotated)
    stroke = max(1, max(photo.size) // 700)
    for digit in (digit for line in lines for digit in line):
        left, top, right, bottom = digit.box
        confident = digit.confidence >= min_confidence
        color = READ_COLOR if confident else UNREAD_COLOR
        pen.rectangle(
            (left - stroke, top - stroke, right - 1 + stroke, bottom - 1 + stroke),
            outline=color,
            width=stroke,
        )
        height = bottom - top
        texts = (  # the digit above its box and the confidence below, so that they fit between neighbors
            (names[digit.digit] if confident else "?", 0.4 * height, (left - stroke, top - 2 * stroke), "lb"),
            (f"{digit.confidence:.0%}", 0.2 * height, (left - stroke, bottom + 2 * stroke), "lt"),
        )
        for text, size, position, anchor in texts:
            font = ImageFont.load_default(max(10, size))
            pen.text(position, text, color, font, anchor, stroke_width=stroke, stroke_fill="white")
    return annotated


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
