"""Products of few rows, which BLAS is slow at: it copies the other matrix into an order of its own first.

    out[i, j] = Σ_k x[i, k] y[j, k]         a layer forward, x @ weight.T

For one image, or ten, that copy takes several times as long as the arithmetic. So nothing is copied here: both matrices
are read along their rows, in whole vectors. A tile is a few rows of each; its sums, a vector each, stay in registers
while k runs, and are added up at the end. So there are one and a half multiply-adds for each load.

The limit of one image is reading the weights once, at 50 to 60 GB/s from the second cache on one core with AVX2. Ten
rows come to the processor's limit there, 69 GFLOP/s, where BLAS makes 20; from some thirty rows on BLAS is as quick.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_helpers

from chainrule.kernels.compile import inner
from chainrule.kernels.loops.memory import shifted
from chainrule.kernels.loops.tile import vector_code
from chainrule.kernels.processor import MANY_REGISTERS, VECTOR_BYTES

cgutils: Any = untyped_helpers
TALL, WIDE = 5, 4 if MANY_REGISTERS else 2  # rows of x and of y in a tile of many rows: its sums and factors fit


@vector_code
def _dots(
    typing_context: Any, rows: Any, columns: Any, kind: Any, terms: Any, x: Any, x_row: Any, y: Any, y_row: Any,
    out: Any, out_row: Any,
) -> Any:  # fmt: skip
    """A tile of `rows` × `columns`, which are constants; `kind` is the numbers' type, x, y and out point to them."""
    n, m, number = rows.literal_value, columns.literal_value, kind.dtype
    item = number.bitwidth // 8
    lanes = VECTOR_BYTES // item

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        scalar = context.get_value_type(number)
        vector = ir.VectorType(scalar, lanes)
        _, _, _, k, x_at, x_away, y_at, y_away, out_at, out_away = values

        def word(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        def row_starts(start: Any, row: Any, count: int) -> list[Any]:
            return [b.gep(start, [b.mul(row, word(i))]) for i in range(count)]

        def variables(kind: Any) -> list[list[Any]]:  # LLVM keeps them in registers
            return [[cgutils.alloca_once(b, kind) for _ in range(m)] for _ in range(n)]

        def function(name: str, result: Any, *given: Any) -> Any:
            name = f"llvm.{name}.v{lanes}f{number.bitwidth}"
            return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, given), name)

        multiply_add = function("fmuladd", vector, vector, vector, vector)
        add_up = function("vector.reduce.fadd", scalar, scalar, vector)
        x_rows, y_rows = row_starts(x_at, x_away, n), row_starts(y_at, y_away, m)
        out_rows = row_starts(out_at, out_away, n)
        places = [(i, j) for i in range(n) for j in range(m)]
        sums, totals = variables(vector), variables(scalar)
        for i, j in places:
            b.store(ir.Constant(vector, [0.0] * lanes), sums[i][j])
        whole = b.and_(k, word(-lanes))
        with cgutils.for_range_slice(b, word(0), whole, word(lanes), inc=True) as (t, _):
            factors = [b.load(b.bitcast(b.gep(y, [t]), vector.as_pointer()), align=item) for y in y_rows]
            for i in range(n):
                mine = b.load(b.bitcast(b.gep(x_rows[i], [t]), vector.as_pointer()), align=item)
                for j in range(m):
                    b.store(b.call(multiply_add, [mine, factors[j], b.load(sums[i][j])]), sums[i][j])
        for i, j in places:
            total = b.call(add_up, [ir.Constant(scalar, -0.0), b.load(sums[i][j])], fastmath=("reassoc",))
            b.store(total, totals[i][j])
        with cgutils.for_range_slice(b, whole, k, word(1), inc=True) as (t, _):  # what does not fill a vector
            for i, j in places:
                term = b.fmul(b.load(b.gep(x_rows[i], [t])), b.load(b.gep(y_rows[j], [t])))
                b.store(b.fadd(b.load(totals[i][j]), term), totals[i][j])
        for i, j in places:
            b.store(b.load(totals[i][j]), b.gep(out_rows[i], [word(j)]))
        return context.get_dummy_value()

    word_type = types.int64
    return types.void(rows, columns, kind, word_type, x, word_type, y, word_type, out, word_type), generate


@inner
def dots(
    kind: Any, size: int, n: int, m: int, k: int, x: Any, x_row: int, y: Any, y_row: int, out: Any, out_row: int
) -> None:
    """out (n, m) = x (n, k) @ y (m, k).T, of numbers of a type with `size` bytes; x, y and out are pointers."""
    row = 0
    while row < n:
        left = n - row
        tall = TALL if left >= TALL else 3 if left >= 3 else 1
        most = WIDE if tall == TALL else 4
        column = 0
        while column < m:
            wide = most if m - column >= most else 1
            at, mine = shifted(out, (row * out_row + column) * size), shifted(x, row * x_row * size)
            other = shifted(y, column * y_row * size)
            if wide == 1:
                for i in range(tall):
                    x_at, out_at = shifted(mine, i * x_row * size), shifted(at, i * out_row * size)
                    _dots(1, 1, kind, k, x_at, x_row, other, y_row, out_at, out_row)
            elif tall == TALL:
                _dots(TALL, WIDE, kind, k, mine, x_row, other, y_row, at, out_row)
            elif tall == 3:
                _dots(3, 4, kind, k, mine, x_row, other, y_row, at, out_row)
            else:
                _dots(1, 4, kind, k, mine, x_row, other, y_row, at, out_row)
            column += wide
        row += tall
