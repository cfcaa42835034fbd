"""The one function that runs every program: it reads a script and calls kernels, on several threads at once.

A program is data (`lower.program`). Its `table` begins with the entries named here; then come the addresses of arrays.
For each part of the program and each thread there is a **script**, whole numbers that say what to do in turn:

    CALL kernel words first last fresh      call a kernel by its address
    SET entry address                       put an address into the table
    CHECK number check words end            go to the end, with this number as the answer, if a check fails
    GROUP first last moves members ...      for each block of rows call several kernels in turn; between two blocks
                                            entries of the table move, so that windows stay where they are
    WAIT                                    until all threads have come here
    END

The first thread calls the others (`team_loops`), which enter the driver too; each has a script of its own.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels import team_loops
from chainrule.kernels.memory import WRITEABLE
from chainrule.kernels.tree import ADDRESS, I4, I8, Kernel

if TYPE_CHECKING:
    from chainrule.kernels.tree import Expr, Type

END, CALL, SET, CHECK, GROUP, WAIT = range(6)
GROUP_HEAD, MOVE_WORDS, MEMBER_WORDS = 5, 3, 4
"""Words: of a group; for each move (entry, address at first, bytes from block to block); for each member (kernel,
words, rows of a block, rows in all)."""

(
    SGEMM, DGEMM, GET_THREADS, SET_THREADS, BEFORE, WORK, NUMBERS, ANSWER, DONE, SCRIPTS, SHARES, CHANGED, FLUSH,
    RESERVED,
) = range(14)  # fmt: skip
"""Entries of a program's table: BLAS's product in single and in double precision; BLAS's functions that tell and set
how many threads it uses, and how many those were before the run; the driver's own address; the numbers that change
from call to call; what a check has found; how many parts have been run, ever; the addresses of the scripts; how many
threads share the program; where the memory outside that it changes begins and ends, and its flags; FLUSH_DENORMALS,
or 0. Behind these come the arrays."""

READ_ONLY, ARGUMENT = -1, -2
"""Answers of checks, besides the number, from 1 on, of an index that is out of range: memory to be changed is
read-only; or ARGUMENT - i, where an argument i is not aligned, or reaches into memory to be changed."""

CHECK_ARGUMENTS = 1
"""The entry code for validating arguments; RUN runs a part of a program."""

CHANGED_WORDS = 3

_X86 = platform.machine().lower() in ("x86_64", "amd64")
FLUSH_DENORMALS = 0x8040 if _X86 else 0
"""The bits of the processor's control word by which it takes and gives 0 for numbers below 10⁻³⁸ (float32), which
have not all their digits. With them it is up to a hundred times as slow, and the moments of weights that get no
gradient any more become such numbers. So programs that change memory outside do without them; all others give what
NumPy gives."""


@cache
def driver() -> Kernel:
    """work(table, task, part, me, shares, team), by which every thread enters for a part of a program."""
    kernel = Kernel("work", {"table": ADDRESS, "task": I8, "part": I8, "me": I8, "shares": I8, "team": ADDRESS})
    table, part, me, team = kernel["table"], kernel["part"], kernel["me"], kernel["team"]
    entries, addresses = kernel.array(table, I8), kernel.array(table, ADDRESS)
    scripts = kernel.array(addresses[SCRIPTS], ADDRESS)
    with kernel.when(kernel["task"].equals(CHECK_ARGUMENTS)):
        entries[ANSWER] = kernel.call(_run_script(), table, scripts[0], 1, team)
        kernel.give(None)
    shares = kernel.variable(I8, kernel["shares"])
    with kernel.when(me.equals(0)):
        kernel.call(_hold_blas(), table)
        shares.set(kernel.call(team_loops.call_others(), team, addresses[WORK], table, part, shares.value))
    mine = kernel.select(shares.value.equals(1), 0, me + 1)
    rules = _choose_denormals(kernel, entries[FLUSH])
    script = scripts[part * (entries[SHARES] + 1) + mine + 1]
    answer = kernel.call(_run_script(), table, script, shares.value, team)
    _restore_denormals(kernel, rules)
    with kernel.when(me.equals(0)):
        entries[ANSWER] = answer
        with kernel.when(answer.equals(0)):
            entries[DONE] = entries[DONE] + 1
        kernel.call(_release_blas(), table)
        kernel.call(team_loops.release(), team, shares.value)
    return kernel


@cache
def _run_script() -> Kernel:
    """Run a script: 0, or the number of the check that has failed."""
    kernel = Kernel("run_script", {"table": ADDRESS, "script": ADDRESS, "shares": I8, "team": ADDRESS}, I8, inner=True)
    table, shares = kernel["table"], kernel["shares"]
    entries, script, addresses = kernel.array(table, I8), kernel.array("script", I8), kernel.array("script", ADDRESS)
    numbers = kernel.array(table, ADDRESS)[NUMBERS]
    at, answer = kernel.variable(I8, 0), kernel.variable(I8, 0)

    def call(member: Expr, first: Expr, last: Expr, fresh: Expr) -> None:
        function, words = addresses[member], addresses[member + 1]
        kernel.call_address(function, [table, words, numbers, first, last, fresh])

    def set_entry(line: Expr) -> None:
        entries[script[line]] = script[line + 1]

    with kernel.loop_while(lambda: script[at.value].differs(END)):
        here = at.value
        code = script[here]
        with kernel.when(code.equals(CALL)):
            call(here + 1, script[here + 3], script[here + 4], script[here + 5])
            at.set(here + 6)
        with kernel.when(code.equals(WAIT)):
            kernel.call(team_loops.wait(), kernel["team"], shares)
            at.set(here + 1)
        with kernel.when(code.equals(SET)):
            set_entry(here + 1)
            at.set(here + 3)
        with kernel.when(code.equals(CHECK)):
            at.set(here + 5)
            wrong = kernel.call_address(addresses[here + 2], [table, addresses[here + 3]], I8)
            with kernel.when(wrong.differs(0)):
                answer.set(script[here + 1])
                kernel.call(team_loops.wait(), kernel["team"], shares)  # each thread finds the same
                at.set(script[here + 4])
        with kernel.when(code.equals(GROUP)):
            moves, members = script[here + 3], script[here + 4]
            first_move = here + GROUP_HEAD
            first_member = first_move + moves * MOVE_WORDS
            begin = script[here + 1]
            with kernel.loop(0, moves) as m:
                set_entry(first_move + m * MOVE_WORDS)
            with kernel.loop(begin, script[here + 2]) as block:
                with kernel.loop(0, members) as m:
                    member = first_member + m * MEMBER_WORDS
                    each = script[member + 2]
                    last = kernel.least((block + 1) * each, script[member + 3])
                    call(member, block * each, last, block.equals(begin).to(I8))
                with kernel.loop(0, moves) as m:
                    move = first_move + m * MOVE_WORDS
                    entries[script[move]] = entries[script[move]] - script[move + 2]
            at.set(first_member + members * MEMBER_WORDS)
    kernel.give(answer.value)
    return kernel


@cache
def all_below(type: Type) -> Kernel:
    """A check: how many of some whole numbers are neither from 0 to size - 1 nor `spared`."""
    kernel = Kernel(f"all_below_{type}", {"table": ADDRESS, "words": ADDRESS}, I8)
    words = kernel.array("words", I8)
    indices = kernel.array(kernel.array("table", ADDRESS)[words[0]], type)
    count, size, spared = words[1], words[2], words[3]
    wrong = kernel.variable(I8, 0)
    with kernel.loop(0, count) as i:
        index = indices[i].to(I8)
        fine = ((index >= 0) & (index < size)) | index.equals(spared)
        wrong.sum((~fine).to(I8))
    kernel.give(wrong.value)
    return kernel


@cache
def writable() -> Kernel:
    """A check: how many of the arrays that the program changes are read-only."""
    kernel = Kernel("writable", {"table": ADDRESS, "words": ADDRESS}, I8)
    changed = kernel.array(kernel.array("table", ADDRESS)[CHANGED], ADDRESS)
    wrong = kernel.variable(I8, 0)
    with kernel.loop(0, kernel.array("words", I8)[0], as_written=True) as i:
        flags = kernel.array(changed[i * CHANGED_WORDS + 2], I4)[0]
        wrong.sum((flags & WRITEABLE).equals(0).to(I8))
    kernel.give(wrong.value)
    return kernel


@cache
def apart() -> Kernel:
    """A check: an argument is aligned, and reaches into none of the arrays that the program changes."""
    kernel = Kernel("apart", {"table": ADDRESS, "words": ADDRESS}, I8)
    words = kernel.array("words", I8)
    start = kernel.array("table", I8)[words[0]]
    size, item, count = words[1], words[2], words[3]
    changed = kernel.array(kernel.array("table", ADDRESS)[CHANGED], I8)
    wrong = kernel.variable(I8, (start & (item - 1)).differs(0).to(I8))
    with kernel.loop(0, count, as_written=True) as i:
        begin, end = changed[i * CHANGED_WORDS], changed[i * CHANGED_WORDS + 1]
        wrong.sum(((start < end) & (begin < start + size)).to(I8))
    kernel.give(wrong.value)
    return kernel


# BLAS and floats


@cache
def _hold_blas() -> Kernel:
    """Hold BLAS to the thread that calls it, until it is released: threads of ours call it at the same time."""
    kernel = Kernel("hold_blas", {"table": ADDRESS}, inner=True)
    entries, addresses = kernel.array("table", I8), kernel.array("table", ADDRESS)
    with kernel.when(entries[GET_THREADS].differs(0)):
        before = kernel.call_address(addresses[GET_THREADS], [], I4).to(I8)
        with kernel.when(before.differs(1)):
            entries[BEFORE] = before
            kernel.call_address(addresses[SET_THREADS], [kernel.lift(1, I4)])
    return kernel


@cache
def _release_blas() -> Kernel:
    """Let BLAS use as many threads as before."""
    kernel = Kernel("release_blas", {"table": ADDRESS}, inner=True)
    entries = kernel.array("table", I8)
    before = entries[BEFORE]
    with kernel.when(before.differs(0)):
        kernel.call_address(kernel.array("table", ADDRESS)[SET_THREADS], [before.to(I4)])
        entries[BEFORE] = 0
    return kernel


def _choose_denormals(kernel: Kernel, flush: Expr) -> Expr:
    """From now on in this thread, the program's rule (FLUSH_DENORMALS or 0); the control word with the rule before."""
    if not _X86:
        return kernel.lift(0, I4)
    before = kernel.add("control_word", (), I4)
    kernel.effect("set_control_word", (before & ~FLUSH_DENORMALS | flush.to(I4),))
    return before


def _restore_denormals(kernel: Kernel, before: Expr) -> None:
    if _X86:
        kernel.effect("set_control_word", (before,))
