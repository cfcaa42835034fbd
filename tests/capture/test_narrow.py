"""Loops over few elements per row, as in normalization: vector code that relies on arrays not overlapping."""

from itertools import combinations

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.errors import CaptureError
from chainrule.kernels import team
from chainrule.lower.graph import is_internal
from chainrule.lower.loops import Nest

ROWS = 43


@pytest.fixture
def threads(monkeypatch):
    """So many threads, even for the least work, and all sums over rows in parts."""
    monkeypatch.setattr("chainrule.lower.program.WORK_PER_THREAD", 1)
    monkeypatch.setattr("chainrule.lower.kernel_call.MIN_PARALLEL_WORK", 1)
    monkeypatch.setattr("chainrule.lower.schedule.MIN_SPLIT_WORK", 1)
    return lambda number: monkeypatch.setattr(team, "_threads", number)


def back(x, out, weight):
    """What normalization needs on its way back from a rectifier."""
    grad = chainrule.where(out <= 0, 0, x)
    scaled = grad * weight
    return scaled - out, grad.sum(0), (grad * out).sum(0), scaled.sum(0), (scaled * out).sum(0)


def of_a_part(x, out, weight):
    """The same for rows that lie apart, in the middle of others, and an array that is changed in place."""
    width = weight.shape[0]
    x, out = x[1:, 2 : 2 + width], out[:-1, 1 : 1 + width]
    grads = back(x, out, weight)
    with chainrule.no_grad():
        weight.sub_(grads[1] * 0.5)
    return (*grads, (x * weight).amax(0))


@pytest.mark.parametrize(("dtype", "widths"), [(np.float32, (1, 3, 8, 16, 31, 32, 70)), (np.float64, (5, 16))])
def test_sums_over_narrow_rows(dtype, widths, threads):
    rng = np.random.default_rng(0)
    pairs = [rng.standard_normal((2, ROWS, width + 4 * (width % 4 != 0))).astype(dtype) for width in widths]
    pairs[0][0, 5] = np.nan
    weights = [rng.standard_normal(width).astype(dtype) for width in widths]

    def every(arrays, changed):
        each = [(*pair, w) for pair, w in zip(arrays, changed, strict=True)]
        return [part for x, out, w in each for part in (back if x.shape[1] == w.shape[0] else of_a_part)(x, out, w)]

    def results(number, compiled):
        threads(number)
        changed = [chainrule.from_numpy(weight.copy()) for weight in weights]
        work = jit(lambda arrays: every(arrays, changed)) if compiled else lambda arrays: every(arrays, changed)
        arrays_out = []
        for factor in (1, -0.5):
            arrays = [tuple(map(chainrule.from_numpy, (pair * factor).astype(dtype))) for pair in pairs]
            arrays_out += [part.numpy() for part in work(arrays)]
        if compiled:
            [[specialization]] = work.specializations.values()
            assert specialization.program.thread_count == number
        return arrays_out + [weight.numpy() for weight in changed]

    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    runs = [results(number, compiled=True) for number in (1, 2, 2)]
    for right, *same in zip(results(1, compiled=False), *runs, strict=True):
        np.testing.assert_allclose(same[0], right, rtol=tolerance, atol=tolerance)
        assert len({result.tobytes() for result in same}) == 1


def build_network():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False, generator=rng), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, generator=rng), nn.Tanh(), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 3, generator=rng),
    )  # fmt: skip


@pytest.mark.parametrize("number", [1, 2])
def test_what_loops_take_for_apart_is_apart(number, monkeypatch, interpreted):
    """Where the program keeps an array while a loop runs, no other of the loop's arrays lies."""
    monkeypatch.setattr(team, "_threads", number)
    monkeypatch.setattr("chainrule.lower.kernel_call.MIN_PARALLEL_WORK", 1)
    net = build_network()
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = jit(step)
    x, y = np.random.default_rng(1).random((8, 1, 8, 8), np.float32), np.arange(8) % 3
    for _ in range(2):  # the first tells the optimizer what it will remember
        step(x, y)
    [[specialization]] = step.specializations.values()
    program = specialization.program
    checked = 0
    for call in program.kernel_calls.values():
        if call.stage.kind != "loop":
            continue
        memory = {}
        bases = Nest(call.stage).bases
        for value in bases:
            window = id(value) in program.schedule.block_buffers
            size = value.example.nbytes // (value.shape[0] if window else 1)
            start = int(program.table[program.entries[id(value)]])
            memory[value] = start, start + size
        for a, b in combinations(bases, 2):
            if is_internal(a) or is_internal(b):
                checked += 1
                assert memory[a][1] <= memory[b][0] or memory[b][1] <= memory[a][0]
    assert checked > 100


def test_memory_from_outside_is_read_and_changed_in_one_loop():
    """Its loop is told nothing of which arrays lie apart. The same memory as an argument is refused."""
    for size in (1, 16, 37):
        w = chainrule.arange(size, dtype=np.float32)

        def learn(x, w=w):
            with chainrule.no_grad():
                before = w * 1
                w.sub_(x * 0.25)
                return before + w

        compiled = jit(learn)
        for call in range(3):
            before, x = w.numpy().copy(), np.random.default_rng(call).random(size, np.float32)
            actual = compiled(x).numpy()
            np.testing.assert_allclose(w.numpy(), before - x * 0.25, rtol=1e-6)
            np.testing.assert_allclose(actual, 2 * before - x * 0.25, rtol=1e-6)
        before = w.numpy().copy()
        with pytest.raises(CaptureError, match="shares memory"):
            compiled(w.numpy())
        np.testing.assert_array_equal(w.numpy(), before)
