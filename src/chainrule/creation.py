"""Functions that create tensors: constants, ranges, random numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from chainrule import ops
from chainrule.autograd.mode import mode
from chainrule.devices import check_device
from chainrule.errors import check, check_integer, check_numbers
from chainrule.ops.dtypes import DEFAULT, convert_numbers, numeric_array, storable_dtype
from chainrule.ops.operation import check_tensors
from chainrule.ops.shape import int_tuple
from chainrule.random import draw, draw_with
from chainrule.tensor import Tensor, _sizes, as_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from chainrule.devices import device as device_type

    Size: TypeAlias = int | Sequence[int]
    Device: TypeAlias = str | device_type | None


def _create(array: NDArray[Any], requires_grad: bool = False, device: Device = None) -> Tensor:
    """Return a new Tensor that holds the array."""
    check_device(device)
    storable_dtype(array.dtype)
    out = Tensor._wrap(array if mode.trace is None else mode.trace.add_array(array))
    return out.requires_grad_() if requires_grad else out


def _shape(name: str, *sizes: Any) -> tuple[int, ...]:
    """Check sizes that are passed as separate arguments or as one sequence, and return them as a tuple."""
    shape = _sizes(name, sizes)
    check(name, min(shape, default=0) >= 0, f"sizes must not be negative, got {shape}")
    return shape


def _dtype(dtype: DTypeLike, name: str = "") -> np.dtype[Any]:
    """Return the dtype, float32 for None. If the `name` of a function is passed, it must be floating."""
    out = DEFAULT if dtype is None else storable_dtype(dtype)
    check(name, not name or out.kind == "f", f"takes a floating type, not {out}", TypeError)
    return out


def zeros(
    *size: int | Sequence[int], dtype: DTypeLike = DEFAULT, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor of zeros."""
    return _create(np.zeros(_shape("zeros", *size), _dtype(dtype)), requires_grad, device)


def ones(
    *size: int | Sequence[int], dtype: DTypeLike = DEFAULT, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor of ones."""
    return _create(np.ones(_shape("ones", *size), _dtype(dtype)), requires_grad, device)


def full(
    size: int | Sequence[int],
    fill_value: bool | int | float,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
    *,
    device: Device = None,
) -> Tensor:
    """A Tensor filled with one value; by default, of the value's type, or of float32 for a Python float."""
    dtype = DEFAULT if dtype is None and isinstance(fill_value, float) else dtype
    value = convert_numbers(fill_value, numeric_array(fill_value).dtype if dtype is None else np.dtype(dtype))
    return _create(np.full(_shape("full", size), value), requires_grad, device)


def zeros_like(
    input: Tensor, dtype: DTypeLike | None = None, requires_grad: bool = False, *, device: Device = None
) -> Tensor:
    """Zeros in the shape and, by default, the type of another Tensor."""
    check_tensors("zeros_like", input)
    return _create(np.zeros(input.shape, input.dtype if dtype is None else dtype), requires_grad, device)


def ones_like(
    input: Tensor, dtype: DTypeLike | None = None, requires_grad: bool = False, *, device: Device = None
) -> Tensor:
    """Ones in the shape and, by default, the type of another Tensor."""
    check_tensors("ones_like", input)
    return _create(np.ones(input.shape, input.dtype if dtype is None else dtype), requires_grad, device)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: DTypeLike | None = None, *, device: Device = None
) -> Tensor:
    """Numbers from `start` to `end` (exclusive): arange(3) is 0, 1, 2."""
    start, end = (0, start) if end is None else (start, end)
    if dtype is None and any(isinstance(value, float) for value in (start, end, step)):
        dtype = DEFAULT
    check_numbers("arange", start, end, step)
    check("arange", step != 0, "the step must not be 0")
    check("arange", 0 <= (end - start) / step < math.inf, f"steps of {step} do not lead from {start} to {end}")
    array = np.arange(start, end, step)  # floats in float64: rounding errors would accumulate in float32
    convert_numbers(array[:: max(len(array) - 1, 1)], array.dtype if dtype is None else np.dtype(dtype))  # the ends
    return _create(array if dtype is None else array.astype(dtype), device=device)


