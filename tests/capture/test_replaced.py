"""Compiled functions notice that an outside object has been replaced between calls.

Each case is a program that a user could write: a generator that makes a step with `wrap`, calls it several times,
replaces something in between, and yields its results. It runs twice, eagerly and compiled.
"""

from __future__ import annotations

import array
import collections
import contextvars
import copy
import ctypes
import functools
import itertools
import os
import sys
import textwrap
import threading
import types
import weakref
from argparse import Namespace
from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import Compiled, jit
from chainrule.data import DataLoader, TensorDataset
from chainrule.nn import functional as F  # noqa: N812
from chainrule.training import Trainer

pytestmark = pytest.mark.usefixtures("interpreted")

CASES = {}


def case(traces):
    """Register a program, which is to be compiled so often at most."""

    def register(function):
        CASES[function.__name__] = function, traces
        return function

    return register


def numbers(*shape, seed=0):
    return chainrule.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def batches(inputs=3):
    """New numbers for each call."""
    return (numbers(5, inputs, seed=seed) for seed in itertools.count(100))


def linear(inputs, outputs, seed=0):
    return nn.Linear(inputs, outputs, generator=np.random.default_rng(seed), dtype=np.float64)


def build_network(seed=0):
    return nn.Sequential(linear(3, 4, seed), nn.Tanh(), linear(4, 2, seed + 1))


def weights(*modules):
    return [p.detach().numpy().copy() for module in modules for p in module.parameters()]


class Pieces(nn.Module):
    """A body, a head, and some options."""

    def __init__(self):
        self.body, self.head = linear(3, 4), linear(4, 2, 1)
        self.drop = nn.Dropout(0.0, generator=np.random.default_rng(5))
        self.scale, self.skip, self.name, self.power = 1.0, False, "tanh", (2, 1)
        self.extra = None
        self.layers = [linear(4, 4, 2)]
        self.options = {"gain": 1.0, "layers": self.layers}
        self.act = F.relu

    def forward(self, x):
        h = self.drop(self.body(x)) * self.scale
        h = h + 1 if self.skip else getattr(h, self.name)()
        for layer in self.layers:
            h = self.act(layer(h)) * self.options["gain"]
        if self.extra is not None:
            h = h + self.extra
        if hasattr(self, "adapter"):
            h = h + self.adapter(h)
        return self.head(h ** self.power[0]) * self.power[1]


def training(wrap, net, optimizer=None, loss=None):
    """A step that is compiled, and the optimizer that it uses."""
    optimizer = optimizer or optim.SGD(net.parameters(), 0.1, momentum=0.5)
    loss = loss or (lambda out: (out * out).mean())

    @wrap
    def step(x):
        optimizer.zero_grad()
        net.zero_grad()  # which may hold other parameters by now
        value = loss(net(x))
        value.backward()
        optimizer.step()
        return value

    return step


def changing(change):
    """A case that trains Pieces, changes something, and trains on."""

    def run(wrap):
        net = Pieces()
        step, data = training(wrap, net), batches()
        for round in range(3):
            for _ in range(2):
                yield step(next(data)).item(), weights(net)
            if round == 0:
                change(net)
        net.eval()
        yield step(next(data)).item(), weights(net)

    CASES[change.__name__] = run, 4


def set_attribute(name, value):
    def change(net):
        *path, last = name.split(".")
        setattr(functools.reduce(getattr, path, net), last, value(net) if callable(value) else value)

    change.__name__ = f"{name} is set"
    return change


class Doubled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


for change in (
    set_attribute("head", lambda net: linear(4, 2, 7)),
    set_attribute("body", lambda net: nn.Sequential(linear(3, 4, 8), nn.Sigmoid())),
    set_attribute("head.weight", lambda net: nn.Parameter(numbers(2, 4, seed=9))),
    set_attribute("head.bias", None),
    set_attribute("drop.p", 0.5),
    set_attribute("scale", 3.0),
    set_attribute("scale", -1.0),
    set_attribute("skip", True),
    set_attribute("name", "sin"),
    set_attribute("power", (3, 1)),
    set_attribute("power", (2, 1.5)),
    set_attribute("extra", lambda net: numbers(5, 4, seed=3)),
    set_attribute("adapter", lambda net: linear(4, 4, 3)),
    set_attribute("layers", lambda net: [linear(4, 4, 4), linear(4, 4, 5)]),
    set_attribute("options", lambda net: {"gain": 2.0}),
    set_attribute("act", lambda net: F.sigmoid),
    set_attribute("body.forward", lambda net: lambda x: x @ numbers(3, 4, seed=2)),
    set_attribute("forward", lambda net: types.MethodType(lambda self, x: self.head(self.body(x)), net)),
    set_attribute("head.training", False),
    set_attribute(
        "__class__", lambda net: type("Other", (Pieces,), {"forward": lambda self, x: self.head(self.body(x))})
    ),
):
    while change.__name__ in CASES:
        change.__name__ += "_"
    changing(change)


