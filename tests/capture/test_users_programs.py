"""Programs that a user could write, with changes between or within the steps: eager, compiled, and in PyTorch.

Each is a generator that takes a library (chainrule or PyTorch, which have the same names) and a compiler, and yields its
results. It runs with chainrule eagerly and compiled, and with PyTorch.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import random
import types
import warnings
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import Compiled, jit
from chainrule.nn import functional as F  # noqa: N812

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("interpreted")

OURS = types.SimpleNamespace(
    nn=nn, optim=optim, F=F, no_grad=chainrule.no_grad, from_numpy=chainrule.from_numpy, stack=chainrule.stack,
    cat=chainrule.cat, zeros_like=chainrule.zeros_like,
)  # fmt: skip
TORCH = types.SimpleNamespace(
    nn=torch.nn, optim=torch.optim, F=torch.nn.functional, no_grad=torch.no_grad, from_numpy=torch.from_numpy,
    stack=torch.stack, cat=torch.cat, zeros_like=torch.zeros_like,
)  # fmt: skip
PROGRAMS = {}


def program(function=None, **options):
    """Register a program.

    Args:
        function: the program.
        options: traces, how often it is compiled at most; torch=False where PyTorch cannot run it.
    """
    if function is None:
        return functools.partial(program, **options)
    PROGRAMS[function.__name__] = function, options
    return function


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def inputs(lib, *shape):
    """New numbers for each call."""
    return (lib.from_numpy(numbers(*shape, seed=seed)) for seed in itertools.count(1000))


def filled(lib, module, seed=0):
    """A module in float64 with the same weights in both libraries."""
    module = module.double()
    with lib.no_grad():
        for number, p in enumerate(module.parameters()):
            p.copy_(lib.from_numpy(numbers(*p.shape, seed=seed * 100 + number) / 2))
    return module


def linear(lib, inputs, outputs, seed=0):
    return filled(lib, lib.nn.Linear(inputs, outputs), seed)


def mlp(lib, seed=0):
    return filled(lib, lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 2)), seed)


def state(*modules):
    return [p.detach().numpy().copy() for module in modules for p in module.parameters()]


def learn(optimizer, loss, *modules):
    optimizer.zero_grad()
    for module in modules:
        module.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@program(traces=3)
def transfer_learning(lib, wrap):
    """A new head, the body frozen, an optimizer of the head alone; at the end all is trained again."""

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = linear(lib, 3, 4), linear(lib, 4, 2, 1)

        def forward(self, x):
            return self.head(self.body(x).tanh())

    net, x = Net(), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean(), net)

    for phase in range(3):
        if phase == 1:
            net.head = linear(lib, 4, 3, 2)
            net.body.requires_grad_(False)
            optimizer = lib.optim.Adam(net.head.parameters(), 0.05)
        elif phase == 2:
            net.body.requires_grad_(True)
            optimizer.add_param_group({"params": net.body.parameters(), "lr": 0.01})
        for _ in range(3):
            yield step(next(x)), state(net)


@program(traces=4)
def gradual_unfreezing(lib, wrap):
    net, x = mlp(lib), inputs(lib, 5, 3)
    for p in net.parameters():
        p.requires_grad_(False)
    layers = [net[2], net[0]]
    layers[0].requires_grad_(True)
    optimizer = lib.optim.SGD(layers[0].parameters(), 0.1, momentum=0.9)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for epoch in range(3):
        if epoch == 1:
            layers[1].weight.requires_grad_(True)
            optimizer.add_param_group({"params": [layers[1].weight], "lr": 0.01})
        for _ in range(3):
            yield step(next(x)), state(net)


@program(traces=4)
def a_gan_of_two_steps(lib, wrap):
    generator, critic, x = linear(lib, 2, 3), linear(lib, 3, 1, 1), inputs(lib, 4, 2)
    real = lib.from_numpy(numbers(4, 3, seed=9))
    optimizers = [lib.optim.Adam(generator.parameters(), 0.05), lib.optim.Adam(critic.parameters(), 0.05)]

    @wrap
    def critic_step(noise):
        with lib.no_grad():
            fake = generator(noise)
        return learn(optimizers[1], critic(fake).mean() - critic(real).mean(), critic)

    @wrap
    def generator_step(noise):
        return learn(optimizers[0], -critic(generator(noise)).mean(), critic, generator)

    for round in range(4):
        yield critic_step(next(x)), critic_step(next(x))
        if round == 2:
            optimizers[1] = lib.optim.SGD(critic.parameters(), 0.1)
        yield generator_step(next(x)), state(generator, critic)


@program(traces=4)
def a_gan_in_one_step(lib, wrap):
    """Whose turn it is, is an argument; which weights are clipped how far, is an attribute."""
    generator, critic, x = linear(lib, 2, 3), linear(lib, 3, 1, 1), inputs(lib, 4, 2)
    real = lib.from_numpy(numbers(4, 3, seed=9))
    optimizers = {
        True: lib.optim.RMSprop(critic.parameters(), 0.05),
        False: lib.optim.RMSprop(generator.parameters(), 0.05),
    }
    limits = types.SimpleNamespace(clip=0.1)

    @wrap
    def step(noise, critics_turn):
        fake = generator(noise)
        loss = critic(fake).mean() - critic(real).mean() if critics_turn else -critic(fake).mean()
        result = learn(optimizers[critics_turn], loss, generator, critic)
        if critics_turn:
            with lib.no_grad():
                for p in critic.parameters():
                    p.copy_(p.clamp(-limits.clip, limits.clip))
        return result

    for turn in range(8):
        limits.clip = 0.1 if turn < 4 else 0.3
        yield step(next(x), turn % 2 == 0), state(generator, critic)


@program(traces=3)
def an_average_of_the_weights(lib, wrap):
    """The average is made inside, with a decay that changes; then it takes the student's place."""
    net, average, x = mlp(lib), mlp(lib), inputs(lib, 5, 3)
    optimizer, decay = lib.optim.SGD(net.parameters(), 0.1), 0.5

    @wrap
    def step(x):
        loss = learn(optimizer, (net(x) ** 2).mean() + ((net(x) - average(x)) ** 2).mean(), net, average)
        with lib.no_grad():
            for p, q in zip(average.parameters(), net.parameters(), strict=True):
                p.mul_(decay).add_(q, alpha=1 - decay)
        return loss

    for epoch in range(3):
        decay = 1 - 0.5 ** (epoch + 1)
        if epoch == 2:
            net, average = average, net
            optimizer = lib.optim.SGD(net.parameters(), 0.05)
        for _ in range(2):
            yield step(next(x)), state(net, average)


