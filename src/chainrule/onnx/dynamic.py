"""Dynamic dimensions: which sizes of a graph depend on the batch, found by tracing with several sizes.

Every trace sees ordinary integers. A size in which two traces of the same network differ depends on a dynamic
dimension: it becomes -1 or 0 in a Reshape, or the file computes it from the input's shape. If the traces differ in
anything else, such as operators or constants, the file would be wrong for other sizes, and the export is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import check
from chainrule.onnx.errors import OnnxError
from chainrule.onnx.graph import Constant, Graph, Node, Operand, Sizes, int64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Dimensions:
    """The dynamic dimensions of the inputs.

    Attributes:
        axes: for each dynamic dimension the axis of each input that has it: {"batch": {"input": 0}}.
        sizes: for each trace, the size of each dynamic dimension.
    """

    axes: Mapping[str, Mapping[str, int]]
    sizes: Sequence[Mapping[str, int]]

    def resized(self, inputs: Mapping[str, NDArray[Any]], trace: int) -> dict[str, NDArray[Any]]:
        """Return the examples in the sizes of one of the traces, cut or repeated along the dynamic dimensions."""
        arrays = dict(inputs)
        for name, axes in self.axes.items():
            for key, axis in axes.items():
                rows = np.arange(self.sizes[trace][name]) % arrays[key].shape[axis]
                arrays[key] = np.take(arrays[key], rows, axis)
        return arrays

    def name_of(self, sizes: Sequence[int]) -> str | int | None:
        """Return a number or the name of a dynamic dimension, given a size in each trace; None if it is neither."""
        if len({*sizes}) == 1:
            return sizes[0]
        return next((name for name in self.axes if [*sizes] == [trace[name] for trace in self.sizes]), None)

    def coefficients(self, sizes: Sequence[int]) -> dict[tuple[str, ...], int] | None:
        """Write the sizes in all traces as a sum of products of dynamic dimensions, or return None.

        Returns:
            The factor of each product: {(): 1, ("batch",): 16} is 1 + 16 batch.
        """
        products = [names for n in range(len(self.axes) + 1) for names in combinations(self.axes, n)]
        matrix = np.array([[prod(trace[name] for name in names) for names in products] for trace in self.sizes])
        factors = np.rint(np.linalg.lstsq(matrix.astype(np.float64), np.array(sizes, np.float64))[0]).astype(np.int64)
        if not np.array_equal(matrix @ factors, sizes):
            return None
        return {names: int(factor) for names, factor in zip(products, factors, strict=True) if factor}


def dimensions(inputs: Mapping[str, NDArray[Any]], dynamic: Mapping[str, Any] | None) -> Dimensions:
    """Return the dynamic dimensions that the caller names, and the sizes to trace with.

    Raises:
        ValueError: an input or an axis does not exist, or an example is empty along a dynamic dimension.
    """
    axes: dict[str, dict[str, int]] = {}
    for name, spec in (dynamic or {}).items():
        check("export", isinstance(name, str) and name, f"dynamic: {name!r} is not a name for a dimension")
        axis_by_input = spec if isinstance(spec, dict) else {key: spec for key, x in inputs.items() if x.ndim}
        axes[name] = {}
        for key, axis in axis_by_input.items():
            check("export", key in inputs, f"dynamic: there is no input {key!r}; there are {', '.join(inputs)}")
            ndim = inputs[key].ndim
            valid = isinstance(axis, int) and not isinstance(axis, bool) and -ndim <= axis < ndim
            check(
                "export", valid, f"dynamic: {name} is dimension {axis!r} of {key}, whose shape is {inputs[key].shape}"
            )
            clashes = [other for other in axes if axes[other].get(key) == axis % ndim]
            check("export", not clashes, f"dynamic: {name} and {', '.join(clashes)} are the same dimension of {key}")
            axes[name][key] = axis % ndim
        sizes = {key: inputs[key].shape[axis] for key, axis in axes[name].items()}
        check("export", 0 not in sizes.values(), f"dynamic: the example's size of {name} is 0, which shows no shapes")
        if len({*sizes.values()}) > 1:
            example = f"dynamic={{{name!r}: {{{next(iter(sizes))!r}: 0}}}}"
            raise ValueError(
                f"export: the inputs' sizes of {name} differ: {sizes}; name the inputs that have it, as in {example}"
            )
        if not sizes:
            del axes[name]
    choices = [_trial_sizes(inputs, axes[name]) for name in axes]
    # each combination of two sizes, and a trace in which every dimension has its third
    traces = [*product(*(sizes[:2] for sizes in choices)), *([tuple(s[2] for s in choices)] if choices else [])]
    return Dimensions(axes, [dict(zip(axes, sizes, strict=True)) for sizes in traces])


def _trial_sizes(inputs: Mapping[str, NDArray[Any]], axes: Mapping[str, int]) -> list[int]:
    """Return three sizes to trace with; a size of 1 would broadcast, so none is 1."""
    if set(axes.values()) == {0}:  # a batch
        return [2, 3, 4]
    size = next(inputs[key].shape[axis] for key, axis in axes.items())
    return [size, size - 1, size - 2] if size > 3 else [size + 1, size + 2, size + 3]


def merge(graphs: Sequence[Graph], dims: Dimensions) -> list[Node]:
    """Return the nodes of the file, from the graphs of all traces.

    Raises:
        OnnxError: the traces differ in more than sizes.
    """
    merged, sizes = [], _SizeWriter(graphs[0], dims)
    for index, node in enumerate(graphs[0].nodes):
        twins = [graph.nodes[index] if index < len(graph.nodes) else None for graph in graphs]
        inputs: list[Operand] = []
        for twin in twins:
            if twin is None or not _differ_in_sizes_only(node, twin):
                raise _refusal(dims, node)
        for i, operand in enumerate(node.inputs):
            operands: list[Any] = [twin.inputs[i] for twin in twins if twin is not None]
            if isinstance(operand, Sizes):
                inputs.append(sizes.operand(operands, node))
            elif isinstance(operand, Constant):
                inputs.append(sizes.array([constant.array for constant in operands], node))
            else:
                inputs.append(operand)
        merged.append(Node(node.op_type, inputs, node.outputs, node.attributes, node.line))
    if any(len(graph.nodes) != len(merged) for graph in graphs):
        raise _refusal(dims, graphs[0].nodes[-1])
    return sizes.nodes + merged


def _differ_in_sizes_only(node: Node, twin: Node) -> bool:
    """Whether two nodes are equal, except for sizes and for the contents of constants."""
    if (node.op_type, node.attributes, node.outputs) != (twin.op_type, twin.attributes, twin.outputs):
        return False
    return len(node.inputs) == len(twin.inputs) and all(
        isinstance(b, Constant) if isinstance(a, Constant)
        else isinstance(b, Sizes) and len(a.numbers) == len(b.numbers) if isinstance(a, Sizes)
        else a == b
        for a, b in zip(node.inputs, twin.inputs, strict=True)
    )  # fmt: skip


def _same_array(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _refusal(dims: Dimensions, node: Node) -> OnnxError:
    names = " and ".join(dims.axes)
    return OnnxError(
        f"export: the computation depends on the size of the dynamic dimension {names}, first at the node "
        f"{node.op_type} on{node.line}; take sizes from the shape of a tensor, as in x.reshape(x.shape[0], -1), or "
        f"pass dynamic=None to write a file for the example's size alone"
    )


class _SizeWriter:
    """Writes nodes that compute sizes from the dynamic dimensions.

    Attributes:
        nodes: these nodes, which come first in the file.
    """

    def __init__(self, graph: Graph, dims: Dimensions) -> None:
        self.graph, self.dims, self.nodes = graph, dims, list[Node]()
        self.values: dict[Any, str] = {}

    def operand(self, operands: Sequence[Sizes], node: Node) -> Constant | str:
        """Return sizes as a constant or, if they depend on a dynamic dimension, as the name of a computed value."""
        columns = [*zip(*(sizes.numbers for sizes in operands), strict=True)]
        numbers = [column[0] if len({*column}) == 1 else None for column in columns]
        if None in numbers and operands[0].reshaped is not None and 0 not in numbers:
            shapes = [*zip(*(sizes.reshaped or () for sizes in operands), strict=True)]
            # in a Reshape, 0 copies a size of the input, and -1 lets one size be inferred
            numbers = [
                0 if n is None and i < len(shapes) and shapes[i] == columns[i] else n for i, n in enumerate(numbers)
            ]
            if numbers.count(None) == 1:
                numbers[numbers.index(None)] = -1
        if None not in numbers:
            if node.op_type == "Reshape" and 0 in (column[0] for column in columns):
                self.allow_zero(node)
            return Constant(int64(*(n for n in numbers if n is not None)))
        if node.op_type == "Reshape":
            self.allow_zero(node)
        parts = [Constant(int64(c[0])) if len({*c}) == 1 else self.size(c, node) for c in columns]
        return parts[0] if len(parts) == 1 else self.value("Concat", *parts, axis=0)

    def allow_zero(self, node: Node) -> None:
        """Let 0 in the shape of a Reshape mean a size of 0, not the size of the input."""
        if self.graph.opset >= 14:
            node.attributes["allowzero"] = 1
        elif node.inputs:
            raise OnnxError(f"export: a reshape{node.line} to a size of 0 or to several dynamic sizes needs opset 14")

    def array(self, arrays: Sequence[NDArray[Any]], node: Node) -> Constant | str:
        """Return an array: a constant if it is the same in all traces, else nodes for a causal mask or a fill value."""
        if all(_same_array(arrays[0], array) for array in arrays):
            return Constant(arrays[0])
        first = arrays[0].reshape(-1)[:1].reshape(()) if arrays[0].size else arrays[0]
        if len({a.ndim for a in arrays}) == 1 and all(
            a.size and _same_array(a, np.full_like(a, first)) for a in arrays
        ):
            sizes = [self.size(column, node) for column in zip(*(a.shape for a in arrays), strict=True)]
            return self.value("Expand", Constant(first), self.value("Concat", *sizes, axis=0))
        if any(a.ndim != 2 or a.dtype != bool or not np.array_equal(a, np.tri(*a.shape, dtype=bool)) for a in arrays):
            raise _refusal(self.dims, node)
        axes = []
        for column, shape in zip(zip(*(a.shape for a in arrays), strict=True), ([-1, 1], [1, -1]), strict=True):
            count = self.value("Squeeze", self.size(column, node))
            positions = self.value("Range", Constant(np.asarray(0)), count, Constant(np.asarray(1)))
            axes.append(self.value("Reshape", positions, Constant(int64(*shape))))
        return self.value("GreaterOrEqual", *axes)

    def size(self, column: Sequence[int], node: Node) -> str:
        """Return the name of the value that holds a size, (1,) int64."""
        if len({*column}) == 1:
            return self.value("Identity", Constant(int64(column[0])))
        factors = self.dims.coefficients(column)
        if factors is None:
            raise _refusal(self.dims, node)
        total: str | Constant | None = None
        for names, factor in factors.items():
            term: str | Constant = Constant(int64(factor))
            for i, name in enumerate(names):
                term = self.dimension(name) if not i and factor == 1 else self.value("Mul", term, self.dimension(name))
            total = term if total is None else self.value("Add", total, term)
        return total if isinstance(total, str) else self.value("Identity", total or Constant(int64(0)))

    def dimension(self, name: str) -> str:
        """Return the name of the value that holds the size of a dynamic dimension, (1,) int64."""
        key, axis = next(iter(self.dims.axes[name].items()))
        return self.value("Slice", self.value("Shape", key), *(Constant(int64(n)) for n in (axis, axis + 1, 0)))

    def value(self, op_type: str, *inputs: str | Constant, **attributes: Any) -> str:
        """Return the name of the result of a node; a node with the same inputs is written only once."""
        key = op_type, *(x if isinstance(x, str) else (x.array.shape, x.array.tobytes()) for x in inputs)
        if key not in self.values:
            name = self.values[key] = self.graph.new_name(op_type.lower())
            self.nodes.append(Node(op_type, [*inputs], [name], attributes, ""))
        return self.values[key]
