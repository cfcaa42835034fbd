"""Resuming a run where it was left, exactly; and a look at everything that a checkpoint says before it is believed.

A run that is resumed comes to the same bits as if it had never stopped, if its settings and the versions of what
computes are the same. Settings may have been changed on purpose (see `reopen`): config.json has them then, and the
checkpoint has those under which it was saved. What training would stumble over later is an error here: numbers of
another type, an optimizer that remembers too little, a learning rate that the schedule never gives.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import safetensors_io
from chainrule.errors import RunError, shortened
from chainrule.files import atomic_write, remove_leftovers
from chainrule.models import Recipe
from chainrule.training import checkpoint
from chainrule.training.callbacks import AsBegun, BestModel, best_epoch
from chainrule.training.experiment import versions
from chainrule.training.run import check_form, check_record, write_config
from chainrule.training.upgrade import add_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer

    Changed = Mapping[str, tuple[Any, Any]]  # settings: name, value when the state was saved, value now

_STATE = {
    "network": dict,
    "optimizer": {"state": dict, "param_groups": [dict]},
    "scheduler": dict | None,
    "loader": dict,
    "generators": [dict],
    "callbacks": [dict],
    "progress": {
        "epoch": int, "step": int, "history": [dict], "stop": bool, "total": float, "seen": int, "seconds": float,
    },
}  # fmt: skip
_NEARLY = 1e-6  # relative: another machine's cosine may differ in its last bits


class VersionWarning(UserWarning):
    """A run is resumed with other versions than it was begun with, so that its bits may differ."""


def resume(run: Run, trainer: Trainer) -> None:
    """Bring a trainer to where its run was left.

    Args:
        run: says with which settings to go on.
        trainer: made for this run by `prepare`.

    Raises:
        RunError: its checkpoint is missing or damaged, or does not fit.
    """
    for folder in (run.folder, run.checkpoint_file.parent):
        remove_leftovers(folder)  # of names that are not written again, such as that of an earlier state
    finish_going_back(run)
    if not run.checkpoint_file.exists() and not run.history:
        return  # it was stopped before its first step, and begins at the beginning
    state = load_state(run, run.checkpoint_file)
    place = f"{run.checkpoint_file}: does not fit {run.config_file}"
    best = state.pop("best", None) if isinstance(state, dict) else None
    check_form(state, _STATE, place)
    for record in state["progress"]["history"]:
        check_record(record, place)
        finite = all(math.isfinite(value) for name, value in record.items() if name != "epoch")
        if "train_loss" not in record or not finite:
            raise RunError(f"{place}: its history holds {record}")
    try:
        changed = _changed_settings(run, trainer, state)
        _check_progress(run, trainer, state["progress"], changed)
        _advance_schedule(trainer, state["progress"])
        if changed:
            _adapt(trainer, state)
        else:
            _check_settings(trainer, state)
        _check_memory(run, trainer, state, changed)
        trainer.load_state_dict(state)
        _check_best(trainer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(f"{place}: {error}") from None
    if best is not None:  # the state is an earlier one (see `reopen`), and so are to be the best weights
        _restore_best(run, best)
    remove_later_states(run, len(trainer.loader), trainer.total_steps)
    if trainer.epoch < run.config["training"]["epochs"]:
        _compare_versions(run)


def load_state(run: Run, file: Path) -> Any:
    """Read one of a run's states, with the settings that 0.1.0 did not save.

    Raises:
        RunError: the file is missing or damaged.
    """
    state = checkpoint.load(file)
    add_settings(state, run.config)
    return state


def saved_settings(state: Any) -> dict[str, Any]:
    """The settings under which a state was saved, which `AsBegun` remembers; empty if there are none.

    The recipe's defaults are added for settings that there were not yet when it was saved.
    """
    callbacks = state.get("callbacks") if isinstance(state, dict) else None
    for saved in callbacks if isinstance(callbacks, list) else ():
        if isinstance(saved, dict) and "batch_size" in saved:
            for field in fields(Recipe):
                if field.default is not MISSING:
                    saved.setdefault(field.name, field.default)
                elif field.default_factory is not MISSING:
                    saved.setdefault(field.name, field.default_factory())
            return saved
    return {}


def finish_going_back(run: Run) -> None:
    """Put the state to which config.json says that a run goes back in the place of its last one, and forget later ones.

    Whatever of it is done already, is done again: `reopen` may have been cut off anywhere.

    Raises:
        RunError: that state is gone or damaged, or config.json is.
    """
    target = run.config.get("going_back")
    if target is None:
        return
    kind, number, steps_per_epoch = target["kind"], target["number"], target["steps_per_epoch"]
    source = run.kept_states.get((kind, number))
    if source is None:
        raise RunError(f"{run.config_file}: the run goes back to {shortened(kind)} {number:,}, whose state is not kept")
    if steps_per_epoch < 1:  # every kept state would count as a later one
        raise RunError(f"{run.config_file}: going_back.steps_per_epoch must be at least 1, not {steps_per_epoch}")
    checkpoint.load(source)  # a damaged one does not replace the last
    with atomic_write(run.checkpoint_file) as file:
        file.write(source.read_bytes())
    # the changes that later states were trained with are no longer in config.json
    remove_later_states(run, steps_per_epoch, number * (steps_per_epoch if kind == "epoch" else 1))
    config = {name: value for name, value in run.config.items() if name != "going_back"}
    write_config(config, run.folder)
    run.config = config


def remove_later_states(run: Run, steps_per_epoch: int, steps: int) -> None:
    """Remove the kept states of more than so many steps: from there on the run is trained anew."""
    for (kind, number), file in run.kept_states.items():
        if number * (steps_per_epoch if kind == "epoch" else 1) > steps:
            file.unlink()


def _changed_settings(run: Run, trainer: Trainer, state: dict[str, Any]) -> Changed:
    """The settings that were changed on purpose since the state was saved; the state is given the present ones.

    Raises:
        ValueError: others differ.
    """
    (begun,) = (callback for callback in trainer.callbacks if isinstance(callback, AsBegun))
    saved = saved_settings(state)
    changed = begun.differing(saved)
    values: dict[str, list[Any]] = {}  # what each setting has been, in order
    for change in run.changes:
        for name, (old, new) in change["settings"].items():
            values[name] = [*values.get(name, [old]), new]
    if any(then not in values.get(name, []) or now != values[name][-1] for name, (then, now) in changed.items()):
        begun.load_state_dict(saved)  # raises
    saved.update({name: now for name, (_, now) in changed.items()})
    return changed


def _check_progress(run: Run, trainer: Trainer, progress: dict[str, Any], changed: Changed) -> None:
    """Compare the numbers that say how far training has come with each other."""
    epoch, step, epochs = progress["epoch"], progress["step"], run.config["training"]["epochs"]
    for change in run.changes:
        if (change["epoch"], change["step"]) > (epoch, step):
            raise ValueError(
                f"it is at step {step} after {epoch} epochs, before the change at step {change['step']} after "
                f"{change['epoch']}; go back to a kept state with --epoch or --step"
            )
    if not 0 <= epoch <= epochs or not 0 <= step <= len(trainer.loader):
        raise ValueError(f"it is at step {step} of {len(trainer.loader)} after {epoch} of {epochs} epochs")
    if step and "batch_size" in changed:
        raise ValueError(f"it is within an epoch of batches of {changed['batch_size'][0]}")
    seen = min(step * trainer.loader.batch_size, len(trainer.loader.dataset))
    if progress["seen"] != seen or not math.isfinite(progress["total"]) or not 0 <= progress["seconds"] < math.inf:
        raise ValueError(
            f"in {step} steps it has seen {progress['seen']} examples, with losses of {progress['total']} in all, in "
            f"{progress['seconds']} seconds"
        )


def _advance_schedule(trainer: Trainer, progress: dict[str, Any]) -> None:
    """Bring the schedule, and with it the optimizer's settings, to the state's step, by the present settings."""
    if trainer.scheduler is not None:
        for _ in range(progress["epoch"] * len(trainer.loader) + progress["step"]):
            trainer.scheduler.step()


def _adapt(trainer: Trainer, state: dict[str, Any]) -> None:
    """Put the present settings, which the trainer has come to by now, in the place of those in the state."""
    state["scheduler"] = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    state["optimizer"]["param_groups"] = trainer.optimizer.state_dict()["param_groups"]
    state["progress"]["stop"] = False


def _check_settings(trainer: Trainer, state: dict[str, Any]) -> None:
    """Compare a state's schedule and optimizer settings with what the trainer has come to by now."""
    schedule = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    groups = trainer.optimizer.state_dict()["param_groups"]
    difference = _difference(state["scheduler"], schedule, "scheduler") or _difference(
        state["optimizer"]["param_groups"], groups, "optimizer.param_groups"
    )
    if difference:
        raise ValueError(difference)


