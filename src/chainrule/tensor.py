"""Tensor: an array with automatic differentiation.

A Tensor holds a NumPy array and, if gradients are required, its node on the tape. Its methods call the operations of
`chainrule.ops`, which hold the mathematics. Names and behavior are PyTorch's, with NumPy's types and protocols: Tensors
work in `np.exp(tensor)` and `array * tensor`, and `np.asarray(tensor)` returns the values, unless that would lose a
gradient, which is an error.
"""

from __future__ import annotations

import builtins
import contextvars
import threading
import warnings
from typing import TYPE_CHECKING, Any, Self, TypeAlias, overload

import numpy as np

from chainrule import ops
from chainrule.autograd import tape, views
from chainrule.autograd.hooks import Handle
from chainrule.autograd.mode import mode
from chainrule.devices import CPU, check_device, device, target_dtype
from chainrule.errors import LeakedTracerError, check, read_only_error
from chainrule.habits import TENSOR_CLASS_HINTS, TENSOR_HINTS, no_attribute
from chainrule.ops import numpy_names
from chainrule.ops.dtypes import DEFAULT, convert_numbers, numeric_array, promote, storable_dtype
from chainrule.ops.operation import Operation
from chainrule.ops.slicing import unfold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from chainrule.ops.operation import Operand

    Number: TypeAlias = bool | int | float


