"""What the subcommands share in taking arguments."""

from __future__ import annotations

from typing import Any

import click


class PathName(click.Path):
    """A path; an empty text, such as an unset variable of a shell gives, would otherwise mean the present folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check that the path is not empty."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)
