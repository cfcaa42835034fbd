"""Showing what was read: the photo again, each digit in a box, with what it was read as and how surely."""

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
OPTIONS = {"PNG": {"compress_level": 1}, "JPEG": {"quality": 90}, "WEBP": {"quality": 90}}  # a small PNG takes seconds
READ, UNREAD = "#0072b2", "#d55e00"  # blue and vermilion: color-blind readers tell them apart


def draw_page(
    photo: Image.Image, lines: Sequence[Sequence[Digit]], names: Sequence[str], least: float = 0.0
) -> Image.Image:
    """Draw boxes, digits and confidences on a copy of the photo.

    Args:
        photo: in mode RGB.
        lines: what `read_page` found in it.
        names: of the classes.
        least: what was read with less confidence gets a question mark and a color of its own.
    """
    from PIL import ImageDraw, ImageFont

    drawn = photo.copy()
    pen = ImageDraw.Draw(drawn)
    thick = max(1, max(photo.size) // 700)
    for digit in (digit for line in lines for digit in line):
        left, top, right, bottom = digit.box
        known = digit.confidence >= least
        color = READ if known else UNREAD
        pen.rectangle((left - thick, top - thick, right - 1 + thick, bottom - 1 + thick), outline=color, width=thick)
        height = bottom - top
        texts = (  # the digit above its box, the confidence below: both fit between neighbors
            (names[digit.digit] if known else "?", 0.4 * height, (left - thick, top - 2 * thick), "lb"),
            (f"{digit.confidence:.0%}", 0.2 * height, (left - thick, bottom + 2 * thick), "lt"),
        )
        for text, tall, place, anchor in texts:
            font = ImageFont.load_default(max(10, tall))
            pen.text(place, text, color, font, anchor, stroke_width=thick, stroke_fill="white")
    return drawn


def save_photo(photo: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a photo in the format that the ending of `path` says, whole or not at all.

    Raises:
        UserError: the ending is no photo's, the folder is missing, or the file cannot be written.
    """
    check_destination(path, "photo", FORMATS)
    kind = FORMATS[Path(path).suffix.lower()]
    try:
        with atomic_write(path) as file:
            photo.save(file, kind, **OPTIONS.get(kind, {}))
    except OSError as error:
        raise UserError(f"{path}: the picture cannot be written ({error.strerror or error})") from error