def _difference(value: Any, expected: Any, name: str) -> str:
    """The first entry in which two nests of numbers, texts, lists and dicts differ by more than rounding, or ''."""
    if isinstance(expected, dict) and isinstance(value, dict):
        pairs = [(value.get(key), part, f"{name}.{key}") for key, part in expected.items()]
        more = sorted(value.keys() - expected.keys())
        return f"{name} has the unknown {more[0]}" if more else _first_difference(pairs)
    if isinstance(expected, (list, tuple)) and isinstance(value, (list, tuple)) and len(value) == len(expected):
        pairs = [(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(value, expected, strict=True))]
        return _first_difference(pairs)
    if isinstance(expected, float) and type(value) in (int, float):
        same = math.isclose(value, expected, rel_tol=_NEARLY, abs_tol=1e-12)
    else:
        same = type(value) is type(expected) and value == expected
    return "" if same else f"{name} is {value!r}, not {expected!r}"


def _first_difference(pairs: list[tuple[Any, Any, str]]) -> str:
    return next(filter(None, (_difference(*pair) for pair in pairs)), "")


def _check_memory(run: Run, trainer: Trainer, state: dict[str, Any], changed: Changed) -> None:
    """See if an optimizer remembers what it has to after so many steps, in numbers that can be."""
    (group,) = trainer.optimizer.param_groups
    memory, progress = state["optimizer"]["state"], state["progress"]
    steps = progress["epoch"] * len(trainer.loader) + progress["step"]
    exactly = not any("batch_size" in change["settings"] for change in run.changes)  # else it has counted other ones
    for position, parameter in enumerate(group["params"]):
        needed = set(trainer.optimizer.start(parameter.numpy(), group))
        if group.get("momentum") and "momentum" not in changed:
            needed.add("momentum_buffer")
        entries = memory.get(str(position), {})
        check_form(entries, dict, f"the optimizer's memory of parameter {position}")
        if steps and needed - entries.keys():
            raise ValueError(f"the optimizer's memory of parameter {position} lacks {min(needed - entries.keys())}")
        for name, value in entries.items():
            if name == "step":
                fits = type(value) is int and (value == steps if exactly else 0 < value < 2**53)
            else:
                array = np.asarray(value)
                least = 0.0 if name == "exp_avg_sq" else -math.inf
                fits = array.dtype.kind == "f" and bool((np.isfinite(array) & (array >= least)).all())
            if not fits:
                raise ValueError(f"the optimizer's {name} of parameter {position} cannot be, after {steps} steps")


