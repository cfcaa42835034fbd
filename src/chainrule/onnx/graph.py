"""The nodes of one trace: what an export has recorded, before it is written as a file.

A trace runs the network on one set of examples. Its sizes are ordinary integers; tracing again with other sizes shows
which ones depend on a dynamic dimension, such as the batch: see `dynamic`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that is the same for all inputs, as an operand of a node."""

    array: NDArray[Any]


@dataclass(frozen=True)
class Sizes:
    """An operand of a node that holds sizes or positions, (n,) int64; some may depend on a dynamic dimension.

    Attributes:
        numbers: the numbers in this trace.
        reshaped: the shape of the array that a Reshape reads, if this operand is the new shape: a Reshape can copy
            sizes, and infer one.
    """

    numbers: tuple[int, ...]
    reshaped: tuple[int, ...] | None = None


Operand = str | Constant | Sizes


@dataclass
class Node:
    """A node: an operator with its inputs, outputs and attributes.

    Attributes:
        op_type: the name of the operator.
        inputs: names of values, constants and sizes; "" for an optional input that is left out.
        outputs: names of the results.
        attributes: the operator's attributes by name.
        line: where in the user's code it comes from, as the end of a message.
    """

    op_type: str
    inputs: list[Operand]
    outputs: list[str]
    attributes: dict[str, Any]
    line: str


@dataclass
class Graph:
    """The nodes of a trace, in order.

    Attributes:
        opset: the version of the operators to write.
        nodes: the nodes.
        names: the names of values in use.
    """

    opset: int
    nodes: list[Node] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)

    def new_name(self, stem: str) -> str:
        """Return an unused name for a value: relu, relu_1, relu_2, ..."""
        while True:
            count = self._counts[stem]
            self._counts[stem] += 1
            name = f"{stem}_{count}" if count else stem
            if name not in self.names:
                self.names.add(name)
                return name

    def add(
        self, op_type: str, inputs: Sequence[Operand], attributes: dict[str, Any], line: str, n_outputs: int = 1
    ) -> list[str]:
        """Add a node and return the names of its outputs."""
        names = [self.new_name(op_type.lower()) for _ in range(n_outputs)]
        self.nodes.append(Node(op_type, list(inputs), names, attributes, line))
        return names


def int64(*numbers: int) -> NDArray[np.int64]:
    """Return integers as an array."""
    return np.array(numbers, np.int64)
