"""Argument types and checks shared by the subcommands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.errors import UserError, check_destination

if TYPE_CHECKING:
    from collections.abc import Collection


class PathName(click.Path):
    """A path that is not empty: an empty string, as from an unset shell variable, would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check that the path is not empty."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def check_output(
    out: str | None, what: str, endings: Collection[str], *, photo: str | None = None, other: str | None = None
) -> None:
    """Check, before computing anything, that an output file is writable and differs from the command's other files.

    Args:
        out: the output file, or None.
        what: the kind of the output, such as "figure", for the error message.
        endings: the supported file extensions.
        photo: the command's input file.
        other: the command's other output file.

    Raises:
        UserError: the file extension is not supported, the folder is missing or not writable, or `out` is the same file
            as `photo` or `other`.
    """
    if out is None:
        return
    check_destination(out, what, endings)
    if _same_file(out, photo):
        raise UserError(f"{out}: this is the input photo; choose another output file")
    if _same_file(out, other):
        raise UserError(f"{out}: both figures would be written to this file; choose another file for one of them")


def _same_file(path: str, other: str | None) -> bool:
    """Whether two paths refer to the same file, existing or not."""
    if other is None:
        return False
    try:
        return Path(path).samefile(other)
    except OSError:  # one of them does not exist (yet)
        return os.path.realpath(path) == os.path.realpath(other)
