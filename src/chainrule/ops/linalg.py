"""Products of matrices and vectors.

The derivatives are those of Petersen and Pedersen, The Matrix Cookbook (2012), section 2.4; for Y = X W, with G =
dL/dY: dL/dX = G Wᵀ and dL/dW = Xᵀ G.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.ops.arithmetic import mul
from chainrule.ops.operation import Array, operation
from chainrule.ops.shape import unsqueeze

if TYPE_CHECKING:
    from chainrule.tensor import Tensor

__all__ = [
    "bmm", "dot", "linear", "matmul", "mm", "outer",
]  # fmt: skip


@operation(numpy=np.matmul, promote="common")
def matmul(input: Array, other: Array) -> Array:
    """The matrix product over the last two dimensions; those before them broadcast, a vector is one row or one column.

    Args:
        input: (..., n, k) or (k,).
        other: (..., k, m) or (k,).

    Returns:
        (..., n, m), without n or m where that input is a vector.

    Raises:
        ValueError: an input has no dimension, or the k of the two differ.
    """
    if not np.ndim(input) or not np.ndim(other):
        raise ValueError(
            f"matmul: takes matrices and vectors, not a number (shapes {np.shape(input)}, {np.shape(other)})"
        )
    inner = other.shape[-2 if other.ndim > 1 else 0]
    if input.shape[-1] != inner:
        raise ValueError(
            f"matmul: {tuple(input.shape)} @ {tuple(other.shape)} does not fit: "
            f"the last dimension of the first is {input.shape[-1]}, it must be {inner}"
        )
    return np.matmul(input, other)


@matmul.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """G Yᵀ and Xᵀ G. A vector is made a matrix of one row or one column first."""
    row, column = input.ndim == 1, other.ndim == 1
    x = input[None, :] if row else input  # (..., n, k)
    y = other[:, None] if column else other  # (..., k, m)
    g = grad[..., None] if column else grad
    g = g[..., None, :] if row and not column else g[None] if row else g  # (..., n, m)

    def first() -> Array:
        product = g @ np.swapaxes(y, -1, -2)  # (..., n, k)
        return product[..., 0, :] if row else product

    def second() -> Array:
        product = np.swapaxes(x, -1, -2) @ g  # (..., k, m)
        return product[..., 0] if column else product

    return first, second


@operation
def linear(input: Array, weight: Array, bias: Array = None) -> Array:
    """A layer of neurons: y = x Wᵀ + b.

    Args:
        input: (..., in).
        weight: (out, in).
        bias: (out,), or None for none.

    Returns:
        (..., out).

    Raises:
        ValueError: the shapes do not fit.
    """
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        wanted = f"the last dimension must be {weight.shape[1]}" if weight.ndim == 2 else "the weight must be (out, in)"
        raise ValueError(f"linear: input {tuple(input.shape)} does not fit weight {tuple(weight.shape)}: {wanted}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}: it must be {weight.shape[:1]}"
        )
    product = np.matmul(input, np.transpose(weight))
    return product if bias is None else product + bias


@linear.derivative
def _(grad: Array, input: Array, weight: Array) -> Any:
    """dL/dx = G W, dL/dW = Gᵀ x over all examples, dL/db = G (summed over the examples by the tape)."""

    def of_weight() -> Array:
        n, (outputs, inputs) = math.prod(input.shape[:-1]), weight.shape
        return np.transpose(np.reshape(grad, (n, outputs))) @ np.reshape(input, (n, inputs))  # (out, n) @ (n, in)

    return lambda: grad @ weight, of_weight, grad


def mm(input: Array, mat2: Array) -> Tensor:
    """The product of two matrices, (n, k) and (k, m).

    Raises:
        ValueError: other dimensions, or the k differ.
    """
    return _product(input, mat2, 2, "mm")


def bmm(input: Array, mat2: Array) -> Tensor:
    """The products of two stacks of as many matrices, (b, n, k) and (b, k, m).

    Raises:
        ValueError: other dimensions, or the b or k differ.
    """
    return _product(input, mat2, 3, "bmm")


def dot(input: Array, tensor: Array) -> Tensor:
    """The sum of the products of two vectors of one length.

    Raises:
        ValueError: other dimensions or lengths.
    """
    return _product(input, tensor, 1, "dot")


def outer(input: Array, vec2: Array) -> Tensor:
    """Each element of one vector times each of another: (n,) and (m,) to (n, m).

    Raises:
        ValueError: one is not a vector.
    """
    if input.ndim != 1 or vec2.ndim != 1:
        raise ValueError(f"outer: takes two vectors, not {tuple(input.shape)} and {tuple(vec2.shape)}")
    return mul(unsqueeze(input, 1), vec2)


def _product(a: Array, b: Array, ndim: int, name: str) -> Tensor:
    fits = a.ndim == b.ndim == ndim and a.shape[-1] == b.shape[-min(ndim, 2)] and a.shape[:-2] == b.shape[:-2]
    if not fits:
        form = {1: "(n,) and (n,)", 2: "(n, k) and (k, m)", 3: "(b, n, k) and (b, k, m)"}[ndim]
        raise ValueError(f"{name}: takes {form}, not {tuple(a.shape)} and {tuple(b.shape)}")
    if a.dtype != b.dtype:
        raise TypeError(f"{name}: both must have one type, not {a.dtype} and {b.dtype}")
    return matmul(a, b)
