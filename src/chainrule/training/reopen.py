"""Changing a run on purpose before it is resumed: more epochs, other settings, a way back to an earlier state.

config.json tells of every change: when, at which step, from what to what, and whether the bits are still those of a run
that was begun with these settings, or the run's own. Nothing is written before all of it has been checked, and what is
written can be cut off at any moment. config.json comes first, in one step; what it tells of and the checkpoint does not
hold yet, another setting or the state to go back to, `resume` makes good.

A change is recorded against the settings under which the state was saved that training resumes from. Changes that were
recorded at that state or later have not affected it, so they are dropped.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_type_hints

from chainrule.errors import RunError
from chainrule.models import Recipe
from chainrule.training.experiment import check_data, check_settings, refuse_shipped, worth_compiling
from chainrule.training.resume import finish_going_back, load_state, saved_settings
from chainrule.training.run import RECIPE_FORM, Run, check_form, write_config
from chainrule.training.upgrade import FORMER_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chainrule.data import ImageData

_TYPES = {name: kind for name, kind in get_type_hints(Recipe).items() if name not in ("optimizer", "augment")}
"""The settings that can be changed on the way. Another optimizer would know nothing of what this one remembers."""


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings from texts such as "lr=0.01" and "schedule=constant".

    Raises:
        RunError: one is no assignment, or has an unknown name or a value of another type.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = (part.strip() for part in assignment.partition("="))
        name = name.replace("-", "_")
        name = FORMER_SETTINGS.get(name, name)
        if not separator or name not in _TYPES:
            raise RunError(
                f"{assignment!r} is no setting that can be changed on the way; write NAME=VALUE, where NAME is one of "
                f"{', '.join(_TYPES)}"
            )
        if name in settings:
            raise RunError(f"{name} is given twice")
        settings[name] = _parse(name, text)
    return settings


def _parse(name: str, text: str) -> Any:
    kind = _TYPES[name]
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise RunError(f"{name} must be {wanted}, not {text!r}") from None


def reopen(
    run: Run,
    data: ImageData,
    settings: Mapping[str, Any],
    *,
    epoch: int | None = None,
    step: int | None = None,
    keep: int | None = None,
) -> Run:
    """Change a run; all of it, or nothing if something is not possible.

    Args:
        run: what to change.
        data: what its config names.
        settings: entries of its recipe and their new values.
        epoch: go back to the end of this epoch, if its state was kept.
        step: or to the state after this step, counted from the beginning of training.
        keep: how many states to keep from now on.

    Returns:
        The run with its new config.

    Raises:
        DataError: the data are not those that the run was begun with.
        RunError: no state was kept there, a setting makes no sense or comes too late, or the run is the one that comes
            with chainrule.
    """
    refuse_shipped(run)
    check_data(run, data)
    finish_going_back(run)  # an earlier change that was cut off
    present = Recipe(**run.config["training"])
    settings = {name: value for name, value in settings.items() if getattr(present, name) != value}
    new = replace(present, **settings)
    limit = run.config["data"]["limit"]
    check_settings(new, run.config["seed"], limit, data, keep or 0)
    _check_meaning(present, settings)
    steps_per_epoch = math.ceil((limit or len(data.split().train.images)) / present.batch_size)
    back = _find_state(run, epoch, step, steps_per_epoch)
    source = run.checkpoint_file if back is None else run.kept_states[back]
    state = load_state(run, source) if source.exists() else None
    done, into = _check_position(source, state, new)
    old = _saved_recipe(source, state, present)
    without_effect = ", ".join(name for name in settings if name != "epochs")
    if done == new.epochs and without_effect:
        raise RunError(f"all {done} epochs are done, so {without_effect} would change nothing; give --epochs as well")

    config = {**run.config, "training": {**run.config["training"], **settings}}
    if keep is not None:
        config["keep"] = keep
    if settings or back:
        earlier = [c for c in run.changes if not source.exists() or (c["epoch"], c["step"]) < (done, into)]
        latest = {name: values[1] for change in run.changes for name, values in change["settings"].items()}
        latest.update(settings)  # a setting that was changed by hand is not among them, and `resume` refuses it
        differing = {
            name: [getattr(old, name), value]
            for name, value in latest.items()
            if value == getattr(new, name) != getattr(old, name)
        }
        reasons = _own_bits(old, new, steps_per_epoch, done, into)
        change = {
            "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
            "epoch": done,
            "step": into,
            "settings": differing,
            "own_bits": bool(reasons) or any(change["own_bits"] for change in earlier),
            "why": "; ".join(reasons),
        }
        config["changes"] = [*earlier, change] if differing or back else earlier
        (run.folder / "result.json").unlink(missing_ok=True)  # it is that of another end
    if back:
        config["going_back"] = {"kind": back[0], "number": back[1], "steps_per_epoch": steps_per_epoch}
    if config != run.config:
        write_config(config, run.folder)
    changed = Run(run.folder)
    finish_going_back(changed)
    return changed


def _check_meaning(recipe: Recipe, settings: Mapping[str, Any]) -> None:
    """Refuse settings that would be written down and change nothing."""
    if "momentum" in settings and recipe.optimizer != "sgd":
        raise RunError(f"momentum is a setting of sgd, and this run's optimizer is {recipe.optimizer}")
    if "epochs_without_augmentation" in settings and not recipe.augment:
        raise RunError("epochs_without_augmentation has no effect: this run does not use augmentation")


def _find_state(run: Run, epoch: int | None, step: int | None, steps_per_epoch: int) -> tuple[str, int] | None:
    """The kept state to go back to, if any, as `Run.kept_states` names it."""
    if step is not None:
        candidates = [("step", step)]
        if step % steps_per_epoch == 0:
            candidates.append(("epoch", step // steps_per_epoch))
    elif epoch is not None:
        candidates = [("epoch", epoch)]
    else:
        return None
    kept = run.kept_states
    for candidate in candidates:
        if candidate in kept:
            return candidate
    listed = []
    for kind in ("epoch", "step"):
        numbers = sorted(number for name, number in kept if name == kind)
        listed += [f"{kind}{'s' * (len(numbers) > 1)} {', '.join(f'{n:,}' for n in numbers)}"] if numbers else []
    there = f"that of {' and '.join(listed)} was" if listed else "none was; --keep N keeps some"
    asked = f"step {step:,}" if step is not None else f"epoch {epoch:,}"
    raise RunError(f"{run.folder}: the state of {asked} was not kept; {there}")


def _saved_recipe(file: Path, state: Any, present: Recipe) -> Recipe:
    """The recipe by which a state was trained; the present one if the state does not say."""
    saved = saved_settings(state)
    values = {name: saved[name] for name in asdict(present) if name in saved}
    check_form({**asdict(present), **values}, RECIPE_FORM, str(file))
    return replace(present, **values)


def _check_position(file: Path, state: Any, recipe: Recipe) -> tuple[int, int]:
    """The epochs that are done in a state and the steps of the next one, if it can go on from there by the recipe."""
    if not file.exists():
        return 0, 0
    progress = state.get("progress") if isinstance(state, dict) else None
    epoch, step = (progress.get(name) for name in ("epoch", "step")) if isinstance(progress, dict) else (None, None)
    if not isinstance(epoch, int) or not isinstance(step, int):
        raise RunError(f"{file}: is no state of a training")
    batch_size = saved_settings(state).get("batch_size", recipe.batch_size)
    if step and batch_size != recipe.batch_size:
        raise RunError(
            f"the batch size can be changed between epochs only, and epoch {epoch + 1} is at step {step} with batches "
            f"of {batch_size}"
        )
    if recipe.epochs < epoch + (step > 0):
        begun = f", and epoch {epoch + 1} is at step {step}" if step else ""
        raise RunError(f"{recipe.epochs} epochs are too few: {epoch} are done{begun}")
    return epoch, step


def _own_bits(old: Recipe, new: Recipe, steps_per_epoch: int, epoch: int, step: int) -> list[str]:
    """Why the bits are not those of a run that was begun with the new settings; empty if they are."""
    done = epoch * steps_per_epoch + step
    if not done:
        return []
    reasons = [
        f"{name} was {getattr(old, name)} until then"
        for name in _TYPES
        if name != "epochs" and getattr(old, name) != getattr(new, name)
    ]
    if old.epochs != new.epochs:
        if new.schedule != "constant":
            reasons.append(f"the {new.schedule} schedule was one over {old.epochs} epochs until then")
        augmented = [recipe.epochs - recipe.epochs_without_augmentation for recipe in (old, new)]
        if new.augment and new.epochs_without_augmentation and done > min(augmented) * steps_per_epoch:
            reasons.append("other epochs are without augmentation")
        if worth_compiling(old, steps_per_epoch) != worth_compiling(new, steps_per_epoch):
            reasons.append(
                f"its steps were {'' if worth_compiling(old, steps_per_epoch) else 'not '}compiled until then"
            )
    return reasons
