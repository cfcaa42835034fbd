"""200 random networks learn beside PyTorch from equal weights: losses, gradients and weights agree at every step."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

STEPS, RELATIVE = 20, 1e-10

ACTIVATIONS = [
    ("ReLU", {}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("Softmax", {"dim": -1}),
]
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.001}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.003, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.02, "betas": (0.7, 0.99), "weight_decay": 0.2}),
]
LOSSES = ["class indices", "class probabilities", "squared error"]


def network(library, sizes, biases, activations):
    layers = []
    for i, bias in enumerate(biases):
        layers.append(library.Linear(sizes[i], sizes[i + 1], bias=bias))
        if i < len(activations):
            name, options = activations[i]
            layers.append(getattr(library, name)(**options))
    return library.Sequential(*layers)


@pytest.mark.parametrize("seed", range(200))
def test_learns_the_same(seed, assert_same):
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, 6))
    sizes = [int(n) for n in rng.integers(1, 25, depth + 1)]
    sizes[-1] = max(sizes[-1], 2)
    biases = [bool(b) for b in rng.random(depth) < 0.8]
    activations = [ACTIVATIONS[i] for i in rng.integers(0, len(ACTIVATIONS), depth - 1)]
    kind, options = OPTIMIZERS[seed % len(OPTIMIZERS)]
    loss, batch = LOSSES[seed % len(LOSSES)], int(rng.integers(1, 40))
    reduction = "sum" if rng.random() < 0.2 else "mean"
    if reduction == "sum":
        options = {**options, "lr": options["lr"] / batch}

    ours = network(nn, sizes, biases, activations).double()
    theirs = network(torch.nn, sizes, biases, activations).double()
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            start = rng.normal(0, 1 / np.sqrt(p.shape[-1]), p.shape)
            p.detach().copy_(start)
            q.copy_(torch.from_numpy(start))
    our_steps = getattr(optim, kind)(ours.parameters(), **options)
    their_steps = getattr(torch.optim, kind)(theirs.parameters(), **options)
    name = "MSELoss" if loss == "squared error" else "CrossEntropyLoss"
    our_loss, their_loss = getattr(nn, name)(reduction=reduction), getattr(torch.nn, name)(reduction=reduction)

    for step in range(STEPS):
        x = rng.standard_normal((batch, sizes[0]))
        if loss == "class indices":
            y = rng.integers(0, sizes[-1], batch)
        elif loss == "class probabilities":
            y = rng.dirichlet(np.ones(sizes[-1]), batch)
        else:
            y = rng.standard_normal((batch, sizes[-1]))
        our_steps.zero_grad()
        their_steps.zero_grad()
        one = our_loss(ours(chainrule.tensor(x)), chainrule.tensor(y))
        two = their_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        one.backward()
        two.backward()
        assert_same(one, two, RELATIVE, f"loss at step {step}")
        for (label, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_same(p.grad, q.grad, RELATIVE, f"gradient of {label} at step {step}")
        our_steps.step()
        their_steps.step()
        for (label, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_same(p, q, RELATIVE, f"{label} after step {step}")


@pytest.mark.parametrize("seed", range(5))
def test_second_derivatives_are_the_same(seed, assert_same):
    """The penalty of a gradient: how the loss's slope at the input changes with every weight."""
    rng = np.random.default_rng(seed)
    sizes, activations = [4, 6, 5, 3], [ACTIVATIONS[(seed + i) % 6] for i in range(2)]
    ours, theirs = (network(library, sizes, [True] * 3, activations).double() for library in (nn, torch.nn))
    ours.load_state_dict(theirs.state_dict())
    x, y = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    a, b = chainrule.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (one,) = chainrule.grad(nn.functional.cross_entropy(ours(a), y), a, create_graph=True)
    (two,) = torch.autograd.grad(torch.nn.functional.cross_entropy(theirs(b), torch.tensor(y)), b, create_graph=True)
    assert_same(one, two, 1e-13)
    (one * one).sum().backward()
    (two * two).sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        if q.grad is None:  # the last bias
            assert p.grad is None or not p.grad.any()
        else:
            assert_same(p.grad, q.grad, 1e-12)
    assert_same(a.grad, b.grad, 1e-12)
