"""Optuna's study of a sweep, in an SQLite file: it proposes settings, and decides which trials are pruned.

The sampler of each trial has its own seed, made from the sweep's seed and the trial's number. So the proposals depend
on the seed and on the results so far, and not on how often the sweep was stopped.
"""

from __future__ import annotations

import json
import math
import sqlite3
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import models
from chainrule.errors import MissingLibraryError, RunError, shorten
from chainrule.sweep.config import Range
from chainrule.training import tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from chainrule.sweep.config import SweepConfig

STUDY = "study.db"
"""The file of the study, in the sweep's folder."""

_NAME = "sweep"
_CONFIG, _WHY = "config", "why"  # user attributes of the study and of a trial

WARMUP_EPOCHS = 1
"""The first epochs in which no trial is pruned by the median."""
STARTUP_TRIALS = 5
"""The trials that must be complete before any trial is pruned by the median."""


def check_library() -> None:
    """Check that Optuna is installed.

    Raises:
        MissingLibraryError: Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401  # an extra
    except ModuleNotFoundError as error:
        if error.name != "optuna":  # it is installed, but broken
            raise
        raise MissingLibraryError(
            "chainrule sweep needs the library optuna, which is not installed: pip install 'chainrule[sweep]'"
        ) from None


@dataclass(frozen=True)
class Trial:
    """A trial as the study has it.

    Attributes:
        number: its number, from 0.
        state: "complete", "pruned", "failed" or "running"; a trial that was stopped is also "running".
        settings: the proposed settings, by path.
        values: the metric by epoch.
        value: the best of these values; None if there is none.
        why: for a failed trial, or one that diverged, the message.
    """

    number: int
    state: str
    settings: dict[str, Any]
    values: dict[int, float]
    value: float | None
    why: str = ""
    _handle: Any = field(default=None, compare=False, repr=False)

    @property
    def folder(self) -> str:
        """The name of its run's folder."""
        return f"trial-{self.number:04}"


