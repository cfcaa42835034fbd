"""Raise KeyboardInterrupt where Python enters a function, one of the points at which a signal handler may run."""

from __future__ import annotations

import inspect
import itertools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


def interrupted_at_each_entry(call: Callable[[], object]) -> Iterator[int]:
    """Call a function repeatedly, and raise KeyboardInterrupt in the n-th call where the n-th Python function is
    entered.

    Yields n after each interrupted call; ends when a call enters fewer than n functions. Generator functions are not
    counted, because an exception while Python closes a generator is only printed.
    """
    for number in itertools.count(1):
        entry_count = 0

        def trace(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal entry_count
            entry_count += not frame.f_code.co_flags & inspect.CO_GENERATOR
            if entry_count == number:  # noqa: B023  # called only during this iteration
                sys.settrace(None)
                raise KeyboardInterrupt

        previous_trace = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(previous_trace)
        if entry_count < number:
            return
        yield number
