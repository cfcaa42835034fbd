"""Changes a run before it is resumed: more epochs, different settings, or a return to an earlier state.

config.json records each change: the time, the step, old and new values, and whether the result may differ from that of
a run started with the new settings (`DIFFERS_KEY`). Everything is checked before anything is written. The process may
be killed at any moment: config.json is replaced atomically, and `resume` completes the change.

A change is recorded relative to the settings under which the state to resume from was saved. Changes recorded at the
step of this state or later have not affected it: their entries are dropped, and the settings in them that still apply
are recorded in the entry of the new change.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_type_hints

from chainrule.errors import RunError
from chainrule.models import Recipe
from chainrule.training.experiment import check_data, check_settings, is_worth_compiling, refuse_shipped
from chainrule.training.optimizers import check_has_momentum, check_optimizer, with_defaults
from chainrule.training.resume import complete_rollback, load_state, saved_settings
from chainrule.training.run import DIFFERS_KEY, RECIPE_SCHEMA, ROLLBACK_KEY, Run, check_schema, write_config
from chainrule.training.upgrade import FORMER_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chainrule.training.task import Data


_NOT_ASSIGNABLE = ("augment", "steps_per_epoch")
"""The settings that `parse_settings` refuses: `augment`, since NAME=VALUE cannot express a dict, and `steps_per_epoch`,
which `change_run` refuses as well."""
_ASSIGNABLE_TYPES = {name: kind for name, kind in get_type_hints(Recipe).items() if name not in _NOT_ASSIGNABLE}
"""The types of the settings that `parse_settings` accepts."""


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Parse settings such as "lr=0.01" and "schedule=constant".

    Raises:
        RunError: an argument is not an assignment, a name is unknown or given twice, or a value has the wrong type.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = (part.strip() for part in assignment.partition("="))
        name = name.replace("-", "_")
        name = FORMER_SETTINGS.get(name, name)
        if not separator or name not in _ASSIGNABLE_TYPES:
            raise RunError(
                f"{assignment!r} is not a setting that can be changed; write NAME=VALUE, where NAME is one of "
                f"{', '.join(_ASSIGNABLE_TYPES)}"
            )
        if name in settings:
            raise RunError(f"{name} is given twice")
        settings[name] = _parse_value(name, text)
    return settings


def _parse_value(name: str, text: str) -> Any:
    kind = _ASSIGNABLE_TYPES[name]
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "an integer", float: "a number"}[kind]
        raise RunError(f"{name} must be {expected}, not {text!r}") from None


def change_run(
    run: Run,
    data: Data,
    settings: Mapping[str, Any],
    *,
    epoch: int | None = None,
    step: int | None = None,
    keep: int | None = None,
) -> Run:
    """Change a run; if any part of the change is invalid, nothing is changed.

    A different optimizer starts without a state. Its default learning rate, momentum and weight decay apply, unless
    `settings` has others. The batch size can be changed only between epochs. `steps_per_epoch` cannot be changed.

    Args:
        run: the run.
        data: the data set named in its config.
        settings: new values of recipe fields, such as {"lr": 0.001}.
        epoch: go back to the end of this epoch, counted from 1. Its state must have been kept.
        step: go back to the state after this step, counted from the start of training. It must have been kept.
        keep: how many states to keep from now on (see `callbacks.Checkpoint`); None to leave the number unchanged.

    Returns:
        The run with its new config.

    Raises:
        DataError: the data are not those the run was started with.
        RunError: the state was not kept; a setting is unknown, invalid, cannot be changed or has no effect; or the run
            is shipped with chainrule.
    """
    refuse_shipped(run)
    check_data(run, data)
    complete_rollback(run)  # complete an earlier change whose process was killed
    current = Recipe(**run.config["training"])
    new = change_recipe(current, settings, "the new settings")
    settings = {name: value for name, value in vars(new).items() if value != getattr(current, name)}
    limit = run.config["data"]["limit"]
    check_settings(run.task, new, run.config["seed"], limit, data, keep or 0)
    steps_per_epoch = math.ceil(run.task.examples_per_epoch(current, limit, data) / current.batch_size)
    kept_key = _find_state(run, epoch, step, steps_per_epoch)
    state_file = run.checkpoint_file if kept_key is None else run.kept_states[kept_key]
    state = load_state(run, state_file) if state_file.exists() else None
    completed_epochs, step_in_epoch = _check_position(state_file, state, new)
    old = _saved_recipe(state_file, state, current)
    names = ", ".join(name for name in settings if name != "epochs")
    if completed_epochs == new.epochs and names:
        raise RunError(
            f"all {completed_epochs} epochs are complete, so {names} would have no effect; give --epochs as well"
        )

    config = {**run.config, "training": {**run.config["training"], **settings}}
    if keep is not None:
        config["keep"] = keep
    if settings or kept_key:
        position = (completed_epochs, step_in_epoch)
        # Without a state, all changes count as earlier: `old` is then the current recipe, which includes them
        earlier_changes = [
            change for change in run.changes if state is None or (change["epoch"], change["step"]) < position
        ]
        # All settings that were ever changed, by name, including those of the entries that are dropped. One that was
        # edited by hand in config.json is not among them, so it is not recorded, and `resume` refuses it
        latest_values = {
            name: value for change in run.changes for name, (_, value) in change["settings"].items()
        } | settings
        changed_settings = {
            name: [getattr(old, name), value]
            for name, value in latest_values.items()
            if value == getattr(new, name) and value != getattr(old, name)
        }
        change = describe_change(old, new, changed_settings, earlier_changes, steps_per_epoch, *position)
        config["changes"] = [*earlier_changes, change] if changed_settings or kept_key else earlier_changes
        (run.folder / "result.json").unlink(missing_ok=True)  # the result of the unchanged run
    if kept_key:
        config[ROLLBACK_KEY] = {"kind": kept_key[0], "number": kept_key[1], "steps_per_epoch": steps_per_epoch}
    if config != run.config:
        write_config(config, run.folder)
    changed_run = Run(run.folder)
    complete_rollback(changed_run)
    return changed_run


def describe_change(
    old: Recipe,
    new: Recipe,
    changed_settings: dict[str, list[Any]],
    earlier_changes: list[dict[str, Any]],
    steps_per_epoch: int,
    epoch: int,
    step_in_epoch: int,
) -> dict[str, Any]:
    """Return the entry of "changes" in config.json for a change.

    Args:
        old: the recipe before the change.
        new: the recipe after it.
        changed_settings: the old and the new value of each setting that the entry records.
        earlier_changes: the entries of earlier changes.
        steps_per_epoch: steps per epoch before the change.
        epoch: the number of epochs completed before the change.
        step_in_epoch: the number of steps taken in the next epoch before the change.
    """
    reasons = _explain_difference(old, new, steps_per_epoch, epoch, step_in_epoch)
    return {
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "epoch": epoch,
        "step": step_in_epoch,
        "settings": changed_settings,
        DIFFERS_KEY: bool(reasons) or any(change[DIFFERS_KEY] for change in earlier_changes),
        "why": "; ".join(reasons),
    }


def change_recipe(recipe: Recipe, settings: Mapping[str, Any], source: str) -> Recipe:
    """Return a run's recipe with new settings; values that depend on the data are not checked.

    If the settings choose a different optimizer, its default learning rate, momentum and weight decay replace those of
    the recipe, unless they are among the new settings.

    Args:
        recipe: the current recipe.
        settings: new values of its fields.
        source: what the settings are, for messages.

    Raises:
        RunError: a setting is unknown, invalid, cannot be changed, or would have no effect.
    """
    check_schema({**asdict(recipe), **settings}, RECIPE_SCHEMA, source)
    changed_settings = {name: value for name, value in settings.items() if getattr(recipe, name) != value}
    if "steps_per_epoch" in changed_settings:  # `resume` computes from it how many steps a saved state has taken
        raise RunError("steps_per_epoch cannot be changed: the run's states count its steps by it")
    new = replace(recipe, **with_defaults(recipe, settings))
    check_optimizer(new)
    if "momentum" in changed_settings and "optimizer" not in changed_settings:
        check_has_momentum(new)
    if changed_settings.get("epochs_without_augmentation") and not new.augment:
        raise RunError("epochs_without_augmentation has no effect: this run does not use augmentation")
    return new


def _find_state(run: Run, epoch: int | None, step: int | None, steps_per_epoch: int) -> tuple[str, int] | None:
    """Return the key in `Run.kept_states` of the state to go back to; None if neither `epoch` nor `step` is given.

    Raises:
        RunError: the state was not kept.
    """
    if step is not None:
        candidates = [("step", step)]
        if step % steps_per_epoch == 0:
            candidates.append(("epoch", step // steps_per_epoch))
    elif epoch is not None:
        candidates = [("epoch", epoch)]
    else:
        return None
    states = run.kept_states
    for candidate in candidates:
        if candidate in states:
            return candidate
    descriptions = []
    for kind in ("epoch", "step"):
        numbers = sorted(number for state_kind, number in states if state_kind == kind)
        if numbers:
            noun = kind if len(numbers) == 1 else f"{kind}s"
            descriptions.append(f"{noun} {', '.join(f'{number:,}' for number in numbers)}")
    if descriptions:
        available = f"kept states: {' and '.join(descriptions)}"
    else:
        available = "there are no kept states; train with --keep N"
    target = f"step {step:,}" if step is not None else f"epoch {epoch:,}"
    raise RunError(f"{run.folder}: the state of {target} was not kept; {available}")


def _saved_recipe(file: Path, state: Any, current: Recipe) -> Recipe:
    """Return the recipe under which a state was saved; fields that it lacks are those of the current recipe."""
    settings = saved_settings(state)
    values = {name: settings[name] for name in asdict(current) if name in settings}
    check_schema({**asdict(current), **values}, RECIPE_SCHEMA, str(file))
    return replace(current, **values)


def _check_position(file: Path, state: Any, recipe: Recipe) -> tuple[int, int]:
    """Return a state's number of completed epochs and of steps in the next epoch, after checking them.

    Raises:
        RunError: the state has no position, or `recipe` cannot take effect there.
    """
    if not file.exists():
        return 0, 0
    progress = state.get("progress") if isinstance(state, dict) else None
    if not isinstance(progress, dict):
        progress = {}
    epoch, step_in_epoch = progress.get("epoch"), progress.get("step")
    if not isinstance(epoch, int) or not isinstance(step_in_epoch, int):
        raise RunError(f"{file}: is not a training state")
    batch_size = saved_settings(state).get("batch_size", recipe.batch_size)
    check_change_at(epoch, step_in_epoch, batch_size, recipe)
    return epoch, step_in_epoch


def check_change_at(epoch: int, step_in_epoch: int, batch_size: int, new: Recipe) -> None:
    """Check that a new recipe can take effect at a position.

    Args:
        epoch: the number of completed epochs.
        step_in_epoch: the number of steps taken in the next epoch.
        batch_size: the batch size before the change.
        new: the recipe after it.

    Raises:
        RunError: the batch size would change within an epoch, or more epochs have begun than the recipe has.
    """
    if step_in_epoch and batch_size != new.batch_size:
        raise RunError(
            f"the batch size can only be changed between epochs, and epoch {epoch + 1} is at step {step_in_epoch} with "
            f"batches of {batch_size}"
        )
    if new.epochs < epoch + (step_in_epoch > 0):
        partial = f", and epoch {epoch + 1} is at step {step_in_epoch}" if step_in_epoch else ""
        raise RunError(f"{new.epochs} epochs are too few: {epoch} are complete{partial}")


def _explain_difference(old: Recipe, new: Recipe, steps_per_epoch: int, epoch: int, step_in_epoch: int) -> list[str]:
    """Return the reasons why the result differs from that of a run started with the new recipe; [] if it does not.

    The arguments are those of `describe_change`.
    """
    steps_done = epoch * steps_per_epoch + step_in_epoch
    if not steps_done:
        return []
    reasons = [
        f"{name} was {getattr(old, name)} until then"
        for name in asdict(new)
        if name != "epochs" and getattr(old, name) != getattr(new, name)
    ]
    if old.epochs != new.epochs:
        if new.schedule != "constant":
            reasons.append(f"the {new.schedule} schedule spanned {old.epochs} epochs until then")
        augmented_epochs = min(recipe.epochs - recipe.epochs_without_augmentation for recipe in (old, new))
        if new.augment and new.epochs_without_augmentation and steps_done > augmented_epochs * steps_per_epoch:
            reasons.append("different epochs run without augmentation")
        was_compiled = is_worth_compiling(old, steps_per_epoch)
        if was_compiled != is_worth_compiling(new, steps_per_epoch):
            reasons.append(f"its steps were {'' if was_compiled else 'not '}compiled until then")
    return reasons
