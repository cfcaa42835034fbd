"""Symbols: stand-ins for arrays, which write a node for each NumPy function that is called with them.

A formula of `chainrule.ops` runs unchanged on symbols: NumPy's protocols dispatch each function that it calls to the
tables below, which hold the node's operator, or express the function by other NumPy functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.mixins import NDArrayOperatorsMixin
from onnx import helper

from chainrule.capture.frames import at_user_line
from chainrule.onnx.errors import OnnxError, UnsupportedError
from chainrule.onnx.graph import Constant, Graph, Sizes, int64
from chainrule.ops.indexing import getitem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from chainrule.onnx.graph import Operand


class Symbol(NDArrayOperatorsMixin):
    """A value of the graph: an input, the result of a node, or a constant.

    Attributes:
        writer: writes the nodes.
        operand: the value's name, or the constant.
        example: the array that the symbol stands for in this trace.
    """

    __slots__ = ("example", "operand", "writer")
    base = None  # never a view

    def __init__(self, writer: Writer, operand: str | Constant, example: NDArray[Any]) -> None:
        self.writer, self.operand, self.example = writer, operand, example

    is_constant = property(lambda self: isinstance(self.operand, Constant))
    shape = property(lambda self: self.example.shape)
    dtype = property(lambda self: self.example.dtype)
    ndim = property(lambda self: self.example.ndim)
    size = property(lambda self: self.example.size)
    itemsize = property(lambda self: self.example.itemsize)

    def __len__(self) -> int:
        return len(self.example)

    @property
    def layout_array(self) -> NoReturn:
        """The array whose memory layout tells whether it may be changed in place.

        Raises:
            OnnxError: always: the values of a graph cannot be changed.
        """
        raise OnnxError(f"export: a tensor is changed in place{at_user_line()}, which ONNX cannot express")

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnsupportedError("the values of an array")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __array__ = __contains__ = _refuse
    item = tolist = __dlpack__ = _refuse

    @staticmethod
    def __operation__(operation: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        writer = next(x.writer for x in inputs if isinstance(x, Symbol))
        return writer.apply(operation, inputs, options)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            raise UnsupportedError(f"np.{ufunc.__name__}.{method}")
        return self.writer.ufunc(ufunc, *inputs)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: dict[str, Any]) -> Any:
        if function not in FUNCTIONS:
            raise UnsupportedError(f"np.{function.__name__}")
        return FUNCTIONS[function](self.writer, *inputs, **options)

    def __getitem__(self, index: Any) -> Symbol:
        return self.writer.apply(getitem, (self,), {"index": index})

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Symbol:
        """Convert to another type."""
        return self.writer.cast(self, dtype)

    def reshape(self, *shape: Any) -> Symbol:
        """Change the shape."""
        return self.writer.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Symbol:
        """Permute the dimensions."""
        return self.writer.transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def swapaxes(self, first: int, second: int) -> Symbol:
        """Exchange two dimensions."""
        return _swapaxes(self.writer, self, first, second)

    T = property(lambda self: self.transpose())


class Writer:
    """Writes the nodes of a trace.

    Attributes:
        graph: the nodes so far.
    """

    def __init__(self, opset: int) -> None:
        self.graph = Graph(opset)

    def apply(self, operation: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Symbol:
        """Write an operation on symbols, arrays and numbers; implemented by `trace.Trace`."""
        raise NotImplementedError

    @property
    def opset(self) -> int:
        """The version of the operators to write."""
        return self.graph.opset

    def as_constant(self, array: Any) -> Symbol:
        """Return the symbol of a constant."""
        array = np.asarray(array)
        return Symbol(self, Constant(array), array)

    def node(self, op_type: str, *inputs: Any, example: Any = None, **attributes: Any) -> Symbol:
        """Write a node with one result.

        Args:
            op_type: the operator.
            inputs: symbols, arrays, sizes, or "" for an input that is left out.
            example: the result in this trace; None if nothing reads it.
            attributes: the operator's attributes; those that are None are left out.
        """
        return self.nodes(op_type, *inputs, examples=[example], **attributes)[0]

    def nodes(self, op_type: str, *inputs: Any, examples: Sequence[Any], **attributes: Any) -> list[Symbol]:
        """Write a node with several results; see `node`."""
        operands: list[Operand] = [
            x.operand if isinstance(x, Symbol) else x if isinstance(x, (str, Sizes)) else Constant(np.asarray(x))
            for x in inputs
        ]
        present = {name: value for name, value in attributes.items() if value is not None}
        names = self.graph.add(op_type, operands, present, at_user_line(), len(examples))
        return [Symbol(self, name, example) for name, example in zip(names, examples, strict=True)]

    def cast(self, x: Symbol, dtype: DTypeLike) -> Symbol:
        """Convert to a type; return the symbol itself if it has that type already."""
        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        with np.errstate(all="ignore"):
            example = x.example.astype(dtype)
        if x.is_constant:
            return self.as_constant(example)
        return self.node("Cast", x, example=example, to=int(helper.np_dtype_to_tensor_dtype(dtype)))

    def as_symbol(self, x: Any, dtype: Any) -> Symbol:
        """Return a symbol, an array or a number as a symbol of a type."""
        return self.cast(x, dtype) if isinstance(x, Symbol) else self.as_constant(np.asarray(x, dtype))

    def ufunc(self, ufunc: np.ufunc, *inputs: Any) -> Symbol:
        """Write a NumPy ufunc."""
        inputs = tuple(x.item() if isinstance(x, np.generic) else x for x in inputs)
        examples = [x.example if isinstance(x, Symbol) else x for x in inputs]
        with np.errstate(all="ignore"):
            example = np.asarray(ufunc(*examples))
        if all(x.is_constant for x in inputs if isinstance(x, Symbol)):
            return self.as_constant(example)
        if ufunc is np.matmul:
            return self.node("MatMul", *inputs, example=example)
        if ufunc in _LOGICAL:
            dtype: Any = np.dtype(bool)
        elif example.dtype.kind == "b":
            dtype = np.result_type(*(x if isinstance(x, (bool, int, float)) else x.dtype for x in examples))
        else:
            dtype = example.dtype
        if dtype.kind == "b":
            ufunc = _ON_BOOLEANS.get(ufunc, ufunc)
            dtype = np.dtype(np.int32) if ufunc in _ORDERS else dtype  # ONNX orders only numbers
        symbols = [self.as_symbol(x, dtype) for x in inputs]
        if dtype.kind != "f" and ufunc in _ROUNDINGS:
            return symbols[0]
        if ufunc not in UFUNCS:
            raise UnsupportedError(f"np.{ufunc.__name__}")
        write = UFUNCS[ufunc]
        return self.node(write, *symbols, example=example) if isinstance(write, str) else write(self, *symbols)

    def reduce(self, op_type: str, x: Symbol, axis: Any, keepdims: bool, example: Any) -> Symbol:
        """Write a reduction over some dimensions, or over all if `axis` is None."""
        axes = None if axis is None else normalize_axis_tuple(axis, x.ndim or 1) if x.ndim else ()
        if axes == () or not x.ndim:
            return x
        options: dict[str, Any] = {"example": example, "keepdims": int(keepdims)}
        if self.opset < 18 and op_type != "ReduceSum":
            return self.node(op_type, x, axes=axes, **options)
        return self.node(op_type, x, *([] if axes is None else [int64(*axes)]), **options)

    def reshape(self, x: Symbol, shape: Any) -> Symbol:
        """Write a change of shape."""
        example = np.reshape(x.example, shape)
        if x.is_constant:
            return self.as_constant(example)
        if example.shape == x.shape:
            return x
        return self.node("Reshape", x, Sizes(example.shape, x.shape), example=example)

    def transpose(self, x: Symbol, axes: Any = None) -> Symbol:
        """Write a permutation of the dimensions."""
        example = np.transpose(x.example, axes)
        if x.is_constant:
            return self.as_constant(example)
        perm = [d % x.ndim for d in axes] if axes is not None else [*range(x.ndim)][::-1]
        return x if perm == [*range(x.ndim)] else self.node("Transpose", x, example=example, perm=perm)

    def expand(self, x: Symbol, shape: Sequence[int]) -> Symbol:
        """Write a broadcast to a shape."""
        example = np.broadcast_to(x.example, shape)
        if example.shape == x.shape:
            return x
        sizes = (1,) * (example.ndim - x.ndim) + x.shape
        # a size of 1 keeps the size of the input
        pairs = zip(example.shape, sizes, strict=True)
        return self.node("Expand", x, Sizes(tuple([1 if n == size else n for n, size in pairs])), example=example)


def _composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return how to write a ufunc that is expressed by other NumPy functions."""
    return lambda _, *symbols: function(*symbols)


