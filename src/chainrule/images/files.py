"""Open an image file of one of six common formats as an array of gray values, or as an RGB image.

Image files are untrusted: the format is detected from the content and not from the name, the size is checked before a
pixel is decoded, and every error is a single sentence.
"""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from chainrule.errors import PictureError
from chainrule.files import open_regular
from chainrule.images.colors import canvas_color, gray_converter
from chainrule.images.memory import ORIENTATION, check_size, in_bands

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
DIGIT_LONGEST_SIDE = 1024  # maximum side of a picture of one digit, in pixels
PHOTO_PIXELS = 24_000_000  # maximum number of pixels of a photo
AS_JPEG = "export the picture as JPEG or PNG"
FOREIGN_FORMATS = (  # a regular expression for how such a file starts, the name of the format, and what to do
    (
        rb".{4}ftyp(hei|hev|mif1|msf1)",
        "HEIC pictures",
        "export the photo as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)",
    ),
    (rb".{4}ftypavi[fs]", "AVIF pictures", AS_JPEG),
    (rb"\xff\x0a|.{4}JXL ", "JPEG XL pictures", AS_JPEG),
    (rb"II\*\0.{4}CR|.{4}ftypcrx |FUJIFILMCCD-RAW|IIU\0|II?R[OS]|MMOR", "RAW photos", "develop the photo to JPEG"),
    (rb"8BPS", "Photoshop documents", AS_JPEG),
    (rb"\s*(<\?xml.*)?<svg|\s*<\?xml.*<svg", "SVG drawings", "export the drawing as PNG"),
    (rb"%PDF-", "a whole PDF document", "choose a page with chainrule read FILE --page N"),
)
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Pillow's `Image.Transpose` that makes an image upright, by EXIF orientation; 1 is upright already."""

_NULL_HANDLER = logging.NullHandler()


class Photo(NamedTuple):
    """A color photo.

    Attributes:
        image: upright, opaque, in Pillow's mode RGB.
        scale: pixels in the file per pixel of `image`, along a side: 1.0 up to 24 megapixels.
    """

    image: Image.Image
    scale: float


def open_digit(path: str | os.PathLike[str], name: str | None = None) -> NDArray[np.float32]:
    """Read a picture of one digit as gray values: 0 is black, 1 is white.

    Applies the EXIF orientation, composites transparent images over white, converts colors to luminance (or to the
    axis of highest contrast, see `colors`), and takes the first frame of an animation.

    Args:
        path: the image file.
        name: the file's name in error messages; by default, its path.

    Returns:
        An array `(height, width)`, its longer side at most 1024 pixels.

    Raises:
        PictureError: the file is missing, empty, not an image in one of `FORMATS`, damaged, above 100 megapixels, or
            needs more than `memory.MAX_BYTES` to decode.
        MemoryError: there is not enough memory.
    """
    return np.asarray(_open_image(path, _digit_factor, _to_gray, name)[0], np.float32)


def open_gray_photo(path: str | os.PathLike[str], name: str | None = None) -> tuple[NDArray[np.uint8], float]:
    """Read an image file as gray values from 0 to 255; images above 24 megapixels are downsampled.

    Args:
        path: the image file.
        name: the file's name in error messages; by default, its path.

    Returns:
        The gray values, uint8 `(height, width)`, and the scale, as in `Photo.scale`.

    Raises:
        PictureError, MemoryError: as in `open_digit`.
    """
    image, size = _open_image(path, _photo_factor, to_gray_image, name)
    return np.asarray(image), max(size) / max(image.size)


def open_photo(path: str | os.PathLike[str], name: str | None = None) -> Photo:
    """Read an image file in color; images above 24 megapixels are downsampled.

    Args:
        path: the image file.
        name: the file's name in error messages; by default, its path.

    Raises:
        PictureError, MemoryError: as in `open_digit`.
    """
    image, size = _open_image(path, _photo_factor, _to_rgb, name)
    return Photo(image, max(size) / max(image.size))


