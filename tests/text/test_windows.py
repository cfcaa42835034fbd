"""Windows of a text, against slices of it, and drawn by a loader without a permutation of all positions."""

import numpy as np
import pytest

from chainrule.data import DataLoader, idx
from chainrule.errors import DataError
from chainrule.text import TokenWindows

TOKENS = (np.arange(60) ** 2 % 23).astype(np.uint8)


@pytest.mark.parametrize("index", [0, 5, -1, [3], [0, 54, 7, 7], slice(4), slice(50, 99), np.array([1, 2])])
def test_a_window_and_its_targets_are_slices(index):
    inputs, targets = TokenWindows(TOKENS, 5)[index]
    starts = np.arange(55)[index]
    expected = [TOKENS[start : start + 6] for start in np.atleast_1d(starts)]
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.tolist() == np.reshape([window[:5] for window in expected], (*starts.shape, 5)).tolist()
    assert targets.tolist() == np.reshape([window[1:] for window in expected], (*starts.shape, 5)).tolist()


def test_every_token_but_the_first_is_a_target_once_in_the_last_place():
    _, targets = TokenWindows(TOKENS, 5)[:]
    assert targets.numpy()[:, -1].tolist() == TOKENS[5:].tolist()


def test_a_mask_is_refused():
    with pytest.raises(IndexError, match="integers, not booleans"):
        TokenWindows(TOKENS, 5)[np.array([True, False])]


@pytest.mark.parametrize("index", [55, -56, [0, 60]])
def test_a_window_outside_is_refused(index):
    with pytest.raises(IndexError, match="the index must be from 0 to 54"):
        TokenWindows(TOKENS, 5)[index]


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(
        DataError, match="my text: has 60 tokens, too few for a window of 60 and the token that follows"
    ):
        TokenWindows(TOKENS, 60, "my text")
    assert len(TokenWindows(TOKENS, 59)) == 1


def test_only_integers_in_one_dimension():
    with pytest.raises(ValueError, match=r"takes integers in one dimension, not float64 of shape \(3,\)"):
        TokenWindows(np.zeros(3), 1)
    with pytest.raises(ValueError, match="block_size must be at least 1"):
        TokenWindows(TOKENS, 0)


# Drawn by a loader


def loader(tokens=TOKENS, samples=22, **options):
    return DataLoader(
        TokenWindows(tokens, 5), 6, shuffle=True, generator=np.random.default_rng(7), num_samples=samples, **options
    )


def test_a_pass_draws_as_many_windows_as_are_asked_for():
    batches = loader()
    assert (len(batches), batches.examples) == (4, 22)
    sizes = [len(inputs) for inputs, _ in batches]
    assert sizes == [6, 6, 6, 4]
    starts = np.random.default_rng(7).integers(55, size=22)  # NumPy's own draw
    first, _ = next(iter(loader()))
    assert first.tolist() == [TOKENS[s : s + 5].tolist() for s in starts[:6]]


def test_windows_come_from_everywhere_equally_often():
    counts = np.zeros(55, int)
    wide = DataLoader(
        TokenWindows(np.arange(60), 5), 500, shuffle=True, generator=np.random.default_rng(0), num_samples=55_000
    )
    for inputs, _ in wide:
        np.add.at(counts, inputs.numpy()[:, 0], 1)
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_passes_differ_and_resume_exactly():
    passes = [[inputs.tolist() for inputs, _ in batches] for batches in [loader()] for _ in range(1)]
    batches = loader()
    whole = [[inputs.tolist() for inputs, _ in batches] for _ in range(2)]
    assert whole[0] == passes[0] != whole[1]
    stopped = loader()
    iterator = iter(stopped)
    first = [next(iterator)[0].tolist() for _ in range(2)]
    resumed = DataLoader(TokenWindows(TOKENS, 5), 6, shuffle=True, generator=np.random.default_rng(1), num_samples=22)
    resumed.load_state_dict(iterator.state_dict())
    rest = [inputs.tolist() for inputs, _ in resumed]
    assert first + rest == whole[0]
    assert [inputs.tolist() for inputs, _ in resumed] == whole[1]


def test_a_thousand_million_positions_take_no_memory():
    """A text that is a view of one number: a permutation of its positions would take 8 GB."""
    huge = np.broadcast_to(np.zeros(1, np.uint8), 10**9)
    inputs, _ = next(iter(loader(huge)))
    assert inputs.shape == (6, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"shuffle": False}, "it needs shuffle=True"), ({"num_samples": 0}, "num_samples must be at least 1")],
)
def test_samples_need_a_shuffle(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(TokenWindows(TOKENS, 5), 6, **{"shuffle": True, "num_samples": 4, **options})


def test_a_file_that_shrinks_is_told_before_it_is_read(tmp_path):
    """Reading a missing page would kill the process."""
    file = tmp_path / "tokens.idx"
    idx.write(file, np.zeros(100_000, np.uint8))
    windows = TokenWindows(idx.memory_map(file), 5)
    assert windows[[99_000]][0].tolist() == [[0] * 5]
    with file.open("r+b") as opened:
        opened.truncate(5000)
    with pytest.raises(DataError, match=r"tokens.idx has shrunk from 100,008 to 5,000 bytes while in use"):
        windows[[99_000]]
