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
READ, UNREAD = "#0072b2", "#d55e00"  # blue and vermilion, distinguishable for color-blind readers


def draw_page(
    photo: Image.Image, lines: Sequence[Sequence[Digit]], names: Sequence[str], least: float = 0.0
) -> Image.Image:
    """Draw boxes, digits and confidences on a copy of the photo.

    Args:
        photo: a photo in mode RGB.
        lines: the result of `read_page`.
        names: class names.
        least: digits with less confidence are drawn as a question mark in another color.
    """
    from PIL import ImageDraw, ImageFont

    drawn = photo.copy()
    pen = ImageDraw.Draw(drawn)
    thick = max(1, max(photo.size) // 700)
    for digit in (digit for line in lines for digit in line):
        left, top, right, bottom = digit.box
        confident = digit.confidence >= least
        color = READ if confident else UNREAD
        pen.rectangle((left - thick, top - thick, right - 1 + thick, bottom - 1 + thick), outline=color, width=thick)
        height = bottom - top
        texts = (  # the digit above its box and the confidence below, so that they fit between neighbors
            (names[digit.digit] if confident else "?", 0.4 * height, (left - thick, top - 2 * thick), "lb"),
            (f"{digit.confidence:.0%}", 0.2 * height, (left - thick, bottom + 2 * thick), "lt"),
        )
        for text, size, position, anchor in texts:
            font = ImageFont.load_default(max(10, size))
            pen.text(position, text, color, font, anchor, stroke_width=thick, stroke_fill="white")
    return drawn


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