@program(traces=2)
def the_rate_rises_outside(lib, wrap):
    """A search for the learning rate: one program for all rates."""
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 1e-3, momentum=0.9)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for _ in range(6):
        yield step(next(x)), state(net)
        for group in optimizer.param_groups:
            group["lr"] *= 1.5


@program(traces=1)
def the_rate_rises_inside(lib, wrap):
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD([{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.1}], 1e-3)

    @wrap
    def step(x):
        for group in optimizer.param_groups:
            group["lr"] *= 1.5
        loss = learn(optimizer, (net(x) ** 2).mean())
        optimizer.param_groups[1]["lr"] = optimizer.param_groups[0]["lr"] / 2
        return loss

    for _ in range(4):
        yield step(next(x)), state(net), [group["lr"] for group in optimizer.param_groups]
    optimizer.param_groups[0]["lr"] = 0.25
    for _ in range(3):
        yield step(next(x)), state(net), [group["lr"] for group in optimizer.param_groups]


@program(traces=2)
def the_rate_is_an_argument(lib, wrap):
    w, x = lib.from_numpy(np.zeros(2)).requires_grad_(), inputs(lib, 2)
    optimizer = lib.optim.SGD([w], 0.0)

    @wrap
    def step(x, rate):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        (w * (x * 0 + 1)).sum().backward()
        optimizer.step()

    for rate in (1, 10, 1, 10):
        step(next(x), rate)
        yield w.detach().numpy().copy(), optimizer.param_groups[0]["lr"]
    assert w.tolist() == [-22, -22]


@program(traces=5)
def momentum_and_decay_begin_later(lib, wrap):
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for change in ({}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"nesterov": True}, {"momentum": 0.5, "lr": 0.01}):
        optimizer.param_groups[0].update(change)
        for _ in range(2):
            yield step(next(x)), state(net)


