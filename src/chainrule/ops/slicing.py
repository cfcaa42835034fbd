"""Slices along one dimension, composed of indexing. The results are views, except for `unfold`, which copies."""

import operator

from chainrule.errors import check, check_integer
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.indexing import getitem
from chainrule.ops.operation import Input, Tensor, check_tensors
from chainrule.ops.shape import along, reshape, stack, wrap_dim

__all__ = ["narrow", "select"]  # not `unfold`, which is a method of Tensor only, as in PyTorch


@takes_axis
def narrow(input: Input, dim: int, start: int, length: int) -> Tensor:
    """The elements from `start` to `start + length` (exclusive) along a dimension; a view.

    Args:
        input: at least one dimension.
        dim: the dimension.
        start: the first index; a negative number counts from the end.
        length: the number of elements.

    Raises:
        ValueError: the input has no dimensions, or the slice exceeds the dimension.
        IndexError: `dim` or `start` is out of range.
    """
    check_tensors("narrow", input)
    check("narrow", input.ndim, "a single number has no dimension to narrow")
    dim = wrap_dim(input, dim, "narrow")
    first, size = operator.index(start), input.shape[dim]
    check("narrow", -size <= first <= size, f"start {first} is out of range for size {size}", IndexError)
    first += size if first < 0 else 0
    check_integer("narrow", "the length", length, minimum=0)
    check("narrow", first + length <= size, f"start {first} and length {length} exceed the size {size} of dim {dim}")
    return getitem(input, index=along(dim, slice(first, first + length)))


@takes_axis
def select(input: Input, dim: int, index: int) -> Tensor:
    """The slice at one index of a dimension, without that dimension; a view.

    Raises:
        IndexError: the input has no dimensions, or `dim` or `index` is out of range.
    """
    check_tensors("select", input)
    check("select", input.ndim, "a single number has no dimension to select from", IndexError)
    dim = wrap_dim(input, dim, "select")
    size = input.shape[dim]
    check("select", -size <= index < size, f"index {index} is out of range for size {size} of dim {dim}", IndexError)
    return getitem(input, index=along(dim, operator.index(index)))


def unfold(input: Input, dimension: int, size: int, step: int) -> Tensor:
    """All windows of a size along a dimension: (..., n, ...) to (..., windows, ..., size). A copy; PyTorch's is a view.

    Args:
        input: any shape.
        dimension: the dimension.
        size: the number of elements in a window.
        step: the distance from the start of a window to the start of the next.

    Raises:
        ValueError: the window is larger than the dimension, `size` is negative, or `step` is less than 1.
        IndexError: `dimension` is out of range.
    """
    dim = wrap_dim(input, dimension, "unfold")
    check_integer("unfold", "size", size, minimum=0)
    check_integer("unfold", "step", step, minimum=1)
    x = input if input.ndim else reshape(input, shape=(1,))
    length = x.shape[dim]
    check("unfold", size <= length, f"a window of {size} is larger than dim {dim} of {input.shape}")
    if not size:
        empty = getitem(reshape(x, shape=(-1,)), index=slice(0))
        return reshape(empty, shape=(*x.shape[:dim], length // step + 1, *x.shape[dim + 1 :], 0))
    stop = (length - size) // step * step + 1  # one past the start of the last window
    # slice i holds element i of every window
    slices = [getitem(x, index=along(dim, slice(i, i + stop, step))) for i in range(size)]
    return reshape(stack(slices, -1), shape=(size,)) if not input.ndim else stack(slices, -1)
