"""Finds the step and the layer where a training run diverged, by training again from its last checkpoint.

A compiled step has updated the weights before its loss is known to be NaN, so the cause must be found afterwards. The
steps after the checkpoint are taken twice, with bitwise identical results. The first pass ends when the loss or the
weights are not finite. The second pass keeps the state before the faulty update, so that `changes.change_run` can go
back to it, and takes the failing step eagerly to find the layer. In a run with shards, it takes this step as the run
did: if the loss is not finite, the layer remains unknown.

`replay.RunReplay` does not fit: it never writes, while this search must keep a state in the run's folder. It is also
more general than needed, since all steps searched are after the run's last checkpoint.
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
        step: the first step whose loss or update is not finite, counted from 1 since the start of training.
        epoch: the epoch of this step, from 1.
        where: where the first invalid values are, such as the layer: a clause for the end of a message.
        last_good: the last step before the faulty update. Its state is now kept, so that training can continue from it
            with a smaller learning rate. None if the last checkpoint is later.
    """

    step: int
    epoch: int
    where: str
    last_good: int | None


def locate(run: Run, data: Data, is_canceled: Callable[[], bool] = lambda: False) -> Divergence | None:
    """Find where a run diverged, and keep the state before the faulty update (see `Checkpoint.keep_state`).

    Args:
        run: the run; the search starts from its last checkpoint.
        data: the data set named in its config.
        is_canceled: called after each step; if it returns True, the search ends.

    Returns:
        Where the run diverged; None if all steps up to the end of the checkpoint's epoch are finite. Then only the
        validation loss may be invalid.

    Raises:
        CanceledError: the search was canceled.
        RunError: the checkpoint is missing or damaged.
    """
    finder = _Finder(is_canceled)
    trainer = _train_again(run, data, finder)
    if finder.step is None:
        return None
    epoch = (finder.step - 1) // len(trainer.loader) + 1
    if finder.start == finder.step:  # the weights in the checkpoint are invalid
        return Divergence(finder.step, epoch, f"{_bad_weight(trainer.network)} in the last checkpoint", None)
    # If the loss is not finite although the weights are, the previous step's update has made the weights too large
    last_good = finder.step - 1 if finder.is_in_update else finder.step - 2
    examiner = _Examiner(last_good, finder.step, is_canceled)
    _train_again(run, data, examiner)
    return Divergence(finder.step, epoch, examiner.where, last_good if last_good >= finder.start else None)


def _train_again(run: Run, data: Data, callback: Callback) -> Trainer:
    """Continue training from the last checkpoint until `callback` ends it, without calling the callbacks that write."""
    trainer = experiment.prepare(run, data)
    resuming.resume(run, trainer)
    # Only `StopAugmentation` affects the steps. The other callbacks are not called, but their states remain part of the
    # trainer's state, which `_Examiner` saves
    own_callbacks = [own for own in trainer.callbacks if not isinstance(own, StopOnNaN)]
    trainer.callbacks = [
        callback,
        *(own if isinstance(own, StopAugmentation) else _StateOnly(own) for own in own_callbacks),
    ]
    trainer.validate = None
    with suppress(Interrupted):
        trainer.fit(run.config["training"]["epochs"])
    return trainer


class _StateOnly(Callback):
    """Takes the place of a callback: it has the same state, but does nothing when it is called."""

    def __init__(self, original: Callback) -> None:
        self.original = original

    def state_dict(self) -> dict[str, Any]:
        return self.original.state_dict()


def _check_canceled(is_canceled: Callable[[], bool], trainer: Trainer) -> None:
    if is_canceled():
        raise CanceledError(f"the search for the step was canceled at step {trainer.global_step:,}")


