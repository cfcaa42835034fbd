"""Printing to a standard output whose encoding lacks characters."""

import sys


def replace_unencodable() -> None:
    """Make standard output replace the characters that its encoding lacks, as on a pipe on Windows, instead of failing.

    An error handler set by PYTHONIOENCODING stays in effect.
    """
    if getattr(sys.stdout, "errors", None) in ("strict", "surrogateescape") and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
