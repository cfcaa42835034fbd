"""The program as a graph: which array is made of which, before anything is decided about loops and memory.

A `Value` is one array: an argument, memory that lives outside (a parameter, a running mean), or the result of one step.
There are six kinds of steps: elementwise, reduction, view, product of matrices, kernel (convolution and pooling), and a
call of Python for all else.
Values are never changed; what changes in place is memory outside, into which a value is written at the end. So a value
may be computed wherever its inputs are there, or not at all if nobody asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SOURCES = ("argument", "captured")


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array without its elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    itemsize: int
    size: int
    nbytes: int
    ndim: int

    @classmethod
    def of(cls, x: Any) -> ArraySpec:
        """The form of an array."""
        return cls(x.shape, x.strides, x.dtype, x.itemsize, x.size, x.nbytes, x.ndim)


@dataclass(eq=False, slots=True)
class Value:
    """One array of the program.

    Attributes:
        kind: "argument", "captured", "elementwise", "reduce", "view", "matmul", "kernel", "call", "part" (another of
            the several results of a kernel or a call) or "scratch" (memory that a kernel needs while it runs).
        op: for elementwise and reduce, which; for a call, what is called.
        inputs: Values, and for elementwise steps also Python numbers and `Number`s.
        example: the array as the traced call had it, in the memory order that the program's will have.
        options: what else the step needs to know.
    """

    kind: str
    op: Any
    inputs: tuple[Any, ...]
    example: NDArray[Any]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self.example.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self.example.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """How many elements lie between neighbors, by dimension."""
        return tuple(s // self.example.itemsize for s in self.example.strides)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.example.size

    def drop_data(self) -> None:
        """Let go of the example's elements, and keep its shape, strides and type."""
        if self.kind != "captured":
            self.example = ArraySpec.of(self.example)  # type: ignore[assignment]  # it has what is asked of it from now on

    def values(self) -> list[Value]:
        """The inputs that are arrays."""
        return [x for x in self.inputs if isinstance(x, Value)]

    def __repr__(self) -> str:
        return f"<{self.kind} {getattr(self.op, '__name__', self.op)} {self.shape}>"


def dense(array: NDArray[Any]) -> NDArray[Any]:
    """The array in memory of its own without gaps, its dimensions in the order that it has now."""
    array = np.asarray(array)
    axes = axes_in_order(array)
    if np.transpose(array, axes).flags.c_contiguous and array.base is None:
        return array
    return copy_in_order(array, axes)


def axes_in_order(array: NDArray[Any]) -> list[int]:
    """The dimensions from the outermost in memory to the innermost."""
    return sorted(range(array.ndim), key=lambda d: (-abs(array.strides[d]), d))


def copy_in_order(array: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
    """A copy without gaps, its dimensions in this order in memory."""
    return np.transpose(np.array(np.transpose(array, axes), order="C"), np.argsort(axes))


def is_readable_in_place(array: NDArray[Any]) -> bool:
    """Whether compiled code can read an array where it lies: aligned, whole elements apart, bytes in their order."""
    flags = array.flags
    if not (flags.aligned and array.dtype.isnative):
        return False
    return flags.c_contiguous or not any(s % array.itemsize for s in array.strides)


def byte_bounds(array: NDArray[Any]) -> tuple[int, int]:
    """The addresses of an array's first byte, and of the one after its last."""
    return np.lib.array_utils.byte_bounds(array)


def elements_overlap(array: NDArray[Any]) -> bool:
    """Whether two elements of an array share memory, as those of a broadcast one do."""
    reach = array.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach:
            return array.size > 0
        reach += stride * (size - 1)
    return False


def share_memory(x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Whether two arrays have a byte in common, or may have one if that is hard to tell."""
    try:
        return np.shares_memory(x, y, max_work=1000)  # type: ignore[arg-type]  # its stubs know of 0 and -1 alone
    except np.exceptions.TooHardError:
        return True


def base_of(value: Value) -> Value:
    """The value whose memory this one is seen through."""
    while value.kind == "view":
        value = value.inputs[0]
    return value


def offset_of(value: Value) -> int:
    """How many elements into its memory a value begins."""
    offset = 0
    while value.kind == "view":
        offset += value.options["offset"]
        value = value.inputs[0]
    return offset


def is_python_result(value: Value) -> bool:
    """Whether it is what a call of Python gives."""
    return value.kind == "call" or (value.kind == "part" and value.inputs[0].kind == "call")


def is_internal(value: Value) -> bool:
    """Whether its memory is the program's alone: in a stage, such an array overlaps no other."""
    return value.kind not in SOURCES and not is_python_result(value)


def reachable(values: Sequence[Value], wanted: Sequence[Value]) -> list[Value]:
    """Those of the values, in their order, that the wanted ones are made of."""
    found: set[int] = set()
    stack = list(wanted)
    while stack:
        value = stack.pop()
        if id(value) not in found:
            found.add(id(value))
            stack += value.values()
    return [value for value in values if id(value) in found]


def exact(x: Any) -> Any:
    """A key that is equal for values that give the same results, and for no others.

    `==` is not enough for that: 0.0 == -0.0, 1 == True == 1.0, and NaN is not equal to itself.
    """
    kind = type(x)
    if kind is bool or kind is int or x is None:
        return kind, x
    if kind is float:
        return (kind, x) if x and x == x else (kind, repr(x))
    if isinstance(x, (tuple, frozenset)):
        return kind, kind(map(exact, x)) if kind in (tuple, frozenset) else tuple(map(exact, x))
    if isinstance(x, slice):
        return kind, exact(x.start), exact(x.stop), exact(x.step)
    if isinstance(x, np.generic):
        return kind, x.dtype, x.tobytes()
    if isinstance(x, (float, complex)):  # and their subclasses
        return kind, repr(x)
    dataclass_options = getattr(kind, "__dataclass_params__", None)
    if dataclass_options is not None and dataclass_options.frozen and dataclass_options.eq:
        return kind, *(exact(getattr(x, field.name)) for field in fields(x) if field.compare)
    return kind, x
