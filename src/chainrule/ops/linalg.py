"""Matrix and vector products, and einsum.

For Y = X W and G = dL/dY, the derivatives are dL/dX = G Wᵀ and dL/dW = Xᵀ G.

Source: Petersen and Pedersen, The Matrix Cookbook (2012), section 2.4.
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

    A vector is treated as one row if it is `input`, and as one column if it is `other`.

    Args:
        input: (..., n, k) or (k,).
        other: (..., k, m) or (k,), of the same type.

    Returns:
        (..., n, m), without n if `input` is a vector, and without m if `other` is one.

    Raises:
        ValueError: an input has no dimensions, or the sizes k differ.
        TypeError: the types differ, or an input is a Python number.
    """
    check_tensors("matmul", input, other)
    shape, other_shape = input.shape, other.shape
    if not shape or not other_shape:
        raise ValueError(f"matmul: takes matrices and vectors, not a number (shapes {shape}, {other_shape})")
    inner_size = other_shape[-2] if len(other_shape) > 1 else other_shape[0]
    if shape[-1] != inner_size:
        mismatch = f"the last dimension of the first is {shape[-1]}, but must be {inner_size}"
        raise ValueError(f"matmul: {shape} @ {other_shape} does not fit: {mismatch}")
    _check_one_type("matmul", input, other)
    return _matmul(input, other)


@matmul.derivative
def _(grad: Array, input: Array, other: Array) -> Any:
    """dL/dX = G Wᵀ, dL/dW = Xᵀ G.

    A vector first becomes a matrix of one row or column; the tape removes the extra dimension.
    """
    is_other_vector = other.ndim == 1
    if is_other_vector:
        other, grad = other[:, None], grad[..., None]
    if input.ndim == 1:
        input, grad = input[None], np.expand_dims(grad, -2)

    def other_grad() -> Array:
        if other.ndim > 2:
            return _transpose(input) @ grad  # (..., k, n) @ (..., n, m)
        product = np.transpose(_as_matrix(input)) @ _as_matrix(grad)  # (k, rows) @ (rows, m)
        return product[:, 0] if is_other_vector else product

    return lambda: _matmul(grad, _transpose(other)), other_grad


def _as_matrix(input: Array) -> Array:
    """All rows of (..., k), as one matrix (rows, k)."""
    return np.reshape(input, (prod(input.shape[:-1]), input.shape[-1]))


def _matmul(input: Array, other: Array) -> Array:
    """`input @ other`; if `other` is one matrix, as one product of all rows of `input`.

    NumPy computes one product for each index of the leading dimensions, which takes up to 1.5 times as long.
    """
    if other.ndim != 2 or input.ndim < 3:
        return np.matmul(input, other)
    return np.reshape(_as_matrix(input) @ other, (*input.shape[:-1], other.shape[1]))


def _transpose(matrices: Array) -> Array:
    """Swap the last two dimensions."""
    return np.swapaxes(matrices, -1, -2)


def _check_one_type(name: str, input: Array, *others: Array) -> None:
    """Raise a TypeError unless all arrays, apart from those that are None, have the input's type."""
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
        is_matrix = weight.ndim == 2
        requirement = f"the last dimension must be {weight.shape[1]}" if is_matrix else "the weight must be (out, in)"
        raise ValueError(f"linear: input {input.shape} does not fit weight {weight.shape}: {requirement}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias {bias.shape} does not fit weight {weight.shape}: it must be {weight.shape[:1]}")
    _check_one_type("linear", input, weight, bias)
    product = _matmul(input, np.transpose(weight))
    return product if bias is None else product + bias


@linear.derivative
def _(grad: Array, input: Array, weight: Array) -> Any:
    """dL/dx = G W, dL/dW = Gᵀ x, dL/db = G (the tape sums it over the examples)."""
    return lambda: _matmul(grad, weight), lambda: np.transpose(_as_matrix(grad)) @ _as_matrix(input), grad


def mm(input: Input, mat2: Input) -> Tensor:
    """The product of two matrices, (n, k) and (k, m).

    Raises:
        ValueError: an input is not a matrix, or the sizes k differ.
    """
    return _product(input, mat2, 2, "mm")


