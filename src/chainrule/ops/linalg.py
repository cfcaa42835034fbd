"""Products of matrices and vectors, and sums of products.

The derivatives are those of Petersen and Pedersen, The Matrix Cookbook (2012), section 2.4; for Y = X W, with G =
dL/dY: dL/dX = G Wᵀ and dL/dW = Xᵀ G.
"""

from math import prod
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.arithmetic import mul
from chainrule.ops.indexing import diagonal
from chainrule.ops.operation import Array, Tensor, only_tensors, operation
from chainrule.ops.reductions import sum
from chainrule.ops.shape import broadcast_to, permute, reshape, unsqueeze

__all__ = ["bmm", "dot", "einsum", "linear", "matmul", "mm", "outer"]


@operation(numpy=np.matmul)
def matmul(input: Array, other: Array) -> Array:
    """The matrix product over the last two dimensions; those before them broadcast, a vector is one row or one column.

    Args:
        input: (..., n, k) or (k,).
        other: (..., k, m) or (k,), of the same type.

    Returns:
        (..., n, m), without n or m where that input is a vector.

    Raises:
        ValueError: an input has no dimension, or the k of the two differ.
        TypeError: the types differ, or an input is a number.
    """
    only_tensors("matmul", input, other)
    first, second = input.shape, other.shape
    if not first or not second:
        raise ValueError(f"matmul: takes matrices and vectors, not a number (shapes {first}, {second})")
    if first[-1] != second[-2:][0]:
        wanted = f"the last dimension of the first is {first[-1]}, it must be {second[-2:][0]}"
        raise ValueError(f"matmul: {first} @ {second} does not fit: {wanted}")
    _one_type("matmul", input, other)
    return np.matmul(input, other)


@matmul.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """G Yᵀ and Xᵀ G. A vector is made a matrix of one row or one column first; the tape sums a row away again."""
    column = other.ndim == 1
    if column:
        other, grad = other[:, None], grad[..., None]
    if input.ndim == 1:
        input, grad = input[None], np.expand_dims(grad, -2)
    # (..., n, m) @ (..., m, k); and (..., k, n) @ (..., n, m), of a column the row (..., 1, n) @ (..., n, k)
    return lambda: grad @ _turned(other), lambda: _turned(grad) @ input if column else _turned(input) @ grad


def _turned(matrices: Array) -> Array:
    return np.swapaxes(matrices, -1, -2)


def _one_type(name: str, input: Array, *others: Array) -> None:
    for other in others:
        if other is not None and other.dtype != input.dtype:
            wanted = "both must have one type"
            raise TypeError(f"{name}: {wanted}, not {input.dtype} and {other.dtype}: use .float() or .double()")


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
        TypeError: the types differ.
    """
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        wanted = f"the last dimension must be {weight.shape[1]}" if weight.ndim == 2 else "the weight must be (out, in)"
        raise ValueError(f"linear: input {input.shape} does not fit weight {weight.shape}: {wanted}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias {bias.shape} does not fit weight {weight.shape}: it must be {weight.shape[:1]}")
    _one_type("linear", input, weight, bias)
    product = np.matmul(input, np.transpose(weight))
    return product if bias is None else product + bias


@linear.derivative
def _(grad: Array, input: Array, weight: Array) -> Any:
    """dL/dx = G W, dL/dW = Gᵀ x over all examples, dL/db = G (summed over the examples by the tape)."""

    def of_weight() -> Array:
        n, (outputs, inputs) = prod(input.shape[:-1]), weight.shape
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
    check("outer", input.ndim == vec2.ndim == 1, f"takes two vectors, not {input.shape} and {vec2.shape}")
    return mul(unsqueeze(input, 1), vec2)


def _product(a: Array, b: Array, ndim: int, name: str) -> Tensor:
    if not (a.ndim == b.ndim == ndim and a.shape[-1] == b.shape[-min(ndim, 2)] and a.shape[:-2] == b.shape[:-2]):
        form = {1: "(n,) and (n,)", 2: "(n, k) and (k, m)", 3: "(b, n, k) and (b, k, m)"}[ndim]
        raise ValueError(f"{name}: takes {form}, not {a.shape} and {b.shape}")
    return matmul(a, b)


# einsum computes nothing new: each pair of operands is brought to a stack of matrices and multiplied, so its
# derivatives are those of `permute`, `reshape` and `matmul`


def einsum(equation: str, *operands: Array) -> Tensor:
    """Sums of products: "ij,jk->ik" is a matrix product, "ii" the sum of a diagonal.

    Args:
        equation: letters for each operand's dimensions, "..." for any number of them; those that are missing after
            "->" are summed. Without "->" the letters that stand once come out, in the order of the alphabet.
        operands: as many as the equation names.

    Raises:
        ValueError: letters and dimensions do not fit.
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if not isinstance(equation, str):
        raise TypeError(f'einsum: the equation comes first, such as "ij,jk->ik", not {type(equation).__name__}')
    only_tensors("einsum", *tensors)
    terms, result = _letters(equation, tensors)
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            known = sizes.get(letter, 1)
            if known != size and 1 not in (known, size):
                raise ValueError(f"einsum: {letter!r} is {known} in one operand and {size} in another")
            sizes[letter] = size if known == 1 else known
    for letter in result:
        check("einsum", letter in sizes and result.count(letter) == 1, f"{letter!r} must go in, and come out once")
    parts = []
    for term, tensor in zip(terms, tensors, strict=True):
        wide = tuple(sizes[letter] for letter in term)
        parts.append(_without_twins(term, tensor if tensor.shape == wide else broadcast_to(tensor, shape=wide)))
    letters, out = parts.pop(0)
    while parts:
        term, tensor = parts.pop(0)
        letters, out = _pair(letters, out, term, tensor, later={*result}.union(*(other for other, _ in parts)))
    if gone := tuple(d for d, letter in enumerate(letters) if letter not in result):
        letters, out = [letter for letter in letters if letter in result], sum(out, dim=gone)
    return permute(out, dims=[letters.index(letter) for letter in result])


