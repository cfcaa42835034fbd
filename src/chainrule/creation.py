"""Tensors made from nothing: of one value, of a range, of random numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from chainrule import ops
from chainrule.autograd.mode import mode
from chainrule.errors import check, check_numbers
from chainrule.ops.dtypes import DEFAULT, storable
from chainrule.ops.operation import only_tensors
from chainrule.ops.shape import int_tuple
from chainrule.random import draw as drawn
from chainrule.tensor import Tensor, _array_of, _sizes, as_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Size: TypeAlias = int | Sequence[int]


def _made(array: NDArray[Any], requires_grad: bool = False) -> Tensor:
    storable(array.dtype)
    made = Tensor._wrap(array if mode.trace is None else mode.trace.add_constant(array))
    return made.requires_grad_() if requires_grad else made


def _shape(name: str, *sizes: Any) -> tuple[int, ...]:
    """Sizes given one by one or as a sequence, if there can be a Tensor of them."""
    shape = _sizes(name, sizes)
    check(name, min(shape, default=0) >= 0, f"sizes must not be negative, got {shape}")
    return shape


def _type(dtype: DTypeLike, name: str = "") -> np.dtype[Any]:
    """The type that is asked for, a floating one where a name is given; None is the default, as in PyTorch."""
    kind = DEFAULT if dtype is None else storable(dtype)
    check(name, not name or kind.kind == "f", f"takes a floating type, not {kind}", TypeError)
    return kind


def zeros(*size: int | Sequence[int], dtype: DTypeLike = DEFAULT, requires_grad: bool = False) -> Tensor:
    """Zeros."""
    return _made(np.zeros(_shape("zeros", *size), _type(dtype)), requires_grad)


def ones(*size: int | Sequence[int], dtype: DTypeLike = DEFAULT, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return _made(np.ones(_shape("ones", *size), _type(dtype)), requires_grad)


def full(
    size: int | Sequence[int],
    fill_value: bool | int | float,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere; a Python float makes float32."""
    dtype = DEFAULT if dtype is None and isinstance(fill_value, float) else dtype
    _array_of(fill_value)  # raises unless these are numbers
    return _made(np.full(_shape("full", size), fill_value, dtype), requires_grad)


def zeros_like(input: Tensor, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape and, unless told otherwise, the type of another Tensor."""
    only_tensors("zeros_like", input)
    return _made(np.zeros(input.shape, input.dtype if dtype is None else dtype), requires_grad)


def ones_like(input: Tensor, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape and, unless told otherwise, the type of another Tensor."""
    only_tensors("ones_like", input)
    return _made(np.ones(input.shape, input.dtype if dtype is None else dtype), requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, dtype: DTypeLike | None = None) -> Tensor:
    """Numbers from `start` up to, without, `end`: arange(3) is 0, 1, 2."""
    bounds: Any = (0, start, step) if end is None else (start, end, step)
    if dtype is None and any(isinstance(value, float) for value in bounds):
        dtype = DEFAULT
    check_numbers("arange", *bounds)
    first, last, step = bounds
    check("arange", step != 0, "the step must not be 0")
    check("arange", 0 <= (last - first) / step < math.inf, f"steps of {step} do not lead from {first} to {last}")
    array = np.arange(*bounds)  # in float64, if not in integers: in float32 the errors of the steps would add up
    return _made(array if dtype is None else array.astype(dtype))


def linspace(start: float, end: float, steps: int, dtype: DTypeLike = DEFAULT) -> Tensor:
    """`steps` numbers from `start` to `end`, both included, evenly spaced."""
    check_numbers("linspace", start, end)
    return _made(np.linspace(start, end, _shape("linspace", steps)[0], dtype=_type(dtype)))


def eye(n: int, m: int | None = None, dtype: DTypeLike = DEFAULT) -> Tensor:
    """A matrix (n, m) with ones on its diagonal and zeros elsewhere."""
    rows, columns = _shape("eye", n, n if m is None else m)
    return _made(np.eye(rows, columns, dtype=_type(dtype)))


def rand(
    *size: int | Sequence[int],
    generator: np.random.Generator | None = None,
    dtype: DTypeLike = DEFAULT,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers, uniform in [0, 1)."""
    kind = _type(dtype, "rand")
    return _made(drawn("random", _shape("rand", *size), generator).astype(kind), requires_grad)


def randn(
    *size: int | Sequence[int],
    generator: np.random.Generator | None = None,
    dtype: DTypeLike = DEFAULT,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers from the normal distribution with mean 0 and standard deviation 1."""
    kind = _type(dtype, "randn")
    return _made(drawn("standard_normal", _shape("randn", *size), generator).astype(kind), requires_grad)


@overload
def randint(low: int, high: int, size: Size, generator: np.random.Generator | None = None) -> Tensor: ...


@overload
def randint(high: int, size: Sequence[int], /, *, generator: np.random.Generator | None = None) -> Tensor: ...


@overload
def randint(low: int = 0, *, high: int, size: Size, generator: np.random.Generator | None = None) -> Tensor: ...


@overload
def randint(low: int, *, size: Size, generator: np.random.Generator | None = None) -> Tensor: ...


def randint(low: int = 0, high: Any = None, size: Any = None, generator: np.random.Generator | None = None) -> Tensor:
    """Random integers from `low` up to, without, `high`.

    Called as randint(low, high, size), or as randint(high, size), from 0 on.

    Raises:
        TypeError: a bound is no whole number, or there is no size.
        ValueError: `low` is not below `high`.
    """
    if size is None:
        check("randint", isinstance(high, (tuple, list)), "needs a size, such as (2, 3)", TypeError)
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    low, high = int_tuple((low, high), "randint")
    check("randint", low < high, f"there is no whole number from {low} up to, without, {high}")
    return Tensor._wrap(drawn("integers", _shape("randint", size), generator, low=low, high=high))


def one_hot(labels: ArrayLike | Tensor, num_classes: int = -1) -> Tensor:
    """A row of zeros with a single 1 at its label's place, for each label.

    Args:
        labels: class indices, integers, any shape (...).
        num_classes: C; -1 for one more than the largest label.

    Returns:
        (..., C) int64; `.float()` makes it a target for `mse_loss`, or probabilities for `cross_entropy`.

    Raises:
        TypeError: the labels are not integers.
        IndexError: a label is negative or not below C.
    """
    classes = int(np.asarray(labels).max(initial=-1)) + 1 if num_classes == -1 else num_classes
    places = ops.indexing.indices(as_tensor(labels), size=classes, name="one_hot")
    return ops.eq(ops.unsqueeze(places, -1), np.arange(classes)).long()
