"""The state of a run at any step: weights, optimizer state, generators.

A run stores only a few states. All others are computed again: training is reproducible, so the same `Trainer`, started
from the nearest earlier state, arrives at a state that is bitwise identical to the run's. States that the replay passes
are kept in memory, within a limit, so that going back and forth is quick.

    from chainrule.training import run as runs
    from chainrule.training.replay import RunReplay, weights_digest

    replay = RunReplay(runs.find("runs/first-try"))
    trainer = replay.seek(2)
    print(replay.validate(), weights_digest(trainer.network))
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError
from chainrule.models import Recipe
from chainrule.training.experiment import check_data, prepare, versions
from chainrule.training.modes import restore_modes
from chainrule.training.replay_states import least_needed_step
from chainrule.training.resume import load_state, restore
from chainrule.training.run import ROLLBACK_KEY
from chainrule.training.trainer import Callback, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from chainrule.nn import Module
    from chainrule.training.run import Run
    from chainrule.training.task import Data

MEMORY_BYTES = 256_000_000
"""Default limit on the memory of the states that a replay keeps."""
_SECONDS_BETWEEN = 0.25
"""Minimum time that a replay trains between two states that it keeps in memory."""


class CanceledError(Exception):
    """A replay was canceled. The next `RunReplay.seek` continues from where it stopped."""


class _Arrived(Exception):  # noqa: N818  # not an error
    """Ends a call of `fit` at the step that the replay seeks."""


@dataclass(frozen=True)
class Segment:
    """A part of a run that was trained with the same settings throughout (see `changes`).

    Attributes:
        run: a copy of the run, whose config has the settings of this segment, and the changes up to its start.
        steps_per_epoch: steps per epoch with these settings.
        start: the number of steps before this segment, counted from the start of training.
        epoch: number of epochs completed when it starts.
        step_in_epoch: number of steps already taken in the next epoch when it starts.
    """

    run: Run
    steps_per_epoch: int
    start: int
    epoch: int
    step_in_epoch: int

    def position(self, global_step: int) -> tuple[int, int]:
        """Return the completed epochs, and the steps taken in the next epoch, after a total number of steps."""
        n_steps = self.step_in_epoch + global_step - self.start  # after the first `self.epoch` epochs
        n_epochs, step_in_epoch = divmod(n_steps, self.steps_per_epoch)
        return self.epoch + n_epochs, step_in_epoch

    def global_step(self, epoch: int, step_in_epoch: int) -> int:
        """Return the total number of steps after `epoch` epochs and `step_in_epoch` steps of the next epoch."""
        return self.start + (epoch - self.epoch) * self.steps_per_epoch + step_in_epoch - self.step_in_epoch


class RunReplay:
    """Takes a trainer to any step of a run. The run's files are not changed.

    Args:
        run: the run. It may have been resumed, changed or forked, and need not be complete.
        data: the data set named in its config; None to load it.
        memory: limit on the bytes of the states that are kept in memory.

    Attributes:
        run: the run.
        data: the data set.
        segments: the segments of the run, in order.
        last_step: the last step that the run has reached.
        losses: the loss of each step that the replay has taken, by step.
        notes: a sentence about each unexpected finding, such as a damaged state, or an epoch whose loss differs from
            that in the history.

    Raises:
        DataError: the data differ from those the run was started with.
        RunError: the run's files are damaged, or a change of the run is not complete.
    """

    def __init__(self, run: Run, data: Data | None = None, *, memory: int = MEMORY_BYTES) -> None:
        if ROLLBACK_KEY in run.config:
            raise RunError(f"{run.folder}: a change of the run is not complete; finish it with --resume {run.folder}")
        if not (run.history or run.checkpoint_file.exists() or run.kept_states or run.replay_states):
            raise RunError(f"{run.folder}: has no history and no state of its training, so there is no step to go to")
        self.run, self.data = run, run.task.load(run) if data is None else data
        check_data(run, self.data)
        self.segments = _segments(run, self.data)
        self.notes: list[str] = []
        self._history = {record["epoch"]: record for record in run.history}
        self._files = self._find_files()  # by step; only those that have not been read yet
        end = self.step_of_epoch(run.config["training"]["epochs"])
        for step in [step for step in self._files if step > end]:  # a list, since entries are removed
            file = self._files.pop(step)
            self.notes.append(f"{file}: is of step {step:,}, and the run ends at step {end:,}; it is left out")
        self.last_step = max([min(self.step_of_epoch(len(self._history)), end), *self._files])
        self.losses: dict[int, float] = {}
        self._memory_limit = memory
        self._states: dict[int, dict[str, Any]] = {}  # those kept in memory, by step
        self._trainer: Trainer | None = None
        self._segment = self.segments[0]  # the trainer has its settings
        self._target = 0  # the step to train up to
        self._has_noted_difference = False
        self._is_canceled: Callable[[], bool] = lambda: False
        self._last_keep_time = 0.0  # when `after_step` last kept a state, or the current `seek` began

    # The current step

    @property
    def trainer(self) -> Trainer:
        """The trainer at the current step; at step 0 before the first `seek`."""
        return self.seek(0) if self._trainer is None else self._trainer

    @property
    def step(self) -> int:
        """The current step, counted from the start of training, as all steps of a replay are."""
        return self._segment.global_step(self.trainer.epoch, self.trainer.step_in_epoch)

    def segment_of(self, step: int) -> Segment:
        """Return the segment of the run that has the settings of the step after `step`.

        Raises:
            RunError: the run has not reached this step.
        """
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or not 0 <= step <= self.last_step:
            raise RunError(f"{self.run.folder}: a step must be an integer from 0 to {self.last_step:,}, not {step!r}")
        return next(segment for segment in reversed(self.segments) if segment.start <= step)

    def step_of_epoch(self, epoch: int) -> int:
        """Return the total number of steps when `epoch` epochs are complete, whether or not the run has got there.

        Raises:
            RunError: the number is negative or not an integer.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer)) or epoch < 0:
            raise RunError(f"{self.run.folder}: an epoch must be an integer of at least 0, not {epoch!r}")
        return self._segment_at_epoch(epoch).global_step(epoch, 0)

    def _segment_at_epoch(self, epoch: int) -> Segment:
        return next(
            segment for segment in reversed(self.segments) if (segment.epoch, segment.step_in_epoch) <= (epoch, 0)
        )

    # Going to a step

    def seek(self, step: int, is_canceled: Callable[[], bool] = lambda: False) -> Trainer:
        """Go to the state after a number of steps, and return the trainer in this state.

        Args:
            step: the total number of steps, from 0 (before the first step) to `last_step`.
            is_canceled: called after each step; if it returns True, the replay ends.

        Raises:
            CanceledError: the replay was canceled.
            DivergedError: the loss became NaN or infinite before this step.
            RunError: the run has not reached this step.
        """
        self.segment_of(step)
        self._is_canceled = is_canceled
        self._last_keep_time = time.perf_counter()
        try:
            self._start_near(step)
            for segment in self.segments[self.segments.index(self._segment) + 1 :]:
                if segment.start <= step:
                    self._advance(segment.start)
                    self._enter(segment)
            self._advance(step)
        except CanceledError:
            raise
        except BaseException:  # raised within a step or while loading: the trainer may not be in a state of the run
            self._trainer = None
            raise
        self._keep()
        return self.trainer

    def _ends_epoch(self) -> bool:
        """Return whether an epoch's last step has been taken, but the epoch has not been completed."""
        return self.trainer.step_in_epoch == len(self.trainer.loader)

    def _start_near(self, step: int) -> None:
        """Load the nearest state at or before a step, unless the trainer's current state is nearer."""
        current = -1 if self._trainer is None or self.step > step else self.step  # -1: cannot be used
        while True:
            nearest = max(stored for stored in {0, *self._states, *self._files} if stored <= step)
            if current >= nearest:
                return
            if nearest in self._states:
                self._load(self.segment_of(nearest), self._states[nearest])
                return
            file = self._files.pop(nearest, None)  # read once: the state is then kept in memory, or the file is damaged
            if file is None:  # step 0, which needs no file
                self._trainer = None
                self._trainer_for(self.segments[0])
                self._keep()
                return
            try:
                self._load_file(nearest, file)
            except RunError as error:
                self.notes.append(f"{error}; the replay starts from an earlier state")
                self._trainer = None
                current = -1
            else:
                self._keep()
                return

    def _trainer_for(self, segment: Segment) -> Trainer:
        """Return a trainer with a segment's settings: the current trainer, or a new one. Its state is unspecified."""
        if self._trainer is None or segment is not self._segment:
            self._trainer = prepare(segment.run, self.data, [_ProgressCallback(self)], read_only=True)
            self._segment = segment
            self._initial_state, self._augment = copy_state(self._trainer), self._trainer.loader.augment
        return self._trainer

    def _load(self, segment: Segment, state: dict[str, Any]) -> Trainer:
        """Load a state that a trainer of this segment had."""
        trainer = self._trainer_for(segment)
        trainer.load_state_dict(state)
        trainer.loader.augment = self._augment  # `StopAugmentation` removes it again if the state is of a later epoch
        return trainer

    def _restore(self, segment: Segment, state: Any, file: Path) -> None:
        """Load a state that may have been saved with other settings or callbacks."""
        if isinstance(state, dict) and isinstance(state.get("callbacks"), list):
            # A read-only trainer has only one callback with a state, `callbacks.SettingsCheck`
            state["callbacks"] = [c for c in state["callbacks"] if isinstance(c, dict) and "batch_size" in c]
        self._trainer_for(segment)
        trainer = self._load(segment, self._initial_state)  # `restore` expects the schedule at its first step
        restore(segment.run, trainer, state, file)

    def _load_file(self, step: int, file: Path) -> None:
        segment = self.segment_of(step)
        state = load_state(segment.run, file)
        if isinstance(state, dict):
            state.pop("best", None)  # the best weights in a kept state, which are not part of a trainer's state
        self._restore(segment, state, file)
        if self.step != step:
            raise RunError(f"{file}: is the state of step {self.step:,}, not {step:,}")

    def _enter(self, segment: Segment) -> None:
        """Continue from the current state with the settings of the next segment, as `resume` does."""
        self._restore(segment, copy_state(self.trainer), segment.run.config_file)

    def _advance(self, step: int) -> None:
        """Train up to a step. If it is the last step of an epoch, also complete the epoch."""
        trainer, self._target = self.trainer, step
        if self.step == step and not self._ends_epoch():
            return
        with suppress(_Arrived):
            trainer.fit(self._segment.run.config["training"]["epochs"])
        trainer.stop = False
        if self.step < step:
            raise RunError(
                f"{self.run.folder}: with its recorded settings, training ends at step {self.step:,}, before {step:,}"
            )

    def after_step(self) -> None:
        """Keep the state if it is time to, and end `fit` if the replay has arrived or was canceled."""
        if time.perf_counter() - self._last_keep_time > _SECONDS_BETWEEN:
            self._keep()
            self._last_keep_time = time.perf_counter()
        if self._is_canceled():
            raise CanceledError(f"the replay was canceled at step {self.step:,}")
        if self.step == self._target and not self._ends_epoch():
            raise _Arrived

    def after_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """End `fit` if the replay has arrived, and compare the loss of the epoch with the run's."""
        trainer.stop = self.step >= self._target
        loss = self._history.get(record["epoch"], {}).get("train_loss")
        if loss is not None and loss != record["train_loss"] and not self._has_noted_difference:
            self._has_noted_difference = True
            self.notes.append(
                f"the training loss of epoch {record['epoch']} was {loss!r} in the run and is {record['train_loss']!r} "
                f"in the replay: the run was trained with {_list_versions(self.run.config['versions'])} (now "
                f"{_list_versions(versions())}), or on a different processor; the steps shown are those of this machine"
            )

    # The states to start from

    def _keep(self) -> None:
        """Keep the current state in memory, if a replay can start from it.

        It cannot if the epoch's last step has been taken but the epoch has not been completed, or if the next step is
        taken with settings that the trainer does not have.
        """
        step = self.step
        if step in self._states or self._ends_epoch() or self.segment_of(step) is not self._segment:
            return
        self._states[step] = copy_state(self.trainer)
        max_states = max(2, self._memory_limit // max(1, _count_bytes(self._states[step])))
        while len(self._states) > max_states:
            removable = [number for number in self._states if number > 0]  # step 0 is always kept
            del self._states[least_needed_step(removable)]

    def _find_files(self) -> dict[int, Path]:
        """Return the files of the run's saved states by their step."""
        files: dict[int, Path] = {}
        # Totals in file names assume that all epochs have had the same number of steps; otherwise they are ambiguous
        is_uniform = len({segment.steps_per_epoch for segment in self.segments}) == 1
        if is_uniform:
            files.update(self.run.replay_states)
        for (kind, number), file in self.run.kept_states.items():
            if kind == "epoch":
                files[self.step_of_epoch(number)] = file
            elif is_uniform:
                files[number] = file
        if self.run.checkpoint_file.exists():
            try:
                progress = load_state(self.run, self.run.checkpoint_file)["progress"]
                last = self.segments[-1].global_step(progress["epoch"], progress["step"])
            except (RunError, LookupError, TypeError) as error:
                not_a_state = f"{self.run.checkpoint_file}: is not a training state"
                reason = error if isinstance(error, RunError) else not_a_state
                self.notes.append(f"{reason}; the replay does without it")
            else:
                files[last] = self.run.checkpoint_file
        return files

    # Measurements at the current step

    def validate(self) -> dict[str, float]:
        """Return the metrics of the current weights on the validation examples, under their names in the history."""
        run, trainer = self._segment.run, self.trainer
        with restore_modes(trainer.network):
            validator = run.task.validator(trainer.network, run.model, self.data, compiled=trainer.compiled)
            return {name: float(value) for name, value in validator().items()}

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Return the gradient of the loss at the current weights for each parameter, by name.

        The loss is that of the first `batch_size` training examples, neither shuffled nor augmented, in eval mode.
        Therefore the gradients can be compared between steps, and no random numbers are drawn.
        """
        trainer = self.trainer
        network, loader = trainer.network, trainer.loader
        inputs, targets = loader.dataset[: min(loader.batch_size, len(loader.dataset))]
        with restore_modes(network):
            network.eval()
            network.zero_grad()
            trainer.loss(network(inputs), targets).backward()
        gradients = {name: p.grad.numpy().copy() for name, p in network.named_parameters() if p.grad is not None}
        network.zero_grad()
        return gradients


class _ProgressCallback(Callback):
    """Reports each step and epoch to a replay."""

    def __init__(self, replay: RunReplay) -> None:
        self.replay = replay

    def on_loss(self, trainer: Trainer, inputs: Any, loss: float) -> None:
        self.replay.losses[self.replay.step + 1] = loss

    def on_step(self, trainer: Trainer) -> None:
        self.replay.after_step()

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self.replay.after_epoch(trainer, record)


def weights_digest(network: Module) -> str:
    """Return the SHA-256 of a network's parameters and buffers: equal digests mean bitwise identical networks."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        array = np.ascontiguousarray(tensor.numpy())
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _segments(run: Run, data: Data) -> list[Segment]:
    """Divide a run at the changes of its settings."""
    settings = dict(run.config["training"])
    for change in reversed(run.changes):
        settings |= {name: old for name, (old, _) in change["settings"].items()}
    parts = [((0, 0), dict(settings))]  # the position where each segment starts, and its settings
    for change in run.changes:
        settings |= {name: new for name, (_, new) in change["settings"].items()}
        position = (change["epoch"], change["step"])
        if position == parts[-1][0]:  # no steps were taken with the settings before this change
            parts.pop()
        if not parts or settings != parts[-1][1]:
            parts.append((position, dict(settings)))
    segments: list[Segment] = []
    for (epoch, step_in_epoch), training in parts:
        segment_run = copy.copy(run)
        changes = [change for change in run.changes if (change["epoch"], change["step"]) <= (epoch, step_in_epoch)]
        segment_run.config = {**run.config, "training": training, "changes": changes}
        recipe = Recipe(**training)
        n_examples = run.task.examples_per_epoch(recipe, run.config["data"]["limit"], data)
        start = segments[-1].global_step(epoch, step_in_epoch) if segments else 0
        steps_per_epoch = math.ceil(n_examples / recipe.batch_size)
        segments.append(Segment(segment_run, steps_per_epoch, start, epoch, step_in_epoch))
    return segments


def copy_state(trainer: Trainer) -> dict[str, Any]:
    """Return a trainer's state as it would be read from a file, sharing no memory with the trainer."""
    state = trainer.state_dict()
    weights, optimizer = state.pop("network"), state.pop("optimizer")
    # The optimizer's `state_dict` is a copy already; its keys are integers, which become strings in a file
    return {
        **copy.deepcopy(state),
        "network": {name: tensor.numpy().copy() for name, tensor in weights.items()},
        "optimizer": {**optimizer, "state": {str(index): entries for index, entries in optimizer["state"].items()}},
    }


def _count_bytes(state: dict[str, Any]) -> int:
    values = [*state["network"].values()]
    values += [value for entries in state["optimizer"]["state"].values() for value in entries.values()]
    return sum(getattr(value, "nbytes", 8) for value in values)  # 8: a number, such as a count of steps


def _list_versions(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())
