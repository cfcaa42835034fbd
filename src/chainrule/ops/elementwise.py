"""Elementwise functions of one input: exponentials, logarithms, roots, trigonometry, the error function.

Each derivative follows its formula. Source of the derivatives: Abramowitz and Stegun, chapters 3, 4 and 7.
"""

import math

import numpy as np

from chainrule.kernels import special
from chainrule.ops.operation import Array, Input, operation

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "exp2", "expm1", "log", "log1p",
    "log2", "log10", "reciprocal", "rsqrt", "sin", "sinh", "sqrt", "square", "tan", "tanh",
]  # fmt: skip


# Exponentials and roots


@operation(numpy=np.exp, promote="floating")
def exp(input: Input) -> Array:
    """eˣ."""
    return np.exp(input)


@exp.derivative
def _(grad: Array, out: Array) -> Array:
    """deˣ/dx = eˣ."""
    return grad * out


@operation(numpy=np.exp2, promote="floating")
def exp2(input: Input) -> Array:
    """2ˣ."""
    return np.exp2(input)


@exp2.derivative
def _(grad: Array, out: Array) -> Array:
    """d2ˣ/dx = 2ˣ ln 2."""
    return grad * (out * math.log(2))


@operation(numpy=np.log, promote="floating")
def log(input: Input) -> Array:
    """The natural logarithm of x; -inf at 0, NaN below 0."""
    return np.log(input)


@log.derivative
def _(grad: Array, input: Array) -> Array:
    """d ln(x)/dx = 1 / x."""
    return grad / input


@operation(numpy=np.sqrt, promote="floating")
def sqrt(input: Input) -> Array:
    """The square root of x; NaN below 0."""
    return np.sqrt(input)


@sqrt.derivative
def _(grad: Array, out: Array) -> Array:
    """d√x/dx = 1 / (2 √x)."""
    return grad / (2 * out)


@operation(numpy=np.expm1, promote="floating")
def expm1(input: Input) -> Array:
    """eˣ - 1, accurate near 0."""
    return np.expm1(input)


@expm1.derivative
def _(grad: Array, out: Array) -> Array:
    """d(eˣ - 1)/dx = eˣ."""
    return grad * (out + 1)


@operation(numpy=np.log1p, promote="floating")
def log1p(input: Input) -> Array:
    """ln(1 + x), accurate near 0."""
    return np.log1p(input)


@log1p.derivative
def _(grad: Array, input: Array) -> Array:
    """d ln(1 + x)/dx = 1 / (1 + x)."""
    return grad / (input + 1)


@operation(numpy=np.log2, promote="floating")
def log2(input: Input) -> Array:
    """The base-2 logarithm of x."""
    return np.log2(input)


@log2.derivative
def _(grad: Array, input: Array) -> Array:
    """d log₂(x)/dx = 1 / (x ln 2)."""
    return grad / (input * math.log(2))


@operation(numpy=np.log10, promote="floating")
def log10(input: Input) -> Array:
    """The base-10 logarithm of x."""
    return np.log10(input)


@log10.derivative
def _(grad: Array, input: Array) -> Array:
    """d log₁₀(x)/dx = 1 / (x ln 10)."""
    return grad / (input * math.log(10))


@operation(promote="floating")
def rsqrt(input: Input) -> Array:
    """1 / √x."""
    return 1 / np.sqrt(input)


@rsqrt.derivative
def _(grad: Array, out: Array) -> Array:
    """d x^(-1/2)/dx = -½ x^(-3/2)."""
    return grad * (-0.5 * out * out * out)


@operation(numpy=np.square)
def square(input: Input) -> Array:
    """x²."""
    return np.square(input)


@square.derivative
def _(grad: Array, input: Array) -> Array:
    """dx²/dx = 2x."""
    return grad * (2 * input)


@operation(numpy=np.reciprocal, promote="floating")
def reciprocal(input: Input) -> Array:
    """1 / x."""
    return 1 / input


@reciprocal.derivative
def _(grad: Array, out: Array) -> Array:
    """d(1/x)/dx = -1 / x²."""
    return -grad * (out * out)


# Trigonometric and hyperbolic functions, in radians


@operation(numpy=np.sin, promote="floating")
def sin(input: Input) -> Array:
    """The sine of x."""
    return np.sin(input)


@sin.derivative
def _(grad: Array, input: Array) -> Array:
    """d sin(x)/dx = cos(x)."""
    return grad * np.cos(input)


