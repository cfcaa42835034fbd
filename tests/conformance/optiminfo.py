"""PyTorch's own settings for its optimisers, run through ours.

PyTorch ships the settings that its optimisers are tested with (`optim_db`, a list of OptimizerInfo). For each of our
optimisers all of them run for 20 steps in PyTorch and in chainrule, from equal parameters: parameters and states must
agree at every step, with one group and with two, also where one library goes on from the other's state; so must the
rates of the schedules that the list names. Settings with arguments that are not ours must be refused by name, and what
PyTorch refuses must be refused here too.
"""

from __future__ import annotations

import types
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import chainrule
from chainrule import nn, optim
from chainrule.optim import lr_scheduler

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's test module warns about optional parts of its own
    from torch.testing._internal.common_optimizers import optim_db

NAMES = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")
ENTRIES = [entry for entry in optim_db if entry.name in NAMES]
WAYS_TO_RUN = ("foreach", "fused", "capturable", "differentiable")
STEPS, RELATIVE = 20, 1e-10
SHAPES = [(3, 4), (4,), (), (2, 1, 3), (5,)]


@dataclass
class Outcome:
    """What became of an entry's settings."""

    name: str
    total: int = 0
    passed: int = 0
    unsupported: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Pair:
    """The same parameters and the same optimiser in both libraries."""

    def __init__(self, name: str, options: dict[str, Any], groups: bool) -> None:
        self.name, self.options, self.groups = name, options, groups
        rng = np.random.default_rng(1)
        values = [rng.standard_normal(shape) for shape in SHAPES]
        self.ours = [nn.Parameter(np.array(v)) for v in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
        self.noise = np.random.default_rng(2)
        self.steps = 0
        self.our_optimizer = self.optimizer(optim, self.ours, converted(options))
        self.their_optimizer = self.optimizer(torch.optim, self.theirs, options)

    def optimizer(self, library: Any, parameters: list[Any], options: dict[str, Any]) -> Any:
        """An optimiser of all parameters, or of two groups that differ."""
        if self.groups:
            parameters = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.02, "weight_decay": 0.3}]
        return getattr(library, self.name)(parameters, **options)

    def step(self) -> None:
        """One step of both: gradients of a bowl, shaken; the last parameter never has one, the first not always."""
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            shake = self.noise.standard_normal(p.shape)
            if i == len(self.ours) - 1 or (i == 0 and self.steps % 3 == 1):
                p.grad = q.grad = None
            else:
                p.grad = chainrule.tensor(np.array(0.5 * p.numpy() + shake))
                q.grad = 0.5 * q.detach() + torch.tensor(shake)
        self.our_optimizer.step()
        self.their_optimizer.step()
        self.steps += 1

    def exchange_states(self) -> None:
        """Each library goes on, with a new optimiser, from the other's state."""
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
        """What is not alike, if anything."""
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            if not alike(p.numpy(), q):
                return f"after step {self.steps}, parameter {i} differs"
        mine, other = self.our_optimizer.state_dict(), self.their_optimizer.state_dict()
        if mine["state"].keys() != other["state"].keys():
            return f"after step {self.steps}, states of {list(mine['state'])}, not of {list(other['state'])}"
        for i, entries in other["state"].items():
            if list(mine["state"][i]) != list(entries):
                return f"after step {self.steps}, parameter {i} has {list(mine['state'][i])}, not {list(entries)}"
            for key, value in entries.items():
                if not alike(mine["state"][i][key], value):
                    return f"after step {self.steps}, {key} of parameter {i} differs"
        for i, (one, two) in enumerate(zip(mine["param_groups"], other["param_groups"], strict=True)):
            options = {
                k: float(v) if isinstance(v, torch.Tensor) else v for k, v in two.items() if k not in WAYS_TO_RUN
            }
            if one.keys() != options.keys():
                return f"group {i} has {sorted(one)}, not {sorted(options)}"
            for key, value in options.items():
                if not alike(one[key], value):
                    return f"after step {self.steps}, {key} of group {i} is {one[key]}, not {value}"
        return None


def alike(ours: Any, theirs: Any) -> bool:
    """Whether values agree, in shape and in numbers."""
    if not isinstance(theirs, torch.Tensor) and ours == theirs:
        return True
    one, two = np.asarray(ours), np.asarray(theirs.detach() if isinstance(theirs, torch.Tensor) else theirs)
    return one.shape == two.shape and bool((np.abs(one - two) <= RELATIVE * np.abs(two) + 1e-14).all())


