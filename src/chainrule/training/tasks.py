"""The task of each model: images, text or tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import models
from chainrule.errors import RunError
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import CLASSES, NUMBERS
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from chainrule.training.task import Data, Task

TASKS: dict[str, Task[Any]] = {IMAGES.name: IMAGES, TEXT.name: TEXT, CLASSES.name: CLASSES, NUMBERS.name: NUMBERS}
"""The tasks by `Model.task`."""


def of(model: models.Model) -> Task[Any]:
    """Return the task of a model.

    Raises:
        RunError: the model is trained by a script of its own.
    """
    if model.task not in TASKS:
        raise RunError(
            f"model {model.name!r} has a training script of its own, scripts/train_detector.py: make detector-weights"
        )
    return TASKS[model.task]


def find(name: str) -> Task[Any]:
    """Return the task of a model by name.

    A run of an unknown model counts as one on images, so that it can be opened and listed; `Run.model` raises.
    """
    model = models.REGISTRY.get(models.ALIASES.get(name, name))
    return IMAGES if model is None else of(model)


def check_data_type(model: models.Model, data: Data) -> None:
    """Check that a model reads what a data set holds.

    Raises:
        RunError: it does not; the message names the models that do.
    """
    for task in TASKS.values():
        if isinstance(data, task.data_type) and task is not of(model):
            names = ", ".join(other.name for other in models.REGISTRY.values() if other.task == task.name)
            raise RunError(
                f"model {model.name!r} does not read {task.name}, and {data.name} is {task.data_noun}; choose from "
                f"{names}"
            )
