"""What compiled programs (`chainrule.jit`) are made of besides loops: pointers, BLAS, and functions of one number.

Numba calls the C library for `exp` and the like, one number at a time. Those here are written without branches, so
that a loop around them becomes vector code; errors stay within about two units in the last place of float32. Doubles
go to the C library. Sources: Cody and Waite, Software manual for the elementary functions (1980); the polynomials are
those of Moshier's Cephes library (1984).
"""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_helpers
from numba.extending import overload, register_jitable

from chainrule.kernels.compile import NO_ENTRANCE, inner, inner_sum, jit
from chainrule.kernels.loops.apart import apart as apart
from chainrule.kernels.loops.apart import keep_rows as keep_rows
from chainrule.kernels.loops.job import ADDRESS as KERNEL_ADDRESS
from chainrule.kernels.loops.tile import vector_code as intrinsic

cgutils: Any = untyped_helpers

f4, f8, i8, i4, i2, u1, s1, b1 = (
    types.float32, types.float64, types.int64, types.int32, types.int16, types.uint8, types.int8, types.boolean,
)  # fmt: skip
u2, u4, u8 = types.uint16, types.uint32, types.uint64


@intrinsic
def pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    """An address as a pointer to numbers of a type, to be read and written by index."""
    item = kind.dtype

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.inttoptr(values[0], context.get_data_type(item).as_pointer())

    typed: Any = types.CPointer
    return typed(item)(types.int64, kind), generate


