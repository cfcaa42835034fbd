"""What became of PyTorch's own samples: the form in which `opinfo`, `moduleinfo` and `optiminfo` tell it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


KINDS = (ValueError, TypeError, IndexError)


@dataclass
class Outcome:
    """What became of an entry's samples; of the unsupported and the wrong ones, what was said."""

    name: str
    total: int = 0
    passed: int = 0
    unsupported: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def refused(
    where: str, theirs: str, faults: list[str], others: Iterable[str] = (), kinds: Any = KINDS
) -> Iterator[None]:
    """Around a call that PyTorch refuses: adds a line to the faults unless it is refused here in words of our own.

    Args:
        where: names the call.
        theirs: what PyTorch says.
        faults: takes the line.
        others: arguments that are not ours; an error that names one has another reason.
        kinds: of error that it may be refused with.
    """
    try:
        yield
    except kinds as error:
        if not str(error).strip() or any(repr(name) in str(error) for name in others):
            faults.append(f"{where}: {type(error).__name__} without a word or for another reason: {error}")
    except Exception as error:  # told
        faults.append(f"{where}: raised {type(error).__name__}: {error}")
    else:
        faults.append(f"{where} was taken; PyTorch says: {theirs}")


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
