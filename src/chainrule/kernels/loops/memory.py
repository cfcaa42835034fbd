"""Whole numbers as what they stand for: addresses, bits, a job's description; and room on the stack.

Only an integer that comes from a table or an argument as it stands becomes a `pointer`; arithmetic is done with the
pointer, by index or by `shifted`, never with the integer. LLVM's code generator may rewrite inttoptr(address + offset)
as inttoptr(offset) moved by the address, and Numba links functions into their callers as the code generator leaves
them and optimizes them again there. Where the offset is 0, that is a null pointer, through which nothing can be read or
written: whatever depends on it is removed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_helpers
from numba.np.numpy_support import carray

from chainrule.kernels.compile import inner
from chainrule.kernels.job import HEAD, LENGTH
from chainrule.kernels.loops.tile import vector_code as intrinsic

cgutils: Any = untyped_helpers


@intrinsic
def pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    """An address as a pointer to numbers of a type, to be read and written by index; the address must not be a sum."""
    item = kind.dtype

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.inttoptr(values[0], context.get_data_type(item).as_pointer())

    typed: Any = types.CPointer
    return typed(item)(types.int64, kind), generate


@intrinsic
def shifted(typing_context: Any, start: Any, count: Any) -> Any:
    """A pointer so many bytes further on."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        here, (start_, count_) = values[0].type, values
        size = context.cast(b, count_, count, types.intp)
        return b.bitcast(b.gep(b.bitcast(start_, ir.IntType(8).as_pointer()), [size]), here)

    return start(start, count), generate


def same_bits(source: Any, target: Any) -> Any:
    """A function from numbers of one type to those of another that have the same bits."""

    @intrinsic
    def cast(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
            return b.bitcast(values[0], context.get_value_type(target))

        return target(source), generate

    return cast


double = same_bits(types.int64, types.float64)


@intrinsic
def room(typing_context: Any, like: Any, count: Any) -> Any:
    """Memory for so many numbers such as an array has, until the function that asks for it returns."""
    item, size = like.dtype, count.literal_value

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return cgutils.alloca_once(b, context.get_data_type(item), size=size)

    typed: Any = types.CPointer
    return typed(item)(like, count), generate


@inner
def line_of(description: Any) -> Any:
    """A description's numbers, as an array."""
    return carray(description, (description[LENGTH],))[HEAD:]
