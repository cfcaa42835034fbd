"""NumPy's own functions on Tensors: NumPy's results, gradients by finite differences, errors in NumPy's words."""

from __future__ import annotations

import io

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, no_grad
from chainrule.autograd import gradcheck

X = np.array([[1.3, -0.4, 2.2], [0.7, 3.1, -1.6]])

CALLS = {
    "dot": lambda x: np.dot(x, x.T),
    "dot of vectors": lambda x: np.dot(x[0], x[1]),
    "dot with a number": lambda x: np.dot(x, 3.0),
    "dot of three dimensions": lambda x: np.dot(x, np.reshape(x, (1, 3, 2))),
    "outer": lambda x: np.outer(x, x[0]),
    "prod": lambda x: np.prod(x),
    "prod over both": lambda x: np.prod(x, axis=(0, 1)),
    "prod keepdims": lambda x: np.prod(x, axis=1, keepdims=True) + np.prod(x, keepdims=True),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "clip": lambda x: np.clip(x, -0.5, 2),
    "clip by name": lambda x: np.clip(x, a_min=None, a_max=1.5),
    "var": lambda x: np.var(x, axis=0, ddof=1),
    "var of all": lambda x: np.var(x, keepdims=True),
    "std": lambda x: np.std(x, 1),
    "split": lambda x: np.split(x, 3, axis=1)[1],
    "split at": lambda x: np.split(x, [1, 2], axis=1)[2],
    "pad": lambda x: np.pad(x, ((1, 0), (2, 1)), constant_values=7.0),
    "pad reflect": lambda x: np.pad(x, 1, mode="reflect"),
    "pad edge": lambda x: np.pad(x, (1, 2), "edge"),
    "pad wrap": lambda x: np.pad(x, ((0, 1), (2, 0)), "wrap"),
    "norm": lambda x: np.linalg.norm(x),
    "norm of rows": lambda x: np.linalg.norm(x, axis=1, keepdims=True),
    "norm 1": lambda x: np.linalg.norm(x, 1, axis=0),
    "norm fro": lambda x: np.linalg.norm(x, "fro"),
    "tril": lambda x: np.tril(x, k=-1),
    "triu": lambda x: np.triu(x, 1),
    "roll": lambda x: np.roll(x, 1, axis=(0, 1)),
    "roll flat": lambda x: np.roll(x, 2),
    "flip": lambda x: np.flip(x),
    "flip rows": lambda x: np.flip(x, axis=1),
    "cumsum": lambda x: np.cumsum(x),
    "cumsum of rows": lambda x: np.cumsum(x, axis=1),
    "cumprod": lambda x: np.cumprod(x, axis=0),
    "swapaxes": lambda x: np.swapaxes(x, axis1=0, axis2=1),
    "tile": lambda x: np.tile(x, (2, 1)),
    "tensordot": lambda x: np.tensordot(x, x, axes=([0], [0])),
    "tensordot of all": lambda x: np.tensordot(x, x),
    "vstack": lambda x: np.vstack([x, x[0]]),
    "hstack": lambda x: np.hstack((x, x)),
    "column_stack": lambda x: np.column_stack([x[:, 0], x]),
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "repeat by counts": lambda x: np.repeat(x, [1, 2], axis=0),
    "repeat flat": lambda x: np.repeat(x, 2),
    "diag": lambda x: np.diag(x[0], k=-2),
    "diag of a matrix": lambda x: np.diag(x, 1),
    "diagonal": lambda x: np.diagonal(x, offset=-1),
    "trace": lambda x: np.trace(x, 1),
    "sort": lambda x: np.sort(x, axis=0, kind="stable"),
    "sort flat": lambda x: np.sort(x, axis=None),
    "logaddexp": lambda x: np.logaddexp(x, 0.5),
    "remainder": lambda x: np.remainder(x, 0.9) + np.fmod(x, -0.57) + np.mod(5.0, x),
    "inverse functions": lambda x: (
        np.arcsinh(x) + np.arctanh(x / 9) + np.arccosh(x * x + 1) + np.arcsin(x / 9) * np.arccos(x / 9)
    ),
    "powers": lambda x: np.exp2(x) + np.log10(x * x),
}


@pytest.mark.parametrize("name", CALLS)
def test_results_and_gradients(name):
    call = CALLS[name]
    x = chainrule.tensor(X, requires_grad=True)
    out = call(x)
    assert isinstance(out, Tensor)
    np.testing.assert_allclose(out.detach().numpy(), call(X), rtol=1e-13, atol=1e-15)
    assert gradcheck(lambda x: ((call(x) + 1) ** 2).mean(), x, atol=1e-8, rtol=1e-6)


