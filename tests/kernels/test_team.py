"""The thread pool."""

import ctypes
import functools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from chainrule.errors import SettingError
from chainrule.kernels import machine, team, team_loops
from chainrule.kernels.special import erf
from chainrule.kernels.tree import ADDRESS, I4, I8, Kernel

from ..entries import interrupted_at_each_entry
from ..threads import call_in_two_threads


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_parallel_for_gives_every_item_to_one_thread(threads, count):
    seen = []
    team.parallel_for(lambda begin, end: seen.append((begin, end)), count, 10**6)
    items = [item for begin, end in seen for item in range(begin, end)]
    assert sorted(items) == list(range(count))
    assert len(seen) == max(1, min(threads, count))


def test_little_work_stays_on_this_thread(monkeypatch):
    monkeypatch.setattr(team, "_threads", 4)
    names = []
    team.parallel_for(lambda begin, end: names.append(threading.current_thread()), 100, team.ITERATIONS_PER_THREAD - 1)
    assert names == [threading.current_thread()]


def test_an_error_in_a_worker_is_raised_and_the_team_stays_usable(monkeypatch):
    monkeypatch.setattr(team, "_threads", 2)

    def fails(begin, end):
        if begin:
            raise OverflowError("share")

    for _ in range(2):
        with pytest.raises(OverflowError, match="share"):
            team.parallel_for(fails, 2, 10**6)
    seen = []
    team.parallel_for(lambda begin, end: seen.append(begin), 2, 10**6)
    assert sorted(seen) == [0, 1]


