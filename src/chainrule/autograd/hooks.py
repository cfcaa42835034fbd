"""Hooks: functions of the user's that hear of a gradient as it passes, and may put another in its place."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.errors import check
from chainrule.ops.operation import operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.ops.operation import Array
    from chainrule.tensor import Tensor

_keys = count()


class Handle:
    """A hook that was registered; `remove()` takes it off."""

    def __init__(self, owner: Any, attribute: str, hook: Callable[..., Any]) -> None:
        if not callable(hook):
            raise TypeError(f"a hook must be a function, not {type(hook).__name__}")
        if mode.trace is not None:
            mode.trace.check_hook(owner)
        self._hooks: dict[int, Callable[..., Any]] = getattr(owner, attribute) or {}
        self._key = next(_keys)
        self._hooks[self._key] = hook
        setattr(owner, attribute, self._hooks)

    def remove(self) -> None:
        """Take the hook off."""
        self._hooks.pop(self._key, None)


def as_tensor(grad: Any, wrap: Callable[[Any], Tensor]) -> Tensor:
    """A gradient as a Tensor; `wrap` makes one of an array, on the same memory."""
    if hasattr(grad, "_node"):
        return grad  # type: ignore[no-any-return]  # a Tensor
    return wrap(np.asarray(grad) if mode.trace is None else mode.trace.as_tracer(grad))


def taken(grad: Tensor) -> Any:
    """A gradient as the tape goes on with it: its own again, an array unless the walk itself is recorded."""
    return grad.clone() if mode.recording else grad._data.copy()


def replaced(name: str, grad: Any, by: Any) -> Any:
    """The gradient after a hook: what it returned, if that can stand for the gradient, or the gradient as it was.

    Raises:
        TypeError: not a Tensor, or one of another type.
        ValueError: another shape, or a gradient where there was none.
    """
    if by is None:
        return grad
    check(name, grad is not None, "a hook returned a gradient where there was none")
    check(name, isinstance(by, type(grad)), f"a hook must return a Tensor or None, not {type(by).__name__}", TypeError)
    kept = "a hook must keep the gradient's"
    check(name, by.shape == grad.shape, f"{kept} shape {grad.shape}, not make it {by.shape}")
    check(name, by.dtype == grad.dtype, f"{kept} type {grad.dtype}, not make it {by.dtype}", TypeError)
    return by


# A gate lets several Tensors pass together: on the way back their gradients wait for each other


def gate(values: tuple[Any, ...], callback: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> tuple[Any, ...]:
    """The same values; on the way back `callback` gets all their gradients at once, and what it returns goes on.

    Behind each Tensor stands a `_door`, behind all doors the `_post`. A door's derivative leaves its gradient in
    `waiting`. The post was recorded before all doors, so its turn comes after theirs.

    Args:
        values: Tensors that require gradients, and anything else, which stays as it is.
        callback: gets a gradient for each value, None where there is none.
    """
    positions = [i for i, value in enumerate(values) if getattr(value, "requires_grad", False)]
    if not positions or not mode.recording:
        return values
    waiting: list[Any] = [None] * len(values)

    def open_() -> tuple[Any, ...]:
        grads = tuple(waiting)
        waiting[:] = [None] * len(grads)
        passed = callback(grads)
        return tuple(passed[i] for i in positions)

    post = _post(*(values[i] for i in positions), open_=open_)
    doors = {i: _door(values[i], post, leave=partial(waiting.__setitem__, i)) for i in positions}
    for i, door in doors.items():
        door._version = values[i]._version  # it is the same memory
    return tuple(doors.get(i, value) for i, value in enumerate(values))


@operation
def _post(*inputs: Array, open_: Callable[[], tuple[Any, ...]]) -> Array:
    return np.zeros(0)


@_post.derivative
def _(grad: Array, open_: Callable[[], tuple[Any, ...]]) -> tuple[Array, ...]:
    return open_()


@operation
def _door(input: Array, post: Array, *, leave: Callable[[Any], None]) -> Array:
    return input


@_door.derivative
def _(grad: Array, leave: Callable[[Any], None]) -> tuple[None, Array]:
    leave(grad)
    return None, np.zeros(0)
