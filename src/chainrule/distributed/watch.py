"""Watches the other ranks, so that a run in which one is killed, stopped or stuck ends within seconds.

A thread of each rank sends a heartbeat every half second: what the rank is doing, and how many times it has changed
that. Rank 0 hears all others, and they hear rank 0. A rank has failed

- if its heartbeats cease: it was killed or stopped, or its network is down;
- if it stays longer in one step than the timeout and ten times its longest step so far (but for its first steps): it
  is stuck;
- if it leaves while others are still training: it ended early.

A rank that waits for others learns of a failure there (see `world`) and raises `RankFailedError`, so that rank 0 can
save its state. If it does nothing about the failure for some seconds, the thread ends the run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 6.0
"""Seconds without a heartbeat after which a rank has failed, unless CHAINRULE_RANK_TIMEOUT says otherwise."""
_INTERVAL = 0.5
_GRACE, _TIME_TO_SAVE = 2.0, 60.0  # seconds until the thread ends the run: in general, and if it is saving its state
_WARM_UP = 12  # changes of phase, some three steps, before which a step may take any time
_STEPS_AT_ONCE = 10  # after that, a step may take this many times as long as the longest one so far


class RankFailedError(RuntimeError):
    """Another rank was killed or no longer answers."""


class Phase(IntEnum):
    """What a rank is doing."""

    BUSY = 0
    """Something that may take any time: loading data, validating, saving."""
    STEP = 1
    """A training step."""
    WAITING = 2
    """Waiting for another rank."""
    LEAVING = 3
    """Waiting for the other ranks to end."""


class Peer:
    """What is known of another rank.

    Attributes:
        heard: the time of the last heartbeat.
        changed: the time at which it last did something else.
        count: how often it had done so.
        phase: what it was doing.
        longest: the seconds of its longest step so far.
    """

    def __init__(self, now: float) -> None:
        self.heard = self.changed = now
        self.count, self.phase, self.longest = -1, Phase.BUSY, 0.0

    def hear(self, now: float, count: int, phase: int, longest: int) -> None:
        """Take note of a heartbeat."""
        if count != self.count:
            self.count, self.phase, self.changed = count, Phase(phase), now
        self.heard, self.longest = now, longest / 1e6

    def fault(self, now: float, timeout: float) -> str | None:
        """Return how it has failed, for a sentence that its name begins; None if it has not."""
        if now - self.heard > timeout:
            return f"has not answered for {now - self.heard:.0f} s: it was killed or stopped, or its network is down"
        limit = max(timeout, _STEPS_AT_ONCE * self.longest)
        if self.phase == Phase.STEP and self.count >= _WARM_UP and now - self.changed > limit:
            return f"has been in one training step for {now - self.changed:.0f} s: it is stuck"
        return None


class Watch:
    """The heartbeats of this rank and of those that it watches.

    Args:
        mpi: the module `mpi4py.MPI`.
        name: returns a rank's name for messages.
        abort: ends all ranks.

    Attributes:
        failure: a sentence about the rank that failed, if one has.
        is_handled: whether this rank has raised the error and ends the run itself.
        report: called with that sentence before the thread ends the run; prints it, unless replaced.
    """

    def __init__(self, mpi: Any, name: Callable[[int], str], abort: Callable[[], None]) -> None:
        self.timeout = _timeout()
        self.failure: str | None = None
        self.is_handled = False
        self.report: Callable[[str], None] = _print
        self._mpi, self._comm, self._name, self._abort = mpi, mpi.COMM_WORLD.Dup(), name, abort
        self.rank, size = self._comm.Get_rank(), self._comm.Get_size()
        now = time.monotonic()
        self._peers = {rank: Peer(now) for rank in (range(1, size) if self.rank == 0 else [0])}
        # What a heartbeat says: the number of changes of phase, the phase, and the microseconds of the longest step
        self._state = np.zeros(3, np.int64)
        self._changed = now
        self._sends: dict[int, tuple[Any, Any]] = {}  # the last heartbeat to each peer, and its array
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chainrule-watch", daemon=True)
        self._thread.start()

    def enter(self, phase: Phase) -> None:
        """Set the phase of this rank."""
        count, before, longest = self._state.tolist()
        now = time.monotonic()
        if before == Phase.STEP and count >= _WARM_UP:
            longest = max(longest, round((now - self._changed) * 1e6))
        self._state[:] = count + 1, phase, longest
        self._changed = now

    def wait(self) -> Phase:
        """Enter the phase of waiting, unless this rank is leaving; return the phase before."""
        phase = Phase(self._state[1])
        if phase != Phase.LEAVING:
            self.enter(Phase.WAITING)
        return phase

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            with suppress(self._mpi.Exception):  # a connection has failed: no heartbeat will be heard
                self._send()
                self._receive()
            now = time.monotonic()
            self.failure = self.failure or self._find_failure(now)
            if self.failure is not None:
                self._end()

    def _end(self) -> None:
        """End the run unless this rank does so itself. If rank 0 has failed, rank 1 says so, and no one else."""
        self._ended.wait(_GRACE + (self.rank > 1))
        if self.is_handled:
            self._ended.wait(_TIME_TO_SAVE)
        if not self._ended.is_set():
            self.report(self.failure or "")
            self._abort()

    def _send(self) -> None:
        for rank in self._peers:
            request, _ = self._sends.get(rank, (None, None))
            if request is None or request.Test():  # else it does not receive: no second one
                state = self._state.copy()
                self._sends[rank] = self._comm.Isend(state, rank), state

    def _receive(self) -> None:
        state, status = np.empty(3, np.int64), self._mpi.Status()
        while self._comm.Iprobe(status=status):
            self._comm.Recv(state, status.Get_source())
            self._peers[status.Get_source()].hear(time.monotonic(), *map(int, state))

    def _find_failure(self, now: float) -> str | None:
        """Return a sentence about a rank that has failed, or None."""
        is_training = self._state[1] in (Phase.STEP, Phase.WAITING)
        for rank, peer in self._peers.items():
            if peer.phase == Phase.LEAVING:
                if is_training and now - peer.changed > _GRACE:
                    return f"{self._name(rank)} ended before the others"
            elif (fault := peer.fault(now, self.timeout)) is not None:
                return f"{self._name(rank)} {fault}"
        return None


def _timeout() -> float:
    """Return the seconds without a heartbeat after which a rank has failed.

    Raises:
        SettingError: CHAINRULE_RANK_TIMEOUT is not a number of at least 1.
    """
    setting = os.environ.get("CHAINRULE_RANK_TIMEOUT") or str(TIMEOUT)
    try:
        seconds = float(setting)
    except ValueError:
        seconds = 0.0
    if not seconds >= 1:
        raise SettingError(f"CHAINRULE_RANK_TIMEOUT is {setting!r}: it must be a number of seconds of at least 1")
    return seconds


def _print(sentence: str) -> None:
    sys.stderr.write(f"chainrule: {sentence}\n")
    sys.stderr.flush()
