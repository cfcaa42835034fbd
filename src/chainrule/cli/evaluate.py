"""`chainrule evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np

from chainrule import data as datasets
from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.output import json_number, print_json, print_table, say
from chainrule.errors import DataError, RunError
from chainrule.training import run as runs
from chainrule.training.evaluation import evaluate as evaluate_network
from chainrule.training.evaluation import nan_message
from chainrule.training.experiment import test_images_changed

if TYPE_CHECKING:
    from chainrule.data import ImageData
    from chainrule.training.evaluation import Evaluation


@click.command(
    epilog="""\b
Examples:
  chainrule evaluate
  chainrule evaluate shipped
  chainrule evaluate runs/first-try --confusion confusion.png --mistakes mistakes.png"""
)
@click.argument("run", required=False, type=PathName())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--confusion", type=PathName(), metavar="FILE", help="Write the confusion matrix as a figure (.png, .svg, .pdf)."
)
@click.option(
    "--mistakes", type=PathName(), metavar="FILE", help="Write the worst mistakes as a figure (.png, .svg, .pdf)."
)
def evaluate(run: str | None, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
    """Evaluate a trained model on the test images: accuracy and loss, in total and by class.

    RUN is a run's folder, or a folder of runs (the newest is used); by default the newest run in runs/. "shipped" is
    the pretrained network included with chainrule.
    """
    if confusion is not None or mistakes is not None:
        from chainrule.plots import style  # loads matplotlib

        check_output(confusion, "figure", style.FORMATS)
        check_output(mistakes, "figure", style.FORMATS, other=confusion)
    trained_run = runs.find(run)
    expected = trained_run.config["data"]
    data = datasets.load(expected["name"])
    if [list(data.test_images.shape[1:]), list(data.classes)] != [expected["image_shape"], expected["classes"]]:
        raise DataError(f"{data.name}: image size or classes differ from those {trained_run.folder} was trained on")
    if test_images_changed(trained_run, data):
        say(f"chainrule: the test images of {data.name} have changed since {trained_run.folder} was created", err=True)
    result = evaluate_network(trained_run.load_network(), trained_run.model, data.test_images, data.test_labels)
    if result.nan_count:
        raise RunError(f"{trained_run.weights_file}: {nan_message(result.nan_count, len(result.labels))}")
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
                "run": str(trained_run.folder),
                "accuracy": result.accuracy,
                "loss": json_number(result.loss),
                "per_class": per_class,
                "confusion": counts.tolist(),
            }
        )
        return
    say(f"{trained_run.folder}: {trained_run.model.name} on the {len(data.test_labels):,} test images of {data.name}")
    say(f"test accuracy  {result.accuracy:.2%}  ({len(result.mistakes):,} mistakes, loss {result.loss:.4f})", "")
    table = [("class", "images", "correct", "accuracy", "most often mistaken for")]
    for i, name in enumerate(data.classes):
        wrong = counts[i].copy()
        wrong[i] = 0
        other = f"{data.classes[int(wrong.argmax())]} ({wrong.max()} times)" if wrong.any() else "-"
        accuracy = f"{correct[i] / totals[i]:.2%}" if totals[i] else "-"
        table.append((name, f"{totals[i]:,}", f"{correct[i]:,}", accuracy, other))
    print_table(table, right=(1, 2, 3))
    for file in filter(None, (confusion, mistakes)):
        say(f"figure: {file}")


def _draw(result: Evaluation, data: ImageData, confusion: str | None, mistakes: str | None) -> None:
    if confusion is None and mistakes is None:
        return
    from chainrule.plots import evaluation, style  # loads matplotlib

    if confusion is not None:
        style.save(evaluation.confusion_matrix(result.confusion, data.classes), confusion)
    if mistakes is not None:
        highest = result.probabilities.max(axis=1)
        sheet = evaluation.mistakes(data.test_images, result.labels, result.predictions, highest, classes=data.classes)
        style.save(sheet, mistakes)
