"""Every test with the fixture `backend` runs twice: with compiled loops and in NumPy."""

import pytest

from chainrule.kernels import machine, team


@pytest.fixture(params=["compiled", "plain"])
def backend(request, monkeypatch):
    monkeypatch.setattr(machine, "_available", request.param == "compiled")
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """The number of threads, used even for small work."""
    monkeypatch.setattr(team, "_threads", request.param)
    monkeypatch.setattr(team, "ITERATIONS_PER_THREAD", 1)
    return request.param