@changing
def a_layer_is_appended(net):
    net.layers.append(linear(4, 4, 6))


@changing
def a_layer_in_a_list_is_replaced(net):
    net.layers[0] = linear(4, 4, 6)


@changing
def an_entry_of_a_dict_is_replaced(net):
    net.options["gain"] = 0.5


@changing
def the_dict_of_a_module_is_edited(net):
    net.__dict__["scale"] = 0.25
    vars(net)["head"] = linear(4, 2, 11)


@changing
def weights_are_tied(net):
    net.layers.append(linear(4, 4, 6))
    net.layers[1].weight = net.layers[0].weight


@changing
def a_parameter_is_frozen(net):
    net.body.requires_grad_(False)


@changing
def a_hook_is_registered(net):
    net.body.register_forward_hook(lambda module, inputs, out: out * 2)


def class_attribute(wrap):
    """The forward of a class is replaced, and a constant of a class."""

    class Scaled(nn.Module):
        factor = 2.0

        def __init__(self):
            self.linear = linear(3, 2)

        def forward(self, x):
            return self.linear(x) * self.factor

    net = Scaled()
    step, data = training(wrap, net), batches()
    for change in (
        lambda: None,
        lambda: setattr(Scaled, "factor", 3.0),
        lambda: setattr(Scaled, "forward", lambda self, x: self.linear(x) - self.factor),
        lambda: setattr(net, "factor", 4.0),
        lambda: delattr(net, "factor"),
    ):
        change()
        for _ in range(2):
            yield step(next(data)).item(), weights(net)


CASES["class_attribute"] = class_attribute, 5


def the_forward_itself(wrap):
    """`forward` is what is compiled, and asks in which mode the module is."""

    class Net(nn.Module):
        def __init__(self):
            self.linear, self.rate = linear(3, 2), 0.5

        @wrap
        def forward(self, x):
            out = self.linear(x)
            return out * self.rate if self.training else out

    net, other, data = Net(), Net(), batches()
    with chainrule.no_grad():
        for change in (
            lambda: None, net.eval, net.train, lambda: setattr(net, "rate", 2.0), net.eval,
            lambda: setattr(net, "linear", linear(3, 2, 4)), lambda: setattr(other, "rate", 3.0),
        ):  # fmt: skip
            change()
            for module in (net, other, net):
                yield module(next(data)).numpy()


CASES["the_forward_itself"] = the_forward_itself, 6


@case(7)
def variables_of_an_enclosing_function(wrap):
    net, rate, loss = build_network(), 0.5, F.mse_loss
    target, scale = numbers(5, 2, seed=3), 1

    def step(x):
        net.zero_grad()
        value = loss(net(x) * scale, target)
        value.backward()
        with chainrule.no_grad():
            for p in net.parameters():
                p -= rate * p.grad
        return value

    step, data = wrap(step), batches()
    for change in range(7):
        if change == 1:
            rate = 0.25
        elif change == 2:
            loss = F.l1_loss
        elif change == 3:
            net = build_network(3)
        elif change == 4:
            target = numbers(5, 2, seed=4)
        elif change == 5:
            scale = -1
        elif change == 6:
            scale = 1.0
        for _ in range(2):
            yield step(next(data)).item(), weights(net)


SCALE, NET, HISTORY = 1.0, None, []


def helper(x):
    return x * SCALE


@case(4)
def global_variables(wrap):
    """Also those that a function reads that the function calls."""
    global SCALE, NET, helper
    NET, SCALE, first = build_network(), 1.0, helper

    def step(x):
        NET.zero_grad()
        value = (helper(NET(x)) ** 2).mean()
        value.backward()
        return value

    step, data = wrap(step), batches()
    for change in range(4):
        if change == 1:
            SCALE = 2.0
        elif change == 2:
            NET = build_network(5)
        elif change == 3:
            helper = lambda x: x - SCALE  # noqa: B023, E731
        for _ in range(2):
            yield step(next(data)).item(), [p.grad.numpy().copy() for p in NET.parameters()]
    helper = first


@case(3)
def defaults_of_the_function(wrap):
    net, options = build_network(), {"rate": 0.5}

    def step(x, options=options, *, extra=(1.0, [2.0])):
        net.zero_grad()
        value = (net(x) ** 2).mean() * extra[1][0]
        value.backward()
        with chainrule.no_grad():
            for p in net.parameters():
                p -= options["rate"] * p.grad
        return value

    compiled, data = wrap(step), batches()
    for change in (
        lambda: None,
        lambda: options.update(rate=0.1),
        lambda: step.__kwdefaults__["extra"][1].insert(0, 3.0),
    ):
        change()
        for _ in range(2):
            yield compiled(next(data)).item(), weights(net)


