"""Fixtures that run a test twice: `backend` with compiled kernels and in NumPy, `threads` on 1 and 3 threads."""

import pytest

from chainrule.kernels import machine, team


@pytest.fixture(params=["compiled", "plain"])
def backend(request, monkeypatch):
    """Whether kernels are compiled: "compiled" or "plain"."""
    monkeypatch.setattr(machine, "_available", request.param == "compiled")
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """The number of threads, used even for small work."""
    monkeypatch.setattr(team, "_threads", request.param)
    monkeypatch.setattr(team, "ITERATIONS_PER_THREAD", 1)
    return request.param
