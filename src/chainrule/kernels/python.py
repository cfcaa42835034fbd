"""Renders kernels to Python: for `explain(code=True)`, and for tests, which run them without a compiler.

The text is a function that computes the same results as the machine code, apart from rounding, one number at a time,
with NumPy's scalars. 64-bit signed integers are Python ints; `array(address, type)` is an array in memory.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.tree import I8, Array, Expr, If, Kernel, Loop, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# from a kernel's instructions to Python's operators and functions
_OPERATORS = {
    "add": "+", "sum": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^", "quotient": "//",
    "remainder": "%", "shift_left": "<<", "shift_right": ">>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=",
}  # fmt: skip
_FUNCTIONS = {
    "fabs": "abs", "fmuladd": "multiply_add", "trunc": "np.trunc", "floor": "np.floor", "ceil": "np.ceil",
    "rint": "np.rint", "sqrt": "np.sqrt", "maximum": "np.maximum", "minimum": "np.minimum", "copysign": "np.copysign",
}  # fmt: skip


def render(kernel: Kernel) -> str:
    """Render a kernel as the text of a Python function.

    Raises:
        NotImplementedError: the kernel uses vectors, while loops, calls of other kernels, or other instructions that
            this renderer does not support.
    """
    return _PythonRenderer(kernel).render()


class _PythonRenderer:
    """Renders one kernel.

    Attributes:
        lines: the lines written so far.
        texts: the text that stands for each expression, by identity: a name, or the expression itself.
        use_counts: how often each expression is used, by identity.
        name_count: how many names have been given to expressions.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.lines: list[str] = []
        self.texts: dict[int, str] = {}
        self.use_counts: dict[int, int] = {}
        self.name_count = 0
        self._count_uses(kernel.body)

    def render(self) -> str:
        for name in self.kernel.arguments:
            self.texts[id(self.kernel[name])] = name
        self.block(self.kernel.body, 1)
        head = f"def {self.kernel.name}({', '.join(self.kernel.arguments)}):"
        return "\n".join([head, *self.lines, ""])

    def _count_uses(self, statements: Iterable[Any]) -> None:
        """Count the uses of each expression: an expression used only once is written inline."""
        for statement in statements:
            if isinstance(statement, Expr):
                for x in _operands(statement):
                    self.use_counts[id(x)] = self.use_counts.get(id(x), 0) + 1
            elif isinstance(statement, Loop):
                for x in (statement.start, statement.stop):
                    self.use_counts[id(x)] = self.use_counts.get(id(x), 0) + 2  # so that they are not written inline
                self._count_uses(statement.body)
            elif isinstance(statement, If):
                self.use_counts[id(statement.test)] = self.use_counts.get(id(statement.test), 0) + 1
                self._count_uses([*statement.body, *statement.otherwise])
            else:
                raise NotImplementedError("a while loop cannot be rendered to Python")

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def block(self, statements: Sequence[Any], depth: int) -> None:
        first_line = len(self.lines)
        for statement in statements:
            if isinstance(statement, Expr):
                self.expr(statement, depth)
            elif isinstance(statement, Loop):
                name = self.texts[id(statement.index)] = f"{'ijklmn'[depth - 1]}_"
                step = f", {statement.step}" if statement.step != 1 else ""
                self.line(
                    depth, f"for {name} in range({self.text(statement.start)}, {self.text(statement.stop)}{step}):"
                )
                self.block(statement.body, depth + 1)
            else:
                self.line(depth, f"if {self.text(statement.test)}:")
                self.block(statement.body, depth + 1)
                if statement.otherwise:
                    self.line(depth, "else:")
                    self.block(statement.otherwise, depth + 1)
        if len(self.lines) == first_line:
            self.line(depth, "pass")

    def expr(self, expr: Expr, depth: int) -> None:
        """Write a statement for an expression; if it is used at most once, only keep its text for that use.

        Reads of memory and of variables always get a statement of their own, because a later write must not change
        what they read.
        """
        if expr.op == "set":
            self.line(depth, f"r{expr.args[0]} = {self.text(expr.args[1])}")
        elif expr.op == "store":
            array, index, value = expr.args
            self.line(depth, f"{self.array(array)}[{self.text(index)}] = {self.text(value)}")
        elif expr.op == "return":
            self.line(depth, f"return {self.text(expr.args[0])}" if expr.args else "return")
        else:
            text = self.expression(expr)
            if self.use_counts.get(id(expr), 0) <= 1 and expr.op not in ("get", "load"):
                self.texts[id(expr)] = f"({text})" if " " in text and expr.op in _OPERATORS else text
                return
            self.name_count += 1
            name = self.texts[id(expr)] = self.kernel.names.get(id(expr), f"v{self.name_count}")
            self.line(depth, f"{name} = {text}")

    def text(self, expr: Expr) -> str:
        """The text that stands for an expression that has been computed, or for a constant."""
        return _literal(expr.args[0], expr.type) if expr.op == "constant" else self.texts[id(expr)]

    def array(self, array: Array) -> str:
        return f"array({self.text(array.address)}, {array.type})"

    def expression(self, expr: Expr) -> str:
        """The Python text that computes an expression from its operands."""
        op, args = expr.op, expr.args
        if expr.type.lanes > 1:
            raise NotImplementedError("vectors cannot be rendered to Python")
        if op in _OPERATORS:
            return f"{self.text(args[0])} {_OPERATORS[op]} {self.text(args[1])}"
        if op in _FUNCTIONS:
            return f"{_FUNCTIONS[op]}({', '.join(map(self.text, args))})"
        if op == "get":
            return f"r{args[0]}"
        if op == "load":
            return f"{self.array(args[0])}[{self.text(args[1])}]"
        if op == "offset":
            return f"{self.text(args[0])} + {self.text(args[1])} * {args[2].bytes}"
        if op == "select":
            return f"({self.text(args[1])} if {self.text(args[0])} else {self.text(args[2])})"
        if op in ("cast", "bitcast"):
            return f"{op}({self.text(args[0])}, {expr.type})"
        if op == "neg":
            return f"-{self.text(args[0])}"
        if op == "not":
            return f"invert({self.text(args[0])})"
        if op == "call_library":
            return f"{args[0]}({', '.join(map(self.text, args[1:]))})"
        raise NotImplementedError(f"{op} cannot be rendered to Python")


