"""Random programs, with compiled loops interpreted in Python. `make fuzz N=3000 SEED=0` runs more of the same."""

from __future__ import annotations

import importlib.util

import pytest

from .readings import Counts
from .search import search

PROGRAMS, PARTS = 1200, 12  # each of `faults` is found by one of them
TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_all_readings_agree(part):
    counts = Counts()
    counterexample = search(PROGRAMS // PARTS, seed=part, counts=counts, torch=TORCH)
    if counterexample is not None:
        pytest.fail(f"\n{counterexample}", pytrace=False)
    assert counts.programs == PROGRAMS // PARTS
    assert counts.runs > counts.calls / 2  # refused calls test nothing