@case(6)
def the_optimizer_is_replaced(wrap):
    net = build_network()
    held = {"optimizer": optim.SGD(net.parameters(), 0.1)}

    @wrap
    def step(x):
        held["optimizer"].zero_grad()
        value = (net(x) ** 2).mean()
        value.backward()
        held["optimizer"].step()
        return value

    data = batches()
    for kind in (optim.SGD, optim.Adam, optim.AdamW, functools.partial(optim.SGD, momentum=0.9), optim.RMSprop):
        for _ in range(3):
            yield step(next(data)).item(), weights(net)
        held["optimizer"] = kind(net.parameters(), 0.05)


@case(6)
def the_parameters_of_a_group_are_replaced(wrap):
    """After each change, a trace is given up: a step runs eagerly and moves the states to their parameters."""
    net = build_network()
    optimizer = optim.SGD(net[0].parameters(), 0.1)
    step, data = training(wrap, net, optimizer), batches()
    for params in (
        list(net[0].parameters()),
        list(net[2].parameters()),
        list(net.parameters())[:2],
        list(net.parameters()),
    ):
        optimizer.param_groups[0]["params"][:] = params
        for _ in range(2):
            yield step(next(data)).item(), weights(net)
            net.zero_grad()


@dataclass
class Config:
    rate: float = 0.5
    depth: int = 1


class Fields:
    """An object that keeps its attributes in slots."""

    __slots__ = ("depth", "rate")

    def __init__(self):
        self.rate, self.depth = 0.5, 1


class Attributes(dict):
    """A dict that can be read by attributes, as many configurations are."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class Constants:
    rate, depth = 0.5, 1


class Computed:
    """Its attributes are computed from others."""

    def __init__(self):
        self.half, self.parts = 0.25, [1]

    @property
    def rate(self):
        return 2 * self.half

    @rate.setter
    def rate(self, rate):
        self.half = rate / 2

    @property
    def depth(self):
        return sum(self.parts)

    @depth.setter
    def depth(self, depth):
        self.parts.append(depth - self.depth)


CONFIGURATIONS = {
    "dataclass": Config, "slots": Fields, "dict": lambda: Attributes(rate=0.5, depth=1), "computed": Computed,
    "simple": lambda: types.SimpleNamespace(rate=0.5, depth=1), "arguments": lambda: Namespace(rate=0.5, depth=1),
    "class": lambda: type("Own", (Constants,), {}), "nested": lambda: types.SimpleNamespace(inner=Config()),
}  # fmt: skip


def configured(make, nested):
    def run(wrap):
        net, config = linear(3, 3), make()

        @wrap
        def step(x):
            own = config.inner if nested else config
            net.zero_grad()
            for _ in range(own.depth):
                x = net(x).tanh()
            value = (x**2).mean()
            value.backward()
            with chainrule.no_grad():
                for p in net.parameters():
                    p -= own.rate * p.grad
            return value

        data, own = batches(), config.inner if nested else config
        for change in (lambda: None, lambda: setattr(own, "rate", 0.1), lambda: setattr(own, "depth", 3)):
            change()
            for _ in range(2):
                yield step(next(data)).item(), weights(net)

    return run


def in_a_thread():
    own = threading.local()
    own.rate, own.depth = 0.5, 1
    return own


class Property:
    """A descriptor, as libraries for configurations have them."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        return instance.values[self.name]

    def __set__(self, instance, value):
        instance.values[self.name] = value


class Described:
    rate, depth = Property(), Property()

    def __init__(self):
        self.values = {"rate": 0.5, "depth": 1}


class Fallback:
    """Attributes are found by `__getattr__`."""

    def __init__(self):
        object.__setattr__(self, "_fields", {"rate": 0.5, "depth": 1})

    def __getattr__(self, name):
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        self._fields[name] = value


class Fetched:
    """A class with a `__getattribute__` of its own."""

    def __init__(self):
        self._rate, self.depth = 0.5, 1

    def __getattribute__(self, name):
        return object.__getattribute__(self, "_rate" if name == "rate" else name)

    def __setattr__(self, name, value):
        object.__setattr__(self, "_rate" if name == "rate" else name, value)


CONFIGURATIONS |= {"thread": in_a_thread, "descriptor": Described, "fallback": Fallback, "getattribute": Fetched}

for kind, make in CONFIGURATIONS.items():
    CASES[f"configured by a {kind}"] = configured(make, kind == "nested"), 3


