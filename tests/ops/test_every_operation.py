"""Every operation, by table: values are compared with plain NumPy, first and second derivatives with finite
differences.

A case is a call of an operation on some shapes. `test_nothing_is_left_out` fails if an operation has no case in the
table (`cases` and the modules that continue it).
"""

from __future__ import annotations

import importlib
import operator
import pkgutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, ops
from chainrule.autograd import gradcheck, gradgradcheck
from chainrule.autograd.tape import Node
from chainrule.kernels import machine

from . import arranged, composed, elementwise, indexed  # noqa: F401  # they add their cases to the table
from .cases import CASES, Case, for_each, strided

if TYPE_CHECKING:
    from collections.abc import Callable

TIGHT = {"atol": 1e-8, "rtol": 1e-6}


@pytest.fixture(autouse=True)
def _plain_kernels(monkeypatch):
    """Kernels run in NumPy; tests/kernels compares them with the compiled ones, which take seconds to compile."""
    monkeypatch.setattr(machine, "_available", False)


every_case = for_each(CASES)
contiguous_cases = for_each([c for c in CASES if c.layout is not strided])  # where the layout has been tested already


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
        assert isinstance(with_arrays, np.ndarray | np.generic) or case.label.endswith("tensor exponent")
        np.testing.assert_array_equal(np.asarray(with_arrays), out.numpy())
        for array, before in zip(arrays, case.inputs(dtype), strict=True):
            np.testing.assert_array_equal(array, before)


def float16_is_computed_with_or_refused(case):
    leaves = case.leaves(np.float16)
    with np.errstate(over="ignore"):  # of squares, in `loss`
        try:
            out = case.call(*leaves)
            loss(case)(*leaves).backward()
        except TypeError as error:
            if "kernels do not compute with float16; convert it with float() or double()" not in str(error):
                raise
            return
    wanted = case.plain(*(array.astype(np.float64) for array in case.inputs(np.float16)))
    np.testing.assert_allclose(out.detach().numpy().astype(np.float64), wanted, rtol=2e-2, atol=2e-2)
    assert {leaf.grad.dtype for leaf in leaves if leaf.grad is not None} <= {np.dtype(np.float16)}


@contiguous_cases
def test_float16_is_computed_with_or_refused_in_one_sentence(case):
    float16_is_computed_with_or_refused(case)


