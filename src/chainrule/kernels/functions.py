"""Scalar functions of expressions. In float32, exp, log, tanh, expm1, log1p and erf are plain arithmetic.

So loops around them can be vectorized. Their error is at most about two units in the last place. For doubles, and for
functions such as sin and power, a kernel calls the C library for one number at a time.

Sources: Cody and Waite, Software manual for the elementary functions (1980); the polynomials are those of Moshier's
Cephes library (1984).

Most are the formulas of ufuncs in `lower.loops`; the hand-written kernels of attention and erf call some, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.kernels.tree import F4, I4

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.kernels.tree import Expr


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Evaluate a polynomial by Horner's rule; the coefficient of the highest power comes first."""
    kernel = x.kernel
    value = kernel.lift(coefficients[0], x.type)
    for coefficient in coefficients[1:]:
        value = kernel.multiply_add(value, x, kernel.lift(coefficient, x.type))
    return value


def _library_for_doubles(name: str) -> Callable[[Callable[[Expr], Expr]], Callable[[Expr], Expr]]:
    """Decorator: call the decorated function for float32, the C library's function with this name for doubles."""

    def decorate(float32_function: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
        def function(x: Expr) -> Expr:
            return float32_function(x) if x.type.bytes == F4.bytes else x.kernel.call_library(name, [x], x.type)

        function.__doc__ = float32_function.__doc__
        return function

    return decorate


def library(name: str) -> Callable[[Expr], Expr]:
    """The function of the C library with this name; for float32 the variant whose name ends in "f"."""

    def function(x: Expr) -> Expr:
        return x.kernel.call_library(name + ("f" if x.type == F4 else ""), [x], x.type)

    return function


@_library_for_doubles("exp")
def exp(x: Expr) -> Expr:
    """eˣ, with x clamped to -104 … 89.

    2ⁿ is applied as two factors, because n may be outside the range of `power_of_two`: the result may be subnormal.
    """
    select = x.kernel.select
    p, n = _exp_parts(select(x < -104.0, -104.0, select(x > 89.0, 89.0, x)))
    exponent = select(x.equals(x), n, 0.0).to(I4)
    half = exponent >> 1
    p = p * power_of_two(half) * power_of_two(exponent - half)
    return select(x.equals(x), p, x)


@_library_for_doubles("exp")
def exp_of_negative(x: Expr) -> Expr:
    """eˣ for x ≤ 0 or slightly above, such as a score minus the largest score; 0 below -87, where eˣ < 2 · 10⁻³⁸.

    It has two thirds of the instructions of `exp`, and no subnormal results, which take a hundred times as long.
    """
    select = x.kernel.select
    p, n = _exp_parts(select(x < -87.0, -87.0, x))
    return select(x < -87.0, 0.0, p * power_of_two(n.to(I4.vector(x.type.lanes))))


def _exp_parts(x: Expr) -> tuple[Expr, Expr]:
    """eʳ and n, such that eˣ = 2ⁿ eʳ and |r| ≤ ½ ln 2. An accurate r needs ln 2 as the sum of two constants."""
    n = (x * 1.44269504088896341).apply("rint")
    r = x - n * 0.693359375  # exact
    r = r - n * -2.12194440e-4
    p = polynomial(r, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                       5.0000001201e-1))  # fmt: skip
    return p * r * r + r + 1.0, n


def power_of_two(n: Expr) -> Expr:
    """2ⁿ as float32, for n (int32) from -126 to 127: n is written into the exponent bits."""
    return ((n + 127) << 23).bits_as(F4.vector(n.type.lanes))


@_library_for_doubles("log")
def log(x: Expr) -> Expr:
    """ln x = ln m + e ln 2, for x = m 2ᵉ with m between √½ and √2."""
    select = x.kernel.select
    is_subnormal = x < 1.17549435e-38
    bits = select(is_subnormal, x * 8388608.0, x).bits_as(I4)  # times 2²³
    e = (bits >> 23) - 126 - select(is_subnormal, x.kernel.lift(23, I4), 0)
    m = ((bits & 0x007FFFFF) | 0x3F000000).bits_as(F4)  # from ½ to 1
    is_small = m < 0.707106781186547524
    power = e.to(F4) - select(is_small, x.kernel.lift(1.0, F4), 0.0)
    m = select(is_small, m + m, m) - 1.0
    z = m * m
    p = polynomial(m, (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                       -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1))  # fmt: skip
    y = p * m * z + power * -2.12194440e-4 - z * 0.5
    y = m + y + power * 0.693359375
    y = select(x.equals(0.0), -math.inf, y)
    y = select(x < 0.0, math.nan, y)
    return select(x.equals(math.inf) | x.differs(x), x, y)


