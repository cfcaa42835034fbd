"""Fixtures for the tests of `chainrule.jit`."""

from __future__ import annotations

import pytest

from chainrule.kernels import machine

from . import interpreter


@pytest.fixture
def interpreted(monkeypatch):
    """Run the loops of compiled programs in Python instead of machine code."""
    monkeypatch.setattr(machine, "address_of", interpreter.address_of)
