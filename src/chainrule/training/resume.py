"""Resumes a run exactly, after validating its checkpoint.

With the same settings and package versions, a resumed run gives bitwise the same result as an uninterrupted one.
Settings may have been changed by `change_run`: config.json has the new ones, the checkpoint those under which it was
saved. A checkpoint is not trusted: whatever would break training later is an error here, such as values of the wrong
type, missing optimizer state, or a learning rate that does not match the schedule.
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
from chainrule.training.run import check_record, check_schema, write_config
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
_TOLERANCE = 1e-6  # relative: the last bits of a cosine depend on the machine


class VersionWarning(UserWarning):
    """The package versions have changed since the run was started, so its result may differ slightly."""


def resume(run: Run, trainer: Trainer) -> None:
    """Load a run's last state into a trainer.

    Args:
        run: the run.
        trainer: the trainer that `prepare` built for it.

    Raises:
        RunError: the checkpoint is missing, damaged, or does not fit.
    """
    for folder in (run.folder, run.checkpoint_file.parent):
        remove_leftovers(folder)  # `atomic_write` removes only those of the file it writes
    finish_going_back(run)
    if not run.checkpoint_file.exists() and not run.history:
        return  # stopped before its first step: start from the beginning
    state = load_state(run, run.checkpoint_file)
    best = state.pop("best", None) if isinstance(state, dict) else None
    restore(run, trainer, state, run.checkpoint_file)
    if best is not None:  # an earlier state (see `change_run`), with the best weights at that time
        _restore_best(run, best)
    for callback in trainer.callbacks:
        if isinstance(callback, Checkpoint):
            callback.resumed_at = (trainer.epoch, trainer.step)
    remove_later_states(run, len(trainer.loader), trainer.total_steps)
    if trainer.epoch < run.config["training"]["epochs"]:
        _compare_versions(run)


def restore(run: Run, trainer: Trainer, state: Any, file: Path) -> None:
    """Check a state and load it into a trainer, under the run's current settings; the run's files are not changed.

    Args:
        run: the run.
        trainer: a trainer that `prepare` built for it.
        state: the state, which is changed in place where settings have changed since.
        file: where the state comes from, for messages.

    Raises:
        RunError: the state does not fit.
    """
    source = f"{file}: does not fit {run.config_file}"
    check_schema(state, _STATE_SCHEMA, source)
    for record in state["progress"]["history"]:
        check_record(record, source)
        finite = all(math.isfinite(value) for name, value in record.items() if name != "epoch")
        if "train_loss" not in record or not finite:
            raise RunError(
                f"{source}: each epoch of its history needs a train_loss and only finite values, not {record}"
            )
    try:
        changed = _changed_settings(run, trainer, state)
        _check_progress(run, trainer, state["progress"], changed)
        _advance_schedule(trainer, state["progress"])
        if changed:
            _replace_options(trainer, state, changed)
        else:
            _check_options(trainer, state)
        _check_optimizer_state(run, trainer, state, changed)
        trainer.load_state_dict(state)
        _check_best(trainer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(f"{source}: {error}") from None


def load_state(run: Run, file: Path) -> Any:
    """Read a run's state, and add the settings that 0.1.0 did not save.

    Raises:
        RunError: the file is missing or damaged.
    """
    state = checkpoint.load(file)
    add_settings(state, run.config)
    return state


def saved_settings(state: Any) -> dict[str, Any]:
    """Return the settings under which a state was saved (by `SettingsCheck`); empty if it has none.

    Settings that were added in later versions have the recipe's defaults.
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


