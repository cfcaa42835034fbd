"""Matrix and vector products, and einsum.

The derivatives are those of Petersen and Pedersen, The Matrix Cookbook (2012), section 2.4; for Y = X W, with G =
dL/dY: dL/dX = G Wᵀ and dL/dW = Xᵀ G.
"""

from math import prod
from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.ops.arithmetic import mul
from chainrule.ops.indexing import diagonal
from chainrule.ops.operation import Array, Input, Tensor, check_tensors, operation
from chainrule.ops.reductions import sum
from chainrule.ops.shape import broadcast_to, permute, reshape, unsqueeze

__all__ = ["bmm", "dot", "einsum", "linear", "matmul", "mm", "outer"]


@operation(numpy=np.matmul)
def matmul(input: Input, other: Input) -> Array:
    """The matrix product over the last two dimensions. Leading dimensions broadcast.

    A vector counts as one row or one column.

    Args:
        input: (..., n, k) or (k,).
        other: (..., k, m) or (k,), of the same type.

    Returns:
        (..., n, m), without n if `input` is a vector, and without m if `other` is one.

    Raises:
        ValueError: an input has no dimensions, or the two k differ.
        TypeError: the types differ, or an input is a Python number.
    """
    check_tensors("matmul", input, other)
    shape, other_shape = input.shape, other.shape
    if not shape or not other_shape:
        raise ValueError(f"matmul: takes matrices and vectors, not a number (shapes {shape}, {other_shape})")
    if shape[-1] != other_shape[-2:][0]:
        mismatch = f"the last dimension of the first is {shape[-1]}, but must be {other_shape[-2:][0]}"
        raise ValueError(f"matmul: {shape} @ {other_shape} does not fit: {mismatch}")
    _check_one_type("matmul", input, other)
    return np.matmul(input, other)


@matmul.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """dL/dX = G Wᵀ, dL/dW = Xᵀ G.

    A vector first becomes a matrix of one row or column; the tape removes the extra dimension.
    """
    column = other.ndim == 1
    if column:
        other, grad = other[:, None], grad[..., None]
    if input.ndim == 1:
        input, grad = input[None], np.expand_dims(grad, -2)
    # Shapes: (..., n, m) @ (..., m, k), and (..., k, n) @ (..., n, m). If `other` was a vector (m = 1), the latter
    # product is transposed, (..., 1, n) @ (..., n, k), so that the tape can sum it to (k,).
    return lambda: grad @ _transposed(other), lambda: _transposed(grad) @ input if column else _transposed(input) @ grad


def _transposed(matrices: Array) -> Array:
    return np.swapaxes(matrices, -1, -2)


def _check_one_type(name: str, input: Array, *others: Array) -> None:
    for other in others:
        if other is not None and other.dtype != input.dtype:
            types = f"{input.dtype} and {other.dtype}"
            raise TypeError(f"{name}: both must have the same type, not {types}: use .float() or .double()")


@operation
def linear(input: Input, weight: Input, bias: Input | None = None) -> Array:
    """A fully connected layer: y = x Wᵀ + b.

    Args:
        input: (..., in).
        weight: (out, in).
        bias: (out,), or None.

    Returns:
        (..., out).

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the types differ.
    """
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        requirement = (
            f"the last dimension must be {weight.shape[1]}" if weight.ndim == 2 else "the weight must be (out, in)"
        )
        raise ValueError(f"linear: input {input.shape} does not fit weight {weight.shape}: {requirement}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias {bias.shape} does not fit weight {weight.shape}: it must be {weight.shape[:1]}")
    _check_one_type("linear", input, weight, bias)
    product = np.matmul(input, np.transpose(weight))
    return product if bias is None else product + bias


@linear.derivative
def _(grad: Array, input: Array, weight: Array) -> Any:
    """dL/dx = G W, dL/dW = Gᵀ x, dL/db = G (the tape sums it over the examples)."""

    def weight_grad() -> Array:
        n, (outputs, inputs) = prod(input.shape[:-1]), weight.shape
        return np.transpose(np.reshape(grad, (n, outputs))) @ np.reshape(input, (n, inputs))  # (out, n) @ (n, in)

    return lambda: grad @ weight, weight_grad, grad


def mm(input: Input, mat2: Input) -> Tensor:
    """The product of two matrices, (n, k) and (k, m).

    Raises:
        ValueError: an input is not a matrix, or the two k differ.
    """
    return _product(input, mat2, 2, "mm")


def bmm(input: Input, mat2: Input) -> Tensor:
    """The products of two batches of matrices, (b, n, k) and (b, k, m).

    Raises:
        ValueError: an input does not have three dimensions, or the b or k differ.
    """
    return _product(input, mat2, 3, "bmm")


def dot(input: Input, tensor: Input) -> Tensor:
    """The dot product of two vectors.

    Raises:
        ValueError: an input is not a vector, or the lengths differ.
    """
    return _product(input, tensor, 1, "dot")


def outer(input: Input, vec2: Input) -> Tensor:
    """The outer product of two vectors: (n,) and (m,) to (n, m).

    Raises:
        ValueError: an input is not a vector.
    """
    check("outer", input.ndim == vec2.ndim == 1, f"takes two vectors, not {input.shape} and {vec2.shape}")
    return mul(unsqueeze(input, 1), vec2)