@contiguous_cases
def test_float16_is_computed_with_or_refused_in_one_sentence_with_compiled_kernels(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_available", True)
        float16_is_computed_with_or_refused(case)


@every_case
def test_memory_is_shared_by_views_alone(case):
    inputs = [chainrule.from_numpy(array) for array in case.inputs(np.float64)]
    out = case.call(*inputs)
    for x in inputs:
        if np.may_share_memory(out._data, x._data):
            assert out._view is not None
            assert out._version is x._version


@every_case
def test_no_error_message_is_written_in_advance(case):
    """Formatting the elements of a tensor takes longer than most operations."""

    def refuse(*_: Any) -> str:
        raise AssertionError("a tensor is written out")

    inputs, arrays = case.leaves(), case.inputs(np.float64)
    with pytest.MonkeyPatch.context() as patch, np.printoptions(override_repr=refuse):
        patch.setattr(Tensor, "__repr__", refuse)
        patch.setattr(Tensor, "__format__", refuse)
        out = case.call(*inputs)
        case.call(*arrays)
        if isinstance(out, Tensor) and out.requires_grad:
            out.sum().backward()


@every_case
def test_first_derivative(case):
    assert gradcheck(case.call, case.leaves(), **TIGHT)
    assert gradcheck(loss(case), case.leaves(), **TIGHT)


@contiguous_cases
def test_second_derivative(case):
    assert gradgradcheck(loss(case), case.leaves(), **TIGHT)


@contiguous_cases
def test_gradient_keeps_shape_and_type(case):
    """It is the same with create_graph, and if only one input requires gradients."""
    for dtype, tolerance in [(np.float64, 1e-14), (np.float32, 3e-6)]:
        leaves = case.leaves(dtype)
        joint = chainrule.grad(loss(case)(*leaves), leaves)
        recorded = chainrule.grad(loss(case)(*leaves), leaves, create_graph=True)
        for position, (leaf, plain, graph) in enumerate(zip(leaves, joint, recorded, strict=True)):
            assert (plain.shape, plain.dtype) == (graph.shape, graph.dtype) == (leaf.shape, dtype)
            scale = np.abs(plain.numpy()).max(initial=1)
            np.testing.assert_allclose(plain.numpy(), graph.detach().numpy(), rtol=0, atol=tolerance * scale)
            alone = [chainrule.from_numpy(a) for a in case.inputs(dtype)]
            alone[position].requires_grad_()
            loss(case)(*alone).backward()
            np.testing.assert_array_equal(alone[position].grad.numpy(), plain.numpy())
            assert all(t.grad is None for t in alone if t is not alone[position])


@contiguous_cases
def test_each_rule_keeps_the_type_and_what_it_was_given(case):
    """The tape would silently convert a gradient of a wider type."""
    for dtype in (np.float64, np.float32):
        stack = [case.call(*case.leaves(dtype)).grad_fn]
        while stack:
            node = stack.pop()
            stack += [parent for parent in node.parents if isinstance(parent, Node)]
            if node.operation is ops.cast:
                continue
            saved = [np.copy(value) if isinstance(value, np.ndarray) else None for value in node.saved]
            grad = np.ones(node.shape, node.dtype)
            grad.flags.writeable = False
            parts = node.vjp(grad, False, Tensor)
            for part, parent in zip(parts if isinstance(parts, tuple) else (parts,), node.parents, strict=False):
                if parent is not None:
                    part = part() if callable(part) else part
                    assert part.dtype == parent.dtype == dtype, node.operation
            for before, value in zip(saved, node.saved, strict=True):
                assert before is None or np.array_equal(before, value)


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
    assert ops.isinf(x).tolist() == [False, False, True, True, False]
    assert ops.isnan(x).tolist() == [False, False, False, False, True]
    assert ops.logical_not(x).tolist() == [True, False, False, False, False]
    assert [f(chainrule.tensor([3, 0])).tolist() for f in (ops.isnan, ops.isinf)] == [[False, False]] * 2


@pytest.mark.parametrize(
    ("name", "truth", "bits"),
    [
        ("and", lambda a, b: a and b, operator.and_),
        ("or", lambda a, b: a or b, operator.or_),
        ("xor", lambda a, b: a != b, operator.xor),
    ],
)
def test_logic(name, truth, bits):
    x, y = np.array([[0, 3, 5], [6, 0, 12]]), np.array([5, 3, 0])
    out = getattr(ops, f"logical_{name}")(chainrule.tensor(x), chainrule.tensor(y, dtype=np.float32))
    wanted = [[truth(bool(a), bool(b)) for a, b in zip(row, y, strict=True)] for row in x]
    assert (out.tolist(), out.dtype) == (wanted, bool)
    wanted = [[bits(int(a), int(b)) for a, b in zip(row, y, strict=True)] for row in x]
    for out in (getattr(ops, f"bitwise_{name}")(chainrule.tensor(x), y), bits(x, chainrule.tensor(y))):
        assert (type(out), out.tolist(), out.dtype) == (Tensor, wanted, np.int64)
    numbers, flags = chainrule.tensor([1, 6]), chainrule.tensor([True, False])
    assert bits(3, numbers).tolist() == bits(numbers, 3).tolist() == [bits(3, 1), bits(3, 6)]
    assert (bits(True, flags).tolist(), bits(True, flags).dtype) == ([bits(True, True), bits(True, False)], bool)
    assert (ops.bitwise_not(numbers).tolist(), (~flags).tolist()) == ([-2, -7], [False, True])
    with pytest.raises(
        TypeError, match=f"^bitwise_{name}: takes booleans and integers, not floats: compare them first"
    ):
        bits(numbers, 1.5)


def test_close_to_each_other():
    x = chainrule.tensor([1.0, 1.0, np.inf, np.inf, np.nan, 0.0])
    y = chainrule.tensor([1.0 + 5e-6, 1.1, np.inf, -np.inf, np.nan, 5e-9])
    assert ops.isclose(x, y).tolist() == [True, False, True, False, False, True]
    assert ops.isclose(x, y, equal_nan=True).tolist() == [True, False, True, False, True, True]
    assert ops.isclose(x, y, rtol=0, atol=0).tolist() == [False, False, True, False, False, False]
    assert (ops.allclose(x[:1], y[:1]), ops.allclose(x, y), x[1:2].allclose(y[1:2], atol=0.2)) == (True, False, True)
    with pytest.raises(ValueError, match=r"^allclose: rtol and atol must not be negative, got -1 and 0"):
        ops.allclose(x, y, rtol=-1, atol=0)
    with pytest.raises(TypeError, match=r"^isclose: both must have the same type, not float32 and int64"):
        ops.isclose(x, x.long())


@pytest.mark.parametrize("descending", [False, True])
def test_order_of_equal_elements_and_of_nan(descending):
    x = np.array([[2.0, np.nan, 1, 2, -np.inf, np.nan], [0, 0, 1, 1, 0, 1]])
    values, indices = ops.sort(chainrule.tensor(x), 1, descending)
    ranks = [[(np.isnan(v), 0 if np.isnan(v) else v) for v in row] for row in x]
    wanted = [
        sorted(range(6), key=lambda i, row=row: (row[i][0] * s, row[i][1] * s))
        for row in ranks
        for s in [1 - 2 * descending]
    ]
    assert indices.tolist() == ops.argsort(x, axis=1, descending=descending).tolist() == wanted
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, np.array(wanted), 1))
    assert ops.topk(chainrule.tensor(x), 3, largest=descending)[1].tolist() == [row[:3] for row in wanted]