def _letters(equation: str, tensors: list[Any]) -> tuple[list[list[str]], list[str]]:
    """Each operand's letters and the result's; the dimensions of "..." become names of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    check("einsum", len(terms) == len(tensors), f"{equation!r} names {len(terms)} operands, there are {len(tensors)}")
    if not arrow:
        right = "..." + "".join(sorted(letter for letter in {*left} - {*".,"} if left.count(letter) == 1))

    def spelled(term: str, ndim: int) -> list[str]:
        before, found, after = term.partition("...")
        dots = ndim - len(before + after)
        check("einsum", dots == 0 or (dots > 0 and found), f"{term!r} does not fit a tensor of {ndim} dimensions")
        return [*before, *(f".{i}" for i in reversed(range(dots))), *after]

    names = [spelled(term, tensor.ndim) for term, tensor in zip(terms, tensors, strict=True)]
    dots = {letter for term in names for letter in term if letter[0] == "."}
    return names, spelled(right, len(right) - len("...") + len(dots) if "..." in right else len(right))


def _without_twins(letters: list[str], tensor: Array) -> tuple[list[str], Any]:
    """An operand in which a letter stands twice, by its diagonal."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first, second = [d for d, other in enumerate(letters) if other == letter][:2]
            tensor = diagonal(tensor, 0, first, second)
            letters = [other for d, other in enumerate(letters) if d not in (first, second)] + [letter]
    return letters, tensor


def _pair(a: list[str], x: Array, b: list[str], y: Array, later: set[str]) -> tuple[list[str], Any]:
    """Multiply two operands, and sum over the letters they share that nobody needs later."""
    stack, inner = ([letter for letter in a if letter in b and (letter in later) is kept] for kept in (True, False))
    rows, columns = [letter for letter in a if letter not in b], [letter for letter in b if letter not in a]
    size = dict(zip((*a, *b), (*x.shape, *y.shape), strict=True))

    def matrices(tensor: Array, names: list[str], left: list[str], right: list[str]) -> Tensor:
        turned = permute(tensor, dims=[names.index(letter) for letter in stack + left + right])
        flat = [prod(size[letter] for letter in side) for side in (left, right)]
        return reshape(turned, shape=[size[letter] for letter in stack] + flat)

    product = matmul(matrices(x, a, rows, inner), matrices(y, b, inner, columns))  # (*stack, rows, columns)
    letters = stack + rows + columns
    return letters, reshape(product, shape=[size[letter] for letter in letters])
