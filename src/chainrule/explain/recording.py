"""The operations of a forward pass, each with its value and, after the backward pass, its gradient.

The tape keeps only what derivatives need. Here the results are kept, too: the pass runs on Tensors of a subclass, whose
operations add their results to a list.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.autograd.tape import Node, grad, history, node_of
from chainrule.nn import Parameter
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from chainrule.autograd.tape import Leaf
    from chainrule.nn import Module
    from chainrule.ops.operation import Operation

Results = list[tuple[str, Tensor]]
"""For each operation, the path of the layer that called it, and its result."""

_results: ContextVar[Results | None] = ContextVar("results", default=None)
_layer: ContextVar[str] = ContextVar("layer", default="")


@dataclass(frozen=True)
class RecordedOperation:
    """An operation of a forward pass.

    Attributes:
        name: the operation's name, such as "linear".
        layer: the path of the layer that called it; "" for the loss.
        inputs: the sources of its inputs: the positions of earlier operations, or the names of leaves. Inputs that
            require no gradient, such as the labels, are left out.
        value: its result.
        gradient: dC/d(value), where C is the result of the whole pass.
    """

    name: str
    layer: str
    inputs: tuple[int | str, ...]
    value: NDArray[Any]
    gradient: NDArray[Any]


def _record(operation: Operation[...], inputs: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """Run an operation, and add its result to the list of the current recording."""
    out = Tensor.__operation__(operation, inputs, options)
    results = _results.get()
    if results is not None:
        out.__class__ = _RecordedTensor
        results.append((_layer.get(), out))
    return out


class _RecordedTensor(Tensor):
    """A Tensor whose operations add their results to the list of the current recording."""

    __slots__ = ()
    __operation__ = staticmethod(_record)


class _RecordedParameter(Parameter):
    __slots__ = ()
    __operation__ = staticmethod(_record)


def _recorded_operator(name: str) -> Any:
    """Return a recording method for an operator such as `__add__`, which a Tensor runs without regard to its class."""
    plain = getattr(Tensor, name)

    def method(self: Tensor, other: Any) -> Any:
        out = plain(self, other)
        results = _results.get()
        if results is not None and isinstance(out, Tensor):
            out.__class__ = _RecordedTensor
            results.append((_layer.get(), out))
        return out

    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
for _name in (*_ARITHMETIC, *(f"r{name}" for name in _ARITHMETIC), *_COMPARISONS):
    if hasattr(Tensor, f"__{_name}__"):
        for _kind in (_RecordedTensor, _RecordedParameter):
            setattr(_kind, f"__{_name}__", _recorded_operator(f"__{_name}__"))


def recorded(tensor: Tensor) -> Tensor:
    """Return a Tensor that shares the memory, and whose operations are recorded."""
    out = tensor.detach()
    out.__class__ = _RecordedTensor
    return out


def record_parameters(network: Module) -> None:
    """Replace the parameters of a network by ones whose operations are recorded, and which require gradients."""
    for module in network.modules():
        for name in module._parameter_names:
            if (parameter := getattr(module, name)) is not None:
                setattr(module, name, _RecordedParameter(parameter.detach()))


@contextlib.contextmanager
def recording() -> Iterator[Results]:
    """Collect the results of all operations on recorded Tensors."""
    results: Results = []
    token = _results.set(results)
    try:
        yield results
    finally:
        _results.reset(token)


@contextlib.contextmanager
def in_layer(path: str) -> Iterator[None]:
    """Set the path of the layer that runs, for the operations recorded in this block."""
    token = _layer.set(path)
    try:
        yield
    finally:
        _layer.reset(token)


def operations(cost: Tensor, results: Results, leaves: Mapping[str, Tensor]) -> list[RecordedOperation]:
    """Return the operations that lead to a cost, in the order in which they ran, with their values and gradients.

    The graph is kept.

    Args:
        cost: the result, of one element.
        results: those of `recording`.
        leaves: the Tensors that require gradients, by name.

    Raises:
        ValueError: an operation was not recorded, because its first Tensor came from elsewhere.
    """
    by_node = {tensor._node: (layer, tensor) for layer, tensor in results if tensor._node is not None}
    nodes = history([node_of(cost, "operations")])
    for node in nodes:
        if node not in by_node:
            raise ValueError(f"the {node.operation.name} of Tensors made elsewhere was not recorded: pass arrays to it")
    names: dict[Node | Leaf | None, int | str] = {tensor._node: name for name, tensor in leaves.items()}
    names |= {node: position for position, node in enumerate(nodes)}
    gradients = grad(cost, [by_node[node][1] for node in nodes], retain_graph=True)
    return [
        RecordedOperation(
            node.operation.name,
            by_node[node][0],
            tuple(_inputs(node.parents, names)),
            by_node[node][1].detach().numpy(),
            gradient.numpy(),
        )
        for node, gradient in zip(nodes, gradients, strict=True)
    ]


def _inputs(
    parents: Sequence[Node | Leaf | None], names: Mapping[Node | Leaf | None, int | str]
) -> Iterator[int | str]:
    return (names[parent] for parent in parents if parent in names)
