"""Hooks: user callbacks that see a gradient during the backward pass and may replace it."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.errors import check
from chainrule.ops.operation import is_tensor, operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.ops.operation import Array
    from chainrule.tensor import Tensor

_keys = count()  # one for each registered hook


class Handle:
    """A handle to a hook: creating it registers the hook, and `remove()` unregisters the hook.

    Args:
        owner: the node or module that calls the hook.
        attribute: the name of the owner's attribute that holds its hooks: a dict, or None before the first hook.
        hook: the function to call.

    Raises:
        TypeError: the hook is not a function.
    """

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
        """Unregister the hook."""
        self._hooks.pop(self._key, None)


def gradient_as_tensor(grad: Any, wrap: Callable[[Any], Tensor]) -> Tensor:
    """Return a gradient, a Tensor or an array, as a Tensor; `wrap` makes a Tensor of an array without a copy."""
    if is_tensor(grad):
        return grad  # type: ignore[no-any-return]  # a Tensor
    return wrap(np.asarray(grad) if mode.trace is None else mode.trace.as_tracer(grad))


def copy_for_tape(grad: Tensor) -> Any:
    """Return a copy of a gradient for the tape: an array, or a Tensor if the backward pass is recorded."""
    return grad.clone() if mode.recording else grad._data.copy()


def check_replacement(name: str, grad: Any, replacement: Any) -> Any:
    """Check what a hook returned and return it as the new gradient; if the hook returned None, return the old one.

    `name` begins the error messages.

    Raises:
        TypeError: the replacement is not a Tensor, or has a different dtype.
        ValueError: the replacement has a different shape, or there was no gradient.
    """
    if replacement is None:
        return grad
    check(name, grad is not None, "a hook returned a gradient where there was none")
    kind = type(replacement).__name__
    check(name, isinstance(replacement, type(grad)), f"a hook must return a Tensor or None, not {kind}", TypeError)
    requirement = "a hook must keep the gradient's"
    shape, dtype = replacement.shape, replacement.dtype
    check(name, shape == grad.shape, f"{requirement} shape {grad.shape}, not change it to {shape}")
    check(name, dtype == grad.dtype, f"{requirement} type {grad.dtype}, not change it to {dtype}", TypeError)
    return replacement


def backward_barrier(
    values: tuple[Any, ...], callback: Callable[[tuple[Any, ...]], tuple[Any, ...]]
) -> tuple[Any, ...]:
    """Return the same values; in the backward pass, `callback` gets all their gradients at once and may change them.

    The backward hooks of `nn.Module` use this. Each Tensor goes through a `_pass_through`, whose second input is a
    `_barrier` that all of them share. The derivative of a `_pass_through` stores its gradient in `pending_grads`. The
    barrier was recorded before every `_pass_through`, so its derivative runs after theirs, and calls `callback`.

    Args:
        values: Tensors that require gradients; other values are returned unchanged.
        callback: takes a tuple with an entry for each value, its gradient or None; returns such a tuple.
    """
    positions = [i for i, value in enumerate(values) if getattr(value, "requires_grad", False)]
    if not positions or not mode.recording:
        return values
    pending_grads: list[Any] = [None] * len(values)

    def release() -> tuple[Any, ...]:
        grads = tuple(pending_grads)
        pending_grads[:] = [None] * len(grads)
        replacements = callback(grads)
        return tuple(replacements[i] for i in positions)

    barrier = _barrier(*(values[i] for i in positions), release=release)
    results = {i: _pass_through(values[i], barrier, store=partial(pending_grads.__setitem__, i)) for i in positions}
    for i, result in results.items():
        result._version = values[i]._version  # the result shares the memory of the value
    return tuple(results.get(i, value) for i, value in enumerate(values))


@operation
def _barrier(*inputs: Array, release: Callable[[], tuple[Any, ...]]) -> Array:
    return np.zeros(0)


@_barrier.derivative
def _(grad: Array, release: Callable[[], tuple[Any, ...]]) -> tuple[Array, ...]:
    return release()


@operation
def _pass_through(input: Array, barrier: Array, *, store: Callable[[Any], None]) -> Array:
    return input


@_pass_through.derivative
def _(grad: Array, store: Callable[[Any], None]) -> tuple[None, Array]:
    store(grad)
    return None, np.zeros(0)
