"""A kernel as data: a small tree of loops, conditions and instructions that a renderer turns into code.

Python arithmetic builds it. A `Node` is one number that the kernel computes; adding two nodes appends an addition to
the block that is being written:

    kernel = Kernel("double", {"x": ADDRESS, "out": ADDRESS, "n": I8})
    x, out = kernel.array("x", F4), kernel.array("out", F4)
    with kernel.loop(0, kernel["n"]) as i:
        out[i] = x[i] + x[i]

So a function of numbers is an ordinary Python function of nodes (`kernels.functions`), and whoever holds a kernel can
ask it what it does. `kernels.llvm` renders it to LLVM IR, `kernels.python` to Python for people and tests.

Semantics: instructions run in the order in which they were written; floats follow IEEE 754 and are neither reordered
nor contracted, except in a `sum`, whose order is the compiler's; whole numbers wrap around.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Type:
    """The type of a number, or of a vector of numbers.

    Attributes:
        kind: NumPy's letter: "f" float, "i" signed, "u" unsigned, "b" boolean; or "p", an address.
        bytes: its size in memory.
        lanes: numbers in a vector, or 1.
    """

    kind: str
    bytes: int
    lanes: int = 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's name for it."""
        return np.dtype("?" if self.kind == "b" else f"{self.kind}{self.bytes}")

    def vector(self, lanes: int) -> Type:
        """A vector of such numbers."""
        return Type(self.kind, self.bytes, lanes)

    def __str__(self) -> str:
        return f"{self.kind}{self.bytes}" + (f"x{self.lanes}" if self.lanes > 1 else "")


F4, F8 = Type("f", 4), Type("f", 8)
I1, I2, I4, I8 = Type("i", 1), Type("i", 2), Type("i", 4), Type("i", 8)
U1, U2, U4, U8 = Type("u", 1), Type("u", 2), Type("u", 4), Type("u", 8)
BOOL = Type("b", 1)
ADDRESS = Type("p", 8)


def computes_with(dtype: np.dtype[Any]) -> bool:
    """Whether kernels compute with numbers of a type."""
    return dtype.isnative and (dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize in (4, 8)))


@cache
def type_of(dtype: Any) -> Type:
    """The type of an array's elements.

    Raises:
        TypeError: no kernel computes with them.
    """
    dtype = np.dtype(dtype)
    if not computes_with(dtype):
        raise TypeError(f"kernels do not compute with {dtype}; convert it with float() or double()")
    return Type(dtype.kind, dtype.itemsize)


