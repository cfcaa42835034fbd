"""Arithmetic, choices and comparisons of elements: +, -, ×, ÷, powers, rounding, where, <.

Inputs broadcast as in NumPy. Each formula stands above its derivative; the tape undoes broadcasting, so no rule here
speaks of it.
"""

from typing import Any

import numpy as np

from chainrule.errors import check, check_booleans
from chainrule.ops.operation import Array, Tensor, operation

__all__ = [
    "abs", "add", "ceil", "clamp", "div", "eq", "floor", "floor_divide", "ge", "gt", "isfinite", "le", "lerp",
    "logical_not", "lt", "masked_fill", "maximum", "minimum", "mul", "ne", "neg", "pow", "round", "sign", "sub",
    "true_divide", "trunc", "where",
]  # fmt: skip


@operation(numpy=np.add, promote="common")
def add(input: Array, other: Array, *, alpha: Any = 1) -> Array:
    """x + α y."""
    return input + other if alpha == 1 else input + alpha * other


@add.derivative
def _(grad: Array, alpha: Any) -> Array:
    """∂(x + α y)/∂x = 1, ∂(x + α y)/∂y = α."""
    return grad, lambda: grad if alpha == 1 else grad * alpha


@operation(numpy=np.subtract, promote="common")
def sub(input: Array, other: Array, *, alpha: Any = 1) -> Array:
    """x - α y."""
    return input - other if alpha == 1 else input - alpha * other


@sub.derivative
def _(grad: Array, alpha: Any) -> Array:
    """∂(x - α y)/∂x = 1, ∂(x - α y)/∂y = -α."""
    return grad, lambda: -grad if alpha == 1 else grad * -alpha


@operation(numpy=np.multiply, promote="common")
def mul(input: Array, other: Array) -> Array:
    """x · y."""
    return input * other


@mul.derivative
def _(grad: Array, input: Array, other: Array) -> Array:
    """∂(x y)/∂x = y, ∂(x y)/∂y = x."""
    return lambda: grad * other, lambda: grad * input


@operation(numpy=np.divide, promote="floating")
def true_divide(input: Array, other: Array) -> Array:
    """x / y."""
    return input / other


@true_divide.derivative
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
    """x to the power y. A negative number to a fractional power is NaN; 0⁰ = 1."""
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
    """d|x|/dx = sign(x), and 0 at 0 and at NaN, as PyTorch has it."""
    return grad * np.where(input == input, np.sign(input), 0)


@operation(numpy=np.floor_divide, promote="common")
def floor_divide(input: Array, other: Array) -> Array:
    """x / y, rounded down."""
    return np.floor_divide(input, other)


@operation(promote="common")
def trunc_divide(input: Array, other: Array) -> Array:
    """x / y, rounded towards zero; of integers an integer."""
    if np.result_type(input, other).kind == "f":
        return np.trunc(input / other)
    down = np.floor_divide(input, other)
    return down + ((down < 0) & (down * other != input))


def _flat_in_both(grad: Array) -> Any:
    """Flat wherever it is smooth: 0."""
    return lambda: np.zeros_like(grad), lambda: np.zeros_like(grad)


floor_divide.derivative(_flat_in_both)
trunc_divide.derivative(_flat_in_both)


def div(input: Array, other: Array, *, rounding_mode: str | None = None) -> Tensor:
    """x / y, as it is or rounded: towards zero by "trunc", down by "floor".

    Raises:
        ValueError: another rounding mode.
    """
    divisions = {None: true_divide, "floor": floor_divide, "trunc": trunc_divide}
    check("div", rounding_mode in divisions, f'rounding_mode must be "trunc", "floor" or None, not {rounding_mode!r}')
    return divisions[rounding_mode](input, other)


# Steps, which are flat wherever they are smooth


@operation(numpy=np.sign)
def sign(input: Array) -> Array:
    """-1, 0 or 1; of NaN it is NaN, as in NumPy, where PyTorch has 0."""
    return np.sign(input)


@operation(numpy=np.floor)
def floor(input: Array) -> Array:
    """The largest whole number that is not above x."""
    return np.floor(input)


@operation(numpy=np.ceil)
def ceil(input: Array) -> Array:
    """The smallest whole number that is not below x."""
    return np.ceil(input)


@operation(numpy=np.trunc)
def trunc(input: Array) -> Array:
    """x without what follows the point."""
    return np.trunc(input)


