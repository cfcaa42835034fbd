"""The graph of a program: which array is computed from which, before loops and memory are decided.

A `Value` is one array: an argument, captured memory, or the result of a step. Captured memory is external (a parameter,
a running mean) or a constant that the trace has created. There are six kinds of steps: elementwise, reduction, view,
matrix product, hand-written kernel (convolution, pooling, attention and others), and a Python call for everything else.
Values are immutable: an in-place change creates a new value, and if it changes external memory, the program writes the
new value there. So a value can be scheduled anywhere after its inputs, or removed as dead code.

The graph is built by `recorder`. The second half of this file holds helpers: for the memory layout of arrays, and for
keys of caches (`exact_key`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

INPUT_KINDS = ("argument", "captured")
"""Kinds of values that exist before a run; all others are computed."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array's shape, strides and type, without its elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    itemsize: int
    size: int
    nbytes: int
    ndim: int

    @classmethod
    def of(cls, x: Any) -> ArraySpec:
        """The spec of an array."""
        return cls(x.shape, x.strides, x.dtype, x.itemsize, x.size, x.nbytes, x.ndim)


@dataclass(eq=False, slots=True)
class Value:
    """One array of the program.

    Attributes:
        kind: "argument", "captured", "elementwise", "reduce", "view", "matmul", "kernel", "call",
            "tuple_item" (a result of a call that returns several, or a further result of a kernel) or "scratch"
            (working memory of a kernel).
        op: for elementwise, the ufunc, `np.where`, `special.erf`, or "cast" for a conversion or a copy in a different
            memory order; for reduce, "sum", "max" or "min"; for a kernel or call, and for its tuple items and scratch,
            its name; otherwise None.
        inputs: Values; for elementwise steps also Python numbers, and pairs (Scalar, its index among the program's
            scalars).
        example: the array in the traced call, with the memory order that the program's array will have; an `ArraySpec`
            after `drop_data`.
        options: by kind.
            Elementwise: `type`, in which it computes.
            Reduce: `axes`, `keepdims`, and for partial results `n_parts`, their number.
            View: `view`, the NumPy function, and `offset`, in elements of the input.
            Kernel: `job`, `flops`, `n_images` if it works image by image, `n_parts` if it computes partial results,
            `other_results`, and `bytes_per_thread` if each thread computes a copy of the result.
            Call: `function`; `draws` if it draws random numbers; if it changes some elements of an array
            (`tracer.ElementChange`) also `write`, which makes the change in place, and `computed_index`: whether the
            index contains integers that the program computes.
            Tuple item: `position` in the result of a call.
            Scratch: `bytes_per_thread`.
        n_tracers: the number of Tracers that stand for it.
    """

    kind: str
    op: Any
    inputs: tuple[Any, ...]
    example: NDArray[Any]
    options: dict[str, Any] = field(default_factory=dict)
    n_tracers: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self.example.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return self.example.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides, in elements."""
        return tuple(s // self.example.itemsize for s in self.example.strides)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.example.size

    def drop_data(self) -> None:
        """Free the example's elements, unless they are captured memory; keep its shape, strides and type."""
        if self.kind != "captured":
            self.example = ArraySpec.of(self.example)  # type: ignore[assignment]  # has the attributes that are read

    def values(self) -> list[Value]:
        """The inputs that are values, not numbers."""
        return [x for x in self.inputs if isinstance(x, Value)]

    def __repr__(self) -> str:
        return f"<{self.kind} {getattr(self.op, '__name__', self.op)} {self.shape}>"


