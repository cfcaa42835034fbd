"""The training loop, on one page: batches in, gradients back, a step downhill, and callbacks told of each."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.capture import jit
from chainrule.data.loader import DataLoader
from chainrule.errors import UserError, check_whole, type_name
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.data.loader import BatchIterator
    from chainrule.nn import Module
    from chainrule.optim import Optimizer
    from chainrule.optim.lr_scheduler import LRScheduler
    from chainrule.tensor import Tensor


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and did so after its step, with everything saved."""


class DivergedError(UserError, ArithmeticError):
    """The loss, or what validation found, is no longer a number."""


class Callback:
    """Told by a Trainer what happens; subclasses define what they want to hear of."""

    def on_start(self, trainer: Trainer) -> None:
        """Training begins or goes on."""

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        """Called with the loss before the update; for a compiled step, after it, with `inputs=None`."""

    def on_step(self, trainer: Trainer) -> None:
        """A step has been taken."""

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """An epoch is over; `record` is its line of the history, already the last of `trainer.history`."""

    def on_end(self, trainer: Trainer) -> None:
        """Training is over: all epochs done, stopped by a callback, or interrupted."""

    def state_dict(self) -> dict[str, Any]:
        """What it must remember for an exact resume: numbers, texts, lists and dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state."""


class Trainer:
    """Trains a network.

    Every module is trained in the mode that it is in: what is frozen by `network[2].eval()`, say a batch normalization,
    stays frozen, and what a callback freezes on the way, too. `validate` may change modes; they are put back.

    Args:
        network: what learns, in training mode, as a new network is.
        loss: from the network's outputs and the targets to one number.
        optimizer: changes the parameters.
        loader: batches (inputs, targets).
        scheduler: changes the learning rate after each step.
        validate: called after each epoch; returns the numbers to note, e.g. {"validation_accuracy": 0.97}.
        callbacks: told of everything, in this order.
        compiled: whether `jit` compiles the step.

    Raises:
        TypeError: the loader is no DataLoader, or the loss no function.

    Attributes:
        epoch: how many epochs are done.
        epochs: how many there are to be.
        history: a dict for each epoch done.
        stop: set it to end after this epoch.
        interrupt: set it (from a signal, say) to save and end after this step.
    """

    def __init__(
        self,
        network: Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Optimizer,
        loader: DataLoader,
        *,
        scheduler: LRScheduler | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        callbacks: Sequence[Callback] = (),
        compiled: bool = False,
    ) -> None:
        if not isinstance(loader, DataLoader):
            raise TypeError(f"Trainer: the loader must be a DataLoader, not {type_name(loader)}")
        if not callable(loss):
            raise TypeError(f"Trainer: the loss must be a function of outputs and targets, not {type_name(loss)}")
        self.compiled, self._compiled = compiled, jit(lambda *batch: self._downhill(self._forward(*batch)))
        self.network, self.loss, self.optimizer, self.loader = network, loss, optimizer, loader
        self.scheduler, self.validate, self.callbacks = scheduler, validate, list(callbacks)
        self.epoch = self.epochs = 0
        self.step = 0  # of this epoch
        self.history: list[dict[str, Any]] = []
        self.stop = self.interrupt = False
        self._batches: BatchIterator | None = None  # the pass of this epoch; others may go through the loader meanwhile
        self._total, self._seen, self._seconds = 0.0, 0, 0.0  # this epoch's losses, examples and time so far

    @property
    def mean_loss(self) -> float:
        """The mean loss of this epoch's examples so far."""
        return self._total / self._seen if self._seen else float("nan")

    @property
    def total_steps(self) -> int:
        """The steps since the beginning of training, all epochs counted with as many as the present loader has."""
        return self.epoch * len(self.loader) + self.step

    def fit(self, epochs: int) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are done, in all; returns the history. Goes on if it was interrupted before.

        Warns if the optimizer has none of the network's parameters.

        Raises:
            TypeError: the number of epochs is no whole number.
            Interrupted: `interrupt` was set.
            DivergedError: a callback found that a loss is no longer a number.
        """
        check_whole("fit", "the number of epochs", epochs, least=0)
        own = {id(parameter) for parameter in self.network.parameters()}
        if own.isdisjoint(id(p) for group in self.optimizer.param_groups for p in group["params"]):
            warnings.warn(
                "Trainer: the optimizer has none of the network's parameters, so the network learns nothing; make it "
                "of network.parameters()",
                stacklevel=2,
            )
        self.epochs = epochs
        try:
            self._tell("on_start")
            while self.epoch < epochs and not self.stop:
                self._run_epoch()
        finally:
            self._tell("on_end")
        return self.history

    def _run_epoch(self) -> None:
        started = time.perf_counter() - self._seconds
        if not self.network.training:
            warnings.warn(
                "Trainer: the network is trained in evaluation mode, so its dropout does nothing and its running "
                "statistics stay as they are; call network.train() before fit() unless that is what you want",
                stacklevel=3,
            )
        if self._batches is not None:  # stopped before: the rest of that pass, with the batch whose step was not taken
            self._batches.position = self.step
        for inputs, targets in self._pass():
            self._learn(inputs, targets)
            self.step += 1
            self._seconds = time.perf_counter() - started
            stopping = self.interrupt  # asked before the callbacks are told, so that all of them see it too
            self._tell("on_step")
            if stopping:
                self.interrupt = False
                raise Interrupted
        record = {"epoch": self.epoch + 1, "train_loss": self.mean_loss}
        if self.validate is not None:
            with restore_modes(self.network):
                record |= {name: float(value) for name, value in self.validate().items()}
        record |= {"seconds": time.perf_counter() - started, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        self.history.append(record)
        self.epoch, self.step, self._batches = self.epoch + 1, 0, None
        self._total, self._seen, self._seconds = 0.0, 0, 0.0
        self._tell("on_epoch", record)

    def _pass(self) -> BatchIterator:
        """The pass under way, or a new one that has not begun."""
        if self._batches is None or (self._batches.loader is not self.loader and not self.step):
            self._batches = iter(self.loader)
        return self._batches

    def _learn(self, inputs: Tensor, targets: Tensor) -> None:
        """One step: forward, backward, downhill. Compiled for whole batches; a last smaller one is not worth it."""
        if self.compiled and len(targets) == self.loader.batch_size:
            value = float(self._compiled(inputs, targets))
            self._tell("on_loss", None, value)
        else:
            loss = self._forward(inputs, targets)
            value = float(loss)
            self._tell("on_loss", inputs, value)
            self._downhill(loss)
        if self.scheduler is not None:
            self.scheduler.step()
        self._total += value * len(targets)
        self._seen += len(targets)

    def _forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        return self.loss(self.network(inputs), targets)

    def _downhill(self, loss: Tensor) -> Tensor:
        loss.backward()
        self.optimizer.step()
        return loss

    def _tell(self, event: str, *facts: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *facts)

    # Everything that an exact resume needs

    def state_dict(self) -> dict[str, Any]:
        """The whole state, dropout generators in the network included; its weights share memory with the network."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "loader": {**self._pass().state_dict(), "position": self.step},
            "generators": [generator.bit_generator.state for generator in _generators(self.network)],
            "callbacks": [callback.state_dict() for callback in self.stateful_callbacks()],
            "progress": {
                "epoch": self.epoch,
                "step": self.step,
                "history": list(self.history),
                "stop": self.stop,
                "total": self._total,
                "seen": self._seen,
                "seconds": self._seconds,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state: `fit` then goes on as if it had never stopped.

        Callbacks that remember nothing, such as a progress bar, may be others than before.

        Raises:
            KeyError, TypeError, ValueError: the state does not fit.
        """
        if (self.scheduler is None) != (state["scheduler"] is None):
            raise ValueError("Trainer: the state and the trainer must both have a schedule, or neither")
        generators, callbacks = _generators(self.network), self.stateful_callbacks()
        for what, own in (("generators", generators), ("callbacks", callbacks)):
            if len(own) != len(state[what]):
                raise ValueError(f"Trainer: the state has {len(state[what])} {what}, the trainer has {len(own)}")
        progress = state["progress"]
        epoch, step, epochs = progress["epoch"], progress["step"], [record["epoch"] for record in progress["history"]]
        if epochs != list(range(1, epoch + 1)) or step != state["loader"]["position"]:
            raise ValueError(f"Trainer: epoch {epoch} and step {step} of the state do not fit its history and loader")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.loader.load_state_dict(state["loader"])
        self._batches = iter(self.loader)  # at once, so that the rest of the pass is not taken by anybody else
        for generator, saved in zip(generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        for callback, saved in zip(callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.epoch, self.step, self.stop = epoch, step, progress["stop"]
        self.history = list(progress["history"])
        self._total, self._seen, self._seconds = progress["total"], progress["seen"], progress["seconds"]

    def stateful_callbacks(self) -> list[Callback]:
        """The callbacks that have something to remember, whose states are a part of the trainer's."""
        return [callback for callback in self.callbacks if callback.state_dict()]


def _generators(network: Module) -> list[np.random.Generator]:
    """The generators that the network's modules draw from, each once, in order."""
    found = [v for module in network.modules() for v in vars(module).values() if isinstance(v, np.random.Generator)]
    return list({id(generator): generator for generator in found}.values())