def _product(a: Array, b: Array, ndim: int, name: str) -> Tensor:
    if not (a.ndim == b.ndim == ndim and a.shape[-1] == b.shape[-min(ndim, 2)] and a.shape[:-2] == b.shape[:-2]):
        form = {1: "(n,) and (n,)", 2: "(n, k) and (k, m)", 3: "(b, n, k) and (b, k, m)"}[ndim]
        raise ValueError(f"{name}: takes {form}, not {a.shape} and {b.shape}")
    return matmul(a, b)


# einsum is composed: each pair of operands is reshaped into batches of matrices and multiplied, so its derivatives are
# those of `permute`, `reshape` and `matmul`


def einsum(equation: str, *operands: Input) -> Tensor:
    """Einstein summation: "ij,jk->ik" is a matrix product, "ii" the trace.

    Args:
        equation: one letter for each dimension of each operand, "..." for any number of dimensions. Letters that are
            missing after "->" are summed over. Without "->", the result has the letters that occur once, sorted.
        operands: one tensor for each term of the equation.

    Raises:
        ValueError: the letters do not fit the dimensions.
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if not isinstance(equation, str):
        raise TypeError(f'einsum: the equation comes first, such as "ij,jk->ik", not {type(equation).__name__}')
    check_tensors("einsum", *tensors)
    terms, result = _letters(equation, tensors)
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            previous = sizes.get(letter, 1)
            if previous != size and 1 not in (previous, size):
                label = 'a dimension of "..."' if letter[0] == "." else repr(letter)
                raise ValueError(f"einsum: {label} is {previous} in one operand and {size} in another")
            sizes[letter] = size if previous == 1 else previous
    for letter in result:
        occurs = letter in sizes and result.count(letter) == 1
        check("einsum", occurs, f"{letter!r} must occur in the input, and once in the output")
    remaining = []
    for term, tensor in zip(terms, tensors, strict=True):
        shape = tuple(sizes[letter] for letter in term)
        remaining.append(_take_diagonals(term, tensor if tensor.shape == shape else broadcast_to(tensor, shape=shape)))
    letters, out = remaining.pop(0)
    while remaining:
        term, tensor = remaining.pop(0)
        letters, out = _contract(letters, out, term, tensor, later={*result}.union(*(other for other, _ in remaining)))
    if summed := tuple(d for d, letter in enumerate(letters) if letter not in result):
        letters, out = [letter for letter in letters if letter in result], sum(out, dim=summed)
    return permute(out, dims=[letters.index(letter) for letter in result])


def _letters(equation: str, tensors: list[Any]) -> tuple[list[list[str]], list[str]]:
    """Return the letters of each operand and of the result. The dimensions of "..." get names: ".0", ".1", ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    check(
        "einsum", len(terms) == len(tensors), f"{equation!r} names {len(terms)} operands, but there are {len(tensors)}"
    )
    if not arrow:
        right = "..." + "".join(sorted(letter for letter in {*left} - {*".,"} if left.count(letter) == 1))

    def spell_out(term: str, ndim: int) -> list[str]:
        before, ellipsis, after = term.partition("...")
        ellipsis_dims = ndim - len(before + after)
        check(
            "einsum",
            ellipsis_dims == 0 or (ellipsis_dims > 0 and ellipsis),
            f"{term!r} does not fit a tensor of {ndim} dimensions",
        )
        return [*before, *(f".{i}" for i in reversed(range(ellipsis_dims))), *after]

    names = [spell_out(term, tensor.ndim) for term, tensor in zip(terms, tensors, strict=True)]
    ellipsis_names = {letter for term in names for letter in term if letter[0] == "."}
    return names, spell_out(right, len(right) - len("...") + len(ellipsis_names) if "..." in right else len(right))


def _take_diagonals(letters: list[str], tensor: Array) -> tuple[list[str], Any]:
    """Replace dimensions with the same letter by their diagonal."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first, second = [d for d, other in enumerate(letters) if other == letter][:2]
            tensor = diagonal(tensor, 0, first, second)
            letters = [other for d, other in enumerate(letters) if d not in (first, second)] + [letter]
    return letters, tensor


def _contract(a: list[str], x: Array, b: list[str], y: Array, later: set[str]) -> tuple[list[str], Any]:
    """Multiply two operands, and sum over the letters they share that are not needed later."""
    shared = [letter for letter in a if letter in b]
    batch = [letter for letter in shared if letter in later]
    inner = [letter for letter in shared if letter not in later]
    rows, columns = [letter for letter in a if letter not in b], [letter for letter in b if letter not in a]
    size = dict(zip((*a, *b), (*x.shape, *y.shape), strict=True))

    def as_matrices(tensor: Array, names: list[str], left: list[str], right: list[str]) -> Tensor:
        permuted = permute(tensor, dims=[names.index(letter) for letter in batch + left + right])
        side_sizes = [prod(size[letter] for letter in side) for side in (left, right)]
        return reshape(permuted, shape=[size[letter] for letter in batch] + side_sizes)

    product = matmul(as_matrices(x, a, rows, inner), as_matrices(y, b, inner, columns))  # (*batch, rows, columns)
    letters = batch + rows + columns
    return letters, reshape(product, shape=[size[letter] for letter in letters])
