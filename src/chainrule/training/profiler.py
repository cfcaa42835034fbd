"""Measures a training step: the time of each layer, and of each stage of the compiled step."""

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


WARM_UP_CALLS = 2
"""Number of calls before those that are measured: the first one compiles."""


@dataclass
class Profile:
    """The times of a training step; `str()` returns the report.

    Attributes:
        compiled: the median time of a compiled step, in seconds.
        eager: the median time of an eager step, in seconds.
        layers: for each module that does not call other modules, its path and class, and the mean time of its eager
            forward pass, in seconds.
        stages: the report of the compiled step's `explain()`: its stages and their times.
        examples: the number of examples in the batch.
    """

    compiled: float
    eager: float
    layers: list[tuple[str, float]]
    stages: str
    examples: int
    kernels = property(lambda self: self.stages)  # the former name

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
            "compiled step by stage",
            self.stages,
        ])  # fmt: skip


def profile(
    network: Module, loss: Callable[[Tensor, Tensor], Tensor], optimizer: Optimizer, inputs: Tensor, targets: Tensor,
    repeats: int = 10,
) -> Profile:  # fmt: skip
    """Measure a training step: forward, backward and update. The steps change the network's parameters.

    Args:
        network: the network.
        loss: maps the network's outputs and the targets to a scalar.
        optimizer: updates the network's parameters.
        inputs: the inputs of a batch.
        targets: the targets of the batch.
        repeats: the number of compiled steps, of eager steps and of forward passes that are measured.
    """
    check_integer("profile", "repeats", repeats, minimum=1)

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad()
        value = loss(network(inputs), targets)
        value.backward()
        optimizer.step()
        return value

    compiled_step = jit(step)
    compiled_time = _measure(partial(compiled_step, inputs, targets), repeats)
    eager_time = _measure(partial(step, inputs, targets), repeats)
    layers = _forward_times(network, inputs, repeats)
    return Profile(compiled_time, eager_time, layers, str(compiled_step.explain()), len(targets))


def _measure(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call in seconds, after `WARM_UP_CALLS`."""
    times = []
    for index in range(WARM_UP_CALLS + repeats):
        start = time.perf_counter()
        call()
        if index >= WARM_UP_CALLS:
            times.append(time.perf_counter() - start)
    return median(times)


def _forward_times(network: Module, inputs: Tensor, repeats: int) -> list[tuple[str, float]]:
    """Return the name and mean time per forward pass of each module that does not call other modules, in call order.

    If there are none, since the modules call each other recursively, all modules are returned.
    """
    names = {id(module): f"{path}: {type(module).__name__}" for path, module in network.named_modules()}
    times: dict[int, list[float]] = {}
    running_calls: list[tuple[int, float]] = []  # module id and start time of each forward pass that is running
    callers: set[int] = set()  # ids of the modules that call other modules

    def start_timer(module: Module, _: Any) -> None:
        if running_calls:
            callers.add(running_calls[-1][0])
        running_calls.append((id(module), time.perf_counter()))

    def stop_timer(module: Module, _: Any, __: Any) -> None:
        module_id, start = running_calls.pop()
        times.setdefault(module_id, []).append(time.perf_counter() - start)

    with ExitStack() as stack, no_grad():
        for module in network.modules():
            for handle in (module.register_forward_pre_hook(start_timer), module.register_forward_hook(stop_timer)):
                stack.callback(handle.remove)
        for _ in range(repeats):
            network(inputs)
    # A module that is called several times in a forward pass has the sum of these times
    means = {module_id: sum(values) / repeats for module_id, values in times.items()}
    # In each chain of calls, the last module calls no other, unless modules call themselves or each other recursively
    innermost = [(names[module_id], mean) for module_id, mean in means.items() if module_id not in callers]
    return innermost or [(names[module_id], mean) for module_id, mean in means.items()]