@program(traces=1)
def the_rate_is_used_by_hand(lib, wrap):
    """A step without `step()`, with the optimizer's own numbers."""
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1, weight_decay=0.01)

    @wrap
    def step(x):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        with lib.no_grad():
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(p.grad, alpha=-group["lr"])
        return loss.detach() * optimizer.param_groups[0]["lr"]

    for rate in (0.1, 0.2, 0.05):
        optimizer.param_groups[0]["lr"] = rate
        for _ in range(2):
            yield step(next(x)), state(net)


@program(traces=4)
def an_optimizer_is_made_inside(lib, wrap):
    """Inner steps of a meta-learner: each call makes an optimizer, without a state and with one."""
    net, x = mlp(lib), inputs(lib, 5, 3)

    @wrap
    def plain(x):
        inner = lib.optim.SGD(net.parameters(), lr=0.1)
        return [learn(inner, (net(x) ** 2).mean()) for _ in range(2)]

    @wrap
    def adaptive(x):
        inner = lib.optim.Adam(net.parameters(), lr=0.1)
        return [learn(inner, (net(x) ** 2).mean()) for _ in range(2)]

    for _ in range(3):
        yield plain(next(x)), state(net)
        yield adaptive(next(x)), state(net)


@program(traces=4)
def low_rank_adapters(lib, wrap):
    """Switched on, merged into the weights, switched off."""

    class Adapted(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear(lib, 3, 2)
            self.down, self.up = linear(lib, 3, 1, 3), linear(lib, 1, 2, 4)
            self.enabled, self.merged, self.alpha = False, False, 2.0

        def forward(self, x):
            out = self.linear(x)
            if self.enabled and not self.merged:
                out = out + self.alpha * self.up(self.down(x))
            return out

    net, x = Adapted(), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean(), net)

    for phase in range(5):
        net.enabled, net.merged = phase in (1, 2, 3), phase == 3
        net.linear.requires_grad_(phase in (0, 4))
        net.alpha = 0.5 if phase == 2 else 2.0
        if phase == 3:
            with lib.no_grad():
                net.linear.weight += net.alpha * net.up.weight @ net.down.weight
        for _ in range(2):
            loss = (net(next(x)) ** 2).mean() if phase == 3 else step(next(x))
            yield loss.detach(), state(net)


@program(traces=5, torch=False)
def dropout_is_annealed(lib, wrap):
    drop = nn.Dropout(0.5, generator=np.random.default_rng(3))
    net, x = nn.Sequential(linear(lib, 3, 8), drop, linear(lib, 8, 2, 1)), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for p in (0.5, 0.25, 0.0, 0.25, 1.0):
        drop.p = p
        for _ in range(2):
            yield step(next(x)), state(net)
    drop.generator = np.random.default_rng(8)
    drop.p = 0.5
    yield step(next(x)), step(next(x)), state(net)


@program(traces=4)
def losses_take_turns(lib, wrap):
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer, losses = lib.optim.SGD(net.parameters(), 0.1), {"l2": lib.F.mse_loss, "l1": lib.F.l1_loss}
    target, chosen = lib.from_numpy(numbers(5, 2, seed=7)), "l2"

    @wrap
    def step(x):
        return learn(optimizer, losses[chosen](net(x), target))

    for epoch in range(5):
        chosen = ["l2", "l1"][epoch % 2]
        if epoch == 3:
            losses["l1"] = lib.F.smooth_l1_loss
        if epoch == 4:
            losses = {"l2": lambda out, target: (out - target).abs().sum()}
        yield step(next(x)), step(next(x)), state(net)


@program(traces=5)
def options_of_a_loss_change(lib, wrap):
    net, x = linear(lib, 3, 4), inputs(lib, 5, 3)
    loss = lib.nn.CrossEntropyLoss()
    optimizer, target = lib.optim.SGD(net.parameters(), 0.1), lib.from_numpy(np.array([0, 1, 2, 3, 1]))

    @wrap
    def step(x):
        return learn(optimizer, loss(net(x), target))

    for name, value in (
        ("label_smoothing", 0.0), ("label_smoothing", 0.2), ("reduction", "sum"), ("ignore_index", 1),
        ("weight", lib.from_numpy(np.array([1.0, 2.0, 3.0, 4.0]))),
    ):  # fmt: skip
        setattr(loss, name, value)
        yield step(next(x)), step(next(x)), state(net)


