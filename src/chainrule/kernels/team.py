"""The team: threads of our own, the workers, that share the work of kernels and of compiled programs.

A kernel of some length is `spread`: each thread takes a share of the items. A compiled program is run by all threads
`together`, each with its share of every stage, and they wait for one another in between, by counting in memory. Who has
the team, and what each worker does, stands in words of memory that `team_loops` reads and writes. BLAS's own threads
would be in the way, and stay out of it (`kernels.blas`).

Wherever the thread that shares its work is interrupted, by Ctrl-C, a time-out's signal or an asynchronous exception, it
goes on only when every worker has answered: no worker writes into memory after that, and the next call finds the team
as it should be.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError, check_whole
from chainrule.kernels import machine
from chainrule.kernels.team_loops import (
    ANSWERED,
    ATTEND,
    BEGIN,
    END,
    LEAVE,
    LINE,
    LOCK,
    OWNER,
    RUN,
    START,
    TAKE,
    UNLOCK,
    WORKER,
    act,
)

if TYPE_CHECKING:
    from collections.abc import Callable


WORTH_A_THREAD = 50_000
"""So many steps of an inner loop, some 20 µs, as long as it takes to wake a thread."""
MOST = 1024
"""No more threads than that."""

_threads: int | None = None


def parallel_for(kernel: Callable[..., Any], count: int, steps: int, *arguments: Any) -> None:
    """Call kernel(*arguments, begin, end) with shares of 0 … count, one on each thread.

    Args:
        kernel: a compiled loop, free of Python's lock.
        count: how many items there are.
        steps: about how many steps of the inner loop they take together; few are not worth a second thread.
        arguments: for the kernel.
    """
    shares = min(threads(), max(1, count), 1 + steps // WORTH_A_THREAD, MOST)
    if shares == 1:
        kernel(*arguments, 0, count)
        return
    act, words, ticket = _act(), _words(), next(_tickets)
    at, tasks = (
        words.ctypes.data,
        [
            _Task(kernel, (*arguments, share * count // shares, (share + 1) * count // shares))
            for share in range(1, shares)
        ],
    )
    _hire(shares - 1)
    try:
        act(at, TAKE, ticket, 0)
        if words[OWNER] != ticket:  # another thread has the team: do without it
            kernel(*arguments, 0, count)
            return
        _tasks[1:shares] = tasks
        act(at, START, 0, shares)
        kernel(*arguments, 0, count // shares)
    finally:
        act(at, LEAVE, ticket, shares)
    for task in tasks:
        task.check()


def run_parallel(enter: Callable[[int, int, int, int, int], object], part: int, shares: int) -> None:
    """Run a part of a compiled program on so many threads at once, this one among them; alone if the team is taken.

    Args:
        enter: the program, to be called with (task, part, me, shares, team); see `kernels.driver`.
        part: which part of it.
        shares: how many threads.
    """
    _hire(shares - 1)
    enter(RUN, part, 0, shares, _words().ctypes.data)


_tickets = count(1)


@functools.cache
def _act() -> Callable[[int, int, int, int], object]:
    """What the compiled code does for Python, see `team_loops.act`: each call is one step, that nothing interrupts."""
    call = machine.function(machine.address_of("team", act))
    return lambda team, what, a, b: call(team, what, a, b, 0, 0)


@functools.cache
def _words() -> np.ndarray[Any, np.dtype[np.int64]]:
    """The words that all threads share."""
    memory = np.zeros(WORKER * MOST + LINE, np.int64)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # workers look at it even while the process ends
    words = memory[-memory.ctypes.data // memory.itemsize % LINE :]
    for position, function in ((LOCK, "acquire"), (UNLOCK, "release")):
        address = ctypes.cast(getattr(ctypes.pythonapi, f"PyThread_{function}_lock"), ctypes.c_void_p).value
        words[position] = address or 0
    return words


class _Task:
    """A worker's share of a kernel."""

    def __init__(self, kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._kernel, self._arguments = kernel, arguments
        self._done = False
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._kernel(*self._arguments)
        except BaseException as error:  # handed to the thread that asked
            self._error = error
        self._done = True

    def check(self) -> None:
        """Raise the error that there was, if any."""
        if self._error is not None:
            raise self._error
        if not self._done:
            raise RuntimeError("a thread that shared the work of a kernel was interrupted")


_tasks: list[_Task | None] = [None] * MOST  # by worker; who has the team writes them
_hired: list[int] = []
_hiring = threading.Lock()
_threads_of: dict[int, int] = {}  # the workers' threads


def _hire(number: int) -> None:
    """See that there are so many workers. If this is interrupted, it goes on the next time."""
    if len(_hired) >= number:
        return
    words = _words()
    with _hiring:
        for me in range(len(_hired) + 1, number + 1):
            for position in (BEGIN, END):
                if not words[WORKER * me + position]:
                    words[WORKER * me + position] = _taken_lock()
            threading.Thread(target=_work, args=(me, words), name="chainrule-kernel", daemon=True).start()
            _hired.append(me)


def _taken_lock() -> int:
    """A lock of Python's that is taken, for compiled code, where no signal ends the wait for it."""
    allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
    allocate.restype, acquire.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)
    lock: int | None = allocate()
    if lock is None:
        raise MemoryError("no memory for a lock")
    acquire(lock, 1)
    return lock


def _work(me: int, words: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """What the thread of a worker does: tasks, and in compiled code, where it sleeps, programs."""
    if _threads_of.setdefault(me, threading.get_ident()) != threading.get_ident():
        return  # the hiring of this worker was interrupted, and begun again
    act, at = _act(), words.ctypes.data
    while True:
        try:
            while True:
                act(at, ATTEND, me, 0)
                task, _tasks[me] = _tasks[me], None
                if task is not None:
                    task.run()
                del task  # a sleeping thread keeps no arrays alive
                act(at, ANSWERED, me, 0)
        except BaseException:  # thrown into this thread from outside: the task is not done, and says so
            _tasks[me] = None
            act(at, ANSWERED, me, 0)


def _after_fork() -> None:
    """In a forked process there are no workers, whatever the lists say."""
    global _hiring
    _hiring = threading.Lock()
    _hired.clear()
    _threads_of.clear()
    _words.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
        TypeError: it is no whole number.
        ValueError: it is below 1.
    """
    global _threads
    check_whole("set_num_threads", "the number", number, least=1)
    _threads = min(number, MOST)


def _processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
