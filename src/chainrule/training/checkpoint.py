"""Saves and loads a state as one safetensors file: its arrays as tensors, the rest as JSON in the metadata.

The file is replaced atomically: a process killed at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import safetensors_io
from chainrule.errors import RunError, shorten
from chainrule.tensor import Tensor
from chainrule.training.upgrade import upgrade

if TYPE_CHECKING:
    import os
    from pathlib import Path

FILE_NAME = "state.safetensors"
"""The file of the last complete state."""
_KEPT_NAME = re.compile(r"(epoch|step)-(\d+)\.safetensors")
"""Names of files with earlier states to go back to (see `--keep`)."""
_REPLAY_NAME = re.compile(r"replay-(\d+)\.safetensors")
"""Names of files with states to start a replay from."""
_ARRAY_KEY = "<array>"
"""In the JSON, {"<array>": NAME} stands for the array of that name."""


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Write a state.

    Args:
        state: nested dicts, lists and tuples of strings, numbers, None, arrays and Tensors. Keys become strings.
        path: the file to write.

    Raises:
        TypeError: the state contains anything else.
        ValueError: a dict has the reserved key "<array>".
    """
    arrays: dict[str, Any] = {}

    def extract_arrays(value: Any, name: str) -> Any:
        """Return the JSON value that stands for `value`, and move its arrays to `arrays`."""
        if isinstance(value, (Tensor, np.ndarray)):
            while name in arrays:  # the key "a.b" beside {"a": {"b": …}} would get the same name
                name += "'"
            arrays[name] = value
            return {_ARRAY_KEY: name}
        if isinstance(value, dict):
            if _ARRAY_KEY in value:
                raise ValueError(f"checkpoint: {name} has the key {_ARRAY_KEY!r}, which is reserved for arrays")
            return {str(key): extract_arrays(entry, f"{name}.{key}") for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [extract_arrays(element, f"{name}.{index}") for index, element in enumerate(value)]
        return value

    state_json = json.dumps(extract_arrays(state, "state"))
    safetensors_io.save(arrays, path, state_json)


def kept_name(kind: str, number: int) -> str:
    """Return the file name of a kept state: after an epoch ("epoch"), or after a total number of steps ("step")."""
    return f"{kind}-{number}.safetensors"


def kept_states(folder: Path) -> dict[tuple[str, int], Path]:
    """Return the files of the kept states in a folder, keyed by ("epoch", 3) or ("step", 1200)."""
    matches = [(_KEPT_NAME.fullmatch(path.name), path) for path in folder.glob("*.safetensors")]
    return {(match[1], int(match[2])): path for match, path in matches if match}


def replay_name(step: int) -> str:
    """Return the file name of a state to start a replay from (see `replay_states`), after a total number of steps."""
    return f"replay-{step}.safetensors"


def replay_states(folder: Path) -> dict[int, Path]:
    """Return the files in a folder from which a replay can start, keyed by the total number of steps."""
    matches = [(_REPLAY_NAME.fullmatch(path.name), path) for path in folder.glob("*.safetensors")]
    return {int(match[1]): path for match, path in matches if match}


def load(path: str | os.PathLike[str]) -> Any:
    """Read a state that `save` wrote, and convert it to the current format (see `upgrade`).

    Tuples have become lists, Tensors arrays, and keys strings.

    Raises:
        RunError: the file is missing or damaged.
    """
    arrays, state_json = safetensors_io.load_with_note(path, from_chainrule=True)

    def insert_arrays(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {_ARRAY_KEY}:
                return arrays[value[_ARRAY_KEY]]
            # Any dict may be the settings or the scheduler's state of an earlier version
            return upgrade({key: insert_arrays(entry) for key, entry in value.items()})
        return [insert_arrays(element) for element in value] if isinstance(value, list) else value

    try:
        return insert_arrays(json.loads(state_json or ""))
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: is not a checkpoint ({shorten(str(error))})") from None
