"""Random indices beside PyTorch: what is read, what is written, and the gradients of both."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.capture import jit
from chainrule.kernels import machine

from ..capture import interpreter

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

SIZES = (4, 5, 3, 6)


def part_of_an_index(random, size):
    """A part of an index for a dimension of this size."""
    match random.integers(11):
        case 0:
            return slice(None)
        case 1:
            return slice(int(random.integers(size)), None, int(random.integers(1, 3)))
        case 2:
            return int(random.integers(-size, size))
        case 3:
            return np.array(random.integers(-size, size))
        case 4 | 5:
            return random.integers(-size, size, 3)
        case 6:
            return random.integers(-size, size, (2, 3))
        case 7:
            return random.integers(-size, size, 3).tolist()
        case 8:
            mask = np.zeros(size, bool)
            mask[random.permutation(size)[:3]] = True
            return mask
        case 9:
            return None
        case _:
            return ...


def random_index(seed, masks=True):
    """An array, and an index of it."""
    random = np.random.default_rng(seed)
    array = random.standard_normal(SIZES[: random.integers(1, 5)])
    index, dim = [], 0
    for _ in range(random.integers(1, 6)):
        if dim == array.ndim:
            break
        # after an ellipsis, the dimension is not known: an index that fits them all
        part = part_of_an_index(random, min(array.shape) if ... in [p for p in index if p is ...] else array.shape[dim])
        mask = isinstance(part, np.ndarray) and part.dtype == bool
        if (part is ... and any(p is ... for p in index)) or (mask and not masks):
            continue
        index.append(part)
        dim += part is not None and part is not ...
    return array, tuple(index), random


def in_torch(part):
    """A part of an index in PyTorch."""
    return torch.from_numpy(part.copy()) if isinstance(part, np.ndarray) else part


def in_tensors(part):
    """A part of an index in Tensors."""
    return chainrule.from_numpy(part) if isinstance(part, np.ndarray) else part


@pytest.mark.parametrize("block", range(10))
def test_reading_and_its_gradient(block, assert_same):
    for seed in range(200 * block, 200 * block + 200):
        array, index, random = random_index(seed)
        x, y = chainrule.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        try:
            expected = y[tuple(map(in_torch, index))]
        except IndexError:
            with pytest.raises(IndexError):
                x[index]
            continue
        for found in (x[index], x[tuple(map(in_tensors, index))]):
            assert_same(found.detach(), expected, 0, f"{array.shape} at {index}")
        weights = random.standard_normal(expected.shape)
        found.backward(weights)
        expected.backward(torch.from_numpy(weights))
        assert_same(x.grad, y.grad, 1e-14, f"{array.shape} at {index}")


@pytest.mark.parametrize("block", range(10))
def test_writing_and_its_gradient(block, assert_same):
    for seed in range(200 * block, 200 * block + 200):
        array, index, random = random_index(seed)
        x, y = chainrule.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        places = torch.arange(array.size).reshape(array.shape)
        try:
            places = places[tuple(map(in_torch, index))]
        except IndexError:
            continue
        if len(places.unique()) != places.numel():
            continue  # which of several values comes last is not said
        shape = [size if random.random() < 0.7 else 1 for size in places.shape]
        value = random.standard_normal(shape[random.integers(len(shape) + 1) :])
        v, u = chainrule.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
        plain, recorded, theirs = chainrule.tensor(array), x * 2, y * 2
        plain[index] = value
        recorded[index] = v
        theirs[tuple(map(in_torch, index))] = u
        what = f"{array.shape} at {index}"
        assert_same(recorded.detach(), theirs, 0, what)
        np.testing.assert_array_equal(np.where(plain.numpy() == array, 0, plain.numpy()), np.where(
            plain.numpy() == array, 0, theirs.detach().numpy()), err_msg=what)  # fmt: skip
        weights = random.standard_normal(array.shape)
        recorded.backward(weights)
        theirs.backward(torch.from_numpy(weights))
        assert_same(x.grad, y.grad, 1e-14, what)
        assert_same(v.grad, u.grad, 1e-12, what)


def test_compiled(monkeypatch, assert_same):
    monkeypatch.setattr(machine, "address_of", interpreter.address_of)
    for seed in range(150):
        array, index, random = random_index(seed, masks=False)
        x = chainrule.tensor(array, requires_grad=True)

        def function(scale, index=index, x=x):
            part = (x * scale)[index]
            (part * part).sum().backward()
            return part.detach() * 1

        compiled = jit(function)
        for _ in range(2):
            scale = random.standard_normal(array.shape)
            results = []
            for run in (function, compiled):
                x.grad = None
                results.append([run(chainrule.tensor(scale)).numpy(), x.grad.numpy()])
            y = torch.tensor(array, requires_grad=True)
            part = (y * torch.from_numpy(scale))[tuple(map(in_torch, index))]
            (part * part).sum().backward()
            for values, gradient in results:
                assert_same(values, part, 1e-14, f"{array.shape} at {index}")
                assert_same(gradient, y.grad, 1e-13, f"{array.shape} at {index}")
