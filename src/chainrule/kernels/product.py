"""Products of matrices: NumPy's BLAS, and loops of our own for few rows, which BLAS is slow at.

    out[i, j] = Σ_k x[i, k] y[j, k]         a layer forward, x @ weight.T

For one image, or ten, BLAS copies the weights into an order of its own, which takes several times as long as the
arithmetic. `few_rows` copies nothing: both matrices are read along their rows, in whole vectors. A tile is a few rows
of each; its sums, a vector each, stay in registers while k runs. After TERMS terms they are added up, and go on in
doubles. So there are one and a half multiply-adds for each load.

The limit of one image is reading the weights once, at 50 to 60 GB/s from the second cache on one core with AVX2. Ten
rows come to the processor's limit there, 69 GFLOP/s, where BLAS makes 20; from some thirty rows on BLAS is as quick.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.calling import Fields, stage_kernel
from chainrule.kernels.job import Maker
from chainrule.kernels.processor import registers
from chainrule.kernels.tree import ADDRESS, F8, I4, I8, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels.calling import FieldReader
    from chainrule.kernels.tree import Array, Expr, Type

TALL = 5  # rows of x in a tile of many rows
TERMS = 2048  # so many are added up before the sum goes on in doubles

PRODUCT = Fields(
    "x y out", "rows columns terms x_row y_row out_row x_flipped y_flipped by gemm x_offsets y_offsets out_offsets"
)
"""Sizes; how far rows are apart; whether a matrix lies transposed; what threads share out (BY_…); where in the
table the address of BLAS's product is; where each matrix of a stack begins."""

BY_MATRIX, BY_ROWS, BY_COLUMNS = range(3)


@cache
def blas_product(type: Type) -> Kernel:
    """The products of a stack of matrices by `cblas_sgemm` or `cblas_dgemm`."""
    kernel = stage_kernel(f"blas_product_{type}")
    d = PRODUCT.read(kernel)
    order, transposed = kernel.lift(101, I4), kernel.lift(111, I4)  # row by row; CblasTrans is 112, CblasNoTrans 111
    one, zero = kernel.lift(1.0, type), kernel.lift(0.0, type)
    gemm = d.entry("gemm")

    def product(x: Array, y: Array, out: Array, rows: Expr, columns: Expr) -> None:
        kernel.call_address(gemm, [
            order, d.x_flipped.to(I4) + transposed, d.y_flipped.to(I4) + transposed, rows, columns, d.terms, one,
            x.address, d.x_row, y.address, d.y_row, zero, out.address, d.out_row,
        ])  # fmt: skip

    return _shared_out(kernel, d, type, product)


@cache
def few_rows(type: Type) -> Kernel:
    """The same for few rows of x, and y transposed."""
    kernel = stage_kernel(f"few_rows_{type}")
    d = PRODUCT.read(kernel)
    dots = _dots(type)

    def product(x: Array, y: Array, out: Array, rows: Expr, columns: Expr) -> None:
        kernel.call(dots, rows, columns, d.terms, x.address, d.x_row, y.address, d.y_row, out.address, d.out_row)

    return _shared_out(kernel, d, type, product)


def _shared_out(kernel: Kernel, d: FieldReader, type: Type, product: Callable[..., None]) -> Kernel:
    """A thread's share of the products: some matrices of the stack, or some rows or columns of a single one."""
    first, last = kernel["first"], kernel["last"]
    x, y, out = (d.array(name, type, apart=False) for name in ("x", "y", "out"))
    with kernel.when(d.by.equals(BY_MATRIX)), kernel.loop(first, last, as_written=True) as i:
        x_at, y_at, out_at = (d.table(name)[i] for name in ("x_offsets", "y_offsets", "out_offsets"))
        product(x.at(x_at), y.at(y_at), out.at(out_at), d.rows, d.columns)
    with kernel.when(d.by.equals(BY_ROWS)):
        x_step = kernel.select(d.x_flipped.equals(0), d.x_row, 1)
        product(x.at(first * x_step), y, out.at(first * d.out_row), last - first, d.columns)
    with kernel.when(d.by.equals(BY_COLUMNS)):
        y_step = kernel.select(d.y_flipped.equals(0), 1, d.y_row)
        product(x, y.at(first * y_step), out.at(first), d.rows, last - first)
    return kernel


