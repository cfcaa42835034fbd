"""The processes of a training run: their number, this process's rank, and the exchange of arrays and objects.

A wait is a loop that polls whether the message has arrived and whether a rank has failed (see `watch`). So no rank
waits forever, and a waiting rank does not occupy a processor.
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
"""Seconds for which a wait polls without pauses."""
_PAUSE = 0.05
"""The length of a pause after that, as a fraction of the time waited so far."""
_LONGEST_PAUSE = 1e-3
"""Limit on the seconds of a pause: MPI may transfer data only while it is polled."""

_SECONDS_TO_LEAVE = 1.0
"""For how long `leave` waits for the other ranks before it ends them."""


class World:
    """A single process; `MPIWorld` has the same interface for several processes.

    Attributes:
        rank: the rank of this process, from 0.
        size: the number of processes.
        is_launched: whether an MPI launcher started this process, even if it started no other.
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
        """Return the object of rank `source` on all ranks."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all ranks, in their order, on all ranks."""
        return [value]

    def enter(self, phase: Phase) -> None:
        """Enter a phase, for the ranks that watch this one (see `watch`)."""

    def name(self, rank: int) -> str:
        """Return a rank's number and host, for messages."""
        return f"rank {rank}"

    def on_failure(self, report: Callable[[str], None]) -> None:
        """Set the function that reports a failed rank before the watch ends the run; it takes one sentence."""

    def close(self) -> None:
        """Wait for all ranks, and stop the watch for failures."""

    def leave(self, code: int) -> None:
        """Wait a second for the other ranks to leave, too; end all ranks, with an exit code, if one has not."""

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
        """Return the object of rank `source` on all ranks."""
        self._wait([self._comm.Ibarrier()])  # waiting inside MPI for a late rank would occupy a processor
        return self._comm.bcast(value, source)

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all ranks, in their order, on all ranks."""
        self._wait([self._comm.Ibarrier()])
        values: list[Any] = self._comm.allgather(value)
        return values

    def enter(self, phase: Phase) -> None:
        """Enter a phase, for the ranks that watch this one (see `watch`)."""
        if self.watch is not None:
            self.watch.enter(phase)

    def name(self, rank: int) -> str:
        """Return a rank's number and host, for messages."""
        return f"rank {rank} ({self._hosts[rank]})"

    def on_failure(self, report: Callable[[str], None]) -> None:
        """Set the function that reports a failed rank before the watch ends the run; it takes one sentence."""
        if self.watch is not None:
            self.watch.report = report

    def close(self) -> None:
        """Wait for all ranks, and stop the watch for failures; end all ranks if one has failed."""
        self._close(1, None)

    def leave(self, code: int) -> None:
        """Wait a second for the other ranks to leave, too; end all ranks, with an exit code, if one has not."""
        self._close(code, _SECONDS_TO_LEAVE)

    def _close(self, code: int, seconds: float | None) -> None:
        """Wait for all ranks, at most so many seconds; end them with the exit code if one has failed or is late."""
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # discards the line that MPI prints
        if hasattr(signal, "alarm"):
            signal.alarm(2)  # ends this process even if the launcher cannot be reached, and MPI waits for it
        self._mpi.COMM_WORLD.Abort(code)
        os._exit(code)

    def _wait(self, requests: list[Any], seconds: float | None = None) -> None:
        """Wait until requests are complete, at most so many seconds.

        Raises:
            RankFailedError: a rank has failed, or the time is over.
        """
        watch = self.watch
        begin = time.monotonic()
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
        """Return a sentence about a failed connection; wait until missing heartbeats tell which rank has failed."""
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
    """Return the world of all processes that an MPI launcher started; without a launcher, of this process alone.

    Raises:
        MissingMPIError: a launcher started this process, but MPI cannot be used.
    """
    launched = launched_size()
    if launched is None:
        return World()
    mpi = load_mpi(launched)
    set_threads(threads_per_rank())
    return MPIWorld(mpi)


def threads_per_rank() -> int:
    """Return the number of threads of each rank: CHAINRULE_THREADS, or 1 if that is not set.

    The default is not one thread per processor, as it is in a process that runs alone: ranks may share a machine, and
    the last bits of a result depend on the number of threads.

    Raises:
        SettingError: CHAINRULE_THREADS is not a positive integer.
    """
    return team.threads() if os.environ.get("CHAINRULE_THREADS") else 1


def set_threads(number: int) -> None:
    """Set the number of threads of kernels and of BLAS."""
    team.set_num_threads(number)
    blas.set_threads(number)
