"""Sorting along one dimension. NaN counts as larger than any number, as in PyTorch.

`sort` and `topk` find the indices with `argsort`, and read the elements with `gather`, which provides the derivative: a
gradient goes to the element that was read. Compiled programs call `argsort` as a Python function.
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
    """The indices that sort along a dimension. Equal elements keep their order, even if `stable` is False.

    Raises:
        IndexError: `dim` is out of range.
    """
    dim = wrap_dim(input, dim, "argsort")
    if not input.ndim:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(input, axis=dim, kind="stable")
    # reversed before and after sorting, so that equal elements keep their order
    reverse = along(dim, slice(None, None, -1))
    reversed_indices = np.argsort(input[reverse], axis=dim, kind="stable")[reverse]  # positions in the reversed input
    return np.ascontiguousarray(input.shape[dim] - 1 - reversed_indices)


@takes_axis
def sort(input: Input, dim: int = -1, descending: bool = False, *, stable: bool = False) -> tuple[Tensor, Tensor]:
    """The elements sorted along a dimension, and the index of each in the input.

    Args:
        input: any shape.
        dim: the dimension to sort along.
        descending: whether to sort the largest first.
        stable: has no effect: equal elements always keep their order.

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
    """The k largest elements along a dimension, and the index of each in the input.

    Args:
        input: any shape.
        k: the number of elements to return.
        dim: the dimension.
        largest: whether to return the largest elements; otherwise the smallest.
        sorted: has no effect: the elements are always sorted, in descending order if `largest`, else ascending.

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
