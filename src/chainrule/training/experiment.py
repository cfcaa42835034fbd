"""From a run's config to a trainer ready to start, and from a trained run to its result.

The config alone decides: the same config gives the same bits. Its seed is split into one generator for the starting
weights and dropout, and one for the order of the images and what augmentation makes of them.
"""

from __future__ import annotations

import json
import math
import platform
import zlib
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

import chainrule
from chainrule import models, optim
from chainrule.data.augment import Augment
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.errors import DataError, RunError
from chainrule.files import write_text
from chainrule.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from chainrule.training.callbacks import AsBegun, BestModel, Checkpoint, History, PlainEpochs, StopOnNaN
from chainrule.training.evaluation import evaluate, no_numbers
from chainrule.training.run import SHIPPED, check_model_input
from chainrule.training.trainer import Callback, Trainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.data import ImageData
    from chainrule.models import Recipe
    from chainrule.training.run import Run

OPTIMIZERS = {"sgd": {"lr": 0.1, "momentum": 0.9}, "adam": {"lr": 0.002}, "adamw": {"lr": 0.002, "weight_decay": 0.01}}
"""Each optimizer's settings where a model's recipe, made for another one, says nothing of it."""

WORTH_COMPILING = 200
"""Steps: fewer take less time than compiling one."""

_MOST = 1_000_000_000  # of epochs, or of images a step: more is a slip of the finger, and no number to compute with

SCHEDULES = ("constant", "cosine", "one-cycle")


def configure(
    model: str, data: ImageData, *, seed: int = 0, limit: int | None = None, keep: int = 0, **changes: Any
) -> dict[str, Any]:
    """A run's config: the model's recipe with changes.

    Args:
        model: a name from the registry.
        data: what to train on.
        seed: of all randomness.
        limit: train on the first so many images only.
        keep: the states of the last so many epochs, and of the best one, are kept to go back to.
        changes: entries of the `Recipe` to change; those that are None stay.

    Raises:
        RunError: no such model or optimizer, a number that makes no sense, or images that the model does not take.
    """
    model = models.get(model).name  # not an alias
    recipe = models.get(model).recipe
    changes = {name: value for name, value in changes.items() if value is not None}
    optimizer = changes.get("optimizer", recipe.optimizer)
    if optimizer != recipe.optimizer:
        changes = {"momentum": 0.0, "weight_decay": 0.0, **OPTIMIZERS.get(optimizer, {}), **changes}
    recipe = replace(recipe, **changes)
    check_settings(recipe, seed, limit, data, keep)
    height, width = data.train_images.shape[1:]
    options = {"inputs": height * width, "classes": len(data.classes)}
    check_model_input(model, models.build(model, options, generator=np.random.default_rng(0)).eval(), (height, width))
    return {
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "model": {"name": model, "options": options},
        "data": {
            "name": data.name,
            "limit": limit,
            "image_shape": [height, width],
            "classes": list(data.classes),
            "crc32": _crc32(data.train_images, data.train_labels),
            "test_crc32": _crc32(data.test_images, data.test_labels),
        },
        "training": asdict(recipe),
        "seed": seed,
        "versions": versions(),
        **({"keep": keep} if keep else {}),
    }