def test_running_extremes_name_the_last_of_equal_elements():
    x = chainrule.tensor([1.0, 3.0, 3.0, 2.0, np.nan, 5.0, np.nan])
    assert ops.cummax(x, 0)[1].tolist() == [0, 1, 2, 2, 4, 4, 6]
    assert ops.cummin(x, 0)[1].tolist() == [0, 0, 0, 0, 4, 4, 6]


def test_integers_have_no_remainder_by_zero():
    for call in (lambda x: x % 0, lambda x: ops.fmod(x, 0), lambda x: 5 % (x - 7)):
        with pytest.raises(ZeroDivisionError, match=r"^(remainder|fmod): an integer divided by 0 has no remainder$"):
            call(chainrule.tensor([7]))
    assert np.isnan((chainrule.tensor([7.0]) % 0).item())


def test_gradient_of_a_product_with_one_zero_factor_and_with_two():
    x, source = (chainrule.tensor(v, requires_grad=True) for v in ([2.0, 0.0, 0.0], [3.0, 0.0, 5.0]))
    out = ops.scatter_reduce(x, 0, chainrule.tensor([0, 0, 2]), source, "prod")
    assert out.tolist() == [0, 0, 0]
    gradients = chainrule.grad((out * chainrule.tensor([1.0, 2.0, 3.0])).sum(), [x, source])
    assert [g.tolist() for g in gradients] == [[0, 2, 15], [0, 6, 0]]
    out = ops.scatter_reduce(x, 0, chainrule.tensor([0, 0, 2]), source, "prod")
    with pytest.raises(RuntimeError, match="the second derivative of a product with a factor of 0 is not supported"):
        chainrule.grad(out.sum(), [x], create_graph=True)


@pytest.mark.parametrize("make", [chainrule.tensor, np.array], ids=["tensors", "arrays"])
def test_where_the_largest_of_a_window_is(make):
    picture = make([[[1.0, 5, 0], [4, 2, 7], [7, 6, 3]]])  # (1, 3, 3)
    out, indices = ops.max_pool2d(picture, 2, 1, return_indices=True)
    assert (out.tolist(), indices.tolist()) == ([[[5, 7], [7, 7]]], [[[1, 5], [6, 5]]])
    assert type(out) is type(indices) is type(picture)
    assert (indices.dtype, ops.max_pool2d(picture[None], 2, 1, return_indices=True)[1].shape) == (
        np.int64,
        (1, 1, 2, 2),
    )


WITHOUT_DERIVATIVE = {
    *("eq", "ne", "lt", "le", "gt", "ge", "argmax", "argmin", "all", "any", "isfinite", "isnan", "isinf", "argsort"),
    *("logical_and", "logical_or", "logical_xor", "logical_not", "running_extreme_indices"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"),
    *("max_pool_indices", "check_indices", "fused_attention_gradients", "recurrent_scan_gradients"),
}


def test_nothing_is_left_out():
    primitive = {
        value.name: value
        for module in pkgutil.iter_modules(ops.__path__)
        for value in vars(importlib.import_module(f"chainrule.ops.{module.name}")).values()
        if isinstance(value, ops.Operation)
    }
    without = {name for name, operation in primitive.items() if operation.rule is None}
    assert without == WITHOUT_DERIVATIVE
    exported = set(ops.__all__) - {
        "NUMPY_FUNCTIONS",
        "Operation",
        "operation",
        "isclose",
        "allclose",
    }  # made of comparisons
    assert (primitive.keys() | exported) - without - {case.operation for case in CASES} == set()


def test_numpys_functions_stand_for_operations():
    assert set(ops.NUMPY_FUNCTIONS.values()) >= {ops.add, ops.exp, ops.sum, ops.matmul, ops.where}
