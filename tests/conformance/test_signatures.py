"""Names, arguments and defaults are PyTorch's: a call written for it means the same here."""

from __future__ import annotations

import inspect

import pytest

import chainrule
from chainrule import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

OWN = {"generator", "dtype"}  # where randomness comes from, and NumPy's types
ON_PURPOSE = {
    ("nn.Softmax", "dim"): "PyTorch guesses it",
    ("nn.LogSoftmax", "dim"): "PyTorch guesses it",
    ("nn.Softmin", "dim"): "PyTorch guesses it",
    ("functional.softmax", "dim"): "PyTorch guesses it",
    ("functional.softmin", "dim"): "PyTorch guesses it",
    ("functional.log_softmax", "dim"): "PyTorch guesses it",
    ("autograd.grad", "allow_unused"): "PyTorch's None means False",
    ("nn.TransformerEncoderLayer", "activation"): "PyTorch's is the function of that name",
    ("nn.ModuleList", "modules"): "PyTorch's None means none",
    ("nn.ParameterList", "values"): "PyTorch's None means none",
    ("nn.Parameter", "data"): "PyTorch's None means no elements",
    ("nn.init.calculate_gain", "param"): "PyTorch's None means 0.01",
}
"""Defaults that differ, and why."""

NOT_COMPARED = {
    "nn.Identity": "takes anything",
    "nn.Sequential": "takes modules, as PyTorch's `*args`",
    **dict.fromkeys(
        ("nn.RNN", "nn.LSTM", "nn.GRU"), "PyTorch hides them behind `*args`; test_moduleinfo.py calls them"
    ),
    "functional.max_pool1d": "PyTorch hides it behind `*args`",
    "functional.max_pool2d": "PyTorch hides it behind `*args`",
    **{
        f"{room}.{name}": "PyTorch takes the function it decorates in `__new__`"
        for room in ("autograd", "chainrule")
        for name in ("no_grad", "enable_grad")
    },
    "autograd.set_grad_enabled": "its one argument is given by position",
    "autograd.gradcheck": "the function comes first, by position; PyTorch has options for other devices",
    "autograd.gradgradcheck": "the same",
    "chainrule.set_grad_enabled": "its one argument is given by position",
    "chainrule.einsum": "PyTorch hides it behind `*args`",
    "chainrule.load": "reads safetensors only",
    "chainrule.save": "writes safetensors only",
    "Tensor.split": "PyTorch names its sizes otherwise than its function does",
}

SPACES = {
    "nn": (nn, torch.nn),
    "nn.init": (nn.init, torch.nn.init),
    "nn.utils": (nn.utils, torch.nn.utils),
    "functional": (nn.functional, torch.nn.functional),
    "optim": (optim, torch.optim),
    "lr_scheduler": (optim.lr_scheduler, torch.optim.lr_scheduler),
    "autograd": (chainrule.autograd, torch.autograd),
    "autograd.functional": (chainrule.autograd.functional, torch.autograd.functional),
    "chainrule": (chainrule, torch),
    "Tensor": (chainrule.Tensor, torch.Tensor),
}


def pairs():
    """Every public function and class of ours that PyTorch has in the same place, where Python can read its signature."""
    for space, (ours, theirs) in SPACES.items():
        for name, mine in vars(ours).items():
            other = getattr(theirs, name, None)
            public = callable(mine) and not name.startswith("_") and mine.__module__.startswith("chainrule")
            if not public or not callable(other) or f"{space}.{name}" in NOT_COMPARED:
                continue
            try:
                inspect.signature(other)
            except ValueError:  # it is written in C
                continue
            yield f"{space}.{name}", (mine, other)


PAIRS = dict(pairs())


def test_nothing_is_left_out():
    """What is looked at is found by itself; and what is left out is there."""
    assert {name.split(".")[-1] for name in PAIRS} >= {
        *("Linear", "MultiheadAttention", "CrossEntropyLoss", "BatchNorm2d", "AdamW", "OneCycleLR", "kaiming_uniform_"),
        *("cross_entropy", "dropout", "clip_grad_norm_", "jacobian", "grad", "backward", "unflatten"),
    }
    assert len(PAIRS) >= 120
    for name in {*NOT_COMPARED, *(name for name, _ in ON_PURPOSE)}:
        space, _, short = name.rpartition(".")
        assert all(hasattr(library, short) for library in SPACES[space]), name


def test_functional_lists_all_that_it_has_of_pytorchs():
    ours = {
        name
        for name, value in vars(nn.functional).items()
        if callable(value) and value.__module__.startswith("chainrule") and not name.startswith("_")
    }
    assert set(nn.functional.__all__) == ours & set(dir(torch.nn.functional))
    assert len(nn.functional.__all__) == len(set(nn.functional.__all__))


def signature(name, function):
    """Its parameters; of a method, without the tensor itself."""
    found = list(inspect.signature(function).parameters.values())
    found = found[1:] if name.startswith("Tensor.") else found
    return {p.name: p for p in found if p.name not in ("self", "args", "kwargs")}


def test_arguments_and_defaults():
    for name, functions in PAIRS.items():
        ours, theirs = (signature(name, function) for function in functions)
        assert set(ours) - OWN <= set(theirs), name
        for argument in ours.keys() - OWN:
            mine, other = ours[argument].default, theirs[argument].default
            if other is not inspect.Parameter.empty:
                assert (mine != other) == ((name, argument) in ON_PURPOSE), (name, argument)


def test_what_is_given_by_position_comes_in_the_same_order():
    for name, functions in PAIRS.items():
        ours, theirs = (signature(name, function) for function in functions)
        common = [n for n, p in ours.items() if n not in OWN and p.kind is not p.KEYWORD_ONLY]
        assert common == [n for n in theirs if n in common], name
