"""Interrupts at the moments at which Python enters a function: there, a signal handler may raise."""

from __future__ import annotations

import inspect
import itertools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


def interrupted_at_each_entry(call: Callable[[], object]) -> Iterator[int]:
    """Call a function again and again; KeyboardInterrupt is raised in the n-th call at the n-th entry of a function.

    Yields n after each call that was interrupted, and ends after the first one that was not. Generators are not
    counted: an exception while Python closes one is only printed.
    """
    for number in itertools.count(1):
        entry_count = 0

        def trace(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal entry_count
            entry_count += not frame.f_code.co_flags & inspect.CO_GENERATOR
            if entry_count == number:  # noqa: B023  # used only in this round
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
