"""What the commands print about a run on images."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.cli.output import json_number, print_json, print_lines, print_table
from chainrule.errors import DataError, RunError
from chainrule.training.evaluation import evaluate, nan_message
from chainrule.training.image_task import IMAGES
from chainrule.training.progress import ACCURACY

if TYPE_CHECKING:
    from chainrule.data import ImageData
    from chainrule.training.evaluation import Evaluation
    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer


class ImageReport:
    """Accuracy and loss, in total and by class; see `reports.Report`."""

    table = ACCURACY
    charts: tuple[tuple[str, str, float], ...] = (
        ("validation loss", "validation_loss", 1.0),
        ("validation accuracy, %", "validation_accuracy", 100.0),
    )
    metric_label = "validation accuracy"

    def describe_data(self, trainer: Trainer, data: ImageData) -> str:
        """Return the number of training images, in words."""
        images = len(trainer.loader.dataset)
        notes = f" ({'; '.join(data.notes)})" if data.notes else ""
        return f"{images:,} training image{'' if images == 1 else 's'}{notes}"

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return a line with the accuracy on the test images."""
        return [f"test accuracy  {result['test_accuracy']:.2%}  (loss {result['test_loss']:.4f})"]

    def samples(self, run: Run) -> list[str]:
        """Return nothing: pictures do not fit into lines."""
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
        data = IMAGES.load_test(run)
        if [list(data.test_images.shape[1:]), list(data.classes)] != [expected["image_shape"], expected["classes"]]:
            raise DataError(f"{data.name}: image size or classes differ from those {run.folder} was trained on")
        if IMAGES.test_images_changed(run, data):
            print_lines(
                f"chainrule: the test images of {data.name} have changed since {run.folder} was created", err=True
            )
        result = evaluate(run.load_network(), run.model, data.test_images, data.test_labels)
        if result.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(result.nan_count, len(result.labels))}")
        _draw(result, data, confusion, mistakes)
        counts = result.confusion
        correct, totals = np.diagonal(counts), counts.sum(axis=1)
        if as_json:
            per_class = [
                {"class": name, "images": int(n), "accuracy": r / n if n else None}
                for name, r, n in zip(data.classes, correct.tolist(), totals.tolist(), strict=True)
            ]
            print_json(
                {
                    "run": str(run.folder),
                    "accuracy": result.accuracy,
                    "loss": json_number(result.loss),
                    "expected_calibration_error": result.calibration_error,
                    "per_class": per_class,
                    "confusion": counts.tolist(),
                }
            )
            return
        print_lines(f"{run.folder}: {run.model.name} on the {len(data.test_labels):,} test images of {data.name}")
        print_lines(
            f"test accuracy  {result.accuracy:.2%}  ({len(result.mistakes):,} mistakes, loss {result.loss:.4f})",
            f"calibration    confidence is off by {result.calibration_error:.2%} on average (ECE, 15 bins)",
            "",
        )
        table = [("class", "images", "correct", "accuracy", "most often mistaken for")]
        for i, name in enumerate(data.classes):
            wrong = counts[i].copy()
            wrong[i] = 0
            other = f"{data.classes[int(wrong.argmax())]} ({wrong.max()} times)" if wrong.any() else "-"
            accuracy = f"{correct[i] / totals[i]:.2%}" if totals[i] else "-"
            table.append((name, f"{totals[i]:,}", f"{correct[i]:,}", accuracy, other))
        print_table(table, right=(1, 2, 3))
        for file in filter(None, (confusion, mistakes)):
            print_lines(f"figure: {file}")


def _draw(result: Evaluation, data: ImageData, confusion: str | None, mistakes: str | None) -> None:
    if confusion is None and mistakes is None:
        return
    from chainrule.plots import evaluation, style  # loads matplotlib

    if confusion is not None:
        style.save(evaluation.confusion_matrix(result.confusion, data.classes), confusion)
    if mistakes is not None:
        highest = result.probabilities.max(axis=1)
        gray = data.test_images if data.test_images.ndim == 3 else np.rint(data.test_images.mean(1))
        ink = 255 - gray if data.photos else gray
        sheet = evaluation.mistakes(ink, result.labels, result.predictions, highest, classes=data.classes)
        style.save(sheet, mistakes)