class _WithoutWarnings(threading.local):
    """Runs formulas with NumPy's floating-point warnings off: infinities and NaN are valid results, as in PyTorch.

    Running in one context per thread takes a fifth of the time of entering `np.errstate` for each operation.
    """

    def __init__(self) -> None:
        self.run = contextvars.copy_context().run
        self.run(np.seterr, all="ignore")

    def run_again(self, error: RuntimeError, function: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        """Run a formula that `run` refused because its context is in use; raise `error` again if it is any other error.

        The context is in use if a signal handler runs an operation that interrupts another operation of the thread.
        """
        in_function = error.__traceback__ is not None and error.__traceback__.tb_next is not None
        if in_function or not str(error).startswith("cannot enter context"):
            raise error
        with np.errstate(all="ignore"):
            return function(*inputs, **options)


_without_warnings = _WithoutWarnings()
_new = object.__new__  # global names are found faster than attributes
_ndarray = np.ndarray


def _operator(operation: Operation[...]) -> Callable[[Tensor, Operand], Tensor]:
    """Return the method for a tensor as the left operand, such as `tensor + other`."""
    return lambda self, other: _run_operation(operation, (self, other), {})


def _reflected(operation: Operation[...]) -> Callable[[Tensor, Operand], Tensor]:
    """Return the method for a tensor as the right operand, such as `other + tensor`."""
    return lambda self, other: _run_operation(operation, (other, self), {})


if TYPE_CHECKING:
    _TensorType = type  # with the class below, type checkers would accept any misspelled name
else:

    class _TensorType(type):
        """The class of `Tensor`: explains missing names, such as `Tensor.zeros`."""

        def __getattr__(cls, name: str) -> Any:
            raise no_attribute(f"type object {cls.__name__!r}", name, cls, TENSOR_CLASS_HINTS.get(name))


class Tensor(metaclass=_TensorType):
    """An array with automatic differentiation.

    Args:
        data: numbers, nested sequences of numbers, an array or a Tensor; it is copied (`from_numpy` shares memory).
        dtype: the type; if None, Python floats become float32, Python integers int64, and arrays keep their type. An
            integer type takes the numbers that it can hold, without their fractions; an unsigned type also takes
            negative integers: -1 becomes its largest number, as in PyTorch. The same holds for `full`, `arange`,
            assignments, `fill_`, `masked_fill` and `scatter`. Arrays are converted as by NumPy.
        requires_grad: whether to record operations on it, so that `backward()` can compute `.grad`.

    Raises:
        TypeError: the data is not boolean, integer or floating, or it requires gradients and is not floating.
        ValueError: nested sequences have different lengths.
        OverflowError: an integer type cannot hold a number.
    """

    __slots__ = ("__weakref__", "_aliases", "_data", "_node", "_version", "_view")
    __hash__ = object.__hash__

    _data: NDArray[Any]
    _node: tape.Node | tape.Leaf | None
    _version: list[int]  # its element counts in-place changes; Tensors that share memory share the list
    _view: views.View | None  # if this is a view: its base, and the operations that lead from the base to it
    _aliases: views.Aliases | None  # the Tensors that share this memory, if there are several

    def __init__(
        self, data: ArrayLike | Tensor, dtype: DTypeLike | None = None, requires_grad: builtins.bool = False
    ) -> None:
        array = _as_array(data, dtype, copy=True)
        self._data = array if mode.trace is None else mode.trace.from_data(data, array)
        self._node, self._version, self._view, self._aliases = None, [0], None, None
        if requires_grad:
            self.requires_grad_()

    @staticmethod
    def _wrap(array: NDArray[Any]) -> Tensor:
        """Return a Tensor that holds an array, which is neither checked nor copied."""
        out = _new(Tensor)
        out._data, out._node, out._version, out._view, out._aliases = array, None, [0], None, None
        return out

    # Running and recording: every operation on Tensors goes through __operation__

    @staticmethod
    def __operation__(operation: Operation[...], inputs: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        """Run an operation on Tensors, arrays and numbers; record it if an input requires gradients."""
        if operation.input_default_values and len(inputs) < len(operation.input_names):
            inputs += operation.input_default_values[len(inputs) - len(operation.input_names) :]
        arrays: list[Any] = []
        parents: list[tape.Node | tape.Leaf | None] = []
        for x in inputs:  # twice as fast as two comprehensions, which matters for small arrays
            is_tensor = isinstance(x, Tensor)
            arrays.append(x._data if is_tensor else x)
            parents.append(x._node if is_tensor else None)
        out, extra = _new(Tensor), None
        out._node, out._version, out._view, out._aliases = None, [0], None, None
        try:
            for value in options.values():
                if isinstance(value, Tensor):
                    raise TypeError  # `explain_error` writes the message
            if mode.trace is not None:
                arrays, array, extra = mode.trace.record_operation(operation, inputs, options)
                out._data = array
            else:
                if operation.promote is not None:
                    arrays = promote(arrays, operation.promote, operation.name)
                try:
                    array = _without_warnings.run(operation.compute, *arrays, **options)
                except RuntimeError as error:
                    array = _without_warnings.run_again(error, operation.compute, *arrays, **options)
                if operation.extra is not None:
                    array, extra = array
                out._data = array if type(array) is _ndarray else np.asarray(array)
            if operation.view and isinstance(inputs[0], Tensor):
                views.track(out, inputs[0], arrays[0], operation, options)
        except (ValueError, IndexError, TypeError, OverflowError, RuntimeError) as error:
            raise explain_error(error, operation, arrays, options) from None
        if mode.recording and any(parents) and operation.rule is not None and out._data.dtype.kind == "f":
            node = out._node = tape.Node(operation, parents, inputs, arrays, options, out, extra)
            if mode.anomaly is not None:
                node.recorded_at = mode.anomaly.user_frames()
        return out

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Run `np.exp(tensor)` or `array * tensor`."""
        operation = ops.NUMPY_FUNCTIONS.get(ufunc)
        if operation is None or method != "__call__":
            raise _no_derivative(f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}"))
        if options:
            raise TypeError(f"np.{ufunc.__name__} of a Tensor takes no {', '.join(options)}")
        return Tensor.__operation__(operation, inputs, {})  # type: ignore[arg-type]  # for ufuncs these are operations

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: dict[str, Any]) -> Any:
        """Run `np.sum(tensor, axis=0)`."""
        operation = ops.NUMPY_FUNCTIONS.get(function)
        name = numpy_names.qualified_name(function)
        if operation is None:
            raise _no_derivative(name)
        if isinstance(operation, Operation) and not operation.is_variadic:
            has_at_most_one_option = len(inputs) <= len(operation.input_names) + 1
            check(f"{name} of a Tensor", has_at_most_one_option, "pass the options after the first by name", TypeError)
        try:
            return operation(*inputs, **numpy_names.translate_arguments(operation, name, options))
        except (ValueError, IndexError, TypeError) as error:
            raise numpy_names.translate_error(error, name) from None

    def __array__(self, dtype: DTypeLike | None = None, copy: builtins.bool | None = None) -> NDArray[Any]:
        values = self.numpy()
        if self._node is not None and mode.recording:
            solution = "combine tensors with chainrule.stack or cat, or use detach() for the values alone"
            raise RuntimeError(f"a NumPy array cannot carry the gradient of this tensor: {solution}")
        array = values if dtype is None else values.astype(dtype, copy=False)
        if copy:
            return array.copy() if array is values else array
        if copy is False and array is not values:
            raise ValueError(f"a Tensor of {self.dtype} cannot become an array of {dtype} without a copy")
        return array

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("a Tensor that requires gradients cannot be shared by DLPack: call detach() first")
        return self._concrete("the array of a Tensor").__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def _concrete(self, what: str) -> NDArray[Any]:
        """Return the array, for code that needs its values; during tracing, raise an error that begins with `what`.

        Raises:
            LeakedTracerError: this Tensor holds a tracer of a trace that has ended.
        """
        if mode.trace is not None:
            mode.trace.refuse_value(what)
        if type(self._data) is not _ndarray:
            raise LeakedTracerError()
        return self._data

    # Attributes and conversions

    if not TYPE_CHECKING:  # hidden from type checkers, which would otherwise accept any misspelled name

        def __getattr__(self, name: str) -> Any:
            default_hint = f"use chainrule.{name}(tensor)" if name in ops.__all__ else None
            raise no_attribute(f"{type(self).__name__!r} object", name, self, TENSOR_HINTS.get(name, default_hint))

    @property
    def data(self) -> NDArray[Any]:
        """The array of this Tensor, not a copy.

        Assigning to `.data` counts as an in-place change; writing to elements of the array does not.
        """
        return self._concrete("a Tensor's .data")

    @data.setter
    def data(self, value: ArrayLike | Tensor) -> None:
        if mode.trace is not None:
            mode.trace.refuse("assigning to .data")
        array = _as_array(value, None, copy=False)
        if self._node is not None:
            self._check_shape_and_dtype("data: where gradients are required, new data must keep", array)
        self._version[0] += 1
        views.unshare(self)
        self._data, self._version = array, [0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of the elements."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def dim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    @overload
    def size(self, dim: None = None) -> tuple[int, ...]: ...

    @overload
    def size(self, dim: int) -> int: ...

    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        check("size", self.ndim, "a tensor without dimensions has no sizes", IndexError)
        return self.shape[ops.shape.wrap_dim(self, dim, "size")]

    def numel(self) -> int:
        """The number of elements."""
        return self._data.size

    def item(self) -> Number:
        """Return the value of a Tensor of one element as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item: only a tensor of one element is a number, but this has shape {self.shape}")
        return self._concrete("a Tensor's number (item(), float(), int())").item()  # type: ignore[no-any-return]  # NumPy's stubs leave the kind of number open

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self._concrete("a Tensor's list (tolist())").tolist()

    def numpy(self) -> NDArray[Any]:
        """Return the values as an array that shares memory; read-only if this Tensor requires gradients.

        The array does not show recorded in-place changes, which give the Tensor new memory.
        """
        array = self._concrete("the array of a Tensor")
        if self._node is not None:  # the tape would not notice changes through the array
            array = array.view()
            array.flags.writeable = False
        return array

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a tensor without dimensions has no length")
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> builtins.bool:
        if self._data.size != 1:
            raise ValueError(f"a tensor of shape {self.shape} is neither true nor false: use .any() or .all()")
        return builtins.bool(self._concrete("whether a Tensor is true"))

    def __float__(self) -> builtins.float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor can be an index, not {self.dtype}")
        return int(self.item())

    def __contains__(self, value: Number) -> builtins.bool:
        return bool((self._concrete("whether a Tensor contains a value") == value).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self._data.size == 1 else format(str(self), spec)

    def __repr__(self) -> str:
        opening = f"{type(self).__name__.lower()}("
        array = self._concrete("the text of a Tensor")
        values = np.array2string(array, separator=", ", precision=4, threshold=200, prefix=opening)
        facts = [f"shape={self.shape}"] if self.ndim else []
        if self.dtype not in (DEFAULT, np.int64, np.bool_):
            facts.append(f"dtype={self.dtype}")
        if isinstance(self._node, tape.Leaf):
            facts.append("requires_grad=True")
        elif self._node is not None:
            facts.append(f"from={self._node.operation.name}")
        return opening + ", ".join([values, *facts]) + ")"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("tensors cannot be pickled: save values with safetensors, as chainrule.save does")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if isinstance(self._node, tape.Node):
            raise RuntimeError("deepcopy: a result of recorded operations cannot be copied; use detach().clone()")
        memo[id(self)] = copy = type(self)(self._concrete("a deepcopy of a Tensor"), requires_grad=self.requires_grad)
        return copy

    # Gradients

    @property
    def requires_grad(self) -> builtins.bool:
        """Whether operations on this Tensor are recorded."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Self:
        """Require gradients, or stop requiring them, which also drops `.grad` and hooks."""
        if mode.trace is not None and type(self._data) is _ndarray and requires_grad is not self.requires_grad:
            mode.trace.refuse("requires_grad_() of an existing tensor")
        if isinstance(self._node, tape.Node) and not requires_grad:
            raise RuntimeError("requires_grad_: a result of recorded operations keeps its history; use detach()")
        if requires_grad and self._node is None:
            if self.dtype.kind != "f":
                raise TypeError(f"only floats can require gradients, not {self.dtype}")
            self._node = tape.Leaf(self._data)
        elif not requires_grad:
            self._node = None
        return self

    @property
    def is_leaf(self) -> builtins.bool:
        """Whether this Tensor is not the result of a recorded operation."""
        return not isinstance(self._node, tape.Node)

    @property
    def grad_fn(self) -> tape.Node | None:
        """The recorded operation whose result this is, or None."""
        return self._node if isinstance(self._node, tape.Node) else None

    @property
    def grad(self) -> Tensor | None:
        """The gradient dL/d(this) that `backward()` accumulated, in this Tensor's shape; None before the first call."""
        if mode.trace is not None and type(self._node) is tape.Leaf:
            mode.trace.before_grad_read(self._node, outside=type(self._data) is _ndarray)
        node = self._node
        if type(node) is tape.Node and node.grad is None and not (node.hooks and tape.RETAIN in node.hooks):
            rule = "is None unless its retain_grad() was called before backward()"
            warnings.warn(f"the .grad of an intermediate result {rule}", stacklevel=2)
        return None if node is None else node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            self._check_shape_and_dtype("grad: must have", value)
            tape.node_of(self, "grad")
        if self._node is not None:
            if mode.trace is not None:
                value = mode.trace.before_grad_assigned(self._node, value)
            self._node.grad = value

    def _check_shape_and_dtype(self, what: str, new: NDArray[Any] | Tensor) -> None:
        """Raise an error, which begins with `what`, unless a new value has this Tensor's shape and type."""
        if (new.shape, new.dtype) != (self.shape, self.dtype):
            raise ValueError(f"{what} shape {self.shape} and {self.dtype}, not {new.shape} and {new.dtype}")

    def retain_grad(self) -> None:
        """Store the gradient of this result in `.grad`, which by default is done only for leaves."""
        node = tape.node_of(self, "retain_grad")
        if isinstance(node, tape.Node):
            node.hooks = node.hooks or {}
            node.hooks[tape.RETAIN] = True

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Register `hook(gradient)`, to be called with dL/d(this) whenever it has been computed.

        If the hook does not return None, its result replaces the gradient, in `.grad` and in the rest of the backward
        pass. Hooks run in the order of registration; each gets the gradient as the previous hook left it. If this
        Tensor is changed in place later, the hooks stay with the old value.

        Returns:
            A handle; its `remove()` unregisters the hook.

        Raises:
            RuntimeError: this tensor does not require gradients.
        """
        return Handle(tape.node_of(self, "register_hook"), "hooks", hook)

    def backward(
        self, gradient: Tensor | None = None, retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False, inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Compute the gradient of each leaf x that this Tensor was computed from, and add it to `x.grad`.

        The gradients are dL/dx for a loss L, which usually is this Tensor itself.

        Args:
            gradient: dL/d(this), in this Tensor's shape; 1 if None, which is allowed for a Tensor of one element.
            retain_graph: keep the graph for another backward pass; the same as `create_graph` if None.
            create_graph: make the gradients differentiable.
            inputs: compute the gradients of these Tensors only, which may be intermediate results.

        Raises:
            RuntimeError: this Tensor does not require gradients, or has several elements and no `gradient` is given;
                `inputs` is empty; the graph was freed, or a value that is needed was changed in place.
            TypeError: an element of `inputs` is not a Tensor, or the gradient is not numeric.
            ValueError: `gradient` has a different shape.
        """
        tape.backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """Return a Tensor that shares this memory, without the history."""
        out = Tensor._wrap(self._data if mode.trace is None else mode.trace.lift(self, detached=True))
        views.share_detached(out, self)
        return out

    def clone(self) -> Tensor:
        """Return a copy, with the history."""
        return ops.shape.clone(self)

    # In-place changes: copy_, add_, x += y, x[i] = y

    def _change(self, value: Operand, new: Callable[[], Tensor], write: Callable[[NDArray[Any]], Any]) -> Self:
        """Change this Tensor in place: record the change if gradients are involved, otherwise write into memory.

        Args:
            value: the operand, or None; the change is recorded if the operand has a history.
            new: computes the new Tensor with operations.
            write: writes into the array.
        """
        base = views.base_of(self)
        has_history = self._node is not None or base._node is not None or getattr(value, "_node", None) is not None
        if has_history and mode.recording:
            self._check_changeable(base)
            # `change` gives this Tensor a new array, because operations may have saved the old one
            views.change(self, lambda: new().to(self.dtype))
            return self
        array = _values(self)
        if not _layout_array(array).flags.writeable:
            raise read_only_error(self.shape)
        with np.errstate(all="ignore"):
            write(array)
        self._version[0] += 1
        return self

    def _check_changeable(self, base: Tensor) -> None:
        """Raise an error if a recorded in-place change of this Tensor, a view of `base`, is not allowed."""
        problem = "cannot be changed in place while operations are recorded"
        if isinstance(self._node, tape.Leaf) or isinstance(base._node, tape.Leaf):
            subject = "a tensor" if base is self else "a view of a tensor"
            raise RuntimeError(f"{subject} that requires gradients {problem}: do it under no_grad()")
        if base._node is not None and self._node is None:
            solution = "take the view outside of no_grad() too, or change it inside"
            subject = "a view that was taken under no_grad() of a result with a history"
            raise RuntimeError(f"{subject} {problem}: {solution}")

    def _update(self, operation: Operation[...], ufunc: Any, other: Operand) -> Self:
        """Apply an arithmetic operation in place; without gradients, `ufunc` writes into memory."""
        value = _values(other)
        if not isinstance(other, Tensor):
            # raises an error unless `other` is numeric; during tracing, it may be a `lower.tracer.Scalar`, such as a
            # learning rate, whose number is its `value`
            promote([getattr(other, "value", other)], "common", operation.name)

        def write(array: NDArray[Any]) -> None:
            try:
                ufunc(array, value, out=array, casting="same_kind")
                return
            except (ValueError, TypeError, OverflowError) as error:
                original = error
            self._replacement(operation, other)  # raises an error that names the operation
            raise original

        return self._change(other, lambda: self._replacement(operation, other), write)

    def _replacement(self, operation: Operation[...], other: Operand) -> Tensor:
        """Return a new value for this Tensor, after checking that its shape and type fit."""
        new: Tensor = operation(self, other)
        if new.shape != self.shape:
            raise ValueError(f"{operation.name}: an in-place change cannot turn shape {self.shape} into {new.shape}")
        if not np.can_cast(new.dtype, self.dtype, "same_kind"):
            problem = f"an in-place change cannot turn {self.dtype} into {new.dtype}"
            raise TypeError(f"{operation.name}: {problem}: convert the tensor first, with .to()")
        return new

    def __in_place__(self, operation: Operation[...], inputs: tuple[Any, ...], options: dict[str, Any]) -> Self:
        """Run an operation whose first input is this Tensor, and write the result into it."""

        def new() -> Tensor:
            out = operation(*inputs, **options)
            if out.dtype != self.dtype:
                raise TypeError(f"{operation.name}: an in-place change cannot turn {self.dtype} into {out.dtype}")
            return out

        return self._change(None, new, lambda array: array.__setitem__(..., new()._data))  # type: ignore[arg-type]

    def add_(self, other: Operand, alpha: Number = 1) -> Self:
        """Add alpha · other in place."""
        return self._update(ops.add, np.add, other if alpha == 1 else other * alpha)

    def sub_(self, other: Operand, alpha: Number = 1) -> Self:
        """Subtract alpha · other in place."""
        return self._update(ops.sub, np.subtract, other if alpha == 1 else other * alpha)

    def mul_(self, other: Operand) -> Self:
        """Multiply by `other` in place."""
        return self._update(ops.mul, np.multiply, other)

    def div_(self, other: Operand) -> Self:
        """Divide by `other` in place."""
        return self._update(ops.true_divide, np.divide, other)

    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_

    def copy_(self, source: Operand) -> Self:
        """Overwrite the values with those of `source`, which must broadcast to this shape."""
        self[...] = source
        return self

    fill_ = copy_  # PyTorch's name if the source is one number

    def zero_(self) -> Self:
        """Set all elements to 0."""
        return self.copy_(0)

    def __setitem__(self, index: Any, value: Operand) -> None:
        index = _to_numpy_index(index)
        if isinstance(value, Tensor) and views.is_view_at(value, self, index):
            return  # the last step of `x[index] += y`, which has already changed x
        if type(index) is tuple and not ops.indexing.is_basic(index):
            first, index = ops.indexing.split_index(index, self.ndim)
            if first:
                self[first][index] = value
                return
        array = _values(value) if isinstance(value, Tensor) else numeric_array(value)
        if isinstance(value, np.generic) or not hasattr(value, "__array__"):  # an array is converted as in NumPy
            array = convert_numbers(array, self.dtype)
        shape = self.shape if index is ... else _shape_at(self._data, index)
        try:
            np.broadcast_to(array, shape)
        except ValueError:
            raise ValueError(f"a value of shape {array.shape} does not fit into shape {shape}") from None
        self._change(
            value, lambda: ops.indexing.index_put(self, value, index=index), lambda data: data.__setitem__(index, array)
        )

    def __getitem__(self, index: Any) -> Tensor:
        index = _to_numpy_index(index)
        if type(index) is tuple and not ops.indexing.is_basic(index):
            first, index = ops.indexing.split_index(index, self.ndim)
            if first:
                return ops.getitem(ops.getitem(self, index=first), index=index)
        return ops.getitem(self, index=index)

    # Arithmetic with Tensors, arrays and numbers

    __add__, __radd__ = _operator(ops.add), _reflected(ops.add)
    __sub__, __rsub__ = _operator(ops.sub), _reflected(ops.sub)
    __mul__, __rmul__ = _operator(ops.mul), _reflected(ops.mul)
    __truediv__, __rtruediv__ = _operator(ops.true_divide), _reflected(ops.true_divide)
    __floordiv__, __rfloordiv__ = _operator(ops.floor_divide), _reflected(ops.floor_divide)
    __pow__, __rpow__ = _operator(ops.pow), _reflected(ops.pow)
    __matmul__, __rmatmul__ = _operator(ops.matmul), _reflected(ops.matmul)
    __lt__, __le__, __gt__, __ge__ = _operator(ops.lt), _operator(ops.le), _operator(ops.gt), _operator(ops.ge)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # elementwise, as in every array library
        return _run_operation(ops.eq, (self, other), {}) if _comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _run_operation(ops.ne, (self, other), {}) if _comparable(other) else NotImplemented

    __neg__, __abs__ = ops.neg, ops.abs

    def __pos__(self) -> Tensor:
        return self

    __mod__, __rmod__ = _operator(ops.remainder), _reflected(ops.remainder)
    __and__, __rand__ = _operator(ops.bitwise_and), _reflected(ops.bitwise_and)
    __or__, __ror__ = _operator(ops.bitwise_or), _reflected(ops.bitwise_or)
    __xor__, __rxor__ = _operator(ops.bitwise_xor), _reflected(ops.bitwise_xor)
    __invert__ = ops.bitwise_not

    # Methods that take sizes as separate arguments or as a sequence

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The same elements in a different shape; one size may be -1, to be inferred."""
        return ops.reshape(self, shape=_sizes("reshape", shape))

    view = reshape

    def view_as(self, other: Tensor) -> Tensor:
        """The same elements in another Tensor's shape."""
        return ops.reshape(self, shape=other.shape)

    reshape_as = view_as

    def expand_as(self, other: Tensor) -> Tensor:
        """`expand` to another Tensor's shape."""
        return ops.expand(self, other.shape)

    def contiguous(self) -> Tensor:
        """The elements in C order: this Tensor if its elements are in C order already, else a copy."""
        is_contiguous = _layout_array(_values(self)).flags.c_contiguous
        return self if is_contiguous else ops.shape.contiguous_copy(self)

    def permute(self, *dims: int | Sequence[int]) -> Tensor:
        """This Tensor with its dimensions in a different order."""
        return ops.permute(self, dims=_sizes("permute", dims))

    @property
    def T(self) -> Tensor:  # noqa: N802  # the name in NumPy and PyTorch
        """This Tensor with its dimensions in reverse order."""
        return ops.permute(self)

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """This Tensor with its last two dimensions swapped."""
        return ops.transpose(self, -1, -2)

    # Types

    def to(self, *target: Any, device: Any = None, dtype: DTypeLike | None = None) -> Tensor:
        """Convert to a type; return this Tensor if it has that type already.

        Args:
            target: by position: a type; or "cpu" or a device, optionally followed by a type; or a Tensor of the type to
                convert to.
            device: the device, as a keyword argument.
            dtype: the type, as a keyword argument.

        Raises:
            ValueError: a device other than the CPU.
        """
        new_dtype = target_dtype("to", target, device, dtype)
        return self if new_dtype is None or self.dtype == storable_dtype(new_dtype) else ops.cast(self, dtype=new_dtype)

    @property
    def device(self) -> device:
        """The CPU, the only device."""
        return CPU

    is_cuda = False

    def cpu(self) -> Tensor:
        """Return this Tensor: the CPU is the only device."""
        return self

    def cuda(self, device: Any = None) -> Tensor:
        """Raise an error: the CPU is the only device."""
        return self.to("cuda")

    def float(self) -> Tensor:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self) -> Tensor:
        """Convert to float64."""
        return self.to(np.float64)

    def long(self) -> Tensor:
        """Convert to int64."""
        return self.to(np.int64)

    def bool(self) -> Tensor:
        """Convert to booleans: False for 0."""
        return self.to(np.bool_)

    # Operations as methods; `chainrule.ops` documents them

    add, sub, mul, pow, remainder, fmod = ops.add, ops.sub, ops.mul, ops.pow, ops.remainder, ops.fmod
    div, true_divide, floor_divide = ops.div, ops.true_divide, ops.floor_divide
    abs, neg, sign, floor, ceil, round, trunc = ops.abs, ops.neg, ops.sign, ops.floor, ops.ceil, ops.round, ops.trunc
    maximum, minimum, clamp, lerp, masked_fill = ops.maximum, ops.minimum, ops.clamp, ops.lerp, ops.masked_fill
    eq, ne, lt, le, gt, ge = ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge
    isclose, allclose = ops.isclose, ops.allclose
    isfinite, isnan, isinf = ops.isfinite, ops.isnan, ops.isinf
    logical_and, logical_or = ops.logical_and, ops.logical_or
    logical_xor, logical_not = ops.logical_xor, ops.logical_not
    bitwise_and, bitwise_or = ops.bitwise_and, ops.bitwise_or
    bitwise_xor, bitwise_not = ops.bitwise_xor, ops.bitwise_not
    exp, exp2, expm1, log, log1p, log2, log10 = ops.exp, ops.exp2, ops.expm1, ops.log, ops.log1p, ops.log2, ops.log10
    sqrt, rsqrt, square, reciprocal, logaddexp = ops.sqrt, ops.rsqrt, ops.square, ops.reciprocal, ops.logaddexp
    sin, cos, tan, asin, acos, atan = ops.sin, ops.cos, ops.tan, ops.asin, ops.acos, ops.atan
    sinh, cosh, tanh, asinh, acosh, atanh = ops.sinh, ops.cosh, ops.tanh, ops.asinh, ops.acosh, ops.atanh
    arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh
    sum, mean, var, std, prod = ops.sum, ops.mean, ops.var, ops.std, ops.prod
    max, min, amax, amin, argmax, argmin = ops.max, ops.min, ops.amax, ops.amin, ops.argmax, ops.argmin
    logsumexp, norm, any, all = ops.logsumexp, ops.norm, ops.any, ops.all
    cumsum, cumprod, cummax, cummin = ops.cumsum, ops.cumprod, ops.cummax, ops.cummin
    sort, argsort, topk = ops.sort, ops.argsort, ops.topk
    flatten, unflatten, transpose, movedim = ops.flatten, ops.unflatten, ops.transpose, ops.movedim
    squeeze, unsqueeze, expand, repeat, tile = ops.squeeze, ops.unsqueeze, ops.expand, ops.repeat, ops.tile
    broadcast_to, repeat_interleave = ops.broadcast_to, ops.repeat_interleave
    split, chunk, unbind, flip, roll = ops.split, ops.chunk, ops.unbind, ops.flip, ops.roll
    gather, index_select, take_along_dim = ops.gather, ops.index_select, ops.take_along_dim
    scatter, scatter_reduce = ops.scatter, ops.scatter_reduce
    tril, triu, diagonal, diag, trace = ops.tril, ops.triu, ops.diagonal, ops.diag, ops.trace
    narrow, select, t, unfold = ops.narrow, ops.select, ops.t, unfold
    matmul, mm, bmm, dot, outer = ops.matmul, ops.mm, ops.bmm, ops.dot, ops.outer
    erf, relu, sigmoid, softmax, log_softmax = ops.erf, ops.relu, ops.sigmoid, ops.softmax, ops.log_softmax

    def where(self, condition: Tensor, other: Operand) -> Tensor:
        """The elements of this Tensor where the condition is true, else those of `other`."""
        return ops.where(condition, self, other)


_run_operation = Tensor.__operation__


def tensor(
    data: ArrayLike | Tensor, dtype: DTypeLike | None = None, requires_grad: bool = False, *,
    device: str | device | None = None,
) -> Tensor:  # fmt: skip
    """Create a Tensor with a copy of the data; see `Tensor`."""
    check_device(device)
    return Tensor(data, dtype, requires_grad)


def from_numpy(array: NDArray[Any]) -> Tensor:
    """Create a Tensor that shares the array's memory until a recorded in-place change gives the Tensor new memory.

    Raises:
        TypeError: `array` is not an array of booleans, integers or floats.
    """
    check("from_numpy", isinstance(array, np.ndarray), f"takes an array, not {type(array).__name__}", TypeError)
    data = _as_array(array, None, copy=False)
    return Tensor._wrap(data if mode.trace is None else mode.trace.from_data(array, data))


def as_tensor(
    data: ArrayLike | Tensor, dtype: DTypeLike | None = None, *, device: str | device | None = None
) -> Tensor:
    """Return the data as a Tensor, without a copy if possible."""
    check_device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    array = _as_array(data, dtype, copy=False)
    return Tensor._wrap(array if mode.trace is None else mode.trace.from_data(data, array))


def _as_array(data: Any, dtype: DTypeLike | None, copy: bool) -> NDArray[Any]:
    """Return the data as an array that a Tensor can hold; `copy` forces a copy."""
    if isinstance(data, Tensor):
        data = data._concrete("the copy that tensor() makes (use clone() instead)")
    elif hasattr(data, "__array__") and not isinstance(data, (np.ndarray, np.generic)):
        data = np.asarray(data)
    array = numeric_array(data)
    if isinstance(data, np.ndarray):
        array = np.array(data, dtype, order="C") if copy else np.asarray(data, dtype)
    elif dtype is None:
        if array.dtype == np.float64 and not isinstance(_first_number(data), (np.ndarray, np.generic, Tensor)):
            array = array.astype(DEFAULT)
    else:  # in a floating type, too large a number becomes infinite, with a warning
        array = array.astype(dtype) if np.dtype(dtype).kind == "f" else convert_numbers(array, np.dtype(dtype))
    return array.astype(storable_dtype(array.dtype).newbyteorder("="), copy=False)


def _first_number(data: Any) -> Any:
    """Return the first number of nested sequences."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _to_numpy_index(index: Any) -> Any:
    """Replace Tensors, arrays and lists in an index by copies, because the tape keeps them.

    The copies are arrays; a single integer becomes a Python integer.

    Raises:
        IndexError: the index is of uint8, which is a mask in PyTorch and an index in NumPy.
    """
    if isinstance(index, tuple):
        return tuple([_to_numpy_index(part) for part in index])
    if isinstance(index, (list, range)):
        index = np.array(index) if len(index) else np.zeros(0, np.int64)
    elif not isinstance(index, (Tensor, np.ndarray)):
        return index
    if index.dtype == np.uint8:
        problem = "an index of uint8 is a mask in PyTorch and positions in NumPy"
        raise IndexError(f"{problem}: convert it with .bool() or .long()")
    if mode.trace is not None:
        return mode.trace.index(index)
    return np.array(index) if index.ndim or index.dtype.kind == "b" else int(index)


def _shape_at(array: Any, index: Any) -> tuple[int, ...]:
    """Return the shape of the elements at an index."""
    return (array[index] if mode.trace is None else mode.trace.example_at(array, index)).shape  # type: ignore[no-any-return]


def _sizes(name: str, sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Return sizes that are passed as separate arguments or as one sequence."""
    return ops.shape.int_tuple(sizes[0] if len(sizes) == 1 else sizes, name)


def _values(other: Any) -> Any:
    """Return the array of a Tensor; return any other operand unchanged.

    During tracing, return the tracer of a Tensor or an array instead, and a NumPy number as a Python number.
    """
    if mode.trace is not None:
        return mode.trace.lift(other)
    return other._data if isinstance(other, Tensor) else other


def _layout_array(array: Any) -> NDArray[Any]:
    """Return an array with the memory layout and the writability of an array that `_values` has returned.

    This is the array itself. During tracing, `array` is a `lower.tracer.Tracer`, and this is its `layout_array`, whose
    elements may be outdated.
    """
    return array if type(array) is _ndarray else array.layout_array


def _no_derivative(name: str) -> TypeError:
    return TypeError(f"{name} has no derivative here; for values alone use {name}(tensor.numpy())")


def _comparable(other: object) -> bool:
    return isinstance(other, (Tensor, np.ndarray, np.generic, bool, int, float))


def explain_error(
    error: Exception, operation: Operation[...], arrays: Sequence[Any], options: dict[str, Any]
) -> Exception:
    """Return an error with the operation's name and the input shapes, or with the invalid options, in its message."""
    # only a Tracer has a recorder
    if mode.trace is None and any(hasattr(a, "recorder") for a in arrays):
        return LeakedTracerError()
    if unknown_options := ", ".join(repr(name) for name in options if name not in operation.option_names):
        valid_options = f"; it takes {', '.join(operation.option_names)}" if operation.option_names else ""
        return TypeError(f"{operation.name}: takes no argument {unknown_options}{valid_options}")
    if tensor_options := ", ".join(name for name, value in options.items() if isinstance(value, Tensor)):
        problem = f"{tensor_options} must not be a tensor, because it gets no gradient"
        return TypeError(f"{operation.name}: {problem}: pass its item()")
    if isinstance(error, RuntimeError):
        return error
    message = str(error)
    # NumPy's own types of errors, such as AxisError, are subclasses of these; the new error has one of Python's types
    kind = next(kind for kind in (IndexError, ValueError, TypeError, OverflowError) if isinstance(error, kind))
    if message.partition(": ")[0].isidentifier():  # the message names the operation already
        return kind(message)
    shapes = " and ".join(str(a.shape) if hasattr(a, "shape") else repr(a) for a in arrays)
    if "could not be broadcast" in message:
        message = "the sizes must be equal, or 1, dimension by dimension from the last"
    return kind(f"{operation.name}: {shapes} do{'es' if len(arrays) == 1 else ''} not fit: {message}")
