"""IDX, the file format of MNIST: a few bytes that say type and shape, then the numbers themselves.

    two zero bytes, one byte for the type, one for the number of dimensions,
    each dimension as a 32-bit unsigned integer, the numbers in C order; all of it big-endian

(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".) A file may be gzipped. Reading trusts
nothing: magic, type, dimensions and length are checked before memory is taken, and a gzip is never inflated beyond what
its header promises, nor to many times its size (pictures are packed to a fifth, zeros to a thousandth). Whatever is
wrong is a `DataError` that names the file and the fault.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import struct
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chainrule.errors import DataError
from chainrule.files import atomic_write, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

Result = TypeVar("Result")

TYPES = {code: np.dtype(name) for code, name in {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}.items()}
CODES = {dtype.newbyteorder("="): code for code, dtype in TYPES.items()}
MAX_BYTES = 1 << 32  # what a header may ask for, unless the caller allows more
MAX_INFLATED, MAX_RATIO = 1 << 26, 16  # bytes that any gzip may become; a larger one at most so many times its size
_MAX_RANK = 64  # NumPy's own limit; the format's is 255
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20


def read(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> NDArray[Any]:
    """Read the array of an IDX file, gzipped or not (told by its first bytes, not by its name).

    Args:
        path: the file.
        max_bytes: how many the numbers may take; if left out, `MAX_BYTES`, and for a gzip `MAX_INFLATED` or `MAX_RATIO`
            times its size, whichever is more.

    Returns:
        A new array of the file's shape, in this machine's byte order.

    Raises:
        DataError: the file is missing, not an IDX file, damaged, shorter or longer than its header says, or asks for
            more than `max_bytes`.
    """
    with _opened(path) as (file, size):
        return _decode(file, size, str(path), max_bytes, _array)


def header(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type and the shape that an IDX file promises; of a gzip, only the beginning is inflated. As `read`."""
    with _opened(path) as (file, size):
        dtype, shape = _decode(file, size, str(path), max_bytes, _header)
        return dtype.newbyteorder("="), shape


def decode(data: bytes, name: str, *, max_bytes: int | None = None) -> NDArray[Any]:
    """The array in the bytes of an IDX file, gzipped or not; `name` stands for the file in messages. As `read`."""
    return _decode(io.BytesIO(data), len(data), name, max_bytes, _array)


def memory_map(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array of an IDX file that is not gzipped, read-only, without reading it: its pages come in as they are used.

    All processes that map the same file share its pages. The numbers keep the file's byte order.

    Raises:
        DataError: as `read`.
    """
    with _opened(path) as (file, size):
        dtype, shape = _header(file, size, str(path), sys.maxsize)
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.ndarray(shape, dtype, buffer=pages, offset=file.tell())


def encode(array: ArrayLike) -> bytes:
    """The bytes of the IDX file (not gzipped) that holds `array`.

    Raises:
        DataError: the format has no such type, or not so large a dimension.
    """
    array = np.asarray(array)
    code = CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise DataError(f"IDX has no type for {array.dtype}: it knows {', '.join(map(str, CODES))}")
    if any(size >= 1 << 32 for size in array.shape):
        raise DataError(f"IDX has no room for the shape {array.shape}: a dimension fits in 32 bits")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(TYPES[code], copy=False).tobytes()


def write(path: str | os.PathLike[str], array: ArrayLike) -> None:
    """Write `array` as an IDX file, atomically; gzipped if the name ends in `.gz`. Same array, same bytes.

    Raises:
        DataError: the format has no such type, or not so large a dimension.
        OSError: the file cannot be written.
    """
    data = encode(array)
    if str(path).endswith(".gz"):
        import gzip

        data = gzip.compress(data, compresslevel=6, mtime=0)
    with atomic_write(path) as file:
        file.write(data)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """The open file and its size in bytes; what the system refuses becomes a DataError."""
    path = Path(path)
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not an IDX file")
        with open_regular(path) as file:
            yield file, os.fstat(file.fileno()).st_size
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}") from fault


def _decode(
    file: io.BufferedIOBase,
    size: int,
    name: str,
    max_bytes: int | None,
    read: Callable[[io.BufferedIOBase, int | None, str, int], Result],
) -> Result:
    """What `read` makes of a file, which may be gzipped."""
    start = file.read(2)
    file.seek(0)
    if start != _GZIP:
        return read(file, size, name, MAX_BYTES if max_bytes is None else max_bytes)
    import gzip
    import zlib

    if max_bytes is None:
        max_bytes = min(MAX_BYTES, max(MAX_INFLATED, MAX_RATIO * size))
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as inflated:
            return read(inflated, None, name, max_bytes)
    except (gzip.BadGzipFile, zlib.error, EOFError) as fault:
        raise DataError(f"{name} is a damaged gzip file: {fault}") from fault


def _array(file: io.BufferedIOBase, size: int | None, name: str, max_bytes: int) -> NDArray[Any]:
    dtype, shape = _header(file, size, name, max_bytes)
    promised = math.prod(shape) * dtype.itemsize
    # Piece by piece, so that a short gzip with a large promise takes no more memory than it has bytes; one byte more
    # than promised shows a surplus, and makes gzip check its own checksum at the end.
    data = bytearray()
    while len(data) <= promised and (piece := file.read(min(_PIECE, promised + 1 - len(data)))):
        data += piece
    if len(data) != promised:
        what = "more" if len(data) > promised else f"only {len(data):,}"
        raise DataError(f"{name} promises {promised:,} bytes of {_form(dtype, shape)} but holds {what}")
    return np.ndarray(shape, dtype, buffer=data).astype(dtype.newbyteorder("="), copy=False)


def _header(
    file: io.BufferedIOBase, size: int | None, name: str, max_bytes: int
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape, checked against the size of the file where it is known; `file` is left at the first number."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(f"{name} is not an IDX file: it does not begin with two zero bytes, a type and a rank")
    code, rank = start[2], start[3]
    if code not in TYPES:
        known = ", ".join(f"{known:#04x}" for known in TYPES)
        raise DataError(f"{name} is not an IDX file: {code:#04x} is none of the types it could have ({known})")
    if rank > _MAX_RANK:
        raise DataError(f"{name} has {rank} dimensions: NumPy arrays have at most {_MAX_RANK}")
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(f"{name} ends within its header: it should give the sizes of {rank} dimensions")
    dtype, shape = TYPES[code], struct.unpack(f">{rank}I", sizes)
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize > max_bytes:  # NumPy counts a 0 as 1 here, too
        allowed = f"more than the {max_bytes:,} bytes allowed"
        if size is None and max_bytes < MAX_BYTES:
            allowed += " for a gzip of its size; if it is right, unpack it with gunzip"
        raise DataError(f"{name} asks for {_form(dtype, shape)}: {allowed}")
    promised = math.prod(shape) * dtype.itemsize
    if size is not None and (held := size - 4 - 4 * rank) != promised:
        raise DataError(f"{name} promises {promised:,} bytes of {_form(dtype, shape)} but holds {held:,}")
    return dtype, shape


def _form(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype.newbyteorder('=')} in the shape {shape}"
