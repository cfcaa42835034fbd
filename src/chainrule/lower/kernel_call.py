"""From a stage to a call of its kernel: machine code, descriptor, and whether threads divide its rows.

`prepare_call` compiles the kernel if necessary; it does not run it. It also decides how a matrix product is computed:
by BLAS, or by the kernel for few rows.

Called by `program`; `script` writes the calls into scripts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import machine, product, python
from chainrule.kernels.driver import DGEMM, SGEMM
from chainrule.kernels.tree import F4, type_of
from chainrule.lower.graph import Value, base_of, offset_of
from chainrule.lower.loops import Nest, build, is_partial
from chainrule.lower.schedule import work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.job import Job
    from chainrule.lower.schedule import Stage

    Descriptor = NDArray[np.int64]
    EntryOf = Callable[[Value], int]

MAX_FEW_ROWS = 24
"""With more rows, BLAS computes a product, although it packs the weights first (see `kernels.product`). From
about thirty rows on with AVX2, and from more than 48 with AVX-512, BLAS is faster. 24 is below both, so the kernel for
few rows is used only where it is the faster one."""
MIN_PARALLEL_WORK = 4_000
"""Threads divide only stages with more work than this (see `schedule.work`)."""
PRODUCT_FACTOR = 8
"""A matrix product must have this many times as much work to be divided: with BLAS, each thread packs all of the matrix
that is not divided."""
MIN_PRODUCT_ROWS = 8
"""Threads divide only matrix products with at least this many rows (or columns, or matrices of a stack)."""


@dataclass(frozen=True)
class KernelCall:
    """A call of a stage's kernel, complete except for the addresses of the arrays and the range of rows.

    Attributes:
        stage: the stage.
        kernel: the address of its machine code.
        descriptor: encodes the kernel's descriptor; takes a function that returns the index of a value's table entry.
        n_rows: the number of the kernel's rows.
        is_parallel: whether threads should divide the rows.
        partial_results: results of reductions over the rows that are computed in parts (see `Stage.n_parts`).
        is_replicated: whether every thread computes the whole result, into a copy of its own.
    """

    stage: Stage
    kernel: int
    descriptor: Callable[[EntryOf], Descriptor]
    n_rows: int
    is_parallel: bool
    partial_results: list[Value] = field(default_factory=list)
    is_replicated: bool = False

    def text(self) -> str:
        """The kernel as Python, for explain(code=True); for a hand-written kernel, its name."""
        if self.stage.kind != "loop":
            return f"# {self.stage.steps[0].op or 'matrix product'}, a hand-written kernel: see chainrule.kernels"
        return python.render(build(Nest(self.stage)))


def prepare_call(stage: Stage) -> KernelCall:
    """Prepare the call of a stage's kernel, which is compiled if necessary.

    Raises:
        CannotCompileError: LLVM cannot be used, or rejects the kernel.
    """
    if stage.kind == "matmul":
        return _product(stage)
    if stage.kind == "kernel":
        return _handwritten(stage)
    nest = Nest(stage)
    is_parallel = nest.is_outermost_parallel and work(stage) > MIN_PARALLEL_WORK and nest.row_count > 1

    def descriptor(entry_of: EntryOf) -> Descriptor:
        return np.array(nest.descriptor(entry_of), np.int64)

    partial_results = [step for step in stage.steps if is_partial(step)]
    kernel = machine.address_of(f"loops {nest.structure}", lambda: build(nest))
    return KernelCall(stage, kernel, descriptor, nest.row_count, is_parallel, partial_results)


def _handwritten(stage: Stage) -> KernelCall:
    """The call of a hand-written kernel other than a matrix product."""
    step = stage.steps[0]
    job: Job = step.options["job"]
    arrays = [*step.values(), *(v for v in stage.steps if v.kind != "scratch")]
    scratch = [v for v in stage.steps if v.kind == "scratch"]
    n_arrays = len(job.template.descriptor_layout.array_names)

    def descriptor(entry_of: EntryOf) -> Descriptor:
        bindings = [(entry_of(base_of(v)), offset_of(v)) for v in arrays]
        bindings += [(0, 0)] * (n_arrays - len(bindings) - len(scratch))  # a scratch array that this job does not need
        return job.bind([*bindings, *((entry_of(v), 0) for v in scratch)])

    partial_results = [v for v in stage.steps if stage.n_parts and is_partial(v)]
    is_parallel = job.row_count > 1 and work(stage) > MIN_PARALLEL_WORK
    is_replicated = "bytes_per_thread" in step.options
    return KernelCall(stage, job.address, descriptor, job.row_count, is_parallel, partial_results, is_replicated)


def _product(stage: Stage) -> KernelCall:
    """The call for a matrix product, or for a stack of them."""
    step = stage.steps[0]
    x, y = step.inputs
    rows, columns = step.shape[-2:]
    stack = step.shape[:-2]
    if stack and len(y.shape) == 2 and _is_one_matrix(x):  # one product with all rows of the stack
        rows, stack = math.prod(step.shape[:-1]), ()
    x_transposed, x_row = _layout(x)
    y_transposed, y_row = _layout(y)
    use_few_rows = not x_transposed and y_transposed and rows <= MAX_FEW_ROWS
    if stack:
        split, count = product.BY_MATRIX, math.prod(stack)
    elif base_of(y).kind == "captured" and rows <= columns:
        # y is a matrix of weights. Each thread reads all of x, but only its own columns of y. If y is the transpose of
        # a parameter, these columns are rows of the parameter. An optimizer step gives each thread about the same rows,
        # so they may still be in its cache.
        split, count = product.BY_COLUMNS, columns
    else:
        split, count = product.BY_ROWS, rows
    element_type = type_of(step.dtype)
    offsets: dict[str, Any] = {f"{name}_offsets": _offsets(v, stack) for name, v in (("x", x), ("y", y), ("out", step))}
    job = (product.FEW_ROWS if use_few_rows else product.BLAS_PRODUCT).job(
        [element_type], row_count=count, iterations=int(work(stage)), rows=rows, columns=columns, terms=x.shape[-1],
        x_row=x_row, y_row=y_row, out_row=columns, x_transposed=x_transposed, y_transposed=y_transposed, split=split,
        gemm=SGEMM if element_type == F4 else DGEMM, **offsets,
    )  # fmt: skip

    def descriptor(entry_of: EntryOf) -> Descriptor:
        return job.bind([(entry_of(base_of(v)), offset_of(v)) for v in (x, y, step)])

    is_parallel = count >= MIN_PRODUCT_ROWS and work(stage) > PRODUCT_FACTOR * MIN_PARALLEL_WORK
    return KernelCall(stage, job.address, descriptor, count, is_parallel)


def _is_one_matrix(x: Value) -> bool:
    """Whether the matrices of a stack lie in memory as a single matrix that has all their rows."""
    row_stride = x.strides[-2]
    is_row_contiguous = x.strides[-1] == 1 or x.shape[-1] == 1
    n_rows = x.shape[-2]
    for size, stride in zip(x.shape[-3::-1], x.strides[-3::-1], strict=True):
        if size != 1 and stride != n_rows * row_stride:
            return False
        n_rows *= size
    return is_row_contiguous and row_stride >= x.shape[-1]


def _offsets(v: Value, stack: Sequence[int]) -> NDArray[np.int64]:
    """The offset in v of each matrix of a stack, in elements; `v` broadcasts to the shape `stack`."""
    offsets = np.zeros((1,), np.int64)
    n_missing = len(stack) - (len(v.shape) - 2)
    for d, size in enumerate(stack):
        dim = d - n_missing
        stride = v.strides[dim] if dim >= 0 and v.shape[dim] != 1 else 0
        offsets = (offsets[:, None] + np.arange(size) * stride).ravel()
    return offsets


def _layout(v: Value) -> tuple[int, int]:
    """The `blas_layout` of a matrix that the recorder has brought into a readable order."""
    layout = blas_layout(v)
    if layout is None:
        raise ValueError(f"matmul: BLAS cannot read a matrix with strides {v.strides[-2:]}")
    return layout


def blas_layout(v: Value) -> tuple[int, int] | None:
    """How BLAS reads a matrix: (1 if it is stored transposed else 0, its leading dimension); None if BLAS cannot.

    BLAS needs rows, or columns, whose elements are contiguous.
    """
    rows, columns = v.shape[-2:]
    row_stride, column_stride = v.strides[-2:]
    if (column_stride == 1 or columns == 1) and (row_stride >= columns or rows == 1):
        return 0, max(row_stride if rows > 1 else columns, columns, 1)
    if (row_stride == 1 or rows == 1) and (column_stride >= rows or columns == 1):
        return 1, max(column_stride if columns > 1 else rows, rows, 1)
    return None
