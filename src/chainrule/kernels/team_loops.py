"""How threads share work, in words of memory that all of them see: who has the team, and what each worker is to do.

All of it is done in compiled code without Python's lock, for a signal's handler or an asynchronous exception may raise
between any two steps of Python. Seen from there, a worker is started, or all workers have answered, in one step.

The words, whole numbers of 64 bits that begin at a cache line (`kernels.team` makes them): OWNER is who has the team,
0 if nobody has; LOCK and UNLOCK are the addresses of Python's functions that take and release a lock; ARRIVED and TURN
count at a barrier. The words of worker number `me`, from 1 on, begin at WORKER * me: its STATE, how many CALLS it has
had, its locks BEGIN and END, and what it was last called to: the FUNCTION `work` of the driver, with a program's TABLE,
which PART, and how many SHARES there are; or FUNCTION is 0 for a task of Python's, whose end the owner awaits: it is
BUSY. No two threads wait for words of the same cache line.

A worker that has run a program spins, for the time that a batch of data takes to load: to be called then takes less
than a microsecond, where waking a thread that sleeps takes twenty or more. Then it sleeps on its lock BEGIN.
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
BEGIN, END, FUNCTION, TABLE, PART, SHARES, BUSY = range(2 * LINE, 2 * LINE + 7)
"""Positions in the team's words."""
TAKE, START, LEAVE, ATTEND, ANSWERED = range(5)
"""What the team is asked for; see `act`."""
RUN = 0
"""The driver's entry code for running a part of a program."""

ASLEEP, SPINNING, CALLED = range(3)
SPINS, SPINS_BEFORE_NAP, NAP = 200_000, 150_000, 50
"""So many looks at memory, about 150 µs, before a thread goes to sleep for good; so many, about 100 µs, before it naps,
as it must where other programs want the processors: the thread that it waits for then runs in its place; and for how
many microseconds, of which the system makes twice as many: a thread should not nap while another does a short stage."""
PROGRAM = -1  # the owner is a program


class _Words:
    """The team's words, or those of a worker, inside a kernel."""

    def __init__(self, kernel: Kernel, address: Expr) -> None:
        self.kernel = kernel
        self.numbers, self.addresses = kernel.array(address, I8), kernel.array(address, ADDRESS)

    def of_worker(self, me: Expr) -> _Words:
        """A worker's."""
        return _Words(self.kernel, self.numbers.at(me * WORKER).address)

    def word(self, position: int) -> Expr:
        """The address of a word, for atomic instructions."""
        return self.numbers.at(position).address

    def load(self, position: int) -> Expr:
        return self.kernel.atomic("load", self.word(position))

    def store(self, position: int, value: Expr | int) -> None:
        self.kernel.atomic("store", self.word(position), value)

    def swap_if(self, position: int, before: Expr | int, after: Expr | int) -> Expr:
        """Change a word if it is `before`; whether it was."""
        return self.kernel.atomic("swap_if", self.word(position), before, after)

    def take_lock(self, lock: Expr) -> None:
        """Take a lock of Python's, however long that takes: no signal ends the wait."""
        self.kernel.call_address(self.addresses[LOCK], [lock, self.kernel.lift(1, I4)], I4)

    def release_lock(self, lock: Expr) -> None:
        """Release a lock of Python's, which another thread may have taken."""
        self.kernel.call_address(self.addresses[UNLOCK], [lock])


def _nap(kernel: Kernel) -> None:
    """Let another thread have this processor for a moment."""
    kernel.call_library("usleep", [kernel.lift(NAP, I4)], I4)


@cache
def wait() -> Kernel:
    """wait(team, shares): go on when all threads have come here."""
    kernel = Kernel("wait", {"team": ADDRESS, "shares": I8}, inner=True)
    with kernel.when(kernel["shares"].equals(1)):
        kernel.give(None)
    team = _Words(kernel, kernel["team"])
    here = team.load(TURN)
    with kernel.when(kernel.atomic("add", team.word(ARRIVED), 1).equals(kernel["shares"] - 1)):
        team.store(ARRIVED, 0)
        team.store(TURN, here + 1)
        kernel.give(None)
    spins = kernel.variable(I8, 0)
    with kernel.loop_while(lambda: team.load(TURN).equals(here)):
        spins.set(spins.value + 1)
        with kernel.when(spins.value > SPINS_BEFORE_NAP):  # the others have lost their processor
            _nap(kernel)
    return kernel


@cache
def _call() -> Kernel:
    """Call a worker, which answered its last call already or is about to."""
    kernel = Kernel(
        "call_worker",
        {"team": ADDRESS, "me": I8, "function": ADDRESS, "table": ADDRESS, "part": I8, "shares": I8},
        inner=True,
    )
    team = _Words(kernel, kernel["team"])
    worker = team.of_worker(kernel["me"])
    called, spins = kernel.variable(I8, 0), kernel.variable(I8, 0)
    with kernel.loop_while(lambda: called.value.equals(0)):
        now = worker.load(STATE)
        with kernel.when(now.equals(SPINNING)), kernel.when(worker.swap_if(STATE, SPINNING, CALLED)):
            called.set(1)
        with kernel.when(now.equals(ASLEEP)):
            called.set(2)
        spins.set(spins.value + 1)
        with kernel.when(called.value.equals(0) & (spins.value > SPINS_BEFORE_NAP)):
            _nap(kernel)
    worker.addresses[FUNCTION] = kernel["function"]
    worker.addresses[TABLE] = kernel["table"]
    worker.numbers[PART] = kernel["part"]
    worker.numbers[SHARES] = kernel["shares"]
    with kernel.when(called.value.equals(2)):
        worker.store(STATE, CALLED)
        team.release_lock(worker.addresses[BEGIN])
    with kernel.otherwise():
        kernel.atomic("add", worker.word(CALLS), 1)
    return kernel


