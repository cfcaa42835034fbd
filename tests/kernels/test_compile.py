"""How kernels are found, compiled and cached."""

import subprocess
import sys
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
    monkeypatch.setattr(kernels, "folder", kernels.folder.__wrapped__)
    assert kernels.folder() is None
    assert kernels.jit(_double)(4) == 8


def _double(x):
    return 2 * x


def test_importing_the_kernels_does_not_import_numba():
    code = "import sys, chainrule.kernels.convolution, chainrule.kernels.pooling, chainrule.kernels.special as s\n"
    code += "assert 'numba' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0
