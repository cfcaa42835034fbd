"""Averages of a model's weights during training: stochastic weight averaging, and exponential moving averages.

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
    """Return the same function as `get_ema_avg_fn`, but for lists of Tensors; it changes the averages in place."""
    _check_decay("get_ema_multi_avg_fn", decay)
    return lambda averages, parameters, count: _update_averages(averages, parameters, 1 - decay)


def get_swa_avg_fn() -> Average:
    """Return the function (average, parameter, count) → average + (parameter - average) / (count + 1)."""
    return lambda average, parameter, count: average + (parameter - average) / (count + 1)


def get_swa_multi_avg_fn() -> MultiAverage:
    """Return the same function as `get_swa_avg_fn`, but for lists of Tensors; it changes the averages in place."""
    return lambda averages, parameters, count: _update_averages(averages, parameters, 1 / (count + 1))


def _check_decay(owner: str, decay: float) -> None:
    require_numbers(owner, decay=decay)
    check(owner, 0 <= decay <= 1, f"decay must be from 0 to 1, got {decay}")


def _update_averages(averages: Sequence[Tensor], parameters: Sequence[Tensor], rate: float) -> None:
    """Set each average to average + rate (parameter - average), in place; set integers to the parameter's."""
    for average, parameter in zip(averages, parameters, strict=True):
        if average.dtype.kind == "f":
            update(_interpolate, [average._data], [parameter._data], rate)
            average._version[0] += 1
        else:
            average.copy_(parameter)


def _interpolate(average: Any, parameter: Any, rate: Any) -> Any:
    return (average + rate * (parameter - average),)


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's; a call runs the copy.

    By default, an average is the mean of the parameter at all calls of `update_parameters`. Call that after each step
    to be averaged, outside compiled functions. At the end, call `update_bn` if the model has batch normalization.

    Args:
        model: the model to copy.
        device: None or "cpu".
        avg_fn: computes the new average from the average, the parameter and the number of calls so far, like the result
            of `get_ema_avg_fn`.
        multi_avg_fn: changes lists of averages in place, like the result of `get_ema_multi_avg_fn`.
        use_buffers: whether to average floating buffers, too; all other buffers are copied from the model.

    Attributes:
        module: the copy.
        n_averaged: a buffer, the number of calls of `update_parameters`.

    Raises:
        ValueError: both functions are passed, or a device other than the CPU.
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
        """Update the averages with the model's current parameters; the first call copies them.

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
                is_float = average.dtype.kind == "f"
                average.copy_(self.avg_fn(average.detach(), parameter.detach(), count) if is_float else parameter)
        else:
            average_all = self.multi_avg_fn or get_swa_multi_avg_fn()
            average_all([t.detach() for t in averages], [t.detach() for t in parameters], count)
        for copied, original in zip(copies, originals, strict=True):
            copied.copy_(original)
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: str | None = None) -> None:
    """Recompute the running statistics of a model's batch normalization layers, as means over all batches.

    Args:
        loader: yields batches of inputs, or tuples or lists whose first item is a batch of inputs.
        model: the model, such as an AveragedModel; it computes in training mode, and its modes are restored afterwards.
        device: None or "cpu".
    """
    check("update_bn", device in (None, "cpu"), f'device must be None or "cpu", not {device!r}')
    layers = [module for module in model.modules() if isinstance(module, (BatchNorm1d, BatchNorm2d))]
    if not layers:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
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
    """Changes the rate to `swa_lr` in `anneal_epochs` steps, and then keeps it.

    Args:
        optimizer: the optimizer whose learning rates are set.
        swa_lr: the final rate, one for all groups or one per group.
        anneal_epochs: the number of steps.
        anneal_strategy: "cos" for half a cosine, or "linear".
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
        """Return the rates at this step, computed from the current rates, which another scheduler may have changed."""
        previous_weight, weight = self._swa_weight(self.last_epoch - 1), self._swa_weight(self.last_epoch)
        rates = []
        for rate, final in zip(self._scaled_rates(), self.swa_lrs, strict=True):
            initial = final if previous_weight == 1 else (rate - previous_weight * final) / (1 - previous_weight)
            rates.append(final * weight + initial * (1 - weight))
        return rates

    def _swa_weight(self, step: int) -> float:
        """Return the weight of `swa_lr` in the rate at a step: it rises from 0 to 1."""
        if self.anneal_epochs == 0:
            return float(step >= 0)
        progress = max(0.0, min(1.0, step / self.anneal_epochs))
        return progress if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * progress)) / 2
