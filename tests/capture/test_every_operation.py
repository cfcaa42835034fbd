"""Every operation in the table of tests/ops, compiled: values against NumPy, gradients against eager mode.

`tests/ops` compares the eager gradients with finite differences. Each program is called several times with new numbers,
and its memory is poisoned before each call (`tests.poison`).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule import ops
from chainrule.capture import jit
from chainrule.errors import CaptureError

from ..ops import arranged, composed, elementwise, indexed  # noqa: F401  # they add their cases to the table
from ..ops.cases import CASES, Case, by_operation, strided
from ..ops.test_every_operation import WITHOUT_DERIVATIVE

CALLS = 3
CLOSE = {np.dtype(np.float64): (1e-11, 1e-13), np.dtype(np.float32): (2e-5, 3e-6)}


def inputs(case: Case, call: int, dtype: Any) -> list[np.ndarray]:
    """The case's numbers for one call: other ones each time, but as far from zeros, kinks and each other as before."""
    factor = 1 - 0.1 * call
    return [
        case.layout(np.asarray(factor * (a if call % 2 == 0 else a.ravel()[::-1].reshape(a.shape)), dtype))
        for a in case.arrays
    ]


def assert_close(actual: Any, expected: Any, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), what
    rtol, atol = CLOSE.get(expected.dtype, (0, 0))
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1) if expected.dtype.kind == "f" else 1
    np.testing.assert_allclose(actual, expected, rtol, atol * scale, err_msg=what)


def check(cases: list[Case], dtype: Any) -> None:
    """Values and gradients of some cases in one program, by arguments and by leaves from outside."""
    leaves, eager_leaves = (
        [[chainrule.from_numpy(a).requires_grad_() for a in inputs(case, 0, dtype)] for case in cases] for _ in range(2)
    )
    compiled, eager = jit(training_step(cases, leaves)), training_step(cases, eager_leaves)
    for call in range(CALLS):
        numbers = [inputs(case, call, dtype) for case in cases]
        for tensors in (leaves, eager_leaves):
            for own, arrays in zip(tensors, numbers, strict=True):
                for tensor, array in zip(own, arrays, strict=True):
                    tensor.detach().copy_(chainrule.from_numpy(array))
        values, losses = compiled([[chainrule.from_numpy(a) for a in arrays] for arrays in numbers])
        _, eager_losses = eager(numbers)
        for position, case in enumerate(cases):
            what = f"{case.label}, call {call}: "
            plain = np.asarray(case.plain(*numbers[position]), dtype)
            assert_close(values[position].numpy(), plain, what + "value")
            assert_close(losses[position].numpy(), eager_losses[position].numpy(), what + "loss")
            for leaf, other in zip(leaves[position], eager_leaves[position], strict=True):
                assert_close(leaf.grad.numpy(), other.grad.numpy(), what + "gradient")
    assert [len(programs) for programs in compiled.specializations.values()] == [1]


def training_step(cases: list[Case], leaves: list[list[Any]]) -> Any:
    """The values by arguments; the losses, whose gradients differ from element to element, by leaves."""

    def step(arguments: Any) -> tuple[list[Any], list[Any]]:
        values, losses = [], []
        for case, call_inputs, own in zip(cases, arguments, leaves, strict=True):
            with chainrule.no_grad():
                values.append(case.call(*call_inputs))
            for leaf in own:
                leaf.grad = None
            squares = (case.call(*own) + 1) ** 2
            losses.append(squares.mean() if squares.numel() else squares.sum())
            losses[-1].backward()
        return values, [value.detach() for value in losses]

    return step


def programs(cases: list[Case]) -> list[list[Case]]:
    """Some cases a program: it takes time to begin one."""
    return [cases[i : i + 6] for i in range(0, len(cases), 6)]


@by_operation(CASES)
def test_interpreted(cases, interpreted):
    for some in programs(cases):
        check(some, np.float64)


# Gradients of gradients

REFUSED = {
    **dict.fromkeys(("prod", "scatter_product", "scatter multiply"), "its rule asks whether a factor is 0"),
    **{f"scatter_reduce prod {include_self}": "the same" for include_self in (True, False)},
    **{f"cumprod {case}": "the same" for case in ("(4,) 0", "(2, 3) 1", "(3, 2, 2) -2", "(2, 0) 0")},
    **{f"cumprod of zeros {count}": "the same" for count in (1, 2, 4)},
    **dict.fromkeys((f"add_at by a mask{which}" for which in ("", " of rows", " of nothing")), "a mask"),
    "index_put a mask": "a mask",
}
"""Operations and cases whose gradient of a gradient is refused in a compiled function, and why."""