@case(8)
def maps_and_references(wrap):
    """Where a number may be kept besides: maps of several kinds, a weak reference, a context variable, a module."""
    chain, below = collections.ChainMap({}, {"a": 1.0}), {"b": 1.0}
    proxy, thing, variable = types.MappingProxyType(below), Config(), contextvars.ContextVar("variable", default=1.0)
    reference, module, net = weakref.ref(thing), types.ModuleType("module"), linear(3, 2)
    module.inner = types.ModuleType("inner")
    module.inner.f = 1.0
    user = collections.UserDict(g=1.0)

    def helper(x):
        return x * helper.scale

    helper.scale = 1.0

    @wrap
    def step(x):
        out = net(x) * chain["a"] + proxy["b"] + reference().rate + variable.get() * module.inner.f + user["g"]
        return helper(out).sum()

    data = batches()
    with chainrule.no_grad():
        for change in (
            lambda: None,
            lambda: chain.__setitem__("a", 2.0),
            lambda: below.__setitem__("b", 3.0),
            lambda: setattr(thing, "rate", 4.0),
            lambda: variable.set(5.0),
            lambda: setattr(module.inner, "f", 6.0),
            lambda: setattr(helper, "scale", 7.0),
            lambda: user.__setitem__("g", 8.0),
        ):
            change()
            yield step(next(data)).item(), step(next(data)).item()


@case(4)
def modules_of_python(wrap):
    """Imported inside the function, or bound to another name."""
    net, module = linear(3, 2), types.ModuleType("an_own_module")
    module.a = module.b = module.c = module.unread = 1.0
    sys.modules["an_own_module"] = module

    @wrap
    def step(x):
        import an_own_module as own
        from an_own_module import b

        alias = module
        return net(x).sum() * own.a + b * alias.c

    data = batches()
    with chainrule.no_grad():
        for name in ("", "a", "b", "c"):
            setattr(module, name or "d", 2.0)
            yield step(next(data)).item(), step(next(data)).item()


IMPORTS = {
    "a_module_in_two_functions": """
        def times(x):
            import own_package
            return x * own_package.scale
        def step(x):
            import own_package
            return times(x * own_package.rate)""",
    "a_module_in_a_function_that_has_not_run": """
        def slow(x):
            from own_package.config import rate
            return x * rate
        import own_package
        own_package.slow = slow
        del own_package, slow
        def step(x):
            import own_package
            return own_package.slow(x) if x.shape[0] > 100 else x * own_package.scale""",
    "a_number_by_a_relative_name": """
        def step(x):
            from .config import rate, scale as factor
            return x * rate + factor""",
    "a_module_by_a_relative_name": """
        def step(x):
            from . import config
            return x * config.rate + config.scale""",
    "a_module_by_its_full_name": """
        def step(x):
            import own_package.config as c, own_package.config
            return x * c.rate + own_package.scale""",
    "a_module_in_an_inner_function": """
        def step(x):
            import own_package
            from .config import rate
            return (lambda: x * own_package.scale + rate)()""",
    "a_module_in_an_inner_class": """
        def step(x):
            class Scaling:
                import own_package
                scale = own_package.scale
            return x * Scaling.scale""",
    "one_of_two_modules": """
        def step(x):
            if x.shape[0] == 5:
                import own_package as chosen
            else:
                from . import config as chosen
            return x * chosen.scale""",
    "a_module_that_is_a_global": """
        def step(x):
            global settings
            import own_package as settings
            return x * settings.scale""",
    "a_module_that_is_handed_on": """
        def times(module, x):
            return x * module.scale
        def step(x):
            import own_package
            return times(own_package, x)""",
}


def importing(source):
    """A case whose function imports; each number of the modules is changed."""

    def run(wrap):
        modules = [types.ModuleType(name) for name in ("own_package", "own_package.config", "own_package.steps")]
        package, package.config, steps = modules
        package.__path__, steps.__package__ = [], package.__name__
        for module in modules[:2]:
            module.rate = module.scale = 2.0
        sys.modules.update({module.__name__: module for module in modules})
        try:
            exec(textwrap.dedent(source), vars(steps))  # noqa: S102
            step, inputs = wrap(steps.step), batches()
            yield step(next(inputs))
            for module in modules[:2]:
                for name in ("rate", "scale"):
                    setattr(module, name, getattr(module, name) + 1)
                    yield step(next(inputs))
        finally:
            for module in modules:
                del sys.modules[module.__name__]

    return run


CASES.update({f"importing_{name}": (importing(source), 5) for name, source in IMPORTS.items()})


