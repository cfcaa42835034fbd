"""Writes the scripts that the driver interprets to run a program's stages (see `kernels.driver`).

This file decides what each thread does, and where threads wait for each other. `program` uses it for all its scripts,
`capture.report` for scripts that time groups of stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.driver import BARRIER, CALL, CHECK, END, GROUP, SET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.lower.graph import Value
    from chainrule.lower.kernel_call import KernelCall
    from chainrule.lower.schedule import Group


@dataclass(frozen=True)
class ThreadMemory:
    """Where one thread's arrays are.

    Attributes:
        entry_of: returns the index of a value's table entry.
        address_of: returns the address of this thread's block buffer of a value, or of an array of partial results,
            which all threads share.
        block_bytes_of: returns the size of one block of a value that has a block buffer (see `kernels.driver`); 0 for
            all other values.
        keep: keeps an integer array alive, and returns its address.
    """

    entry_of: Callable[[Value], int]
    address_of: Callable[[Value], int]
    block_bytes_of: Callable[[Value], int]
    keep: Callable[[NDArray[np.int64]], int]


class Script:
    """The script of one thread for one segment of a program.

    Args:
        thread_id: the thread's number, from 0.
        thread_count: how many threads run the segment.
        memory: where this thread's arrays are.

    Attributes:
        words: the integers written so far.
    """

    def __init__(self, thread_id: int, thread_count: int, memory: ThreadMemory) -> None:
        self.thread_id, self.thread_count, self.memory = thread_id, thread_count, memory
        self.words: list[int] = []
        self._end_positions: list[int] = []  # of words that must be set to the position of END

    def check(self, number: int, kernel: int, descriptor: Sequence[int]) -> None:
        """Add a check. If it fails, the script ends with `number` as its result.

        Args:
            number: see `kernels.driver`.
            kernel: the address of the check's machine code.
            descriptor: its descriptor.
        """
        self.words += [CHECK, number, kernel, self.memory.keep(np.array(descriptor, np.int64)), 0]
        self._end_positions.append(len(self.words) - 1)

    def stages(self, calls: Sequence[KernelCall]) -> None:
        """Add the calls of stages in order. Stages that are not worth dividing run on the first thread alone.

        After such stages, a barrier precedes the next stage that runs on all threads. If the segment ends before such a
        stage, a barrier ends the segment. No result needs this one; it keeps the workers from leaving the segment
        early, because a worker that has left goes to sleep soon, and is slow to wake (see `team_loops`).
        """
        is_barrier_pending = False
        for group, members in groupby(calls, key=lambda call: call.stage.group):
            for batch in [list(members)] if group is not None else [[call] for call in members]:
                call = batch[0]
                runs_on_all = group is not None or call.is_parallel or call.is_replicated or bool(call.partial_results)
                if runs_on_all and is_barrier_pending:
                    self._barrier()
                if group is not None:
                    self._group(group, batch)
                elif runs_on_all or self.thread_id == 0:
                    self._stage(call)
                if runs_on_all:
                    self._barrier()
                is_barrier_pending = not runs_on_all
        if is_barrier_pending:
            self._barrier()

    def build(self) -> NDArray[np.int64]:
        """Complete the script, and return it."""
        for position in self._end_positions:
            self.words[position] = len(self.words)
        return np.array([*self.words, END], np.int64)

    def _barrier(self) -> None:
        if self.thread_count > 1:
            self.words.append(BARRIER)

    def _share(self, count: int) -> tuple[int, int]:
        """This thread's range of `count` items."""
        return self.thread_id * count // self.thread_count, (self.thread_id + 1) * count // self.thread_count

    def _stage(self, call: KernelCall) -> None:
        """Add the call for this thread's rows of a stage, or the calls for its share of the parts."""
        descriptor = self.memory.keep(call.descriptor(self.memory.entry_of))
        if call.partial_results:
            n_parts = call.stage.n_parts
            for part_index in range(*self._share(n_parts)):
                self._select_part([call], part_index)
                first, last = part_index * call.n_rows // n_parts, (part_index + 1) * call.n_rows // n_parts
                self.words += [CALL, call.kernel, descriptor, first, last, 1]
            self._select_part([call], 0)
            return
        is_shared = call.is_parallel and not call.is_replicated
        first, last = self._share(call.n_rows) if is_shared else (0, call.n_rows)
        self.words += [CALL, call.kernel, descriptor, first, last, 1]

    def _select_part(self, calls: Sequence[KernelCall], part_index: int) -> None:
        """Make the table entries of partial results point at one part.

        After the last part, they must point at part 0 again: the whole array, which later stages read, begins there.
        """
        for call in calls:
            for value in call.partial_results:
                size = value.example.nbytes // call.stage.n_parts
                self.words += [SET, self.memory.entry_of(value), self.memory.address_of(value) + part_index * size]

    def _group(self, group: Group, calls: Sequence[KernelCall]) -> None:
        """Add the calls for this thread's share of a group's blocks."""
        if not group.n_parts:
            self._blocks(group, calls, *self._share(group.n_blocks))
            return
        for part_index in range(*self._share(group.n_parts)):
            self._select_part(calls, part_index)
            first = part_index * group.n_blocks // group.n_parts
            last = (part_index + 1) * group.n_blocks // group.n_parts
            self._blocks(group, calls, first, last)
        self._select_part(calls, 0)

    def _blocks(self, group: Group, calls: Sequence[KernelCall], first: int, last: int) -> None:
        """Add a GROUP that runs the blocks first … last - 1."""
        members: list[int] = []
        moves: list[Any] = []
        for call in calls:
            descriptor = self.memory.keep(call.descriptor(self.memory.entry_of))
            members += [call.kernel, descriptor, call.n_rows // group.n_images * group.block_size, call.n_rows]
            for value in call.stage.stored_values:
                block_bytes = self.memory.block_bytes_of(value)
                if block_bytes:
                    first_address = self.memory.address_of(value) - first * block_bytes
                    moves += [self.memory.entry_of(value), first_address, block_bytes]
        self.words += [GROUP, first, last, len(moves) // 3, len(calls), *moves, *members]
