"""Averages of a model's weights over its training: stochastic weight averaging, and exponential moving averages.

Sources: Izmailov et al., Averaging weights leads to wider optima and better generalization (2018); the average over
all steps: Polyak and Juditsky, Acceleration of stochastic approximation by averaging (1992).
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from chainrule.autograd import no_grad
from chainrule.autograd.mode import refuse_while_tracing
from chainrule.errors import check, check_integer, require_numbers
from chainrule.lower.eager import update
from chainrule.nn.module import Module
from chainrule.nn.normalization import BatchNorm1d, BatchNorm2d
from chainrule.optim.lr_scheduler.base import LRScheduler, per_group
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chainrule.optim.optimizer import Optimizer

    Average: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
    MultiAverage: TypeAlias = Callable[[list[Tensor], list[Tensor], int], None]

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """Return the function (average, parameter, count) → decay · average + (1 - decay) · parameter.

    Raises:
        ValueError: a decay outside [0, 1].
    """
    _check_decay("get_ema_avg_fn", decay)
    return lambda average, parameter, count: decay * average + (1 - decay) * parameter


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """Return the same as `get_ema_avg_fn` for lists of Tensors, whose averages are changed in place."""
    _check_decay("get_ema_multi_avg_fn", decay)
    return lambda averages, parameters, count: _move(averages, parameters, 1 - decay)


def get_swa_avg_fn() -> Average:
    """Return the function (average, parameter, count) → average + (parameter - average) / (count + 1)."""
    return lambda average, parameter, count: average + (parameter - average) / (count + 1)


def get_swa_multi_avg_fn() -> MultiAverage:
    """Return the same as `get_swa_avg_fn` for lists of Tensors, whose averages are changed in place."""
    return lambda averages, parameters, count: _move(averages, parameters, 1 / (count + 1))


def _check_decay(owner: str, decay: float) -> None:
    require_numbers(owner, decay=decay)
    check(owner, 0 <= decay <= 1, f"decay must be from 0 to 1, got {decay}")


def _move(averages: Sequence[Tensor], parameters: Sequence[Tensor], rate: float) -> None:
    """Move each average in place: average ← average + rate (parameter - average); integers become the parameter's."""
    for average, parameter in zip(averages, parameters, strict=True):
        if average.dtype.kind == "f":
            update(_moved, [average._data], [parameter._data], rate)
            average._version[0] += 1
        else:
            average.copy_(parameter)


