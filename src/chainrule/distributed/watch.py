"""Watches the other ranks, so that a run in which one is killed, stopped or stuck ends within seconds.

A thread of each rank sends a heartbeat every half second: the phase that the rank is in (see `Phase`), and how often
that has changed. Rank 0 receives the heartbeats of all others, and they receive those of rank 0. A rank has failed

- if its heartbeats cease: it was killed or stopped, or its network is down;
- if it stays in one step longer than the timeout and longer than ten times its longest step so far, except in its
  first steps: it is stuck;
- if it leaves while others are still training: it ended early.

A rank that waits for others notices the failure while it waits (see `world`) and raises `RankFailedError`; rank 0 can
then save its state. If a rank does not react to the failure for some seconds, its thread ends the run.
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
"""Seconds between heartbeats."""
_GRACE = 2.0
"""Seconds from a failure until the thread ends the run."""
_TIME_TO_SAVE = 60.0
"""More seconds until then for a rank that has raised the error, and may be saving its state."""
_WARM_UP = 12
"""Changes of phase, some three steps, during which a step may take any time."""
_MAX_SLOWDOWN = 10
"""After the warm-up, a step may take so many times as long as the longest step so far."""


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
    """The state of another rank, as far as its heartbeats tell.

    Attributes:
        heard: when the last heartbeat arrived.
        changed: when the first heartbeat of its current phase arrived.
        count: how often its phase has changed.
        phase: its phase.
        longest: the duration of its longest step so far, in seconds.
    """

    def __init__(self, now: float) -> None:
        self.heard = self.changed = now
        self.count, self.phase, self.longest = -1, Phase.BUSY, 0.0

    def hear(self, now: float, count: int, phase: int, longest_us: int) -> None:
        """Record a heartbeat; `longest_us` is in microseconds."""
        if count != self.count:
            self.count, self.phase, self.changed = count, Phase(phase), now
        self.heard, self.longest = now, longest_us / 1e6

    def fault(self, now: float, timeout: float) -> str | None:
        """Return how the rank has failed, as the rest of a sentence after its name; None if it has not failed."""
        if now - self.heard > timeout:
            return f"has not answered for {now - self.heard:.0f} s: it was killed or stopped, or its network is down"
        limit = max(timeout, _MAX_SLOWDOWN * self.longest)
        if self.phase == Phase.STEP and self.count >= _WARM_UP and now - self.changed > limit:
            return f"has been in one training step for {now - self.changed:.0f} s: it is stuck"
        return None


class Watch:
    """Sends the heartbeats of this rank, and receives those of the ranks that it watches.

    Args:
        mpi: the module `mpi4py.MPI`.
        name: returns a rank's name for messages.
        abort: ends all ranks.

    Attributes:
        failure: a sentence about the rank that failed, if one has.
        is_handled: whether this rank has raised a `RankFailedError`, and so should end the run itself.
        report: called with that sentence before the thread ends the run; by default, it prints the sentence.
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
        # The content of a heartbeat: the number of phase changes, the phase, and the longest step in microseconds
        self._state = np.zeros(3, np.int64)
        self._changed = now  # when the phase last changed
        self._sends: dict[int, tuple[Any, Any]] = {}  # the last heartbeat to each peer: request and array
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chainrule-watch", daemon=True)
        self._thread.start()

    def enter(self, phase: Phase) -> None:
        """Set the phase of this rank."""
        count, previous_phase, longest_us = self._state.tolist()
        now = time.monotonic()
        if previous_phase == Phase.STEP and count >= _WARM_UP:
            longest_us = max(longest_us, round((now - self._changed) * 1e6))
        self._state[:] = count + 1, phase, longest_us
        self._changed = now

    def wait(self) -> Phase:
        """Enter the waiting phase, unless this rank is leaving; return the previous phase."""
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
            with suppress(self._mpi.Exception):  # a connection has failed: no more heartbeats will arrive on it
                self._send()
                self._receive()
            now = time.monotonic()
            self.failure = self.failure or self._find_failure(now)
            if self.failure is not None:
                self._end()

    def _end(self) -> None:
        """End the run, unless the rest of this process does so in time.

        Ranks above 1 wait a second longer: if rank 0 has failed, rank 1 alone reports it.
        """
        self._ended.wait(_GRACE + (self.rank > 1))
        if self.is_handled:
            self._ended.wait(_TIME_TO_SAVE)
        if not self._ended.is_set():
            self.report(self.failure or "")
            self._abort()

    def _send(self) -> None:
        for rank in self._peers:
            request, _ = self._sends.get(rank, (None, None))
            if request is None or request.Test():  # otherwise the peer has not received the last one: send no more
                state = self._state.copy()
                self._sends[rank] = self._comm.Isend(state, rank), state

    def _receive(self) -> None:
        state, status = np.empty(3, np.int64), self._mpi.Status()
        while self._comm.Iprobe(status=status):
            self._comm.Recv(state, status.Get_source())
            self._peers[status.Get_source()].hear(time.monotonic(), *map(int, state))

    def _find_failure(self, now: float) -> str | None:
        """Return a sentence about a watched rank that has failed; None if all are well."""
        is_training = self._state[1] in (Phase.STEP, Phase.WAITING)
        for rank, peer in self._peers.items():
            if peer.phase == Phase.LEAVING:
                if is_training and now - peer.changed > _GRACE:
                    return f"{self._name(rank)} ended before the others"
            elif (fault := peer.fault(now, self.timeout)) is not None:
                return f"{self._name(rank)} {fault}"
        return None


def _timeout() -> float:
    """Return after how many seconds without a heartbeat a rank counts as failed.

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
