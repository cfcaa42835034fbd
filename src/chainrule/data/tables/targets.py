"""The column of a table to predict: classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from chainrule.data.tables.columns import entry_of, texts_of
from chainrule.data.tables.values import category, check_decimal_points, check_finite, no_number_error, numbers
from chainrule.errors import DataError, join_names, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.data.tables.csv_file import Table

MAX_CLASSES = 1_000
"""Limit on the classes of a target."""
MAX_INTEGER_CLASSES = 20
"""Integers count as classes if there are at most this many different ones, in two rows or more each on average."""


class Target(Protocol):
    """The column to predict, and its encoding."""

    @property
    def name(self) -> str:
        """The name of the column."""

    def accepts(self, table: Table) -> bool:
        """Return whether all values of a table can be encoded."""

    def encode(self, table: Table) -> NDArray[Any]:
        """Return the targets of all rows, for training a network."""

    def groups(self, table: Table) -> NDArray[np.int64]:
        """Return the group of each row, (N,); a split takes the same fraction of each group."""

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config, from which `from_config` builds the target again."""


@dataclass(frozen=True)
class ClassTarget:
    """Classes: the different values of the column, sorted, numbers by size.

    Attributes:
        name: the column.
        classes: the name of each class; targets are indices into it.
    """

    name: str
    classes: tuple[str, ...]
    kind: ClassVar[str] = "classification"

    @staticmethod
    def fit(table: Table, name: str, rows: NDArray[np.int64]) -> ClassTarget:
        """Return the target whose classes are the values in all rows of a table; `rows` is not used.

        Raises:
            DataError: there are fewer than two classes, or too many.
        """
        texts = [category(text) for text in table.column(name)]
        classes = sorted(set(texts))
        if len(classes) < 2:
            raise DataError(f"{table.name}: {shorten(name)} is {shorten(classes[0], 40)!r} in all rows, so there is "
                            f"nothing to predict")  # fmt: skip
        if len(classes) > MAX_CLASSES or len(classes) == len(texts):
            raise DataError(
                f"{table.name}: {shorten(name)} has {len(classes):,} different values in {len(texts):,} rows, too many "
                f"for classes, such as {join_names([repr(shorten(text, 40)) for text in classes], limit=2)}"
            )
        values, text_rows = numbers(table, classes)
        if not text_rows:
            classes = [classes[i] for i in np.argsort(values, kind="stable")]
        return ClassTarget(name, tuple(classes))

    def accepts(self, table: Table) -> bool:
        """Return whether all values of a table are among the classes."""
        return {category(text) for text in table.column(self.name)} <= set(self.classes)

    def encode(self, table: Table) -> NDArray[np.int64]:
        """Return the class index of each row, (N,); -1 for a value that is not one of `classes`."""
        class_indices = {name: index for index, name in enumerate(self.classes)}
        texts = table.column(self.name)
        return np.fromiter((class_indices.get(category(text), -1) for text in texts), np.int64, len(texts))

    def groups(self, table: Table) -> NDArray[np.int64]:
        """Return the class index of each row, (N,)."""
        return self.encode(table)

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config."""
        return {"name": self.name, "kind": self.kind, "classes": list(self.classes)}

    @staticmethod
    def from_config(entry: Mapping[str, Any]) -> ClassTarget:
        """Build the target from the entries of a config.

        Raises:
            DataError: an entry is missing or invalid.
        """
        classes = texts_of(entry, "classes")
        if not 2 <= len(classes) <= MAX_CLASSES:
            raise DataError(f"classes must be 2 to {MAX_CLASSES:,}, not {len(classes):,}")
        return ClassTarget(entry_of(entry, "name", str), classes)


@dataclass(frozen=True)
class NumberTarget:
    """Numbers, scaled to mean 0 and standard deviation 1 of the training rows.

    Attributes:
        name: the column.
        mean: the mean of the training rows.
        std: their standard deviation; 1 if they are all equal.
    """

    name: str
    mean: float
    std: float
    kind: ClassVar[str] = "regression"

    @staticmethod
    def fit(table: Table, name: str, rows: NDArray[np.int64]) -> NumberTarget:
        """Return the target, fitted to the training rows.

        Raises:
            DataError: a value is not a number, or all are equal.
        """
        values = _target_numbers(table, name)
        if values.min() == values.max():
            raise DataError(
                f"{table.name}: {shorten(name)} is {values[0]:g} in all rows, so there is nothing to predict"
            )
        training = values[rows]
        std = float(training.std())
        is_constant = training.min() == training.max() or std == 0  # rounding may leave a tiny deviation
        return NumberTarget(name, float(training.mean()), 1.0 if is_constant else std)

    def accepts(self, table: Table) -> bool:
        """Return True: the numbers of every table can be encoded."""
        return True

    def encode(self, table: Table) -> NDArray[np.float32]:
        """Return the scaled numbers, (N, 1).

        Raises:
            DataError: a value is not a number.
        """
        return ((_target_numbers(table, self.name)[:, None] - self.mean) / self.std).astype(np.float32)

    def decode(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Convert a network's outputs, (N, 1), to numbers in the units of the column, (N,)."""
        return outputs[:, 0].astype(np.float64) * self.std + self.mean

    def values(self, table: Table) -> NDArray[np.float64]:
        """Return the numbers of a table, (N,), in the units of the column.

        Raises:
            DataError: a value is not a number.
        """
        return _target_numbers(table, self.name)

    def groups(self, table: Table) -> NDArray[np.int64]:
        """Return the same group for all rows."""
        return np.zeros(len(table), np.int64)

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config."""
        return {"name": self.name, "kind": self.kind, "mean": self.mean, "std": self.std}

    @staticmethod
    def from_config(entry: Mapping[str, Any]) -> NumberTarget:
        """Build the target from the entries of a config.

        Raises:
            DataError: an entry is missing or invalid.
        """
        mean, std = entry_of(entry, "mean", float), entry_of(entry, "std", float)
        if std <= 0:
            raise DataError(f"std must be above 0, not {std}")
        return NumberTarget(entry_of(entry, "name", str), mean, std)


TARGETS: dict[str, type[ClassTarget | NumberTarget]] = {t.kind: t for t in (ClassTarget, NumberTarget)}
"""The kinds of targets by name."""


def infer(table: Table, name: str) -> type[ClassTarget | NumberTarget]:
    """Return the kind of target that a column is.

    Text is classes. Numbers are numbers, unless they are few different integers (see `MAX_INTEGER_CLASSES`).

    Raises:
        DataError: most values are numbers, and some are not.
    """
    texts = table.column(name)
    values, text_rows = numbers(table, texts)
    if text_rows:
        if 2 * len(text_rows) <= len(texts):
            raise no_number_error(table, name, texts, text_rows[0], "as most values of this column are")
        return ClassTarget
    distinct = np.unique(values)
    are_integers = bool((distinct == np.rint(distinct)).all())
    are_few = len(distinct) <= MAX_INTEGER_CLASSES and 2 * len(distinct) <= len(texts)
    return ClassTarget if are_integers and are_few else NumberTarget


def _target_numbers(table: Table, name: str) -> NDArray[np.float64]:
    texts = table.column(name)
    values, text_rows = numbers(table, texts)
    if text_rows:
        raise no_number_error(table, name, texts, text_rows[0], "and regression predicts numbers")
    check_finite(table, name, texts, values)
    check_decimal_points(table, name, texts)
    return values
