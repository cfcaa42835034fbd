"""The table of operations: each case is a call of an operation, its inputs, and a plain NumPy implementation.

The table is continued in `arranged`, `composed`, `elementwise` and `indexed`, which add cases to `CASES` when they are
imported. The tests that run through the table are in `tests/ops/test_every_operation.py` and
`tests/capture/test_every_operation.py`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, ops

from ..naming import naming

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(20)


def anything(*shape: int) -> np.ndarray:
    return RNG.uniform(-2, 2, shape)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.3, 2, shape)


def off_zero(*shape: int) -> np.ndarray:
    """Values so far from 0 that finite differences do not cross a kink at 0."""
    return RNG.uniform(0.3, 2, shape) * RNG.choice([-1, 1], shape)


def small(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def apart(*shape: int) -> np.ndarray:
    """Values so far from each other that finite differences do not change which one is the largest."""
    return (RNG.permutation(math.prod(shape)).reshape(shape) - 3.2) / 4


def strided(array: np.ndarray) -> np.ndarray:
    """The same values, in memory with gaps between the elements and with the dimensions in reverse order."""
    if not array.ndim:
        return array.copy()
    wide = np.full(tuple(2 * n for n in reversed(array.shape)), np.nan, array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)].T
    view[...] = array
    return view


@dataclass
class Case:
    """A call of an operation.

    Attributes:
        operation: the operation's name.
        label: names the case in error messages.
        call: calls the operation with the inputs.
        plain: computes the same in NumPy.
        arrays: the inputs, in float64.
        layout: copies an input to the memory layout in which the operation gets it.
    """

    operation: str
    label: str
    call: Callable[..., Any]
    plain: Callable[..., Any]
    arrays: list[np.ndarray]
    layout: Callable[[np.ndarray], np.ndarray] = np.copy

    def inputs(self, dtype: Any = np.float64) -> list[np.ndarray]:
        """Copies of the inputs in a type."""
        return [self.layout(a.astype(dtype)) for a in self.arrays]

    def leaves(self, dtype: Any = np.float64) -> list[Tensor]:
        """The inputs as Tensors that require gradients."""
        return [chainrule.from_numpy(a).requires_grad_() for a in self.inputs(dtype)]


CASES: list[Case] = []
STRIDED_COUNTS: Counter[str] = Counter()
"""The number of strided cases of each operation."""
MAX_STRIDED = 5


def case(operation: Any, label: str, call: Any, plain: Any, *arrays: np.ndarray) -> None:
    """Add a case to the table and, if an input has several dimensions, the same case with strided inputs."""
    name = operation.__name__
    CASES.append(Case(name, label, call, plain, list(arrays)))
    if any(a.ndim > 1 and a.size for a in arrays) and STRIDED_COUNTS[name] < MAX_STRIDED:
        STRIDED_COUNTS[name] += 1
        CASES.append(Case(name, label + " strided", call, plain, list(arrays), strided))


def by_operation(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrize a test by the cases of each operation; a test per case would take longer than its case."""
    operations = defaultdict(list)
    for case in cases:
        operations[case.operation].append(case)
    return pytest.mark.parametrize("cases", operations.values(), ids=operations)


def for_each(cases: list[Case]) -> Callable[[Callable[[Case], None]], Callable[[list[Case]], None]]:
    """Turn a test of one case into a test per operation that runs through its cases and names the case that fails."""

    def decorate(test: Callable[[Case], None]) -> Callable[[list[Case]], None]:
        def test_cases(cases: list[Case]) -> None:
            for case in cases:
                with naming(case.label):
                    test(case)

        test_cases.__name__ = test.__name__
        test_cases.__doc__ = test.__doc__
        parametrized_test: Callable[[list[Case]], None] = by_operation(cases)(test_cases)
        return parametrized_test

    return decorate


# Elementwise, one input