def penalized(cases: list[Case], leaves: list[list[Any]]) -> Any:
    """For each case a loss of its gradients; and their gradients in turn."""

    def step() -> Any:
        penalties = []
        for case, own in zip(cases, leaves, strict=True):
            for leaf in own:
                leaf.grad = None
            squares = (case.call(*own) + 1) ** 2
            loss = squares.mean() if squares.numel() else squares.sum()
            penalties.append(sum(((grad + 0.5) ** 2).sum() for grad in chainrule.grad(loss, own, create_graph=True)))
            penalties[-1].backward()
        return penalties

    return step


def is_refused(case: Case) -> bool:
    """Whether there is no gradient of a gradient, or none in a compiled function; which is then refused."""
    leaves, others = ([chainrule.from_numpy(a).requires_grad_() for a in inputs(case, 0, np.float64)] for _ in range(2))
    compiled = jit(penalized([case], [leaves]))
    try:
        penalized([case], [others])()
    except RuntimeError as error:  # the gradient is the same everywhere
        with pytest.raises(RuntimeError, match=re.escape(str(error))):
            compiled()
        return True
    if case.operation in REFUSED or case.label in REFUSED:
        with pytest.raises(
            CaptureError, match=r"^jit: .*(depends on values|the value of a tensor is needed).*test_every_operation"
        ):
            compiled()
        return True
    return False


@by_operation([c for c in CASES if c.layout is not strided])
def test_second_derivatives(cases, interpreted):
    for some in programs([case for case in cases if not is_refused(case)]):
        leaves, others = (
            [[chainrule.from_numpy(a).requires_grad_() for a in inputs(case, 0, np.float64)] for case in some]
            for _ in range(2)
        )
        eager, compiled = penalized(some, others), jit(penalized(some, leaves))
        for call in range(2):
            for case, own, other in zip(some, leaves, others, strict=True):
                for array, *tensors in zip(inputs(case, call, np.float64), own, other, strict=True):
                    for tensor in tensors:
                        tensor.detach().copy_(chainrule.from_numpy(array))
            for case, penalty, expected in zip(some, compiled(), eager(), strict=True):
                assert_close(penalty.numpy(), expected.detach().numpy(), f"{case.label}, call {call}: penalty")
            for case, own, other in zip(some, leaves, others, strict=True):
                for leaf, expected in zip(own, other, strict=True):
                    assert_close(leaf.grad.numpy(), expected.grad.numpy(), f"{case.label}, call {call}: gradient")


# By the real compiler, in float32


def compiled_together() -> list[Any]:
    """The largest case of each operation, in groups of which each becomes one program; and every product."""
    largest: dict[str, Case] = {}
    for case in CASES:
        known_size = sum(a.size for a in largest[case.operation].arrays) if case.operation in largest else -1
        if case.layout is not strided and sum(a.size for a in case.arrays) > known_size:
            largest[case.operation] = case
    chosen = [largest[name] for name in sorted(largest)]
    groups = [pytest.param(chosen[i : i + 12], id=f"from {chosen[i].operation}") for i in range(0, len(chosen), 12)]
    for name in ("matmul", "linear"):
        products = [c for c in CASES if c.operation == name and c.layout is not strided]
        groups.append(pytest.param(products, id=f"every {name}"))
    return groups


@pytest.mark.parametrize("cases", compiled_together())
def test_compiled(cases):
    check(cases, np.float32)


# Operations without a derivative

OTHER = np.array([3.0, 2, 1])
INTEGERS = np.array([5, 3, 1])
COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
POSITIONS = {"argmax": np.argmax, "argmin": np.argmin, "all": np.all, "any": np.any}
ROWS = np.array([[2, 0, 1], [1, 1, 2], [0, 0, 0]])


def largest_of_windows(x: np.ndarray) -> np.ndarray:
    """Where in a picture the largest of each window of 2×2 is."""
    windows = [[[(h, w) for h in (i, i + 1) for w in (j, j + 1)] for j in range(2)] for i in range(2)]
    return np.array([[3 * h + w for h, w in [max(window, key=lambda at: x[at]) for window in row]] for row in windows])


def running_maximum(x: np.ndarray) -> np.ndarray:
    """In each row, where the largest of the elements so far is, the last if there are several."""
    return np.array([[max(range(j + 1), key=lambda i, row=row: (row[i], i)) for j in range(len(row))] for row in x])


WEIGHT = np.array([[0.1, 0.2, 0.3], [-0.2, 0.1, 0.0], [0.3, -0.1, 0.2]])


