"""Attack chainrule for some time: `python -m tests.attack --seconds 60`, or `make attack SECONDS=60`.

Files are damaged and forged, trainings are killed and interrupted, disks are full. Nothing of that may end in a
traceback, take more than five seconds of the processor or 400 MB, load something wrong, or print what was not meant to
be. What falls is kept in build/attack, with the command that repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from . import base, campaign
from .attack import MOST_MEGABYTES, MOST_SECONDS

KEPT = Path("build/attack")


def main() -> int:
    """Run the attacks, and print what they came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the clock, shared among the attacks")
    parser.add_argument("--seed", type=int, default=None, help="of the first case; the next ones count up")
    parser.add_argument("--only", action="append", choices=list(campaign.ATTACKS), help="these attacks only")
    parser.add_argument("--case", metavar="ATTACK:NUMBER", help="repeat one case, and show what it prints")
    parser.add_argument("--jobs", type=int, default=None, help="how many cases at a time; one for each processor")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("the attacks fork, limit and measure their children as Linux does; there are none for other systems")
        return 2
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        base.environment(Path(folder))
        if options.case:
            attack, _, number = options.case.rpartition(":")
            return campaign.repeat(Path(folder), attack, int(number), KEPT)
        seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
        print(f"seed {seed}; at most {MOST_SECONDS:g} s and {MOST_MEGABYTES:g} MB a command", flush=True)
        names = options.only or list(campaign.ATTACKS)
        return campaign.run_all(Path(folder), names, seed, options.seconds, options.jobs, KEPT)


if __name__ == "__main__":
    sys.exit(main())
