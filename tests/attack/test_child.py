"""A signal that comes while the child is being set up ends it as it would end the command."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import signal, sys
from pathlib import Path
import chainrule.cli.listings
from tests.attack import child

folder = Path(sys.argv[1]) / "job"
folder.mkdir()
for number in range(40):
    ended = child.run(child.command("data"), folder, 0.0, (child.Signal(number * 2e-4, signal.SIGINT),))
    print(ended.code, ended.err.count("Traceback"))
"""


def test_interrupted_before_the_command(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
    assert f"{128 + signal.SIGINT} 0" in done.stdout.splitlines()  # it came in time at least once
    assert set(done.stdout.splitlines()) <= {f"{128 + signal.SIGINT} 0", "0 0"}  # 0: it had ended before
