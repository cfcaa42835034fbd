"""What the commands print about a run on images."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.cli.class_metrics import class_document, print_classes
from chainrule.cli.output import json_number, print_json, print_lines
from chainrule.errors import DataError, RunError, join_names
from chainrule.training.evaluation import evaluate, nan_message
from chainrule.training.image_task import IMAGES
from chainrule.training.progress import ACCURACY_COLUMNS

if TYPE_CHECKING:
    from chainrule.data import ImageData
    from chainrule.training.evaluation import Evaluation
    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer


_MAX_COUNTED_LABELS = 1_000_000
"""Maximum number of training labels that are counted before training, to find missing classes."""
_MIN_EXPECTED_IMAGES = 12
"""A class that is missing among the validation images is reported if at least this many of its images were expected
there. In random order, such a class is missing by chance once in 160,000 times (e⁻¹²)."""


class ImageReport:
    """Accuracy and loss, in total and by class; see `reports.Report`."""

    epoch_table = ACCURACY_COLUMNS
    charts: tuple[tuple[str, str, float], ...] = (
        ("validation loss", "validation_loss", 1.0),
        ("validation accuracy, %", "validation_accuracy", 100.0),
    )
    metric_label = "validation accuracy"

    def describe_data(self, trainer: Trainer, data: ImageData) -> str:
        """Return the number of training images, with notes on the data."""
        image_count = len(trainer.loader.dataset)
        notes = (*data.notes, *_missing_classes(data))
        suffix = f" ({'; '.join(notes)})" if notes else ""
        return f"{image_count:,} training image{'s' * (image_count != 1)}{suffix}"

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return a line with the accuracy on the test images."""
        return [f"test accuracy  {result['test_accuracy']:.2%}  (loss {result['test_loss']:.4f})"]

    def samples(self, run: Run) -> list[str]:
        """Return no lines: predictions for images cannot be shown without the images."""
        return []

    def next_command(self, run: Run) -> str:
        """Return the command that draws the mistakes."""
        return f"chainrule evaluate {shlex.quote(str(run.folder))} --mistakes mistakes.png"

    def document(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the accuracy and loss on the test images, for the JSON document of `train`."""
        return {"test_accuracy": result["test_accuracy"], "test_loss": json_number(result["test_loss"])}

    def evaluate(self, run: Run, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
        """Print accuracy and loss on the test images, in total and by class, and draw the figures."""
        expected = run.config["data"]
        network = run.load_network()  # first, since loading the data may take longer than finding invalid weights
        data = IMAGES.load_test(run)
        if [list(data.test_images.shape[1:]), list(data.classes)] != [expected["image_shape"], expected["classes"]]:
            raise DataError(
                f"{data.name}: the image size or the classes differ from those that {run.folder} was trained on"
            )
        if IMAGES.test_images_changed(run, data):
            print_lines(
                f"chainrule: the test images of {data.name} have changed since {run.folder} was created", err=True
            )
        result = evaluate(network, run.model, data.test_images, data.test_labels)
        if result.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(result.nan_count, len(result.labels))}")
        _draw(result, data, confusion, mistakes)
        if as_json:
            print_json({"run": str(run.folder), **class_document(result, data.classes, "images")})
            return
        print_lines(f"{run.folder}: {run.model.name} on the {len(data.test_labels):,} test images of {data.name}")
        print_classes(result, data.classes, "images")
        for file in filter(None, (confusion, mistakes)):
            print_lines(f"figure: {file}")


def _missing_classes(data: ImageData) -> tuple[str, ...]:
    """Return a note on the classes that are missing among the validation images, if chance cannot explain it."""
    train, validation, _ = data.split()
    if len(train.labels) > _MAX_COUNTED_LABELS:
        return ()
    train_counts = np.bincount(train.labels, minlength=len(data.classes))
    validation_counts = np.bincount(validation.labels, minlength=len(data.classes))
    expected_counts = train_counts / max(1, len(train.labels)) * len(validation.labels)
    is_missing = (validation_counts == 0) & (expected_counts >= _MIN_EXPECTED_IMAGES)
    missing_classes = [data.classes[i] for i in np.flatnonzero(is_missing).tolist()]
    if not missing_classes:
        return ()
    n_images, names = len(validation.labels), join_names(missing_classes)
    return (f"the last {n_images:,}, for validation, include no {names}: shuffle the images",)


def _draw(result: Evaluation, data: ImageData, confusion: str | None, mistakes: str | None) -> None:
    if confusion is None and mistakes is None:
        return
    from chainrule.plots import evaluation, style  # loads matplotlib

    if confusion is not None:
        style.save(evaluation.confusion_matrix(result.confusion, data.classes), confusion)
    if mistakes is not None:
        highest_probabilities = result.probabilities.max(axis=1)
        gray = data.test_images if data.test_images.ndim == 3 else np.rint(data.test_images.mean(1))
        ink = 255 - gray if data.photos else gray  # the figure shows 0 as white
        figure = evaluation.mistakes(
            ink, result.labels, result.predictions, highest_probabilities, classes=data.classes
        )
        style.save(figure, mistakes)
