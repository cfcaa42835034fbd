"""Rows of a table, taken by their places and scaled, or added at their places.

Both go row by row and along each row, so that memory is read and written in whole vectors. Rows that are taken are
shared out among threads; rows that are added are not, for two may have one place: one thread adds them in their
order, and the same rows give the same bits. Memory is the limit: a batch of pictures in bytes is read once and written
once, as floats, where an index, a cast and a product are three passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.kernels.compile import jit
from chainrule.kernels.loops.description import line_of


def gather_scaled(
    description: Any, table: Any, places: Any, out: Any, scratch: Any, begin: int, end: int, fresh: int
) -> None:
    """Put table[places] · scale in `out`, for places begin … end - 1."""
    d = line_of(description)
    width, scale = d[0], np.float32(d[1:2].view(np.float64)[0])
    for i in range(begin, end):
        row, to = places[i] * width, i * width
        for j in range(width):
            out[to + j] = np.float32(table[row + j]) * scale


@jit
def scatter_add(rows: Any, places: Any, out: Any) -> None:
    """Add each row to out[place]."""
    for i in range(len(places)):
        row = out[places[i]]
        for j in range(row.size):
            row[j] += rows[i, j]
