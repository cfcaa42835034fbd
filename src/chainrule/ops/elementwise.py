"""Operations on each element by itself: arithmetic, powers, exponentials, activations, comparisons, choices.

Inputs broadcast as in NumPy. Each formula stands above its derivative; the tape undoes broadcasting, so no rule here
speaks of it. Derivatives are those of any table, e.g. Abramowitz and Stegun, chapters 3 and 4.
"""

from __future__ import annotations

import numpy as np

from chainrule.ops.operation import Array, operation

# Arithmetic


@operation(numpy=np.add, promote="common")
def add(input: Array, other: Array) -> Array:
    """X + y."""
    return input + other


@add.derivative
def _(grad: Array) -> Array:
    """∂(x + y)/∂x = 1, ∂(x + y)/∂y = 1."""
    return grad, grad


@operation(numpy=np.subtract, promote="common")
def sub(input: Array, other: Array) -> Array:
    """X - y."""
    return input - other


@sub.derivative
def _(grad: Array) -> Array:
    """∂(x - y)/∂x = 1, ∂(x - y)/∂y = -1."""
    return grad, lambda: -grad


@operation(numpy=np.multiply, promote="common")
def mul(input: Array, other: Array) -> Array:
    """X · y."""
    return input * other


@mul.derivative
def _(grad: Array, input: Array, other: Array) -> Array:
    """∂(x y)/∂x = y, ∂(x y)/∂y = x."""
    return lambda: grad * other, lambda: grad * input


@operation(numpy=np.divide, promote="floating")
def div(input: Array, other: Array) -> Array:
    """X / y."""
    return input / other


@div.derivative
def _(grad: Array, input: Array, other: Array) -> Array:
    """∂(x / y)/∂x = 1 / y, ∂(x / y)/∂y = -x / y²."""
    return lambda: grad / other, lambda: -grad * (input / other) / other


@operation(numpy=np.negative)
def neg(input: Array) -> Array:
    """-x."""
    return -input


@neg.derivative
def _(grad: Array) -> Array:
    """d(-x)/dx = -1."""
    return -grad


@operation(numpy=np.power, promote="common")
def pow(input: Array, exponent: Array) -> Array:
    """X to the power y. A negative number to a fractional power is NaN; 0⁰ = 1."""
    return input**exponent


@pow.derivative
def _(grad: Array, out: Array, input: Array, exponent: Array) -> Array:
    """∂xʸ/∂x = y xʸ⁻¹ (0 where y = 0); ∂xʸ/∂y = xʸ ln x (0 where x = 0 and y ≥ 0)."""

    def base() -> Array:
        if isinstance(exponent, (int, float)):
            return np.zeros_like(grad) if exponent == 0 else grad * (exponent * input ** (exponent - 1))
        return grad * np.where(exponent == 0, 0, exponent * input ** (exponent - 1))

    def power() -> Array:
        flat = (input == 0) * (exponent >= 0)  # both
        return grad * np.where(flat, 0, out * np.log(np.where(flat, np.ones_like(out), input)))

    return base, power


@operation(numpy=np.absolute)
def abs(input: Array) -> Array:
    """|x|."""
    return np.absolute(input)


@abs.derivative
def _(grad: Array, input: Array) -> Array:
    """d|x|/dx = sign(x), and 0 at 0."""
    return grad * np.sign(input)


@operation(numpy=np.sign)
def sign(input: Array) -> Array:
    """-1, 0 or 1."""
    return np.sign(input)


@sign.derivative
def _(grad: Array) -> Array:
    """The sign is flat wherever it is smooth: 0."""
    return np.zeros_like(grad)


# Exponentials and roots


@operation(numpy=np.exp, promote="floating")
def exp(input: Array) -> Array:
    """eˣ."""
    return np.exp(input)


@exp.derivative
def _(grad: Array, out: Array) -> Array:
    """deˣ/dx = eˣ."""
    return grad * out


@operation(numpy=np.log, promote="floating")
def log(input: Array) -> Array:
    """The natural logarithm of x; -inf at 0, NaN below."""
    return np.log(input)


@log.derivative
def _(grad: Array, input: Array) -> Array:
    """D ln(x)/dx = 1 / x."""
    return grad / input


@operation(numpy=np.sqrt, promote="floating")
def sqrt(input: Array) -> Array:
    """The square root of x; NaN below 0."""
    return np.sqrt(input)


