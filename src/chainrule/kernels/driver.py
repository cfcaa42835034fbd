"""The function that runs every program: it interprets scripts and calls kernels, on several threads at once.

A program is data (`lower.program`). Its `table` begins with the entries named below; the data pointers of its arrays
follow. Python calls divide a program into **segments**. For each segment and each thread there is a **script**, a list
of 64-bit integers:

    CALL kernel descriptor first last overwrite          call a kernel by its address
    SET entry address                                    store an address in the table
    CHECK number check descriptor end                    run a check; if it fails, go to `end` with `number` as result
    GROUP first last moves members ...                   for each block of rows, call several kernels in turn, then
                                                         move the addresses of block buffers back by one block
    BARRIER                                              wait until all threads have arrived
    END

The first thread wakes the others (`team_loops`), which enter the driver too; each runs its own script.

`lower.script` writes the scripts and `lower.program` the table; both use the constants below.

A block buffer holds one block of a value. Kernels index it by the row in the whole value, so its address in the table
is where the whole value would begin: one block further back for each block.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels import team_loops
from chainrule.kernels.memory import WRITEABLE_BIT
from chainrule.kernels.tree import ADDRESS, I4, I8, Kernel

if TYPE_CHECKING:
    from chainrule.kernels.tree import Expr, Type

END, CALL, SET, CHECK, GROUP, BARRIER = range(6)
GROUP_HEAD, MOVE_WORDS, MEMBER_WORDS = 5, 3, 4
"""Sizes in integers: the fixed part of a GROUP; each move (entry, first address, bytes per block: see above); each
member (kernel, descriptor, rows per block, all rows).
"""

(
    SGEMM, DGEMM, GET_THREADS, SET_THREADS, BLAS_THREADS, DRIVER, SCALARS, CHECK_RESULT, PROGRESS, SCRIPTS,
    THREAD_COUNT, CHANGED_ARRAYS, FLUSH, RESERVED,
) = range(14)  # fmt: skip
"""Entries of a program's table, before its arrays:

- SGEMM, DGEMM: BLAS's product in single and in double precision.
- GET_THREADS, SET_THREADS: BLAS's functions for its number of threads; BLAS_THREADS: that number before the run.
- DRIVER: the address of the driver itself.
- SCALARS: the address of the program's scalars, which change from call to call.
- CHECK_RESULT: the number of the check that failed, or 0.
- PROGRESS: how many segments, Python calls and separate argument checks have been completed so far.
- SCRIPTS: the addresses of the scripts: one that only runs the checks; then for each segment, one that runs it on a
  single thread, and one for each of THREAD_COUNT threads.
- THREAD_COUNT: how many threads run the program.
- CHANGED_ARRAYS: for each external array that the program writes: start, end, address of its flags.
- FLUSH: FLUSH_SUBNORMALS, or 0.
"""

READ_ONLY, ARGUMENT = -1, -2
"""Results of failed checks. Positive numbers: an index is out of range. READ_ONLY: an external array that the program
writes is read-only. ARGUMENT - i: argument i is not aligned, or overlaps such an array.
"""

CHECK_ARGUMENTS = 1
"""Entry code for validating arguments. (Entry code RUN, in `team_loops`, runs a segment.)"""

CHANGED_WORDS = 3  # integers for each array at CHANGED_ARRAYS

_X86 = platform.machine().lower() in ("x86_64", "amd64")
FLUSH_SUBNORMALS = 0x8040 if _X86 else 0
"""Control-word bits that make the processor treat subnormal floats (below 10⁻³⁸ in float32) as 0.

