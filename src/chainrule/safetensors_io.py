"""Reads and writes safetensors files: arrays by name, and no executable code.

The header can hold text; chainrule stores a note there (the entry "note" of `__metadata__`). The format has no
checksum, so chainrule writes one as the first line of the note: the SHA-256 of all names, dtypes, shapes and values,
and of the rest of the note.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError, shorten, type_name
from chainrule.files import atomic_write, open_regular
from chainrule.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    import io

    from numpy.typing import ArrayLike, NDArray

_DTYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""The dtypes of Tensors: the name in safetensors by NumPy's name. The order is that of the library safetensors, which
writes the values of the widest dtype first, so all values are aligned."""

MAX_HEADER_BYTES = 12_000_000
"""Limit on the bytes of a header, enough for 200,000 tensors. Reading a header takes 25 times its size in memory."""

_METADATA = "__metadata__"
_CHECKSUM = "sha256 "  # starts the first line of the note


class ChecksumWarning(UserWarning):
    """A file without a checksum was read: damage would go unnoticed."""


def save(
    tensors: Mapping[str, Tensor | ArrayLike], path: str | os.PathLike[str] | None = None, note: str | None = None, *,
    file_format: str | None = None,
) -> None:  # fmt: skip
    """Write Tensors or arrays by name, such as a `state_dict()`, to a safetensors file, atomically.

    Args:
        tensors: the Tensors or arrays, by name.
        path: the file.
        note: a text to store in the file.
        file_format: the entry "format" of the metadata, such as "pt"; some programs refuse files without it.

    Raises:
        OSError: the file cannot be written.
        TypeError: a value that is not boolean, integer or floating point, or a missing path.
        ValueError: a tensor is named `__metadata__`, which the format reserves for the note.
    """
    if not isinstance(tensors, Mapping):
        if isinstance(tensors, (str, os.PathLike)):
            raise TypeError("save: takes the tensors first, then the path: save(model.state_dict(), path)")
        hint = ': save(model.state_dict(), "model.safetensors")' if hasattr(tensors, "state_dict") else ""
        raise TypeError(f"save: takes a dict of tensors by name, not {type_name(tensors)}{hint}")
    if not isinstance(path, (str, os.PathLike)):
        argument = "no path" if path is None else type_name(path)
        raise TypeError(f'save: takes a path, such as "model.safetensors"; got {argument}')
    if _METADATA in tensors:
        raise ValueError(f"save: the name {_METADATA} is reserved for the file's note: rename the tensor")
    arrays = {name: as_tensor(tensor)._data for name, tensor in tensors.items()}
    first_line = _CHECKSUM + _sha256(arrays, note)
    with atomic_write(path) as file:
        metadata = {"note": first_line if note is None else f"{first_line}\n{note}"}
        _write(file, arrays, metadata if file_format is None else {"format": file_format, **metadata})