def finish_going_back(run: Run) -> None:
    """Replace a run's last state by the kept one that config.json's "going_back" names, and remove later ones.

    Each action here can be repeated, since `change_run` may have been killed at any point.

    Raises:
        RunError: the state is missing or damaged, or config.json is invalid.
    """
    target = run.config.get("going_back")
    if target is None:
        return
    kind, number, steps_per_epoch = target["kind"], target["number"], target["steps_per_epoch"]
    source = run.kept_states.get((kind, number))
    if source is None:
        raise RunError(
            f"{run.config_file}: going_back names the state of {shorten(kind)} {number:,}, which is not kept"
        )
    if steps_per_epoch < 1:  # otherwise every kept state would count as later
        raise RunError(f"{run.config_file}: going_back.steps_per_epoch must be at least 1, not {steps_per_epoch}")
    checkpoint.load(source)  # do not replace the last state by a damaged one
    with atomic_write(run.checkpoint_file) as file:
        file.write(source.read_bytes())
    # config.json no longer has the changes under which later states were trained
    remove_later_states(run, steps_per_epoch, number * (steps_per_epoch if kind == "epoch" else 1))
    config = {name: value for name, value in run.config.items() if name != "going_back"}
    write_config(config, run.folder)
    run.config = config


def remove_later_states(run: Run, steps_per_epoch: int, steps: int) -> None:
    """Remove the kept states after step `steps`: training continues from there and saves them again."""
    for (kind, number), file in run.kept_states.items():
        if number * (steps_per_epoch if kind == "epoch" else 1) > steps:
            file.unlink()
    for number, file in run.replay_states.items():
        if number > steps:
            file.unlink()


def _changed_settings(run: Run, trainer: Trainer, state: dict[str, Any]) -> SettingChanges:
    """Return the settings changed by `change_run` since the state was saved, and update the state to the current ones.

    Raises:
        ValueError: a setting differs without a recorded change.
    """
    (settings_check,) = (callback for callback in trainer.callbacks if isinstance(callback, SettingsCheck))
    saved = saved_settings(state)
    changed = settings_check.differences(saved)
    values: dict[str, list[Any]] = {}  # the successive values of each setting
    for change in run.changes:
        for name, (old, new) in change["settings"].items():
            values[name] = [*values.get(name, [old]), new]
    if any(
        saved_value not in values.get(name, []) or current_value != values[name][-1]
        for name, (saved_value, current_value) in changed.items()
    ):
        settings_check.load_state_dict(saved)  # raises
    saved.update({name: current_value for name, (_, current_value) in changed.items()})
    return changed


def _check_progress(run: Run, trainer: Trainer, progress: dict[str, Any], changed: SettingChanges) -> None:
    """Check that the state's progress is consistent with the config and the loader."""
    epoch, step, epochs = progress["epoch"], progress["step"], run.config["training"]["epochs"]
    for change in run.changes:
        if (change["epoch"], change["step"]) > (epoch, step):
            raise ValueError(
                f"it is at step {step} after {epoch} epochs, before the change at step {change['step']} after "
                f"{change['epoch']} epochs; go back to a kept state with --epoch or --step"
            )
    if not 0 <= epoch <= epochs or not 0 <= step <= len(trainer.loader):
        raise ValueError(f"it is at step {step} of {len(trainer.loader)} after {epoch} of {epochs} epochs")
    if step and "batch_size" in changed:
        raise ValueError(
            f"it was saved within an epoch, with batches of {changed['batch_size'][0]}: the batch size can only "
            f"be changed between epochs"
        )
    seen = min(step * trainer.loader.batch_size, trainer.loader.examples)
    is_count_possible = 0 <= (progress.get("correct") or 0) <= seen
    is_finite = math.isfinite(progress["total"]) and 0 <= progress["seconds"] < math.inf
    if progress["seen"] != seen or not is_finite or not is_count_possible:
        raise ValueError(
            f"its running totals do not fit {step} steps: {progress['seen']} examples, a total loss of "
            f"{progress['total']}, {progress['seconds']} seconds"
        )


def _advance_schedule(trainer: Trainer, progress: dict[str, Any]) -> None:
    """Advance the scheduler, and with it the optimizer's options, to the state's step under the current settings."""
    if trainer.scheduler is not None:
        for _ in range(progress["epoch"] * len(trainer.loader) + progress["step"]):
            trainer.scheduler.step()


