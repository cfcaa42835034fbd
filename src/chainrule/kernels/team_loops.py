"""The thread pool's compiled half: waking workers, barriers, ownership, in 64-bit words that all threads share.

It runs without the GIL, in compiled code, because a signal handler or an asynchronous exception may raise between any
two bytecodes of Python. To Python code, "start the workers" and "wait until all have finished" are single steps.

The words (allocated by `kernels.team`, aligned to a cache line):

- OWNER: the owner's ticket, or 0. LOCK, UNLOCK: addresses of Python's functions that acquire and release a lock.
  ARRIVED: how many threads wait at the barrier. TURN: how often all have arrived there.
- For worker `thread_id`, from 1 on, starting at WORKER * thread_id: its STATE; CALLS, the number of calls it has
  received while spinning; its locks BEGIN and END; and its current call: FUNCTION (the driver), TABLE, SEGMENT,
  THREAD_COUNT. FUNCTION is 0 for a Python task; BUSY is then 1 until the owner has waited for the task to end.

Words on which different threads spin are on different cache lines.

A worker that has run a program spins for about as long as loading a batch of data takes, then sleeps on its lock BEGIN:
calling a spinning worker takes less than a microsecond, waking a sleeping one twenty or more.

Used by `team` (from Python) and `driver` (from compiled code).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.tree import ADDRESS, I4, I8, Kernel

if TYPE_CHECKING:
    from chainrule.kernels.tree import Expr

LINE = 8  # words of a cache line
OWNER, LOCK, UNLOCK, ARRIVED, TURN = 0, 1, 2, LINE, 2 * LINE
WORKER = 3 * LINE
STATE, CALLS = 0, LINE
BEGIN, END, FUNCTION, TABLE, SEGMENT, THREAD_COUNT, BUSY = range(2 * LINE, 2 * LINE + 7)
"""Offsets of the words."""
ACQUIRE, START, RELEASE, SERVE, FINISH = range(5)
"""Operations of `control`."""
RUN = 0
"""Entry code for running a segment of a program."""

ASLEEP, SPINNING, CALLED = range(3)
SPINS = 200_000
"""How many times an idle worker checks for a call before it goes to sleep: about 150 µs."""
SPINS_BEFORE_NAP = 150_000
"""How many times a thread that waits for another checks before it naps between checks: about 100 µs. A nap frees the
processor for the other thread, which may be waiting for one. Most waits are shorter and not worth a nap.
"""
NAP = 50
"""Length of a nap in µs; the operating system takes about twice as long."""
PROGRAM = -1  # the value of OWNER while a program runs


class _Words:
    """The team's words, or those of one worker, inside a kernel."""

    def __init__(self, kernel: Kernel, address: Expr) -> None:
        self.kernel = kernel
        self.numbers, self.addresses = kernel.array(address, I8), kernel.array(address, ADDRESS)

    def of_worker(self, thread_id: Expr) -> _Words:
        """The words of a worker."""
        return _Words(self.kernel, self.numbers.at(thread_id * WORKER).address)

    def word(self, position: int) -> Expr:
        """The address of a word, for atomic instructions."""
        return self.numbers.at(position).address

    def load(self, position: int) -> Expr:
        return self.kernel.atomic("load", self.word(position))

    def store(self, position: int, value: Expr | int) -> None:
        self.kernel.atomic("store", self.word(position), value)

    def compare_exchange(self, position: int, before: Expr | int, after: Expr | int) -> Expr:
        """Store `after` if the word is `before`, atomically; returns whether it did."""
        return self.kernel.atomic("compare_exchange", self.word(position), before, after)

    def acquire_lock(self, lock: Expr) -> None:
        """Acquire a Python lock, waiting as long as necessary; no signal interrupts the wait."""
        self.kernel.call_address(self.addresses[LOCK], [lock, self.kernel.lift(1, I4)], I4)

    def release_lock(self, lock: Expr) -> None:
        """Release a Python lock, which another thread may have acquired."""
        self.kernel.call_address(self.addresses[UNLOCK], [lock])


