"""Saves a complete state in one safetensors file: its arrays as tensors, and the rest as JSON in the file's metadata.

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

FILE = "state.safetensors"
_KEPT_NAME = re.compile(r"(epoch|step)-(\d+)\.safetensors")  # a kept earlier state
_REPLAY_NAME = re.compile(r"replay-(\d+)\.safetensors")  # a state to start a replay from
_ARRAY = "<array>"  # in the JSON text, {"<array>": NAME} stands for an array


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Write a state.

    Args:
        state: dicts (keys become strings), lists, strings, numbers, None, arrays and Tensors.
        path: the file.

    Raises:
        TypeError: the state contains anything else.
        ValueError: a dict has the reserved key "<array>".
    """
    arrays: dict[str, Any] = {}

    def split(value: Any, name: str) -> Any:
        if isinstance(value, (Tensor, np.ndarray)):
            while name in arrays:  # the key "a.b" beside {"a": {"b": …}} would get the same name
                name += "'"
            arrays[name] = value
            return {_ARRAY: name}
        if isinstance(value, dict):
            if _ARRAY in value:
                raise ValueError(f"checkpoint: {name} has the key {_ARRAY!r}, which is reserved for arrays")
            return {str(key): split(part, f"{name}.{key}") for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [split(part, f"{name}.{i}") for i, part in enumerate(value)]
        return value

    note = json.dumps(split(state, "state"))
    safetensors_io.save(arrays, path, note)


def kept_name(kind: str, number: int) -> str:
    """Return the file name of a kept state: after an epoch ("epoch"), or after a total number of steps ("step")."""
    return f"{kind}-{number}.safetensors"


def kept_states(folder: Path) -> dict[tuple[str, int], Path]:
    """Return the kept states in a folder, keyed by ("epoch", 3) or ("step", 1200)."""
    matches = [(_KEPT_NAME.fullmatch(path.name), path) for path in folder.glob("*.safetensors")]
    return {(match[1], int(match[2])): path for match, path in matches if match}


def replay_name(steps: int) -> str:
    """Return the file name of a state to start a replay from (see `replay_states`), after a total number of steps."""
    return f"replay-{steps}.safetensors"


def replay_states(folder: Path) -> dict[int, Path]:
    """Return the states to start a replay from that a folder holds, keyed by the total number of steps."""
    matches = [(_REPLAY_NAME.fullmatch(path.name), path) for path in folder.glob("*.safetensors")]
    return {int(match[1]): path for match, path in matches if match}


def load(path: str | os.PathLike[str]) -> Any:
    """Read a state; tuples become lists, keys strings.

    Raises:
        RunError: the file is missing or damaged.
    """
    arrays, note = safetensors_io.load_with_note(path, from_chainrule=True)

    def join(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {_ARRAY}:
                return arrays[value[_ARRAY]]
            # any dict may hold the settings or the scheduler of an older version
            return upgrade({k: join(part) for k, part in value.items()})
        return [join(part) for part in value] if isinstance(value, list) else value

    try:
        return join(json.loads(note or ""))
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: is not a checkpoint ({shorten(str(error))})") from None