def test_several_threads_may_call_at_once(threads):
    x = np.linspace(-2, 2, 5001)
    expected, wrong = np.array([math.erf(value) for value in x.tolist()]), []

    def many():
        for number in range(20):
            sign = (-1) ** number
            wrong.extend(np.flatnonzero(~np.isclose(erf(sign * x), sign * expected, rtol=1e-15, atol=0)))

    callers = [threading.Thread(target=many) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_two_threads_that_use_the_team_first_share_its_words(monkeypatch):
    monkeypatch.setattr(team, "_words", functools.cache(team._words.__wrapped__))
    monkeypatch.setattr(team, "_shared_words", {})
    zeros = np.zeros

    def words(in_the_middle):
        def allocate(*arguments):
            in_the_middle()
            return zeros(*arguments)

        monkeypatch.setattr(np, "zeros", allocate)
        return team._words()

    first, second = call_in_two_threads(words)
    assert first is second is team._words()


FIRST_USE = """
import sys, threading
from chainrule.kernels import team

team.set_num_threads(2)
team._control()
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(2)

def work():
    barrier.wait()
    for _ in range(20):
        team.parallel_for(lambda begin, end: None, 2, 10**6)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_two_threads_may_use_the_team_first():
    for _ in range(3):
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", FIRST_USE], timeout=60, check=False)
        assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_a_team_of_its_own():
    code = """
import os, sys
from chainrule.kernels import team
team.set_num_threads(2)
def both():
    seen = []
    team.parallel_for(lambda begin, end: seen.append(begin), 2, 10**6)
    return sorted(seen) == [0, 1]
assert both()
child = os.fork()
if child == 0:
    os._exit(0 if both() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, check=False)
    assert done.returncode == 0


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(team, "_threads", None)
    monkeypatch.setenv("CHAINRULE_THREADS", "3")
    assert team.threads() == 3
    team.set_num_threads(2)
    assert team.threads() == 2
    monkeypatch.setattr(team, "_threads", None)
    monkeypatch.delenv("CHAINRULE_THREADS")
    assert team.threads() >= 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_an_error(monkeypatch, value):
    monkeypatch.setattr(team, "_threads", None)
    monkeypatch.setenv("CHAINRULE_THREADS", value)
    with pytest.raises(SettingError, match=f"CHAINRULE_THREADS is '{value}': it must be an integer of at least 1"):
        team.threads()
    with pytest.raises(ValueError, match="at least 1, not 0"):
        team.set_num_threads(0)


INTERRUPTED = """
import ctypes, os, signal, sys, threading, time
import numpy as np
from chainrule.kernels import team

class OtherError(Exception):
    pass

def raise_other(*_):
    raise OtherError

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, raise_other)
team.set_num_threads(3)

def slow(out, begin, end):
    if begin:
        time.sleep(0.3)
    out[begin:end] = begin + 1

this = threading.get_ident()

def later():
    time.sleep(0.1)
    for number in {signals}:
        os.kill(os.getpid(), number)
    if not {signals}:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(this), ctypes.py_object(OtherError))

team.parallel_for(lambda begin, end: None, 3, 10**6)  # compiles and loads the kernels
for _ in range(3):
    out, raised = np.zeros(3), []
    helper = threading.Thread(target=later)
    helper.start()
    try:
        try:
            team.parallel_for(slow, 3, 10**6, out)
        except (KeyboardInterrupt, OtherError) as error:
            raised.append(type(error).__name__)
            assert out.tolist() == [1, 2, 3], out  # no exception propagates before all workers have finished
            helper.join()
    except (KeyboardInterrupt, OtherError) as error:
        raised.append(type(error).__name__)
    helper.join()
    assert raised
    out = np.zeros(3)
    team.parallel_for(slow, 3, 10**6, out)
    assert out.tolist() == [1, 2, 3], out
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no os.kill for these signals")
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM], []])
def test_an_interrupt_waits_for_all_workers(signals):
    code = INTERRUPTED.format(signals=[int(number) for number in signals])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_an_interrupt_at_the_entry_of_a_function_waits_for_all_workers(monkeypatch):
    monkeypatch.setattr(team, "_threads", 2)
    team.parallel_for(lambda begin, end: None, 2, 10**6)
    events = []

    def record(begin, end):
        if begin:
            events.append("begin")
            time.sleep(0.02)
            events.append("end")

    number = 0
    for number in interrupted_at_each_entry(lambda: team.parallel_for(record, 2, 10**6)):
        assert team._words()[team_loops.OWNER] == 0, number
        assert events in ([], ["begin", "end"]), number
        events.clear()
    assert number > 3
    assert events == ["begin", "end"]


def test_an_exception_thrown_into_a_worker_is_raised_here(monkeypatch):
    monkeypatch.setattr(team, "_threads", 2)

    def thrown(seen, begin, end):
        if begin:
            this = threading.get_ident()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(this), ctypes.py_object(ZeroDivisionError))
            for _ in range(10**6):
                pass
        seen.append(begin)

    with pytest.raises(ZeroDivisionError):
        team.parallel_for(thrown, 2, 10**6, [])
    for number in range(20):  # while it sleeps
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(team._thread_idents[1]), ctypes.py_object(ZeroDivisionError)
        )
        out = np.zeros(2)

        def fill(out, begin, end, number=number):
            out[begin:end] = number + begin

        with suppress(ZeroDivisionError, RuntimeError):
            team.parallel_for(fill, 2, 10**6, out)
        out[:] = 0
        team.parallel_for(fill, 2, 10**6, out)
        assert out.tolist() == [number, number + 1]


def test_a_worker_whose_start_was_interrupted_is_started_once(monkeypatch):
    monkeypatch.setattr(team, "_threads", 2)
    seen = []
    team.parallel_for(lambda begin, end: seen.append(begin), 2, 10**6)
    monkeypatch.setattr(team, "_started_workers", [])  # as if starting it had been interrupted
    for _ in range(2):
        team.parallel_for(lambda begin, end: seen.append(begin), 2, 10**6)
    assert sorted(seen) == [0, 0, 0, 1, 1, 1]


def test_a_signal_handler_may_call_parallel_for(monkeypatch):
    """The team is in use, so the handler's call runs alone."""
    monkeypatch.setattr(team, "_threads", 2)
    seen, main = [], threading.get_ident()

    def handler(number, frame):
        team.parallel_for(lambda begin, end: seen.append((begin, end)), 4, 10**6)

    def half(begin, end):
        if threading.get_ident() == main:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        team.parallel_for(half, 2, 10**6)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [(0, 4)]


def test_a_program_ends_when_all_workers_have_left_it():
    """A worker that naps at the last barrier reads the rest of its script later: it must not be freed before."""
    kernel = Kernel(
        "late", {"table": ADDRESS, "task": I8, "segment": I8, "thread_id": I8, "thread_count": I8, "team": ADDRESS}
    )
    table, thread_id, team_ = kernel["table"], kernel["thread_id"], kernel["team"]
    entries, addresses = kernel.array(table, I8), kernel.array(table, ADDRESS)
    thread_count = kernel.variable(I8, kernel["thread_count"])
    with kernel.when(thread_id.equals(0)):
        called = kernel.call(
            team_loops.call_workers(), team_, addresses[1], table, kernel["segment"], thread_count.value
        )
        thread_count.set(called)
    kernel.call(team_loops.barrier(), team_, thread_count.value)
    with kernel.when(thread_id.differs(0)):
        kernel.call_library("usleep", [kernel.lift(30_000, I4)], I4)
        entries[0] = 7
    with kernel.when(thread_id.equals(0)):
        kernel.call(team_loops.release(), team_, thread_count.value)
    address = machine.address_of("a worker that is late", lambda: kernel)
    words = np.array([0, address], np.int64)
    team.run_parallel(partial(machine.function(address), words.ctypes.data), 0, 2)
    assert words[0] == 7
