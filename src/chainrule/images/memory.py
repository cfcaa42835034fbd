"""How much memory a picture takes, known before a pixel is decoded; and converting it without ever holding it twice.

A file of some hundred bytes can promise a picture of gigabytes. Pillow says size and mode as soon as the file is open;
what its decoders take for each pixel was measured, format by format (`tests/images/test_memory.py` measures it again).
"""

from __future__ import annotations

import math
import mmap
import re
from typing import TYPE_CHECKING, Any

from chainrule.errors import PictureError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from PIL import Image

MOST_BYTES = 200_000_000
"""What decoding may take: 50 megapixels in colors, 100 in gray (12 in WebP, whose decoder works on four copies)."""

MOST_PIXELS = 100_000_000
LONGEST = 65_535
"""Pixels of a side, JPEG's own limit. A BMP may skip 255 lines by two bytes, so a line must not be too long."""

MOST_SCANNED = 1_000_000_000
"""Pixels of a JPEG times its passes over them: 10 megapixels in 100 passes. Usual are up to 12 passes."""

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # of all other modes 4
_WEBP_BYTES = 16
_RLE_BYTES = 20  # three would do, but run lengths in a BMP are decoded in Python: 10 megapixels take some seconds
BITS_PER_SAMPLE, ORIENTATION, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 258, 274, 277, 278, 322, 323
"""Tags of TIFF, and of EXIF, which is one."""

_BAND = 1_000_000  # pixels that are converted at a time


def check_size(image: Image.Image, path: str | os.PathLike[str], factor: int) -> None:
    """Check that an open picture can be decoded in `MOST_BYTES`; a JPEG is made ready to be decoded smaller.

    Args:
        image: as `Image.open` gives it, not yet loaded.
        path: of its file.
        factor: so many times smaller it may come out, if it is a JPEG.

    Raises:
        PictureError: it is too large.
    """
    width, height = image.size
    size = f"{path}: the picture is too large, {width} × {height}"
    if max(width, height) > LONGEST:
        raise PictureError(f"{size}; a side has at most {LONGEST:,} pixels")
    if width * height > MOST_PIXELS:
        raise PictureError(f"{size}; at most {MOST_PIXELS // 1_000_000} megapixels are read")
    needed = 0.0
    if image.format in ("JPEG", "MPO"):
        passes = _passes(image)
        if passes * width * height > MOST_SCANNED:
            raise PictureError(f"{size}, in {passes:,} passes; in so many, only smaller ones are decoded")
        if passes > 1:  # all coefficients are held until the last pass, two bytes each
            needed = 2 * width * height * _samples(image)
        image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))
    needed += decoding_bytes(image)
    if needed > MOST_BYTES:
        most = width * height * MOST_BYTES / needed / 1e6
        raise PictureError(f"{size}; of this kind, at most {most:.0f} megapixels are read")


def decoding_bytes(image: Image.Image) -> float:
    """The memory that decoding an open picture takes at its peak; what a JPEG of several passes holds is not in it."""
    pixels = image.width * image.height
    if image.format == "WEBP":
        return _WEBP_BYTES * pixels
    if image.format == "BMP" and any(tile[0] == "bmp_rle" for tile in image.tile):  # type: ignore[attr-defined]
        return _RLE_BYTES * pixels
    decoded = _PIXEL_BYTES.get(image.mode, 4) * pixels
    if image.format == "TIFF":
        turned = image.getexif().get(ORIENTATION, 1) != 1  # Pillow turns it upright as soon as it is decoded
        return decoded + max(_strip_bytes(image), decoded if turned else 0)
    return decoded


def _samples(image: Any) -> float:
    """Numbers a pixel that a JPEG holds, its colors being coarser than its brightness."""
    shares: list[int] = [across * down for _, across, down, _ in image.layer]
    return sum(shares) / max(shares, default=1)


def _strip_bytes(image: Any) -> int:
    """The bytes of a TIFF's strip, or tile, which is decoded as a whole before it goes into the picture."""
    tags = image.tag_v2
    bits = int(max(tags.get(BITS_PER_SAMPLE, (1,)))) * int(tags.get(SAMPLES_PER_PIXEL, 1))
    width, height = tags.get(TILE_WIDTH), tags.get(TILE_LENGTH)
    if not (width and height):
        width, height = image.width, min(tags.get(ROWS_PER_STRIP, image.height), image.height)
    return math.ceil(int(width) * int(height) * bits / 8)


def _passes(image: Any) -> int:
    """How many scans a JPEG has. If more than one, all its coefficients are held in memory until the last."""
    with mmap.mmap(image.fp.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return max(1, sum(marker == 0xDA for marker in _markers(data)))


def _markers(data: mmap.mmap) -> Iterator[int]:
    """The markers of a JPEG file, with their segments left out: a thumbnail is in one (ITU-T T.81, annex B)."""
    place = 2
    while match := _MARKER.search(data, place):
        marker = match[0][-1]
        yield marker
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        place = match.end() + max(2, length)


_MARKER = re.compile(rb"\xff+[\xc0-\xcf\xda-\xfe]")  # those with a segment; 00 and D0 to D7 are within a scan


def in_bands(image: Image.Image, factor: int, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert a picture band by band, each one made `factor` times smaller before the next is converted.

    Args:
        image: decoded.
        factor: pixels, across and down, that become one: their mean.
        mode: Pillow's name of what `convert` gives.
        convert: a band, as high as fits into some megabytes, to one of another mode.
    """
    from PIL import Image

    width, height = image.size
    result = Image.new(mode, (math.ceil(width / factor), math.ceil(height / factor)))
    rows = factor * max(1, _BAND // (width * factor))
    for top in range(0, height, rows):
        band = convert(image.crop((0, top, width, min(top + rows, height))))
        result.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return result
