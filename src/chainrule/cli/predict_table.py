"""`chainrule predict` with a run on a table: print or write its rows with a prediction for each."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from chainrule.cli.arguments import check_output
from chainrule.cli.output import print_data, print_json, print_lines
from chainrule.data.tables import SUFFIXES, ClassTarget, read_csv
from chainrule.data.tables.csv_file import MAX_BYTES
from chainrule.data.tables.values import is_missing
from chainrule.errors import DataError, RunError, UserError, shorten
from chainrule.files import atomic_write
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import nan_message
from chainrule.training.regression import Regression, predict_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.data.tables import NumberTarget, Table
    from chainrule.training.run import Run
    from chainrule.training.table_task import TableTask

PREDICTION = "prediction"
"""The name of the added column with the predicted class or number."""

CONFIDENCE = "confidence"
"""The name of the added column with the probability of a predicted class."""


class Predictions(NamedTuple):
    """The predictions for the rows of a table, in the forms that are printed."""

    columns: list[list[str]]  # the fields of each added column
    entries: list[dict[str, Any]]  # the JSON entry of each row
    summary: str  # how good the predictions are, in a sentence; empty if no row has a target


def predict_table(run: Run, task: TableTask[Any], file: str, as_json: bool, out: str | None) -> None:
    """Print or write the rows of a table with a prediction for each.

    Args:
        run: a run on a table.
        task: the run's task.
        file: the table; "-" for standard input.
        as_json: print JSON instead.
        out: the file to write; None to print.

    Raises:
        DataError: the table cannot be read, lacks a column that the run needs, has a field that does not fit its
            column, or already has a column with the name of an added one.
        RunError: the weights do not fit the model, or the network's outputs are not finite.
        UserError: `out` has an unsupported file extension, its folder does not exist, or it is the table itself.
    """
    check_output(out, "table", SUFFIXES)
    if out is not None and file != "-" and os.path.realpath(out) == os.path.realpath(file):
        raise UserError(f"{out}: this is the table itself; choose another output file")
    encoding = run.config["data"]["encoding"]
    table = read_csv("standard input", encoding, content=_standard_input()) if file == "-" else read_csv(file, encoding)
    encoder, network = task.encoder(run), run.load_network()
    added_names = [PREDICTION, CONFIDENCE] if isinstance(encoder.target, ClassTarget) else [PREDICTION]
    for name in added_names:
        if name in table.columns and not as_json:
            raise DataError(f"{table.name} already has a column {name!r}, which predict adds; rename or remove it")
    inputs, notes = encoder.encode(table)
    outputs = predict_rows(network, inputs)
    is_finite = np.isfinite(outputs).all(axis=1)
    if not is_finite.all():
        raise RunError(f"{run.weights_file}: {nan_message(int((~is_finite).sum()), len(outputs), 'rows')}")
    if isinstance(encoder.target, ClassTarget):
        predictions = _class_predictions(table, encoder.target, run.model.probabilities(from_numpy(outputs)).numpy())
    else:
        predictions = _number_predictions(table, encoder.target, outputs)
    added_columns = dict(zip(added_names, predictions.columns, strict=True))
    for note in notes:
        print_lines(f"chainrule: {note}", err=True)
    if as_json:
        rows = enumerate(zip(table.lines, predictions.entries, strict=True), start=1)
        print_json([{"row": number, "line": line, **entry} for number, (line, entry) in rows])
    elif out is None:
        print_data(_csv_text(table, added_columns, table.separator))
    else:
        with atomic_write(out) as stream:
            stream.write(_csv_text(table, added_columns, _separator(out, table)).encode())
        print_lines(f"wrote {out}: {len(table):,} row{'s' * (len(table) != 1)} with {' and '.join(added_names)}")
    if predictions.summary and not as_json:
        print_lines(predictions.summary, err=out is None)


def _class_predictions(table: Table, target: ClassTarget, probabilities: NDArray[Any]) -> Predictions:
    """Return the most probable class of each row, with its probability, from probabilities (rows, classes)."""
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # each row's sum is 1 in float64, too
    class_indices = probabilities.argmax(axis=1)
    names = [target.classes[index] for index in class_indices.tolist()]
    highest_probabilities = probabilities.max(axis=1).tolist()
    entries = [
        {PREDICTION: name, CONFIDENCE: confidence, "confidences": dict(zip(target.classes, row, strict=True))}
        for name, confidence, row in zip(names, highest_probabilities, probabilities.tolist(), strict=True)
    ]
    summary = ""
    labeled_rows = _labeled_rows(table, target)
    if len(labeled_rows):
        correct_count = int((target.encode(table) == class_indices)[labeled_rows].sum())
        summary = (
            f"{correct_count:,} of the {len(labeled_rows):,} rows with a {shorten(target.name, 60)} are predicted "
            f"correctly ({correct_count / len(labeled_rows):.2%})"
        )
    columns = [names, [_format_number(confidence, ".4f", table) for confidence in highest_probabilities]]
    return Predictions(columns, entries, summary)


def _number_predictions(table: Table, target: NumberTarget, outputs: NDArray[Any]) -> Predictions:
    """Return the number predicted for each row, in the units of the target column."""
    values = target.decode(outputs)
    summary = ""
    labeled_rows = _labeled_rows(table, target)
    if len(labeled_rows):
        result = Regression(0.0, values[labeled_rows], target.values(table)[labeled_rows])  # its loss is not needed
        name = shorten(target.name, 60)
        summary = f"RMSE {result.rmse:.4g}, R² {result.r2:.4f} on the {len(labeled_rows):,} rows with a {name}"
    numbers = values.tolist()
    # Seven digits of the deviation from the mean, as float32 has, and those that the mean has before them
    digits = 7 + math.ceil(math.log10(min(max(abs(target.mean) / target.std, 1.0), 1e10)))
    columns = [[_format_number(number, f".{digits}g", table) for number in numbers]]
    return Predictions(columns, [{PREDICTION: number} for number in numbers], summary)


def _labeled_rows(table: Table, target: ClassTarget | NumberTarget) -> NDArray[np.int64]:
    """Return the indices of the rows in which the target column has a value."""
    if target.name not in table.columns:
        return np.zeros(0, np.int64)
    return np.flatnonzero(~is_missing(table.column(target.name)))


def _format_number(value: float, style: str, table: Table) -> str:
    """Format a number with the decimal separator of a table."""
    return format(value, style).replace(".", table.decimal)


def _separator(file: str, table: Table) -> str:
    """Return the separator of an output file: a tab for .tsv files; for others the table's, unless it is a tab."""
    if Path(file).suffix.lower() == ".tsv":
        return "\t"
    return "," if table.separator == "\t" else table.separator