def converted(value: Any, made: dict[int, Any] | None = None) -> Any:
    """A setting with our Tensors in the place of PyTorch's, the same one for the same one."""
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
    # the list names ways to run apart from the settings, and `capturable` for devices other than this one
    ways = [{way: True} for way in entry.supported_impls]
    ways += [s.kwargs for s in entry.optim_inputs_func(device="cuda") if "capturable" in s.kwargs]
    for options in [*settings, *ways]:
        outcome.total += 1
        where = f"{entry.name}({', '.join(f'{k}={v}' for k, v in options.items())})"
        not_ours = [name for name in options if name in WAYS_TO_RUN]
        try:
            faults = [fault for how in HOW if (fault := trajectory(entry.name, options, how))]
        except TypeError as error:
            if not_ours and any(f"'{name}'" in str(error) for name in not_ours):
                outcome.unsupported.append(f"{where}: {error}")
            else:
                outcome.wrong.append(f"{where}: raised {type(error).__name__}: {error}")
            continue
        outcome.wrong += [f"{where}: {fault}" for fault in faults]
        outcome.passed += not faults
    for makers in entry.scheduler_inputs:
        run_schedules(entry, makers, outcome)
    return outcome


HOW = ("one group", "two groups", "states exchanged")


def trajectory(name: str, options: dict[str, Any], how: str) -> str | None:
    """What is not alike on the way, if anything."""
    pair = Pair(name, options, groups=how != "one group")
    fault = pair.difference()
    for step in range(STEPS):
        if step == STEPS // 2 and how == "states exchanged":
            pair.exchange_states()
        pair.step()
        fault = fault or pair.difference()
    return fault and f"{how}: {fault}"


def run_schedules(entry: Any, makers: Any, outcome: Outcome) -> None:
    """Run schedules that act together on one optimiser; a maker is a function of it that calls one class."""
    outcome.total += 1
    names = [maker.__code__.co_names[0] for maker in makers]
    where = f"{entry.name} with {' and '.join(names)}"
    absent = [name for name in names if not hasattr(lr_scheduler, name)]
    if absent:
        outcome.unsupported.append(f"{where}: there is no {', '.join(absent)}")
        return
    pair = Pair(entry.name, {}, groups=True)
    theirs = [maker(pair.their_optimizer) for maker in makers]
    ours = [types.FunctionType(m.__code__, vars(lr_scheduler))(pair.our_optimizer) for m in makers]
    for _ in range(STEPS + 10):
        pair.step()
        for one, two in zip(ours, theirs, strict=True):
            measure = (0.5,) if isinstance(one, lr_scheduler.ReduceLROnPlateau) else ()
            one.step(*measure)
            two.step(*measure)
            if not alike(one.get_last_lr(), two.get_last_lr()):
                outcome.wrong.append(f"{where}: after step {pair.steps} {one.get_last_lr()}, not {two.get_last_lr()}")
                return
        if fault := pair.difference():
            outcome.wrong.append(f"{where}: {fault}")
            return
    outcome.passed += 1


def refusals(entry: Any) -> tuple[int, list[str]]:
    """How many settings PyTorch refuses, and those of them that we do not, or refuse with another kind of error."""
    faults = []
    cases = list(entry.optim_error_inputs_func(device="cpu", dtype=torch.float64))
    for case in cases:
        sample = case.optimizer_error_input
        made: dict[int, Any] = {}
        parameters = [nn.Parameter(np.ones(2))] if sample.params is None else converted(sample.params, made)
        try:
            getattr(optim, entry.name)(parameters, **converted(sample.kwargs, made))
        except (ValueError, TypeError):
            continue
        except Exception as error:  # told
            faults.append(f"{entry.name}, {sample.desc}: raised {type(error).__name__}: {error}")
        else:
            faults.append(f"{entry.name}, {sample.desc}: was taken; PyTorch says: {case.error_regex}")
    return len(cases), faults


def report() -> int:
    """Print, for each optimiser, settings passed / total / unsupported; returns the number of faults."""
    outcomes = [run(entry) for entry in ENTRIES]
    refused = [refusals(entry) for entry in ENTRIES]
    for outcome, (cases, taken) in zip(outcomes, refused, strict=True):
        bad = f"  {len(outcome.wrong)} WRONG" if outcome.wrong else ""
        bad += f"  {len(taken)} of {cases} errors not refused" if taken else ""
        print(f"{outcome.name:<48}{outcome.passed:>6} /{outcome.total:>6}  unsupported {len(outcome.unsupported)}{bad}")
    faults = [line for o in outcomes for line in o.wrong] + [line for _, lines in refused for line in lines]
    print(
        f"total: {len(outcomes)} optimisers; settings passed {sum(o.passed for o in outcomes)} / "
        f"{sum(o.total for o in outcomes)}, unsupported {sum(len(o.unsupported) for o in outcomes)}, "
        f"wrong {sum(len(o.wrong) for o in outcomes)}; errors refused "
        f"{sum(n for n, _ in refused) - sum(len(lines) for _, lines in refused)} / {sum(n for n, _ in refused)}"
    )
    for line in [line for o in outcomes for line in o.unsupported]:
        print("unsupported:", line)
    for line in faults:
        print("FAULT:", line)
    return len(faults)


if __name__ == "__main__":
    import sys

    torch.set_num_threads(1)
    sys.exit(1 if report() else 0)