@cache
def call_others() -> Kernel:
    """call_others(team, function, table, part, shares): have workers run a part of a program with the calling thread.

    Gives how many threads share it: 1 if the caller is alone.
    """
    arguments = {"team": ADDRESS, "function": ADDRESS, "table": ADDRESS, "part": I8, "shares": I8}
    kernel = Kernel("call_others", arguments, I8, inner=True)
    shares, team = kernel["shares"], _Words(kernel, kernel["team"])
    with kernel.when(shares.equals(1)):
        kernel.give(1)
    with kernel.when(~team.swap_if(OWNER, 0, PROGRAM)):
        kernel.give(1)
    with kernel.loop(1, shares, as_written=True) as me:
        kernel.call(_call(), kernel["team"], me, kernel["function"], kernel["table"], kernel["part"], shares)
    kernel.give(shares)
    return kernel


@cache
def release() -> Kernel:
    """release(team, shares): let others have the team, if a program had it, once all workers have left the program.

    The last barrier is not enough: a worker that naps there reads its script to the end only then, and the program may
    be gone by that time.
    """
    kernel = Kernel("release_team", {"team": ADDRESS, "shares": I8}, inner=True)
    team = _Words(kernel, kernel["team"])
    with kernel.when(kernel["shares"] > 1):
        with kernel.loop(1, kernel["shares"], as_written=True) as me:
            worker, spins = team.of_worker(me), kernel.variable(I8, 0)
            with kernel.loop_while(lambda: worker.load(STATE).equals(CALLED)):
                spins.set(spins.value + 1)
                with kernel.when(spins.value > SPINS_BEFORE_NAP):
                    _nap(kernel)
        team.store(OWNER, 0)
    return kernel


@cache
def _attend() -> Kernel:
    """The life of a worker: sleep, run programs, spin; until there is a task of Python's."""
    kernel = Kernel("attend", {"team": ADDRESS, "me": I8}, inner=True)
    me, team = kernel["me"], _Words(kernel, kernel["team"])
    worker = team.of_worker(me)
    run = kernel.lift(RUN, I8)
    with kernel.loop_while(lambda: kernel["me"].differs(0)):
        team.take_lock(worker.addresses[BEGIN])
        spins = kernel.variable(I8, 1)
        with kernel.loop_while(lambda: spins.value.differs(0)):
            with kernel.when(worker.numbers[FUNCTION].equals(0)):
                kernel.give(None)
            part, shares = worker.numbers[PART], worker.numbers[SHARES]
            arguments = [worker.addresses[TABLE], run, part, me, shares, kernel["team"]]
            kernel.call_address(worker.addresses[FUNCTION], arguments)
            before = worker.load(CALLS)
            worker.store(STATE, SPINNING)
            looks = kernel.variable(I8, 0)
            with kernel.loop_while(lambda: spins.value.differs(0) & worker.load(CALLS).equals(before)):
                looks.set(looks.value + 1)
                with kernel.when(looks.value > SPINS), kernel.when(worker.swap_if(STATE, SPINNING, ASLEEP)):
                    spins.set(0)
    return kernel


@cache
def act() -> Kernel:
    """act(team, what, a, b): what Python asks of the team.

    TAKE it for an owner `a`, unless another has it: then OWNER is not `a`. START workers on tasks of Python's, for `b`
    shares. LEAVE it, if it is that of `a`, once the workers of `b` shares have answered. And worker `a` itself: ATTEND,
    which returns when there is a task of Python's; and the task is ANSWERED, if there was one.
    """
    kernel = Kernel("act", {"team": ADDRESS, "what": I8, "a": I8, "b": I8, "unused": I8, "spare": I8})
    what, a, b, team = kernel["what"], kernel["a"], kernel["b"], _Words(kernel, kernel["team"])
    nothing = kernel.lift(0, ADDRESS)
    with kernel.when(what.equals(TAKE)):
        team.swap_if(OWNER, 0, a)
    with kernel.when(what.equals(START)), kernel.loop(1, b, as_written=True) as me:
        team.of_worker(me).numbers[BUSY] = 1
        kernel.call(_call(), kernel["team"], me, nothing, nothing, 0, 0)
    with kernel.when(what.equals(LEAVE)), kernel.when(team.load(OWNER).equals(a)):
        with kernel.loop(1, b, as_written=True) as me:
            worker = team.of_worker(me)
            with kernel.when(worker.numbers[BUSY].differs(0)):
                team.take_lock(worker.addresses[END])
                worker.numbers[BUSY] = 0
        team.store(OWNER, 0)
    with kernel.when(what.equals(ATTEND)):
        kernel.call(_attend(), kernel["team"], a)
    with kernel.when(what.equals(ANSWERED)):
        worker = team.of_worker(a)
        with kernel.when(worker.swap_if(STATE, CALLED, ASLEEP)):
            team.release_lock(worker.addresses[END])
    return kernel
