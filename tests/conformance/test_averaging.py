"""`optim.swa_utils` beside PyTorch's: averages, batch statistics and SWALR over 24 steps."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.optim import swa_utils as ours

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

from torch.optim import swa_utils as theirs  # noqa: E402  # only where PyTorch is installed

STEPS = 24


def network(library):
    return library.Sequential(library.Linear(3, 5), library.BatchNorm1d(5), library.Linear(5, 2)).double()


def pair():
    """The same network in both libraries."""
    mine, other = network(nn), network(torch.nn)
    rng = np.random.default_rng(5)
    values = {name: rng.standard_normal(p.shape) for name, p in mine.named_parameters()}
    with chainrule.no_grad(), torch.no_grad():
        for name, p in mine.named_parameters():
            p.copy_(chainrule.from_numpy(values[name]))
        for name, p in other.named_parameters():
            p.copy_(torch.tensor(values[name]))
    return mine, other


def assert_equal(mine, other):
    state = other.state_dict()
    assert list(mine.state_dict()) == list(state)
    for name, tensor in mine.state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), state[name].numpy(), rtol=1e-11, atol=1e-14, err_msg=name)


@pytest.fixture
def in_float64():
    """PyTorch computes 1 / (count + 1) in the default type."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "options",
    [
        lambda s: {},
        lambda s: {"avg_fn": s.get_ema_avg_fn(0.8)},
        lambda s: {"avg_fn": s.get_swa_avg_fn()},
        lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.8)},
        lambda s: {"multi_avg_fn": s.get_swa_multi_avg_fn()},
        lambda s: {"avg_fn": lambda average, parameter, count: average * 0.5 + parameter * 0.5},
    ],
    ids=["mean", "ema", "swa", "multi ema", "multi swa", "function"],
)
def test_averages(options):
    mine, other = pair()
    one, two = ours.AveragedModel(mine, **options(ours)), theirs.AveragedModel(other, **options(theirs))
    our_optimizer, their_optimizer = optim.SGD(mine.parameters(), 0.1), torch.optim.SGD(other.parameters(), 0.1)
    our_rates, their_rates = ours.SWALR(our_optimizer, 0.02, 9), theirs.SWALR(their_optimizer, 0.02, 9)
    rng = np.random.default_rng(6)
    for _ in range(STEPS):
        x = rng.standard_normal((7, 3))
        for network, optimizer, data in (
            (mine, our_optimizer, chainrule.from_numpy(x)),
            (other, their_optimizer, torch.tensor(x)),
        ):
            optimizer.zero_grad()
            (network(data) ** 2).mean().backward()
            optimizer.step()
        one.update_parameters(mine)
        two.update_parameters(other)
        our_rates.step()
        their_rates.step()
        np.testing.assert_allclose(our_rates.get_last_lr(), their_rates.get_last_lr(), rtol=1e-12)
        assert_equal(one, two)
    batches = rng.standard_normal((4, 7, 3))
    ours.update_bn([[chainrule.from_numpy(batch), None] for batch in batches], one)
    theirs.update_bn([[torch.tensor(batch), None] for batch in batches], two)
    assert_equal(one, two)


@pytest.mark.parametrize(
    "make",
    [
        lambda s, o: s.SWALR(o, 0.05),
        lambda s, o: s.SWALR(o, [0.05, 0.5], anneal_epochs=6, anneal_strategy="linear"),
        lambda s, o: s.SWALR(o, 0.05, anneal_epochs=0),
        lambda s, o: s.SWALR(o, 0.05, anneal_epochs=1),
    ],
)
@pytest.mark.parametrize("disturbed", [False, True])
def test_swalr(make, disturbed):
    optimizers = [
        library.SGD([{"params": [p]}, {"params": [q], "lr": 0.7}], lr=0.2)
        for library, p, q in (
            (optim, nn.Parameter([1.0]), nn.Parameter([2.0])),
            (torch.optim, torch.ones(1), torch.ones(1)),
        )
    ]
    schedules = [make(library, optimizer) for library, optimizer in zip((ours, theirs), optimizers, strict=True)]
    for number in range(STEPS):
        rates = [schedule.get_last_lr() for schedule in schedules]
        np.testing.assert_allclose(*rates, rtol=1e-12)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            if disturbed and number == 3:
                optimizer.param_groups[0]["lr"] = 0.11
            optimizer.step()
            schedule.step()
