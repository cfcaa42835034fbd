"""What the tests of `chainrule.jit` share."""

from __future__ import annotations

import pytest

from chainrule.kernels import native

from . import interpreter


@pytest.fixture
def interpreted(monkeypatch):
    """Compiled programs are run by Python itself, without Numba."""
    monkeypatch.setattr(native, "entrance", interpreter.entrance)
