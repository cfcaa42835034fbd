"""Opening a picture file: any of six common formats becomes one array of grey values.

A picture comes from outside, so nothing about it is taken on trust: its kind is found from its content and not from its
name, its size is checked before a pixel is decoded, and whatever is wrong with it is told in one sentence.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from chainrule.errors import PictureError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from PIL import Image

Result = TypeVar("Result")

_NOBODY = logging.NullHandler()

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MOST_PIXELS = 100_000_000
LONGEST_SIDE = 1024  # a bigger picture is shrunk while it still has one byte a pixel


def open_picture(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a picture file as grey values: 0 is black, 1 is white.

    The camera's EXIF orientation is applied, transparent parts are laid over white, colours become grey by their
    luminance, and of an animation the first frame is taken.

    Returns:
        An array `(height, width)`, its longer side at most 1024 pixels.

    Raises:
        PictureError: the file is missing, empty, not a picture in one of `FORMATS`, damaged, or above 100 megapixels.
        MemoryError: there is not enough memory for it.
    """
    return _opened(path, _grey)


def open_photo(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture file in its colours and its full size, to be drawn on: upright, opaque, in Pillow's mode RGB.

    Raises:
        PictureError: as `open_picture`.
    """
    return _opened(path, _in_colour)


def _opened(path: str | os.PathLike[str], convert: Callable[[Image.Image], Result]) -> Result:
    """What `convert` makes of a picture file, turned upright; whatever goes wrong is told in one sentence."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # Pillow loads when a picture is first needed

    _check_file(Path(path))
    with warnings.catch_warnings(), _quiet_decoders():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of big pictures; the size is checked here
        try:
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height <= MOST_PIXELS:
                    upright = ImageOps.exif_transpose(image)
                    return convert(upright)
        except PermissionError as error:
            raise PictureError(f"{path}: the file may not be read (permission denied)") from error
        except UnidentifiedImageError as error:
            raise PictureError(f"{path}: not a picture in one of the formats {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:
            raise PictureError(f"{path}: the picture is too large, at most 100 megapixels are read") from error
        except MemoryError:
            raise
        except Exception as error:  # decoders meet damage with errors of every kind
            if "out of memory" in str(error):  # as Pillow puts it, in an OSError
                raise MemoryError(f"{path}: {error}") from error
            raise PictureError(f"{path}: the picture is damaged or cut short") from error
    raise PictureError(f"{path}: the picture is too large, {width} × {height}; at most 100 megapixels are read")


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


def _check_file(path: Path) -> None:
    """Tell the plain mistakes apart before any decoder sees the file."""
    try:
        if path.is_dir():
            raise PictureError(f"{path}: this is a folder, not a picture file")
        if not path.exists():
            raise PictureError(f"{path}: there is no such file")
        if not path.is_file():  # reading from a pipe or a device could wait for ever
            raise PictureError(f"{path}: not an ordinary file")
        if path.stat().st_size == 0:
            raise PictureError(f"{path}: the file is empty")
    except OSError as error:
        raise PictureError(f"{path}: the file cannot be read ({error.strerror})") from error


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """A decoded picture of any mode as grey values from 0 to 1, shrunk to `LONGEST_SIDE`."""
    from PIL import Image

    most = (LONGEST_SIDE, LONGEST_SIDE)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_deep(image))
        image.thumbnail(most, Image.Resampling.BOX)
        return np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image.thumbnail(most, Image.Resampling.BOX)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB").convert("L")
    image.thumbnail(most, Image.Resampling.BOX)
    return np.asarray(image, np.float32) / np.float32(255)


def _deep(image: Image.Image) -> NDArray[np.float32]:
    """A picture of 16 or 32 bits a pixel, or of floats, as grey values from 0 to 1."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the picture has values that are no numbers")
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (float(values.min()), float(values.max()))
    return (values - np.float32(low)) / np.float32(max(high - low, 1e-12))


def _in_colour(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode, opaque, with eight bits for red, green and blue."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(np.rint(255 * _deep(image)).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
