"""Programs run by Python instead of Numba, where a test asks for `interpreted`."""

import pytest

from chainrule.jit import program
from tests.jit.interpreted import load


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(program, "_load", load)
