"""Attack chainrule with faulty inputs and events: `python -m tests.attack --seconds 60`, or `make attack SECONDS=60`.

Files are damaged and forged, training is killed and interrupted, disks are full. None of this may cause a traceback,
use more than five CPU seconds or 400 MB, load wrong data, or print unsafe output. Cases that do ("falls") are saved in
build/attack, and printed with the command that repeats them.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from . import base, campaign
from .attack import MOST_MEGABYTES, MOST_SECONDS

FALLS_FOLDER = Path("build/attack")


def main() -> int:
    """Run the attacks and print their results."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="total wall time of all attacks")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first case; incremented for each case")
    parser.add_argument("--only", action="append", choices=list(campaign.ATTACKS), help="run only these attacks")
    parser.add_argument("--case", metavar="ATTACK:NUMBER", help="repeat one case and show its output")
    parser.add_argument(
        "--jobs", type=int, default=None, help="number of parallel jobs  [default: number of processors]"
    )
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("the attacks run only on Linux, because they fork, limit and measure child processes")
        return 2
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        base.environment(Path(folder))
        if options.case:
            attack, _, number = options.case.rpartition(":")
            return campaign.repeat(Path(folder), attack, int(number), FALLS_FOLDER)
        seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
        print(f"seed {seed}; at most {MOST_SECONDS:g} s and {MOST_MEGABYTES:g} MB a command", flush=True)
        names = options.only or list(campaign.ATTACKS)
        return campaign.run_all(Path(folder), names, seed, options.seconds, options.jobs, FALLS_FOLDER)


if __name__ == "__main__":
    sys.exit(main())
