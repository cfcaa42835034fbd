"""Sorting along one dimension. NaN counts as larger than any number, as in PyTorch.

The values are read by their indices, so that their derivative is that of `gather`: the gradient goes to the element
that was read. In a compiled program these are Python calls.
"""

import numpy as np

from chainrule.errors import check, check_integer
from chainrule.ops.argument_aliases import takes_axis
from chainrule.ops.indexing import gather
from chainrule.ops.operation import Array, Input, Tensor, check_tensors, operation
from chainrule.ops.shape import along, wrap_dim

__all__ = ["argsort", "sort", "topk"]


@operation(input_count=1)
def argsort(input: Input, dim: int = -1, descending: bool = False, stable: bool = False) -> Array:
    """The indices that sort along a dimension. Equal elements keep their order, whether `stable` or not.

    Raises:
        IndexError: `dim` is out of range.
    """
    axis = wrap_dim(input, dim, "argsort")
    if not input.ndim:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(input, axis=axis, kind="stable")
    # reversed before and after, so that equal elements keep their order
    reverse = along(axis, slice(None, None, -1))
    backward = np.argsort(input[reverse], axis=axis, kind="stable")[reverse]
    return np.ascontiguousarray(input.shape[axis] - 1 - backward)


@takes_axis
def sort(input: Input, dim: int = -1, descending: bool = False, *, stable: bool = False) -> tuple[Tensor, Tensor]:
    """The elements in order along a dimension, and the index of each.

    Args:
        input: any shape.
        dim: the dimension to sort along.
        descending: largest first.
        stable: equal elements keep their order, which they always do here.

    Returns:
        The pair (values, indices), both of the input's shape.

    Raises:
        IndexError: `dim` is out of range.
    """
    check_tensors("sort", input)
    dim = wrap_dim(input, dim, "sort")
    indices = argsort(input, dim, descending)
    return gather(input, dim, indices), indices


@takes_axis
def topk(input: Input, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest elements along a dimension, and the index of each.

    Args:
        input: any shape.
        k: how many.
        dim: the dimension.
        largest: the largest; otherwise the smallest.
        sorted: in order, which they always are here.

    Returns:
        The pair (values, indices), of the input's shape with k in `dim`.

    Raises:
        ValueError: `k` is negative, or larger than the dimension.
        IndexError: `dim` is out of range.
    """
    check_tensors("topk", input)
    dim = wrap_dim(input, dim, "topk")
    check_integer("topk", "k", k, minimum=0)
    size = input.shape[dim] if input.ndim else 1
    check("topk", k <= size, f"k is {k}, but dim {dim} has only {size} elements")
    indices: Array = argsort(input, dim, largest)
    indices = indices[along(dim, slice(k))] if input.ndim or k == 0 else indices
    return gather(input, dim, indices), indices
