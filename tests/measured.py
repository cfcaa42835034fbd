"""Run the command in forks of one process, and measure them: `measure_command` of conftest.py starts this.

A fork takes milliseconds, a new Python that imports everything again half a second. Each line read is the arguments
and the folder to run in, as JSON; each line printed how it ended. Linux only.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from tests.attack import child


def main() -> None:
    """Answer line by line until the input ends."""
    importlib.import_module("chainrule")  # which is all that an idle process has
    idle = child.run(lambda: None, Path(sys.argv[1]), 0.0).megabytes
    for command in ("evaluate", "predict", "read", "train"):
        importlib.import_module(f"chainrule.cli.{command}")
    for line in sys.stdin:
        arguments, here = json.loads(line)
        ended = child.run(child.command(*arguments), Path(here), idle)
        print(json.dumps([ended.code, ended.out, ended.err, ended.megabytes, ended.seconds]), flush=True)


if __name__ == "__main__":
    main()
