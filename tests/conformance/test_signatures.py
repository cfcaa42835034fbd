"""Names, arguments and defaults are PyTorch's: a call written for it means the same here."""

from __future__ import annotations

import inspect

import pytest

import chainrule
from chainrule import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

OWN = {"generator", "dtype"}  # where randomness comes from, and NumPy's types
ON_PURPOSE = {("nn.Softmax", "dim"), ("grad", "allow_unused")}  # PyTorch guesses `dim`; its None means False

PAIRS = {
    **{
        f"nn.{name}": (getattr(nn, name), getattr(torch.nn, name))
        for name in (
            "Linear", "Flatten", "Dropout", "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softmax", "CrossEntropyLoss", "MSELoss",
        )
    },
    **{
        f"nn.init.{name}": (getattr(nn.init, name), getattr(torch.nn.init, name))
        for name in (
            "uniform_", "normal_", "constant_", "zeros_", "ones_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_",
        )
    },
    **{f"optim.{name}": (getattr(optim, name), getattr(torch.optim, name)) for name in ("SGD", "Adam", "AdamW")},
    **{
        f"lr_scheduler.{name}": (getattr(optim.lr_scheduler, name), getattr(torch.optim.lr_scheduler, name))
        for name in ("CosineAnnealingLR", "OneCycleLR")
    },
    **{
        f"functional.{name}": (getattr(nn.functional, name), getattr(torch.nn.functional, name))
        for name in ("cross_entropy", "mse_loss", "dropout")
    },
    "grad": (chainrule.grad, torch.autograd.grad),
    "backward": (chainrule.Tensor.backward, torch.Tensor.backward),
}  # fmt: skip


def parameters(function):
    found = inspect.signature(function).parameters
    return {name: p.default for name, p in found.items() if name not in ("self", "args", "kwargs")}


@pytest.mark.parametrize("name", PAIRS)
def test_arguments_and_defaults(name):
    ours, theirs = (parameters(function) for function in PAIRS[name])
    assert set(ours) - OWN <= set(theirs)
    for argument, default in ours.items():
        if (
            argument not in OWN
            and (name, argument) not in ON_PURPOSE
            and theirs[argument] is not inspect.Parameter.empty
        ):
            assert default == theirs[argument], argument


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_given_by_position_comes_in_the_same_order(name):
    ours, theirs = (inspect.signature(function).parameters for function in PAIRS[name])
    common = [n for n, p in ours.items() if n not in OWN and p.kind is not p.KEYWORD_ONLY]
    assert common == [n for n in theirs if n in common]
