"""From a stage to a kernel: the loops over its elements, with the stage's formula inside.

A `Nest` decides how the loops run: the order of dimensions, which of them are merged, the strides of each operand, and
where each reduction is accumulated. `build` writes the nest as a kernel. **Sizes and strides are arguments** of the
kernel, so one compilation serves many shapes. The formula is compiled in, with the element types, the strides that are
0 or 1, and the size of a short innermost loop (which LLVM unrolls). `Nest.structure` is everything that the kernel
depends on.

A reduction over the innermost loops is accumulated in a register, others in memory. Long float32 sums are accumulated
in float64. In a register, every MAX_FLOAT32_TERMS numbers are first summed in float32, then added to a float64 total;
in memory, the same is done with every ROW_BLOCK rows.

`schedule` uses nests to plan, `kernel_call` compiles them.
"""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import functions as f
from chainrule.kernels import special
from chainrule.kernels.calling import SequentialReader, stage_kernel
from chainrule.kernels.memory import coalesce
from chainrule.kernels.tree import BOOL, F4, F8, I8, Array, Expr, Kernel, Type, Variable, type_of
from chainrule.lower.graph import Value, base_of, is_internal, offset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.lower.schedule import Stage

MAX_FLOAT32_TERMS = 512
"""How many numbers of an innermost loop are summed in float32 before their sum is added to a float64 total."""
ROW_BLOCK = 8
"""How many rows are combined pairwise before they are combined with a result in memory. A power of 2."""
MAX_UNROLLED = 16
"""The innermost of several loops is unrolled if it has at most this size."""
VECTOR_ROW_LENGTHS = (8, 16)
"""Row lengths that are one or two vectors of float32."""

FORMULAS: dict[Any, Callable[..., Expr]] = {
    np.add: lambda x, y: x | y if x.type.kind == "b" else x + y, np.subtract: lambda x, y: x - y,
    np.multiply: lambda x, y: x & y if x.type.kind == "b" else x * y, np.true_divide: lambda x, y: x / y,
    np.negative: lambda x: -x, np.square: lambda x: x & x if x.type.kind == "b" else x * x,
    np.reciprocal: lambda x: 1 / x, np.sqrt: lambda x: x.apply("sqrt"), np.absolute: f.absolute, np.sign: f.sign,
    np.exp: f.exp, np.log: f.log, np.expm1: f.expm1, np.log1p: f.log1p, np.tanh: f.tanh,
    np.log2: f.library("log2"), np.sin: f.library("sin"), np.cos: f.library("cos"), np.tan: f.library("tan"),
    np.exp2: f.library("exp2"), np.log10: f.library("log10"), np.arcsin: f.library("asin"),
    np.arccos: f.library("acos"), np.arctan: f.library("atan"), np.sinh: f.library("sinh"), np.cosh: f.library("cosh"),
    np.arcsinh: f.library("asinh"), np.arccosh: f.library("acosh"), np.arctanh: f.library("atanh"),
    np.fmod: f.fmod, np.remainder: f.remainder, np.floor_divide: f.floor_divide,
    np.floor: f.rounding("floor"), np.ceil: f.rounding("ceil"), np.trunc: f.rounding("trunc"),
    np.rint: f.rounding("rint"), np.maximum: f.maximum, np.minimum: f.minimum,
    np.equal: lambda x, y: x.equals(y), np.not_equal: lambda x, y: x.differs(y), np.less: lambda x, y: x < y,
    np.less_equal: lambda x, y: x <= y, np.greater: lambda x, y: x > y, np.greater_equal: lambda x, y: x >= y,
    np.logical_and: lambda x, y: x.to(BOOL) & y.to(BOOL), np.logical_or: lambda x, y: x.to(BOOL) | y.to(BOOL),
    np.logical_xor: lambda x, y: x.to(BOOL) ^ y.to(BOOL), np.logical_not: lambda x: ~x.to(BOOL),
    np.bitwise_and: lambda x, y: x & y, np.bitwise_or: lambda x, y: x | y, np.bitwise_xor: lambda x, y: x ^ y,
    np.invert: lambda x: ~x, np.isnan: lambda x: x.differs(x),
    np.isinf: lambda x: x.apply("fabs").equals(math.inf) if x.type.kind == "f" else x.differs(x),
    np.isfinite: lambda x: x.apply("fabs") < math.inf if x.type.kind == "f" else x.equals(x),
    np.where: lambda test, x, y: x.kernel.select(test, x, y), "cast": lambda x: x,
    np.power: f.power, np.logaddexp: f.logaddexp, special.erf: f.erf,
}  # fmt: skip
"""The formula of each elementwise function, as a function of expressions. Its arguments are already converted to the
type that the step computes in. A ufunc is recorded only if it is in `lower.tracer.ELEMENTWISE`, too."""