def _floor_divide(writer: Writer, x: Symbol, y: Symbol) -> Symbol:
    if x.dtype.kind == "f":  # x / y may be rounded up to an integer, as in 1.0 // 0.1, so the rest is subtracted first
        rest = np.fmod(x, y)
        whole = np.rint((x - rest) / y) - writer.cast(_is_opposite(rest, y), x.dtype)
        return np.where(y == 0, x / y, whole)  # type: ignore[no-any-return]
    quotient = writer.node("Div", x, y, example=np.trunc(x.example / y.example).astype(x.dtype))
    if x.dtype.kind == "u":
        return quotient
    is_rounded_up = (quotient * y != x) & ((x < 0) != (y < 0))  # Div rounds toward zero
    return quotient - writer.cast(is_rounded_up, x.dtype)  # type: ignore[no-any-return]


def _is_opposite(rest: Any, y: Any) -> Any:
    """Whether the rest of a division that rounds toward zero has not the sign of the divisor."""
    return (rest != 0) & ((rest < 0) != (y < 0))


def _remainder(x: Any, y: Any) -> Any:
    if x.dtype.kind != "f":
        return x - np.floor_divide(x, y) * y
    rest = np.fmod(x, y)
    return np.where(_is_opposite(rest, y), rest + y, rest)


