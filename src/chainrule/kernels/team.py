"""The team: the pool of worker threads that run kernels and compiled programs in parallel.

`parallel_for` divides the rows of one kernel. `run_parallel` runs a segment of a compiled program on several threads,
which meet at barriers. The team's state (its owner, and what each worker does) is a block of 64-bit words, which is set
up here and then changed only by compiled code (`team_loops`). While a program runs, BLAS is limited to one thread.

Interrupts: if the owning thread is interrupted (Ctrl-C, a signal handler that raises, an asynchronous exception), the
exception propagates only after every worker has finished. No worker writes into memory after that, and the team is
ready for the next call.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError, check_integer
from chainrule.kernels import machine, team_loops

if TYPE_CHECKING:
    from collections.abc import Callable


ITERATIONS_PER_THREAD = 50_000
"""The inner-loop iterations that justify one more thread. They take about 20 µs, as long as waking a thread."""
MAX_THREADS = 1024
"""The largest number of threads, including the calling thread."""

background = threading.local()
"""A thread sets `background.active` to run its kernels alone, so that the team is free for the main computation."""

_threads: int | None = None


def parallel_for(function: Callable[..., Any], count: int, iterations: int, *arguments: Any) -> None:
    """Call function(*arguments, begin, end) on several threads, with ranges that together cover range(count).

    Args:
        function: computes the items begin … end - 1 in a compiled loop, which releases the GIL.
        count: the number of items.
        iterations: the approximate number of inner-loop iterations for all items; decides how many threads to use.
        arguments: the function's first arguments.
    """
    thread_count = min(threads(), max(1, count), 1 + iterations // ITERATIONS_PER_THREAD, MAX_THREADS)
    if thread_count == 1 or getattr(background, "active", False):
        function(*arguments, 0, count)
        return
    control, words, ticket = _control(), _words(), next(_tickets)
    address = words.ctypes.data
    tasks = [
        _Task(function, (*arguments, share * count // thread_count, (share + 1) * count // thread_count))
        for share in range(1, thread_count)
    ]
    _start_workers(thread_count - 1)
    try:
        control(address, team_loops.ACQUIRE, ticket, 0, 0, 0)
        if words[team_loops.OWNER] != ticket:  # another thread owns the team: run alone
            function(*arguments, 0, count)
            return
        _tasks[1:thread_count] = tasks
        control(address, team_loops.START, 0, thread_count, 0, 0)
        function(*arguments, 0, count // thread_count)
    finally:
        control(address, team_loops.RELEASE, ticket, thread_count, 0, 0)
    for task in tasks:
        task.check()


def run_parallel(enter: Callable[[int, int, int, int, int], object], segment: int, thread_count: int) -> None:
    """Run a segment of a compiled program on several threads, including this one; alone if the team is in use.

    Args:
        enter: the driver with the program's table, called with (entry_code, segment, thread_id, thread_count, team).
        segment: the segment's number.
        thread_count: how many threads to use.
    """
    _start_workers(thread_count - 1)
    enter(team_loops.RUN, segment, 0, thread_count, _words().ctypes.data)


_tickets = itertools.count(1)  # the owner's number for each `parallel_for`


@functools.cache
def _control() -> Callable[[int, int, int, int, int, int], object]:
    """Return the function that performs the team's operations (see `team_loops.control`).

    Each call of this function is atomic with respect to interrupts. Call it directly, not through a wrapper in Python:
    an interrupt inside the wrapper, before the call, would skip the operation.
    """
    return machine.function(machine.address_of("team", team_loops.control))


_shared_words: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
"""The result of `_words`. With `cache` alone, two threads that make the first call at once would each get their own
words."""


@functools.cache
def _words() -> np.ndarray[Any, np.dtype[np.int64]]:
    """The words that all threads share."""
    memory = np.zeros(team_loops.WORKER_WORDS * MAX_THREADS + team_loops.LINE_WORDS, np.int64)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # workers read it even while the process exits
    words = memory[-memory.ctypes.data // memory.itemsize % team_loops.LINE_WORDS :]  # from the first whole cache line
    for offset, name in ((team_loops.ACQUIRE_LOCK, "acquire"), (team_loops.RELEASE_LOCK, "release")):
        words[offset] = ctypes.cast(getattr(ctypes.pythonapi, f"PyThread_{name}_lock"), ctypes.c_void_p).value or 0
    return _shared_words.setdefault("words", words)


class _Task:
    """A worker's share of the items of a `parallel_for`."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments
        self._is_done = False
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._function(*self._arguments)
        except BaseException as error:  # re-raised in the calling thread
            self._error = error
        self._is_done = True

    def check(self) -> None:
        """Raise the exception that the task raised, if any."""
        if self._error is not None:
            raise self._error
        if not self._is_done:
            raise RuntimeError("parallel_for: a worker thread was interrupted before it finished its share of a kernel")


