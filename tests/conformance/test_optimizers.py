"""Optimisers and schedules beside PyTorch's, over many steps with the same gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

SHAPES = [(), (3,), (2, 4), (0,)]
OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.7, "dampening": 0.1, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.3}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.99), "weight_decay": 0}),
]


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    starts = [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]
    return [nn.Parameter(s) for s in starts], [torch.nn.Parameter(torch.tensor(s)) for s in starts]


def give_gradients(ours, theirs, rng, missing=-1):
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        gradient = np.asarray(rng.standard_normal(p.shape) * 10 ** rng.uniform(-4, 2), p.dtype)
        p.grad = None if i == missing else chainrule.tensor(gradient)
        q.grad = None if i == missing else torch.tensor(gradient)


@pytest.mark.parametrize(("dtype", "relative"), [(np.float64, 1e-13), (np.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=str)
def test_thirty_steps(kind, options, dtype, relative, assert_same):
    ours, theirs = parameters(dtype)
    mine, other = getattr(optim, kind)(ours, **options), getattr(torch.optim, kind)(theirs, **options)
    rng = np.random.default_rng(1)
    for step in range(30):
        give_gradients(ours, theirs, rng, missing=step % 7)
        mine.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            assert_same(p, q, relative, f"step {step}")


def test_groups(assert_same):
    ours, theirs = parameters()
    mine = optim.SGD([{"params": ours[:2]}, {"params": ours[2:], "lr": 0.3, "momentum": 0.0}], lr=0.1, momentum=0.9)
    other = torch.optim.SGD(
        [{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.3, "momentum": 0.0}], lr=0.1, momentum=0.9
    )
    rng = np.random.default_rng(1)
    for _ in range(20):
        give_gradients(ours, theirs, rng)
        mine.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        assert_same(p, q, 1e-14)


@pytest.mark.parametrize(("kind", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {})])
def test_what_is_remembered_has_pytorchs_names(kind, options, assert_same):
    ours, theirs = parameters()
    mine, other = getattr(optim, kind)(ours, **options), getattr(torch.optim, kind)(theirs, **options)
    rng = np.random.default_rng(1)
    for _ in range(3):
        give_gradients(ours, theirs, rng)
        mine.step()
        other.step()
    one, two = mine.state_dict(), other.state_dict()
    assert [g["params"] for g in one["param_groups"]] == [g["params"] for g in two["param_groups"]]
    for position, entries in two["state"].items():
        assert set(one["state"][position]) == set(entries)
        for name, value in entries.items():
            if name == "step":
                assert one["state"][position][name] == value.item()
            else:
                assert_same(one["state"][position][name], value, 1e-14)
    shared = one["param_groups"][0].keys() & two["param_groups"][0].keys()
    assert shared == one["param_groups"][0].keys()
    assert {k: one["param_groups"][0][k] for k in shared} == {k: two["param_groups"][0][k] for k in shared}


ONE_CYCLES = [
    {"total_steps": 25},
    {"total_steps": 40, "pct_start": 0.1},
    {"total_steps": 20, "pct_start": 0.5, "anneal_strategy": "linear"},
    {"total_steps": 30, "three_phase": True},
    {"total_steps": 30, "three_phase": True, "pct_start": 0.4, "anneal_strategy": "linear"},
    {"total_steps": 25, "cycle_momentum": False},
    {"total_steps": 25, "base_momentum": 0.5, "max_momentum": 0.99},
    {"total_steps": 25, "div_factor": 3.0, "final_div_factor": 7.0},
    {"epochs": 4, "steps_per_epoch": 6},
    {"total_steps": 7, "pct_start": 0.0},
    {"total_steps": 3},
    {"total_steps": 1},
]
SCHEDULES = [("OneCycleLR", {"max_lr": 0.5, **options}) for options in ONE_CYCLES]
SCHEDULES += [("CosineAnnealingLR", {"T_max": t, "eta_min": e}) for t in (1, 2, 7, 20) for e in (0.0, 0.01)]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("schedule", "options"), SCHEDULES, ids=str)
def test_schedules(schedule, options, kind, assert_same):
    ours, theirs = parameters()
    settings = {"lr": 0.2, "momentum": 0.9} if kind == "SGD" else {"lr": 0.2}
    mine, other = getattr(optim, kind)(ours, **settings), getattr(torch.optim, kind)(theirs, **settings)
    one = getattr(optim.lr_scheduler, schedule)(mine, **options)
    two = getattr(torch.optim.lr_scheduler, schedule)(other, **options)
    steps = options.get("total_steps", options.get("epochs", 10) * options.get("steps_per_epoch", 5))
    rng = np.random.default_rng(1)
    for step in range(steps + 1):
        assert one.get_last_lr() == pytest.approx(two.get_last_lr(), rel=1e-12, abs=1e-16), step
        for key in ("lr", "momentum", "betas"):
            if key in mine.param_groups[0]:
                assert mine.param_groups[0][key] == pytest.approx(other.param_groups[0][key], rel=1e-12, abs=1e-16), (
                    step
                )
        give_gradients(ours, theirs, rng)
        mine.step()
        other.step()
        if step < steps and not (
            options.get("total_steps") == 1 or (steps == step + 1 and options.get("pct_start") == 0)
        ):
            one.step()
            two.step()
    for p, q in zip(ours, theirs, strict=True):
        assert_same(p, q, 1e-12)
    if schedule == "OneCycleLR" and steps > 1:
        for scheduler in (one, two):
            with pytest.raises(ValueError):  # each library says it in its own words
                [scheduler.step() for _ in range(2)]


def test_rates_of_groups():
    def groups(library, parameter):
        return library.optim.SGD([{"params": parameter()}, {"params": parameter(), "lr": 0.7}], lr=0.1, momentum=0.9)

    ours = groups(chainrule, lambda: nn.Parameter([1.0]))
    theirs = groups(torch, lambda: torch.nn.Parameter(torch.ones(1)))
    for make in (
        lambda library, o: library.optim.lr_scheduler.CosineAnnealingLR(o, 5),
        lambda library, o: library.optim.lr_scheduler.OneCycleLR(o, [1.0, 3.0], total_steps=10),
    ):
        one, two = make(chainrule, ours), make(torch, theirs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch wants optimizer.step() first
            for _ in range(8):
                one.step()
                two.step()
                assert one.get_last_lr() == pytest.approx(two.get_last_lr(), rel=1e-12)
