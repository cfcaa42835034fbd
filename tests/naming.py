"""One test that runs through a table says which row fails: a test for each of a thousand rows takes longer than the rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def naming(row: object) -> Iterator[None]:
    """Adds the row to the error of what is done within."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {row!r}")
        raise
