"""The task of models that classify images."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import data as datasets
from chainrule import models
from chainrule.autograd import no_grad
from chainrule.data.augment import Augment
from chainrule.data.dataset import TensorDataset
from chainrule.data.image_data import ImageData
from chainrule.data.loader import DataLoader
from chainrule.errors import RunError, shorten
from chainrule.tensor import from_numpy
from chainrule.training.diagnosis import diagnose
from chainrule.training.evaluation import evaluate, nan_message
from chainrule.training.task import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from chainrule.models import Model, Recipe
    from chainrule.nn import Module
    from chainrule.training.evaluation import Evaluation
    from chainrule.training.run import Run


SHOWN_IMAGES = 25
"""Number of images in the figure of predictions."""

MAX_CONFUSION_CLASSES = 40
"""Maximum number of classes for which a confusion matrix is drawn: a larger one is not readable."""

PREFETCH_BYTES = 1 << 30
"""Batches are prefetched if the training images are larger than this: they are then likely to be read from disk in
every epoch. Smaller data sets stay in memory, where gathering a batch takes less time than passing it between
threads."""

PREFETCH_FACTOR = 2
"""Number of batches that are prefetched."""

MAX_IMAGE_VALUES = 10_000_000
"""Maximum number of values of an image, of all pixels and channels, so that the blank image in `check_model_input` is
small even if a config is invalid."""


class ImageValidator:
    """Measures loss and accuracy on the validation images.

    Args:
        network: the network.
        model: defines the loss and the probabilities.
        data: the data set.
    """

    def __init__(self, network: Module, model: Model, data: ImageData) -> None:
        self._network, self._model, self._data = network, model, data
        self._evaluation: Evaluation | None = None

    def __call__(self) -> dict[str, float]:
        """Return the metrics."""
        evaluation = self._evaluation = evaluate(self._network, self._model, *self._data.split().validation)
        return {"validation_loss": evaluation.loss, "validation_accuracy": evaluation.accuracy}

    def figures(self) -> dict[str, Figure]:
        """Draw the first images with the network's predictions, and the confusion matrix, as last measured.

        Without a measurement, or if an output was not finite, nothing is drawn. The confusion matrix is left out if
        there are more than `MAX_CONFUSION_CLASSES` classes.
        """
        from chainrule.plots.evaluation import confusion_matrix, predictions  # imports matplotlib

        evaluation, classes = self._evaluation, self._data.classes
        if evaluation is None or evaluation.nan_count:
            return {}
        first_images = slice(SHOWN_IMAGES)
        images = self._data.split().validation.images[first_images]
        figures = {
            "predictions": predictions(
                images, evaluation.labels[first_images], evaluation.predictions[first_images], classes
            )
        }
        if len(classes) <= MAX_CONFUSION_CLASSES:
            figures["confusion"] = confusion_matrix(evaluation.confusion, classes)
        return figures


class ImageTask:
    """Image classification: an epoch is a pass over the training images; the best epoch has the highest accuracy."""

    name = "images"
    data_type = ImageData
    data_noun = "a set of images"
    metric = Metric("validation_accuracy")
    data_schema: Mapping[str, Any] = {
        "name": str, "limit": int | None, "image_shape": [int], "classes": [str], "crc32": int, "test_crc32": int,
        "photos": bool, "validation": int,
    }  # fmt: skip
    result_schema: Mapping[str, Any] = {"test_accuracy": float, "test_loss": float}
    files: tuple[str, ...] = ()
    default_data = "mnist"

    def load(self, run: Run) -> ImageData:
        """Load the data set that a run was started with."""
        data = datasets.load(run.config["data"]["name"], **_load_options(run))
        return replace(data, validation=run.config["data"].get("validation"))

    def load_test(self, run: Run) -> ImageData:
        """Load the test images of the data set that a run was started with."""
        return datasets.load_test(run.config["data"]["name"], **_load_options(run))

    def defaults(self, model: Model, data: ImageData) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return default options of a new model for the data set, and overrides of the model's recipe."""
        shape = data.train_images.shape[1:]
        takes_colors = len(shape) == 3 and "channels" in inspect.signature(model.build).parameters
        channels = {"channels": shape[0]} if takes_colors else {}
        return {"inputs": math.prod(shape), **channels, "classes": len(data.classes)}, {}

    def describe(self, data: ImageData, limit: int | None) -> dict[str, Any]:
        """Return the data section of a new run's config."""
        return {
            "name": data.name,
            "limit": limit,
            "image_shape": list(data.train_images.shape[1:]),
            "classes": list(data.classes),
            "crc32": data.train_crc32,
            "test_crc32": data.test_crc32,
            **({"photos": True} if data.photos else {}),
            **({} if data.validation is None else {"validation": data.validation}),
        }

    def write_files(self, data: ImageData, folder: Path) -> None:
        """Write nothing: a run on images needs only its config."""

    def check_settings(self, recipe: Recipe, limit: int | None, data: ImageData) -> None:
        """Check the settings that depend on the data set.

        Raises:
            RunError: a value is invalid.
        """
        if recipe.steps_per_epoch:
            raise RunError(
                f"an epoch is a pass over the images, so steps_per_epoch must be 0, not {recipe.steps_per_epoch}"
            )
        total = len(data.train_images)
        if data.validation is not None and not 1 <= data.validation < total:
            raise RunError(
                f"of the {total:,} training images of {data.name}, 1 to {total - 1:,} can be held back for validation, "
                f"not {data.validation:,}"
            )
        train, validation, _ = data.split()
        if not len(validation.images):
            raise RunError(f"{data.name} has too few training images, {len(train.images)}: at least 6 are needed")
        if not len(data.test_images):
            raise RunError(f"{data.name} has no test images: at least 1 is needed")
        if limit is not None and limit > len(train.images):
            raise RunError(f"the limit is {limit:,}, but {data.name} has {len(train.images):,} training images")

    def check_model(self, model: Model, network: Module, data: ImageData) -> None:
        """Check that a model's network, in eval mode, accepts the images.

        Raises:
            RunError: the network does not accept them.
        """
        check_model_input(model.name, network, data.train_images.shape[1:])

    def check_network(self, run: Run, network: Module) -> None:
        """Check that a run's network accepts images of the config's size and has an output per class.

        Raises:
            RunError: the network does not fit the config.
        """
        shape, classes = _image_shape(run), run.config["data"]["classes"]
        try:
            n_outputs = check_model_input(run.model.name, network, shape)
        except RunError as error:
            raise RunError(f"{run.config_file}: {error}") from None
        if n_outputs != len(classes):
            raise RunError(f"{run.config_file}: has {len(classes)} classes, but its model has {n_outputs} outputs")

    def check_result(self, result: Mapping[str, Any], source: str) -> None:
        """Check the values of result.json.

        Raises:
            RunError: the accuracy is impossible.
        """
        if not 0 <= result["test_accuracy"] <= 1:
            raise RunError(f"{source}: test_accuracy must be from 0 to 1, not {result['test_accuracy']}")

    def changed_part(self, run: Run, data: ImageData) -> str | None:
        """Return "images" or "test images" if these have changed since a run was started, else None."""
        if run.config["data"]["crc32"] != data.train_crc32:
            return "images"
        return "test images" if self.test_images_changed(run, data) else None

    def test_images_changed(self, run: Run, data: ImageData) -> bool:
        """Return whether the test images have changed since a run was started."""
        checksum = run.config["data"].get("test_crc32")  # not in configs of earlier versions
        return checksum is not None and checksum != data.test_crc32

    def examples_per_epoch(self, recipe: Recipe, limit: int | None, data: ImageData) -> int:
        """Return the number of images per epoch."""
        return limit or len(data.split().train.images)

    def loader(
        self, run: Run, recipe: Recipe, data: ImageData, network: Module, generator: np.random.Generator
    ) -> DataLoader:
        """Return the loader of the training images, with the recipe's augmentation."""
        images, labels = data.split().train
        limit = run.config["data"]["limit"]
        dataset = TensorDataset(images[:limit], labels[:limit], scale=models.PIXEL_SCALE)
        augment = Augment(**recipe.augment) if recipe.augment else None
        prefetch = PREFETCH_FACTOR if images[:limit].nbytes > PREFETCH_BYTES else None
        return DataLoader(
            dataset,
            recipe.batch_size,
            shuffle=True,
            generator=generator,
            augment=augment,
            prefetch_factor=prefetch,
        )

    def validator(self, network: Module, model: Model, data: ImageData, *, compiled: bool) -> ImageValidator:
        """Return a function that measures loss and accuracy on the validation images."""
        return ImageValidator(network, model, data)

    def counter(self) -> Callable[[Any, Any], Any]:
        """Return a function that counts the images whose class has the largest output."""
        return lambda outputs, labels: (outputs.argmax(1) == labels).sum()

    def evaluate_run(self, run: Run, data: ImageData) -> dict[str, float]:
        """Evaluate a run's best weights on the test images.

        Raises:
            RunError: there are no weights, they do not fit, or the network's outputs are not finite.
        """
        evaluation = evaluate(run.load_network(), run.model, data.test_images, data.test_labels)
        if evaluation.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(evaluation.nan_count, len(evaluation.labels))}")
        return {"test_accuracy": evaluation.accuracy, "test_loss": evaluation.loss}

    def diagnose(self, run: Run, data: ImageData) -> str | None:
        """Return a sentence on what went wrong in a completed run and what to try; None if nothing did."""
        return diagnose(run, data)

    def headline(self, result: Mapping[str, Any]) -> str:
        """Return the test accuracy, for lists of runs."""
        return f"test {result['test_accuracy']:.2%}"