def _not_equal(writer: Writer, x: Symbol, y: Symbol) -> Symbol:
    return np.logical_not(x == y)  # type: ignore[no-any-return]


def _trunc(x: Any) -> Any:
    return np.sign(x) * np.floor(np.absolute(x))


def _logaddexp(x: Any, y: Any) -> Any:
    difference = np.where(x == y, 0, x - y)  # 0 for equal infinities, too
    return np.maximum(x, y) + np.log1p(np.exp(-np.absolute(difference)))


def _expm1(x: Any) -> Any:
    """Write eˣ - 1, near 0 by Kahan's formula, in which the rounding error of eˣ cancels."""
    power = np.exp(x)
    near_0 = np.where(power == 1, x, (power - 1) * x / np.log(power))
    return np.where(np.absolute(x) > 1, power - 1, near_0)


def _log1p(x: Any) -> Any:
    """Write ln(1 + x), near 0 by Kahan's formula, in which the rounding error of 1 + x cancels."""
    total = x + 1
    near_0 = np.where(total == 1, x, np.log(total) * x / (total - 1))
    return np.where(np.absolute(x) > 1, np.log(total), near_0)


def _is_finite(writer: Writer, x: Symbol) -> Symbol:
    if x.dtype.kind != "f":
        return x == x  # type: ignore[no-any-return]  # all True
    return np.absolute(x) <= np.finfo(x.dtype).max  # type: ignore[no-any-return]  # false for NaN, too


def _is_nan(writer: Writer, x: Symbol) -> Symbol:
    return writer.node("IsNaN", x, example=np.isnan(x.example)) if x.dtype.kind == "f" else x != x


def _is_inf(writer: Writer, x: Symbol) -> Symbol:
    if x.dtype.kind != "f":
        return x != x  # type: ignore[no-any-return]  # all False
    return np.absolute(x) == np.inf  # type: ignore[no-any-return]


