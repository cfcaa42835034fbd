"""Printing to a standard output whose encoding lacks characters."""

import sys


def replace_unencodable() -> None:
    """Make standard output replace characters that its encoding lacks (a pipe on Windows, say) instead of failing.

    An error handler set by PYTHONIOENCODING stays in effect.
    """
    if getattr(sys.stdout, "errors", None) in ("strict", "surrogateescape") and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