def _replace_options(trainer: Trainer, state: dict[str, Any], changed: SettingChanges) -> None:
    """Replace the scheduler state and optimizer options in a state by the trainer's, which has the new settings."""
    state["scheduler"] = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    state["optimizer"]["param_groups"] = trainer.optimizer.state_dict()["param_groups"]
    state["progress"]["stop"] = False
    if "optimizer" in changed:  # one optimizer's state means nothing to another
        state["optimizer"]["state"] = {}


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
        pairs = [(value.get(key), part, f"{name}.{key}") for key, part in expected.items()]
        unknown = sorted(value.keys() - expected.keys())
        return f"{name} has unknown {unknown[0]}" if unknown else _first_difference(pairs)
    if isinstance(expected, (list, tuple)) and isinstance(value, (list, tuple)) and len(value) == len(expected):
        pairs = [(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(value, expected, strict=True))]
        return _first_difference(pairs)
    if isinstance(expected, float) and type(value) in (int, float):
        same = math.isclose(value, expected, rel_tol=_TOLERANCE, abs_tol=1e-12)
    else:
        same = type(value) is type(expected) and value == expected
    return "" if same else f"{name} is {value!r}, not {expected!r}"


def _first_difference(pairs: list[tuple[Any, Any, str]]) -> str:
    return next(filter(None, (_difference(*pair) for pair in pairs)), "")


_NOT_NEGATIVE = {"acc_delta", "exp_avg_sq", "exp_inf", "mu_product", "square_avg", "step_size", "sum"}
"""Entries of optimizers' states that cannot be negative: averages of squares, and the like."""


def _check_optimizer_state(run: Run, trainer: Trainer, state: dict[str, Any], changed: SettingChanges) -> None:
    """Check that the optimizer's state is complete and plausible for the number of steps."""
    parameters = [(parameter, group) for group in trainer.optimizer.param_groups for parameter in group["params"]]
    states, progress = state["optimizer"]["state"], state["progress"]
    steps = progress["epoch"] * len(trainer.loader) + progress["step"]
    # After a change of the batch size, the optimizer has counted steps of both sizes, so their number is unknown;
    # another optimizer has counted its own steps only
    is_count_known = not any({"batch_size", "optimizer"} & change["settings"].keys() for change in run.changes)
    # After a change of the optimizer, the new one has no state before its first step
    has_started = bool(states) or not any(
        "optimizer" in change["settings"] and change["epoch"] * len(trainer.loader) + change["step"] == steps
        for change in run.changes
    )
    for position, (parameter, group) in enumerate(parameters):
        required = set(trainer.optimizer.start(parameter.numpy(), group))
        if group.get("momentum") and "momentum" not in changed:
            required.add("momentum_buffer")
        entries = states.get(str(position), {})
        check_schema(entries, dict, f"the optimizer's state of parameter {position}")
        if steps and has_started and "optimizer" not in changed and required - entries.keys():
            raise ValueError(f"the optimizer's state of parameter {position} lacks {min(required - entries.keys())}")
        for name, value in entries.items():
            if name == "step":
                fits = type(value) is int and (value == steps if is_count_known else 0 < value < 2**53)
            else:
                array = np.asarray(value)
                minimum = 0.0 if name in _NOT_NEGATIVE else -math.inf
                fits = array.dtype.kind == "f" and bool((np.isfinite(array) & (array >= minimum)).all())
            if not fits:
                raise ValueError(f"the optimizer's {name} of parameter {position} is not possible after {steps} steps")


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


def _restore_best(run: Run, best: Any) -> None:
    """Write the best weights of an earlier state; remove the current ones if it had none."""
    check_schema(best, dict, str(run.checkpoint_file), "best")
    if best:
        try:
            safetensors_io.save(best, run.weights_file)
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
