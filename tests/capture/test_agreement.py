"""Compiled functions give the same results as eager ones: every model, optimizer, scheduler, layer and loss.

`tests/conformance` compares the eager results with PyTorch. Each call gets new numbers.
"""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest

import chainrule
from chainrule import models, nn, optim
from chainrule.capture import jit
from chainrule.models import registry
from chainrule.nn import functional as F  # noqa: N812


def numbers(*shape, seed=0, dtype=np.float64):
    return chainrule.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def classes(count, size, seed=0):
    return chainrule.from_numpy(np.random.default_rng(seed).integers(0, size, count))


def squares(call, dtype=np.float64):
    """The inputs and targets of a call."""
    return numbers(4, 6, seed=call, dtype=dtype), numbers(4, 3, seed=call + 100, dtype=dtype)


def public(module, kind):
    """A module's public classes of a kind, without the kind itself."""
    members = {value for name, value in vars(module).items() if isinstance(value, type) and not name.startswith("_")}
    return {value for value in members if issubclass(value, kind) and value is not kind}


def stepper(net, optimizer, loss):
    def step(x, y):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        return value

    return step


def state(net, optimizer):
    """All that a step changes."""
    arrays = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    for position, entry in optimizer.state.items():
        arrays |= {f"{position}.{name}": np.array(value) for name, value in entry.items()}
    return arrays


