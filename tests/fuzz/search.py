"""Search for a failing program, and reduce it to a minimal one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hypothesis
from hypothesis import HealthCheck, Phase

from .generate import KNOWN, LARGE, LARGE_SQUARE, SMALL, SMALL_SQUARE, programs
from .program import reduced
from .readings import Counts, Failure, check, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .program import Program


@dataclass
class Counterexample:
    """A program that fails.

    Attributes:
        program: the reduced program.
        failure: how it fails.
        after: the number of programs run until the failure.
        seed: the seed of the search.
    """

    program: Program
    failure: Failure
    after: int
    seed: int

    def __str__(self) -> str:
        kind = type(self.failure).__name__
        return f"{self.program.source()}\n# {kind}: {self.failure}\n# seed {self.seed}, after {self.after} programs"


def search(
    count: int, seed: int, counts: Counts, compiled: bool = False, excluded: Collection[str] = KNOWN, torch: bool = True,
    shrink: bool = True, begin: Callable[[Program], None] | None = None,
) -> Counterexample | None:  # fmt: skip
    """Run random programs until one fails.

    Args:
        count: the largest number of programs.
        seed: the random seed.
        counts: updated with the numbers of programs and refusals.
        compiled: use the real compiler and larger sizes.
        excluded: known bugs whose programs are not generated.
        torch: whether to compare with PyTorch.
        shrink: whether to reduce the failing program.
        begin: called with each program before it runs.
    """
    failed: list[tuple[Program, Failure]] = []
    failed_after = 0
    as_large = seed % 2 == 1
    sizes = (LARGE_SQUARE if as_large else LARGE) if compiled else SMALL_SQUARE if as_large else SMALL

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate], report_multiple_bugs=False,
        backend="hypothesis",
    )  # fmt: skip
    @hypothesis.given(programs(sizes, excluded))
    def run(program: Program) -> None:
        nonlocal failed_after
        if begin is not None:
            begin(program)
        program_counts = Counts()
        try:
            check(program, program_counts, torch)
        except Failure as failure:
            failed.append((program, failure))
            failed_after = failed_after or counts.programs + 1
            raise
        finally:
            if not failed_after:  # do not count shrinking
                counts.add(program_counts)

    with environment(compiled, as_large):
        try:
            run()
        except Failure:
            program, failure = failed[-1]  # Hypothesis runs the smallest one last
            if shrink:
                program = reduced(program, lambda smaller: _fails_alike(smaller, failure, torch))
            return Counterexample(program, _failure(program, torch) or failure, failed_after, seed)
    return None


def _failure(program: Program, torch: bool) -> Failure | None:
    """The failure of a program, if any."""
    try:
        check(program, Counts(), torch)
    except Failure as failure:
        return failure
    except Exception:  # a required line was removed
        return None
    return None


def _fails_alike(program: Program, failure: Failure, torch: bool) -> bool:
    """Whether a program has the same kind of failure and, if that is an unexpected error, the same error."""
    other = _failure(program, torch)
    same = type(other) is type(failure)
    return same and (type(failure).__name__ != "UnexpectedError" or str(other)[:30] == str(failure)[:30])
