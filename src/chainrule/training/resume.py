"""Resumes a run exactly, after validating its checkpoint.

With the same settings and package versions, the result of a resumed run is bitwise identical to that of an
uninterrupted one. Settings may have been changed by `changes.change_run`: config.json has the new settings, and the
checkpoint has those under which it was saved. A checkpoint is not trusted: whatever would break training later is an
error here, such as values of the wrong type, missing optimizer state, or a learning rate that does not match the
schedule.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import safetensors_io
from chainrule.errors import RunError, shorten
from chainrule.files import atomic_write, remove_leftovers
from chainrule.models import Recipe
from chainrule.training import checkpoint
from chainrule.training.callbacks import BestModel, Checkpoint, SettingsCheck, best_index
from chainrule.training.experiment import versions
from chainrule.training.run import ROLLBACK_KEY, check_record, check_schema, write_config
from chainrule.training.upgrade import add_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer

    SettingChanges = Mapping[str, tuple[Any, Any]]  # by name: the value when the state was saved, and the current one

_STATE_SCHEMA = {
    "network": dict,
    "optimizer": {"state": dict, "param_groups": [dict]},
    "scheduler": dict | None,
    "loader": dict,
    "generators": [dict],
    "callbacks": [dict],
    "progress": {
        "epoch": int, "step": int, "history": [dict], "stop": bool, "total": float, "seen": int, "seconds": float,
        "correct": int | None,
    },
}  # fmt: skip
_TOLERANCE = 1e-6
"""Maximum relative difference between a saved learning rate and the schedule's: the last bits of a cosine depend on the
machine."""


class VersionWarning(UserWarning):
    """The package versions differ from those the run was started with, so its result may differ slightly."""


def resume(run: Run, trainer: Trainer) -> None:
    """Load a run's last state into a trainer; warn if the package versions have changed.

    Args:
        run: the run.
        trainer: the trainer that `experiment.prepare` built for it.

    Raises:
        RunError: the checkpoint is missing, damaged, or does not fit.
    """
    for folder in (run.folder, run.checkpoint_file.parent):
        remove_leftovers(folder)  # `atomic_write` removes leftovers only of the file that it writes
    complete_rollback(run)
    if not run.checkpoint_file.exists() and not run.history:
        return  # the run was stopped before its initial state was saved: it starts from the beginning
    state = load_state(run, run.checkpoint_file)
    best_weights = state.pop("best", None) if isinstance(state, dict) else None
    restore(run, trainer, state, run.checkpoint_file)
    # A state that was a kept one before `complete_rollback` has the best weights of that time
    if best_weights is not None:
        _restore_best(run, best_weights)
    for callback in trainer.callbacks:
        if isinstance(callback, Checkpoint):
            callback.resumed_at = (trainer.epoch, trainer.step_in_epoch)
    remove_later_states(run, len(trainer.loader), trainer.global_step)
    if trainer.epoch < run.config["training"]["epochs"]:
        _compare_versions(run)


def restore(run: Run, trainer: Trainer, state: Any, file: Path) -> None:
    """Check a state and load it into a trainer, under the run's current settings; the run's files are not changed.

    Args:
        run: the run.
        trainer: a trainer that `experiment.prepare` built for it.
        state: the state. If settings have changed since it was saved, it is updated in place.
        file: the file that the state comes from, for messages.

    Raises:
        RunError: the state does not fit.
    """
    source = f"{file}: does not fit {run.config_file}"
    check_schema(state, _STATE_SCHEMA, source)
    for record in state["progress"]["history"]:
        check_record(record, source)
        is_finite = all(math.isfinite(value) for name, value in record.items() if name != "epoch")
        if "train_loss" not in record or not is_finite:
            raise RunError(
                f"{source}: each epoch of its history needs a train_loss and only finite values, not {record}"
            )
    try:
        changed_settings = _changed_settings(run, trainer, state)
        _check_progress(run, trainer, state["progress"], changed_settings)
        _advance_schedule(trainer, state["progress"])
        if changed_settings:
            _replace_options(trainer, state, changed_settings)
        else:
            _check_options(trainer, state)
        _check_optimizer_state(run, trainer, state, changed_settings)
        trainer.load_state_dict(state)
        _check_best(trainer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(f"{source}: {error}") from None


def load_state(run: Run, file: Path) -> Any:
    """Read a run's state; add the settings if it lacks them because chainrule 0.1.0 saved it.

    Raises:
        RunError: the file is missing or damaged.
    """
    state = checkpoint.load(file)
    add_settings(state, run.config)
    return state


def saved_settings(state: Any) -> dict[str, Any]:
    """Return the settings under which a state was saved (by `SettingsCheck`); {} if it has none.

    The dict is a part of the state. Settings that were added in later versions are set to the defaults of `Recipe`.
    """
    callbacks = state.get("callbacks") if isinstance(state, dict) else None
    for saved in callbacks if isinstance(callbacks, list) else ():
        if isinstance(saved, dict) and "batch_size" in saved:  # the state of `SettingsCheck`
            for field in fields(Recipe):
                if field.default is not MISSING:
                    saved.setdefault(field.name, field.default)
                elif field.default_factory is not MISSING:
                    saved.setdefault(field.name, field.default_factory())
            return saved
    return {}


def complete_rollback(run: Run) -> None:
    """Complete the return to a kept state that `ROLLBACK_KEY` in config.json names; do nothing without this key.

    The kept state replaces the last state, and later states are removed. Each action can be repeated, since the process
    may be killed after any of them.

    Raises:
        RunError: the kept state is missing or damaged, or config.json is invalid.
    """
    rollback = run.config.get(ROLLBACK_KEY)
    if rollback is None:
        return
    kind, number, steps_per_epoch = rollback["kind"], rollback["number"], rollback["steps_per_epoch"]
    source = run.kept_states.get((kind, number))
    if source is None:
        raise RunError(
            f"{run.config_file}: {ROLLBACK_KEY} names the state of {shorten(kind)} {number:,}, which is not kept"
        )
    if steps_per_epoch < 1:  # states that are not later would be removed as well
        raise RunError(f"{run.config_file}: {ROLLBACK_KEY}.steps_per_epoch must be at least 1, not {steps_per_epoch}")
    checkpoint.load(source)  # raises if it is damaged, before the last state is replaced
    with atomic_write(run.checkpoint_file) as file:
        file.write(source.read_bytes())
    # config.json no longer has the changes under which later states were trained
    remove_later_states(run, steps_per_epoch, _global_step(kind, number, steps_per_epoch))
    config = {name: value for name, value in run.config.items() if name != ROLLBACK_KEY}
    write_config(config, run.folder)
    run.config = config


def remove_later_states(run: Run, steps_per_epoch: int, global_step: int) -> None:
    """Remove the kept states and the replay states of later steps than `global_step`.

    Training continues from this step and saves new ones.
    """
    for (kind, number), file in run.kept_states.items():
        if _global_step(kind, number, steps_per_epoch) > global_step:
            file.unlink()
    for step, file in run.replay_states.items():
        if step > global_step:
            file.unlink()


def _global_step(kind: str, number: int, steps_per_epoch: int) -> int:
    """Return the total number of steps of a kept state, given its key in `Run.kept_states`."""
    return number * steps_per_epoch if kind == "epoch" else number


def _changed_settings(run: Run, trainer: Trainer, state: dict[str, Any]) -> SettingChanges:
    """Return the settings that have been changed since the state was saved; update their values in the state.

    Raises:
        ValueError: a setting differs without a change that `changes.change_run` has recorded.
    """
    (settings_check,) = (callback for callback in trainer.callbacks if isinstance(callback, SettingsCheck))
    saved = saved_settings(state)
    changed_settings = settings_check.differences(saved)
    recorded_values: dict[str, list[Any]] = {}  # the values that each setting has had, in order
    for change in run.changes:
        for name, (old, new) in change["settings"].items():
            recorded_values[name] = [*recorded_values.get(name, [old]), new]
    for name, (saved_value, current_value) in changed_settings.items():
        values = recorded_values.get(name)
        if values is None or saved_value not in values or current_value != values[-1]:
            settings_check.load_state_dict(saved)  # raises a ValueError with all differences
    saved.update({name: current_value for name, (_, current_value) in changed_settings.items()})
    return changed_settings


def _check_progress(run: Run, trainer: Trainer, progress: dict[str, Any], changed_settings: SettingChanges) -> None:
    """Check that the state's progress is consistent with the config and the loader."""
    epoch, step_in_epoch, epochs = progress["epoch"], progress["step"], run.config["training"]["epochs"]
    for change in run.changes:
        if (change["epoch"], change["step"]) > (epoch, step_in_epoch):
            raise ValueError(
                f"it is at step {step_in_epoch} after {epoch} epochs, before the change at step {change['step']} after "
                f"{change['epoch']} epochs; go back to a kept state with --epoch or --step"
            )
    if not 0 <= epoch <= epochs or not 0 <= step_in_epoch <= len(trainer.loader):
        raise ValueError(f"it is at step {step_in_epoch} of {len(trainer.loader)} after {epoch} of {epochs} epochs")
    if step_in_epoch and "batch_size" in changed_settings:
        raise ValueError(
            f"it was saved within an epoch, with batches of {changed_settings['batch_size'][0]}: the batch size "
            f"can only be changed between epochs"
        )
    n_examples = min(step_in_epoch * trainer.loader.batch_size, trainer.loader.examples)
    is_count_possible = 0 <= (progress.get("correct") or 0) <= n_examples
    is_finite = math.isfinite(progress["total"]) and 0 <= progress["seconds"] < math.inf
    if progress["seen"] != n_examples or not is_finite or not is_count_possible:
        raise ValueError(
            f"its running totals do not fit {step_in_epoch} steps: {progress['seen']} examples, a total loss of "
            f"{progress['total']}, {progress['seconds']} seconds"
        )


