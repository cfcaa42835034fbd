"""Images of every kind open as the right gray values, and every bad file gives a one-sentence error."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from chainrule.errors import PictureError
from chainrule.images import files, open_digit, open_gray_photo, open_photo

from .png import chunk

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (24, 1))  # (24, 32), black on the left


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size but has no pixels."""
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("name", "options", "close"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.gif", {}, 0),
        ("a.tiff", {"compression": "tiff_lzw"}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 95}, 0.03),
    ],
)
def test_formats(tmp_path: Path, name: str, options: dict[str, Any], close: float):
    Image.fromarray(RAMP).save(tmp_path / name, **options)
    gray = open_digit(tmp_path / name)
    assert gray.dtype == np.float32
    np.testing.assert_allclose(gray, RAMP / 255, atol=close + 1e-6)


def test_the_content_and_not_the_name_tells_the_format(tmp_path: Path):
    Image.fromarray(RAMP).save(tmp_path / "photo.jpg", format="PNG")
    np.testing.assert_allclose(open_digit(tmp_path / "photo.jpg"), RAMP / 255, atol=1e-6)


def test_of_an_animation_the_first_frame(tmp_path: Path):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (51, 255)]
    for name in ("a.gif", "a.webp", "a.png", "a.tiff"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        np.testing.assert_allclose(open_digit(tmp_path / name), 0.2, atol=0.01, err_msg=name)


def test_sixteen_and_more_bits(tmp_path: Path):
    wide = RAMP.astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "16.png")
    Image.fromarray(wide).save(tmp_path / "16.tiff")
    Image.fromarray(wide.astype(np.int32)).save(tmp_path / "32.tiff")
    Image.fromarray(RAMP.astype(np.float32) * 3 - 7).save(tmp_path / "float.tiff")
    for name in ("16.png", "16.tiff"):
        np.testing.assert_allclose(open_digit(tmp_path / name), RAMP / 255, atol=1e-6, err_msg=name)
    for name in ("32.tiff", "float.tiff"):  # no defined white: scaled from the darkest to the brightest value
        np.testing.assert_allclose(open_digit(tmp_path / name), RAMP / RAMP.max(), atol=1e-6, err_msg=name)


def test_colors_become_their_luminance(tmp_path: Path):
    colors = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]], np.uint8)
    picture = Image.fromarray(colors)
    expected = [[0.299, 0.587, 0.114, 1, 0]]  # ITU-R 601
    picture.save(tmp_path / "rgb.png")
    picture.quantize(5).save(tmp_path / "palette.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.tiff")
    for name in ("rgb.png", "palette.png", "cmyk.tiff"):
        np.testing.assert_allclose(open_digit(tmp_path / name), expected, atol=0.005, err_msg=name)


def test_one_bit(tmp_path: Path):
    Image.fromarray(RAMP > 100).save(tmp_path / "1.png")
    np.testing.assert_array_equal(open_digit(tmp_path / "1.png"), RAMP > 100)


def test_opaque_colors_are_those_without_opacity(tmp_path: Path):
    colors = np.random.default_rng(5).integers(0, 256, (20, 30, 4), np.uint8)
    colors[..., 3] = 255
    Image.fromarray(colors).save(tmp_path / "opaque.png")
    Image.fromarray(colors[..., :3]).save(tmp_path / "without.png")
    np.testing.assert_array_equal(open_digit(tmp_path / "opaque.png"), open_digit(tmp_path / "without.png"))


