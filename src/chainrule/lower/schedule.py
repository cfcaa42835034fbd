"""From the graph to stages: which steps share a loop, the order of the stages, and where each array is in memory.

**Fusion.** Steps over the same elements share a loop. An elementwise step joins the stage that computes its latest
input if it has the same shape; a reduction joins the loop that computes what it reduces. So a chain such as bias,
activation, loss is one pass over memory, and results that nothing else reads never leave the registers. Matrix
products, hand-written kernels and Python calls are stages of their own.

**Groups.** Stages that pass results on image by image, or row by row, are grouped: convolution, bias, activation, mask
and pooling of one image run one after the other before the next image begins, and the loops of a softmax or a
normalization run for one block of rows at a time. What they pass on stays in the cache; if nothing else reads it,
memory for one block is enough. Threads divide the blocks among themselves, without barriers between the stages. Sums
over images are computed as partial sums, whose number does not depend on the number of threads.

**Memory planning.** An array occupies its bytes of a common arena from the stage that computes it to the last stage
that reads it; then they are reused.

A `Stage` becomes one kernel; it is not called Kernel, because `kernels.tree.Kernel` is the code of one. Called by
`capture` and `eager`. How a stage's loops run is decided in `loops`, how threads run them in `script`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels import sums, team
from chainrule.lower.graph import INPUT_KINDS, Value, base_of, offset_of, reachable
from chainrule.lower.loops import Nest, is_partial

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT = 64  # bytes, a cache line
PARTS, MIN_SPLIT_WORK = 8, 200_000  # the number of partial sums, and the least work for which a sum is split

CACHE_BYTES = 32_768  # of the L1 cache, for a block of rows
MIN_BLOCKED_BYTES = 131_072  # passed on inside a group; with fewer, blocks are not worthwhile
LOOK_AHEAD = 24  # stages considered for a group


@dataclass(eq=False)
class Group:
    """Stages that run together, block by block, so that what they pass on stays in the cache.

    Attributes:
        images: the size of the first dimension, which the group works through in blocks: the number of images, or of
            rows of a matrix, called images here too. The number of rows of each stage's kernel is a multiple of it.
        block_size: how many of them run at a time.
        parts: the number of partial sums of the stages that sum over them, or 0.
    """

    images: int
    block_size: int = 1
    parts: int = 0

    @property
    def blocks(self) -> int:
        """The number of blocks; the last may be smaller."""
        return -(-self.images // self.block_size)

    def bytes_of(self, value: Value) -> int:
        """The size of a block of a value, in bytes."""
        return value.example.nbytes // self.images * self.block_size


@dataclass(eq=False)
class Stage:
    """Steps that run together, in one kernel.

    Attributes:
        kind: "loop", "matmul", "call" or "kernel".
        shape: the shape that its loops run over.
        steps: the steps, in order.
        stored_values: results that other stages read, or that are outputs.
        writes: external memory to update: pairs (captured value, its new value).
        parts: the number of partial sums over its rows, or 0.
        group: the group it belongs to, or None.
        order: its dimensions, from the outermost loop to the innermost, once decided.
    """

    kind: str
    shape: tuple[int, ...]
    steps: list[Value] = field(default_factory=list)
    stored_values: list[Value] = field(default_factory=list)
    writes: list[tuple[Value, Value]] = field(default_factory=list)
    parts: int = 0
    group: Group | None = None
    order: list[int] | None = None

    def reads(self) -> list[Value]:
        """The arrays from other stages that its steps read, each once; views of one base count separately."""
        own_steps = {id(step) for step in self.steps}
        reads = {id(v): v for step in self.steps for v in step.values() if id(v) not in own_steps}
        reads.update({id(v): v for _, v in self.writes if id(v) not in own_steps})
        return list(reads.values())


@dataclass
class Plan:
    """The stages of a program, and where its arrays are in memory.

    Attributes:
        stages: the stages in execution order.
        offsets: where in the arena each value begins, in bytes, by identity.
        arena_size: the size of the arena in bytes.
        block_buffers: values of which each thread holds one block at a time, by identity: (the distance between the
            threads' buffers, the size of a block), in bytes.
    """

    stages: list[Stage]
    offsets: dict[int, int]
    arena_size: int
    block_buffers: dict[int, tuple[int, int]]


def plan(values: Sequence[Value], outputs: Sequence[Value], writes: Sequence[tuple[Value, Value]]) -> Plan:
    """Put the steps that the outputs and writes depend on into stages, and their results into memory.

    Args:
        values: all values, in the order of the trace.
        outputs: results, which get memory of their own.
        writes: pairs (captured value, its value at the end of the call).
    """
    draws = [value for value in values if value.options.get("draws")]  # later random numbers depend on them
    roots = [*outputs, *draws, *(value for _, value in writes)]
    stages = _merge_loops(_fuse(_hoist_python_calls(reachable(values, roots))))
    stages = _group_stages(_split_sums(stages, outputs))
    stage_of = {id(step): number for number, stage in enumerate(stages) for step in stage.steps}
    _place_writes(stages, stage_of, writes)
    _choose_stored(stages, outputs)
    return _plan_memory(stages, outputs)


def _hoist_python_calls(values: list[Value]) -> list[Value]:
    """Move Python calls that depend on no compiled step to the front, so that they do not split segments."""
    earlier: dict[int, Value] = {}
    for value in values:
        is_ready = value.kind in INPUT_KINDS or all(id(v) in earlier for v in value.values())
        if is_ready and value.kind in (*INPUT_KINDS, "view", "call", "tuple_item"):
            earlier[id(value)] = value
    return [*earlier.values(), *(value for value in values if id(value) not in earlier)]


def _fuse(values: list[Value]) -> list[Stage]:
    """Put each step into the stage of its latest input if possible, else into a new one."""
    stages: list[Stage] = []
    stage_of: dict[int, int] = {}  # a view belongs to the stage of its base
    for value in values:
        last = max((stage_of[id(v)] for v in value.values() if id(v) in stage_of), default=-1)
        if value.kind in INPUT_KINDS:
            continue
        if value.kind in ("view", "tuple_item"):
            if last >= 0:
                stage_of[id(value)] = last
                if value.kind == "tuple_item" and stages[last].kind == "call":
                    stages[last].steps.append(value)  # so that stages that read it come after the call
            continue
        if value.kind in ("elementwise", "reduce"):
            shape = value.shape if value.kind == "elementwise" else value.inputs[0].shape
            if last >= 0 and _can_join(value, shape, stages[last], stage_of, last):
                stages[last].steps.append(value)
                stage_of[id(value)] = last
                continue
            stages.append(Stage("loop", shape))
        else:
            stages.append(Stage(value.kind, value.shape, parts=value.options.get("parts", 0)))
        results = [value, *value.options.get("other_results", ())]
        stages[-1].steps += results
        stage_of.update((id(v), len(stages) - 1) for v in results)
    return stages


def _merge_loops(stages: list[Stage]) -> list[Stage]:
    """Merge loops over the same shape that share inputs, or pass results on elementwise, where the order allows it."""
    count = len(stages) + 1
    while len(stages) < count:
        count = len(stages)
        computed_ids = [{id(step) for step in stage.steps} for stage in stages]
        reads = [{id(base_of(v)) for v in stage.reads()} for stage in stages]
        later = 0
        while later < len(stages):
            for earlier in range(later - 1, -1, -1):
                a, b = stages[earlier], stages[later]
                if a.kind != "loop" or b.kind != "loop" or a.shape != b.shape or not a.shape:
                    continue
                shared_values = [v for v in b.reads() if id(base_of(v)) in computed_ids[earlier]]
                shares_arrays = shared_values or reads[earlier] & reads[later]
                if not shares_arrays or any(v.kind != "elementwise" for v in shared_values):
                    continue
                between = range(earlier + 1, later)
                if not any(reads[k] & computed_ids[earlier] for k in between):
                    target = later  # the first loop can be moved to the second
                elif not any(reads[later] & computed_ids[k] for k in between):
                    target = earlier
                else:
                    continue
                stages[target] = Stage("loop", a.shape, [*a.steps, *b.steps])
                computed_ids[target] = computed_ids[earlier] | computed_ids[later]
                reads[target] = reads[earlier] | reads[later]
                removed = earlier if target == later else later
                del stages[removed], computed_ids[removed], reads[removed]
                later -= 1
                break
            else:
                later += 1
    return stages


def _split_sums(stages: list[Stage], outputs: Sequence[Value]) -> list[Stage]:
    """Continue long float32 sums in double precision, and split sums over rows into partial sums for threads.

    Adding the partial sums, or converting back to float32, becomes a stage of its own. The loop order of each
    stage is fixed here, because the split depends on it; otherwise a write that joins the stage could change it.
    """
    _choose_stored(stages, outputs)
    result: list[Stage] = []
    for stage in stages:
        result.append(stage)
        if stage.kind != "loop" or not any(step.kind == "reduce" for step in stage.steps):
            continue
        nest = Nest(stage)
        stage.order = nest.order
        can_split = not nest.outermost_parallel and len(nest.sizes) > 1 and nest.sizes[0] >= PARTS
        if can_split and work(stage) >= MIN_SPLIT_WORK:
            stage.parts = PARTS
        for position, step in enumerate(stage.steps):
            if step.kind != "reduce":
                continue
            is_split = stage.parts > 0 and not nest.strides[id(step)][0]
            is_long = nest.additions(step, in_blocks=is_split) > sums.SHORT
            in_double = step.op == "sum" and step.dtype == np.float32 and is_long
            if not (is_split or in_double):
                continue
            shape = (PARTS, *step.shape) if is_split else step.shape
            options = {**step.options, "parts": PARTS} if is_split else step.options
            total = Value(
                "reduce", step.op, step.inputs, np.empty(shape, np.float64 if in_double else step.dtype), options
            )
            stage.steps[position] = total
            step.inputs = (total,)
            if is_split:
                step.options = {"axes": (0,), "keepdims": False}
            else:
                step.kind, step.op, step.options = "elementwise", "cast", {"type": step.dtype}
            result.append(Stage("loop", total.shape, [step]))
    return result


def _group_stages(stages: list[Stage]) -> list[Stage]:
    """Group stages that can run image by image: put them next to each other, after the stages they depend on."""
    result: list[Stage] = []
    rest = list(stages)
    while rest:
        images = _image_count(rest[0]) or (rest[0].shape[0] if rest[0].kind == "loop" and rest[0].shape else 0)
        if images > 1:
            before, inside, rest_after = _collect_group(rest, images)
            size = _block_size(inside, images)
            if size:
                group = Group(images, size, max(stage.parts for stage in inside))
                for stage in inside:
                    stage.group = group
                result += [*before, *inside]
                rest = rest_after
                continue
        result.append(rest.pop(0))
    return result


def _block_size(stages: Sequence[Stage], images: int) -> int:
    """How many images a group of stages should run at a time; 0 if grouping is not worthwhile.

    The order of additions depends on it, so for partial sums it must not depend on the number of threads.
    """
    if len(stages) < 2:
        return 0
    has_parts = any(stage.parts for stage in stages)
    if any(stage.kind == "kernel" for stage in stages):
        return 1 if has_parts or is_balanced(images) else 0
    steps_by_id = {id(step): step for stage in stages for step in stage.steps if step.shape[:1] == (images,)}
    shared_ids = {id(base_of(v)) for stage in stages for v in stage.reads()} & steps_by_id.keys()
    if sum(steps_by_id[key].example.nbytes for key in shared_ids) < MIN_BLOCKED_BYTES:
        return 0
    read = {id(v): v for stage in stages for v in stage.reads() if v.shape[:1] == (images,)}
    image_bytes = sum(v.example.nbytes // images for v in [*read.values(), *(steps_by_id[key] for key in shared_ids)])
    return max(1, min(CACHE_BYTES // max(1, image_bytes), images // (PARTS if has_parts else 4 * team.threads())))


def _collect_group(stages: list[Stage], images: int) -> tuple[list[Stage], list[Stage], list[Stage]]:
    """The group that begins with the first stage: (stages before it, the group, all stages after it)."""
    assignment: dict[int, str] = {}  # for each stage: "before", "inside" or "after"
    computed_ids: dict[str, set[int]] = {"inside": set(), "after": set()}
    parts = 0
    end = 0
    for n, stage in enumerate(stages[:LOOK_AHEAD]):
        reads = {id(base_of(v)) for v in stage.reads()}
        is_connected = (not n or reads & computed_ids["inside"]) and not reads & computed_ids["after"]
        same_parts = stage.parts in (0, parts or stage.parts)
        if is_connected and same_parts and _runs_by_image(stage, images, computed_ids["inside"]):
            where = "inside"
            parts, end = parts or stage.parts, n
        elif reads & (computed_ids["inside"] | computed_ids["after"]) or stage.kind == "call":
            where = "after"
        else:
            where = "before"
        assignment[n] = where
        computed_ids.setdefault(where, set()).update(id(step) for step in stage.steps)
        if not n and where != "inside":
            return [], [], stages
    stages_of = {
        where: [stages[n] for n in range(end + 1) if assignment[n] == where] for where in ("before", "inside", "after")
    }
    return stages_of["before"], stages_of["inside"], stages_of["after"] + stages[end + 1 :]


def _image_count(stage: Stage) -> int:
    """The number of images that a kernel processes one by one, or 0."""
    return stage.steps[0].options.get("images", 0) if stage.kind == "kernel" else 0


def is_balanced(count: int) -> bool:
    """Whether threads that divide `count` items get about as many each."""
    threads = team.threads()
    return count > 1 and -(-count // threads) * threads <= 1.25 * count


def _runs_by_image(stage: Stage, images: int, inside: set[int]) -> bool:
    """Whether a stage reads and computes image by image; `inside` is what its group has computed so far."""
    if stage.parts > images:
        return False
    if not all(_is_split_by_image(v, images) for v in stage.reads() if id(base_of(v)) in inside):
        return False
    if stage.kind == "kernel":
        return _image_count(stage) == images
    if stage.kind != "loop" or not stage.shape or stage.shape[0] != images:
        return False
    nest = Nest(stage)
    first = next((d for d in nest.order if stage.shape[d] > 1), None)
    whole_steps = [step for step in stage.steps if not is_partial(step)]
    return (
        nest.outermost_parallel
        and first == 0
        and nest.sizes[0] % images == 0
        and all(step.shape[:1] == (images,) and _is_split_by_image(step, images) for step in whole_steps)
    )


def _is_split_by_image(value: Value, images: int) -> bool:
    """Whether image i of a value lies inside image i of its base's memory, for all i."""
    base, offset = base_of(value), offset_of(value)
    if value.shape[:1] != (images,) or base.size % images:
        return False
    image_size = base.size // images
    ends = [(n - 1) * s for n, s in zip(value.shape[1:], value.strides[1:], strict=True)]
    first, last = offset + sum(min(0, end) for end in ends), offset + sum(max(0, end) for end in ends)
    return value.strides[0] == image_size and first >= 0 and last < image_size


def work(stage: Stage) -> float:
    """Roughly how much a stage computes.

    An element of a loop counts 1 or more, eight multiply-adds of a matrix product 1, four of a hand-written kernel 1.
    """
    if stage.kind == "matmul":
        return float(stage.steps[0].size * stage.steps[0].inputs[0].shape[-1] / 8)  # vectors of about 8
    if stage.kind == "kernel":
        step = stage.steps[0]
        return float(step.options.get("flops", 0) / 8 or step.options["job"].work)
    return math.prod(stage.shape) * (1 + len(stage.steps) / 4)


def _can_join(value: Value, shape: tuple[int, ...], stage: Stage, stage_of: dict[int, int], number: int) -> bool:
    """Whether a step can run in a stage's loop: what it reads of the stage must be available at the same element."""
    if stage.kind != "loop" or stage.shape != shape or not shape:
        return False
    inside = [v for v in value.values() if stage_of.get(id(v)) == number]
    return all(v.kind == "elementwise" and v.shape == shape for v in inside)


def _place_writes(stages: list[Stage], stage_of: dict[int, int], writes: Sequence[tuple[Value, Value]]) -> None:
    """Write external memory where its new value is computed, if nothing reads the old value later; else at the end.

    A new value is never itself external memory that changes (`Trace.finish` ensures that), so the writes at the end
    may be in any order. Writes come after all Python calls that may fail: if one does, nothing has been changed;
    random draws do not fail.
    """
    calls = [n for n, stage in enumerate(stages) if stage.kind == "call" and not stage.steps[0].options.get("draws")]
    last_call = max(calls, default=-1)
    last_reads = {id(base_of(v)): n for n, stage in enumerate(stages) for v in stage.reads()}
    for target, value in writes:
        number, last_read = stage_of.get(id(value), -1), last_reads.get(id(target), -1)
        fits = number >= 0 and stages[number].kind == "loop" and value.kind == "elementwise"
        fits = fits and value.shape == target.shape and stages[number].group is None and number > last_call
        reads = [v for v in stages[number].reads() if base_of(v) is target] if fits else []
        if fits and last_read <= number and all(v is target for v in reads):  # the stage reads it elementwise
            stages[number].writes.append((target, value))
        else:
            stages.append(Stage("loop", target.shape, writes=[(target, value)]))


def _choose_stored(stages: list[Stage], outputs: Sequence[Value]) -> None:
    """Decide which results are stored in memory: those that other stages read, and outputs."""
    read = {id(base_of(v)) for stage in stages for v in stage.reads()} | {id(base_of(v)) for v in outputs}
    for stage in stages:
        stage.stored_values = [
            step for step in stage.steps if id(step) in read or step.kind == "reduce" or stage.kind != "loop"
        ]


def _block_buffers(stages: list[Stage], outputs: Sequence[Value]) -> dict[int, Value]:
    """Values that only one group computes and reads: a buffer for one block per thread is enough for them."""
    output_ids = {id(base_of(v)) for v in outputs}
    readers: dict[int, list[Group | None]] = {}
    for stage in stages:
        for v in stage.reads():
            readers.setdefault(id(base_of(v)), []).append(stage.group)
    return {
        id(value): value
        for stage in stages
        for value in (stage.stored_values if stage.group is not None else ())
        if all(group is stage.group for group in readers.get(id(value), ()))
        and id(value) not in output_ids
        and value.kind != "scratch"
        and not is_partial(value)
    }


def _plan_memory(stages: list[Stage], outputs: Sequence[Value]) -> Plan:
    """Assign memory to each stored value by lifetime."""
    output_ids = {id(base_of(v)) for v in outputs}
    buffered_values = _block_buffers(stages, outputs)
    lifetimes: dict[int, list[int]] = {}  # size in bytes, first and last stage
    block_lifetimes: dict[Group, dict[int, list[int]]] = {}  # the same for a block of values that only one group uses
    spans: dict[Group, list[int]] = {}  # of groups: the first and the last stage
    for number, stage in enumerate(stages):
        if stage.group is not None:
            spans.setdefault(stage.group, [number, number])[1] = number
    for number, stage in enumerate(stages):
        first, last = spans[stage.group] if stage.group is not None else (number, number)
        for value in stage.stored_values:
            if id(value) in buffered_values and stage.group is not None:
                block_lifetimes.setdefault(stage.group, {})[id(value)] = [stage.group.bytes_of(value), number, number]
            elif stage.kind != "call" and id(value) not in output_ids:
                lifetimes[id(value)] = [value.example.nbytes, first, last]
        for key in {id(base_of(v)) for v in stage.reads()}:
            if key in buffered_values and stage.group is not None:
                block_lifetimes[stage.group][key][2] = number
            elif key in lifetimes:
                lifetimes[key][2] = last
    blocks = {group: _assign_offsets(values) for group, values in block_lifetimes.items()}  # one for each thread
    lifetimes |= {id(group): [size * team.threads(), *spans[group]] for group, (_, size) in blocks.items()}
    offsets, arena_size = _assign_offsets(lifetimes)
    for group, (block_offsets, _) in blocks.items():
        offsets |= {key: offsets[id(group)] + offset for key, offset in block_offsets.items()}
    block_buffers = {
        key: (size, block_lifetimes[group][key][0])
        for group, (block_offsets, size) in blocks.items()
        for key in block_offsets
    }
    return Plan(stages, offsets, arena_size, block_buffers)


def _assign_offsets(values: dict[int, list[int]]) -> tuple[dict[int, int], int]:
    """Offsets in memory for values (size, first stage, last stage), and the total size."""
    offsets: dict[int, int] = {}
    intervals: list[tuple[int, int, int, int]] = []  # start and end in memory, first and last stage
    for key, (count, first, last) in sorted(values.items(), key=lambda item: -item[1][0]):
        size = -(-max(1, count) // ALIGNMENT) * ALIGNMENT
        start = 0
        for low, high, begin, end in sorted(intervals):
            if begin <= last and first <= end and low < start + size and start < high:
                start = high
        offsets[key] = start
        intervals.append((start, start + size, first, last))
    return offsets, max((high for _, high, _, _ in intervals), default=0)
