"""Weights in files: safetensors, which hold arrays by name and nothing that could run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError
from chainrule.files import atomic_write
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray


def save(tensors: Mapping[str, Tensor | ArrayLike], path: str | os.PathLike[str], note: str | None = None) -> None:
    """Write Tensors or arrays by name, such as a `state_dict()`, into a safetensors file, atomically.

    Args:
        tensors: what to write.
        path: the file.
        note: a text to keep with them.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.numpy import save as pack  # only programs that save need it

    arrays = {name: np.ascontiguousarray(np.asarray(tensor)) for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(pack(arrays, None if note is None else {"note": note}))


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file, by name.

    Raises:
        RunError: the file is missing or is no whole safetensors file.
    """
    return {name: Tensor._wrap(array) for name, array in load_with_note(path)[0].items()}


def load_with_note(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Read the arrays of a safetensors file, by name, and the text kept with them.

    Raises:
        RunError: the file is missing or is no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise RunError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            note = (file.metadata() or {}).get("note")
            return {name: file.get_tensor(name) for name in file.keys()}, note  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: is not a whole safetensors file ({error})") from None