def test_transparent_parts_lie_over_white(tmp_path: Path):
    ink, alpha = np.zeros_like(RAMP), RAMP  # black ink with increasing opacity
    Image.fromarray(np.dstack([ink, alpha])).save(tmp_path / "la.png")
    Image.fromarray(np.dstack([ink, ink, ink, alpha])).save(tmp_path / "rgba.png")
    for name in ("la.png", "rgba.png"):
        np.testing.assert_allclose(open_digit(tmp_path / name), 1 - RAMP / 255, atol=0.005, err_msg=name)
    black = Image.fromarray((RAMP > 100).astype(np.uint8)).convert("P")
    black.putpalette([0, 0, 0, 0, 0, 0])
    black.save(tmp_path / "p.png", transparency=0)
    Image.fromarray(np.dstack([ink + 10, ink, ink])).save(tmp_path / "rgb.png", transparency=(10, 0, 0))
    np.testing.assert_array_equal(open_digit(tmp_path / "p.png"), RAMP <= 100)
    np.testing.assert_array_equal(open_digit(tmp_path / "rgb.png"), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_askew(tmp_path: Path, orientation: int):
    upright = np.full((16, 24), 255, np.uint8)
    upright[:8, :8] = 0  # a black corner, top left
    turn = Image.Transpose
    stored = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    picture = Image.fromarray(upright)
    if orientation in stored:
        picture = picture.transpose(stored[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    np.testing.assert_allclose(open_digit(tmp_path / "photo.jpg"), upright / 255, atol=0.05)


def test_a_big_picture_is_shrunk(tmp_path: Path):
    for mode, gray in (("L", 128), ("RGBA", (128, 128, 128, 255)), ("I;16", 128 * 257)):
        Image.new(mode, (3000, 1500), gray).save(tmp_path / "big.png")
        values = open_digit(tmp_path / "big.png")
        assert values.shape == (512, 1024)
        np.testing.assert_allclose(values, 128 / 255, atol=1e-3)


def test_a_phones_jpeg_is_decoded_at_half_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """4000×3000 pixels, of which 1024×768 are wanted: the same gray values in a quarter of the work."""
    drawn = Image.radial_gradient("L").resize((4000, 3000))
    drawn.save(tmp_path / "photo.jpg", quality=95)
    decoded: list[tuple[int, int]] = []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load", lambda image: (load(image), decoded.append(image.size))[0]
    )
    values = open_digit(tmp_path / "photo.jpg")
    assert set(decoded) == {(2000, 1500)}
    expected = np.asarray(drawn.resize((1024, 768), Image.Resampling.BOX)) / 255
    np.testing.assert_allclose(values, expected, atol=0.015)


def whole(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.png", b"", "the file is empty"),
        ("notes.png", b"this is a text file", "not an image in one of the formats PNG, JPEG, BMP, GIF, WEBP, TIFF"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawings cannot be opened"),
        ("icon.ico", b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0", "not an image in one of the formats"),
        ("cut.jpg", whole("JPEG")[:1500], "the image is damaged or truncated"),
        ("cut.png", whole("PNG")[:1500], "the image is damaged or truncated"),
        ("cut.gif", whole("GIF")[:1500], "the image is damaged or truncated"),
        ("cut.bmp", whole("BMP")[:1500], "the image is damaged or truncated"),
        ("cut.tiff", whole("TIFF")[:-200], "the image is damaged or truncated"),
        ("head.png", png_header(8, 8), "the image is damaged or truncated"),
        ("wide.png", png_header(10_001, 10_000), "the image is too large, 10001 × 10000; the limit is 100 megapixels"),
        ("bomb.png", png_header(60_000, 60_000), "the image is too large; the limit is 100 megapixels"),
        ("warned.png", png_header(9_500, 10_000), "the image is damaged or truncated"),  # Pillow warns from 89 on
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, sentence: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError) as caught:
        open_digit(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}: {sentence}")
    assert "\n" not in message


def test_no_file_at_all(tmp_path: Path):
    with pytest.raises(PictureError, match=r"nowhere\.png: there is no such file"):
        open_digit(tmp_path / "nowhere.png")
    with pytest.raises(PictureError, match="this is a folder, not an image file"):
        open_digit(tmp_path)
    with pytest.raises(PictureError, match="the file cannot be read"):
        open_digit(tmp_path / ("long" * 200))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match=r"the file cannot be read \(not a regular file\)"):
        open_digit(tmp_path / "pipe.png")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(RAMP).save(tmp_path / "mine.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)  # root ignores the file's mode
    with pytest.raises(PictureError, match=r"mine\.png: the file cannot be read \(permission denied\)"):
        open_digit(tmp_path / "mine.png")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_upright(tmp_path: Path, orientation: int, compression: str):
    """As defined by TIFF 6.0, section 8: where the first row and the first column of the file are displayed."""
    seen = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)
    lines = seen.T if orientation > 4 else seen  # the first row is at the left or right
    first_line_last, first_column_last = orientation in (3, 4, 7, 6), orientation in (2, 3, 7, 8)
    lines = lines[:: -1 if first_line_last else 1, :: -1 if first_column_last else 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(lines)).save(tmp_path / "a.tiff", exif=exif, compression=compression)
    np.testing.assert_array_equal(open_digit(tmp_path / "a.tiff"), np.float32(seen) / np.float32(255))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_what_is_checked_is_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    """Even if the path is replaced by a pipe after it was opened."""
    path = tmp_path / "picture"
    Image.fromarray(RAMP).save(path, kind, **({"progressive": True} if kind == "JPEG" else {}))
    expected = open_digit(path)
    decoded = files._decode

    def exchanged(*arguments: Any) -> Any:
        path.unlink()
        path.write_bytes(b"another file")
        return decoded(*arguments)

    monkeypatch.setattr(files, "_decode", exchanged)
    np.testing.assert_array_equal(open_digit(path), expected)


def test_values_that_are_no_numbers(tmp_path: Path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(PictureError, match="damaged"):
        open_digit(tmp_path / "nan.tiff")


def damaged_tiff(compression: str, seed: int) -> bytes:
    """A TIFF with some bytes replaced."""
    random = np.random.default_rng(seed)
    picture = Image.fromarray(random.integers(0, 256, (64, 64), np.uint8)).convert(
        "1" if compression == "group4" else "RGB"
    )
    file = BytesIO()
    picture.save(file, "TIFF", compression=compression)
    content = np.frombuffer(file.getvalue(), np.uint8).copy()
    positions = random.integers(8, len(content), 8)
    content[positions] = random.integers(0, 256, len(positions))
    return content.tobytes()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "group4", "jpeg", "packbits"])
def test_decoders_do_not_write_to_standard_error(tmp_path: Path, compression: str, capfd: pytest.CaptureFixture[str]):
    """libtiff, a C library, prints errors; Python's logging prints what Pillow logs."""
    refused = 0
    for seed in range(40):
        (tmp_path / "a.tiff").write_bytes(damaged_tiff(compression, seed))
        try:
            open_digit(tmp_path / "a.tiff")
        except PictureError:
            refused += 1
    assert refused
    assert capfd.readouterr() == ("", "")


def test_what_pillow_logs_is_not_printed(tmp_path: Path):
    """In a separate process, because pytest captures log records."""
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TIFF")
    content = file.getvalue().replace(
        struct.pack("<HHLL", 277, 3, 1, 3), struct.pack("<HHLL", 277, 3, 1, 999)
    )  # samples per pixel
    (tmp_path / "a.tiff").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "predict", tmp_path / "a.tiff"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"chainrule: {tmp_path / 'a.tiff'}: not an image in one of the formats PNG, JPEG, BMP, GIF, WEBP, TIFF\n",
    )


def test_libtiffs_handler_is_put_back(tmp_path: Path):
    from chainrule.images.files import _libtiff_handler_setter

    set_handler = _libtiff_handler_setter()
    if set_handler is None:
        pytest.skip("this Pillow's libtiff is linked into it")
    before = set_handler(None)
    set_handler(before)
    assert before
    Image.new("L", (8, 8)).save(tmp_path / "a.tiff")
    open_digit(tmp_path / "a.tiff")
    assert set_handler(before) == before


@pytest.mark.parametrize("read", [open_digit, open_photo])
@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory when reading image file")], ids=str)
def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, error: Exception):
    Image.fromarray(RAMP).save(tmp_path / "a.png")

    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(MemoryError):
        read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC pictures cannot be opened; export the photo as JPEG "),
        (b"\0\0\0\x1cftypavif", "AVIF pictures cannot be opened; export the picture as JPEG or PNG"),
        (b"\xff\x0a\x00", "JPEG XL pictures cannot be opened"),
        (b"FUJIFILMCCD-RAW 0201", "RAW photos cannot be opened; develop the photo to JPEG"),
        (b"8BPS\0\1", "Photoshop documents cannot be opened"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG drawings cannot be opened; export the drawing as PNG"),
        (b"<?xml version='1.0'?>\n<!-- a drawing -->\n<svg>", "SVG drawings cannot be opened"),
        (b"%PDF-1.7", "a whole PDF document cannot be opened; choose a page"),
        (b"hello", "not an image in one of the formats PNG, JPEG"),
    ],
    ids=["heic", "avif", "jxl", "raw", "psd", "svg", "svg in xml", "pdf", "text"],
)
def test_formats_that_cannot_be_opened_are_named(tmp_path: Path, start: bytes, sentence: str):
    file = tmp_path / "picture.jpg"
    file.write_bytes(start + bytes(64))
    for open_file in (open_digit, open_photo, open_gray_photo):
        with pytest.raises(PictureError, match=f"^a photo: {sentence}"):
            open_file(file, "a photo")


def test_gray_values_of_a_photo_are_its_luminance_or_its_contrast(tmp_path: Path):
    Image.fromarray(RAMP).convert("RGB").save(tmp_path / "gray.png")
    gray, scale = open_gray_photo(tmp_path / "gray.png")
    np.testing.assert_array_equal(gray, RAMP)
    assert (gray.dtype, scale) == (np.uint8, 1.0)
    canvas = np.full((40, 40, 4), 255, np.uint8)
    canvas[..., 3] = 0
    canvas[10:30, 15:20, 3] = 255  # a white stroke on a transparent canvas
    Image.fromarray(canvas).save(tmp_path / "white.png")
    gray, _ = open_gray_photo(tmp_path / "white.png")
    assert set(gray[10:30, 15:20].ravel().tolist()) != set(gray[:, :10].ravel().tolist())
    assert np.ptp(gray) == 255
    photo = np.asarray(open_photo(tmp_path / "white.png").image)
    assert photo[20, 17].tolist() == [255, 255, 255]  # visible on the canvas's own color
    assert photo[0, 0].max() < 128
