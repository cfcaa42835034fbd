"""Calls in two threads that overlap, for what is created on first use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def call_in_two_threads(call: Callable[[Callable[[], None]], Result]) -> tuple[Result, Result]:
    """Call a function in this thread, and in the middle of that call in another thread, too. Returns both results.

    The second call ends before the first one goes on, unless it waits for the first.

    Args:
        call: calls what is tested, which on its way calls the argument of `call`: this is the middle. In the second
            thread, that does nothing.
    """
    results: list[Result] = []

    def start_second() -> None:
        if second.ident is None:
            second.start()
            second.join(0.5)  # longer than it takes, unless it waits for this thread

    second = threading.Thread(target=lambda: results.append(call(start_second)))
    first_result = call(start_second)
    second.join(60)
    assert len(results) == 1
    return first_result, results[0]
