"""The metrics of a classifier, in total and by class: as a table in the terminal, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.cli.output import json_number, print_lines, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.training.evaluation import Evaluation


def class_document(result: Evaluation, classes: Sequence[str], noun: str) -> dict[str, Any]:
    """Return the metrics as entries of a JSON document.

    Args:
        result: the evaluation.
        classes: the names of the classes.
        noun: what the examples are, such as "images"; also the key of their number in each class.
    """
    confusion = result.confusion
    correct_counts, total_counts = np.diagonal(confusion).tolist(), confusion.sum(axis=1).tolist()
    per_class = [
        {"class": name, noun: total, "accuracy": correct / total if total else None}
        for name, correct, total in zip(classes, correct_counts, total_counts, strict=True)
    ]
    return {
        "accuracy": result.accuracy,
        "loss": json_number(result.loss),
        "expected_calibration_error": result.calibration_error,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def print_classes(result: Evaluation, classes: Sequence[str], noun: str) -> None:
    """Print accuracy, loss and calibration, and a table by class. The arguments are those of `class_document`."""
    confusion = result.confusion
    correct_counts, total_counts = np.diagonal(confusion), confusion.sum(axis=1)
    print_lines(
        f"test accuracy  {result.accuracy:.2%}  ({len(result.mistakes):,} mistakes, loss {result.loss:.4f})",
        f"calibration    confidence is off by {result.calibration_error:.2%} on average (ECE, 15 bins)",
        "",
    )
    table = [("class", noun, "correct", "accuracy", "most often mistaken for")]
    for i, name in enumerate(classes):
        mistakes = confusion[i].copy()  # the number of mistakes by predicted class
        mistakes[i] = 0
        highest_count = int(mistakes.max())
        most_frequent = "-"
        if highest_count:
            times = "time" if highest_count == 1 else "times"
            most_frequent = f"{classes[int(mistakes.argmax())]} ({highest_count} {times})"
        accuracy = f"{correct_counts[i] / total_counts[i]:.2%}" if total_counts[i] else "-"
        table.append((name, f"{total_counts[i]:,}", f"{correct_counts[i]:,}", accuracy, most_frequent))
    print_table(table, right=(1, 2, 3))