def close(actual, expected, rtol):
    """Equal to within rtol of the largest element."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        bound = rtol * max(np.abs(array).max(initial=0), 1e-30)
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype), name
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=bound, err_msg=name)


def agree(build, optimizer, loss, batch=squares, steps=4, rtol=1e-10, schedule=None):
    """Train two equal networks, one of them compiled, on the batch of each call, and compare after each step."""
    nets = [build() for _ in range(2)]
    optimizers = [optimizer(net.parameters()) for net in nets]
    schedules = [schedule(o) for o in optimizers] if schedule else []
    eager = stepper(nets[0], optimizers[0], loss)
    compiled = jit(stepper(nets[1], optimizers[1], loss))
    for call in range(steps):
        inputs = batch(call)
        expected, actual = eager(*inputs), compiled(*inputs)
        np.testing.assert_allclose(actual.item(), expected.item(), rtol=rtol)
        close(state(nets[1], optimizers[1]), state(nets[0], optimizers[0]), rtol)
        for p, q in zip(*(net.parameters() for net in nets), strict=True):
            close({"grad": q.grad.numpy()}, {"grad": p.grad.numpy()}, rtol)
        for one in schedules:
            one.step(*([1.0] if isinstance(one, S.ReduceLROnPlateau) else []))  # no better than the last
    (programs,) = compiled.specializations.values()
    return programs


def small(dtype=np.float64, bias=True):
    random = np.random.default_rng(1)
    return nn.Sequential(
        nn.Linear(6, 5, bias, generator=random, dtype=dtype),
        nn.Tanh(),
        nn.Linear(5, 3, bias, generator=random, dtype=dtype),
    )


def matrices():
    return small(bias=False)


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.3, weight_decay=1e-2),
    "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "maximize": lambda p: optim.SGD(p, 0.1, maximize=True),
    "Adam": lambda p: optim.Adam(p, 0.01),
    "Adam, all": lambda p: optim.Adam(p, 0.01, (0.8, 0.9), 1e-6, 1e-2, amsgrad=True, maximize=True),
    "Adam, decoupled": lambda p: optim.Adam(p, 0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "AdamW": lambda p: optim.AdamW(p, 0.01, weight_decay=0.1),
    "AdamW, all": lambda p: optim.AdamW(p, 0.01, (0.8, 0.9), 1e-6, 0.1, amsgrad=True, maximize=True),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01),
    "RMSprop, all": lambda p: optim.RMSprop(p, 0.02, 0.9, 1e-6, 1e-2, momentum=0.9, centered=True, maximize=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.01),
    "Adagrad, all": lambda p: optim.Adagrad(p, 0.02, 0.1, 1e-2, 0.5, 1e-6, maximize=True),
    "Adadelta": lambda p: optim.Adadelta(p),
    "Adadelta, all": lambda p: optim.Adadelta(p, 0.5, 0.8, 1e-3, 1e-2, maximize=True),
    "Adamax": lambda p: optim.Adamax(p),
    "Adamax, all": lambda p: optim.Adamax(p, 0.01, (0.8, 0.9), 1e-2, 1e-2, maximize=True),
    "NAdam": lambda p: optim.NAdam(p),
    "NAdam, all": lambda p: optim.NAdam(p, 0.01, (0.8, 0.9), 1e-6, 1e-2, 0.1, True, maximize=True),
    "RAdam": lambda p: optim.RAdam(p),
    "RAdam, all": lambda p: optim.RAdam(p, 0.01, (0.8, 0.6), 1e-6, 1e-2, True, maximize=True),
    "Rprop": lambda p: optim.Rprop(p),
    "Rprop, all": lambda p: optim.Rprop(p, 0.02, (0.4, 1.5), (0.001, 0.03), maximize=True),
    "Lion": lambda p: optim.Lion(p, 0.01),
    "Lion, all": lambda p: optim.Lion(p, 0.02, (0.8, 0.9), 0.1, maximize=True),
    "Muon": lambda p: optim.Muon(p, 0.01),
    "Muon, all": lambda p: optim.Muon(p, 0.02, 0.2, 0.8, False, (2.0, -1.5, 0.5), 1e-3, 3, "match_rms_adamw"),
    "groups": lambda p: optim.SGD(
        [{"params": (q := list(p))[:2], "lr": 0.2, "momentum": 0.5}, {"params": q[2:], "weight_decay": 0.1}], 0.05
    ),
    "Adam groups": lambda p: optim.Adam(
        [{"params": (q := list(p))[:1], "lr": 0.02, "amsgrad": True}, {"params": q[1:], "betas": (0.5, 0.6)}]
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_take_the_same_steps(name, interpreted):
    build = matrices if name.startswith("Muon") else small  # Muon takes no others
    assert len(agree(build, OPTIMIZERS[name], F.mse_loss)) == 1


def test_radam_compiles_its_first_steps_and_the_others(interpreted):
    assert len(agree(small, lambda p: optim.RAdam(p, 0.01, (0.8, 0.8)), F.mse_loss, steps=9)) == 2


def test_no_optimizer_and_no_option_is_left_out():
    """Each option has another value than its default in some row."""
    weights = [chainrule.ones(2, 2, requires_grad=True) for _ in range(3)]
    changed = {}
    for make in OPTIMIZERS.values():
        optimizer = make(weights)
        usual = type(optimizer)(weights).defaults
        inputs = [*optimizer.param_groups, optimizer.defaults]
        others = {name for name, value in usual.items() if any(group[name] != value for group in inputs)}
        changed.setdefault(type(optimizer), set()).update(others)
    assert changed.keys() == public(optim, optim.Optimizer)
    for kind, names in changed.items():
        assert names >= inspect.signature(kind).parameters.keys() - {"params"}


@pytest.mark.parametrize("name", ["Adam, all", "RMSprop, all"])
def test_compiled_optimizers_take_the_same_steps(name):
    """Compiled, in float32: each step from the same state."""
    agree(lambda: small(np.float32), OPTIMIZERS[name], F.mse_loss, lambda call: squares(call, "f"), rtol=1e-5)


S = optim.lr_scheduler
SCHEDULES = {
    "LambdaLR": ("Adam groups", lambda o: S.LambdaLR(o, lambda step: 0.9**step)),
    "StepLR": ("Adam", lambda o: S.StepLR(o, 2)),
    "MultiStepLR": ("momentum", lambda o: S.MultiStepLR(o, [1, 3])),
    "ExponentialLR": ("RMSprop, all", lambda o: S.ExponentialLR(o, 0.8)),
    "LinearLR": ("Adagrad, all", lambda o: S.LinearLR(o, 0.1, total_iters=4)),
    "CosineAnnealingLR": ("AdamW", lambda o: S.CosineAnnealingLR(o, 5)),
    "OneCycleLR of Adam": ("Adam", lambda o: S.OneCycleLR(o, 0.1, total_steps=8)),
    "OneCycleLR of SGD": ("momentum", lambda o: S.OneCycleLR(o, 0.1, total_steps=8)),
    "OneCycleLR of groups": ("Adam groups", lambda o: S.OneCycleLR(o, 0.1, total_steps=8)),
    "SequentialLR": ("SGD", lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.1), S.ExponentialLR(o, 0.8)], [2])),
    "MultiplicativeLR": ("NAdam", lambda o: S.MultiplicativeLR(o, lambda step: 0.9)),
    "ConstantLR": ("Lion", lambda o: S.ConstantLR(o, total_iters=2)),
    "PolynomialLR": ("Adadelta", lambda o: S.PolynomialLR(o, 8)),
    "CosineAnnealingWarmRestarts": ("Adamax", lambda o: S.CosineAnnealingWarmRestarts(o, 2)),
    "CyclicLR of Adam": ("Adam", lambda o: S.CyclicLR(o, 0.01, 0.05, 2)),
    "CyclicLR of SGD": ("momentum", lambda o: S.CyclicLR(o, 0.01, 0.05, 2)),
    "ChainedScheduler": ("SGD", lambda o: S.ChainedScheduler([S.LinearLR(o, 0.1), S.ExponentialLR(o, 0.8)])),
    "ReduceLROnPlateau": ("groups", lambda o: S.ReduceLROnPlateau(o, patience=1)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_step_outside(name, interpreted):
    optimizer, schedule = SCHEDULES[name]
    assert len(agree(small, OPTIMIZERS[optimizer], F.mse_loss, steps=6, schedule=schedule)) == 1


def test_no_schedule_is_left_out():
    optimizer = optim.SGD([chainrule.ones(1, requires_grad=True)], 0.1)
    assert {type(make(optimizer)) for _, make in SCHEDULES.values()} == public(S, S.LRScheduler)


@pytest.mark.parametrize("name", sorted(n for n, model in registry.REGISTRY.items() if model.task == "images"))
def test_models(name):
    """Every model of images, compiled: the same loss, the same gradients, from the same state, in float32."""
    model = models.get(name)
    random = np.random.default_rng(0)
    nets = [model.build(generator=np.random.default_rng(3)) for _ in range(2)]
    functions = [stepper(net, optim.SGD(net.parameters(), 0.01), model.loss) for net in nets]
    compiled = jit(functions[1])
    for call in range(3):
        x, y = chainrule.from_numpy(random.random((6, 28, 28), np.float32)), classes(6, 10, seed=call)
        nets[1].load_state_dict(nets[0].state_dict())
        expected, actual = functions[0](x, y), compiled(x, y)
        np.testing.assert_allclose(actual.item(), expected.item(), rtol=1e-5)
        pairs = dict(nets[0].named_parameters()), dict(nets[1].named_parameters())
        largest = max(np.abs(p.grad.numpy()).max() for p in pairs[0].values())
        for key, p in pairs[0].items():  # a bias before batch normalization has no gradient but rounding
            np.testing.assert_allclose(
                pairs[1][key].grad.numpy(), p.grad.numpy(), rtol=1e-4, atol=1e-5 * largest, err_msg=key
            )
        buffers = [{k: v.numpy() for k, v in net.named_buffers()} for net in nets]
        close(buffers[1], buffers[0], 1e-5)
    for net in nets:
        net.eval()
    predict = jit(chainrule.no_grad()(nets[1].__call__))
    for _ in range(2):
        x = chainrule.from_numpy(random.random((6, 28, 28), np.float32))
        with chainrule.no_grad():
            np.testing.assert_allclose(predict(x).numpy(), nets[0](x).numpy(), rtol=1e-4, atol=1e-5)


class Net(nn.Module):
    """A part with something to learn before it, so that its input's gradient is needed."""

    def __init__(self, part, before=None):
        self.before, self.part = before, part

    def forward(self, x):
        return self.part(x if self.before is None else self.before(x))


