"""PyTorch's own samples for its modules (`moduleinfo`): every result, gradient, state and refusal."""

from __future__ import annotations

import functools
import inspect

import pytest

from chainrule import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest: pip install 'chainrule[torch]'")

from . import moduleinfo  # noqa: E402  # only where PyTorch is installed

UNSUPPORTED = {
    "nn.BatchNorm1d": {"bias": 4},
    "nn.BatchNorm2d": {"bias": 4},
    "nn.GroupNorm": {"bias": 4},
    "nn.LSTM": {"proj_size": 64},
    "nn.InstanceNorm1d": {"bias": 4},
    "nn.InstanceNorm2d": {"bias": 4},
    "nn.MultiheadAttention": {"add_bias_kv": 128, "add_zero_attn": 64},
}
"""For each entry with unsupported arguments: how many samples are refused because of each argument."""

outcome_of = functools.cache(moduleinfo.run)


@pytest.mark.parametrize("entry", moduleinfo.ENTRIES, ids=lambda entry: entry.name)
def test_samples(entry):
    outcome, refused = outcome_of(entry), UNSUPPORTED.get(entry.name, {})
    assert outcome.wrong == []
    assert {name: sum(name in line for line in outcome.unsupported) for name in refused} == refused
    assert len(outcome.unsupported) == sum(refused.values())
    assert outcome.passed + len(outcome.unsupported) == outcome.total > 0
    assert outcome.passed > 0


def test_what_pytorch_refuses():
    found = [moduleinfo.refusals(entry) for entry in moduleinfo.ENTRIES]
    assert [fault for _, faults in found for fault in faults] == []
    assert sum(count for count, _ in found) >= 80  # as many calls as torch 2.13 lists for modules that we have


def test_every_module_is_there():
    ours = {
        name for name, value in inspect.getmembers(nn, inspect.isclass) if value.__module__.startswith("chainrule.nn.")
    }
    listed = {entry.module_cls.__name__ for entry in moduleinfo.ENTRIES}
    assert ours - listed == set(moduleinfo.NOT_LISTED)
    assert len(listed) >= 40