def bmm(input: Input, mat2: Input) -> Tensor:
    """The products of two batches of matrices, (b, n, k) and (b, k, m).

    Raises:
        ValueError: an input does not have three dimensions, or the sizes b or k differ.
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
    """Return a @ b, after checking that both have `ndim` dimensions and do not need broadcasting."""
    inner_dim = -min(ndim, 2)  # of `b`: the last but one, or the only one
    if not (a.ndim == b.ndim == ndim and a.shape[-1] == b.shape[inner_dim] and a.shape[:-2] == b.shape[:-2]):
        shapes = {1: "(n,) and (n,)", 2: "(n, k) and (k, m)", 3: "(b, n, k) and (b, k, m)"}[ndim]
        raise ValueError(f"{name}: takes {shapes}, not {a.shape} and {b.shape}")
    return matmul(a, b)


# einsum multiplies its operands one after the other. For each product, it reshapes both factors into batches of
# matrices and calls `matmul`, so its derivatives are those of `permute`, `reshape` and `matmul`.


def einsum(equation: str, *operands: Input) -> Tensor:
    """Einstein summation: "ij,jk->ik" is a matrix product, "ii" the trace.

    Args:
        equation: one letter for each dimension of each operand, "..." for any number of dimensions. Letters that are
            missing after "->" are summed over. Without "->", the result has the letters that occur once, sorted.
        operands: one tensor for each term of the equation, also as one list or tuple.

    Raises:
        ValueError: the letters do not fit the dimensions.
        TypeError: the equation is not a string, or an operand is not a tensor.
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if not isinstance(equation, str):
        raise TypeError(f'einsum: the equation comes first, such as "ij,jk->ik", not {type(equation).__name__}')
    check_tensors("einsum", *tensors)
    terms, result_letters = _letters(equation, tensors)
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            previous_size = sizes.get(letter, 1)
            if previous_size != size and 1 not in (previous_size, size):
                label = 'a dimension of "..."' if letter[0] == "." else repr(letter)
                raise ValueError(f"einsum: {label} is {previous_size} in one operand and {size} in another")
            sizes[letter] = size if previous_size == 1 else previous_size
    for letter in result_letters:
        is_valid = letter in sizes and result_letters.count(letter) == 1
        check("einsum", is_valid, f"{letter!r} must occur in the input, and once in the output")
    factors = []
    for term, tensor in zip(terms, tensors, strict=True):
        shape = tuple(sizes[letter] for letter in term)
        factors.append(_take_diagonals(term, tensor if tensor.shape == shape else broadcast_to(tensor, shape=shape)))
    letters, out = factors.pop(0)
    while factors:
        next_letters, factor = factors.pop(0)
        needed_letters = {*result_letters}.union(*(factor_letters for factor_letters, _ in factors))
        letters, out = _contract(letters, out, next_letters, factor, needed_letters)
    if summed_dims := tuple(d for d, letter in enumerate(letters) if letter not in result_letters):
        out = sum(out, dim=summed_dims)
        letters = [letter for letter in letters if letter in result_letters]
    return permute(out, dims=[letters.index(letter) for letter in result_letters])


def _letters(equation: str, tensors: list[Any]) -> tuple[list[list[str]], list[str]]:
    """Return the letters of each operand and of the result.

    The dimensions of "..." have a name each. Three dimensions are named ".2", ".1", ".0": the last one is always ".0",
    because operands are aligned at it.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    mismatch = f"{equation!r} names {len(terms)} operands, but there are {len(tensors)}"
    check("einsum", len(terms) == len(tensors), mismatch)
    if not arrow:
        right = "..." + "".join(sorted(letter for letter in {*left} - {*".,"} if left.count(letter) == 1))

    def spell_out(term: str, ndim: int) -> list[str]:
        leading, ellipsis, trailing = term.partition("...")
        ellipsis_ndim = ndim - len(leading + trailing)
        is_valid = ellipsis_ndim == 0 or (ellipsis_ndim > 0 and ellipsis)
        check("einsum", is_valid, f"{term!r} does not fit a tensor of {ndim} dimensions")
        return [*leading, *(f".{i}" for i in reversed(range(ellipsis_ndim))), *trailing]

    operand_letters = [spell_out(term, tensor.ndim) for term, tensor in zip(terms, tensors, strict=True)]
    ellipsis_names = {letter for letters in operand_letters for letter in letters if letter[0] == "."}
    result_ndim = len(right.replace("...", "", 1)) + (len(ellipsis_names) if "..." in right else 0)
    return operand_letters, spell_out(right, result_ndim)


def _take_diagonals(letters: list[str], tensor: Array) -> tuple[list[str], Any]:
    """Replace dimensions with the same letter by their diagonal."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first, second = [d for d, other in enumerate(letters) if other == letter][:2]
            tensor = diagonal(tensor, 0, first, second)
            letters = [other for d, other in enumerate(letters) if d not in (first, second)] + [letter]
    return letters, tensor


def _contract(
    x_letters: list[str], x: Array, y_letters: list[str], y: Array, needed_letters: set[str]
) -> tuple[list[str], Any]:
    """Multiply two factors, and sum over those common letters that neither the result nor a later factor needs.

    Returns:
        The letters of the product, and the product.
    """
    common = [letter for letter in x_letters if letter in y_letters]
    batch = [letter for letter in common if letter in needed_letters]
    inner = [letter for letter in common if letter not in needed_letters]
    rows = [letter for letter in x_letters if letter not in y_letters]
    columns = [letter for letter in y_letters if letter not in x_letters]
    sizes = dict(zip((*x_letters, *y_letters), (*x.shape, *y.shape), strict=True))

    def as_matrices(tensor: Array, letters: list[str], left: list[str], right: list[str]) -> Tensor:
        permuted = permute(tensor, dims=[letters.index(letter) for letter in batch + left + right])
        matrix_shape = [prod(sizes[letter] for letter in side) for side in (left, right)]
        return reshape(permuted, shape=[sizes[letter] for letter in batch] + matrix_shape)

    # (*batch, rows, columns)
    product = matmul(as_matrices(x, x_letters, rows, inner), as_matrices(y, y_letters, inner, columns))
    product_letters = batch + rows + columns
    return product_letters, reshape(product, shape=[sizes[letter] for letter in product_letters])
