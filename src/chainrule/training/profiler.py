"""Where the time of a training step goes: by layer, and by kernel of the compiled step."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from chainrule.autograd import no_grad
from chainrule.capture import jit
from chainrule.errors import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.nn import Module
    from chainrule.optim import Optimizer
    from chainrule.tensor import Tensor


@dataclass
class Profile:
    """The times of a step, medians of several; `str()` is the report.

    Attributes:
        compiled: seconds of a compiled step.
        eager: seconds of an eager step.
        layers: for each module that calls no other, its path and the seconds of its forward pass, run eagerly.
        kernels: `explain()` of the compiled step: its stages with their times.
        examples: the number of examples in the batch.
    """

    compiled: float
    eager: float
    layers: list[tuple[str, float]]
    kernels: str
    examples: int

    def __str__(self) -> str:
        total = sum(seconds for _, seconds in self.layers) or 1.0
        width = max([len(name) for name, _ in self.layers], default=0)
        layers = [f"{name:<{width}}  {1e3 * s:>9.3f} ms  {s / total:>6.1%}" for name, s in self.layers]
        rates = [f"{1e3 * s:.3f} ms, {self.examples / s:,.0f} examples/s" for s in (self.compiled, self.eager)]
        return "\n".join([
            f"compiled step  {rates[0]}",
            f"eager step     {rates[1]}",
            "",
            "forward pass by layer, eager",
            *layers,
            "",
            "compiled step by kernel",
            self.kernels,
        ])  # fmt: skip


def profile(
    network: Module, loss: Callable[[Tensor, Tensor], Tensor], optimizer: Optimizer, inputs: Tensor, targets: Tensor,
    repeats: int = 10,
) -> Profile:  # fmt: skip
    """Measure a training step: forward, backward and update, which change the network's parameters.

    Args:
        network: the network.
        loss: maps its outputs and the targets to a scalar.
        optimizer: updates its parameters.
        inputs: a batch.
        targets: its targets.
        repeats: how many steps of each kind are measured, after two that are not.
    """
    check_integer("profile", "repeats", repeats, minimum=1)

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad()
        value = loss(network(inputs), targets)
        value.backward()
        optimizer.step()
        return value

    compiled = jit(step)
    seconds = [_measure(partial(function, inputs, targets), repeats) for function in (compiled, step)]
    layers = _forward_times(network, inputs, repeats)
    return Profile(seconds[0], seconds[1], layers, str(compiled.explain()), len(targets))


def _measure(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, after two that are not measured."""
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        call()
        if number >= 2:
            times.append(time.perf_counter() - start)
    return median(times)


def _forward_times(network: Module, inputs: Tensor, repeats: int) -> list[tuple[str, float]]:
    """Return the time of each module's forward pass, of those that call no other, in the order of their calls."""
    names = {id(module): f"{path}: {type(module).__name__}" for path, module in network.named_modules()}
    times: dict[int, list[float]] = {}
    started: list[tuple[int, float]] = []
    outer: set[int] = set()

    def before(module: Module, _: Any) -> None:
        if started:
            outer.add(started[-1][0])
        started.append((id(module), time.perf_counter()))

    def after(module: Module, _: Any, __: Any) -> None:
        key, start = started.pop()
        times.setdefault(key, []).append(time.perf_counter() - start)

    with ExitStack() as stack, no_grad():
        for module in network.modules():
            for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after)):
                stack.callback(handle.remove)
        for _ in range(repeats):
            network(inputs)
    inner = [(names[key], sum(values) / repeats) for key, values in times.items() if key not in outer]
    return inner or [(names[key], sum(values) / repeats) for key, values in times.items()]
