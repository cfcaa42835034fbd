"""Callbacks that write the history, best weights and checkpoints, check settings, and end augmentation or training."""

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
    from chainrule.training.task import Mode
    from chainrule.training.trainer import Trainer


class History(Callback):
    """Writes one line of JSON per epoch to a file. NaN and infinities, which JSON does not have, become null.

    Args:
        path: the file, such as `metrics.jsonl`. It is rewritten from the trainer's history after each epoch, so a
            resumed run does not repeat lines.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_start(self, trainer: Trainer) -> None:
        """Write the epochs completed so far."""
        self._write(trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Add the epoch's line."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        rows = [{name: _or_null(value) for name, value in record.items()} for record in trainer.history]
        write_text(self.path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class BestModel(Callback):
    """Saves the weights of the best epoch so far, by `validation_accuracy` or another metric.

    Args:
        path: the safetensors file to write.
        metric: an entry of the history.
        mode: whether to maximize ("max") or minimize ("min") it.
        measure: the former name of `metric`.

    Attributes:
        best: the best value of the metric so far; -inf (or inf, to minimize it) before the first finite one.
        epoch: the epoch of the best value, from 1; 0 if there is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metric: str = "validation_accuracy",
        mode: Mode = "max",
        *,
        measure: str | None = None,
    ) -> None:
        self.path, self.metric, self.mode = path, measure or metric, mode
        self.best, self.epoch = _worst_value(mode), 0

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Save the weights if this epoch is the best."""
        value = _finite_metric(record, self.metric, self.mode)
        is_better = value > self.best if self.mode == "max" else value < self.best
        if is_better:
            safetensors_io.save(trainer.network.state_dict(), self.path)
            self.best, self.epoch = value, record["epoch"]

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, None before the first finite one, and its epoch."""
        return {"best": self.best if math.isfinite(self.best) else None, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state.

        Raises:
            ValueError: the best value is neither a number nor None, or the epoch is not an integer.
        """
        best, epoch = state["best"], state["epoch"]
        if not isinstance(best, (int, float, NoneType)) or not isinstance(epoch, int) or isinstance(best, bool):
            raise ValueError(f"BestModel: the best value cannot be {best!r}, in epoch {epoch!r}")
        self.best, self.epoch = _worst_value(self.mode) if best is None else best, epoch


class SettingsCheck(Callback):
    """Refuses to resume under changed settings: the result would not be reproducible.

    Args:
        settings: values by name. They must survive a round trip through JSON unchanged, since checkpoints store them.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def state_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return self.settings

    def differences(self, state: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ from a state's, by name: the state's value and the current one."""
        return {name: (state.get(name), value) for name, value in self.settings.items() if state.get(name) != value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare the settings with those in a state.

        Raises:
            ValueError: some settings differ; the message gives old and new values.
        """
        differences = self.differences(state)
        if differences:
            raise ValueError(
                ", ".join(f"{name} was {old!r} and is now {new!r}" for name, (old, new) in differences.items())
            )


class StopAugmentation(Callback):
    """Ends augmentation after a number of epochs; later epochs train on the original images.

    Args:
        after: the number of epochs with augmentation.
    """

    every_rank = True

    def __init__(self, after: int) -> None:
        self.after = after

    def on_start(self, trainer: Trainer) -> None:
        """End augmentation if a resumed run is past its last augmented epoch."""
        if trainer.epoch >= self.after:
            trainer.loader.augment = None

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """End augmentation after the last augmented epoch."""
        self.on_start(trainer)


class EarlyStopping(Callback):
    """Stops training when a metric has not improved for some epochs.

    Args:
        patience: stop after this many epochs in a row without improvement.
        metric: an entry of the history.
        mode: whether to maximize ("max") or minimize ("min") it.
        measure: the former name of `metric`.
    """

    def __init__(
        self, patience: int, metric: str = "validation_accuracy", mode: Mode = "max", *, measure: str | None = None
    ) -> None:
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1 epoch, got {patience}")
        self.patience, self.metric, self.mode = patience, measure or metric, mode

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Stop if the best epoch was `patience` epochs ago."""
        if len(trainer.history) - 1 - best_index(trainer.history, self.metric, self.mode) >= self.patience:
            trainer.stop = True


class Checkpoint(Callback):
    """Saves the complete state at the start, after each epoch, at intervals within an epoch, and when interrupted.

    It must be the last callback, so that the states of the other callbacks are up to date.

    Args:
        folder: the folder to write the states to.
        seconds: the minimum time between two saves within an epoch.
        keep: 0 to keep only the latest state; N to also keep the states at the end of the last N epochs and of the best
            epoch (by `metric`), and the last N states saved within epochs.
        best_weights_file: the file of the best weights so far, which are copied into each kept state; None to copy
            nothing.
        metric: an entry of the history.
        mode: whether to maximize ("max") or minimize ("min") it.
        best: the former name of `best_weights_file`.

    Attributes:
        resumed_at: the epoch and the step in the epoch of the saved state that training has resumed from; None if it
            has not resumed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seconds: float = 30.0,
        keep: int = 0,
        best_weights_file: str | os.PathLike[str] | None = None,
        metric: str = "validation_accuracy",
        mode: Mode = "max",
        *,
        best: str | os.PathLike[str] | None = None,
    ) -> None:
        self.folder, self.seconds, self.keep = Path(folder), seconds, keep
        weights_file = best if best_weights_file is None else best_weights_file
        self.best_weights_file = None if weights_file is None else Path(weights_file)
        self.metric, self.mode = metric, mode
        self.resumed_at: tuple[int, int] | None = None
        self._last_save = time.perf_counter()

    @property
    def best(self) -> Path | None:
        """The former name of `best_weights_file`."""
        return self.best_weights_file

    @best.setter
    def best(self, file: str | os.PathLike[str] | None) -> None:
        self.best_weights_file = None if file is None else Path(file)

    def on_start(self, trainer: Trainer) -> None:
        """Make the folder, and save the initial state, so that there is always a state to resume from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not trainer.history and trainer.step_in_epoch == 0:
            self.save(trainer)

    def on_step(self, trainer: Trainer) -> None:
        """Save if the interval has passed, or if training is interrupted."""
        if trainer.interrupt or time.perf_counter() - self._last_save > self.seconds:
            self.save(trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Save the state."""
        self.save(trainer)

    def on_failure(self, trainer: Trainer) -> None:
        """Save the state after the last complete step."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save the complete state now, unless it is the one that training has resumed from.

        That state holds the settings under which its steps were taken, which `changes.change_run` needs to record a
        change. Saving it again would overwrite them with the current settings.
        """
        file = self.folder / checkpoint.FILE_NAME
        if self.resumed_at == (trainer.epoch, trainer.step_in_epoch) and file.exists():
            return
        self.folder.mkdir(exist_ok=True)
        checkpoint.save(trainer.state_dict(), file)
        if self.keep and trainer.global_step:
            self.keep_state(trainer)
            self._remove_old(trainer)
        self._last_save = time.perf_counter()

    def keep_state(self, trainer: Trainer) -> None:
        """Save the complete state now beside the latest one, so that `changes.change_run` can go back to it."""
        best_weights = {}
        if self.best_weights_file is not None and self.best_weights_file.exists():
            best_weights = safetensors_io.load(self.best_weights_file)
        if trainer.step_in_epoch:
            name = checkpoint.kept_name("step", trainer.global_step)
        else:
            name = checkpoint.kept_name("epoch", trainer.epoch)
        checkpoint.save({**trainer.state_dict(), "best": best_weights}, self.folder / name)

    def _remove_old(self, trainer: Trainer) -> None:
        """Remove all kept states but the last `keep` of each kind and that of the best epoch."""
        history = trainer.history
        best_epoch = history[best_index(history, self.metric, self.mode)]["epoch"] if history else 0
        states = checkpoint.kept_states(self.folder)
        for kind in ("epoch", "step"):
            numbers = sorted(number for state_kind, number in states if state_kind == kind)
            for number in numbers[: -self.keep]:
                if (kind, number) != ("epoch", best_epoch):
                    states[kind, number].unlink()


class StopOnNaN(Callback):
    """Ends training if the loss is not finite, and names the first layer with invalid values.

    The layer is unknown if the step was compiled, since it has already updated the weights, or if the batch is divided
    into shards or, for gradient accumulation, into parts. This must be the first callback, so that no other callback
    saves invalid weights. If `BestModel` is among the trainer's callbacks and has saved weights, the error says so.
    """

    every_rank = True

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        """Check the loss of a step."""
        if not math.isfinite(loss):
            self._stop(trainer, trainer.epoch, f"at step {trainer.step_in_epoch + 1}: the loss is {loss}", inputs)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Check the losses of the epoch: its last update may have made the weights invalid."""
        for name, value in record.items():
            if name.endswith("loss") and not math.isfinite(value):
                inputs = trainer.loader.dataset[: trainer.loader.batch_size][0]
                self._stop(trainer, record["epoch"] - 1, f"at its last step: the {name} is {value}", inputs)

    def _stop(self, trainer: Trainer, completed_epochs: int, event: str, inputs: Tensor | None) -> None:
        if inputs is None:
            remedies = ["with neither shards nor gradient accumulation"] if trainer.shards else []
            if trainer.compiled:
                remedies.append("without compiling (--eager)")
            origin = f"run {' and '.join(remedies)} to find the layer"
        else:
            origin = first_bad_layer(trainer.network, inputs)
        # Whether weights from before the divergence are saved: only rank 0 knows, since the others have no `BestModel`
        has_best_weights = any(
            isinstance(callback, BestModel) and 0 < callback.epoch <= completed_epochs for callback in trainer.callbacks
        )
        kept_weights = "the best weights so far are kept; " if has_best_weights else ""
        rate = trainer.optimizer.param_groups[0]["lr"]
        raise DivergedError(
            f"training diverged in epoch {completed_epochs + 1}, {event}; {origin}; {kept_weights}"
            f"try a smaller learning rate than {rate:g}"
        )


def best_index(history: Sequence[Mapping[str, Any]], metric: str = "validation_accuracy", mode: Mode = "max") -> int:
    """Return the index, from 0, of the first epoch with the best metric; 0 if the metric is never finite.

    Args:
        history: a record per epoch.
        metric: an entry of the records.
        mode: whether the best is the largest ("max") or the smallest ("min").

    Raises:
        ValueError: the history is empty or does not have the metric.
    """
    values = [_finite_metric(record, metric, mode) for record in history]
    return int(np.argmax(values) if mode == "max" else np.argmin(values))


def _worst_value(mode: Mode) -> float:
    return -math.inf if mode == "max" else math.inf


def _finite_metric(record: Mapping[str, Any], metric: str, mode: Mode) -> float:
    """Return an epoch's metric; if it is not finite, the infinity that is worse than any other value.

    Raises:
        ValueError: the record does not have the metric.
    """
    if metric not in record:
        raise ValueError(
            f"the history has no {metric!r}, only {', '.join(record)}: the trainer's `validate` must return it"
        )
    value: float = record[metric]
    return value if math.isfinite(value) else _worst_value(mode)


def first_bad_layer(network: Module, inputs: Tensor) -> str:
    """Describe the first layer whose weights or outputs are not finite in the forward pass of these inputs."""
    if not np.isfinite(inputs.numpy()).all():
        return "the inputs have values that are not finite"
    faults: list[str] = []
    paths = {id(m): f"layer {path!r}" if path else "the network" for path, m in network.named_modules()}

    def check_output(module: Module, _: tuple[Any, ...], output: Any) -> None:
        values = {name: p.numpy() for name, p in module.named_parameters() if "." not in name}
        values["output"] = np.asarray(output)
        invalid = next((name for name, array in values.items() if not np.isfinite(array).all()), None)
        if invalid is not None:
            summary = repr(module).split("\n", 1)[0].removesuffix("(")
            layer = f"{paths[id(module)]}, {summary}"
            faults.append(f"the first values that are not finite are in the {invalid} of {layer}")

    handles = [module.register_forward_hook(check_output) for module in network.modules()]
    try:
        with no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return faults[0] if faults else "all layers have finite weights and outputs, so the loss function is the cause"
