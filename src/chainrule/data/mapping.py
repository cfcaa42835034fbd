"""Memory-mapped files: arrays whose pages are loaded from disk when they are used.

Pages of a read-only mapping belong to the system's page cache: they can be dropped at any time, so an array may be many
times larger than the memory. A read of a page that no longer exists cannot be caught: if another process shortens a
mapped file, the system kills the reader (SIGBUS). `TensorDataset` calls `check_files` before each batch, so only a file
that shrinks during the gather itself does harm. Replacing a file by renaming a different one over it is harmless: the
mapping keeps the old content.
"""

from __future__ import annotations

import math
import mmap
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError
from chainrule.files import open_regular

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

_CHUNK = 1 << 24  # bytes of a piece, about


class MappedFile(mmap.mmap):
    """A read-only mapping of a whole file, with the file's path."""

    path: str


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[tuple[io.BufferedReader, int]]:
    """Yield the open file and its size in bytes; an OSError becomes a DataError."""
    path = Path(path)
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder: it must be a file")
        with open_regular(path) as file:
            yield file, os.fstat(file.fileno()).st_size
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}") from fault


def map_array(
    file: io.BufferedReader, path: str | os.PathLike[str], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Map the rest of an open file, from its position on, as a read-only array.

    Raises:
        OSError: the file cannot be mapped.
    """
    pages = MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.path = str(path)
    return np.ndarray(shape, dtype, buffer=pages, offset=file.tell())


def mapped_files(*arrays: NDArray[Any]) -> list[MappedFile]:
    """Return the mapped files that back the arrays; an array in memory has none."""
    files = []
    for array in arrays:
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, MappedFile):
            files.append(owner)
    return files


def check_files(files: Iterable[MappedFile]) -> None:
    """Check that mapped files still have all their pages: reading a missing one would kill the process.

    Raises:
        DataError: a file is shorter than when it was mapped.
    """
    for file in files:
        if (size := file.size()) < len(file):
            raise DataError(
                f"{file.path} has shrunk from {len(file):,} to {size:,} bytes while in use: restore it, and replace "
                f"files by renaming new ones over them"
            )


def chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield an array in consecutive pieces along its first axis, each contiguous and in native byte order."""
    row_bytes = math.prod(array.shape[1:]) * array.itemsize
    row_count = max(1, _CHUNK // max(1, row_bytes))
    for start in range(0, len(array), row_count):
        yield np.ascontiguousarray(array[start : start + row_count], array.dtype.newbyteorder("="))