def random():
    return np.random.default_rng(5)


PARTS = {
    "Identity": (lambda: nn.Identity(), (3, 4)),
    "Linear": (lambda: nn.Linear(4, 2, generator=random()), (3, 4)),
    "ReLU": (lambda: nn.ReLU(), (3, 4)),
    "Tanh": (lambda: nn.Tanh(), (3, 4)),
    "LogSigmoid": (lambda: nn.LogSigmoid(), (3, 4)),
    "LeakyReLU": (lambda: nn.LeakyReLU(), (3, 4)),
    "ELU": (lambda: nn.ELU(), (3, 4)),
    "GELU": (lambda: nn.GELU(), (3, 4)),
    "GELU tanh": (lambda: nn.GELU("tanh"), (3, 4)),
    "SiLU": (lambda: nn.SiLU(), (3, 4)),
    "Softplus": (lambda: nn.Softplus(), (3, 4)),
    "Hardtanh": (lambda: nn.Hardtanh(), (3, 4)),
    "Sigmoid": (lambda: nn.Sigmoid(), (3, 4)),
    "Softmax": (lambda: nn.Softmax(-1), (3, 4)),
    "LogSoftmax": (lambda: nn.LogSoftmax(0), (3, 4)),
    "LayerNorm": (lambda: nn.LayerNorm((2, 4)), (3, 2, 4)),
    "RMSNorm": (lambda: nn.RMSNorm(4), (3, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 2)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3, momentum=0.3), (2, 3, 4, 4)),
    "BatchNorm without statistics": (lambda: nn.BatchNorm1d(4, track_running_stats=False, affine=False), (5, 4)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1, generator=random()), (2, 2, 6)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, generator=random()), (2, 2, 6, 6)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, generator=random()), (2, 2, 3, 3)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (2, 2, 4, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1), (2, 2, 5, 5)),
    "ZeroPad2d": (lambda: nn.ZeroPad2d((1, 0, 2, 1)), (2, 2, 3, 3)),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d((1, 2, 0, 1)), (2, 2, 3, 3)),
    "ReplicationPad2d": (lambda: nn.ReplicationPad2d(2), (2, 2, 3, 3)),
    "CircularPad2d": (lambda: nn.CircularPad2d((0, 1, 2, 0)), (2, 2, 3, 3)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(2), (2, 2, 5, 5)),
    "Dropout": (lambda: nn.Dropout(0.4, generator=random()), (5, 8)),
    "Dropout2d": (lambda: nn.Dropout2d(0.4, generator=random()), (3, 4, 2, 2)),
    "CELU": (lambda: nn.CELU(0.7), (3, 4)),
    "Hardsigmoid": (lambda: nn.Hardsigmoid(), (3, 4)),
    "Hardswish": (lambda: nn.Hardswish(), (3, 4)),
    "Mish": (lambda: nn.Mish(), (3, 4)),
    "PReLU": (lambda: nn.PReLU(4, 0.1), (3, 4)),
    "ReLU6": (lambda: nn.ReLU6(), (3, 4)),
    "SELU": (lambda: nn.SELU(), (3, 4)),
    "Softmin": (lambda: nn.Softmin(-1), (3, 4)),
    "Softsign": (lambda: nn.Softsign(), (3, 4)),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1), (2, 2, 7)),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), (2, 2, 6)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, generator=random()), (2, 2, 4)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(2, affine=True), (3, 2, 5)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(2, track_running_stats=True), (3, 2, 4, 3)),
    "Upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 2, 3, 3)),
    "LSTM": (lambda: First(nn.LSTM(4, 3, bidirectional=True, generator=random())), (5, 2, 4)),
    "GRU": (lambda: First(nn.GRU(4, 3, num_layers=2, generator=random())), (5, 2, 4)),
    "RNN": (lambda: First(nn.RNN(4, 3, generator=random())), (5, 2, 4)),
    "LSTMCell": (lambda: First(nn.LSTMCell(4, 3, generator=random())), (2, 4)),
    "GRUCell": (lambda: nn.GRUCell(4, 3, generator=random()), (2, 4)),
    "RNNCell": (lambda: nn.RNNCell(4, 3, generator=random()), (2, 4)),
    "attention": (lambda: Self(nn.MultiheadAttention(4, 2, batch_first=True, generator=random())), (2, 3, 4)),
    "attention, masked": (
        lambda: Self(
            nn.MultiheadAttention(4, 2, batch_first=True, generator=random()),
            attn_mask=chainrule.from_numpy(np.triu(np.ones((3, 3), bool), 1)),
        ),
        (2, 3, 4),
    ),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.2, batch_first=True, norm_first=True, generator=random()),
        (2, 3, 4),
    ),
    "flatten and unflatten": (lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 6))), (2, 3, 4)),
    "containers": (lambda: Mixture(), (3, 4)),
}


