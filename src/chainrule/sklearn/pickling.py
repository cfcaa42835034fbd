"""Modules that can be pickled: copies with arrays in place of Tensors, which refuse to be pickled.

chainrule's own files never hold pickles, but joblib pickles an estimator to send it to a different process.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.nn import Parameter
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.nn import Module


@dataclass(eq=False)
class SavedTensor:
    """The content of a parameter or a buffer.

    Attributes:
        array: its values.
        is_parameter: whether it is a Parameter.
        requires_grad: whether it is trained.
    """

    array: NDArray[Any]
    is_parameter: bool
    requires_grad: bool


def to_arrays(module: Module) -> Module:
    """Return a copy of a module with a `SavedTensor` in place of each parameter and buffer."""
    memo: dict[int, Any] = {
        id(tensor): SavedTensor(tensor.numpy().copy(), isinstance(tensor, Parameter), tensor.requires_grad)
        for tensor in (*module.parameters(), *module.buffers())
    }
    return copy.deepcopy(module, memo)


def from_arrays(module: Module) -> Module:
    """Return a copy of a module from `to_arrays`, with Tensors again."""
    memo: dict[int, Any] = {}
    for saved in _saved_tensors(module):
        tensor = from_numpy(saved.array.copy())
        memo[id(saved)] = Parameter(tensor, requires_grad=saved.requires_grad) if saved.is_parameter else tensor
    return copy.deepcopy(module, memo)


def _saved_tensors(value: Any) -> list[SavedTensor]:
    """Return the SavedTensors in the attributes of a module and its submodules, also in lists, tuples and dicts."""
    if isinstance(value, SavedTensor):
        return [value]
    if isinstance(value, (list, tuple)):
        parts = list(value)
    elif isinstance(value, dict):
        parts = list(value.values())
    else:
        parts = list(vars(value).values()) if hasattr(value, "parameters") else []
    return [saved for part in parts for saved in _saved_tensors(part)]