@operation(numpy=np.round)
def round(input: Array, *, decimals: int = 0) -> Array:
    """x to so many places after the point; what lies in the middle goes to the even neighbor."""
    return np.round(input, decimals)


def _flat(grad: Array) -> Array:
    """Flat wherever it is smooth: 0."""
    return np.zeros_like(grad)


for step in (sign, floor, ceil, trunc, round):
    step.derivative(_flat)


# Choices


@operation(numpy=np.maximum, promote="common", tensors=(0, 1))
def maximum(input: Array, other: Array) -> Array:
    """The larger of x and y; NaN if either is."""
    return np.maximum(input, other)


@operation(numpy=np.minimum, promote="common", tensors=(0, 1))
def minimum(input: Array, other: Array) -> Array:
    """The smaller of x and y; NaN if either is."""
    return np.minimum(input, other)


def _to_the_chosen(grad: Array, out: Array, input: Array, other: Array) -> Any:
    """1 for the one that was chosen, 0 for the other, ½ for each where they are equal."""

    def share(x: Array) -> Array:
        return np.where(input == other, grad / 2, np.where((x < out) | (x > out), 0, grad))  # NaN was chosen too

    return lambda: share(input), lambda: share(other)


maximum.derivative(_to_the_chosen)
minimum.derivative(_to_the_chosen)


@operation(numpy=np.where, promote="common")
def where(condition: Array, input: Array, other: Array) -> Array:
    """x where the condition holds, else y.

    Raises:
        TypeError: the condition is not boolean.
    """
    check_booleans("where", "condition", condition)
    return np.where(condition, input, other)


@where.derivative
def _(grad: Array, condition: Array) -> Array:
    """The gradient goes to the one that was chosen."""
    return None, lambda: np.where(condition, grad, 0), lambda: np.where(condition, 0, grad)


def masked_fill(input: Array, mask: Array, value: Array) -> Tensor:
    """x, but `value` where the mask is true.

    Args:
        input: any shape.
        mask: booleans that broadcast with it.
        value: a number, or a Tensor with a single one.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the value has dimensions.
    """
    check_booleans("masked_fill", "mask", mask)
    check("masked_fill", not getattr(value, "ndim", 0), f"the value must be a single number, not {np.shape(value)}")
    return where(mask, value, input)


def clamp(input: Array, min: Array = None, max: Array = None) -> Tensor:
    """x, held between two bounds, each a number, a Tensor, or None for none; NaN stays, and lets the gradient pass.

    Raises:
        ValueError: neither bound is given.
    """
    check("clamp", min is not None or max is not None, "needs min, max or both")
    low = input if min is None else where(input < min, min, input)
    return low if max is None else where(low > max, max, low)


def lerp(input: Array, end: Array, weight: Array) -> Tensor:
    """From x to `end`, by a weight from 0 to 1: x + weight (end - x)."""
    return add(input, mul(weight, sub(end, input)))


# Comparisons: booleans, which have no derivative


@operation(numpy=np.equal, promote="common", tensors=(0,))
def eq(input: Array, other: Array) -> Array:
    """x = y."""
    return np.equal(input, other)


@operation(numpy=np.not_equal, promote="common", tensors=(0,))
def ne(input: Array, other: Array) -> Array:
    """x ≠ y."""
    return np.not_equal(input, other)


@operation(numpy=np.less, promote="common", tensors=(0,))
def lt(input: Array, other: Array) -> Array:
    """x < y."""
    return np.less(input, other)


@operation(numpy=np.less_equal, promote="common", tensors=(0,))
def le(input: Array, other: Array) -> Array:
    """x ≤ y."""
    return np.less_equal(input, other)


@operation(numpy=np.greater, promote="common", tensors=(0,))
def gt(input: Array, other: Array) -> Array:
    """x > y."""
    return np.greater(input, other)


@operation(numpy=np.greater_equal, promote="common", tensors=(0,))
def ge(input: Array, other: Array) -> Array:
    """x ≥ y."""
    return np.greater_equal(input, other)


@operation(numpy=np.logical_not)
def logical_not(input: Array) -> Array:
    """Not x."""
    return np.logical_not(input)


@operation(numpy=np.isfinite)
def isfinite(input: Array) -> Array:
    """Whether x is neither infinite nor NaN."""
    return np.isfinite(input)
