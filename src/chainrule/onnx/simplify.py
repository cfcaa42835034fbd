"""Merges nodes into one: a convolution with the sum of its bias, and the parts of batch normalization.

chainrule composes both from smaller operations, and runtimes compute the merged node in one loop.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from chainrule.onnx.graph import Constant, Node

if TYPE_CHECKING:
    from collections.abc import Sequence


def simplify(nodes: Sequence[Node], state: Sequence[str], outputs: Sequence[str]) -> list[Node]:
    """Return the nodes with these patterns replaced; nodes that are no longer used stay.

    Args:
        nodes: the nodes of a file.
        state: the names of parameters and buffers.
        outputs: the names of the file's outputs.
    """
    patterns = _Patterns(nodes, {*state}, outputs)
    return [patterns.convolution_with_bias(node) or patterns.batch_norm(node) or node for node in nodes]


class _Patterns:
    """Recognizes the patterns, given a node that ends one."""

    def __init__(self, nodes: Sequence[Node], state: set[str], outputs: Sequence[str]) -> None:
        self.producers = {name: node for node in nodes for name in node.outputs}
        self.uses = Counter([x for node in nodes for x in node.inputs if isinstance(x, str)] + [*outputs])
        self.state = state

    def find(self, operand: Any, op_type: str) -> Node | None:
        """Return the node that computes an operand, if it is of this type and nothing else reads its result."""
        node = self.producers.get(operand) if isinstance(operand, str) else None
        return node if node is not None and node.op_type == op_type and self.uses[node.outputs[0]] == 1 else None

    def by_channel(self, operand: Any) -> str | None:
        """Return the name of the parameter (C,) that an operand reshapes to (1, C, 1, ...), or None."""
        node = self.producers.get(operand) if isinstance(operand, str) else None
        if node is None or node.op_type != "Reshape" or node.inputs[0] not in self.state:
            return None
        shape = node.inputs[1].array.tolist() if isinstance(node.inputs[1], Constant) else []
        fits = len(shape) > 1 and shape[0] == 1 and {*shape[2:]} <= {1}
        return node.inputs[0] if fits and isinstance(node.inputs[0], str) else None

    def convolution_with_bias(self, node: Node) -> Node | None:
        """Return one node for a convolution and the sum with its bias, or None."""
        if node.op_type != "Add":
            return None
        convolution = self.find(node.inputs[0], "Conv") or self.find(node.inputs[0], "ConvTranspose")
        bias = self.by_channel(node.inputs[1])
        if convolution is None or bias is None or len(convolution.inputs) > 2:
            return None
        return Node(convolution.op_type, [*convolution.inputs, bias], node.outputs, convolution.attributes, node.line)

    def batch_norm(self, node: Node) -> Node | None:
        """Return one node for (x - mean) / √(variance + eps) · weight + bias, or None."""
        product = self.find(node.inputs[0], "Mul") if node.op_type == "Add" else None
        quotient = self.find(product.inputs[0], "Div") if product is not None else None
        if product is None or quotient is None:
            return None
        difference, root = self.find(quotient.inputs[0], "Sub"), self.find(quotient.inputs[1], "Sqrt")
        total = self.find(root.inputs[0], "Add") if root is not None else None
        if difference is None or total is None or not isinstance(total.inputs[1], Constant):
            return None
        operands = (product.inputs[1], node.inputs[1], difference.inputs[1], total.inputs[0])
        parameters = [name for operand in operands if (name := self.by_channel(operand)) is not None]
        if len(parameters) < len(operands) or total.inputs[1].array.ndim:
            return None
        epsilon = float(total.inputs[1].array)
        return Node(
            "BatchNormalization", [difference.inputs[0], *parameters], node.outputs, {"epsilon": epsilon}, node.line
        )
