"""The compiled half of the thread team: it wakes workers, synchronizes threads, and keeps track of the team's owner.

It runs without the GIL, in compiled code, because a signal handler or an asynchronous exception may raise between any
two bytecodes of Python. To Python code, "start the workers" and "wait until all have finished" are single steps.

The state of the team consists of 64-bit words that all threads share. `team` allocates them, aligned to a cache line;
the constants below are their offsets. Words on which different threads spin are on different cache lines.

A worker that has run a program spins for about as long as it takes to load a batch of data, and then sleeps on a lock:
calling a spinning worker takes less than a microsecond, waking a sleeping one twenty microseconds or more.

`driver` calls these kernels from compiled code, `team` from Python (through `control`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.tree import ADDRESS, I4, I8, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels.tree import Expr

LINE_WORDS = 8  # the words of a cache line

# Offsets of the team's words
OWNER = 0  # the ticket of the thread whose Python tasks the team runs; PROGRAM while it runs a program; 0 if it is free
ACQUIRE_LOCK = 1  # the address of Python's function that acquires a lock
RELEASE_LOCK = 2  # the address of Python's function that releases a lock
ARRIVAL_COUNT = LINE_WORDS  # how many threads wait at the barrier
BARRIER_COUNT = 2 * LINE_WORDS  # how many times all threads have arrived at a barrier

# Offsets of a worker's words
WORKER_WORDS = 3 * LINE_WORDS  # their number; those of worker `thread_id` (1, 2, …) begin at thread_id * WORKER_WORDS
STATE = 0  # ASLEEP, SPINNING or RUNNING
CALL_COUNT = LINE_WORDS  # how many calls the worker has received while it was spinning
BEGIN_LOCK = 2 * LINE_WORDS  # the lock that the worker sleeps on until it is called
END_LOCK = BEGIN_LOCK + 1  # the lock that the owner waits for until the worker has finished a Python task
FUNCTION = BEGIN_LOCK + 2  # the worker's current call: the driver, or 0 for a Python task
TABLE = BEGIN_LOCK + 3  # an argument of the call, as are the next two words
SEGMENT = BEGIN_LOCK + 4
CALL_THREAD_COUNT = BEGIN_LOCK + 5
HAS_TASK = BEGIN_LOCK + 6  # 1 from the start of a Python task until the owner has waited for its end

PROGRAM = -1  # a value of OWNER

# Values of STATE
ASLEEP = 0  # waits for BEGIN_LOCK, or is about to
SPINNING = 1  # checks again and again whether CALL_COUNT has changed
RUNNING = 2  # from the moment of a call until the worker has finished it

ACQUIRE, START, RELEASE, SERVE, FINISH = range(5)
"""The operations of `control`, which describes them."""

RUN = 0
"""The driver's entry code for running a segment of a program."""

SPINS_BEFORE_SLEEP = 200_000
"""How many times an idle worker checks for a call before it goes to sleep: about 150 µs."""
SPINS_BEFORE_NAP = 150_000
"""How many times a thread that waits for another thread checks before it naps between checks: about 100 µs. A nap frees
the processor for the other thread, which may be waiting for a processor. Most waits are too short for a nap.
"""
NAP_MICROSECONDS = 50
"""The length of a nap; the operating system takes about twice as long."""


class _Words:
    """The team's words, or those of one worker, inside a kernel."""

    def __init__(self, kernel: Kernel, address: Expr) -> None:
        self.kernel = kernel
        self.numbers, self.addresses = kernel.array(address, I8), kernel.array(address, ADDRESS)

    def of_worker(self, thread_id: Expr) -> _Words:
        """The words of a worker."""
        return _Words(self.kernel, self.numbers.at(thread_id * WORKER_WORDS).address)

    def address(self, offset: int) -> Expr:
        """The address of a word, for atomic instructions."""
        return self.numbers.at(offset).address

    def load(self, offset: int) -> Expr:
        return self.kernel.atomic("load", self.address(offset))

    def store(self, offset: int, value: Expr | int) -> None:
        self.kernel.atomic("store", self.address(offset), value)

    def compare_exchange(self, offset: int, expected: Expr | int, value: Expr | int) -> Expr:
        """Atomically: store a value if the word has the expected value. Returns whether the value was stored."""
        return self.kernel.atomic("compare_exchange", self.address(offset), expected, value)

    def acquire_lock(self, lock: Expr) -> None:
        """Acquire a Python lock, waiting as long as necessary; no signal interrupts the wait."""
        self.kernel.call_address(self.addresses[ACQUIRE_LOCK], [lock, self.kernel.lift(1, I4)], I4)

    def release_lock(self, lock: Expr) -> None:
        """Release a Python lock, which another thread may have acquired."""
        self.kernel.call_address(self.addresses[RELEASE_LOCK], [lock])


