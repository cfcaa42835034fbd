"""Pictures are converted in bands, which saves memory, to the same values; tests/attack/test_memory.py measures it."""

from __future__ import annotations

from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from chainrule.errors import PictureError
from chainrule.images import memory as sizes
from chainrule.images import open_digit, open_photo

from .made import photo, saved

if TYPE_CHECKING:
    from pathlib import Path


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


# Converting in bands gives the same result


def straight(path: Path) -> np.ndarray:
    """`open_digit` without saving memory: convert to float, downsample, rotate."""
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
    values = open_digit(path)
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
        assert sizes._count_scans(opened) == passes  # not counting those of the thumbnail


def test_a_broken_jpeg_has_passes_too(tmp_path: Path) -> None:
    content = saved("RGB", (64, 64), "JPEG", progressive=True)
    for length in range(2, len(content), 7):
        (tmp_path / "a.jpg").write_bytes(content[:length])
        with (tmp_path / "a.jpg").open("rb") as file:
            assert 1 <= sizes._count_scans(SimpleNamespace(fp=file)) <= 10
    with pytest.raises(PictureError, match="damaged or truncated|not an image"):
        open_digit(tmp_path / "a.jpg")
