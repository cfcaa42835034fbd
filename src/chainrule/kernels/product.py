"""Matrix products of compiled programs: by NumPy's BLAS, and by a kernel for few rows, where BLAS is slow.

    out[i, j] = Σ_k x[i, k] y[j, k]         a linear layer's forward pass, x @ weight.T

BLAS packs the weights first. For one to ten rows that takes several times as long as the arithmetic. `few_rows` packs
nothing: both matrices are read along their rows, in whole vectors. A tile is a few rows of each; its accumulators, a
vector each, stay in registers while k runs. After every MAX_FLOAT_TERMS terms the lanes of each accumulator are summed,
and the sum is added to a float64 total. With AVX2, there are about one and a half multiply-adds for each load.

With one row, the limit is reading the weights once: 50 to 60 GB/s from the L2 cache on one core with AVX2. With ten
rows, the limit is the processor: 69 GFLOP/s on the same core, where BLAS reaches 20. `lower.kernel_call` chooses BLAS
for more than MAX_FEW_ROWS rows. Eager products call NumPy.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import KernelTemplate
from chainrule.kernels.processor import registers
from chainrule.kernels.tree import ADDRESS, F8, I4, I8, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels.calling import DescriptorReader
    from chainrule.kernels.tree import Array, Expr, Type

TALL_TILE_ROWS = 5  # the rows of x in the largest tile
MAX_FLOAT_TERMS = 2048  # the terms that are summed in the element type before their sum is added to a double

PRODUCT_FIELDS = DescriptorLayout(
    "x y out",
    "rows columns terms x_row y_row out_row x_transposed y_transposed split gemm x_offsets y_offsets out_offsets",
)
"""Fields: sizes; row strides; whether x and y are stored transposed; `split`: what threads divide (BY_…); the table
entry of BLAS's gemm; the offset of each matrix of a stack.
"""

# Values of the field `split`
BY_MATRIX = 0  # the matrices of a stack
BY_ROWS = 1  # the rows of a single product
BY_COLUMNS = 2  # the columns of a single product


@cache
def blas_product(type: Type) -> Kernel:
    """The product of two matrices, or the products of two stacks of matrices, by `cblas_sgemm` or `cblas_dgemm`."""
    kernel = stage_kernel(f"blas_product_{type}")
    d = PRODUCT_FIELDS.read(kernel)
    order, no_transpose = kernel.lift(101, I4), kernel.lift(111, I4)  # CblasRowMajor, CblasNoTrans (CblasTrans is 112)
    one, zero = kernel.lift(1.0, type), kernel.lift(0.0, type)
    gemm = d.table_entry("gemm")

    def product(x: Array, y: Array, out: Array, rows: Expr, columns: Expr) -> None:
        kernel.call_address(gemm, [
            order, d.x_transposed.to(I4) + no_transpose, d.y_transposed.to(I4) + no_transpose, rows, columns, d.terms,
            one, x.address, d.x_row, y.address, d.y_row, zero, out.address, d.out_row,
        ])  # fmt: skip

    return _divide_work(kernel, d, type, product)


@cache
def few_rows(type: Type) -> Kernel:
    """The product of two matrices, or of two stacks, for few rows of x; y must be stored transposed."""
    kernel = stage_kernel(f"few_rows_{type}")
    d = PRODUCT_FIELDS.read(kernel)
    dots = _dots(type)

    def product(x: Array, y: Array, out: Array, rows: Expr, columns: Expr) -> None:
        kernel.call(dots, rows, columns, d.terms, x.address, d.x_row, y.address, d.y_row, out.address, d.out_row)

    return _divide_work(kernel, d, type, product)


def _divide_work(kernel: Kernel, d: DescriptorReader, type: Type, product: Callable[..., None]) -> Kernel:
    """Complete a kernel that computes a thread's share: matrices of a stack, or rows or columns of a single product.

    Args:
        kernel: the kernel.
        d: its descriptor.
        type: the type of all numbers.
        product: writes the code for one product, from (x, y, out, number of rows, number of columns).
    """
    first, last = kernel["first"], kernel["last"]
    x, y, out = (d.array(name, type, no_alias=False) for name in ("x", "y", "out"))
    with kernel.when(d.split.equals(BY_MATRIX)), kernel.loop(first, last, as_written=True) as i:
        x_offset, y_offset, out_offset = (d.lookup_table(name)[i] for name in ("x_offsets", "y_offsets", "out_offsets"))
        product(x.at(x_offset), y.at(y_offset), out.at(out_offset), d.rows, d.columns)
    with kernel.when(d.split.equals(BY_ROWS)):
        x_step = kernel.select(d.x_transposed.equals(0), d.x_row, 1)
        product(x.at(first * x_step), y, out.at(first * d.out_row), last - first, d.columns)
    with kernel.when(d.split.equals(BY_COLUMNS)):
        y_step = kernel.select(d.y_transposed.equals(0), 1, d.y_row)
        product(x, y.at(first * y_step), out.at(first), d.rows, last - first)
    return kernel


def _dots(type: Type) -> Kernel:
    """out (n, m) = x (n, k) @ y (m, k).T, tile by tile."""
    kernel = Kernel(f"dots_{type}", {
        "n": I8, "m": I8, "k": I8, "x": ADDRESS, "x_row": I8, "y": ADDRESS, "y_row": I8, "out": ADDRESS, "out_row": I8,
    }, internal=True)  # fmt: skip
    # the number of columns of the largest tile, whose sums and factors must fit into the registers
    tall_columns = 4 if registers().has_32_registers else 2
    tiles = {size: _tile(type, *size) for size in ((TALL_TILE_ROWS, tall_columns), (3, 4), (1, 4), (1, 1))}
    n, m, k, x_row, y_row, out_row = (kernel[name] for name in ("n", "m", "k", "x_row", "y_row", "out_row"))
    x, y, out = (kernel.array(name, type) for name in ("x", "y", "out"))

    def band(rows: int, columns: int, row: Expr) -> None:
        """Compute a band of `rows` rows: tiles of `columns` columns, then the remaining columns one by one."""
        tiled_columns = m // columns * columns
        with kernel.loop(0, tiled_columns, columns, as_written=True) as column:
            tile(rows, columns, row, column)
        with kernel.loop(tiled_columns, m, as_written=True) as column, kernel.loop(0, rows, as_written=True) as i:
            tile(1, 1, row + i, column)

    def tile(rows: int, columns: int, row: Expr, column: Expr) -> None:
        operands = x.at(row * x_row), y.at(column * y_row), out.at(row * out_row + column)
        x_address, y_address, out_address = (operand.address for operand in operands)
        kernel.call(tiles[rows, columns], k, x_address, x_row, y_address, y_row, out_address, out_row)

    tall_end = n // TALL_TILE_ROWS * TALL_TILE_ROWS  # where the rows of the largest tiles end
    triple_end = tall_end + (n - tall_end) // 3 * 3
    with kernel.loop(0, tall_end, TALL_TILE_ROWS, as_written=True) as row:
        band(TALL_TILE_ROWS, tall_columns, row)
    with kernel.loop(tall_end, triple_end, 3, as_written=True) as row:
        band(3, 4, row)
    with kernel.loop(triple_end, n, as_written=True) as row:
        band(1, 4, row)
    return kernel


def _tile(type: Type, n: int, m: int) -> Kernel:
    """A tile of n × m sums: the products of n rows of x and m rows of y, of length k."""
    kernel = Kernel(f"dots_{type}_{n}_{m}", {
        "k": I8, "x": ADDRESS, "x_row": I8, "y": ADDRESS, "y_row": I8, "out": ADDRESS, "out_row": I8,
    }, internal=True)  # fmt: skip
    lanes = registers().vector_bytes // type.bytes
    k = kernel["k"]
    xs = [kernel.array("x", type).at(kernel["x_row"] * i) for i in range(n)]
    ys = [kernel.array("y", type).at(kernel["y_row"] * j) for j in range(m)]
    zero = kernel.broadcast(kernel.lift(0.0, type), lanes)
    sums = [[kernel.variable(type.vector(lanes), zero) for _ in range(m)] for _ in range(n)]
    vector_end = k // lanes * lanes  # where the terms that fill whole vectors end
    totals = [[kernel.variable(F8, 0.0) for _ in range(m)] for _ in range(n)]
    with kernel.loop(0, vector_end, MAX_FLOAT_TERMS, as_written=True) as begin:
        with kernel.loop(begin, kernel.minimum(begin + MAX_FLOAT_TERMS, vector_end), lanes, as_written=True) as t:
            factors = [y.vector(t, lanes) for y in ys]
            for i in range(n):
                x_vector = xs[i].vector(t, lanes)
                for j in range(m):
                    sums[i][j].set(kernel.multiply_add(x_vector, factors[j], sums[i][j].value))
        for i in range(n):
            for j in range(m):
                totals[i][j].set(totals[i][j].value + kernel.add_lanes(sums[i][j].value).to(F8))
                sums[i][j].set(zero)
    with kernel.loop(vector_end, k, as_written=True) as t:
        for i in range(n):
            for j in range(m):
                totals[i][j].set(totals[i][j].value + (xs[i][t] * ys[j][t]).to(F8))
    out = kernel.array("out", type)
    for i in range(n):
        line = out.at(kernel["out_row"] * i)
        for j in range(m):
            line[j] = totals[i][j].value.to(type)
    return kernel


BLAS_PRODUCT = KernelTemplate(PRODUCT_FIELDS, blas_product)
FEW_ROWS = KernelTemplate(PRODUCT_FIELDS, few_rows)
