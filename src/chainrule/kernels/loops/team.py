"""How threads share work, in words of memory that all of them see: who has the team, and what each worker is to do.

All of it is done here, in compiled code without Python's lock, for a signal's handler or an asynchronous exception may
raise between any two steps of Python. Seen from there, a worker is started, or all workers have answered, in one step.

The words, whole numbers of 64 bits that begin at a cache line (`kernels.team` makes them): OWNER is who has the team,
0 if nobody has; LOCK and UNLOCK are the addresses of Python's functions that take and release a lock; ARRIVED and TURN
count at a barrier. The words of worker number `me`, from 1 on, begin at WORKER * me: its STATE, how many CALLS it has
had, its locks BEGIN and END, and what it was last called to: the FUNCTION `work` of a program, with its TABLE, which
PART, and how many SHARES there are; or FUNCTION is 0 for a task of Python's, whose end the owner awaits: it is BUSY.
No two threads wait for words of the same cache line.

A worker that has run a program spins, for the time that a batch of data takes to load: to be called then takes less
than a microsecond, where waking a thread that sleeps takes twenty or more. Then it sleeps on its lock BEGIN.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_helpers

from chainrule.kernels.compile import inner
from chainrule.kernels.loops.memory import pointer
from chainrule.kernels.loops.tile import vector_code as intrinsic
from chainrule.kernels.native import RUN
from chainrule.kernels.team import (
    ANSWERED,
    ARRIVED,
    ATTEND,
    BEGIN,
    BUSY,
    CALLS,
    END,
    FUNCTION,
    LEAVE,
    LOCK,
    OWNER,
    PART,
    SHARES,
    START,
    STATE,
    TABLE,
    TAKE,
    TURN,
    UNLOCK,
    WORKER,
)

cgutils: Any = untyped_helpers

ASLEEP, SPINNING, CALLED = 0, 1, 2
PATIENCE, POLITENESS, NAP = 200_000, 150_000, 50
"""So many looks at memory, about 150 µs, before a thread goes to sleep for good; so many, about 100 µs, before it naps,
as it must where other programs want the processors: the thread that it waits for then runs in its place; and for how
many microseconds, of which the system makes twice as many: a thread should not nap while another does a short stage."""
PROGRAM = -1  # the owner is a program


@intrinsic
def _load(typing_context: Any, words: Any, at: Any) -> Any:
    """The word words[at]."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.load_atomic(b.gep(values[0], [values[1]]), "seq_cst", 8)

    return types.int64(words, types.int64), generate


@intrinsic
def _store(typing_context: Any, words: Any, at: Any, value: Any) -> Any:
    """Let words[at] be this."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        b.store_atomic(values[2], b.gep(values[0], [values[1]]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), generate


@intrinsic
def _add(typing_context: Any, words: Any, at: Any, value: Any) -> Any:
    """Add to words[at]; what it was."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.atomic_rmw("add", b.gep(values[0], [values[1]]), values[2], "seq_cst")

    return types.int64(words, types.int64, types.int64), generate