def _csv_text(table: Table, added_columns: dict[str, list[str]], separator: str) -> str:
    """Return the text of a CSV file with a table's columns and the added ones."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    columns = {**({} if table.unnamed is None else {"": table.unnamed}), **table.columns, **added_columns}
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("standard input: there is no table; pipe one in, as in chainrule predict - < table.csv")
    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"standard input is larger than {MAX_BYTES // 1_000_000} MB, the limit for a table")
    return content


def check_arguments(files: Sequence[str], run: Run, explain: str | None, has_picture_options: bool) -> str:
    """Check the arguments of `predict` for a run on a table, and return the table's file.

    Args:
        files: the positional arguments.
        run: the run.
        explain: the value of `--explain`.
        has_picture_options: whether one of `--sample`, `--clipboard` and `--page` is given.

    Raises:
        UsageError: there is not exactly one file, or an option for pictures is given.
    """
    if explain is not None:
        raise click.UsageError(f"--explain shows how a digit is prepared, but {run.folder} is a run on a table")
    if has_picture_options:
        raise click.UsageError(
            f"--sample, --clipboard and --page are for pictures, but {run.folder} is a run on a table"
        )
    if len(files) != 1:
        raise click.UsageError(f"{run.folder} is a run on a table: name one CSV file, or - for standard input")
    return files[0]
