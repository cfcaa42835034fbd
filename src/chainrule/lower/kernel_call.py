"""From a stage to a call of its kernel: machine code, descriptor, and whether threads divide its rows.

`prepare_call` compiles the kernel if necessary; nothing runs here. It also decides how a matrix product is computed: by
BLAS, or by the kernel for few rows.

Called by `program`; `script` writes the calls into scripts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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

MAX_FEW_ROWS = 24  # with more rows, BLAS is faster although it packs the weights (see `kernels.product`)
MIN_SHARED_WORK = 4_000
"""Stages with less work than this (see `schedule.work`) run on one thread."""


@dataclass(frozen=True)
class KernelCall:
    """A call of a stage's kernel, complete except for the addresses of the arrays and the range of rows.

    Attributes:
        stage: the stage.
        kernel: the address of its machine code.
        descriptor: encodes the kernel's descriptor; takes a function that returns the table entry of an array.
        rows: the number of rows that can be divided among threads.
        parallel: whether dividing them is worthwhile.
        partial_sums: results that are sums over rows, computed in parts.
        replicated: whether every thread computes the whole result, into a copy of its own.
    """

    stage: Stage
    kernel: int
    descriptor: Callable[[EntryOf], Descriptor]
    rows: int
    parallel: bool
    partial_sums: list[Value] = field(default_factory=list)
    replicated: bool = False

    def text(self) -> str:
        """The kernel as Python, for explain(code=True); for a hand-written kernel, its name."""
        if self.stage.kind != "loop":
            return f"# {self.stage.steps[0].op or 'matrix product'}, a hand-written kernel: see chainrule.kernels"
        return python.render(build(Nest(self.stage)))


def prepare_call(stage: Stage) -> KernelCall:
    """Prepare the call of a stage's kernel, which is compiled if necessary. Runs nothing."""
    if stage.kind == "matmul":
        return _product(stage)
    if stage.kind == "kernel":
        return _handwritten(stage)
    nest = Nest(stage)
    parallel = nest.outermost_parallel and work(stage) > MIN_SHARED_WORK and nest.row_count > 1

    def descriptor(entry_of: EntryOf) -> Descriptor:
        return np.array(nest.descriptor(entry_of), np.int64)

    partial_sums = [step for step in stage.steps if is_partial(step)]
    kernel = machine.address_of(f"loops {nest.structure}", lambda: build(nest))
    return KernelCall(stage, kernel, descriptor, nest.row_count, parallel, partial_sums)


def _handwritten(stage: Stage) -> KernelCall:
    """The call of a hand-written kernel other than a matrix product."""
    step = stage.steps[0]
    job: Job = step.options["job"]
    arrays = [*step.values(), *(v for v in stage.steps if v.kind != "scratch")]
    scratch = [v for v in stage.steps if v.kind == "scratch"]
    count = len(job.template.layout.arrays)

    def descriptor(entry_of: EntryOf) -> Descriptor:
        bindings = [(entry_of(base_of(v)), offset_of(v)) for v in arrays]
        bindings += [(0, 0)] * (count - len(bindings) - len(scratch))  # a scratch array that this job does not need
        return job.template.layout.bind(job.descriptor, [*bindings, *((entry_of(v), 0) for v in scratch)])

    partial_sums = [v for v in stage.steps if stage.parts and is_partial(v)]
    parallel = job.row_count > 1 and work(stage) > MIN_SHARED_WORK
    return KernelCall(
        stage, job.address, descriptor, job.row_count, parallel, partial_sums, "bytes_per_thread" in step.options
    )


def _product(stage: Stage) -> KernelCall:
    """The call for a matrix product, or for a stack of them."""
    step = stage.steps[0]
    x, y = step.inputs
    rows, columns = step.shape[-2:]
    stack = step.shape[:-2]
    if stack and len(y.shape) == 2 and _is_one_matrix(x):  # one product of all rows
        rows, stack = math.prod(step.shape[:-1]), ()
    (x_transposed, x_row), (y_transposed, y_row) = _layout(x), _layout(y)
    use_few_rows = not x_transposed and y_transposed and rows <= MAX_FEW_ROWS
    if stack:
        split, count = product.BY_MATRIX, math.prod(stack)
    elif base_of(y).kind == "captured" and rows <= columns:
        # each thread reads, and later updates, only its own columns of the weights; it reads all of x, which is small
        split, count = product.BY_COLUMNS, columns
    else:
        split, count = product.BY_ROWS, rows
    element_type = type_of(step.dtype)
    job = (product.FEW_ROWS if use_few_rows else product.BLAS_PRODUCT).job(
        [element_type], count, int(work(stage)), rows=rows, columns=columns, terms=x.shape[-1], x_row=x_row,
        y_row=y_row, out_row=columns, x_transposed=x_transposed, y_transposed=y_transposed, split=split,
        gemm=SGEMM if element_type == F4 else DGEMM,
        **{f"{name}_offsets": _offsets(v, stack) for name, v in (("x", x), ("y", y), ("out", step))},
    )  # fmt: skip

    def descriptor(entry_of: EntryOf) -> Descriptor:
        return job.template.layout.bind(job.descriptor, [(entry_of(base_of(v)), offset_of(v)) for v in (x, y, step)])

    return KernelCall(stage, job.address, descriptor, count, count >= 8 and work(stage) > 8 * MIN_SHARED_WORK)


def _is_one_matrix(x: Value) -> bool:
    """Whether the matrices of a stack form one matrix in memory, with all their rows."""
    row = x.strides[-2]
    is_row_contiguous = x.strides[-1] == 1 or x.shape[-1] == 1
    rows = x.shape[-2]
    for size, stride in zip(x.shape[-3::-1], x.strides[-3::-1], strict=True):
        if size != 1 and stride != rows * row:
            return False
        rows *= size
    return is_row_contiguous and row >= x.shape[-1]


def _offsets(v: Value, stack: Sequence[int]) -> NDArray[np.int64]:
    """The offset of each matrix of a stack."""
    offsets = np.zeros((1,), np.int64)
    missing = len(stack) - (len(v.shape) - 2)
    for d, size in enumerate(stack):
        dim = d - missing
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
    """How BLAS reads a matrix: (1 if it is stored transposed else 0, its leading dimension); None if it cannot.

    BLAS needs rows, or columns, whose elements are contiguous.
    """
    (rows, columns), (down, across) = v.shape[-2:], v.strides[-2:]
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return 0, max(down if rows > 1 else columns, columns, 1)
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return 1, max(across if columns > 1 else rows, rows, 1)
    return None
