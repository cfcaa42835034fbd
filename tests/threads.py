"""Overlapping calls in two threads, to test objects that are created on first use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def call_in_two_threads(call: Callable[[Callable[[], None]], Result]) -> tuple[Result, Result]:
    """Call a function in this thread and, in the middle of that call, in a second thread. Returns both results.

    The second call ends before the first one continues, unless it has to wait for the first.

    Args:
        call: a function that runs the code under test, and has that code call the function that `call` is given as
            its argument: this starts the second thread, and does nothing when the second thread calls it.
    """
    results: list[Result] = []

    def start_second() -> None:
        if second.ident is None:
            second.start()
            second.join(0.5)  # longer than the call takes, unless it waits for this thread

    second = threading.Thread(target=lambda: results.append(call(start_second)))
    first_result = call(start_second)
    second.join(60)
    assert len(results) == 1
    return first_result, results[0]
