"""The tasks by name, and the task of each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import models
from chainrule.errors import RunError
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import CLASSIFICATION, REGRESSION
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from chainrule.training.task import Data, Task

TASKS: dict[str, Task[Any]] = {task.name: task for task in (IMAGES, TEXT, CLASSIFICATION, REGRESSION)}
"""The tasks by name. `Model.task` is such a name."""


def of(model: models.Model) -> Task[Any]:
    """Return the task of a model.

    Raises:
        RunError: the model has no task, since it is trained by a script of its own.
    """
    if model.task not in TASKS:
        raise RunError(
            f"model {model.name!r} has a training script of its own, scripts/train_detector.py; run it with: "
            f"make detector-weights"
        )
    return TASKS[model.task]


def find(name: str) -> Task[Any]:
    """Return the task of a model, given its name or an alias.

    An unknown model counts as one for images, so that its runs can be opened and listed; `Run.model` raises an error.

    Raises:
        RunError: the model has no task, since it is trained by a script of its own.
    """
    model = models.REGISTRY.get(models.ALIASES.get(name, name))
    return IMAGES if model is None else of(model)


def check_data_type(model: models.Model, data: Data) -> None:
    """Check that a model can be trained on a data set of this kind.

    Raises:
        RunError: the model is for a different kind of data; the message names the models for this kind.
    """
    for task in TASKS.values():
        if isinstance(data, task.data_type) and task is not of(model):
            names = ", ".join(other.name for other in models.REGISTRY.values() if other.task == task.name)
            raise RunError(
                f"model {model.name!r} does not read {task.name}, and {data.name} is {task.data_noun}; choose from "
                f"{names}"
            )