def _nap(kernel: Kernel) -> None:
    """Leave this processor to other threads for a moment."""
    kernel.call_library("usleep", [kernel.lift(NAP_MICROSECONDS, I4)], I4)


def _wait_while(kernel: Kernel, test: Callable[[], Expr]) -> None:
    """Wait while a test holds: spin, and if that takes long, nap between checks."""
    spin_count = kernel.variable(I8, 0)
    with kernel.loop_while(test):
        spin_count.set(spin_count.value + 1)
        with kernel.when(spin_count.value > SPINS_BEFORE_NAP):
            _nap(kernel)


@cache
def barrier() -> Kernel:
    """barrier(team, thread_count): wait until all threads have arrived."""
    kernel = Kernel("barrier", {"team": ADDRESS, "thread_count": I8}, internal=True)
    with kernel.when(kernel["thread_count"].equals(1)):
        kernel.return_(None)
    team = _Words(kernel, kernel["team"])
    barrier_count = team.load(BARRIER_COUNT)
    with kernel.when(kernel.atomic("add", team.address(ARRIVAL_COUNT), 1).equals(kernel["thread_count"] - 1)):
        team.store(ARRIVAL_COUNT, 0)
        team.store(BARRIER_COUNT, barrier_count + 1)
        kernel.return_(None)
    _wait_while(kernel, lambda: team.load(BARRIER_COUNT).equals(barrier_count))
    return kernel


@cache
def _call_worker() -> Kernel:
    """Give a call to a worker, as soon as the worker has finished its previous call."""
    kernel = Kernel(
        "call_worker",
        {"team": ADDRESS, "thread_id": I8, "function": ADDRESS, "table": ADDRESS, "segment": I8, "thread_count": I8},
        internal=True,
    )
    team = _Words(kernel, kernel["team"])
    worker = team.of_worker(kernel["thread_id"])
    previous_state, spin_count = kernel.variable(I8, RUNNING), kernel.variable(I8, 0)
    with kernel.loop_while(lambda: previous_state.value.equals(RUNNING)):
        state = worker.load(STATE)
        with kernel.when(state.equals(SPINNING)), kernel.when(worker.compare_exchange(STATE, SPINNING, RUNNING)):
            previous_state.set(SPINNING)
        with kernel.when(state.equals(ASLEEP)):
            previous_state.set(ASLEEP)
        spin_count.set(spin_count.value + 1)
        with kernel.when(previous_state.value.equals(RUNNING) & (spin_count.value > SPINS_BEFORE_NAP)):
            _nap(kernel)
    worker.addresses[FUNCTION] = kernel["function"]
    worker.addresses[TABLE] = kernel["table"]
    worker.numbers[SEGMENT] = kernel["segment"]
    worker.numbers[CALL_THREAD_COUNT] = kernel["thread_count"]
    with kernel.when(previous_state.value.equals(ASLEEP)):
        worker.store(STATE, RUNNING)
        team.release_lock(worker.addresses[BEGIN_LOCK])
    with kernel.otherwise():
        kernel.atomic("add", worker.address(CALL_COUNT), 1)
    return kernel


@cache
def call_workers() -> Kernel:
    """call_workers(team, function, table, segment, thread_count): make workers call a function for a segment.

    Returns the number of threads that run the segment, including this one: 1 if the team is in use.
    """
    arguments = {"team": ADDRESS, "function": ADDRESS, "table": ADDRESS, "segment": I8, "thread_count": I8}
    kernel = Kernel("call_workers", arguments, I8, internal=True)
    thread_count, team = kernel["thread_count"], _Words(kernel, kernel["team"])
    with kernel.when(thread_count.equals(1)):
        kernel.return_(1)
    with kernel.when(~team.compare_exchange(OWNER, 0, PROGRAM)):
        kernel.return_(1)
    with kernel.loop(1, thread_count, as_written=True) as thread_id:
        call = (kernel["function"], kernel["table"], kernel["segment"], thread_count)
        kernel.call(_call_worker(), kernel["team"], thread_id, *call)
    kernel.return_(thread_count)
    return kernel