@case(5)
def small_arrays_that_numpy_reads(wrap):
    """Their elements decide, or NumPy computes with them: no operation of ours sees them."""
    net, factors, flags, whole = linear(3, 2), np.array([1.0, 2.0]), np.array([True]), np.arange(6.0).reshape(2, 3)

    @wrap
    def step(x):
        out = net(x) * (factors * 2)
        out = out if flags[0] else -out
        return out.sum() * float(whole[1, 2]) + (x * chainrule.from_numpy(whole[0])).sum()

    data = batches()
    with chainrule.no_grad():
        for change in (
            lambda: None,
            lambda: factors.__setitem__(0, 5.0),
            lambda: flags.__setitem__(0, False),
            lambda: factors.__imul__(2),
            lambda: whole.__setitem__((0, 1), 9.0),  # read anew by an operation
        ):
            change()
            yield step(next(data)).item(), step(next(data)).item()


class Counted:
    rate, count = 0.5, 0

    @classmethod
    def scaled(cls, x):
        return x * cls.rate

    @staticmethod
    def shifted(x):
        return x + FACTOR


@case(4)
def methods_of_classes(wrap):
    """A class is an argument, or the first one of a class method."""
    global FACTOR
    FACTOR, net, data = 2.0, linear(3, 2), batches()

    @wrap
    def step(x, cls):
        return cls.shifted(Counted.scaled(net(x))).sum() * cls.rate

    with chainrule.no_grad():
        for rate, FACTOR in (  # noqa: B007  # that is what the methods read
            (0.5, 2.0),
            (0.25, 2.0),
            (0.25, 3.0),
            (0.5, 2.0),
        ):
            Counted.rate = rate
            yield step(next(data), Counted).item(), step(next(data), Counted).item()
    Counted.rate = 0.5


@case(8)
def modules_that_are_compiled_themselves(wrap):
    """`net.forward = jit(net.forward)`, and `jit(net)`."""
    net = Pieces()
    whole, data = wrap(net), batches()
    net.forward = wrap(net.forward)
    with chainrule.no_grad():
        for change in (
            lambda: None,
            lambda: setattr(net, "scale", 2.0),
            lambda: setattr(net, "head", linear(4, 2, 9)),
            lambda: net.eval(),
        ):
            change()
            yield net(next(data)).numpy(), whole(next(data)).numpy(), net(next(data)).numpy()


@functools.lru_cache
def settings():
    """A single object that all share."""
    return Config()


@case(3)
def an_object_out_of_a_cache(wrap):
    settings.cache_clear()
    net = linear(3, 2)
    settings()

    @wrap
    def step(x):
        settings().depth = 5
        return net(x).sum() * settings().rate

    data = batches()
    with chainrule.no_grad():
        for rate in (0.5, 0.25, 0.5, 1.0):
            settings().rate, settings().depth = rate, 1
            yield step(next(data)).item(), settings().depth
            settings().depth = 2
            yield step(next(data)).item(), settings().depth


FACTOR = 2.0


class First(nn.Module):
    scale, offset = 1.0, 0.0

    def __init__(self):
        self.linear = linear(3, 2)

    def forward(self, x):
        return self.shifted(self.linear(x)) * FACTOR

    def shifted(self, x):
        return x + type(self).offset


class Second(First):
    def forward(self, x):
        return super().forward(x) * self.__class__.scale

    def shifted(self, x):
        return super().shifted(x) - 1


class Power:
    exponent = 2

    def __init__(self, base):
        self.base = base

    def __call__(self, x):
        return (x * self.base) ** self.exponent


@case(9)
def classes_and_their_bases(wrap):
    """Methods by `super()`, attributes by the class, special methods, objects that each call makes."""
    global FACTOR
    FACTOR, net, other, data = 2.0, Second(), Power(1.0), batches()
    members = [dict(vars(cls)) for cls in (First, Second, Power)]

    @wrap
    def step(x):
        return other(Power(0.5)(net(x))).mean()

    changes = [
        lambda: None,
        lambda: setattr(Second, "scale", 3.0),
        lambda: setattr(First, "offset", 0.5),
        lambda: setattr(First, "forward", lambda self, x: self.shifted(self.linear(x)) * FACTOR * 2),
        lambda: setattr(First, "shifted", lambda self, x: x * 2),
        lambda: setattr(Power, "__call__", lambda self, x: (x + self.base) ** self.exponent),
        lambda: setattr(Power, "__init__", lambda self, base: setattr(self, "base", base * 2)),
        lambda: setattr(Power, "exponent", 4),
        lambda: setattr(other, "exponent", 2),
    ]
    with chainrule.no_grad():
        for number, change in enumerate(changes):
            change()
            FACTOR = 3.0 if number == 4 else 2.0
            yield step(next(data)).item(), step(next(data)).item()
    for cls, before in zip((First, Second, Power), members, strict=True):
        for name, value in before.items():
            if name[:2] != "__" or name in ("__call__", "__init__"):
                setattr(cls, name, value)
        for name in vars(cls).keys() - before.keys():
            delattr(cls, name)


