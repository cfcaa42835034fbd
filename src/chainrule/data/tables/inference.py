"""Tells which columns of a table can be inputs, and what each holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.data.tables.columns import CategoryColumn, NumberColumn
from chainrule.data.tables.values import DATE, MISSING, category, no_number_error, numbers
from chainrule.errors import DataError, join_names, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.data.tables.csv_file import Table

MAX_CATEGORIES = 100
"""Limit on the different texts of a column: each becomes an input."""
MAX_LENGTH = 200
"""Limit on the characters of a category."""


def infer_columns(
    table: Table, names: Sequence[str], categorical: Sequence[str], notes: list[str]
) -> dict[str, type[NumberColumn | CategoryColumn]]:
    """Return what each column holds; those without any information are left out, which is added to the notes.

    Args:
        table: the table.
        names: the columns to look at.
        categorical: those that are categories even if they hold numbers.
        notes: what the user should know.

    Raises:
        DataError: a column is neither numbers nor categories, or no column is left.
    """
    kinds: dict[str, type[NumberColumn | CategoryColumn]] = {}
    useless: list[str] = []
    unfit: dict[str, str] = {}
    for name in names:
        texts = table.column(name)
        present = [text for text in texts if text not in MISSING]
        different = {category(text) for text in present}
        if not different or (len(different) == 1 and len(present) == len(texts)):
            useless.append(name)
            continue
        others = numbers(table, texts)[1]
        if not others and name not in categorical:
            kinds[name] = NumberColumn
            continue
        dates = sum(bool(DATE.fullmatch(text)) for text in present)
        if 2 * dates >= len(present):
            unfit[name] = f"holds dates, such as {shorten(present[0], 40)!r}"
        elif name not in categorical and 2 * len(others) <= len(present):
            error = no_number_error(table, name, texts, others[0], "as most values of this column are")
            raise DataError(f"{error}, or take the column as categories with --categorical {_quoted(name)}")
        elif len(different) > MAX_CATEGORIES or (len(different) == len(present) and len(present) > 2):
            what = "values" if name in categorical else "texts"
            unfit[name] = f"has {len(different):,} different {what}, such as {shorten(present[0], 40)!r}"
        elif max(map(len, different)) > MAX_LENGTH:
            unfit[name] = f"has texts of more than {MAX_LENGTH} characters"
        else:
            kinds[name] = CategoryColumn
    if unfit:
        reasons = join_names([f"{shorten(name)} {reason}" for name, reason in unfit.items()], "; ", limit=4)
        options = " ".join(f"--drop {_quoted(name)}" for name in [*unfit][:8])
        raise DataError(f"{table.name}: {reasons}; leave {'it' if len(unfit) == 1 else 'them'} out with {options}")
    if useless:
        verb = (
            "has the same value in all rows and is" if len(useless) == 1 else "have the same value in all rows and are"
        )
        notes.append(f"{join_names(useless)} {verb} left out")
    if not kinds:
        raise DataError(f"{table.name} has no column left to predict from")
    return kinds


def _quoted(name: str) -> str:
    """Return a column's name as an argument in a shell."""
    import shlex

    return shlex.quote(shorten(name, 60))
