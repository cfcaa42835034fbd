"""Data pointers, flags and strides of NumPy arrays, as compiled code needs them."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_HEADER_BYTES = object.__basicsize__  # of PyObject, with which NumPy's array struct begins; the data pointer follows
_FLAGS_OFFSET = 48  # bytes from the data pointer to the flags
WRITEABLE_BIT = 0x400  # in an array's flags


def _pointer_from_struct(array: NDArray[Any]) -> int:
    return ctypes.c_int64.from_address(id(array) + _HEADER_BYTES).value


def _pointer_from_interface(array: NDArray[Any]) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


_PROBE = np.zeros(1)  # an array on which the layout is tested
data_pointer = (
    _pointer_from_struct
    if sys.implementation.name == "cpython" and _pointer_from_struct(_PROBE) == _pointer_from_interface(_PROBE)
    else _pointer_from_interface
)
"""The address of an array's first element. Reading NumPy's struct takes 0.7 µs, `__array_interface__` 2 µs."""


def _flags_address(array: NDArray[Any]) -> int:
    return id(array) + _HEADER_BYTES + _FLAGS_OFFSET


def _array_struct_is_known() -> bool:
    """Whether the C struct of an array has the fields that this module reads, where it expects them."""
    if data_pointer is not _pointer_from_struct:
        return False
    frozen = np.zeros(1)
    frozen.flags.writeable = False
    return all(ctypes.c_int32.from_address(_flags_address(x)).value == x.flags.num for x in (_PROBE, frozen))


ARRAY_STRUCT_IS_KNOWN = _array_struct_is_known()
_PROBE_FLAGS = ctypes.c_int32(_PROBE.flags.num)


def flags_address(array: NDArray[Any]) -> int:
    """The address of an array's 32 bits of flags.

    If ARRAY_STRUCT_IS_KNOWN is false, this is the address of a word that says that the array is writable;
    `lower.program` then checks the flag in Python.
    """
    return _flags_address(array) if ARRAY_STRUCT_IS_KNOWN else ctypes.addressof(_PROBE_FLAGS)


def coalesce(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Merge neighboring dimensions where the strides of all arrays allow it, and drop dimensions of size 1.

    Args:
        sizes: the size of each dimension, outermost first.
        strides: for each array, its stride in each dimension.

    Returns:
        The sizes of the remaining dimensions, and for each array the strides in them.
    """
    merged_sizes: list[int] = []
    merged_strides: list[list[int]] = [[] for _ in strides]
    for d, size in enumerate(sizes):
        if size == 1:
            continue
        if merged_sizes and all(m[-1] == s[d] * size for m, s in zip(merged_strides, strides, strict=True)):
            merged_sizes[-1] *= size
            for m, s in zip(merged_strides, strides, strict=True):
                m[-1] = s[d]
        else:
            merged_sizes.append(size)
            for m, s in zip(merged_strides, strides, strict=True):
                m.append(s[d])
    return merged_sizes, merged_strides


def writable_diagonal(array: Any, offset: int, axis1: int, axis2: int) -> Any:
    """np.diagonal, but writable if the array is writable; NumPy's view is read-only."""
    view = np.diagonal(array, offset, axis1, axis2)
    view.flags.writeable = array.flags.writeable
    return view


def keep_freed_memory() -> None:
    """Let the process keep up to 64 MB of freed memory for its next arrays.

    Otherwise every step of training gets its memory from the system again, page by page, which can take a quarter of
    its time. The C library of Linux gives memory at the end of the heap back to the system if it is more than twice the
    largest block that was mapped separately and freed, of at most 32 MB (mallopt(3), M_MMAP_THRESHOLD). This is such a
    block; it is never written to, so it takes up no memory itself. With other C libraries this does nothing.
    """
    np.empty(2**25 - 2**13, np.uint8)
