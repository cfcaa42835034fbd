"""Small callbacks: the history in a file, the best weights, checkpoints, stopping early, stopping at NaN."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import safetensors_io
from chainrule.autograd import no_grad
from chainrule.files import write_text
from chainrule.training import checkpoint
from chainrule.training.trainer import Callback, DivergedError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from chainrule.nn import Module
    from chainrule.tensor import Tensor
    from chainrule.training.trainer import Trainer


class History(Callback):
    """Writes a line for each epoch into a file: `metrics.jsonl`. JSON has no NaN and no infinities: they become null.

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
        rows = [{name: _or_null(value) for name, value in record.items()} for record in trainer.history]
        write_text(self.path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        value = _measured(record, self.measure)
        if value > self.best:
            safetensors_io.save(trainer.network.state_dict(), self.path)
            self.best, self.epoch = value, record["epoch"]

    def state_dict(self) -> dict[str, Any]:
        """The best value and its epoch."""
        return {"best": self.best if math.isfinite(self.best) else None, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state.

        Raises:
            ValueError: its best value is no number, or its epoch is none.
        """
        best, epoch = state["best"], state["epoch"]
        if not isinstance(best, (int, float, NoneType)) or not isinstance(epoch, int) or isinstance(best, bool):
            raise ValueError(f"BestModel: the best value cannot be {best!r}, in epoch {epoch!r}")
        self.best, self.epoch = -math.inf if best is None else best, epoch


class AsBegun(Callback):
    """Refuses to resume under changed settings: the result would not be reproducible.

    Args:
        settings: by name, in values that JSON gives back as they were.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def state_dict(self) -> dict[str, Any]:
        """The settings."""
        return self.settings

    def differing(self, state: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """The settings that are others in a state: by name, the state's value and this one's."""
        return {name: (state.get(name), value) for name, value in self.settings.items() if state.get(name) != value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare the settings.

        Raises:
            ValueError: some differ; the message says from what to what.
        """
        changed = self.differing(state)
        if changed:
            raise ValueError(
                ", ".join(f"{name} was {old!r} and is now {new!r}" for name, (old, new) in changed.items())
            )


class PlainEpochs(Callback):
    """Ends augmentation when so many epochs are done: the rest are learned from the pictures as they are.

    Args:
        after: the number of epochs before.
    """

    def __init__(self, after: int) -> None:
        self.after = after

    def on_start(self, trainer: Trainer) -> None:
        """See if it is time: training may go on in the middle."""
        if trainer.epoch >= self.after:
            trainer.loader.augment = None

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """See if it is time."""
        self.on_start(trainer)


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
        if len(trainer.history) - 1 - best_epoch(trainer.history, self.measure) >= self.patience:
            trainer.stop = True


class Checkpoint(Callback):
    """Saves the complete state after each epoch, every so many seconds, and when interrupted.

    It must be the last callback, so that what the others remember is up to date.

    Args:
        folder: where the state goes.
        seconds: how often within an epoch.
        keep: so many states are kept besides, to go back to: those at the end of the last epochs, that of the best
            epoch (by `validation_accuracy`), and as many of the latest that were saved within an epoch.
        best: the file of the best weights so far, which are kept with them.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seconds: float = 30.0,
        keep: int = 0,
        best: str | os.PathLike[str] | None = None,
    ) -> None:
        self.folder, self.seconds, self.keep, self.best = Path(folder), seconds, keep, best
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
        self.folder.mkdir(parents=True, exist_ok=True)
        state = trainer.state_dict()
        checkpoint.save(state, self.folder / checkpoint.FILE)
        if self.keep and trainer.total_steps:
            best = safetensors_io.load(self.best) if self.best is not None and Path(self.best).exists() else {}
            name = ("step", trainer.total_steps) if trainer.step else ("epoch", trainer.epoch)
            checkpoint.save({**state, "best": best}, self.folder / checkpoint.kept_name(*name))
            self._remove_old(trainer)
        self._saved = time.perf_counter()

    def _remove_old(self, trainer: Trainer) -> None:
        """Remove the kept states that are neither among the latest nor that of the best epoch."""
        best = trainer.history[best_epoch(trainer.history)]["epoch"] if trainer.history else 0
        states = checkpoint.kept_states(self.folder)
        for kind in ("epoch", "step"):
            numbers = sorted(number for name, number in states if name == kind)
            for number in numbers[: -self.keep]:
                if (kind, number) != ("epoch", best):
                    states[kind, number].unlink()


class StopOnNaN(Callback):
    """Ends training as soon as a loss is not a number, before it can spoil the weights, and says where it began.

    A compiled step has spoiled them already, so that nothing tells where it began. It must be the first callback, so
    that none of the others keeps what went bad.
    """

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        """Look at the loss of a step."""
        if not math.isfinite(loss):
            self._stop(trainer, trainer.epoch, f"step {trainer.step + 1}: the loss is {loss}", inputs)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Look at the losses of the epoch: its very last step may have gone wrong."""
        for name, value in record.items():
            if name.endswith("loss") and not math.isfinite(value):
                inputs = trainer.loader.dataset[: trainer.loader.batch_size][0]
                self._stop(trainer, record["epoch"] - 1, f"its last step: the {name} is {value}", inputs)

    def _stop(self, trainer: Trainer, done: int, what: str, inputs: Tensor | None) -> None:
        layer = (
            "without compiling (--eager) you learn where"
            if inputs is None
            else first_bad_layer(trainer.network, inputs)
        )
        kept = "the best weights so far are kept; " if done else ""
        rate = trainer.optimizer.param_groups[0]["lr"]
        raise DivergedError(
            f"training diverged in epoch {done + 1}, {what}; {layer}; {kept}"
            f"try a smaller learning rate (it was {rate:g} then)"
        )


def best_epoch(history: Sequence[Mapping[str, Any]], measure: str = "validation_accuracy") -> int:
    """The position of the first epoch with the largest measure; of the very first if none is a finite number.

    Raises:
        ValueError: epochs are not measured by it, or there are none.
    """
    return int(np.argmax([_measured(record, measure) for record in history]))


def _measured(record: Mapping[str, Any], measure: str) -> float:
    """An epoch's measure, by which what is no finite number is worse than anything.

    Raises:
        ValueError: epochs are not measured by it.
    """
    if measure not in record:
        raise ValueError(f"an epoch has no {measure!r}, only {', '.join(record)}: let the trainer's validate give it")
    value: float = record[measure]
    return value if math.isfinite(value) else -math.inf


def first_bad_layer(network: Module, inputs: Tensor) -> str:
    """A phrase that names the first layer whose weights or outputs are not finite for these inputs."""
    if not np.isfinite(inputs.numpy()).all():
        return "the inputs themselves hold values that are not finite"
    faults: list[str] = []
    paths = {id(m): f"layer {path!r}" if path else "the network itself" for path, m in network.named_modules()}

    def look(module: Module, _: tuple[Any, ...], output: Any) -> None:
        bad = [name for name, p in module.named_parameters() if "." not in name and not np.isfinite(p.numpy()).all()]
        what = bad[0] if bad else None if np.isfinite(np.asarray(output)).all() else "output"
        if what is not None:
            kind = repr(module).split("\n", 1)[0].removesuffix("(")
            faults.append(f"the first values that went bad are the {what} of {paths[id(module)]}, {kind}")

    handles = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return faults[0] if faults else "every layer's values are finite, so it is the loss itself"
