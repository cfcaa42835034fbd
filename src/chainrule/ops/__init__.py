"""Operations: the formula and the derivative of each, written once in NumPy. One family per file.

`operation.py` defines what an operation is. Start with `elementwise.py` to see what operations look like.

Docstrings are formulas where possible. In them, x is the parameter `input`; y is the second operand, such as `other` or
`exponent`; α, β and δ are the options `alpha`, `beta` and `delta`; G is the gradient of the result, `grad`. The
docstring of a derivative gives ∂out/∂x, the factor of G, or, where G is named, the gradient itself.
"""

from typing import TYPE_CHECKING

from chainrule.ops import (  # isort: skip
    activations as _activations, arithmetic as _arithmetic, attention as _attention, comparisons as _comparisons,
    convolution as _convolution, cumulative as _cumulative, elementwise as _elementwise, indexing as _indexing,
    linalg as _linalg, losses as _losses, normalization as _normalization, padding as _padding,
    pooling as _pooling, reductions as _reductions, resizing as _resizing,
    scattering as _scattering, shape as _shape, slicing as _slicing, sorting as _sorting,
    stacking as _stacking,
)  # fmt: skip
from chainrule.ops.activations import *
from chainrule.ops.arithmetic import *
from chainrule.ops.attention import *
from chainrule.ops.comparisons import *
from chainrule.ops.convolution import *
from chainrule.ops.cumulative import *
from chainrule.ops.elementwise import *
from chainrule.ops.indexing import *
from chainrule.ops.linalg import *
from chainrule.ops.losses import *
from chainrule.ops.normalization import *
from chainrule.ops.operation import NUMPY_FUNCTIONS as NUMPY_FUNCTIONS
from chainrule.ops.operation import Operation as Operation
from chainrule.ops.operation import operation as operation
from chainrule.ops.padding import *
from chainrule.ops.pooling import *
from chainrule.ops.reductions import *
from chainrule.ops.resizing import *
from chainrule.ops.scattering import *
from chainrule.ops.shape import *
from chainrule.ops.slicing import *
from chainrule.ops.sorting import *
from chainrule.ops.stacking import *

import chainrule.ops.numpy_functions  # isort: skip  # noqa: F401  # adds to NUMPY_FUNCTIONS

put = _indexing.add_at  # an older name
replace = _indexing.index_put  # its former name
NUMPY = NUMPY_FUNCTIONS  # its former name

if not TYPE_CHECKING:  # type checkers read the literal lists of the families
    __all__ = ["NUMPY_FUNCTIONS", "Operation", "operation"]
    __all__ += [
        name
        for family in (
            _activations, _arithmetic, _attention, _comparisons, _convolution, _cumulative, _elementwise, _indexing,
            _linalg, _losses, _normalization, _padding, _pooling, _reductions, _resizing, _scattering, _shape,
            _slicing, _sorting, _stacking,
        )
        for name in family.__all__
    ]  # fmt: skip
