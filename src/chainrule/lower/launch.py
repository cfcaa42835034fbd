"""How each stage is run: which kernel, with which words, and how its rows are shared out among threads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels import machine, product, python
from chainrule.kernels.driver import DGEMM, SGEMM
from chainrule.kernels.tree import F4, type_of
from chainrule.lower.graph import Value, base_of, offset_of
from chainrule.lower.loops import Nest, build, in_parts
from chainrule.lower.schedule import work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.job import Job
    from chainrule.lower.schedule import Stage

    Words = NDArray[np.int64]
    Entry = Callable[[Value], int]

FEW_ROWS = 24  # with more, BLAS's copy of the weights pays (see `kernels.product`)
WORTH_SHARING = 4_000
"""Stages of less work are done by one thread."""


@dataclass(frozen=True)
class Launch:
    """A stage, ready to be called.

    Attributes:
        stage: what it does.
        kernel: the address of its machine code.
        words: the kernel's words, for given entries of the arrays in the table.
        rows: what can be shared out.
        shared: whether that is worth while.
        sums: results that are sums over rows, made in parts.
        private: every thread does all of it, for itself.
    """

    stage: Stage
    kernel: int
    words: Callable[[Entry], Words]
    rows: int
    shared: bool
    sums: list[Value] = field(default_factory=list)
    private: bool = False

    def text(self) -> str:
        """The kernel as Python, for a person to read; the name of one that is written by hand."""
        if self.stage.kind != "loop":
            return (
                f"# {self.stage.steps[0].op or 'product of matrices'}, a kernel written by hand: see chainrule.kernels"
            )
        nest = Nest(self.stage)
        return python.render(build(nest))


def launch(stage: Stage) -> Launch:
    """How a stage is run. Its kernel is compiled now, if it is not known."""
    if stage.kind == "matmul":
        return _product(stage)
    if stage.kind == "kernel":
        return _by_hand(stage)
    nest = Nest(stage)
    shared = nest.outermost_free and work(stage) > WORTH_SHARING and nest.rows > 1

    def words(entry: Entry) -> Words:
        return np.array(nest.words(entry), np.int64)

    sums = [step for step in stage.steps if in_parts(step)]
    return Launch(
        stage, machine.address_of(f"loops {nest.structure}", lambda: build(nest)), words, nest.rows, shared, sums
    )


def _by_hand(stage: Stage) -> Launch:
    """A kernel of convolution or pooling."""
    step = stage.steps[0]
    job: Job = step.options["job"]
    arrays = [*step.values(), *(v for v in stage.steps if v.kind != "scratch")]
    scratch = [v for v in stage.steps if v.kind == "scratch"]
    count = len(job.maker.fields.arrays)

    def words(entry: Entry) -> Words:
        places = [(entry(base_of(v)), offset_of(v)) for v in arrays]
        places += [(0, 0)] * (count - len(places) - len(scratch))
        return job.maker.fields.with_arrays(job.words, [*places, *((entry(v), 0) for v in scratch)])

    sums = [v for v in stage.steps if stage.parts and in_parts(v)]
    shared = job.rows > 1 and work(stage) > WORTH_SHARING
    return Launch(stage, job.address, words, job.rows, shared, sums, "each" in step.options)


def _product(stage: Stage) -> Launch:
    """A product of matrices, or one for each matrix of a stack."""
    step = stage.steps[0]
    x, y = step.inputs
    rows, columns = step.shape[-2:]
    stack = step.shape[:-2]
    if stack and len(y.shape) == 2 and _one_below_the_other(x):  # one product of all rows
        rows, stack = math.prod(step.shape[:-1]), ()
    (x_flipped, x_row), (y_flipped, y_row) = _layout(x), _layout(y)
    few = not x_flipped and y_flipped and rows <= FEW_ROWS
    if stack:
        by, count = product.BY_MATRIX, math.prod(stack)
    elif base_of(y).kind == "captured" and rows <= columns:
        # by columns each thread reads, and later updates, its own weights, but all of x: so not where x is the larger
        by, count = product.BY_COLUMNS, columns
    else:
        by, count = product.BY_ROWS, rows
    kind = type_of(step.dtype)
    job = (product.FEW_ROWS if few else product.BLAS_PRODUCT).job(
        [kind], count, int(work(stage)), rows=rows, columns=columns, terms=x.shape[-1], x_row=x_row, y_row=y_row,
        out_row=columns, x_flipped=x_flipped, y_flipped=y_flipped, by=by, gemm=SGEMM if kind == F4 else DGEMM,
        **{f"{name}_offsets": _offsets(v, stack) for name, v in (("x", x), ("y", y), ("out", step))},
    )  # fmt: skip

    def words(entry: Entry) -> Words:
        return job.maker.fields.with_arrays(job.words, [(entry(base_of(v)), offset_of(v)) for v in (x, y, step)])

    return Launch(stage, job.address, words, count, count >= 8 and work(stage) > 8 * WORTH_SHARING)


def _one_below_the_other(x: Value) -> bool:
    """Whether the matrices of a stack lie in memory as one matrix with all their rows."""
    row = x.strides[-2]
    across = x.strides[-1] == 1 or x.shape[-1] == 1
    rows = x.shape[-2]
    for size, stride in zip(x.shape[-3::-1], x.strides[-3::-1], strict=True):
        if size != 1 and stride != rows * row:
            return False
        rows *= size
    return across and row >= x.shape[-1]


def _offsets(v: Value, stack: Sequence[int]) -> NDArray[np.int64]:
    """Where each matrix of a stack begins."""
    at = np.zeros((1,), np.int64)
    missing = len(stack) - (len(v.shape) - 2)
    for d, size in enumerate(stack):
        own = d - missing
        stride = v.strides[own] if own >= 0 and v.shape[own] != 1 else 0
        at = (at[:, None] + np.arange(size) * stride).ravel()
    return at


def _layout(v: Value) -> tuple[int, int]:
    """As `blas_layout`, of a matrix that the recorder has brought into such an order."""
    layout = blas_layout(v)
    if layout is None:
        raise ValueError(f"BLAS cannot read a matrix with strides {v.strides[-2:]}")
    return layout


def blas_layout(v: Value) -> tuple[int, int] | None:
    """How BLAS reads a matrix: 1 if it lies transposed or 0, and how far its rows are apart; None where it cannot.

    It takes rows, or columns, whose numbers lie side by side.
    """
    (rows, columns), (down, across) = v.shape[-2:], v.strides[-2:]
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return 0, max(down if rows > 1 else columns, columns, 1)
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return 1, max(across if columns > 1 else rows, rows, 1)
    return None
