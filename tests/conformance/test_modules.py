"""Modules beside PyTorch's: states go both ways by name, and weights start alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import chainrule
from chainrule import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")


def build(library, named=dict):
    shared = library.Linear(6, 6)
    return library.Sequential(
        library.Flatten(),
        library.Linear(12, 6),
        library.LeakyReLU(0.1),
        shared,
        library.Dropout(0.5),
        library.Sequential(named({"hidden": library.Linear(6, 6, bias=False), "bend": library.Tanh()})),
        shared,
        library.Softmax(dim=-1),
    )


def ordered(parts):
    from collections import OrderedDict

    return OrderedDict(parts)


def test_states_have_the_same_names_and_go_both_ways(assert_same):
    ours, theirs = build(nn), build(torch.nn, ordered)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)

    def compare():
        for (name, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert_same(p, q, 0, name)
        ours.eval()
        theirs.eval()
        assert_same(ours(chainrule.tensor(x)), theirs(torch.tensor(x)), 1e-6)

    ours.load_state_dict(theirs.state_dict())
    compare()
    for p in ours.parameters():
        nn.init.normal_(p, generator=np.random.default_rng(1))
    theirs.load_state_dict({name: torch.from_dlpack(t) for name, t in ours.state_dict().items()})
    compare()


def test_slices_keep_the_names():
    assert list(build(nn)[3:6].state_dict()) == list(build(torch.nn, ordered)[3:6].state_dict())


def test_dropout_scales_alike():
    p = 0.3
    ours, theirs = nn.Dropout(p)(chainrule.ones(2000)).numpy(), torch.nn.Dropout(p)(torch.ones(2000)).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-7)


@pytest.mark.parametrize(("inside", "outside"), [(50, 400), (784, 30), (1, 5000)])
def test_linear_starts_alike(inside, outside):
    torch.manual_seed(0)
    ours = nn.Linear(inside, outside, generator=np.random.default_rng(0))
    theirs = torch.nn.Linear(inside, outside)
    for p, q in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        one, two = p.numpy().ravel(), q.detach().numpy().ravel()
        assert (one.dtype, one.size) == (two.dtype, two.size)
        assert np.abs(one).max() <= np.float32(1 / math.sqrt(inside))
        assert stats.ks_2samp(one, two).pvalue > 0.01


INITS = [
    ("uniform_", {"a": -0.3, "b": 0.7}),
    ("normal_", {"mean": 0.5, "std": 2.0}),
    ("constant_", {"val": 0.3}),
    ("zeros_", {}),
    ("ones_", {}),
    ("xavier_uniform_", {}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {"gain": 0.5}),
    ("kaiming_uniform_", {}),
    ("kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_uniform_", {"a": 0.3, "nonlinearity": "tanh"}),
    ("kaiming_normal_", {}),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "linear"}),
    ("trunc_normal_", {"std": 2.0, "a": -1.0, "b": 3.0}),
    ("orthogonal_", {"gain": 1.5}),
]


def test_every_way_to_start_is_there():
    ours = {name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")}
    assert ours == {name for name, _ in INITS}
    assert ours <= set(dir(torch.nn.init))


@pytest.mark.parametrize("shape", [(60, 90), (8, 6, 7, 5)], ids=str)
@pytest.mark.parametrize(("name", "options"), INITS, ids=str)
def test_init(name, options, shape):
    torch.manual_seed(1)
    chainrule.manual_seed(1)
    one = getattr(nn.init, name)(chainrule.zeros(*shape), **options).numpy().ravel()
    two = getattr(torch.nn.init, name)(torch.zeros(shape), **options).numpy().ravel()
    if np.ptp(two) == 0:
        np.testing.assert_array_equal(one, two)
    else:
        assert stats.ks_2samp(one, two).pvalue > 0.01
        if "uniform" in name:
            assert [one.min(), one.max()] == [pytest.approx(two.min(), rel=0.01), pytest.approx(two.max(), rel=0.01)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("linear", ()), ("sigmoid", ()), ("tanh", ()), ("relu", ()), ("leaky_relu", ()), ("leaky_relu", (0.3,))],
)
def test_gains(name, arguments):
    assert nn.init.calculate_gain(name, *arguments) == pytest.approx(
        torch.nn.init.calculate_gain(name, *arguments), rel=1e-15
    )


ASSIGNED = {
    "a parameter": "weight", "one that is left out": "bias", "a buffer": "running_mean", "a module": "inner", "another": "note",
}  # fmt: skip


@pytest.mark.parametrize("what", ["Parameter", "tensor", "None", "number", "Module"])
@pytest.mark.parametrize("name", ASSIGNED)
def test_assigning_is_refused_where_pytorch_refuses_it(name, what):
    outcomes = []
    for library, make in ((nn, chainrule.ones), (torch.nn, torch.ones)):
        layers = [library.Linear(2, 2, bias=False), library.BatchNorm1d(2), library.Module()]
        layers[2].inner, layers[2].note = library.Linear(2, 2), "text"
        layer = {"weight": layers[0], "bias": layers[0], "running_mean": layers[1]}.get(ASSIGNED[name], layers[2])
        value = {
            "Parameter": library.Parameter(make(2)), "tensor": make(2), "None": None, "number": 1.5,
            "Module": library.Linear(1, 1, bias=False),
        }[what]  # fmt: skip
        try:
            setattr(layer, ASSIGNED[name], value)
        except TypeError as error:
            outcomes.append("Parameter" in str(error))
        else:
            outcomes.append(list(layer.state_dict()))
    assert outcomes[0] == outcomes[1]
