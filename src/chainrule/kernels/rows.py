"""Rows of a table: taken by their places, and added at them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gather_scaled(table: NDArray[Any], places: NDArray[np.int64], scale: float) -> NDArray[np.float32]:
    """table[places] · scale, in one pass: of pictures in bytes, a batch such as networks take.

    Args:
        table: (N, ...) numbers of any type.
        places: (M,), from 0 to N - 1.
        scale: taken as float32.

    Returns:
        (M, ...) float32.

    Raises:
        IndexError: a place is out of range.
    """
    if places.size and not (places.min() >= 0 and places.max() < len(table)):
        raise IndexError(f"places are {places.min()} to {places.max()}, they must be 0 to {len(table) - 1}")
    out = np.empty((len(places), *table.shape[1:]), np.float32)
    if out.size:
        width = math.prod(table.shape[1:])
        rows = table.reshape(len(table), width)
        run("shares", "gather_scaled", rows, places, np.float32(scale), out.reshape(len(places), width))
    return out


def scatter_add(rows: NDArray[Any], places: NDArray[np.int64], count: int) -> NDArray[Any]:
    """Zeros (count, D) with each row added at its place: the gradient of rows that were taken.

    Args:
        rows: (..., D).
        places: (...), from 0 to count - 1; a place that comes several times gets the sum, in the rows' order.
        count: of the result's rows.
    """
    out = np.zeros((count, rows.shape[-1]), rows.dtype)
    if rows.size:
        flat = np.ascontiguousarray(rows).reshape(-1, rows.shape[-1])
        run("shares", "scatter_add", flat, np.ascontiguousarray(places).ravel(), out)
    return out
