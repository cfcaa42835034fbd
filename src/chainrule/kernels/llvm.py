"""Renders kernels to LLVM IR, as text; `machine` compiles it.

Loop indices and variables are stack slots here; LLVM's first passes put them into registers. Loads and stores of arrays
that do not overlap carry alias scopes, so that vectorized loops need no comparison of addresses at run time.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule.kernels.tree import I8, Expr, If, Kernel, Loop, Type, While

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.kernels.tree import Array

# from a kernel's instructions to LLVM's
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "sum": "fadd reassoc"}
_INTEGER = {
    "add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shift_left": "shl",
    "quotient": "sdiv", "remainder": "srem", "shift_right": "ashr",
}  # fmt: skip
_UNSIGNED = {"quotient": "udiv", "remainder": "urem", "shift_right": "lshr"}
_COMPARISONS = {"lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge", "eq": "eq", "ne": "ne"}
_UNSIGNED_COMPARISONS = {"lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge", "eq": "eq", "ne": "ne"}
_FLOAT_COMPARISONS = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_INTRINSICS = {"sqrt", "floor", "ceil", "trunc", "rint", "fabs", "maximum", "minimum", "fmuladd", "copysign"}


def llvm_type(type: Type) -> str:
    """LLVM's name for a type."""
    if type.kind == "p":
        return "ptr"
    scalar = (
        {4: "float", 8: "double"}[type.bytes] if type.kind == "f" else f"i{1 if type.kind == 'b' else 8 * type.bytes}"
    )
    return scalar if type.lanes == 1 else f"<{type.lanes} x {scalar}>"


def memory_type(type: Type) -> str:
    """LLVM's name for a type in memory, where a boolean is a byte."""
    if type.kind != "b":
        return llvm_type(type)
    return "i8" if type.lanes == 1 else f"<{type.lanes} x i8>"


def render(kernel: Kernel, attributes: str = "") -> str:
    """Render an LLVM module, as text, with the kernel and all kernels that it calls.

    Args:
        kernel: the kernel.
        attributes: LLVM function attributes of all functions, as text.
    """
    kernels = list(_with_callees(kernel))
    module = _Module()
    functions = [_FunctionRenderer(module, k, attributes).render() for k in kernels]
    return "\n".join([*sorted(module.declarations), *functions, *module.metadata, ""])


def _with_callees(kernel: Kernel) -> dict[Kernel, None]:
    """A kernel and all kernels that it calls, directly or not, each once; callees come before their callers."""
    kernels: dict[Kernel, None] = {}
    for callee in kernel.callees:
        kernels.update(_with_callees(callee))
    kernels[kernel] = None
    return kernels


class _Module:
    """The parts of a module that its functions share: declarations and metadata."""

    def __init__(self) -> None:
        self.declarations: set[str] = set()
        self.metadata: list[str] = []

    def add_metadata(self, text: str) -> str:
        """Add a line of metadata, and return its name."""
        name = f"!{len(self.metadata)}"
        self.metadata.append(f"{name} = {text}")
        return name

    def loop_as_written(self) -> str:
        """The text to append to a loop's back edge, so that LLVM neither unrolls nor vectorizes the loop."""
        unroll = self.add_metadata('!{!"llvm.loop.unroll.disable"}')
        vectorize = self.add_metadata('!{!"llvm.loop.vectorize.enable", i1 false}')
        name = f"!{len(self.metadata)}"
        self.add_metadata(f"distinct !{{{name}, {unroll}, {vectorize}}}")
        return f", !llvm.loop {name}"


