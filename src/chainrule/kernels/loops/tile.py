"""A matrix product whose left factor lies anywhere, tile by tile in registers: the heart of every convolution.

    out[i, j] += Σ_k  x[rows[i] + terms[k]] · w[k, j]

A convolution is this product: i is a place in the picture, j an output channel, and k goes over the filter's taps and
the input channels; two tables say where a place begins and how far from it each term lies. Its gradient to the weights
is this product too, with the tables exchanged: i is a tap and an input channel, and k goes over the places (see
`loops.convolution`).

A tile is a few rows by a few vector registers of columns. Its sums stay in registers while k runs: each step loads the
columns' vectors once and one number for each row, copied to all lanes, and makes rows × vectors multiply-adds of them.
So there are about twice as many multiply-adds as loads. Numba's own vectoriser does not keep such a block in registers,
so `tiles` writes the vector instructions itself, in LLVM's language; LLVM makes of them what the processor has. That
the terms come from a table has one more merit: LLVM cannot guess the next address, so it does not keep a pointer for
every row, with an addition for each in the innermost loop.

The order of the loops in `product`: blocks of columns as wide as a tile, blocks of k, rows, and k inside a tile. A
block of w takes half a first cache, where it stays while all rows pass; a tile's sums are loaded and stored once for
each block. What may lie far away is asked for ahead of time: lines of w as k runs for the block's first rows, and the
result's memory when a new tile is begun.

The multipliers are the limit: on one core with AVX-512, 196 rows × 64 columns × 800 terms run at 190 to 200 GFLOP/s
(billions of additions and multiplications of float32 a second), and one tile over and over in the first cache is no
faster. OpenBLAS, on the same core, makes 175 of a product of 1024 × 1024 × 1024.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_helpers
from numba.extending import intrinsic

from chainrule.kernels.compile import inner
from chainrule.kernels.processor import (
    CACHE_LINE,
    NARROW_ROWS,
    PAIR_ROWS,
    VECTOR_BYTES,
    WIDE_ROWS,
    WIDE_VECTORS,
)

cgutils: Any = untyped_helpers
BLOCK_BYTES = 24 * 1024  # of w
AHEAD = 24  # so many steps before its turn a line of w is fetched: some 250 clocks


def _fetch(b: Any, pointer: Any, for_writing: bool) -> None:
    """Ask for the cache line of a number that will soon be used. Wherever it points, it is no error."""
    flags = [ir.Constant(ir.IntType(32), flag) for flag in (int(for_writing), 3, 1)]  # 3: to be kept, 1: it is data
    address = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [address, *(flag.type for flag in flags)])
    b.call(b.module.declare_intrinsic("llvm.prefetch", (address,), kind), [b.bitcast(pointer, address), *flags])


def vector_code(function: Any) -> Any:
    """Decorator: a function that writes LLVM code, called from loops; its constant arguments come as literals."""
    return intrinsic(prefer_literal=True)(function)


@vector_code
def tiles(
    typing_context: Any,
    tile_rows: Any,
    vectors: Any,
    x: Any,
    x_at: Any,
    table: Any,
    rows: Any,
    terms: Any,
    first: Any,
    last: Any,
    w: Any,
    w_at: Any,
    out: Any,
    out_at: Any,
    columns: Any,
    fresh: Any,
) -> Any:
    """Add terms first … last - 1 of the sum to `vectors` vectors of all rows of the result, or to 0 if `fresh`.

    `tile_rows` and `vectors` are constants; x, w and out are flat arrays of one type; table and terms are arrays of
    offsets; the rest are integers. All offsets count elements; w and out have `columns` columns.
    """
    given = {
        "x": x, "x_at": x_at, "table": table, "rows": rows, "terms": terms, "first": first, "last": last,
        "w": w, "w_at": w_at, "out": out, "out_at": out_at, "columns": columns, "fresh": fresh,
    }  # fmt: skip
    n_rows, n_vectors = tile_rows.literal_value, vectors.literal_value
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

        step, from_zero = number("columns"), b.icmp_signed("!=", number("fresh"), word(0))
        x_base, w_base, out_base = (b.gep(array(a), [number(f"{a}_at")]) for a in ("x", "w", "out"))
        # LLVM keeps these variables in registers, for nobody takes their address.
        sums = [[cgutils.alloca_once(b, vector) for _ in range(n_vectors)] for _ in range(n_rows)]
        with cgutils.for_range_slice(b, word(0), number("rows"), word(n_rows), inc=True) as (row, _):
            places = b.gep(array("table"), [row])
            starts = [b.gep(x_base, [b.load(b.gep(places, [word(i)]))]) for i in range(n_rows)]
            lines = [b.gep(out_base, [b.mul(b.add(row, word(i)), step)]) for i in range(n_rows)]
            cells = [(sums[i][v], vector_at(lines[i], v)) for i in range(n_rows) for v in range(n_vectors)]
            with b.if_else(from_zero) as (zeros, before):
                with zeros:
                    for total, _ in cells:
                        b.store(zero, total)
                    for result in lines:
                        for byte in range(0, n_vectors * VECTOR_BYTES, CACHE_LINE):
                            _fetch(b, b.gep(result, [word(byte // item)]), for_writing=True)
                with before:
                    for total, cell in cells:
                        b.store(b.load(cell, align=item), total)
            with cgutils.for_range(b, number("last"), start=number("first")) as k:
                away = b.load(b.gep(array("terms"), [k.index]))
                line = b.gep(w_base, [b.mul(k.index, step)])
                with b.if_then(b.icmp_signed("==", row, word(0))):  # later rows find w in the first cache
                    ahead = b.gep(line, [b.mul(step, word(AHEAD))])
                    for byte in range(0, n_vectors * VECTOR_BYTES, CACHE_LINE):
                        _fetch(b, b.gep(ahead, [word(byte // item)]), for_writing=False)
                factors = [b.load(vector_at(line, v), align=item) for v in range(n_vectors)]
                for i in range(n_rows):
                    one = b.load(b.gep(starts[i], [away]))
                    every_lane = b.shuffle_vector(b.insert_element(undefined, one, word(0)), undefined, first_lane)
                    for v in range(n_vectors):
                        b.store(b.call(multiply_add, [every_lane, factors[v], b.load(sums[i][v])]), sums[i][v])
            for total, cell in cells:
                b.store(b.load(total), cell, align=item)
        return context.get_dummy_value()

    return types.void(tile_rows, vectors, *given.values()), generate


@inner
def product(
    x: Any, x_at: int, table: Any, rows: int, terms: Any, w: Any, w_at: int, out: Any, out_at: int, columns: int,
    fresh: bool,
) -> None:  # fmt: skip
    """The product above, for `rows` rows of the table × `columns`, a multiple of the lanes.

    It is added to `out`, or to 0 if `fresh`. x, w (terms, columns) and out (rows, columns) are flat and begin at x_at,
    w_at and out_at; out and the table have SPARE_ROWS more rows than are wanted.
    """
    lanes = VECTOR_BYTES // x.itemsize
    column = 0
    while column < columns:
        left = (columns - column) // lanes
        vectors = WIDE_VECTORS if left >= WIDE_VECTORS else min(left, 2)
        blocks = max(1, -(-terms.size * vectors * VECTOR_BYTES // BLOCK_BYTES))
        for block in range(blocks):
            first, last = block * terms.size // blocks, (block + 1) * terms.size // blocks
            begin = fresh and block == 0
            if vectors == WIDE_VECTORS:
                tiles(
                    WIDE_ROWS, WIDE_VECTORS, x, x_at, table, rows, terms, first, last, w, w_at + column, out,
                    out_at + column, columns, begin,
                )  # fmt: skip
            elif vectors == 2:
                tiles(
                    PAIR_ROWS, 2, x, x_at, table, rows, terms, first, last, w, w_at + column, out,
                    out_at + column, columns, begin,
                )  # fmt: skip
            else:
                tiles(
                    NARROW_ROWS, 1, x, x_at, table, rows, terms, first, last, w, w_at + column, out,
                    out_at + column, columns, begin,
                )  # fmt: skip
        column += vectors * lanes


@vector_code
def fetch(typing_context: Any, array: Any, at: Any, for_writing: Any) -> Any:
    """Ask for the cache line of a contiguous array's number `at`, which may lie beyond its end; the last is a constant.

    Processors guess by themselves what is next, but not far enough ahead where memory is slow.
    """

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        start = context.make_array(array)(context, b, values[0]).data
        pointer = b.gep(start, [context.cast(b, values[1], at, types.intp)])
        _fetch(b, pointer, for_writing.literal_value)
        return context.get_dummy_value()

    return types.void(array, at, for_writing), generate


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


@vector_code
def turn(typing_context: Any, x: Any, x_at: Any, step: Any, out: Any, rows: Any, columns: Any, column: Any) -> Any:
    """Turn a square of numbers round, as many each way as a vector has lanes, in registers.

    Its lines in x, a flat array, begin at x_at and are `step` apart; they become columns of `out`, from `column` on, in
    the rows that the array `rows` names; out has `columns` columns.
    """
    lanes = VECTOR_BYTES // (x.dtype.bitwidth // 8)

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(x.dtype), lanes)
        x_, at, apart, out_, rows_, width, left = values
        start, result = (context.make_array(kind)(context, b, v).data for kind, v in ((x, x_), (out, out_)))
        table = context.make_array(rows)(context, b, rows_).data
        kinds = ((at, x_at), (apart, step), (width, columns), (left, column))
        at, apart, width, left = (context.cast(b, value, kind, types.intp) for value, kind in kinds)

        def place(base: Any, away: Any) -> Any:
            return b.bitcast(b.gep(base, [away]), vector.as_pointer())

        def number(n: int) -> Any:
            return ir.Constant(ir.IntType(64), n)

        item = x.dtype.bitwidth // 8
        lines = [b.load(place(start, b.add(at, b.mul(apart, number(i)))), align=item) for i in range(lanes)]
        distance = 1
        while distance < lanes:  # in each pair of lines so far apart, exchange the numbers off the diagonal
            for i in range(lanes):
                if not i & distance:
                    first, second = lines[i], lines[i + distance]
                    near = [n if not n & distance else lanes + n - distance for n in range(lanes)]
                    far = [n + distance if not n & distance else lanes + n for n in range(lanes)]
                    for line, order in ((i, near), (i + distance, far)):
                        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), order)
                        lines[line] = b.shuffle_vector(first, second, mask)
            distance *= 2
        for i, line in enumerate(lines):
            row = b.load(b.gep(table, [number(i)]))
            b.store(line, place(result, b.add(b.mul(row, width), left)), align=item)
        return context.get_dummy_value()

    return types.void(x, x_at, step, out, rows, columns, column), generate


@vector_code
def clear(typing_context: Any, to: Any, to_at: Any, count: Any) -> Any:
    """Put 0 in neighbouring numbers of a flat array; in none if the count is negative."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        start = b.gep(
            context.make_array(to)(context, b, values[0]).data, [context.cast(b, values[1], to_at, types.intp)]
        )
        size = context.cast(b, values[2], count, types.intp)
        some = b.select(b.icmp_signed(">", size, size.type(0)), size, size.type(0))
        cgutils.memset(b, start, b.mul(some, size.type(to.dtype.bitwidth // 8)), 0)
        return context.get_dummy_value()

    return types.void(to, to_at, count), generate