@sqrt.derivative
def _(grad: Array, out: Array) -> Array:
    """d√x/dx = 1 / (2 √x)."""
    return grad / (2 * out)


# Activations


@operation(numpy=np.tanh, promote="floating")
def tanh(input: Array) -> Array:
    """tanh(x)."""
    return np.tanh(input)


@tanh.derivative
def _(grad: Array, out: Array) -> Array:
    """D tanh(x)/dx = 1 - tanh²(x)."""
    return grad * (1 - out * out)


@operation(promote="floating")
def sigmoid(input: Array) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ); far below 0 the power is infinite and the result, rightly, 0."""
    return 1 / (1 + np.exp(-input))


@sigmoid.derivative
def _(grad: Array, out: Array) -> Array:
    """dσ(x)/dx = σ(x) (1 - σ(x))."""
    return grad * (out * (1 - out))


@operation
def relu(input: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(input, 0)


@relu.derivative
def _(grad: Array, out: Array) -> Array:
    """D relu(x)/dx = 1 if x > 0, else 0 (also at 0, as PyTorch has it); NaN lets the gradient pass."""
    return np.where(out <= 0, 0, grad)


@operation(promote="floating")
def leaky_relu(input: Array, *, negative_slope: float = 0.01) -> Array:
    """X if x > 0, else negative_slope · x."""
    return np.where(input > 0, input, input * negative_slope)


@leaky_relu.derivative
def _(grad: Array, input: Array, negative_slope: float) -> Array:
    """D leaky_relu(x)/dx = 1 if x > 0, else negative_slope."""
    return np.where(input > 0, grad, grad * negative_slope)


# Choices


@operation(numpy=np.maximum, promote="common")
def maximum(input: Array, other: Array) -> Array:
    """The larger of x and y; NaN if either is."""
    return np.maximum(input, other)


@maximum.derivative
def _(grad: Array, input: Array, other: Array) -> Array:
    """1 for the larger, 0 for the smaller, ½ for each where they are equal."""
    return lambda: _part(grad, input < other, input == other), lambda: _part(grad, other < input, input == other)


@operation(numpy=np.minimum, promote="common")
def minimum(input: Array, other: Array) -> Array:
    """The smaller of x and y; NaN if either is."""
    return np.minimum(input, other)


@minimum.derivative
def _(grad: Array, input: Array, other: Array) -> Array:
    """1 for the smaller, 0 for the larger, ½ for each where they are equal."""
    return lambda: _part(grad, input > other, input == other), lambda: _part(grad, other > input, input == other)


def _part(grad: Array, lost: Array, tied: Array) -> Array:
    return np.where(tied, grad / 2, np.where(lost, 0, grad))


@operation(numpy=np.where, promote="common")
def where(condition: Array, input: Array, other: Array) -> Array:
    """X where the condition holds, else y."""
    return np.where(condition, input, other)


@where.derivative
def _(grad: Array, condition: Array) -> Array:
    """The gradient goes to the one that was chosen."""
    return None, lambda: np.where(condition, grad, 0), lambda: np.where(condition, 0, grad)


# Comparisons: booleans, which have no derivative


@operation(numpy=np.equal, promote="common")
def eq(input: Array, other: Array) -> Array:
    """X = y."""
    return np.equal(input, other)


@operation(numpy=np.not_equal, promote="common")
def ne(input: Array, other: Array) -> Array:
    """X ≠ y."""
    return np.not_equal(input, other)


@operation(numpy=np.less, promote="common")
def lt(input: Array, other: Array) -> Array:
    """X < y."""
    return np.less(input, other)


@operation(numpy=np.less_equal, promote="common")
def le(input: Array, other: Array) -> Array:
    """X ≤ y."""
    return np.less_equal(input, other)


@operation(numpy=np.greater, promote="common")
def gt(input: Array, other: Array) -> Array:
    """X > y."""
    return np.greater(input, other)


@operation(numpy=np.greater_equal, promote="common")
def ge(input: Array, other: Array) -> Array:
    """X ≥ y."""
    return np.greater_equal(input, other)


@operation(numpy=np.logical_not)
def logical_not(input: Array) -> Array:
    """Not x."""
    return np.logical_not(input)


@operation(numpy=np.isfinite)
def isfinite(input: Array) -> Array:
    """Whether x is neither infinite nor NaN."""
    return np.isfinite(input)