def _moved(average: Any, parameter: Any, rate: Any) -> Any:
    return (average + rate * (parameter - average),)


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's; a call runs the copy.

    By default the mean of the parameters at all calls of `update_parameters`. Call that after the steps to average,
    outside a compiled function, then `update_bn` if the model has batch normalization, and use this model.

    Args:
        model: the model; it is copied.
        device: None or "cpu".
        avg_fn: computes a new average from (average, parameter, number of averaged models), as `get_ema_avg_fn`.
        multi_avg_fn: the same for lists of all averages and parameters, in place, as `get_ema_multi_avg_fn`.
        use_buffers: average the buffers as well, those that are floats; otherwise they are copied from the model.

    Attributes:
        module: the copy.
        n_averaged: a buffer, the number of calls of `update_parameters`.

    Raises:
        ValueError: both functions are given.
        TypeError: the model is not a Module.

        import chainrule
        from chainrule import nn
        from chainrule.optim.swa_utils import AveragedModel

        model = nn.Linear(1, 1, bias=False)
        average = AveragedModel(model)
        for value in (1.0, 2.0, 6.0):
            nn.init.constant_(model.weight, value)
            average.update_parameters(model)
        average(chainrule.ones(1)).item()  # 3.0
    """

    n_averaged: Tensor

    def __init__(
        self, model: Module, device: str | None = None, avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        check(self, isinstance(model, Module), f"takes a module, not {type(model).__name__}", TypeError)
        check(self, device in (None, "cpu"), f'device must be None or "cpu", not {device!r}')
        check(self, avg_fn is None or multi_avg_fn is None, "takes avg_fn or multi_avg_fn, not both")
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", Tensor(np.array(0)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the averaged copy."""
        return self.module(*inputs, **options)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Add the model's present parameters to the averages. The first call copies them.

        Raises:
            ValueError: the model's parameters or buffers do not fit the copy's.
        """
        refuse_while_tracing("update_parameters()")
        averages: list[Tensor] = [*self.module.parameters()]
        parameters: list[Tensor] = [*model.parameters()]
        copies, originals = [*self.module.buffers()], [*model.buffers()]
        own_shapes, shapes = [t.shape for t in averages + copies], [t.shape for t in parameters + originals]
        check(self, own_shapes == shapes, "the parameters and buffers must have the shapes of the copied model's")
        if self.use_buffers:
            averages, parameters, copies, originals = averages + copies, parameters + originals, [], []
        count = int(self.n_averaged)
        if count == 0:
            copies, originals = copies + averages, originals + parameters
        elif self.avg_fn is not None:
            for average, parameter in zip(averages, parameters, strict=True):
                average.copy_(self.avg_fn(average.detach(), parameter.detach(), count))
        else:
            average_all = self.multi_avg_fn or get_swa_multi_avg_fn()
            average_all([t.detach() for t in averages], [t.detach() for t in parameters], count)
        for copied, original in zip(copies, originals, strict=True):
            copied.copy_(original)
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: str | None = None) -> None:
    """Compute the running statistics of a model's batch normalizations anew, as means over all batches.

    Args:
        loader: yields batches of inputs, or tuples or lists whose first item they are.
        model: the model, such as an AveragedModel; its modes are restored.
        device: None or "cpu".
    """
    check("update_bn", device in (None, "cpu"), f'device must be None or "cpu", not {device!r}')
    layers = [module for module in model.modules() if isinstance(module, (BatchNorm1d, BatchNorm2d))]
    if not layers:
        return
    modes, momenta = [(m, m.training) for m in model.modules()], [layer.momentum for layer in layers]
    try:
        model.train()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
        for batch in loader:
            model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training


class SWALR(LRScheduler):
    """Moves the rate to `swa_lr` in `anneal_epochs` steps, and keeps it there.

    Args:
        optimizer: the optimizer whose learning rates are set.
        swa_lr: the last rate, one for all groups or one per group.
        anneal_epochs: the number of steps.
        anneal_strategy: along a cosine, "cos", or "linear".
        last_epoch: the step to continue from; -1 to start.

    Raises:
        ValueError: negative anneal_epochs, or an unknown strategy.
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: float | Sequence[float], anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.swa_lrs = per_group(self, optimizer, "swa_lr", swa_lr)
        check_integer(self, "anneal_epochs", anneal_epochs, minimum=0)
        self.anneal_epochs = anneal_epochs
        self.anneal_strategy = self._check_choice("anneal_strategy", anneal_strategy, "cos", "linear")
        super().__init__(optimizer, last_epoch)

    def _add_group(self, group: dict[str, Any]) -> None:
        self.swa_lrs.append(self._shared_option("swa_lr"))
        super()._add_group(group)

    def get_lr(self) -> Sequence[float]:
        """Return the rates at this step, from the present ones, of which another schedule may have set some."""
        previous, share = self._share(self.last_epoch - 1), self._share(self.last_epoch)
        rates = []
        for rate, last in zip(self._scaled_rates(), self.swa_lrs, strict=True):
            first = last if previous == 1 else (rate - previous * last) / (1 - previous)
            rates.append(last * share + first * (1 - share))
        return rates

    def _share(self, step: int) -> float:
        """Return the share of the last rate at a step: 0 at first, then 1."""
        if self.anneal_epochs == 0:
            return float(step >= 0)
        progress = max(0.0, min(1.0, step / self.anneal_epochs))
        return progress if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * progress)) / 2