def _advance_schedule(trainer: Trainer, progress: dict[str, Any]) -> None:
    """Advance the scheduler, and with it the optimizer's options, to the state's step under the current settings."""
    if trainer.scheduler is not None:
        for _ in range(progress["epoch"] * len(trainer.loader) + progress["step"]):
            trainer.scheduler.step()


def _replace_options(trainer: Trainer, state: dict[str, Any], changed_settings: SettingChanges) -> None:
    """Replace the scheduler state and optimizer options in a state by those of the trainer, which has new settings."""
    state["scheduler"] = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    state["optimizer"]["param_groups"] = trainer.optimizer.state_dict()["param_groups"]
    state["progress"]["stop"] = False  # a decision to stop was made under the old settings
    if "optimizer" in changed_settings:
        state["optimizer"]["state"] = {}  # the new optimizer has no use for the old one's state


def _check_options(trainer: Trainer, state: dict[str, Any]) -> None:
    """Compare a state's scheduler state and optimizer options with the trainer's at the same step."""
    schedule = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    groups = trainer.optimizer.state_dict()["param_groups"]
    difference = _difference(state["scheduler"], schedule, "scheduler") or _difference(
        state["optimizer"]["param_groups"], groups, "optimizer.param_groups"
    )
    if difference:
        raise ValueError(difference)


