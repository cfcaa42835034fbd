"""How kernels are found, compiled, cached and spread over threads."""

import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from chainrule.kernels import compile as kernels
from chainrule.kernels.special import erf

X = np.linspace(-1, 1, 100)


@pytest.fixture
def untried(monkeypatch):
    monkeypatch.setattr(kernels, "_compiles", True)


def test_without_numba_there_is_one_warning_and_the_same_result(untried, monkeypatch):
    expected = erf(X)
    monkeypatch.delitem(sys.modules, "chainrule.kernels.loops.special")
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setitem(sys.modules, "numba.core.errors", None)
    with pytest.warns(RuntimeWarning, match="Numba cannot be used here.*plain NumPy, more slowly") as caught:
        np.testing.assert_allclose(erf(X), expected, rtol=1e-15)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        erf(X)


def test_where_numba_cannot_compile_it_is_plain_numpy_too(untried, monkeypatch, threads):
    from numba.core.errors import TypingError

    from chainrule.kernels.loops import special

    def broken(*arguments):
        raise TypingError("no such type")

    expected = erf(X)
    monkeypatch.setattr(special, "_erf", broken)
    with pytest.warns(RuntimeWarning, match="no such type"):
        np.testing.assert_allclose(erf(X), expected, rtol=1e-15)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_spread_gives_every_item_to_one_thread(threads, count):
    seen = []
    kernels.spread(lambda begin, end: seen.append((begin, end)), count, 10**6)
    items = [item for begin, end in seen for item in range(begin, end)]
    assert sorted(items) == list(range(count))
    assert len(seen) == max(1, min(threads, count))


def test_little_work_stays_on_this_thread(monkeypatch):
    monkeypatch.setattr(kernels, "_threads", 4)
    names = []
    kernels.spread(lambda begin, end: names.append(threading.current_thread()), 100, kernels.WORTH_A_THREAD - 1)
    assert names == [threading.current_thread()]


def test_an_error_in_a_worker_is_raised_here_and_the_team_goes_on(monkeypatch):
    monkeypatch.setattr(kernels, "_threads", 2)

    def fails(begin, end):
        if begin:
            raise OverflowError("share")

    for _ in range(2):
        with pytest.raises(OverflowError, match="share"):
            kernels.spread(fails, 2, 10**6)
    seen = []
    kernels.spread(lambda begin, end: seen.append(begin), 2, 10**6)
    assert sorted(seen) == [0, 1]


def test_several_threads_may_call_at_once(threads):
    x = np.linspace(-2, 2, 5001)
    expected, wrong = erf(x), []

    def many():
        for _ in range(20):
            wrong.extend(np.flatnonzero(erf(x) != expected))

    callers = [threading.Thread(target=many) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_a_team_of_its_own():
    code = """
import os, sys
from chainrule.kernels import compile as kernels
kernels.set_num_threads(2)
def both():
    seen = []
    kernels.spread(lambda begin, end: seen.append(begin), 2, 10**6)
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
    monkeypatch.setattr(kernels, "_threads", None)
    monkeypatch.setenv("CHAINRULE_THREADS", "3")
    assert kernels.threads() == 3
    kernels.set_num_threads(2)
    assert kernels.threads() == 2
    monkeypatch.setattr(kernels, "_threads", None)
    monkeypatch.delenv("CHAINRULE_THREADS")
    assert kernels.threads() >= 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_an_error(monkeypatch, value):
    monkeypatch.setattr(kernels, "_threads", None)
    monkeypatch.setenv("CHAINRULE_THREADS", value)
    with pytest.raises(ValueError, match=f"CHAINRULE_THREADS is '{value}': it must be a whole number of at least 1"):
        kernels.threads()
    with pytest.raises(ValueError, match="at least 1, not 0"):
        kernels.set_num_threads(0)


def test_compiled_code_is_kept_where_numba_is_told_and_follows_the_sources(monkeypatch, tmp_path):
    loops = tmp_path / "loops"
    loops.mkdir()
    (loops / "one.py").write_text("1")
    monkeypatch.setattr(kernels, "LOOPS", loops)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    folder = kernels._folder.__wrapped__
    before = folder()
    assert before.startswith(str(tmp_path / "cache"))
    assert folder() == before
    (loops / "one.py").write_text("2")
    assert folder() != before


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(kernels, "_folder", kernels._folder.__wrapped__)
    assert kernels._folder() is None
    assert kernels.jit(_double)(4) == 8


def _double(x):
    return 2 * x


def test_importing_the_kernels_does_not_import_numba():
    code = "import sys, chainrule.kernels.convolution, chainrule.kernels.pooling, chainrule.kernels.special as s\n"
    code += "assert 'numba' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0