@dataclass(eq=False, slots=True)
class Expr:
    """One number of a kernel, and the instruction that computes it.

    Attributes:
        op: the instruction.
        args: nodes, and what else it needs to know.
        type: of the number; None if the instruction only has an effect.
        kernel: where it belongs.
    """

    op: str
    args: tuple[Any, ...]
    type: Type
    kernel: Kernel

    def _with(self, op: str, other: Any, type: Type | None = None, swapped: bool = False) -> Expr:
        other = self.kernel.lift(other, self.type)
        if other.type != self.type:
            raise TypeError(f"{op}: {self.type} does not meet {other.type}; cast one of them")
        if self.type == I8 and not swapped:  # indices come with many of these
            if op == "add" and 0 in (_whole(self), _whole(other)):
                return other if _whole(self) == 0 else self
            if op == "mul" and 1 in (_whole(self), _whole(other)):
                return other if _whole(self) == 1 else self
        args = (other, self) if swapped else (self, other)
        return self.kernel.add(op, args, type or self.type)

    def _compare(self, op: str, other: Any) -> Expr:
        return self._with(op, other, Type("b", 1, self.type.lanes))

    # fmt: off  # a table of operators
    def __add__(self, other: Any) -> Expr:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Expr:
        return self._with("add", other, swapped=True)

    def __sub__(self, other: Any) -> Expr:
        return self._with("sub", other)

    def __rsub__(self, other: Any) -> Expr:
        return self._with("sub", other, swapped=True)

    def __mul__(self, other: Any) -> Expr:
        return self._with("mul", other)

    def __rmul__(self, other: Any) -> Expr:
        return self._with("mul", other, swapped=True)

    def __truediv__(self, other: Any) -> Expr:
        return self._with("div", other)

    def __rtruediv__(self, other: Any) -> Expr:
        return self._with("div", other, swapped=True)

    def __floordiv__(self, other: Any) -> Expr:
        return self._with("quotient", other)

    def __mod__(self, other: Any) -> Expr:
        return self._with("remainder", other)

    def __and__(self, other: Any) -> Expr:
        return self._with("and", other)

    def __or__(self, other: Any) -> Expr:
        return self._with("or", other)

    def __xor__(self, other: Any) -> Expr:
        return self._with("xor", other)

    def __lshift__(self, other: Any) -> Expr:
        return self._with("shift_left", other)

    def __rshift__(self, other: Any) -> Expr:
        return self._with("shift_right", other)

    def __lt__(self, other: Any) -> Expr:
        return self._compare("lt", other)

    def __le__(self, other: Any) -> Expr:
        return self._compare("le", other)

    def __gt__(self, other: Any) -> Expr:
        return self._compare("gt", other)

    def __ge__(self, other: Any) -> Expr:
        return self._compare("ge", other)

    def equals(self, other: Any) -> Expr:
        """Whether both are the same; `==` compares the nodes themselves."""
        return self._compare("eq", other)

    def differs(self, other: Any) -> Expr:
        """Whether they are not the same; true of NaN."""
        return self._compare("ne", other)

    def __neg__(self) -> Expr:
        return self.kernel.add("neg", (self,), self.type)

    def __invert__(self) -> Expr:
        return self.kernel.add("not", (self,), self.type)

    # fmt: on

    def __bool__(self) -> bool:
        raise TypeError("a node has no value while the kernel is built: use select, when or loop_while")

    def to(self, type: Type) -> Expr:
        """This number in another type, as C converts it; a boolean is "not 0"."""
        if type == self.type:
            return self
        return self.differs(0) if type.kind == "b" else self.kernel.add("cast", (self,), type)

    def bits_as(self, type: Type) -> Expr:
        """The number of another type that has the same bits."""
        return self.kernel.add("bitcast", (self,), type)

    def apply(self, name: str, *others: Any) -> Expr:
        """A function of floats that LLVM knows: sqrt, floor, ceil, trunc, rint, fabs, maximum, minimum, copysign ..."""
        if self.type.kind != "f":
            raise TypeError(f"{name}: takes floats, not {self.type}")
        return self.kernel.add(name, (self, *(self.kernel.lift(x, self.type) for x in others)), self.type)


def _whole(node: Expr) -> Any:
    """The number that a node always is, if it is a constant."""
    return node.args[0] if node.op == "constant" else None


@dataclass(eq=False)
class Loop:
    """`for index in range(start, stop, step): body`; `as_written`: LLVM shall neither unroll nor vectorize it."""

    index: Expr
    start: Expr
    stop: Expr
    step: int
    as_written: bool = False
    body: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class While:
    """`while test: body`; the test is computed anew each time, by the instructions `header`."""

    header: list[Any] = field(default_factory=list)
    test: Expr | None = None
    body: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class If:
    """`if test: body else: otherwise`."""

    test: Expr
    body: list[Any] = field(default_factory=list)
    otherwise: list[Any] = field(default_factory=list)


class Variable:
    """A number that changes while a kernel runs. It is held in a register."""

    def __init__(self, kernel: Kernel, type: Type, start: Any) -> None:
        self.kernel, self.type = kernel, type
        self.number = len(kernel.variables)
        kernel.variables.append(type)
        self.set(start)

    @property
    def value(self) -> Expr:
        """What it is now."""
        return self.kernel.add("get", (self.number,), self.type)

    def set(self, value: Any) -> None:
        """Give it another value."""
        self.kernel.effect("set", (self.number, self.kernel.lift(value, self.type)))

    def sum(self, value: Expr) -> None:
        """Add to it; the order of such additions is the compiler's, so that a loop of them becomes vector code."""
        self.set(self.kernel.add("sum" if self.type.kind == "f" else "add", (self.value, value), self.type))