def _bitwise(logical: str, on_integers: str) -> Callable[..., Symbol]:
    """Return how to write a bitwise operation, which is a logical one for booleans."""

    def write(writer: Writer, *symbols: Symbol) -> Symbol:
        functions: Any = {"And": np.bitwise_and, "Or": np.bitwise_or, "Xor": np.bitwise_xor, "Not": np.invert}
        example = functions[logical](*(x.example for x in symbols))
        is_boolean = symbols[0].dtype.kind == "b"
        if not is_boolean and writer.opset < 18:
            raise UnsupportedError(f"{on_integers} of integers, which needs opset 18")
        return writer.node(logical if is_boolean else on_integers, *symbols, example=example)

    return write


_LOGICAL = frozenset({np.logical_and, np.logical_or, np.logical_not, np.logical_xor})

_ON_BOOLEANS: dict[Any, Any] = {
    np.add: np.logical_or, np.multiply: np.logical_and, np.maximum: np.logical_or, np.minimum: np.logical_and,
    np.absolute: np.trunc,
}  # fmt: skip
"""What a ufunc that ONNX has for numbers only does to booleans."""

_ORDERS = frozenset({np.less, np.less_equal, np.greater, np.greater_equal})

_ROUNDINGS = frozenset({np.floor, np.ceil, np.trunc})
"""Ufuncs that leave integers and booleans as they are."""

UFUNCS: dict[Any, str | Callable[..., Any]] = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.true_divide: "Div", np.negative: "Neg",
    np.power: "Pow", np.exp: "Exp", np.log: "Log", np.sqrt: "Sqrt", np.tanh: "Tanh", np.sin: "Sin", np.cos: "Cos",
    np.tan: "Tan", np.arcsin: "Asin", np.arccos: "Acos", np.arctan: "Atan", np.sinh: "Sinh", np.cosh: "Cosh",
    np.arcsinh: "Asinh", np.arccosh: "Acosh", np.arctanh: "Atanh", np.absolute: "Abs", np.sign: "Sign",
    np.floor: "Floor", np.ceil: "Ceil", np.rint: "Round", np.maximum: "Max", np.minimum: "Min", np.equal: "Equal",
    np.less: "Less", np.less_equal: "LessOrEqual", np.greater: "Greater", np.greater_equal: "GreaterOrEqual",
    np.logical_and: "And", np.logical_or: "Or", np.logical_not: "Not", np.logical_xor: "Xor", np.isnan: _is_nan,
    np.isfinite: _is_finite, np.isinf: _is_inf, np.not_equal: _not_equal, np.floor_divide: _floor_divide,
    np.square: _composed(lambda x: x * x),
    np.reciprocal: "Reciprocal",
    np.expm1: _composed(_expm1),
    np.log1p: _composed(_log1p),
    np.exp2: _composed(lambda x: np.power(2.0, x)),
    np.log2: _composed(lambda x: np.log(x) / math.log(2)),
    np.log10: _composed(lambda x: np.log(x) / math.log(10)),
    np.logaddexp: _composed(_logaddexp),
    np.trunc: _composed(_trunc),
    np.fmod: lambda writer, x, y: writer.node("Mod", x, y, example=np.fmod(x.example, y.example), fmod=1),
    np.remainder: _composed(_remainder),
    np.bitwise_and: _bitwise("And", "BitwiseAnd"),
    np.bitwise_or: _bitwise("Or", "BitwiseOr"),
    np.bitwise_xor: _bitwise("Xor", "BitwiseXor"),
    np.invert: _bitwise("Not", "BitwiseNot"),
}  # fmt: skip
"""Each ufunc's operator, or a function of the writer and the symbols, which all have the same type."""


def _reduction(function: Any, op_type: str) -> Callable[..., Symbol]:
    """Return how to write np.sum, np.max, np.min, np.mean or np.prod."""

    def write(
        writer: Writer, x: Symbol, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = None, where: Any = None,
    ) -> Symbol:  # fmt: skip
        neutral = {np.max: -np.inf, np.min: np.inf}.get(function)
        if out is not None or where not in (None, np._NoValue) or initial not in (None, np._NoValue, neutral):
            raise UnsupportedError(f"np.{function.__name__} with out, where or initial")
        keepdims = bool(keepdims) and keepdims is not np._NoValue
        axis = axis if x.ndim else None
        options = {"axis": axis, "keepdims": keepdims} | ({} if dtype is None else {"dtype": dtype})
        example = np.asarray(function(x.example, **options))
        return writer.reduce(op_type, writer.cast(x, example.dtype), axis, keepdims, example)

    return write


