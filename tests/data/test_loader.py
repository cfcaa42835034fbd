"""DataLoader: batches in a fixed or shuffled order, and a position from which it goes on exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule import manual_seed
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.random import default_generator
from chainrule.training import checkpoint

GENERATORS = {kind.__name__: kind for kind in (np.random.PCG64, np.random.Philox, np.random.MT19937, np.random.SFC64)}


def numbers(count: int) -> TensorDataset:
    return TensorDataset(np.arange(count), np.arange(count) * 10.0)


def make(count: int = 10, batch_size: int = 3, seed: int = 7, **options) -> DataLoader:
    generator = np.random.default_rng(seed) if options.get("shuffle") else None
    return DataLoader(numbers(count), batch_size, generator=generator, **options)


def one_pass(loader: DataLoader) -> list[list[int]]:
    return [numbers.tolist() for numbers, _ in loader]


# What it hands out


@pytest.mark.parametrize(
    ("count", "batch_size", "drop_last", "sizes"),
    [
        (10, 3, False, [3, 3, 3, 1]),
        (10, 3, True, [3, 3, 3]),
        (9, 3, False, [3, 3, 3]),
        (9, 3, True, [3, 3, 3]),
        (2, 3, False, [2]),
        (2, 3, True, []),
        (0, 3, False, []),
        (4, 1, True, [1, 1, 1, 1]),
        (4, 10**12, False, [4]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_sizes_of_batches(count, batch_size, drop_last, sizes, shuffle):
    loader = make(count, batch_size, shuffle=shuffle, drop_last=drop_last)
    batches = one_pass(loader)
    assert len(loader) == len(sizes)
    assert [len(batch) for batch in batches] == sizes
    seen = [index for batch in batches for index in batch]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(count))


def test_tensors_of_a_batch_belong_together():
    for indices, tens in make(shuffle=True):
        assert tens.tolist() == [10 * i for i in indices.tolist()]


def test_without_shuffling_the_order_is_the_data_sets():
    loader = make()
    assert one_pass(loader) == one_pass(loader) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_each_pass_is_shuffled_anew_and_complete():
    loader = make(100, 100, shuffle=True)
    first, second = one_pass(loader)[0], one_pass(loader)[0]
    assert first != second
    assert sorted(first) == sorted(second) == list(range(100))


def test_the_generator_alone_decides_the_order():
    passes = [[one_pass(loader) for _ in range(3)] for loader in (make(shuffle=True), make(shuffle=True))]
    assert passes[0] == passes[1]
    assert one_pass(make(shuffle=True, seed=8)) != passes[0][0]


def test_left_out_the_generator_is_the_default_one():
    before = default_generator().bit_generator.state
    try:
        manual_seed(3)
        first = one_pass(DataLoader(numbers(50), 50, shuffle=True))
        manual_seed(3)
        assert one_pass(DataLoader(numbers(50), 50, shuffle=True)) == first
    finally:
        default_generator().bit_generator.state = before


def test_a_loader_that_does_not_shuffle_draws_nothing():
    generator = np.random.default_rng(1)
    before = generator.bit_generator.state
    one_pass(DataLoader(numbers(10), 3, generator=generator))
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_is_one_gather(shuffle):
    shapes = []

    def note(*batch):
        shapes.append([part.shape for part in batch])
        return batch

    data = TensorDataset(np.zeros((10, 4)), np.zeros(10), transform=note)
    assert len(list(DataLoader(data, 4, shuffle=shuffle, generator=np.random.default_rng(0)))) == 3
    assert shapes == [[(4, 4), (4,)], [(4, 4), (4,)], [(2, 4), (2,)]]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_something(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        DataLoader(numbers(3), batch_size)


# Where it stands


STOPS = [(passes, batches) for passes in (0, 1) for batches in range(5)]  # of four batches a pass, or three


@pytest.mark.parametrize(("passes", "batches"), STOPS)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("kind", [None, *GENERATORS])
def test_goes_on_exactly_from_every_batch(tmp_path, passes, batches, drop_last, kind):
    def fresh(seed: int) -> DataLoader:
        generator = np.random.Generator(GENERATORS[kind](seed)) if kind else None
        return DataLoader(numbers(11), 3, shuffle=kind is not None, drop_last=drop_last, generator=generator)

    loader = fresh(5)
    expected = [one_pass(loader) for _ in range(4)]
    stopped = fresh(5)
    for _ in range(passes):
        one_pass(stopped)
    running = iter(stopped)
    for _ in range(min(batches, len(stopped))):
        next(running)
    checkpoint.save(stopped.state_dict(), tmp_path / "state")  # as text and arrays, as in a run

    resumed = fresh(99)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    np.testing.assert_equal(resumed.state_dict(), stopped.state_dict())
    rest = expected[passes][min(batches, len(stopped)) :]
    assert [one_pass(resumed) for _ in range(3)] == [rest, expected[passes + 1], expected[passes + 2]]
    # taking the state has not disturbed the loader that it was taken from
    assert [numbers.tolist() for numbers, _ in running] == rest
    assert one_pass(stopped) == expected[passes + 1]


def test_a_new_pass_begins_at_the_beginning_if_the_last_was_left():
    loader = make()
    next(iter(loader))
    assert one_pass(loader)[0] == [0, 1, 2]


def test_the_state_is_a_copy():
    loader = make(shuffle=True)
    state = loader.state_dict()
    kept = json.dumps(state)
    one_pass(loader)
    assert json.dumps(state) == kept


@pytest.mark.parametrize("position", [-1, 5, 1.5, "1", None])
def test_a_position_must_be_within_the_pass(position):
    with pytest.raises(ValueError, match="does not fit 4 batches"):
        make().load_state_dict({"position": position, "generator": None})


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_state_fits_only_a_loader_that_shuffles_alike(shuffle):
    state = make(shuffle=not shuffle).state_dict()
    with pytest.raises(ValueError, match=f"{'not ' if shuffle else ''}shuffled. does not fit 4 batches"):
        make(shuffle=shuffle).load_state_dict(state)


def test_a_state_that_does_not_fit_changes_nothing():
    loader = make(shuffle=True)
    before = json.dumps(loader.state_dict())
    for state in ({"position": 9, "generator": {}}, {"position": 1, "generator": {"bit_generator": "MT19937"}}):
        with pytest.raises((ValueError, KeyError)):
            loader.load_state_dict(state)
    assert json.dumps(loader.state_dict()) == before


@pytest.mark.parametrize("key", ["position", "generator"])
def test_a_state_must_be_whole(key):
    state = make(shuffle=True).state_dict()
    del state[key]
    with pytest.raises(KeyError, match=key):
        make(shuffle=True).load_state_dict(state)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda d: DataLoader(d, batch_size="a"), "DataLoader: batch_size must be a whole number, not 'a'"),
        (lambda d: DataLoader(d, batch_size=1.5), "DataLoader: batch_size must be a whole number, not 1.5"),
        (lambda d: DataLoader(3), "DataLoader: takes a data set, such as a TensorDataset, not int"),
        (lambda d: DataLoader(d, shuffle=True, generator=3), "DataLoader: generator must be one of NumPy's, not int"),
    ],
)
def test_what_makes_no_loader(make_it, message):
    with pytest.raises(TypeError, match=message):
        make_it(make().dataset)
