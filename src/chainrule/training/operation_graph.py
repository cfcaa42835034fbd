"""The graph of a network's operations, for TensorBoard.

The network is run once, on one batch. While it runs, `mode.trace` is an `OperationGraph`, so that every operation on
Tensors calls `run`, which computes it and adds a node. Tensors hold arrays as usual, so any Python code runs. The scope
of a node is the module whose forward pass is running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule.autograd import no_grad
from chainrule.autograd.mode import mode
from chainrule.ops.dtypes import promote
from chainrule.tensor import Tensor
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.nn import Module
    from chainrule.ops.operation import Operation


class GraphError(RuntimeError):
    """A network's forward pass contains something that a graph cannot show."""


class OperationGraph:
    """Records the operations of one call as the nodes of a TensorBoard graph.

    Args:
        network: the network; its parameters and buffers are nodes in the scopes of their modules.

    Attributes:
        definition: the graph, a protocol buffer.
    """

    def __init__(self, network: Module) -> None:
        from tensorboardX.proto import graph_pb2  # an extra

        self.definition: Any = graph_pb2.GraphDef()
        self._scopes = [type(network).__name__]
        self._uses: dict[str, int] = {}  # how often each name was requested for a node
        self._names: dict[int, str] = {}  # of the node that computed an array, by id
        self._arrays: list[Any] = []  # kept, so that no other array gets the same id
        self._state = {id(t._data): name for name, t in reversed([*network.state_dict().items()])}
        self._paths = {id(module): path for path, module in network.named_modules() if path}

    def record(self, network: Module, inputs: Tensor) -> None:
        """Run the network on inputs, in evaluation mode, and record it."""
        handles = [
            handle
            for module in network.modules()
            if id(module) in self._paths
            for handle in (module.register_forward_pre_hook(self._enter), module.register_forward_hook(self._leave))
        ]
        self._add("input", "Placeholder", (), inputs._data, scope="")
        try:
            with restore_modes(network), no_grad():
                network.eval()
                mode.trace = self
                try:
                    output = network(inputs)
                finally:
                    mode.trace = None
        finally:
            for handle in handles:
                handle.remove()
        if isinstance(output, Tensor):
            self._add("output", "Identity", (output._data,), np.array(output._data), scope="")

    def _enter(self, module: Module, _: Any) -> None:
        self._scopes.append(f"{self._scopes[0]}/{self._paths[id(module)].replace('.', '/')}")

    def _leave(self, *_: Any) -> None:
        self._scopes.pop()

    def _add(self, name: str, kind: str, inputs: Sequence[Any], array: Any, *, scope: str) -> None:
        """Add a node that computes an array from others."""
        sources = [self._name(x) for x in inputs if isinstance(x, np.ndarray)]
        node = self.definition.node.add(op=kind, name=self._unique(f"{scope}/{name}" if scope else name))
        node.input.extend(sources)
        shape = node.attr["_output_shapes"].list.shape.add()
        for size in array.shape:
            shape.dim.add(size=size)
        self._names[id(array)] = node.name
        self._arrays.append(array)

    def _name(self, array: NDArray[Any]) -> str:
        """Return the name of the node of an array; add one if it is a parameter or a constant."""
        if id(array) not in self._names:
            if id(array) in self._state:
                path, kind = f"{self._scopes[0]}/{self._state[id(array)].replace('.', '/')}", "Variable"
            else:
                path, kind = f"{self._scopes[-1]}/constant", "Const"
            scope, _, name = path.rpartition("/")
            self._add(name, kind, (), array, scope=scope)
        return self._names[id(array)]

    def _unique(self, name: str) -> str:
        count = self._uses[name] = self._uses.get(name, 0) + 1
        return name if count == 1 else self._unique(f"{name}_{count - 1}")

    # Methods that operations on Tensors call

    def record_operation(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        """Compute an operation and add its node; return its inputs as arrays, its result and its extra result."""
        sources = [self.lift(x) for x in inputs]
        arrays = sources if operation.promote is None else promote(sources, operation.promote, operation.name)
        with np.errstate(all="ignore"):
            result = operation.compute(*arrays, **options)
        array, extra = result if operation.extra is not None else (result, None)
        array = np.asarray(array)
        self._add(operation.name, operation.name, sources, array, scope=self._scopes[-1])
        return arrays, array, extra

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return a Tensor's array, and anything else unchanged."""
        return x._data if isinstance(x, Tensor) else x

    as_tracer = add_array = lift

    def index(self, index: Any) -> Any:
        """Return an index as an array or an int, as operations without a trace get it."""
        array = self.lift(index)
        return np.array(array) if array.ndim or array.dtype.kind == "b" else int(array)

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """Return what a new Tensor holds."""
        return array

    def match_layout(self, x: Any, like: Any) -> Any:
        """Return the same array: its layout makes no difference to the graph."""
        return x

    def example_at(self, array: Any, index: Any) -> Any:
        """Return the elements at an index."""
        return array[index]

    def random_draw(self, name: str, generator: np.random.Generator, function: Callable[[], NDArray[Any]]) -> Any:
        """Draw random numbers, and reset the generator: drawing the graph changes no later number."""
        state = generator.bit_generator.state
        try:
            return function()
        finally:
            generator.bit_generator.state = state

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action with effects beyond the graph, such as setting a seed.

        Raises:
            GraphError: always.
        """
        raise GraphError(f"its forward pass contains what a graph cannot show: {what}")

    def refuse_value(self, what: str) -> Any:
        """Do nothing: Tensors have values here, unlike in other traces."""

    def _refuse_gradient(self, *_: Any, **__: Any) -> NoReturn:
        self.refuse("computing or changing gradients")

    vjp = check_gradient = before_grad_read = before_grad_assigned = update = _refuse_gradient
    check_group = check_hook = _refuse_gradient
