"""NumPy's own file format, `.npy`: numbers in C order behind a header, memory-mapped.

    import numpy as np
    from chainrule import data
    np.save("train-images.npy", np.zeros((1000, 28, 28), np.uint8))
    images = data.npy.memory_map("train-images.npy")

Source: NumPy Enhancement Proposal 1. Files are not trusted: the header is parsed by NumPy without running code, objects
(which only pickle could read) are refused, and the length must match the shape. Every fault raises a `DataError` that
names the file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from numpy.lib import format as npy_format

from chainrule.data.mapping import map_array, open_file
from chainrule.errors import DataError, shorten

if TYPE_CHECKING:
    import io
    import os

    import numpy as np
    from numpy.typing import NDArray


def header(path: str | os.PathLike[str]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read the dtype and shape in the header of a `.npy` file.

    Raises:
        DataError: as `memory_map`.
    """
    with open_file(path) as (file, size):
        return _read_header(file, size, str(path))


def memory_map(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Memory-map a `.npy` file, read-only: pages are loaded when first accessed.

    Returns:
        An array in the file's byte order.

    Raises:
        DataError: the file is missing, not a `.npy` file, or its length does not match its header; or it holds anything
            but booleans, integers or floats, or is in Fortran order.
    """
    with open_file(path) as (file, size):
        dtype, shape = _read_header(file, size, str(path))
        return map_array(file, path, dtype, shape)


def _read_header(file: io.BufferedReader, size: int, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read dtype and shape, checked against the size of the file; `file` is left at the first number."""
    start = file.read(npy_format.MAGIC_LEN)
    if len(start) < npy_format.MAGIC_LEN or not start.startswith(npy_format.MAGIC_PREFIX):
        raise DataError(f"{name} is not a .npy file: it does not begin with the bytes of numpy.save")
    major, minor = start[-2:]
    if not 1 <= major <= 3:
        raise DataError(f"{name} has version {major}.{minor} of the format, and 1.0 to 3.0 are known")
    # Version 3 differs in the encoding of field names, which files of numbers do not have
    read = npy_format.read_array_header_1_0 if major == 1 else npy_format.read_array_header_2_0
    try:
        shape, is_fortran, dtype = read(file)
    except Exception:  # ValueError, but damaged text makes Python's tokenizer raise others
        raise DataError(f"{name} has a damaged header: numpy.load could not read it either") from None
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects, which only pickle could read, and pickle is never read")
    if dtype.kind not in "biuf":
        raise DataError(f"{name} holds {shorten(str(dtype))}: it must hold booleans, integers or floats")
    if any(length < 0 for length in shape):
        raise DataError(f"{name} has a damaged header: its shape is {shape}")
    if is_fortran and len(shape) > 1:
        raise DataError(f"{name} is in Fortran order: save numpy.ascontiguousarray(array), so that examples are rows")
    expected, actual = math.prod(shape) * dtype.itemsize, size - file.tell()
    if actual != expected:
        raise DataError(f"{name} should hold {expected:,} bytes of {dtype} of shape {shape} but holds {actual:,}")
    return dtype, shape
