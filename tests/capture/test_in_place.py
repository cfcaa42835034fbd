"""Changes in place of views in compiled functions: the same as in eager mode, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.capture import jit
from chainrule.errors import CaptureError

pytestmark = pytest.mark.usefixtures("interpreted")

CHANGES = {
    "a view": lambda y: y[0].add_(10),
    "a view of a view": lambda y: y.T[1:].reshape(2, 2)[1].mul_(3),
    "backwards": lambda y: y[::-1][0].zero_(),
    "a diagonal": lambda y: y.diagonal().fill_(5),
    "pieces": lambda y: [piece.mul_(i + 2) for i, piece in enumerate(y.chunk(2, 1))],
    "rows in a loop": lambda y: [row.sub_(row.sum()) for row in y],
    "an assigned row": lambda y: y.__setitem__(0, y[1] * 2),
    "detach": lambda y: y.detach()[:, 1].add_(1),
    "a reshaped copy": lambda y: (y.T * 2).T.reshape(-1).add_(1),
    "what was seen before": lambda y: (y[0], y.add_(1))[0].mul_(2),
}


def numbers(shape, seed):
    return chainrule.tensor(np.random.default_rng(seed).uniform(0.5, 2, shape))


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_of_what_was_computed(change, record):
    w = nn.Parameter(numbers((2, 3), 0))

    def function(x):
        y = x * w if record else x * 1
        seen = y.T[1:]
        with chainrule.enable_grad() if record else chainrule.no_grad():
            CHANGES[change](y)
        if record:
            (y * y).sum().backward()
        return y.detach() * 1, seen.detach() * 1

    compiled = jit(function)
    for seed in (1, 2, 3):
        results = []
        for run in (function, compiled):
            w.grad = None
            outputs = run(numbers((2, 3), seed))
            results.append([*outputs, *([w.grad] if record else [])])
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-12)


def test_of_memory_from_outside():
    tables = [numbers((2, 3), 0) for _ in range(2)]

    def function(table, x):
        whole = table.reshape(-1)
        table[0].add_(x)
        table.T[1] *= 2
        return whole * 1

    compiled = jit(lambda x: function(tables[1], x))
    for seed in (1, 2, 3):
        expected, actual = function(tables[0], numbers(3, seed)), compiled(numbers(3, seed))
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-12)
        np.testing.assert_allclose(tables[1].numpy(), tables[0].numpy(), rtol=1e-12)


def test_of_what_a_tensor_of_one_number_picks():
    w = nn.Parameter(numbers((3, 2), 0))

    def recorded(x, i):
        y = x * w
        part = y[i]
        y[i, 1].add_(5)
        y.mul_(2)
        (y * part).sum().backward()
        return y.detach() * 1, part.detach() * 1

    compiled = jit(recorded)
    for seed in (1, 2, 3):
        results = []
        for run in (recorded, compiled):
            w.grad = None
            results.append([*run(numbers((3, 2), seed), chainrule.tensor(seed - 1)), w.grad])
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-12)


@pytest.mark.parametrize("part", [
    lambda y, i: y[i], lambda y, i: y[:, i], lambda y, i: y[i, 1:], lambda y, i: y[1:][i - 1], lambda y, i: y.T[1:][:, i],
    lambda y, i: y[i][i - 1], lambda y, i: y.reshape(-1)[i], lambda y, i: y[..., i].T, lambda y, i: y[None, i][0],
], ids=range(9))  # fmt: skip
def test_of_what_a_tensor_of_one_number_shows(part):
    """x[i] is a view like x[2], whatever i is at each call."""
    table = numbers((3, 3), 0)

    def function(table, x, i):
        y = x * 1
        for whole in (table, y):
            seen = part(whole, i)
            seen.add_(1)
            whole.mul_(2)
            seen[...] = seen * seen
            whole[i] = whole[i - 1]
            whole[i - 1, i] *= seen.sum()
            seen.sub_(whole.sum())
        return y * 1, part(y, i) * 1, seen * 1

    other = numbers((3, 3), 0)
    compiled = jit(lambda x, i: function(other, x, i))
    for seed in (1, 2, 1, 2):
        x, i = numbers((3, 3), seed), chainrule.tensor(seed)
        results = [*function(table, x, i), table], [*compiled(x, i), other]
        for one, two in zip(*results, strict=True):
            np.testing.assert_allclose(two.numpy(), one.numpy(), rtol=1e-10)
    before = other.numpy().copy()
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(x, chainrule.tensor(9))
    np.testing.assert_array_equal(other.numpy(), before)


@pytest.mark.parametrize("outside", [True, False])
def test_of_what_a_tensor_of_one_number_picks_without_recording(outside):
    tables = [numbers((3, 2), 0) for _ in range(2)]

    def function(table, x, i):
        y = table if outside else x * 1
        part, again, seen = y[i], y[i].detach(), y.reshape(-1)
        y.add_(1)
        part.mul_(x[0])
        y[i, 0].sub_(2)
        again[1:].add_(x[1, :1])
        y[i] = y[i - 1]
        return part * 1, again * 1, seen * 1, y * 1

    compiled = jit(lambda x, i: function(tables[1], x, i))
    for seed in (1, 2, 3):
        x, i = numbers((3, 2), seed), chainrule.tensor(seed % 3)
        for one, other in zip(function(tables[0], x, i), compiled(x, i), strict=True):
            np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-12)
        np.testing.assert_allclose(tables[1].numpy(), tables[0].numpy(), rtol=1e-12)


def test_of_an_argument():
    def function(x):
        x[0].add_(1)
        return x * 1

    with pytest.raises(CaptureError, match="a change in place of an argument"):
        jit(function)(numbers((2, 3), 0))


def test_that_would_keep_a_history_outside():
    w, table = nn.Parameter(numbers(3, 0)), numbers((2, 3), 0)
    before = table.tolist()

    def function(x):
        table[0].add_(w * x)
        return table.sum()

    with pytest.raises(CaptureError, match="recording an in-place change of an existing tensor"):
        jit(function)(numbers(3, 1))
    assert table.tolist() == before
    with chainrule.no_grad():
        table[0].add_(1)
    assert table[0].tolist() == [value + 1 for value in before[0]]


@pytest.mark.parametrize("alias", [lambda w: w.detach(), lambda w: w.detach()[0], lambda w: w.detach().T])
def test_that_would_give_a_tensor_from_outside_a_history_by_another(alias):
    """Refused before anything has changed: memory that is shared without a history is shared all the same."""
    w = nn.Parameter(numbers((3, 3), 0))
    before = w.detach().numpy().copy()

    def function(x):
        part = alias(w)
        part.add_((w * x)[0])
        return part.sum()

    for _ in range(2):
        with pytest.raises(CaptureError, match="recording an in-place change of an existing tensor"):
            jit(function)(numbers(3, 1))
        np.testing.assert_array_equal(w.detach().numpy(), before)


@pytest.mark.parametrize("reduce", [lambda y: y.sum(), lambda y: y.mean(), lambda y: y[0].sum() + y.T.sum()])
def test_of_a_gradient(reduce):
    """That of a sum is one number everywhere, which is broadcast; the gradient of a leaf has memory of its own."""
    w = nn.Parameter(numbers((2, 3), 0))

    def function(x):
        w.grad = None
        reduce(x + w).backward()
        nn.utils.clip_grad_norm_([w], 0.5)
        with chainrule.no_grad():
            w.grad.add_(x).T[0].mul_(2)
        return w.grad * 1

    compiled = jit(function)
    for seed in (1, 2, 3):
        x = numbers((2, 3), seed)
        expected, grad = function(x), w.grad
        np.testing.assert_allclose(compiled(x).numpy(), expected.numpy(), rtol=1e-12)
        np.testing.assert_allclose(w.grad.numpy(), grad.numpy(), rtol=1e-12)


def test_of_nothing():
    """A view without elements is a view all the same: of what may be written, and of an argument."""
    table, expected = numbers((1, 2), 0), numbers((1, 2), 0)

    def function(x):
        table[...] = x.sum()
        table[1:].add_(1)
        return table[1:].mul_(2)

    compiled = jit(function)
    for seed in (1, 2, 3):
        x = numbers((3,), seed)
        assert compiled(x).shape == (0, 2)
        expected.fill_(x.numpy().sum())
        np.testing.assert_allclose(table.numpy(), expected.numpy(), rtol=1e-12)
    with pytest.raises(CaptureError, match="argument"):
        jit(lambda x: x[1:].add_(1))(numbers((1, 2), 0))
