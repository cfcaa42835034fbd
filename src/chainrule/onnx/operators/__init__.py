"""The operators that can be loaded: one table, from the operator's name to a function of the node and its inputs.

A function takes a `Call` and the inputs, Tensors or arrays, and returns the output or a tuple of outputs. It refuses
what it does not support (`Call.refuse`). Attributes that it has not read are refused after the first call
(`Call.check_attributes`): a file is computed as it says, or not at all.
"""

from chainrule.onnx.operators import (
    attention,
    elementwise,
    indexing,
    networks,
    recurrent,
    reductions,
    resize,
    shape,
    windows,
)
from chainrule.onnx.operators.call import Operator

FAMILIES = (elementwise, reductions, shape, indexing, networks, attention, recurrent, windows, resize)

OPERATORS: dict[str, Operator] = {name: function for family in FAMILIES for name, function in family.OPERATORS.items()}
"""The functions of all operators, by name."""
