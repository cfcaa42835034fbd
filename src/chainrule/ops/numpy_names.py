"""Translates names between NumPy functions and our operations: axis is our dim.

`Tensor.__array_function__` runs np.sum(tensor, axis=0) as an operation. The argument names are translated to ours, and
the names in the operation's error messages to NumPy's.
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
"""Maps parameters of NumPy functions to those of operations."""
_NUMPY_WORDS = {"dim": "axis", "dims": "axes", "keepdim": "keepdims", "dimension": "axis", "dimensions": "axes"}
"""Maps words in an operation's error message to NumPy's."""


def qualified_name(function: Any) -> str:
    """Return a NumPy function's name as users write it: np.sum, np.linalg.norm."""
    return f"np{function.__module__.partition('numpy')[2]}.{function.__name__}"


def translate_arguments(function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a NumPy function's call under the parameter names of `function`.

    Args:
        function: the operation or function that implements the NumPy function.
        name: the NumPy function's qualified name, for the error.
        options: the keyword arguments of the call.

    Raises:
        TypeError: `function` does not have such a parameter.
    """
    if not options:
        return {}
    parameters = _parameters(function)
    if "kwds" in parameters:  # np.savez takes any name
        return dict(options)
    our_names = {key: key if key in parameters else _OUR_NAMES.get(key, key) for key in options}
    if unknown := ", ".join(key for key, our_name in our_names.items() if our_name not in parameters):
        raise TypeError(f"{name} of a Tensor takes no {unknown}")
    return {our_name: options[key] for key, our_name in our_names.items()}


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a function's, or an operation's, parameters."""
    return frozenset(inspect.signature(function.formula if isinstance(function, Operation) else function).parameters)


def translate_error(error: Exception, name: str) -> Exception:
    """Return an operation's error with NumPy's names: that of the function, `name`, and those of the arguments."""
    message = str(error)
    if "positional argument" in message:  # Python's own error for too many arguments
        return TypeError(f"{name} of a Tensor: pass the options after the first by name")
    owner, colon, rest = message.partition(": ")
    if " of a Tensor" in message.partition(":")[0]:  # the message has NumPy's names already
        return error
    begins_with_owner = colon and (owner.isidentifier() or owner == name)
    pattern = rf"\b({'|'.join(_NUMPY_WORDS)})\b"
    text = re.sub(pattern, lambda match: _NUMPY_WORDS[match[0]], rest if begins_with_owner else message)
    return type(error)(f"{name}: {text}")