for operation, plain, draw in [
    (ops.neg, lambda x: 0 - x, anything),
    (ops.abs, lambda x: np.sqrt(x**2), off_zero),
    (ops.sign, lambda x: x / np.sqrt(x**2), off_zero),
    (ops.exp, lambda x: np.e**x, anything),
    (ops.log, lambda x: np.log2(x) / np.log2(np.e), positive),
    (ops.sqrt, lambda x: x**0.5, positive),
    (ops.tanh, lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)), anything),
    (ops.sigmoid, lambda x: np.exp(x) / (np.exp(x) + 1), anything),
    (ops.relu, lambda x: x * (x > 0), off_zero),
    (ops.leaky_relu, lambda x: np.where(x > 0, x, x / 100), off_zero),
    (ops.expm1, lambda x: np.exp(x) - 1, anything),
    (ops.log1p, lambda x: np.log(x + 1), positive),
    (ops.log2, lambda x: np.log(x) / np.log(x.dtype.type(2)), positive),
    (ops.rsqrt, lambda x: x**-0.5, positive),
    (ops.square, lambda x: x * x, anything),
    (ops.reciprocal, lambda x: x**-1, off_zero),
    (ops.sin, lambda x: np.exp(1j * x).imag, anything),
    (ops.cos, lambda x: np.exp(1j * x).real, anything),
    (ops.tan, lambda x: np.exp(1j * x).imag / np.exp(1j * x).real, small),
    (ops.atan, lambda x: np.angle(1 + 1j * x), anything),
    (ops.sinh, lambda x: (np.exp(x) - np.exp(-x)) / 2, anything),
    (ops.cosh, lambda x: (np.exp(x) + np.exp(-x)) / 2, anything),
    (ops.softplus, lambda x: np.log(1 + np.exp(x)), anything),
    (ops.logsigmoid, lambda x: -np.log(1 + np.exp(-x)), anything),
    (ops.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1), off_zero),
    (ops.silu, lambda x: x / (1 + np.exp(-x)), anything),
    (ops.hardtanh, lambda x: np.minimum(np.maximum(x, -1), 1), off_zero),
    (ops.erf, lambda x: np.vectorize(math.erf, [x.dtype])(x), anything),
    (ops.floor, lambda x: x - x % 1, anything),
    (ops.ceil, lambda x: x + -x % 1, anything),
    (ops.trunc, lambda x: np.sign(x) * (np.abs(x) - np.abs(x) % 1), anything),
    (ops.round, lambda x: x + 0.5 - (x + 0.5) % 1, anything),
]:
    for shape in [(), (4,), (2, 3), (0,), (2, 0, 3)]:
        case(operation, f"{operation.__name__}{shape}", operation, plain, draw(*shape))
case(
    ops.leaky_relu,
    "leaky_relu slope",
    lambda x: ops.leaky_relu(x, negative_slope=0.3),
    lambda x: np.where(x > 0, x, x * 3 / 10),
    off_zero(5),
)

case(
    ops.softplus,
    "softplus beta, threshold",
    lambda x: ops.softplus(x, beta=3.0, threshold=2.5),
    lambda x: np.where(3 * x > 2.5, x, np.log(1 + np.exp(3 * x)) / 3),
    anything(6),
)
case(
    ops.elu,
    "elu alpha",
    lambda x: ops.elu(x, alpha=0.3),
    lambda x: np.where(x > 0, x, 3 * (np.exp(x) - 1) / 10),
    off_zero(5),
)
case(
    ops.hardtanh,
    "hardtanh bounds",
    lambda x: ops.hardtanh(x, min_val=-0.1, max_val=0.2),
    lambda x: np.where(x > 0, np.minimum(x, x.dtype.type(0.2)), np.maximum(x, x.dtype.type(-0.1))),
    off_zero(5),
)
case(
    ops.arithmetic.trunc_divide,
    "trunc_divide",
    ops.arithmetic.trunc_divide,
    lambda x, y: np.sign(x / y) * np.floor(np.abs(x / y)),
    anything(2, 3),
    off_zero(3),
)
case(
    ops.round, "round decimals", lambda x: ops.round(x, decimals=1), lambda x: np.floor(x * 10 + 0.5) / 10, anything(5)
)

# Elementwise, two inputs that broadcast

for operation, plain, left, right in [
    (ops.add, lambda x, y: x + y, anything, anything),
    (ops.sub, lambda x, y: x - y, anything, anything),
    (ops.mul, lambda x, y: x * y, anything, anything),
    (ops.true_divide, lambda x, y: x / y, anything, off_zero),
    (ops.floor_divide, lambda x, y: np.floor(x / y), anything, off_zero),
    (ops.pow, lambda x, y: np.exp(y * np.log(x)), positive, anything),
    (ops.maximum, lambda x, y: np.where(x > y, x, y), anything, anything),
    (ops.minimum, lambda x, y: np.where(x < y, x, y), anything, anything),
]:
    for one, two in [
        ((), ()),
        ((3,), ()),
        ((), (3,)),
        ((2, 3), (2, 3)),
        ((2, 3), (3,)),
        ((3,), (2, 3)),
        ((2, 1), (1, 3)),
        ((2, 1, 3), (4, 1)),
        ((1, 1), (3,)),
        ((0, 3), (3,)),
        ((0, 3), (1, 3)),
        ((1, 3), (0, 1)),
    ]:
        case(operation, f"{operation.__name__}{one}{two}", operation, plain, left(*one), right(*two))
    for number in [2, 2.5]:
        if operation in (ops.maximum, ops.minimum):
            continue
        case(
            operation,
            f"{operation.__name__} with the number {number}",
            lambda x, operation=operation, number=number: operation(x, number),
            lambda x, plain=plain, number=number: plain(x, x.dtype.type(number)),
            left(2, 3),
        )
        case(
            operation,
            f"{operation.__name__} of the number {number}",
            lambda y, operation=operation, number=number: operation(number, y),
            lambda y, plain=plain, number=number: plain(y.dtype.type(number), y),
            right(2, 3),
        )
        case(
            operation,
            f"{operation.__name__} with an array, {number}",
            lambda x, operation=operation, number=number: operation(x, np.full((2, 1), number, np.float32)),
            lambda x, plain=plain, number=number: plain(x, x.dtype.type(number) * np.ones((2, 1), x.dtype)),
            left(3),
        )
        case(
            operation,
            f"{operation.__name__} of an array, {number}",
            lambda y, operation=operation, number=number: operation(np.full((2, 1), number, np.float32), y),
            lambda y, plain=plain, number=number: plain(y.dtype.type(number) * np.ones((2, 1), y.dtype), y),
            right(3),
        )
