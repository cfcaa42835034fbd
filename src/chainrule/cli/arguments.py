"""What the subcommands share in taking arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.errors import UserError, check_destination

if TYPE_CHECKING:
    from collections.abc import Collection


class PathName(click.Path):
    """A path; an empty text, such as an unset variable of a shell gives, would otherwise mean the present folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check that the path is not empty."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def check_output(
    out: str | None, what: str, endings: Collection[str], *, photo: str | None = None, other: str | None = None
) -> None:
    """See that a drawing can be written to a file and overwrites nothing of the same command, before it is computed.

    Args:
        out: where the drawing goes; None if there is none.
        what: the drawing is, in a word.
        endings: that its file may have.
        photo: what the command reads.
        other: where its other drawing goes.

    Raises:
        UserError: as `check_destination`; or the file is `photo` or `other`, under whatever name.
    """
    if out is None:
        return
    check_destination(out, what, endings)
    if _are_same(out, photo):
        raise UserError(f"{out}: is the photo itself; choose another file for the drawing")
    if _are_same(out, other):
        raise UserError(f"{out}: is the file of the other drawing as well; choose another file for one of them")


def _are_same(path: str, other: str | None) -> bool:
    """Whether two paths lead to the same file, which need not be there."""
    if other is None:
        return False
    try:
        return Path(path).samefile(other)
    except OSError:  # one of them is not there (yet)
        return os.path.realpath(path) == os.path.realpath(other)
