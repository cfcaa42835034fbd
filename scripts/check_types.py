"""Check with pyright which errors editors show in users' code: `python scripts/check_types.py`.

`tests/typing/user_code.py` must have no errors. In `tests/typing/mistakes.py` a comment, `# error: reportCallIssue`,
names the errors that its line must have; lines without such a comment must have none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "typing"
EXPECTED = re.compile(r"# error: ([\w, ]+)$")

Errors: TypeAlias = dict[tuple[str, int], set[str]]
"""Pyright's names of errors, by file name and line."""


def reported() -> tuple[Errors, dict[tuple[str, int], str]]:
    """The errors that pyright reports, and the first message of each line."""
    command = [sys.executable, "-m", "pyright", "--project", FOLDER, "--pythonpath", sys.executable, "--outputjson"]
    installed = {**os.environ, "PYTHONPATH": str(ROOT / "src")}  # found like an installed package, by its py.typed
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=installed)  # noqa: S603
    try:
        diagnostics = json.loads(result.stdout)["generalDiagnostics"]
    except (json.JSONDecodeError, KeyError):
        sys.exit(f"pyright did not run: {result.stdout}{result.stderr}")
    errors: Errors = defaultdict(set)
    messages: dict[tuple[str, int], str] = {}
    for diagnostic in diagnostics:
        line = (Path(diagnostic["file"]).name, diagnostic["range"]["start"]["line"] + 1)
        errors[line].add(diagnostic.get("rule", "syntax"))
        messages.setdefault(line, diagnostic["message"])
    return errors, messages


def expected() -> Errors:
    """The errors that the comments name."""
    errors: Errors = {}
    for file in FOLDER.glob("*.py"):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if comment := EXPECTED.search(line):
                errors[file.name, number] = set(comment[1].split(", "))
    return errors


def main() -> int:
    """Print the lines in which pyright's errors differ from those of the comments; returns 1 if there are any."""
    wanted = expected()
    errors, messages = reported()
    differing = [line for line in sorted({*wanted, *errors}) if wanted.get(line) != errors.get(line)]
    for line in differing:
        names = ", ".join(sorted(errors.get(line, ()))) or "no error"
        should = ", ".join(sorted(wanted.get(line, ()))) or "none"
        print(f"tests/typing/{line[0]}:{line[1]}: {names}, must be {should}. {messages.get(line, '')}")
    print(f"pyright: {len(wanted)} mistakes, {len(differing)} lines whose errors differ from the comments")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
