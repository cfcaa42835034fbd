"""`@operation`: names, options, NumPy functions, and invalid rules."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, nn, ops
from chainrule.autograd import gradcheck, gradgradcheck
from chainrule.ops import operation


@operation
def scaled_cube(input, *, scale=1.0):
    """scale · x³."""
    return scale * input**3


@scaled_cube.derivative
def _(grad, input, scale):
    return grad * (3 * scale * input * input)


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


class TestAnOperationOfOnesOwn:
    def test_runs_on_arrays(self):
        out = scaled_cube(np.array([1.0, 2.0]), scale=2.0)
        assert type(out) is np.ndarray
        np.testing.assert_array_equal(out, [2, 16])

    def test_is_differentiated_to_any_order(self):
        x = leaf(-1.0, 0.5, 2.0)
        (first,) = chainrule.grad(scaled_cube(x, scale=2.0).sum(), x, create_graph=True)
        (second,) = chainrule.grad(first.sum(), x, create_graph=True)
        (third,) = chainrule.grad(second.sum(), x, create_graph=True)
        np.testing.assert_allclose(first.detach().numpy(), 6 * np.array([1, 0.25, 4]))
        np.testing.assert_allclose(second.detach().numpy(), 12 * np.array([-1, 0.5, 2]))
        np.testing.assert_allclose(third.detach().numpy(), [12, 12, 12])
        assert gradcheck(scaled_cube, x)
        assert gradgradcheck(lambda x: scaled_cube(x, scale=0.5), x)

    def test_keeps_the_default_of_an_option(self):
        x = leaf(2.0)
        scaled_cube(x).backward()
        assert x.grad.item() == 12

    def test_carries_the_name_and_the_text_of_its_formula(self):
        assert (scaled_cube.name, scaled_cube.__name__) == ("scaled_cube", "scaled_cube")
        assert scaled_cube.__doc__ == "scale · x³."
        assert repr(scaled_cube) == "<operation scaled_cube>"

    def test_as_a_class_attribute_it_is_a_method(self):
        class Holder:
            shape, dtype = (), np.dtype(float)
            total = ops.sum

        assert Holder.total is ops.sum
        assert Holder().total.__self__.__class__ is Holder

    def test_takes_several_inputs_of_which_some_want_no_gradient(self):
        asked = []

        @operation
        def product(a, b):
            return a * b

        @product.derivative
        def _(grad, a, b):
            return lambda: asked.append("a") or grad * b, lambda: asked.append("b") or grad * a

        x = leaf(2.0, 3.0)
        product(np.array([5.0, 7.0]), x).sum().backward()
        assert asked == ["b"]
        np.testing.assert_array_equal(x.grad.numpy(), [5, 7])

    def test_takes_any_number_of_inputs(self):
        @operation
        def total(*inputs):
            return sum(inputs)

        @total.derivative
        def _(grad):
            return grad, grad, grad

        x, y, z = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
        out = total(x, y, z)
        np.testing.assert_array_equal(out.detach().numpy(), [9, 12])
        (out * out).sum().backward()
        np.testing.assert_array_equal(z.grad.numpy(), [18, 24])

    def test_the_shape_alone_of_an_input_can_be_asked_for(self):
        @operation
        def doubled_sum(input):
            return 2 * np.sum(input)

        @doubled_sum.derivative
        def _(grad, input_shape):
            return np.broadcast_to(2 * grad, input_shape)

        x = leaf(1.0, 2.0)
        out = doubled_sum(x)
        assert [*out.grad_fn.saved] == [(2,)]
        assert gradgradcheck(lambda x: doubled_sum(x * x), x)


class TestARuleThatIsWrong:
    def test_its_first_parameter_must_be_grad(self):
        op = operation(lambda x: x)
        with pytest.raises(TypeError, match="first parameter of its derivative must be `grad`"):
            op.derivative(lambda out, grad: grad)

    def test_it_can_only_ask_for_what_there_is(self):
        @operation
        def same(input, *, scale=1):
            return input

        with pytest.raises(
            TypeError, match="same: its derivative asks for `x`, but may ask only for input, input_shape, "
        ):
            same.derivative(lambda grad, x: grad)
        with pytest.raises(TypeError, match="scale_shape"):
            same.derivative(lambda grad, scale_shape: grad)

    def test_what_it_may_ask_for_is_listed(self):
        @operation(extra="positions")
        def sort(*columns, descending=False):
            return columns

        names = "descending, out, positions, shapes"
        with pytest.raises(TypeError, match=f"^sort: its derivative asks for `index`, but may ask only for {names}$"):
            sort.derivative(lambda grad, index: grad)

    def test_too_few_gradients_are_an_error_and_not_a_lost_gradient(self):
        @operation
        def product(a, b):
            return a * b

        @product.derivative
        def _(grad, b):
            return grad * b

        x, y = leaf(1.0), leaf(2.0)
        with pytest.raises(TypeError, match="product: its derivative returns 1 gradients for 2 inputs"):
            product(x, y).backward()

    def test_a_gradient_of_a_shape_that_does_not_fit_is_an_error(self):
        @operation
        def same(input):
            return input + 0

        same.derivative(lambda grad: grad[:2])
        with pytest.raises(
            ValueError, match=r"same: its derivative returns a gradient of shape \(2,\) for an input of"
        ):
            same(leaf(1.0, 2.0, 3.0)).sum().backward()

    @pytest.mark.parametrize(
        "rule",
        [
            lambda grad, out: grad * out * 1.001,
            lambda grad, out: grad * (out + 1e-2),
            lambda grad, out: -grad * out,
            lambda grad, out: grad,
            lambda grad, out: grad * out.mean(),
        ],
    )
    def test_gradcheck_finds_it(self, rule):
        @operation
        def power_of_e(input):
            return np.exp(input)

        power_of_e.derivative(rule)
        x = leaf(0.1, -0.2)
        with pytest.raises(
            AssertionError, match=r"gradcheck: d\(output 0\)\[\d\] / d\(input 0\)\[\d\] is .* by the tape, .* by fin"
        ):
            gradcheck(power_of_e, x, rtol=1e-4)
        assert gradcheck(power_of_e, x, rtol=1e-4, raise_exception=False) is False

    def test_gradgradcheck_finds_a_rule_that_is_right_but_not_differentiable(self):
        @operation
        def power_of_e(input):
            return np.exp(input)

        @power_of_e.derivative
        def _(grad, out):
            return grad * (out.detach() if isinstance(out, Tensor) else out)

        x = leaf(0.1, -0.2)
        assert gradcheck(power_of_e, x)
        with pytest.raises(AssertionError, match="by finite differences"):
            gradgradcheck(power_of_e, x)


class TestOptions:
    def test_may_be_given_by_position(self):
        x = chainrule.tensor([[1.0, 2.0], [3.0, 4.0]])
        assert x.sum(0).tolist() == [4, 6]
        assert x.sum(0, True).tolist() == [[4, 6]]
        assert ops.sum(x, 1, keepdim=True).tolist() == [[3], [7]]
        assert x.argmax(1).tolist() == [1, 1]

    def test_may_not_be_given_twice_or_be_unknown(self):
        x = chainrule.tensor([[1.0, 2.0]])
        takes = "it takes input, dim, keepdim, dtype"
        with pytest.raises(TypeError, match=f"^sum: got dim both by position and by name; {takes}$"):
            x.sum(0, dim=1)
        with pytest.raises(TypeError, match=f"^sum: got dim, keepdim both by position and by name; {takes}$"):
            x.sum(0, True, axis=1, keepdims=True)
        with pytest.raises(TypeError, match=f"^sum: got 5 arguments by position; {takes}$"):
            x.sum(0, True, None, 3)
        with pytest.raises(TypeError, match="^linear: weight not given; it takes input, weight, bias$"):
            ops.linear(input=x)
        for run, message in (
            (lambda: x.sum(axes=0), "sum: takes no argument 'axes'; it takes dim, keepdim, dtype"),
            (
                lambda: np.max(x, out=None, axis=1, where=True),
                "np.max of a Tensor takes no out, where",
            ),
            (lambda: x.exp(base=2), "exp: takes no argument 'base'"),
            (
                lambda: chainrule.jit(lambda x: x.sum(axes=0))(x),
                "sum: takes no argument 'axes'; it takes dim, keepdim, dtype",
            ),
        ):
            with pytest.raises(TypeError, match=f"^{message}"):
                run()

    @pytest.mark.parametrize("word", ["floats", "Common", "", True, ["common"]])
    def test_an_unknown_word_for_promote_is_refused(self, word):
        accepted = "('common', 'floating', 'floating_only', None)"
        message = re.escape(f"twice: promote must be one of {accepted}, not {word!r}")

        def twice(x):
            return x + x

        with pytest.raises(ValueError, match=f"^{message}$"):
            operation(promote=word)(twice)

    @pytest.mark.parametrize(
        ("word", "dtype"), [(None, "float64"), ("common", "int64"), ("floating", "float32"), ("floating_only", None)]
    )
    def test_each_word_for_promote(self, word, dtype):
        @operation(promote=word)
        def halved(x):
            return x * 0.5 if x.dtype.kind == "i" and word is None else x

        x = chainrule.tensor([1, 2])
        if dtype is None:
            with pytest.raises(TypeError, match="halved: takes floats, not int64"):
                halved(x)
        else:
            assert halved(x).dtype == dtype

    def test_an_option_is_no_tensor(self):
        x = chainrule.tensor([1.0, 2.0])
        for run in (
            lambda t: nn.functional.leaky_relu(x, t),
            lambda t: x.add(x, alpha=t),
            lambda t: nn.functional.elu(x, t),
        ):
            for t in (chainrule.tensor(0.5), chainrule.tensor(0.5, requires_grad=True)):
                with pytest.raises(
                    TypeError, match=r"must not be a tensor, because it gets no gradient: pass its item\(\)"
                ):
                    run(t)
                with pytest.raises(TypeError, match=r"must not be a tensor"):
                    chainrule.jit(run)(t.detach())

    def test_former_names_of_the_decorators_options_are_still_understood(self):
        @operation(inputs=1, tensors=(0,))
        def scaled(input, scale=2.0):
            return input * scale

        assert (scaled.input_names, scaled.option_names, scaled.tensor_positions) == (("input",), ("scale",), (0,))
        assert scaled(leaf(1.0, 2.0), 3.0).tolist() == [3, 6]
        with pytest.raises(TypeError, match="^scaled: input must be a tensor, not the number 1.0$"):
            scaled(1.0, 3.0)
        assert ops.NUMPY is chainrule.NUMPY is ops.NUMPY_FUNCTIONS

    def test_a_dimension_may_be_a_numpy_integer(self):
        x = chainrule.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        out = x.sum(np.int64(0))
        assert out.tolist() == [4, 6]
        (out * out).sum().backward()
        assert x.grad.tolist() == [[8, 12], [8, 12]]
        assert x.squeeze(np.int64(0)).shape == (2, 2)
