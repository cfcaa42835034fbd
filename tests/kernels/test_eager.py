"""Eager operations on large arrays: that they run as loops of their own at all, and what these compute, beside float64."""

import numpy as np
import pytest

import chainrule
from chainrule.kernels import machine
from chainrule.lower import eager

F = chainrule.nn.functional


@pytest.mark.skipif(not machine.available(), reason="nothing is compiled here")
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_way_back_through_a_normalisation_is_a_program_of_its_own(channels_last):
    """A rule that hands one gradient on as it came once went over whole arrays, line by line."""
    random = np.random.default_rng(5)
    x, upstream = random.normal(size=(2, 8, 16, 35, 33)).astype("f4")
    weight, bias = random.normal(size=(2, 16)).astype("f4")
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    leaves = [chainrule.from_numpy(array).requires_grad_() for array in (x, weight, bias)]
    before = set(eager._programs)
    out = F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
    out.backward(chainrule.from_numpy(upstream))
    made = {key: program for key, program in eager._programs.items() if key not in before}
    assert len(made) >= 2, "neither forward nor backward"
    assert None not in made.values()

    wide, dim = x.astype("f8"), (0, 2, 3)
    spread = np.sqrt(wide.var(dim, keepdims=True) + 1e-5)
    y = (wide - wide.mean(dim, keepdims=True)) / spread
    slope = upstream * weight[:, None, None].astype("f8")
    expected = (slope - slope.mean(dim, keepdims=True) - y * (slope * y).mean(dim, keepdims=True)) / spread
    np.testing.assert_allclose(out.detach().numpy(), y * weight[:, None, None] + bias[:, None, None], atol=2e-5)
    np.testing.assert_allclose(leaves[0].grad.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(leaves[1].grad.numpy(), (upstream * y).sum(dim), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(leaves[2].grad.numpy(), upstream.sum(dim, dtype="f8"), rtol=1e-5, atol=1e-4)
