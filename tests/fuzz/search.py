"""The search for a program that fails, and what is left of it when all that it does not need has been left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hypothesis
from hypothesis import HealthCheck, Phase

from .generate import KNOWN, LARGE, SMALL, programs
from .program import reduced
from .readings import Counts, Failure, check, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .program import Program


@dataclass
class Counterexample:
    """A program that fails.

    Attributes:
        program: what is left of it.
        failure: how it fails.
        after: so many programs were run before it.
        seed: of the search.
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
    """Run so many random programs, up to the first that fails.

    Args:
        count: how many.
        seed: the same seed gives the same programs.
        counts: what is run and refused is counted there.
        compiled: by the real compiler, and with larger sizes.
        excluded: faults whose programs are not drawn.
        torch: whether PyTorch is asked, too.
        shrink: whether to leave out what the failure does not need.
        begin: called with each program before it runs.
    """
    failed: list[tuple[Program, Failure]] = []
    failed_after = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate], report_multiple_bugs=False, backend="hypothesis",
    )  # fmt: skip
    @hypothesis.given(programs(LARGE if compiled else SMALL, excluded))
    def run(program: Program) -> None:
        nonlocal failed_after
        if begin is not None:
            begin(program)
        here = Counts()
        try:
            check(program, here, torch)
        except Failure as failure:
            failed.append((program, failure))
            failed_after = failed_after or counts.programs + 1
            raise
        finally:
            if not failed_after:  # shrinking is not counted
                counts.add(here)

    with environment(compiled):
        try:
            run()
        except Failure:
            program, failure = failed[-1]  # Hypothesis runs the smallest again at the end
            if shrink:
                program = reduced(program, lambda smaller: _fails_alike(smaller, failure, torch))
            return Counterexample(program, _failure(program, torch) or failure, failed_after, seed)
    return None


def _failure(program: Program, torch: bool) -> Failure | None:
    """How a program fails."""
    try:
        check(program, Counts(), torch)
    except Failure as failure:
        return failure
    except Exception:  # a line is missing that others need
        return None
    return None


def _fails_alike(program: Program, failure: Failure, torch: bool) -> bool:
    """Whether a program fails in the same way: for errors, with the same one."""
    other = _failure(program, torch)
    same = type(other) is type(failure)
    return same and (type(failure).__name__ != "UnexpectedError" or str(other)[:30] == str(failure)[:30])
