"""IDX, the file format of MNIST: a header with type and shape, followed by the numbers.

    two zero bytes, one byte for the type, one for the number of dimensions,
    each dimension as a 32-bit unsigned integer, the numbers in C order; everything big-endian

(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".) A file may be gzipped. Files
are not trusted: magic number, type, dimensions and length are checked before memory is allocated. A gzip is inflated at
most to the size in its IDX header, and by default at most to a multiple of its own size (images compress to a fifth,
zeros to a thousandth). Every fault raises a `DataError` that names the file.
"""

from __future__ import annotations

import io
import math
import struct
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chainrule.data.mapping import map_array, open_file
from chainrule.errors import DataError
from chainrule.files import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

Result = TypeVar("Result")

# The types by their code in the header; multi-byte numbers are big-endian
TYPES = {code: np.dtype(name) for code, name in {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}.items()}
CODES = {dtype.newbyteorder("="): code for code, dtype in TYPES.items()}
MAX_BYTES = 1 << 32
"""Limit on the bytes of an array, unless the caller sets a different one."""
MAX_INFLATED = 1 << 26
"""A gzip may always inflate to this many bytes."""
MAX_RATIO = 16
"""A gzip of more than `MAX_INFLATED` / 16 bytes may inflate to this many times its size."""
_MAX_RANK = 64  # NumPy's own limit; the format's is 255
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20  # bytes read at a time


def read(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> NDArray[Any]:
    """Read the array in an IDX file. Its first bytes, not its name, tell whether it is gzipped.

    Args:
        path: the file.
        max_bytes: the largest size of the array; by default `MAX_BYTES`, and for a gzip the larger of `MAX_INFLATED`
            and `MAX_RATIO` times its size.

    Returns:
        A new array in native byte order.

    Raises:
        DataError: the file is missing, not an IDX file, damaged, inconsistent with its header, or larger than
            `max_bytes`.
    """
    with open_file(path) as (file, size):
        return _decode(file, size, str(path), max_bytes, _read_array)


def header(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read the dtype and shape in the header of an IDX file; only the beginning of a gzip is inflated. See `read`."""
    with open_file(path) as (file, size):
        dtype, shape = _decode(file, size, str(path), max_bytes, _read_header)
        return dtype.newbyteorder("="), shape


def decode(data: bytes, name: str, *, max_bytes: int | None = None) -> NDArray[Any]:
    """Return the array in the bytes of an IDX file, gzipped or not; `name` is for messages. See `read`."""
    return _decode(io.BytesIO(data), len(data), name, max_bytes, _read_array)


def memory_map(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Memory-map an IDX file that is not gzipped, read-only: pages are loaded when first accessed.

    Processes that map the same file share its pages. The array has the file's byte order.

    Raises:
        DataError: as `read`.
    """
    with open_file(path) as (file, size):
        dtype, shape = _read_header(file, size, str(path), sys.maxsize)
        return map_array(file, path, dtype, shape)


def is_gzipped(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a gzip, which cannot be memory-mapped.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    with open_file(path) as (file, _):
        return file.read(2) == _GZIP


def encode(array: ArrayLike) -> bytes:
    """Return `array` as the bytes of an IDX file, not gzipped.

    Raises:
        DataError: the format does not support the dtype, or a dimension is too large.
    """
    array = np.asarray(array)
    code = CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise DataError(f"IDX has no type for {array.dtype}: it has {', '.join(map(str, CODES))}")
    if any(size >= 1 << 32 for size in array.shape):
        raise DataError(f"IDX cannot hold shape {array.shape}: dimensions are limited to 32 bits")
    header_bytes = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header_bytes + array.astype(TYPES[code], copy=False).tobytes()


def write(path: str | os.PathLike[str], array: ArrayLike) -> None:
    """Write `array` as an IDX file, atomically; gzipped if the name ends in `.gz`. The bytes depend only on the array.

    Raises:
        DataError: the format does not support the dtype, or a dimension is too large.
        OSError: the file cannot be written.
    """
    data = encode(array)
    if str(path).endswith(".gz"):
        import gzip

        data = gzip.compress(data, compresslevel=6, mtime=0)
    with atomic_write(path) as file:
        file.write(data)


def _decode(
    file: io.BufferedIOBase,
    size: int,
    name: str,
    max_bytes: int | None,
    read: Callable[[io.BufferedIOBase, int | None, str, int], Result],
) -> Result:
    """Call `read` with the file, its size if it is not a gzip, its name and the limit on the array's bytes."""
    magic = file.read(2)
    file.seek(0)
    if magic != _GZIP:
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


def _read_array(file: io.BufferedIOBase, size: int | None, name: str, max_bytes: int) -> NDArray[Any]:
    dtype, shape = _read_header(file, size, name, max_bytes)
    expected = math.prod(shape) * dtype.itemsize
    # In chunks, so that a short gzip whose header declares a large array takes little memory. Reading one byte more
    # than expected reveals trailing data, and makes gzip verify its checksum.
    data = bytearray()
    while len(data) <= expected and (chunk := file.read(min(_CHUNK, expected + 1 - len(data)))):
        data += chunk
    if len(data) != expected:
        actual = "more" if len(data) > expected else f"only {len(data):,}"
        raise DataError(f"{name} should hold {expected:,} bytes of {_describe(dtype, shape)} but holds {actual}")
    return np.ndarray(shape, dtype, buffer=data).astype(dtype.newbyteorder("="), copy=False)


def _read_header(
    file: io.BufferedIOBase, size: int | None, name: str, max_bytes: int
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read dtype and shape, checked against the file size if it is known; `file` is left at the first number."""
    prefix = file.read(4)
    if len(prefix) < 4 or prefix[:2] != b"\0\0":
        raise DataError(f"{name} is not an IDX file: it does not begin with two zero bytes, a type and a rank")
    code, rank = prefix[2], prefix[3]
    if code not in TYPES:
        codes = ", ".join(f"{valid:#04x}" for valid in TYPES)
        raise DataError(f"{name} is not an IDX file: its type {code:#04x} must be one of {codes}")
    if rank > _MAX_RANK:
        raise DataError(f"{name} has {rank} dimensions: NumPy arrays have at most {_MAX_RANK}")
    dimensions = file.read(4 * rank)
    if len(dimensions) < 4 * rank:
        raise DataError(f"{name} ends within its header: it must give the sizes of {rank} dimensions")
    dtype, shape = TYPES[code], struct.unpack(f">{rank}I", dimensions)
    # A dimension of 0 counts as 1, as in NumPy's own limit
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize > max_bytes:
        excess = f"more than the {max_bytes:,} bytes allowed"
        if size is None and max_bytes < MAX_BYTES:
            excess += " for a gzip of its size; if the file is right, unpack it with gunzip"
        raise DataError(f"{name} declares {_describe(dtype, shape)}: {excess}")
    expected = math.prod(shape) * dtype.itemsize
    if size is not None and (actual := size - 4 - 4 * rank) != expected:
        raise DataError(f"{name} should hold {expected:,} bytes of {_describe(dtype, shape)} but holds {actual:,}")
    return dtype, shape


def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype.newbyteorder('=')} of shape {shape}"
