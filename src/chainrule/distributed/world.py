"""The processes that train as one: their number, this one's rank among them, and how they exchange arrays and objects.

Every wait is a loop that asks whether the message has arrived and whether a rank has failed (see `watch`), so that no
rank waits forever, and a waiting rank does not occupy a processor.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from chainrule.distributed.launcher import launched_size, load_mpi
from chainrule.distributed.watch import Phase, RankFailedError, Watch
from chainrule.kernels import blas, team

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SPIN = 200e-6
"""Seconds for which a wait asks without a pause."""
_PAUSE, _LONGEST_PAUSE = 0.05, 1e-3
"""The pauses after that: as a part of the time waited so far, and at most, in seconds. They are short, since MPI may
transfer data only while it is asked."""

_SECONDS_TO_LEAVE = 1.0


class World:
    """A single process; `MPIWorld` has the same methods for several.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        is_launched: whether an MPI launcher started this process, perhaps alone.
    """

    rank, size, is_launched = 0, 1, False

    def exchange(self, partner: int, outgoing: NDArray[Any], incoming: NDArray[Any]) -> None:
        """Send one contiguous array to a rank and receive another from it, at the same time."""
        raise RuntimeError("a single process has no partner")

    def send(self, partner: int, array: NDArray[Any]) -> None:
        """Send a contiguous array to a rank, which receives it with `receive`."""
        raise RuntimeError("a single process has no partner")

    def receive(self, partner: int, array: NDArray[Any]) -> None:
        """Receive an array from a rank into a contiguous one of the same size."""
        raise RuntimeError("a single process has no partner")

    def broadcast(self, value: Any, source: int = 0) -> Any:
        """Return a rank's object on all ranks."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all ranks, in their order, on all ranks."""
        return [value]

    def enter(self, phase: Phase) -> None:
        """Tell the other ranks what this one does from now on (see `watch`)."""

    def name(self, rank: int) -> str:
        """Return a rank's number and host, for messages."""
        return f"rank {rank}"

    def on_failure(self, report: Callable[[str], None]) -> None:
        """Set what is called with a sentence if a rank fails while this one is too busy to notice, before all end."""

    def close(self) -> None:
        """Wait for all ranks, and end the watch for failures."""

    def leave(self, code: int) -> None:
        """Exit with all ranks that exit now as well, and end the others, with an exit code."""

    def abort(self, code: int = 1) -> NoReturn:
        """End all ranks at once, with an exit code."""
        raise SystemExit(code)


class MPIWorld(World):
    """The processes of an MPI launcher.

    Args:
        mpi: the module `mpi4py.MPI`.
    """

    is_launched = True

    def __init__(self, mpi: Any) -> None:
        self._mpi, self._comm = mpi, mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self._hosts: list[str] = self._comm.allgather(socket.gethostname())
        self.watch = Watch(mpi, self.name, self.abort) if self.size > 1 else None
        self._is_open = True
        atexit.register(self.close)

    def exchange(self, partner: int, outgoing: NDArray[Any], incoming: NDArray[Any]) -> None:
        """Send one contiguous array to a rank and receive another from it, at the same time."""
        self._wait([self._comm.Irecv(incoming, partner), self._comm.Isend(outgoing, partner)])

    def send(self, partner: int, array: NDArray[Any]) -> None:
        """Send a contiguous array to a rank, which receives it with `receive`."""
        self._wait([self._comm.Isend(array, partner)])

    def receive(self, partner: int, array: NDArray[Any]) -> None:
        """Receive an array from a rank into a contiguous one of the same size."""
        self._wait([self._comm.Irecv(array, partner)])

    def broadcast(self, value: Any, source: int = 0) -> Any:
        """Return a rank's object on all ranks."""
        self._wait([self._comm.Ibarrier()])  # MPI's own wait for a rank that comes much later occupies a processor
        return self._comm.bcast(value, source)

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all ranks, in their order, on all ranks."""
        self._wait([self._comm.Ibarrier()])
        values: list[Any] = self._comm.allgather(value)
        return values

    def enter(self, phase: Phase) -> None:
        """Tell the other ranks what this one does from now on (see `watch`)."""
        if self.watch is not None:
            self.watch.enter(phase)

    def name(self, rank: int) -> str:
        """Return a rank's number and host, for messages."""
        return f"rank {rank} ({self._hosts[rank]})"

    def on_failure(self, report: Callable[[str], None]) -> None:
        """Set what is called with a sentence if a rank fails while this one is too busy to notice, before all end."""
        if self.watch is not None:
            self.watch.report = report

    def close(self) -> None:
        """Wait for all ranks, and end the watch for failures; end all ranks if one has failed."""
        self._close(1, None)

    def leave(self, code: int) -> None:
        """Exit with all ranks that exit now as well, and end the others, with an exit code."""
        self._close(code, _SECONDS_TO_LEAVE)

    def _close(self, code: int, seconds: float | None) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self.enter(Phase.LEAVING)
        try:
            self._wait([self._comm.Ibarrier()], seconds)
        except RankFailedError:
            self.abort(code)
        if self.watch is not None:
            self.watch.stop()

    def abort(self, code: int = 1) -> NoReturn:
        """End all ranks at once, with an exit code."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would print a line as well
        if hasattr(signal, "alarm"):
            signal.alarm(2)  # ends this process even if the launcher cannot be reached, and MPI waits for it
        self._mpi.COMM_WORLD.Abort(code)
        os._exit(code)

    def _wait(self, requests: list[Any], seconds: float | None = None) -> None:
        """Wait until requests are complete.

        Raises:
            RankFailedError: a rank has failed, or the time is over.
        """
        watch, begin = self.watch, time.monotonic()
        phase = None if watch is None else watch.wait()
        try:
            while not self._mpi.Request.Testall(requests):
                if watch is not None and watch.failure is not None:
                    watch.is_handled = True
                    raise RankFailedError(watch.failure)
                waited = time.monotonic() - begin
                if seconds is not None and waited > seconds:
                    raise RankFailedError("the other ranks do not end")
                time.sleep(min(_PAUSE * waited, _LONGEST_PAUSE) if waited > _SPIN else 0)
        except self._mpi.Exception as error:
            raise RankFailedError(self._explain(error)) from None
        if watch is not None and phase is not None:
            watch.enter(phase)

    def _explain(self, error: Exception) -> str:
        """Return a sentence about a failed connection: which rank has failed, as soon as its heartbeats cease."""
        watch = self.watch
        if watch is not None:
            watch.is_handled = True
            end = time.monotonic() + watch.timeout + 1
            while watch.failure is None and time.monotonic() < end:
                time.sleep(_LONGEST_PAUSE)
            if watch.failure is not None:
                return watch.failure
        return f"the connection to another rank failed ({error})"


@cache
def world() -> World:
    """Return the processes that an MPI launcher started together with this one; without a launcher, this process alone.

    Raises:
        MissingMPIError: there is a launcher, but no MPI to use.
    """
    launched = launched_size()
    if launched is None:
        return World()
    mpi = load_mpi(launched)
    set_threads(threads_per_rank())
    return MPIWorld(mpi)


def threads_per_rank() -> int:
    """Return the number of threads that CHAINRULE_THREADS says, or one.

    Not one per processor, the default of a process that runs alone: ranks may share a machine, and the last bits of a
    result depend on the number of threads.

    Raises:
        SettingError: CHAINRULE_THREADS is not a positive integer.
    """
    return team.threads() if os.environ.get("CHAINRULE_THREADS") else 1


def set_threads(number: int) -> None:
    """Set the number of threads of kernels and of BLAS."""
    team.set_num_threads(number)
    blas.set_threads(number)