@_library_for_doubles("tanh")
def tanh(x: Expr) -> Expr:
    """tanh x: a polynomial near 0, and 1 - 2 / (e²ˣ + 1) elsewhere."""
    select = x.kernel.select
    z = x * x
    p = polynomial(z, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
    near = p * z * x + x
    magnitude = x.apply("fabs")
    far = 1.0 - 2.0 / (exp(magnitude + magnitude) + 1.0)
    return select(magnitude < 0.625, near, far).apply("copysign", x)


@_library_for_doubles("expm1")
def expm1(x: Expr) -> Expr:
    """eˣ - 1 by Kahan's formula, (u - 1) x / ln u with u = eˣ, in which the rounding errors of u cancel."""
    select = x.kernel.select
    u = exp(x)
    difference = u - 1.0
    quotient = difference * x / log(u)
    y = select(u.equals(1.0), x, quotient)
    y = select((difference <= -1.0) | (x > 15.0), difference, y)
    return select(x.differs(x), x, y)


@_library_for_doubles("log1p")
def log1p(x: Expr) -> Expr:
    """ln (1 + x) by Kahan's formula, x ln u / (u - 1) with u = 1 + x, in which the rounding errors of u cancel."""
    select = x.kernel.select
    u = x + 1.0
    log_u = log(u)
    quotient = log_u * x / (u - 1.0)
    y = select(u.equals(1.0), x, quotient)
    return select((x > 1e7) | (u <= 0.0) | x.differs(x), log_u, y)


@_library_for_doubles("erf")
def erf(x: Expr) -> Expr:
    """The error function: a polynomial for |x| < 1, elsewhere 1 - erfc |x| with the sign of x.

    erfc x = e^(-x²) / x · P(1 / x²), with one polynomial P up to 2 and a different one beyond.
    """
    select = x.kernel.select
    z = x * x
    near = x * polynomial(z, (7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3,
                              -2.685381193529856e-2, 1.128358514861418e-1, -3.761262582423300e-1,
                              1.128379165726710))  # fmt: skip
    magnitude = x.apply("fabs")
    clipped = select(magnitude < 1.0, 1.0, magnitude)
    inverse = 1.0 / clipped
    q = inverse * inverse
    up_to_two = polynomial(q, (2.326819970068386e-2, -1.387039388740657e-1, 3.687424674597105e-1,
                               -5.824733027278666e-1, 6.210004621745983e-1, -4.944515323274145e-1,
                               3.404879937665872e-1, -2.741127028184656e-1, 5.638259427386472e-1))  # fmt: skip
    beyond = polynomial(q, (-1.047766399936249e1, 1.297719955372516e1, -7.495518717768503, 2.921019019210786,
                            -1.015265279202700, 4.218463358204948e-1, -2.820767439740514e-1,
                            5.641895067754075e-1))  # fmt: skip
    far = 1.0 - exp(-(clipped * clipped)) * inverse * select(clipped < 2.0, up_to_two, beyond)
    return select(magnitude < 1.0, near, far.apply("copysign", x))


def rounding(name: str) -> Callable[[Expr], Expr]:
    """The function floor, ceil, trunc or rint; integers are returned unchanged."""
    return lambda x: x.apply(name) if x.type.kind == "f" else x


def power(x: Expr, y: Expr) -> Expr:
    """x to the power of y."""
    return x.kernel.call_library("powf" if x.type == F4 else "pow", [x, y], x.type)


def fmod(x: Expr, y: Expr) -> Expr:
    """x - y trunc(x / y), without rounding."""
    return x.kernel.call_library("fmodf" if x.type == F4 else "fmod", [x, y], x.type)


def remainder(x: Expr, y: Expr) -> Expr:
    """x - y ⌊x / y⌋, with the sign of y, as NumPy computes it: from fmod, which has the sign of x."""
    select = x.kernel.select
    rest = fmod(x, y)
    signs_differ = (rest < 0) ^ (y < 0)
    zero = x.kernel.lift(0.0, x.type).apply("copysign", y)
    return select(rest.equals(0), zero, select(signs_differ, rest + y, rest))


def floor_divide(x: Expr, y: Expr) -> Expr:
    """⌊x / y⌋ as NumPy computes it: from the remainder, which is exact; x / y for y = 0."""
    select = x.kernel.select
    rest = fmod(x, y)
    quotient = (x - rest) / y  # an integer, apart from rounding
    signs_differ = (rest < 0) ^ (y < 0)
    quotient = select(rest.differs(0) & signs_differ, quotient - 1, quotient)
    floor = quotient.apply("floor")
    floor = select(quotient - floor > 0.5, floor + 1, floor)
    floor = select(quotient.equals(0), x.kernel.lift(0.0, x.type).apply("copysign", x / y), floor)
    return select(y.equals(0), x / y, floor)


def logaddexp(x: Expr, y: Expr) -> Expr:
    """ln (eˣ + eʸ) = max(x, y) + ln (1 + e^-|x - y|), which does not overflow."""
    are_equal = x.equals(y)  # a case of its own, because x - y is NaN if both are infinite
    return x.kernel.select(are_equal, x + math.log(2), maximum(x, y) + log1p(exp(-(x - y).apply("fabs"))))


def sign(x: Expr) -> Expr:
    """-1, 0 or 1; NaN for NaN."""
    select = x.kernel.select
    zero = select(x.equals(x), 0.0, x) if x.type.kind == "f" else x * 0
    return select(x > 0, 1, select(x < 0, -1, zero))


def maximum(x: Expr, y: Expr) -> Expr:
    """The larger number, or NaN if either is NaN."""
    return x.apply("maximum", y) if x.type.kind == "f" else x.kernel.select(x >= y, x, y)


def minimum(x: Expr, y: Expr) -> Expr:
    """The smaller number, or NaN if either is NaN."""
    return x.apply("minimum", y) if x.type.kind == "f" else x.kernel.select(x <= y, x, y)


def absolute(x: Expr) -> Expr:
    """|x|."""
    if x.type.kind == "f":
        return x.apply("fabs")
    return x.kernel.select(x < 0, -x, x) if x.type.kind == "i" else x