def dense(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself if it owns its memory and has no gaps there, else a copy with the same memory order."""
    array = np.asarray(array)
    axes = axes_in_order(array)
    if np.transpose(array, axes).flags.c_contiguous and array.base is None:
        return array
    return copy_in_order(array, axes)


def axes_in_order(array: NDArray[Any]) -> list[int]:
    """The dimensions in memory order, from the outermost (with the largest stride) to the innermost."""
    return sorted(range(array.ndim), key=lambda d: (-abs(array.strides[d]), d))


def copy_in_order(array: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
    """A copy without gaps, whose dimensions are in memory in the order `axes`."""
    return np.transpose(np.array(np.transpose(array, axes), order="C"), np.argsort(axes))


def is_readable_in_place(array: NDArray[Any]) -> bool:
    """Whether kernels can read the array without a copy: aligned, native byte order, strides of whole elements."""
    flags = array.flags
    if not (flags.aligned and array.dtype.isnative):
        return False
    return flags.c_contiguous or not any(s % array.itemsize for s in array.strides)


def byte_bounds(array: NDArray[Any]) -> tuple[int, int]:
    """The addresses of an array's first byte and of the byte after its last."""
    return np.lib.array_utils.byte_bounds(array)


def elements_overlap(array: NDArray[Any]) -> bool:
    """Whether two elements of an array may share memory, as in a broadcast array. False is certain, True is not."""
    extent = array.itemsize  # in bytes, of the dimensions so far
    for stride, size in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < extent:
            return array.size > 0
        extent += stride * (size - 1)
    return False


def share_memory(x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Whether two arrays share memory; True if that is too expensive to decide."""
    try:
        return np.shares_memory(x, y, max_work=1000)  # type: ignore[arg-type]  # NumPy's stubs allow only 0 and -1
    except np.exceptions.TooHardError:
        return True


def base_of(value: Value) -> Value:
    """The value whose memory a value uses: for a view the value that it views, for any other the value itself."""
    while value.kind == "view":
        value = value.inputs[0]
    return value


def offset_of(value: Value) -> int:
    """The offset of a value in the memory of its base, in elements: 0 unless it is a view."""
    offset = 0
    while value.kind == "view":
        offset += value.options["offset"]
        value = value.inputs[0]
    return offset


def is_python_result(value: Value) -> bool:
    """Whether the value is a result of a Python call."""
    return value.kind == "call" or (value.kind == "tuple_item" and value.inputs[0].kind == "call")


def is_internal(value: Value) -> bool:
    """Whether the program allocates the value's memory. Such memory does not overlap other arrays of a stage."""
    return value.kind not in INPUT_KINDS and not is_python_result(value)


def reachable(values: Sequence[Value], roots: Sequence[Value]) -> list[Value]:
    """The roots and all values that they depend on, in the order of `values`."""
    visited: set[int] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        if id(value) not in visited:
            visited.add(id(value))
            stack += value.values()
    return [value for value in values if id(value) in visited]


_LIBRARIES = sys.stdlib_module_names - {"__main__"} | {"numpy"}
"""Libraries whose objects are interchangeable if they are equal and have the same repr. Equality alone is not enough:
Decimal(0) == Decimal("-0"), a time == the same time in a different zone, and range(0, 3, 2) == range(0, 4, 2)."""

_PLAIN_VALUE: dict[Any, Callable[[Any], Any]] = {
    float.__eq__: float.__repr__, complex.__eq__: complex.__repr__, int.__eq__: int.__index__, str.__eq__: str.__str__,
    bytes.__eq__: bytes.__bytes__,
}  # fmt: skip
"""Maps the `__eq__` of a plain type to the function that returns an object's plain value. A subclass that inherits its
`__eq__` uses the same function."""


class Identity:
    """A key that equals only keys of the very same object. It keeps the object alive."""

    __slots__ = ("referent",)

    def __init__(self, referent: object) -> None:
        self.referent = referent

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.referent is self.referent

    def __hash__(self) -> int:
        return id(self.referent)


def has_attributes(x: Any) -> bool:
    """Whether an object has attributes of its own, in `__dict__` or in slots."""
    return bool(getattr(x, "__dict__", None)) or any(vars(c).get("__slots__") for c in type(x).__mro__)


def exact_key(x: Any) -> Any:
    """A key for x: objects with equal keys give the same results. It is hashable if x is.

    x itself cannot be the key: 0.0 == -0.0, 1 == True == 1.0, NaN is not equal to itself, and the comparison of a
    user-defined class may ignore attributes. The key of an object of such a class equals only keys of the same object.
    An exception is a frozen dataclass whose objects have no attributes but the fields: the key consists of the fields'
    keys.
    """
    kind = type(x)
    if kind is bool or kind is int or kind is str or x is None:
        return kind, x
    if kind is float:
        return (kind, x) if x and x == x else (kind, repr(x))
    if isinstance(x, (tuple, frozenset)):
        return kind, kind(map(exact_key, x)) if kind in (tuple, frozenset) else tuple(map(exact_key, x))
    if isinstance(x, slice):
        return kind, exact_key(x.start), exact_key(x.stop), exact_key(x.step)
    if isinstance(x, np.generic):
        return kind, x.dtype, x.tobytes()
    equality: Any = kind.__eq__
    if equality in _PLAIN_VALUE and not has_attributes(x):  # a plain type or a subclass
        return kind, _PLAIN_VALUE[equality](x)
    dataclass_options = getattr(kind, "__dataclass_params__", None)
    if dataclass_options is not None and dataclass_options.frozen and dataclass_options.eq:
        attributes = {f.name: (f, getattr(x, f.name)) for f in fields(x)}
        if not attributes.keys() >= getattr(x, "__dict__", {}).keys():  # it has attributes that are not fields
            return kind, Identity(x)
        return kind, *(exact_key(v) if f.compare else Identity(v) for f, v in attributes.values())
    if equality is object.__eq__ or kind.__hash__ is None:  # the key of an unhashable object is unhashable, too
        return kind, x
    if kind.__module__.partition(".")[0] in _LIBRARIES:
        return (kind, x) if callable(x) else (kind, x, repr(x))
    return kind, Identity(x)
