"""Sums arrays over all ranks in a fixed binary tree, so that the result has the same bits for any number of them.

With S leaves and R ranks, both powers of two, each rank adds its S/R leaves in the lower levels of the tree
(`TreeSum`), and `allreduce` adds the ranks' sums in the upper levels: ranks 0 and 1, 2 and 3, ..., then pairs of those.
Additions are the same ones, in whatever process they are made.

Source: Thakur, Rabenseifner and Gropp, Optimization of collective communication operations in MPICH (2005).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.distributed.world import World


class TreeSum:
    """Adds arrays as the leaves of a binary tree, from left to right; keeps one partial sum per level."""

    def __init__(self) -> None:
        self._sums: list[NDArray[Any]] = []
        self._count = 0

    def add(self, leaf: NDArray[Any]) -> None:
        """Add the next leaf; its memory is used for sums."""
        self._sums.append(leaf)
        self._count += 1
        for _ in range((self._count & -self._count).bit_length() - 1):  # complete subtrees that end with this leaf
            right = self._sums.pop()
            self._sums[-1] += right

    @property
    def total(self) -> NDArray[Any]:
        """The sum of all leaves, whose number must be a power of two."""
        (total,) = self._sums
        return total


def allreduce(world: World, array: NDArray[Any]) -> None:
    """Replace a contiguous array (N,) by its sum over all ranks, in a tree of which the ranks are the leaves.

    Recursive halving and doubling: in each of log₂R rounds a rank exchanges half of its part of the array with a
    partner and adds; then the parts, of which each rank has one, are collected the same way. Each rank sends and
    receives 2(R-1)/R · N numbers in 2·log₂R messages. The first partner is the next rank, as in the tree.

    If R is not a power of two, the ranks beyond the largest power of two first give their array to a rank below.
    """
    core = 1 << (world.size.bit_length() - 1)  # the largest power of two
    helper = world.rank ^ core  # its partner beyond, or below
    buffer = np.empty_like(array)
    if world.rank >= core:
        world.send(helper, array)
        world.receive(helper, array)
        return
    if helper < world.size:
        world.receive(helper, buffer)
        array += buffer
    parts = [(0, len(array))]
    for distance in _powers_of_two(core):
        start, end = parts[-1]
        middle = (start + end) // 2
        own, other = slice(start, middle), slice(middle, end)
        if world.rank & distance:
            own, other = other, own
        world.exchange(world.rank ^ distance, array[other], buffer[own])
        array[own] += buffer[own]
        parts.append((own.start, own.stop))
    for distance in reversed(_powers_of_two(core)):
        own, (start, end) = slice(*parts.pop()), parts[-1]
        other = slice(own.stop, end) if own.start == start else slice(start, own.start)
        world.exchange(world.rank ^ distance, array[own], array[other])
    if helper < world.size:
        world.send(helper, array)


def _powers_of_two(limit: int) -> list[int]:
    """Return 1, 2, 4, ... below `limit`."""
    return [1 << power for power in range(limit.bit_length() - 1)]