def versions() -> dict[str, str]:
    """The versions of what computes: with others the same config may come to other bits."""
    compiler = {"llvmlite": version("llvmlite")} if find_spec("llvmlite") is not None else {}
    own = {"chainrule": chainrule.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return own | compiler


def prepare(run: Run, data: ImageData, callbacks: Sequence[Callback] = ()) -> Trainer:
    """A trainer for a run, with its files kept up to date by callbacks.

    Args:
        run: says what to train and how.
        data: what its config names.
        callbacks: more of them, told before the run's own.

    Raises:
        DataError: the data are not those that the config was made for.
        RunError: the config asks for something that there is not, or a number that makes no sense; or the run is the
            one that comes with chainrule, which nobody is to write over.
    """
    config, recipe, limit = run.config, models.Recipe(**run.config["training"]), run.config["data"]["limit"]
    refuse_shipped(run)
    check_data(run, data)
    try:
        check_settings(recipe, config["seed"], limit, data, config.get("keep", 0))
    except RunError as error:
        raise RunError(f"{run.config_file}: {error}") from None
    weights_generator, order = run.generators()
    network, model = run.untrained(weights_generator), run.model
    (images, labels), validation, _ = data.split()
    dataset = TensorDataset(images[:limit], labels[:limit], scale=models.PIXEL)
    augment = Augment(**recipe.augment) if recipe.augment else None
    loader = DataLoader(dataset, recipe.batch_size, shuffle=True, generator=order, augment=augment)
    optimizer = _optimizer(recipe, network.parameters())

    def validate() -> dict[str, float]:
        found = evaluate(network, model, *validation)
        return {"validation_loss": found.loss, "validation_accuracy": found.accuracy}

    return Trainer(
        network,
        model.loss,
        optimizer,
        loader,
        scheduler=_scheduler(recipe, optimizer, recipe.epochs * len(loader)),
        validate=validate,
        callbacks=[
            StopOnNaN(),
            PlainEpochs(after=recipe.epochs - recipe.epochs_without_augmentation),
            *callbacks,
            BestModel(run.weights_file),
            History(run.folder / "metrics.jsonl"),
            AsBegun({"model": config["model"], "limit": limit, "seed": config["seed"], **asdict(recipe)}),
            Checkpoint(run.folder / "checkpoint", keep=config.get("keep", 0), best=run.weights_file),
        ],
        compiled=worth_compiling(recipe, len(loader)),
    )


def refuse_shipped(run: Run) -> None:
    """Leave the run that comes with chainrule as it is.

    Raises:
        RunError: it is that one.
    """
    if run.folder.resolve() == SHIPPED.resolve():
        own = f"chainrule train --model {run.config['model']['name']}"
        raise RunError(f"{run.folder}: is the run that comes with chainrule; train one of your own with: {own}")


def check_data(run: Run, data: ImageData) -> None:
    """Compare data with those that a run was begun with.

    Raises:
        DataError: the images or labels to learn from or to test by are others.
    """
    train_changed = run.config["data"]["crc32"] != _crc32(data.train_images, data.train_labels)
    if train_changed or has_other_test_images(run, data):
        which = "images" if train_changed else "test images"
        raise DataError(
            f"{data.name}: the {which} have changed since {run.folder} was begun, it cannot go on with them"
        )


def has_other_test_images(run: Run, data: ImageData) -> bool:
    """Whether the test images are others than when the run was begun, as far as its config tells."""
    known = run.config["data"].get("test_crc32")
    return known is not None and known != _crc32(data.test_images, data.test_labels)


def worth_compiling(recipe: Recipe, steps_per_epoch: int) -> bool:
    """Whether a training's steps are compiled: not if it is told to be eager, or has too few to be worth it."""
    return not recipe.eager and recipe.epochs * steps_per_epoch >= WORTH_COMPILING


def finish(run: Run, data: ImageData, seconds: float) -> dict[str, Any]:
    """Judge a run's best weights by the test images, write its result.json, and return what that says.

    Args:
        run: a run whose training is over.
        data: what its config names.
        seconds: how long it took.

    Raises:
        RunError: there are no weights, they do not fit, or the network gives no numbers.
    """
    found = evaluate(run.network(), run.model, data.test_images, data.test_labels)
    if found.unread:
        raise RunError(f"{run.weights_file}: {no_numbers(found.unread, len(found.labels))}")
    result = {"test_accuracy": found.accuracy, "test_loss": found.loss, "seconds": seconds}
    write_text(run.folder / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def _optimizer(recipe: Recipe, parameters: Any) -> optim.Optimizer:
    if recipe.optimizer == "sgd":
        return optim.SGD(parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    kind = optim.AdamW if recipe.optimizer == "adamw" else optim.Adam
    return kind(parameters, recipe.lr, weight_decay=recipe.weight_decay)


def _scheduler(recipe: Recipe, optimizer: optim.Optimizer, steps: int) -> LRScheduler | None:
    if recipe.schedule == "one-cycle":
        has_momentum = recipe.optimizer != "sgd" or recipe.momentum > 0
        # one step more than is taken: the schedule is asked for the next rate after the last
        return OneCycleLR(optimizer, recipe.lr, total_steps=steps + 1, cycle_momentum=has_momentum)
    return CosineAnnealingLR(optimizer, T_max=steps) if recipe.schedule == "cosine" else None


def check_settings(recipe: Recipe, seed: int, limit: int | None, data: ImageData, keep: int = 0) -> None:
    """See if a recipe and the number of states to keep make sense, and the recipe goes with the data.

    Raises:
        RunError: it does not.
    """
    for kind, name, known in (("optimizer", recipe.optimizer, OPTIMIZERS), ("schedule", recipe.schedule, SCHEDULES)):
        if name not in known:
            raise RunError(f"there is no {kind} {name!r}; there are {', '.join(known)}")
    counts = {"number of epochs": recipe.epochs, "batch size": recipe.batch_size, "limit": limit}
    for name, count in counts.items():
        if count is not None and not 1 <= count <= _MOST:
            raise RunError(f"the {name} must be at {'least 1' if count < 1 else f'most {_MOST:,}'}, not {count:,}")
    if not 0 < recipe.lr < math.inf:
        raise RunError(f"the learning rate must be a number above 0, not {recipe.lr}")
    if not (0 <= recipe.momentum < math.inf and 0 <= recipe.weight_decay < math.inf):
        raise RunError("the momentum and the weight decay must be numbers of at least 0")
    if recipe.epochs_without_augmentation < 0:
        raise RunError(f"epochs_without_augmentation must be at least 0, not {recipe.epochs_without_augmentation}")
    try:
        Augment(**recipe.augment)
    except (TypeError, ValueError) as error:
        raise RunError(f"augmentation by {recipe.augment} is not possible: {error}") from None
    if seed < 0:
        raise RunError(f"the seed must be at least 0, not {seed}")
    if keep < 0:
        raise RunError(f"the number of states to keep must be at least 0, not {keep}")
    train, validation, _ = data.split()
    if not len(validation.images):
        raise RunError(f"{data.name} has too few training images, {len(train.images)}: at least 6 are needed")
    if limit is not None and limit > len(train.images):
        raise RunError(f"the limit is {limit:,}, but {data.name} has {len(train.images):,} images to learn from")


def _crc32(images: NDArray[Any], labels: NDArray[Any]) -> int:
    """A sum by which changed data are noticed."""
    return zlib.crc32(np.ascontiguousarray(labels).data, zlib.crc32(np.ascontiguousarray(images).data))
