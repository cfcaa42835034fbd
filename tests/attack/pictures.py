"""Image files: six formats, many modes, headers with any size, damaged bytes."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from .attack import Case, Step, chainrule
from .child import WrongError
from .mutate import NASTY, edits, write_edited

if TYPE_CHECKING:
    from pathlib import Path

name = "pictures"

KINDS: list[tuple[str, str, dict[str, Any]]] = [
    *[("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("JPEG", mode, {"quality": 70, "progressive": progressive}) for mode in ("L", "RGB", "CMYK") for progressive in (0, 1)],
    *[("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")],
    *[("GIF", mode, {}) for mode in ("1", "L", "P", "RGB")],
    *[("WEBP", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)],
    *[
        ("TIFF", mode, {"compression": compression})
        for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "I")
        for compression in (None, "tiff_lzw", "tiff_deflate", "packbits")
    ],
    *[("TIFF", "RGB", {"compression": compression}) for compression in ("jpeg", "lzma", "zstd")],
    *[("TIFF", "1", {"compression": compression}) for compression in ("group3", "group4", "tiff_ccitt")],
]  # fmt: skip
SIZES = [
    1,
    2,
    8,
    100,
    1000,
    2999,
    7000,
    10_000,
    16_383,
    20_000,
    65_535,
    65_536,
    100_000,
    1 << 20,
    (1 << 31) - 1,
    (1 << 32) - 1,
]


def prepare(folder: Path) -> None:
    """Does nothing: each case creates its own images."""


def draw(random: np.random.Generator, folder: Path) -> Case:
    """An image with a forged size, damaged bytes, both or neither."""
    kind, mode, options = KINDS[int(random.integers(len(KINDS)))]
    content = picture(random, kind, mode, options)
    about = f"{kind} {mode}"
    if random.random() < 0.35:
        content = forged(random, kind, content)
        about += ", its size forged"
    file = folder / (NASTY.replace("/", "") if random.random() < 0.05 else f"a.{kind.lower()}")
    changes = edits(random, content) if random.random() < 0.7 else []
    rewrite = write_edited(file, content, changes)
    steps: list[Step] = [chainrule("predict", file), Step("open_digit", partial(open_and_look, file))]
    if random.random() < 0.1:
        steps.append(chainrule("read", file, "--json"))
    if random.random() < 0.05:
        steps.append(chainrule("predict", file, "--explain", folder / "steps.png"))
    return Case(f"{about}, {len(changes)} edits", steps, len(changes), rewrite)


def picture(random: np.random.Generator, kind: str, mode: str, options: dict[str, Any]) -> bytes:
    """A small image file, sometimes with a stroke, an orientation, transparency, or several frames."""
    from PIL import Image

    width, height = (int(random.choice([1, 3, 28, 100, 257])) for _ in range(2))
    pixels = np.full((height, width, 4), 220, np.uint8)
    if random.random() < 0.5:
        pixels[height // 4 : 3 * height // 4 + 1, width // 2 : width // 2 + max(1, width // 10)] = (20, 20, 20, 255)
    else:
        pixels[:] = random.integers(0, 256, pixels.shape)
    image = Image.fromarray(pixels, "RGBA").convert("RGB")
    if mode in ("I;16", "F", "I"):
        gray = np.asarray(image.convert("L"))
        image = Image.fromarray(gray.astype({"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]) * 200)
    elif mode in ("RGBA", "LA"):
        image = Image.fromarray(pixels, "RGBA").convert(mode)
    else:
        image = image.convert(mode)
    more: dict[str, Any] = {}
    if random.random() < 0.2 and kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        exif = Image.Exif()
        orientation = int(random.integers(0, 12))
        if options.get("compression") is not None:
            orientation = 1 + orientation % 8  # libtiff does not write others
        exif[0x0112] = orientation
        more["exif"] = exif
    if random.random() < 0.1 and kind in ("GIF", "WEBP", "TIFF", "PNG") and mode in ("P", "RGB", "L"):
        more |= {"save_all": True, "append_images": [image.copy()]}
    file = BytesIO()
    image.save(file, kind, **{key: value for key, value in options.items() if value is not None}, **more)
    return file.getvalue()


def forged(random: np.random.Generator, kind: str, content: bytes) -> bytes:
    """The file with a modified width, height or both in its header."""
    data = bytearray(content)
    width, height = (SIZES[int(random.integers(len(SIZES)))] for _ in range(2))
    offset = {"PNG": 16, "GIF": 6, "BMP": 18}.get(kind)
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width % (1 << 32), height % (1 << 32))
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind in ("GIF", "BMP") and offset is not None:
        size = (
            struct.pack("<HH", width % (1 << 16), height % (1 << 16))
            if kind == "GIF"
            else struct.pack("<II", width, height)
        )
        data[offset : offset + len(size)] = size
    elif kind == "JPEG":
        for marker in range(0xC0, 0xC3):
            at = data.find(bytes([0xFF, marker]))
            if at > 0:
                data[at + 5 : at + 9] = struct.pack(">HH", height % (1 << 16), width % (1 << 16))
    elif kind == "WEBP":
        if b"VP8L" in data:
            at = data.index(b"VP8L") + 9
            data[at : at + 4] = struct.pack("<I", (width - 1) % (1 << 14) | ((height - 1) % (1 << 14)) << 14)
        elif b"VP8 " in data:
            at = data.index(b"VP8 ") + 14
            data[at : at + 4] = struct.pack("<HH", width % (1 << 14), height % (1 << 14))
        if b"VP8X" in data:
            at = data.index(b"VP8X") + 12
            data[at : at + 6] = (width % (1 << 24)).to_bytes(3, "little") + (height % (1 << 24)).to_bytes(3, "little")
    else:  # TIFF: the values of the size tags, at any offset
        for tag in (256, 257, 278, 322, 323, 277, 258):
            at = data.find(struct.pack("<H", tag))
            if at > 0 and random.random() < 0.5:
                value = SIZES[int(random.integers(len(SIZES)))]
                data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value % (1 << 32))
    return bytes(data)


def open_and_look(file: Path) -> None:
    """Check that `open_digit` returns gray values from 0 to 1 of a valid size."""
    from chainrule.errors import PictureError
    from chainrule.images import open_digit

    try:
        values = open_digit(file)
    except PictureError as error:
        if len(str(error)) > 2000:
            raise WrongError(f"not one sentence: {str(error)[:200]!r}") from None
        return
    if values.ndim != 2 or values.dtype != np.float32 or not values.size or max(values.shape) > 1024:
        raise WrongError(f"{values.dtype} of shape {values.shape}")
    if not np.isfinite(values).all() or values.min() < -1e-6 or values.max() > 1 + 1e-6:
        raise WrongError(f"values from {values.min()} to {values.max()}")
