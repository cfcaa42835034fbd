"""Comparisons, and logic on bits and truth values. The results are booleans or integers, so none has a derivative.

Inputs broadcast as in NumPy.
"""

from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.arithmetic import abs, maximum, minimum, sub
from chainrule.ops.operation import Array, Input, Operand, Tensor, check_tensors, operation
from chainrule.ops.shape import cast

__all__ = [
    "allclose", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "eq", "ge", "gt", "isclose", "isfinite",
    "isinf", "isnan", "le", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "ne",
]  # fmt: skip


@operation(numpy=np.equal, promote="common", tensor_positions=(0,))
def eq(input: Input, other: Operand) -> Array:
    """x = y."""
    return np.equal(input, other)


@operation(numpy=np.not_equal, promote="common", tensor_positions=(0,))
def ne(input: Input, other: Operand) -> Array:
    """x ≠ y."""
    return np.not_equal(input, other)


@operation(numpy=np.less, promote="common", tensor_positions=(0,))
def lt(input: Input, other: Operand) -> Array:
    """x < y."""
    return np.less(input, other)


@operation(numpy=np.less_equal, promote="common", tensor_positions=(0,))
def le(input: Input, other: Operand) -> Array:
    """x ≤ y."""
    return np.less_equal(input, other)


@operation(numpy=np.greater, promote="common", tensor_positions=(0,))
def gt(input: Input, other: Operand) -> Array:
    """x > y."""
    return np.greater(input, other)


@operation(numpy=np.greater_equal, promote="common", tensor_positions=(0,))
def ge(input: Input, other: Operand) -> Array:
    """x ≥ y."""
    return np.greater_equal(input, other)


@operation(numpy=np.logical_not)
def logical_not(input: Input) -> Array:
    """Whether x is 0."""
    return np.logical_not(input)


@operation(numpy=np.isfinite)
def isfinite(input: Input) -> Array:
    """Whether x is neither infinite nor NaN."""
    return np.isfinite(input)


@operation(numpy=np.isnan)
def isnan(input: Input) -> Array:
    """Whether x is NaN."""
    return np.isnan(input)


@operation(numpy=np.isinf)
def isinf(input: Input) -> Array:
    """Whether x is infinite, positive or negative."""
    return np.isinf(input)


@operation(numpy=np.logical_and, promote="common", tensor_positions=(0, 1))
def logical_and(input: Input, other: Input) -> Array:
    """Whether both x and y are nonzero."""
    return np.logical_and(input, other)


@operation(numpy=np.logical_or, promote="common", tensor_positions=(0, 1))
def logical_or(input: Input, other: Input) -> Array:
    """Whether x or y is nonzero."""
    return np.logical_or(input, other)


@operation(numpy=np.logical_xor, promote="common", tensor_positions=(0, 1))
def logical_xor(input: Input, other: Input) -> Array:
    """Whether exactly one of x and y is nonzero."""
    return np.logical_xor(input, other)


@operation(numpy=np.bitwise_and, promote="common")
def bitwise_and(input: Operand, other: Operand) -> Array:
    """x AND y, bit by bit: x & y.

    Raises:
        TypeError: an input is floating.
    """
    _check_bits("bitwise_and", input, other)
    return np.bitwise_and(input, other)


@operation(numpy=np.bitwise_or, promote="common")
def bitwise_or(input: Operand, other: Operand) -> Array:
    """x OR y, bit by bit: x | y.

    Raises:
        TypeError: an input is floating.
    """
    _check_bits("bitwise_or", input, other)
    return np.bitwise_or(input, other)


@operation(numpy=np.bitwise_xor, promote="common")
def bitwise_xor(input: Operand, other: Operand) -> Array:
    """x XOR y, bit by bit: x ^ y.

    Raises:
        TypeError: an input is floating.
    """
    _check_bits("bitwise_xor", input, other)
    return np.bitwise_xor(input, other)


@operation(numpy=np.invert)
def bitwise_not(input: Input) -> Array:
    """NOT x, bit by bit: ~x.

    Raises:
        TypeError: the input is floating.
    """
    _check_bits("bitwise_not", input)
    return np.invert(input)


def _check_bits(name: str, *values: Array) -> None:
    """Raise a TypeError if a value is floating."""
    for value in values:
        if isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "i") == "f":
            raise TypeError(f"{name}: takes booleans and integers, not floats: compare them first, as in x > 0")


def isclose(input: Input, other: Input, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |x - y| ≤ atol + rtol |y|; an infinity is close only to the same infinity.

    The difference of integers is exact; then both sides are compared as float64.

    Args:
        input: x, any shape.
        other: y, of the same type; broadcasts with x.
        rtol: the relative tolerance, which is multiplied by |y|.
        atol: the absolute tolerance.
        equal_nan: whether NaN is close to NaN.

    Raises:
        ValueError: a tolerance is negative.
        TypeError: the types differ.
    """
    return _compare("isclose", input, other, rtol, atol, equal_nan)  # type: ignore[no-any-return]


def allclose(input: Input, other: Input, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds for all elements. Arguments and errors are those of `isclose`."""
    return bool(_compare("allclose", input, other, rtol, atol, equal_nan).all())


def _compare(name: str, input: Array, other: Array, rtol: float, atol: float, equal_nan: bool) -> Any:
    """Return the result of `isclose`; error messages begin with `name`."""
    check_tensors(name, input, other)
    if input.dtype != other.dtype:
        raise TypeError(f"{name}: both must have the same type, not {input.dtype} and {other.dtype}")
    check(name, rtol >= 0 and atol >= 0, f"rtol and atol must not be negative, got {rtol} and {atol}")
    close: Array = eq(input, other)
    if equal_nan:
        close = logical_or(close, logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return close
    if input.dtype.kind == "f":
        difference = abs(sub(input, other))
    else:  # x - y and |y| might wrap around, but as uint64 the larger minus the smaller is exact for all integers
        larger, smaller = (cast(extreme(input, other), dtype=np.uint64) for extreme in (maximum, minimum))
        difference, other = sub(larger, smaller), cast(other, dtype=np.float64)
    return logical_or(close, logical_and(isfinite(difference), le(difference, atol + rtol * abs(other))))