@cache
def release() -> Kernel:
    """release(team, thread_count): end a program's ownership of the team, once all workers have left the program.

    It is not enough that all threads have arrived at the last barrier: a worker that naps there reads the rest of its
    script afterwards, and by then the program may have been freed.
    """
    kernel = Kernel("release_team", {"team": ADDRESS, "thread_count": I8}, internal=True)
    team = _Words(kernel, kernel["team"])
    with kernel.when(kernel["thread_count"] > 1):
        with kernel.loop(1, kernel["thread_count"], as_written=True) as thread_id:
            worker = team.of_worker(thread_id)
            _wait_while(kernel, lambda: worker.load(STATE).equals(RUNNING))
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
        team.acquire_lock(worker.addresses[BEGIN_LOCK])
        awake = kernel.variable(I8, 1)
        with kernel.loop_while(lambda: awake.value.differs(0)):
            with kernel.when(worker.numbers[FUNCTION].equals(0)):
                kernel.return_(None)
            segment, thread_count = worker.numbers[SEGMENT], worker.numbers[CALL_THREAD_COUNT]
            arguments = [worker.addresses[TABLE], run, segment, thread_id, thread_count, kernel["team"]]
            kernel.call_address(worker.addresses[FUNCTION], arguments)
            call_count = worker.load(CALL_COUNT)
            worker.store(STATE, SPINNING)
            spin_count = kernel.variable(I8, 0)
            with kernel.loop_while(lambda: awake.value.differs(0) & worker.load(CALL_COUNT).equals(call_count)):
                spin_count.set(spin_count.value + 1)
                with (
                    kernel.when(spin_count.value > SPINS_BEFORE_SLEEP),
                    kernel.when(worker.compare_exchange(STATE, SPINNING, ASLEEP)),
                ):
                    awake.set(0)
    return kernel


@cache
def control() -> Kernel:
    """control(team, operation, a, b): the team's operations, for Python.

    - ACQUIRE: become the owner, with ticket `a`, unless the team is in use. If that succeeds, OWNER is `a`.
    - START: start workers 1 … `b` - 1 on Python tasks.
    - RELEASE: if `a` is the owner's ticket, wait until workers 1 … `b` - 1 have finished, and give up ownership.
    - SERVE: worker `a` waits for a Python task, and runs programs while it waits.
    - FINISH: worker `a` has finished its task, if it had one.

    Two more arguments are unused: `machine.function` calls kernels with six.
    """
    kernel = Kernel("control", {"team": ADDRESS, "operation": I8, "a": I8, "b": I8, "unused1": I8, "unused2": I8})
    operation, a, b, team = kernel["operation"], kernel["a"], kernel["b"], _Words(kernel, kernel["team"])
    null = kernel.lift(0, ADDRESS)
    with kernel.when(operation.equals(ACQUIRE)):
        team.compare_exchange(OWNER, 0, a)
    with kernel.when(operation.equals(START)), kernel.loop(1, b, as_written=True) as thread_id:
        team.of_worker(thread_id).numbers[HAS_TASK] = 1
        kernel.call(_call_worker(), kernel["team"], thread_id, null, null, 0, 0)
    with kernel.when(operation.equals(RELEASE)), kernel.when(team.load(OWNER).equals(a)):
        with kernel.loop(1, b, as_written=True) as thread_id:
            worker = team.of_worker(thread_id)
            with kernel.when(worker.numbers[HAS_TASK].differs(0)):
                team.acquire_lock(worker.addresses[END_LOCK])
                worker.numbers[HAS_TASK] = 0
        team.store(OWNER, 0)
    with kernel.when(operation.equals(SERVE)):
        kernel.call(_serve(), kernel["team"], a)
    with kernel.when(operation.equals(FINISH)):
        worker = team.of_worker(a)
        with kernel.when(worker.compare_exchange(STATE, RUNNING, ASLEEP)):
            team.release_lock(worker.addresses[END_LOCK])
    return kernel