for operation, sign in [(ops.add, 1), (ops.sub, -1)]:
    case(
        operation,
        f"{operation.__name__} alpha",
        lambda x, y, operation=operation: operation(x, y, alpha=2.5),
        lambda x, y, sign=sign: x + sign * 5 * y / 2,
        anything(2, 3),
        anything(3),
    )
for exponent in [0, 1, 2, 3, -1, -2, 0.5, -1.5]:
    case(
        ops.pow,
        f"pow by {exponent}",
        lambda x, exponent=exponent: ops.pow(x, exponent),
        lambda x, exponent=exponent: np.sign(x) ** exponent * np.exp(x.dtype.type(exponent) * np.log(np.abs(x))),
        positive(4) if exponent % 1 else off_zero(4),
    )
case(ops.pow, "pow at base 0", lambda x: x**3, lambda x: x * x * x, np.array([0.0, 1.0]))
case(
    ops.pow,
    "pow of a negative base, tensor exponent",
    lambda x: x ** chainrule.tensor([2, 3]),
    lambda x: np.stack([x[0] * x[0], x[1] * x[1] * x[1]]),
    -positive(2),
)

CONDITION = np.array([[True, False, True], [False, False, True]])
for one, two in [((2, 3), (2, 3)), ((3,), (2, 1)), ((), (1, 1)), ((1,), ())]:
    case(
        ops.where,
        f"where{one}{two}",
        lambda x, y: ops.where(CONDITION, x, y),
        lambda x, y: (CONDITION * x + ~CONDITION * y).astype(x.dtype),
        anything(*one),
        anything(*two),
    )
case(ops.where, "where with a number", lambda x: ops.where(CONDITION, x, 0.0), lambda x: CONDITION * x, anything(3))

# Reductions

for operation, plain, draw in [
    (ops.sum, np.sum, anything),
    (ops.mean, lambda x, axis, keepdims: np.mean(x, axis if x.ndim else None, keepdims=keepdims), anything),
    (ops.amax, np.max, apart),
    (ops.amin, np.min, apart),
]:
    for shape, dims in [
        ((), [None, 0, -1]),
        ((1,), [None, 0]),
        ((5,), [None, 0, -1, (0,)]),
        ((2, 3), [None, 0, 1, -1, (0, 1), [1]]),
        ((2, 3, 2), [None, 1, -3, (0, 2), (-1, 0), (2, 1, 0)]),
        ((0, 3), [1, (1,)]),
    ]:
        for dim in dims:
            for keepdim in [False, True]:
                axis = tuple(dim) if isinstance(dim, list) else dim
                case(
                    operation,
                    f"{operation.__name__}{shape} dim={dim} keepdim={keepdim}",
                    lambda x, operation=operation, dim=dim, keepdim=keepdim: operation(x, dim=dim, keepdim=keepdim),
                    lambda x, plain=plain, axis=axis, keepdim=keepdim: plain(x, axis=axis, keepdims=keepdim),
                    draw(*shape),
                )
case(ops.sum, "sum of nothing", lambda x: ops.sum(x, dim=0), lambda x: np.zeros(3, x.dtype), anything(0, 3))

for shape, dims in [((), [None]), ((3,), [None, 0]), ((2, 3), [None, 0, -1]), ((2, 3, 2), [1]), ((0, 3), [0, 1])]:
    for dim in dims:
        for keepdim in [False, True]:
            case(
                ops.prod,
                f"prod{shape} dim={dim} keepdim={keepdim}",
                lambda x, dim=dim, keepdim=keepdim: ops.prod(x, dim=dim, keepdim=keepdim),
                lambda x, dim=dim, keepdim=keepdim: np.multiply.reduce(x, dim, keepdims=keepdim),
                off_zero(*shape),
            )
