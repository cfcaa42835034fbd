"""Rows of a table, taken by their places and scaled, or added at their places.

Both go row by row and along each row, so that memory is read and written in whole vectors. Rows that are taken are
shared out among threads; rows that are added are not, for two may have one place: one thread adds them in their
order, and the same rows give the same bits. Memory is the limit: a batch of pictures in bytes is read once and written
once, as floats, where an index, a cast and a product are three passes.
"""

from __future__ import annotations

from typing import Any

from chainrule.kernels.compile import jit
from chainrule.kernels.team import spread

LANES = 8  # about how many numbers a step takes


def gather_scaled(table: Any, places: Any, scale: Any, out: Any) -> None:
    """Put table[places] · scale in `out`."""
    spread(_gather_scaled, len(places), out.size // LANES, table, places, scale, out)


@jit
def _gather_scaled(table: Any, places: Any, scale: Any, out: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        row = table[places[i]]
        for j in range(row.size):
            out[i, j] = row[j] * scale


@jit
def scatter_add(rows: Any, places: Any, out: Any) -> None:
    """Add each row to out[place]."""
    for i in range(len(places)):
        row = out[places[i]]
        for j in range(row.size):
            row[j] += rows[i, j]