class Scaled(nn.Parameter):
    """A parameter with an attribute of its own."""

    scale = 1.0

    def scaled(self):
        return self * self.scale


@case(3)
def a_parameter_with_attributes(wrap):
    weight = Scaled(numbers(2, 3))

    @wrap
    def step(x):
        weight.grad = None
        loss = (x @ weight.scaled().T).square().mean()
        loss.backward()
        return loss

    data = batches()
    for scale in (1.0, 2.0, 0.5):
        weight.scale = scale
        yield step(next(data)).item(), weight.grad.numpy().copy()


class Agent:
    """A class of the user's own, whose method is compiled."""

    def __init__(self, wrap):
        self.actor, self.critic, self.gamma = build_network(), build_network(5), 0.9
        self.optimizer = optim.SGD([*self.actor.parameters(), *self.critic.parameters()], 0.1)
        self.learn = wrap(self.learn)
        self.weights = deque([1.0, 2.0], maxlen=2)

    def value(self, x):
        return self.critic(x).mean() * self.gamma

    def learn(self, x):
        self.optimizer.zero_grad()
        loss = ((self.actor(x) - self.value(x)) ** 2).mean() * self.weights[0]
        loss.backward()
        self.optimizer.step()
        return loss


@case(6)
def an_agent(wrap):
    agent, data = Agent(wrap), batches()

    def other(x):
        return agent.critic(x).sum() - agent.gamma

    for change in (
        lambda: None,
        lambda: setattr(agent, "critic", build_network(6)),
        lambda: setattr(agent, "gamma", 0.5),
        lambda: setattr(agent, "optimizer", optim.Adam(agent.actor.parameters(), 0.01)),
        lambda: setattr(agent, "value", other),
        lambda: agent.weights.append(7.0),
    ):
        change()
        for _ in range(2):
            yield agent.learn(next(data)).item(), weights(agent.actor, agent.critic)
            agent.critic.zero_grad()


@case(4)
def a_trainer(wrap):
    """The library's own loop: its network, loss and optimizer are replaced between two epochs."""
    x, y = numbers(20, 3), numbers(20, 2, seed=1)
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    net = build_network()
    trainer = Trainer(net, F.mse_loss, optim.SGD(net.parameters(), 0.1), loader, compiled=wrap is jit)

    def replace_network():
        trainer.network = build_network(8)
        trainer.optimizer = optim.SGD(trainer.network.parameters(), 0.1)

    for epoch, change in enumerate((
        lambda: None,
        lambda: setattr(trainer, "loss", F.l1_loss),
        lambda: setattr(trainer, "optimizer", optim.Adam(net.parameters(), 0.01)),
        replace_network,
    ), 1):  # fmt: skip
        change()
        yield trainer.fit(epoch)[-1]["train_loss"], weights(net, trainer.network)


@case(6)
def buffers_are_bound_anew(wrap):
    net = nn.Sequential(linear(3, 4), nn.BatchNorm1d(4, dtype=np.float64))
    step, data = training(wrap, net), batches()
    old = [net[1].running_mean, net[1].running_var]
    for change in (
        lambda: None,
        lambda: setattr(net[1], "running_mean", numbers(4, seed=2)),
        lambda: setattr(net[1], "momentum", 0.5),
        lambda: setattr(net[1], "eps", 0.1),
        lambda: setattr(net[1], "running_var", chainrule.from_numpy(np.ones(4) * 3)),
    ):
        change()
        for _ in range(2):
            yield step(next(data)).item(), weights(net), [b.numpy().copy() for b in (*net.buffers(), *old)]


@case(2)
def functions_that_are_wrapped(wrap):
    """Decorators, partial functions and methods hold the user's functions."""
    net, factor = build_network(), 2.0

    @chainrule.no_grad()
    def decay(p):
        p *= 1 - factor / 100

    def loss(out, power):
        return (out**power).mean() * factor

    losses = functools.partial(loss, power=2)

    @wrap
    def step(x):
        net.zero_grad()
        value = losses(net(x))
        value.backward()
        for p in net.parameters():
            decay(p)
        return value

    data = batches()
    for factor in (2.0, 3.0):  # noqa: B007  # that is what the functions read
        for _ in range(2):
            yield step(next(data)).item(), weights(net)


@case(2)
def a_compiled_function_in_another(wrap):
    net, factor = build_network(), 2.0
    loss = wrap(lambda out: (out**2).mean() * factor)
    step, data = training(wrap, net, optim.SGD(net.parameters(), 0.1), loss), batches()
    for factor in (2.0, 3.0):  # noqa: B007
        for _ in range(2):
            yield step(next(data)).item(), weights(net)


