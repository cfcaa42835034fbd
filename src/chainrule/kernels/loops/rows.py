"""Rows of a table, taken by their places and scaled, or added at their places.

Both go row by row and along each row, so that memory is read and written in whole vectors. Rows that are taken are
shared out among threads; rows that are added are not, for two may have one place: one thread adds them in their
order, and the same rows give the same bits. Memory is the limit: a batch of pictures in bytes is read once and written
once, as floats, where an index, a cast and a product are three passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.kernels.compile import inner


@inner
def _gather_scaled(table: Any, places: Any, scale: Any, out: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        row = table[places[i]]
        for j in range(row.size):
            out[i, j] = np.float32(row[j]) * scale


@inner
def _scatter_add(rows: Any, places: Any, out: Any) -> None:
    for i in range(len(places)):
        row = out[places[i]]
        for j in range(row.size):
            row[j] += rows[i, j]
