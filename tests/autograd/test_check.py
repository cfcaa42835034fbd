"""gradcheck and gradgradcheck: their arguments, and that wrong derivatives or no outputs fail."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.autograd import gradcheck, gradgradcheck


def leaf(*values: float) -> chainrule.Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


def test_several_inputs_and_outputs_of_which_not_all_matter():
    x, y, data = leaf(0.5, 1.5), leaf(2.0), chainrule.tensor([3.0, 1.0])

    def function(x, y, data):
        return [x * y, (x * data).sum(), y.long(), data * 2]

    assert gradcheck(function, [x, y, data])
    assert gradgradcheck(lambda x, y, data: [x * y * x, (y**3).sum()], [x, y, data])
    assert gradcheck(lambda x: x**3, x)


def test_leaves_inputs_and_gradients_as_they_were():
    x = leaf(0.1, 0.2)
    before = x.numpy().tobytes()
    assert gradcheck(lambda x: x.exp(), x)
    assert (x.numpy().tobytes(), x.grad) == (before, None)

    calls = []

    def breaks(x):
        calls.append(1)
        if len(calls) == 2:
            raise OSError
        return x * 2

    with pytest.raises(OSError):
        gradcheck(breaks, x)
    assert x.numpy().tobytes() == before


def test_wants_float64_and_something_to_check():
    with pytest.raises(ValueError, match="each that does must be float64"):
        gradcheck(lambda x: x, chainrule.tensor([1.0], requires_grad=True))
    with pytest.raises(ValueError, match="at least one input must require gradients"):
        gradcheck(lambda x: x, chainrule.tensor(np.array([1.0])))
    with pytest.raises(ValueError, match="at least one output must be a float"):
        gradcheck(lambda x: x.long(), leaf(1.0))


def test_a_result_that_lost_its_history_is_found():
    x = leaf(1.0, 2.0)
    with pytest.raises(AssertionError, match="is 0 by the tape, 3 by finite differences; 2 of 4 derivatives differ"):
        gradcheck(lambda x: x.detach() * 3, x)
    with pytest.raises(AssertionError, match=r"d\(output 1\)"):
        gradcheck(lambda x: [x * 2, x.detach() * 3], x)
    with pytest.raises(AssertionError, match=r"d\(output 0\)\[0\] / d\(input 1\)\[0\] is 0 by the tape"):
        gradcheck(lambda mask, x: mask * x.detach(), [chainrule.tensor([1.0, 2.0]), x])
    assert gradcheck(lambda x: [x * 2, chainrule.ones(2)], x)


def test_a_jump_is_found():
    with pytest.raises(AssertionError):
        gradcheck(lambda x: chainrule.where(x > 1, x + 1, x), leaf(1.0))


def test_second_derivatives_of_what_is_linear_are_zero():
    assert gradgradcheck(lambda x: 3 * x + 1, leaf(1.0, 2.0))
    assert gradgradcheck(lambda x, y: x + y, [leaf(1.0), leaf(2.0)])
