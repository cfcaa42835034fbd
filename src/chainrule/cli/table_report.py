"""What the commands print about a run on a table."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.cli.class_metrics import class_document, print_classes
from chainrule.cli.output import json_number, print_json, print_lines
from chainrule.errors import DataError, RunError, join_names, shorten
from chainrule.training.evaluation import evaluate_rows, nan_message
from chainrule.training.progress import ACCURACY_COLUMNS, REGRESSION_COLUMNS
from chainrule.training.regression import evaluate_regression

if TYPE_CHECKING:
    from chainrule.data.tables import ClassTable, NumberTable, TableData
    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer


class TableReport:
    """The common part of `ClassReport` and `NumberReport`; see `reports.Report`."""

    metric_label = "validation loss"

    def samples(self, run: Run) -> list[str]:
        """Return no lines: the next command shows predictions for the rows."""
        return []

    def next_command(self, run: Run) -> str:
        """Return the command that predicts the rows of a table."""
        name = shlex.quote(run.config["data"]["name"])
        return f"chainrule predict {name} --run {shlex.quote(str(run.folder))} --out predictions.csv"

    def _load_test(self, run: Run) -> Any:
        """Load a run's table, and print a warning if its rows have changed since the run was created.

        Raises:
            DataError: the values of the target column have changed.
        """
        data: TableData = run.task.load(run)
        changed_part = run.task.changed_part(run, data)
        if run.config["data"]["target"] != data.encoder.target.describe():
            raise DataError(
                f"{data.name}: the values of {data.encoder.target.name} have changed since {run.folder} was created"
            )
        if changed_part is not None:
            print_lines(
                f"chainrule: the {changed_part} of {data.name} have changed since {run.folder} was created", err=True
            )
        return data


def _describe(trainer: Trainer, data: TableData, target: str) -> str:
    """Return the numbers of rows, columns and inputs of a table in words, with its target and notes on the data."""
    row_count = len(trainer.loader.dataset)
    column_count, input_count = len(data.encoder.columns), len(data.encoder.input_names)
    columns = f"{column_count:,} column{'s' * (column_count != 1)}"
    if input_count != column_count:
        columns += f" as {input_count:,} inputs"
    notes = f" ({'; '.join(data.notes)})" if data.notes else ""
    return f"{row_count:,} training rows of {columns}, {target}{notes}"


class ClassReport(TableReport):
    """Accuracy and loss of a classifier, in total and by class."""

    epoch_table = ACCURACY_COLUMNS
    charts: tuple[tuple[str, str, float], ...] = (
        ("validation loss", "validation_loss", 1.0),
        ("validation accuracy, %", "validation_accuracy", 100.0),
    )

    def describe_data(self, trainer: Trainer, data: ClassTable) -> str:
        """Return the numbers of rows and columns, and the classes, in words."""
        classes = join_names([shorten(name, 40) for name in data.classes], limit=6)
        target = shorten(data.encoder.target.name, 60)
        return _describe(trainer, data, f"classification of {target}: {len(data.classes):,} classes, {classes}")

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return a line with the accuracy on the test rows."""
        return [f"test accuracy  {result['test_accuracy']:.2%}  (loss {result['test_loss']:.4f})"]

    def document(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the accuracy and loss on the test rows, for the JSON document of `train`."""
        return {"test_accuracy": result["test_accuracy"], "test_loss": json_number(result["test_loss"])}

    def evaluate(self, run: Run, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
        """Print accuracy and loss on the test rows, in total and by class, and draw the confusion matrix."""
        if mistakes is not None:
            raise click.UsageError(f"--mistakes is for images, but {run.folder} is a run on a table")
        data: ClassTable = self._load_test(run)
        result = evaluate_rows(run.load_network(), run.model, data.test.inputs, data.test.targets)
        if result.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(result.nan_count, len(result.labels), 'rows')}")
        if confusion is not None:
            from chainrule.plots import evaluation, style  # loads matplotlib

            style.save(evaluation.confusion_matrix(result.confusion, data.classes), confusion)
        if as_json:
            print_json({"run": str(run.folder), **class_document(result, data.classes, "rows")})
            return
        print_lines(f"{run.folder}: {run.model.name} on the {len(result.labels):,} test rows of {data.name}")
        print_classes(result, data.classes, "rows")
        if confusion is not None:
            print_lines(f"figure: {confusion}")


class NumberReport(TableReport):
    """Root mean squared error (RMSE) and R² of a regression."""

    epoch_table = REGRESSION_COLUMNS
    charts: tuple[tuple[str, str, float], ...] = (
        ("validation loss", "validation_loss", 1.0),
        ("validation RMSE", "validation_rmse", 1.0),
    )

    def describe_data(self, trainer: Trainer, data: NumberTable) -> str:
        """Return the numbers of rows and columns, and the target, in words."""
        return _describe(trainer, data, f"regression of {shorten(data.encoder.target.name, 60)}")

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return lines with RMSE and R² on the test rows."""
        return [f"test RMSE      {result['test_rmse']:.4g}", f"test R²        {result['test_r2']:.4f}"]

    def document(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return RMSE, R² and loss on the test rows, for the JSON document of `train`."""
        return {name: json_number(result[name]) for name in ("test_rmse", "test_r2", "test_loss")}

    def evaluate(self, run: Run, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
        """Print RMSE and R² on the test rows, and the RMSE of always predicting the mean of the training rows."""
        if confusion is not None or mistakes is not None:
            raise click.UsageError(f"--confusion and --mistakes are for classes, but {run.folder} predicts numbers")
        data: NumberTable = self._load_test(run)
        column: Any = data.encoder.target
        result = evaluate_regression(run.load_network(), run.model, data.test.inputs, data.test.targets, column)
        if result.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(result.nan_count, len(result.targets), 'rows')}")
        rmse_of_mean = float(np.sqrt(np.mean((result.targets - column.mean) ** 2)))
        if as_json:
            print_json(
                {
                    "run": str(run.folder),
                    "rmse": result.rmse,
                    "r2": result.r2,
                    "loss": json_number(result.loss),
                    "rmse_of_mean": rmse_of_mean,
                    "rows": len(result.targets),
                }
            )
            return
        print_lines(f"{run.folder}: {run.model.name} on the {len(result.targets):,} test rows of {data.name}")
        print_lines(
            f"test RMSE  {result.rmse:.4g}  ({rmse_of_mean:.4g} for always predicting the mean of the training rows)",
            f"test R²    {result.r2:.4f}",
        )
