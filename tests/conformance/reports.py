"""What became of PyTorch's own samples: the form in which `opinfo`, `moduleinfo` and `optiminfo` tell it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Outcome:
    """What became of an entry's samples; of the unsupported and the wrong ones, what was said."""

    name: str
    total: int = 0
    passed: int = 0
    unsupported: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def show(kind: str, results: Iterable[tuple[Outcome, tuple[int, list[str]]]]) -> int:
    """Print samples passed / total / unsupported of each entry and of all; returns the number of faults.

    Args:
        kind: which of PyTorch's lists the entries are in.
        results: for each entry the outcome, how many calls PyTorch refuses, and a line for each that we do not.
    """
    outcomes: list[Outcome] = []
    calls, not_refused = 0, []
    for outcome, (count, taken) in results:
        outcomes.append(outcome)
        calls += count
        not_refused += taken
        bad = f"  {len(outcome.wrong)} WRONG" if outcome.wrong else ""
        bad += f"  {len(taken)} not refused" if taken else ""
        print(f"{outcome.name:<48}{outcome.passed:>6} /{outcome.total:>6}  unsupported {len(outcome.unsupported)}{bad}")
    passed, total = sum(o.passed for o in outcomes), sum(o.total for o in outcomes)
    wrong = [line for outcome in outcomes for line in outcome.wrong]
    print(
        f"{kind} total: {len(outcomes)} entries; samples passed {passed} / {total} ({passed / max(total, 1):.2%}), "
        f"unsupported {sum(len(o.unsupported) for o in outcomes)}, wrong {len(wrong)}; "
        f"errors refused {calls - len(not_refused)} / {calls}"
    )
    for (name, message), count in Counter((o.name, line) for o in outcomes for line in o.unsupported).items():
        print(f"unsupported: {name}, {count} of its samples: {message[:300]}")
    for line in wrong + not_refused:
        print("FAULT:", line[:600])
    return len(wrong) + len(not_refused)
