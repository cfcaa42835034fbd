"""Small callbacks: the history in a file, the best weights, checkpoints, stopping early, stopping at NaN."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import weights
from chainrule.autograd import no_grad
from chainrule.files import write_text
from chainrule.training import checkpoint
from chainrule.training.trainer import Callback, DivergedError, Interrupted

if TYPE_CHECKING:
    import os

    from chainrule.nn import Module
    from chainrule.tensor import Tensor
    from chainrule.training.trainer import Trainer


class History(Callback):
    """Writes a line for each epoch into a file: `metrics.jsonl`.

    Args:
        path: the file. At the start it is brought to what the trainer's history says, so that nothing stands twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_start(self, trainer: Trainer) -> None:
        """Begin the file anew, with the epochs done so far."""
        self._write(trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Add the line."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in trainer.history))


class BestModel(Callback):
    """Keeps the weights of the best epoch so far in a file, by `validation_accuracy` (or another measure).

    Args:
        path: the file.
        measure: the entry of the history that should be large.
    """

    def __init__(self, path: str | os.PathLike[str], measure: str = "validation_accuracy") -> None:
        self.path, self.measure = path, measure
        self.best, self.epoch = -math.inf, 0

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Save the weights if this epoch is the best."""
        if record[self.measure] > self.best:
            weights.save(trainer.network.state_dict(), self.path)
            self.best, self.epoch = record[self.measure], record["epoch"]

    def state_dict(self) -> dict[str, Any]:
        """The best value and its epoch."""
        return {"best": self.best if math.isfinite(self.best) else None, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.best, self.epoch = -math.inf if state["best"] is None else state["best"], state["epoch"]


class EarlyStopping(Callback):
    """Stops when a measure has not improved for some epochs.

    Args:
        patience: how many epochs without improvement to bear.
        measure: the entry of the history that should be large.
    """

    def __init__(self, patience: int, measure: str = "validation_accuracy") -> None:
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1 epoch, got {patience}")
        self.patience, self.measure = patience, measure

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Count the epochs since the best."""
        values = [epoch[self.measure] for epoch in trainer.history]
        if len(values) - 1 - int(np.argmax(values)) >= self.patience:
            trainer.stop = True


class Checkpoint(Callback):
    """Saves the complete state after each epoch, every so many seconds, and when interrupted.

    It must be the last callback, so that what the others remember is up to date.

    Args:
        folder: where the state goes.
        seconds: how often within an epoch.
    """

    def __init__(self, folder: str | os.PathLike[str], seconds: float = 30.0) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self._saved = time.perf_counter()

    def on_start(self, trainer: Trainer) -> None:
        """Save the state to begin with, so that there is always something to go on from."""
        if not trainer.history and trainer.step == 0:
            self.save(trainer)

    def on_step(self, trainer: Trainer) -> None:
        """Save if it is time, or if the trainer is about to end."""
        if trainer.interrupt or time.perf_counter() - self._saved > self.seconds:
            self.save(trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Save."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save the complete state now."""
        self.folder.mkdir(exist_ok=True)
        checkpoint.save(trainer.state_dict(), self.folder / checkpoint.FILE)
        self._saved = time.perf_counter()


class StopOnNaN(Callback):
    """Ends training as soon as a loss is not a number, before it can spoil the weights, and says where it began."""

    def on_loss(self, trainer: Trainer, inputs: Tensor, loss: float) -> None:
        """Look at the loss."""
        if math.isfinite(loss):
            return
        raise DivergedError(
            f"training diverged in epoch {trainer.epoch + 1}, step {trainer.step + 1}: the loss is {loss}; "
            f"{first_bad_layer(trainer.network, inputs)}; the best weights so far are kept; try a smaller learning rate "
            f"than {trainer.optimizer.param_groups[0]['lr']:g}"
        )


def first_bad_layer(network: Module, inputs: Tensor) -> str:
    """A phrase that names the first layer whose weights or outputs are not finite for these inputs."""
    faults: list[str] = []
    paths = {id(module): path or "the network" for path, module in network.named_modules()}

    def look(module: Module, _: tuple[Any, ...], output: Any) -> None:
        bad = [name for name, p in module.named_parameters() if "." not in name and not np.isfinite(p.numpy()).all()]
        what = bad[0] if bad else None if np.isfinite(np.asarray(output)).all() else "output"
        if what is not None:
            faults.append(f"the first values that went bad are the {what} of layer {paths[id(module)]!r}, {module!r}")

    handles = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return faults[0].split("\n", 1)[0] if faults else "every layer's values are finite, so it is the loss itself"


__all__ = ["BestModel", "Checkpoint", "EarlyStopping", "History", "Interrupted", "StopOnNaN", "first_bad_layer"]
