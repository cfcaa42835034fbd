"""Records a network: calls it once with symbols, which record the NumPy functions of its formulas.

While the network runs, `mode.trace` is a `Trace`, so that every operation on Tensors calls `record_operation`.
Python code runs as it is: branches that depend on options are taken, loops are unrolled, and code that needs values is
refused with its line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from chainrule import ops
from chainrule.autograd import no_grad
from chainrule.autograd.mode import mode
from chainrule.capture.frames import at_user_line
from chainrule.ops import attention, convolution, indexing, pooling, shape
from chainrule.ops.dtypes import promote
from chainrule.source import runtime
from chainrule.source.graph import Graph, Node, SourceError, join, part
from chainrule.tensor import Tensor
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.nn import Module
    from chainrule.ops.operation import Operation


class Unwritable(Exception):  # noqa: N818  # caught where the operation is known
    """A NumPy function, or a use of one, that has no counterpart in the files."""


class Symbol(NDArrayOperatorsMixin):
    """A value of the graph, in place of an array.

    Attributes:
        trace: records what is done with it.
        node: the value.
    """

    __slots__ = ("node", "trace")
    base = None  # never a view

    def __init__(self, trace: Trace, node: Node) -> None:
        self.trace, self.node = trace, node

    example = property(lambda self: self.node.example)
    shape = property(lambda self: self.node.example.shape)
    dtype = property(lambda self: self.node.example.dtype)
    ndim = property(lambda self: self.node.example.ndim)
    size = property(lambda self: self.node.example.size)
    itemsize = property(lambda self: self.node.example.itemsize)
    T = property(lambda self: np.transpose(self))

    def __len__(self) -> int:
        return len(self.example)

    @property
    def layout_array(self) -> NoReturn:
        """The array whose memory layout tells whether it may be changed in place.

        Raises:
            SourceError: always.
        """
        raise SourceError(f"export: a tensor is changed in place{at_user_line()}, which cannot be written as source")

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Unwritable("it needs the values of an array")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __array__ = __contains__ = _refuse
    item = tolist = __dlpack__ = _refuse

    @staticmethod
    def __operation__(operation: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        trace = next(x.trace for x in inputs if isinstance(x, Symbol))
        return trace.apply(operation, inputs, options)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc not in UFUNCS:
            raise Unwritable(f"np.{ufunc.__name__}{'' if method == '__call__' else f'.{method}'}")
        return self.trace.write(ufunc, inputs, {})

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: dict[str, Any]) -> Any:
        if function in SHAPE_FUNCTIONS:
            return function(*(x.example if isinstance(x, Symbol) else x for x in inputs))
        if function not in FUNCTIONS:
            raise Unwritable(f"np.{function.__name__}")
        return FUNCTIONS[function](self.trace, *inputs, **options)

    def __getitem__(self, index: Any) -> Any:
        return self.trace.apply(indexing.getitem, (self,), {"index": index})

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        """Convert to another type."""
        return _cast(self.trace, self, dtype)

    def reshape(self, *sizes: Any) -> Symbol:
        """Change the shape."""
        return _reshape(self.trace, self, sizes[0] if len(sizes) == 1 else sizes)

    def transpose(self, *axes: Any) -> Symbol:
        """Permute the dimensions."""
        return _transpose(self.trace, self, axes[0] if len(axes) == 1 else axes or None)


class Trace:
    """Records one call.

    Args:
        state: the parameters and buffers, by name.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.nodes: list[Node] = []
        self.state = {id(t._data): Node(None, (), {}, t._data, name) for name, t in reversed([*state.items()])}
        self.constants: dict[Any, Node] = {}

    def write(self, function: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Symbol:
        """Add a node; compute it at once if all its inputs are constants."""
        operands = tuple(x.node if isinstance(x, Symbol) else self._operand(x) for x in inputs)
        examples = [x.example if isinstance(x, Node) else x for x in operands]
        with np.errstate(all="ignore"):
            example = np.asarray(
                np.reshape(examples[0], options["shape"])  # NumPy 2.0 does not know the name
                if function is np.reshape
                else function(*examples, **options)
            )
        if all(x.is_constant for x in operands if isinstance(x, Node)) and function not in VIEWS:
            return self.as_constant(example)
        node = Node(function, operands, options, example)
        self.nodes.append(node)
        return Symbol(self, node)

    def _operand(self, x: Any) -> Any:
        return self.lift(x).node if isinstance(x, np.ndarray) and x.ndim else x.item() if hasattr(x, "item") else x

    def as_constant(self, array: Any) -> Symbol:
        """Return the symbol of a constant."""
        array = np.asarray(array)
        key = array.shape, array.dtype.str, array.tobytes()
        if key not in self.constants:
            self.constants[key] = Node(None, (), {}, array, f"constant_{len(self.constants) + 1}")
        return Symbol(self, self.constants[key])

    # What Tensors call

    def record_operation(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[list[Any], Symbol, None]:
        """Write an operation; return its inputs, its result, and None for the extra result."""
        return [*inputs], self.apply(operation, inputs, options), None

    def apply(self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """Write an operation, by its entry in OPERATIONS or by its formula."""
        symbols = [self.lift(x) for x in inputs]
        if operation.promote is not None:
            examples = [x.example if isinstance(x, Symbol) else x for x in symbols]
            common = promote(examples, operation.promote, operation.name)
            pairs = zip(symbols, common, strict=True)
            symbols = [_cast(self, x, new.dtype) if isinstance(x, Symbol) else self.lift(new) for x, new in pairs]
        try:
            if operation in OPERATIONS:
                return OPERATIONS[operation](self, *symbols, **options)
            out = operation.formula(*symbols, **options)
            return out if operation.extra is None else out[0]
        except SourceError:
            raise
        except Exception as error:  # the formula needs values, or an attribute that only arrays have
            reason = str(error) if isinstance(error, Unwritable) else type(error).__name__
            raise SourceError(
                f"export: the operation {operation.name}{at_user_line()} cannot be written as source code ({reason}); "
                f"export to .onnx instead"
            ) from error

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return the symbol of a Tensor or an array, a NumPy number as a Python number, and anything else unchanged."""
        array = x._data if isinstance(x, Tensor) else x
        if isinstance(array, np.ndarray):
            return Symbol(self, self.state[id(array)]) if id(array) in self.state else self.as_constant(array)
        return array.item() if isinstance(array, np.generic) else array

    as_tracer = index = lift

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """Return what a new Tensor holds."""
        return self.lift(array)

    def add_array(self, array: Any) -> Any:
        """Return what a new Tensor holds."""
        return self.lift(array)

    def match_layout(self, x: Any, like: Any) -> Any:
        """Return the same symbol: a graph has no memory layout."""
        return x

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that the file would not repeat."""
        raise SourceError(f"export: {what}{at_user_line()} cannot be written as source code")

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse to return values."""
        self.refuse(f"{what}, which differs from input to input,")

    def example_at(self, array: Any, index: Any) -> NoReturn:
        """Refuse to change elements in place."""
        self.refuse("a change of a tensor's elements in place")

    def random_draw(self, name: str, generator: Any, function: Any) -> NoReturn:
        """Refuse random numbers."""
        self.refuse(f"drawing random numbers ({name})")

    def _refuse_gradient(self, *_: Any, **__: Any) -> NoReturn:
        self.refuse("a gradient")

    vjp = check_gradient = before_grad_read = before_grad_assigned = update = check_group = _refuse_gradient
    check_hook = _refuse_gradient


def record(module: Module, example: NDArray[Any], *steps: Callable[[Tensor], Tensor]) -> Graph:
    """Record a network in evaluation mode.

    Args:
        module: the network.
        example: an input; only its shape and type matter.
        *steps: functions to apply to the input in order, such as preprocessing, the module and a softmax; without any,
            the module alone is applied.

    Raises:
        SourceError: the network cannot be written as source code; the message names the operation and your line.
    """
    trace = Trace(module.state_dict())
    start = Node(None, (), {"is_input": True}, example, "input")
    value: Any = Tensor._wrap(Symbol(trace, start))  # type: ignore[arg-type]  # in place of an array
    with restore_modes(module), no_grad():
        module.eval()
        if mode.trace is not None:
            raise SourceError("export: must not be called inside a function that chainrule.jit compiles")
        mode.trace = trace
        try:
            for step in steps or (module,):
                value = step(value)
        finally:
            mode.trace = None
    out = value._data if isinstance(value, Tensor) else value
    if not isinstance(out, Symbol) or out.node.is_constant:
        raise SourceError("export: the network must return one tensor that depends on its input")
    return Graph(start, out.node, trace.nodes)


# NumPy functions


def _cast(trace: Trace, x: Symbol, dtype: Any) -> Symbol:
    return x if x.dtype == np.dtype(dtype) else trace.write(np.asarray, (x,), {"dtype": np.dtype(dtype)})


def _reshape(trace: Trace, x: Symbol, shape: Any, **_: Any) -> Symbol:
    shape = np.reshape(x.example, shape).shape
    return x if shape == x.shape else trace.write(np.reshape, (x,), {"shape": shape})


def _transpose(trace: Trace, x: Symbol, axes: Any = None) -> Symbol:
    axes = tuple(range(x.ndim)[::-1]) if axes is None else tuple(axis % x.ndim for axis in axes)
    return trace.write(np.transpose, (x,), {"axes": axes})


def _swapaxes(trace: Trace, x: Symbol, first: int, second: int) -> Symbol:
    axes = [*range(x.ndim)]
    axes[first], axes[second] = axes[second], axes[first]
    return _transpose(trace, x, axes)


def _broadcast_to(trace: Trace, x: Symbol, shape: Any) -> Symbol:
    return trace.write(np.broadcast_to, (x,), {"shape": tuple(shape)})


def _by_shape(function: Any) -> Callable[..., Symbol]:
    """Return how to write a function that changes the shape only, such as np.expand_dims."""
    return lambda trace, x, *args, **options: _reshape(trace, x, function(x.example, *args, **options).shape)


def _reduction(function: Any) -> Callable[..., Symbol]:
    """Return how to write np.sum, np.mean, np.max or np.min."""

    def write(
        trace: Trace, x: Symbol, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False,
        **more: Any,
    ) -> Symbol:  # fmt: skip
        more.pop("initial", None)  # has an effect only on a maximum over no elements, which is refused
        if out is not None or more or x.example.size == 0:
            raise Unwritable(f"np.{function.__name__} with more options")
        axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis).tolist())
        x = x if dtype is None else _cast(trace, x, dtype)
        keepdims = bool(keepdims) and keepdims is not np._NoValue
        return trace.write(function, (x,), {"axis": axes, "keepdims": keepdims})

    return write


def _clip(trace: Trace, x: Any, low: Any = None, high: Any = None, **bounds: Any) -> Any:
    low, high = bounds.get("min", low), bounds.get("max", high)
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(np.sum), np.mean: _reduction(np.mean), np.max: _reduction(np.max), np.min: _reduction(np.min),
    np.where: lambda trace, *inputs: trace.write(np.where, inputs, {}), np.clip: _clip,
    np.reshape: _reshape, np.transpose: _transpose, np.swapaxes: _swapaxes, np.broadcast_to: _broadcast_to,
    np.copy: lambda _, x: x, np.ascontiguousarray: lambda _, x: x,
    np.expand_dims: _by_shape(np.expand_dims), np.squeeze: _by_shape(np.squeeze), np.ravel: _by_shape(np.ravel),
    np.zeros_like: lambda trace, x: trace.as_constant(np.zeros_like(x.example)),
    np.ones_like: lambda trace, x: trace.as_constant(np.ones_like(x.example)),
}  # fmt: skip
"""How to record each NumPy function that formulas call."""

SHAPE_FUNCTIONS = frozenset({np.shape, np.ndim, np.size, np.result_type})
"""Functions whose result depends on shapes and types only, and is computed at once."""

VIEWS = frozenset({np.reshape, np.transpose})
"""Functions that are written for constants too, so that a weight keeps its name."""

UFUNCS = frozenset({
    np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.power, np.square, np.sqrt, np.exp, np.log,
    np.expm1, np.log1p, np.tanh, np.sin, np.cos, np.absolute, np.sign, np.floor, np.ceil, np.maximum, np.minimum,
    np.reciprocal, np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and,
    np.logical_or, np.logical_not, np.isnan, np.isfinite, np.matmul,
})  # fmt: skip
"""The ufuncs that can be written."""


# Operations that need more than their formula


def _convolution(trace: Trace, x: Symbol, weight: Symbol, *, params: Any) -> Symbol:
    return trace.write(runtime.convolution, (x, weight), params._asdict())


def _max_pool(trace: Trace, x: Symbol, *, params: Any) -> Symbol:
    out = pooling.max_pool(x.example, params=params).shape[2:]
    options = {"kernel": params.kernel_size, "stride": params.stride, "padding": _window_padding(x, params, out)}
    return trace.write(runtime.max_pool, (x,), {**options, "dilation": params.dilation})


def _avg_pool(trace: Trace, x: Symbol, *, params: Any, divisor_options: tuple[bool, int | None]) -> Symbol:
    include_pad, override = divisor_options
    if params.ceil_mode or override is not None or (any(params.padding) and not include_pad):
        raise Unwritable("ceil_mode, count_include_pad=False or divisor_override")
    padding = tuple((p, p) for p in params.padding)
    options = {"kernel": params.kernel_size, "stride": params.stride, "padding": padding}
    return trace.write(runtime.avg_pool, (x,), options)


def _window_padding(x: Symbol, params: Any, out: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the padding before and after, with what `ceil_mode` adds at the end."""
    sizes = zip(x.shape[2:], out, params.kernel_size, params.stride, params.padding, params.dilation, strict=True)
    return tuple((p, max(p, (o - 1) * s + d * (k - 1) + 1 - n - p)) for n, o, k, s, p, d in sizes)


def _getitem(trace: Trace, x: Symbol, *, index: Any) -> Symbol:
    """Record an index of numbers and slices; it must select the whole batch, which may have any size."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts):
        raise Unwritable("an index of arrays")
    if any(isinstance(part, bool) for part in parts):
        raise Unwritable("a boolean as an index")
    if x.node.is_constant:
        return trace.as_constant(x.example[index])
    if parts[0] not in (..., slice(None)):
        raise Unwritable("a part of the batch")
    return trace.write(part, (x,), {"index": parts})


def _embedding_lookup(trace: Trace, weight: Symbol, index: Symbol) -> Symbol:
    return trace.write(runtime.embedding, (weight, index), {})


def _attention(trace: Trace, query: Any, key: Any, value: Any, *, is_causal: bool, scale: float) -> Any:
    scores = np.matmul(query * scale, np.swapaxes(key, -1, -2))
    if is_causal:
        scores = np.where(np.tri(query.shape[-2], key.shape[-2], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return np.matmul(weights / np.sum(weights, axis=-1, keepdims=True), value)


OPERATIONS: dict[Any, Callable[..., Any]] = {
    convolution.convolution: _convolution, pooling.max_pool: _max_pool, pooling.avg_pool: _avg_pool,
    shape.reshape: _reshape, shape.broadcast_to: _broadcast_to,
    shape.permute: lambda trace, x, dims=None: _transpose(trace, x, dims),
    shape.contiguous_copy: lambda _, x: x, shape.cast: lambda trace, x, dtype: _cast(trace, x, dtype),
    shape.concatenate: lambda trace, *inputs, dim=0: trace.write(join, inputs, {"axis": dim % inputs[0].ndim}),
    indexing.getitem: _getitem, indexing.embedding_lookup: _embedding_lookup,
    indexing.check_indices: lambda trace, x, **_: _cast(trace, x, np.int64),
    attention.fused_attention: _attention, ops.erf: lambda trace, x: trace.write(runtime.erf, (x,), {}),
}  # fmt: skip
"""How to record the operations whose formula calls kernels, or has a shape that depends on the batch."""