class Array:
    """Numbers in memory, one after the other, from an address on.

    Args:
        kernel: that reads or writes them.
        address: of the first.
        type: of each.
        apart: a name, if no array of another name overlaps this one.
    """

    def __init__(self, kernel: Kernel, address: Expr, type: Type, apart: str | None = None) -> None:
        self.kernel, self.address, self.type, self.apart = kernel, address, type, apart
        if apart is not None and apart not in kernel.scopes:
            kernel.scopes.append(apart)

    def __getitem__(self, index: Any) -> Expr:
        return self.vector(index, 1)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.kernel.effect("store", (self, self.kernel.lift(index, I8), self.kernel.lift(value, self.type)))

    def vector(self, index: Any, lanes: int) -> Expr:
        """So many neighbors from an index on, as one vector. Store it with `array[index] = vector`."""
        return self.kernel.add("load", (self, self.kernel.lift(index, I8)), self.type.vector(lanes))

    def at(self, index: Any) -> Array:
        """The same memory, counted from an index on."""
        address = self.kernel.add("offset", (self.address, self.kernel.lift(index, I8), self.type), ADDRESS)
        return Array(self.kernel, address, self.type, self.apart)

    def prefetch(self, index: Any, for_writing: bool = False) -> None:
        """Ask for the cache line of a number that will soon be used; it may lie beyond the array's end."""
        self.kernel.effect("prefetch", (self, self.kernel.lift(index, I8), for_writing))

    def fill_zero(self, count: Any) -> None:
        """Put 0 into the first numbers; into none if the count is negative."""
        some = self.kernel.lift(count, I8)
        some = self.kernel.select(some > 0, some, 0)
        self.kernel.effect("memset", (self, some * self.type.bytes))

    def copy_from(self, source: Array, count: Any) -> None:
        """Copy the first numbers of an array of the same type that does not overlap."""
        self.kernel.effect("memcpy", (self, source, self.kernel.lift(count, I8) * self.type.bytes))


