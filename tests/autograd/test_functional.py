"""jacobian, hessian, hvp, vjp: valid and invalid arguments. tests/conformance compares their values with PyTorch."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, autograd
from chainrule.autograd import functional, hessian, hvp, jacobian, jvp, vjp


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


def test_are_reached_by_both_names():
    for name in ("jacobian", "hessian", "hvp", "vjp"):
        assert getattr(autograd, name) is getattr(functional, name)


def test_values_by_hand():
    x, v = chainrule.tensor([1.0, 2.0]), chainrule.tensor([1.0, 10.0])
    square = lambda x: x**2  # noqa: E731
    assert jacobian(square, x).tolist() == [[2, 0], [0, 4]]
    assert [t.tolist() for t in vjp(square, x, v)] == [[1, 4], [2, 40]]
    cube = lambda x: (x**3).sum()  # noqa: E731
    assert hessian(cube, x).tolist() == [[6, 0], [0, 12]]
    assert [t.tolist() for t in hvp(cube, x, v)] == [9, [6, 120]]


@pytest.mark.parametrize("function", [jacobian, hessian, hvp, vjp])
def test_inputs_are_left_alone(function):
    x = leaf(2.0)
    for value in (x, x.detach()):
        with chainrule.no_grad():
            result = function(lambda x: (x**3).sum(), value)
        for t in result if isinstance(result, tuple) else (result,):
            assert not t.requires_grad
    assert (x.grad, x.requires_grad) == (None, True)


@pytest.mark.parametrize("name", ["jacobian", "hessian", "vjp", "hvp"])
def test_they_record_under_no_grad_too(name):
    """With create_graph the result has a history, without it none, wherever they are called."""
    x = chainrule.tensor(np.array([1.0, 2.0]), requires_grad=True)
    function, inputs = {"jacobian": (lambda x: x**3, x), "vjp": (lambda x: (x**3).sum(), x)}.get(
        name, (lambda x: (x**3).sum(), x)
    )
    options = {"v": chainrule.ones(2, dtype=np.float64)} if name == "hvp" else {}
    gradients = []
    for recorded in (True, False):
        with chainrule.set_grad_enabled(recorded):
            answer = getattr(autograd, name)(function, inputs, create_graph=True, **options)
            plain = getattr(autograd, name)(function, inputs, **options)
        answer, plain = (part[1] if isinstance(part, tuple) else part for part in (answer, plain))
        assert (answer.requires_grad, plain.requires_grad) == (True, False)
        gradients.append(chainrule.grad(answer.sum(), x)[0].tolist())
    expected = [6.0, 12.0] if name in ("jacobian", "vjp") else [6.0, 6.0]  # of 3x² and of 6x
    assert gradients == [expected, expected]


def test_of_no_outputs_at_all():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    result = jacobian(lambda x, y: x[:0] * y, (x, y))
    assert [t.shape for t in result] == [(0, 2), (0, 1)]


def test_what_is_not_used_is_zero_unless_strict():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    (jx, jy) = jacobian(lambda x, y: x * 2, (x, y))
    assert (jx.tolist(), jy.tolist()) == ([[2, 0], [0, 2]], [[0], [0]])
    constant = lambda x: chainrule.ones(2)  # noqa: E731
    assert jacobian(constant, x).tolist() == [[0, 0], [0, 0]]
    assert hessian(lambda x: x.sum(), x).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(RuntimeError, match="jacobian: an output does not depend on input 1, which strict=True forbids"):
        jacobian(lambda x, y: (x * y, x * 2), (x, y), strict=True)
    with pytest.raises(
        RuntimeError, match="jacobian: output 1 does not depend on the inputs, which strict=True forbids"
    ):
        jacobian(lambda x: (x, chainrule.ones(2)), x, strict=True)
    with pytest.raises(RuntimeError, match="hessian: an output does not depend on input 1"):
        hessian(lambda x, y: (x**2).sum(), (x, y), strict=True)
    with pytest.raises(RuntimeError, match="hvp: the derivative with respect to input 0 does not depend on the inputs"):
        hvp(lambda x: x.sum(), x, x, strict=True)
    with pytest.raises(RuntimeError, match="vjp: output 0 does not depend on the inputs"):
        vjp(constant, x, x, strict=True)


def test_what_they_refuse():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    with pytest.raises(ValueError, match=re.escape("v is optional only for a single element, not for (2,)")):
        vjp(lambda x: x * 2, x)
    with pytest.raises(ValueError, match=re.escape("v must have shape (2,), not (1,)")):
        vjp(lambda x: x * 2, x, y)
    with pytest.raises(ValueError, match=re.escape("hvp: v must have shape (2,) and (1,), not (2,)")):
        hvp(lambda x, y: (x * y).sum(), (x, y), x)
    for name, function in (("hvp", hvp), ("hessian", hessian)):
        for out in (lambda x: x * 2, lambda x: (x.sum(), x.sum())):
            with pytest.raises(ValueError, match=f"{name}: the function must return one Tensor of one element"):
                function(out, x)
    with pytest.raises(TypeError, match="jacobian: outputs must be a Tensor or a tuple of them, not float"):
        jacobian(lambda x: 3.0, x)
    with pytest.raises(TypeError, match="jacobian: inputs must be a Tensor or a tuple of them, not numpy.ndarray"):
        jacobian(lambda x: x, np.ones(2))
    with pytest.raises(TypeError, match="only floats can require gradients, not int64"):
        jacobian(lambda x: x, chainrule.tensor([1, 2]))
    with pytest.raises(TypeError, match="vectorize"):
        jacobian(lambda x: x, x, vectorize=True)


def test_strict_requires_that_each_output_depends_on_an_input():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    of_two = lambda x: (x * x, w * 1)  # noqa: E731
    with pytest.raises(RuntimeError, match="jvp: output 1 does not depend on the inputs, which strict=True forbids"):
        jvp(of_two, x, x, strict=True)
    constant = lambda x: (x * x, w.detach() * 1)  # noqa: E731
    for run in (vjp, jvp):
        v = (x, x) if run is vjp else x
        with pytest.raises(RuntimeError, match=f"{run.__name__}: output 1 does not depend on the inputs"):
            run(constant, x, v, strict=True)
        run(constant, x, v)
    with pytest.raises(RuntimeError, match="vjp: the derivative with respect to input 0 does not depend on the inputs"):
        vjp(lambda x: x * 2, x, x.detach(), create_graph=True, strict=True)
    vjp(lambda x: x * 2, x, x.detach(), strict=True)