def linspace(start: float, end: float, steps: int, dtype: DTypeLike = DEFAULT, *, device: Device = None) -> Tensor:
    """`steps` numbers from `start` to `end`, both included, evenly spaced."""
    check_numbers("linspace", start, end)
    check_integer("linspace", "steps", steps, minimum=0)
    dtype = _dtype(dtype)
    ends = convert_numbers([start, end], dtype).tolist()
    return _create(np.linspace(ends[0], ends[1], steps).astype(dtype), device=device)


def eye(n: int, m: int | None = None, dtype: DTypeLike = DEFAULT, *, device: Device = None) -> Tensor:
    """A matrix (n, m) with ones on its diagonal and zeros elsewhere."""
    rows, columns = _shape("eye", n, n if m is None else m)
    return _create(np.eye(rows, columns, dtype=_dtype(dtype)), device=device)


def rand(
    *size: int | Sequence[int],
    generator: np.random.Generator | None = None,
    dtype: DTypeLike = DEFAULT,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers, uniform in [0, 1)."""
    shape, dtype = _shape("rand", *size), _dtype(dtype, "rand")
    below_one = float(np.nextafter(dtype.type(1), dtype.type(0)))  # larger numbers could be rounded to 1

    def numbers(rng: np.random.Generator) -> NDArray[Any]:
        return np.asarray(np.minimum(rng.random(shape), below_one), dtype)

    return _create(draw_with(numbers, "rand", generator), requires_grad, device)


def randn(
    *size: int | Sequence[int],
    generator: np.random.Generator | None = None,
    dtype: DTypeLike = DEFAULT,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers from the normal distribution with mean 0 and standard deviation 1."""
    dtype = _dtype(dtype, "randn")
    return _create(draw("standard_normal", _shape("randn", *size), generator).astype(dtype), requires_grad, device)


@overload
def randint(
    low: int, high: int, size: Size, generator: np.random.Generator | None = None, *, device: Device = None
) -> Tensor: ...


@overload
def randint(
    high: int, size: Sequence[int], /, *, generator: np.random.Generator | None = None, device: Device = None
) -> Tensor: ...


@overload
def randint(
    low: int = 0, *, high: int, size: Size, generator: np.random.Generator | None = None, device: Device = None
) -> Tensor: ...


@overload
def randint(low: int, *, size: Size, generator: np.random.Generator | None = None, device: Device = None) -> Tensor: ...


def randint(
    low: int = 0, high: Any = None, size: Any = None, generator: np.random.Generator | None = None, *,
    device: Device = None,
) -> Tensor:  # fmt: skip
    """Random integers from `low` to `high` (exclusive).

    Call it as randint(low, high, size); randint(high, size) starts at 0.

    Raises:
        TypeError: a bound is not an integer, or there is no size.
        ValueError: `low` is not below `high`.
    """
    check_device(device)
    if size is None:
        check("randint", isinstance(high, (tuple, list)), "needs a size, such as (2, 3)", TypeError)
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    low, high = int_tuple((low, high), "randint")
    check("randint", low < high, f"low must be below high, got {low} and {high}")
    return Tensor._wrap(draw("integers", _shape("randint", size), generator, low=low, high=high))


def one_hot(labels: ArrayLike | Tensor, num_classes: int = -1) -> Tensor:
    """One-hot encoding: for each label, a row of zeros with a 1 at the label's index.

    Args:
        labels: class indices, integers of any shape (...).
        num_classes: C, the number of classes; -1 for the largest label plus 1.

    Returns:
        (..., C), int64; convert it with `.float()` for use as a target of `mse_loss` or `cross_entropy`.

    Raises:
        TypeError: the labels are not integers.
        IndexError: a label is negative or not below C.
    """
    classes = int(np.asarray(labels).max(initial=-1)) + 1 if num_classes == -1 else num_classes
    indices = ops.indexing.check_indices(as_tensor(labels), size=classes, name="one_hot")
    return ops.eq(ops.unsqueeze(indices, -1), np.arange(classes)).long()