def _boolean_reduction(function: Any, op_type: str) -> Callable[..., Symbol]:
    """Return how to write np.any or np.all, as the maximum or minimum of zeros and ones."""

    def write(writer: Writer, x: Symbol, axis: Any = None, keepdims: Any = False) -> Symbol:
        keepdims = bool(keepdims) and keepdims is not np._NoValue
        example = np.asarray(function(x.example, axis=axis, keepdims=keepdims))
        bits = writer.cast(writer.cast(x, bool), np.int32)
        return writer.cast(writer.reduce(op_type, bits, axis, keepdims, example.astype(np.int32)), bool)

    return write


def _where(writer: Writer, condition: Any, x: Any, y: Any) -> Symbol:
    examples = [v.example if isinstance(v, Symbol) else v for v in (condition, x, y)]
    example = np.asarray(np.where(*examples))
    arrays = [v for v in (condition, x, y) if isinstance(v, Symbol)]
    if all(v.is_constant for v in arrays):
        return writer.as_constant(example)
    operands = [writer.as_symbol(v, example.dtype) for v in (x, y)]
    return writer.node("Where", writer.as_symbol(condition, bool), *operands, example=example)


def _clip(writer: Writer, x: Any, low: Any = None, high: Any = None, **bounds: Any) -> Any:
    low, high = bounds.get("min", low), bounds.get("max", high)
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _filled_like(number: float) -> Callable[..., Symbol]:
    def write(writer: Writer, x: Symbol, dtype: Any = None) -> Symbol:
        scalar = writer.as_constant(np.asarray(number, dtype or x.dtype))
        return writer.expand(scalar, x.shape)

    return write


def _swapaxes(writer: Writer, x: Symbol, first: int, second: int) -> Symbol:
    axes = [*range(x.ndim)]
    axes[first], axes[second] = axes[second], axes[first]
    return writer.transpose(x, axes)


def _round(writer: Writer, x: Symbol, decimals: int = 0) -> Any:
    if x.dtype.kind != "f":
        return x
    factor = 10.0 ** abs(decimals)  # a negative power would not be exact
    if decimals < 0:
        return np.rint(x / factor) * factor
    return np.rint(x * factor) / factor if decimals else np.rint(x)


def _by_shape(function: Any) -> Callable[..., Symbol]:
    """Return how to write a function that changes the shape only, such as np.expand_dims."""
    return lambda writer, x, *args, **options: writer.reshape(x, function(x.example, *args, **options).shape)


def _from_example(function: Any) -> Callable[..., Any]:
    """Return a function that computes its result from the examples: it depends on shapes and types only."""
    return lambda _, *inputs: function(*(x.example if isinstance(x, Symbol) else x for x in inputs))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(np.sum, "ReduceSum"), np.mean: _reduction(np.mean, "ReduceMean"),
    np.max: _reduction(np.max, "ReduceMax"), np.min: _reduction(np.min, "ReduceMin"),
    np.prod: _reduction(np.prod, "ReduceProd"),
    np.any: _boolean_reduction(np.any, "ReduceMax"), np.all: _boolean_reduction(np.all, "ReduceMin"),
    np.where: _where, np.clip: _clip, np.round: _round,
    np.zeros_like: _filled_like(0), np.ones_like: _filled_like(1),
    np.reshape: lambda writer, x, shape: writer.reshape(x, shape),
    np.transpose: lambda writer, x, axes=None: writer.transpose(x, axes),
    np.broadcast_to: lambda writer, x, shape: writer.expand(x, shape),
    np.swapaxes: _swapaxes, np.copy: lambda _, x: x, np.ascontiguousarray: lambda _, x: x,
    np.expand_dims: _by_shape(np.expand_dims), np.squeeze: _by_shape(np.squeeze), np.ravel: _by_shape(np.ravel),
    **{f: _from_example(f) for f in (np.shape, np.ndim, np.size, np.result_type)},
}  # fmt: skip
"""The function that writes each NumPy function."""
