"""Estimate the memory needed to decode an image before decoding it, and convert images in bands to save memory.

A file of a few hundred bytes can declare an image of gigabytes. Pillow reads size and mode when it opens the file; the
bytes per pixel were measured for each format (`tests/images/test_memory.py` repeats the measurement).
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
"""Maximum number of pixels, whatever the format."""

MAX_SIDE = 65_535
"""Maximum side in pixels, as in JPEG. It also bounds the memory of run-length encoded BMPs, where two bytes can skip
255 lines, which Pillow fills with zeros at once."""

MAX_SCANNED_PIXELS = 1_000_000_000
"""Limit of pixels times scans of a progressive JPEG, such as 10 megapixels in 100 scans; up to 12 scans are common."""

# Bytes per pixel of decoding
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # 4 for all other modes
_WEBP_BYTES = 16
_RLE_BYTES = 20  # needs only 3; 20 limits the time, since Pillow decodes in Python: seconds for 10 megapixels

# Tags of TIFF and EXIF
BITS_PER_SAMPLE = 258
ORIENTATION = 274
SAMPLES_PER_PIXEL = 277
ROWS_PER_STRIP = 278
TILE_WIDTH = 322
TILE_LENGTH = 323

_BAND_PIXELS = 1_000_000  # pixels per band in `in_bands`


def check_size(image: Image.Image, path: str | os.PathLike[str], factor: int) -> None:
    """Check that an open image can be decoded within `MAX_BYTES`; configure a JPEG to be decoded at reduced size.

    Args:
        image: the result of `Image.open`, not yet loaded.
        path: its file, for error messages.
        factor: the downsampling factor up to which a JPEG may be decoded at reduced size.

    Raises:
        PictureError: the image is too large.
    """
    width, height = image.size
    message = f"{path}: the image is too large, {width} × {height}"
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"{message}; the limit of a side is {MAX_SIDE:,} pixels")
    if width * height > MAX_PIXELS:
        raise PictureError(f"{message}; the limit is {MAX_PIXELS // 1_000_000} megapixels")
    n_bytes = 0.0
    if image.format in ("JPEG", "MPO"):
        n_scans = _count_scans(image)
        if n_scans * width * height > MAX_SCANNED_PIXELS:
            raise PictureError(f"{message}, in {n_scans:,} scans; with that many, only smaller images are decoded")
        if n_scans > 1:  # all coefficients are kept until the last scan, two bytes each
            n_bytes = 2 * width * height * _coefficients_per_pixel(image)
        image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))
    n_bytes += decoding_bytes(image)
    if n_bytes > MAX_BYTES:
        megapixels = width * height * MAX_BYTES / n_bytes / 1e6
        raise PictureError(f"{message}; the limit for this format is {megapixels:.0f} megapixels")


def decoding_bytes(image: Image.Image) -> float:
    """Return the peak memory of decoding an open image, without the coefficients of a progressive JPEG."""
    n_pixels = image.width * image.height
    if image.format == "WEBP":
        return _WEBP_BYTES * n_pixels
    if image.format == "BMP" and any(tile[0] == "bmp_rle" for tile in image.tile):  # type: ignore[attr-defined]
        return _RLE_BYTES * n_pixels
    image_bytes = _MODE_BYTES.get(image.mode, 4) * n_pixels
    if image.format == "TIFF":
        is_rotated = image.getexif().get(ORIENTATION, 1) != 1  # after decoding, Pillow makes an upright copy of it
        return image_bytes + max(_strip_bytes(image), image_bytes if is_rotated else 0)
    return image_bytes


def _coefficients_per_pixel(image: Any) -> float:
    """Return the number of coefficients per pixel of a JPEG, which depends on its chroma subsampling."""
    block_samples: list[int] = [across * down for _, across, down, _ in image.layer]  # of each component
    return sum(block_samples) / max(block_samples, default=1)


def _strip_bytes(image: Any) -> int:
    """Return the size in bytes of a TIFF's strip or tile, which is decoded as a whole and then copied to the image."""
    tags = image.tag_v2
    bits_per_pixel = int(max(tags.get(BITS_PER_SAMPLE, (1,)))) * int(tags.get(SAMPLES_PER_PIXEL, 1))
    width, height = tags.get(TILE_WIDTH), tags.get(TILE_LENGTH)
    if not (width and height):
        width, height = image.width, min(tags.get(ROWS_PER_STRIP, image.height), image.height)
    return math.ceil(int(width) * int(height) * bits_per_pixel / 8)


def _count_scans(image: Any) -> int:
    """Return the number of scans of a JPEG."""
    with mmap.mmap(image.fp.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return max(1, sum(marker == _START_OF_SCAN for marker in _markers(data)))


def _markers(data: mmap.mmap) -> Iterator[int]:
    """Yield the markers of a JPEG file (ITU-T T.81, annex B). Skips their segments, which may contain a thumbnail."""
    offset = 2  # after the marker "start of image", which has no segment
    while match := _MARKER.search(data, offset):
        marker = match[0][-1]
        yield marker
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        offset = match.end() + max(2, length)


_MARKER = re.compile(rb"\xff+[\xc0-\xcf\xda-\xfe]")  # markers with a segment; FF 00 and FF D0 to D7 occur within a scan
_START_OF_SCAN = 0xDA


def in_bands(image: Image.Image, factor: int, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image in horizontal bands; each band is downsampled before the next one is converted.

    Args:
        image: a decoded image.
        factor: downsampling factor; blocks of `factor` × `factor` pixels are averaged.
        mode: Pillow's mode of the result.
        convert: converts a band of about `_BAND_PIXELS` pixels to that mode.
    """
    from PIL import Image

    width, height = image.size
    result = Image.new(mode, (math.ceil(width / factor), math.ceil(height / factor)))
    n_rows = factor * max(1, _BAND_PIXELS // (width * factor))
    for top in range(0, height, n_rows):
        band = convert(image.crop((0, top, width, min(top + n_rows, height))))
        result.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return result
