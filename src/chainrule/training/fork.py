"""Forks: a new run that continues from any step of another one, with other settings.

The new run's folder is complete from the start: its config, with where it comes from and what has changed; the state at
that step, computed by `replay`; the history and the best weights up to there. It is resumed like any other run, and
ends with the same bits as the old run, resumed from a checkpoint at that step with the same changes.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule import safetensors_io
from chainrule.errors import RunError, join_names
from chainrule.files import write_text
from chainrule.models import Recipe
from chainrule.training import checkpoint
from chainrule.training.callbacks import BestModel, best_index
from chainrule.training.changes import check_change_at, check_effect, describe_change
from chainrule.training.experiment import check_settings, versions
from chainrule.training.logs import check_logs
from chainrule.training.optimizers import OPTIMIZERS, check_optimizer
from chainrule.training.replay import copy_state
from chainrule.training.run import RECIPE_SCHEMA, START_FILE, check_empty, check_schema, create

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
    """Create a run that continues from a step of another one; if that fails, nothing is left behind.

    Another optimizer starts without a state, with its own default settings where none are given. Another batch size
    can take effect only at the start of an epoch. Without changes, the new run ends with the same bits as the old one.

    Args:
        replay: a replay of the run to fork.
        step: the total number of steps before the fork.
        settings: new values of recipe fields, such as {"lr": 0.001}.
        folder: the new run's folder; None for a new one in `runs/`.
        keep: how many states the new run keeps.
        log: logs it writes besides metrics.jsonl.
        is_canceled: as in `RunReplay.seek`.

    Returns:
        The new run, to be trained with `resume` and `Trainer.fit`.

    Raises:
        CanceledError: the replay was canceled.
        MissingLibraryError: a log needs a library that is not installed.
        RunError: a setting is invalid, or cannot take effect there; the run has not reached this step; or the folder is
            not empty.
    """
    check_logs(log)
    if folder is not None:
        check_empty(Path(folder), replay.run.model.name)  # before minutes of replay
    segment = replay.segment_of(step)
    epoch, step_in_epoch = segment.position(step)
    old = Recipe(**segment.run.config["training"])
    new = _new_recipe(old, settings or {})
    check_settings(
        segment.run.task, new, segment.run.config["seed"], segment.run.config["data"]["limit"], replay.data, keep
    )
    check_change_at(epoch, step_in_epoch, old.batch_size, new)
    differing = {name: [getattr(old, name), value] for name, value in vars(new).items() if getattr(old, name) != value}
    if epoch >= new.epochs:
        raise RunError(f"step {step:,} ends the last of {epoch} epochs: give more epochs, or an earlier step")
    metric = segment.run.task.metric
    history = _history(replay.run, epoch, metric.name)
    best, best_weights = BestModel("", metric.name, metric.mode), {}
    if history:
        record = history[best_index(history, metric.name, metric.mode)]
        best.load_state_dict({"best": record[metric.name], "epoch": record["epoch"]})
        replay.seek(replay.step_of_epoch(record["epoch"]), is_canceled)
        best_weights = copy_state(replay.trainer)["network"]
    replay.seek(step, is_canceled)
    state = _state(replay, best, history)
    earlier = segment.run.changes
    change = describe_change(old, new, differing, earlier, segment.steps_per_epoch, epoch, step_in_epoch)
    left_out = ("keep", "log", "changes", "fork")
    config = {
        **{name: value for name, value in segment.run.config.items() if name not in left_out},
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "training": {**segment.run.config["training"], **{name: value for name, (_, value) in differing.items()}},
        "versions": versions(),
        "fork": {"run": str(replay.run.folder), "step": step},
        **({"keep": keep} if keep else {}),
        **({"log": list(dict.fromkeys(log))} if log else {}),
        "changes": [*earlier, change] if differing else earlier,
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
        except BaseException:  # such as a full disk; the folder was empty
            shutil.rmtree(target, ignore_errors=True)
            raise

    return create(config, folder, write_files)


def _new_recipe(old: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with new settings, and with the defaults of another optimizer."""
    check_schema({**asdict(old), **settings}, RECIPE_SCHEMA, "the fork's settings")
    differing = {name: value for name, value in settings.items() if getattr(old, name) != value}
    fixed = sorted(differing.keys() & {"augment", "steps_per_epoch", "shards"})
    if fixed:
        raise RunError(f"{join_names(fixed)} cannot be changed in a fork")
    optimizer = settings.get("optimizer", old.optimizer)
    defaults = {}
    if optimizer != old.optimizer and optimizer in OPTIMIZERS:
        defaults = {"momentum": 0.0, "weight_decay": 0.0, **OPTIMIZERS[optimizer].settings}
    new = replace(old, **{**defaults, **settings})
    check_optimizer(new)
    check_effect(new, differing)
    return new


def _history(run: Run, epochs: int, metric: str) -> list[dict[str, Any]]:
    """Return the records of the first epochs, as the new run's history."""
    history = run.history[:epochs]
    is_finite = all(math.isfinite(value) for record in history for value in record.values())
    if len(history) < epochs or not is_finite or any(metric not in record for record in history):
        raise RunError(f"{run.folder / 'metrics.jsonl'}: lacks finite records of the first {epochs} epochs")
    return history


def _state(replay: RunReplay, best: BestModel, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state that the run itself would have saved at the replay's step, with its settings at that time."""
    state = copy_state(replay.trainer)
    state["callbacks"] = [best.state_dict(), *state["callbacks"]]
    state["progress"]["history"] = history
    return state
