"""The team: threads of our own that share the work of kernels and of compiled programs.

A kernel of some length is `spread`: each thread takes a share of the items. A compiled program is run by all threads
`together`, each with its share of every stage, and they wait for one another in between, by counting in memory (see
`loops.program`): that takes less than a microsecond, where waking a thread that sleeps takes twenty or more. So a
thread that has just run a program looks out for the next run, for the time that a batch of data takes to load, and
then goes to sleep. BLAS's own threads would be in the way, and stay out of it (`kernels.blas`).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.kernels.native import ANSWER, CALL, RUN

if TYPE_CHECKING:
    from collections.abc import Callable


WORTH_A_THREAD = 50_000
"""So many steps of an inner loop, some 20 µs, as long as it takes to wake a thread."""

_threads: int | None = None


def spread(kernel: Callable[..., Any], count: int, steps: int, *arguments: Any) -> None:
    """Call kernel(*arguments, begin, end) with shares of 0 … count, one on each thread.

    Args:
        kernel: a compiled loop, free of Python's lock.
        count: how many items there are.
        steps: about how many steps of the inner loop they take together; few are not worth a second thread.
        arguments: for the kernel.
    """
    shares = min(threads(), max(1, count), 1 + steps // WORTH_A_THREAD)
    if shares == 1 or not _team_lock.acquire(blocking=False):  # another thread has the team: do without it
        kernel(*arguments, 0, count)
        return
    try:
        working = _workers(shares - 1)
        for share, worker in enumerate(working, 1):
            worker.start_on(kernel, (*arguments, share * count // shares, (share + 1) * count // shares))
        try:
            kernel(*arguments, 0, count // shares)
        finally:
            errors = [worker.finish() for worker in working]
        for error in errors:
            if error is not None:
                raise error
    finally:
        _team_lock.release()


def together(enter: Callable[[int, int, int, int, int], object], words: Any, part: int, shares: int) -> None:
    """Run a part of a compiled program on so many threads at once, this one among them.

    Args:
        enter: the program, to be called with (task, part, me, shares, hurry); see `kernels.native`.
        words: its table, where it says whether a thread that it has called is awake.
        part: which part of it.
        shares: how many threads.
    """
    if shares == 1 or not _team_lock.acquire(blocking=False):
        enter(RUN, part, 0, 1, 0)
        return
    try:
        for me, worker in enumerate(_workers(shares - 1), 1):
            enter(CALL, part, me, shares, 0)
            if not words[ANSWER]:  # it sleeps
                worker.start_on(enter, (RUN, part, me, shares, worker.hurry_at), awaited=False)
        enter(RUN, part, 0, shares, 0)
    finally:
        _team_lock.release()


def _workers(count: int) -> list[_Worker]:
    while len(_team) < count:
        _team.append(_Worker())
    return _team[:count]


_NOTHING: tuple[Callable[..., Any], tuple[Any, ...], bool] = (lambda: None), (), False


class _Worker(threading.Thread):
    """A thread that waits for a kernel to run. It sleeps on a lock, so that it takes no processor from others."""

    def __init__(self) -> None:
        super().__init__(name="chainrule-kernel", daemon=True)
        self.hurry = np.zeros(1, np.int64)  # not 0: somebody waits for this thread, which looks out for something else
        self.hurry_at = self.hurry.ctypes.data
        self._task = _NOTHING
        self._error: BaseException | None = None
        self._begin, self._end = threading.Lock(), threading.Lock()
        self._begin.acquire()
        self._end.acquire()
        self.start()

    def start_on(self, kernel: Callable[..., Any], arguments: tuple[Any, ...], awaited: bool = True) -> None:
        self._task = kernel, arguments, awaited
        self.hurry[0] = 1
        self._begin.release()

    def finish(self) -> BaseException | None:
        self._end.acquire()
        return self._error

    def run(self) -> None:
        while True:
            self._begin.acquire()
            self.hurry[0] = 0
            awaited, self._error = self._work()
            if awaited:
                self._end.release()

    def _work(self) -> tuple[bool, BaseException | None]:
        (kernel, arguments, awaited), self._task = self._task, _NOTHING  # a sleeping thread keeps no arrays alive
        try:
            kernel(*arguments)
        except BaseException as error:  # handed to the thread that asked
            return awaited, error
        return awaited, None


_team: list[_Worker] = []
_team_lock = threading.Lock()


def _forget_team() -> None:
    """In a forked process there are no workers, whatever the list says."""
    global _team_lock
    _team.clear()
    _team_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)


def threads() -> int:
    """How many threads kernels use: `set_num_threads`, else CHAINRULE_THREADS, else one for each processor.

    Raises:
        SettingError: CHAINRULE_THREADS is not a whole number of at least 1.
    """
    if _threads is None:
        chosen = os.environ.get("CHAINRULE_THREADS") or str(_processors())
        if not chosen.isdecimal() or int(chosen) < 1:
            raise SettingError(f"CHAINRULE_THREADS is {chosen!r}: it must be a whole number of at least 1")
        set_num_threads(int(chosen))
        return int(chosen)
    return _threads


def set_num_threads(number: int) -> None:
    """Let kernels use this many threads from now on.

    Raises:
        ValueError: the number is below 1.
    """
    global _threads
    if number < 1:
        raise ValueError(f"set_num_threads: takes a number of at least 1, not {number}")
    _threads = number


def _processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
