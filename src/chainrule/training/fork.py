"""Forks a run: a new run continues from any of its steps, with different settings if requested.

The new run's folder is complete from the start: the config, with the run and the step that were forked and the changed
settings; the state at that step, computed by `RunReplay`; the history and the best weights up to that step. The new run
is resumed like any other. Its result is bitwise identical to the result that the original run would have if it were
changed in the same way and resumed at this step.
"""

from __future__ import annotations

import json
import math
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule import safetensors_io
from chainrule.errors import RunError
from chainrule.files import write_text
from chainrule.models import Recipe
from chainrule.training import checkpoint
from chainrule.training.callbacks import BestModel, best_index
from chainrule.training.changes import change_recipe, check_change_at, describe_change
from chainrule.training.experiment import check_settings, versions
from chainrule.training.fine_tuning import START_FILE
from chainrule.training.logs import check_logs
from chainrule.training.replay import copy_state
from chainrule.training.run import check_empty, create

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from chainrule.training.replay import RunReplay
    from chainrule.training.run import Run


def fork(
    replay: RunReplay,
    step: int,
    settings: Mapping[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    keep: int = 0,
    log: Sequence[str] = (),
    is_canceled: Callable[[], bool] = lambda: False,
) -> Run:
    """Create a run that continues from a step of an existing run; if this fails, nothing is left behind.

    A different optimizer starts without a state. Its default learning rate, momentum and weight decay apply, unless
    `settings` has others. The batch size can be changed only at the start of an epoch. If nothing is changed, the new
    run's result is bitwise identical to that of the original run.

    Args:
        replay: a replay of the run to fork.
        step: the total number of steps before the fork.
        settings: new values of recipe fields, such as {"lr": 0.001}.
        folder: the new run's folder; None for a new one in `runs/`.
        keep: how many states the new run keeps (see `callbacks.Checkpoint`).
        log: logs that the new run writes besides metrics.jsonl, such as "csv".
        is_canceled: as in `RunReplay.seek`.

    Returns:
        The new run, to be trained with `session.train`.

    Raises:
        CanceledError: the replay was canceled.
        MissingLibraryError: a log needs a library that is not installed.
        RunError: a setting is invalid, or cannot take effect at this step; the run has not reached the step; or the
            folder is not empty.
    """
    check_logs(log)
    if folder is not None:
        check_empty(Path(folder), replay.run.model.name)  # at once, since the replay may take minutes
    segment = replay.segment_of(step)
    epoch, step_in_epoch = segment.position(step)
    old = Recipe(**segment.run.config["training"])
    new = _new_recipe(old, settings or {})
    check_settings(
        segment.run.task, new, segment.run.config["seed"], segment.run.config["data"]["limit"], replay.data, keep
    )
    check_change_at(epoch, step_in_epoch, old.batch_size, new)
    changed_settings = {
        name: [getattr(old, name), value] for name, value in vars(new).items() if value != getattr(old, name)
    }
    if epoch >= new.epochs:
        raise RunError(f"step {step:,} ends the last of {epoch} epochs: give more epochs, or an earlier step")
    metric = segment.run.task.metric
    history = _read_history(replay.run, epoch, metric.name)
    best_model = BestModel("", metric.name, metric.mode)  # only for its state; it writes no file
    best_weights = {}
    if history:
        record = history[best_index(history, metric.name, metric.mode)]
        best_model.load_state_dict({"best": record[metric.name], "epoch": record["epoch"]})
        replay.seek(replay.step_of_epoch(record["epoch"]), is_canceled)
        best_weights = copy_state(replay.trainer)["network"]
    replay.seek(step, is_canceled)
    state = _make_state(replay, best_model, history)
    earlier_changes = segment.run.changes
    change = describe_change(old, new, changed_settings, earlier_changes, segment.steps_per_epoch, epoch, step_in_epoch)
    not_inherited = ("keep", "log", "changes", "fork")
    config = {
        **{name: value for name, value in segment.run.config.items() if name not in not_inherited},
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "training": {
            **segment.run.config["training"],
            **{name: value for name, (_, value) in changed_settings.items()},
        },
        "versions": versions(),
        "fork": {"run": str(replay.run.folder), "step": step},
        **({"keep": keep} if keep else {}),
        **({"log": list(dict.fromkeys(log))} if log else {}),
        "changes": [*earlier_changes, change] if changed_settings else earlier_changes,
    }

    def write_files(target: Path) -> None:
        try:
            for name in (*segment.run.task.files, START_FILE):
                if (segment.run.folder / name).exists():
                    shutil.copyfile(segment.run.folder / name, target / name)
            if history:
                write_text(target / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in history))
                safetensors_io.save(best_weights, target / segment.run.weights_file.name)
            (target / "checkpoint").mkdir()
            checkpoint.save(state, target / "checkpoint" / checkpoint.FILE_NAME)
        except BaseException:  # e.g. the disk is full; nothing else is in the folder, since `create` has checked it
            shutil.rmtree(target, ignore_errors=True)
            raise

    return create(config, folder, write_files)


def _new_recipe(old: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with new settings (see `changes.change_recipe`).

    `shards` cannot be changed in a fork. With shards, the result also depends on the number of threads, which only
    `experiment.configure` records; without this record, a run with shards trains with one thread (see
    `experiment._thread_count`). `changes.change_run` allows `shards` nevertheless, so that several ranks can continue a
    run that was started without shards. To train a new run with shards, pass them to `experiment.configure`.

    Raises:
        RunError: a setting is unknown, invalid, cannot be changed, or would have no effect.
    """
    new = change_recipe(old, settings, "the fork's settings")
    if new.shards != old.shards:
        raise RunError("shards cannot be changed in a fork")
    return new


def _read_history(run: Run, n_epochs: int, metric: str) -> list[dict[str, Any]]:
    """Return the records of a run's first epochs.

    Raises:
        RunError: a record is missing, is not finite, or lacks the metric.
    """
    history = run.history[:n_epochs]
    is_finite = all(math.isfinite(value) for record in history for value in record.values())
    if len(history) < n_epochs or not is_finite or any(metric not in record for record in history):
        raise RunError(f"{run.folder / 'metrics.jsonl'}: lacks finite records of the first {n_epochs} epochs")
    return history


def _make_state(replay: RunReplay, best_model: BestModel, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state that the original run would have saved at the replay's step, under its settings at that time."""
    state = copy_state(replay.trainer)
    # The trainer of a run has `BestModel` before `SettingsCheck` (see `experiment.prepare`); the replay's trainer has
    # only `SettingsCheck`
    state["callbacks"] = [best_model.state_dict(), *state["callbacks"]]
    state["progress"]["history"] = history
    return state
