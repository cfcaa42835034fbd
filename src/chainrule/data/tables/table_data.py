"""TableData: a table, split into training, validation and test rows, as inputs and targets of a network."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from chainrule.data.splitting import split
from chainrule.data.tables import targets as target_kinds
from chainrule.data.tables.columns import KINDS, Column, entry_of
from chainrule.data.tables.csv_file import Table, read_csv
from chainrule.data.tables.inference import infer_columns
from chainrule.data.tables.targets import TARGETS, ClassTarget, NumberTarget
from chainrule.data.tables.values import is_missing, thousands_note
from chainrule.errors import DataError, join_names, shorten

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MIN_ROWS = 10
"""Rows of the smallest table of numbers: 7 for training, 1 for validation, 2 for the test."""


@dataclass(frozen=True)
class TableEncoder:
    """Encodes the rows of a table as inputs and targets; fitted to training rows, and stored in the config of a run.

    Attributes:
        columns: the columns that are inputs.
        target: the column to predict.
    """

    columns: tuple[Column, ...]
    target: ClassTarget | NumberTarget

    @property
    def input_names(self) -> tuple[str, ...]:
        """The name of each input of the network."""
        return tuple(name for column in self.columns for name in column.inputs)

    @property
    def scaling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean subtracted from each input and the scale it is divided by, (inputs,) each."""
        means, scales = zip(*(column.scaling for column in self.columns), strict=True)
        return np.concatenate(means), np.concatenate(scales)

    def encode(self, table: Table) -> tuple[NDArray[np.float32], list[str]]:
        """Return the inputs of all rows, (N, inputs), and remarks for the user, one phrase each.

        Raises:
            DataError: the table lacks a column, or a field is not a number.
        """
        encoded = [column.encode(table) for column in self.columns]
        return np.concatenate([inputs for inputs, _ in encoded], 1), [note for _, notes in encoded for note in notes]

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config: "columns" and "target"."""
        return {"columns": [column.describe() for column in self.columns], "target": self.target.describe()}

    @staticmethod
    def from_config(entries: Mapping[str, Any]) -> TableEncoder:
        """Build the encoder from the entries of a config.

        Raises:
            DataError: an entry is missing or invalid.
        """
        columns: list[Column] = []
        for position, entry in enumerate(entry_of(entries, "columns", list)):
            columns.append(_from_entry(entry, KINDS, f"columns[{position}]"))
        if not columns:
            raise DataError("columns must not be empty")
        return TableEncoder(tuple(columns), _from_entry(entries.get("target"), TARGETS, "target"))


def _from_entry(entry: Any, kinds: Mapping[str, Any], name: str) -> Any:
    if not isinstance(entry, dict) or entry.get("kind") not in kinds:
        raise DataError(f"{name}.kind must be {' or '.join(kinds)}")
    try:
        return kinds[entry["kind"]].from_config(entry)
    except DataError as error:
        raise DataError(f"{name}.{error}") from None


class TablePart(NamedTuple):
    """Some rows of a table: inputs, float32 (N, inputs); targets (see `Target.encode`); each row's line in the file."""

    inputs: NDArray[np.float32]
    targets: NDArray[Any]
    lines: NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class TableData:
    """A table, split into training, validation and test rows.

    Attributes:
        name: the file.
        encoder: encodes rows as inputs and targets; fitted to the training rows only, unless it was given.
        train: the training rows.
        validation: the rows for choosing the best epoch.
        test: the rows for the evaluation.
        notes: remarks about the data for the user, one phrase each.
        encoding: the argument `encoding` of `load_table`.
        seed: of the split.
    """

    name: str
    encoder: TableEncoder
    train: TablePart
    validation: TablePart
    test: TablePart
    notes: tuple[str, ...]
    encoding: str | None
    seed: int

    def __repr__(self) -> str:
        sizes = " + ".join(f"{len(part.inputs):,}" for part in (self.train, self.validation, self.test))
        target = self.encoder.target
        inputs = f"{self.train.inputs.shape[1]:,} inputs"
        return f"{type(self).__name__}({self.name}: {sizes} rows, {inputs}, {target.kind} of {target.name})"

    @cached_property
    def train_crc32(self) -> int:
        """The checksum of the training and validation rows, encoded."""
        return _crc32(*self.train[:2], *self.validation[:2])

    @cached_property
    def test_crc32(self) -> int:
        """The checksum of the test rows, encoded."""
        return _crc32(*self.test[:2])


