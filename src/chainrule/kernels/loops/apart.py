"""Loops whose arrays do not overlap: told so, LLVM makes vector code of them without looking where the arrays are.

Otherwise it compares all their addresses when a loop is entered, which in a row of 16 numbers takes longer than the
row, and does not dare to keep sums in registers from one row to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
from numba import types
from numba.core import compiler as untyped_compiler

from chainrule.kernels.compile import NO_ENTRANCE
from chainrule.kernels.loops.tile import vector_code as intrinsic

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


@intrinsic
def keep_rows(typing_context: Any) -> Any:
    """Have each row of the function's loops done for itself, in vectors.

    LLVM writes out all of a row of 8 or 16 numbers otherwise, and then takes several rows at once and shuffles their
    numbers, which is slower and takes it seconds to find out.
    """

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        b.function.attributes.add("optsize")  # for loops are shorter that way
        return context.get_dummy_value()

    return types.void(), generate
