"""Operations: the formula and the derivative of each, written once in NumPy. One family per file.

`operation` defines what an operation is. Start with `elementwise` to see what they look like.
"""

from typing import TYPE_CHECKING

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
from chainrule.ops.operation import NUMPY as NUMPY
from chainrule.ops.operation import Operation as Operation
from chainrule.ops.operation import operation as operation
from chainrule.ops.pooling import *
from chainrule.ops.reductions import *
from chainrule.ops.shape import *

put, replace = indexing.scatter_add, indexing.index_put  # their former names

if not TYPE_CHECKING:  # who know the families' own lists, as literals
    __all__ = ["NUMPY", "Operation", "operation"]
    __all__ += arithmetic.__all__
    __all__ += convolution.__all__
    __all__ += elementwise.__all__
    __all__ += indexing.__all__
    __all__ += linalg.__all__
    __all__ += losses.__all__
    __all__ += networks.__all__
    __all__ += pooling.__all__
    __all__ += reductions.__all__
    __all__ += shape.__all__
