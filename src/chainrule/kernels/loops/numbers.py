"""Sums, and functions of numbers that a loop can be made vector code around: the larger of two, exp, log and kin.

Numba calls the C library for `exp` and the like, one number at a time. Those here are written without branches, so
that a loop around them becomes vector code; errors stay within about two units in the last place of float32. Doubles
go to the C library. Sources: Cody and Waite, Software manual for the elementary functions (1980); the polynomials are
those of Moshier's Cephes library (1984).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from chainrule.kernels.compile import NO_ENTRANCE, inner, inner_sum
from chainrule.kernels.loops.memory import same_bits
from chainrule.kernels.loops.tile import vector_code as intrinsic

CHUNK = 512


@inner_sum
def add(total: Any, x: Any) -> Any:
    """total + x in a sum, whose order is the compiler's: lanes of a vector are summed side by side."""
    return total + x


@inner
def total(x: Any) -> Any:
    """Σ x, exact to about the last place of float32: after each CHUNK numbers the sum goes on in doubles."""
    whole = 0.0
    for first in range(0, x.size, CHUNK):
        numbers, part = x[first : first + CHUNK], x.dtype.type(0)
        for i in range(numbers.size):
            part = add(part, numbers[i])
        whole += part
    return whole


@inner
def total_product(x: Any, a: Any, y: Any, b: Any) -> Any:
    """Σ (x - a) (y - b), likewise."""
    whole = 0.0
    for first in range(0, x.size, CHUNK):
        xs, ys, part = x[first : first + CHUNK], y[first : first + CHUNK], x.dtype.type(0)
        for i in range(xs.size):
            part = add(part, (xs[i] - a) * (ys[i] - b))
        whole += part
    return whole


@intrinsic
def larger(typing_context: Any, x: Any, y: Any) -> Any:
    """The larger of x and y, or the other if one is NaN; a loop that looks for the largest becomes vector code."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        number = values[0].type
        function = b.module.declare_intrinsic("llvm.maxnum", [number], ir.FunctionType(number, [number, number]))
        return b.call(function, values, fastmath=("nsz",))  # which zero, of two, is left open

    return x(x, x), generate


def _by_type(single: Any, double: Any) -> Any:
    """A function that is one thing for float32 and another for float64."""

    def function(x: Any) -> Any:
        raise NotImplementedError

    options: Any = {"error_model": "numpy", **NO_ENTRANCE}

    @overload(function, inline="never", jit_options=options)
    def choose(x: Any) -> Any:
        return single if x == types.float32 else double

    return function


_bits_as_float, _float_as_bits = same_bits(types.int32, types.float32), same_bits(types.float32, types.int32)


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
