"""Task: everything that differs between training on images, on text and on tables.

A run's model determines its task. Settings, checkpoints, the training loop and resuming are common to all tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from matplotlib.figure import Figure

    from chainrule.data import DataLoader, ImageData, TableData
    from chainrule.models import Model, Recipe
    from chainrule.nn import Module
    from chainrule.text import TextData
    from chainrule.training.run import Run

    Data: TypeAlias = ImageData | TextData | TableData
    """A loaded data set."""

D = TypeVar("D")
"""The type of a loaded data set."""
Mode = Literal["max", "min"]
"""Whether larger or smaller values of a metric are better."""


@dataclass(frozen=True)
class Metric:
    """The entry of the history that decides which epoch is the best.

    Attributes:
        name: such as "validation_accuracy".
        mode: whether larger ("max") or smaller ("min") is better.
    """

    name: str
    mode: Mode = "max"


class Validator(Protocol):
    """Measures the metrics of an epoch, and draws figures of the last measurement."""

    def __call__(self) -> dict[str, float]:
        """Measure the metrics, and return them by name."""

    def figures(self) -> dict[str, Figure]:
        """Return figures of the last measurement by name, for logs that can show them."""


class Task(Protocol[D]):
    """A kind of data: how it is described in a run's config, loaded, checked, trained on and evaluated.

    `D` is the type of a loaded data set.

    Attributes:
        name: the value of `Model.task` that selects this task, such as "images".
        data_type: the type of a loaded data set.
        data_noun: the noun for a data set in messages, such as "a set of images".
        metric: decides which epoch's weights are kept.
        data_schema: the entries of "data" in config.json (see `run.check_schema`).
        result_schema: the entries of result.json.
        files: the names of the files that `write_files` writes.
        default_data: the name of the data set to train on if none is given; "" if one must be given.
    """

    name: str
    data_type: type[D]
    data_noun: str
    metric: Metric
    data_schema: Mapping[str, Any]
    result_schema: Mapping[str, Any]
    files: tuple[str, ...]
    default_data: str

    def load(self, run: Run) -> D:
        """Load the data set that a run was started with."""

    def defaults(self, model: Model, data: D) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return default options of a new model for the data set, and overrides of the model's recipe.

        Both are dicts of values by name; they apply unless the user sets these options and settings.
        """

    def describe(self, data: D, limit: int | None) -> dict[str, Any]:
        """Return the data section of a new run's config."""

    def write_files(self, data: D, folder: Path) -> None:
        """Write `files`, which a run needs in addition to its config, into the run's folder."""

    def check_settings(self, recipe: Recipe, limit: int | None, data: D) -> None:
        """Check the settings that depend on the data set; raise a `RunError` if one is invalid.

        `limit` is the number of examples (tokens of a text) to train on, or None for all.
        """

    def check_model(self, model: Model, network: Module, data: D) -> None:
        """Check that a model's network, in eval mode, can be trained on a data set; raise a `UserError` if not."""

    def check_network(self, run: Run, network: Module) -> None:
        """Check that a run's network, in eval mode, matches the run's config; raise a `UserError` if not."""

    def check_result(self, result: Mapping[str, Any], source: str) -> None:
        """Check the values of result.json; raise a `RunError` that starts with `source` if one is impossible."""

    def changed_part(self, run: Run, data: D) -> str | None:
        """Return which part of a data set has changed since a run was started, such as "test images", or None."""

    def examples_per_epoch(self, recipe: Recipe, limit: int | None, data: D) -> int:
        """Return the number of examples per epoch."""

    def loader(self, run: Run, recipe: Recipe, data: D, network: Module, generator: np.random.Generator) -> DataLoader:
        """Return the loader of the training examples."""

    def validator(self, network: Module, model: Model, data: D, *, compiled: bool) -> Validator:
        """Return the validator of a training run; `compiled` is whether its training steps are compiled."""

    def counter(self) -> Callable[[Any, Any], Any] | None:
        """Return a function that counts a batch's correct predictions (see `Trainer`); None if the task has none."""

    def evaluate_run(self, run: Run, data: D) -> dict[str, float]:
        """Measure a run's best weights; raise a `RunError` if the outputs or the loss are not finite."""

    def diagnose(self, run: Run, data: D) -> str | None:
        """Return a sentence on what went wrong in a completed run and what to try; None if nothing did."""

    def headline(self, result: Mapping[str, Any]) -> str:
        """Return the main metric of a result in a few words, for lists of runs."""
