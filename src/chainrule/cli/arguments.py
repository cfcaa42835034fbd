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
    out: str | None,
    kind: str,
    extensions: Collection[str],
    *,
    photo: str | None = None,
    other_figure: str | None = None,
) -> None:
    """Check an output file before anything is computed.

    Args:
        out: the output file, or None.
        kind: the kind of output, such as "figure", for the error message.
        extensions: the supported file extensions.
        photo: the command's input photo.
        other_figure: a second figure that the command writes.

    Raises:
        UserError: the file extension is not supported, the folder does not exist, or `out` is the same file as `photo`
            or `other_figure`.
    """
    if out is None:
        return
    check_destination(out, kind, extensions)
    if _is_same_file(out, photo):
        raise UserError(f"{out}: this is the input photo; choose another output file")
    if _is_same_file(out, other_figure):
        raise UserError(f"{out}: both figures would be written to this file; choose another file for one of them")


def _is_same_file(path: str, other: str | None) -> bool:
    """Whether two paths refer to the same file, which need not exist."""
    if other is None:
        return False
    try:
        return Path(path).samefile(other)
    except OSError:  # one of them does not exist (yet)
        return os.path.realpath(path) == os.path.realpath(other)
