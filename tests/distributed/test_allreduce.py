"""Sums in a fixed tree: bit for bit the same as the tree written out by hand, for any number of ranks."""

import numpy as np
import pytest

from chainrule.distributed.allreduce import TreeSum, allreduce


def leaves(count, length, seed=3):
    """Numbers of very different sizes, so that another order of additions gives other bits."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(length) * 10.0 ** rng.integers(-3, 4, length)).astype(np.float32) for _ in range(count)
    ]


def by_hand(values):
    """((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)), as a recursion."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return by_hand(values[:half]) + by_hand(values[half:])


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_the_sum_of_one_process_is_the_tree(count):
    values, tree = leaves(count, 500), TreeSum()
    for value in values:
        tree.add(value.copy())
    assert tree.total.tobytes() == by_hand(values).tobytes()


def test_another_order_gives_other_bits():
    """So that the tests here can fail."""
    values = leaves(8, 500)
    assert sum(values[1:], values[0]).tobytes() != by_hand(values).tobytes()
    assert by_hand(values[::2] + values[1::2]).tobytes() != by_hand(values).tobytes()


def test_the_tree_of_an_incomplete_number_of_leaves_has_no_total():
    tree = TreeSum()
    for value in leaves(3, 4):
        tree.add(value)
    with pytest.raises(ValueError, match="unpack"):
        _ = tree.total


@pytest.mark.parametrize("length", [0, 1, 7, 1000])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_ranks_sum_in_the_same_tree(in_threads, size, length):
    values = leaves(8, length)
    each = 8 // size

    def rank_sum(world):
        tree = TreeSum()
        for value in values[world.rank * each : (world.rank + 1) * each]:
            tree.add(value.copy())
        total = tree.total
        allreduce(world, total)
        return total, world.numbers_sent if size > 1 else 0

    results = in_threads(size, rank_sum)
    assert {total.tobytes() for total, _ in results} == {by_hand(values).tobytes()}
    expected = 2 * length * (size - 1) / size
    assert max(abs(sent - expected) for _, sent in results) <= 2 * size  # halves of odd lengths differ by one


@pytest.mark.parametrize("size", [3, 5, 6, 7])
def test_any_number_of_ranks_sums(in_threads, size):
    values = leaves(size, 101)

    def rank_sum(world):
        total = values[world.rank].copy()
        allreduce(world, total)
        return total

    results = in_threads(size, rank_sum)
    assert len({total.tobytes() for total in results}) == 1
    exact = np.sum([value.astype(np.float64) for value in values], axis=0)
    scale = np.sum([abs(value.astype(np.float64)) for value in values], axis=0)
    assert (abs(results[0] - exact) <= 1e-6 * scale).all()
