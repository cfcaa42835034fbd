"""Prints the evaluation of a classifier, in total and by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.cli.output import json_number, print_lines, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.training.evaluation import Evaluation


def class_document(result: Evaluation, classes: Sequence[str], noun: str) -> dict[str, Any]:
    """Return the entries of a JSON document on an evaluation.

    Args:
        result: the evaluation.
        classes: the names of the classes.
        noun: what the examples are, such as "images"; their number by class has this key.
    """
    counts = result.confusion
    correct, totals = np.diagonal(counts), counts.sum(axis=1)
    per_class = [
        {"class": name, noun: int(n), "accuracy": r / n if n else None}
        for name, r, n in zip(classes, correct.tolist(), totals.tolist(), strict=True)
    ]
    return {
        "accuracy": result.accuracy,
        "loss": json_number(result.loss),
        "expected_calibration_error": result.calibration_error,
        "per_class": per_class,
        "confusion": counts.tolist(),
    }


def print_classes(result: Evaluation, classes: Sequence[str], noun: str) -> None:
    """Print accuracy, loss and calibration, and a table by class. The arguments are those of `class_document`."""
    counts = result.confusion
    correct, totals = np.diagonal(counts), counts.sum(axis=1)
    print_lines(
        f"test accuracy  {result.accuracy:.2%}  ({len(result.mistakes):,} mistakes, loss {result.loss:.4f})",
        f"calibration    confidence is off by {result.calibration_error:.2%} on average (ECE, 15 bins)",
        "",
    )
    table = [("class", noun, "correct", "accuracy", "most often mistaken for")]
    for i, name in enumerate(classes):
        wrong = counts[i].copy()
        wrong[i] = 0
        other = f"{classes[int(wrong.argmax())]} ({wrong.max()} times)" if wrong.any() else "-"
        accuracy = f"{correct[i] / totals[i]:.2%}" if totals[i] else "-"
        table.append((name, f"{totals[i]:,}", f"{correct[i]:,}", accuracy, other))
    print_table(table, right=(1, 2, 3))