class _FunctionRenderer:
    """Renders one function."""

    def __init__(self, module: _Module, kernel: Kernel, attributes: str) -> None:
        self.module, self.kernel, self.attributes = module, kernel, attributes
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.names: dict[int, str] = {}
        self.name_count = 0
        self.alias_suffixes = self._alias_suffixes()

    def _alias_suffixes(self) -> dict[str | None, str]:
        """The text to append to a load or store, by the alias scope of its array."""
        names = self.kernel.alias_scopes
        if not names:
            return {None: ""}
        add = self.module.add_metadata
        number = len(self.module.metadata)
        domain = add(f"distinct !{{!{number}}}")
        scopes = {}
        for name in names:
            number = len(self.module.metadata)
            scopes[name] = add(f"distinct !{{!{number}, {domain}}}")
        suffixes: dict[str | None, str] = {None: f", !noalias {add('!{' + ', '.join(scopes.values()) + '}')}"}
        for name in names:
            others = [scope for other, scope in scopes.items() if other != name]
            suffixes[name] = f", !alias.scope {add('!{' + scopes[name] + '}')}"
            suffixes[name] += f", !noalias {add('!{' + ', '.join(others) + '}')}" if others else ""
        return suffixes

    def render(self) -> str:
        kernel = self.kernel
        for name in kernel.arguments:
            self.names[id(kernel[name])] = f"%{name}"
        for number, type in enumerate(kernel.variables):
            self.allocas.append(f"  %var{number} = alloca {llvm_type(type)}")
        self.block(kernel.body)
        if not self.is_terminated():
            self.line("ret void" if kernel.result is None else "unreachable")
        parameters = ", ".join(f"{llvm_type(a.type)} %{name}" for name, a in kernel.arguments.items())
        result = "void" if kernel.result is None else llvm_type(kernel.result)
        linkage = "internal " if kernel.internal else ""
        attributes = " ".join([*kernel.attributes, self.attributes])
        start = f"define {linkage}{result} @{kernel.name}({parameters}) nounwind {attributes} {{"
        return "\n".join([start, "entry:", *self.allocas, *self.lines, "}"])

    # Text

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def is_terminated(self) -> bool:
        """Whether the current basic block has its terminator already."""
        return bool(self.lines) and self.lines[-1].split()[0] in ("br", "ret", "unreachable")

    def new(self, prefix: str = "v") -> str:
        """A name that the function does not use yet."""
        self.name_count += 1
        return f"{prefix}{self.name_count}"

    def value(self, text: str) -> str:
        """Write an instruction under a new name, and return the name."""
        name = f"%{self.new()}"
        self.line(f"{name} = {text}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def jump(self, label: str) -> None:
        """End the current basic block with a jump, unless it has a terminator already."""
        if not self.is_terminated():
            self.line(f"br label %{label}")

    def operand(self, expr: Expr) -> str:
        """An expression as an operand: its name, or its literal if it is a constant."""
        if expr.op == "constant":
            return _literal(expr.args[0], expr.type)
        return self.names[id(expr)]

    def typed(self, expr: Expr) -> str:
        """An expression as an operand, after its type."""
        return f"{llvm_type(expr.type)} {self.operand(expr)}"

    # Blocks

    def block(self, statements: Sequence[Any]) -> None:
        for statement in statements:
            if isinstance(statement, Expr):
                name = self.instruction(statement)
                if name is not None:
                    self.names[id(statement)] = name
            elif isinstance(statement, Loop):
                self.loop(statement)
            elif isinstance(statement, While):
                self.loop_while(statement)
            else:
                self.branch(statement)

    def loop(self, loop: Loop) -> None:
        """Write a loop: blocks `head` (the test), `body` and `end`, with the index in a stack slot."""
        slot, head, body, end = f"%{self.new('index')}", self.new("head"), self.new("body"), self.new("end")
        self.allocas.append(f"  {slot} = alloca i64")
        self.line(f"store i64 {self.operand(loop.start)}, ptr {slot}")
        self.jump(head)
        self.label(head)
        index = self.names[id(loop.index)] = self.value(f"load i64, ptr {slot}")
        test = self.value(f"icmp slt i64 {index}, {self.operand(loop.stop)}")
        self.line(f"br i1 {test}, label %{body}, label %{end}")
        self.label(body)
        self.block(loop.body)
        if not self.is_terminated():
            next_index = self.value(f"add nsw i64 {index}, {loop.step}")
            self.line(f"store i64 {next_index}, ptr {slot}")
            self.line(f"br label %{head}{self.module.loop_as_written() if loop.as_written else ''}")
        self.label(end)

    def loop_while(self, loop: While) -> None:
        head, body, end = self.new("head"), self.new("body"), self.new("end")
        self.jump(head)
        self.label(head)
        self.block(loop.header)
        test = cast("Expr", loop.test)  # set by Kernel.loop_while
        self.line(f"br i1 {self.operand(test)}, label %{body}, label %{end}")
        self.label(body)
        self.block(loop.body)
        self.jump(head)
        self.label(end)

    def branch(self, branch: If) -> None:
        yes, no, end = self.new("yes"), self.new("no"), self.new("end")
        self.line(f"br i1 {self.operand(branch.test)}, label %{yes}, label %{no if branch.otherwise else end}")
        self.label(yes)
        self.block(branch.body)
        self.jump(end)
        if branch.otherwise:
            self.label(no)
            self.block(branch.otherwise)
            self.jump(end)
        self.label(end)

    # Instructions

    def instruction(self, expr: Expr) -> str | None:
        """Write an expression's instruction, and return the name of its result; None or "" if it has no result."""
        op, type = expr.op, expr.type
        if op in _INTEGER or op in _FLOAT:
            return self.value(f"{_arithmetic(op, type)} {self.typed(expr.args[0])}, {self.operand(expr.args[1])}")
        if op in _COMPARISONS:
            x, y = expr.args
            return self.value(f"{_comparison(op, x.type)} {self.typed(x)}, {self.operand(y)}")
        if op in _INTRINSICS:
            return self.intrinsic(op, expr.args, type)
        write: Callable[[Expr], str | None] = getattr(self, f"write_{op}")  # one of the methods below
        return write(expr)

    def intrinsic(self, name: str, args: Sequence[Expr], type: Type) -> str:
        scalar = f"f{8 * type.bytes}" if type.kind == "f" else f"i{8 * type.bytes}"
        full_name = f"llvm.{name}.{scalar if type.lanes == 1 else f'v{type.lanes}{scalar}'}"
        return self.call_external(full_name, args, type)

    def call_external(self, name: str, args: Sequence[Expr], result: Type | None, flags: str = "") -> str:
        result_type = "void" if result is None else llvm_type(result)
        parameter_types = ", ".join(llvm_type(x.type) for x in args)
        self.module.declarations.add(f"declare {result_type} @{name}({parameter_types})")
        return self.call_text(f"call {flags}{result_type} @{name}({', '.join(map(self.typed, args))})", result)

    def call_text(self, text: str, result: Type | None) -> str:
        """Write a call, and return the name of its result; "" if it has no result."""
        if result is None:
            self.line(text)
            return ""
        return self.value(text)

    def write_neg(self, expr: Expr) -> str:
        x = expr.args[0]
        if x.type.kind == "f":
            return self.value(f"fneg {self.typed(x)}")
        return self.value(f"sub {llvm_type(x.type)} {_literal(0, x.type)}, {self.operand(x)}")

    def write_not(self, expr: Expr) -> str:
        x = expr.args[0]
        return self.value(f"xor {self.typed(x)}, {_literal(True if x.type.kind == 'b' else -1, x.type)}")

    def write_select(self, expr: Expr) -> str:
        return self.value(f"select {', '.join(map(self.typed, expr.args))}")

    def write_cast(self, expr: Expr) -> str:
        x, target = expr.args[0], expr.type
        opcode = _cast(x.type, target)
        if not opcode:
            return self.operand(x)
        result = self.value(f"{opcode} {self.typed(x)} to {llvm_type(target)}")
        if opcode in ("fptosi", "fptoui"):  # out of range, the result is poison; freeze makes it an arbitrary integer
            result = self.value(f"freeze {llvm_type(target)} {result}")
        return result

    def write_bitcast(self, expr: Expr) -> str:
        x, target = expr.args[0], expr.type
        opcode = "bitcast"
        if x.type.kind != target.kind and "p" in (x.type.kind, target.kind):
            opcode = "ptrtoint" if x.type.kind == "p" else "inttoptr"
        return self.value(f"{opcode} {self.typed(x)} to {llvm_type(target)}")

    def write_get(self, expr: Expr) -> str:
        return self.value(f"load {llvm_type(expr.type)}, ptr %var{expr.args[0]}")

    def write_set(self, expr: Expr) -> None:
        number, value = expr.args
        self.line(f"store {self.typed(value)}, ptr %var{number}")

    def write_offset(self, expr: Expr) -> str:
        address, index, type = expr.args
        return self.value(f"getelementptr {memory_type(type)}, {self.typed(address)}, i64 {self.operand(index)}")

    def write_alloca(self, expr: Expr) -> str:
        type, count = expr.args
        name = f"%{self.new()}"
        self.allocas.append(f"  {name} = alloca [{count} x {memory_type(type)}], align 64")
        return name

    def element_address(self, array: Array, index: Expr) -> str:
        type, address = memory_type(array.type), self.typed(array.address)
        return self.value(f"getelementptr inbounds {type}, {address}, i64 {self.operand(index)}")

    def write_load(self, expr: Expr) -> str:
        """Load a number or a vector; a boolean is a byte in memory."""
        array, index = expr.args
        address = self.element_address(array, index)
        loaded_type = memory_type(expr.type)
        suffix = self.alias_suffixes[array.alias_scope]
        loaded = self.value(f"load {loaded_type}, ptr {address}, align {array.type.bytes}{suffix}")
        return self.value(f"icmp ne {loaded_type} {loaded}, {_literal(0, I8)}") if expr.type.kind == "b" else loaded

    def write_store(self, expr: Expr) -> None:
        array, index, value = expr.args
        address, stored = self.element_address(array, index), self.typed(value)
        if array.type.kind == "b":
            stored = f"i8 {self.value(f'zext {stored} to i8')}"
        suffix = self.alias_suffixes[array.alias_scope]
        self.line(f"store {stored}, ptr {address}, align {array.type.bytes}{suffix}")

    def write_prefetch(self, expr: Expr) -> None:
        array, index, for_writing = expr.args
        self.module.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        address = self.value(
            f"getelementptr {memory_type(array.type)}, {self.typed(array.address)}, i64 {self.operand(index)}"
        )
        self.line(f"call void @llvm.prefetch.p0(ptr {address}, i32 {int(for_writing)}, i32 3, i32 1)")

    def write_memset(self, expr: Expr) -> None:
        array, size = expr.args
        self.module.declarations.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        self.line(f"call void @llvm.memset.p0.i64({self.typed(array.address)}, i8 0, {self.typed(size)}, i1 false)")

    def write_memcpy(self, expr: Expr) -> None:
        target, source, size = expr.args
        self.module.declarations.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        operands = f"{self.typed(target.address)}, {self.typed(source.address)}, {self.typed(size)}, i1 false"
        self.line(f"call void @llvm.memcpy.p0.p0.i64({operands})")

    def write_broadcast(self, expr: Expr) -> str:
        x, lanes = expr.args[0], expr.type.lanes
        if x.op == "constant":
            return _literal(x.args[0], expr.type)
        vector = llvm_type(expr.type)
        first_lane = self.value(f"insertelement {vector} poison, {self.typed(x)}, i64 0")
        return self.value(f"shufflevector {vector} {first_lane}, {vector} poison, <{lanes} x i32> zeroinitializer")

    def write_shuffle(self, expr: Expr) -> str:
        x, y, order = expr.args
        mask = ", ".join(f"i32 {i}" for i in order)
        return self.value(f"shufflevector {self.typed(x)}, {self.typed(y)}, <{len(order)} x i32> <{mask}>")

    def write_add_lanes(self, expr: Expr) -> str:
        x = expr.args[0]
        scalar = llvm_type(expr.type)
        name = f"llvm.vector.reduce.fadd.v{x.type.lanes}f{8 * x.type.bytes}"
        self.module.declarations.add(f"declare {scalar} @{name}({scalar}, {llvm_type(x.type)})")
        return self.value(f"call reassoc {scalar} @{name}({scalar} -0.0, {self.typed(x)})")

    def write_call(self, expr: Expr) -> str:
        kernel, *args = expr.args
        result_type = "void" if kernel.result is None else llvm_type(kernel.result)
        return self.call_text(f"call {result_type} @{kernel.name}({', '.join(map(self.typed, args))})", kernel.result)

    def write_call_address(self, expr: Expr) -> str:
        address, args, result = expr.args
        result_type = "void" if result is None else llvm_type(result)
        return self.call_text(f"call {result_type} {self.operand(address)}({', '.join(map(self.typed, args))})", result)

    def write_call_library(self, expr: Expr) -> str:
        name, *args = expr.args
        return self.call_external(name, args, expr.type)

    def write_atomic_load(self, expr: Expr) -> str:
        return self.value(f"load atomic i64, {self.typed(expr.args[0])} seq_cst, align 8")

    def write_atomic_store(self, expr: Expr) -> None:
        address, value = expr.args
        self.line(f"store atomic {self.typed(value)}, {self.typed(address)} seq_cst, align 8")

    def write_atomic_add(self, expr: Expr) -> str:
        address, value = expr.args
        return self.value(f"atomicrmw add {self.typed(address)}, {self.typed(value)} seq_cst")

    def write_atomic_compare_exchange(self, expr: Expr) -> str:
        address, expected, new = expr.args
        pair = self.value(f"cmpxchg {self.typed(address)}, {self.typed(expected)}, {self.typed(new)} seq_cst seq_cst")
        return self.value(f"extractvalue {{i64, i1}} {pair}, 1")  # whether the new value was stored

    def write_control_word(self, expr: Expr) -> str:
        """Read the processor's floating-point control word (x86's MXCSR)."""
        slot = f"%{self.new()}"
        self.allocas.append(f"  {slot} = alloca i32")
        self.module.declarations.add("declare void @llvm.x86.sse.stmxcsr(ptr)")
        self.line(f"call void @llvm.x86.sse.stmxcsr(ptr {slot})")
        return self.value(f"load i32, ptr {slot}")

    def write_set_control_word(self, expr: Expr) -> None:
        """Set the processor's floating-point control word."""
        slot = f"%{self.new()}"
        self.allocas.append(f"  {slot} = alloca i32")
        self.module.declarations.add("declare void @llvm.x86.sse.ldmxcsr(ptr)")
        self.line(f"store {self.typed(expr.args[0])}, ptr {slot}")
        self.line(f"call void @llvm.x86.sse.ldmxcsr(ptr {slot})")

    def write_return(self, expr: Expr) -> None:
        self.line(f"ret {self.typed(expr.args[0])}" if expr.args else "ret void")


def _arithmetic(op: str, type: Type) -> str:
    """LLVM's arithmetic instruction for operands of a type."""
    if type.kind == "f":
        return _FLOAT[op]
    return _UNSIGNED.get(op, _INTEGER[op]) if type.kind in "ub" else _INTEGER[op]


def _comparison(op: str, type: Type) -> str:
    """LLVM's comparison for operands of a type; a comparison with NaN is false, except `ne`."""
    if type.kind == "f":
        return f"fcmp {_FLOAT_COMPARISONS[op]}"
    return f"icmp {(_UNSIGNED_COMPARISONS if type.kind in 'ubp' else _COMPARISONS)[op]}"


def _cast(source: Type, target: Type) -> str:
    """LLVM's instruction that converts from one type to a different one; empty if the bits stay the same."""
    if source.kind == "f" and target.kind == "f":
        return "fpext" if target.bytes > source.bytes else "fptrunc"
    if source.kind == "f":
        return "fptosi" if target.kind == "i" else "fptoui"
    if target.kind == "f":
        return "sitofp" if source.kind == "i" else "uitofp"
    if source.kind == "b":
        return "zext"
    if source.bytes == target.bytes:
        return ""
    return "trunc" if target.bytes < source.bytes else "sext" if source.kind == "i" else "zext"


def _literal(x: Any, type: Type) -> str:
    """A constant as LLVM writes it: a float as the bits of a double, in hexadecimal; of a vector type, in all lanes."""
    if type.lanes > 1:
        scalar_type = Type(type.kind, type.bytes)
        lane = f"{llvm_type(scalar_type)} {_literal(x, scalar_type)}"
        return f"<{', '.join([lane] * type.lanes)}>" if x else "zeroinitializer"
    if type.kind == "f":
        with np.errstate(over="ignore"):
            rounded = float(np.float32(x)) if type.bytes == 4 else float(x)
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    if type.kind == "b":
        return "true" if x else "false"
    if type.kind == "p":
        return "null"  # the only constant address
    return str(int(x))
