"""The tape of single numbers: the engine's slopes, shared values, repeated calls, long computations; and its lesson."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule.first_principles import tape
from chainrule.first_principles.finite_difference import central_difference
from chainrule.first_principles.tape import Value, as_value, backward, order, zero_gradients

RANDOM = np.random.default_rng(11)
FORMULAS = {  # of two numbers; each is a formula for our values, for Tensors and for arrays
    "sum, product": lambda a, b: a * b + a,
    "shared": lambda a, b: (a * b + a) * (a * b + a) + b,
    "difference, power": lambda a, b: (a - b) ** 3 + (b - 2.0) ** 2 * a,
    "plain numbers": lambda a, b: 2 * a + (3 + b) * 0.5 + a * 4,
    "negative power": lambda a, b: (a * a + 1.0) ** -0.5 * b,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("seed", range(3))
def test_slopes_are_the_engines_and_those_of_nudges(name: str, seed: int) -> None:
    formula, start = FORMULAS[name], np.random.default_rng(seed).normal(size=2)
    ours = [Value(number) for number in start.tolist()]
    result = formula(*ours)
    backward(result)
    theirs = [chainrule.tensor(number, requires_grad=True) for number in start]
    expected = formula(*theirs)
    expected.backward()
    assert result.number == pytest.approx(expected.item(), rel=1e-14)
    gradients = [value.gradient for value in ours]
    np.testing.assert_allclose(gradients, [tensor.grad.item() for tensor in theirs], rtol=1e-13)
    np.testing.assert_allclose(gradients, central_difference(lambda x: formula(*x), start), rtol=1e-6)


@pytest.mark.parametrize("z", [-1000.0, -3.0, 0.0, 0.4, 1000.0])
def test_sigmoid(z: float) -> None:
    value = Value(z)
    bent = value.sigmoid()
    backward(bent)
    tensor = chainrule.tensor(np.float64(z), requires_grad=True)
    chainrule.sigmoid(tensor).backward()
    assert bent.number == pytest.approx(1 / (1 + math.exp(-z)) if z > -700 else 0.0, rel=1e-15)
    assert value.gradient == pytest.approx(tensor.grad.item(), rel=1e-12, abs=1e-300)


def test_parents_come_before_what_is_computed_from_them() -> None:
    values = [Value(number) for number in RANDOM.normal(size=4).tolist()]
    for _ in range(60):
        first, second = RANDOM.integers(len(values), size=2)
        values.append((values[first] + values[second]).sigmoid() if RANDOM.random() < 0.5 else values[first] * 0.5)
    ordered = order(values[-1])
    assert len(set(ordered)) == len(ordered)
    assert ordered[-1] is values[-1]
    position = {value: i for i, value in enumerate(ordered)}
    assert all(position[parent] < position[value] for value in ordered for parent in value.parents)


def test_a_value_passes_on_only_when_all_its_uses_have_reported() -> None:
    """The first parent of the sum is `u`, which a walk without order would let speak too early."""
    w, x = Value(3.0), Value(2.0)
    u = w * x
    backward(u + u * u)
    assert (w.gradient, x.gradient, u.gradient) == (26.0, 39.0, 13.0)


def test_inputs_add_up_over_calls_and_values_between_do_not() -> None:
    x = Value(2.0)
    u = x * x
    y = u * u  # x⁴
    backward(y)
    backward(y)
    assert (x.gradient, u.gradient, y.gradient) == (64.0, 8.0, 1.0)
    zero_gradients([x])
    assert x.gradient == 0.0
    backward(x)
    assert x.gradient == 1.0


def test_a_computation_longer_than_pythons_calls_and_with_more_paths_than_time() -> None:
    x = Value(1.0)
    y = x
    for _ in range(5000):
        y = y + 1.0
    for _ in range(60):
        y = y + y
    backward(y)
    assert x.gradient == 2.0**60


def test_powers_without_a_slope_are_refused_and_one_with_a_slope_of_zero_is_not() -> None:
    zero = Value(0.0)
    backward(zero**0 + zero**1 + zero**2)
    assert zero.gradient == 1.0
    for number, exponent in ((-8.0, 1 / 3), (0.0, 0.5), (0.0, -1)):
        with pytest.raises(ValueError, match="math domain error"):
            Value(number) ** exponent
    with pytest.raises(TypeError, match="must be real number, not Value"):
        Value(2.0) ** Value(3.0)


def test_a_plain_number_becomes_a_value_once() -> None:
    value = Value(2.0)
    assert as_value(value) is value
    assert (as_value(3.0).number, as_value(3.0).parents) == (3.0, ())


def plain(file: Path) -> dict[str, str]:
    """The classes and functions of a file, the last of each name, without docstrings, comments and types."""
    found = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner):
                inner.body = inner.body[1:]
            if isinstance(inner, ast.FunctionDef):
                inner.returns = None
            if isinstance(inner, ast.arg):
                inner.annotation = None
            for name, body in ast.iter_fields(inner):
                if isinstance(body, list):
                    setattr(inner, name, [_without_type(part) for part in body])
        found[node.name] = ast.unparse(node)
    return found


def _without_type(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.Assign([node.target], node.value, lineno=node.lineno)
    return node


def test_the_lesson_ends_at_this_module() -> None:
    lesson = plain(next((Path(__file__).parents[2] / "lessons").glob("*_your_own_tape.py")))
    module = plain(Path(tape.__file__))
    names = set(module) - {"main"}
    assert names == {"Value", "as_value", "order", "backward", "zero_gradients"}
    assert {name: lesson[name] for name in names} == {name: module[name] for name in names}


def test_it_is_a_page() -> None:
    assert len(Path(tape.__file__).read_text(encoding="utf-8").splitlines()) <= 150
