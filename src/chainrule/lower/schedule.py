"""From the graph to stages: which steps share a loop, in which order they run, and where each array lies in memory.

Steps that run over the same elements are **fused** into one loop: an elementwise step joins the stage that made its
latest input, if it runs over the same shape, and a reduction joins the loop that made what it reduces. So a chain such
as bias, activation, loss is one pass over memory, and what nobody else reads never leaves the registers. Products of
matrices, kernels and calls of Python are stages of their own.

Stages that hand on pictures or rows are **grouped**: convolution, bias, activation, mask and pooling of one image run
one after the other before the next image's turn, and so do the loops of a softmax or a normalization, some rows at a
time; what they hand on stays in the cache, and, if nobody else reads it, has memory for one block only. Threads share
out the blocks and need not wait for each other in between. What is summed over images is summed in parts, whose number
does not depend on the threads.

Memory is **planned by lifetime**: an array holds its bytes of one big arena from the stage that makes it to the last
that reads it, and then another takes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels import sums, team
from chainrule.lower.graph import SOURCES, Value, base_of, offset_of, reachable
from chainrule.lower.loops import Nest, in_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT = 64  # bytes, a cache line
PARTS, WORTH_PARTS = 8, 30_000  # a sum that takes so much work is made in so many parts

CACHE_BYTES = 32_768  # what a block of rows may take in the first cache
WORTH_BLOCKS = 131_072  # bytes handed on inside a group from which on blocks pay
LOOK_AHEAD = 24  # stages that are considered for a group


@dataclass(eq=False)
class Group:
    """Stages that run together, block by block, so that what they hand on stays in the cache.

    Attributes:
        images: how many images, or rows, there are; each stage's rows are a multiple of it.
        block: how many of them are run at a time.
        parts: in how many parts some of the stages sum over them, or 0.
    """

    images: int
    block: int = 1
    parts: int = 0

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last may be smaller."""
        return -(-self.images // self.block)

    def bytes_of(self, value: Value) -> int:
        """How much memory a block of a value takes."""
        return value.example.nbytes // self.images * self.block


@dataclass(eq=False)
class Stage:
    """Steps that run together.

    Attributes:
        kind: "loop", "matmul", "call" or "kernel".
        shape: of the loop.
        steps: in their order.
        stored: results that other stages read, or that are wanted.
        writes: for memory outside, the value that it is to hold: pairs of a captured value and a step.
        parts: in how many parts it sums over its rows, if it does.
        group: the stages that it runs together with.
        order: of its dimensions, the outermost loop's first, once that is decided.
    """

    kind: str
    shape: tuple[int, ...]
    steps: list[Value] = field(default_factory=list)
    stored: list[Value] = field(default_factory=list)
    writes: list[tuple[Value, Value]] = field(default_factory=list)
    parts: int = 0
    group: Group | None = None
    order: list[int] | None = None

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
        windows: values of which each thread has one block at a time, by identity: how many bytes the threads' blocks
            are apart, and how many bytes a block has.
    """

    stages: list[Stage]
    offsets: dict[int, int]
    arena: int
    windows: dict[int, tuple[int, int]]


def plan(values: Sequence[Value], outputs: Sequence[Value], writes: Sequence[tuple[Value, Value]]) -> Plan:
    """Put the steps that the outputs and writes need into stages, and their results into memory.

    Args:
        values: all steps, in the order of the trace.
        outputs: what must be there at the end, in memory of its own.
        writes: captured memory and what it is to hold at the end.
    """
    draws = [value for value in values if value.options.get("draws")]  # the next ones depend on them
    wanted = [*outputs, *draws, *(value for _, value in writes)]
    stages = _merged(_fused(_early_calls(reachable(values, wanted))))
    stages = _grouped(_exact_sums(stages, outputs))
    stage_of = {id(step): number for number, stage in enumerate(stages) for step in stage.steps}
    _place_writes(stages, stage_of, writes)
    _choose_stored(stages, outputs)
    return _in_memory(stages, outputs)


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
                if value.kind == "part" and stages[last].kind == "call":
                    stages[last].steps.append(value)  # so that whatever reads it is known to come after the call
            continue
        if value.kind in ("elementwise", "reduce"):
            shape = value.shape if value.kind == "elementwise" else value.inputs[0].shape
            if last >= 0 and _joins(value, shape, stages[last], stage_of, last):
                stages[last].steps.append(value)
                stage_of[id(value)] = last
                continue
            stages.append(Stage("loop", shape))
        else:
            stages.append(Stage(value.kind, value.shape, parts=value.options.get("parts", 0)))
        made_here = [value, *value.options.get("also", ())]
        stages[-1].steps += made_here
        stage_of.update((id(v), len(stages) - 1) for v in made_here)
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


def _exact_sums(stages: list[Stage], outputs: Sequence[Value]) -> list[Stage]:
    """Long sums of float32 go on in doubles; those over rows are made in parts, which threads share out.

    The sum over the parts, or the conversion back to float32, is a stage of its own. What a nest of loops decides about
    the order of its dimensions stays.
    """
    _choose_stored(stages, outputs)
    found: list[Stage] = []
    for stage in stages:
        found.append(stage)
        if stage.kind != "loop" or not any(step.kind == "reduce" for step in stage.steps):
            continue
        nest = Nest(stage)
        stage.order = nest.order
        if work(stage) >= WORTH_PARTS and not nest.outermost_free and len(nest.sizes) > 1 and nest.sizes[0] >= PARTS:
            stage.parts = PARTS
        for position, step in enumerate(stage.steps):
            if step.kind != "reduce":
                continue
            by_parts = stage.parts > 0 and not nest.strides[id(step)][0]
            long = nest.additions(step, in_blocks=by_parts) > sums.SHORT
            double = step.op == "sum" and step.dtype == np.float32 and long
            if not (by_parts or double):
                continue
            shape = (PARTS, *step.shape) if by_parts else step.shape
            options = {**step.options, "parts": PARTS} if by_parts else step.options
            total = Value(
                "reduce", step.op, step.inputs, np.empty(shape, np.float64 if double else step.dtype), options
            )
            stage.steps[position] = total
            step.inputs = (total,)
            if by_parts:
                step.options = {"axes": (0,), "keepdims": False}
            else:
                step.kind, step.op, step.options = "elementwise", "cast", {"type": step.dtype}
            found.append(Stage("loop", total.shape, [step]))
    return found


def _grouped(stages: list[Stage]) -> list[Stage]:
    """Stages that can run image by image put side by side, as groups; what they wait for comes before."""
    found: list[Stage] = []
    rest = list(stages)
    while rest:
        images = _images(rest[0]) or (rest[0].shape[0] if rest[0].kind == "loop" and rest[0].shape else 0)
        if images > 1:
            before, inside, rest_after = _gathered(rest, images)
            block = _block(inside, images)
            if block:
                group = Group(images, block, max(stage.parts for stage in inside))
                for stage in inside:
                    stage.group = group
                found += [*before, *inside]
                rest = rest_after
                continue
        found.append(rest.pop(0))
    return found


def _block(stages: Sequence[Stage], images: int) -> int:
    """How many images a group of stages should run at a time; 0 if it should not be one."""
    if len(stages) < 2:
        return 0
    if any(stage.kind == "kernel" for stage in stages):
        return int(balanced(images))
    made = {id(step): step for stage in stages for step in stage.steps if step.shape[:1] == (images,)}
    handed = {id(base_of(v)) for stage in stages for v in stage.reads()} & made.keys()
    if sum(made[key].example.nbytes for key in handed) < WORTH_BLOCKS:
        return 0
    touched = {id(v): v for stage in stages for v in stage.reads() if v.shape[:1] == (images,)}
    each = sum(v.example.nbytes // images for v in [*touched.values(), *(made[key] for key in handed)])
    return max(1, min(CACHE_BYTES // max(1, each), images // (4 * team.threads())))


def _gathered(stages: list[Stage], images: int) -> tuple[list[Stage], list[Stage], list[Stage]]:
    """The group that begins with the first stage: what must come before it, the group, and all others."""
    places: dict[int, str] = {}
    made: dict[str, set[int]] = {"inside": set(), "after": set()}  # by whom
    parts = 0
    end = 0
    for n, stage in enumerate(stages[:LOOK_AHEAD]):
        reads = {id(base_of(v)) for v in stage.reads()}
        joins = (not n or reads & made["inside"]) and not reads & made["after"]
        if joins and _by_image(stage, images, made["inside"]) and stage.parts in (0, parts or stage.parts):
            where = "inside"
            parts, end = parts or stage.parts, n
        elif reads & (made["inside"] | made["after"]) or stage.kind == "call":
            where = "after"
        else:
            where = "before"
        places[n] = where
        made.setdefault(where, set()).update(id(step) for step in stage.steps)
        if not n and where != "inside":
            return [], [], stages
    chosen = {
        place: [stages[n] for n in range(end + 1) if places[n] == place] for place in ("before", "inside", "after")
    }
    return chosen["before"], chosen["inside"], chosen["after"] + stages[end + 1 :]


def _images(stage: Stage) -> int:
    """How many images a kernel works at one by one, or 0."""
    return stage.steps[0].options.get("images", 0) if stage.kind == "kernel" else 0


def balanced(count: int) -> bool:
    """Whether threads that share out so many items have about as many each."""
    threads = team.threads()
    return count > 1 and -(-count // threads) * threads <= 1.25 * count


def _by_image(stage: Stage, images: int, made: set[int]) -> bool:
    """Whether a stage makes, image by image, what others can read so; `made` is what it must read so itself."""
    if stage.parts and (stage.parts > images or not balanced(stage.parts)):
        return False
    if not all(_seen_by_image(v, images) for v in stage.reads() if id(base_of(v)) in made):
        return False
    if stage.kind == "kernel":
        return _images(stage) == images
    if stage.kind != "loop" or not stage.shape or stage.shape[0] != images:
        return False
    nest = Nest(stage)
    first = next((d for d in nest.order if stage.shape[d] > 1), None)
    whole = [step for step in stage.steps if not in_parts(step)]
    return (
        nest.outermost_free
        and first == 0
        and nest.sizes[0] % images == 0
        and all(step.shape[:1] == (images,) and _seen_by_image(step, images) for step in whole)
    )


def _seen_by_image(value: Value, images: int) -> bool:
    """Whether the images of a value are those of the memory that it is seen through, one after the other."""
    base, offset = base_of(value), offset_of(value)
    if value.shape[:1] != (images,) or base.size % images:
        return False
    each = base.size // images
    ends = [(n - 1) * s for n, s in zip(value.shape[1:], value.strides[1:], strict=True)]
    first, last = offset + sum(min(0, end) for end in ends), offset + sum(max(0, end) for end in ends)
    return value.strides[0] == each and first >= 0 and last < each


def work(stage: Stage) -> float:
    """About how many multiplications and moves of numbers a stage makes."""
    if stage.kind == "matmul":
        return float(stage.steps[0].size * stage.steps[0].inputs[0].shape[-1] / 8)  # so many at a time
    if stage.kind == "kernel":
        step = stage.steps[0]
        return float(step.options.get("flops", 0) / 8 or step.options["job"].work)
    return math.prod(stage.shape) * (1 + len(stage.steps) / 4)


def _joins(value: Value, shape: tuple[int, ...], stage: Stage, stage_of: dict[int, int], number: int) -> bool:
    """Whether a step can run in a stage's loop: what it reads of it must be there at the same element."""
    if stage.kind != "loop" or stage.shape != shape or not shape:
        return False
    inside = [v for v in value.values() if stage_of.get(id(v)) == number]
    return all(v.kind == "elementwise" and v.shape == shape for v in inside)


def _place_writes(stages: list[Stage], stage_of: dict[int, int], writes: Sequence[tuple[Value, Value]]) -> None:
    """Write into memory outside where the value is made, if nobody reads the old value later; else at the end.

    What is written is never memory outside that is itself changed (`Trace.finished` sees to that), so the writes at the
    end may come in any order. A call of Python may fail: nothing has been changed then.
    """
    calls = [n for n, stage in enumerate(stages) if stage.kind == "call" and not stage.steps[0].options.get("draws")]
    last_call = max(calls, default=-1)
    for target, value in writes:
        last_read = max(
            (n for n, stage in enumerate(stages) for v in stage.reads() if base_of(v) is target), default=-1
        )
        home = stage_of.get(id(value), -1)
        fits = home >= 0 and stages[home].kind == "loop" and value.kind == "elementwise" and value.shape == target.shape
        fits = fits and stages[home].group is None and home > last_call
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


def _windows(stages: list[Stage], outputs: Sequence[Value]) -> dict[int, Value]:
    """What is made and read in one group only, so that one image of it is enough for each thread."""
    kept = {id(base_of(v)) for v in outputs}
    readers: dict[int, list[Group | None]] = {}
    for stage in stages:
        for v in stage.reads():
            readers.setdefault(id(base_of(v)), []).append(stage.group)
    return {
        id(value): value
        for stage in stages
        for value in (stage.stored if stage.group is not None else ())
        if all(group is stage.group for group in readers.get(id(value), ()))
        and id(value) not in kept
        and value.kind != "scratch"
        and not in_parts(value)
    }


def _in_memory(stages: list[Stage], outputs: Sequence[Value]) -> Plan:
    kept = {id(base_of(v)) for v in outputs}
    windows = _windows(stages, outputs)
    made: dict[int, list[int]] = {}  # how many bytes, and the first and last stage that needs them
    inside: dict[Group, dict[int, list[int]]] = {}  # the same for one image of what only a group needs
    spans: dict[Group, list[int]] = {}  # of groups: the first and the last stage
    for number, stage in enumerate(stages):
        if stage.group is not None:
            spans.setdefault(stage.group, [number, number])[1] = number
    for number, stage in enumerate(stages):
        first, last = spans[stage.group] if stage.group is not None else (number, number)
        for value in stage.stored:
            if id(value) in windows and stage.group is not None:
                inside.setdefault(stage.group, {})[id(value)] = [stage.group.bytes_of(value), number, number]
            elif stage.kind != "call" and id(value) not in kept:
                made[id(value)] = [value.example.nbytes, first, last]
        for key in {id(base_of(v)) for v in stage.reads()}:
            if key in windows and stage.group is not None:
                inside[stage.group][key][2] = number
            elif key in made:
                made[key][2] = last
    blocks = {group: _placed(values) for group, values in inside.items()}  # each thread has one
    made |= {id(group): [size * team.threads(), *spans[group]] for group, (_, size) in blocks.items()}
    offsets, arena = _placed(made)
    for group, (within, _) in blocks.items():
        offsets |= {key: offsets[id(group)] + offset for key, offset in within.items()}
    apart = {key: (size, inside[group][key][0]) for group, (within, size) in blocks.items() for key in within}
    return Plan(stages, offsets, arena, apart)


def _placed(values: dict[int, list[int]]) -> tuple[dict[int, int], int]:
    """Where in memory each value begins, by its size, first and last stage; and the size of it all."""
    offsets: dict[int, int] = {}
    placed: list[tuple[int, int, int, int]] = []  # from and to in memory, first and last stage
    for key, (count, first, last) in sorted(values.items(), key=lambda item: -item[1][0]):
        size = -(-max(1, count) // ALIGNMENT) * ALIGNMENT
        start = 0
        for low, high, begin, end in sorted(placed):
            if begin <= last and first <= end and low < start + size and start < high:
                start = high
        offsets[key] = start
        placed.append((start, start + size, first, last))
    return offsets, max((high for _, high, _, _ in placed), default=0)
