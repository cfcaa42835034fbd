"""Run `chainrule` in forks of one process, and measure each: the fixture `measure_command` of conftest.py starts this.

A fork takes milliseconds, a new Python process half a second for its imports. Each input line is a JSON array: the
arguments and the folder to run in. Each output line is a JSON array: exit code, standard output, standard error,
megabytes and CPU seconds. Linux only.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from tests.attack import child


def main() -> None:
    """Answer line by line until the input ends."""
    importlib.import_module("chainrule")  # an idle process has imported nothing else
    idle = child.run(lambda: None, Path(sys.argv[1]), 0.0).megabytes
    for command in ("evaluate", "predict", "read", "train"):
        importlib.import_module(f"chainrule.cli.{command}")
    for line in sys.stdin:
        arguments, folder = json.loads(line)
        ended = child.run(child.command(*arguments), Path(folder), idle)
        print(json.dumps([ended.code, ended.out, ended.err, ended.megabytes, ended.seconds]), flush=True)


if __name__ == "__main__":
    main()