@intrinsic
def gemm(
    typing_context: Any, address: Any, turned_x: Any, turned_y: Any, n: Any, m: Any, k: Any, alpha: Any, x: Any,
    x_row: Any, y: Any, y_row: Any, beta: Any, out: Any, out_row: Any,
) -> Any:  # fmt: skip
    """BLAS's out = alpha x y + beta out for matrices row by row, by the address of `cblas_sgemm` or `cblas_dgemm`.

    `turned_x` says that x lies transposed in memory; `x_row` is how far its rows are apart. x, y, out are addresses.
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
            [ir.Constant(flag, 101), turned(tx), turned(ty), n_, m_, k_, alpha_, b.inttoptr(x_, address_type), xr,
             b.inttoptr(y_, address_type), yr, beta_, b.inttoptr(out_, address_type), out_r],
        )  # fmt: skip
        return context.get_dummy_value()

    word = types.int64
    return types.void(*[word] * 6, number, word, word, word, word, number, word, word), generate


GET_THREADS, SET_THREADS, BEFORE = 2, 3, 4


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


@jit
def place(table: Any, slot: int, array: Any) -> None:
    """Note where an array is."""
    table[slot] = array.ctypes.data


@jit
def all_below(indices: Any, size: int, spared: int) -> bool:
    """Whether whole numbers are from 0 to size - 1, or `spared`."""
    fine = True
    for index in indices.flat:
        fine &= ((index >= 0) & (index < size)) | (index == spared)
    return fine


@intrinsic
def kernel(
    typing_context: Any, description: Any, a: Any, b: Any, c: Any, scratch: Any, first: Any, last: Any, fresh: Any
) -> Any:
    """Call a kernel (`loops.job`) by its description, where its address stands; the arrays are addresses, too."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [word] * len(values))
        line = b.inttoptr(values[0], word.as_pointer())
        address = b.load(b.gep(line, [ir.Constant(word, KERNEL_ADDRESS)]))
        b.call(b.inttoptr(address, function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


@intrinsic
def _bits_as_float(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.bitcast(values[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _float_as_bits(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.bitcast(values[0], ir.IntType(32))

    return types.int32(types.float32), generate


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


@inner_sum
def add(total: Any, x: Any) -> Any:
    """total + x in a sum, whose order is the compiler's: lanes of a vector are summed side by side."""
    return total + x


@register_jitable
def maximum(x: Any, y: Any) -> Any:
    """The larger, or NaN if either is."""
    return x if (x >= y) | (x != x) else y


@register_jitable
def minimum(x: Any, y: Any) -> Any:
    """The smaller, or NaN if either is."""
    return x if (x <= y) | (x != x) else y


def _by_type(single: Any, double: Any) -> Any:
    """A function that is one thing for float32 and another for float64."""

    def function(x: Any) -> Any:
        raise NotImplementedError

    options: Any = {"error_model": "numpy", **NO_ENTRANCE}

    @overload(function, inline="never", jit_options=options)
    def choose(x: Any) -> Any:
        return single if x == types.float32 else double

    return function


def _exp(x: Any) -> Any:
    # eˣ = 2ⁿ eʳ with n whole and |r| ≤ ½ ln 2; ln 2 in two parts, so that r keeps its digits
    held = min(max(x, np.float32(-104)), np.float32(89))
    n = np.floor(held * np.float32(1.44269504088896341) + np.float32(0.5))
    r = held - n * np.float32(0.693359375)
    r = r - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    whole = np.int32(n)
    half = np.int32(whole >> 1)  # 2ⁿ in two factors: the result may be smaller than the smallest normal number
    p = p * _bits_as_float(np.int32((half + 127) << 23)) * _bits_as_float(np.int32((whole - half + 127) << 23))
    return p if x == x else x


def _log(x: Any) -> Any:
    # x = m 2ᵉ with m between √½ and √2
    tiny = x < np.float32(1.17549435e-38)
    scaled = x * np.float32(8388608) if tiny else x
    bits = _float_as_bits(scaled)
    e = np.int32(np.int32(bits >> 23) - 126) - (np.int32(23) if tiny else np.int32(0))
    m = _bits_as_float(np.int32((bits & 0x007FFFFF) | 0x3F000000))
    small = m < np.float32(0.707106781186547524)
    power = np.float32(e) - (np.float32(1) if small else np.float32(0))
    m = (m + m if small else m) - np.float32(1)
    z = m * m
    p = np.float32(7.0376836292e-2)
    p = p * m - np.float32(1.1514610310e-1)
    p = p * m + np.float32(1.1676998740e-1)
    p = p * m - np.float32(1.2420140846e-1)
    p = p * m + np.float32(1.4249322787e-1)
    p = p * m - np.float32(1.6668057665e-1)
    p = p * m + np.float32(2.0000714765e-1)
    p = p * m - np.float32(2.4999993993e-1)
    p = p * m + np.float32(3.3333331174e-1)
    y = p * m * z + power * np.float32(-2.12194440e-4) - np.float32(0.5) * z
    y = m + y + power * np.float32(0.693359375)
    y = np.float32(-math.inf) if x == 0 else y
    y = np.float32(math.nan) if x < 0 else y
    return x if (x == np.float32(math.inf)) | (x != x) else y


def _tanh(x: Any) -> Any:
    z = x * x
    p = np.float32(-5.70498872745e-3)
    p = p * z + np.float32(2.06390887954e-2)
    p = p * z - np.float32(5.37397155531e-2)
    p = p * z + np.float32(1.33314422036e-1)
    p = p * z - np.float32(3.33332819422e-1)
    near = p * z * x + x
    size = abs(x)
    far = np.float32(1) - np.float32(2) / (exp(size + size) + np.float32(1))
    far = -far if x < 0 else far
    return near if size < np.float32(0.625) else far


def _expm1(x: Any) -> Any:
    u = exp(x)
    below = u - np.float32(1)
    exact = (u - np.float32(1)) * x / log(u)  # Kahan's: the error of u cancels
    y = x if u == np.float32(1) else exact
    y = below if (below <= np.float32(-1)) | (x > np.float32(15)) else y
    return x if x != x else y


def _log1p(x: Any) -> Any:
    u = np.float32(1) + x
    exact = log(u) * x / (u - np.float32(1))  # Kahan's, too
    y = x if u == np.float32(1) else exact
    return log(u) if (x > np.float32(1e7)) | (u <= np.float32(0)) | (x != x) else y


def _exp_of_double(x: Any) -> Any:  # Numba wants the same signature, with annotations, as that of `choose`
    return math.exp(x)


def _log_of_double(x: Any) -> Any:
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _tanh_of_double(x: Any) -> Any:
    return math.tanh(x)


def _expm1_of_double(x: Any) -> Any:
    return math.expm1(x)


def _log1p_of_double(x: Any) -> Any:
    return math.log1p(x) if x > -1 else (-math.inf if x == -1 else math.nan)


exp = _by_type(_exp, _exp_of_double)
log = _by_type(_log, _log_of_double)
tanh = _by_type(_tanh, _tanh_of_double)
expm1 = _by_type(_expm1, _expm1_of_double)
log1p = _by_type(_log1p, _log1p_of_double)


@register_jitable
def power(x: Any, y: Any) -> Any:
    """x to the power y."""
    return x**y


# Threads that run one program together. They share a few words of memory, far enough apart that no two lie in one
# cache line, at the address table[CONTROL]: how many have arrived, in which round they are, and for each thread where
# it is, which run it is called to, and which part of the program that is.

CONTROL, WORD = 5, 64
ASLEEP, LOOKING_OUT, CALLED = 0, 1, 2
PATIENCE, POLITENESS, NAP = 200_000, 50_000, 50
"""So many looks at memory, about 200 µs, before a thread goes to sleep for good; so many before it naps, as it must
where other programs want the processors: the thread that it waits for then runs in its place; and for how many
microseconds."""


@intrinsic
def _load(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.load_atomic(b.inttoptr(values[0], ir.IntType(64).as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def _store(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        b.store_atomic(values[1], b.inttoptr(values[0], ir.IntType(64).as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _add(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to a word; what it was."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.atomic_rmw("add", b.inttoptr(values[0], ir.IntType(64).as_pointer()), values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _change(typing_context: Any, address: Any, before: Any, after: Any) -> Any:
    """Change a word if it is `before`; whether it was."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word = b.inttoptr(values[0], ir.IntType(64).as_pointer())
        return b.extract_value(b.cmpxchg(word, values[1], values[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@intrinsic
def _nap(typing_context: Any) -> Any:
    """Let another thread have this processor for a moment."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(32)
        function = cgutils.get_or_insert_function(b.module, ir.FunctionType(word, [word]), "usleep")
        b.call(function, [ir.Constant(word, NAP)])
        return context.get_dummy_value()

    return types.void(), generate


@inner
def wait(table: Any, shares: int) -> None:
    """Go on when all threads have come here."""
    if shares == 1:
        return
    arrived, turn = table[CONTROL], table[CONTROL] + WORD
    here = _load(turn)
    if _add(arrived, 1) == shares - 1:
        _store(arrived, 0)
        _store(turn, here + 1)
        return
    looks = 0
    while _load(turn) == here:
        looks += 1
        if looks > POLITENESS:  # the others have lost their processor
            _nap()


@jit
def call(table: Any, part: int, me: int) -> bool:
    """Call a thread that is looking out to the next run; False if it sleeps, and must be woken another way."""
    hold_blas(table)  # before others use it
    state = table[CONTROL] + (3 * me) * WORD
    while True:
        now = _load(state)
        if now == ASLEEP:
            _store(state, CALLED)
            return False
        if now == LOOKING_OUT and _change(state, LOOKING_OUT, CALLED):
            _store(state + 2 * WORD, part)
            _add(state + WORD, 1)
            return True


@inner
def next_part(table: Any, me: int, hurry: Any) -> int:
    """Look out for the next run for a while: the part that this thread is called to, or -1 if it is to go to sleep."""
    state = table[CONTROL] + (3 * me) * WORD
    before = _load(state + WORD)
    _store(state, LOOKING_OUT)
    looks = 0
    while _load(state + WORD) == before:
        looks += 1
        if (looks > PATIENCE or hurry[0] != 0) and _change(state, LOOKING_OUT, ASLEEP):
            return -1
    part: int = _load(state + 2 * WORD)
    return part
