"""The operators that can be loaded: one table, from the operator's name to a function of the node and its inputs.

A function takes a `Call` and the inputs, Tensors or arrays, and returns the output or a tuple of outputs. What it does
not support it refuses (`Call.refuse`), and attributes that it does not read are refused for it, so that no file is
computed in another way than it says.
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
