"""The recorder: builds the graph of the NumPy functions that are called with Tracers.

`Recorder` handles arrays only. The subclass in `capture.trace` adds what else a training step uses: Tensors,
parameters, optimizers. The subclass in `eager` records single operations.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.tree import computes_with
from chainrule.lower.graph import INPUT_KINDS, Value, axes_in_order, base_of, copy_in_order, dense, exact_key
from chainrule.lower.kernel_call import blas_layout
from chainrule.lower.loops import FLOATS_ONLY
from chainrule.lower.tracer import Scalar, Tracer, Untraceable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray


class Recorder:
    """Builds the graph of one traced call.

    Attributes:
        values: all values, in the order in which they were added.
        cached_values: the values of steps, by the operation and its inputs, so that equal steps are computed once.
        has_ended: whether the traced function has returned. Its Tracers cannot be used afterwards.
        depends_on_order: whether the function changes computed arrays in place. The memory order of its arguments then
            matters, because it decides which arrays are views of others, and which are copies.
        unreferenced_values: large values that have lost their last Tracer; `free_examples` frees their examples.
    """

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.cached_values: dict[Any, Value] = {}
        self.has_ended = self.depends_on_order = False
        self.unreferenced_values: list[Value] = []

    # Overridden by subclasses

    def capture_array(self, array: NDArray[Any]) -> Tracer:
        """The Tracer of external memory. This class only supports arrays that nothing changes."""
        return self.add_array(array)

    def scalar_index(self, scalar: Scalar) -> int:
        """The index of a scalar among the program's scalars. This class supports no scalars."""
        raise NotImplementedError

    def depend_on_types(self, scalars: Iterable[Scalar]) -> None:
        """Record that the result's type depends on the types of these scalars. This class supports no scalars."""

    def add_call(self, name: str, function: Callable[..., Any], inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """Add a Python call: each run of the program calls `function` with arrays.

        Raises:
            Untraceable: this recorder does not support them.
        """
        raise Untraceable(f"a Python call: {name}")

    def apply(self, operation: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """Apply an operation's formula to Tracers."""
        return operation.formula(*inputs, **options)

    def assign(self, out: Any, result: Any) -> Any:
        """Record an in-place change: from now on `out` stands for the result.

        Raises:
            Untraceable: this recorder does not support it.
        """
        raise Untraceable("a change in place")

    # Adding values

    def add_value(self, kind: str, op: Any, inputs: Sequence[Any], example: Any, **options: Any) -> Tracer:
        """Add a value, or reuse an equal one. Return its Tracer. `example` is the array in the traced call.

        Raises:
            Untraceable: kernels cannot compute with the type of the value or of an input.
        """
        example = np.asarray(example)
        if kind in ("elementwise", "reduce", "matmul"):
            for dtype in (example.dtype, *(x.dtype for x in inputs if isinstance(x, Value))):
                if not computes_with(dtype):
                    raise Untraceable(f"arithmetic in {dtype}")
        if kind != "view":
            example = dense(example)
        key = None
        if kind in ("elementwise", "reduce", "matmul", "view"):  # common subexpressions are computed once
            input_keys = tuple(
                id(x) if isinstance(x, Value) else ("S", x[1]) if isinstance(x, tuple) else exact_key(x) for x in inputs
            )
            # a view is determined by its shape, strides and offset; its function has no useful key
            option_keys = tuple(sorted((name, option) for name, option in options.items() if name != "view"))
            key = (kind, op, input_keys, example.shape, example.strides, example.dtype, option_keys)
            if key in self.cached_values:
                self.cached_values[key].example = example  # its elements may have been freed
                return Tracer(self, self.cached_values[key])
        value = Value(kind, op, tuple(inputs), example, options)
        self.values.append(value)
        if key is not None:
            self.cached_values[key] = value
        return Tracer(self, value)

    def free_examples(self) -> None:
        """Free large examples that no Tracer needs any more.

        So a trace needs little more memory than an eager call.
        Results of Python calls are kept: `capture.trace.Trace.finish` may need the elements of a result that is a copy
        of external memory.
        """
        while self.unreferenced_values:
            value = self.unreferenced_values.pop()
            if not value.n_tracers and base_of(value).kind not in (*INPUT_KINDS, "call"):
                value.drop_data()

    def add_array(self, array: Any) -> Tracer:
        """Add an array that exists before each run: external memory, or a constant. Tracers are returned unchanged.

        The caller must not keep a reference to a constant's array, through which it could be changed.
        """
        if type(array) is Tracer:
            return array
        value = Value("captured", None, (), array)
        self.values.append(value)
        return Tracer(self, value)

    def as_tracer(self, x: Any) -> Tracer:
        """The Tracer of an array, a number or a list; Tracers are returned unchanged."""
        return x if isinstance(x, Tracer) else self.capture_array(np.asarray(x))

    def elementwise(self, ufunc: Any, *inputs: Any) -> Tracer:
        """Record a ufunc, np.where or `special.erf` of inputs that broadcast."""
        examples: list[Any] = []
        operands: list[Any] = []
        for x in inputs:
            if isinstance(x, Tracer):
                examples.append(x.value.example)
                operands.append(x.value)
            elif isinstance(x, Scalar):
                examples.append(x.value)
                operands.append((x, self.scalar_index(x)))
            elif isinstance(x, (bool, int, float)):
                examples.append(x)
                operands.append(x)
            elif isinstance(x, np.generic) or (isinstance(x, np.ndarray) and not x.ndim):
                example = np.asarray(x)
                examples.append(example)
                operands.append(self.capture_array(example).value)
            else:
                value = self.as_tracer(x).value
                examples.append(value.example)
                operands.append(value)
        with np.errstate(all="ignore"):
            example = ufunc(*examples)
        if not any(isinstance(e, np.ndarray) and e.dtype.kind == "f" for e in examples):
            self.depend_on_types(x for x in inputs if isinstance(x, Scalar))
        operand_types = [e if isinstance(e, (bool, int, float)) else e.dtype for e in examples]
        if ufunc is np.where:
            operand_types = operand_types[1:]
        result_type = np.asarray(example).dtype
        # functions with boolean results compute in the common type of their inputs, all others in the result's type
        compute_type = _comparison_type(operand_types) if result_type.kind == "b" else result_type
        if compute_type.kind not in "biuf" or result_type.itemsize > 8:
            raise Untraceable(f"np.{ufunc.__name__} of numbers of type {compute_type}")
        if compute_type.kind != "f" and ufunc in FLOATS_ONLY and not (ufunc is np.power and operands[1] in (1, 2, 3)):
            raise Untraceable(f"np.{ufunc.__name__} of {compute_type}")
        if compute_type.kind == "f":
            operands = [float(x) if type(x) is int else x for x in operands]
        return self.add_value("elementwise", ufunc, operands, example, type=compute_type)

    def cast(self, x: Any, dtype: Any) -> Tracer:
        """Convert x to a different type."""
        x = self.as_tracer(x)
        with np.errstate(all="ignore"):
            example = x.value.example.astype(dtype)
        try:
            return self.add_value("elementwise", "cast", (x.value,), example, type=example.dtype)
        except Untraceable:
            return self.add_call("cast", lambda array: array.astype(dtype), (x,), {})  # type: ignore[no-any-return]

    def reorder(self, x: Tracer, example: NDArray[Any]) -> Tracer:
        """The same elements in the memory order of `example`."""
        if not computes_with(x.dtype):
            axes = axes_in_order(example)
            return self.add_call("copy", partial(copy_in_order, axes=axes), (x,), {})  # type: ignore[no-any-return]
        return self.add_value("elementwise", "cast", (x.value,), example, type=example.dtype)

    def match_layout(self, x: Tracer, like: Tracer) -> Tracer:
        """A new Tracer for the value of `x` with the `layout_array` of `like`; nothing is copied.

        Used for in-place changes, which keep the layout of the array that they change.
        """
        self.depends_on_order = True
        out = Tracer(self, x.value)
        out.layout_array = like.layout_array
        return out

    def record_view(self, x: Any, function: Callable[[Any], Any]) -> Tracer:
        """Record a NumPy function that only rearranges elements: the result is a view of x, or a copy."""
        x = self.as_tracer(x)
        layout_array = function(x.layout_array)
        if not isinstance(layout_array, np.ndarray):
            raise Untraceable("a single element by its index")
        if layout_array.size and not np.may_share_memory(layout_array, x.layout_array):
            copy = Tracer(self, self.view_value(x.value, function))
            copy.layout_array = layout_array
            return copy
        value = self.view_value(x.value, function, x.layout_array)
        if x.base is None:
            return Tracer(self, value, x, function)
        base_function = x.view_function
        return Tracer(self, value, x.base, lambda *inputs: function(base_function(*inputs)), x.index_tracers)

    def refresh_view(self, x: Tracer) -> Value:
        """The value of a view after its base was changed in place."""
        base: Any = x.base
        if not x.index_tracers:
            return self.view_value(base.value, x.view_function, base.layout_array)
        value: Value = self.add_call("getitem", x.view_function, (Tracer(self, base.value), *x.index_tracers), {}).value
        return value

    def view_value(
        self, value: Value, function: Callable[[Any], Any], layout_array: NDArray[Any] | None = None
    ) -> Value:
        """Apply to a value a NumPy function that only rearranges elements; the result is a view value.

        If the memory order of `value` does not allow a view, the value is first copied into a different order.

        Args:
            value: the value.
            function: the NumPy function.
            layout_array: an array in whose memory order `function` returns a view; None if no such array is known.
        """
        source = value.example
        example = function(source)
        if example.size and not np.may_share_memory(example, source):
            if layout_array is not None:
                source = copy_in_order(source, axes_in_order(layout_array))
            elif example.size == source.size:  # a reshape, which NumPy reads in C order
                source = np.ascontiguousarray(source)
            value = self.reorder(Tracer(self, value), source).value
            source = value.example
            example = function(source)
            if not np.may_share_memory(example, source):
                raise Untraceable("elements picked by an array")
        byte_offset = example.__array_interface__["data"][0] - source.__array_interface__["data"][0]
        offset = byte_offset // source.itemsize if example.size else 0
        return self.add_value("view", None, (value,), example, view=function, offset=offset).value

    def matmul(self, x: Any, y: Any) -> Tracer:
        """Record a matrix product, or a stack of them; a vector counts as a matrix with one row or column, as in NumPy.

        Raises:
            Untraceable: the elements are not floats of one type.
        """
        x, y = self._as_blas_matrix(self.as_tracer(x)), self._as_blas_matrix(self.as_tracer(y))
        if x.dtype != y.dtype or x.dtype.kind != "f":
            raise Untraceable("a matrix product of numbers that are not floats of one type")
        if not x.size or not y.size:  # the result is empty, or 0
            return self.add_array(np.asarray(np.matmul(x.value.example, y.value.example)))
        if x.ndim == 1:
            return self.matmul(x.reshape(1, -1), y)[..., 0, :] if y.ndim > 1 else (x * y).sum()
        if y.ndim == 1:
            return self.matmul(x, y.reshape(-1, 1))[..., 0]
        with np.errstate(all="ignore"):
            example = np.ascontiguousarray(np.matmul(x.value.example, y.value.example))
        return self.add_value("matmul", None, (x.value, y.value), example)

    def _as_blas_matrix(self, x: Tracer) -> Tracer:
        """x if BLAS can read its matrices, that is, if their rows or columns are contiguous; otherwise a copy."""
        if x.ndim < 2 or blas_layout(x.value):
            return x
        return self.reorder(x, np.ascontiguousarray(x.value.example))


def native_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous copy in native byte order."""
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _comparison_type(operands: Sequence[Any]) -> np.dtype[Any]:
    """The type in which operands are compared.

    NumPy's comparisons are exact. Compared with an array, a Python number takes the array's type. If the number does
    not fit into that type, such as 300 into uint8, both are compared as int64.

    Args:
        operands: Python numbers, and the dtypes of arrays.

    Raises:
        Untraceable: the operands do not fit into int64 either.
    """
    common: np.dtype[Any] = np.result_type(*operands)
    if common.kind not in "iu":
        return common
    numbers = [x for x in operands if type(x) is int]
    for dtype in (common, np.dtype(np.int64)):
        limits = np.iinfo(dtype)
        if all(limits.min <= x <= limits.max for x in numbers) and np.can_cast(common, dtype):
            return dtype
    raise Untraceable(f"a comparison of {common} with {max(numbers, key=abs)}")