def test_those_with_several_results_or_none_that_is_differentiable():
    x = chainrule.tensor(X)
    assert [part.tolist() for part in np.split(x, 3, axis=1)] == [part.tolist() for part in np.split(X, 3, axis=1)]
    assert np.argsort(x, axis=0).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert np.isclose(x, x + 1e-9).numpy().all()
    assert (np.allclose(x, x), np.allclose(x, -x), np.array_equal(x, X), np.array_equal(x, x[:1])) == (
        True,
        False,
        True,
        False,
    )
    for function in (np.isnan, np.isinf, np.logical_not):
        np.testing.assert_array_equal(function(x).numpy(), function(X))
    bits = chainrule.tensor([6, 3])
    assert [f(bits, 5).tolist() for f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor)] == [[4, 1], [7, 7], [3, 6]]


def test_files():
    state = chainrule.nn.Linear(2, 3).state_dict()
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **state)
        file.seek(0)
        loaded = np.load(file)
        assert {name: loaded[name].tolist() for name in loaded} == {name: t.tolist() for name, t in state.items()}
    file = io.BytesIO()
    np.save(file, chainrule.tensor(X, requires_grad=True))
    file.seek(0)
    np.testing.assert_array_equal(np.load(file), X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.split(x, 2, axis=1), "np.split: axis 1 of size 3 cannot be divided into 2 sections of equal size"),
        (lambda x: np.split(x, 2.5), "np.split: takes one or more integers, not 2.5"),
        (lambda x: np.sum(x, axis=3), "np.sum: axis 3 is out of range for shape (2, 3): use -2 to 1"),
        (lambda x: np.var(x, axis=5), "np.var: axis 5 is out of range for shape (2, 3): use -2 to 1"),
        (lambda x: np.cumsum(x, axis=2), "np.cumsum: axis 2 is out of range for shape (2, 3): use -2 to 1"),
        (lambda x: np.pad(x, -1), "np.pad: pad_width must not be negative, got -1"),
        (lambda x: np.pad(x, [1, 2, 3]), "np.pad: pad_width must be a number, a pair, or a pair for each axis of (2, 3), not [1, 2, 3]"),
        (lambda x: np.pad(x, 1, mode="linear_ramp"), "np.pad: mode must be one of constant, reflect, edge, wrap, not 'linear_ramp'"),
        (lambda x: np.linalg.norm(x, 2), "np.linalg.norm: ord=2 of matrices is not supported: pass one axis for the norms of vectors"),
        (lambda x: np.var(x, dtype=np.float64), "np.var of a Tensor takes no dtype"),
        (lambda x: np.var(x, 0, None), "np.var of a Tensor: pass the options after the first by name"),
        (lambda x: np.max(x, initial=3.0), "np.max of a Tensor takes no initial"),
        (lambda x: np.dot(x, x), "np.dot: (2, 3) @ (2, 3) does not fit: the last axis of the first is 3, but must be 2"),
        (lambda x: np.tensordot(x, x.T), "np.tensordot: axes [0, 1] of (2, 3) and [0, 1] of (3, 2) must have the same sizes"),
        (lambda x: np.vstack([x, [1.0, 2.0, 3.0]]), "np.vstack: takes tensors or arrays, not list"),
        (lambda x: np.repeat(x, [1, 2, 3], axis=0), "np.repeat: repeats (3,) must be a number, or one for each of the 2 elements of axis 0"),
        (lambda x: np.einsum("ij,jk", x, x), "np.einsum: 'j' is 3 in one operand and 2 in another"),
        (lambda x: np.diag(x[0][0]), "np.diag: takes a vector or a matrix, not shape ()"),
        (lambda x: np.linalg.inv(x), "np.linalg.inv has no derivative here; for values alone use np.linalg.inv(tensor.numpy())"),
    ],
)  # fmt: skip
def test_errors_speak_of_numpys_names(call, message):
    with pytest.raises((TypeError, ValueError, IndexError)) as error:
        call(chainrule.tensor(X))
    assert str(error.value) == message


def test_compiled():
    calls = [CALLS[name] for name in ("einsum", "var", "pad", "tril", "vstack", "diag", "norm of rows", "tensordot")]
    compiled = chainrule.jit(lambda x: [call(x) for call in calls])
    for factor in (1.0, -0.5):
        with no_grad():
            outs = compiled(chainrule.tensor(factor * X))
        for out, call in zip(outs, calls, strict=True):
            np.testing.assert_allclose(out.numpy(), call(factor * X), rtol=1e-12)
