"""Every operation, by table: its value beside plain NumPy, its first and second derivatives beside finite differences.

A case is an operation called on some shapes; the same cases run through every test below. `test_nothing_is_left_out`
fails as soon as an operation with a derivative is missing from the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, ops
from chainrule.autograd import gradcheck, gradgradcheck

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(20)
TIGHT = {"atol": 1e-8, "rtol": 1e-6}


def anything(*shape: int) -> np.ndarray:
    return RNG.uniform(-2, 2, shape)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.3, 2, shape)


def off_zero(*shape: int) -> np.ndarray:
    """Far enough from 0 for the slope at a kink not to be measured."""
    return RNG.uniform(0.3, 2, shape) * RNG.choice([-1, 1], shape)


def apart(*shape: int) -> np.ndarray:
    """No two elements near each other, so that the largest stays the largest while it is nudged."""
    return (RNG.permutation(math.prod(shape)).reshape(shape) - 3.2) / 4


def strided(array: np.ndarray) -> np.ndarray:
    """The same values in memory that has gaps and the dimensions the other way round."""
    if not array.ndim:
        return array.copy()
    wide = np.full(tuple(2 * n for n in reversed(array.shape)), np.nan, array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)].T
    view[...] = array
    return view


@dataclass
class Case:
    operation: Any
    label: str
    call: Callable[..., Any]
    plain: Callable[..., Any]
    arrays: list[np.ndarray]
    layout: Callable[[np.ndarray], np.ndarray] = np.copy

    def inputs(self, dtype: Any = np.float64) -> list[np.ndarray]:
        return [self.layout(a.astype(dtype)) for a in self.arrays]

    def leaves(self, dtype: Any = np.float64) -> list[Tensor]:
        return [chainrule.from_numpy(a).requires_grad_() for a in self.inputs(dtype)]


CASES: list[Case] = []


def case(operation: Any, label: str, call: Any, plain: Any, *arrays: np.ndarray) -> None:
    CASES.append(Case(operation, label, call, plain, list(arrays)))
    if any(a.ndim > 1 and a.size for a in arrays):
        CASES.append(Case(operation, label + " strided", call, plain, list(arrays), strided))


# One element at a time

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

# Two elements at a time, broadcast

for operation, plain, left, right in [
    (ops.add, lambda x, y: x + y, anything, anything),
    (ops.sub, lambda x, y: x - y, anything, anything),
    (ops.mul, lambda x, y: x * y, anything, anything),
    (ops.div, lambda x, y: x / y, anything, off_zero),
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
for exponent in [0, 1, 2, 3, -1, -2, 0.5, -1.5]:
    case(
        ops.pow,
        f"pow by {exponent}",
        lambda x, exponent=exponent: x**exponent,
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

# Many elements to one

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
case(
    ops.transpose, "transpose", lambda x: ops.transpose(x, 0, -1), lambda x: np.einsum("abc->cba", x), anything(2, 3, 4)
)
case(
    ops.transpose, "transpose one dimension with itself", lambda x: ops.transpose(x, 1, 1), lambda x: x, anything(2, 3)
)
for dim in [0, 1, 2, -1, -3]:
    case(
        ops.unsqueeze,
        f"unsqueeze {dim}",
        lambda x, dim=dim: ops.unsqueeze(x, dim),
        lambda x, dim=dim: np.array(x.tolist(), x.dtype).reshape({0: (1, 2, 3), 1: (2, 1, 3), 2: (2, 3, 1)}[dim % 3]),
        anything(2, 3),
    )
for shape, dim, after in [
    ((1, 2, 1), None, (2,)),
    ((1, 2, 1), 0, (2, 1)),
    ((1, 2, 1), -1, (1, 2)),
    ((1, 2, 1), 1, (1, 2, 1)),
    ((1, 2, 1), (0, 2), (2,)),
    ((1, 1), None, ()),
    ((), None, ()),
    ((), 0, ()),
]:
    case(
        ops.squeeze,
        f"squeeze{shape} {dim}",
        lambda x, dim=dim: ops.squeeze(x, dim),
        lambda x, after=after: x.reshape(after),
        anything(*shape),
    )
for shape, start, end, after in [
    ((), 0, -1, (1,)),
    ((3,), 0, -1, (3,)),
    ((2, 3), 0, -1, (6,)),
    ((2, 3, 2), 1, -1, (2, 6)),
    ((2, 3, 2), 0, 1, (6, 2)),
    ((2, 3, 2), -2, -1, (2, 6)),
    ((2, 3, 2), 1, 1, (2, 3, 2)),
    ((0, 3, 2), 1, -1, (0, 6)),
]:
    case(
        ops.flatten,
        f"flatten{shape} {start} {end}",
        lambda x, start=start, end=end: ops.flatten(x, start, end),
        lambda x, after=after: x.reshape(after),
        anything(*shape),
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

    def laid_out(x: np.ndarray, index: Any) -> np.ndarray:
        """Zeros with x added at the index: each place in turn."""
        out, places = np.zeros(12, x.dtype), np.arange(12).reshape(3, 4)[index]
        for place, value in zip(np.ravel(places), np.ravel(x), strict=True):
            out[place] += value
        return out.reshape(3, 4)

    case(
        ops.put,
        f"put by {label}",
        lambda x, index=index: ops.put(x, index=index, shape=(3, 4)),
        lambda x, index=index, laid_out=laid_out: laid_out(x, index),
        anything(*np.zeros((3, 4))[index].shape),
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
        chosen, values = np.zeros((3, 4), bool), np.zeros((3, 4), x.dtype)
        chosen[index], values[index] = True, y
        return np.where(chosen, values, x)

    case(
        ops.replace,
        f"replace {label}",
        lambda x, y, index=index: ops.replace(x, y, index=index),
        lambda x, y, index=index, replaced=replaced: replaced(x, y, index),
        anything(3, 4),
        anything(*shape),
    )
for shape, dim, indices in [
    ((3, 4), 0, np.array([[0, 2, 1, 1], [2, 2, 0, 1]])),
    ((3, 4), 1, np.array([[0], [3], [3]])),
    ((3, 4), -1, np.array([[0, 0], [3, -1], [3, 2]])),
    ((3, 4), 0, np.array([[0], [2]])),
    ((5,), 0, np.array([4, 4, 1])),
    ((2, 3, 2), 1, np.array([[[0, 2]], [[1, 1]]])),
]:

    def taken(x: np.ndarray, indices: np.ndarray, dim: int) -> np.ndarray:
        """out[i, j] = x[indices[i, j], j], for any dim, one line of x at a time."""
        sizes = [n for d, n in enumerate(x.shape) if d != dim % x.ndim]
        wide = np.moveaxis(np.broadcast_to(np.moveaxis(indices, dim, 0), (indices.shape[dim], *sizes)), 0, -1)
        lines = np.moveaxis(x, dim, -1)
        out = np.array([lines[at][wide[at]] for at in np.ndindex(*sizes)], x.dtype).reshape(wide.shape)
        return np.moveaxis(out, -1, dim)

    case(
        ops.take_along_dim,
        f"take_along_dim{shape} {dim} {indices.shape}",
        lambda x, indices=indices, dim=dim: ops.take_along_dim(x, indices=indices, dim=dim),
        lambda x, indices=indices, dim=dim, taken=taken: taken(x, indices, dim),
        anything(*shape),
    )

# Losses

REDUCE = {"mean": np.mean, "sum": np.sum, "none": lambda losses: losses}
for reduction, reduce in REDUCE.items():
    for shape in [(), (3,), (2, 3)]:
        case(
            ops.mse_loss,
            f"mse_loss{shape} {reduction}",
            lambda x, y, reduction=reduction: ops.mse_loss(x, y, reduction),
            lambda x, y, reduce=reduce: reduce((x - y) * (x - y)),
            anything(*shape),
            anything(*shape),
        )
    for shape, labels in [
        ((3,), 1),
        ((2, 3), [2, 2]),
        ((2, 3, 2), [[0, 2], [1, 1]]),
        ((2, 3, 1, 2), [[[0, 2]], [[1, 1]]]),
    ]:

        def by_class(x: np.ndarray, labels: Any) -> np.ndarray:
            classes = np.moveaxis(x, min(1, x.ndim - 1), -1)
            chosen = np.arange(x.shape[min(1, x.ndim - 1)]) == np.asarray(labels)[..., None]
            return np.log(np.exp(classes).sum(-1)) - (classes * chosen).sum(-1)

        case(
            ops.cross_entropy,
            f"cross_entropy{shape} {reduction}",
            lambda x, labels=labels, reduction=reduction: ops.cross_entropy(x, np.array(labels), reduction=reduction),
            lambda x, labels=labels, reduce=reduce, by_class=by_class: reduce(by_class(x, labels)),
            anything(*shape),
        )
        case(
            ops.cross_entropy,
            f"cross_entropy{shape} of probabilities {reduction}",
            lambda x, y, reduction=reduction: ops.cross_entropy(x, y, reduction=reduction),
            lambda x, y, reduce=reduce: reduce(
                -(y * np.log(np.exp(x) / np.exp(x).sum(min(1, x.ndim - 1), keepdims=True))).sum(min(1, x.ndim - 1))
            ),
            anything(*shape),
            positive(*shape),
        )


def table(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c.label.replace(" ", "_") for c in cases])


every_case = table(CASES)
contiguous_cases = table([c for c in CASES if c.layout is not strided])  # where the layout has been tested already


def loss(case: Case) -> Callable[..., Tensor]:
    """A number whose gradient differs from element to element and depends on the result."""

    def function(*tensors: Tensor) -> Tensor:
        out = case.call(*tensors)
        squares = (out + 1) ** 2
        return squares.mean() if out.numel() else squares.sum()

    return function


@every_case
def test_value(case):
    for dtype, rtol, atol in [(np.float64, 1e-12, 1e-14), (np.float32, 3e-6, 1e-6)]:
        arrays = case.inputs(dtype)
        out, wanted = case.call(*(chainrule.from_numpy(a) for a in arrays)), case.plain(*arrays)
        assert isinstance(out, Tensor)
        assert (out.shape, out.dtype) == (np.shape(wanted), dtype)
        np.testing.assert_allclose(out.numpy(), wanted, rtol, atol)
        with_arrays = case.call(*arrays)
        assert isinstance(with_arrays, np.ndarray | np.generic) or "tensor" in case.label
        np.testing.assert_array_equal(np.asarray(with_arrays), out.numpy())
        for array, before in zip(arrays, case.inputs(dtype), strict=True):
            np.testing.assert_array_equal(array, before)


@every_case
def test_first_derivative(case):
    assert gradcheck(case.call, case.leaves(), **TIGHT)
    assert gradcheck(loss(case), case.leaves(), **TIGHT)


@contiguous_cases
def test_second_derivative(case):
    assert gradgradcheck(loss(case), case.leaves(), **TIGHT)


@contiguous_cases
def test_gradient_keeps_shape_and_type(case):
    """Recorded for create_graph it is the same; and the same if one input alone asks for it."""
    for dtype, tolerance in [(np.float64, 1e-14), (np.float32, 3e-6)]:
        leaves = case.leaves(dtype)
        together = chainrule.grad(loss(case)(*leaves), leaves)
        recorded = chainrule.grad(loss(case)(*leaves), leaves, create_graph=True)
        for position, (leaf, plain, graph) in enumerate(zip(leaves, together, recorded, strict=True)):
            assert (plain.shape, plain.dtype) == (graph.shape, graph.dtype) == (leaf.shape, dtype)
            scale = np.abs(plain.numpy()).max(initial=1)
            np.testing.assert_allclose(plain.numpy(), graph.detach().numpy(), rtol=0, atol=tolerance * scale)
            alone = [chainrule.from_numpy(a) for a in case.inputs(dtype)]
            alone[position].requires_grad_()
            loss(case)(*alone).backward()
            np.testing.assert_array_equal(alone[position].grad.numpy(), plain.numpy())
            assert all(t.grad is None for t in alone if t is not alone[position])


# Operations without a derivative


@pytest.mark.parametrize("one", [np.array([1.0, 2, 3]), np.array([[1], [3]]), np.array(2.0), np.zeros((0, 3))], ids=str)
@pytest.mark.parametrize(
    ("operation", "plain"),
    [
        (ops.eq, lambda x, y: x == y),
        (ops.ne, lambda x, y: x != y),
        (ops.lt, lambda x, y: x < y),
        (ops.le, lambda x, y: x <= y),
        (ops.gt, lambda x, y: x > y),
        (ops.ge, lambda x, y: x >= y),
    ],
    ids=lambda p: getattr(p, "name", ""),
)
def test_comparison(operation, plain, one):
    other = np.array([3.0, 2, 1])
    out = operation(chainrule.tensor(one), chainrule.tensor(other, requires_grad=True))
    np.testing.assert_array_equal(out.numpy(), plain(one, other))
    assert out.dtype == bool
    assert not out.requires_grad


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [None, 0, 1, -1])
@pytest.mark.parametrize(
    ("operation", "plain"),
    [(ops.argmax, np.argmax), (ops.argmin, np.argmin), (ops.all, np.all), (ops.any, np.any)],
    ids=lambda p: getattr(p, "name", ""),
)
def test_places_and_truths(operation, plain, dim, keepdim):
    array = np.array([[0.0, 3, 3], [1, 0, -1], [-1, 7, 7]])
    out = operation(chainrule.tensor(array, requires_grad=True), dim=dim, keepdim=keepdim)
    wanted = plain(array, axis=dim, keepdims=keepdim)
    np.testing.assert_array_equal(out.numpy(), wanted)
    assert (out.dtype, out.shape, out.requires_grad) == (wanted.dtype, wanted.shape, False)


def test_not_and_finite():
    x = chainrule.tensor([0.0, 1.0, np.inf, -np.inf, np.nan], requires_grad=True)
    assert ops.isfinite(x).tolist() == [True, True, False, False, False]
    assert ops.logical_not(x).tolist() == [True, False, False, False, False]


WITHOUT_DERIVATIVE = {"eq", "ne", "lt", "le", "gt", "ge", "argmax", "argmin", "all", "any", "logical_not", "isfinite"}


def test_nothing_is_left_out():
    functions = {name: getattr(ops, name) for name in ops.__all__ if name not in ("NUMPY", "Operation", "operation")}
    tested = {getattr(c.operation, "name", getattr(c.operation, "__name__", "")) for c in CASES}
    with_rule = {n for n, f in functions.items() if getattr(f, "rule", True) is not None}
    assert with_rule - tested == set(), "operations with a derivative that no case tests"
    assert set(functions) - with_rule == WITHOUT_DERIVATIVE


def test_every_operation_of_the_family_files_is_exported():
    made = {
        found.name
        for module in (ops.elementwise, ops.reductions, ops.shape, ops.linalg, ops.losses)
        for found in vars(module).values()
        if isinstance(found, ops.Operation)
    }
    assert made <= set(ops.__all__)
    assert set(ops.NUMPY.values()) >= {ops.add, ops.exp, ops.sum, ops.matmul, ops.where}