class Search:
    """A sweep's study. Only one process may have it open.

    Args:
        config: what is searched.
        folder: the sweep's folder, which exists; a study in it is continued.

    Attributes:
        metric: the metric to optimize: its name, and whether it is maximized or minimized.

    Raises:
        MissingLibraryError: Optuna is not installed.
        RunError: the study was begun with another config, or its file is damaged.
    """

    def __init__(self, config: SweepConfig, folder: Path) -> None:
        check_library()
        import optuna

        self.config, self.metric = config, tasks.of(models.get(config.model)).metric
        self._file, self._states = folder / STUDY, optuna.trial.TrialState
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._errors_as_sentences():
            # a function that connects, not a URL, in which some characters of a path have a special meaning
            storage = optuna.storages.RDBStorage(
                "sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(self._file, check_same_thread=False)}
            )
            self._study = optuna.create_study(
                study_name=_NAME,
                storage=storage,
                direction="maximize" if self.metric.mode == "max" else "minimize",
                pruner=self._pruner(optuna),
                load_if_exists=True,
            )
            begun_with = self._study.user_attrs.get(_CONFIG)
            if begun_with is None:
                self._study.set_user_attr(_CONFIG, config.describe())
        if begun_with is not None:
            self._check_same(begun_with)

    def _pruner(self, optuna: Any) -> Any:
        epochs = self.config.fixed.get("training.epochs", models.get(self.config.model).recipe.epochs)
        if "training.epochs" in self.config.searched:
            epochs = max(self.config.searched["training.epochs"].samples)
        return {
            "median": lambda: optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS + 1),
            "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
            "none": optuna.pruners.NopPruner,
        }[self.config.pruning]()

    def _check_same(self, begun_with: dict[str, Any]) -> None:
        now = self.config.describe()
        for path in sorted({*begun_with, *now}):
            old, new = (shorten(json.dumps(values.get(path))) for values in (begun_with, now))
            if old != new:
                raise RunError(
                    f"{self._file.parent}: this sweep was begun with {path} = {old}, and {self.config.file} has {new}; "
                    f"go on with the former, or choose another folder with --out"
                )

    @contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        """Turn the storage's errors into a RunError, and suppress Optuna's warnings of experimental features."""
        import optuna
        import sqlalchemy

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            reason = shorten(str(getattr(error, "orig", None) or error).split("\n", 1)[0])
            raise RunError(f"{self._file}: cannot be used as the study of a sweep ({reason})") from None

    # Trials

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        with self._errors_as_sentences():
            return [self._trial(trial) for trial in self._study.get_trials(deepcopy=False)]

    def ranked(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return trials, the best first: complete ones by their value, then the others by their number of epochs."""
        sign = -1 if self.metric.mode == "max" else 1

        def key(trial: Trial) -> tuple[bool, int, float]:
            is_complete = trial.state == "complete"
            worst = math.inf if trial.value is None else sign * trial.value
            return (not is_complete, 0 if is_complete else -len(trial.values), worst)

        return sorted(trials, key=key)

    def _trial(self, frozen: Any, handle: Any = None) -> Trial:
        values = dict(sorted(frozen.intermediate_values.items()))
        best = max if self.metric.mode == "max" else min
        names = {self._states.COMPLETE: "complete", self._states.PRUNED: "pruned", self._states.FAIL: "failed"}
        return Trial(
            frozen.number,
            names.get(frozen.state, "running"),
            dict(frozen.params),
            values,
            best(values.values()) if values else None,
            frozen.user_attrs.get(_WHY, ""),
            handle,
        )

    def next(self, running: set[int]) -> Trial | None:
        """Return the next trial to train: one that was stopped, or a new one; None if the sweep has all its trials.

        Args:
            running: the numbers of the trials that are being trained.
        """
        import optuna

        with self._errors_as_sentences():
            trials = self._study.get_trials(deepcopy=False)
            stopped = [t for t in trials if not t.state.is_finished() and t.number not in running]
            if not stopped and len(trials) >= self.config.trials:
                return None
            number = stopped[0].number if stopped else len(trials)
            self._study.sampler = self._sampler(optuna, number)
            handle = optuna.trial.Trial(self._study, stopped[0]._trial_id) if stopped else self._study.ask()
            proposed: dict[str, Any] = {}
            for path, space in self.config.searched.items():
                if self.config.applies(path, proposed):
                    proposed[path] = self._suggest(handle, path, space)
            return self._trial(self._study.get_trials(deepcopy=False)[number], handle)

    def _sampler(self, optuna: Any, number: int) -> Any:
        seed = int(np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0])
        if self.config.sampler == "random":
            return optuna.samplers.RandomSampler(seed)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)  # the liar takes running trials into account

    def _suggest(self, handle: Any, path: str, space: Any) -> Any:
        if isinstance(space, Range):
            suggest = handle.suggest_int if space.is_integer else handle.suggest_float
            step = {} if space.step is None else {"step": space.step}
            return suggest(path, space.low, space.high, log=space.log, **step)
        return handle.suggest_categorical(path, list(space.values))

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Report the metric of an epoch, and return whether to prune the trial. An epoch may be reported again."""
        with self._errors_as_sentences():
            reported = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
            if epoch not in reported:
                trial._handle.report(value, epoch)
            return bool(epoch >= max(reported, default=0) and trial._handle.should_prune())

    def complete(self, trial: Trial) -> None:
        """Record that a trial has trained all its epochs."""
        with self._errors_as_sentences():
            value = self._trial(self._study.get_trials(deepcopy=False)[trial.number]).value
            self._study.tell(trial._handle, value)

    def prune(self, trial: Trial, why: str = "") -> None:
        """Record that a trial was stopped because it falls behind or, with a reason, because it diverged."""
        self._end(trial, self._states.PRUNED, why)

    def fail(self, trial: Trial, why: str) -> None:
        """Record that a trial could not be trained."""
        self._end(trial, self._states.FAIL, why)

    def _end(self, trial: Trial, state: Any, why: str) -> None:
        with self._errors_as_sentences():
            if why:
                trial._handle.set_user_attr(_WHY, why)
            self._study.tell(trial._handle, state=state)
