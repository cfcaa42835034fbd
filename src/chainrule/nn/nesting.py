"""Errors that say where in a network they come from: in which layer, or how deeply modules are nested."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chainrule.errors import NestingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.nn.module import Module


def refuse_nesting(module: Module, error: Exception) -> None:
    """Raise an error anew that Python's limit of nested calls has brought about, and say so if modules are nested so.

    Args:
        module: whose call has met the error.
        error: if it is no `RecursionError`, nothing is done.
    """
    if not isinstance(error, RecursionError):
        return
    cause: BaseException | None = error
    if isinstance(error, NestingError):  # of a module inside
        levels, cause = error.levels + 1, error.__cause__
    else:
        levels = _count_levels(module)
    if levels > sys.getrecursionlimit() // 5:
        raise NestingError(type(module).__name__, levels) from cause
    raise error


def name_layer(module: Module, error: Exception) -> None:
    """Put the way to the layer in which an input did not fit in front of the error's message."""
    here: tuple[Any, ...] = (None, [], repr(module).split("\n", 1)[0].removesuffix("("), str(error))
    inner, path, label, message = getattr(error, "_layer", here)
    path = [name for name, part in module.named_children() if part is inner][:1] + path
    error._layer = module, path, label, message  # type: ignore[attr-defined]
    error.args = (f"in layer {'.'.join(path)!r}, {label}: {message}" if path else message,)


@contextmanager
def explain_nesting(module: Module) -> Iterator[None]:
    """As `refuse_nesting` for an error in a block that goes through the modules inside."""
    try:
        yield
    except RecursionError as error:
        refuse_nesting(module, error)


def _count_levels(module: Module) -> int:
    """How deeply modules are nested, this one included."""
    levels, here = 0, {id(module): module}
    seen: set[int] = set()
    while here:
        levels += 1
        seen |= here.keys()
        here = {id(part): part for each in here.values() for part in each.children() if id(part) not in seen}
    return levels