class _Finder(Callback):
    """Finds the first step whose loss or update is not finite.

    Args:
        is_canceled: see `locate`.

    Attributes:
        start: the step of the checkpoint, counted from the start of training, like `step`.
        step: the first step whose loss or update is not finite; None if the losses and updates up to the end of the
            epoch are finite; `start` if the weights in the checkpoint are not.
        is_in_update: whether the loss of this step is finite, but its update is not.
    """

    def __init__(self, is_canceled: Callable[[], bool]) -> None:
        self.is_canceled = is_canceled
        self.start = 0
        self.step: int | None = None
        self.is_in_update = False

    def on_start(self, trainer: Trainer) -> None:
        self.start = trainer.global_step
        if _bad_weight(trainer.network):
            self.step = self.start
            raise Interrupted

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        if not math.isfinite(loss):
            self.step = trainer.global_step + 1
            raise Interrupted

    def on_step(self, trainer: Trainer) -> None:
        if _bad_weight(trainer.network):
            self.step, self.is_in_update = trainer.global_step, True
            raise Interrupted
        _check_canceled(self.is_canceled, trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        raise Interrupted


class _Examiner(Callback):
    """Keeps the state after step `last_good`, and finds out where step `failing_step` fails.

    It takes this step eagerly, or, with shards, as the run did.

    Attributes:
        where: see `Divergence`.
    """

    def __init__(self, last_good: int, failing_step: int, is_canceled: Callable[[], bool]) -> None:
        self.last_good, self.failing_step, self.is_canceled = last_good, failing_step, is_canceled
        self.where = "only the compiled step gives a loss that is not finite; the eager one does not"

    def on_start(self, trainer: Trainer) -> None:
        self.on_step(trainer)

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        if not math.isfinite(loss):
            if inputs is None:
                self.where = "the layer is unknown, since the run divides each batch into shards"
            else:
                self.where = _large_output(trainer, inputs) or first_bad_layer(trainer.network, inputs)
            raise Interrupted

    def on_step(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step == self.last_good:
            originals = [callback.original for callback in trainer.callbacks if isinstance(callback, _StateOnly)]
            checkpoint = next(callback for callback in originals if isinstance(callback, Checkpoint))
            checkpoint.keep_state(trainer)
        if step == self.failing_step - 1:
            trainer.compiled = False  # has no effect with shards
        if step == self.failing_step:
            self.where = _bad_gradient(trainer.network) or _bad_weight(trainer.network) or self.where
            raise Interrupted
        _check_canceled(self.is_canceled, trainer)


def _large_output(trainer: Trainer, inputs: Tensor) -> str:
    """Describe the outputs if they are finite, but too large for a finite loss; else return ""."""
    with no_grad():
        outputs = trainer.network(inputs).numpy()
    if not np.isfinite(outputs).all() or _bad_weight(trainer.network):
        return ""
    layer = [name for name, _ in trainer.network.named_parameters()][-1].rpartition(".")[0]
    largest = np.abs(outputs).max()
    return f"the outputs of the last layer, {layer!r}, reach {largest:.2g}, which is too large for the loss"


def _bad_gradient(network: Module) -> str:
    """Describe the first gradient in the order of backward that is not finite; "" if all are finite."""
    parameter = _last_bad_parameter(network, lambda parameter: parameter.grad)
    return f"the first values that are not finite are in the gradient of the {parameter}" if parameter else ""


def _bad_weight(network: Module) -> str:
    """Describe the first parameter in the order of backward that is not finite; "" if all are finite."""
    parameter = _last_bad_parameter(network, lambda parameter: parameter)
    return f"the first values that are not finite are in the {parameter}" if parameter else ""


def _last_bad_parameter(network: Module, get_tensor: Callable[[Parameter], Tensor | None]) -> str:
    """Name the last parameter, which backward reaches first, whose tensor is not finite; "" if all are finite."""
    for path, parameter in reversed([*network.named_parameters()]):
        tensor = get_tensor(parameter)
        if tensor is not None and not np.isfinite(tensor.numpy()).all():
            layer, _, name = path.rpartition(".")
            return f"{name} of layer {layer!r}"
    return ""
