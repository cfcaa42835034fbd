"""Opening a picture file: any of six common formats becomes one array of gray values.

A picture comes from outside, so nothing about it is taken on trust: its kind is found from its content and not from its
name, its size is checked before a pixel is decoded, and whatever is wrong with it is told in one sentence.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from chainrule.errors import PictureError
from chainrule.files import open_regular
from chainrule.images.memory import ORIENTATION, check_size, in_bands

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
LONGEST_SIDE = 1024  # of gray values
PHOTO_PIXELS = 24_000_000  # of a photo in its colors
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""By EXIF's orientation, what turns a picture upright: a number of Pillow's `Image.Transpose`."""

_NOBODY = logging.NullHandler()


class Photo(NamedTuple):
    """A photo to be drawn on.

    Attributes:
        image: upright, opaque, in Pillow's mode RGB.
        scale: how many times longer its sides are in its file: 1.0 up to 24 megapixels.
    """

    image: Image.Image
    scale: float


def open_picture(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a picture file as gray values: 0 is black, 1 is white.

    The camera's EXIF orientation is applied, transparent parts are laid over white, colors become gray by their
    luminance, and of an animation the first frame is taken.

    Returns:
        An array `(height, width)`, its longer side at most 1024 pixels.

    Raises:
        PictureError: the file is missing, empty, not a picture in one of `FORMATS`, damaged, above 100 megapixels, or
            takes more than `memory.MOST_BYTES` to decode.
        MemoryError: there is not enough memory for it.
    """
    return np.asarray(_opened(path, _gray_factor, _gray)[0], np.float32)


def open_photo(path: str | os.PathLike[str]) -> Photo:
    """Read a picture file in its colors, to be drawn on; above 24 megapixels it is made smaller.

    Raises:
        PictureError, MemoryError: as `open_picture`.
    """
    image, size = _opened(path, _photo_factor, _in_color)
    return Photo(image, max(size) / max(image.size))


def _opened(
    path: str | os.PathLike[str],
    factor: Callable[[int, int], int],
    convert: Callable[[Image.Image, int], Image.Image],
) -> tuple[Image.Image, tuple[int, int]]:
    """What `convert` makes of a picture file, turned upright, and the size of the picture in the file.

    Args:
        path: of the file.
        factor: by what a picture of this width and height is to be made smaller.
        convert: takes the decoded picture and by what that is to be made smaller.

    Raises:
        PictureError: whatever goes wrong, in one sentence.
        MemoryError: there is not enough memory.
    """
    from PIL import Image, UnidentifiedImageError  # Pillow loads when a picture is first needed

    with _open_file(path) as file, warnings.catch_warnings(), _quiet_decoders():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of big pictures; the size is checked here
        try:
            image, turn, size = _decoded(file, path, factor, convert)  # the picture in its file's own size is no more
            return image if turn is None else image.transpose(turn), size
        except (MemoryError, PictureError):
            raise
        except UnidentifiedImageError as error:
            raise PictureError(f"{path}: not a picture in one of the formats {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:
            raise PictureError(f"{path}: the picture is too large, at most 100 megapixels are read") from error
        except Exception as error:  # decoders meet damage with errors of every kind
            if "out of memory" in str(error):  # as Pillow puts it, in an OSError
                raise MemoryError(f"{path}: {error}") from error
            raise PictureError(f"{path}: the picture is damaged or cut short") from error


def _decoded(
    file: io.BufferedReader,
    path: str | os.PathLike[str],
    factor: Callable[[int, int], int],
    convert: Callable[[Image.Image, int], Image.Image],
) -> tuple[Image.Image, Image.Transpose | None, tuple[int, int]]:
    """What `convert` makes of a picture file, what turns it upright, and the size of the picture in the file."""
    from PIL import Image

    with Image.open(file, formats=FORMATS) as image:
        size = image.size
        check_size(image, path, factor(*size))
        image.load()
        converted = convert(image, factor(*image.size))
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return converted, None if turn is None else Image.Transpose(turn), size


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Keep decoders from writing to standard error: what counts of it, they raise as well.

    Pillow logs, and Python prints what is logged where nobody listens; libtiff, the C library, writes by itself.
    """
    logging.getLogger("PIL").addHandler(_NOBODY)
    set_handler = _libtiff_handler_setter()
    if set_handler is None:
        yield
        return
    before = set_handler(None)
    try:
        yield
    finally:
        set_handler(before)


@cache
def _libtiff_handler_setter() -> Callable[[int | None], int | None] | None:
    """`TIFFSetErrorHandler` of the libtiff that Pillow uses; None where that is linked into Pillow, as on Windows."""
    import ctypes

    from PIL import _imaging

    try:
        function = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        return None
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
    return cast("Callable[[int | None], int | None]", function)


def _open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a picture's file, and tell the plain mistakes apart before any decoder sees it."""
    try:
        file = open_regular(path)  # reading from a pipe or a device could wait for ever
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # the last: a name that no file can have
        raise PictureError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise PictureError(f"{path}: this is a folder, not a picture file") from error
    except PermissionError as error:
        raise PictureError(f"{path}: the file may not be read (permission denied)") from error
    except OSError as error:
        raise PictureError(f"{path}: the file cannot be read ({error.strerror})") from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise PictureError(f"{path}: the file is empty")
    return file


def _gray_factor(width: int, height: int) -> int:
    # The rest is not by whole pixels, but by their exact shares
    return max(1, max(width, height) // (2 * LONGEST_SIDE))


def _photo_factor(width: int, height: int) -> int:
    return math.ceil(math.sqrt(width * height / PHOTO_PIXELS))


def _gray(image: Image.Image, factor: int) -> Image.Image:
    """A decoded picture of any mode as gray values from 0 to 1, in Pillow's mode F, shrunk to `LONGEST_SIDE`."""
    from PIL import Image

    deep = image.mode.startswith(("I", "F"))
    gray = in_bands(image, factor, "F", _deep(image)) if deep else in_bands(image, factor, "L", _luminance)
    gray.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return gray if deep else Image.fromarray(np.asarray(gray, np.float32) / np.float32(255))


def _in_color(image: Image.Image, factor: int) -> Image.Image:
    """A decoded picture of any mode, opaque, with eight bits for red, green and blue."""
    if not image.mode.startswith(("I", "F")):
        return in_bands(image, factor, "RGB", _opaque)
    deep = _deep(image)

    def convert(band: Image.Image) -> Image.Image:
        from PIL import Image

        return Image.fromarray(np.rint(255 * np.asarray(deep(band))).astype(np.uint8)).convert("RGB")

    return in_bands(image, factor, "RGB", convert)


def _luminance(image: Image.Image) -> Image.Image:
    return _opaque(image).convert("L")


def _opaque(image: Image.Image) -> Image.Image:
    """A picture of eight bits a color in mode RGB, its transparent parts laid over white."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _deep(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns a picture of 16 or 32 bits a pixel, or of floats, band by band, into gray values from 0 to 1."""
    from PIL import Image

    extremes: Any = (0, 65535) if image.mode.startswith("I;16") else image.getextrema()
    low, high = map(float, extremes)

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("the picture has values that are no numbers")
        return Image.fromarray((values - np.float32(low)) / np.float32(max(high - low, 1e-12)))

    return convert
