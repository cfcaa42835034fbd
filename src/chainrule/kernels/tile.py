"""A matrix product whose left factor is gathered by index tables, tile by tile in registers: the core of convolution.

    out[i, j] += Σ_k  x[starts[i] + terms[k]] · w[k, j]

In a convolution, i is a position in the image, j is an output channel, and k runs over the filter's taps and the input
channels; the tables hold the offset at which a position's window begins, and the offset of each term from that one. The
gradient of the weights is the same product with the tables exchanged: i is a tap and an input channel, and k runs over
positions (see `convolution_loops`). Attention passes starts[i] = i · row length and terms[k] = k, with which x is an
ordinary matrix; the same two tables exchanged give its transpose.

A tile is a few rows by a few vector registers of columns. Its accumulators stay in registers while k runs: each step
loads the vectors of the columns, broadcasts one number for each row, and does rows × vectors multiply-adds, about two
for each load. LLVM's vectorizer does not keep such a block in registers, so the vector instructions are explicit here.
The table of terms has a second advantage: LLVM cannot predict the next address, so it does not keep a pointer for each
row, which would cost an addition for each row in the innermost loop.

Loop order in `product`: blocks of columns as wide as a tile, blocks of k, tiles of rows, and k inside a tile. A block
of w takes about half of the L1 cache and stays there for all rows; a tile's accumulators are loaded and stored once for
each block. The cache lines of w are prefetched during the first tile of a block. If results are overwritten, the rows
of `out` in a tile are prefetched when the tile begins.

Arithmetic is the limit, not memory: on one core with AVX-512, 196 rows × 64 columns × 800 terms run at 190 to 200
GFLOP/s (float32), as fast as a single tile repeated in the L1 cache. OpenBLAS reaches 175 on a 1024 × 1024 × 1024
product on the same core.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.processor import CACHE_LINE, registers
from chainrule.kernels.tree import ADDRESS, I8, Kernel

if TYPE_CHECKING:
    from chainrule.kernels.tree import Array, Expr, Type

BLOCK_BYTES = 24 * 1024  # the largest size of a block of w
PREFETCH_STEPS = 24  # rows of w are prefetched this many steps of k ahead, which take about 250 cycles


@cache
def product(type: Type) -> Kernel:
    """The product above: rows i from 0 to row_count - 1, and terms k from 0 to term_count - 1.

    The product is added to `out`, or replaces it if `overwrite`. w is (term_count, columns), out (row_count, columns),
    both with `stride` elements from row to row; `columns` is a multiple of a vector's lanes. `out` and `starts` have
    SPARE_ROWS extra rows.
    """
    kernel = Kernel(f"tile_product_{type}", {
        "x": ADDRESS, "starts": ADDRESS, "row_count": I8, "terms": ADDRESS, "term_count": I8, "w": ADDRESS,
        "out": ADDRESS, "columns": I8, "stride": I8, "overwrite": I8,
    }, internal=True)  # fmt: skip
    r = registers()
    lanes = r.vector_bytes // type.bytes
    term_count, columns = kernel["term_count"], kernel["columns"]
    w, out = kernel.array("w", type), kernel.array("out", type)

    def column_block(rows: int, vectors: int, column: Expr) -> None:
        """Compute all rows of a block of columns, in tiles of `rows` × `vectors`."""
        blocks = (term_count * (vectors * r.vector_bytes) + (BLOCK_BYTES - 1)) // BLOCK_BYTES
        with kernel.loop(0, blocks, as_written=True) as block:
            begin, end = block * term_count // blocks, (block + 1) * term_count // blocks
            overwrite = kernel.select(block.equals(0), kernel["overwrite"], 0)
            kernel.call(
                _tiles(type, rows, vectors), kernel["x"], kernel["starts"], kernel["row_count"], kernel["terms"], begin,
                end, w.at(column).address, out.at(column).address, kernel["stride"], overwrite,
            )  # fmt: skip

    wide_width, pair_width = r.wide_vectors * lanes, 2 * lanes
    wide_end = columns // wide_width * wide_width  # where the columns of the widest tiles end
    pair_end = wide_end + (columns - wide_end) // pair_width * pair_width
    with kernel.loop(0, wide_end, wide_width, as_written=True) as column:
        column_block(r.wide_rows, r.wide_vectors, column)
    with kernel.loop(wide_end, pair_end, pair_width, as_written=True) as column:
        column_block(r.pair_rows, 2, column)
    with kernel.loop(pair_end, columns, lanes, as_written=True) as column:
        column_block(r.narrow_rows, 1, column)
    return kernel


@cache
def _tiles(type: Type, n_rows: int, n_vectors: int) -> Kernel:
    """Add terms first … last - 1 to a block of columns of the result; if `overwrite`, start from 0 instead.

    `w` and `out` begin at the first column of the block.
    """
    kernel = Kernel(f"tiles_{type}_{n_rows}_{n_vectors}", {
        "x": ADDRESS, "starts": ADDRESS, "row_count": I8, "terms": ADDRESS, "first": I8, "last": I8, "w": ADDRESS,
        "out": ADDRESS, "stride": I8, "overwrite": I8,
    }, internal=True)  # fmt: skip
    lanes = registers().vector_bytes // type.bytes
    cache_line_length = CACHE_LINE // type.bytes  # in elements
    stride = kernel["stride"]
    x, w, out = (kernel.array(name, type) for name in ("x", "w", "out"))
    starts, terms = kernel.array("starts", I8), kernel.array("terms", I8)
    zero = kernel.broadcast(kernel.lift(0.0, type), lanes)
    sums = [[kernel.variable(type.vector(lanes), zero) for _ in range(n_vectors)] for _ in range(n_rows)]

    def prefetch(matrix_row: Array, for_writing: bool) -> None:
        for column in range(0, n_vectors * lanes, cache_line_length):
            matrix_row.prefetch(column, for_writing)

    with kernel.loop(0, kernel["row_count"], n_rows, as_written=True) as row:
        sources = [x.at(starts[row + i]) for i in range(n_rows)]
        out_rows = [out.at((row + i) * stride) for i in range(n_rows)]
        with kernel.when(kernel["overwrite"].differs(0)):
            for out_row, totals in zip(out_rows, sums, strict=True):
                prefetch(out_row, for_writing=True)
                for total in totals:
                    total.set(zero)
        with kernel.otherwise():
            for out_row, totals in zip(out_rows, sums, strict=True):
                for v, total in enumerate(totals):
                    total.set(out_row.vector(v * lanes, lanes))
        with kernel.loop(kernel["first"], kernel["last"], as_written=True) as k:
            offset, weights = terms[k], w.at(k * stride)
            with kernel.when(row.equals(0)):  # later rows find w in the L1 cache
                prefetch(weights.at(stride * PREFETCH_STEPS), for_writing=False)
            factors = [weights.vector(v * lanes, lanes) for v in range(n_vectors)]
            for source, totals in zip(sources, sums, strict=True):
                x_value = kernel.broadcast(source[offset], lanes)
                for factor, total in zip(factors, totals, strict=True):
                    total.set(kernel.multiply_add(x_value, factor, total.value))
        for out_row, totals in zip(out_rows, sums, strict=True):
            for v, total in enumerate(totals):
                out_row[v * lanes] = total.value
    return kernel


def transpose_square(kernel: Kernel, x: Array, row_stride: Expr, out: Array, rows: Array, columns: Expr | int) -> None:
    """Transpose a square of numbers, with as many rows as a vector has lanes, in registers.

    The rows of x are `row_stride` elements apart. Column i of x becomes row `rows[i]` of `out`, which has `columns`
    columns.
    """
    lanes = registers().vector_bytes // x.type.bytes
    vectors = [x.vector(row_stride * i, lanes) for i in range(lanes)]  # the rows, then the columns
    distance = 1
    while distance < lanes:  # exchange the off-diagonal blocks of each pair of vectors at this distance
        for i in range(lanes):
            if not i & distance:
                first, second = vectors[i], vectors[i + distance]
                first_order = [n if not n & distance else lanes + n - distance for n in range(lanes)]
                second_order = [n + distance if not n & distance else lanes + n for n in range(lanes)]
                vectors[i] = kernel.shuffle(first, second, first_order)
                vectors[i + distance] = kernel.shuffle(first, second, second_order)
        distance *= 2
    for i, column in enumerate(vectors):
        out[rows[i] * columns] = column
