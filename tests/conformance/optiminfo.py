"""PyTorch's own settings for its optimizers, run through ours.

PyTorch ships the settings that its optimizers are tested with (`optim_db`, a list of OptimizerInfo). For each optimizer
in `NAMES`, all of them run for 12 steps in PyTorch and in chainrule, from equal parameters, in float64 and float32.
Parameters and states must agree after every step, with one parameter group and with two, also where each library
continues from the other's state; so must the learning rates of the schedulers that the list names. An argument that
chainrule does not have must be refused by name, and what PyTorch refuses must be refused here too.
"""

from __future__ import annotations

import inspect
import types
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import chainrule
from chainrule import nn, optim
from chainrule.optim import lr_scheduler

from .reports import Outcome, refused, show

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's test module warns about optional parts of its own
    from torch.testing._internal.common_optimizers import optim_db

NAMES = (
    "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "Muon",
)  # fmt: skip
ENTRIES = [entry for entry in optim_db if entry.name in NAMES]
WAYS_TO_RUN = ("foreach", "fused", "capturable", "differentiable")  # options of PyTorch that chainrule does not have
SCHEDULER_KEYS = ("max_lr", "min_lr", "base_momentum", "max_momentum")  # PyTorch's OneCycleLR adds them to groups
STEPS = 12
SHAPES = [(3, 4), (4,), (), (0,), (2, 1, 3), (5,)]
MATRICES = [(3, 4), (4, 4), (5, 2), (1, 3), (2, 1), (6, 5)]  # Muon takes no others
RELATIVE = {np.float64: 1e-13, np.float32: 2e-5}
"""The largest difference between numbers of an array, relative to the largest number in it."""


class Pair:
    """The same parameters and the same optimizer in both libraries."""

    def __init__(self, name: str, options: dict[str, Any], groups: bool, dtype: Any = np.float64) -> None:
        self.name, self.options, self.groups, self.relative = name, options, groups, RELATIVE[dtype]
        rng = np.random.default_rng(1)
        shapes = MATRICES if name == "Muon" else SHAPES
        values = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
        self.ours = [nn.Parameter(np.array(v)) for v in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
        self.noise = np.random.default_rng(2)
        self.steps = 0
        self.our_optimizer = self.optimizer(optim, self.ours, converted(options))
        self.their_optimizer = self.optimizer(torch.optim, self.theirs, options)

    def optimizer(self, library: Any, parameters: list[Any], options: dict[str, Any]) -> Any:
        """An optimizer of all parameters, or of two groups that differ."""
        if self.groups:
            other: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.3}
            if "momentum" in options and not options.get("nesterov"):
                other["momentum"] = 0.0
            other = {option: value for option, value in other.items() if option in self.known_options(library)}
            parameters = [{"params": parameters[:2]}, {"params": parameters[2:], **other}]
        return getattr(library, self.name)(parameters, **options)

    def known_options(self, library: Any) -> Any:
        """The parameters of the optimizer's constructor."""
        return inspect.signature(getattr(library, self.name)).parameters

    def step(self) -> None:
        """One step of both, with noisy gradients of a quadratic; the last parameter has none, the first sometimes none."""
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            shake = self.noise.standard_normal(p.shape) * 10 ** self.noise.uniform(-4, 2)
            if i == len(self.ours) - 1 or (i == 0 and self.steps % 3 == 1):
                p.grad = q.grad = None
            else:
                gradient = np.asarray(0.5 * p.numpy() + shake, p.dtype)
                p.grad, q.grad = chainrule.tensor(gradient), torch.tensor(gradient)
        self.our_optimizer.step()
        self.their_optimizer.step()
        self.steps += 1

    def exchange_states(self) -> None:
        """Give each library a new optimizer, with the state of the other library's."""
        mine, other = self.our_optimizer.state_dict(), self.their_optimizer.state_dict()
        self.our_optimizer = self.optimizer(optim, self.ours, converted(self.options))
        self.their_optimizer = self.optimizer(torch.optim, self.theirs, self.options)
        self.our_optimizer.load_state_dict(
            {
                "state": {
                    i: {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in entries.items()}
                    for i, entries in other["state"].items()
                },
                "param_groups": [converted(group) for group in other["param_groups"]],
            }
        )
        self.their_optimizer.load_state_dict(
            {
                "state": {
                    i: {k: torch.tensor(v, dtype=torch.float32 if k == "step" else None) for k, v in entries.items()}
                    for i, entries in mine["state"].items()
                },
                "param_groups": mine["param_groups"],
            }
        )

    def difference(self) -> str | None:
        """The first difference in parameters, states or options, if any."""
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            if not alike(p, q, self.relative):
                return f"after step {self.steps}, parameter {i} differs"
        mine, other = self.our_optimizer.state_dict(), self.their_optimizer.state_dict()
        if mine["state"].keys() != other["state"].keys():
            return f"after step {self.steps}, states of {list(mine['state'])}, not of {list(other['state'])}"
        for i, entries in other["state"].items():
            if list(mine["state"][i]) != list(entries):
                return f"after step {self.steps}, parameter {i} has {list(mine['state'][i])}, not {list(entries)}"
            for key, value in entries.items():
                if not alike(mine["state"][i][key], value, self.relative):
                    return f"after step {self.steps}, {key} of parameter {i} differs"
        for i, (one, two) in enumerate(zip(mine["param_groups"], other["param_groups"], strict=True)):
            options = {
                k: float(v) if isinstance(v, torch.Tensor) else v
                for k, v in two.items()
                if k not in WAYS_TO_RUN + SCHEDULER_KEYS
            }
            if one.keys() != options.keys():
                return f"group {i} has {sorted(one)}, not {sorted(options)}"
            for key, value in options.items():
                if not alike(one[key], value, self.relative):
                    return f"after step {self.steps}, {key} of group {i} is {one[key]}, not {value}"
        return None


