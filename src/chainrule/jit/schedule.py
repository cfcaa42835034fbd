"""From the graph to stages: which steps share a loop, in which order they run, and where each array lies in memory.

Steps that run over the same elements are **fused** into one loop: an elementwise step joins the stage that made its
latest input, if it runs over the same shape, and a reduction joins the loop that made what it reduces. So a chain such
as bias, activation, loss is one pass over memory, and what nobody else reads never leaves the registers. Products of
matrices, kernels and calls of Python are stages of their own.

Memory is **planned by lifetime**: an array holds its bytes of one big arena from the stage that makes it to the last
that reads it, and then another takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chainrule.jit.graph import SOURCES, Value, base_of, needed

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT = 64  # bytes, a cache line


@dataclass(eq=False)
class Stage:
    """Steps that run together.

    Attributes:
        kind: "loop", "matmul", "call" or "kernel".
        shape: of the loop.
        steps: in their order.
        stored: results that other stages read, or that are wanted.
        writes: for memory outside, the value that it is to hold: pairs of a captured value and a step.
    """

    kind: str
    shape: tuple[int, ...]
    steps: list[Value] = field(default_factory=list)
    stored: list[Value] = field(default_factory=list)
    writes: list[tuple[Value, Value]] = field(default_factory=list)

    def reads(self) -> list[Value]:
        """Arrays from elsewhere that its steps read, each once, as they are seen (a view is not its base)."""
        own = {id(step) for step in self.steps}
        found = {id(v): v for step in self.steps for v in step.values() if id(v) not in own}
        found.update({id(v): v for _, v in self.writes if id(v) not in own})
        return list(found.values())


@dataclass
class Plan:
    """What is to be compiled.

    Attributes:
        stages: in the order in which they run.
        offsets: where in the arena a value begins, in bytes, by identity.
        arena: how many bytes it has.
    """

    stages: list[Stage]
    offsets: dict[int, int]
    arena: int


def plan(values: Sequence[Value], outputs: Sequence[Value], writes: Sequence[tuple[Value, Value]]) -> Plan:
    """Put the steps that the outputs and writes need into stages, and their results into memory.

    Args:
        values: all steps, in the order of the trace.
        outputs: what must be there at the end, in memory of its own.
        writes: captured memory and what it is to hold at the end.
    """
    draws = [value for value in values if value.options.get("draws")]  # the next ones depend on them
    wanted = [*outputs, *draws, *(value for _, value in writes)]
    stages = _merged(_fused(_early_calls(needed(values, wanted))))
    stage_of = {id(step): number for number, stage in enumerate(stages) for step in stage.steps}
    _place_writes(stages, stage_of, writes)
    _choose_stored(stages, outputs)
    offsets, arena = _in_memory(stages, outputs)
    return Plan(stages, offsets, arena)


def _early_calls(values: list[Value]) -> list[Value]:
    """Calls of Python that depend on nothing computed come first, so that they do not part what is compiled."""
    early: dict[int, Value] = {}
    for value in values:
        known = value.kind in SOURCES or all(id(v) in early for v in value.values())
        if known and value.kind in (*SOURCES, "view", "call", "part"):
            early[id(value)] = value
    return [*early.values(), *(value for value in values if id(value) not in early)]


def _fused(values: list[Value]) -> list[Stage]:
    stages: list[Stage] = []
    stage_of: dict[int, int] = {}  # a view counts to the stage of its base
    for value in values:
        made = [stage_of[id(v)] for v in value.values() if id(v) in stage_of]
        last = max(made, default=-1)
        if value.kind in SOURCES:
            continue
        if value.kind in ("view", "part"):
            if last >= 0:
                stage_of[id(value)] = last
            continue
        if value.kind in ("elementwise", "reduce"):
            shape = value.shape if value.kind == "elementwise" else value.inputs[0].shape
            if last >= 0 and _joins(value, shape, stages[last], stage_of, last):
                stages[last].steps.append(value)
                stage_of[id(value)] = last
                continue
            stages.append(Stage("loop", shape))
        else:
            stages.append(Stage(value.kind, value.shape))
        stages[-1].steps.append(value)
        stage_of[id(value)] = len(stages) - 1
    return stages


def _merged(stages: list[Stage]) -> list[Stage]:
    """Loops over the same shape that read the same arrays, or one the other's, made one where the order allows it."""
    count = len(stages) + 1
    while len(stages) < count:
        count = len(stages)
        makes = [{id(step) for step in stage.steps} for stage in stages]
        reads = [{id(base_of(v)) for v in stage.reads()} for stage in stages]
        late = 0
        while late < len(stages):
            for early in range(late - 1, -1, -1):
                a, b = stages[early], stages[late]
                if a.kind != "loop" or b.kind != "loop" or a.shape != b.shape or not a.shape:
                    continue
                handed = [v for v in b.reads() if id(base_of(v)) in makes[early]]
                shares = handed or reads[early] & reads[late]
                if not shares or any(v.kind != "elementwise" for v in handed):
                    continue
                between = range(early + 1, late)
                if not any(reads[k] & makes[early] for k in between):
                    home = late  # the first loop can wait for the second
                elif not any(reads[late] & makes[k] for k in between):
                    home = early
                else:
                    continue
                stages[home] = Stage("loop", a.shape, [*a.steps, *b.steps])
                makes[home], reads[home] = makes[early] | makes[late], reads[early] | reads[late]
                gone = early if home == late else late
                del stages[gone], makes[gone], reads[gone]
                late -= 1
                break
            else:
                late += 1
    return stages


