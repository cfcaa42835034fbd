"""Error messages that name the layer in which an error occurred, or say that modules are nested too deeply."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chainrule.errors import NestingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.nn.module import Module


def raise_nesting_error(module: Module, error: Exception) -> None:
    """Raise a `NestingError` for a `RecursionError` caused by nested modules; re-raise any other `RecursionError`.

    Args:
        module: the module whose call raised the error.
        error: the error; if it is not a `RecursionError`, the function returns.
    """
    if not isinstance(error, RecursionError):
        return
    cause: BaseException | None = error
    if isinstance(error, NestingError):  # raised by a submodule
        levels, cause = error.levels + 1, error.__cause__
    else:
        levels = _count_levels(module)
    if levels > sys.getrecursionlimit() // 5:  # with fewer levels, something else has recursed
        raise NestingError(type(module).__name__, levels) from cause
    raise error


def name_layer(module: Module, error: Exception) -> None:
    """Prefix the error's message with the path and repr of the layer that raised it.

    Each enclosing module calls this in turn and adds its part of the path.
    """
    initial: tuple[Any, ...] = (None, [], repr(module).split("\n", 1)[0].removesuffix("("), str(error))
    inner, path, label, message = getattr(error, "_layer", initial)
    path = [name for name, part in module.named_children() if part is inner][:1] + path
    error._layer = module, path, label, message  # type: ignore[attr-defined]
    error.args = (f"in layer {'.'.join(path)!r}, {label}: {message}" if path else message,)


@contextmanager
def explain_nesting(module: Module) -> Iterator[None]:
    """Apply `raise_nesting_error` to a RecursionError raised in the block."""
    try:
        yield
    except RecursionError as error:
        raise_nesting_error(module, error)


def _count_levels(module: Module) -> int:
    """Return the nesting depth, counting this module."""
    levels, level = 0, {id(module): module}
    seen: set[int] = set()
    while level:
        levels += 1
        seen |= level.keys()
        level = {id(part): part for parent in level.values() for part in parent.children() if id(part) not in seen}
    return levels
