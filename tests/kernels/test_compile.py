"""How kernels are found, compiled and cached."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

from chainrule.kernels import compile as kernels
from chainrule.kernels import loop, native, shares
from chainrule.kernels.loop import Loop
from chainrule.kernels.special import erf

X = np.linspace(-1, 1, 100)
EXPECTED = [math.erf(x) for x in X.tolist()]


@pytest.fixture
def untried(monkeypatch):
    monkeypatch.setattr(kernels, "_compiles", True)


def test_without_numba_there_is_one_warning_and_the_same_result(untried, monkeypatch):
    np.testing.assert_allclose(erf(X), EXPECTED, rtol=1e-15)
    monkeypatch.delitem(sys.modules, "chainrule.kernels.loops.special", raising=False)
    monkeypatch.setattr(shares, "ERF", loop.of("special", "_erf"))
    monkeypatch.setattr(native, "folder", lambda: None)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setitem(sys.modules, "numba.core.errors", None)
    with pytest.warns(RuntimeWarning, match="Numba cannot be used here.*plain NumPy, more slowly") as caught:
        np.testing.assert_allclose(erf(X), EXPECTED, rtol=1e-15)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(erf(-X), -np.array(EXPECTED), rtol=1e-15)


def test_where_numba_cannot_compile_it_is_plain_numpy_too(untried, monkeypatch, threads):
    from numba.core.errors import TypingError

    def broken(*arguments):
        raise TypingError("no such type")

    monkeypatch.setattr(shares, "ERF", broken)
    with pytest.warns(RuntimeWarning, match="no such type"):
        np.testing.assert_allclose(erf(X), EXPECTED, rtol=1e-15)


def test_compiled_code_is_kept_where_numba_is_told_and_follows_the_sources(monkeypatch, tmp_path):
    loops = tmp_path / "loops"
    loops.mkdir()
    (loops / "one.py").write_text("1")
    monkeypatch.setattr(kernels, "SOURCES", loops)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    folder = kernels.folder.__wrapped__
    before = folder()
    assert before.startswith(str(tmp_path / "cache"))
    assert folder() == before
    (loops / "one.py").write_text("2")
    assert folder() != before


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert kernels.folder.__wrapped__() is None
    monkeypatch.setattr(native, "folder", lambda: None)
    out = np.zeros(3)
    loop = Loop("a loop of the test's", lambda: kernels.inner(_double))
    for more in (0.5, 7.5):
        loop(np.arange(3.0), more, out)
        np.testing.assert_array_equal(out, [more, 2 + more, 4 + more])


def _double(x, more, out):
    for i in range(x.size):
        out[i] = 2 * x[i] + more


def test_importing_the_kernels_does_not_import_numba():
    code = "import sys, chainrule.kernels.convolution, chainrule.kernels.pooling, chainrule.kernels.special as s\n"
    code += "assert 'numba' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0
