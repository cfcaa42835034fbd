"""Weights in files: safetensors, which hold arrays by name and nothing that could run.

The format has no checksum of its own: a flipped bit would be another weight. So what we write has one, in the first
line of the file's note: the SHA-256 of all names, types, shapes and numbers and of the rest of the note.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError, shortened, type_name
from chainrule.files import atomic_write, open_regular
from chainrule.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_NAMES = {
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
"""The types that a Tensor has, by NumPy's names, as safetensors names them, in the order in which it writes them: the
widest first, so that all numbers are aligned."""

MOST_HEADER = 12_000_000
"""Bytes of a file's header: names and places of 200,000 tensors. Reading it takes 25 times as much memory."""

_METADATA = "__metadata__"
_CHECKSUM = "sha256 "  # begins the note's first line


class ChecksumWarning(UserWarning):
    """A file of ours has no checksum, so that damage would not be noticed."""


def save(tensors: Mapping[str, Tensor | ArrayLike], path: str | os.PathLike[str], note: str | None = None) -> None:
    """Write Tensors or arrays by name, such as a `state_dict()`, into a safetensors file, atomically.

    Args:
        tensors: what to write.
        path: the file.
        note: a text to keep with them.

    Raises:
        OSError: the file cannot be written.
        TypeError: something that is neither booleans, integers nor floats.
        ValueError: a tensor is called `__metadata__`, the name under which the format has the note.
    """
    if not isinstance(tensors, Mapping):
        hint = ": give its state_dict()" if hasattr(tensors, "state_dict") else ""
        raise TypeError(f"save: takes tensors by name, not {type_name(tensors)}{hint}")
    if _METADATA in tensors:
        raise ValueError(f"save: {_METADATA} is the name of a file's notes: give the tensor another one")
    arrays = {name: as_tensor(tensor)._data for name, tensor in tensors.items()}
    first_line = _CHECKSUM + _sha256(arrays, note)
    with atomic_write(path) as file:
        _write(file, arrays, first_line if note is None else f"{first_line}\n{note}")


def _write(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], note: str) -> None:
    """Write the format: the length of the header in eight bytes, the header, which is JSON, and all numbers in a row.

    Byte for byte what the library safetensors writes, which holds everything three times before it does.
    """
    header: dict[str, Any] = {_METADATA: {"note": note}}
    order = sorted(arrays, key=lambda name: (list(_NAMES).index(arrays[name].dtype.name), name))
    start = 0
    for name in order:
        array = arrays[name]
        stop = start + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(_bytes(arrays[name]))


def _bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of an array in the order of its shape, each number's lowest byte first; not copied if they lie so."""
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return little.reshape(-1).view(np.uint8).data


def load(path: str | os.PathLike[str], *, ours: bool = False) -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file, by name.

    Args:
        path: the file.
        ours: whether it should be a file of chainrule's own, which has a checksum: a `ChecksumWarning` says if not.

    Raises:
        RunError: the file is missing, is no whole safetensors file, does not fit its checksum, or holds a type that a
            Tensor cannot.
    """
    return {name: Tensor._wrap(array) for name, array in load_with_note(path, ours=ours)[0].items()}


def load_with_note(path: str | os.PathLike[str], *, ours: bool = False) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Read the arrays of a safetensors file, by name, and the text kept with them. As `load`."""
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(path, "numpy") as file:
            names = list(file.keys())
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in _NAMES.values():
                    raise RunError(
                        f"{path}: {shortened(name)} is of type {kind}, which a Tensor cannot hold; save it as F32"
                    )
            arrays = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:  # the last: a shape that no array can have
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path}: is not a whole safetensors file ({shortened(str(error))})") from None
    note: str | None = metadata.get("note")
    if note is not None and note.startswith(_CHECKSUM):
        first_line, _, rest = note.partition("\n")
        note = rest if "\n" in note else None
        if first_line != _CHECKSUM + _sha256(arrays, note):
            raise RunError(
                f"{path}: does not fit its checksum: it is damaged, or another program has changed it; take a copy"
            )
    elif ours and metadata and "format" not in metadata and not (note or "").startswith('{"'):
        # other programs name a format; older checkpoints have a note in JSON, older weights have none
        raise RunError(f"{path}: has no checksum where it should be: it is damaged; take a copy")
    elif note is not None or (ours and not metadata):
        warnings.warn(
            f"{path}: has no checksum, as files of older versions: damage would not be noticed",
            ChecksumWarning,
            stacklevel=2,
        )
    return arrays, note


def _check_header(path: str | os.PathLike[str]) -> None:
    """See that the file is there and regular, and that its header, eight bytes and names of tensors, is not too large.

    Raises:
        RunError: it is missing or cannot be read, or its header is larger than `MOST_HEADER`.
    """
    try:
        with open_regular(path) as file:
            size = int.from_bytes(file.read(8), "little")
            whole = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    if MOST_HEADER < size < whole:  # else it is no safetensors file
        raise RunError(f"{path}: its header has {size:,} bytes, and at most {MOST_HEADER:,} are read")


def _sha256(arrays: Mapping[str, NDArray[Any]], note: str | None) -> str:
    """A sum of everything in a file that has a meaning."""
    total = hashlib.sha256(json.dumps(note).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(_bytes(array))
    return total.hexdigest()