def alike(ours: Any, theirs: Any, relative: float) -> bool:
    """Whether values agree in shape, type and numbers; the types of Python numbers are not compared."""
    if not isinstance(theirs, torch.Tensor) and ours == theirs:
        return True
    one, two = (np.asarray(x.detach() if hasattr(x, "detach") else x) for x in (ours, theirs))
    if one.shape != two.shape or (one.dtype != two.dtype and not isinstance(ours, (int, float))):
        return False
    return bool(np.abs(one - two).max(initial=0) <= relative * np.abs(two).max(initial=0) + 1e-16)  # for rounding at 0


def converted(value: Any, made: dict[int, Any] | None = None) -> Any:
    """A setting with chainrule's Parameters in place of PyTorch's Tensors, one for each, which `made` holds by id."""
    made = {} if made is None else made
    if isinstance(value, torch.Tensor):
        return made.setdefault(id(value), nn.Parameter(value.detach().numpy(), requires_grad=value.requires_grad))
    if isinstance(value, (list, tuple)):
        return type(value)(converted(part, made) for part in value)
    if isinstance(value, dict):
        return {key: converted(part, made) for key, part in value.items()}
    return value


def run(entry: Any) -> Outcome:
    """Run all settings of an entry, and its schedules."""
    outcome = Outcome(entry.name)
    settings = [sample.kwargs for sample in entry.optim_inputs_func(device="cpu")]
    # PyTorch lists these options apart from the settings, and `capturable` only for other devices
    ways = [{way: True} for way in entry.supported_impls]
    ways += [s.kwargs for s in entry.optim_inputs_func(device="cuda") if "capturable" in s.kwargs]
    for options in [*settings, *ways]:
        outcome.total += 1
        where = f"{entry.name}({', '.join(f'{k}={v}' for k, v in options.items())})"
        unsupported = [name for name in options if name in WAYS_TO_RUN]
        try:
            faults = trajectories(entry.name, options)
        except TypeError as error:
            if any(f"'{name}'" in str(error) for name in unsupported):
                outcome.unsupported.append(str(error))
            else:
                outcome.wrong.append(f"{where}: raised {type(error).__name__}: {error}")
            continue
        outcome.wrong += [f"{where}: {fault}" for fault in faults]
        outcome.passed += not faults
    for makers in entry.scheduler_inputs:
        run_schedules(entry, makers, outcome)
    return outcome


