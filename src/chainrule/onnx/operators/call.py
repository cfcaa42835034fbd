"""What the functions of operators use: `Call`, with the node's attributes, and helpers for values.

A value is a Tensor or an array. No gradient flows through an array: it is a constant, a shape, or the result of an
integer operator. The operations of `chainrule.ops` take both. `array` converts a Tensor to an array for NumPy's
functions; it refuses a Tensor that is being differentiated, so that no gradient is lost silently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from chainrule.onnx.errors import UnsupportedError
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Operator = Any
"""Maps a `Call` and the node's inputs, None for those left out, to the output or a tuple of outputs."""

TYPES = {
    getattr(TensorProto, name): np.dtype(kind)
    for name, kind in {
        "FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BOOL": "bool",
        **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    }.items()
}  # fmt: skip
"""The types that values can have, by ONNX's numbers."""


def dtype_of(number: int, what: str) -> np.dtype[Any]:
    """Return the NumPy type for ONNX's number of a type.

    Raises:
        UnsupportedError: values cannot have this type; the message begins with `what`.
    """
    if number not in TYPES:
        try:
            name = TensorProto.DataType.Name(number).lower()
        except ValueError:
            name = f"number {number}, which ONNX does not define"
        raise UnsupportedError(
            f"{what}: the type {name} is not supported; there are {', '.join(map(str, TYPES.values()))}"
        )
    return TYPES[number]


class Call:
    """One node of a graph.

    Args:
        node: the node.
        opset: the version of its operator.

    Attributes:
        name: the operator.
        label: for messages: the operator, and the node's name if it has one.
    """

    def __init__(self, node: Any, opset: int) -> None:
        self.name, self.opset = node.op_type, opset
        self.label = f"{node.op_type} {node.name!r}" if node.name else node.op_type
        self.outputs = [*node.output]
        self._attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            self._attributes[attribute.name] = self._read(attribute)
        self._unread = {*self._attributes}

    def _read(self, attribute: Any) -> Any:
        if attribute.ref_attr_name:
            self.refuse(f"the attribute {attribute.name} refers to a function's attribute")
        if attribute.type == AttributeProto.TENSOR:
            return read_tensor(attribute.t, self.label)
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            self.refuse("graphs inside nodes are not supported")
        if attribute.type not in _PLAIN:
            self.refuse(f"the attribute {attribute.name} has a type that is not supported")
        value = helper.get_attribute_value(attribute)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default if the node does not have it."""
        self._unread.discard(name)
        return self._attributes.get(name, default)

    def ints(self, name: str, default: Any = None) -> Any:
        """Return an attribute that is a list of integers as a tuple."""
        value = self.get(name, default)
        return value if value is None else tuple(value)

    def check_attributes(self) -> None:
        """Refuse attributes that the operator's function has not read: they would change the result."""
        if self._unread:
            self.refuse(
                f"the attribute {', '.join(sorted(self._unread))} is not supported in operator version {self.opset}"
            )

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the node: `reason` says what is not supported."""
        raise UnsupportedError(f"{self.label}: {reason}")

    def choose(self, name: str, default: str, *choices: str) -> str:
        """Return an attribute that is the default or one of the choices, and refuse any other."""
        value: str = self.get(name, default)
        if value not in (default, *choices):
            self.refuse(f"{name}={value!r} is not supported")
        return value


_PLAIN = {
    AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING, AttributeProto.FLOATS, AttributeProto.INTS,
    AttributeProto.STRINGS,
}  # fmt: skip


def read_tensor(tensor: Any, what: str) -> NDArray[Any]:
    """Return the array of a tensor in a file, checked.

    Raises:
        UnsupportedError: its type is not supported.
        ValueError: its shape is negative, or does not fit the number of its elements.
    """
    dtype = dtype_of(tensor.data_type, what)
    shape = tuple(tensor.dims)
    if min(shape, default=0) < 0:
        raise ValueError(f"{what}: a tensor has the shape {shape}")
    array = numpy_helper.to_array(tensor)  # raises ValueError if the numbers do not fit the shape
    return np.array(array, dtype.newbyteorder("="))


def array(x: Any) -> NDArray[Any]:
    """Return a value as an array; a Tensor that is being differentiated refuses (`Tensor.__array__`)."""
    return np.asarray(x)


def detached(x: Any) -> NDArray[Any]:
    """Return a value as an array, for results that have no gradient, such as positions."""
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def integers(x: Any) -> list[int]:
    """Return a value that holds integers as a list."""
    return [int(n) for n in np.atleast_1d(detached(x)).tolist()]


def axes_of(call: Call, axes: Any, ndim: int) -> list[int] | None:
    """Return axes, from an attribute in older versions or an input in newer ones, as non-negative numbers."""
    numbers = call.ints("axes") if axes is None else integers(axes)
    return None if numbers is None else [wrap(call, axis, ndim) for axis in numbers]


def wrap(call: Call, axis: int, ndim: int) -> int:
    """Return an axis as a non-negative number."""
    if not -ndim <= axis < max(ndim, 1):
        raise ValueError(f"{call.label}: axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim if ndim else 0


def is_float(x: Any) -> bool:
    """Whether a value holds floats."""
    return bool(x.dtype.kind == "f")


def plain_operator(function: Callable[..., Any]) -> Operator:
    """Return the operator of a function that takes the inputs and no attributes."""
    return lambda call, *inputs: function(*inputs)


def numpy_operator(function: Callable[..., Any]) -> Operator:
    """Return the operator of a NumPy function that takes the inputs and no attributes."""
    return lambda call, *inputs: function(*map(array, inputs))
