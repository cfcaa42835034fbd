"""Translates between NumPy's names and ours, such as axis and dim.

Those of the arguments of np.sum(tensor, axis=0), and those in the error messages of such a call.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import TYPE_CHECKING, Any

from chainrule.ops.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OUR_NAMES = {"axis": "dim", "axes": "dims", "keepdims": "keepdim"}
_NUMPY_NAMES = {"dim": "axis", "dims": "axes", "keepdim": "keepdims", "dimension": "axis", "dimensions": "axes"}


def name_of(function: Any) -> str:
    """Return what users write: np.sum, np.linalg.norm."""
    module = function.__module__.partition("numpy")[2]
    return f"np{module}.{function.__name__}"


def arguments_for(function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a call of a NumPy function, renamed to the parameters of our function.

    Raises:
        TypeError: our function has no such argument.
    """
    if not options:
        return {}
    parameters = _parameters(function)
    if "kwds" in parameters:  # np.savez takes any name
        return dict(options)
    renamed = {key if key in parameters else _OUR_NAMES.get(key, key): key for key in options}
    if unknown := ", ".join(key for ours, key in renamed.items() if ours not in parameters):
        raise TypeError(f"{name} of a Tensor takes no {unknown}")
    return {ours: options[key] for ours, key in renamed.items()}


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function.formula if isinstance(function, Operation) else function).parameters)


def translated(error: Exception, name: str, function: Any) -> Exception:
    """Return an error of an operation with NumPy's names of the function and of its arguments."""
    message = str(error)
    if "positional argument" in message:
        return TypeError(f"{name} of a Tensor: pass the options after the first by name")
    owner, colon, rest = message.partition(": ")
    if not colon or not (owner.isidentifier() or owner == name):
        owner, rest = name, message
    if " of a Tensor" in message.partition(":")[0]:
        return error
    rest = re.sub(rf"\b({'|'.join(_NUMPY_NAMES)})\b", lambda word: _NUMPY_NAMES[word[0]], rest)
    return type(error)(f"{name}: {rest}")