class Mixture(nn.Module):
    """Layers in a list and in a dict, and parameters in a list."""

    def __init__(self):
        draws = random()
        self.layers = nn.ModuleList([nn.Linear(4, 4, generator=draws), nn.Tanh()])
        self.named = nn.ModuleDict({"out": nn.Linear(4, 4, generator=draws)})
        self.scales = nn.ParameterList([nn.Parameter(draws.standard_normal(4).astype(np.float32)) for _ in range(2)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.named["out"](x * self.scales[0]) + self.scales[1]


class Self(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self, attention, **options):
        self.attention, self.options = attention, options

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False, **self.options)[0]


class First(nn.Module):
    """The first result of a layer that returns several."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def test_no_layer_is_left_out():
    """Each is a part of a row; embedding, whose input is indices, has a test of its own, and so have losses."""
    used = {type(module) for make, _ in PARTS.values() for module in make().modules()} | {nn.Embedding}
    assert used >= public(nn, nn.Module) - public(nn.losses, nn.losses._Loss)


@pytest.mark.parametrize("name", PARTS)
def test_layers(name, interpreted):
    """Losses, gradients and buffers of each layer, from the same state; and draws from the same stream."""
    make, shape = PARTS[name]

    def build():
        return Net(make(), nn.LayerNorm(shape[-1])).double()

    nets = [build(), build()]
    generators = [[m.generator for m in net.modules() if getattr(m, "generator", None)] for net in nets]

    def run(net):
        def step(x):
            net.zero_grad()
            out = net(x)
            loss = (out * out.sin()).sum()
            loss.backward()
            return out, loss

        return step

    eager, compiled = run(nets[0]), jit(run(nets[1]))
    for call in range(3):
        x = numbers(*shape, seed=call)
        for expected, actual in zip(eager(x), compiled(x), strict=True):
            np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-10, atol=1e-12)
        for (key, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
            np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-9, atol=1e-10, err_msg=key)
        for (key, p), q in zip(nets[0].named_buffers(), nets[1].buffers(), strict=True):
            assert p.dtype == q.dtype
            np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-12, atol=1e-15, err_msg=key)
        for one, other in zip(*generators, strict=True):
            assert one.bit_generator.state == other.bit_generator.state
    (programs,) = compiled.specializations.values()
    assert len(programs) == 1


WEIGHT = np.array([0.5, 2.0, 1.5])


def weighted(make, **options):
    """A loss whose classes have weights."""
    return lambda dtype: make(weight=chainrule.from_numpy(WEIGHT.astype(dtype)), **options)


def loss_of(make, **options):
    return lambda dtype: make(**options)


def by_value(x, y, c):
    return x, y


def by_class(x, y, c):
    return x, c


# A loss, and what it is of: scores x, other numbers y, classes c
LOSSES = {
    "MSELoss": (loss_of(nn.MSELoss), by_value),
    "MSELoss, sum": (loss_of(nn.MSELoss, reduction="sum"), by_value),
    "L1Loss": (loss_of(nn.L1Loss), by_value),
    "SmoothL1Loss": (loss_of(nn.SmoothL1Loss, beta=0.5), by_value),
    "HuberLoss": (loss_of(nn.HuberLoss, delta=0.7), by_value),
    "BCELoss": (loss_of(nn.BCELoss), lambda x, y, c: (x.sigmoid(), y.sigmoid())),
    "BCELoss, weights": (weighted(nn.BCELoss), lambda x, y, c: (x.sigmoid(), y.sigmoid())),
    "BCEWithLogitsLoss": (loss_of(nn.BCEWithLogitsLoss), lambda x, y, c: (x, y.sigmoid())),
    "BCEWithLogitsLoss, weights": (
        lambda dtype: nn.BCEWithLogitsLoss(pos_weight=chainrule.from_numpy(WEIGHT.astype(dtype))),
        lambda x, y, c: (x, y.sigmoid()),
    ),
    "KLDivLoss": (
        loss_of(nn.KLDivLoss, reduction="batchmean"),
        lambda x, y, c: (x.log_softmax(-1), y.softmax(-1)),
    ),
    "CrossEntropyLoss": (loss_of(nn.CrossEntropyLoss), by_class),
    "CrossEntropyLoss, smooth": (loss_of(nn.CrossEntropyLoss, label_smoothing=0.1), by_class),
    "CrossEntropyLoss, weights": (weighted(nn.CrossEntropyLoss), by_class),
    "CrossEntropyLoss, ignored": (weighted(nn.CrossEntropyLoss, ignore_index=1, label_smoothing=0.2), by_class),
    "CrossEntropyLoss, none": (loss_of(nn.CrossEntropyLoss, reduction="none"), by_class),
    "CrossEntropyLoss, probabilities": (loss_of(nn.CrossEntropyLoss), lambda x, y, c: (x, y.softmax(-1))),
    "NLLLoss": (weighted(nn.NLLLoss), lambda x, y, c: (x.log_softmax(-1), c)),
}


def check_loss(name, dtype, rtol):
    make, of = LOSSES[name]
    loss = make(dtype)

    def batch(call):
        scores, others = numbers(5, 6, seed=call, dtype=dtype), numbers(5, 3, seed=call + 100, dtype=dtype)
        return scores, (others, classes(5, 3, seed=call))

    agree(
        lambda: small(dtype), OPTIMIZERS["SGD"], lambda out, inputs: loss(*of(out, *inputs)).square().sum(), batch,
        rtol=rtol,
    )  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, interpreted):
    check_loss(name, np.float64, 1e-10)


@pytest.mark.parametrize("name", ["CrossEntropyLoss, ignored"])
def test_losses_compiled(name):
    check_loss(name, np.float32, 1e-5)


def test_no_loss_is_left_out():
    assert {type(make(np.float64)) for make, _ in LOSSES.values()} == public(nn.losses, nn.losses._Loss)


def test_another_batch_each_time_and_labels_of_bytes(interpreted):
    net, random = small(), np.random.default_rng(0)
    eager = stepper(other := small(), optim.SGD(other.parameters(), 0.1), F.cross_entropy)
    compiled = jit(stepper(net, optim.SGD(net.parameters(), 0.1), F.cross_entropy))
    for count in (4, 4, 4, 3, 4, 1):
        x, y = random.standard_normal((count, 6)), random.integers(0, 3, count).astype(np.int32)
        inputs = chainrule.from_numpy(x), chainrule.from_numpy(y)
        np.testing.assert_allclose(compiled(*inputs).item(), eager(*inputs).item(), rtol=1e-10)
    assert [len(programs) for programs in compiled.specializations.values()] == [1, 1, 1]


def test_embedding(interpreted):
    tables = [nn.Embedding(7, 3, padding_idx=2, generator=random()) for _ in range(2)]

    def run(table):
        def step(indices):
            table.zero_grad()
            out = table(indices)
            (out * out).sum().backward()
            return out

        return step

    compiled = jit(run(tables[1]))
    for seed in range(3):
        indices = classes((2, 5), 7, seed)
        np.testing.assert_array_equal(compiled(indices).numpy(), run(tables[0])(indices).numpy())
        np.testing.assert_allclose(tables[1].weight.grad.numpy(), tables[0].weight.grad.numpy(), rtol=1e-6)
    with pytest.raises(IndexError, match="embedding"):
        compiled(classes((2, 5), 7) + 3)


def clipped(net, optimizer, norm_type):
    def step(x, y):
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        total = nn.utils.clip_grad_norm_(net.parameters(), 0.05, norm_type)
        nn.utils.clip_grad_value_(next(iter(net.parameters())), 0.01)
        optimizer.step()
        return total

    return step


@pytest.mark.parametrize("norm_type", [2.0, 1.0, "inf"])
def test_gradients_clipped_inside(norm_type, interpreted):
    nets = [small(), small()]
    eager, compiled = (clipped(net, optim.SGD(net.parameters(), 0.5), norm_type) for net in nets)
    compiled = jit(compiled)
    for scale in (1, 0.01, 3):
        x, y = numbers(4, 6), numbers(4, 3) * scale
        np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=1e-10)
        for p, q in zip(*(net.parameters() for net in nets), strict=True):
            np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-10)
            np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-10)


def test_gradients_of_several_losses_add_up(interpreted):
    nets = [small(), small()]

    def run(net):
        def step(parts):
            net.zero_grad()
            total = 0
            for x, y in parts:
                loss = F.mse_loss(net(x), y) / len(parts)
                loss.backward()
                total = total + loss.detach()
            (net[0].weight ** 2).sum().backward()
            return {"total": total, "parts": (total * 2, [len(parts), "text"])}

        return step

    eager, compiled = run(nets[0]), jit(run(nets[1]))
    for call in range(3):
        parts = [squares(3 * call + part) for part in range(3)]
        expected, actual = eager(parts), compiled(parts)
        np.testing.assert_allclose(actual["total"].item(), expected["total"].item(), rtol=1e-12)
        np.testing.assert_allclose(actual["parts"][0].item(), expected["parts"][0].item(), rtol=1e-12)
        assert actual["parts"][1] == [3, "text"]
        for p, q in zip(*(net.parameters() for net in nets), strict=True):
            np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-10)


def test_gradients_of_gradients(interpreted):
    w = numbers(4, seed=3).requires_grad_()

    def penalty(x):
        w.grad = None
        y = (x @ w).tanh().sum()
        (g,) = chainrule.grad(y, [w], create_graph=True)
        loss = (g * g).sum() + y
        loss.backward()
        return loss

    compiled = jit(penalty)
    for call in range(3):
        x = numbers(3, 4, seed=call)
        expected, grad = penalty(x).item(), w.grad.numpy().copy()
        assert compiled(x).item() == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(w.grad.numpy(), grad, rtol=1e-10)


def test_draws_are_made_anew_by_each_call(interpreted):
    one, other = np.random.default_rng(4), np.random.default_rng(4)

    def noisy(random):
        def call(x):
            chainrule.rand(2, generator=random)  # nobody uses it, but what comes next depends on it
            return x + chainrule.randn(3, generator=random, dtype=np.float64), chainrule.randint(
                0, 9, (2,), generator=random
            )

        return call

    compiled, x = jit(noisy(other)), numbers(3)
    seen = Counter()
    for _ in range(3):
        for expected, actual in zip(noisy(one)(x), compiled(x), strict=True):
            np.testing.assert_array_equal(actual.numpy(), expected.numpy())
            seen[actual.numpy().tobytes()] += 1
    assert max(seen.values()) == 1
    assert one.bit_generator.state == other.bit_generator.state
