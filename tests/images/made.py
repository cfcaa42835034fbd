"""Generated pictures for the tests of files and of memory."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw


def saved(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    """The bytes of an image file of one color."""
    file = BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """A 7 on paper."""
    image = Image.new("RGB", (width, height), (225, 222, 215))
    line = [(0.28 * width, 0.22 * height), (0.70 * width, 0.22 * height), (0.44 * width, 0.84 * height)]
    ImageDraw.Draw(image).line(line, fill=(30, 30, 60), width=width // 15, joint="curve")
    return image
