"""Converts settings and states of earlier versions to the current format (tested by tests/test_old_files.py)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from chainrule.models import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping


FORMER_SETTINGS = {"plain_epochs": "epochs_without_augmentation"}
"""The current names of renamed settings, by former name."""


def rename_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with former names replaced by the current ones."""
    return {FORMER_SETTINGS.get(name, name): value for name, value in settings.items()}


def upgrade(state: dict[str, Any]) -> dict[str, Any]:
    """Convert one dict in a state: a run's settings under former names, or the state of a `OneCycleLR` of 0.1.0.

    Other dicts are returned unchanged. In 0.1.0, a `OneCycleLR` stored its first and last rates as fractions of the
    highest one, and for each phase its last step, but not its first.
    """
    if "batch_size" in state:  # a run's settings
        return rename_settings(state)
    if not {"max_lrs", "first", "last", "momenta", "phases"} <= state.keys():
        return state
    first, last, max_rates = state.pop("first"), state.pop("last"), state.pop("max_lrs")
    first_steps = [0, *(last_step for last_step, *_ in state["phases"])]  # one more than there are phases
    return state | {
        "rates": [(rate * first, rate, rate * last) for rate in max_rates],
        "momenta": [(high, low, high) for high, low in state["momenta"] or ()],
        "phases": [(step, *phase) for step, phase in zip(first_steps, state["phases"], strict=False)],
    }


def add_settings(state: Any, config: Mapping[str, Any]) -> None:
    """Add the state of `callbacks.SettingsCheck`, which 0.1.0 did not save, to a trainer's state if it lacks it.

    Args:
        state: a trainer's state, changed in place.
        config: the run's config. Its recorded changes are later than the state, since 0.1.0 could not change settings.
            The settings that are added are therefore those before the first change.
    """
    callbacks = state.get("callbacks") if isinstance(state, dict) else None
    was_started_with_010 = config["versions"].get("chainrule") == "0.1.0"
    if not was_started_with_010 or not isinstance(callbacks, list):
        return
    if any(isinstance(saved, dict) and "batch_size" in saved for saved in callbacks):
        return  # saved by a later version
    settings = asdict(Recipe(**config["training"]))
    for change in reversed(config.get("changes", [])):
        settings.update({name: old for name, (old, _) in change["settings"].items()})
    settings_outside_recipe = {"model": config["model"], "limit": config["data"]["limit"], "seed": config["seed"]}
    callbacks.append(settings_outside_recipe | settings)
