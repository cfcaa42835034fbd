"""How a kernel is found, compiled and run: by Numba where that works, otherwise in plain NumPy.

A kernel has a name and stands twice: in `kernels.loops`, compiled by Numba when it is first called, and in
`kernels.plain`, in NumPy, slower but with the same arguments and results. `run` takes the first, and from the moment
that Numba turns out to be missing or unable to compile, the second, after one warning. Numba is imported by the first
call of a kernel, never by `import chainrule`.

Compiled code is kept on disk, in `NUMBA_CACHE_DIR` or `CHAINRULE_CACHE` if set, else in the user's cache folder, in a
subfolder named after the sources of all loops: Numba itself notices another processor, another Numba and a changed
function, but not a change in a function that this one calls. Several processes may share the folder, for Numba writes
each file at once. If no folder can be written, the code is compiled anew in each process.
"""

from __future__ import annotations

import functools
import os
import threading
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = Path(__file__).with_name("loops")

WORTH_A_THREAD = 50_000
"""So many steps of an inner loop, some 20 µs, as long as it takes to wake a thread."""

_compiles = True
_threads: int | None = None


def run(family: str, name: str, *arguments: Any) -> Any:
    """Call a kernel: `loops.<family>.<name>`, or `plain.<name>` where Numba cannot be used."""
    global _compiles
    if _compiles:
        try:
            return getattr(_loops(family), name)(*arguments)
        except _cannot_compile() as error:
            _compiles = False
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                f"Numba cannot be used here, so convolution and pooling run in plain NumPy, more slowly: {reason}",
                RuntimeWarning,
                stacklevel=3,
            )
    return getattr(import_module("chainrule.kernels.plain"), name)(*arguments)


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
        while len(_team) < shares - 1:
            _team.append(_Worker())
        working = _team[: shares - 1]
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


class _Worker(threading.Thread):
    """A thread that waits for a kernel to run. It sleeps on a lock, so that it takes no processor from others."""

    def __init__(self) -> None:
        super().__init__(name="chainrule-kernel", daemon=True)
        self._task: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._error: BaseException | None = None
        self._begin, self._end = threading.Lock(), threading.Lock()
        self._begin.acquire()
        self._end.acquire()
        self.start()

    def start_on(self, kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._task = kernel, arguments
        self._begin.release()

    def finish(self) -> BaseException | None:
        self._end.acquire()
        return self._error

    def run(self) -> None:
        while True:
            self._begin.acquire()
            self._error = self._work()
            self._end.release()

    def _work(self) -> BaseException | None:
        task, self._task = self._task, None  # a sleeping thread keeps no arrays alive
        try:
            if task is not None:
                kernel, arguments = task
                kernel(*arguments)
        except BaseException as error:  # handed to the thread that asked
            return error
        return None


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
        ValueError: CHAINRULE_THREADS is not a whole number of at least 1.
    """
    if _threads is None:
        chosen = os.environ.get("CHAINRULE_THREADS") or str(_processors())
        if not chosen.isdecimal() or int(chosen) < 1:
            raise ValueError(f"CHAINRULE_THREADS is {chosen!r}: it must be a whole number of at least 1")
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


def jit(function: Callable[..., Any]) -> Any:
    """Decorator for a loop: `numba.njit` with our settings and our place for compiled code."""
    import numba  # only `loops` calls this, and it has Numba already

    folder, settings = _folder(), cast(Any, numba.config)
    before, settings.CACHE_DIR = settings.CACHE_DIR, folder or ""
    try:
        return numba.njit(cache=folder is not None, error_model="numpy", nogil=True)(function)
    finally:
        settings.CACHE_DIR = before


@functools.cache
def _folder() -> str | None:
    """Where compiled code is kept; None if it cannot be written."""
    import hashlib  # these two are slow to import, so only where a kernel is compiled
    import tempfile

    digest = hashlib.sha256()
    for source in sorted(LOOPS.glob("*.py")):
        digest.update(source.read_bytes())
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("CHAINRULE_CACHE")
    if not chosen:
        import platformdirs  # slow to import, so only where it is asked

        chosen = platformdirs.user_cache_dir("chainrule", appauthor=False)
    folder = Path(chosen) / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:
        return None


def _loops(family: str) -> Any:
    return import_module(f"chainrule.kernels.loops.{family}")


def _cannot_compile() -> tuple[type[Exception], ...]:
    """What Numba raises where it is missing (ImportError), broken (OSError) or unable to compile."""
    try:
        from numba.core.errors import NumbaError
    except (ImportError, OSError):
        return ImportError, OSError
    return ImportError, OSError, NumbaError


def _processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
