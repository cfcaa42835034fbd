"""DataLoader: batches in a fixed or shuffled order, and a position from which it goes on exactly."""

from __future__ import annotations

import gc
import json
import tracemalloc

import numpy as np
import pytest

from chainrule import manual_seed
from chainrule.data.augment import Augment
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
    if shuffle and not count:
        with pytest.raises(ValueError, match="^DataLoader: there are no examples to shuffle; use shuffle=False"):
            make(count, batch_size, shuffle=shuffle, drop_last=drop_last)
        return
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
    def new_loader(seed: int) -> DataLoader:
        generator = np.random.Generator(GENERATORS[kind](seed)) if kind else None
        return DataLoader(numbers(11), 3, shuffle=kind is not None, drop_last=drop_last, generator=generator)

    loader = new_loader(5)
    expected = [one_pass(loader) for _ in range(4)]
    stopped = new_loader(5)
    for _ in range(passes):
        one_pass(stopped)
    running = iter(stopped)
    for _ in range(min(batches, len(stopped))):
        next(running)
    checkpoint.save(stopped.state_dict(), tmp_path / "state")  # as text and arrays, as in a run

    resumed = new_loader(99)
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


# Passes inside passes: the position is the iterator's


def expected_passes(count: int, passes: int, seed: int) -> list[list[int]]:
    """The orders that a shuffling loader's passes have, drawn one after the other from its generator."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(count).tolist() for _ in range(passes)]


def flat(batches) -> list[int]:
    return [index for indices, _ in batches for index in indices.tolist()]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_pass_inside_a_pass_loses_nothing(shuffle, drop_last):
    """Such as the accuracy on the training data, within training."""
    loader = make(10, 3, seed=11, shuffle=shuffle, drop_last=drop_last)
    orders = expected_passes(10, 5, seed=11) if shuffle else [list(range(10))] * 5
    size = 9 if drop_last else 10
    outer, inner = [], []
    for indices, _ in loader:
        outer += indices.tolist()
        inner.append(flat(loader))
    assert outer == orders[0][:size]
    assert inner == [order[:size] for order in orders[1 : 1 + len(inner)]]
    assert len(inner) == len(loader) == (3 if drop_last else 4)


def test_iterators_may_take_turns():
    loader = make(10, 1, shuffle=True)
    first, second, third = iter(loader), iter(loader), iter(loader)
    batch_lists = [[], [], []]
    for _ in range(10):
        for own, iterator in zip(batch_lists, (first, second, third), strict=True):
            own += next(iterator)[0].tolist()
    assert batch_lists == expected_passes(10, 3, seed=7)
    for iterator in (first, second, third):
        with pytest.raises(StopIteration):
            next(iterator)


def test_iterators_that_were_left_change_nothing():
    loader, twin = make(shuffle=True), make(shuffle=True)
    left = [iter(loader) for _ in range(3)]  # never begun: nothing is drawn
    for _ in range(2):
        next(iter(loader))
        next(iter(twin))
    assert one_pass(loader) == one_pass(twin)
    assert loader.state_dict() == twin.state_dict()
    assert [flat(iterator) for iterator in left] == [flat(iter(twin)) for _ in range(3)]


@pytest.mark.parametrize("outer_batches", range(5))
@pytest.mark.parametrize("inner_batches", range(5))
@pytest.mark.parametrize("kind", GENERATORS)
def test_a_pass_with_others_inside_it_resumes_exactly(tmp_path, outer_batches, inner_batches, kind):
    """What the others have drawn is not drawn again, and not forgotten either."""

    def new_loader(seed: int) -> DataLoader:
        return DataLoader(numbers(11), 3, shuffle=True, generator=np.random.Generator(GENERATORS[kind](seed)))

    loader = new_loader(5)
    outer = iter(loader)
    for _ in range(outer_batches):
        next(outer)
    inner = iter(loader)
    for _ in range(inner_batches):
        next(inner)
    checkpoint.save(outer.state_dict(), tmp_path / "state")
    resumed = new_loader(99)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    again = iter(resumed)
    np.testing.assert_equal(again.state_dict(), outer.state_dict())
    assert flat(resumed) == flat(loader)  # a new pass inside, before the rest of this one
    assert flat(again) == flat(outer)
    assert one_pass(resumed) == one_pass(loader)


def test_the_state_of_several_passes_is_no_ones():
    loader = make(shuffle=True)
    outer, inner = iter(loader), iter(loader)
    next(outer)
    assert loader.state_dict() == outer.state_dict()  # the other has not begun
    next(inner)
    with pytest.raises(RuntimeError, match=r"DataLoader: 2 passes are running, .*batches.state_dict\(\)"):
        loader.state_dict()
    list(inner)
    assert loader.state_dict() == outer.state_dict()
    del outer
    gc.collect()
    assert loader.state_dict() == {"position": 0, "generator": loader.generator.bit_generator.state}


def test_a_loaded_state_is_what_counts_whatever_is_under_way():
    loader = make(shuffle=True)
    first = iter(loader)
    next(first)
    state = loader.state_dict()
    second = iter(loader)
    next(second)
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    rest = flat(loader)
    assert rest == expected_passes(10, 1, seed=7)[0][3:]
    assert flat(first) == rest  # and the others go on as they were
    assert flat(loader) == expected_passes(10, 2, seed=7)[1]


def test_only_the_first_pass_after_loading_is_the_rest():
    loader = make()
    loader.load_state_dict({"position": 2, "generator": None})
    first, second = iter(loader), iter(loader)
    assert flat(second) == list(range(10))
    assert flat(first) == list(range(6, 10))
    assert len(loader) == 4


def test_a_generator_that_others_draw_from_too_resumes_exactly():
    """The loader's own draws of this pass are made once more, but nothing that was drawn after them."""
    generator = np.random.default_rng(3)
    loader = DataLoader(numbers(10), 3, shuffle=True, generator=generator)
    batches = iter(loader)
    next(batches)
    generator.random(5)  # dropout, say
    state = json.loads(json.dumps(batches.state_dict()))
    other = np.random.default_rng(4)
    resumed = DataLoader(numbers(10), 3, shuffle=True, generator=other)
    resumed.load_state_dict(state)
    again = iter(resumed)
    assert flat(again) == flat(batches)
    assert other.random(3).tolist() == generator.random(3).tolist()