POWER_FORMULAS: dict[float, Callable[[Expr], Expr]] = {
    2: lambda x: x * x, 3: lambda x: x * x * x, 0.5: lambda x: x.apply("sqrt"), 1: lambda x: x, -1: lambda x: 1 / x,
}  # fmt: skip
"""The formula of x to the power of a constant, by the constant. Other powers call the C library."""
FLOATS_ONLY = frozenset({np.true_divide, np.reciprocal, np.power, np.fmod, np.remainder, np.floor_divide})
"""Functions whose formula needs floats. (Integers to the power of 1, 2 or 3 have a formula nevertheless.)"""
INLINED_CONSTANTS = (0, 1, -1, 2, 0.5)
"""Constants that are compiled in, because LLVM can simplify arithmetic with them. Others are arguments."""
EXTREMUM_FORMULAS: dict[str, Callable[[Expr, Expr], Expr]] = {"max": f.maximum, "min": f.minimum}
"""The formulas that combine two numbers in a reduction other than a sum."""


class Nest:
    """The loop nest of a stage.

    Attributes:
        stage: the stage.
        order: the dimensions of the stage's shape, from the outermost loop to the innermost, before loops are merged.
        sizes: the size of each loop, from the outermost to the innermost.
        strides: the stride of each operand and step in each loop, in elements, by the identity of its value.
        operands: the values in memory: those that are read, then those that are stored, then written external memory.
        reductions: the steps that reduce.
        levels: for each reduction, by identity: how many loops enclose its register, from 0 if the register lasts for
            the whole nest; len(sizes) if the reduction has no register, but is accumulated in memory.
        is_outermost_parallel: whether the iterations of the outermost loop are independent. Then threads can divide it.
        is_empty: whether the loops have no iterations. Sums are 0 then.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage, self.is_empty = stage, 0 in stage.shape
        reads = stage.reads()
        targets = [target for target, _ in stage.writes]
        self.order = stage.order or _order(stage, reads)
        operand_strides = {id(v): _strides(v, stage.shape) for v in [*reads, *targets]}
        operand_strides |= {
            id(v): _reduced_strides(v) if v.kind == "reduce" else _strides(v, stage.shape) for v in stage.steps
        }
        self.sizes, strides = coalesce(
            [stage.shape[d] for d in self.order], [[s[d] for d in self.order] for s in operand_strides.values()]
        )
        self.strides = dict(zip(operand_strides, strides, strict=True))
        self.operands = [*reads, *stage.stored_values, *targets]
        self.reductions = [step for step in stage.steps if step.kind == "reduce"]
        depth = len(self.sizes)
        self.levels: dict[int, int] = {}
        for step in self.reductions:
            level = depth
            while level and not self.strides[id(step)][level - 1]:
                level -= 1
            self.levels[id(step)] = level
        complete = [step for step in self.reductions if not is_partial(step)]
        self.is_outermost_parallel = depth > 0 and all(self.strides[id(r)][0] for r in complete if self.sizes[0] > 1)

    @property
    def row_count(self) -> int:
        """The number of rows that threads can divide: iterations of the outermost loop."""
        return self.sizes[0] if self.sizes else 1

    def is_in_memory(self, r: Value) -> bool:
        """Whether a reduction is accumulated in memory while the loops run."""
        return bool(self.sizes) and self.levels[id(r)] == len(self.sizes)

    def is_revisited(self, r: Value) -> bool:
        """Whether a result is stored from its register more than once: each store must combine with the value there."""
        return is_partial(r) or 0 in self.strides[id(r)][: self.levels[id(r)]]

    @cached_property
    def reduces_rows(self) -> bool:
        """Whether all reductions combine rows in memory. Then ROW_BLOCK rows are first combined with each other."""
        if len(self.sizes) < 2:
            return False
        over_rows = [r for r in self.reductions if not self.strides[id(r)][-2]]
        return bool(over_rows) and len(over_rows) == len(self.reductions) and all(map(self.is_in_memory, over_rows))

    def rounding_count(self, r: Value, in_blocks: bool) -> int:
        """An upper bound for how often one result of a sum is rounded, apart from rounding in registers.

        It is rounded by each addition to memory, which adds a number, a sum of ROW_BLOCK rows, or the contents of a
        register; and by the additions inside a sum of ROW_BLOCK rows.

        Args:
            r: the reduction.
            in_blocks: whether the kernel may be called for few rows at a time, possibly for a single row.
        """
        level = self.levels[id(r)]
        sizes = [n for n, stride in zip(self.sizes[:level], self.strides[id(r)][:level], strict=True) if not stride]
        if self.reduces_rows and not in_blocks and sizes[-1] >= ROW_BLOCK:
            n_rows = sizes.pop()
            sizes.append(n_rows // ROW_BLOCK + n_rows % ROW_BLOCK + ROW_BLOCK)  # at most ROW_BLOCK inside a sum
        return math.prod(sizes)

    @cached_property
    def fixed_sizes(self) -> list[int | None]:
        """For each loop, its size if it is compiled in (a short innermost loop), else None."""
        innermost = len(self.sizes) - 1
        return [n if n <= MAX_UNROLLED and d == innermost > 0 else None for d, n in enumerate(self.sizes)]

    @cached_property
    def bases(self) -> list[Value]:
        """The values whose memory the operands use, each once."""
        return list({id(base_of(v)): base_of(v) for v in self.operands}.values())

    def descriptor(self, entry_of: Callable[[Value], int]) -> list[int]:
        """Encode the kernel's descriptor, in the order in which `build` reads it.

        Args:
            entry_of: returns the index of a value's table entry.
        """
        fields = [entry_of(base) for base in self.bases]
        fields += [n for n, fixed in zip(self.sizes, self.fixed_sizes, strict=True) if fixed is None]
        for v in self.operands:
            fields += [offset_of(v), *(s for s in self.strides[id(v)] if s not in (0, 1))]
        return [*fields, *self.scalars, *map(_bits, self.constant_arguments)]

    @cached_property
    def scalars(self) -> list[int]:
        """The scalars that the stage reads, by their indices among the program's scalars."""
        return list({x[1]: None for step in self.stage.steps for x in step.inputs if isinstance(x, tuple)})

    @cached_property
    def constant_arguments(self) -> list[float]:
        """Constants that are arguments, so that means over different counts, for example, use the same kernel."""
        constants = {
            (type(x), repr(x)): x
            for step in self.stage.steps
            for x in step.inputs
            if type(x) in (int, float) and not is_inlined(step, x)
        }
        return list(constants.values())

    @cached_property
    def structure(self) -> str:
        """Everything that the kernel depends on, as text."""
        stage = self.stage
        value_numbers = {id(v): n for n, v in enumerate([*stage.reads(), *stage.steps])}
        memory_numbers = {id(base): n for n, base in enumerate(self.bases)}
        constant_numbers = {(type(x), repr(x)): n for n, x in enumerate(self.constant_arguments)}

        def name(x: Any) -> str:
            if isinstance(x, Value):
                return f"v{value_numbers[id(x)]}"
            if isinstance(x, tuple):
                return f"s{self.scalars.index(x[1])}"
            key = (type(x), repr(x))
            return f"{type(x).__name__}{constant_numbers[key]}" if key in constant_numbers else repr(x)

        def stride_classes(v: Value) -> str:
            return "".join(str(stride) if stride in (0, 1) else "s" for stride in self.strides[id(v)])

        def layout(v: Value) -> str:
            owner = "o" if is_internal(base_of(v)) else "x"
            return f"{v.dtype.char}{memory_numbers[id(base_of(v))]}{owner}:{stride_classes(v)}"

        def type_or_strides(step: Value) -> str:
            if step.kind == "elementwise":
                return str(step.options["type"].char)
            return stride_classes(step) + ("p" if is_partial(step) else "")

        steps = [
            f"{getattr(s.op, '__name__', s.op)}({','.join(map(name, s.inputs))}){s.dtype.char}{type_or_strides(s)}"
            for s in stage.steps
        ]
        # a reduction over no elements clears its result, unless the result has no elements either
        empty = ["empty", *(str(bool(r.size)) for r in self.reductions)] if self.is_empty else []
        stored = ["stored", *map(name, stage.stored_values)]
        written = ["written", *(name(value) for _, value in stage.writes)]
        return ";".join([str(self.fixed_sizes), *empty, *map(layout, self.operands), *steps, *stored, *written])


