"""What the tests of `chainrule.jit` share."""

from __future__ import annotations

import pytest

from chainrule.kernels import machine

from . import interpreter


@pytest.fixture
def interpreted(monkeypatch):
    """The loops of compiled programs are run by Python itself."""
    monkeypatch.setattr(machine, "address_of", interpreter.address_of)