def _operands(expr: Expr) -> list[Expr]:
    """The expressions that an instruction uses: its operands, and the addresses of its arrays."""
    operands = []
    for x in expr.args:
        if isinstance(x, Expr):
            operands.append(x)
        elif isinstance(x, Array):
            operands.append(x.address)
    return operands


def _literal(x: Any, type: Type) -> str:
    if type == I8 or type.kind == "p":
        return repr(int(x))
    if type.kind == "f" and not math.isfinite(x):
        return f"{type}({'np.nan' if x != x else 'np.inf' if x > 0 else '-np.inf'})"
    return f"{type}({x!r})"


# Running the rendered text


class Memory:
    """An array in memory, which starts at an address and has no end."""

    def __init__(self, address: int, type: Type) -> None:
        self.type = type
        dtype = np.dtype(np.int64) if type.kind == "p" else type.dtype
        self.pointer = ctypes.cast(int(address), ctypes.POINTER(np.ctypeslib.as_ctypes_type(dtype)))

    def __getitem__(self, index: int) -> Any:
        value = self.pointer[int(index)]
        return value if self.type == I8 or self.type.kind == "p" else self.type.dtype.type(value)

    def __setitem__(self, index: int, value: Any) -> None:
        self.pointer[int(index)] = value.item() if isinstance(value, np.generic) else value


def _cast(x: Any, type: Type) -> Any:
    if type == I8 or type.kind == "p":
        return int(x) if np.isfinite(x) else np.iinfo(np.int64).min  # as x86 does; LLVM leaves it open
    return np.asarray(x).astype(type.dtype)[()]


def _bitcast(x: Any, type: Type) -> Any:
    return x.view(type.dtype)


def _invert(x: Any) -> Any:
    return not x if isinstance(x, bool) else ~x


def _multiply_add(x: Any, y: Any, z: Any) -> Any:
    return x * y + z


def _library(name: str) -> Callable[..., Any]:
    """NumPy's function for a function of the C library."""
    functions: dict[str, Any] = {"pow": np.power, "erf": lambda x: type(x)(math.erf(x))}
    return functions.get(name) or getattr(np, f"arc{name[1:]}" if name[0] == "a" else name)  # type: ignore[no-any-return]


class _TypeName(Type):
    """A type as a name in the rendered text, which also calls it to write constants, as in `f4(0.5)`."""

    def __call__(self, x: Any) -> Any:
        return self.dtype.type(x)


def executable(kernel: Kernel) -> Callable[..., None]:
    """The kernel as a Python function of its arguments, which are integers.

    Raises:
        NotImplementedError: see `render`.
    """
    library_names = (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
        "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "pow", "fmod",
    )  # fmt: skip
    namespace: dict[str, Any] = {
        "np": np, "array": Memory, "cast": _cast, "bitcast": _bitcast, "invert": _invert, "multiply_add": _multiply_add,
        **{name: _library(name) for name in library_names}, **{f"{name}f": _library(name) for name in library_names},
    }  # fmt: skip
    for type_name in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "p8"):
        namespace[type_name] = _TypeName(type_name[0], int(type_name[1]))
    exec(render(kernel), namespace)  # noqa: S102  # text that this file has written
    function = namespace[kernel.name]

    def run(*arguments: int) -> None:
        with np.errstate(all="ignore"):
            function(*arguments)

    return run
