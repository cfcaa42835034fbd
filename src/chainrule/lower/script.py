"""Writes the scripts by which the driver runs a program's stages (see `kernels.driver`)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.driver import CALL, CHECK, END, GROUP, SET, WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.lower.graph import Value
    from chainrule.lower.launch import Launch
    from chainrule.lower.schedule import Group


class ThreadMemory:
    """Where a thread finds things.

    Attributes:
        entry: an array's entry in the table.
        address: where a value that each thread has its own entry of begins.
        window_step: how many bytes a window moves from block to block; 0 if a value is no window.
        keep: makes words stay in memory; their address.
    """

    def __init__(
        self,
        entry: Callable[[Value], int],
        address: Callable[[Value], int],
        window_step: Callable[[Value], int],
        keep: Callable[[NDArray[np.int64]], int],
    ) -> None:
        self.entry, self.address, self.window_step, self.keep = entry, address, window_step, keep


class Script:
    """What one thread does in one part of a program.

    Args:
        me: the thread's number.
        shares: how many threads there are.
        memory: where things are, for this thread.

    Attributes:
        words: the script so far.
    """

    def __init__(self, me: int, shares: int, memory: ThreadMemory) -> None:
        self.me, self.shares, self.memory = me, shares, memory
        self.words: list[int] = []
        self._failures: list[int] = []  # where the end's place is to be put

    def check(self, number: int, kernel: int, words: Sequence[int]) -> None:
        """End, with this number as the answer, if a check fails."""
        self.words += [CHECK, number, kernel, self.memory.keep(np.array(words, np.int64)), 0]
        self._failures.append(len(self.words) - 1)

    def stages(self, launches: Sequence[Launch]) -> None:
        """Run stages one after the other. What is not shared, the first thread does by itself."""
        alone = False
        for group, members in groupby(launches, key=lambda launch: launch.stage.group):
            for each in [list(members)] if group is not None else [[launch] for launch in members]:
                launch = each[0]
                by_all = group is not None or launch.shared or launch.private or bool(launch.sums)
                if by_all and alone:
                    self._wait()
                    alone = False
                if group is not None:
                    self._group(group, each)
                elif by_all or self.me == 0:
                    self._stage(launch)
                if by_all:
                    self._wait()
                else:
                    alone = True
        if alone:
            self._wait()

    def finished(self) -> NDArray[np.int64]:
        """The script."""
        for place in self._failures:
            self.words[place] = len(self.words)
        return np.array([*self.words, END], np.int64)

    def _wait(self) -> None:
        if self.shares > 1:
            self.words.append(WAIT)

    def _share(self, count: int) -> tuple[int, int]:
        return self.me * count // self.shares, (self.me + 1) * count // self.shares

    def _stage(self, launch: Launch) -> None:
        words = self.memory.keep(launch.words(self.memory.entry))
        if launch.sums:
            parts = launch.stage.parts
            for piece in range(*self._share(parts)):
                self._set_sums([launch], piece)
                first, last = piece * launch.rows // parts, (piece + 1) * launch.rows // parts
                self.words += [CALL, launch.kernel, words, first, last, 1]
            self._set_sums([launch], 0)
            return
        first, last = self._share(launch.rows) if launch.shared and not launch.private else (0, launch.rows)
        self.words += [CALL, launch.kernel, words, first, last, 1]

    def _set_sums(self, launches: Sequence[Launch], piece: int) -> None:
        """Point the sums that are made in parts at this part's; at the first's in the end, for who reads them all."""
        for launch in launches:
            for value in launch.sums:
                size = value.example.nbytes // launch.stage.parts
                self.words += [SET, self.memory.entry(value), self.memory.address(value) + piece * size]

    def _group(self, group: Group, launches: Sequence[Launch]) -> None:
        """Run a group block by block, for this thread's share of the blocks."""
        if not group.parts:
            self._blocks(group, launches, *self._share(group.blocks))
            return
        for piece in range(*self._share(group.parts)):
            self._set_sums(launches, piece)
            first, last = piece * group.blocks // group.parts, (piece + 1) * group.blocks // group.parts
            self._blocks(group, launches, first, last)
        self._set_sums(launches, 0)

    def _blocks(self, group: Group, launches: Sequence[Launch], first: int, last: int) -> None:
        members: list[int] = []
        moves: list[Any] = []
        for launch in launches:
            words = self.memory.keep(launch.words(self.memory.entry))
            members += [launch.kernel, words, launch.rows // group.images * group.block, launch.rows]
            for value in launch.stage.stored:
                each = self.memory.window_step(value)
                if each:
                    moves += [self.memory.entry(value), self.memory.address(value) - first * each, each]
        self.words += [GROUP, first, last, len(moves) // 3, len(launches), *moves, *members]