def _check_best(trainer: Trainer) -> None:
    """Compare what is remembered of the best epoch with the history."""
    for callback in trainer.callbacks:
        if isinstance(callback, BestModel):
            best = {"best": None, "epoch": 0}
            if trainer.history:
                row = trainer.history[best_epoch(trainer.history, callback.measure)]
                if math.isfinite(row[callback.measure]):
                    best = {"best": row[callback.measure], "epoch": row["epoch"]}
            if callback.state_dict() != best:
                raise ValueError(f"the best epoch is said to be {callback.state_dict()}, and is {best}")


def _restore_best(run: Run, best: Any) -> None:
    """Write the weights that were the best ones at an earlier state, or remove those of later ones."""
    check_form(best, dict, str(run.checkpoint_file), "best")
    if best:
        try:
            safetensors_io.save(best, run.weights_file)
        except (TypeError, ValueError) as error:
            raise RunError(f"{run.checkpoint_file}: its best weights are none: {error}") from None
    else:
        run.weights_file.unlink(missing_ok=True)


def _compare_versions(run: Run) -> None:
    """Warn if what computes has another version than when the run was begun."""
    begun, now = run.config["versions"], versions()
    changed = [
        f"{name} {begun[name]} and is now {now[name]}" for name in now if begun.get(name, now[name]) != now[name]
    ]
    if changed:
        warnings.warn(
            f"{run.folder} was begun with {', '.join(changed)}: its bits may not be those it would have come to",
            VersionWarning,
            stacklevel=3,
        )
