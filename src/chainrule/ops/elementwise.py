"""Elementwise functions of one input: exponentials, roots, trigonometry, activations.

Each derivative stands below its formula. Source of the derivatives: Abramowitz and Stegun, chapters 3 and 4.
"""

import math

import numpy as np

from chainrule.errors import check
from chainrule.ops.operation import Array, Input, operation

__all__ = [
    "atan", "cos", "cosh", "elu", "exp", "expm1", "hardtanh", "leaky_relu", "log", "log1p", "log2",
    "logsigmoid", "reciprocal", "relu", "rsqrt", "sigmoid", "silu", "sin", "sinh", "softplus", "sqrt", "square",
    "tan", "tanh",
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


# Activations


@operation(numpy=np.tanh, promote="floating")
def tanh(input: Input) -> Array:
    """tanh(x)."""
    return np.tanh(input)


@tanh.derivative
def _(grad: Array, out: Array) -> Array:
    """d tanh(x)/dx = 1 - tanh²(x)."""
    return grad * (1 - out * out)


@operation(promote="floating")
def sigmoid(input: Input) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ). Where e⁻ˣ overflows to infinity, the result is 0, its limit."""
    return 1 / (1 + np.exp(-input))


@sigmoid.derivative
def _(grad: Array, out: Array) -> Array:
    """dσ(x)/dx = σ(x) (1 - σ(x))."""
    return grad * (out * (1 - out))


@operation
def relu(input: Input) -> Array:
    """max(x, 0).

    Raises:
        TypeError: the input is boolean.
    """
    check("relu", input.dtype.kind != "b", "takes numbers, not booleans: convert it with .float()", TypeError)
    return np.maximum(input, 0)


@relu.derivative
def _(grad: Array, out: Array) -> Array:
    """d relu(x)/dx = 1 if x > 0, else 0 (0 at 0, as in PyTorch); 1 for NaN."""
    return np.where(out <= 0, 0, grad)


@operation(inputs=1, promote="floating_only")
def leaky_relu(input: Input, negative_slope: float = 0.01) -> Array:
    """x if x > 0, else negative_slope · x."""
    return np.where(input > 0, input, input * negative_slope)


@leaky_relu.derivative
def _(grad: Array, input: Array, negative_slope: float) -> Array:
    """d leaky_relu(x)/dx = 1 if x > 0, else negative_slope."""
    return np.where(input > 0, grad, grad * negative_slope)


@operation(inputs=1, promote="floating_only")
def softplus(input: Input, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """ln(1 + e^(βx)) / β, a smooth relu; for βx above `threshold` simply x, which is the same up to rounding."""
    beta_x = input * beta
    return np.where(beta_x > threshold, input, np.log1p(np.exp(np.minimum(beta_x, threshold))) / beta)


@softplus.derivative
def _(grad: Array, input: Array, beta: float, threshold: float) -> Array:
    """d softplus(x)/dx = σ(βx)."""
    return np.where(input * beta > threshold, grad, grad * sigmoid(input * beta))


@operation(promote="floating_only")
def logsigmoid(input: Input) -> Array:
    """ln σ(x), computed as min(x, 0) - ln(1 + e^-|x|), which does not overflow."""
    return np.minimum(input, 0) - np.log1p(np.exp(-np.absolute(input)))


@logsigmoid.derivative
def _(grad: Array, input: Array) -> Array:
    """d ln σ(x)/dx = σ(-x)."""
    return grad * sigmoid(-input)


@operation(inputs=1, promote="floating_only")
def elu(input: Input, alpha: float = 1.0) -> Array:
    """x if x > 0, else α (eˣ - 1). Source: Clevert et al., Fast and accurate deep network learning by ELUs (2016)."""
    return np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0)))


@elu.derivative
def _(grad: Array, input: Array, alpha: float) -> Array:
    """d elu(x)/dx = 1 if x > 0, else α eˣ."""
    return np.where(input > 0, grad, grad * (alpha * np.exp(np.minimum(input, 0))))


@operation(promote="floating_only")
def silu(input: Input) -> Array:
    """x σ(x). Source: Elfwing et al., Sigmoid-weighted linear units (2018)."""
    return input * sigmoid(input)


@silu.derivative
def _(grad: Array, input: Array) -> Array:
    """d(x σ(x))/dx = σ(x) (1 + x (1 - σ(x)))."""
    gate = sigmoid(input)
    return grad * (gate * (1 + input * (1 - gate)))


@operation(inputs=1, promote="floating")
def hardtanh(input: Input, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not be above max_val {max_val}")
    return np.clip(input, min_val, max_val)


@hardtanh.derivative
def _(grad: Array, input: Array, min_val: float, max_val: float) -> Array:
    """1 between the bounds, 0 outside and on them (as in PyTorch); 1 for NaN."""
    return np.where((input <= min_val) | (input >= max_val), 0, grad)
