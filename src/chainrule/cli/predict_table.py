"""`chainrule predict` with a run on a table: a prediction for each row."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

PREDICTION, CONFIDENCE = "prediction", "confidence"
"""The columns that are added."""


def predict_table(run: Run, task: TableTask[Any], file: str, as_json: bool, out: str | None) -> None:
    """Print or write the rows of a table with a prediction for each.

    Args:
        run: a run on a table.
        task: its task.
        file: the table; "-" for standard input.
        as_json: print JSON instead.
        out: the file to write; None prints.

    Raises:
        DataError: the table cannot be read, lacks a column of the run, or a field does not fit.
        RunError: the weights do not fit, or the network's outputs are not finite.
    """
    check_output(out, "table", SUFFIXES)
    if out is not None and file != "-" and os.path.realpath(out) == os.path.realpath(file):
        raise UserError(f"{out}: this is the table itself; choose another output file")
    encoding = run.config["data"]["encoding"]
    table = read_csv("standard input", encoding, content=_standard_input()) if file == "-" else read_csv(file, encoding)
    encoder, network = task.encoder(run), run.load_network()
    added = [PREDICTION, *[CONFIDENCE] * isinstance(encoder.target, ClassTarget)]
    for name in added:
        if name in table.columns and not as_json:
            raise DataError(f"{table.name} has a column {name!r} already, which would be added; rename or remove it")
    inputs, notes = encoder.encode(table)
    outputs = predict_rows(network, inputs)
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        raise RunError(f"{run.weights_file}: {nan_message(int((~finite).sum()), len(finite), 'rows')}")
    if isinstance(encoder.target, ClassTarget):
        probabilities = run.model.probabilities(from_numpy(outputs)).numpy()
        columns, entries, score = _classes(table, encoder.target, probabilities)
    else:
        columns, entries, score = _numbers(table, encoder.target, outputs)
    for note in notes:
        print_lines(f"chainrule: {note}", err=True)
    if as_json:
        lines = zip(table.lines, entries, strict=True)
        print_json([{"row": row, "line": line, **entry} for row, (line, entry) in enumerate(lines, 1)])
    elif out is None:
        print_data(_text(table, dict(zip(added, columns, strict=True)), table.separator))
    else:
        separator = "\t" if Path(out).suffix.lower() == ".tsv" else "," if table.separator == "\t" else table.separator
        with atomic_write(out) as stream:
            stream.write(_text(table, dict(zip(added, columns, strict=True)), separator).encode())
        print_lines(f"wrote {out}: {len(table):,} row{'s' * (len(table) != 1)} with {' and '.join(added)}")
    if score and not as_json:
        print_lines(score, err=out is None)


Predictions = tuple[list[list[str]], list[dict[str, Any]], str]
"""The columns to add, the entries of the JSON document, and a sentence on how many are right."""


def _classes(table: Table, target: ClassTarget, probabilities: NDArray[Any]) -> Predictions:
    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    best = rows.argmax(axis=1)
    names = [target.classes[index] for index in best.tolist()]
    confidence = rows.max(axis=1).tolist()
    entries = [
        {PREDICTION: name, CONFIDENCE: value, "confidences": dict(zip(target.classes, row, strict=True))}
        for name, value, row in zip(names, confidence, rows.tolist(), strict=True)
    ]
    score = ""
    labeled = _labeled_rows(table, target)
    if len(labeled):
        right = int((target.encode(table) == best)[labeled].sum())
        score = (
            f"{right:,} of the {len(labeled):,} rows with a {shorten(target.name, 60)} are predicted correctly "
            f"({right / len(labeled):.2%})"
        )
    return [names, [_number(value, ".4f", table) for value in confidence]], entries, score


def _numbers(table: Table, target: NumberTarget, outputs: NDArray[Any]) -> Predictions:
    values = target.decode(outputs)
    score = ""
    labeled = _labeled_rows(table, target)
    if len(labeled):
        result = Regression(0.0, values[labeled], target.values(table)[labeled])
        name = shorten(target.name, 60)
        score = f"RMSE {result.rmse:.4g}, R² {result.r2:.4f} on the {len(labeled):,} rows with a {name}"
    numbers = values.tolist()
    return [[_number(value, ".7g", table) for value in numbers]], [{PREDICTION: value} for value in numbers], score


def _labeled_rows(table: Table, target: ClassTarget | NumberTarget) -> NDArray[np.int64]:
    """Return the rows whose target is in the table."""
    if target.name not in table.columns:
        return np.zeros(0, np.int64)
    return np.flatnonzero(~is_missing(table.column(target.name)))


def _number(value: float, style: str, table: Table) -> str:
    return format(value, style).replace(".", table.decimal)


def _text(table: Table, added: dict[str, list[str]], separator: str) -> str:
    """Return a table with columns added as a CSV file."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    columns = {**({} if table.unnamed is None else {"": table.unnamed}), **table.columns, **added}
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


def check_arguments(files: Sequence[str], run: Run, explain: str | None, others: bool) -> str:
    """Return the table among the arguments of `predict`.

    Args:
        files: the positional arguments.
        run: the run.
        explain: the file of `--explain`.
        others: whether an option for pictures is given.

    Raises:
        UsageError: it is not one file, or an option is for pictures.
    """
    if explain is not None:
        raise click.UsageError(f"--explain shows how a digit is prepared, and {run.folder} is a run on a table")
    if others:
        raise click.UsageError(
            f"--sample, --clipboard and --page are for pictures, and {run.folder} is a run on a table"
        )
    if len(files) != 1:
        raise click.UsageError(f"{run.folder} is a run on a table: name one CSV file, or - for standard input")
    return files[0]
