"""Interrupts while a compiled function runs, at random and at chosen moments."""

import os
import subprocess
import sys
from queue import SimpleQueue

import numpy as np
import pytest

import chainrule
from chainrule import optim
from chainrule.capture import jit
from chainrule.kernels import blas
from chainrule.ops import operation

from ..entries import interrupted_at_each_entry


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the signals are those of Unix")
def test_nothing_is_wrong_after_interrupts_at_random_moments():
    """150 here; `python -m tests.capture.interrupts` makes a thousand."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.capture.interrupts", "150", "3"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    wrong = done.stdout.partition("wrong results: ")[2].strip()
    assert wrong == "{'eager network': 0, 'compiled network': 0, 'compiled training': 0, 'parallel_for': 0}", (
        done.stderr
    )


class Interrupting:
    """A step with an operation that runs as a Python call and may be interrupted."""

    def __init__(self):
        self.interrupts = SimpleQueue()  # a plain attribute would be a guard

        @operation
        def through_python(input):
            result = np.asarray(input)[:] * 2  # needs an array, so it cannot be compiled
            if not self.interrupts.empty():
                raise KeyboardInterrupt
            return result

        @through_python.derivative
        def _(grad):
            return grad * 2

        self.w = chainrule.ones(4, requires_grad=True)
        self.counter = chainrule.zeros(4)
        self.optimizer = optim.SGD([self.w], 0.125, momentum=0.5)

        @jit
        def step(x):
            self.optimizer.zero_grad()
            self.counter.add_(1)
            loss = (through_python(self.w * x) * x).sum()
            loss.backward()
            self.optimizer.step()
            return loss

        self.step = step
        for _ in range(3):  # the first creates the optimizer state
            step(np.ones(4, np.float32))


def test_a_run_that_stops_halfway_leaves_no_gradient():
    case = Interrupting()
    np.testing.assert_array_equal(case.w.grad.numpy(), np.full(4, 2))
    before, version = case.w.numpy().copy(), case.counter._version[0]
    case.interrupts.put("now")
    with pytest.raises(KeyboardInterrupt):
        case.step(np.full(4, 3, np.float32))
    assert case.w.grad is None
    np.testing.assert_array_equal(case.w.numpy(), before)
    assert case.counter._version[0] > version
    case.interrupts.get()
    momentum = case.optimizer.state[0]["momentum_buffer"].copy()
    x = np.array([1, 2, 3, 4], np.float32)
    loss = case.step(x)
    np.testing.assert_allclose(loss.item(), (2 * before * x * x).sum())
    np.testing.assert_allclose(case.w.grad.numpy(), 2 * x * x)
    np.testing.assert_allclose(case.w.numpy(), before - 0.125 * (0.5 * momentum + 2 * x * x))


def test_a_step_interrupted_at_any_entry_is_made_whole_or_not_at_all():
    """The reference is Adam on the gradient 1 (Kingma and Ba, 2015), which moves each step by about lr."""
    w = chainrule.zeros(4, requires_grad=True)
    state = chainrule.zeros(6)  # its even elements are changed after the run, by NumPy
    optimizer = optim.Adam([w], 0.125)

    @jit
    def step():
        optimizer.zero_grad()
        state[np.array([0, 2, 4])] = state[0] + 1
        w.sum().backward()
        optimizer.step()

    for _ in range(3):  # the first creates the optimizer state
        step()
    interrupted = 0
    for interrupted in interrupted_at_each_entry(step):
        steps = optimizer.state[0]["step"]
        np.testing.assert_allclose(w.numpy(), np.full(4, -0.125 * steps), rtol=1e-5, err_msg=str(interrupted))
        np.testing.assert_array_equal(state.numpy(), [steps, 0] * 3, err_msg=str(interrupted))
    assert interrupted > 3
    np.testing.assert_array_equal(w.grad.numpy(), np.ones(4))


def test_blas_has_its_threads_again(monkeypatch):
    threads = [7]
    functions = (lambda: threads[0], lambda number: threads.__setitem__(0, number))
    blas.thread_count_addresses()  # those of the real functions, for compiled code
    monkeypatch.setattr(blas, "_thread_count_functions", lambda: functions)
    case = Interrupting()
    assert threads == [7]
    case.interrupts.put("now")
    with pytest.raises(KeyboardInterrupt):
        case.step(np.ones(4, np.float32))
    assert threads == [7]