@program(traces=5)
def the_network_grows(lib, wrap):
    """A curriculum: more layers, then a longer way through them."""

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.depth, self.act = [linear(lib, 3, 3, n) for n in range(3)], 1, lib.F.relu

        def forward(self, x):
            for layer in self.layers[: self.depth]:
                x = self.act(layer(x))
            return x

    net, x = Net(), inputs(lib, 5, 3)
    parameters = [p for layer in net.layers for p in layer.parameters()]
    optimizer = lib.optim.SGD(parameters, 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean(), *net.layers)

    for phase in range(5):
        net.depth = min(phase + 1, 3)
        if phase == 2:
            net.act = lib.F.sigmoid
        if phase == 3:
            net.layers.reverse()
        if phase == 4:
            net.layers[0] = linear(lib, 3, 3, 9)
        yield step(next(x)), step(next(x)), state(*net.layers)


@program(traces=3)
def evaluation_inside(lib, wrap):
    """A compiled function that switches to evaluation and back."""
    net = filled(lib, lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 2)))
    x, optimizer = inputs(lib, 5, 3), lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def evaluate(x):
        net.eval()
        with lib.no_grad():
            loss = (net(x) ** 2).mean()
        net.train()
        return loss

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for round in range(4):
        if round == 2:
            net.eval()  # which `evaluate` ends
        yield step(next(x)), evaluate(next(x)), net.training, net[1].training, state(net)
        yield net[1].running_mean.numpy().copy(), net[1].num_batches_tracked.item()


@program(traces=2)
def left_in_evaluation(lib, wrap):
    net = filled(lib, lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4)))
    x = inputs(lib, 5, 3)

    @wrap
    def evaluate(x):
        net.eval()
        with lib.no_grad():
            return net(x).sum()

    @wrap
    def train(x):
        net.train()
        with lib.no_grad():
            return net(x).sum()

    for function in (train, evaluate, evaluate, train, evaluate, train, train):
        yield function(next(x)), net.training, net[1].training, net[1].running_var.numpy().copy()


