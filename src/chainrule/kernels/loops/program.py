"""What compiled programs (`chainrule.jit`) are made of besides loops, `numbers` and `team`: BLAS, kernels, checks."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_helpers
from numba.extending import register_jitable

from chainrule.kernels.compile import inner
from chainrule.kernels.job import ADDRESS as KERNEL_ADDRESS
from chainrule.kernels.loops.memory import pointer
from chainrule.kernels.loops.tile import vector_code as intrinsic
from chainrule.kernels.native import BEFORE, GET_THREADS, SET_THREADS

cgutils: Any = untyped_helpers

f4, f8, i8, i4, i2, u1, s1, b1 = (
    types.float32, types.float64, types.int64, types.int32, types.int16, types.uint8, types.int8, types.boolean,
)  # fmt: skip
u2, u4, u8 = types.uint16, types.uint32, types.uint64


@intrinsic
def gemm(
    typing_context: Any, address: Any, turned_x: Any, turned_y: Any, n: Any, m: Any, k: Any, alpha: Any, x: Any,
    x_row: Any, y: Any, y_row: Any, beta: Any, out: Any, out_row: Any,
) -> Any:  # fmt: skip
    """BLAS's out = alpha x y + beta out for matrices row by row, by the address of `cblas_sgemm` or `cblas_dgemm`.

    `turned_x` says that x lies transposed in memory; `x_row` is how far its rows are apart. x, y, out are pointers.
    """
    number = alpha

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word, flag = ir.IntType(64), ir.IntType(32)
        scalar = context.get_value_type(number)
        address_type = ir.IntType(8).as_pointer()
        matrix = [address_type, word]
        function = ir.FunctionType(ir.VoidType(), [flag] * 3 + [word] * 3 + [scalar, *matrix, *matrix, scalar, *matrix])

        def turned(value: Any) -> Any:  # CblasTrans is 112, CblasNoTrans 111
            return b.add(b.trunc(value, flag), ir.Constant(flag, 111))

        at, tx, ty, n_, m_, k_, alpha_, x_, xr, y_, yr, beta_, out_, out_r = values
        b.call(
            b.inttoptr(at, function.as_pointer()),
            [ir.Constant(flag, 101), turned(tx), turned(ty), n_, m_, k_, alpha_, b.bitcast(x_, address_type), xr,
             b.bitcast(y_, address_type), yr, beta_, b.bitcast(out_, address_type), out_r],
        )  # fmt: skip
        return context.get_dummy_value()

    word = types.int64
    return types.void(*[word] * 6, number, x, word, y, word, number, out, word), generate


@intrinsic
def _told(typing_context: Any, address: Any) -> Any:
    """Call a function without arguments, by its address, that tells a whole number."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        function = ir.FunctionType(ir.IntType(32), [])
        return b.sext(b.call(b.inttoptr(values[0], function.as_pointer()), []), ir.IntType(64))

    return types.int64(types.int64), generate