for zeros in ([1.0, 0.0, 3.0], [[0.0, 2.0, 0.0], [4.0, 0.0, 5.0]]):
    case(
        ops.prod,
        f"prod of {zeros}",
        lambda x: ops.prod(x, dim=-1),
        lambda x: np.multiply.reduce(x, -1),
        np.array(zeros),
    )
    case(ops.prod, f"prod of all of {zeros}", ops.prod, lambda x: np.multiply.reduce(x, None), np.array(zeros))
for shape, dims in [((), [0]), ((3,), [0]), ((2, 3), [0, -1, (0, 1)]), ((2, 3, 2), [(0, -1), 1])]:
    for dim in dims:
        for keepdim in [False, True]:
            case(
                ops.logsumexp,
                f"logsumexp{shape} dim={dim} keepdim={keepdim}",
                lambda x, dim=dim, keepdim=keepdim: ops.logsumexp(x, dim=dim, keepdim=keepdim),
                lambda x, dim=dim, keepdim=keepdim: np.log(
                    np.sum(np.exp(x), dim if x.ndim else None, keepdims=keepdim)
                ),
                anything(*shape),
            )
for shape, dim in [((), 0), ((4,), 0), ((2, 3), 0), ((2, 3), -1), ((2, 3, 2), 1), ((0, 3), 0)]:
    case(
        ops.cumsum,
        f"cumsum{shape} dim={dim}",
        lambda x, dim=dim: ops.cumsum(x, dim=dim),
        lambda x, dim=dim: np.add.accumulate(x, dim) if x.ndim else x,
        anything(*shape),
    )
NORMS: dict[float, Any] = {
    math.inf: lambda x, axis, keep: np.max(x, axis, keepdims=keep),
    -math.inf: lambda x, axis, keep: np.min(x, axis, keepdims=keep),
    0: lambda x, axis, keep: np.sum(x > 0, axis, x.dtype, keepdims=keep),
}
for p in [2, 1, 3, 2.5, 0.5]:
    NORMS[p] = lambda x, axis, keep, p=p: np.sum(x**p, axis, keepdims=keep) ** x.dtype.type(1 / p)
for p, plain in NORMS.items():
    for shape, dim, keepdim in [
        ((), None, False),
        ((4,), None, False),
        ((2, 3), None, True),
        ((2, 3), 1, False),
        ((2, 2, 2), (0, 2), True),
    ]:
        case(
            ops.vector_norm,
            f"vector_norm{shape} p={p} dim={dim}",
            lambda x, p=p, dim=dim, keepdim=keepdim: ops.vector_norm(x, p=p, dim=dim, keepdim=keepdim),
            lambda x, plain=plain, dim=dim, keepdim=keepdim: plain(np.abs(x), dim, keepdim),
            apart(*shape) if math.isinf(p) else off_zero(*shape),
        )

for shape, dim, keepdim, correction in [
    ((4,), None, False, 1),
    ((2, 3), None, True, 0),
    ((2, 3), 1, False, 0.5),
    ((3, 2, 2), (0, 2), True, 1),
]:
    case(ops.shape.contiguous_copy, f"contiguous_copy{shape}", ops.shape.contiguous_copy, np.array, anything(*shape))
    case(
        ops.reductions.variance,
        f"variance{shape} dim={dim} correction={correction}",
        lambda x, dim=dim, k=keepdim, c=correction: ops.reductions.variance(x, dim=dim, keepdim=k, correction=c),
        lambda x, dim=dim, k=keepdim, c=correction: np.var(x, dim, ddof=c, keepdims=k),
        anything(*shape),
    )

for operation, plain in [
    (ops.softmax, lambda x, axis: np.exp(x) / np.exp(x).sum(axis, keepdims=True)),
    (ops.log_softmax, lambda x, axis: x - np.log(np.exp(x).sum(axis, keepdims=True))),
]:
    for shape, dims in [
        ((), [0, -1]),
        ((1,), [0]),
        ((4,), [0, -1]),
        ((2, 3), [0, 1, -1]),
        ((2, 3, 2), [1, -3]),
        ((0, 3), [1]),
    ]:
        for dim in dims:
            case(
                operation,
                f"{operation.__name__}{shape} dim={dim}",
                lambda x, operation=operation, dim=dim: operation(x, dim=dim),
                lambda x, plain=plain, dim=dim: plain(x, dim) if x.ndim else plain(x[None], 0)[0],
                anything(*shape),
            )

# Products