class Kernel:
    """A function of numbers and addresses: its arguments, and the tree of what it does.

    Args:
        name: of the function.
        arguments: names and types, in order.
        result: the type of what it gives back, if anything.
        inner: only kernels of the same module call it.

    Attributes:
        body: statements, in order: nodes, loops, conditions.
        variables: the types of its variables.
        scopes: names of arrays that do not overlap.
        calls: other kernels that it calls.
        hints: attributes for the compiler.
        names: of nodes, by identity, for those who read the kernel.
    """

    def __init__(
        self, name: str, arguments: Mapping[str, Type], result: Type | None = None, inner: bool = False
    ) -> None:
        self.name, self.result, self.inner = name, result, inner
        self.body: list[Any] = []
        self.variables: list[Type] = []
        self.scopes: list[str] = []
        self.calls: list[Kernel] = []
        self.hints: list[str] = []
        self.names: dict[int, str] = {}
        self.arguments = {key: Expr("argument", (key,), type, self) for key, type in arguments.items()}
        self._blocks = [self.body]

    def __getitem__(self, name: str) -> Expr:
        return self.arguments[name]

    # Instructions

    def add(self, op: str, args: tuple[Any, ...], type: Type) -> Expr:
        """Append an instruction to the block that is being written."""
        node = Expr(op, args, type, self)
        self._blocks[-1].append(node)
        return node

    def effect(self, op: str, args: tuple[Any, ...]) -> None:
        """Append an instruction that gives no number."""
        self.add(op, args, BOOL)

    def lift(self, x: Any, type: Type) -> Expr:
        """A number of Python as a constant."""
        return x if isinstance(x, Expr) else Expr("constant", (x,), type, self)

    def array(self, address: Any, type: Type, apart: str | None = None) -> Array:
        """The array at an address, or at that of an argument."""
        return Array(self, self.arguments[address] if isinstance(address, str) else address, type, apart)

    def variable(self, type: Type, start: Any = 0) -> Variable:
        """A new variable."""
        return Variable(self, type, start)

    def room(self, type: Type, count: int) -> Array:
        """Memory for so many numbers, until the kernel returns."""
        return Array(self, self.add("alloca", (type, count), ADDRESS), type)

    def select(self, test: Expr, yes: Any, no: Any) -> Expr:
        """`yes` where the test holds, else `no`; both are computed."""
        type = next(x.type for x in (yes, no) if isinstance(x, Expr))
        return self.add("select", (test, self.lift(yes, type), self.lift(no, type)), type)

    def least(self, x: Expr, y: Any) -> Expr:
        """The smaller of two whole numbers."""
        y = self.lift(y, x.type)
        return self.select(x < y, x, y)

    def most(self, x: Expr, y: Any) -> Expr:
        """The larger of two whole numbers."""
        y = self.lift(y, x.type)
        return self.select(x > y, x, y)

    def broadcast(self, x: Expr, lanes: int) -> Expr:
        """A vector whose lanes all are x."""
        return self.add("broadcast", (x,), x.type.vector(lanes))

    def shuffle(self, x: Expr, y: Expr, order: Sequence[int]) -> Expr:
        """The lanes of x, then y, in another order."""
        return self.add("shuffle", (x, y, tuple(order)), x.type.vector(len(order)))

    def add_lanes(self, x: Expr) -> Expr:
        """The sum of a vector's lanes, in the compiler's order."""
        return self.add("add_lanes", (x,), x.type.vector(1))

    def multiply_add(self, x: Expr, y: Expr, z: Expr) -> Expr:
        """x y + z, rounded once where the processor can."""
        return self.add("fmuladd", (x, y, z), x.type)

    def call(self, kernel: Kernel, *args: Any) -> Expr:
        """Call another kernel, which becomes part of the same module."""
        if kernel not in self.calls:
            self.calls.append(kernel)
        given = [self.lift(x, a.type) for x, a in zip(args, kernel.arguments.values(), strict=True)]
        return self.add("call", (kernel, *given), kernel.result or BOOL)

    def call_address(self, address: Expr, args: Sequence[Expr], result: Type | None = None) -> Expr:
        """Call a function of C by its address."""
        return self.add("call_address", (address, tuple(args), result), result or BOOL)

    def call_library(self, name: str, args: Sequence[Expr], result: Type) -> Expr:
        """Call a function of C's mathematical library or of the system by its name."""
        return self.add("call_library", (name, *args), result)

    def atomic(self, op: str, address: Expr, *args: Any) -> Expr:
        """An instruction on a shared word of memory: load, store, add (what it was), swap_if (whether it was)."""
        return self.add(f"atomic_{op}", (address, *(self.lift(x, I8) for x in args)), BOOL if op == "swap_if" else I8)

    def give(self, value: Any) -> None:
        """Return a number. It must be the last instruction of its block."""
        self.effect("return", () if self.result is None else (self.lift(value, self.result),))

    # Blocks

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1, as_written: bool = False) -> Iterator[Expr]:
        """The statements inside, for each index from start to stop - 1."""
        index = Expr("index", (), I8, self)
        loop = Loop(index, self.lift(start, I8), self.lift(stop, I8), step, as_written)
        self._blocks[-1].append(loop)
        with self._inside(loop.body):
            yield index

    @contextmanager
    def loop_while(self, test: Callable[[], Expr]) -> Iterator[None]:
        """The statements inside, as long as the test holds."""
        loop = While()
        self._blocks[-1].append(loop)
        with self._inside(loop.header):
            loop.test = test()
        with self._inside(loop.body):
            yield

    @contextmanager
    def when(self, test: Expr) -> Iterator[None]:
        """The statements inside, if the test holds."""
        branch = If(test)
        self._blocks[-1].append(branch)
        with self._inside(branch.body):
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """The statements inside, if the test of the `when` just before does not hold."""
        branch = self._blocks[-1][-1]
        if not isinstance(branch, If):
            raise TypeError("otherwise follows a when")
        with self._inside(branch.otherwise):
            yield

    @contextmanager
    def _inside(self, block: list[Any]) -> Iterator[None]:
        self._blocks.append(block)
        try:
            yield
        finally:
            self._blocks.pop()