@pytest.mark.parametrize("position", range(5))
def test_states_of_before_are_read(position):
    """Those that have the generator's state before the pass, and not the present one."""
    loader, old = make(shuffle=True), make(shuffle=True, seed=1)
    before = dict(loader.generator.bit_generator.state)
    expected = [one_pass(loader) for _ in range(2)]
    old.load_state_dict({"position": position, "generator": before})
    assert [one_pass(old), one_pass(old)] == [expected[0][position:], expected[1]]


def test_a_pass_keeps_its_batch_size_and_may_have_batches_again():
    loader = make(shuffle=True)
    batches = iter(loader)
    first, second = next(batches)[0].tolist(), next(batches)[0].tolist()
    loader.batch_size = 2
    batches.position = 1
    assert next(batches)[0].tolist() == second
    batches.position = 0
    assert [part.tolist() for part, _ in batches][:2] == [first, second]


def test_a_batch_that_could_not_be_made_is_not_counted():
    failing = [True]

    def transform(*batch):
        if failing.pop():
            raise OSError("the disk is asleep")
        failing.append(False)
        return batch

    batches = iter(DataLoader(TensorDataset(np.arange(4), transform=transform), 2))
    with pytest.raises(OSError, match="asleep"):
        next(batches)
    failing.append(False)
    assert [part.tolist() for (part,) in batches] == [[0, 1], [2, 3]]


def test_the_state_is_a_copy():
    loader = make(shuffle=True)
    state = loader.state_dict()
    before = json.dumps(state)
    one_pass(loader)
    assert json.dumps(state) == before


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
    good = make(shuffle=True, seed=8).state_dict()["generator"]
    for state in (
        {"position": 9, "generator": {}},
        {"position": 1, "generator": {"bit_generator": "MT19937"}},
        {"position": 1, "generator": good, "current": {"bit_generator": "MT19937"}},
    ):
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
        (lambda d: DataLoader(d, batch_size="a"), "DataLoader: batch_size must be an integer, not 'a'"),
        (lambda d: DataLoader(d, batch_size=1.5), "DataLoader: batch_size must be an integer, not 1.5"),
        (lambda d: DataLoader([1, 2]), "DataLoader: takes a data set, such as a TensorDataset, not list"),
        (lambda d: DataLoader(3), "DataLoader: takes a data set, such as a TensorDataset, not int"),
        (
            lambda d: DataLoader(d, shuffle=True, generator=3),
            "DataLoader: generator must be a numpy.random.Generator, not int",
        ),
    ],
)
def test_what_makes_no_loader(make_it, message):
    with pytest.raises(TypeError, match=message):
        make_it(make().dataset)


