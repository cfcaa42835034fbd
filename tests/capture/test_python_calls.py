"""Operations that become Python calls in compiled programs, and operations that do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule import nn, ops
from chainrule.capture import jit
from chainrule.capture.compiled import Specialization
from chainrule.capture.trace import Trace

from ..ops import arranged, composed, elementwise, indexed  # noqa: F401  # they add their cases to the table
from ..ops.cases import CASES, Case
from .test_every_operation import FLAT

PAGE = Path(__file__).parent.parent.parent / "docs" / "lowering.md"

X = np.arange(24, dtype=np.float64).reshape(2, 3, 4) - 11.3

COPIES = {
    "contiguous": (lambda x: x.permute(2, 0, 1).contiguous(), lambda x: x.transpose(2, 0, 1)),
    "contiguous, then a view": (
        lambda x: x.permute(2, 0, 1).contiguous().reshape(4, 6),
        lambda x: x.transpose(2, 0, 1).reshape(4, 6),
    ),
    "contiguous and broadcast": (lambda x: x[:, :1].expand(2, 3, 4).contiguous(), lambda x: x[:, [0, 0, 0]]),
    "repeat": (lambda x: x.repeat(2, 1, 1, 3), lambda x: np.tile(x, (2, 1, 1, 3))),
    "tile": (lambda x: ops.tile(x, (3, 2)), lambda x: np.tile(x, (3, 2))),
    "repeat_interleave": (lambda x: ops.repeat_interleave(x, 3, 1), lambda x: np.repeat(x, 3, 1)),
    "interpolate": (
        lambda x: nn.functional.interpolate(x[None], scale_factor=2),
        lambda x: x.repeat(2, 1).repeat(2, 2)[None],
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_in_c_order_are_compiled(name):
    function, plain = COPIES[name]
    parameter = chainrule.from_numpy(X.copy()).requires_grad_()
    weights = np.arange(plain(X).size, dtype=np.float64).reshape(plain(X).shape)

    @jit
    def step(x):
        parameter.grad = None
        (function(parameter) * chainrule.from_numpy(weights)).sum().backward()
        return function(x)

    for call in range(3):
        x = np.roll(X, call)
        out = step(chainrule.from_numpy(x)).numpy()
        np.testing.assert_array_equal(out, plain(x))
        assert out.flags.c_contiguous
        index = plain(np.arange(X.size).reshape(X.shape))  # the element of the input that each result is a copy of
        expected = np.bincount(index.ravel(), weights.ravel(), X.size)
        np.testing.assert_allclose(parameter.grad.numpy().ravel(), expected, rtol=1e-13)
    assert "Python" not in step.explain()


def test_a_contiguous_copy_is_not_changed_with_its_source():
    @jit
    def f(x):
        source = x.T * 1
        copy, view = source.contiguous(), source.T.contiguous()  # the second is in C order already: no copy
        source += 1
        copy.reshape(-1)[0] = 7.0  # `reshape` returns a view of the copy
        return copy, view, source

    for call in range(2):
        x = X[0] + call
        copy, view, source = (t.numpy() for t in f(chainrule.from_numpy(x)))
        expected = x.T.copy()
        expected[0, 0] = 7
        np.testing.assert_array_equal(copy, expected)
        np.testing.assert_array_equal(view, x + 1)
        np.testing.assert_array_equal(source, x.T + 1)


ARITHMETIC = {
    **{f"round to {n}": (lambda x, n=n: ops.round(x, decimals=n), lambda x, n=n: np.round(x, n)) for n in (0, 2, -1)},
    "maximum of booleans": (lambda x: ops.amax(x > 0, 1), lambda x: np.max(x > 0, 1)),
    "minimum of booleans": (lambda x: ops.amin(x > -11, 2, keepdim=True), lambda x: np.min(x > -11, 2, keepdims=True)),
    "maxima of no rows": (lambda x: ops.amax(x[:, :0], 2), lambda x: np.max(x[:, :0], 2)),
    "empty product": (lambda x: x[:, :, :0] @ x[:, :0], lambda x: x * 0),
    "empty linear layer": (
        lambda x: ops.linear(x[:, :, :0], x[0, :, :0], x[0, :, 0]),
        lambda x: np.broadcast_to(x[0, :, 0], (2, 3, 3)),
    ),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_compiled(name, dtype):
    function, plain = ARITHMETIC[name]
    compiled = jit(function)
    for call in range(3):
        x = np.roll(X.astype(dtype), call) * (1 + call / 7)
        out, expected = compiled(chainrule.from_numpy(x)).numpy(), plain(x)
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out, expected)
    assert "Python" not in compiled.explain()


def test_the_gradient_of_an_assignment_to_a_slice_is_compiled():
    parameter = chainrule.from_numpy(X.copy()).requires_grad_()

    @jit
    def step(value):
        parameter.grad = None
        x = parameter * 2
        x[:, 1] = value
        (x * x).sum().backward()

    for call in range(2):
        step(chainrule.from_numpy(X[:, 0] + call))
        expected = 8 * X
        expected[:, 1] = 0
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-13)
    assert "index_put′" not in step.explain()


# The list in docs/lowering.md


SQUARE = np.array([[0.0, 4, 1], [3, 1, 2], [5, 3, 8]])


class TracedError(Exception):
    """The function is traced, which is enough."""


@pytest.fixture
def python_calls(monkeypatch):
    """A function that traces a function of arrays, and returns the names of the program's Python calls."""
    names: set[str] = set()
    add_call = Trace.add_call

    def noted_call(trace: Trace, name: str, *arguments: Any) -> Any:
        names.add(name)
        return add_call(trace, name, *arguments)

    def refuse(_: Specialization) -> None:
        raise TracedError

    monkeypatch.setattr(Trace, "add_call", noted_call)
    monkeypatch.setattr(Specialization, "compile", refuse)

    def trace(function: Any, *arrays: np.ndarray) -> set[str]:
        names.clear()
        with pytest.raises(TracedError), np.errstate(all="ignore"):
            jit(function)(*map(chainrule.from_numpy, arrays))
        return set(names)

    return trace


