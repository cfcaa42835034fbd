"""Jacobian-vector products against finite differences and the Jacobian; `tests/conformance` has PyTorch's."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import nn, ops
from chainrule.autograd import functional, jacobian
from chainrule.func import jvp
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it


def numbers(*shape, seed=0):
    return chainrule.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape))


LSTM = nn.LSTM(3, 2, generator=np.random.default_rng(1), dtype=np.float64)
CONV = nn.Conv2d(2, 3, 3, padding=1, generator=np.random.default_rng(1), dtype=np.float64)
BATCH_NORM = nn.BatchNorm1d(3, dtype=np.float64)
FUNCTIONS = {
    "elementwise": (lambda x: (x.tanh() * x.exp()).sqrt().square(), [(3, 2)]),
    "product": (lambda x, y: x @ y, [(3, 2), (2, 4)]),
    "loss": (lambda x: F.cross_entropy(x, chainrule.tensor([0, 2])), [(2, 3)]),
    "two outputs": (lambda x, y: (x * y, x.sum()), [(3,), (3,)]),
    "an output of its own": (lambda x: (x.sin(), chainrule.ones(2)), [(3,)]),
    "an unused input": (lambda x, y: x * 2, [(3,), (2,)]),
    "softmax": (lambda x: F.softmax(x, -1), [(2, 4)]),
    "convolution": (lambda x: CONV(x), [(2, 2, 4, 4)]),
    "maximum pooling": (lambda x: F.max_pool2d(x, 2), [(1, 1, 4, 4)]),
    "batch normalization": (lambda x: BATCH_NORM(x), [(5, 3)]),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), [(4, 2), (4, 2), (4, 3)]),
    "LSTM": (lambda x: LSTM(x)[0], [(4, 2, 3)]),
    "indices": (lambda x: x[[0, 2, 2]], [(3, 2)]),
    "where": (lambda x: ops.where(x > 0, x**3, -x), [(4,)]),
}


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_the_slope_along_the_tangents(name):
    function, shapes = FUNCTIONS[name]
    primals = tuple(numbers(*shape, seed=i) for i, shape in enumerate(shapes))
    tangents = tuple(numbers(*shape, seed=i + 9) for i, shape in enumerate(shapes))
    outputs, products = jvp(function, primals, tangents)
    h = 1e-5
    above, below = (
        parts(function(*(p + sign * h * t for p, t in zip(primals, tangents, strict=True)))) for sign in (1, -1)
    )
    for out, product, up, down in zip(parts(outputs), parts(products), above, below, strict=True):
        expected = (up.detach().numpy().astype("f8") - down.detach().numpy()) / (2 * h)
        np.testing.assert_allclose(product.numpy(), expected, rtol=1e-6, atol=1e-9)
        assert product.shape == out.shape
        assert [product.requires_grad, out.requires_grad] == [False, False]


def test_is_the_jacobian_times_the_tangent():
    x, v = numbers(4), numbers(4, seed=1)
    function = lambda x: (x[:3] * x[1:]).exp()  # noqa: E731
    _, product = functional.jvp(function, x, v)
    np.testing.assert_allclose(product.numpy(), jacobian(function, x).numpy() @ v.numpy(), rtol=1e-12)


def test_can_be_differentiated():
    x = chainrule.tensor([2.0, 3.0], requires_grad=True)
    _, product = jvp(lambda x: x**3, (x,), (chainrule.tensor([1.0, 2.0]),))  # 3 v x²
    product.sum().backward()
    assert x.grad.tolist() == [12, 36]
    assert functional.jvp(lambda x: x**2, chainrule.tensor([3.0]))[1].tolist() == [6]


def test_in_a_compiled_function():
    step = chainrule.jit(lambda x, v: jvp(lambda x: (x**3).sum(), (x,), (v,))[1])
    for seed in (0, 1, 2):
        x, v = numbers(3, seed=seed), numbers(3, seed=seed + 5)
        np.testing.assert_allclose(step(x, v).item(), (3 * x.numpy() ** 2 * v.numpy()).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: jvp(ops.exp, x, (x,)), TypeError, "jvp: primals must be a tuple of Tensors, not Tensor"),
        (lambda x: jvp(ops.exp, (x,), [x]), TypeError, "jvp: tangents must be a tuple of Tensors, not list"),
        (lambda x: jvp(ops.exp, (x,), (x[:1],)), ValueError, "jvp: v must have shape (2,), not (1,)"),
        (lambda x: jvp(ops.exp, (x,), ()), ValueError, "jvp: v must have shape (2,), not "),
        (
            lambda x: jvp(lambda x: 3, (x,), (x,)),
            TypeError,
            "jvp: outputs must be a Tensor or a tuple of them, not int",
        ),
        (
            lambda x: jvp(lambda x, y: x, (x, x), (x, x), strict=True),
            RuntimeError,
            "jvp: an output does not depend on input 1, which strict=True forbids",
        ),
        (
            lambda x: functional.jvp(ops.exp, x),
            ValueError,
            "jvp: v is optional only for a single element, not for (2,)",
        ),
    ],
)
def test_what_makes_no_sense(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(numbers(2))