def _difference(value: Any, expected: Any, name: str) -> str:
    """Describe the first difference, beyond rounding, between two nested values; "" if there is none."""
    if isinstance(expected, dict) and isinstance(value, dict):
        unknown = sorted(value.keys() - expected.keys())
        if unknown:
            return f"{name} has unknown {unknown[0]}"
        differences = (_difference(value.get(key), entry, f"{name}.{key}") for key, entry in expected.items())
        return next(filter(None, differences), "")
    if isinstance(expected, (list, tuple)) and isinstance(value, (list, tuple)) and len(value) == len(expected):
        pairs = enumerate(zip(value, expected, strict=True))
        differences = (_difference(element, other, f"{name}[{index}]") for index, (element, other) in pairs)
        return next(filter(None, differences), "")
    if isinstance(expected, float) and type(value) in (int, float):
        is_same = math.isclose(value, expected, rel_tol=_TOLERANCE, abs_tol=1e-12)  # abs_tol: for rates close to 0
    else:
        is_same = type(value) is type(expected) and value == expected
    return "" if is_same else f"{name} is {value!r}, not {expected!r}"


_NON_NEGATIVE_ENTRIES = {"acc_delta", "exp_avg_sq", "exp_inf", "mu_product", "square_avg", "step_size", "sum"}
"""Entries of optimizers' states that cannot be negative, such as averages of squares."""


