"""Tracers: stand-ins for arrays, which record the NumPy functions that are called with them.

A formula of `chainrule.ops` called with Tracers runs unchanged. NumPy's protocols dispatch each function that it calls
to this file, where the function is computed once, for this call's example values, and recorded for all later calls.
Code that cannot be recorded, because it depends on a value or calls a function that this file does not record, raises
`Untraceable`. Inside an operation, this exception turns the operation into a Python call of the program; in the user's
own code, it is an error.

This file decides what is recorded; `recorder` adds it to the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.mixins import NDArrayOperatorsMixin

from chainrule.errors import LeakedTracerError
from chainrule.kernels.memory import writable_diagonal
from chainrule.kernels.special import erf
from chainrule.lower.graph import axes_in_order, copy_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.lower.graph import Value
    from chainrule.lower.recorder import Recorder

ELEMENTWISE = frozenset({
    np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.power, np.exp, np.expm1, np.log, np.log1p,
    np.log2, np.sqrt, np.square, np.reciprocal, np.tanh, np.sin, np.cos, np.tan, np.arctan, np.sinh, np.cosh,
    np.absolute, np.sign, np.floor, np.ceil, np.trunc, np.rint, np.maximum, np.minimum, np.equal, np.not_equal, np.less,
    np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not, np.bitwise_and,
    np.bitwise_or, np.invert, np.isfinite, np.isnan, np.logaddexp, np.exp2, np.log10, np.arcsin, np.arccos, np.arcsinh,
    np.arccosh, np.arctanh, np.fmod, np.remainder, np.floor_divide, np.isinf, np.logical_xor, np.bitwise_xor,
})  # fmt: skip
"""Ufuncs that are recorded elementwise. Each needs its formula in `lower.loops.FORMULAS`. (FORMULAS also has np.where,
casts and `special.erf`, which are not ufuncs.)"""
REDUCTIONS = {np.add: "sum", np.maximum: "max", np.minimum: "min"}
"""Ufuncs whose `reduce` method is recorded, with the name of the reduction."""


class Untraceable(Exception):  # noqa: N818  # not always an error
    """The formula depends on values, not only on shapes and types, or uses a function that cannot be recorded."""


class Scalar:
    """A number that may change from call to call, such as a learning rate. `capture` and `eager` subclass it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


MIN_FREED_BYTES = 65_536
"""Examples of at least this size are freed during tracing, once no Tracer stands for their value."""