def _nap(kernel: Kernel) -> None:
    """Yield this processor to another thread for a moment."""
    kernel.call_library("usleep", [kernel.lift(NAP, I4)], I4)


@cache
def barrier() -> Kernel:
    """barrier(team, thread_count): wait until all threads have arrived."""
    kernel = Kernel("barrier", {"team": ADDRESS, "thread_count": I8}, internal=True)
    with kernel.when(kernel["thread_count"].equals(1)):
        kernel.return_(None)
    team = _Words(kernel, kernel["team"])
    turn = team.load(TURN)
    with kernel.when(kernel.atomic("add", team.word(ARRIVED), 1).equals(kernel["thread_count"] - 1)):
        team.store(ARRIVED, 0)
        team.store(TURN, turn + 1)
        kernel.return_(None)
    spins = kernel.variable(I8, 0)
    with kernel.loop_while(lambda: team.load(TURN).equals(turn)):
        spins.set(spins.value + 1)
        with kernel.when(spins.value > SPINS_BEFORE_NAP):  # the others are probably waiting for a processor
            _nap(kernel)
    return kernel


@cache
def _call_worker() -> Kernel:
    """Assign a call to a worker, as soon as it has finished its last one."""
    kernel = Kernel(
        "call_worker",
        {"team": ADDRESS, "thread_id": I8, "function": ADDRESS, "table": ADDRESS, "segment": I8, "thread_count": I8},
        internal=True,
    )
    team = _Words(kernel, kernel["team"])
    worker = team.of_worker(kernel["thread_id"])
    was_spinning, was_asleep = 1, 2
    previous_state, spins = kernel.variable(I8, 0), kernel.variable(I8, 0)
    with kernel.loop_while(lambda: previous_state.value.equals(0)):
        now = worker.load(STATE)
        with kernel.when(now.equals(SPINNING)), kernel.when(worker.compare_exchange(STATE, SPINNING, CALLED)):
            previous_state.set(was_spinning)
        with kernel.when(now.equals(ASLEEP)):
            previous_state.set(was_asleep)
        spins.set(spins.value + 1)
        with kernel.when(previous_state.value.equals(0) & (spins.value > SPINS_BEFORE_NAP)):
            _nap(kernel)
    worker.addresses[FUNCTION] = kernel["function"]
    worker.addresses[TABLE] = kernel["table"]
    worker.numbers[SEGMENT] = kernel["segment"]
    worker.numbers[THREAD_COUNT] = kernel["thread_count"]
    with kernel.when(previous_state.value.equals(was_asleep)):
        worker.store(STATE, CALLED)
        team.release_lock(worker.addresses[BEGIN])
    with kernel.otherwise():
        kernel.atomic("add", worker.word(CALLS), 1)
    return kernel


@cache
def call_workers() -> Kernel:
    """call_workers(team, function, table, segment, thread_count): have workers run a segment along with this thread.

    Returns the number of threads that run it: 1 if the team is in use.
    """
    arguments = {"team": ADDRESS, "function": ADDRESS, "table": ADDRESS, "segment": I8, "thread_count": I8}
    kernel = Kernel("call_workers", arguments, I8, internal=True)
    thread_count, team = kernel["thread_count"], _Words(kernel, kernel["team"])
    with kernel.when(thread_count.equals(1)):
        kernel.return_(1)
    with kernel.when(~team.compare_exchange(OWNER, 0, PROGRAM)):
        kernel.return_(1)
    with kernel.loop(1, thread_count, as_written=True) as thread_id:
        kernel.call(
            _call_worker(),
            kernel["team"],
            thread_id,
            kernel["function"],
            kernel["table"],
            kernel["segment"],
            thread_count,
        )
    kernel.return_(thread_count)
    return kernel