def _check_optimizer_state(run: Run, trainer: Trainer, state: dict[str, Any], changed_settings: SettingChanges) -> None:
    """Check that the optimizer's state is complete and plausible for the number of steps."""
    parameters = [(parameter, group) for group in trainer.optimizer.param_groups for parameter in group["params"]]
    states, progress = state["optimizer"]["state"], state["progress"]
    steps = progress["epoch"] * len(trainer.loader) + progress["step"]
    # The optimizer's own count differs from `steps` if this optimizer has replaced a different one, or if the number of
    # steps per epoch has changed with the batch size
    is_count_known = not any({"batch_size", "optimizer"} & change["settings"].keys() for change in run.changes)
    # An optimizer that has replaced a different one has no state before its first step
    has_started = bool(states) or not any(
        "optimizer" in change["settings"] and change["epoch"] * len(trainer.loader) + change["step"] == steps
        for change in run.changes
    )
    for index, (parameter, group) in enumerate(parameters):
        required_entries = set(trainer.optimizer.start(parameter.numpy(), group))
        if group.get("momentum") and "momentum" not in changed_settings:
            required_entries.add("momentum_buffer")
        entries = states.get(str(index), {})
        check_schema(entries, dict, f"the optimizer's state of parameter {index}")
        missing_entries = required_entries - entries.keys()
        if steps and has_started and "optimizer" not in changed_settings and missing_entries:
            raise ValueError(f"the optimizer's state of parameter {index} lacks {min(missing_entries)}")
        for name, value in entries.items():
            if name != "step":
                array = np.asarray(value)
                minimum = 0.0 if name in _NON_NEGATIVE_ENTRIES else -math.inf
                is_possible = array.dtype.kind == "f" and bool((np.isfinite(array) & (array >= minimum)).all())
            elif is_count_known:
                is_possible = type(value) is int and value == steps
            else:
                is_possible = type(value) is int and 0 < value < 2**53  # such integers are exact in float64
            if not is_possible:
                raise ValueError(f"the optimizer's {name} of parameter {index} is not possible after {steps} steps")


def _check_best(trainer: Trainer) -> None:
    """Check that the state of `BestModel` is consistent with the history."""
    for callback in trainer.callbacks:
        if isinstance(callback, BestModel):
            best = {"best": None, "epoch": 0}
            if trainer.history:
                record = trainer.history[best_index(trainer.history, callback.metric, callback.mode)]
                if math.isfinite(record[callback.metric]):
                    best = {"best": record[callback.metric], "epoch": record["epoch"]}
            if callback.state_dict() != best:
                raise ValueError(f"the best epoch is recorded as {callback.state_dict()}, but is {best}")


def _restore_best(run: Run, weights: Any) -> None:
    """Replace the file of the best weights by those of an earlier state; remove it if the state has none ({})."""
    check_schema(weights, dict, str(run.checkpoint_file), "best")
    if weights:
        try:
            safetensors_io.save(weights, run.weights_file)
        except (TypeError, ValueError) as error:
            raise RunError(f"{run.checkpoint_file}: its best weights are invalid: {error}") from None
    else:
        run.weights_file.unlink(missing_ok=True)


def _compare_versions(run: Run) -> None:
    """Warn if package versions differ from those the run was started with."""
    old, new = run.config["versions"], versions()
    changed = [f"{name} {old[name]} (now {new[name]})" for name in new if old.get(name, new[name]) != new[name]]
    if changed:
        warnings.warn(
            f"{run.folder} was started with {', '.join(changed)}: its result may differ slightly",
            VersionWarning,
            stacklevel=3,
        )
