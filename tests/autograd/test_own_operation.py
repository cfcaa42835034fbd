"""A user's operation, written outside of the library as `ops/operation.py` describes."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import Tensor
from chainrule.autograd import gradcheck, gradgradcheck, jacobian
from chainrule.ops import operation


@operation
def softsign(x):
    """x / (1 + |x|), elementwise."""
    return x / (1 + np.abs(x))


@softsign.derivative
def _(grad, x):
    return grad / (1 + np.abs(x)) ** 2


@operation
def affine(x, weight, bias=None, *, power=1):
    """x weightᵖ + bias, elementwise; `bias` is optional."""
    out = x * weight**power
    return out if bias is None else out + bias


@affine.derivative
def _(grad, x, weight, power):
    return grad * weight**power, lambda: grad * x * power * weight ** (power - 1), grad


@operation
def square_sum(x):
    """The sum of all squares; saves only a shape and the result."""
    return np.sum(x * x)


@square_sum.derivative
def _(grad, x, x_shape):
    return 2 * np.broadcast_to(grad, x_shape) * x


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return chainrule.tensor(np.random.default_rng(seed).uniform(0.5, 2, shape), requires_grad=True)


def test_runs_on_arrays_and_on_tensors():
    array = np.array([-1.0, 3.0])
    assert softsign(array).tolist() == [-0.5, 0.75]
    assert type(softsign(array)) is np.ndarray
    out = softsign(chainrule.tensor(array))
    assert (type(out), out.tolist(), out.requires_grad) == (Tensor, [-0.5, 0.75], False)
    assert (softsign.__name__, softsign.__doc__) == ("softsign", "x / (1 + |x|), elementwise.")


def test_is_differentiated_once_and_twice():
    x = chainrule.tensor(np.array([-1.0, 3.0]), requires_grad=True)
    (g,) = chainrule.grad(softsign(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), [1 / 4, 1 / 16])
    (second,) = chainrule.grad(g.sum(), x)
    np.testing.assert_allclose(second.numpy(), [2 / 8, -2 / 64])
    assert gradcheck(softsign, x)
    assert gradgradcheck(softsign, x)
    np.testing.assert_allclose(jacobian(softsign, x).numpy(), np.diag([1 / 4, 1 / 16]))


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 1)), ((), (2,))])
def test_with_several_inputs_options_and_broadcasting(left, right, bias, power):
    inputs = [leaf(*left, seed=1), leaf(*right, seed=2), *([leaf(*right, seed=3)] if bias else [])]
    assert gradcheck(lambda *xs: affine(*xs, power=power), inputs)
    assert gradgradcheck(lambda *xs: affine(*xs, power=power), inputs)


def test_an_optional_input_that_is_left_out_or_none():
    x, w = leaf(2), leaf(2)
    assert affine(x, w).tolist() == affine(x, w, None).tolist() == (x * w).tolist()
    affine(x, w).sum().backward()
    assert x.grad.tolist() == w.tolist()


def test_a_gradient_that_nobody_wants_is_not_computed():
    called = []

    @operation
    def product(x, other):
        return x * other

    @product.derivative
    def _(grad, x, other):
        return grad * other, lambda: called.append(1) or grad * x

    x, y = leaf(2), leaf(2)
    product(x, y.detach()).sum().backward()
    assert not called
    product(x, y).sum().backward()
    assert called


def test_a_shape_and_a_reduction():
    assert gradcheck(square_sum, leaf(2, 3))
    assert gradgradcheck(square_sum, leaf(2, 3))


def test_in_a_network_with_hooks_and_in_place_changes():
    layer = chainrule.nn.Linear(2, 2).double()
    x = leaf(3, 2)
    out = softsign(layer(x))
    out.register_hook(lambda g: g * 2)
    out.sum().backward()
    assert layer.weight.grad.shape == (2, 2)
    out = softsign(x)
    total = out.sum()
    with chainrule.no_grad():
        x.zero_()
    with pytest.raises(RuntimeError, match="the x of softsign .* was changed in place"):
        total.backward()


class TestMistakes:
    @staticmethod
    def operation_with(rule):
        @operation
        def mine(x, other, *, dim=0):
            return x * other

        mine.derivative(rule)
        return mine

    def test_a_rule_that_does_not_begin_with_grad(self):
        with pytest.raises(TypeError, match="mine: the first parameter of its derivative must be `grad`"):
            self.operation_with(lambda x, grad: grad)

    def test_a_rule_that_asks_for_what_is_not_there(self):
        with pytest.raises(TypeError, match="`others`, but may ask only for dim, other, other_shape, out, x, x_shape$"):
            self.operation_with(lambda grad, others: grad)

    @pytest.mark.parametrize(
        ("rule", "error", "message"),
        [
            (lambda grad: grad, TypeError, "mine: its derivative returns 1 gradients for 2 inputs"),
            (lambda grad: (grad,) * 3, TypeError, "mine: its derivative returns 3 gradients for 2 inputs"),
            (lambda grad: [grad, grad], TypeError, "mine: its derivative returns 1 gradients for 2 inputs"),
            (
                lambda grad: (grad.T, grad),
                ValueError,
                "mine: its derivative returns a gradient of shape (3, 2) for an input of shape (2, 3); "
                "it must have that shape or one that the input broadcasts to",
            ),
            (
                lambda grad: (grad[0], grad),
                ValueError,
                "mine: its derivative returns a gradient of shape (3,) for an input of shape (2, 3); ",
            ),
            (
                lambda grad: (grad, lambda: 2.0),
                TypeError,
                "mine: its derivative returns a float where an array should be",
            ),
        ],
    )
    def test_a_rule_that_returns_something_else(self, rule, error, message):
        x, y = leaf(2, 3), leaf(2, 3)
        with pytest.raises(error, match=re.escape(message)):
            self.operation_with(rule)(x, y).sum().backward()
        assert x.grad is None

    def test_a_list_for_a_single_input(self):
        @operation
        def mine(x):
            return x * 2

        mine.derivative(lambda grad: [grad * 2])
        with pytest.raises(TypeError, match="mine: its derivative returns a list where an array should be"):
            mine(leaf(2)).sum().backward()

    def test_without_a_rule_nothing_is_recorded(self):
        @operation
        def count(x):
            return np.count_nonzero(x) * 1.0

        assert not count(leaf(2)).requires_grad

    def test_a_wrong_formula_is_found_by_gradcheck(self):
        @operation
        def wrong(x):
            return x * x

        wrong.derivative(lambda grad, x: grad * x)
        with pytest.raises(AssertionError, match="by finite differences"):
            gradcheck(wrong, leaf(2))
