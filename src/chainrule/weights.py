"""Weights in files: safetensors, which hold arrays by name and nothing that could run."""

from __future__ import annotations

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
    with atomic_write(path) as file:
        file.write(pack(arrays, None if note is None else {"note": note}))


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file, by name.

    Raises:
        RunError: the file is missing, is no whole safetensors file, or holds a type that a Tensor cannot.
    """
    return {name: Tensor._wrap(array) for name, array in load_with_note(path)[0].items()}


def load_with_note(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Read the arrays of a safetensors file, by name, and the text kept with them.

    Raises:
        RunError: the file is missing, is no whole safetensors file, or holds a type that a Tensor cannot.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise RunError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            names = list(file.keys())
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in _KINDS:
                    raise RunError(f"{path}: {name} is of type {kind}, which a Tensor cannot hold; save it as F32")
            return {name: file.get_tensor(name) for name in names}, (file.metadata() or {}).get("note")
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: is not a whole safetensors file ({error})") from None
