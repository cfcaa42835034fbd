"""The graph of a network's operations, for TensorBoard.

The network is run once, on one batch. While it runs, the active trace of this thread is an `OperationGraph`: every
operation on Tensors calls `record_operation`, which computes the result and adds a node. Unlike in a trace of
`chainrule.jit`, Tensors hold arrays as usual, so any Python code can run. The scope of a node is the module whose
forward pass is running.
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
        self._scopes = [type(network).__name__]  # the scopes of the modules whose forward passes are running
        self._name_counts: dict[str, int] = {}  # how often each name was requested for a node
        self._node_names: dict[int, str] = {}  # the name of the node that computed an array, by the array's id
        self._arrays: list[Any] = []  # keeps these arrays alive, so that no other array gets the same id
        # Reversed, so that an array with several names gets the first one
        self._state_names = {id(t._data): name for name, t in reversed([*network.state_dict().items()])}
        self._module_paths = {id(module): path for path, module in network.named_modules() if path}

    def record(self, network: Module, inputs: Tensor) -> None:
        """Run the network on inputs, in evaluation mode, and record its operations.

        Raises:
            GraphError: the forward pass contains something that a graph cannot show.
        """
        handles = [
            handle
            for module in network.modules()
            if id(module) in self._module_paths
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
        self._scopes.append(f"{self._scopes[0]}/{self._module_paths[id(module)].replace('.', '/')}")

    def _leave(self, *_: Any) -> None:
        self._scopes.pop()

    def _add(self, name: str, operation: str, inputs: Sequence[Any], array: Any, *, scope: str) -> None:
        """Add a node.

        Args:
            name: its name in the scope; a number is appended if the name is taken.
            operation: the name of the operation that it shows.
            inputs: the operation's inputs; those that are not arrays are left out.
            array: the operation's result.
            scope: the scope, or "" for none.
        """
        input_names = [self._node_name(x) for x in inputs if isinstance(x, np.ndarray)]
        node = self.definition.node.add(op=operation, name=self._unique(f"{scope}/{name}" if scope else name))
        node.input.extend(input_names)
        shape = node.attr["_output_shapes"].list.shape.add()
        for size in array.shape:
            shape.dim.add(size=size)
        self._node_names[id(array)] = node.name
        self._arrays.append(array)

    def _node_name(self, array: NDArray[Any]) -> str:
        """Return the name of an array's node. Adds a node if the array is a parameter, a buffer or a constant."""
        if id(array) not in self._node_names:
            if id(array) in self._state_names:
                path = f"{self._scopes[0]}/{self._state_names[id(array)].replace('.', '/')}"
                operation = "Variable"
            else:
                path = f"{self._scopes[-1]}/constant"
                operation = "Const"
            scope, _, name = path.rpartition("/")
            self._add(name, operation, (), array, scope=scope)
        return self._node_names[id(array)]

    def _unique(self, name: str) -> str:
        """Return the name, or, if it was requested before, the name with a number appended."""
        count = self._name_counts[name] = self._name_counts.get(name, 0) + 1
        return name if count == 1 else self._unique(f"{name}_{count - 1}")

    # The protocol of a trace (`autograd.mode.Tracing`)

    def record_operation(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        """Compute an operation and add its node; return its inputs as arrays, its result and its extra result."""
        unpromoted = [self.lift(x) for x in inputs]  # promotion may copy; a node is found by its array's id
        arrays = unpromoted if operation.promote is None else promote(unpromoted, operation.promote, operation.name)
        with np.errstate(all="ignore"):
            output = operation.compute(*arrays, **options)
        result, extra = output if operation.extra is not None else (output, None)
        result = np.asarray(result)
        self._add(operation.name, operation.name, unpromoted, result, scope=self._scopes[-1])
        return arrays, result, extra

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return a Tensor's array, and anything else unchanged."""
        return x._data if isinstance(x, Tensor) else x

    as_tracer = add_array = lift

    def index(self, index: Any) -> Any:
        """Return an index as an array or an int, as operations receive it without a trace."""
        array = self.lift(index)
        return np.array(array) if array.ndim or array.dtype.kind == "b" else int(array)

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """Return the array, which a new Tensor holds."""
        return array

    def match_layout(self, x: Any, like: Any) -> Any:
        """Return `x`: memory layout makes no difference to the graph."""
        return x

    def example_at(self, array: Any, index: Any) -> Any:
        """Return the elements at an index; as in any trace, the caller uses only their shape."""
        return array[index]

    def random_draw(self, name: str, generator: np.random.Generator, function: Callable[[], NDArray[Any]]) -> Any:
        """Draw random numbers, and reset the generator, so that recording the graph does not affect later draws."""
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
        raise GraphError(f"its forward pass contains something that a graph cannot show: {what}")

    def refuse_value(self, what: str) -> Any:
        """Do nothing: Tensors have values here, unlike in other traces."""

    def _refuse_gradient(self, *_: Any, **__: Any) -> NoReturn:
        self.refuse("computing or changing gradients")

    vjp = check_gradient = before_grad_read = before_grad_assigned = update = _refuse_gradient
    check_group = check_hook = _refuse_gradient