def _joins(value: Value, shape: tuple[int, ...], stage: Stage, stage_of: dict[int, int], number: int) -> bool:
    """Whether a step can run in a stage's loop: what it reads of it must be there at the same element."""
    if stage.kind != "loop" or stage.shape != shape or not shape:
        return False
    inside = [v for v in value.values() if stage_of.get(id(v)) == number]
    return all(v.kind == "elementwise" and v.shape == shape for v in inside)


def _place_writes(stages: list[Stage], stage_of: dict[int, int], writes: Sequence[tuple[Value, Value]]) -> None:
    """Write into memory outside where the value is made, if nobody reads the old value later; else at the end."""
    for target, value in writes:
        last_read = max(
            (n for n, stage in enumerate(stages) for v in stage.reads() if base_of(v) is target), default=-1
        )
        home = stage_of.get(id(value), -1)
        fits = home >= 0 and stages[home].kind == "loop" and value.kind == "elementwise" and value.shape == target.shape
        here = [v for v in stages[home].reads() if base_of(v) is target] if fits else []
        if fits and last_read <= home and all(v is target for v in here):  # and it is read element by element
            stages[home].writes.append((target, value))
        else:
            stages.append(Stage("loop", target.shape, writes=[(target, value)]))


def _choose_stored(stages: list[Stage], outputs: Sequence[Value]) -> None:
    read = {id(base_of(v)) for stage in stages for v in stage.reads()} | {id(base_of(v)) for v in outputs}
    for stage in stages:
        stage.stored = [
            step for step in stage.steps if id(step) in read or step.kind == "reduce" or stage.kind != "loop"
        ]


def _in_memory(stages: list[Stage], outputs: Sequence[Value]) -> tuple[dict[int, int], int]:
    kept = {id(base_of(v)) for v in outputs}
    made: dict[int, tuple[Value, int]] = {}
    last: dict[int, int] = {}
    for number, stage in enumerate(stages):
        for value in stage.stored:
            if stage.kind != "call" and id(value) not in kept:
                made[id(value)] = value, number
                last[id(value)] = number
        for value in stage.reads():
            if id(base_of(value)) in made:
                last[id(base_of(value))] = number
    offsets: dict[int, int] = {}
    placed: list[tuple[int, int, int, int]] = []  # from and to in memory, first and last stage
    for key, (value, first) in sorted(made.items(), key=lambda item: -item[1][0].example.nbytes):
        size = -(-max(1, value.example.nbytes) // ALIGNMENT) * ALIGNMENT
        start = 0
        for low, high, begin, end in sorted(placed):
            if begin <= last[key] and first <= end and low < start + size and start < high:
                start = high
        offsets[key] = start
        placed.append((start, start + size, first, last[key]))
    return offsets, max((high for _, high, _, _ in placed), default=0)