def _dots(type: Type) -> Kernel:
    """out (n, m) = x (n, k) @ y (m, k).T, tile by tile."""
    kernel = Kernel(f"dots_{type}", {
        "n": I8, "m": I8, "k": I8, "x": ADDRESS, "x_row": I8, "y": ADDRESS, "y_row": I8, "out": ADDRESS, "out_row": I8,
    }, inner=True)  # fmt: skip
    wide = 4 if registers().many else 2  # rows of y in a tile of many rows: its sums and factors fit
    tiles = {size: _tile(type, *size) for size in ((TALL, wide), (3, 4), (1, 4), (1, 1))}
    n, m, k, x_row, y_row, out_row = (kernel[name] for name in ("n", "m", "k", "x_row", "y_row", "out_row"))
    x, y, out = (kernel.array(name, type) for name in ("x", "y", "out"))

    def rows(tall: int, wide: int, row: Expr) -> None:
        """A band of so many rows: tiles as wide as they are, then the columns that are left, one by one."""
        whole = m // wide * wide
        with kernel.loop(0, whole, wide, as_written=True) as column:
            tile(tall, wide, row, column)
        with kernel.loop(whole, m, as_written=True) as column, kernel.loop(row, row + tall, as_written=True) as single:
            tile(1, 1, single, column)

    def tile(tall: int, wide: int, row: Expr, column: Expr) -> None:
        places = x.at(row * x_row), y.at(column * y_row), out.at(row * out_row + column)
        kernel.call(
            tiles[tall, wide], k, places[0].address, x_row, places[1].address, y_row, places[2].address, out_row
        )

    tall_rows = n // TALL * TALL
    three = tall_rows + (n - tall_rows) // 3 * 3
    with kernel.loop(0, tall_rows, TALL, as_written=True) as row:
        rows(TALL, wide, row)
    with kernel.loop(tall_rows, three, 3, as_written=True) as row:
        rows(3, 4, row)
    with kernel.loop(three, n, as_written=True) as row:
        rows(1, 4, row)
    return kernel


def _tile(type: Type, n: int, m: int) -> Kernel:
    """A tile of n × m sums."""
    kernel = Kernel(f"dots_{type}_{n}_{m}", {
        "k": I8, "x": ADDRESS, "x_row": I8, "y": ADDRESS, "y_row": I8, "out": ADDRESS, "out_row": I8,
    }, inner=True)  # fmt: skip
    lanes = registers().vector_bytes // type.bytes
    k = kernel["k"]
    xs = [kernel.array("x", type).at(kernel["x_row"] * i) for i in range(n)]
    ys = [kernel.array("y", type).at(kernel["y_row"] * j) for j in range(m)]
    zero = kernel.broadcast(kernel.lift(0.0, type), lanes)
    sums = [[kernel.variable(type.vector(lanes), zero) for _ in range(m)] for _ in range(n)]
    whole = k // lanes * lanes
    totals = [[kernel.variable(F8, 0.0) for _ in range(m)] for _ in range(n)]
    with kernel.loop(0, whole, TERMS, as_written=True) as begin:
        with kernel.loop(begin, kernel.least(begin + TERMS, whole), lanes, as_written=True) as t:
            factors = [y.vector(t, lanes) for y in ys]
            for i in range(n):
                mine = xs[i].vector(t, lanes)
                for j in range(m):
                    sums[i][j].set(kernel.multiply_add(mine, factors[j], sums[i][j].value))
        for i in range(n):
            for j in range(m):
                totals[i][j].set(totals[i][j].value + kernel.add_lanes(sums[i][j].value).to(F8))
                sums[i][j].set(zero)
    with kernel.loop(whole, k, as_written=True) as t:  # what does not fill a vector
        for i in range(n):
            for j in range(m):
                totals[i][j].set(totals[i][j].value + (xs[i][t] * ys[j][t]).to(F8))
    out = kernel.array("out", type)
    for i in range(n):
        line = out.at(kernel["out_row"] * i)
        for j in range(m):
            line[j] = totals[i][j].value.to(type)
    return kernel


BLAS_PRODUCT, FEW_ROWS = Maker(PRODUCT, blas_product), Maker(PRODUCT, few_rows)
