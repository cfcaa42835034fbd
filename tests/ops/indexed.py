"""The table of operations, continued: sorting, running products and extremes, scattering, repeating."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.ops import scattering

from .cases import anything, apart, case, off_zero

ROWS = np.array([[2, 0, 2], [1, 2, 0]])


def running(function: Any) -> Any:
    """A function that applies `function` to the first element along a dimension, to the first two, and so on."""

    def plain(x: np.ndarray, dim: int) -> np.ndarray:
        if not x.ndim or not x.size:
            return x.copy()
        parts = [function(np.take(x, range(n + 1), dim), axis=dim) for n in range(x.shape[dim])]
        return np.stack(parts, dim)

    return plain


for shape, dim in [((), 0), ((4,), 0), ((2, 3), 1), ((3, 2, 2), -2), ((2, 0), 0)]:
    for operation, plain, draw in [
        (ops.cumprod, running(np.prod), off_zero),
        (ops.cummax, running(np.max), apart),
        (ops.cummin, running(np.min), apart),
    ]:
        pick = (lambda out: out) if operation is ops.cumprod else (lambda out: out[0])
        case(
            operation,
            f"{operation.__name__} {shape} {dim}",
            lambda x, f=operation, d=dim, pick=pick: pick(f(x, d)),
            lambda x, f=plain, d=dim: f(x, d),
            draw(*shape),
        )
    for descending in (False, True):
        case(
            ops.sort,
            f"sort {shape} {dim} {descending}",
            lambda x, d=dim, down=descending: ops.sort(x, d, down)[0],
            lambda x, d=dim, down=descending: (
                -np.sort(-x, d) if down and x.ndim else np.sort(x, d) if x.ndim else x.copy()
            ),
            apart(*shape),
        )
for zeros in ([1], [0, 2], [0, 1, 2, 3]):
    values = off_zero(2, 4)
    values[1, zeros] = 0
    case(
        ops.cumprod,
        f"cumprod of zeros {len(zeros)}",
        lambda x: ops.cumprod(x, 1),
        lambda x: running(np.prod)(x, 1),
        values,
    )
for k, largest in [(0, True), (2, True), (3, False)]:
    case(
        ops.topk,
        f"topk {k} {largest}",
        lambda x, k=k, largest=largest: ops.topk(x, k, 0, largest)[0],
        lambda x, k=k, largest=largest: np.sort(x, 0)[::-1][:k] if largest else np.sort(x, 0)[:k],
        apart(3, 2),
    )


def scattered(change: Any, start: Any = None, rows: np.ndarray = ROWS) -> Any:
    """A plain loop that replaces old by `change(old, new)` for each element new of the source, in order.

    Args:
        change: the function of the old value and the source's value.
        start: replaces the old values that are changed, unless it is None.
        rows: the indices along dimension 1.
    """

    def plain(x: np.ndarray, source: Any) -> np.ndarray:
        out = x.copy()
        if start is not None:
            for i, j in np.ndindex(rows.shape):
                out[i, rows[i, j]] = start
        for i, j in np.ndindex(rows.shape):
            out[i, rows[i, j]] = change(out[i, rows[i, j]], source[i, j])
        return out

    return plain


def mean_of_all(x: np.ndarray, source: np.ndarray) -> np.ndarray:
    counts = scattered(lambda count, _: count + 1)(np.ones_like(x), source)
    return scattered(lambda old, new: old + new)(x, source) / counts


UNIQUE = np.array([[2, 0], [1, 3]])


def written(x: np.ndarray, source: Any) -> np.ndarray:
    out = x.copy()
    for i, j in np.ndindex(UNIQUE.shape):
        out[i, UNIQUE[i, j]] = source[i, j] if np.ndim(source) else source
    return out


case(ops.scatter, "scatter", lambda x, s: ops.scatter(x, 1, UNIQUE, s), written, anything(2, 4), anything(2, 3))
case(
    ops.scatter, "scatter a number", lambda x: ops.scatter(x, 1, UNIQUE, 0.5), lambda x: written(x, 0.5), anything(2, 4)
)
case(
    ops.scatter,
    "scatter into one element",
    lambda x, s: ops.scatter(x, 0, np.array(0), s),
    lambda x, s: s.copy(),
    anything(),
    anything(),
)
case(
    ops.scatter,
    "scatter nothing",
    lambda x: ops.scatter(x, 0, np.zeros((0, 3), int), 1.0),
    lambda x: x.copy(),
    anything(2, 3),
)
for reduce, change in [("add", lambda old, new: old + new), ("multiply", lambda old, new: old * new)]:
    case(
        ops.scatter,
        f"scatter {reduce}",
        lambda x, s, reduce=reduce: ops.scatter(x, 1, ROWS, s, reduce=reduce),
        scattered(change),
        off_zero(2, 4),
        off_zero(2, 3),
    )
for reduce, change, start in [
    ("sum", lambda old, new: old + new, 0),
    ("prod", lambda old, new: old * new, 1),
    ("amax", max, -np.inf),
    ("amin", min, np.inf),
]:
    for include_self in (True, False):
        case(
            ops.scatter_reduce,
            f"scatter_reduce {reduce} {include_self}",
            lambda x, s, r=reduce, own=include_self: ops.scatter_reduce(x, 1, ROWS, s, r, include_self=own),
            scattered(change, None if include_self else start),
            apart(2, 4),
            apart(2, 3) + 0.13,
        )
case(
    ops.scatter_reduce,
    "scatter_reduce mean",
    lambda x, s: ops.scatter_reduce(x, 1, ROWS, s, "mean"),
    mean_of_all,
    anything(2, 4),
    anything(2, 3),
)
for inner, change, options in [
    (scattering.scatter_values, lambda old, new: new, {}),
    (scattering.scatter_sum, lambda old, new: old + new, {}),
    (scattering.scatter_product, lambda old, new: old * new, {}),
    (scattering.scatter_extreme, max, {"largest": True}),
]:
    case(
        inner,
        inner.name,
        lambda x, s, f=inner, options=options: f(x, UNIQUE, s, dim=1, name="scatter", **options),
        scattered(change, rows=UNIQUE),
        apart(2, 4),
        apart(2, 2) + 0.13,
    )

for shape, dim, count in [((3,), 0, 2), ((2, 3), 1, 3), ((2, 3), -2, 0), ((), 0, 2), ((2, 0), 1, 2), ((2, 3), None, 2)]:
    case(
        ops.repeat_interleave,
        f"repeat_interleave {shape} {dim} {count}",
        lambda x, d=dim, n=count: ops.repeat_interleave(x, n, d),
        lambda x, d=dim, n=count: np.repeat(x, n, d if x.ndim else None),
        anything(*shape),
    )
case(
    ops.repeat_interleave,
    "repeat_interleave by counts",
    lambda x: ops.repeat_interleave(x, np.array([2, 0, 1]), 1),
    lambda x: x[:, [0, 0, 2]],
    anything(2, 3),
)