_tasks: list[_Task | None] = [None] * MAX_THREADS  # by worker; written by the owner of the team
_started_workers: list[int] = []  # their numbers
_start_lock = threading.Lock()
_thread_idents: dict[int, int] = {}  # Python's number of each worker's thread, by worker


def _start_workers(count: int) -> None:
    """Start workers until there are at least `count`. If this is interrupted, the next call continues."""
    if len(_started_workers) >= count:
        return
    words = _words()
    with _start_lock:
        for thread_id in range(len(_started_workers) + 1, count + 1):
            for offset in (team_loops.BEGIN_LOCK, team_loops.END_LOCK):
                if not words[team_loops.WORKER_WORDS * thread_id + offset]:
                    words[team_loops.WORKER_WORDS * thread_id + offset] = _acquired_lock()
            threading.Thread(target=_work, args=(thread_id, words), name="chainrule-kernel", daemon=True).start()
            _started_workers.append(thread_id)


def _acquired_lock() -> int:
    """Create a Python lock for compiled code, and acquire it; no signal interrupts a wait for such a lock."""
    allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
    allocate.restype, acquire.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)
    lock: int | None = allocate()
    if lock is None:
        raise MemoryError("no memory for a lock of the thread team")
    acquire(lock, 1)
    return lock


def _work(thread_id: int, words: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """A worker's main loop: run Python tasks; inside `control`, sleep and run programs."""
    if _thread_idents.setdefault(thread_id, threading.get_ident()) != threading.get_ident():
        return  # the start of this worker was interrupted and repeated: a thread with this number exists already
    control, address = _control(), words.ctypes.data
    while True:
        try:
            while True:
                control(address, team_loops.SERVE, thread_id, 0, 0, 0)
                task, _tasks[thread_id] = _tasks[thread_id], None
                if task is not None:
                    task.run()
                del task  # keep no arrays alive while sleeping
                control(address, team_loops.FINISH, thread_id, 0, 0, 0)
        except BaseException:  # raised asynchronously in this thread; `_Task.check` reports the unfinished task
            _tasks[thread_id] = None
            control(address, team_loops.FINISH, thread_id, 0, 0, 0)


def _after_fork() -> None:
    """Forget the workers and their words: a forked process has no worker threads."""
    global _start_lock
    _start_lock = threading.Lock()
    _started_workers.clear()
    _thread_idents.clear()
    _shared_words.clear()
    _words.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads() -> int:
    """How many threads kernels use: from `set_num_threads`, else CHAINRULE_THREADS, else one for each processor.

    Raises:
        SettingError: CHAINRULE_THREADS is not a positive integer.
    """
    if _threads is None:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        setting = os.environ.get("CHAINRULE_THREADS") or str(processors)
        if not setting.isdecimal() or int(setting) < 1:
            raise SettingError(f"CHAINRULE_THREADS is {setting!r}: it must be an integer of at least 1")
        set_num_threads(int(setting))
        return threads()
    return _threads


def set_num_threads(number: int) -> None:
    """Set the number of threads that kernels use.

    Raises:
        TypeError: the number is not an integer.
        ValueError: the number is below 1.
    """
    global _threads
    check_integer("set_num_threads", "the number", number, minimum=1)
    _threads = min(number, MAX_THREADS)
