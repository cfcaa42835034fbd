"""Say which row of a table fails, for tests that run through all rows, because a test per row would take longer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def naming(row: object) -> Iterator[None]:
    """Add the row to the message of an exception that is raised in the `with` block."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {row!r}")
        raise
