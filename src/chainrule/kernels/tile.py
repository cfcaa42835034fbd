"""A matrix product whose left factor lies anywhere, tile by tile in registers: the heart of every convolution.

    out[i, j] += Σ_k  x[rows[i] + terms[k]] · w[k, j]

A convolution is this product: i is a position in the picture, j an output channel, and k goes over the filter's taps
and the input channels; two tables say where a position begins and how far from it each term lies. Its gradient to the
weights is this product too, with the tables exchanged: i is a tap and an input channel, and k goes over the positions
(see `convolution_loops`).

A tile is a few rows by a few vector registers of columns. Its sums stay in registers while k runs: each step loads the
columns' vectors once and one number for each row, copied to all lanes, and makes rows × vectors multiply-adds of them.
So there are about twice as many multiply-adds as loads. LLVM's own vectorizer does not keep such a block in registers,
so the vector instructions are written out here. That the terms come from a table has one more merit: LLVM cannot guess
the next address, so it does not keep a pointer for every row, with an addition for each in the innermost loop.

The order of the loops in `product`: blocks of columns as wide as a tile, blocks of k, rows, and k inside a tile. A
block of w takes half a first cache, where it stays while all rows pass; a tile's sums are loaded and stored once for
each block. What may lie far away is prefetched: lines of w as k runs for the block's first rows, and the result's
memory when a new tile is begun.

The multipliers are the limit: on one core with AVX-512, 196 rows × 64 columns × 800 terms run at 190 to 200 GFLOP/s
(billions of additions and multiplications of float32 a second), and one tile over and over in the first cache is no
faster. OpenBLAS, on the same core, makes 175 of a product of 1024 × 1024 × 1024.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.processor import CACHE_LINE, registers
from chainrule.kernels.tree import ADDRESS, I8, Kernel

if TYPE_CHECKING:
    from chainrule.kernels.tree import Array, Expr, Type

BLOCK_BYTES = 24 * 1024  # of w
AHEAD = 24  # so many steps before its turn a line of w is fetched: some 250 clocks


@cache
def product(type: Type) -> Kernel:
    """The product above, for `rows` rows of the table × `columns`, a multiple of the lanes.

    It is added to `out`, or to 0 if `fresh`. w is (count, columns), out (rows, columns); out and the table have
    SPARE_ROWS more rows than are wanted.
    """
    kernel = Kernel(f"tile_product_{type}", {
        "x": ADDRESS, "table": ADDRESS, "rows": I8, "terms": ADDRESS, "count": I8, "w": ADDRESS, "out": ADDRESS,
        "columns": I8, "fresh": I8,
    }, inner=True)  # fmt: skip
    r = registers()
    lanes = r.vector_bytes // type.bytes
    count, columns = kernel["count"], kernel["columns"]
    w, out = kernel.array("w", type), kernel.array("out", type)

    def band(rows: int, vectors: int, column: Expr) -> None:
        """All rows of some columns."""
        blocks = (count * (vectors * r.vector_bytes) + (BLOCK_BYTES - 1)) // BLOCK_BYTES
        with kernel.loop(0, blocks, as_written=True) as block:
            begin, end = block * count // blocks, (block + 1) * count // blocks
            fresh = kernel.select(block.equals(0), kernel["fresh"], 0)
            kernel.call(
                _tiles(type, rows, vectors), kernel["x"], kernel["table"], kernel["rows"], kernel["terms"], begin, end,
                w.at(column).address, out.at(column).address, columns, fresh,
            )  # fmt: skip

    wide, pair = r.wide_vectors * lanes, 2 * lanes
    wide_columns = columns // wide * wide
    pair_columns = wide_columns + (columns - wide_columns) // pair * pair
    with kernel.loop(0, wide_columns, wide, as_written=True) as column:
        band(r.wide_rows, r.wide_vectors, column)
    with kernel.loop(wide_columns, pair_columns, pair, as_written=True) as column:
        band(r.pair_rows, 2, column)
    with kernel.loop(pair_columns, columns, lanes, as_written=True) as column:
        band(r.narrow_rows, 1, column)
    return kernel


@cache
def _tiles(type: Type, n_rows: int, n_vectors: int) -> Kernel:
    """Add terms first … last - 1 of the sum to so many vectors of all rows of the result, or to 0 if `fresh`."""
    kernel = Kernel(f"tiles_{type}_{n_rows}_{n_vectors}", {
        "x": ADDRESS, "table": ADDRESS, "rows": I8, "terms": ADDRESS, "first": I8, "last": I8, "w": ADDRESS,
        "out": ADDRESS, "columns": I8, "fresh": I8,
    }, inner=True)  # fmt: skip
    lanes = registers().vector_bytes // type.bytes
    line_length = CACHE_LINE // type.bytes
    columns = kernel["columns"]
    x, w, out = (kernel.array(name, type) for name in ("x", "w", "out"))
    table, terms = kernel.array("table", I8), kernel.array("terms", I8)
    zero = kernel.broadcast(kernel.lift(0.0, type), lanes)
    sums = [[kernel.variable(type.vector(lanes), zero) for _ in range(n_vectors)] for _ in range(n_rows)]

    def prefetch(line: Array, for_writing: bool) -> None:
        for number in range(0, n_vectors * lanes, line_length):
            line.prefetch(number, for_writing)

    with kernel.loop(0, kernel["rows"], n_rows, as_written=True) as row:
        starts = [x.at(table[row + i]) for i in range(n_rows)]
        lines = [out.at((row + i) * columns) for i in range(n_rows)]
        with kernel.when(kernel["fresh"].differs(0)):
            for line, totals in zip(lines, sums, strict=True):
                prefetch(line, for_writing=True)
                for total in totals:
                    total.set(zero)
        with kernel.otherwise():
            for line, totals in zip(lines, sums, strict=True):
                for v, total in enumerate(totals):
                    total.set(line.vector(v * lanes, lanes))
        with kernel.loop(kernel["first"], kernel["last"], as_written=True) as k:
            away, weights = terms[k], w.at(k * columns)
            with kernel.when(row.equals(0)):  # later rows find w in the first cache
                prefetch(weights.at(columns * AHEAD), for_writing=False)
            factors = [weights.vector(v * lanes, lanes) for v in range(n_vectors)]
            for start, totals in zip(starts, sums, strict=True):
                number = kernel.broadcast(start[away], lanes)
                for factor, total in zip(factors, totals, strict=True):
                    total.set(kernel.multiply_add(number, factor, total.value))
        for line, totals in zip(lines, sums, strict=True):
            for v, total in enumerate(totals):
                line[v * lanes] = total.value
    return kernel


def transpose_square(kernel: Kernel, x: Array, step: Expr, out: Array, rows: Array, columns: Expr) -> None:
    """Transpose a square of numbers, as many each way as a vector has lanes, in registers.

    Its lines in x are `step` apart; they become columns of `out`, in the rows that `rows` names; out has `columns`
    columns.
    """
    lanes = registers().vector_bytes // x.type.bytes
    lines = [x.vector(step * i, lanes) for i in range(lanes)]
    distance = 1
    while distance < lanes:  # in each pair of lines so far apart, exchange the numbers off the diagonal
        for i in range(lanes):
            if not i & distance:
                first, second = lines[i], lines[i + distance]
                near = [n if not n & distance else lanes + n - distance for n in range(lanes)]
                far = [n + distance if not n & distance else lanes + n for n in range(lanes)]
                lines[i] = kernel.shuffle(first, second, near)
                lines[i + distance] = kernel.shuffle(first, second, far)
        distance *= 2
    for i, line in enumerate(lines):
        out[rows[i] * columns] = line