@intrinsic
def _tell(typing_context: Any, address: Any, number: Any) -> Any:
    """Call a function of a whole number, by its address."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
        b.call(b.inttoptr(values[0], function.as_pointer()), [b.trunc(values[1], ir.IntType(32))])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@inner
def hold_blas(table: Any) -> None:
    """Hold BLAS to the thread that calls it, until it is let go: threads of ours call it at the same time."""
    if table[GET_THREADS] != 0:
        before = _told(table[GET_THREADS])
        if before != 1:
            table[BEFORE] = before
            _tell(table[SET_THREADS], 1)


@inner
def let_blas_go(table: Any) -> None:
    """Let BLAS use as many threads as before."""
    if table[BEFORE] != 0:
        _tell(table[SET_THREADS], table[BEFORE])
        table[BEFORE] = 0


@inner
def all_below(indices: Any, count: int, size: int, spared: int) -> bool:
    """Whether whole numbers are from 0 to size - 1, or `spared`."""
    fine = True
    for i in range(count):
        fine &= ((indices[i] >= 0) & (indices[i] < size)) | (indices[i] == spared)
    return fine


WRITEABLE = 0x400  # NumPy's bit in an array's flags


@inner
def writable(changed: Any, count: int) -> bool:
    """Whether so many arrays may be written into; of each, `changed` has where it begins and ends, and its flags."""
    fine = True
    for i in range(count):
        fine &= (pointer(changed[3 * i + 2], i4)[0] & WRITEABLE) != 0
    return fine


@inner
def reaches_into(start: int, size: int, changed: Any, count: int) -> bool:
    """Whether some bytes lie between the beginning and the end of one of so many arrays; `changed` is as above."""
    found = False
    for i in range(count):
        found |= (start < changed[3 * i + 1]) & (changed[3 * i] < start + size)
    return found


@intrinsic
def kernel(
    typing_context: Any, description: Any, a: Any, b: Any, c: Any, scratch: Any, first: Any, last: Any, fresh: Any
) -> Any:
    """Call a kernel (`kernels.job`) by its description, where its address stands.

    The description is a pointer to words, a, b, c and scratch are pointers to anything, or 0 for none.
    """
    memory = description, a, b, c, scratch

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word, anything = ir.IntType(64), ir.IntType(8).as_pointer()
        nowhere = cgutils.alloca_once(b, word)  # Numba's functions put nothing there
        function = ir.FunctionType(ir.IntType(32), [anything] * (2 + len(memory)) + [word] * 3)
        address = b.load(b.gep(values[0], [ir.Constant(word, KERNEL_ADDRESS)]))
        pointers = [
            b.bitcast(value, anything) if isinstance(kind, types.CPointer) else anything(None)
            for kind, value in zip(memory, values[: len(memory)], strict=True)
        ]
        numbers = values[len(memory) :]
        b.call(
            b.inttoptr(address, function.as_pointer()),
            [b.bitcast(nowhere, anything), anything(None), *pointers, *numbers],
        )
        return context.get_dummy_value()

    return types.void(*memory, *[types.int64] * 3), generate


_X86 = platform.machine().lower() in ("x86_64", "amd64")
_FLUSH = 0x8040  # the bits of an x86 processor's control word that take and give 0 for numbers below 10⁻³⁸


@intrinsic
def flush_denormals(typing_context: Any) -> Any:
    """From now on in this thread, take numbers too small for all their digits for 0; what was the rule before.

    With them a processor is up to a hundred times as slow, and the moments of weights that get no gradient any more
    come to be such numbers.
    """

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        before = _control_word(b) if _X86 else ir.Constant(ir.IntType(32), 0)
        if _X86:
            _set_control_word(b, b.or_(before, ir.Constant(ir.IntType(32), _FLUSH)))
        return before

    return types.int32(), generate


@intrinsic
def restore_denormals(typing_context: Any, before: Any) -> Any:
    """The rule that was before."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        if _X86:
            _set_control_word(b, values[0])
        return context.get_dummy_value()

    return types.void(types.int32), generate


def _control_word(b: Any) -> Any:
    word = cgutils.alloca_once(b, ir.IntType(32))
    b.call(_on_word(b, "stmxcsr"), [b.bitcast(word, ir.IntType(8).as_pointer())])
    return b.load(word)


def _set_control_word(b: Any, value: Any) -> None:
    word = cgutils.alloca_once_value(b, value)
    b.call(_on_word(b, "ldmxcsr"), [b.bitcast(word, ir.IntType(8).as_pointer())])


def _on_word(b: Any, name: str) -> Any:
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    return cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.sse.{name}")


@register_jitable
def maximum(x: Any, y: Any) -> Any:
    """The larger, or NaN if either is."""
    return x if (x >= y) | (x != x) else y


@register_jitable
def minimum(x: Any, y: Any) -> Any:
    """The smaller, or NaN if either is."""
    return x if (x <= y) | (x != x) else y


@register_jitable
def power(x: Any, y: Any) -> Any:
    """x to the power y."""
    return x**y
