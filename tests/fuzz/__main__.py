"""Random programs by hand: `python -m tests.fuzz --programs 20000 --seed 7 --compiled 500`.

Each part of the search has a seed of its own, which is printed with a program that fails; the search goes on after it.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import time
from pathlib import Path

from .readings import Counts
from .search import search

PART = 250  # programs of one seed
LAST = Path("build/fuzz/last.py")
"""The program that runs, should the process crash or hang."""


def main() -> int:
    """Run the search, and print what it came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--programs", type=int, default=3000, help="how many are interpreted")
    parser.add_argument("--compiled", type=int, default=0, help="how many are compiled as well")
    parser.add_argument("--seed", type=int, default=None, help="of the first part; the next ones count up")
    parser.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    failures = 0
    for compiled, count in ((False, options.programs), (True, options.compiled)):
        failures += part(count, seed, compiled, not options.no_torch) if count else 0
    return 1 if failures else 0


def part(count: int, seed: int, compiled: bool, torch: bool) -> int:
    """The interpreted or the compiled programs; how many parts found a failure."""
    counts, failures, begun = Counts(), 0, time.perf_counter()
    how = "compiled" if compiled else "interpreted"
    LAST.parent.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()

    def begin(program: object) -> None:
        LAST.write_text(program.source(), encoding="utf-8")  # type: ignore[attr-defined]

    for number, first in enumerate(range(0, count, PART)):
        own = Counts()
        counterexample = search(
            min(PART, count - first), seed + number, own, compiled, torch=torch, begin=begin if compiled else None
        )
        counts.add(own)
        if counterexample is not None:
            failures += 1
            print(f"{'-' * 100}\n{counterexample}\n{'-' * 100}", flush=True)
    seconds = time.perf_counter() - begun
    print(f"{how}: {counts.programs} programs from seed {seed} on, {counts.statements} statements, {seconds:.0f} s")
    print(f"  {counts.calls} calls, {counts.replays} of them compiled; {counts.torch} programs in PyTorch, too")
    print(f"  refused, by kind: {sum(counts.refusals.values())}")
    for kind, times in counts.refusals.most_common():
        print(f"    {times:6} {kind}")
    print(f"  failures: {failures}", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
