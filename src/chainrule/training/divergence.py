"""Finds the step and the layer where a training run diverged, by replaying it from its last checkpoint.

A compiled step has updated the weights before its loss is known to be NaN. The replay takes the same steps to the same
bits, up to the update that made the weights invalid, or so large that the next outputs are invalid. The state before
it is kept, so that `change_run` can go back to it, and the failing step is taken once more, eagerly.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.training import experiment
from chainrule.training import resume as resuming
from chainrule.training.callbacks import Checkpoint, StopAugmentation, StopOnNaN, first_bad_layer
from chainrule.training.replay import CanceledError
from chainrule.training.trainer import Callback, Interrupted, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.nn import Module, Parameter
    from chainrule.tensor import Tensor
    from chainrule.training.run import Run
    from chainrule.training.task import Data


@dataclass(frozen=True)
class Divergence:
    """Where a run diverged.

    Attributes:
        step: the first step whose loss, gradients or update are not finite, counted from 1 and the start of training.
        epoch: its epoch, from 1.
        where: a phrase that names the layer where it began, to end a sentence with.
        last_good: the last step before the update that went wrong. Its state is now kept, so that training can continue
            from it with a smaller rate. None if the last checkpoint is later.
    """

    step: int
    epoch: int
    where: str
    last_good: int | None


def locate(run: Run, data: Data, is_canceled: Callable[[], bool] = lambda: False) -> Divergence | None:
    """Replay a run that diverged, and keep the state before it as `checkpoint/step-S.safetensors`.

    Args:
        run: the run; its last checkpoint is read.
        data: the data set named in its config.
        is_canceled: called after each step of the replay; if it returns True, the search ends.

    Returns:
        Where it diverged; None if all steps of the epoch are finite, and only the validation loss is not.

    Raises:
        CanceledError: the search was canceled.
        RunError: the checkpoint is missing or damaged.
    """
    finder = _Finder(is_canceled)
    trainer = _replay(run, data, finder)
    if finder.step is None:
        return None
    epoch = (finder.step - 1) // len(trainer.loader) + 1
    if finder.start == finder.step:
        return Divergence(finder.step, epoch, f"{_bad_weight(trainer.network)} in the last checkpoint", None)
    last_good = finder.step - (1 if finder.in_update else 2)
    examiner = _Examiner(last_good, finder.step, is_canceled)
    _replay(run, data, examiner)
    return Divergence(finder.step, epoch, examiner.where, last_good if last_good >= finder.start else None)


def _replay(run: Run, data: Data, callback: Callback) -> Trainer:
    """Continue training from the last checkpoint, writing nothing, until the callback stops it or the epoch ends."""
    trainer = experiment.prepare(run, data)
    resuming.resume(run, trainer)
    # Callbacks that do not affect the numbers are not called, but keep their states, which are saved with the trainer's
    others = [other for other in trainer.callbacks if not isinstance(other, StopOnNaN)]
    trainer.callbacks = [callback, *(o if isinstance(o, StopAugmentation) else _Uncalled(o) for o in others)]
    trainer.validate = None
    with suppress(Interrupted):
        trainer.fit(run.config["training"]["epochs"])
    return trainer


class _Uncalled(Callback):
    """Takes the place of a callback: it has the same state, and does nothing when it is called."""

    def __init__(self, other: Callback) -> None:
        self.other = other

    def state_dict(self) -> dict[str, Any]:
        return self.other.state_dict()


def _check_canceled(is_canceled: Callable[[], bool], trainer: Trainer) -> None:
    if is_canceled():
        raise CanceledError(f"the search for the step was canceled at step {trainer.total_steps:,}")


class _Finder(Callback):
    """Finds the first step that is not finite.

    Args:
        is_canceled: see `locate`.

    Attributes:
        start: the step of the checkpoint.
        step: the first step that is not finite; None if there is none.
        in_update: whether its loss is finite, but its update is not.
    """

    start = 0
    step: int | None = None
    in_update = False

    def __init__(self, is_canceled: Callable[[], bool]) -> None:
        self.is_canceled = is_canceled

    def on_start(self, trainer: Trainer) -> None:
        self.start = trainer.total_steps
        if _bad_weight(trainer.network):
            self.step = self.start
            raise Interrupted

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        if not math.isfinite(loss):
            self.step = trainer.total_steps + 1
            raise Interrupted

    def on_step(self, trainer: Trainer) -> None:
        if _bad_weight(trainer.network):
            self.step, self.in_update = trainer.total_steps, True
            raise Interrupted
        _check_canceled(self.is_canceled, trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        raise Interrupted


class _Examiner(Callback):
    """Keeps the state after step `last_good`, and takes step `failing` eagerly to see where it breaks."""

    def __init__(self, last_good: int, failing: int, is_canceled: Callable[[], bool]) -> None:
        self.last_good, self.failing, self.is_canceled = last_good, failing, is_canceled
        self.where = "only the compiled step gives a loss that is not finite; the eager one does not"

    def on_start(self, trainer: Trainer) -> None:
        self.on_step(trainer)

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        if not math.isfinite(loss):
            if inputs is not None:  # not in shards
                self.where = _large_output(trainer, inputs) or first_bad_layer(trainer.network, inputs)
            raise Interrupted

    def on_step(self, trainer: Trainer) -> None:
        step = trainer.total_steps
        if step == self.last_good:
            checkpoints = [c.other for c in trainer.callbacks if isinstance(c, _Uncalled)]
            next(c for c in checkpoints if isinstance(c, Checkpoint)).keep_state(trainer)
        if step == self.failing - 1:
            trainer.compiled = False
        if step == self.failing:
            self.where = _bad_gradient(trainer.network) or _bad_weight(trainer.network) or self.where
            raise Interrupted
        _check_canceled(self.is_canceled, trainer)


def _large_output(trainer: Trainer, inputs: Tensor) -> str:
    """Describe the outputs if they are finite, and so large that the loss is not; else return ""."""
    with no_grad():
        outputs = trainer.network(inputs).numpy()
    if not np.isfinite(outputs).all() or _bad_weight(trainer.network):
        return ""
    layer = [name for name, _ in trainer.network.named_parameters()][-1].rpartition(".")[0]
    largest = np.abs(outputs).max()
    return f"the outputs of the last layer, {layer!r}, reach {largest:.2g}, which is too large for the loss"


def _last_bad(network: Module, array: Callable[[Parameter], Any]) -> str:
    """Describe the last parameter whose array is not finite, the first that backward reaches; "" if there is none."""
    for name, parameter in reversed([*network.named_parameters()]):
        values = array(parameter)
        if values is not None and not np.isfinite(values.numpy()).all():
            layer, _, own = name.rpartition(".")
            return f"{own} of layer {layer!r}"
    return ""


def _bad_gradient(network: Module) -> str:
    bad = _last_bad(network, lambda parameter: parameter.grad)
    return f"the first values that are not finite are in the gradient of the {bad}" if bad else ""


def _bad_weight(network: Module) -> str:
    bad = _last_bad(network, lambda parameter: parameter)
    return f"the first values that are not finite are in the {bad}" if bad else ""
