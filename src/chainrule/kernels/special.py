"""Functions that NumPy lacks, for every element of an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def erf(x: NDArray[Any]) -> NDArray[Any]:
    """The error function, 2/√π ∫₀ˣ exp(-t²) dt, of float32 or float64 of any shape, to a few units in the last place.

    The result lies in memory as x does (in the same order of dimensions, without gaps).
    """
    out = np.empty_like(x, subok=False)
    dense = x if x.strides == out.strides else x.copy(order="K")
    run("shares", "erf", dense.ravel(order="K"), out.ravel(order="K"))
    return out
