"""The function that runs every program: it interprets scripts and calls kernels, on several threads at once.

A program is data (`lower.program`). Its `table` begins with the entries named below; the data pointers of its arrays
follow. Python calls divide a program into **segments**. For each segment and each thread there is a **script**, a list
of 64-bit integers:

    CALL kernel descriptor first last overwrite          call a kernel by its address
    SET entry address                                    store an address in the table
    CHECK number check descriptor end                    run a check; if it fails, jump to the position `end`, with
                                                         `number` as the script's result
    GROUP first_block last_block move_count member_count ...
                                                         for each block of rows, call the members (kernels) in turn,
                                                         then move the addresses of block buffers back by one block
    BARRIER                                              wait until all threads have arrived
    END                                                  end the script

`first` is the first row and `last` the row after the last one; `first_block` and `last_block` count blocks likewise.

The first thread wakes the other threads (`team_loops`), which also enter the driver; each runs its own script.

`lower.script` writes the scripts and `lower.program` the table; both use the constants below.

A block buffer holds only the current block of a value. Kernels index it by rows of the whole value; so the buffer's
table entry is the address at which the whole value would begin. With each block, this address moves back by one block.
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
"""The instructions of a script, as described above."""

# Sizes of the parts of a GROUP, in integers
GROUP_HEAD_WORDS = 5  # GROUP itself and its fixed operands; the moves follow, then the members
MOVE_WORDS = 3  # the table entry of a block buffer, its address for the first block, the bytes of a block
MEMBER_WORDS = 4  # kernel, descriptor, rows in a block, rows in all blocks together

# Entries of a program's table, before its arrays
SGEMM = 0  # the address of BLAS's matrix product in single precision
DGEMM = 1  # the address of BLAS's matrix product in double precision
GET_BLAS_THREADS = 2  # the address of the function that returns BLAS's number of threads, or 0 (see `blas`)
SET_BLAS_THREADS = 3  # the address of the function that sets it, or 0
PREVIOUS_BLAS_THREADS = 4  # BLAS's number of threads before the run, if the driver has changed it, else 0
DRIVER = 5  # the address of the driver itself
SCALARS = 6  # the address of the program's scalars, which change from call to call
CHECK_RESULT = 7  # the number of the check that failed, or 0
PROGRESS = 8  # how many segments, Python calls and separate argument checks have been completed so far
SCRIPTS = 9
"""The address of the list of the scripts' addresses: a script that only runs the checks; then, for each segment, a
script that runs it on a single thread, and a script for each of THREAD_COUNT threads.
"""
THREAD_COUNT = 10  # how many threads run the program, unless the team is in use
CHANGED_ARRAYS = 11
"""The address of CHANGED_WORDS integers for each external array that the program writes. External memory exists outside
the program: parameters, buffers, the state of optimizers.
"""
SUBNORMAL_MODE = 12  # FLUSH_SUBNORMALS, or 0
FIRST_ARRAY = 13  # the entry of the program's first array

CHANGED_WORDS = 3  # the array's start, its end, the address of its flags

# The numbers of checks; positive numbers are those of checks for indices that are out of range
READ_ONLY_CHECK = -1  # an external array that the program writes is read-only
ARGUMENT_CHECK = -2
"""ARGUMENT_CHECK - i: argument i is not aligned, or overlaps an external array that the program writes."""

CHECK_ARGUMENTS = 1
"""Entry code for validating arguments. (Entry code RUN, in `team_loops`, runs a segment.)"""

_X86 = platform.machine().lower() in ("x86_64", "amd64")
FLUSH_SUBNORMALS = 0x8040 if _X86 else 0
"""Control-word bits that make the processor treat subnormal floats (below 10⁻³⁸ in float32) as 0.

