"""Run lessons as scripts, in forks of one process: test_lessons.py starts this.

A fork takes milliseconds; a new Python process would spend longer on its imports than most lessons take. Each input
line is a program as a JSON string. Each output line is a JSON array: exit code, standard output, standard error. Linux
only.
"""

from __future__ import annotations

import importlib
import json
import sys
from functools import partial
from pathlib import Path

from tests.attack import child


def main() -> None:
    """Answer line by line until the input ends."""
    for name in ("chainrule.lessons", "chainrule.plots.animation", "chainrule.plots.charts", "matplotlib.pyplot"):
        importlib.import_module(name)
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        code = compile(json.loads(line), "<string>", "exec")
        ended = child.run(partial(exec, code, {"__name__": "__main__"}), folder, 0.0)
        print(json.dumps([ended.code, ended.out, ended.err]), flush=True)


if __name__ == "__main__":
    main()
