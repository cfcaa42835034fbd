"""NumPy's names of two arguments: `axis` for `dim` and `keepdims` for `keepdim`, which PyTorch takes as well."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

SECOND_NAMES = {"axis": "dim", "keepdims": "keepdim"}

Function = TypeVar("Function", bound=Callable[..., Any])


def rename(owner: str, arguments: Mapping[str, Any], names: Mapping[str, str] = SECOND_NAMES) -> dict[str, Any]:
    """Return arguments under their first names.

    Args:
        owner: the operation's name, for the error.
        arguments: the arguments that a caller passed by name.
        names: maps second names to first ones.

    Raises:
        TypeError: an argument is passed under both of its names.
    """
    renamed: dict[str, Any] = {}
    for name, value in arguments.items():
        first_name = names.get(name, name)
        if first_name in renamed:
            second_name = next(second for second, first in names.items() if first == first_name)
            raise TypeError(f"{owner}: {second_name} is another name of {first_name}: pass one of them")
        renamed[first_name] = value
    return renamed


def takes_axis(function: Function) -> Function:
    """Decorator: also take the arguments `dim` and `keepdim` under their second names."""

    @functools.wraps(function)
    def with_second_names(*args: Any, **kwargs: Any) -> Any:
        if kwargs and ("axis" in kwargs or "keepdims" in kwargs):
            kwargs = rename(function.__name__, kwargs)
        return function(*args, **kwargs)

    return with_second_names  # type: ignore[return-value]  # the same signature