def is_inlined(step: Value, x: Any) -> bool:
    """Whether a constant input of a step is compiled in: booleans, exponents with a formula, and INLINED_CONSTANTS."""
    return step.options["type"].kind == "b" or x in INLINED_CONSTANTS or (step.op is np.power and x in POWER_FORMULAS)


def _bits(x: float) -> int:
    """A constant as a 64-bit integer: an int modulo 2⁶⁴, a float as the bits of a double."""
    return (x + 2**63) % 2**64 - 2**63 if isinstance(x, int) else int(np.float64(x).view(np.int64))


def _order(stage: Stage, reads: Sequence[Value]) -> list[int]:
    """The dimensions from the outermost loop to the innermost.

    They are in the memory order of an array that is written and has the loops' shape, or else of the largest array that
    is read.
    """
    candidates = [t for t, _ in stage.writes] + [v for v in stage.stored_values if v.kind == "elementwise"]
    candidates += sorted((v for v in reads if v.shape == stage.shape), key=lambda v: -v.size) or list(reads)
    reference = next((v for v in candidates if v.shape == stage.shape), None)
    strides = _strides(reference, stage.shape) if reference is not None else list(range(len(stage.shape), 0, -1))
    return sorted(range(len(stage.shape)), key=lambda d: (-abs(strides[d]), d))


