"""Finds which columns of a table can be inputs, and whether each holds numbers or categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.data.tables.columns import CategoryColumn, NumberColumn
from chainrule.data.tables.values import DATE, MISSING, category, no_number_error, numbers
from chainrule.errors import DataError, join_names, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.data.tables.csv_file import Table

MAX_CATEGORIES = 100
"""Limit on the categories of a column: each becomes an input."""
MAX_LENGTH = 200
"""Limit on the characters of a category."""


def infer_columns(
    table: Table, names: Sequence[str], categorical: Sequence[str], notes: list[str]
) -> dict[str, type[NumberColumn | CategoryColumn]]:
    """Return the kind of each column, without the columns that have the same value in all rows.

    Args:
        table: the table.
        names: the columns to look at.
        categorical: the columns to take as categories even if they hold numbers.
        notes: a remark on the columns that are left out is appended.

    Raises:
        DataError: a column is neither numbers nor categories, or no column is left.
    """
    kinds: dict[str, type[NumberColumn | CategoryColumn]] = {}
    constant_columns: list[str] = []
    refused: dict[str, str] = {}  # the reason by column
    for name in names:
        texts = table.column(name)
        present = [text for text in texts if text not in MISSING]
        categories = {category(text) for text in present}
        if not categories or (len(categories) == 1 and len(present) == len(texts)):
            constant_columns.append(name)
            continue
        text_rows = numbers(table, texts)[1]
        if not text_rows and name not in categorical:
            kinds[name] = NumberColumn
            continue
        dates = sum(bool(DATE.fullmatch(text)) for text in present)
        if 2 * dates >= len(present):
            refused[name] = f"holds dates, such as {shorten(present[0], 40)!r}"
        elif name not in categorical and 2 * len(text_rows) <= len(present):
            error = no_number_error(table, name, texts, text_rows[0], "as most values of this column are")
            raise DataError(f"{error}, or take the column as categories with --categorical {_quoted(name)}")
        elif len(categories) > MAX_CATEGORIES or (len(categories) == len(present) and len(present) > 2):
            noun = "values" if name in categorical else "texts"
            refused[name] = f"has {len(categories):,} different {noun}, such as {shorten(present[0], 40)!r}"
        elif max(map(len, categories)) > MAX_LENGTH:
            refused[name] = f"has texts of more than {MAX_LENGTH} characters"
        else:
            kinds[name] = CategoryColumn
    if refused:
        reasons = join_names([f"{shorten(name)} {reason}" for name, reason in refused.items()], "; ", limit=4)
        options = " ".join(f"--drop {_quoted(name)}" for name in [*refused][:8])
        raise DataError(f"{table.name}: {reasons}; leave {'it' if len(refused) == 1 else 'them'} out with {options}")
    if constant_columns:
        has, is_ = ("has", "is") if len(constant_columns) == 1 else ("have", "are")
        notes.append(f"{join_names(constant_columns)} {has} the same value in all rows and {is_} left out")
    if not kinds:
        raise DataError(f"{table.name} has no column left to predict from")
    return kinds


def _quoted(name: str) -> str:
    """Return a column's name as an argument in a shell."""
    import shlex

    return shlex.quote(shorten(name, 60))
