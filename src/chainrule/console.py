"""Printing to a standard output whose encoding does not have every character."""

import sys


def replace_unencodable() -> None:
    """Make standard output replace characters that its encoding does not have, instead of failing (pipes on Windows).

    An error handler set by PYTHONIOENCODING stays in effect.
    """
    if getattr(sys.stdout, "errors", None) in ("strict", "surrogateescape") and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
