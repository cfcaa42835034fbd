"""Whole numbers as what they stand for: addresses, bits, a job's description; and room on the stack."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils as untyped_helpers
from numba.np.numpy_support import carray

from chainrule.kernels.compile import inner
from chainrule.kernels.job import HEAD, LENGTH
from chainrule.kernels.loops.tile import vector_code as intrinsic

cgutils: Any = untyped_helpers


@intrinsic
def pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    """An address as a pointer to numbers of a type, to be read and written by index."""
    item = kind.dtype

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return b.inttoptr(values[0], context.get_data_type(item).as_pointer())

    typed: Any = types.CPointer
    return typed(item)(types.int64, kind), generate


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