class Tracer(NDArrayOperatorsMixin):
    """A stand-in for an array in the trace.

    Attributes:
        value: the Value that it stands for. An in-place change replaces it by a different Value.
        base: the Tracer that this one is a view of, as with arrays: an in-place change of either changes both. None if
            this Tracer is not a view.
        view_function: a NumPy function that computes this view from `base` and the arrays of `index_tracers`.
        index_tracers: the integers in the view's index that are not constants: the program computes them, or gets them
            as arguments.
    """

    __slots__ = ("_base_value", "_layout_array", "_value", "base", "index_tracers", "recorder", "view_function")

    def __init__(
        self, recorder: Recorder, value: Value, base: Tracer | None = None,
        view_function: Callable[..., Any] = np.asarray, index_tracers: tuple[Tracer, ...] = (),
    ) -> None:  # fmt: skip
        self.recorder, self._value, self.base = recorder, value, base
        self.view_function, self.index_tracers = view_function, index_tracers
        value.n_tracers += 1
        self._base_value = None if base is None else base.value
        # the layout, once it may differ from that of the value's example: an in-place change keeps an array's layout
        self._layout_array: NDArray[Any] | None = None

    def __del__(self) -> None:
        self._drop_value()

    def _drop_value(self) -> None:
        """Stop standing for the current value. If no Tracer is left, the recorder may free the value's example."""
        value = self._value
        value.n_tracers -= 1
        if not value.n_tracers and value.example.nbytes >= MIN_FREED_BYTES and not self.recorder.has_ended:
            self.recorder.unreferenced_values.append(value)

    @property
    def value(self) -> Value:
        """The Value that this Tracer currently stands for.

        Raises:
            LeakedTracerError: the trace has ended.
        """
        if self.recorder.has_ended:
            raise LeakedTracerError
        if self.base is not None and self.base.value is not self._base_value:  # the base was changed in place
            self._base_value = self.base.value
            self._set_value(self.recorder.refresh_view(self))
        return self._value

    @value.setter
    def value(self, value: Value) -> None:
        if self._layout_array is None:
            self._layout_array = self._value.example
        self._set_value(value)

    def _set_value(self, value: Value) -> None:
        value.n_tracers += 1
        self._drop_value()
        self._value = value

    @property
    def layout_array(self) -> NDArray[Any]:
        """An array with the layout and writability of the array that this Tracer stands in for.

        The layout decides which results are views and which are copies. The array's elements may be outdated;
        `value.example` has the current ones, but after an in-place change possibly in a different layout.

        Raises:
            LeakedTracerError: the trace has ended.
        """
        if self.recorder.has_ended:
            raise LeakedTracerError
        if self.base is not None:
            indices = [x.value.example for x in self.index_tracers]
            view: NDArray[Any] = self.view_function(self.base.layout_array, *indices)
            return view
        return self._value.example if self._layout_array is None else self._layout_array

    @layout_array.setter
    def layout_array(self, array: NDArray[Any]) -> None:
        self._layout_array = array

    # Known without the values

    shape = property(lambda self: self._value.shape)
    dtype = property(lambda self: self._value.dtype)
    ndim = property(lambda self: self._value.example.ndim)
    size = property(lambda self: self._value.size)
    itemsize = property(lambda self: self._value.example.itemsize)

    def __len__(self) -> int:
        return len(self.value.example)

    # Not known without the values

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Untraceable("the value of a tensor is needed")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __array__ = __contains__ = _refuse
    __format__ = __str__ = item = tolist = __dlpack__ = view = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise Untraceable(f"{name} of an array")

    # Recorded

    @staticmethod
    def __operation__(operation: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        for x in inputs:
            if _is_tensor(type(x)):  # Tensors record the operation for the derivative, then call it on Tracers
                return type(x).__operation__(operation, inputs, options)
        recorder = next(x.recorder for x in inputs if isinstance(x, Tracer))
        out = recorder.apply(operation, inputs, options)
        return out if operation.extra is None else out[0]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(_is_tensor(type(x)) for x in inputs):
            return NotImplemented  # NumPy then calls the Tensor's __array_ufunc__
        out = options.pop("out", (None,))[0]
        casting = options.pop("casting", "same_kind")
        if method == "reduce" and ufunc in REDUCTIONS and out is None:
            return _reduce(REDUCTIONS[ufunc])(self.recorder, *inputs, **options)
        if method != "__call__" or options:
            raise Untraceable(f"np.{ufunc.__name__}.{method}")
        if ufunc is np.matmul:
            result = self.recorder.matmul(*inputs)
        elif ufunc in ELEMENTWISE:
            result = self.recorder.elementwise(ufunc, *inputs)
        else:
            raise Untraceable(f"np.{ufunc.__name__}")
        if out is None:
            return result
        # raise the same errors as NumPy
        if not np.can_cast(result.dtype, out.dtype, casting):
            types = f"from {result.dtype!r} to {out.dtype!r} with casting rule {casting!r}"
            raise TypeError(f"Cannot cast ufunc {ufunc.__name__!r} output {types}")
        if np.broadcast_shapes(out.shape, result.shape) != out.shape:
            shapes = f"shape {out.shape} doesn't match the broadcast shape {result.shape}".replace(", ", ",")
            raise ValueError(f"non-broadcastable output operand with {shapes}")
        return self.recorder.assign(out, result)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: dict[str, Any]) -> Any:
        if any(_is_tensor(kind) for kind in types):
            return NotImplemented
        record = FUNCTIONS.get(function)
        if record is None:
            raise Untraceable(f"np.{function.__name__}")
        return record(self.recorder, *inputs, **options)

    def __getitem__(self, index: Any) -> Tracer:
        full_index = index if isinstance(index, tuple) else (index,)
        if not any(entry is ... for entry in full_index):
            full_index = (*full_index, ...)  # with `...`, NumPy returns a view even of a single element
        return self.recorder.record_view(self, lambda array: array[full_index])

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is not ...:
            change = ElementChange(_set_items, axes_in_order(self.value.example))
            value = self.recorder.add_call("a change of some elements", change, (self, value, index), {})
        self.recorder.assign(self, value)

    def astype(self, dtype: Any, copy: bool = True) -> Tracer:
        """Convert to a different type."""
        return self if self.dtype == dtype and not copy else self.recorder.cast(self, dtype)

    def copy(self, order: Any = "C") -> Tracer:
        """A new Tracer for the same value. Values are immutable, so no elements are copied."""
        copy = Tracer(self.recorder, self.value)
        copy.layout_array = np.empty_like(self.layout_array, order=order)
        return copy

    def reshape(self, *shape: Any) -> Tracer:
        """Change the shape."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)  # type: ignore[return-value]  # dispatched

    def transpose(self, *axes: Any) -> Tracer:
        """Permute the dimensions."""
        return self.recorder.record_view(self, lambda array: array.transpose(*axes))

    def swapaxes(self, first: int, second: int) -> Tracer:
        """Exchange two dimensions."""
        return self.recorder.record_view(self, lambda array: array.swapaxes(first, second))

    def sum(self, *inputs: Any, **options: Any) -> Tracer:
        """Sum over some dimensions."""
        return np.sum(self, *inputs, **options)  # type: ignore[no-any-return]  # dispatched to __array_function__

    T = property(lambda self: self.transpose())


def _is_tensor(kind: type) -> bool:
    """Whether a type is Tensor or a subclass.

    Tensors meet Tracers in a derivative that is itself differentiated: the gradient that it gets is a Tensor, the
    values saved for it are Tracers.
    """
    return kind is not Tracer and hasattr(kind, "__operation__")


@dataclass(frozen=True)
class ElementChange:
    """A Python call that copies an array and changes some elements of the copy.

    If the array is external memory whose old elements are not needed any more, `capture.trace.Trace.finish` drops this
    call from the graph; instead, `write` changes the memory itself after each run.

    Attributes:
        write: changes an array in place; called with the array, the new elements, and the index.
        axes: the copy's dimensions in memory order.
    """

    write: Callable[..., None]
    axes: Sequence[int]

    def __call__(self, array: NDArray[Any], *inputs: Any) -> NDArray[Any]:
        """Return the changed copy."""
        out = copy_in_order(array, self.axes)
        self.write(out, *inputs)
        return out


def _set_items(array: NDArray[Any], value: Any, index: Any) -> None:
    array[index] = value


def _reduce(op: str) -> Any:
    """The function that records np.sum, np.max or np.min; `op` is "sum", "max" or "min"."""

    def record(
        recorder: Recorder, x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False,
        initial: Any = None, where: Any = None,
    ) -> Tracer:  # fmt: skip
        if out is not None or (where is not None and where is not np._NoValue):
            raise Untraceable(f"np.{op} with out or where")
        x = recorder.as_tracer(x)
        x = x if dtype is None or x.dtype == dtype else recorder.cast(x, dtype)
        if op == "sum" and x.dtype.kind in "biu" and x.dtype != np.int64:
            x = recorder.cast(x, np.int64)
        initial = None if initial is np._NoValue else initial
        axes = tuple(range(x.ndim)) if axis is None else tuple(sorted(normalize_axis_tuple(axis, x.ndim or 1)))
        axes = axes if x.ndim else ()
        if op != "sum" and x.dtype.kind == "b":
            return record(recorder, x.astype(np.uint8), axis, None, None, keepdims, initial).astype(np.bool_)
        function: Any = {"sum": np.sum, "max": np.max, "min": np.min}[op]
        initial_option = {} if op == "sum" or 0 not in x.shape else {"initial": initial}
        example = function(x.value.example, axis=axes, keepdims=keepdims, **initial_option)
        result = recorder.add_value("reduce", op, (x.value,), example, axes=axes, keepdims=bool(keepdims))
        # a sum of integers was computed in int64, so it may have to be converted
        result = result if dtype is None or result.dtype == dtype else recorder.cast(result, dtype)
        if initial is None or initial == {"sum": 0, "max": -np.inf, "min": np.inf}[op]:
            return result
        return {"sum": np.add, "max": np.maximum, "min": np.minimum}[op](result, initial)  # type: ignore[no-any-return]

    return record


def _mean(_: Recorder, x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    total = np.sum(x, axis=axis, dtype=dtype, out=out, keepdims=keepdims)
    return total / (x.size // max(1, total.size) or np.nan)


def _any(_: Recorder, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sum(x != 0, axis=axis, keepdims=keepdims) != 0


def _all(_: Recorder, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sum(x == 0, axis=axis, keepdims=keepdims) == 0


def _round(_: Recorder, x: Any, decimals: int = 0) -> Any:
    if x.dtype.kind != "f" or abs(decimals) > 22:  # larger powers of ten are not exact
        raise Untraceable(f"np.round of {x.dtype} to {decimals} decimals")
    factor = 10.0 ** abs(decimals)
    return np.rint(x * factor) / factor if decimals >= 0 else np.rint(x / factor) * factor


def _where(recorder: Recorder, condition: Any, x: Any, y: Any) -> Tracer:
    return recorder.elementwise(np.where, condition, x, y)


def _clip(recorder: Recorder, x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _constant_like(number: int) -> Any:
    return lambda recorder, x, **options: recorder.add_array(np.full_like(x.value.example, number, **options))


def _view_function(function: Any) -> Any:
    return lambda recorder, x, *args, **options: recorder.record_view(
        x, lambda array: function(array, *args, **options)
    )


def _from_example(function: Any) -> Any:
    """Record nothing: `function` depends on shapes and types only, so it is called with the example arrays."""
    return lambda _, *inputs: function(*(x.value.example if isinstance(x, Tracer) else x for x in inputs))


FUNCTIONS: dict[Any, Any] = {
    np.sum: _reduce("sum"), np.max: _reduce("max"), np.min: _reduce("min"), np.mean: _mean,
    np.any: _any, np.all: _all, np.round: _round,
    np.where: _where, np.clip: _clip, erf: lambda recorder, x: recorder.elementwise(erf, x),
    np.zeros_like: _constant_like(0), np.ones_like: _constant_like(1), np.empty_like: _constant_like(0),
    np.copy: lambda _, x, order="K": x.copy(order),
    **{f: _view_function(f) for f in (
        np.reshape, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.ravel,
    )},
    np.diagonal: _view_function(writable_diagonal),
    **{f: _from_example(f) for f in (np.shape, np.ndim, np.size, np.result_type)},
}  # fmt: skip
"""For each NumPy function, and `erf`, the function that records it, called with the recorder and the arguments. An
operation that uses a NumPy function missing here, or a ufunc that `Tracer.__array_ufunc__` does not record, becomes a
Python call."""