@case(2)
def what_is_not_read_may_change(wrap):
    """No new program for counters, names and settings that the step does not look at."""
    net, unread = build_network(), {"epoch": 0}
    net.epoch, net[0].note = 0, "first"
    step, data = training(wrap, net), batches()
    for epoch in range(4):
        unread["epoch"] = net.epoch = epoch
        net[0].note, net[0].in_features = f"epoch {epoch}", 3
        for _ in range(2):
            yield step(next(data)).item(), weights(net)


@case(3)
def what_is_put_back_has_its_program(wrap):
    net = Pieces()
    step, data = training(wrap, net), batches()
    heads = net.head, linear(4, 2, 3)
    for number in (0, 1, 0, 1, 0):
        net.head = heads[number]
        for _ in range(2):
            yield step(next(data)).item(), weights(net, *heads)


def flat(result):
    if isinstance(result, (tuple, list)):
        return [part for inner in result for part in flat(inner)]
    return [result]


@case(traces=6)
def defaults_and_code(wrap):
    def scaled(v=1.0, *, w=2.0):
        return v * w

    def another(v=1.0, *, w=2.0):
        return v + w + 10

    class Scale:
        def by(self, v=3.0):
            return v

    scale = Scale()
    step = wrap(lambda x: x * scaled() + scale.by())
    x = numbers(3)
    yield step(x)
    scaled.__defaults__ = (5.0,)
    yield step(x)
    scaled.__kwdefaults__["w"] = 7.0
    yield step(x)
    scaled.__kwdefaults__ = {"w": 9.0}
    yield step(x)
    scaled.__code__ = another.__code__
    yield step(x)
    Scale.by.__defaults__ = (4.0,)
    yield step(x)


@case(traces=3)
def defaults_and_code_of_step(wrap):
    def function(x, scale=2.0):
        return x * scale

    step = wrap(function)
    x = numbers(3)
    yield step(x)
    function.__defaults__ = (3.0,)
    yield step(x)
    function.__code__ = (lambda x, scale: x - scale).__code__
    yield step(x)


@case(traces=2)
def code_of_a_method(wrap):
    class Net(nn.Module):
        def forward(self, x):
            return self.part(x)

        def part(self, x):
            return x * 2

    net = Net()
    step = wrap(net)
    x = numbers(3)
    yield step(x)
    Net.part.__code__ = (lambda self, x: x * 3).__code__
    yield step(x)


@case(traces=4)
def views_of_dicts(wrap):
    scales, users = {"a": 1.0}, collections.UserDict(a=1.0)
    keys, values, items, others = scales.keys(), scales.values(), scales.items(), users.values()
    step = wrap(lambda x: x * sum(values) + len(keys) + sum(value for _, value in items) + sum(others))
    x = numbers(3)
    yield step(x)
    scales["a"] = 5.0
    yield step(x)
    scales["b"] = 2.0
    yield step(x)
    users["a"] = 3.0
    yield step(x)


@case(traces=4)
def memory_of_pythons_own(wrap):
    scales, levels, settings = array.array("d", [1.0, 2.0]), bytearray(b"abc"), (ctypes.c_float * 2)(1.0, 2.0)
    view = memoryview(levels)
    step = wrap(lambda x: x * scales[0] + levels[0] * view[1] + settings[0])
    x = numbers(3)
    yield step(x)
    scales[0] = 5.0
    yield step(x)
    levels[1] = 7
    yield step(x)
    settings[0] = 3.0
    yield step(x)


@case(traces=3)
def memory_that_the_step_changes(wrap):
    count, steps, levels = np.zeros(1), array.array("d", [0.0]), bytearray(1)

    def counted(x):
        count[0] += 1
        steps[0] += 1
        levels[0] += 1
        return x * float(count[0]) + steps[0] + levels[0]

    step = wrap(counted)
    x = numbers(3)
    for _ in range(3):
        yield step(x)
    yield list(count)


@case(traces=6)
def environment(wrap):
    def imports(x):
        from os import environ

        return x * float(environ.get("CHAINRULE_TEST_SCALE", "2"))

    by_name = wrap(lambda x: x * float(os.environ.get("CHAINRULE_TEST_SCALE", "2")))
    by_function = wrap(lambda x: x * float(os.getenv("CHAINRULE_TEST_SCALE", "2")))
    x = numbers(3)
    try:
        for step in (by_name, by_function, wrap(imports)):
            yield step(x)
            os.environ["CHAINRULE_TEST_SCALE"] = "3"
            yield step(x)
            del os.environ["CHAINRULE_TEST_SCALE"]
            yield step(x)
    finally:
        os.environ.pop("CHAINRULE_TEST_SCALE", None)


