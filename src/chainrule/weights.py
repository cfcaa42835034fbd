"""Weights in files: safetensors, which hold arrays by name and nothing that could run.

The format has no checksum of its own: a flipped bit would be another weight. So what we write has one, in the first
line of the file's note: the SHA-256 of all names, types, shapes and numbers and of the rest of the note.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError
from chainrule.files import atomic_write
from chainrule.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

_KINDS = {"BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F16", "F32", "F64"}
"""The types, as safetensors names them, that a Tensor has too."""

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
    """
    from safetensors.numpy import save as pack  # only programs that save need it

    # safetensors writes memory as it lies, so it must lie in the order of the shape
    arrays = {name: np.asarray(as_tensor(tensor)._data, order="C") for name, tensor in tensors.items()}
    first_line = _CHECKSUM + _sha256(arrays, note)
    with atomic_write(path) as file:
        # one entry: safetensors writes several in an order that changes from process to process
        file.write(pack(arrays, {"note": first_line if note is None else f"{first_line}\n{note}"}))


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

    if not Path(path).is_file():
        raise RunError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            names = list(file.keys())
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in _KINDS:
                    raise RunError(f"{path}: {name} is of type {kind}, which a Tensor cannot hold; save it as F32")
            arrays = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:  # the last: a shape that no array can have
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path}: is not a whole safetensors file ({error})") from None
    note: str | None = metadata.get("note")
    if note is not None and note.startswith(_CHECKSUM):
        first_line, _, rest = note.partition("\n")
        note = rest if "\n" in note else None
        if first_line != _CHECKSUM + _sha256(arrays, note):
            raise RunError(
                f"{path}: does not fit its checksum: it is damaged, or another program has changed it; take a copy"
            )
    elif note is not None or (ours and "format" not in metadata):  # other programs name a format
        warnings.warn(
            f"{path}: has no checksum, as files of older versions: damage would not be noticed",
            ChecksumWarning,
            stacklevel=2,
        )
    return arrays, note


def _sha256(arrays: Mapping[str, NDArray[Any]], note: str | None) -> str:
    """A sum of everything in a file that has a meaning."""
    total = hashlib.sha256(json.dumps(note).encode())
    for name in sorted(arrays):
        array = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), order="C", copy=False)
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
