"""Small files that declare large images are rejected before decoding; real photos stay within the memory limit."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from chainrule.errors import PictureError
from chainrule.images import memory as sizes
from chainrule.images import open_photo, open_picture

from .png import chunk

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


def saved(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


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


def photo(width: int, height: int) -> Image.Image:
    """A seven on paper."""
    image = Image.new("RGB", (width, height), (225, 222, 215))
    line = [(0.28 * width, 0.22 * height), (0.70 * width, 0.22 * height), (0.44 * width, 0.84 * height)]
    ImageDraw.Draw(image).line(line, fill=(30, 30, 60), width=width // 15, joint="curve")
    return image


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


def test_boxes_are_in_the_files_own_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the photo was downsampled."""
    photo(800, 800).save(tmp_path / "a.png")
    boxes = []
    for pixels in (24_000_000, 200_000):
        monkeypatch.setattr("chainrule.images.files.PHOTO_PIXELS", pixels)
        image, scale = open_photo(tmp_path / "a.png")
        assert image.width * image.height <= pixels
        assert scale == 800 / image.width
        monkeypatch.chdir(tmp_path)
        import json

        from click.testing import CliRunner

        from chainrule.cli.read import read

        result = CliRunner().invoke(read, ["a.png", "--json"])
        (line,) = json.loads(result.output)["lines"]
        boxes.append(line[0]["box"])
    np.testing.assert_allclose(boxes[0], boxes[1], atol=8)
    assert boxes[0][2] - boxes[0][0] > 300


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


# Converting in bands gives the same result


def straight(path: Path) -> np.ndarray:
    """`open_picture` without saving memory: convert to float, downsample, rotate."""
    image = Image.open(BytesIO(path.read_bytes()))  # with a path, Pillow swaps rows and columns of some TIFFs
    image.load()  # makes a TIFF upright
    turn = image.getexif().get(0x0112)
    if image.mode in ("I;16", "I", "F"):
        values = np.asarray(image, np.float64)
        low, high = (0, 65535) if image.mode == "I;16" else (values.min(), values.max())
        gray = ((values - low) / (high - low)).astype(np.float32)
    else:
        over = image.convert("RGBA")
        over = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
        red, green, blue = np.moveaxis(np.asarray(over, np.float32) / 255, 2, 0)
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
    shrunk = Image.fromarray(gray).reduce(max(1, max(image.size) // 1536))
    shrunk.thumbnail((1024, 1024), Image.Resampling.BOX)
    shrunk.getexif()[0x0112] = turn or 1
    return np.asarray(ImageOps.exif_transpose(shrunk))


@pytest.mark.parametrize(("size", "orientation"), [((500, 300), 1), ((1100, 3100), 6), ((1, 3000), 3), ((6500, 3), 7)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "I", "CMYK"])
def test_gray_values(tmp_path: Path, mode: str, size: tuple[int, int], orientation: int) -> None:
    random = np.random.default_rng(sum(size))
    small = random.integers(0, 256, (max(2, size[1] // 7), max(2, size[0] // 7), 4), np.uint8)
    image = Image.fromarray(small, "RGBA" if mode in ("RGBA", "LA", "P") else "CMYK").resize(size)
    if mode == "P":
        image = image.quantize(64)
    elif mode in ("I;16", "F", "I"):
        wide = np.asarray(image.convert("RGB").convert("L"), np.float32) * 250
        image = Image.fromarray(wide.astype({"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]))
    elif image.mode != mode:
        image = image.convert("RGB").convert(mode) if mode in ("1", "L", "RGB") else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / ("a.tiff" if mode in ("F", "I", "CMYK") else "a.png")
    image.save(path, exif=exif, compress_level=1)  # of PNG: the same pixels in a fifth of the time
    values = open_picture(path)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, straight(path), atol=2.5 / 255)


def test_a_photo_keeps_its_pixels(tmp_path: Path) -> None:
    """Also with bands of odd height: 1,000,000 pixels are 333 rows here."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1000, 3000, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, scale = open_photo(tmp_path / "a.png")
    assert (image.mode, scale) == ("RGB", 1.0)
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("options", "passes"), [({}, 1), ({"progressive": True}, 10), ({"quality": 100, "subsampling": 0}, 1)]
)
def test_passes_over_a_jpeg(tmp_path: Path, options: dict[str, Any], passes: int) -> None:
    random = np.random.default_rng(1)
    thumbnail = saved("RGB", (64, 64), "JPEG", progressive=True)
    image = Image.fromarray(random.integers(0, 256, (128, 128, 3), np.uint8))
    image.save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" + thumbnail, **options)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert sizes._scan_count(opened) == passes  # not counting those of the thumbnail


def test_a_broken_jpeg_has_passes_too(tmp_path: Path) -> None:
    content = saved("RGB", (64, 64), "JPEG", progressive=True)
    for length in range(2, len(content), 7):
        (tmp_path / "a.jpg").write_bytes(content[:length])
        with (tmp_path / "a.jpg").open("rb") as file:
            assert 1 <= sizes._scan_count(SimpleNamespace(fp=file)) <= 10
    with pytest.raises(PictureError, match="damaged or truncated|not an image"):
        open_picture(tmp_path / "a.jpg")
