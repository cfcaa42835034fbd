"""Indices: numbers next to arrays as in PyTorch, views by one number, and indices that are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import ops

# An index, and the same where NumPy reads it as PyTorch does
PYTORCHS = {
    "a number, a slice, an array": (lambda x: x[0, :, [2, 0, 1, 1]], lambda a: a[0][:, [2, 0, 1, 1]]),
    "an array, a slice, a number": (lambda x: x[[1, 0], :, :, 1], lambda a: a[..., 1][[1, 0]]),
    "a slice, a number, a slice, an array": (lambda x: x[:, 1, :, [0, 1]], lambda a: a[:, 1][..., [0, 1]]),
    "a slice, an array, a slice, a number": (lambda x: x[:, [2, 0], 1:, -1], lambda a: a[:, :, 1:, -1][:, [2, 0]]),
    "a number, an ellipsis, a matrix": (
        lambda x: x[-1, ..., [[0, 1], [1, 0]]],
        lambda a: a[-1][..., np.array([[0, 1], [1, 0]])],
    ),
    "a number, a new dimension, an array": (lambda x: x[1, None, [2, 0]], lambda a: a[1][None, [2, 0]]),
    "a number, a slice, a mask": (lambda x: x[0, 1:, [True, False, True, True]], lambda a: a[0][1:, [0, 2, 3]]),
    "a number, a slice, a mask of two": (
        lambda x: x[0, :, np.arange(8).reshape(4, 2) % 3 == 0],
        lambda a: a[0].reshape(3, 8)[:, [0, 3, 6]],
    ),
    "a tensor of one number": (lambda x: x[chainrule.tensor(1), :, [0, 3]], lambda a: a[1][:, [0, 3]]),
    "an array without dimensions": (lambda x: x[np.array(1), :, [0, 3]], lambda a: a[1][:, [0, 3]]),
    "an ellipsis for nothing": (lambda x: x[:, [0, 2], ..., [3, 1], :], lambda a: a[:, [0, 2], [3, 1]]),
    "numbers next to an array": (lambda x: x[0, [2, 1], 3], lambda a: a[0, [2, 1], 3]),
}


@pytest.mark.parametrize("name", PYTORCHS)
class TestNumbersBesideArrays:
    def test_value_and_gradient(self, name):
        take, plain = PYTORCHS[name]
        array = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
        x = chainrule.tensor(array, requires_grad=True)
        expected = plain(array)
        out = take(x)
        np.testing.assert_array_equal(out.detach().numpy(), expected)
        weights = np.random.default_rng(1).standard_normal(expected.shape)
        out.backward(weights)
        gradient = np.zeros(array.shape)
        np.add.at(gradient.reshape(-1), plain(np.arange(array.size).reshape(array.shape)), weights)
        np.testing.assert_allclose(x.grad.numpy(), gradient)

    def test_assignment(self, name):
        take, plain = PYTORCHS[name]
        index = take(_Index())
        array = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
        positions = plain(np.arange(array.size).reshape(array.shape))
        values = np.random.default_rng(1).standard_normal(positions.shape)
        expected = array.copy()
        expected.reshape(-1)[positions] = values
        x = chainrule.tensor(array)
        x[index] = values
        np.testing.assert_array_equal(x.numpy(), expected)
        leaf, source = chainrule.tensor(array, requires_grad=True), chainrule.tensor(values, requires_grad=True)
        recorded = leaf * 1
        recorded[index] = source
        np.testing.assert_array_equal(recorded.detach().numpy(), expected)
        recorded.sum().backward()
        expected_grad = np.ones(array.size)
        expected_grad[positions.reshape(-1)] = 0
        np.testing.assert_array_equal(leaf.grad.numpy().reshape(-1), expected_grad)


class _Index:
    """Returns its index."""

    def __getitem__(self, index):
        return index


def test_one_number_in_a_tensor_gives_a_view():
    x = chainrule.zeros(3, 2)
    i = chainrule.tensor(1)
    x[i].add_(5)
    x[i, 0].mul_(2)
    x[np.array(2)].fill_(1)
    assert x.tolist() == [[0, 0], [10, 5], [1, 1]]


def test_what_an_index_is_made_of_may_change_afterwards():
    x = chainrule.tensor([1.0, 2.0, 3.0], requires_grad=True)
    positions, array, mask = [0, 1], np.array([0, 1]), chainrule.tensor([True, True, False])
    total = x[positions].sum() + x[array].sum() + x[mask].sum() + x[positions, None].sum()
    positions[0], array[0], mask[0] = 2, 2, False
    total.backward()
    assert x.grad.tolist() == [4, 4, 0]


def test_bytes_say_what_they_are():
    x = chainrule.arange(3.0)
    for index in (np.array([0, 1, 1], np.uint8), chainrule.tensor([0, 1, 1], dtype=np.uint8)):
        for use in (lambda i: x[i], lambda i: x[i, None], lambda i: x.__setitem__(i, 1.0)):
            with pytest.raises(IndexError, match=re.escape("convert it with .bool() or .long()")):
                use(index)
    assert x[chainrule.tensor([0, 1, 1], dtype=np.uint8).bool()].tolist() == [1, 2]


def test_nothing_and_ranges():
    x = chainrule.arange(6.0).reshape(2, 3)
    assert x[[]].shape == (0, 3)
    assert x[:, range(0, 3, 2)].tolist() == [[0, 2], [3, 5]]
    assert ops.getitem(x, index=(0, [1, 2])).tolist() == [1, 2]


def _large_indices():
    rng = np.random.default_rng(5)
    rows, columns = rng.integers(-64, 64, (2, 300))
    mask = rng.random((64, 64, 3)) < 0.5
    return {
        "rows": rows,
        "rows of a list": rows.tolist(),
        "columns": (slice(None), columns),
        "pairs": (rows, columns),
        "separated": (rows, slice(None), rng.integers(0, 3, 300)),
        "broadcast": (rows[:200, None], columns[:100]),
        "with None": (None, rows, slice(3, 60, 2)),
        "last of an ellipsis": (..., rng.integers(0, 3, 50)),
        "a mask": mask,
        "a mask of rows": mask[:, 0, 0],
        "a mask of two dimensions, and a slice": (mask[..., 0], slice(1)),
        "slices and rows": (slice(10, 50), rows, slice(None, None, -1)),
        "an integer and rows": (3, rows),
        "one row a thousand times": np.full(1000, 7),
        "no rows": np.zeros((0, 1000), int),
    }


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8"])
@pytest.mark.parametrize("name", list(_large_indices()))
def test_sums_of_a_large_array_at_an_index(name, dtype):
    """The derivative of x[index], against a loop over the positions that x[index] reads."""
    index, shape = _large_indices()[name], (64, 64, 3)
    positions = np.arange(np.prod(shape)).reshape(shape)[index]
    source = np.random.default_rng(0).integers(-9, 9, positions.shape).astype(dtype)
    expected = np.zeros(np.prod(shape))
    for position, number in zip(positions.ravel(), source.ravel(), strict=True):
        expected[position] += number
    result = ops.indexing.add_at(source, index=index, shape=shape)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected.reshape(shape).astype(dtype))
