"""NumPy's argument names `axis` and `keepdims` as aliases of `dim` and `keepdim`; PyTorch accepts them, too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

ARGUMENT_ALIASES = {"axis": "dim", "keepdims": "keepdim"}
"""Maps each alias to the name that it stands for."""

Function = TypeVar("Function", bound=Callable[..., Any])


def rename(owner: str, arguments: Mapping[str, Any], aliases: Mapping[str, str] = ARGUMENT_ALIASES) -> dict[str, Any]:
    """Return keyword arguments with aliases replaced by the names that they stand for.

    Args:
        owner: the operation's name, for the error.
        arguments: the arguments that a caller passed by name.
        aliases: maps each alias to a name.

    Raises:
        TypeError: an argument is passed both by its name and by its alias.
    """
    renamed: dict[str, Any] = {}
    for name, value in arguments.items():
        parameter = aliases.get(name, name)
        if parameter in renamed:
            alias = next(alias for alias, target in aliases.items() if target == parameter)
            raise TypeError(f"{owner}: {alias} is another name for {parameter}: pass one of them")
        renamed[parameter] = value
    return renamed


def takes_axis(function: Function) -> Function:
    """Decorator: let a function that is not an `Operation` accept the aliases `axis` and `keepdims`."""

    @functools.wraps(function)
    def with_aliases(*args: Any, **kwargs: Any) -> Any:
        if kwargs and ("axis" in kwargs or "keepdims" in kwargs):
            kwargs = rename(function.__name__, kwargs)
        return function(*args, **kwargs)

    return with_aliases  # type: ignore[return-value]  # the same signature
