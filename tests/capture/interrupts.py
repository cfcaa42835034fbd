"""Interrupt computations on two threads at random moments, eager and compiled, and check the results afterwards.

python -m tests.capture.interrupts [NUMBER [SEED]]

Makes NUMBER interrupts (default: 1,000): Ctrl-C, SIGALRM, or an asynchronous exception. If the process hangs for 60
seconds, it prints a traceback and exits.
"""

import ctypes
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.kernels import team
from chainrule.lower import kernel_call, program

INPUTS = 5  # arrays per case
MOST_SECONDS = 60  # per interrupt


class TimedOutError(Exception):
    """Raised by the signal handler."""


def on_alarm(*_):
    raise TimedOutError


def convolutional():
    """Return a network, a step without an optimizer, and inputs."""
    numbers = np.random.default_rng(1)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, generator=numbers), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, generator=numbers), nn.ReLU(), nn.Flatten(), nn.Linear(200, 10, generator=numbers),
    )  # fmt: skip
    images = numbers.standard_normal((INPUTS, 16, 1, 14, 14)).astype(np.float32)
    labels = chainrule.from_numpy(np.arange(16) % 10)

    def step(x):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        return loss

    return net, step, images


class Gradients:
    """The loss and gradients of a step, compared with an uninterrupted run on one thread."""

    def __init__(self, compiled):
        self.net, step, self.images = convolutional()
        self.step = jit(step) if compiled else step
        team.set_num_threads(1)
        self.expected = [self.results(step, x) for x in self.images]
        team.set_num_threads(2)

    def results(self, step, x):
        loss = step(chainrule.from_numpy(x))
        return [loss.numpy().copy(), *(p.grad.numpy().copy() for p in self.net.parameters())]

    def run(self, i):
        self.step(chainrule.from_numpy(self.images[i]))

    def wrong(self, i):
        actual = self.results(self.step, self.images[i])
        return not all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(actual, self.expected[i], strict=True))


class Training:
    """A compiled optimizer step, which if interrupted must have changed everything or nothing."""

    def __init__(self):
        numbers = np.random.default_rng(2)
        self.w = chainrule.from_numpy(numbers.standard_normal((64, 32)).astype(np.float32)).requires_grad_()
        self.inputs = numbers.standard_normal((INPUTS, 48, 64)).astype(np.float32)
        self.optimizer = optim.SGD([self.w], 0.01, momentum=0.5)

        @jit
        def step(x):
            self.optimizer.zero_grad()
            loss = ((x @ self.w) ** 2).mean()
            loss.backward()
            self.optimizer.step()
            return loss

        self.step = step
        self.before = None
        for i in range(2):
            self.run(i)

    def state(self):
        return self.w.numpy().copy(), self.optimizer.state[0]["momentum_buffer"].copy()

    def after(self, i, state):
        w, momentum = (array.astype(np.float64) for array in state)
        x = self.inputs[i].astype(np.float64)
        momentum = 0.5 * momentum + 2 * x.T @ (x @ w) / (48 * 32)
        return w - 0.01 * momentum, momentum

    def run(self, i):
        self.before = (i, self.state()) if self.optimizer.state else None
        self.step(chainrule.from_numpy(self.inputs[i]))

    def wrong(self, i):
        last, before = self.before
        now = self.state()
        is_consistent = any(same(now, state) for state in (before, self.after(last, before)))
        self.run(i)
        return not is_consistent or not same(self.state(), self.after(i, now))


def same(actual, expected):
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(actual, expected, strict=True))


class ParallelFor:
    """A slow Python function that runs on two threads."""

    def run(self, i):
        self.parallel_for(i)

    @staticmethod
    def parallel_for(i):
        def fill(out, begin, end):
            time.sleep(0.001 if begin else 0)
            out[begin:end] = i + 1

        out = np.full(10, np.nan)
        team.parallel_for(fill, 10, 10**7, out)
        return out

    def wrong(self, i):
        return not (self.parallel_for(i) == i + 1).all()


timers = []


def interrupt(how, after):
    """Interrupt this thread after `after` seconds."""
    if how == "alarm":
        signal.setitimer(signal.ITIMER_REAL, after)
        return
    this = threading.get_ident()

    def later():
        time.sleep(after)
        if how == "key":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(this), ctypes.py_object(TimedOutError))

    timers.append(threading.Thread(target=later, daemon=True))
    timers[-1].start()


def run_until_interrupted(how, choice, case):
    while True:  # repeat: an interrupt inside a finalizer is only printed
        interrupt(how, choice.uniform(0, 0.004))
        end = time.monotonic() + 1
        while time.monotonic() < end:
            case.run(choice.randrange(INPUTS))


def wait_for_interrupts():
    """Wait until all pending interrupts have arrived."""
    while timers:
        timers.pop().join()
    for _ in range(1000):
        pass


def main(number=1000, seed=0):
    """Make the interrupts; return the number of wrong results in each case."""
    program.WORK_PER_THREAD = kernel_call.MIN_PARALLEL_WORK = team.ITERATIONS_PER_THREAD = 1
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    choice = random.Random(seed)  # noqa: S311
    cases = {
        "eager network": Gradients(compiled=False), "compiled network": Gradients(compiled=True),
        "compiled training": Training(), "parallel_for": ParallelFor(),
    }  # fmt: skip
    wrong = dict.fromkeys(cases, 0)
    for name, case in cases.items():
        assert not case.wrong(0), name
    for _ in range(number):
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        name = choice.choice([*cases])
        case, how = cases[name], choice.choice(["key", "alarm", "thrown"])
        with suppress(KeyboardInterrupt, TimedOutError):
            run_until_interrupted(how, choice, case)
        for _ in range(2):
            with suppress(KeyboardInterrupt, TimedOutError):
                wait_for_interrupts()
        try:
            wrong[name] += sum(case.wrong(i) for i in range(2))
        except RuntimeError as error:
            print(name, how, error, file=sys.stderr)
            wrong[name] += 1
    faulthandler.cancel_dump_traceback_later()
    return wrong


if __name__ == "__main__":
    count, chosen = (list(map(int, sys.argv[1:])) + [1000, 0][len(sys.argv) - 1 :])[:2]
    print(f"{count} interrupts; wrong results: {main(count, chosen)}")