def _strides(value: Value, shape: tuple[int, ...]) -> list[int]:
    """A value's stride in each dimension of the loops' shape: 0 where the value is broadcast."""
    n_missing = len(shape) - len(value.shape)
    return [0] * n_missing + [s if n != 1 else 0 for s, n in zip(value.strides, value.shape, strict=True)]


def _reduced_strides(step: Value) -> list[int]:
    """The stride of a reduction's result in each dimension of the reduction's input: 0 where it is reduced."""
    axes, strides = step.options["axes"], list(step.strides[1:] if is_partial(step) else step.strides)
    if step.options["keepdims"]:
        return [0 if d in axes else stride for d, stride in enumerate(strides)]
    return [0 if d in axes else strides.pop(0) for d in range(len(step.inputs[0].shape))]


def is_partial(step: Value) -> bool:
    """Whether a step computes partial results, which a later step combines."""
    return "n_parts" in step.options


def build(nest: Nest) -> Kernel:
    """Build the kernel of a nest."""
    return _Builder(nest).kernel


class _Builder:
    """Builds the kernel of a nest.

    Attributes:
        sizes: the size of each loop, as an expression.
        arrays: the array of each operand, by the identity of its value.
        strides: the stride of each operand in each loop, by identity: 0, 1 or an expression.
        scalars: the scalars that the stage reads, by their indices among the program's scalars.
        constants: the constants that are arguments, by type and text.
        variables: the registers in which reductions are accumulated, by identity.
    """

    def __init__(self, nest: Nest) -> None:
        self.nest, self.stage = nest, nest.stage
        self.kernel = kernel = stage_kernel(f"loops_{hashlib.sha256(nest.structure.encode()).hexdigest()[:12]}")
        reader = SequentialReader(kernel)
        addresses = {id(base): reader.address(f"memory{n}") for n, base in enumerate(nest.bases)}
        self.sizes = [
            kernel.lift(n, I8) if n is not None else reader.next(f"size{d}") for d, n in enumerate(nest.fixed_sizes)
        ]
        self.arrays: dict[int, Array] = {}
        self.strides: dict[int, list[Any]] = {}
        for n, v in enumerate(nest.operands):
            base = base_of(v)
            alias_scope = f"a{nest.bases.index(base)}" if is_internal(base) else None
            self.arrays[id(v)] = kernel.array(addresses[id(base)], type_of(v.dtype), alias_scope).at(
                reader.next(f"offset{n}")
            )
            self.strides[id(v)] = [
                s if s in (0, 1) else reader.next(f"stride{n}_{d}") for d, s in enumerate(nest.strides[id(v)])
            ]
        self.scalars = {index: reader.scalar(f"scalar{index}") for index in nest.scalars}
        self.constants = {
            (type(x), repr(x)): reader.next(f"constant{n}") if type(x) is int else reader.next(f"bits{n}").bits_as(F8)
            for n, x in enumerate(nest.constant_arguments)
        }
        self.variables: dict[int, Variable] = {}
        if len(nest.sizes) > 1 and nest.sizes[-1] in VECTOR_ROW_LENGTHS and nest.fixed_sizes[-1] is not None:
            kernel.attributes.append("optsize")  # otherwise LLVM unrolls several rows and shuffles their numbers
        self.write()

    def write(self) -> None:
        """Write the whole kernel: the initial values of reductions in memory, then the loops."""
        nest, kernel = self.nest, self.kernel
        depth = len(nest.sizes)
        if nest.is_empty:
            for r in nest.reductions:
                if r.size:
                    self.clear(r)
            return
        for r in nest.reductions:
            if depth and (nest.is_in_memory(r) or nest.is_revisited(r)):
                if is_partial(r):
                    with kernel.when(kernel["overwrite"].differs(0)):
                        self.clear(r)
                else:
                    self.clear(r)
        if depth:
            self.loops(0, {id(v): kernel.lift(0, I8) for v in nest.operands})
            return
        element = self.element({id(v): kernel.lift(0, I8) for v in nest.operands})
        for r in nest.reductions:
            self.arrays[id(r)][0] = element[id(r.inputs[0])].to(type_of(r.dtype))

    # Loops

    def range(self, level: int) -> tuple[Any, Any]:
        """The start and stop of a loop: this thread's rows for the outermost loop, if threads divide it."""
        if level == 0 and self.nest.is_outermost_parallel:
            return self.kernel["first"], self.kernel["last"]
        return 0, self.sizes[level]

    def advance(self, indices: dict[int, Expr], level: int, index: Any) -> dict[int, Expr]:
        """Each operand's index inside the loop at this level, from its index outside and the loop's index."""
        advanced = dict(indices)
        for v in self.nest.operands:
            stride = self.strides[id(v)][level]
            if isinstance(stride, Expr):
                advanced[id(v)] = indices[id(v)] + index * stride
            elif stride:
                advanced[id(v)] = indices[id(v)] + index
        return advanced

    def loops(self, level: int, indices: dict[int, Expr]) -> None:
        """Write the loops from a level inwards. Registers of this level are set before them, and stored after them."""
        nest, kernel = self.nest, self.kernel
        register_reductions = [r for r in nest.reductions if nest.levels[id(r)] == level]
        for r in register_reductions:
            self.variables[id(r)] = kernel.variable(self.register_type(r), initial_value(r))
        start, stop = self.range(level)
        innermost = len(nest.sizes) - 1
        if level == innermost:
            self.innermost(level, indices, start, stop)
        elif level == innermost - 1 and nest.reduces_rows:
            self.row_blocks(level, indices, start, stop)
        else:
            with kernel.loop(start, stop) as i:
                self.loops(level + 1, self.advance(indices, level, i))
        for r in register_reductions:
            self.write_back(r, indices)

    def innermost(self, level: int, indices: dict[int, Expr], start: Any, stop: Any) -> None:
        """Write the innermost loop, in chunks of MAX_FLOAT32_TERMS if a float32 sum in it continues as a double."""
        kernel = self.kernel
        totals = {id(r): v for r in self.nest.reductions if (v := self.double_register(r)) is not None}

        def write_chunk(start: Any, stop: Any) -> None:
            for key in totals:
                self.variables[key] = kernel.variable(F4, 0.0)
            with kernel.loop(start, stop) as i:
                self.accumulate([self.advance(indices, level, i)])
            for key, total in totals.items():
                total.accumulate(self.variables[key].value.to(F8))
            self.variables.update(totals)

        if not totals or self.nest.fixed_sizes[level] is not None:
            write_chunk(start, stop)
            return
        with kernel.loop(start, stop, MAX_FLOAT32_TERMS) as begin:
            write_chunk(begin, kernel.minimum(begin + MAX_FLOAT32_TERMS, stop))

    def row_blocks(self, level: int, indices: dict[int, Expr], start: Any, stop: Any) -> None:
        """Write the two inner loops: first over blocks of ROW_BLOCK rows, then over the rows that are left over."""
        kernel = self.kernel
        start, stop = kernel.lift(start, I8), kernel.lift(stop, I8)
        blocks_end = start + (stop - start) // ROW_BLOCK * ROW_BLOCK
        with kernel.loop(start, blocks_end, ROW_BLOCK) as i:
            rows = [self.advance(indices, level, i + r) for r in range(ROW_BLOCK)]
            with kernel.loop(0, self.sizes[level + 1]) as j:
                self.accumulate([self.advance(row, level + 1, j) for row in rows])
        with kernel.loop(blocks_end, stop) as i:
            row = self.advance(indices, level, i)
            with kernel.loop(0, self.sizes[level + 1]) as j:
                self.accumulate([self.advance(row, level + 1, j)])

    # Reductions

    def double_register(self, r: Value) -> Variable | None:
        """The register in which a float32 sum is accumulated as a double; None if there is no such register."""
        variable = self.variables.get(id(r))
        is_double = variable is not None and variable.type == F8 and type_of(r.inputs[0].dtype) == F4
        return variable if is_double else None

    def register_type(self, r: Value) -> Type:
        """The type of the register that accumulates a reduction."""
        input_type = type_of(r.inputs[0].dtype)
        is_unrolled = self.nest.fixed_sizes[-1] is not None and self.nest.levels[id(r)] == len(self.nest.sizes) - 1
        return F8 if r.op == "sum" and input_type == F4 and not is_unrolled else input_type

    def accumulate(self, rows: Sequence[dict[int, Expr]]) -> None:
        """Compute the formula for one element of each row, and accumulate these elements in the reductions."""
        elements = [self.element(indices) for indices in rows]
        for r in self.nest.reductions:
            numbers = [element[id(r.inputs[0])] for element in elements]
            while len(numbers) > 1:  # pairwise, for a small error
                numbers = [self.combine(r, *pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
            number = numbers[0]
            if id(r) in self.variables:
                variable = self.variables[id(r)]
                if r.op == "sum":
                    variable.accumulate(number.to(variable.type))
                else:
                    variable.set(EXTREMUM_FORMULAS[r.op](variable.value, number))
            else:
                array, index = self.arrays[id(r)], rows[0][id(r)]
                array[index] = self.combine(r, array[index], number.to(array.type))

    @staticmethod
    def combine(r: Value, x: Expr, y: Expr) -> Expr:
        """Combine two partial results of a reduction."""
        return x + y if r.op == "sum" else EXTREMUM_FORMULAS[r.op](x, y)

    def write_back(self, r: Value, indices: dict[int, Expr]) -> None:
        """Store a reduction's register in its result; if `is_revisited`, combine it with the value there."""
        array, index, variable = self.arrays[id(r)], indices[id(r)], self.variables.pop(id(r))
        value = variable.value.to(array.type)
        array[index] = self.combine(r, array[index], value) if self.nest.is_revisited(r) else value

    def clear(self, r: Value) -> None:
        """Store a reduction's initial value in its result."""
        kernel = self.kernel

        def loops(level: int, index: Expr) -> None:
            if level == len(self.nest.sizes):
                self.arrays[id(r)][index] = initial_value(r)
                return
            stride = self.strides[id(r)][level]
            if isinstance(stride, int) and not stride:
                loops(level + 1, index)
                return
            with kernel.loop(*self.range(level)) as i:
                loops(level + 1, index + i * stride)

        loops(0, kernel.lift(0, I8))

    # The formula

    def element(self, indices: dict[int, Expr]) -> dict[int, Expr]:
        """Compute the formula for one element, and store the stage's elementwise results and writes.

        Returns:
            The expressions of the values that are read or elementwise, by identity.
        """
        exprs = {id(v): self.arrays[id(v)][indices[id(v)]] for v in self.stage.reads()}
        for step in self.stage.steps:
            if step.kind == "reduce":
                continue
            exprs[id(step)] = self.formula(step, exprs)
            if any(step is v for v in self.stage.stored_values):
                self.arrays[id(step)][indices[id(step)]] = exprs[id(step)]
        for target, value in self.stage.writes:
            array = self.arrays[id(target)]
            array[indices[id(target)]] = exprs[id(value)].to(array.type)
        return exprs

    def formula(self, step: Value, exprs: dict[int, Expr]) -> Expr:
        """The expression of an elementwise step, from the expressions of its inputs."""
        kernel, step_type = self.kernel, type_of(step.options["type"])
        if step.op is np.power and isinstance(step.inputs[1], (int, float)) and step.inputs[1] in POWER_FORMULAS:
            result = POWER_FORMULAS[step.inputs[1]](exprs[id(step.inputs[0])].to(step_type))
            return result.to(type_of(step.dtype))
        inputs = []
        for position, x in enumerate(step.inputs):
            target_type = BOOL if step.op is np.where and position == 0 else step_type
            if isinstance(x, Value):
                inputs.append(exprs[id(x)].to(target_type))
            elif isinstance(x, tuple):
                inputs.append(self.scalars[x[1]].to(target_type))
            elif (type(x), repr(x)) in self.constants and not is_inlined(step, x):
                inputs.append(self.constants[type(x), repr(x)].to(target_type))
            else:
                inputs.append(kernel.lift(x, target_type))
        return FORMULAS[step.op](*inputs).to(type_of(step.dtype))


def initial_value(r: Value) -> float:
    """The initial value of a reduction: 0 for a sum, else the least or the largest number of its type."""
    if r.op == "sum":
        return 0
    if r.dtype.kind == "f":
        return -math.inf if r.op == "max" else math.inf
    limits = np.iinfo(r.dtype)
    return limits.min if r.op == "max" else limits.max