class ClassTable(TableData):
    """A table whose target is classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return cast("ClassTarget", self.encoder.target).classes


class NumberTable(TableData):
    """A table whose target is numbers."""


_TABLES: dict[type[Any], type[TableData]] = {ClassTarget: ClassTable, NumberTarget: NumberTable}


def load_table(
    file: str | os.PathLike[str],
    target: str,
    *,
    task: str | None = None,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    encoding: str | None = None,
    seed: int = 0,
    encoder: TableEncoder | None = None,
) -> TableData:
    """Load a CSV file and split it: a sixth of the rows for the test, a sixth of the others for validation.

    The first line names the columns. The separator (comma, semicolon, tab or vertical bar), decimal commas and
    quotation marks are recognized. Columns of numbers are scaled, and other columns become an input for each of their
    categories; scales and categories come from the training rows only. Missing fields are allowed in every column; rows
    without a target are left out. Classes have the same fractions in each part. Copies of a row are on one side of the
    split, unless more than half of the rows are copies.

    Args:
        file: the file.
        target: the column to predict.
        task: "classification" or "regression"; None decides by the target: text and few different integers are classes.
        drop: columns to leave out.
        categorical: columns of numbers to take as categories.
        encoding: of the file; UTF-8 if None.
        seed: of the split.
        encoder: use its columns instead of fitting new ones, and its target if that has all classes of the table;
            `drop` and `categorical` then only have to name columns.

    Raises:
        DataError: the file cannot be read, lacks the target or is too small, or a column cannot be an input; the
            message names the column, and where possible the line.

    Example:
        table = chainrule.data.load_table("iris.csv", "species")
        inputs, targets, lines = table.train
    """
    if task is not None and task not in TARGETS:
        raise DataError(f"the task of a table must be {' or '.join(TARGETS)}, not {shorten(repr(task))}")
    table = read_csv(file, encoding)
    notes: list[str] = []
    table = _with_target(table, target, notes)
    _check_names(table, target, drop, categorical)
    if len(table) < MIN_ROWS:
        raise DataError(f"{table.name} has {len(table)} rows with a {shorten(target)}: at least {MIN_ROWS} are needed")
    kind = _target_kind(table, target, task, encoder)
    if encoder is None:
        names = [name for name in table.columns if name not in (target, *drop)]
        kinds = infer_columns(table, names, categorical, notes)
        names = [*kinds]
    else:
        names = [column.name for column in encoder.columns]
    if target in names:
        raise DataError(f"{table.name}: {shorten(target)} is an input of the encoder and cannot be predicted with it")
    groups = kind.fit(table, target, np.arange(len(table))).groups(table)
    train, validation, test = _split(table, [*names, target], groups, seed, notes)
    if encoder is None:
        columns = tuple(column.fit(table, name, train) for name, column in kinds.items())
        encoder = TableEncoder(columns, kind.fit(table, target, train))
    elif encoder.target.name != target or not (isinstance(encoder.target, kind) and encoder.target.accepts(table)):
        encoder = TableEncoder(encoder.columns, kind.fit(table, target, train))
    inputs, encoded_notes = encoder.encode(table)
    if kind is NumberTarget:
        notes += thousands_note(table, target, table.column(target))
    targets, lines = encoder.target.encode(table), np.array(table.lines)
    return _TABLES[kind](
        table.name,
        encoder,
        train=TablePart(inputs[train], targets[train], lines[train]),
        validation=TablePart(inputs[validation], targets[validation], lines[validation]),
        test=TablePart(inputs[test], targets[test], lines[test]),
        notes=(*notes, *encoded_notes),
        encoding=encoding,
        seed=seed,
    )


def _target_kind(
    table: Table, target: str, task: str | None, encoder: TableEncoder | None
) -> type[ClassTarget | NumberTarget]:
    """Return the kind of the target: the task's, else that of the encoder's target, else by the column's values."""
    if task is not None:
        return TARGETS[task]
    if encoder is not None and encoder.target.name == target:
        return type(encoder.target)
    return target_kinds.infer(table, target)


def _with_target(table: Table, target: str, notes: list[str]) -> Table:
    """Return the table without the rows that lack the target; remarks are appended to the notes."""
    texts = table.column(target)
    missing = is_missing(texts)
    if table.unnamed is not None:
        notes.append("the row numbers in the first column are left out")
    if not missing.any():
        return table
    fields = sorted({repr(texts[row]) for row in np.flatnonzero(missing).tolist()})
    count = int(missing.sum())
    notes.append(
        f"{count:,} row{'s' * (count != 1)} without a {shorten(target)} ({join_names(fields)}) "
        f"{'are' if count != 1 else 'is'} left out"
    )
    keep = np.flatnonzero(~missing).tolist()
    columns = {name: [texts[row] for row in keep] for name, texts in table.columns.items()}
    return Table(table.name, columns, [table.lines[row] for row in keep], table.separator)


def _check_names(table: Table, target: str, drop: Sequence[str], categorical: Sequence[str]) -> None:
    """Check that the columns of both options exist, are not the target, and are not in both."""
    for option, names in (("--drop", drop), ("--categorical", categorical)):
        for name in names:
            table.column(name)  # raises an error if there is no such column
            if name == target:
                raise DataError(f"{shorten(name)} is the column to predict: leave out {option} {shorten(name)}")
    both = [name for name in drop if name in categorical]
    if both:
        raise DataError(f"{shorten(both[0])} cannot be left out and be taken as categories at once")


def _split(
    table: Table, names: Sequence[str], groups: NDArray[np.int64], seed: int, notes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the training, validation and test rows; a remark on copies is appended to the notes.

    Raises:
        DataError: a part would be empty.
    """
    contents: Sequence[Any] = list(zip(*(table.column(name) for name in names), strict=True))
    copies = len(contents) - len(set(contents))
    if copies:
        treatment = "on one side of the split"
        if 2 * copies > len(contents):  # a few columns with few values each: equal rows need not be copies
            contents = range(len(contents))
            treatment = "so many that each counts as an example of its own"
        notes.append(f"{copies:,} row{'s are copies' if copies > 1 else ' is a copy'} of others, {treatment}")
    rest, test, _ = split(contents, groups.tolist(), seed)
    train, validation, _ = split([contents[row] for row in rest], groups[rest].tolist(), seed)
    parts = rest[train], rest[validation], test
    for part, rows in zip(("train on", "validate with", "test with"), parts, strict=True):
        if not len(rows):
            raise DataError(
                f"{table.name} has no row left to {part}: each class needs at least 4 different rows, and the "
                f"{len(np.unique(groups))} classes have {len(set(contents)):,} rows in all"
            )
    return parts


def _crc32(*arrays: NDArray[Any]) -> int:
    """Return the CRC-32 of the bytes of arrays, one after the other."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum
