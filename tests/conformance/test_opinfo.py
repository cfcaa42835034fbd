"""PyTorch's own samples for its operators (`opinfo`): every result, gradient, refusal and second derivative."""

from __future__ import annotations

import functools

import pytest

from chainrule import ops

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest: pip install 'chainrule[torch]'")

from . import opinfo  # noqa: E402  # only where PyTorch is installed

MODES = "'mode' must be one of nearest, nearest-exact, linear, bilinear, trilinear"
UNSUPPORTED = {
    "nn.functional.interpolate.bicubic": (48, f"interpolate: {MODES}, not 'bicubic'"),
    "nn.functional.interpolate.area": (44, f"interpolate: {MODES}, not 'area'"),
    "norm.nuc": (4, "norm: p must be a number, 'fro' or None, not 'nuc'"),
    "nn.functional.scaled_dot_product_attention": (
        24,
        "scaled_dot_product_attention: 'dropout_p' is not supported; it must be 0",
    ),
}
"""For each entry with unsupported arguments: how many samples use them, and the error message."""

WITHOUT_DERIVATIVE = (  # unsupported samples, and integers, which PyTorch lists as differentiable
    "norm.nuc", "nn.functional.one_hot", "nn.functional.interpolate.bicubic", "nn.functional.interpolate.area",
)  # fmt: skip
DIFFERENTIABLE = [e for e in opinfo.ENTRIES if e.supports_autograd and opinfo.title(e) not in WITHOUT_DERIVATIVE]


@functools.cache
def outcome_of(number: int) -> opinfo.Outcome:
    """At most 150 samples of an entry in each type; `make conformance` runs all."""
    return opinfo.outcome_of(opinfo.ENTRIES[number], max_samples=150)


@pytest.mark.parametrize("number", range(len(opinfo.ENTRIES)), ids=[opinfo.title(e) for e in opinfo.ENTRIES])
def test_samples(number):
    outcome = outcome_of(number)
    count, message = UNSUPPORTED.get(outcome.name, (0, ""))
    assert outcome.wrong == []
    assert set(outcome.unsupported) <= {message}
    assert len(outcome.unsupported) == count
    assert outcome.passed + count == outcome.total > 0


@pytest.mark.parametrize("entry", DIFFERENTIABLE, ids=opinfo.title)
def test_second_derivatives(entry):
    count, faults = opinfo.second_order(entry)
    assert faults == []
    assert count > 0


def test_what_pytorch_refuses():
    found = [opinfo.refusals(entry) for entry in opinfo.ENTRIES]
    assert [fault for _, faults in found for fault in faults] == []
    assert sum(count for count, _ in found) >= 155  # as many calls as torch 2.13 lists for the CPU


def has(entry):
    """Whether chainrule has a function or method with an entry's name."""
    return opinfo.ours(entry) is not None


def test_every_entry_of_a_name_that_we_have_is_run():
    known = {entry.name for entry in opinfo.op_db if has(entry)}
    assert known - set(opinfo.NAMES) == set(opinfo.ELSEWHERE)
    assert set(opinfo.NAMES) <= known
    assert len(opinfo.NAMES) == len(set(opinfo.NAMES))


def test_every_operation_of_ours_has_an_entry():
    listed = {name.removeprefix("nn.functional.") for name in opinfo.NAMES}
    public = set(ops.__all__) - {"NUMPY_FUNCTIONS", "Operation", "operation"}
    assert public - listed == set(opinfo.WITHOUT_SAMPLES)


def test_totals():
    outcomes = [outcome_of(number) for number in range(len(opinfo.ENTRIES))]
    assert len(outcomes) >= 135
    assert {entry.name for entry in opinfo.ENTRIES} == set(opinfo.NAMES)
    assert sum(outcome.passed for outcome in outcomes) >= 0.97 * sum(outcome.total for outcome in outcomes)
    assert [line for outcome in outcomes for line in outcome.wrong] == []
