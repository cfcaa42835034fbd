"""Sums arrays over all ranks in a fixed binary tree: the result is bitwise identical for 1, 2, 4, ... ranks.

With S leaves and R ranks, both powers of two, each rank adds its S/R leaves in the lower levels of the tree
(`TreeSum`), and `allreduce` adds the ranks' sums in the upper levels: ranks 0 and 1, 2 and 3, ..., then pairs of those.
The additions are the same, whichever processes compute them.

Source: Thakur, Rabenseifner and Gropp, Optimization of collective communication operations in MPICH (2005).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.distributed.world import World


class TreeSum:
    """Adds arrays, the leaves of a binary tree, from left to right; keeps at most one partial sum per level."""

    def __init__(self) -> None:
        self._sums: list[NDArray[Any]] = []
        self._count = 0

    def add(self, leaf: NDArray[Any]) -> None:
        """Add the next leaf; sums may overwrite it."""
        self._sums.append(leaf)
        self._count += 1
        n_complete_subtrees = (self._count & -self._count).bit_length() - 1  # those that end with this leaf
        for _ in range(n_complete_subtrees):
            right = self._sums.pop()
            self._sums[-1] += right

    @property
    def total(self) -> NDArray[Any]:
        """The sum of all leaves; the number of leaves must be a power of two."""
        (total,) = self._sums
        return total


def allreduce(world: World, array: NDArray[Any]) -> None:
    """Replace a contiguous array (N,) by its sum over all ranks, computed in a tree whose leaves are the ranks.

    Recursive halving and doubling: in each of log₂R rounds, a rank exchanges half of its part of the array with a
    partner, and adds. Then each rank has the sum of one part, and log₂R more rounds exchange these parts. Each rank
    sends and receives 2(R-1)/R · N numbers in 2·log₂R messages. The first partner is the neighboring rank, as in the
    tree.

    If R is not a power of two, each rank from the largest power of two on first sends its array to a lower rank, and in
    the end receives the sum from it.
    """
    core_size = 1 << (world.size.bit_length() - 1)  # the largest power of two that is at most R
    outer_partner = world.rank ^ core_size  # pairs each rank outside the core with one inside
    buffer = np.empty_like(array)
    if world.rank >= core_size:
        world.send(outer_partner, array)
        world.receive(outer_partner, array)
        return
    if outer_partner < world.size:
        world.receive(outer_partner, buffer)
        array += buffer
    parts = [(0, len(array))]
    for distance in _powers_of_two(core_size):
        start, end = parts[-1]
        middle = (start + end) // 2
        own, other = slice(start, middle), slice(middle, end)
        if world.rank & distance:
            own, other = other, own
        world.exchange(world.rank ^ distance, array[other], buffer[own])
        array[own] += buffer[own]
        parts.append((own.start, own.stop))
    for distance in reversed(_powers_of_two(core_size)):
        own = slice(*parts.pop())
        start, end = parts[-1]
        other = slice(own.stop, end) if own.start == start else slice(start, own.start)
        world.exchange(world.rank ^ distance, array[own], array[other])
    if outer_partner < world.size:
        world.send(outer_partner, array)


def _powers_of_two(limit: int) -> list[int]:
    """Return 1, 2, 4, ... below `limit`."""
    return [1 << power for power in range(limit.bit_length() - 1)]
