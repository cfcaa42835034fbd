"""The column of a table that is predicted: classes, or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from chainrule.data.tables.columns import entry_of, texts_of
from chainrule.data.tables.values import category, check_finite, no_number_error, numbers
from chainrule.errors import DataError, join_names, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.data.tables.csv_file import Table

MAX_CLASSES = 1_000
MAX_INTEGER_CLASSES = 20
"""Integers count as classes if there are at most this many different ones, each on average in two rows or more."""


class Target(Protocol):
    """What is predicted."""

    @property
    def name(self) -> str:
        """The column."""

    def accepts(self, table: Table) -> bool:
        """Return whether all values of a table can be encoded."""

    def encode(self, table: Table) -> NDArray[Any]:
        """Return the targets of all rows, with which a network is trained."""

    def groups(self, table: Table) -> NDArray[np.int64]:
        """Return a group of each row, (N,); every part of a split has its share of each."""

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
        """Return the target for the values of a table, in all of its rows.

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
        values, others = numbers(table, classes)
        if not others:
            classes = [classes[i] for i in np.argsort(values, kind="stable")]
        return ClassTarget(name, tuple(classes))

    def accepts(self, table: Table) -> bool:
        """Return whether a table has no other classes."""
        return {category(text) for text in table.column(self.name)} <= set(self.classes)

    def encode(self, table: Table) -> NDArray[np.int64]:
        """Return the class of each row, (N,); -1 for one that the training rows do not have."""
        index = {name: position for position, name in enumerate(self.classes)}
        texts = table.column(self.name)
        return np.fromiter((index.get(category(text), -1) for text in texts), np.int64, len(texts))

    def groups(self, table: Table) -> NDArray[np.int64]:
        """Return the classes: each part of a split has its share of every one."""
        return self.encode(table)

    def describe(self) -> dict[str, Any]:
        """Return the entries of a config."""
        return {"name": self.name, "kind": self.kind, "classes": list(self.classes)}

    @staticmethod
    def from_config(entry: Mapping[str, Any]) -> ClassTarget:
        """Build the target from the entries of a config.

        Raises:
            DataError: one is missing or has no possible value.
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
        mean: of the training rows.
        std: of the training rows.
    """

    name: str
    mean: float
    std: float
    kind: ClassVar[str] = "regression"

    @staticmethod
    def fit(table: Table, name: str, rows: NDArray[np.int64]) -> NumberTarget:
        """Return the target, fitted to the training rows.

        Raises:
            DataError: a value is no number, or all are equal.
        """
        values = _target_numbers(table, name)
        if values.min() == values.max():
            raise DataError(
                f"{table.name}: {shorten(name)} is {values[0]:g} in all rows, so there is nothing to predict"
            )
        training = values[rows]
        std = float(training.std())
        return NumberTarget(name, float(training.mean()), std if std > 0 else 1.0)

    def accepts(self, table: Table) -> bool:
        """Return that every table's numbers can be encoded."""
        return True

    def encode(self, table: Table) -> NDArray[np.float32]:
        """Return the scaled numbers, (N, 1).

        Raises:
            DataError: a value is no number.
        """
        return ((_target_numbers(table, self.name)[:, None] - self.mean) / self.std).astype(np.float32)

    def decode(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the numbers, (N,), in the units of the column, of a network's outputs, (N, 1)."""
        return outputs[:, 0].astype(np.float64) * self.std + self.mean

    def values(self, table: Table) -> NDArray[np.float64]:
        """Return the numbers of a table, (N,), in the units of the column.

        Raises:
            DataError: a value is no number.
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
            DataError: one is missing or has no possible value.
        """
        mean, std = entry_of(entry, "mean", float), entry_of(entry, "std", float)
        if std <= 0:
            raise DataError(f"std must be above 0, not {std}")
        return NumberTarget(entry_of(entry, "name", str), mean, std)


TARGETS: dict[str, type[ClassTarget | NumberTarget]] = {t.kind: t for t in (ClassTarget, NumberTarget)}
"""The kinds of targets by name."""


def infer(table: Table, name: str) -> type[ClassTarget | NumberTarget]:
    """Return whether a column holds classes or numbers.

    Text is classes. Numbers are numbers, unless they are few different integers (see `MAX_INTEGER_CLASSES`).

    Raises:
        DataError: most values are numbers, and some are not.
    """
    texts = table.column(name)
    values, others = numbers(table, texts)
    if others:
        if 2 * len(others) <= len(texts):
            raise no_number_error(table, name, texts, others[0], "as most values of this column are")
        return ClassTarget
    distinct = np.unique(values)
    are_integers = bool((distinct == np.rint(distinct)).all())
    few = len(distinct) <= MAX_INTEGER_CLASSES and 2 * len(distinct) <= len(texts)
    return ClassTarget if are_integers and few else NumberTarget


def _target_numbers(table: Table, name: str) -> NDArray[np.float64]:
    texts = table.column(name)
    values, others = numbers(table, texts)
    if others:
        raise no_number_error(table, name, texts, others[0], "and regression predicts numbers")
    check_finite(table, name, texts, values)
    return values
