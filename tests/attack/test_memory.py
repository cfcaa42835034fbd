"""Small files that declare large images are rejected before decoding; real photos stay within the memory limit."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from ..images.made import photo, saved
from ..images.png import chunk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST = 400  # megabytes of peak resident memory above an idle import


def riff(name: bytes, content: bytes) -> bytes:
    body = b"WEBP" + name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp(width: int, height: int) -> bytes:
    """38 bytes: a lossless WebP that declares a size."""
    return riff(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(12))


def png(width: int, height: int, depth: int, color: int, interlaced: int = 0) -> bytes:
    """A complete PNG of zeros, a few kilobytes for a hundred megapixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    line = bytes(1 + (width * depth * samples + 7) // 8)
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(3)) + chunk(b"tRNS", bytes(1)) if color == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + head + palette + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def bmp(width: int, height: int, content: bytes) -> bytes:
    """A run-length encoded BMP."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(content), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start) + head + bytes(1024) + content


def many_passes(count: int) -> bytes:
    """A JPEG whose last scan is repeated."""
    content = saved("L", (2000, 2000), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * count + content[-2:]


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gray png": (lambda: png(10_000, 10_000, 8, 0), "no digit found"),
    "one-bit png": (lambda: png(10_000, 10_000, 1, 0), "no digit found"),
    "interlaced png": (lambda: png(9_999, 10_000, 1, 0, interlaced=1), ""),
    "transparent palette png": (lambda: png(10_000, 10_000, 1, 3), "no digit found"),
    "16-bit png": (lambda: png(9_000, 9_000, 16, 0), "no digit found"),
    "rgb png": (lambda: png(7_000, 7_000, 8, 2), "no digit found"),
    "rgba png": (lambda: png(7_000, 7_000, 8, 6), "no digit found"),
    "large rgb png": (lambda: png(10_000, 10_000, 8, 2), "10000 × 10000; the limit for this format is 50 megapixels"),
    "large rgba png": (lambda: png(10_000, 10_000, 8, 6), "the limit for this format is 50 megapixels"),
    "large gray and alpha png": (lambda: png(10_000, 10_000, 8, 4), "the limit for this format is 50 megapixels"),
    "long png": (lambda: png(70_000, 1, 8, 0), "70000 × 1; the limit of a side is 65,535 pixels"),
    "webp of 38 bytes": (lambda: webp(10_000, 10_000), "10000 × 10000; the limit for this format is 12 megapixels"),
    "smaller webp": (lambda: webp(3_500, 3_500), "damaged"),
    "gif": (lambda: saved("P", (10_000, 10_000), "GIF"), "no digit found"),
    "float tiff": (lambda: saved("F", (7_000, 7_000), "TIFF", compression="tiff_lzw"), ""),
    "tiff in one strip": (
        lambda: saved("RGB", (6_000, 6_000), "TIFF", compression="tiff_lzw", tiffinfo={278: 6_000}),
        "6000 × 6000; the limit for this format is 29 megapixels",
    ),
    "tiff, turned": (
        lambda: saved("RGB", (6_000, 6_000), "TIFF", compression="tiff_lzw", tiffinfo={274: 6}),
        "6000 × 6000; the limit for this format is 25 megapixels",
    ),
    "cmyk tiff": (lambda: saved("CMYK", (7_000, 7_000), "TIFF", compression="tiff_lzw"), "no digit found"),
    "fax tiff": (lambda: saved("1", (10_000, 10_000), "TIFF", compression="group4"), "no digit found"),
    "bmp of run lengths": (lambda: bmp(3_000, 3_000, b"\1\0\0\0" * 3_000), "no digit found"),
    "large bmp of run lengths": (
        lambda: bmp(10_000, 9_999, b"\1\0\0\0" * 9_999),
        "the limit for this format is 10 megapixels",
    ),
    "bmp that skips": (lambda: bmp(60_000, 160, b"\0\2\xff\xff" * 30), "no digit found"),
    "bmp that skips long lines": (lambda: bmp(100_000_000, 1, b"\0\2\xff\xff" * 30), "the limit of a side is 65,535"),
    "jpeg": (lambda: saved("RGB", (10_000, 10_000), "JPEG"), "no digit found"),
    "cmyk jpeg": (lambda: saved("CMYK", (10_000, 10_000), "JPEG"), "no digit found"),
    "progressive jpeg": (lambda: saved("RGB", (7_000, 7_000), "JPEG", progressive=True), "no digit found"),
    "large progressive jpeg": (
        lambda: saved("RGB", (8_000, 8_000), "JPEG", progressive=True),
        "8000 × 8000; the limit for this format is 62 megapixels",
    ),
    "progressive jpeg of fine colors": (
        lambda: saved("RGB", (8_000, 8_000), "JPEG", progressive=True, subsampling=0),
        "8000 × 8000; the limit for this format is 32 megapixels",
    ),
    "jpeg of many passes": (lambda: many_passes(300), "2000 × 2000, in 305 scans; with that many, only smaller images"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "name"),
    [
        *[("predict", name) for name in BOMBS],
        *[("read", name) for name in ("gray png", "16-bit png", "rgba png", "float tiff", "jpeg", "webp of 38 bytes")],
    ],
)
def test_no_file_takes_much_memory_or_time(
    tmp_path: Path, measure_command: Callable[..., Any], program: str, name: str
) -> None:
    make, sentence = BOMBS[name]
    content = make()
    assert len(content) < 5_000_000
    (tmp_path / "bomb").write_bytes(content)
    done = measure_command(program, "bomb", cwd=tmp_path)
    assert "Traceback" not in done.err
    if program == "predict":
        assert done.code == 2
        assert done.err.startswith("chainrule: bomb: ")
        assert sentence in done.err
    assert done.megabytes < MOST
    assert done.seconds < 20  # at most 4 on an idle machine


PHOTOS = {  # typical of phones and scanners; upright, or of coarse colors, they take less
    "12 megapixels, turned": ((4032, 3024), "photo.jpg", {"quality": 90, "orientation": 1}),
    "24 megapixels": ((6000, 4000), "photo.jpg", {"quality": 85}),
    "48 megapixels, fine colors": ((8064, 6048), "photo.jpg", {"quality": 80, "subsampling": 0}),
    "48 megapixels, progressive": ((8064, 6048), "photo.jpg", {"quality": 80, "progressive": True}),
    "48 megapixels without loss": ((8064, 6048), "photo.png", {"compress_level": 1}),
    "a scan of 600 dpi": ((4960, 7016), "scan.tiff", {"compression": "tiff_lzw"}),
    "a webp of 12 megapixels": ((4032, 3024), "photo.webp", {"quality": 80}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_real_photos_are_read_within_it(tmp_path: Path, measure_command: Callable[..., Any], name: str) -> None:
    size, file, options = PHOTOS[name]
    exif = Image.Exif()
    if "orientation" in options:
        exif[0x0112] = options.pop("orientation")
    photo(*size).save(tmp_path / file, exif=exif, **options)
    done = measure_command("predict", file, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{file}: 7  (")
    assert done.megabytes < MOST
    done = measure_command("read", file, "--out", "drawn.jpg", cwd=tmp_path)
    assert (done.code, done.out) == (0, "7\n")
    assert done.megabytes < MOST
    with Image.open(tmp_path / "drawn.jpg") as drawn:
        assert max(size) / 2 <= max(drawn.size) <= max(size)


# The predicted memory matches the measured peak

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "one bit": ("1", "a.png", {}),
    "gray": ("L", "a.png", {}),
    "palette": ("P", "a.gif", {}),
    "gray and alpha": ("LA", "a.png", {}),
    "colors": ("RGB", "a.png", {}),
    "colors and alpha": ("RGBA", "a.png", {}),
    "16 bits": ("I;16", "a.png", {}),
    "floats": ("F", "a.tiff", {"compression": "tiff_lzw"}),
    "whole numbers": ("I", "a.tiff", {"compression": "tiff_lzw"}),
    "tiff, turned": ("RGB", "a.tiff", {"compression": "tiff_lzw", "tiffinfo": {274: 6}}),
    "tiff in one strip": ("RGB", "a.tiff", {"compression": "tiff_lzw", "tiffinfo": {278: 4000}}),
    "cmyk jpeg": ("CMYK", "a.jpg", {}),
    "jpeg": ("RGB", "a.jpg", {}),
    "lossy webp": ("RGB", "a.webp", {}),
    "webp with alpha": ("RGBA", "a.webp", {"lossless": True}),
    "bmp": ("RGB", "a.bmp", {}),
}
DECODE = """
import re, sys
from pathlib import Path
from PIL import Image
from chainrule.images.memory import decoding_bytes
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
image = Image.open(sys.argv[1])
Image.new("L", (8, 8)).load()
before = peak()
foretold = decoding_bytes(image)
image.load()
print(foretold / 1e6, (peak() - before) / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured on Linux")
@pytest.mark.parametrize("kind", KINDS)
def test_what_decoding_takes(tmp_path: Path, kind: str) -> None:
    mode, name, options = KINDS[kind]
    Image.new(mode, (4000, 4000)).save(tmp_path / name, **options)
    done = subprocess.run([sys.executable, "-c", DECODE, tmp_path / name], capture_output=True, text=True, check=True)
    predicted, peak = map(float, done.stdout.split())
    assert peak < predicted + 12
    assert predicted < peak + 12
