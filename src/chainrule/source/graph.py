"""The graph of a network: the NumPy functions that compute its output, one node for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SourceError(UserError):
    """A network that cannot be written as source code."""


@dataclass(eq=False)
class Node:
    """A value of the graph.

    Attributes:
        function: the NumPy function, or one of `runtime`; None for the input, a weight or a constant.
        inputs: its arguments: nodes and Python numbers.
        options: its keyword arguments.
        example: the value in this trace, which has the shape and the type.
        name: the name of the input, a weight or a constant; "" for others.
    """

    function: Any
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    example: NDArray[Any]
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.example.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        return self.example.dtype

    @property
    def is_constant(self) -> bool:
        """Whether it is a weight or a constant."""
        return self.function is None and not self.options.get("is_input")


@dataclass
class Graph:
    """A recorded network.

    Attributes:
        input: the input, whose first dimension is the batch.
        output: the output.
        nodes: the computed values, in order.
    """

    input: Node
    output: Node
    nodes: list[Node] = field(default_factory=list)

    def used(self) -> list[Node]:
        """Return the nodes that the output needs: the constants, then the others in order."""
        needed, unvisited = {id(self.output)}, [self.output]
        constants: list[Node] = []
        while unvisited:
            for x in unvisited.pop().inputs:
                if isinstance(x, Node) and id(x) not in needed:
                    needed.add(id(x))
                    unvisited.append(x)
                    if x.is_constant:
                        constants.append(x)
        return constants[::-1] + [node for node in self.nodes if id(node) in needed]


def part(x: NDArray[Any], index: Any) -> NDArray[Any]:
    """Return a part of an array, by an index of numbers and slices."""
    result: NDArray[Any] = x[index]
    return result


def join(*arrays: NDArray[Any], axis: int) -> NDArray[Any]:
    """Join arrays along a dimension."""
    return np.concatenate(arrays, axis)