@cache
def release() -> Kernel:
    """release(team, thread_count): end a program's ownership, once all workers have left the program.

    The last barrier is not enough: a worker that naps there reads the rest of its script afterwards, and the program
    may be freed by then.
    """
    kernel = Kernel("release_team", {"team": ADDRESS, "thread_count": I8}, internal=True)
    team = _Words(kernel, kernel["team"])
    with kernel.when(kernel["thread_count"] > 1):
        with kernel.loop(1, kernel["thread_count"], as_written=True) as thread_id:
            worker, spins = team.of_worker(thread_id), kernel.variable(I8, 0)
            with kernel.loop_while(lambda: worker.load(STATE).equals(CALLED)):
                spins.set(spins.value + 1)
                with kernel.when(spins.value > SPINS_BEFORE_NAP):
                    _nap(kernel)
        team.store(OWNER, 0)
    return kernel


@cache
def _serve() -> Kernel:
    """A worker's loop: sleep, run programs, spin; returns when there is a Python task."""
    kernel = Kernel("serve", {"team": ADDRESS, "thread_id": I8}, internal=True)
    thread_id, team = kernel["thread_id"], _Words(kernel, kernel["team"])
    worker = team.of_worker(thread_id)
    run = kernel.lift(RUN, I8)
    with kernel.loop_while(lambda: kernel["thread_id"].differs(0)):  # forever: workers are numbered from 1
        team.acquire_lock(worker.addresses[BEGIN])
        awake = kernel.variable(I8, 1)
        with kernel.loop_while(lambda: awake.value.differs(0)):
            with kernel.when(worker.numbers[FUNCTION].equals(0)):
                kernel.return_(None)
            segment, thread_count = worker.numbers[SEGMENT], worker.numbers[THREAD_COUNT]
            arguments = [worker.addresses[TABLE], run, segment, thread_id, thread_count, kernel["team"]]
            kernel.call_address(worker.addresses[FUNCTION], arguments)
            before = worker.load(CALLS)
            worker.store(STATE, SPINNING)
            spin_count = kernel.variable(I8, 0)
            with kernel.loop_while(lambda: awake.value.differs(0) & worker.load(CALLS).equals(before)):
                spin_count.set(spin_count.value + 1)
                with (
                    kernel.when(spin_count.value > SPINS),
                    kernel.when(worker.compare_exchange(STATE, SPINNING, ASLEEP)),
                ):
                    awake.set(0)
    return kernel


@cache
def control() -> Kernel:
    """control(team, operation, a, b): the pool's operations, for Python.

    - ACQUIRE: become the owner, with ticket `a`, unless the team is in use. If that succeeds, OWNER is `a`.
    - START: start workers 1 … `b` - 1 on Python tasks.
    - RELEASE: if `a` is the owner, wait for workers 1 … `b` - 1, and give up ownership.
    - SERVE: worker `a` waits for a Python task, and runs programs while it waits.
    - FINISH: worker `a` has finished its task, if it had one.

    Two unused arguments make it callable like every other kernel, with six (`machine.function`).
    """
    kernel = Kernel("control", {"team": ADDRESS, "operation": I8, "a": I8, "b": I8, "unused1": I8, "unused2": I8})
    operation, a, b, team = kernel["operation"], kernel["a"], kernel["b"], _Words(kernel, kernel["team"])
    null = kernel.lift(0, ADDRESS)
    with kernel.when(operation.equals(ACQUIRE)):
        team.compare_exchange(OWNER, 0, a)
    with kernel.when(operation.equals(START)), kernel.loop(1, b, as_written=True) as thread_id:
        team.of_worker(thread_id).numbers[BUSY] = 1
        kernel.call(_call_worker(), kernel["team"], thread_id, null, null, 0, 0)
    with kernel.when(operation.equals(RELEASE)), kernel.when(team.load(OWNER).equals(a)):
        with kernel.loop(1, b, as_written=True) as thread_id:
            worker = team.of_worker(thread_id)
            with kernel.when(worker.numbers[BUSY].differs(0)):
                team.acquire_lock(worker.addresses[END])
                worker.numbers[BUSY] = 0
        team.store(OWNER, 0)
    with kernel.when(operation.equals(SERVE)):
        kernel.call(_serve(), kernel["team"], a)
    with kernel.when(operation.equals(FINISH)):
        worker = team.of_worker(a)
        with kernel.when(worker.compare_exchange(STATE, CALLED, ASLEEP)):
            team.release_lock(worker.addresses[END])
    return kernel
