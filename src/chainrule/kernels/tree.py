"""A kernel as data: a small tree of loops, conditions and instructions, which a renderer turns into code.

Python arithmetic builds the tree. An `Expr` is one number that the kernel computes; adding two expressions appends an
addition to the current block:

    kernel = Kernel("double", {"x": ADDRESS, "out": ADDRESS, "n": I8})
    x, out = kernel.array("x", F4), kernel.array("out", F4)
    with kernel.loop(0, kernel["n"]) as i:
        out[i] = x[i] + x[i]

So a scalar function such as exp is an ordinary Python function of expressions (`kernels.functions`). `kernels.llvm`
renders a kernel to LLVM IR, `kernels.python` to Python for reading and testing.

Semantics: instructions run in the order in which they were appended. Arithmetic on floats follows IEEE 754. It is
neither reordered nor contracted, with two exceptions: the compiler chooses the order of additions in
`Variable.accumulate` and `Kernel.add_lanes`, and `Kernel.multiply_add` may round once instead of twice. Integers wrap
around; `//` and `%` are for integers that are not negative.

Trees are built by `lower.loops`, by the hand-written kernels, and for the driver and the threads. This file does not
depend on renderers, arrays or threads.
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
        bytes: the size of one number in memory.
        lanes: how many numbers the vector has; 1 for a single number.
    """

    kind: str
    bytes: int
    lanes: int = 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of one number; not defined for addresses."""
        return np.dtype("?" if self.kind == "b" else f"{self.kind}{self.bytes}")

    def vector(self, lanes: int) -> Type:
        """The type of a vector of numbers of this type."""
        return Type(self.kind, self.bytes, lanes)

    def __str__(self) -> str:
        return f"{self.kind}{self.bytes}" + (f"x{self.lanes}" if self.lanes > 1 else "")


# names as in NumPy's type strings: kind and bytes
F4, F8 = Type("f", 4), Type("f", 8)
I1, I2, I4, I8 = Type("i", 1), Type("i", 2), Type("i", 4), Type("i", 8)
U1, U2, U4, U8 = Type("u", 1), Type("u", 2), Type("u", 4), Type("u", 8)
BOOL = Type("b", 1)
ADDRESS = Type("p", 8)


def computes_with(dtype: np.dtype[Any]) -> bool:
    """Whether kernels can compute with a dtype: integers, booleans, float32 and float64, in native byte order."""
    return dtype.isnative and (dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize in (4, 8)))


@cache
def type_of(dtype: Any) -> Type:
    """The type of an array's elements.

    Raises:
        TypeError: kernels cannot compute with the dtype.
    """
    dtype = np.dtype(dtype)
    if not computes_with(dtype):
        raise TypeError(f"kernels do not compute with {dtype}; convert it with float() or double()")
    return Type(dtype.kind, dtype.itemsize)


@dataclass(eq=False, slots=True)
class Expr:
    """One number (or vector) of a kernel, and the instruction that computes it.

    Attributes:
        op: the name of the instruction.
        args: the instruction's operands: expressions, arrays, and settings such as a type.
        type: the result's type; meaningless if the instruction has an effect but no result.
        kernel: the kernel that it belongs to.
    """

    op: str
    args: tuple[Any, ...]
    type: Type
    kernel: Kernel

    def _append_binary(self, op: str, other: Any, type: Type | None = None, swapped: bool = False) -> Expr:
        """Append a binary instruction.

        Args:
            op: the name of the instruction.
            other: the other operand: an expression, or a Python number, which is converted.
            type: the result's type; by default the operands' type.
            swapped: whether `other` is the first operand.
        """
        other = self.kernel.lift(other, self.type)
        if other.type != self.type:
            raise TypeError(f"{op}: operands have types {self.type} and {other.type}; convert one of them with to()")
        if self.type == I8 and not swapped:  # omit + 0 and * 1, which index arithmetic often has
            if op == "add" and 0 in (_constant_value(self), _constant_value(other)):
                return other if _constant_value(self) == 0 else self
            if op == "mul" and 1 in (_constant_value(self), _constant_value(other)):
                return other if _constant_value(self) == 1 else self
        args = (other, self) if swapped else (self, other)
        return self.kernel.append(op, args, type or self.type)

    def _compare(self, op: str, other: Any) -> Expr:
        return self._append_binary(op, other, Type("b", 1, self.type.lanes))

    # fmt: off  # a table of operators
    def __add__(self, other: Any) -> Expr:
        return self._append_binary("add", other)

    def __radd__(self, other: Any) -> Expr:
        return self._append_binary("add", other, swapped=True)

    def __sub__(self, other: Any) -> Expr:
        return self._append_binary("sub", other)

    def __rsub__(self, other: Any) -> Expr:
        return self._append_binary("sub", other, swapped=True)

    def __mul__(self, other: Any) -> Expr:
        return self._append_binary("mul", other)

    def __rmul__(self, other: Any) -> Expr:
        return self._append_binary("mul", other, swapped=True)

    def __truediv__(self, other: Any) -> Expr:
        return self._append_binary("div", other)

    def __rtruediv__(self, other: Any) -> Expr:
        return self._append_binary("div", other, swapped=True)

    def __floordiv__(self, other: Any) -> Expr:
        return self._append_binary("quotient", other)

    def __mod__(self, other: Any) -> Expr:
        return self._append_binary("remainder", other)

    def __and__(self, other: Any) -> Expr:
        return self._append_binary("and", other)

    def __or__(self, other: Any) -> Expr:
        return self._append_binary("or", other)

    def __xor__(self, other: Any) -> Expr:
        return self._append_binary("xor", other)

    def __lshift__(self, other: Any) -> Expr:
        return self._append_binary("shift_left", other)

    def __rshift__(self, other: Any) -> Expr:
        return self._append_binary("shift_right", other)

    def __lt__(self, other: Any) -> Expr:
        return self._compare("lt", other)

    def __le__(self, other: Any) -> Expr:
        return self._compare("le", other)

    def __gt__(self, other: Any) -> Expr:
        return self._compare("gt", other)

    def __ge__(self, other: Any) -> Expr:
        return self._compare("ge", other)

    def equals(self, other: Any) -> Expr:
        """Whether two numbers are equal; `==` would compare the Python objects."""
        return self._compare("eq", other)

    def differs(self, other: Any) -> Expr:
        """Whether two numbers are unequal; true if either is NaN."""
        return self._compare("ne", other)

    def __neg__(self) -> Expr:
        return self.kernel.append("neg", (self,), self.type)

    def __invert__(self) -> Expr:
        return self.kernel.append("not", (self,), self.type)

    # fmt: on

    def __bool__(self) -> bool:
        raise TypeError("an expression has no value while the kernel is built: use select, when or loop_while")

    def to(self, type: Type) -> Expr:
        """Convert to a different type, as C does; to a boolean: x != 0."""
        if type == self.type:
            return self
        return self.differs(0) if type.kind == "b" else self.kernel.append("cast", (self,), type)

    def bits_as(self, type: Type) -> Expr:
        """Reinterpret the bits as a different type of the same size."""
        return self.kernel.append("bitcast", (self,), type)

    def apply(self, name: str, *others: Any) -> Expr:
        """Apply an LLVM intrinsic to floats: sqrt, floor, ceil, trunc, rint, fabs, maximum, minimum or copysign."""
        if self.type.kind != "f":
            raise TypeError(f"{name}: takes floats, not {self.type}")
        return self.kernel.append(name, (self, *(self.kernel.lift(x, self.type) for x in others)), self.type)


def _constant_value(expr: Expr) -> Any:
    """The value of a constant; None for any other expression."""
    return expr.args[0] if expr.op == "constant" else None


@dataclass(eq=False)
class Loop:
    """`for index in range(start, stop, step): body`, with a positive step (see `Kernel.loop`)."""

    index: Expr
    start: Expr
    stop: Expr
    step: int
    as_written: bool = False
    body: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class While:
    """`while test: body`. The instructions in `header` compute the test before each iteration."""

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
    """A number that can be assigned again. The compiler holds it in a register."""

    def __init__(self, kernel: Kernel, type: Type, initial: Any) -> None:
        self.kernel, self.type = kernel, type
        self.number = len(kernel.variables)
        kernel.variables.append(type)
        self.set(initial)

    @property
    def value(self) -> Expr:
        """The current value."""
        return self.kernel.append("get", (self.number,), self.type)

    def set(self, value: Any) -> None:
        """Assign a value."""
        self.kernel.effect("set", (self.number, self.kernel.lift(value, self.type)))

    def accumulate(self, value: Expr) -> None:
        """Add a value. The compiler may reorder such additions of floats, so that it can vectorize a loop of them."""
        self.set(self.kernel.append("sum" if self.type.kind == "f" else "add", (self.value, value), self.type))


class Array:
    """Contiguous numbers in memory, starting at an address.

    Args:
        kernel: the kernel that reads or writes them.
        address: the address of the first number.
        type: the type of each number.
        alias_scope: a name, or None. The caller promises that arrays with different names do not overlap, and that an
            array with a name does not overlap arrays without one. Arrays without a name may overlap each other.
    """

    def __init__(self, kernel: Kernel, address: Expr, type: Type, alias_scope: str | None = None) -> None:
        self.kernel, self.address, self.type, self.alias_scope = kernel, address, type, alias_scope
        if alias_scope is not None and alias_scope not in kernel.alias_scopes:
            kernel.alias_scopes.append(alias_scope)

    def __getitem__(self, index: Any) -> Expr:
        return self.vector(index, 1)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.kernel.effect("store", (self, self.kernel.lift(index, I8), self.kernel.lift(value, self.type)))

    def vector(self, index: Any, lanes: int) -> Expr:
        """Load `lanes` neighboring numbers as one vector; `array[index] = vector` stores a vector."""
        return self.kernel.append("load", (self, self.kernel.lift(index, I8)), self.type.vector(lanes))

    def at(self, index: Any) -> Array:
        """The array that starts at an index of this array."""
        address = self.kernel.append("offset", (self.address, self.kernel.lift(index, I8), self.type), ADDRESS)
        return Array(self.kernel, address, self.type, self.alias_scope)

    def prefetch(self, index: Any, for_writing: bool = False) -> None:
        """Prefetch the cache line of an element. The index may be out of bounds."""
        self.kernel.effect("prefetch", (self, self.kernel.lift(index, I8), for_writing))

    def fill_zero(self, count: Any) -> None:
        """Set the first `count` numbers to 0. A negative count sets none."""
        count = self.kernel.lift(count, I8)
        count = self.kernel.select(count > 0, count, 0)
        self.kernel.effect("memset", (self, count * self.type.bytes))

    def copy_from(self, source: Array, count: Any) -> None:
        """Copy the first `count` numbers of an array of the same type that does not overlap this one."""
        self.kernel.effect("memcpy", (self, source, self.kernel.lift(count, I8) * self.type.bytes))


class Kernel:
    """A function of numbers and addresses: its arguments, and its body as a tree of statements.

    Args:
        name: the function's name.
        arguments: names and types, in order.
        result: the return type, if any.
        internal: whether it is called only by kernels of its own LLVM module.

    Attributes:
        body: statements, in order: `Expr`, `Loop`, `While` and `If`.
        variables: the types of its variables.
        alias_scopes: the alias scopes of its arrays.
        callees: other kernels that it calls.
        attributes: LLVM function attributes, such as optsize.
        names: readable names of expressions, by identity, for the Python rendering.
    """

    def __init__(
        self, name: str, arguments: Mapping[str, Type], result: Type | None = None, internal: bool = False
    ) -> None:
        self.name, self.result, self.internal = name, result, internal
        self.body: list[Any] = []
        self.variables: list[Type] = []
        self.alias_scopes: list[str] = []
        self.callees: list[Kernel] = []
        self.attributes: list[str] = []
        self.names: dict[int, str] = {}
        self.arguments = {key: Expr("argument", (key,), type, self) for key, type in arguments.items()}
        self._blocks = [self.body]

    def __getitem__(self, name: str) -> Expr:
        return self.arguments[name]

    # Instructions

    def append(self, op: str, args: tuple[Any, ...], type: Type) -> Expr:
        """Append an instruction to the current block."""
        expr = Expr(op, args, type, self)
        self._blocks[-1].append(expr)
        return expr

    def effect(self, op: str, args: tuple[Any, ...]) -> None:
        """Append an instruction without a result."""
        self.append(op, args, BOOL)

    def lift(self, x: Any, type: Type) -> Expr:
        """The constant expression for a Python number; an expression is returned unchanged."""
        return x if isinstance(x, Expr) else Expr("constant", (x,), type, self)

    def array(self, address: Any, type: Type, alias_scope: str | None = None) -> Array:
        """The array at an address, which is an expression or the name of an argument."""
        return Array(self, self.arguments[address] if isinstance(address, str) else address, type, alias_scope)

    def variable(self, type: Type, initial: Any = 0) -> Variable:
        """Create a variable with an initial value."""
        return Variable(self, type, initial)

    def stack_array(self, type: Type, count: int) -> Array:
        """An array of `count` numbers on the stack."""
        return Array(self, self.append("alloca", (type, count), ADDRESS), type)

    def select(self, test: Expr, yes: Any, no: Any) -> Expr:
        """`yes` if the test holds, else `no`; both are computed. At least one of them must be an expression."""
        type = next(x.type for x in (yes, no) if isinstance(x, Expr))
        return self.append("select", (test, self.lift(yes, type), self.lift(no, type)), type)

    def minimum(self, x: Expr, y: Any) -> Expr:
        """The smaller of two integers; for floats, see `functions.minimum`."""
        y = self.lift(y, x.type)
        return self.select(x < y, x, y)

    def maximum(self, x: Expr, y: Any) -> Expr:
        """The larger of two integers; for floats, see `functions.maximum`."""
        y = self.lift(y, x.type)
        return self.select(x > y, x, y)

    def broadcast(self, x: Expr, lanes: int) -> Expr:
        """A vector with x in all lanes."""
        return x if lanes == 1 else self.append("broadcast", (x,), x.type.vector(lanes))

    def shuffle(self, x: Expr, y: Expr, order: Sequence[int]) -> Expr:
        """A vector of lanes picked from x and y: `order` holds their indices in x followed by y."""
        return self.append("shuffle", (x, y, tuple(order)), x.type.vector(len(order)))

    def add_lanes(self, x: Expr) -> Expr:
        """The sum of the lanes of a vector of floats, in an order that the compiler chooses."""
        return x if x.type.lanes == 1 else self.append("add_lanes", (x,), x.type.vector(1))

    def multiply_add(self, x: Expr, y: Expr, z: Expr) -> Expr:
        """x y + z for floats, rounded once where the processor has a fused multiply-add, else twice."""
        return self.append("fmuladd", (x, y, z), x.type)

    def call(self, kernel: Kernel, *args: Any) -> Expr:
        """Call a different kernel, which becomes part of the same module."""
        if kernel not in self.callees:
            self.callees.append(kernel)
        operands = [self.lift(x, a.type) for x, a in zip(args, kernel.arguments.values(), strict=True)]
        return self.append("call", (kernel, *operands), kernel.result or BOOL)

    def call_address(self, address: Expr, args: Sequence[Expr], result: Type | None = None) -> Expr:
        """Call a C function by its address."""
        return self.append("call_address", (address, tuple(args), result), result or BOOL)

    def call_library(self, name: str, args: Sequence[Expr], result: Type) -> Expr:
        """Call a function of the C library by its name."""
        return self.append("call_library", (name, *args), result)

    def atomic(self, op: str, address: Expr, *args: Any) -> Expr:
        """Append an atomic instruction on the 64-bit integer at an address.

        `op` is "load"; "store", with the new value; "add", which returns the old value; or "compare_exchange", which
        takes an expected and a new value, stores the new one if the expected one is there, and returns whether it did.
        """
        result = BOOL if op == "compare_exchange" else I8
        return self.append(f"atomic_{op}", (address, *(self.lift(x, I8) for x in args)), result)

    def return_(self, value: Any) -> None:
        """Return from the kernel. This must be the last instruction of its block.

        Args:
            value: the result; ignored if the kernel has none.
        """
        self.effect("return", () if self.result is None else (self.lift(value, self.result),))

    # Blocks

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1, as_written: bool = False) -> Iterator[Expr]:
        """Context manager: run the statements inside for each index in range(start, stop, step).

        If `as_written`, LLVM neither unrolls nor vectorizes the loop.
        """
        index = Expr("index", (), I8, self)
        loop = Loop(index, self.lift(start, I8), self.lift(stop, I8), step, as_written)
        self._blocks[-1].append(loop)
        with self._inside(loop.body):
            yield index

    @contextmanager
    def loop_while(self, test: Callable[[], Expr]) -> Iterator[None]:
        """Context manager: repeat the statements inside as long as the test holds."""
        loop = While()
        self._blocks[-1].append(loop)
        with self._inside(loop.header):
            loop.test = test()
        with self._inside(loop.body):
            yield

    @contextmanager
    def when(self, test: Expr) -> Iterator[None]:
        """Context manager: run the statements inside if the test holds."""
        branch = If(test)
        self._blocks[-1].append(branch)
        with self._inside(branch.body):
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Context manager: run the statements inside if the test of the preceding `when` does not hold."""
        branch = self._blocks[-1][-1]
        if not isinstance(branch, If):
            raise TypeError("otherwise() must directly follow a when() block")
        with self._inside(branch.otherwise):
            yield

    @contextmanager
    def _inside(self, block: list[Any]) -> Iterator[None]:
        self._blocks.append(block)
        try:
            yield
        finally:
            self._blocks.pop()
