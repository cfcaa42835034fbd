"""einsum: sums of products, written with a letter for each dimension.

Nothing new is computed here: each pair of operands is brought to a stack of matrices and multiplied, so the derivatives
are those of `permute`, `reshape` and `matmul`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule.ops.indexing import diagonal
from chainrule.ops.linalg import matmul
from chainrule.ops.reductions import sum
from chainrule.ops.shape import broadcast_to, permute, reshape

if TYPE_CHECKING:
    from chainrule.ops.operation import Array
    from chainrule.tensor import Tensor

__all__ = [
    "einsum",
]  # fmt: skip


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
    terms, result = _letters(equation, tensors)
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            known = sizes.get(letter, 1)
            if known != size and 1 not in (known, size):
                raise ValueError(f"einsum: {letter!r} is {known} in one operand and {size} in another")
            sizes[letter] = size if known == 1 else known
    for letter in result:
        if letter not in sizes or result.count(letter) > 1:
            raise ValueError(f"einsum: {letter!r} must go in, and come out once")
    parts = []
    for term, tensor in zip(terms, tensors, strict=True):
        wide = [sizes[letter] for letter in term]
        parts.append(_without_twins(term, tensor if list(tensor.shape) == wide else broadcast_to(tensor, shape=wide)))
    letters, out = parts[0]
    for position, (term, tensor) in enumerate(parts[1:], 2):
        later = {letter for other, _ in parts[position:] for letter in other} | set(result)
        letters, out = _pair(letters, out, term, tensor, later)
    gone = tuple(d for d, letter in enumerate(letters) if letter not in result)
    if gone:
        letters, out = [letter for letter in letters if letter in result], sum(out, dim=gone)
    return permute(out, dims=[letters.index(letter) for letter in result])


def _letters(equation: str, tensors: list[Any]) -> tuple[list[list[str]], list[str]]:
    """Each operand's letters and the result's; the dimensions of "..." become names of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ValueError(f"einsum: {equation!r} names {len(terms)} operands, there are {len(tensors)}")
    free = [tensor.ndim - len(term.replace("...", "")) for term, tensor in zip(terms, tensors, strict=True)]
    for term, tensor, dots in zip(terms, tensors, free, strict=True):
        if dots < 0 or (dots and "..." not in term):
            raise ValueError(f"einsum: {term!r} does not fit shape {tuple(tensor.shape)}")
    most = max(free)

    def spelled(term: str, dots: int) -> list[str]:
        before, found, after = term.partition("...")
        return [*before, *(f".{i}" for i in range(most - dots, most)), *after] if found else [*term]

    names = [spelled(term, dots) for term, dots in zip(terms, free, strict=True)]
    if arrow:
        return names, spelled(right, most)
    single = sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1)
    return names, [*(f".{i}" for i in range(most)), *single]


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
    stack = [letter for letter in a if letter in b and letter in later]
    inner = [letter for letter in a if letter in b and letter not in later]
    rows, columns = [letter for letter in a if letter not in b], [letter for letter in b if letter not in a]
    size = dict(zip((*a, *b), (*x.shape, *y.shape), strict=True))

    def matrices(tensor: Array, names: list[str], left: list[str], right: list[str]) -> Tensor:
        turned = permute(tensor, dims=[names.index(letter) for letter in (*stack, *left, *right)])
        return reshape(
            turned, shape=[*(size[c] for c in stack), *(math.prod(size[c] for c in s) for s in (left, right))]
        )

    product = matmul(matrices(x, a, rows, inner), matrices(y, b, inner, columns))  # (*stack, rows, columns)
    letters = stack + rows + columns
    return letters, reshape(product, shape=[size[letter] for letter in letters])
