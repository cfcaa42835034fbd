"""Run the fuzzer: `python -m tests.fuzz --programs 20000 --seed 7 --compiled 500`, or `--faults`.

The search is split into parts with separate seeds. A failing program is printed with its seed; the search continues.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .faults import FAULTS
from .readings import Counts
from .search import search

if TYPE_CHECKING:
    from .program import Program

PROGRAMS_PER_PART = 250
SEARCHES_PER_FAULT = 10
PROGRAM_FILE = Path("build/fuzz/last.py")
"""Where each compiled program is saved before it runs, in case it makes the process crash or hang."""


def main() -> int:
    """Run the search and print its results."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--programs", type=int, default=3000, help="number of interpreted programs")
    parser.add_argument("--compiled", type=int, default=0, help="number of compiled programs")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first part; incremented for each part")
    parser.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    parser.add_argument(
        "--faults",
        action="store_true",
        help="instead, reintroduce former bugs and count the programs until each is found",
    )
    options = parser.parse_args()
    if options.faults:
        return print_faults(options.programs, options.seed or 0)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    failures = 0
    for compiled, count in ((False, options.programs), (True, options.compiled)):
        failures += run_parts(count, seed, compiled, not options.no_torch) if count else 0
    return 1 if failures else 0


def run_parts(count: int, seed: int, compiled: bool, torch: bool) -> int:
    """Run the interpreted or the compiled programs; returns the number of parts with a failure."""
    counts, failures, start = Counts(), 0, time.perf_counter()
    how = "compiled" if compiled else "interpreted"
    PROGRAM_FILE.parent.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()

    def begin(program: Program) -> None:
        PROGRAM_FILE.write_text(program.source(), encoding="utf-8")

    for number, first in enumerate(range(0, count, PROGRAMS_PER_PART)):
        part_counts = Counts()
        counterexample = search(
            min(PROGRAMS_PER_PART, count - first), seed + number, part_counts, compiled, torch=torch,
            begin=begin if compiled else None,
        )  # fmt: skip
        counts.add(part_counts)
        if counterexample is not None:
            failures += 1
            print(f"{'-' * 100}\n{counterexample}\n{'-' * 100}", flush=True)
    seconds = time.perf_counter() - start
    print(f"{how}: {counts.programs} programs from seed {seed} on, {counts.statements} statements, {seconds:.0f} s")
    print(f"  {counts.calls} calls, {counts.runs} of them compiled; {counts.torch} programs also in PyTorch")
    print(f"  refused, by kind: {sum(counts.refusals.values())}")
    for kind, times in counts.refusals.most_common():
        print(f"    {times:6} {kind}")
    print(f"  failures: {failures}", flush=True)
    return failures


def print_faults(max_programs: int, seed: int) -> int:
    """Print the number of programs until each former bug is found, in ten searches; returns 1 if any is missed."""
    print(f"programs until a reintroduced bug is found, by seed (at most {max_programs})")
    print("fault  " + "".join(f"{seed + n:>7}" for n in range(SEARCHES_PER_FAULT)) + "  median")
    missed = 0
    for letter, put_back in FAULTS.items():
        after: list[int | None] = []
        for n in range(SEARCHES_PER_FAULT):
            with pytest.MonkeyPatch.context() as patch:
                put_back(patch)
                counterexample = search(max_programs, seed + n, Counts(), shrink=False)
            after.append(None if counterexample is None else counterexample.after)
        missed += after.count(None)
        row = "".join(f"{'-' if count is None else count:>7}" for count in after)
        median = statistics.median(max_programs if count is None else count for count in after)
        print(f"{letter:<7}{row}{median:>8.0f}   {str(put_back.__doc__).partition(chr(10))[0]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