def _open_image(
    path: str | os.PathLike[str],
    factor: Callable[[int, int], int],
    convert: Callable[[Image.Image, int], Image.Image],
    name: str | None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, convert and rotate an image file upright; returns the image and its size in the file.

    Args:
        path: the image file.
        factor: returns the downsampling factor for a width and a height.
        convert: converts and downsamples a decoded image, given the downsampling factor.
        name: the file's name in error messages; by default, its path.

    Raises:
        PictureError: the file cannot be read.
        MemoryError: there is not enough memory.
    """
    from PIL import Image, UnidentifiedImageError  # imported on first use

    name = str(path) if name is None else name
    with _open_file(path, name) as file, warnings.catch_warnings(), _quiet_decoders():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of big images, which `check_size` refuses
        try:
            image, transpose, size = _decode(file, name, factor, convert)  # frees the full-size image on return
            return image if transpose is None else image.transpose(transpose), size
        except (MemoryError, PictureError):
            raise
        except UnidentifiedImageError as error:
            raise PictureError(f"{name}: {_foreign_format(file)}") from error
        except Image.DecompressionBombError as error:
            raise PictureError(f"{name}: the image is too large; the limit is 100 megapixels") from error
        except Exception as error:  # decoders raise errors of many types for damaged files
            if "out of memory" in str(error):  # Pillow raises OSError instead of MemoryError
                raise MemoryError(f"{name}: {error}") from error
            raise PictureError(f"{name}: the image is damaged or truncated") from error


def _decode(
    file: io.BufferedReader,
    name: str,
    factor: Callable[[int, int], int],
    convert: Callable[[Image.Image, int], Image.Image],
) -> tuple[Image.Image, Image.Transpose | None, tuple[int, int]]:
    """Decode and convert an image; returns it, the transpose that makes it upright, and its size in the file."""
    from PIL import Image

    with Image.open(file, formats=FORMATS) as image:
        size = image.size
        check_size(image, name, factor(*size))
        image.load()
        converted = convert(image, factor(*image.size))  # `check_size` may have reduced the size of a JPEG
        transpose = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return converted, None if transpose is None else Image.Transpose(transpose), size


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Keep decoders from writing to standard error; errors that matter are raised in any case.

    Pillow logs, and Python prints log records if no handler is set. libtiff, a C library, writes to standard error
    directly.
    """
    logging.getLogger("PIL").addHandler(_NULL_HANDLER)
    set_handler = _libtiff_handler_setter()
    if set_handler is None:
        yield
        return
    previous = set_handler(None)
    try:
        yield
    finally:
        set_handler(previous)


@cache
def _libtiff_handler_setter() -> Callable[[int | None], int | None] | None:
    """Return `TIFFSetErrorHandler` of the libtiff that Pillow uses; None if it is linked statically, as on Windows."""
    import ctypes

    from PIL import _imaging

    try:
        function = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        return None
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
    return cast("Callable[[int | None], int | None]", function)


def _open_file(path: str | os.PathLike[str], name: str) -> io.BufferedReader:
    """Open an image file, and report simple errors before decoding."""
    try:
        file = open_regular(path)  # reading from a pipe or a device could block forever
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: an invalid file name
        raise PictureError(f"{name}: there is no such file") from error
    except IsADirectoryError as error:
        raise PictureError(f"{name}: this is a folder, not an image file") from error
    except PermissionError as error:
        raise PictureError(f"{name}: the file cannot be read (permission denied)") from error
    except OSError as error:
        raise PictureError(f"{name}: the file cannot be read ({error.strerror})") from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise PictureError(f"{name}: the file is empty")
    return file


def _foreign_format(file: io.BufferedReader) -> str:
    """Return an error message for a file that is not an image in one of `FORMATS`."""
    file.seek(0)
    start = file.read(1024)
    for pattern, format_name, advice in FOREIGN_FORMATS:
        if re.match(pattern, start, re.DOTALL):
            return f"{format_name} cannot be opened; {advice}"
    return f"not an image in one of the formats {', '.join(FORMATS)}"


def _digit_factor(width: int, height: int) -> int:
    """Return the factor by which a picture of one digit is downsampled before `thumbnail` reduces it to its final size.

    A picture that is downsampled at all is still at least 1.5 times as large as `DIGIT_LONGEST_SIDE`, so that
    `thumbnail`, which is not limited to integer factors, can average pixels with exact weights. A phone's 12
    megapixels, 4000×3000, are decoded at half their size.
    """
    return max(1, 2 * max(width, height) // (3 * DIGIT_LONGEST_SIDE))


def _photo_factor(width: int, height: int) -> int:
    """Return the factor by which a photo is downsampled to at most `PHOTO_PIXELS`."""
    return math.ceil(math.sqrt(width * height / PHOTO_PIXELS))


def _has_high_depth(image: Image.Image) -> bool:
    """Whether pixels are 16-bit or 32-bit integers or floats, not bytes."""
    return image.mode.startswith(("I", "F"))


def _to_gray(image: Image.Image, factor: int) -> Image.Image:
    """Convert a decoded image of any mode to gray values from 0 to 1 (mode F), at most `DIGIT_LONGEST_SIDE` long."""
    from PIL import Image

    if _has_high_depth(image):
        gray = in_bands(image, factor, "F", _high_depth_converter(image))
    else:
        gray = in_bands(image, factor, "L", gray_converter(image) or _luminance)
    gray.thumbnail((DIGIT_LONGEST_SIDE, DIGIT_LONGEST_SIDE), Image.Resampling.BOX)
    return gray if gray.mode == "F" else Image.fromarray(np.asarray(gray, np.float32) / np.float32(255))


def to_gray_image(image: Image.Image, factor: int = 1) -> Image.Image:
    """Convert a decoded image of any mode to gray values in mode L, as `open_gray_photo` does."""
    if _has_high_depth(image):
        return _to_rgb(image, factor).convert("L")
    return in_bands(image, factor, "L", gray_converter(image) or _luminance)


def _to_rgb(image: Image.Image, factor: int) -> Image.Image:
    """Convert a decoded image of any mode to an opaque image in mode RGB."""
    if not _has_high_depth(image):
        return in_bands(image, factor, "RGB", partial(_to_opaque, background=canvas_color(image)))
    to_gray = _high_depth_converter(image)

    def convert(band: Image.Image) -> Image.Image:
        from PIL import Image

        return Image.fromarray(np.rint(255 * np.asarray(to_gray(band))).astype(np.uint8)).convert("RGB")

    return in_bands(image, factor, "RGB", convert)


def _luminance(image: Image.Image) -> Image.Image:
    return _to_opaque(image).convert("L")


def _to_opaque(image: Image.Image, background: str = "white") -> Image.Image:
    """Convert an 8-bit image to mode RGB, composited over the background if it is transparent."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("RGB")


def _high_depth_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return a function that converts bands of a high-depth image to gray values from 0 to 1."""
    from PIL import Image

    extremes: Any = (0, 65535) if image.mode.startswith("I;16") else image.getextrema()
    low, high = map(float, extremes)

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("the image has values that are not finite")
        return Image.fromarray((values - np.float32(low)) / np.float32(max(high - low, 1e-12)))

    return convert