def trajectories(name: str, options: dict[str, Any]) -> list[str]:
    """The differences in each type: with one parameter group, with two, and with states exchanged halfway."""
    ways = [(how, dtype) for how in ("one group", "two groups", "states exchanged") for dtype in RELATIVE]
    return [fault for how, dtype in ways if (fault := _trajectory(name, options, how, dtype))]


@contextmanager
def in_the_type_of_the_parameters() -> Iterator[None]:
    """Make PyTorch keep numbers of states in float64, and Muon compute in the parameters' type, not in bfloat16."""
    default, bfloat16 = torch.get_default_dtype(), torch.Tensor.bfloat16
    torch.set_default_dtype(torch.float64)
    torch.Tensor.bfloat16 = torch.Tensor.clone
    try:
        yield
    finally:
        torch.set_default_dtype(default)
        torch.Tensor.bfloat16 = bfloat16


@in_the_type_of_the_parameters()
def _trajectory(name: str, options: dict[str, Any], how: str, dtype: Any) -> str | None:
    options = {key: value.double() if isinstance(value, torch.Tensor) else value for key, value in options.items()}
    pair = Pair(name, options, groups=how != "one group", dtype=dtype)
    fault = pair.difference()
    for step in range(STEPS):
        if step == STEPS // 2 and how == "states exchanged":
            pair.exchange_states()
        pair.step()
        fault = fault or pair.difference()
    return fault and f"{how}, {dtype.__name__}: {fault}"


@in_the_type_of_the_parameters()
def run_schedules(entry: Any, makers: Any, outcome: Outcome) -> None:
    """Compare schedulers that change one optimizer together; each of `makers` takes it and calls one class."""
    outcome.total += 1
    names = [maker.__code__.co_names[0] for maker in makers]
    where = f"{entry.name} with {' and '.join(names)}"
    absent = [name for name in names if not hasattr(lr_scheduler, name)]
    if absent:
        outcome.unsupported.append(f"chainrule has no {', '.join(absent)}")
        return
    pair = Pair(entry.name, {}, groups=True)
    theirs = [maker(pair.their_optimizer) for maker in makers]
    ours = [types.FunctionType(m.__code__, vars(lr_scheduler))(pair.our_optimizer) for m in makers]
    for _ in range(30):
        pair.step()
        for one, two in zip(ours, theirs, strict=True):
            measure = (0.5,) if isinstance(one, lr_scheduler.ReduceLROnPlateau) else ()
            one.step(*measure)
            two.step(*measure)
            if not alike(one.get_last_lr(), two.get_last_lr(), pair.relative):
                outcome.wrong.append(f"{where}: after step {pair.steps} {one.get_last_lr()}, not {two.get_last_lr()}")
                return
        if fault := pair.difference():
            outcome.wrong.append(f"{where}: {fault}")
            return
    outcome.passed += 1


def refusals(entry: Any) -> tuple[int, list[str]]:
    """The number of settings that PyTorch refuses, and a line for each that chainrule does not refuse properly."""
    faults: list[str] = []
    cases = list(entry.optim_error_inputs_func(device="cpu", dtype=torch.float64))
    for case in cases:
        sample = case.optimizer_error_input
        made: dict[int, Any] = {}
        with refused(f"{entry.name}, {sample.desc}", case.error_regex, faults, kinds=(ValueError, TypeError)):
            parameters = [nn.Parameter(np.ones(2))] if sample.params is None else converted(sample.params, made)
            getattr(optim, entry.name)(parameters, **converted(sample.kwargs, made))
    return len(cases), faults


def report(chosen: str = "") -> int:
    """Print, for each optimizer, the settings passed, in total and unsupported; returns the number of faults."""
    return show("OptimizerInfo", ((run(entry), refusals(entry)) for entry in ENTRIES if chosen in entry.name))