@case(traces=3)
def descriptor(wrap):
    class Scale:
        value = 1.0

        def __get__(self, instance, owner=None):
            return self.value

    class Holder:
        scale = Scale()

    holder = Holder()
    step = wrap(lambda x: x * holder.scale)
    x = numbers(3)
    yield step(x)
    Scale.value = 8.0
    yield step(x)
    vars(Holder)["scale"].value = 9.0
    yield step(x)


@case(traces=8)
def arrays_that_numpy_computes_with(wrap):
    class Table:
        def __init__(self):
            self.numbers = np.ones(5000, np.float32)

    many, wide, table, parts = np.zeros(3000), np.ones(900, complex), Table(), [np.ones((60, 60), np.int16)]
    objects = np.array([1.0, 2.0], object)
    step = wrap(
        lambda x: (
            x * (many * 2)[:3] + float(wide.real.sum()) + table.numbers[7].item() + int(parts[0].sum()) + objects[1]
        )
    )
    x = numbers(3)
    yield step(x)
    many[:] = 2
    yield step(x)
    wide[899] = 5
    yield step(x)
    table.numbers[7] = np.nan
    yield step(x)
    table.numbers[7] = 3
    yield step(x)
    parts[0][59, 59] = 9
    yield step(x)
    objects[1] = 4.0
    yield step(x)
    many.shape = 30, 100
    many[0, 0] = 4
    many.shape = 3000
    yield step(x)


@case(3)
def what_a_class_holds_read_by_type(wrap):
    class Scaled:
        factors: ClassVar = [1.0]
        by_name: ClassVar = {"bias": 0.0}

        def apply(self, x):
            return x * type(self).factors[-1] + self.__class__.by_name["bias"]

    scaled, inputs = Scaled(), batches()
    step = wrap(lambda x: scaled.apply(x))
    yield step(next(inputs))
    Scaled.factors.append(3.0)
    yield step(next(inputs))
    Scaled.by_name["bias"] = 2.0
    yield step(next(inputs))


@case(6)
def cached_properties(wrap):
    """A number and a tensor, which the first call computes, and which are deleted and assigned."""

    class Masked(nn.Module):
        def __init__(self):
            self.linear, self.width = linear(3, 2), 3

        @functools.cached_property
        def scale(self):
            return self.width / 2

        @functools.cached_property
        def mask(self):
            return numbers(self.width)

        def forward(self, x):
            return self.linear(x * self.mask) * self.scale

    class Filled:
        @functools.cached_property
        def mask(self):
            return chainrule.ones(3) * 2

    def made_inside(x):
        return Filled().mask.sum() + x

    net, inputs = Masked(), batches()
    step, inside = wrap(lambda x: net(x).detach()), wrap(made_inside)
    for _ in range(3):
        yield step(next(inputs)), inside(next(inputs))
    net.mask = numbers(3, seed=8)
    yield step(next(inputs)), inside(next(inputs))
    net.scale = 7.0
    yield step(next(inputs))
    del net.mask
    yield step(next(inputs))


@case(1)
def a_cached_number(wrap):
    class Setting:
        @functools.cached_property
        def scale(self):
            return 0.5

    setting = Setting()
    step = wrap(lambda x: x * setting.scale)
    yield step(numbers(3))
    yield step(numbers(3, seed=1))


@case(1)
def data_that_change(wrap):
    """The batches of a loader, and of a dataset by an index, with the numbers of each call."""
    data = TensorDataset(x := numbers(6, 3), chainrule.tensor([0, 1] * 3))
    net, picked = build_network(), chainrule.tensor([1, 4])

    def step():
        total = sum(F.cross_entropy(net(a), b) for a, b in DataLoader(data, batch_size=4, shuffle=False))
        return total.detach() + data[2][0].sum() + data[[0, 5]][0].mean() + data[picked][0].sum() + data[1:3][0].sum()

    step = wrap(step)
    for _ in range(3):
        yield step()
        x.mul_(1.5)


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_eager(name, monkeypatch):
    run, traces = CASES[name]
    traced = []
    monkeypatch.setattr(
        Compiled,
        "_trace_and_run",
        lambda self, *arguments, run=Compiled._trace_and_run: traced.append(self) or run(self, *arguments),
    )
    eager = [copy.deepcopy(flat(result)) for result in run(lambda function: function)]
    assert not traced
    compiled = [copy.deepcopy(flat(result)) for result in run(jit)]
    assert len(compiled) == len(eager) >= 2
    for position, (one, other) in enumerate(zip(compiled, eager, strict=True)):
        for actual, expected in zip(one, other, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-13, err_msg=f"result {position}")
    assert 0 < len(traced) <= traces