def gradients(case: Case) -> Any:
    def compute(*inputs: Any) -> Any:
        leaves = [x.detach().requires_grad_() for x in inputs]
        case.call(*leaves).sum().backward()
        return [leaf.grad for leaf in leaves]

    return compute


def listed_names(text: str) -> set[str]:
    return set(re.findall(r"`([\w′]+)`", text))


def page_section() -> str:
    return PAGE.read_text(encoding="utf-8").split("## Python calls\n")[1].split("\n## ")[0]


def without_derivatives(names: set[str]) -> set[str]:
    """The names of the steps; a derivative (′) counts only if its operation is not a Python call."""
    return {name for name in names if name.removesuffix("′") == name or name.removesuffix("′") not in names}


def computed_index(x: Any) -> Any:
    return ops.embedding((x[0] > 0).long(), x)


def test_the_page_lists_the_python_calls_for_floats(python_calls):
    steps, operations = set(), set()
    for case in CASES:
        arrays = case.inputs()
        names = python_calls(case.call, *arrays)
        if names:
            operations.add(case.operation)
        steps |= names | python_calls(gradients(case), *arrays)
    for name, (call, _) in FLAT.items():
        names = python_calls(call, SQUARE)
        if names:
            operations.add(name.split()[0])
        steps |= names
    steps |= python_calls(computed_index, SQUARE)
    rows = [line.split(" | ") for line in page_section().splitlines() if line.startswith("| ")][2:]
    draws = python_calls(lambda: chainrule.randn(3))
    assert draws == listed_names(rows.pop()[1])
    assert without_derivatives(steps) == set().union(*(listed_names(step_names) for _, step_names, _ in rows))
    only_gradients = {"diagonal", "diag", "trace"}
    assert not operations & only_gradients
    listed = set().union(*(listed_names(row_operations) for row_operations, _, _ in rows))
    assert operations & set(ops.__all__) - {"getitem"} == listed - only_gradients - {"embedding"}


def test_the_page_lists_the_python_calls_for_integers(python_calls):
    steps = set()
    for case in CASES:
        is_pooling = "pool" in case.operation  # which refuses integers, or computes with them in its own kernel
        if is_pooling or case.operation not in ops.__all__ or not all(array.size for array in case.arrays):
            continue
        arrays = [np.ceil(np.abs(array) + 0.5) for array in case.inputs()]
        integers = [array.astype(np.int64) for array in arrays]
        try:
            case.call(*map(chainrule.from_numpy, integers))
        except (TypeError, ValueError):  # an operation on floats
            continue
        steps |= python_calls(case.call, *integers) - python_calls(case.call, *arrays)
    assert steps == listed_names(page_section().split("For integers, ")[1])
