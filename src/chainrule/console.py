"""Standard output, whatever characters it can encode."""

import sys


def replace_unencodable() -> None:
    """Let standard output replace characters that its encoding lacks, as a pipe's on Windows does, instead of failing.

    What its user has chosen for them, by PYTHONIOENCODING, stays.
    """
    if getattr(sys.stdout, "errors", None) in ("strict", "surrogateescape") and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
