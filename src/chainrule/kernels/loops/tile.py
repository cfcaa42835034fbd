"""A matrix product whose rows lie anywhere, tile by tile in the processor's registers: the heart of every convolution.

    out[i, j] += Σ_r Σ_k  x[rows[i] + run_x[r] + k · x_step] · w[run_w[r] + k · w_step + j]

A convolution is this product: i is a place in the picture, j an output channel, and the sum goes over the filter's
taps and the input channels, in runs that lie side by side in memory. Its gradient to the weights is this product too: i
is then a tap and an input channel, and the sum goes over the places (see `loops.convolution`).

A tile is a few rows by a few vector registers of columns. Its sums stay in registers while k runs: each step loads the
columns' vectors once and one number for each row, copied to all lanes, and makes rows × vectors multiply-adds of them. So there are more
multiply-adds than loads, and the multipliers are the limit. Numba's own vectoriser does not keep such a block in
registers, so `tile` writes the vector instructions itself, in LLVM's language; LLVM makes of them what the processor
has. Around the tiles, the sum is cut so that the part of w that is in use stays in the first cache while all rows pass.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from chainrule.kernels.compile import jit

_FEATURES = binding.get_host_cpu_features()
_MANY = _FEATURES.get("avx512f", False) or _FEATURES.get("neon", False)  # 32 vector registers, not 16

VECTOR_BYTES = 64 if _FEATURES.get("avx512f", False) else 32 if _FEATURES.get("avx", False) else 16
# Rows × vectors of a tile: as many sums as the registers hold beside the vectors of w and one of x, and at least the
# eight or ten that keep two multipliers busy, whose results come four or five clocks later.
WIDE_ROWS, WIDE_VECTORS = (7, 4) if _MANY else (6, 2)
NARROW_ROWS = 10  # with one vector
SPARE_ROWS = 9  # tables and results have this many rows more than they need, so that every tile is a whole one
BLOCK_BYTES = 16 * 1024  # of w, half a first cache


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]  # Numba has no type hints
def tile(
    typing_context: Any,
    rows: Any,
    vectors: Any,
    x: Any,
    x_at: Any,
    table: Any,
    row: Any,
    w: Any,
    w_at: Any,
    run_x: Any,
    run_w: Any,
    first: Any,
    last: Any,
    length: Any,
    x_step: Any,
    w_step: Any,
    out: Any,
    out_at: Any,
    out_step: Any,
    fresh: Any,
) -> Any:
    """Add runs first … last - 1 of the sum to `rows` rows × `vectors` vectors of the result, or of 0 if `fresh`.

    `rows` and `vectors` are constants; x, w and out are flat arrays of one type; table, run_x and run_w are arrays of
    offsets; the rest are integers. All steps and offsets count elements.
    """
    arguments = (rows, vectors, x, x_at, table, row, w, w_at, run_x, run_w, first, last, length)
    arguments += (x_step, w_step, out, out_at, out_step, fresh)

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        n_rows, n_vectors = rows.literal_value, vectors.literal_value
        element = context.get_value_type(x.dtype)
        lanes = VECTOR_BYTES // (x.dtype.bitwidth // 8)
        vector = ir.VectorType(element, lanes)
        fma = cgutils.get_or_insert_function(
            b.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fmuladd.v{lanes}f{x.dtype.bitwidth}",  # fused where the processor can
        )
        spread = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        undefined, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0.0] * lanes)

        def number(position: int) -> Any:
            return context.cast(b, values[position], arguments[position], types.intp)

        def pointer(position: int) -> Any:
            return context.make_array(arguments[position])(context, b, values[position]).data

        def vector_at(base: Any, v: int) -> Any:
            return b.bitcast(b.gep(base, [ir.Constant(word, v * lanes)]), vector.as_pointer())

        word = ir.IntType(64)
        x_base, w_base = b.gep(pointer(2), [number(3)]), b.gep(pointer(6), [number(7)])
        table_base, run_x_base, run_w_base = b.gep(pointer(4), [number(5)]), pointer(8), pointer(9)
        x_move, w_move = number(13), number(14)
        align = x.dtype.bitwidth // 8
        starts = [b.gep(x_base, [b.load(b.gep(table_base, [ir.Constant(word, i)]))]) for i in range(n_rows)]
        result = [
            b.gep(b.gep(pointer(15), [number(16)]), [b.mul(number(17), ir.Constant(word, i))]) for i in range(n_rows)
        ]
        sums = [[cgutils.alloca_once(b, vector) for _ in range(n_vectors)] for _ in range(n_rows)]
        with b.if_else(b.icmp_signed("!=", number(18), word(0))) as (then, otherwise):
            for start, branch in ((zero, then), (None, otherwise)):
                with branch:
                    for i in range(n_rows):
                        for v in range(n_vectors):
                            b.store(start or b.load(vector_at(result[i], v), align=align), sums[i][v])
        with cgutils.for_range(b, number(11), start=number(10)) as run:
            x_run = b.load(b.gep(run_x_base, [run.index]))
            w_run = b.gep(w_base, [b.load(b.gep(run_w_base, [run.index]))])
            pixels = [b.gep(start, [x_run]) for start in starts]
            with cgutils.for_range(b, number(12)) as k:
                columns = b.gep(w_run, [b.mul(k.index, w_move)])
                factors = [b.load(vector_at(columns, v), align=align) for v in range(n_vectors)]
                here = b.mul(k.index, x_move)
                for i in range(n_rows):
                    value = b.load(b.gep(pixels[i], [here]))
                    value = b.shuffle_vector(b.insert_element(undefined, value, word(0)), undefined, spread)
                    for v in range(n_vectors):
                        b.store(b.call(fma, [value, factors[v], b.load(sums[i][v])]), sums[i][v])
        for i in range(n_rows):
            for v in range(n_vectors):
                b.store(b.load(sums[i][v]), vector_at(result[i], v), align=align)
        return context.get_dummy_value()

    return types.void(*arguments), generate


@jit()
def product(
    x: Any, x_at: int, table: Any, table_at: int, w: Any, w_at: int, run_x: Any, run_w: Any, length: int, x_step: int,
    w_step: int, out: Any, out_at: int, rows: int, columns: int, fresh: bool,
) -> None:  # fmt: skip
    """The product above, for `rows` rows of the table from `table_at` on × `columns`, a multiple of the lanes.

    It is added to `out`, or to 0 if `fresh`. All arrays are flat. The result begins at `out_at` and has `columns` columns; it and the table have SPARE_ROWS more
    rows than are wanted.
    """
    lanes = VECTOR_BYTES // x.itemsize
    column = 0
    while column < columns:
        wide = columns - column >= WIDE_VECTORS * lanes
        width = WIDE_VECTORS * lanes if wide else lanes
        runs = max(1, BLOCK_BYTES // max(1, length * width * x.itemsize))
        for first in range(0, run_x.size, runs):
            last = min(first + runs, run_x.size)
            if wide:
                for row in range(0, rows, WIDE_ROWS):
                    tile(
                        WIDE_ROWS, WIDE_VECTORS, x, x_at, table, table_at + row, w, w_at + column, run_x, run_w, first,
                        last, length, x_step, w_step, out, out_at + row * columns + column, columns,
                        fresh and first == 0,
                    )  # fmt: skip
            else:
                for row in range(0, rows, NARROW_ROWS):
                    tile(
                        NARROW_ROWS, 1, x, x_at, table, table_at + row, w, w_at + column, run_x, run_w, first,
                        last, length, x_step, w_step, out, out_at + row * columns + column, columns,
                        fresh and first == 0,
                    )  # fmt: skip
        column += width


@intrinsic  # type: ignore[untyped-decorator]
def copy(typing_context: Any, to: Any, to_at: Any, source: Any, source_at: Any, count: Any) -> Any:
    """Copy neighbouring numbers from one flat array to another. (Numba's own loop would look for negative indices.)"""
    arguments = (to, to_at, source, source_at, count)

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        def pointer(position: int) -> Any:
            at = context.cast(b, values[position + 1], arguments[position + 1], types.intp)
            return b.gep(context.make_array(arguments[position])(context, b, values[position]).data, [at])

        size = context.cast(b, values[4], count, types.intp)
        cgutils.raw_memcpy(b, pointer(0), pointer(2), size, to.dtype.bitwidth // 8)
        return context.get_dummy_value()

    def count_value(values: Any) -> Any:
        return values[4]

    return types.void(*arguments), generate
