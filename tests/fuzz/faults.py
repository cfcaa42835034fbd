"""Former bugs, which the search must find when they are reintroduced.

A fault is a function that patches the fixed code. Its docstring says what goes wrong.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import random
from chainrule.autograd import views
from chainrule.capture import compiled, guards, observe, optimizer_state, trace
from chainrule.lower import graph, program

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Fault = Callable[[pytest.MonkeyPatch], None]

FAULTS: dict[str, Fault] = {}


def fault(letter: str) -> Callable[[Fault], Fault]:
    """Decorator that registers a fault."""
    return lambda function: FAULTS.setdefault(letter, function)


@fault("C2")
def copied_too_late(patch: pytest.MonkeyPatch) -> None:
    """Memory outside the function that changes in the same call is copied only after the change."""

    def base_of(value: Any) -> Any:
        return copy.copy(graph.base_of(value))  # hides that this memory changes

    patch.setattr(trace, "base_of", base_of)


@fault("C3")
def replaced_unseen(patch: pytest.MonkeyPatch) -> None:
    """A replaced object is still used, because guards are not checked."""

    def compile_conditions(self: Any) -> None:
        self.hold = lambda: True

    patch.setattr(guards.Guards, "compile", compile_conditions)


@fault("C4")
def written_regardless(patch: pytest.MonkeyPatch) -> None:
    """Read-only, broadcast and packed memory is written to."""
    assign = trace.Trace.assign

    def assigned(self: Any, out: Any, result: Any, *arguments: Any) -> Any:
        layout = getattr(out, "layout", None)
        if layout is None or layout.flags.writeable:
            return assign(self, out, result, *arguments)
        out.layout = np.empty_like(layout)
        try:
            return assign(self, out, result, *arguments)
        finally:
            out.layout = layout

    def make(*arguments: Any) -> program.Program:
        *others, changed = arguments
        return program.Program(*others, [array for array in changed if array.flags.writeable])

    patch.setattr(trace.Trace, "assign", assigned)
    patch.setattr(compiled, "Program", make)
    patch.setattr(trace, "elements_overlap", lambda array: False)
    patch.setattr(trace, "is_readable_in_place", lambda array: True)


@fault("C5")
def argument_read_as_it_was(patch: pytest.MonkeyPatch) -> None:
    """An argument that shares memory with a changed tensor is read as it was before the call."""
    patch.setattr(program.Program, "_check_no_overlap", lambda self, argument: None)


@fault("C6")
def done_once(patch: pytest.MonkeyPatch) -> None:
    """A seed or a learning rate set in the function is set only during tracing."""
    set_item = optimizer_state.TracedMapping.__setitem__

    def set_once(self: Any, key: str, value: Any) -> None:
        if type(value) in (int, float):
            self.mapping[key] = value
        else:
            set_item(self, key, value)

    def seeded(seed: int) -> np.random.Generator:
        generator = random.default_generator()
        generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        return generator

    patch.setattr(optimizer_state.TracedMapping, "__setitem__", set_once)
    patch.setattr(observe.Observer, "find_retrace_reason", lambda self: None)
    patch.setattr("chainrule.manual_seed", seeded)
    patch.setattr(trace.Trace, "_check_generator", lambda self, generator: None)


@fault("C10")
def equal_is_the_same(patch: pytest.MonkeyPatch) -> None:
    """0.0 and -0.0 count as the same argument."""
    patch.setattr(compiled, "exact_key", lambda x: (type(x), x))


@fault("E1")
def views_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A recorded in-place change of a view does not change its base."""

    def track(out: Any, source: Any, array: Any, *_: Any) -> None:
        if out._data.base is not None and (not isinstance(array, np.ndarray) or np.may_share_memory(out._data, array)):
            out._version = source._version

    def share_detached(tensor: Any, source: Any) -> None:
        tensor._version = source._version

    patch.setattr(views, "track", track)
    patch.setattr(views, "share_detached", share_detached)
