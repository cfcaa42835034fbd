"""Converts settings and states of earlier versions to the current format (tested by tests/test_old_files.py)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from chainrule.models import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping


FORMER_SETTINGS = {"plain_epochs": "epochs_without_augmentation"}
"""Settings of a recipe that were renamed: old and new names."""


def rename_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with former names replaced."""
    return {FORMER_SETTINGS.get(name, name): value for name, value in settings.items()}


def upgrade(state: dict[str, Any]) -> dict[str, Any]:
    """Convert one dict in a state: a run's settings under former names, or a `OneCycleLR` of 0.1.0.

    Other dicts are returned unchanged. That `OneCycleLR` stored rates as factors of the highest one, and only the last
    step of each phase.
    """
    if "batch_size" in state:  # a run's settings
        return rename_settings(state)
    if not {"max_lrs", "first", "last", "momenta", "phases"} <= state.keys():
        return state
    first, last, peaks = state.pop("first"), state.pop("last"), state.pop("max_lrs")
    starts = [0, *(end for end, *_ in state["phases"])]
    return state | {
        "rates": [(peak * first, peak, peak * last) for peak in peaks],
        "momenta": [(high, low, high) for high, low in state["momenta"] or ()],
        "phases": [(start, *phase) for start, phase in zip(starts, state["phases"], strict=False)],
    }


def add_settings(state: Any, config: Mapping[str, Any]) -> None:
    """Add a run's settings, which 0.1.0 did not save, to the states of a trainer's callbacks (see `SettingsCheck`).

    Args:
        state: a trainer's state, changed in place.
        config: the run's config. Its recorded changes are undone, since 0.1.0 could not change settings.
    """
    callbacks = state.get("callbacks") if isinstance(state, dict) else None
    is_old = config["versions"].get("chainrule") == "0.1.0"
    if not is_old or not isinstance(callbacks, list):
        return
    if any(isinstance(saved, dict) and "batch_size" in saved for saved in callbacks):
        return  # saved by a later version
    settings = asdict(Recipe(**config["training"]))
    for change in reversed(config.get("changes", [])):
        settings.update({name: old for name, (old, _) in change["settings"].items()})
    other_settings = {"model": config["model"], "limit": config["data"]["limit"], "seed": config["seed"]}
    callbacks.append(other_settings | settings)