Arithmetic on subnormals is up to a hundred times slower, and an optimizer's moments decay to subnormals where a weight
gets no gradient. So programs that write external memory flush subnormals; all other programs compute with them, as
NumPy does. On processors other than x86-64, no program flushes them.
"""


@cache
def driver() -> Kernel:
    """driver(table, entry_code, segment, thread_id, thread_count, team): run a thread's script of a segment.

    When it is called for the first thread, it makes workers call it for the other threads. With CHECK_ARGUMENTS, it
    only runs the checks.
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
        call_workers = team_loops.call_workers()
        thread_count.set(kernel.call(call_workers, team, addresses[DRIVER], table, segment, thread_count.value))
    control_word = _set_subnormal_mode(kernel, entries[SUBNORMAL_MODE])
    first_script = segment * (entries[THREAD_COUNT] + 1) + 1  # of the segment: see SCRIPTS
    script = scripts[first_script + kernel.select(thread_count.value.equals(1), 0, thread_id + 1)]
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

    def call(position: Expr, first: Expr, last: Expr, overwrite: Expr) -> None:
        """Call the stage kernel whose address and descriptor are at this position of the script."""
        function, descriptor = addresses[position], addresses[position + 1]
        kernel.call_address(function, [table, descriptor, scalars, first, last, overwrite])

    def set_entry(position: Expr) -> None:
        """Store in the table the entry and the address that are at this position of the script."""
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
                # every thread runs the check, and it fails on all of them; none may return before all have run it
                kernel.call(team_loops.barrier(), kernel["team"], thread_count)
                cursor.set(script[position + 4])
        with kernel.when(code.equals(GROUP)):
            move_count, member_count = script[position + 3], script[position + 4]
            first_move = position + GROUP_HEAD_WORDS
            first_member = first_move + move_count * MOVE_WORDS
            first_block = script[position + 1]
            with kernel.loop(0, move_count) as number:
                set_entry(first_move + number * MOVE_WORDS)
            with kernel.loop(first_block, script[position + 2]) as block:
                with kernel.loop(0, member_count) as number:
                    member = first_member + number * MEMBER_WORDS
                    block_rows = script[member + 2]
                    last = kernel.minimum((block + 1) * block_rows, script[member + 3])
                    call(member, block * block_rows, last, block.equals(first_block).to(I8))
                with kernel.loop(0, move_count) as number:
                    move = first_move + number * MOVE_WORDS
                    entries[script[move]] = entries[script[move]] - script[move + 2]
            cursor.set(first_member + member_count * MEMBER_WORDS)
    kernel.return_(result.value)
    return kernel


@cache
def count_invalid_indices(type: Type) -> Kernel:
    """A check: how many elements of an array are neither 0 … size - 1 nor equal to `ignore_index`."""
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
    """A check: how many of the arrays that the program writes overlap an argument; 1 more if it is not aligned."""
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
    """Limit BLAS to the calling thread, because several threads of the team call it at the same time."""
    kernel = Kernel("limit_blas_threads", {"table": ADDRESS}, internal=True)
    entries, addresses = kernel.array("table", I8), kernel.array("table", ADDRESS)
    with kernel.when(entries[GET_BLAS_THREADS].differs(0)):
        thread_count = kernel.call_address(addresses[GET_BLAS_THREADS], [], I4).to(I8)
        with kernel.when(thread_count.differs(1)):
            entries[PREVIOUS_BLAS_THREADS] = thread_count
            kernel.call_address(addresses[SET_BLAS_THREADS], [kernel.lift(1, I4)])
    return kernel


@cache
def _restore_blas_threads() -> Kernel:
    """Restore BLAS's number of threads, if `_limit_blas_threads` has changed it."""
    kernel = Kernel("restore_blas_threads", {"table": ADDRESS}, internal=True)
    entries = kernel.array("table", I8)
    thread_count = entries[PREVIOUS_BLAS_THREADS]
    with kernel.when(thread_count.differs(0)):
        kernel.call_address(kernel.array("table", ADDRESS)[SET_BLAS_THREADS], [thread_count.to(I4)])
        entries[PREVIOUS_BLAS_THREADS] = 0
    return kernel


def _set_subnormal_mode(kernel: Kernel, mode: Expr) -> Expr:
    """Set this thread's subnormal mode (FLUSH_SUBNORMALS or 0), and return the previous control word."""
    if not _X86:
        return kernel.lift(0, I4)
    control_word = kernel.append("control_word", (), I4)
    kernel.effect("set_control_word", (control_word & ~FLUSH_SUBNORMALS | mode.to(I4),))
    return control_word


def _restore_subnormal_mode(kernel: Kernel, control_word: Expr) -> None:
    if _X86:
        kernel.effect("set_control_word", (control_word,))
