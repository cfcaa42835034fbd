"""Estimate the memory needed to decode an image before decoding it, and convert images in bands to save memory.

A file of a few hundred bytes can declare an image of gigabytes. Pillow reads size and mode when it opens the file; the
memory per pixel was measured for each format (`tests/images/test_memory.py` repeats the measurement).
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

MAX_BYTES = 200_000_000
"""Memory limit of decoding: 50 megapixels in color, 100 in gray (12 in WebP, whose decoder needs four copies)."""

MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535
"""Maximum side in pixels, as in JPEG. It also bounds the memory of run-length encoded BMPs, where two bytes can skip
255 lines, which Pillow fills with zeros at once."""

MAX_SCANNED_PIXELS = 1_000_000_000
"""Limit of pixels times scans of a progressive JPEG, such as 10 megapixels in 100 scans; up to 12 scans are common."""

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # 4 for all other modes
_WEBP_BYTES = 16
_RLE_BYTES = 20  # limits the time: decoding needs only three, but runs in Python, some seconds for 10 megapixels
BITS_PER_SAMPLE, ORIENTATION, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 258, 274, 277, 278, 322, 323
"""Tags of TIFF and EXIF."""

_BAND = 1_000_000  # pixels per band


def check_size(image: Image.Image, path: str | os.PathLike[str], factor: int) -> None:
    """Check that an open image can be decoded within `MAX_BYTES`; configure a JPEG to be decoded at reduced size.

    Args:
        image: the result of `Image.open`, not yet loaded.
        path: its file, for the error message.
        factor: the downsampling factor up to which a JPEG may be decoded at reduced size.

    Raises:
        PictureError: the image is too large.
    """
    width, height = image.size
    size = f"{path}: the image is too large, {width} × {height}"
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"{size}; the limit of a side is {MAX_SIDE:,} pixels")
    if width * height > MAX_PIXELS:
        raise PictureError(f"{size}; the limit is {MAX_PIXELS // 1_000_000} megapixels")
    needed = 0.0
    if image.format in ("JPEG", "MPO"):
        scans = _scan_count(image)
        if scans * width * height > MAX_SCANNED_PIXELS:
            raise PictureError(f"{size}, in {scans:,} scans; with that many, only smaller images are decoded")
        if scans > 1:  # all coefficients are kept until the last scan, two bytes each
            needed = 2 * width * height * _samples(image)
        image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))
    needed += decoding_bytes(image)
    if needed > MAX_BYTES:
        megapixels = width * height * MAX_BYTES / needed / 1e6
        raise PictureError(f"{size}; the limit for this format is {megapixels:.0f} megapixels")


def decoding_bytes(image: Image.Image) -> float:
    """The peak memory of decoding an open image, without the coefficients of a progressive JPEG."""
    pixels = image.width * image.height
    if image.format == "WEBP":
        return _WEBP_BYTES * pixels
    if image.format == "BMP" and any(tile[0] == "bmp_rle" for tile in image.tile):  # type: ignore[attr-defined]
        return _RLE_BYTES * pixels
    decoded = _PIXEL_BYTES.get(image.mode, 4) * pixels
    if image.format == "TIFF":
        rotated = image.getexif().get(ORIENTATION, 1) != 1  # Pillow makes it upright right after decoding
        return decoded + max(_strip_bytes(image), decoded if rotated else 0)
    return decoded


def _samples(image: Any) -> float:
    """The number of coefficients per pixel of a JPEG, with chroma subsampling."""
    block_samples: list[int] = [across * down for _, across, down, _ in image.layer]  # of each component
    return sum(block_samples) / max(block_samples, default=1)


def _strip_bytes(image: Any) -> int:
    """The bytes of a TIFF's strip or tile, which is decoded as a whole before it is copied to the image."""
    tags = image.tag_v2
    bits = int(max(tags.get(BITS_PER_SAMPLE, (1,)))) * int(tags.get(SAMPLES_PER_PIXEL, 1))
    width, height = tags.get(TILE_WIDTH), tags.get(TILE_LENGTH)
    if not (width and height):
        width, height = image.width, min(tags.get(ROWS_PER_STRIP, image.height), image.height)
    return math.ceil(int(width) * int(height) * bits / 8)


def _scan_count(image: Any) -> int:
    """The number of scans of a JPEG. With more than one, all coefficients are kept in memory until the last."""
    with mmap.mmap(image.fp.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return max(1, sum(marker == 0xDA for marker in _markers(data)))


def _markers(data: mmap.mmap) -> Iterator[int]:
    """The markers of a JPEG file (ITU-T T.81, annex B). Skips their segments, which may contain a thumbnail."""
    position = 2
    while match := _MARKER.search(data, position):
        marker = match[0][-1]
        yield marker
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + max(2, length)


_MARKER = re.compile(rb"\xff+[\xc0-\xcf\xda-\xfe]")  # markers with a segment; 00 and D0 to D7 occur within a scan


def in_bands(image: Image.Image, factor: int, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image in horizontal bands, downsampling each band before the next is converted.

    Args:
        image: a decoded image.
        factor: downsampling factor; blocks of `factor` × `factor` pixels are averaged.
        mode: Pillow's mode of the result.
        convert: converts a band of about `_BAND` pixels to that mode.
    """
    from PIL import Image

    width, height = image.size
    result = Image.new(mode, (math.ceil(width / factor), math.ceil(height / factor)))
    rows = factor * max(1, _BAND // (width * factor))
    for top in range(0, height, rows):
        band = convert(image.crop((0, top, width, min(top + rows, height))))
        result.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return result
