"""Batches prepared in a background thread: the same bits and states as without it, errors where they belong, no thread left."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

import chainrule
from chainrule import jit, no_grad
from chainrule.data import Augment
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.kernels import team
from chainrule.kernels.rows import gather_scaled
from chainrule.training import checkpoint

COUNT, BATCH = 23, 4  # six batches, the last of three examples


def make_loader(ahead: int | None, seed: int = 5, count: int = COUNT, **options) -> DataLoader:
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 6), np.uint8)
    dataset = TensorDataset(images, np.arange(count), scale=1 / 255, transform=options.pop("transform", None))
    options = {"shuffle": True, "augment": Augment(shift=1), "generator": np.random.default_rng(seed), **options}
    return DataLoader(dataset, BATCH, prefetch_factor=ahead, **options)


def numbers(batches) -> list[tuple[bytes, list[int]]]:
    return [(images.numpy().tobytes(), labels.tolist()) for images, labels in batches]


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("chainrule-prefetch")]


def wait_for(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


@pytest.fixture(autouse=True, scope="module")
def _what_was_there_before():
    """Each collection below visits what these tests have made, and not all that the tests before them have left."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    gc.collect()
    assert wait_for(lambda: not own_threads())


# The same as without a thread


@pytest.mark.parametrize("ahead", [1, 2, 100])
@pytest.mark.parametrize(
    "options",
    [{}, {"augment": None}, {"shuffle": False, "augment": None, "generator": None}, {"drop_last": True}],
    ids=str,
)
def test_batches_are_the_same_bits(ahead, options):
    loader, plain = make_loader(ahead, **options), make_loader(None, **options)
    for _ in range(3):
        assert numbers(loader) == numbers(plain)
    assert loader.state_dict() == plain.state_dict()


@pytest.mark.parametrize("stop", range(7))
@pytest.mark.parametrize("ahead", [1, 3])
def test_a_state_counts_the_batches_that_were_returned(tmp_path, ahead, stop):
    loader, plain = make_loader(ahead), make_loader(None)
    batches, expected = iter(loader), iter(plain)
    for _ in range(stop):
        next(batches)
        next(expected)
    assert loader.state_dict() == plain.state_dict()
    checkpoint.save(loader.state_dict(), tmp_path / "state")
    resumed = make_loader(ahead, seed=99)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    rest = numbers(expected)
    assert numbers(resumed) == rest
    assert numbers(batches) == rest
    assert numbers(resumed) == numbers(loader) == numbers(plain)


def test_passes_may_take_turns():
    loader, plain = make_loader(2), make_loader(None)
    for batches in zip(*(iter(each) for each in (loader, loader, plain, plain)), strict=True):
        first, second, *expected = numbers(batches)
        assert [first, second] == expected


def test_batches_may_be_repeated_or_skipped():
    batches, plain = iter(make_loader(2)), numbers(make_loader(None))
    next(batches), next(batches)
    for position in (0, 3, 1, 5):
        batches.position = position
        assert numbers([next(batches)]) == plain[position : position + 1]


def test_options_changed_within_a_pass_take_effect_with_the_next_batch():
    loader, plain = make_loader(3), make_loader(None)
    for _, (batch, expected) in zip(range(5), zip(loader, plain, strict=False), strict=False):
        assert numbers([batch]) == numbers([expected])
        loader.augment = plain.augment = None if plain.augment else Augment(rotation=20)
    batches, expected = iter(loader), iter(plain)
    next(batches), next(expected)
    loader.dataset = plain.dataset = TensorDataset(np.zeros((COUNT, 2, 2)), np.zeros(COUNT))
    loader.augment = plain.augment = None
    assert numbers(batches) == numbers(expected)


def test_the_thread_has_the_callers_modes():
    seen = []

    def transform(*batch):
        seen.append((chainrule.is_grad_enabled(), np.geterr()["over"], threading.current_thread().name))
        return batch

    with no_grad(), np.errstate(over="raise"):
        list(make_loader(2, transform=transform))
    list(make_loader(2, transform=transform))
    assert [mode[:2] for mode in seen] == [(False, "raise")] * 6 + [(True, np.geterr()["over"])] * 6
    assert all(name.startswith("chainrule-prefetch") for *_, name in seen)


def test_a_compiled_function_prepares_its_batches_itself():
    loader, plain = (make_loader(ahead, augment=None, shuffle=False, generator=None) for ahead in (2, None))
    expected = next(iter(plain))[0].numpy()
    np.testing.assert_array_equal(jit(lambda: next(iter(loader))[0])().numpy(), expected)
    assert own_threads() == []


# How far ahead, and on which threads


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_batches_are_prepared_than_asked_for(ahead):
    prepared = []
    loader = make_loader(ahead, count=80, transform=lambda *batch: prepared.append(1) or batch)
    batches = iter(loader)
    assert prepared == []
    for taken in range(1, 5):
        next(batches)
        assert wait_for(lambda taken=taken: len(prepared) == taken + ahead)
    time.sleep(0.05)
    assert len(prepared) == 4 + ahead