# Large data sets


@pytest.mark.parametrize("kind", GENERATORS)
def test_the_order_is_that_of_a_permutation_in_half_the_memory(kind):
    count = 1_000_003
    loader = DataLoader(numbers(count), count // 2, shuffle=True, generator=np.random.Generator(GENERATORS[kind](3)))
    generator = np.random.Generator(GENERATORS[kind](3))
    first, second, _ = (part.numpy() for part, _ in loader)
    expected = generator.permutation(count)
    np.testing.assert_array_equal(np.concatenate([first, second]), expected[: 2 * (count // 2)])
    assert first.dtype == np.int64
    np.testing.assert_equal(loader.generator.bit_generator.state, generator.bit_generator.state)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_pass_holds_no_more_than_four_bytes_an_example(shuffle):
    count = 2_000_000
    loader = DataLoader(
        TensorDataset(np.broadcast_to(np.uint8(1), (count, 784))), 10, shuffle, generator=np.random.default_rng(0)
    )
    batches = iter(loader)
    tracemalloc.start()
    try:
        assert next(batches)[0].sum().item() == 7840
        assert tracemalloc.get_traced_memory()[1] < (4 * count if shuffle else 0) + 200_000
    finally:
        tracemalloc.stop()


# A part of each batch


def rank_rows(rank: int, ranks: int):
    """Every rank's share of a batch, in order."""
    return lambda size: slice(size * rank // ranks, size * (rank + 1) // ranks)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("ahead", [None, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_parts_of_all_ranks_are_the_batches(ranks, ahead, shuffle):
    whole = [indices.tolist() for indices, _ in make(25, 8, shuffle=shuffle)]
    loaders = [
        make(25, 8, shuffle=shuffle, rows=rank_rows(rank, ranks), prefetch_factor=ahead) for rank in range(ranks)
    ]
    assert {len(loader) for loader in loaders} == {4}
    parts = [[indices.tolist() for indices, _ in loader] for loader in loaders]
    assert [[index for share in shares for index in share] for shares in zip(*parts, strict=True)] == whole
    states = [loader.state_dict() for loader in loaders]
    assert all(state == states[0] for state in states)


def test_rows_may_be_indices_and_in_any_order():
    whole = one_pass(make(10, 4, shuffle=True))
    part = one_pass(make(10, 4, shuffle=True, rows=lambda size: np.arange(size)[::-2]))
    assert part == [batch[::-2] for batch in whole]


def test_only_the_rows_are_gathered():
    gathered = []

    class Recorder(TensorDataset):
        def __getitem__(self, index):
            gathered.extend(np.asarray(index).tolist())
            return super().__getitem__(index)

    loader = DataLoader(Recorder(np.arange(8)), 4, rows=lambda size: slice(1, 3))
    assert [part.tolist() for (part,) in loader] == [[1, 2], [5, 6]]
    assert gathered == [1, 2, 5, 6]


@pytest.mark.parametrize("elastic", [0, 2])
def test_an_image_is_augmented_as_in_the_whole_batch(elastic):
    images = np.random.default_rng(0).integers(0, 256, (11, 9, 8), np.uint8)
    augment = Augment(shift=1, rotation=20, scale=0.2, shear=5, elastic=elastic, smoothing=2)

    def batches(rows=None):
        generator = np.random.default_rng(4)
        loader = DataLoader(TensorDataset(images), 4, True, generator=generator, augment=augment, rows=rows)
        return [part.numpy() for (part,) in loader]

    whole = batches()
    for ranks in (2, 3):
        parts = zip(*(batches(rank_rows(rank, ranks)) for rank in range(ranks)), strict=True)
        for expected, shares in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(np.concatenate(shares), expected)


def test_rows_must_be_those_of_the_images():
    images = np.zeros((3, 5, 5), np.uint8)
    with pytest.raises(ValueError, match="Augment: there are 3 images, but 2 rows of a batch of 4"):
        Augment(shift=1)(images, np.random.default_rng(0), rows=slice(2), batch_size=4)


def test_rows_must_be_a_function():
    with pytest.raises(TypeError, match="DataLoader: rows must be a function of the size of a batch, not slice"):
        make(rows=slice(0, 2))


def test_augment_must_be_a_function():
    with pytest.raises(TypeError, match="DataLoader: augment must be a function of images, not int"):
        make(augment=5)
