"""Functions of one number, element by element; the mathematical library's `erf` is the limit, some 5 ns a number."""

from __future__ import annotations

import math
from typing import Any

from chainrule.kernels.compile import inner


@inner
def _erf(x: Any, out: Any, begin: int, end: int) -> None:
    for k in range(begin, end):
        out[k] = math.erf(x[k])