def _write(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a file in the format: the length of the header in eight bytes, the header in JSON, and all values.

    The library safetensors writes byte for byte the same file, but holds three copies of the values in memory.
    """
    header: dict[str, Any] = {_METADATA: metadata}
    order = sorted(arrays, key=lambda name: (list(_DTYPES).index(arrays[name].dtype.name), name))
    start = 0
    for name in order:
        array = arrays[name]
        stop = start + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(_bytes(arrays[name]))


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array in C order, little-endian; a view if it has that layout."""
    little_endian = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return little_endian.reshape(-1).view(np.uint8).data


def load(path: str | os.PathLike[str], *, from_chainrule: bool = False) -> dict[str, Tensor]:
    """Read the Tensors in a safetensors file, by name.

    Args:
        path: the file.
        from_chainrule: whether chainrule wrote the file, so a missing checksum causes a `ChecksumWarning`.

    Raises:
        RunError: the file is missing, not a complete safetensors file, does not match its checksum, or has a dtype
            that Tensors do not have.
    """
    return {name: Tensor._wrap(array) for name, array in load_with_note(path, from_chainrule=from_chainrule)[0].items()}


def load_with_note(
    path: str | os.PathLike[str], *, from_chainrule: bool = False
) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Read the arrays in a safetensors file, by name, and its note, without the checksum. See `load`."""
    _check_header(path)
    arrays, metadata = _read(path)
    note: str | None = metadata.get("note")
    if note is not None and note.startswith(_CHECKSUM):
        first_line, _, rest = note.partition("\n")
        note = rest if "\n" in note else None
        if first_line != _CHECKSUM + _sha256(arrays, note):
            raise RunError(
                f"{path}: does not match its checksum: it is damaged, or another program changed it; "
                "restore it from a backup"
            )
    elif from_chainrule and metadata and "format" not in metadata and not (note or "").startswith('{"'):
        # The file is neither from another program (those name a format) nor from a version of chainrule without
        # checksums (its checkpoints have a JSON note, and its weights no metadata)
        raise RunError(f"{path}: its checksum is missing: the file is damaged; restore it from a backup")
    elif note is not None or (from_chainrule and not metadata):
        warnings.warn(
            f"{path}: has no checksum, like files of older versions: damage would go unnoticed",
            ChecksumWarning,
            stacklevel=2,
        )
    return arrays, note


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """Return the arrays of a file, by name, and its metadata.

    Raises:
        RunError: it is not a complete safetensors file, or has a dtype that Tensors do not have.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:  # in a browser, for which the library is not available
        return _read_plainly(path)
    try:
        with safe_open(path, "numpy") as file:
            names = list(file.keys())
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in _DTYPES.values():
                    raise _unknown_type(path, name, kind)
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:  # ValueError: a shape that no array can have
        if isinstance(error, RunError):
            raise
        raise _incomplete(path, error) from None


def _read_plainly(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """Read a file as `_read` does, without the library safetensors, whose machine code browsers cannot run."""
    kinds = {code: np.dtype(kind).newbyteorder("<") for kind, code in _DTYPES.items()}
    arrays = {}
    try:
        with open_regular(path) as file:
            header = json.loads(file.read(_header_size(file)))
            metadata, entries = _parse_header(header)
            position, start = 0, file.tell()
            for name, (kind, shape, begin, end) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
                if kind not in kinds:
                    raise _unknown_type(path, name, kind)
                if begin != position or end - begin != math.prod(shape) * kinds[kind].itemsize:
                    raise ValueError(f"the values of {name} are not from {begin} to {end}")
                if end > os.fstat(file.fileno()).st_size - start:  # before memory for so many values is allocated
                    raise ValueError(f"the values of {name} are cut off")
                array = np.empty(shape, kinds[kind])
                file.readinto(array.reshape(-1).view(np.uint8).data)
                arrays[name], position = array, end
            if file.read(1):
                raise ValueError(f"there is more after the last value, at {position}")
    except RunError:
        raise
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise _incomplete(path, error) from None
    return {
        name: arrays[name].astype(arrays[name].dtype.newbyteorder("="), copy=False) for name in sorted(arrays)
    }, metadata


def _header_size(file: io.BufferedReader) -> int:
    """Return the number of bytes of the header, from the first eight bytes of a file."""
    size = int.from_bytes(file.read(8), "little")
    if size > os.fstat(file.fileno()).st_size - 8:
        raise ValueError("the header is cut off")
    return size


def _parse_header(header: Any) -> tuple[dict[str, str], dict[str, tuple[str, list[int], int, int]]]:
    """Return the metadata in a parsed header and, by name, the dtype, the shape, and where the values begin and end.

    Raises:
        ValueError: an entry does not follow the format.
    """
    if not isinstance(header, dict):
        raise ValueError(f"the header is {header!r}")
    metadata = header.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"the metadata are {metadata!r}")
    entries = {}
    for name, entry in header.items():
        match entry:
            case {"dtype": str(kind), "shape": [*shape], "data_offsets": [begin, end]}:
                if all(type(size) is int and size >= 0 for size in (*shape, begin, end)):
                    entries[name] = kind, shape, begin, end
                    continue
        raise ValueError(f"the entry of {name} is {entry!r}")
    return metadata, entries


def _incomplete(path: str | os.PathLike[str], error: Exception) -> RunError:
    """Return the error for a file that does not follow the format."""
    return RunError(f"{path}: is not a complete safetensors file ({shorten(str(error))})")


def _unknown_type(path: str | os.PathLike[str], name: str, kind: str) -> RunError:
    """Return the error for a dtype that Tensors do not have."""
    return RunError(f"{path}: {shorten(name)} is of type {shorten(kind)}, which Tensors do not have; save it as F32")


def _check_header(path: str | os.PathLike[str]) -> None:
    """Check that the file exists, is a regular file, and has a header of at most `MAX_HEADER_BYTES` bytes.

    Raises:
        RunError: it is missing, cannot be read, or its header is larger.
    """
    try:
        with open_regular(path) as file:
            size = int.from_bytes(file.read(8), "little")
            file_size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    if MAX_HEADER_BYTES < size < file_size:  # a size beyond the file: it is not a safetensors file, says `_read`
        raise RunError(f"{path}: its header has {size:,} bytes, more than the limit of {MAX_HEADER_BYTES:,}")


def _sha256(arrays: Mapping[str, NDArray[Any]], note: str | None) -> str:
    """Return the SHA-256 of the arrays and the note."""
    total = hashlib.sha256(json.dumps(note).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(_bytes(array))
    return total.hexdigest()
