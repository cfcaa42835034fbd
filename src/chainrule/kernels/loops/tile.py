"""A matrix product whose rows lie anywhere, tile by tile in the processor's registers: the heart of every convolution.

    out[i, j] += Σ_r Σ_k  x[rows[i] + run_x[r] + k · x_step] · w[run_w[r] + k · w_step + j]

A convolution is this product: i is a place in the picture, j an output channel, and the sum goes over the filter's
taps and the input channels, in runs that lie side by side in memory. Its gradient to the weights is this product too: i
is then a tap and an input channel, and the sum goes over the places (see `loops.convolution`).

A tile is a few rows by a few vector registers of columns. Its sums stay in registers while k runs: each step loads the
columns' vectors once and one number for each row, copied to all lanes, and makes rows × vectors multiply-adds of them.
So there are more multiply-adds than loads, and the multipliers are the limit. Numba's own vectoriser does not keep such
a block in registers, so `tile` writes the vector instructions itself, in LLVM's language; LLVM makes of them what the
processor has. The loops around the tiles cut the sum so that the part of w that is in use stays in the first cache
while all rows pass.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils as untyped_helpers
from numba.extending import intrinsic

from chainrule.kernels.compile import jit

cgutils: Any = untyped_helpers
_FEATURES = binding.get_host_cpu_features()
_MANY = _FEATURES.get("avx512f", False) or _FEATURES.get("neon", False)  # 32 vector registers, not 16

VECTOR_BYTES = 64 if _FEATURES.get("avx512f", False) else 32 if _FEATURES.get("avx", False) else 16
# Rows × vectors of a tile: as many sums as the registers hold beside the vectors of w and one of x, and at least the
# eight or ten that keep two multipliers busy, whose results come four or five clocks later.
WIDE_ROWS, WIDE_VECTORS = (7, 4) if _MANY else (6, 2)
NARROW_ROWS = 10  # with one vector
SPARE_ROWS = 9  # tables and results have this many rows more than they need, so that every tile is a whole one
BLOCK_BYTES = 16 * 1024  # of w, half a first cache


def vector_code(function: Any) -> Any:
    """Decorator: a function that writes LLVM code, called from loops; its constant arguments come as literals."""
    return intrinsic(prefer_literal=True)(function)


@vector_code
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
    given = {
        "x": x, "x_at": x_at, "table": table, "row": row, "w": w, "w_at": w_at, "run_x": run_x, "run_w": run_w,
        "first": first, "last": last, "length": length, "x_step": x_step, "w_step": w_step, "out": out,
        "out_at": out_at, "out_step": out_step, "fresh": fresh,
    }  # fmt: skip
    n_rows, n_vectors = rows.literal_value, vectors.literal_value
    item = x.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // item

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        value_of = dict(zip(given, values[2:], strict=True))
        vector = ir.VectorType(context.get_value_type(x.dtype), lanes)
        first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        undefined, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0.0] * lanes)
        multiply_add = cgutils.get_or_insert_function(  # one instruction where the processor has it
            b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f{x.dtype.bitwidth}"
        )

        def word(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        def number(name: str) -> Any:
            return context.cast(b, value_of[name], given[name], types.intp)

        def array(name: str) -> Any:
            return context.make_array(given[name])(context, b, value_of[name]).data

        def vector_at(pointer: Any, v: int) -> Any:
            return b.bitcast(b.gep(pointer, [word(v * lanes)]), vector.as_pointer())

        places = b.gep(array("table"), [number("row")])
        x_base, w_base, out_base = (b.gep(array(a), [number(f"{a}_at")]) for a in ("x", "w", "out"))
        starts = [b.gep(x_base, [b.load(b.gep(places, [word(i)]))]) for i in range(n_rows)]
        results = [
            [vector_at(b.gep(out_base, [b.mul(number("out_step"), word(i))]), v) for v in range(n_vectors)]
            for i in range(n_rows)
        ]
        # LLVM keeps these variables in registers, for nobody takes their address.
        sums = [[cgutils.alloca_once(b, vector) for _ in range(n_vectors)] for _ in range(n_rows)]
        cells = [(sums[i][v], results[i][v]) for i in range(n_rows) for v in range(n_vectors)]
        with b.if_else(b.icmp_signed("!=", number("fresh"), word(0))) as (from_zero, from_before):
            with from_zero:
                for total, _ in cells:
                    b.store(zero, total)
            with from_before:
                for total, result in cells:
                    b.store(b.load(result, align=item), total)
        with cgutils.for_range(b, number("last"), start=number("first")) as run:
            x_run = b.load(b.gep(array("run_x"), [run.index]))
            w_run = b.gep(w_base, [b.load(b.gep(array("run_w"), [run.index]))])
            rows_here = [b.gep(start, [x_run]) for start in starts]
            with cgutils.for_range(b, number("length")) as k:
                columns = b.gep(w_run, [b.mul(k.index, number("w_step"))])
                factors = [b.load(vector_at(columns, v), align=item) for v in range(n_vectors)]
                x_move = b.mul(k.index, number("x_step"))
                for i in range(n_rows):
                    one = b.load(b.gep(rows_here[i], [x_move]))
                    every_lane = b.shuffle_vector(b.insert_element(undefined, one, word(0)), undefined, first_lane)
                    for v in range(n_vectors):
                        b.store(b.call(multiply_add, [every_lane, factors[v], b.load(sums[i][v])]), sums[i][v])
        for total, result in cells:
            b.store(b.load(total), result, align=item)
        return context.get_dummy_value()

    return types.void(rows, vectors, *given.values()), generate


@jit
def product(
    x: Any, x_at: int, table: Any, w: Any, w_at: int, run_x: Any, run_w: Any, length: int, x_step: int,
    w_step: int, out: Any, out_at: int, rows: int, columns: int, fresh: bool,
) -> None:  # fmt: skip
    """The product above, for `rows` rows of the table × `columns`, a multiple of the lanes.

    It is added to `out`, or to 0 if `fresh`. All arrays are flat. The result begins at `out_at` and has `columns`
    columns; it and the table have SPARE_ROWS more rows than are wanted.
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
                        WIDE_ROWS, WIDE_VECTORS, x, x_at, table, row, w, w_at + column, run_x, run_w, first,
                        last, length, x_step, w_step, out, out_at + row * columns + column, columns,
                        fresh and first == 0,
                    )  # fmt: skip
            else:
                for row in range(0, rows, NARROW_ROWS):
                    tile(
                        NARROW_ROWS, 1, x, x_at, table, row, w, w_at + column, run_x, run_w, first,
                        last, length, x_step, w_step, out, out_at + row * columns + column, columns,
                        fresh and first == 0,
                    )  # fmt: skip
        column += width


@vector_code
def copy(typing_context: Any, to: Any, to_at: Any, source: Any, source_at: Any, count: Any) -> Any:
    """Copy neighbouring numbers from one flat array to another (a loop would look for negative indices, one by one)."""
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
