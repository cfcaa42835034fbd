"""The results of PyTorch's own samples, as `opinfo`, `moduleinfo` and `optiminfo` collect and print them."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


KINDS = (ValueError, TypeError, IndexError)
"""The kinds of error with which chainrule refuses a call."""


@dataclass
class Outcome:
    """The results of an entry's samples: their numbers, and the messages of the unsupported and the wrong ones."""

    name: str
    total: int = 0
    passed: int = 0
    unsupported: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def refused(
    where: str, theirs: str, faults: list[str], others: Iterable[str] = (), kinds: Any = KINDS
) -> Iterator[None]:
    """Run a call that PyTorch refuses; add a line to `faults` unless it raises one of `kinds` with a message.

    Args:
        where: names the call.
        theirs: the message that PyTorch's error must match.
        faults: the list to add to.
        others: arguments that chainrule does not have; an error that names one of them was raised for another reason.
        kinds: the kinds of error with which the call may be refused.
    """
    try:
        yield
    except kinds as error:
        if not str(error).strip() or any(repr(name) in str(error) for name in others):
            faults.append(f"{where}: {type(error).__name__} without a message or for another reason: {error}")
    except Exception as error:
        faults.append(f"{where}: raised {type(error).__name__}: {error}")
    else:
        faults.append(f"{where}: accepted; PyTorch refuses it: {theirs}")


def show(kind: str, results: Iterable[tuple[Outcome, tuple[int, list[str]]]]) -> int:
    """Print samples passed / total / unsupported of each entry and of all; returns the number of faults.

    Args:
        kind: the name of PyTorch's list.
        results: for each entry its outcome, the number of calls that PyTorch refuses, and a line for each of these that
            chainrule does not refuse.
    """
    outcomes: list[Outcome] = []
    calls, not_refused = 0, []
    for outcome, (count, accepted) in results:
        outcomes.append(outcome)
        calls += count
        not_refused += accepted
        bad = f"  {len(outcome.wrong)} WRONG" if outcome.wrong else ""
        bad += f"  {len(accepted)} not refused" if accepted else ""
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