@intrinsic
def _change(typing_context: Any, words: Any, at: Any, before: Any, after: Any) -> Any:
    """Change words[at] if it is `before`; whether it was."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word = b.gep(values[0], [values[1]])
        return b.extract_value(b.cmpxchg(word, values[2], values[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(words, types.int64, types.int64, types.int64), generate


@intrinsic
def _nap(typing_context: Any) -> Any:
    """Let another thread have this processor for a moment."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(32)
        function = cgutils.get_or_insert_function(b.module, ir.FunctionType(word, [word]), "usleep")
        b.call(function, [ir.Constant(word, NAP)])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _take_lock(typing_context: Any, function: Any, lock: Any) -> Any:
    """Take a lock of Python's, however long that takes: no signal ends the wait."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        anything, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(flag, [anything, flag])
        b.call(b.inttoptr(values[0], kind.as_pointer()), [b.inttoptr(values[1], anything), flag(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _release_lock(typing_context: Any, function: Any, lock: Any) -> Any:
    """Release a lock of Python's, which another thread may have taken."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        anything = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [anything])
        b.call(b.inttoptr(values[0], kind.as_pointer()), [b.inttoptr(values[1], anything)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _work(typing_context: Any, function: Any, table: Any, part: Any, me: Any, shares: Any, team: Any) -> Any:
    """Call a program's function `work` by its address, to run a part."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word, anything = ir.IntType(64), ir.IntType(8).as_pointer()
        nowhere = cgutils.alloca_once(b, word)  # Numba's functions put nothing there
        kind = ir.FunctionType(ir.IntType(32), [anything] * 2 + [word] * 6)
        address, table_, *rest = values
        given = [b.bitcast(nowhere, anything), anything(None), table_, word(RUN), *rest]
        b.call(b.inttoptr(address, kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@inner
def wait(team: Any, shares: int) -> None:
    """Go on when all threads have come here."""
    if shares == 1:
        return
    here = _load(team, TURN)
    if _add(team, ARRIVED, 1) == shares - 1:
        _store(team, ARRIVED, 0)
        _store(team, TURN, here + 1)
        return
    looks = 0
    while _load(team, TURN) == here:
        looks += 1
        if looks > POLITENESS:  # the others have lost their processor
            _nap()


@inner
def _call(team: Any, me: int, function: int, table: int, part: int, shares: int) -> None:
    """Call a worker, which answered its last call already or is about to."""
    words = WORKER * me
    looks = 0
    while True:
        now = _load(team, words + STATE)
        if now == ASLEEP or (now == SPINNING and _change(team, words + STATE, SPINNING, CALLED)):
            team[words + FUNCTION], team[words + TABLE] = function, table
            team[words + PART], team[words + SHARES] = part, shares
            if now == ASLEEP:
                _store(team, words + STATE, CALLED)
                _release_lock(team[UNLOCK], team[words + BEGIN])
            else:
                _add(team, words + CALLS, 1)
            return
        looks += 1
        if looks > POLITENESS:
            _nap()


@inner
def call_others(team: Any, function: int, table: int, part: int, shares: int) -> int:
    """Have workers run a part of a program with the thread that calls this; with how many shares: 1 if it is alone."""
    if shares == 1 or not _change(team, OWNER, 0, PROGRAM):
        return 1
    for me in range(1, shares):
        _call(team, me, function, table, part, shares)
    return shares


@inner
def release(team: Any, shares: int) -> None:
    """Let others have the team, if a program had it: its last barrier is behind all threads."""
    if shares > 1:
        _store(team, OWNER, 0)


@inner
def _attend(team: Any, address: int, me: int) -> None:
    """The life of a worker: sleep, run programs, spin; until there is a task of Python's."""
    words = WORKER * me
    while True:
        _take_lock(team[LOCK], team[words + BEGIN])
        spins = True
        while spins:
            if team[words + FUNCTION] == 0:
                return
            part, shares = team[words + PART], team[words + SHARES]
            _work(team[words + FUNCTION], team[words + TABLE], part, me, shares, address)
            before = _load(team, words + CALLS)
            _store(team, words + STATE, SPINNING)
            looks = 0
            while spins and _load(team, words + CALLS) == before:
                looks += 1
                spins = looks <= PATIENCE or not _change(team, words + STATE, SPINNING, ASLEEP)


def act(address: int, what: int, a: int, b: int) -> None:
    """What Python asks of the team.

    TAKE it for an owner `a`, unless another has it: then OWNER is not `a`. START workers on tasks of Python's, for `b`
    shares. LEAVE it, if it is that of `a`, once the workers of `b` shares have answered. And worker `a` itself: ATTEND,
    which returns when there is a task of Python's; and the task is ANSWERED, if there was one.
    """
    team = pointer(address, types.int64)
    words = WORKER * a
    if what == TAKE:
        _change(team, OWNER, 0, a)
    elif what == START:
        for me in range(1, b):
            team[WORKER * me + BUSY] = 1
            _call(team, me, 0, 0, 0, 0)
    elif what == LEAVE:
        if _load(team, OWNER) == a:
            for me in range(1, b):
                if team[WORKER * me + BUSY] != 0:
                    _take_lock(team[LOCK], team[WORKER * me + END])
                    team[WORKER * me + BUSY] = 0
            _store(team, OWNER, 0)
    elif what == ATTEND:
        _attend(team, address, a)
    elif what == ANSWERED and _change(team, words + STATE, CALLED, ASLEEP):
        _release_lock(team[UNLOCK], team[words + END])
