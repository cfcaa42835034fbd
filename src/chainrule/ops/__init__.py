"""Operations: each one's formula and derivative, written once in NumPy, one family a file.

`operation` says what an operation is; read `elementwise` first for what they look like.
"""

from chainrule.ops import (  # isort: skip
    arithmetic, convolution, elementwise, indexing, linalg, losses, networks, pooling, reductions, shape,
)  # fmt: skip
from chainrule.ops.arithmetic import *
from chainrule.ops.convolution import *
from chainrule.ops.elementwise import *
from chainrule.ops.indexing import *
from chainrule.ops.linalg import *
from chainrule.ops.losses import *
from chainrule.ops.networks import *
from chainrule.ops.operation import NUMPY, Operation, operation
from chainrule.ops.pooling import *
from chainrule.ops.reductions import *
from chainrule.ops.shape import *

put, replace = indexing.scatter_add, indexing.index_put  # their former names

__all__ = ["NUMPY", "Operation", "operation"]
for family in (arithmetic, convolution, elementwise, indexing, linalg, losses, networks, pooling, reductions, shape):
    __all__ += family.__all__
