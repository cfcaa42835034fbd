"""Elementwise arithmetic and selection: +, -, ×, ÷, remainders, powers, rounding, where.

Inputs broadcast as in NumPy. Each derivative follows its formula. The tape sums gradients over broadcast
dimensions, so the rules here ignore broadcasting.
"""

from typing import Any

import numpy as np

from chainrule.errors import check, check_booleans, check_floats
from chainrule.ops.activations import sigmoid
from chainrule.ops.dtypes import convert_numbers
from chainrule.ops.operation import Array, Input, Operand, Tensor, operation

__all__ = [
    "abs", "add", "ceil", "clamp", "div", "floor", "floor_divide", "fmod", "lerp", "logaddexp", "masked_fill",
    "maximum", "minimum", "mul", "neg", "pow", "remainder", "round", "sign", "sub", "true_divide", "trunc", "where",
]  # fmt: skip


@operation(numpy=np.add, promote="common")
def add(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """x + α y."""
    return input + other if alpha == 1 else input + alpha * other


@add.derivative
def _(grad: Array, alpha: Any) -> Any:
    """∂(x + α y)/∂x = 1, ∂(x + α y)/∂y = α."""
    return grad, lambda: grad if alpha == 1 else grad * alpha


@operation(numpy=np.subtract, promote="common")
def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """x - α y."""
    return input - other if alpha == 1 else input - alpha * other


@sub.derivative
def _(grad: Array, alpha: Any) -> Any:
    """∂(x - α y)/∂x = 1, ∂(x - α y)/∂y = -α."""
    return grad, lambda: -grad if alpha == 1 else grad * -alpha


@operation(numpy=np.multiply, promote="common")
def mul(input: Operand, other: Operand) -> Array:
    """x · y."""
    return input * other


@mul.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """∂(x y)/∂x = y, ∂(x y)/∂y = x."""
    return lambda: grad * other, lambda: grad * input


@operation(numpy=np.divide, promote="floating")
def true_divide(input: Operand, other: Operand) -> Array:
    """x / y."""
    return input / other


@true_divide.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """∂(x / y)/∂x = 1 / y, ∂(x / y)/∂y = -x / y²."""
    return lambda: grad / other, lambda: -grad * (input / other) / other


@operation(numpy=np.negative)
def neg(input: Input) -> Array:
    """-x."""
    return -input


@neg.derivative
def _(grad: Array) -> Array:
    """d(-x)/dx = -1."""
    return -grad


@operation(numpy=np.power, promote="common")
def pow(input: Operand, exponent: Operand) -> Array:
    """x to the power y. A negative number to a fractional power is NaN; 0⁰ = 1."""
    if isinstance(exponent, (int, float)) and exponent == 3:
        return input * input * input  # np.power takes many times as long
    return input**exponent


@pow.derivative
def _(grad: Array, out: Array, input: Array, exponent: Array) -> Any:
    """∂xʸ/∂x = y xʸ⁻¹ (0 where y = 0); ∂xʸ/∂y = xʸ ln x (0 where x = 0 and y ≥ 0)."""

    def base_grad() -> Array:
        if isinstance(exponent, (int, float)):
            return np.zeros_like(grad) if exponent == 0 else grad * (exponent * input ** (exponent - 1))
        return grad * np.where(exponent == 0, 0, exponent * input ** (exponent - 1))

    def exponent_grad() -> Array:
        is_grad_zero = (input == 0) & (exponent >= 0)
        return grad * np.where(is_grad_zero, 0, out * np.log(np.where(is_grad_zero, np.ones_like(out), input)))

    return base_grad, exponent_grad


@operation(numpy=np.absolute, fused=True)
def abs(input: Input) -> Array:
    """|x|."""
    return np.absolute(input)


@abs.derivative
def _(grad: Array, input: Array) -> Array:
    """d|x|/dx = sign(x), and 0 at 0 and at NaN, as in PyTorch."""
    return grad * np.where(input == input, np.sign(input), 0)


@operation(numpy=np.floor_divide, promote="common")
def floor_divide(input: Operand, other: Operand) -> Array:
    """x / y, rounded down."""
    return np.floor_divide(input, other)


@operation(promote="common")
def trunc_divide(input: Array, other: Array) -> Array:
    """x / y, rounded toward zero; an integer for integers."""
    if np.result_type(input, other).kind == "f":
        return np.trunc(input / other)
    quotient = np.floor_divide(input, other)
    return quotient + ((quotient < 0) & (quotient * other != input))  # a negative quotient was rounded away from zero


def _zero_gradients(grad: Array) -> Any:
    """0 for both inputs: the result is piecewise constant."""
    return lambda: np.zeros_like(grad), lambda: np.zeros_like(grad)


floor_divide.derivative(_zero_gradients)
trunc_divide.derivative(_zero_gradients)


@operation(numpy=np.remainder, promote="common")
def remainder(input: Operand, other: Operand) -> Array:
    """x - y ⌊x / y⌋, with the sign of y: x % y. NaN if y is a floating-point 0.

    Raises:
        ZeroDivisionError: an integer is divided by 0.
    """
    _check_divisor("remainder", input, other)
    return np.remainder(input, other)


@remainder.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """∂/∂x = 1, ∂/∂y = -⌊x / y⌋."""
    return grad, lambda: -grad * np.floor_divide(input, other)


@operation(numpy=np.fmod, promote="common", tensor_positions=(0,))
def fmod(input: Input, other: Operand) -> Array:
    """x - y trunc(x / y), with the sign of x, as in C. NaN if y is a floating-point 0.

    Raises:
        ZeroDivisionError: an integer is divided by 0.
    """
    _check_divisor("fmod", input, other)
    return np.fmod(input, other)


@fmod.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """∂/∂x = 1, ∂/∂y = -trunc(x / y)."""
    return grad, lambda: -grad * trunc_divide(input, other)


def _check_divisor(name: str, input: Array, other: Array) -> None:
    """Raise an error if integers are divided by 0; NumPy would return 0 as the remainder."""
    if np.result_type(input, other).kind != "f" and np.any(np.equal(other, 0)):
        raise ZeroDivisionError(f"{name}: an integer divided by 0 has no remainder")


@operation(numpy=np.logaddexp, promote="floating_only", tensor_positions=(0, 1))
def logaddexp(input: Input, other: Input) -> Array:
    """ln(eˣ + eʸ), which does not overflow."""
    return np.logaddexp(input, other)


@logaddexp.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """∂/∂x = σ(x - y), ∂/∂y = σ(y - x)."""
    return lambda: grad * sigmoid(input - other), lambda: grad * sigmoid(other - input)


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """x / y, unrounded, or rounded toward zero ("trunc") or down ("floor").

    Raises:
        ValueError: `rounding_mode` is unknown.
    """
    divisions = {None: true_divide, "floor": floor_divide, "trunc": trunc_divide}
    check("div", rounding_mode in divisions, f'rounding_mode must be "trunc", "floor" or None, not {rounding_mode!r}')
    return divisions[rounding_mode](input, other)


# Step functions, which are piecewise constant: their derivative is 0


@operation(numpy=np.sign)
def sign(input: Input) -> Array:
    """-1, 0 or 1; NaN for NaN, as in NumPy (PyTorch gives 0)."""
    return np.sign(input)


@operation(numpy=np.floor)
def floor(input: Input) -> Array:
    """The largest integer that is at most x."""
    return np.floor(input)


@operation(numpy=np.ceil)
def ceil(input: Input) -> Array:
    """The smallest integer that is at least x."""
    return np.ceil(input)


@operation(numpy=np.trunc)
def trunc(input: Input) -> Array:
    """x rounded toward zero."""
    return np.trunc(input)


@operation(numpy=np.round)
def round(input: Input, *, decimals: int = 0) -> Array:
    """x rounded to `decimals` decimal places; halves go to the nearest even digit."""
    # in NumPy, booleans become float16, and 255 of uint8 becomes 260, which wraps around to 4
    kinds, rest = ("f", f" to {decimals} decimals") if decimals < 0 else ("iuf", "")
    check("round", input.dtype.kind in kinds, f"{input.dtype} cannot be rounded{rest}", TypeError)
    return np.round(input, decimals)


def _zero_gradient(grad: Array) -> Array:
    """0: the result is piecewise constant."""
    return np.zeros_like(grad)


for step_function in (sign, floor, ceil, trunc, round):
    step_function.derivative(_zero_gradient)


# Selection


@operation(numpy=np.maximum, promote="common", tensor_positions=(0, 1), fused=True)
def maximum(input: Input, other: Input) -> Array:
    """The larger of x and y; NaN if either is NaN."""
    return np.maximum(input, other)


@operation(numpy=np.minimum, promote="common", tensor_positions=(0, 1), fused=True)
def minimum(input: Input, other: Input) -> Array:
    """The smaller of x and y; NaN if either is NaN."""
    return np.minimum(input, other)


def _select_gradients(grad: Array, out: Array, input: Array, other: Array) -> Any:
    """1 for the selected input, 0 for the other; ½ for each where they are equal, 1 for both where either is NaN."""

    def gradient_of(x: Array) -> Array:
        # not `x != out`, which is also true where the result is NaN: there, both inputs get the gradient, as in PyTorch
        return np.where(input == other, grad / 2, np.where((x < out) | (x > out), 0, grad))

    return lambda: gradient_of(input), lambda: gradient_of(other)


maximum.derivative(_select_gradients)
minimum.derivative(_select_gradients)


@operation(numpy=np.where, promote="common")
def where(condition: Input, input: Operand, other: Operand) -> Array:
    """x where the condition is true, else y.

    Raises:
        TypeError: the condition is not boolean.
    """
    check_booleans("where", "condition", condition)
    return np.where(condition, input, other)


@where.derivative
def _(grad: Array, condition: Array) -> Any:
    """1 for the selected input, 0 for the other."""
    return None, lambda: np.where(condition, grad, 0), lambda: np.where(condition, 0, grad)


def masked_fill(input: Input, mask: Input, value: Operand) -> Tensor:
    """x, but `value` where the mask is true.

    Args:
        input: any shape.
        mask: booleans; broadcasts with the input.
        value: a number, or a zero-dimensional Tensor; it is converted to the input's type, as by `fill_`.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the value has dimensions.
        OverflowError: the value does not fit into the input's type.
    """
    check_booleans("masked_fill", "mask", mask)
    message = f"the value must be a single number, not an array of shape {np.shape(value)}"
    check("masked_fill", not np.ndim(value), message)
    value_dtype = None if isinstance(value, np.generic) else getattr(value, "dtype", None)  # None for numbers
    if value_dtype is None or (input.dtype.kind != "f" and value_dtype != input.dtype):
        value = convert_numbers(value, input.dtype).item()
    return where(mask, value, input)


def clamp(input: Input, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """x limited to [min, max]. A bound is a number, a Tensor, or None.

    Where x is NaN, the result is x and the derivative 1, as for `relu`; in PyTorch, the derivative of clamp is 0 there.
    Where a bound is NaN, the result is NaN and the derivative 0.

    Raises:
        ValueError: both bounds are None.
    """
    check("clamp", min is not None or max is not None, "needs min, max or both")
    bounded: Array = input if min is None else where(_is_replaced(input < min, min), min, input)
    return bounded if max is None else where(_is_replaced(bounded > max, max), max, bounded)


def _is_replaced(is_beyond: Any, bound: Operand) -> Any:
    """Whether a bound takes the place of an element: where the element lies beyond it, and where the bound is NaN."""
    return is_beyond if isinstance(bound, (int, float)) and bound == bound else is_beyond | (bound != bound)


def lerp(input: Input, end: Operand, weight: Operand) -> Tensor:
    """Linear interpolation from x to `end`: x + weight (end - x).

    Raises:
        TypeError: the input is not floating.
    """
    check_floats("lerp", input)
    return add(input, mul(weight, sub(end, input)))
