"""The columns of a table as inputs of a network: numbers are scaled, categories become one input each.

A column is fitted to the training rows alone, and can then encode any rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from chainrule.data.tables.values import (
    MISSING,
    category,
    check_decimal_points,
    check_finite,
    no_number_error,
    numbers,
    thousands_note,
)
from chainrule.errors import DataError, join_names, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from chainrule.data.tables.csv_file import Table

    Encoded = tuple[NDArray[np.float32], list[str]]


class Column(Protocol):
    """A column as inputs of a network."""

    @property
    def name(self) -> str:
        """The name of the column in the table."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The name of each input that the column becomes."""

    @property
    def scaling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean subtracted from each input and the scale it is divided by, (inputs,) each."""

    def encode(self, table: Table) -> Encoded:
        """Return the inputs of all rows, (N, inputs), and remarks for the user, one phrase each."""

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config, from which `from_config` builds the column again."""


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, scaled to mean 0 and standard deviation 1; a missing number becomes the median.

    Attributes:
        name: the column.
        median: the median of the training rows.
        mean: the mean of the training rows, with missing values filled in.
        std: the standard deviation of these; 1 if all are equal.
        has_missing: whether a training row lacks the value; if so, a second input is 1 in rows without it.
    """

    name: str
    median: float
    mean: float
    std: float
    has_missing: bool
    kind: ClassVar[str] = "number"

    @staticmethod
    def fit(table: Table, name: str, rows: NDArray[np.int64]) -> NumberColumn:
        """Return the column, fitted to the training rows.

        Raises:
            DataError: no training row has a value.
        """
        values = _numbers(table, name)[rows]
        missing = np.isnan(values)
        if missing.all():
            raise DataError(
                f"{table.name}: {shorten(name)} is missing in all {len(rows):,} training rows; leave it out with "
                f"--drop {shorten(name)}"
            )
        median = float(np.median(values[~missing]))
        filled = np.where(missing, median, values)
        std = float(filled.std())
        is_constant = filled.min() == filled.max() or std == 0  # rounding may leave a tiny deviation
        return NumberColumn(name, median, float(filled.mean()), 1.0 if is_constant else std, bool(missing.any()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The column's name and, with missing values, the name of a second input."""
        return (self.name, f"{self.name} is missing") if self.has_missing else (self.name,)

    @property
    def scaling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation; 0 and 1 for the input of missing values."""
        if self.has_missing:
            return np.array([self.mean, 0.0]), np.array([self.std, 1.0])
        return np.array([self.mean]), np.array([self.std])

    def encode(self, table: Table) -> Encoded:
        """Return the inputs of all rows.

        Raises:
            DataError: a field is not a number.
        """
        values = _numbers(table, self.name)
        missing = np.isnan(values)
        scaled = (np.where(missing, self.median, values) - self.mean) / self.std
        inputs = np.stack([scaled, missing], 1) if self.has_missing else scaled[:, None]
        notes = thousands_note(table, self.name, table.column(self.name))
        if missing.any() and not self.has_missing:
            notes.append(
                f"{shorten(self.name)} is missing in {_count(int(missing.sum()), 'row')}, as in no training row: the "
                f"median, {self.median:g}, is used"
            )
        return inputs.astype(np.float32), notes

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config."""
        return {
            "name": self.name,
            "kind": self.kind,
            "median": self.median,
            "mean": self.mean,
            "std": self.std,
            "has_missing": self.has_missing,
        }

    @staticmethod
    def from_config(entry: Mapping[str, Any]) -> NumberColumn:
        """Build the column from the entries of a config.

        Raises:
            DataError: an entry is missing or invalid.
        """
        median, mean, std = (entry_of(entry, name, float) for name in ("median", "mean", "std"))
        if std <= 0:
            raise DataError(f"std must be above 0, not {std}")
        return NumberColumn(entry_of(entry, "name", str), median, mean, std, entry_of(entry, "has_missing", bool))


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories, such as texts: one input for each category, 1 in its rows and 0 in others ("one-hot").

    Attributes:
        name: the column.
        categories: the categories of the training rows, sorted. Any other category is 0 in all inputs.
        has_missing: whether a training row lacks the value; if so, a missing value is a category of its own.
    """

    name: str
    categories: tuple[str, ...]
    has_missing: bool
    kind: ClassVar[str] = "category"

    @staticmethod
    def fit(table: Table, name: str, rows: NDArray[np.int64]) -> CategoryColumn:
        """Return the column, fitted to the training rows."""
        fields = table.column(name)
        texts = {fields[row] for row in rows.tolist()}
        return CategoryColumn(name, tuple(sorted({category(text) for text in texts - MISSING})), bool(texts & MISSING))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The name of an input for each category and, with missing values, of one for these."""
        inputs = [f"{self.name} = {name}" for name in self.categories]
        if self.has_missing:
            inputs.append(f"{self.name} is missing")
        return tuple(inputs)

    @property
    def scaling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """0 and 1: nothing is scaled."""
        return np.zeros(len(self.inputs)), np.ones(len(self.inputs))

    def encode(self, table: Table) -> Encoded:
        """Return the inputs of all rows."""
        texts = table.column(self.name)
        input_indices = {name: index for index, name in enumerate(self.categories)}
        if self.has_missing:
            input_indices.update(dict.fromkeys(MISSING, len(self.categories)))
        indices = np.fromiter((input_indices.get(category(text), -1) for text in texts), np.int64, len(texts))
        inputs = np.zeros((len(texts), len(self.inputs)), np.float32)
        rows = np.flatnonzero(indices >= 0)
        inputs[rows, indices[rows]] = 1
        unknown = np.flatnonzero(indices < 0).tolist()
        notes = []
        if unknown:
            others = sorted({texts[row] for row in unknown})
            names = join_names([repr(shorten(other, 40)) for other in others], limit=3)
            values = "values that no training row has" if len(others) > 1 else "a value that no training row has"
            verb = "have" if len(unknown) > 1 else "has"
            notes.append(f"{_count(len(unknown), 'row')} {verb} {values} in {shorten(self.name)}: {names}")
        return inputs, notes

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config."""
        categories = list(self.categories)
        return {"name": self.name, "kind": self.kind, "categories": categories, "has_missing": self.has_missing}

    @staticmethod
    def from_config(entry: Mapping[str, Any]) -> CategoryColumn:
        """Build the column from the entries of a config.

        Raises:
            DataError: an entry is missing or invalid.
        """
        categories, has_missing = texts_of(entry, "categories"), entry_of(entry, "has_missing", bool)
        if not categories and not has_missing:
            raise DataError("categories must not be empty")
        return CategoryColumn(entry_of(entry, "name", str), categories, has_missing)


KINDS: dict[str, type[NumberColumn | CategoryColumn]] = {c.kind: c for c in (NumberColumn, CategoryColumn)}
"""The kinds of columns by their names in a config."""


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return the numbers of a column, NaN for missing ones.

    Raises:
        DataError: a field is not a number, or is infinite or too large.
    """
    texts = table.column(name)
    values, text_rows = numbers(table, texts)
    if text_rows:
        raise no_number_error(table, name, texts, text_rows[0], "and this is a column of numbers")
    check_finite(table, name, texts, values)
    check_decimal_points(table, name, texts)
    return values


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def entry_of(entry: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """Return an entry of a config after checking its type; a float must be finite.

    Raises:
        DataError: the entry is missing or of a different type.
    """
    value: Any = entry.get(name)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1 << 1000 else math.inf
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise DataError(f"{name} must be of type {kind.__name__}, not {shorten(repr(value), 60)}")
    return value


def texts_of(entry: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return an entry of a config that is a list of different texts.

    Raises:
        DataError: the entry is missing or not such a list.
    """
    texts: Sequence[Any] = entry_of(entry, name, list)
    if not all(isinstance(text, str) for text in texts) or len(set(texts)) != len(texts):
        raise DataError(f"{name} must be a list of different texts, not {shorten(repr(texts), 60)}")
    return tuple(texts)