for one, two in [
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((1, 1), (1, 1)),
    ((2, 2, 3), (3, 4)),
    ((2, 2, 3), (2, 3, 4)),
    ((2, 3), (2, 3, 4)),
    ((1, 2, 3), (2, 3, 4)),
    ((2, 2, 3), (1, 3, 4)),
    ((3,), (2, 3, 4)),
    ((2, 2, 3), (3,)),
    ((2, 1, 2, 3), (3, 3, 1)),
    ((3,), (2, 1, 3, 2)),
    ((2, 2, 1, 3), (3,)),
    ((2, 0), (0, 3)),
    ((0, 3), (3, 2)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 1)),
]:
    case(
        ops.matmul,
        f"matmul{one}{two}",
        ops.matmul,
        lambda x, y: np.dot(x, y) if y.ndim < 3 else np.matmul(x, y),
        anything(*one),
        anything(*two),
    )
for shape, inside, outside in [
    ((3,), 3, 2),
    ((5, 3), 3, 2),
    ((2, 2, 3), 3, 2),
    ((0, 3), 3, 2),
    ((4, 0), 0, 2),
    ((4, 3), 3, 0),
]:
    case(
        ops.linear,
        f"linear{shape} to {outside}",
        ops.linear,
        lambda x, w, b: np.einsum("...i,oi->...o", x, w) + b,
        anything(*shape),
        anything(outside, inside),
        anything(outside),
    )
    case(
        ops.linear,
        f"linear{shape} to {outside}, no bias",
        ops.linear,
        lambda x, w: np.einsum("...i,oi->...o", x, w),
        anything(*shape),
        anything(outside, inside),
    )
case(
    ops.linear,
    "linear, bias None",
    lambda x, w: ops.linear(x, w, None),
    lambda x, w: x @ w.T,
    anything(4, 3),
    anything(2, 3),
)

# Shapes

for before, after in [
    ((), (1, 1)),
    ((1,), ()),
    ((2, 3), (6,)),
    ((2, 3), (3, -1)),
    ((6,), [2, 3]),
    ((0, 3), (3, 0)),
    ((2, 3), 6),
]:
    case(
        ops.reshape,
        f"reshape{before} to {after}",
        lambda x, after=after: ops.reshape(x, shape=after),
        lambda x, after=after: np.array(x.ravel().tolist(), x.dtype).reshape(after),
        anything(*before),
    )
for shape, dims in [
    ((), None),
    ((3,), None),
    ((2, 3), None),
    ((2, 3), (1, 0)),
    ((2, 3, 4), (2, 0, 1)),
    ((2, 3, 4), (-1, 0, -2)),
    ((2, 0), (1, 0)),
]:
    case(
        ops.permute,
        f"permute{shape} {dims}",
        lambda x, dims=dims: ops.permute(x, dims=dims),
        lambda x, dims=dims: np.moveaxis(
            x, range(x.ndim) if dims is None else dims, range(x.ndim)[:: -1 if dims is None else 1]
        ),
        anything(*shape),
    )
for before, after in [
    ((), (2, 3)),
    ((3,), (2, 3)),
    ((2, 1), (2, 3)),
    ((1, 1), (2, 3)),
    ((2, 3), (2, 3)),
    ((1, 3), (0, 3)),
]:
    case(
        ops.broadcast_to,
        f"broadcast_to{before} {after}",
        lambda x, after=after: ops.broadcast_to(x, shape=after),
        lambda x, after=after: x * np.ones(after, x.dtype),
        anything(*before),
    )
for shapes, dim in [([(2,)], 0), ([(2,), (3,)], 0), ([(2, 1), (2, 3), (2, 2)], 1), ([(2, 3), (0, 3), (1, 3)], -2)]:
    case(
        ops.shape.concatenate,
        f"concatenate {shapes} dim={dim}",
        lambda *parts, dim=dim: ops.shape.concatenate(*parts, dim=dim),
        lambda *parts, dim=dim: np.swapaxes(np.array([row for p in parts for row in np.swapaxes(p, 0, dim)]), 0, dim),
        *(anything(*shape) for shape in shapes),
    )
case(ops.cast, "cast to the same type", lambda x: ops.cast(x, dtype=x.dtype), lambda x: x, anything(2, 3))

# Indices

MASK = np.array([[True, False, True, False], [False, False, False, False], [True, True, False, True]])
INDICES: list[tuple[str, Any]] = [
    ("an integer", 1),
    ("a negative integer", -1),
    ("a NumPy integer", np.int64(2)),
    ("one element", (1, 2)),
    ("a slice", slice(1, None)),
    ("a step", slice(None, None, 2)),
    ("backwards", slice(None, None, -1)),
    ("nothing", slice(2, 2)),
    ("slices", (slice(0, 2), slice(1, 4, 2))),
    ("an ellipsis", (..., 1)),
    ("only an ellipsis", ...),
    ("a new dimension", (None, slice(None), None, 0)),
    ("None", None),
    ("True", True),
    ("a list", [0, 2]),
    ("the same row twice", [0, 2, 0, 0]),
    ("negative and the same", np.array([-1, 2, 2])),
    ("a matrix of rows", np.array([[0, 1], [1, 1]])),
    ("pairs", (np.array([0, 1, 1]), np.array([3, 2, 2]))),
    ("an array and a slice", (np.array([0, 0, 2]), slice(1, 3))),
    ("a slice and an array", (slice(None), np.array([3, 3, 0]))),
    ("an open mesh", np.ix_([0, 2, 0], [1, 3])),
    ("a mask", MASK),
    ("a mask of rows", np.array([True, False, True])),
    ("a mask of nothing", np.zeros((3, 4), bool)),
    ("an empty array", np.zeros(0, int)),
]
for label, index in INDICES:
    case(
        ops.getitem,
        f"getitem by {label}",
        lambda x, index=index: ops.getitem(x, index=index),
        lambda x, index=index: np.array(x)[index],
        anything(3, 4),
    )

    def add_at(x: np.ndarray, index: Any) -> np.ndarray:
        """Zeros with x added at the index, element by element."""
        out, positions = np.zeros(12, x.dtype), np.arange(12).reshape(3, 4)[index]
        for position, value in zip(np.ravel(positions), np.ravel(x), strict=True):
            out[position] += value
        return out.reshape(3, 4)

    case(
        ops.indexing.add_at,
        f"add_at by {label}",
        lambda x, index=index: ops.indexing.add_at(x, index=index, shape=(3, 4)),
        lambda x, index=index, add_at=add_at: add_at(x, index),
        anything(*np.zeros((3, 4))[index].shape),
    )
for label, rows, count in [
    ("once each", [2, 0], 3),
    ("twice", [1, 1, 0], 2),
    ("of a table", [[1, 0], [0, 3]], 4),
    ("nothing", [], 2),
]:
    case(
        ops.indexing.add_rows,
        f"add_rows {label}",
        lambda x, rows=rows, count=count: ops.indexing.add_rows(x, index=np.array(rows, int), count=count),
        lambda x, rows=rows, count=count: np.eye(count)[np.array(rows, int)].reshape(-1, count).T @ x.reshape(-1, 3),
        anything(*np.shape(rows), 3),
    )
for label, index, options in [
    ("slices", [2, 0, 2], {}),
    ("slices of one", 1, {}),
    ("one in each column", [[2, 0, 1, 1], [0, 0, 0, 0]], {"sizes": (2, 4)}),
    ("from the end", [[-1, 0, -3, 2]], {"sizes": (1, 4), "allow_negative": True}),
    ("nothing", np.zeros((0, 4), int), {"sizes": (0, 4)}),
]:

    def plain_pick(x: np.ndarray, index: Any, sizes: Any = None, allow_negative: bool = False) -> np.ndarray:
        """Rows of x by index or, with `sizes`, out[i, j] = x[index[i, j], j]."""
        if sizes is None:
            return np.stack([x[i] for i in np.ravel(index)])
        out = np.empty(sizes, x.dtype)
        for i, j in np.ndindex(*sizes):
            out[i, j] = x[np.broadcast_to(index, sizes)[i, j], j]
        return out

    case(
        ops.indexing.pick,
        f"pick {label}",
        lambda x, i=index, o=options: ops.indexing.pick(x, np.array(i), dim=0, name="pick", **o),
        lambda x, i=index, o=options, plain_pick=plain_pick: plain_pick(x, i, **o),
        anything(3, 4),
    )
for label, index, shape in [
    ("an integer", 1, (4,)),
    ("one element", (1, 2), ()),
    ("a slice, broadcast", slice(1, None), (4,)),
    ("rows, a number", [0, 2], ()),
    ("a mask", MASK, (5,)),
    ("all of it", ..., (3, 1)),
    ("nothing", slice(2, 2), (0, 4)),
]:

    def replaced(x: np.ndarray, y: np.ndarray, index: Any) -> np.ndarray:
        """x with the values of y at the index."""
        chosen, values = np.zeros((3, 4), bool), np.zeros((3, 4), x.dtype)
        chosen[index], values[index] = True, y
        return np.where(chosen, values, x)

    case(
        ops.indexing.index_put,
        f"index_put {label}",
        lambda x, y, index=index: ops.indexing.index_put(x, y, index=index),
        lambda x, y, index=index, replaced=replaced: replaced(x, y, index),
        anything(3, 4),
        anything(*shape),
    )

# Convolution, pooling, normalization


def window_positions(size: tuple[int, int], taps: tuple[int, int], stride: Any, padding: Any, dilation: Any) -> Any:
    """The numbers of window positions, and (i, j, ky, kx, h, w) for each position, tap and pixel under the tap."""
    counts = [
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, taps, stride, strict=True)
    ]
    taps_on_pixels = []
    for i, j, ky, kx in np.ndindex(*counts, *taps):
        h, w = i * stride[0] + ky * dilation[0] - padding[0][0], j * stride[1] + kx * dilation[1] - padding[1][0]
        if 0 <= h < size[0] and 0 <= w < size[1]:
            taps_on_pixels.append((i, j, ky, kx, h, w))
    return tuple(counts), taps_on_pixels


CONVOLUTIONS = [
    # input, weight, stride, padding, dilation, groups
    ((1, 1, 2, 3), (1, 1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 2, 3, 2), (1, 2, 2, 1), (2, 1), ((1, 0), (0, 2)), (1, 1), 1),
    ((1, 4, 3, 3), (2, 2, 2, 2), (1, 2), ((0, 1), (1, 1)), (2, 1), 2),
]
for pictures, filters, stride, padding, dilation, groups in CONVOLUTIONS:
    counts, taps_on_pixels = window_positions(pictures[2:], filters[2:], stride, padding, dilation)
    links = [
        (o, o // (filters[0] // groups) * filters[1] + c, c, *m)
        for o in range(filters[0])
        for c in range(filters[1])
        for m in taps_on_pixels
    ]
    how = {"params": ops.convolution.ConvParams(stride, padding, dilation, groups)}

    def convolved(x: np.ndarray, weight: np.ndarray, links: Any, shape: Any) -> np.ndarray:
        out = np.zeros(shape, x.dtype)
        for o, channel, c, i, j, ky, kx, h, w in links:
            out[:, o, i, j] += x[:, channel, h, w] * weight[o, c, ky, kx]
        return out

    def to_input(grad: np.ndarray, weight: np.ndarray, links: Any, shape: Any) -> np.ndarray:
        out = np.zeros(shape, grad.dtype)
        for o, channel, c, i, j, ky, kx, h, w in links:
            out[:, channel, h, w] += grad[:, o, i, j] * weight[o, c, ky, kx]
        return out

    def to_weight(x: np.ndarray, grad: np.ndarray, links: Any, shape: Any) -> np.ndarray:
        out = np.zeros(shape, x.dtype)
        for o, channel, c, i, j, ky, kx, h, w in links:
            out[o, c, ky, kx] += x[:, channel, h, w] @ grad[:, o, i, j]
        return out

    result = (pictures[0], filters[0], *counts)
    for operation, plain, one, two, shape in [
        (ops.convolution.convolution, convolved, pictures, filters, result),
        (ops.convolution.convolution_input_gradient, to_input, result, filters, pictures),
        (ops.convolution.convolution_weight_gradient, to_weight, pictures, result, filters),
    ]:
        options = how if plain is convolved else {**how, "shape": shape}
        case(
            operation,
            f"{operation.__name__} {pictures} {filters}",
            lambda x, y, operation=operation, options=options: operation(x, y, **options),
            lambda x, y, plain=plain, links=links, shape=shape: plain(x, y, links, shape),
            anything(*one),
            anything(*two),
        )

POOLS = [
    # input, window, stride, padding, dilation
    ((1, 1, 2, 4), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((2, 1, 3, 4), (2, 3), (1, 2), (1, 1), (1, 1)),
    ((1, 2, 4, 3), (2, 2), (2, 1), (0, 0), (2, 1)),
]
for pictures, kernel, stride, padding, dilation in POOLS:
    counts, taps_on_pixels = window_positions(pictures[2:], kernel, stride, [(p, p) for p in padding], dilation)
    windows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j, _, _, h, w in taps_on_pixels:
        windows.setdefault((i, j), []).append((h, w))
    result = (*pictures[:2], *counts)
    full = math.prod(kernel)
    picture = apart(*pictures)
    how = {"params": ops.pooling.PoolParams(kernel, stride, padding, dilation)}

    def largest(x: np.ndarray, windows: Any, shape: Any) -> np.ndarray:
        out = np.zeros(shape, x.dtype)
        for position, seen in windows.items():
            out[:, :, *position] = np.max([x[:, :, *pixel] for pixel in seen], axis=0)
        return out

    def given_back(x: np.ndarray, windows: Any, picture: np.ndarray) -> np.ndarray:
        """Zeros with the elements of x added, each at the maximum of its window of the picture."""
        out = np.zeros(picture.shape, x.dtype)
        for position, seen in windows.items():
            for n, c in np.ndindex(*x.shape[:2]):
                out[n, c, *max(seen, key=lambda pixel: picture[n, c, *pixel])] += x[n, c, *position]
        return out

    case(
        ops.pooling.max_pool,
        f"max_pool {pictures} {kernel}",
        lambda x, how=how: ops.pooling.max_pool(x, **how),
        lambda x, windows=windows, shape=result: largest(x, windows, shape),
        picture,
    )
    argmax = ops.pooling.max_pool.formula(picture, **how)[1]
    case(
        ops.pooling.max_pool_gradient,
        f"max_pool_gradient {pictures} {kernel}",
        lambda x, how=how, argmax=argmax, shape=pictures: ops.pooling.max_pool_gradient(
            x, **how, argmax=argmax, shape=shape
        ),
        lambda x, windows=windows, picture=picture: given_back(x, windows, picture),
        anything(*result),
    )
    if dilation != (1, 1):
        continue
    for with_border, divisor in [(True, None), (False, None), (True, 7)]:

        def share(seen: Any, full: int = full, with_border: bool = with_border, divisor: Any = divisor) -> float:
            return 1 / (divisor or (full if with_border else len(seen)))

        def averages(x: np.ndarray, windows: Any, shape: Any, share: Any) -> np.ndarray:
            out = np.zeros(shape, x.dtype)
            for position, seen in windows.items():
                out[:, :, *position] = np.sum([x[:, :, *pixel] for pixel in seen], axis=0) * share(seen)
            return out

        def spread_out(x: np.ndarray, windows: Any, shape: Any, share: Any) -> np.ndarray:
            out = np.zeros(shape, x.dtype)
            for position, seen in windows.items():
                for pixel in seen:
                    out[:, :, *pixel] += x[:, :, *position] * share(seen)
            return out

        options = {**how, "divisor_options": (with_border, divisor)}
        case(
            ops.pooling.avg_pool,
            f"avg_pool {pictures} {kernel} {with_border} {divisor}",
            lambda x, options=options: ops.pooling.avg_pool(x, **options),
            lambda x, windows=windows, shape=result, share=share, averages=averages: averages(x, windows, shape, share),
            anything(*pictures),
        )
        case(
            ops.pooling.avg_pool_gradient,
            f"avg_pool_gradient {pictures} {kernel} {with_border} {divisor}",
            lambda x, options=options, shape=pictures: ops.pooling.avg_pool_gradient(x, **options, shape=shape),
            lambda x, windows=windows, shape=pictures, share=share, spread_out=spread_out: spread_out(
                x, windows, shape, share
            ),
            anything(*result),
        )

for shape, dim in [((4,), (0,)), ((2, 3), (-1,)), ((2, 2, 3), (0, 2))]:
    case(
        ops.standardize,
        f"standardize{shape} {dim}",
        lambda x, dim=dim: ops.standardize(x, dim=dim, eps=0.1),
        lambda x, dim=dim: (
            (x - np.mean(x, dim, keepdims=True)) / (np.var(x, dim, keepdims=True) + x.dtype.type(0.1)) ** 0.5
        ),
        anything(*shape),
    )

for shape, dim, weight in [((3, 4), (1,), (4,)), ((2, 2, 3), (0, 2), (2, 1))]:
    case(
        ops.standardize,
        f"standardize{shape} {dim} scaled",
        lambda x, w, b, dim=dim: ops.standardize(x, w, b, dim=dim, eps=0.1),
        lambda x, w, b, dim=dim: (
            w * (x - np.mean(x, dim, keepdims=True)) / (np.var(x, dim, keepdims=True) + x.dtype.type(0.1)) ** 0.5 + b
        ),
        anything(*shape),
        anything(*weight),
        anything(*weight),
    )


# Cross entropy and embedding

CLASSES = np.array([[2, 0, 0], [1, 2, 0]])


def plain_cross_entropy(x: np.ndarray, classes: np.ndarray, ignored: int, reduction: str) -> Any:
    """Cross entropy, example by example; the classes are the last dimension of x."""
    losses = np.zeros(classes.shape, x.dtype)
    for example, target in np.ndenumerate(classes):
        if target != ignored:
            losses[example] = np.log(np.exp(x[example]).sum()) - x[example][target]
    total = losses.sum()
    return losses if reduction == "none" else total if reduction == "sum" else total / (classes != ignored).sum()


for reduction in ("none", "sum", "mean"):
    for ignored in (-100, 0):
        how = {"dim": 1, "ignore_index": ignored, "reduction": reduction}
        case(
            ops.losses.softmax_cross_entropy,
            f"softmax_cross_entropy {reduction} {ignored}",
            lambda x, how=how: ops.losses.softmax_cross_entropy(x, CLASSES, **how),
            lambda x, i=ignored, r=reduction: plain_cross_entropy(np.moveaxis(x, 1, -1), CLASSES, i, r),
            anything(2, 4, 3),
        )
case(
    ops.indexing.embedding_lookup,
    "embedding_lookup",
    lambda x: ops.indexing.embedding_lookup(x, CLASSES),
    lambda x: np.stack([[x[i] for i in line] for line in CLASSES]),
    anything(3, 5),
)
