"""Loops whose arrays do not overlap: told so, LLVM makes vector code of them without looking where the arrays are.

Otherwise it compares all their addresses when a loop is entered, which in a row of 16 numbers takes longer than the
row, and does not dare to keep sums in registers from one row to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
from numba.core import compiler as untyped_compiler

from chainrule.kernels.compile import NO_ENTRANCE

if TYPE_CHECKING:
    from collections.abc import Callable

compiler: Any = untyped_compiler
njit: Any = numba.njit


class _Apart(compiler.Compiler):  # type: ignore[misc]  # its base is Any
    """Numba's compiler, which marks each pointer that a function takes as one to memory that no other leads to."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


def apart(function: Callable[..., Any]) -> Any:
    """`kernels.compile.inner` for a loop over arrays that it takes as pointers, and that do not overlap."""
    return njit(error_model="numpy", nogil=True, pipeline_class=_Apart, **NO_ENTRANCE)(function)
