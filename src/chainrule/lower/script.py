"""Writes the scripts that the driver interprets to run a program's stages (see `kernels.driver`).

Called by `program`. This file decides what each thread does, and where threads wait for each other.
"""

from __future__ import annotations

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


class ThreadMemory:
    """Where one thread's arrays are.

    Attributes:
        entry: the table entry of an array.
        address: the start of a value of which each thread has its own copy.
        block_step: the size in bytes of a value's block buffer (see `kernels.driver`); 0 if the whole value is stored.
        keep: keeps an integer array alive, and returns its address.
    """

    def __init__(
        self,
        entry: Callable[[Value], int],
        address: Callable[[Value], int],
        block_step: Callable[[Value], int],
        keep: Callable[[NDArray[np.int64]], int],
    ) -> None:
        self.entry, self.address, self.block_step, self.keep = entry, address, block_step, keep


class Script:
    """What one thread does in one segment of a program.

    Args:
        thread_id: the thread's number.
        thread_count: how many threads there are.
        memory: where this thread's arrays are.

    Attributes:
        words: the script so far.
    """

    def __init__(self, thread_id: int, thread_count: int, memory: ThreadMemory) -> None:
        self.thread_id, self.thread_count, self.memory = thread_id, thread_count, memory
        self.words: list[int] = []
        self._end_positions: list[int] = []  # where the position of END must be filled in

    def check(self, number: int, kernel: int, descriptor: Sequence[int]) -> None:
        """Add a check: if it fails, the script ends with `number` as its result."""
        self.words += [CHECK, number, kernel, self.memory.keep(np.array(descriptor, np.int64)), 0]
        self._end_positions.append(len(self.words) - 1)

    def stages(self, calls: Sequence[KernelCall]) -> None:
        """Run stages one after the other. The first thread alone runs those that are not worth dividing."""
        barrier_pending = False
        for group, members in groupby(calls, key=lambda call: call.stage.group):
            for batch in [list(members)] if group is not None else [[call] for call in members]:
                call = batch[0]
                on_all_threads = group is not None or call.parallel or call.replicated or bool(call.partial_sums)
                if on_all_threads and barrier_pending:
                    self._barrier()
                    barrier_pending = False
                if group is not None:
                    self._group(group, batch)
                elif on_all_threads or self.thread_id == 0:
                    self._stage(call)
                if on_all_threads:
                    self._barrier()
                else:
                    barrier_pending = True
        if barrier_pending:
            self._barrier()

    def build(self) -> NDArray[np.int64]:
        """The complete script."""
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
        """Run this thread's rows of a stage, or its parts of a partial sum."""
        descriptor = self.memory.keep(call.descriptor(self.memory.entry))
        if call.partial_sums:
            parts = call.stage.parts
            for part_index in range(*self._share(parts)):
                self._set_sums([call], part_index)
                first, last = part_index * call.rows // parts, (part_index + 1) * call.rows // parts
                self.words += [CALL, call.kernel, descriptor, first, last, 1]
            self._set_sums([call], 0)
            return
        first, last = self._share(call.rows) if call.parallel and not call.replicated else (0, call.rows)
        self.words += [CALL, call.kernel, descriptor, first, last, 1]

    def _set_sums(self, calls: Sequence[KernelCall], part_index: int) -> None:
        """Make the table entries of partial sums point at one part.

        In the end they must point at part 0, where the whole array begins, which later stages read.
        """
        for call in calls:
            for value in call.partial_sums:
                size = value.example.nbytes // call.stage.parts
                self.words += [SET, self.memory.entry(value), self.memory.address(value) + part_index * size]

    def _group(self, group: Group, calls: Sequence[KernelCall]) -> None:
        """Run a group block by block, for this thread's share of the blocks."""
        if not group.parts:
            self._blocks(group, calls, *self._share(group.blocks))
            return
        for part_index in range(*self._share(group.parts)):
            self._set_sums(calls, part_index)
            first, last = part_index * group.blocks // group.parts, (part_index + 1) * group.blocks // group.parts
            self._blocks(group, calls, first, last)
        self._set_sums(calls, 0)

    def _blocks(self, group: Group, calls: Sequence[KernelCall], first: int, last: int) -> None:
        """Run blocks first … last - 1 of a group."""
        members: list[int] = []
        moves: list[Any] = []
        for call in calls:
            descriptor = self.memory.keep(call.descriptor(self.memory.entry))
            members += [call.kernel, descriptor, call.rows // group.images * group.block_size, call.rows]
            for value in call.stage.stored_values:
                step = self.memory.block_step(value)
                if step:
                    moves += [self.memory.entry(value), self.memory.address(value) - first * step, step]
        self.words += [GROUP, first, last, len(moves) // 3, len(calls), *moves, *members]
