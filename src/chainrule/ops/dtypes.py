"""Type promotion by PyTorch's rules, which differ from NumPy's in three ways.

1. Integers with floats give the type of the floats (NumPy: int64 with float32 gives float64).
2. A NumPy scalar or a zero-dimensional array, like a Python number, does not widen an array of the same category:
   float32 with `np.float64(2)` stays float32 (NumPy: float64).
3. Functions such as `exp` and `/` convert booleans and integers to float32, the default type. (NumPy's `/` gives
   float64; its `exp` gives float16 for booleans and 8-bit integers, float32 for 16-bit ones, float64 for longer ones.)

Source: the PyTorch documentation, "Tensor Attributes", section on type promotion.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import check_floats, type_name

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

DEFAULT = np.dtype(np.float32)
"""The type that Python floats become."""

ACCUMULATION_DTYPES = dict.fromkeys("biu", np.int64)
"""The type of sums and products of booleans and integers, by `dtype.kind`. Floats keep their type."""

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}
"""The category of a type, by `dtype.kind`: booleans, integers, floats. A result has the highest category."""
_BOOL = np.dtype(bool)
_INT64 = np.dtype(np.int64)
_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)
_ndarray = np.ndarray  # a global is faster to look up than an attribute


def promote(values: list[Any], promotion: str, name: str) -> list[Any]:
    """Convert arrays to their common type.

    Python numbers are not converted, because NumPy gives them the type of the arrays. Only next to a boolean array are
    they converted: NumPy would turn a Python float into float64.

    Args:
        values: the operation's inputs.
        promotion: "common" to accept any common type, "floating" to convert booleans and integers to float32, or
            "floating_only" to raise an error unless the common type is floating.
        name: the operation's name, for the error.

    Raises:
        TypeError: a value is neither an array nor a number, or its type is not boolean, integer or float; or
            `promotion` is "floating_only" and the common type is not floating.
        OverflowError: the common type is float16, and a number is too large for it, or a factor too small.
    """
    dtype = None
    for value in values:  # fast path for the most common case: all arrays have one floating type already
        if type(value) is _ndarray:
            value_dtype = value.dtype
            if value_dtype is not dtype:
                if dtype is not None or not (value_dtype is _FLOAT32 or value_dtype is _FLOAT64):
                    break
                dtype = value_dtype
        elif type(value) is not float and type(value) is not int:
            break
    else:
        return values
    first_dtype: Any = getattr(values[0], "dtype", None)
    has_one_type = all(type(value) is _ndarray and value.dtype is first_dtype for value in values)
    if promotion == "common" and has_one_type and first_dtype.kind in _CATEGORY:  # no conversion is needed
        return values
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    dtype = result_type(values, name)
    if promotion == "floating_only":
        check_floats(name, dtype)
    # PyTorch computes with these numbers in float32; as float16, 100,000 is infinite, and 1e-7 is 1.2e-7
    lowest = 2.0**-14 if name in ("mul", "true_divide", "floor_divide") else 0
    for number in values if dtype == np.float16 else ():
        if isinstance(number, (int, float)) and (65504 < abs(number) < math.inf or 0 < abs(number) < lowest):
            raise OverflowError(f"{name}: {number} is beyond the range of float16; convert the tensor with float()")
    dtype = DEFAULT if promotion != "common" and dtype.kind != "f" else dtype
    has_booleans = any(isinstance(value, np.ndarray) and value.dtype.kind == "b" for value in values)

    def keeps_type(value: Any) -> bool:
        # "common" keeps boolean arrays: NumPy widens them as PyTorch does, and the condition of `where` must be boolean
        is_array = isinstance(value, np.ndarray)
        return (promotion == "common" and value.dtype.kind == "b") if is_array else not has_booleans

    return [value if keeps_type(value) else np.asarray(value, dtype) for value in values]


def storable_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as a NumPy dtype that a Tensor can hold.

    Raises:
        TypeError: the type is not boolean, integer or floating, or `dtype` is not a type, but, say, a device's name.
    """
    try:
        numpy_dtype = np.dtype("None" if dtype is None else dtype)  # np.dtype(None) would be float64
    except TypeError:
        requirement = "a dtype must be NumPy's, such as numpy.float32"
        raise TypeError(f"{requirement}, not {dtype!r}; tensors are always on the CPU") from None
    if numpy_dtype.kind not in _CATEGORY:
        raise TypeError(f"a Tensor holds booleans, integers or floats, not {numpy_dtype}")
    return numpy_dtype


def numeric_array(data: Any) -> NDArray[Any]:
    """Return the data as NumPy converts it, which gives an array of objects for integers that are too large.

    Raises:
        TypeError: the data is not numeric: NumPy would turn None into NaN, and "3" into 3.
    """
    array = np.asarray(data)
    if array.dtype.kind != "O" or not all(isinstance(number, int) for number in array.flat):
        storable_dtype(array.dtype)
    return array


def convert_numbers(data: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert numbers that a user writes to a type: those of `tensor`, `full`, `fill_`, `x[i] = 2`, `masked_fill`, ...

    An integer type takes all numbers that it can hold after their fractions are cut off: uint8 takes 255.9. (PyTorch
    cuts fractions off, too, but refuses 255.9 and -0.5.) An unsigned type also takes negative integers, down to minus
    its largest number: -1 becomes the largest number, as in C and PyTorch. Negative floats such as -1.0 it refuses.

    Raises:
        OverflowError: a number is too large for the type, or NaN is to become an integer.
        TypeError: the data is not numeric.
    """
    array = numeric_array(data)
    if dtype.kind in "iuf":
        lowest, highest = _limits(dtype)
        if lowest == 0 and array.dtype.kind != "f":
            lowest = max(-highest, -(2**63))
        for number in array.ravel().tolist():
            fits = not highest < abs(number) < math.inf if dtype.kind == "f" else lowest - 1 < number < highest + 1
            if not fits:
                raise OverflowError(f"{number} does not fit into {dtype}")
    return array.astype(dtype)


@functools.cache
def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and the largest number of an integer or floating type."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def result_type(values: list[Any], name: str) -> np.dtype[Any]:
    """Return the common type of arrays and Python numbers, by PyTorch's rules.

    The highest category wins. Within a category, arrays take precedence over zero-dimensional arrays, and these over
    numbers.

    Raises:
        TypeError: a value is neither an array nor a number, or its type is not boolean, integer or floating. The
            message begins with `name`.
    """
    result, highest_priority = DEFAULT, -1
    for value in values:
        if isinstance(value, np.ndarray):
            dtype, precedence = value.dtype, 2 if value.ndim else 1
        elif isinstance(value, bool):
            dtype, precedence = _BOOL, 0
        elif isinstance(value, int):
            dtype, precedence = _INT64, 0
        elif isinstance(value, float):
            dtype, precedence = DEFAULT, 0
        else:
            raise TypeError(f"{name}: takes tensors, arrays and numbers, not {type_name(value)}")
        if dtype.kind not in _CATEGORY:
            raise TypeError(f"{name}: takes booleans, integers and floats, not {dtype}")
        priority = 3 * _CATEGORY[dtype.kind] + precedence
        if priority > highest_priority:
            result, highest_priority = dtype, priority
        elif priority == highest_priority and dtype is not result:
            result = np.promote_types(result, dtype)
    return result