Arithmetic on subnormals is up to a hundred times slower, and optimizer moments of weights that get no gradient decay to
them. So programs that write external memory flush them; all others give the same results as NumPy.
"""


@cache
def driver() -> Kernel:
    """driver(table, entry_code, segment, thread_id, thread_count, team): run a thread's script of a segment.

    Called for the first thread, it has workers call it for the others. With CHECK_ARGUMENTS, it only runs the checks.
    """
    kernel = Kernel(
        "driver",
        {"table": ADDRESS, "entry_code": I8, "segment": I8, "thread_id": I8, "thread_count": I8, "team": ADDRESS},
    )
    table, segment, thread_id, team = kernel["table"], kernel["segment"], kernel["thread_id"], kernel["team"]
    entries, addresses = kernel.array(table, I8), kernel.array(table, ADDRESS)
    scripts = kernel.array(addresses[SCRIPTS], ADDRESS)
    with kernel.when(kernel["entry_code"].equals(CHECK_ARGUMENTS)):
        entries[CHECK_RESULT] = kernel.call(_run_script(), table, scripts[0], 1, team)
        kernel.return_(None)
    thread_count = kernel.variable(I8, kernel["thread_count"])
    with kernel.when(thread_id.equals(0)):
        kernel.call(_limit_blas_threads(), table)
        thread_count.set(
            kernel.call(team_loops.call_workers(), team, addresses[DRIVER], table, segment, thread_count.value)
        )
    script_index = kernel.select(thread_count.value.equals(1), 0, thread_id + 1)
    control_word = _set_subnormal_mode(kernel, entries[FLUSH])
    script = scripts[segment * (entries[THREAD_COUNT] + 1) + script_index + 1]
    result = kernel.call(_run_script(), table, script, thread_count.value, team)
    _restore_subnormal_mode(kernel, control_word)
    with kernel.when(thread_id.equals(0)):
        entries[CHECK_RESULT] = result
        with kernel.when(result.equals(0)):
            entries[PROGRESS] = entries[PROGRESS] + 1
        kernel.call(_restore_blas_threads(), table)
        kernel.call(team_loops.release(), team, thread_count.value)
    return kernel


@cache
def _run_script() -> Kernel:
    """Run a script. Returns 0, or the number of the check that failed."""
    kernel = Kernel(
        "run_script", {"table": ADDRESS, "script": ADDRESS, "thread_count": I8, "team": ADDRESS}, I8, internal=True
    )
    table, thread_count = kernel["table"], kernel["thread_count"]
    entries, script, addresses = kernel.array(table, I8), kernel.array("script", I8), kernel.array("script", ADDRESS)
    scalars = kernel.array(table, ADDRESS)[SCALARS]
    cursor, result = kernel.variable(I8, 0), kernel.variable(I8, 0)

    def call(member: Expr, first: Expr, last: Expr, overwrite: Expr) -> None:
        function, descriptor = addresses[member], addresses[member + 1]
        kernel.call_address(function, [table, descriptor, scalars, first, last, overwrite])

    def set_entry(position: Expr) -> None:
        entries[script[position]] = script[position + 1]

    with kernel.loop_while(lambda: script[cursor.value].differs(END)):
        position = cursor.value
        code = script[position]
        with kernel.when(code.equals(CALL)):
            call(position + 1, script[position + 3], script[position + 4], script[position + 5])
            cursor.set(position + 6)
        with kernel.when(code.equals(BARRIER)):
            kernel.call(team_loops.barrier(), kernel["team"], thread_count)
            cursor.set(position + 1)
        with kernel.when(code.equals(SET)):
            set_entry(position + 1)
            cursor.set(position + 3)
        with kernel.when(code.equals(CHECK)):
            cursor.set(position + 5)
            failures = kernel.call_address(addresses[position + 2], [table, addresses[position + 3]], I8)
            with kernel.when(failures.differs(0)):
                result.set(script[position + 1])
                # every thread runs the check, and it fails on all: wait until all have run it before one returns
                kernel.call(team_loops.barrier(), kernel["team"], thread_count)
                cursor.set(script[position + 4])
        with kernel.when(code.equals(GROUP)):
            moves, members = script[position + 3], script[position + 4]
            first_move = position + GROUP_HEAD
            first_member = first_move + moves * MOVE_WORDS
            begin = script[position + 1]
            with kernel.loop(0, moves) as m:
                set_entry(first_move + m * MOVE_WORDS)
            with kernel.loop(begin, script[position + 2]) as block:
                with kernel.loop(0, members) as m:
                    member = first_member + m * MEMBER_WORDS
                    block_rows = script[member + 2]
                    last = kernel.minimum((block + 1) * block_rows, script[member + 3])
                    call(member, block * block_rows, last, block.equals(begin).to(I8))
                with kernel.loop(0, moves) as m:
                    move = first_move + m * MOVE_WORDS
                    entries[script[move]] = entries[script[move]] - script[move + 2]
            cursor.set(first_member + members * MEMBER_WORDS)
    kernel.return_(result.value)
    return kernel


@cache
def count_invalid_indices(type: Type) -> Kernel:
    """A check: how many of some integers are neither in 0 … size - 1 nor equal to `ignore_index`."""
    kernel = Kernel(f"count_invalid_indices_{type}", {"table": ADDRESS, "descriptor": ADDRESS}, I8)
    descriptor = kernel.array("descriptor", I8)
    indices = kernel.array(kernel.array("table", ADDRESS)[descriptor[0]], type)
    count, size, ignore_index = descriptor[1], descriptor[2], descriptor[3]
    failures = kernel.variable(I8, 0)
    with kernel.loop(0, count) as i:
        index = indices[i].to(I8)
        valid = ((index >= 0) & (index < size)) | index.equals(ignore_index)
        failures.accumulate((~valid).to(I8))
    kernel.return_(failures.value)
    return kernel


@cache
def count_read_only() -> Kernel:
    """A check: how many of the arrays that the program writes are read-only."""
    kernel = Kernel("count_read_only", {"table": ADDRESS, "descriptor": ADDRESS}, I8)
    changed = kernel.array(kernel.array("table", ADDRESS)[CHANGED_ARRAYS], ADDRESS)
    failures = kernel.variable(I8, 0)
    with kernel.loop(0, kernel.array("descriptor", I8)[0], as_written=True) as i:
        flags = kernel.array(changed[i * CHANGED_WORDS + 2], I4)[0]
        failures.accumulate((flags & WRITEABLE_BIT).equals(0).to(I8))
    kernel.return_(failures.value)
    return kernel


@cache
def count_overlaps() -> Kernel:
    """A check: how many of the arrays that the program writes overlap an argument, plus 1 if it is not aligned."""
    kernel = Kernel("count_overlaps", {"table": ADDRESS, "descriptor": ADDRESS}, I8)
    descriptor = kernel.array("descriptor", I8)
    start = kernel.array("table", I8)[descriptor[0]]
    size, itemsize, count = descriptor[1], descriptor[2], descriptor[3]
    changed = kernel.array(kernel.array("table", ADDRESS)[CHANGED_ARRAYS], I8)
    failures = kernel.variable(I8, (start & (itemsize - 1)).differs(0).to(I8))
    with kernel.loop(0, count, as_written=True) as i:
        begin, end = changed[i * CHANGED_WORDS], changed[i * CHANGED_WORDS + 1]
        failures.accumulate(((start < end) & (begin < start + size)).to(I8))
    kernel.return_(failures.value)
    return kernel


# BLAS and floats


@cache
def _limit_blas_threads() -> Kernel:
    """Limit BLAS to the calling thread, because several of our threads call it at the same time."""
    kernel = Kernel("limit_blas_threads", {"table": ADDRESS}, internal=True)
    entries, addresses = kernel.array("table", I8), kernel.array("table", ADDRESS)
    with kernel.when(entries[GET_THREADS].differs(0)):
        before = kernel.call_address(addresses[GET_THREADS], [], I4).to(I8)
        with kernel.when(before.differs(1)):
            entries[BLAS_THREADS] = before
            kernel.call_address(addresses[SET_THREADS], [kernel.lift(1, I4)])
    return kernel


@cache
def _restore_blas_threads() -> Kernel:
    """Restore BLAS's number of threads."""
    kernel = Kernel("restore_blas_threads", {"table": ADDRESS}, internal=True)
    entries = kernel.array("table", I8)
    before = entries[BLAS_THREADS]
    with kernel.when(before.differs(0)):
        kernel.call_address(kernel.array("table", ADDRESS)[SET_THREADS], [before.to(I4)])
        entries[BLAS_THREADS] = 0
    return kernel


def _set_subnormal_mode(kernel: Kernel, flush: Expr) -> Expr:
    """Set this thread's subnormal mode (FLUSH_SUBNORMALS or 0), and return the control word from before."""
    if not _X86:
        return kernel.lift(0, I4)
    before = kernel.append("control_word", (), I4)
    kernel.effect("set_control_word", (before & ~FLUSH_SUBNORMALS | flush.to(I4),))
    return before


def _restore_subnormal_mode(kernel: Kernel, before: Expr) -> None:
    if _X86:
        kernel.effect("set_control_word", (before,))