@program(traces=2)
def a_mask_of_pruned_weights(lib, wrap):
    """The mask is changed in place, and bound anew."""

    class Pruned(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear(lib, 3, 4)
            self.register_buffer("mask", lib.from_numpy(np.ones((4, 3))))

        def forward(self, x):
            return lib.F.linear(x, self.linear.weight * self.mask, self.linear.bias)

    net, x = Pruned(), inputs(lib, 5, 3)
    optimizer, old = lib.optim.SGD(net.parameters(), 0.1), net.mask

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for change in range(4):
        if change == 1:
            net.mask[0, 1] = 0.0
        elif change == 2:
            net.mask = lib.from_numpy((numbers(4, 3, seed=4) > 0) * 1.0)
        elif change == 3:
            old.zero_()  # which nobody looks at any more
        yield step(next(x)), step(next(x)), state(net)


@program(traces=3)
def clipping_with_another_limit(lib, wrap):
    net, x, settings = mlp(lib), inputs(lib, 5, 3), {"clip": {"norm": 1.0, "kind": 2.0}}
    optimizer = lib.optim.SGD(net.parameters(), 0.1)
    utils = nn.utils if lib is OURS else torch.nn.utils

    @wrap
    def step(x):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean() * 10
        loss.backward()
        norm = utils.clip_grad_norm_(net.parameters(), settings["clip"]["norm"])
        optimizer.step()
        return loss.detach(), norm

    for limit in (1.0, 0.1, 10.0):
        settings["clip"]["norm"] = limit
        yield step(next(x)), step(next(x)), state(net)


@program(traces=2)
def weights_are_swapped_for_evaluation(lib, wrap):
    """The average of all weights is copied in, used, and taken out again."""
    net, average, x = mlp(lib), mlp(lib, 0), inputs(lib, 5, 3)
    optimizer = lib.optim.Adam(net.parameters(), 0.05)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    predict = wrap(lambda x: net(x).sum(1))
    for round in range(3):
        yield step(next(x)), step(next(x))
        initial = state(net)
        with lib.no_grad():
            for p, q in zip(average.parameters(), net.parameters(), strict=True):
                p.mul_(round / (round + 1)).add_(q, alpha=1 / (round + 1))
                q.copy_(p)
            yield predict(next(x)), state(net)
            for p, before in zip(net.parameters(), initial, strict=True):
                p.copy_(lib.from_numpy(before))
            yield predict(next(x)), state(net)


@program(traces=4)
def distillation(lib, wrap):
    teacher, student, x = mlp(lib, 3), mlp(lib, 1), inputs(lib, 5, 3)
    optimizer, temperature = lib.optim.SGD(student.parameters(), 0.1), 2.0

    @wrap
    def step(x):
        with lib.no_grad():
            wanted = (teacher(x) / temperature).softmax(-1)
        out = (student(x) / temperature).log_softmax(-1)
        return learn(optimizer, -(wanted * out).sum(-1).mean() * temperature**2, student)

    for phase in range(4):
        if phase == 1:
            temperature = 1
        elif phase == 2:
            teacher = mlp(lib, 5)
        elif phase == 3:
            teacher, student = student, teacher
            optimizer = lib.optim.SGD(student.parameters(), 0.2)
        yield step(next(x)), step(next(x)), state(teacher, student)


@program(traces=5)
def weights_of_tasks(lib, wrap):
    body, heads, x = linear(lib, 3, 4), [linear(lib, 4, 1, n) for n in (1, 2)], inputs(lib, 5, 3)
    factors, active = [1.0, 0.5], {0, 1}
    optimizer = lib.optim.SGD([p for module in (body, *heads) for p in module.parameters()], 0.1)

    @wrap
    def step(x):
        h = body(x).tanh()
        losses = [(head(h) ** 2).mean() * factors[n] for n, head in enumerate(heads) if n in active]
        return learn(optimizer, sum(losses), body, *heads)

    for change in range(5):
        if change == 1:
            factors[1] = 2.0
        elif change == 2:
            heads.append(linear(lib, 4, 1, 3))
            factors.append(1.0)
        elif change == 3:
            active.add(2)
            active.discard(0)
        elif change == 4:
            heads[1], heads[2] = heads[2], heads[1]
        yield step(next(x)), step(next(x)), state(body, *heads)


@program(traces=4)
def forward_is_patched_and_restored(lib, wrap):
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer, original = lib.optim.SGD(net.parameters(), 0.1), net[0].forward
    scale = 2.0

    def scaled(x):
        return original(x) * scale

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for change in range(5):
        if change == 1:
            net[0].forward = scaled
        elif change == 2:
            scale = 3.0
        elif change == 3:
            net[0].forward = original
        elif change == 4:
            del net[0].forward
        yield step(next(x)), step(next(x)), state(net)


@program(traces=6)
def hooks_come_and_go(lib, wrap):
    net, x, factors = mlp(lib), inputs(lib, 5, 3), {"out": 2.0, "grad": 0.5}
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    handles = []
    for change in range(6):
        if change == 1:
            handles.append(net[0].register_forward_hook(lambda module, inputs, out: out * factors["out"]))
        elif change == 2:
            factors["out"] = 3.0
        elif change == 3:
            handles.append(net[2].weight.register_hook(lambda grad: grad * factors["grad"]))
        elif change == 4:
            factors["grad"] = 4.0
        elif change == 5:
            for handle in handles:
                handle.remove()
        yield step(next(x)), step(next(x)), state(net)


@program(traces=3)
def a_power_iteration_in_forward(lib, wrap):
    """A buffer is changed in place by each run, while training."""

    class Normed(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = lib.nn.Parameter(lib.from_numpy(numbers(4, 3)))
            self.register_buffer("u", lib.from_numpy(numbers(4, seed=1)))
            self.iterations = 1

        def forward(self, x):
            if self.training:
                with lib.no_grad():
                    for _ in range(self.iterations):
                        v = self.weight.T @ self.u
                        v = v / (v * v).sum() ** 0.5
                        u = self.weight @ v
                        self.u.copy_(u / (u * u).sum() ** 0.5)
            v = (self.weight.T @ self.u).detach()
            sigma = self.u @ self.weight @ (v / (v * v).sum() ** 0.5)
            return x @ (self.weight / sigma).T

    net, x = Normed(), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for phase in range(4):
        net.iterations = 2 if phase == 1 else 1
        net.train(phase != 2)
        yield step(next(x)), step(next(x)), state(net), net.u.numpy().copy()


@program(traces=6)
def a_state_in_an_attribute(lib, wrap):
    """A recurrent network binds its state anew in each call."""

    class Recurrent(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.h, self.last = linear(lib, 6, 3), None, None

        def forward(self, x):
            if self.h is None:
                self.h = lib.from_numpy(np.zeros((5, 3)))
            self.h = self.cell(lib.cat([x, self.h], -1)).tanh().detach()
            self.last = {"mean": self.h.mean(), "both": (self.h, [self.h * 2])}
            return self.cell(lib.cat([x, self.h], -1))

    net, x = Recurrent(), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        return learn(optimizer, (net(x) ** 2).mean())

    for _ in range(4):
        yield step(next(x)), state(net), net.h.numpy().copy(), net.last["both"][1][0].numpy().copy()
    net.h = None
    yield step(next(x)), step(next(x)), net.h.numpy().copy(), net.last["mean"].item()


@program(traces=2)
def a_switch_in_an_attribute(lib, wrap):
    """Each call turns it over: two programs take turns."""

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.flip = linear(lib, 3, 2), False

        def forward(self, x):
            self.flip = not self.flip
            return self.linear(x) if self.flip else -2 * self.linear(x)

    net, x, forwards = Net(), inputs(lib, 5, 3), True
    predict = wrap(lambda x: net(x).sum())
    with lib.no_grad():
        for _ in range(7):
            yield predict(next(x)), net.flip
        net.flip = forwards
        yield predict(next(x)), net.flip, predict(next(x)), net.flip


@program(traces=4)
def a_switch_in_a_variable(lib, wrap):
    net, x, flip, seen = linear(lib, 3, 2), inputs(lib, 5, 3), False, None

    @wrap
    def predict(x):
        nonlocal flip, seen
        flip, seen = not flip, "even" if flip else "odd"
        return net(x).sum() if flip else -net(x).sum()

    with lib.no_grad():
        for _ in range(6):
            yield predict(next(x)), flip, seen
        flip = True
        yield predict(next(x)), flip, seen, predict(next(x)), flip, seen


@program(traces=4)
def a_counter_in_an_attribute(lib, wrap):
    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.calls = linear(lib, 3, 2), 0

        def forward(self, x):
            self.calls += 1
            return self.linear(x) / self.calls

    net, x = Net(), inputs(lib, 5, 3)
    predict = wrap(lambda x: net(x).sum())
    with lib.no_grad():
        for _ in range(4):
            yield predict(next(x)), net.calls


@program(traces=6)
def a_counter_in_a_variable(lib, wrap):
    net, x, count = mlp(lib), inputs(lib, 5, 3), 0
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        nonlocal count
        count += 1
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * min(1.0, count / 4) * (1 + math.cos(math.pi * count / 10)) / 2
        return learn(optimizer, (net(x) ** 2).mean())

    for _ in range(6):
        yield step(next(x)), state(net), count


@program(traces=4)
def a_history_in_a_list(lib, wrap):
    net, x, history, counts = linear(lib, 3, 2), inputs(lib, 5, 3), [], {"calls": 0}

    @wrap
    def predict(x):
        history.append(len(history) / 2)
        counts["calls"] += 1
        return net(x).sum() * history[-1]

    with lib.no_grad():
        for _ in range(4):
            yield predict(next(x)), list(history), dict(counts)


@program(traces=5)
def a_cache_in_a_dict(lib, wrap):
    """What is computed once for each size, at first need: plain numbers."""
    net, cache = linear(lib, 3, 2), {}

    @wrap
    def predict(x):
        if len(x) not in cache:
            cache[len(x)] = math.sqrt(len(x))
        return net(x).sum() / cache[len(x)]

    with lib.no_grad():
        for size in (5, 5, 3, 5, 3, 3, 5):
            yield predict(lib.from_numpy(numbers(size, 3, seed=size))), dict(cache)


@program(traces=5)
def a_memory_of_tensors(lib, wrap):
    """A list of tensors grows outside; a deque forgets."""
    net, x, memory = linear(lib, 3, 2), inputs(lib, 5, 3), deque(maxlen=3)
    memory.append(next(x))

    @wrap
    def predict(x):
        return (net(x) + net(lib.stack(list(memory)).mean(0))).sum()

    with lib.no_grad():
        for _ in range(5):
            yield predict(next(x)), predict(next(x))
            memory.append(next(x))


@dataclass
class Schedule:
    beta: float = 0.0
    warm: int = 2

    def factor(self, step):
        return min(1.0, step / self.warm) * self.beta


@program(traces=8)
def annealing_by_the_step(lib, wrap):
    """The step is an argument of Python."""
    net, x, schedule = mlp(lib), inputs(lib, 5, 3), Schedule(0.5)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x, number):
        out = net(x)
        return learn(optimizer, (out**2).mean() + schedule.factor(number) * out.abs().mean())

    for number in range(5):
        yield step(next(x), number), state(net)
    schedule.beta = 1.0
    for number in range(3):
        yield step(next(x), number), state(net)


@program(traces=1)
def annealing_by_a_tensor(lib, wrap):
    net, x = mlp(lib), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x, beta):
        out = net(x)
        return learn(optimizer, (out**2).mean() + beta * out.abs().mean())

    for number in range(5):
        yield step(next(x), lib.from_numpy(np.array(number / 10))), state(net)


@program(traces=2)
def arrays_of_numpy_inside(lib, wrap):
    """They are read anew by each call, shared or copied."""
    net, x, scale, shift = linear(lib, 3, 2), inputs(lib, 5, 3), np.ones(2), np.zeros(2)

    @wrap
    def predict(x):
        return (net(x) * lib.from_numpy(scale) + lib.from_numpy(shift[::1])).sum(0)

    with lib.no_grad():
        for number in range(4):
            scale[:] = number
            shift[0] = 10 * number
            yield predict(next(x))
        scale = np.full(2, 7.0)
        yield predict(next(x)), predict(next(x))


@program(traces=6)
def random_numbers_of_python(lib, wrap):
    """Layers are left out at random, by `random` and by `numpy.random`."""
    net, x, rng = mlp(lib), inputs(lib, 5, 3), random.Random(4)  # noqa: S311
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002

    @wrap
    def predict(x):
        x = net[0](x) if random.random() < 0.5 else net[0](x) * 2  # noqa: S311
        return (net[2](x) * float(np.random.rand())).sum()  # noqa: NPY002

    with lib.no_grad():
        for _ in range(6):
            yield predict(next(x))
    assert rng


@program(traces=5)
def batches_of_an_iterator(lib, wrap):
    net = mlp(lib)
    optimizer, loader = lib.optim.SGD(net.parameters(), 0.1), iter([numbers(5, 3, seed=n) for n in range(20)])
    batches = (array * 2 for array in loader)

    @wrap
    def step():
        return learn(optimizer, (net(lib.from_numpy(next(batches))) ** 2).mean())

    for _ in range(5):
        yield step(), state(net)


@program(traces=2)
def modules_made_inside(lib, wrap):
    """Layers without weights are made where they are used."""
    net, x, slope = mlp(lib), inputs(lib, 5, 3), 0.1
    optimizer = lib.optim.SGD(net.parameters(), 0.1)

    @wrap
    def step(x):
        act, loss = lib.nn.LeakyReLU(slope), lib.nn.MSELoss(reduction="sum")
        out = lib.nn.Sequential(net[0], act, net[2])(x)
        return learn(optimizer, loss(out, lib.zeros_like(out)))

    for slope in (0.1, 0.1, 0.5, 0.5):  # noqa: B007  # that is what the function reads
        yield step(next(x)), state(net)


@program(traces=4)
def classes_of_the_users_own(lib, wrap):
    """Objects with state and methods, made outside and inside."""
    rate = 0.1

    class Descent:
        def __init__(self, params):
            self.params, self.rate = list(params), rate

        def __call__(self):
            with lib.no_grad():
                for p in self.params:
                    p -= self.rate * p.grad

    class Loss:
        power = 2

        def __call__(self, out):
            return (out**self.power).mean()

    net, x = mlp(lib), inputs(lib, 5, 3)
    outside = Descent(net[2].parameters())

    @wrap
    def step(x):
        net.zero_grad()
        loss = Loss()(net(x))
        loss.backward()
        outside()
        Descent(net[0].parameters())()
        return loss.detach()

    for change in range(4):
        if change == 1:
            outside.rate = 0.5
        elif change == 2:
            Loss.power = 4
        elif change == 3:
            rate = 0.3
        yield step(next(x)), step(next(x)), state(net)


@program(traces=7)
def modules_in_a_dict(lib, wrap):
    """A module for each task, chosen by an argument, replaced under its name."""
    heads = lib.nn.ModuleDict({"a": linear(lib, 3, 2), "b": linear(lib, 3, 2, 1)})
    x, optimizer = inputs(lib, 5, 3), lib.optim.SGD(heads.parameters(), 0.1)

    @wrap
    def step(x, task):
        return learn(optimizer, (heads[task](x) ** 2).mean(), heads)

    for change in range(3):
        if change == 1:
            heads["a"] = linear(lib, 3, 2, 5)
            optimizer = lib.optim.SGD(heads.parameters(), 0.1)
        elif change == 2:
            heads["c"] = heads["a"]
        for task in ("a", "b", "a", "c")[: 3 + (change == 2)]:
            yield step(next(x), task), state(heads)


@program(traces=3)
def layers_in_a_module_list(lib, wrap):
    layers, x = lib.nn.ModuleList([linear(lib, 3, 3, n) for n in range(2)]), inputs(lib, 5, 3)
    optimizer = lib.optim.SGD(layers.parameters(), 0.1)

    @wrap
    def step(x):
        for layer in layers:
            x = layer(x).tanh()
        return learn(optimizer, (x**2).mean(), layers)

    for change in range(3):
        if change == 1:
            layers.append(linear(lib, 3, 3, 7))
        elif change == 2:
            setattr(layers, "0", linear(lib, 3, 3, 8))
        yield step(next(x)), step(next(x)), state(layers)


@program(traces=4)
def parameters_in_a_variable(lib, wrap):
    """A list of tensors: one is replaced, one is frozen, two change places."""
    params, x = [lib.from_numpy(numbers(3, seed=n)).requires_grad_() for n in range(3)], inputs(lib, 3)

    @wrap
    def step(x):
        for p in params:
            p.grad = None
        loss = sum(((p * x * (n + 1)) ** 2).sum() for n, p in enumerate(params))
        loss.backward()
        with lib.no_grad():
            for p in params:
                if p.requires_grad:
                    p -= 0.01 * p.grad
        return loss.detach()

    for change in range(4):
        if change == 1:
            params[1] = lib.from_numpy(numbers(3, seed=8)).requires_grad_()
        elif change == 2:
            params[0].requires_grad_(False)
        elif change == 3:
            params[1], params[2] = params[2], params[1]
        yield step(next(x)), step(next(x)), [p.detach().numpy().copy() for p in params]


def flat(result):
    """All numbers of a nest."""
    if isinstance(result, (tuple, list)):
        return [part for inner in result for part in flat(inner)]
    if isinstance(result, dict):
        return flat([*result.items()])
    return [result.detach().numpy().copy() if hasattr(result, "detach") else copy.deepcopy(result)]


def run(function, lib, wrap):
    random.seed(0)
    return [flat(result) for result in function(lib, wrap)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_eager_compiled_and_in_pytorch(name, monkeypatch):
    function, options = PROGRAMS[name]
    traced = []
    monkeypatch.setattr(
        Compiled,
        "_trace_and_run",
        lambda self, *arguments, run=Compiled._trace_and_run: traced.append(self) or run(self, *arguments),
    )

    readings = {"eager": run(function, OURS, lambda function: function), "compiled": run(function, OURS, jit)}
    if options.get("torch", True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            readings["PyTorch"] = run(function, TORCH, lambda function: function)
    expected = readings.pop("eager")
    assert len(expected) >= 2
    for library, results in readings.items():
        assert len(results) == len(expected)
        for position, (one, other) in enumerate(zip(results, expected, strict=True)):
            assert len(one) == len(other)
            for a, b in zip(one, other, strict=True):
                where = f"{library}, result {position}"
                if isinstance(b, str) or b is None:
                    assert a == b, where
                else:
                    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12, err_msg=where)
    assert 0 < len(traced) <= options["traces"]