@operation(numpy=np.cos, promote="floating")
def cos(input: Input) -> Array:
    """The cosine of x."""
    return np.cos(input)


@cos.derivative
def _(grad: Array, input: Array) -> Array:
    """d cos(x)/dx = -sin(x)."""
    return -grad * np.sin(input)


@operation(numpy=np.tan, promote="floating")
def tan(input: Input) -> Array:
    """The tangent of x."""
    return np.tan(input)


@tan.derivative
def _(grad: Array, out: Array) -> Array:
    """d tan(x)/dx = 1 + tan²(x)."""
    return grad * (1 + out * out)


@operation(numpy=np.arcsin, promote="floating")
def asin(input: Input) -> Array:
    """The angle whose sine is x; NaN outside [-1, 1]."""
    return np.arcsin(input)


@asin.derivative
def _(grad: Array, input: Array) -> Array:
    """d asin(x)/dx = 1 / √(1 - x²)."""
    return grad / np.sqrt(1 - input * input)


@operation(numpy=np.arccos, promote="floating")
def acos(input: Input) -> Array:
    """The angle whose cosine is x; NaN outside [-1, 1]."""
    return np.arccos(input)


@acos.derivative
def _(grad: Array, input: Array) -> Array:
    """d acos(x)/dx = -1 / √(1 - x²)."""
    return -grad / np.sqrt(1 - input * input)


@operation(numpy=np.arctan, promote="floating")
def atan(input: Input) -> Array:
    """The angle whose tangent is x."""
    return np.arctan(input)


@atan.derivative
def _(grad: Array, input: Array) -> Array:
    """d atan(x)/dx = 1 / (1 + x²)."""
    return grad / (1 + input * input)


@operation(numpy=np.sinh, promote="floating")
def sinh(input: Input) -> Array:
    """(eˣ - e⁻ˣ) / 2."""
    return np.sinh(input)


@sinh.derivative
def _(grad: Array, input: Array) -> Array:
    """d sinh(x)/dx = cosh(x)."""
    return grad * np.cosh(input)


@operation(numpy=np.cosh, promote="floating")
def cosh(input: Input) -> Array:
    """(eˣ + e⁻ˣ) / 2."""
    return np.cosh(input)


@cosh.derivative
def _(grad: Array, input: Array) -> Array:
    """d cosh(x)/dx = sinh(x)."""
    return grad * np.sinh(input)


@operation(numpy=np.tanh, promote="floating")
def tanh(input: Input) -> Array:
    """tanh(x)."""
    return np.tanh(input)


@tanh.derivative
def _(grad: Array, out: Array) -> Array:
    """d tanh(x)/dx = 1 - tanh²(x)."""
    return grad * (1 - out * out)


@operation(numpy=np.arcsinh, promote="floating")
def asinh(input: Input) -> Array:
    """The number whose sinh is x."""
    return np.arcsinh(input)


@asinh.derivative
def _(grad: Array, input: Array) -> Array:
    """d asinh(x)/dx = 1 / √(x² + 1)."""
    return grad / np.sqrt(input * input + 1)


@operation(numpy=np.arccosh, promote="floating")
def acosh(input: Input) -> Array:
    """The number, at least 0, whose cosh is x; NaN below 1."""
    return np.arccosh(input)


@acosh.derivative
def _(grad: Array, input: Array) -> Array:
    """d acosh(x)/dx = 1 / √(x² - 1)."""
    return grad / np.sqrt(input * input - 1)


@operation(numpy=np.arctanh, promote="floating")
def atanh(input: Input) -> Array:
    """The number whose tanh is x; NaN outside [-1, 1]."""
    return np.arctanh(input)


@atanh.derivative
def _(grad: Array, input: Array) -> Array:
    """d atanh(x)/dx = 1 / (1 - x²)."""
    return grad / (1 - input * input)


# The error function


@operation(promote="floating")
def erf(input: Input) -> Array:
    """The error function, 2/√π ∫₀ˣ e^(-t²) dt. Source: Abramowitz and Stegun, 7.1.1."""
    return special.erf(input)  # type: ignore[arg-type]  # a formula gets arrays


@erf.derivative
def _(grad: Array, input: Array) -> Array:
    """d erf(x)/dx = 2/√π e^(-x²)."""
    return grad * (2 / math.sqrt(math.pi) * np.exp(-input * input))