def first_state_gradient(x: Any) -> Any:
    """The gradient of the first state of a recurrent layer, for two steps."""
    state = (0.1 * x.detach()).unsqueeze(0).requires_grad_()
    weight = chainrule.from_numpy(WEIGHT)
    steps = chainrule.zeros(2, 3, 3, dtype=np.float64)
    ops.recurrent.recurrent_scan(steps, state, weight, cell=ops.recurrent.RNN_TANH)[-1].sum().backward()
    return state.grad[0]


def plain_first_state_gradient(x: np.ndarray) -> np.ndarray:
    first = np.tanh(0.1 * x @ WEIGHT.T)
    second = np.tanh(first @ WEIGHT.T)
    return ((1 - second**2) @ WEIGHT * (1 - first**2)) @ WEIGHT


def query_gradient(x: Any) -> Any:
    """The gradient of the query of fused attention, whose query, keys and values are x."""
    query = x.detach().requires_grad_()
    ops.attention.fused_attention(query, x, x, is_causal=False, scale=0.1).sum().backward()
    return query.grad


def plain_query_gradient(x: np.ndarray) -> np.ndarray:
    powers = np.exp(0.1 * x @ x.T)
    weights = powers / powers.sum(1, keepdims=True)
    slopes = weights * (x.sum(1) - (weights @ x).sum(1, keepdims=True))
    return 0.1 * slopes @ x


FLAT: dict[str, tuple[Any, Any]] = {
    **{
        name: (lambda x, name=name: getattr(ops, name)(x, OTHER), lambda x, plain=plain: plain(x, OTHER))
        for name, plain in COMPARISONS.items()
    },
    **{
        f"{name} {dim}": (
            lambda x, name=name, dim=dim: getattr(ops, name)(x, dim=dim),
            lambda x, plain=plain, dim=dim: plain(x, axis=dim),
        )
        for name, plain in POSITIONS.items()
        for dim in (None, 0, 1)
    },
    **{
        name: (
            lambda x, name=name: getattr(ops, name)(np.log(x), np.log(OTHER) - x),
            lambda x, plain=plain: plain(np.log(x), np.log(OTHER) - x),
        )
        for name, plain in {
            "logical_and": np.logical_and,
            "logical_or": np.logical_or,
            "logical_xor": np.logical_xor,
        }.items()
    },
    **{
        name: (
            lambda x, name=name: getattr(ops, name)(x.long(), INTEGERS),
            lambda x, plain=plain: plain(x.astype(int), INTEGERS),
        )
        for name, plain in {
            "bitwise_and": np.bitwise_and,
            "bitwise_or": np.bitwise_or,
            "bitwise_xor": np.bitwise_xor,
        }.items()
    },
    "bitwise_not": (lambda x: ~x.long(), lambda x: -1 - x.astype(int)),
    "logical_not": (ops.logical_not, lambda x: x == 0),
    **{
        name: (lambda x, name=name: getattr(ops, name)(np.log(x)), lambda x, plain=plain: plain(np.log(x)))
        for name, plain in {"isfinite": np.isfinite, "isnan": np.isnan, "isinf": np.isinf}.items()
    },
    **{
        f"argsort {dim}": (lambda x, d=dim: ops.argsort(x, d), lambda x, d=dim: np.argsort(x, d, kind="stable"))
        for dim in (0, 1)
    },
    "running_extreme_indices": (lambda x: ops.cummax(x, 1)[1], running_maximum),
    "max_pool_indices": (lambda x: ops.max_pool2d(x[None], 2, 1, return_indices=True)[1][0], largest_of_windows),
    "check_indices": (lambda x: ops.embedding(ROWS, x), lambda x: x[ROWS]),
    "fused_attention_gradients": (query_gradient, plain_query_gradient),
    "recurrent_scan_gradients": (first_state_gradient, plain_first_state_gradient),
}


def test_no_operation_without_a_derivative_is_left_out():
    assert {name.split()[0] for name in FLAT} == WITHOUT_DERIVATIVE


@pytest.mark.parametrize("name", FLAT)
def test_without_a_derivative(name, interpreted):
    call, plain = FLAT[name]
    compiled = jit(call)
    for digits in (152420313, 321000789, 804111265):
        x = np.array([int(digit) for digit in str(digits)], np.float64).reshape(3, 3) - 1
        with np.errstate(all="ignore"):  # of the logarithms
            assert_close(compiled(chainrule.from_numpy(x)).numpy(), np.asarray(plain(x)), name)
    assert [len(programs) for programs in compiled.specializations.values()] == [1]
