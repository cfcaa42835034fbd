"""The error function, which NumPy lacks, for arrays.

Called by `ops.elementwise`. Compiled programs do not call this kernel: like a ufunc, `functions.erf` is fused into
their loops.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import functions
from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import KernelTemplate
from chainrule.kernels.machine import with_numpy_fallback
from chainrule.kernels.tree import Kernel, Type, type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ERF_FIELDS = DescriptorLayout("x out", "")


def erf(x: NDArray[Any]) -> NDArray[Any]:
    """The error function of each element, 2/√π ∫₀ˣ exp(-t²) dt, accurate to a few units in the last place.

    Args:
        x: an array of float32 or float64, of any shape.

    Returns:
        An array of the same shape and type, with the memory order of x but without gaps.
    """
    if not isinstance(x, (np.ndarray, np.generic)):  # a Tracer: NumPy's protocol for functions that are not ufuncs
        return x.__array_function__(erf, (type(x),), (x,), {})
    out = np.empty_like(x, subok=False)
    dense = x if x.strides == out.strides else x.copy(order="K")
    _erf(dense.ravel(order="K"), out.ravel(order="K"))
    return out


def _erf_in_numpy(x: NDArray[Any], out: NDArray[Any]) -> None:
    out[:] = [math.erf(value) for value in x.tolist()]


@with_numpy_fallback(_erf_in_numpy)
def _erf(x: NDArray[Any], out: NDArray[Any]) -> None:
    ERF.job([type_of(x.dtype)], row_count=x.size, iterations=10 * x.size).run(x, out)


@cache
def erf_kernel(type: Type) -> Kernel:
    """out[i] = erf(x[i]) for i from first to last - 1."""
    kernel = stage_kernel(f"erf_{type}")
    d = ERF_FIELDS.read(kernel)
    x, out = d.array("x", type), d.array("out", type)
    with kernel.loop(kernel["first"], kernel["last"]) as i:
        out[i] = functions.erf(x[i])
    return kernel


ERF = KernelTemplate(ERF_FIELDS, erf_kernel)
