"""A trace for an export: runs the network once on symbols, which write the graph.

While it runs, `mode.trace` is this trace, so that every operation on Tensors calls `record_operation`. Python code runs
as it is: branches that depend on options are taken, loops are unrolled, and code that needs values is refused with its
line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.capture.frames import at_user_line
from chainrule.onnx.errors import OnnxError, UnsupportedError
from chainrule.onnx.nodes import OPERATIONS
from chainrule.onnx.symbol import Symbol, Writer
from chainrule.ops.dtypes import promote
from chainrule.ops.indexing import getitem
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from chainrule.ops.operation import Operation


class Trace(Writer):
    """Records one call of a network.

    Args:
        opset: the version of the operators to write.
        state: the parameters and buffers, by name.
        reserved: names that no value may have.
    """

    def __init__(self, opset: int, state: Mapping[str, Tensor], reserved: Sequence[str]) -> None:
        super().__init__(opset)
        self.graph.names |= {*state, *reserved}
        # a tied parameter keeps its first name
        self.state = {id(tensor._data): Symbol(self, name, tensor._data) for name, tensor in reversed([*state.items()])}

    def call(self, function: Callable[..., Any], inputs: Mapping[str, NDArray[Any]]) -> Any:
        """Call a function with symbols of these arrays, by name, and return what it returns."""
        symbols: list[Any] = [Symbol(self, name, array) for name, array in inputs.items()]
        if mode.trace is not None:
            raise OnnxError("export: must not be called inside a function that chainrule.jit compiles")
        mode.trace = self
        try:
            return function(*map(Tensor._wrap, symbols))
        finally:
            mode.trace = None

    # What Tensors call

    def record_operation(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[list[Any], Symbol, None]:
        """Write an operation; return its inputs, its result, and None for the extra result."""
        return [*inputs], self.apply(operation, inputs, options), None

    def apply(self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]) -> Symbol:
        """Write an operation."""
        symbols: list[Any] = [self.lift(x) for x in inputs]
        if operation.promote is not None:
            symbols = self._promote(symbols, operation)
        examples = [_example(x) for x in symbols]
        with np.errstate(all="ignore"):
            result = operation.formula(*examples, **_example(options))  # raises the errors of the operation
        example = np.asarray(result if operation.extra is None else result[0])
        # an index of a constant is written, not computed: its bounds may depend on a dynamic dimension
        if operation is not getitem and not _has_values(symbols) and not _has_values(options):
            return self.as_constant(example)
        write = OPERATIONS.get(operation)
        try:
            if write is not None:
                out = write(self, *symbols, **options)
            else:
                out = operation.formula(*symbols, **options)
                out = out if operation.extra is None else out[0]
            if not isinstance(out, Symbol):
                out = self.as_constant(out)
        except OnnxError as error:
            if type(error) is not UnsupportedError or str(error).startswith("export: "):
                raise
            raise self._no_node(operation, str(error)) from None
        except Exception as error:  # the formula needs values, or an attribute that only arrays have
            raise self._no_node(operation, type(error).__name__) from error
        return Symbol(self, out.operand, example)

    def _no_node(self, operation: Operation[...], reason: str) -> UnsupportedError:
        return UnsupportedError(
            f"export: the operation {operation.name}{at_user_line()} has no ONNX node here, and its formula cannot be "
            f"written either ({reason})"
        )

    def _promote(self, symbols: list[Any], operation: Operation[...]) -> list[Any]:
        """Return inputs of one type."""
        common = promote([_example(x) for x in symbols], operation.promote or "common", operation.name)
        return [
            self.as_symbol(x, new.dtype) if isinstance(new, np.ndarray) else x
            for x, new in zip(symbols, common, strict=True)
        ]

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return the symbol of a Tensor or an array, a NumPy number as a Python number, and anything else unchanged."""
        array = x._data if isinstance(x, Tensor) else x
        if isinstance(array, np.ndarray):
            return self.state[id(array)] if id(array) in self.state else self.as_constant(array)
        return array.item() if isinstance(array, np.generic) else array

    as_tracer = lift

    def index(self, index: Any) -> Any:
        """Return the symbol of an array that is used as an index."""
        symbol = self.lift(index)
        if symbol.is_constant:  # a copy: the caller may change it
            return np.array(symbol.example) if symbol.ndim else symbol.example.item()
        return symbol

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """Return what a new Tensor holds."""
        return self.lift(array)

    def add_array(self, array: Any) -> Any:
        """Return what a new Tensor holds."""
        return self.lift(array)

    def match_layout(self, x: Any, like: Any) -> Any:
        """Return the same symbol: a graph has no memory layout."""
        return x

    # What cannot be written

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that the file would not repeat."""
        raise OnnxError(f"export: {what}{at_user_line()} cannot be written as ONNX")

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse to return values."""
        raise OnnxError(
            f"export: {what} is needed{at_user_line()}, but differs from input to input, and a file has no Python code"
        )

    def example_at(self, array: Any, index: Any) -> NoReturn:
        """Refuse to change elements in place."""
        self.refuse("a change of a tensor's elements in place")

    def random_draw(self, name: str, generator: Any, function: Any) -> NoReturn:
        """Refuse random numbers."""
        self.refuse(f"drawing random numbers ({name})")

    def _refuse_gradient(self, *_: Any, **__: Any) -> NoReturn:
        self.refuse("a gradient")

    vjp = check_gradient = before_grad_read = before_grad_assigned = update = check_group = _refuse_gradient

    def check_hook(self, owner: Any) -> NoReturn:
        """Refuse to register a hook."""
        self.refuse("registering a hook")


def _example(x: Any) -> Any:
    """Replace symbols by their examples, in tuples, lists and dicts as well."""
    if isinstance(x, Symbol):
        return x.example
    if type(x) in (tuple, list):
        return type(x)([_example(part) for part in x])
    return {name: _example(value) for name, value in x.items()} if type(x) is dict else x


def _has_values(x: Any) -> bool:
    """Whether x is a symbol that is not a constant, or contains one."""
    if isinstance(x, Symbol):
        return not x.is_constant
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (tuple, list)) else ()
    return any(_has_values(part) for part in parts)
