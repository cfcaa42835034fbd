"""Operations that become Python calls in compiled programs, and operations that do not."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn, ops
from chainrule.capture import jit

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