def test_the_next_batch_is_prepared_while_this_one_is_used():
    allowed = threading.Event()
    prepared = []

    def transform(*batch):
        if prepared:
            assert allowed.wait(10)
        prepared.append(batch)
        return batch

    batches = iter(make_loader(1, transform=transform))
    next(batches)
    allowed.set()
    assert wait_for(lambda: len(prepared) == 2)


def test_kernels_of_the_thread_leave_the_team_to_training(monkeypatch):
    """A gather that took the team would make the training step run on one thread meanwhile."""
    monkeypatch.setattr(team, "_threads", 2)
    starts = []

    def refuse(number):
        starts.append(number)
        raise OSError("no thread")

    monkeypatch.setattr(team, "_start_workers", refuse)
    table, indices = np.ones((500, 784), np.uint8), np.arange(500)
    with pytest.raises(OSError, match="no thread"):
        gather_scaled(table, indices, 0.5)
    assert starts == [1]
    loader = DataLoader(TensorDataset(table, scale=0.5), 500, prefetch_factor=1)
    assert [batch.sum().item() for (batch,) in loader] == [500 * 784 / 2]
    assert starts == [1]


# Errors and interrupts


def test_an_exception_comes_with_its_batch_and_with_its_traceback():
    def fail_on_the_third(images, labels):
        if 8 in labels.numpy():
            raise ZeroDivisionError("example 8")
        return images, labels

    loader = make_loader(3, shuffle=False, augment=None, generator=None, transform=fail_on_the_third)
    batches = iter(loader)
    assert [labels.tolist()[0] for _, labels in (next(batches), next(batches))] == [0, 4]
    for _ in range(2):  # and again: the batch is not counted
        with pytest.raises(ZeroDivisionError, match="example 8") as caught:
            next(batches)
        functions = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert functions[0] == "test_an_exception_comes_with_its_batch_and_with_its_traceback"
        assert functions[-1] == "fail_on_the_third"
    assert batches.state_dict()["position"] == 2
    loader.dataset.transform = None
    assert [labels.tolist() for _, labels in batches] == [[*range(s, min(s + 4, COUNT))] for s in range(8, COUNT, 4)]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_an_interrupt_while_waiting_loses_nothing():
    allowed = threading.Event()

    def wait(*batch):
        assert allowed.wait(10)
        return batch

    def interrupt(*_):
        raise KeyboardInterrupt

    batches = iter(make_loader(2, transform=wait))
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            next(batches)
    finally:
        signal.signal(signal.SIGALRM, previous)
    allowed.set()
    assert numbers(batches) == numbers(make_loader(None))


# The end of the thread


@pytest.mark.parametrize("taken", [1, 6])
def test_the_thread_ends_with_the_pass_or_when_it_is_dropped(taken):
    batches = iter(make_loader(2))
    for _ in range(taken):
        next(batches)
    assert len(own_threads()) == 1
    if taken == 6:
        assert next(batches, None) is None
    else:
        del batches
    assert wait_for(lambda: not own_threads())


def test_a_dropped_pass_does_not_prepare_what_it_had_asked_for():
    allowed, prepared = threading.Event(), []

    def transform(*batch):
        prepared.append(batch)
        assert len(prepared) == 1 or allowed.wait(10)
        return batch

    batches = iter(make_loader(5, count=80, transform=transform))
    next(batches)
    assert wait_for(lambda: len(prepared) == 2)
    del batches
    allowed.set()
    assert wait_for(lambda: not own_threads())
    assert len(prepared) == 2


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"])
def test_a_process_ends_whatever_is_still_being_prepared(ending):
    code = f"""
import os, signal, time
import numpy as np
from chainrule.data import DataLoader, TensorDataset
def slow(*batch):
    time.sleep(0.02)
    return batch
batches = iter(DataLoader(TensorDataset(np.arange(1000), transform=slow), 1, prefetch_factor=3))
next(batches)
{ending}
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == {"": 0, "r": 3, "o": -signal.SIGINT}[ending[:1]]
    assert ("KeyboardInterrupt" in done.stderr) == ("SIGINT" in ending)
    assert done.stderr.count("Traceback") == ("SIGINT" in ending)
    assert time.monotonic() - start < 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_a_thread_of_its_own():
    batches = iter(make_loader(2))
    next(batches)
    expected = numbers(make_loader(None))[1:]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            code = 0 if numbers(batches) == expected else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert numbers(batches) == expected


# What is refused


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "DataLoader: prefetch_factor must be at least 0, not -1"),
        (1.5, TypeError, "DataLoader: prefetch_factor must be an integer, not 1.5"),
        (True, TypeError, "DataLoader: prefetch_factor must be an integer, not True"),
    ],
)
def test_what_is_no_number_of_batches(value, error, message):
    with pytest.raises(error, match=message):
        make_loader(value)
