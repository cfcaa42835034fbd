"""A complete state in one file: nested dicts and lists, whose arrays go into safetensors and the rest into its note.

One file, replaced in one step: a process killed at any moment leaves the old state or the new one, never a mixture.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import safetensors_io
from chainrule.errors import RunError, shortened
from chainrule.tensor import Tensor
from chainrule.training.upgrade import upgrade

if TYPE_CHECKING:
    import os
    from pathlib import Path

FILE = "state.safetensors"
_KEPT = re.compile(r"(epoch|step)-(\d+)\.safetensors")  # an earlier state, to go back to
_ARRAY = "<array>"  # {"<array>": NAME} stands in the note where an array was


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Write a state.

    Args:
        state: dicts (keys become texts), lists, texts, numbers, None, arrays and Tensors.
        path: the file.

    Raises:
        TypeError: it holds anything else.
        ValueError: a key that means something in the file, "<array>".
    """
    arrays: dict[str, Any] = {}

    def split(value: Any, name: str) -> Any:
        if isinstance(value, (Tensor, np.ndarray)):
            while name in arrays:  # {"a": {"b": …}, "a.b": …}
                name += "'"
            arrays[name] = value
            return {_ARRAY: name}
        if isinstance(value, dict):
            if _ARRAY in value:
                raise ValueError(f"checkpoint: {name} has the key {_ARRAY!r}, which marks an array in the file")
            return {str(key): split(part, f"{name}.{key}") for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [split(part, f"{name}.{i}") for i, part in enumerate(value)]
        return value

    note = json.dumps(split(state, "state"))
    safetensors_io.save(arrays, path, note)


def kept_name(kind: str, number: int) -> str:
    """The name of the file of an earlier state: at the end of an epoch, or ("step") after so many steps in all."""
    return f"{kind}-{number}.safetensors"


def kept_states(folder: Path) -> dict[tuple[str, int], Path]:
    """The files of earlier states in a folder, by ("epoch", 3) or ("step", 1200)."""
    matches = [(_KEPT.fullmatch(path.name), path) for path in folder.glob("*.safetensors")]
    return {(match[1], int(match[2])): path for match, path in matches if match}


def load(path: str | os.PathLike[str]) -> Any:
    """Read a state; tuples come back as lists, keys as texts.

    Raises:
        RunError: the file is missing or damaged.
    """
    arrays, note = safetensors_io.load_with_note(path, ours=True)

    def join(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {_ARRAY}:
                return arrays[value[_ARRAY]]
            return upgrade({k: join(part) for k, part in value.items()})
        return [join(part) for part in value] if isinstance(value, list) else value

    try:
        return join(json.loads(note or ""))
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: is not a checkpoint ({shortened(str(error))})") from None