IMAGES = ImageTask()


def _load_options(run: Run) -> dict[str, Any]:
    """Return the options with which a run's images were loaded."""
    return {"image_size": _image_shape(run)[-1], "seed": run.config["seed"]}


def _image_shape(run: Run) -> list[int]:
    """Return the shape of a run's images.

    Raises:
        RunError: the config's shape is not that of an image.
    """
    shape: list[int] = run.config["data"]["image_shape"]
    if len(shape) not in (2, 3) or min(shape) < 1 or math.prod(shape) > MAX_IMAGE_VALUES:
        raise RunError(
            f"{run.config_file}: data.image_shape must be (H, W) or (C, H, W), of at most {MAX_IMAGE_VALUES:,} values, "
            f"not {shorten(str(shape))}"
        )
    return shape


def check_model_input(name: str, network: Module, shape: Sequence[int]) -> int:
    """Run a network on a blank image, to check that it accepts images of this size.

    Args:
        name: the model's name.
        network: the network, in eval mode.
        shape: (H, W), or (C, H, W).

    Returns:
        The number of classes it outputs.

    Raises:
        RunError: the network does not accept such images.
    """
    try:
        with no_grad():
            outputs = network(models.images_to_inputs(from_numpy(np.zeros((1, *shape), np.uint8))))  # (1, classes)
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise RunError(f"model {name!r} does not take images of {'×'.join(map(str, shape))}: {error}") from None
    n_classes: int = outputs.shape[1]
    return n_classes
