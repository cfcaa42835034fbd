"""A job's description (`kernels.job`), as compiled loops read it."""

from __future__ import annotations

from typing import Any

from numba.np.numpy_support import carray

from chainrule.kernels.compile import inner
from chainrule.kernels.job import HEAD, LENGTH


@inner
def line_of(description: Any) -> Any:
    """A description's numbers, as an array."""
    return carray(description, (description[LENGTH],))[HEAD:]
