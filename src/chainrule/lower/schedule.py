"""From the graph to stages: which steps share a loop, the order of the stages, and where each array is in memory.

**Fusion.** Steps over the same elements share a loop. An elementwise step joins the stage that computes its latest
input if it has the same shape; a reduction joins the loop that computes its input. So a chain such as bias,
activation, loss is one pass over memory, and results that nothing else reads never leave the registers. Matrix
products, hand-written kernels and Python calls are stages of their own.

**Recomputation.** A loop that would read a large result of an earlier loop, which is cheap to compute from arrays that
are in memory anyway, recomputes it. So the result need not be stored: memory is slower than a few additions.

**Groups.** Stages that pass results on image by image, or row by row, are grouped: convolution, bias, activation, mask
and pooling of one image run one after the other before the next image begins, and the loops of a softmax or a
normalization run for one block of rows at a time. The results that they pass on stay in the cache; a result that
nothing else reads needs memory for one block per thread only. Threads divide the blocks among themselves, without
barriers between the stages. Reductions over images (sums, maxima, minima) are computed in parts, whose number does not
depend on the number of threads; a later stage combines these partial results.

**Memory planning.** All intermediate results are in one block of memory, the arena. A result occupies its bytes there
from the stage that computes it to the last stage that reads it; then other results reuse them.

A `Stage` becomes one kernel. (It is not called Kernel, because `kernels.tree.Kernel` is the code of a kernel.) How a
stage's loops run is decided in `loops`, how threads run them in `script`. Called by `capture` and `eager`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels import sums, team
from chainrule.kernels.job import MULTIPLY_ADDS_PER_ITERATION
from chainrule.lower.graph import INPUT_KINDS, Value, base_of, offset_of, reachable
from chainrule.lower.loops import Nest, is_partial

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT = 64
"""Arrays in the arena begin at multiples of this many bytes: a cache line."""
N_PARTS = 8
"""The number of parts into which a reduction over rows (a sum, maximum or minimum) is split. It is a constant, so that
results do not depend on the number of threads."""
MIN_SPLIT_WORK = 200_000
"""Reductions of stages with less work than this (see `work`) are not split."""
CACHE_BYTES = 32_768
"""The data of one block of rows should fit into this many bytes: an L1 cache."""
MIN_CACHED_BYTES = 131_072
"""Loops are grouped only if they then read at least this many bytes from the cache, not from memory: results of each
other, or arrays that several of them read."""
CHEAP_FUNCTIONS = {np.add, np.subtract, np.multiply, np.negative, np.square, "cast", np.where}
"""Functions that take less time than to store and read a result in memory."""
MAX_RECOMPUTED_STEPS = 12
"""How many steps a stage may recompute."""
MIN_RECOMPUTED_SIZE = 16_384
"""Values of fewer elements are stored rather than recomputed: they stay in the cache."""
MAX_STAGES_SEARCHED = 24
"""How many stages, from a group's first stage on, are considered for the group: a limit on the time of planning."""


@dataclass(eq=False)
class Group:
    """Stages that run together, block by block, so that the results they pass on stay in the cache.

    Attributes:
        n_images: the size of the first dimension, which is divided into blocks: the number of images, or of rows of a
            matrix, called images here too. The number of rows of each stage's kernel is a multiple of it.
        block_size: the number of images in a block.
        n_parts: the number of partial results, if the group has stages that reduce over images; otherwise 0.
    """

    n_images: int
    block_size: int = 1
    n_parts: int = 0

    @property
    def n_blocks(self) -> int:
        """The number of blocks; the last may be smaller."""
        return -(-self.n_images // self.block_size)

    def bytes_of(self, value: Value) -> int:
        """The size of one block of a value, in bytes."""
        return value.example.nbytes // self.n_images * self.block_size


@dataclass(eq=False)
class Stage:
    """Steps that run together, in one kernel; or a Python call with its results.

    Attributes:
        kind: "loop", "matmul", "call" or "kernel".
        shape: the shape that its loops run over.
        steps: the steps, in order.
        stored_values: its results that are stored in memory, because other stages read them, or because they are
            outputs; results of reductions, kernels and calls always are.
        writes: external memory to update: pairs (the value of that memory, captured or an argument; its new value).
        n_parts: the number of partial results of its reductions over rows; 0 if these are not split.
        group: the group that it belongs to, or None.
        order: its dimensions, from the outermost loop to the innermost; None if `loops.Nest` is to choose the order.
    """

    kind: str
    shape: tuple[int, ...]
    steps: list[Value] = field(default_factory=list)
    stored_values: list[Value] = field(default_factory=list)
    writes: list[tuple[Value, Value]] = field(default_factory=list)
    n_parts: int = 0
    group: Group | None = None
    order: list[int] | None = None

    def reads(self) -> list[Value]:
        """The values from outside that its steps and writes read, each once; views of one base count separately."""
        step_ids = {id(step) for step in self.steps}
        reads = {id(v): v for step in self.steps for v in step.values() if id(v) not in step_ids}
        reads.update({id(v): v for _, v in self.writes if id(v) not in step_ids})
        return list(reads.values())


@dataclass
class Schedule:
    """The stages of a program, and where its arrays are in memory.

    Attributes:
        stages: the stages in execution order.
        offsets: where in the arena each stored value begins, in bytes, by the value's identity.
        arena_size: the size of the arena in bytes.
        block_buffers: values of which each thread stores only one block at a time, by identity: (the distance from one
            thread's buffer to the next thread's, the size of a block), in bytes.
    """

    stages: list[Stage]
    offsets: dict[int, int]
    arena_size: int
    block_buffers: dict[int, tuple[int, int]]


def plan(values: Sequence[Value], outputs: Sequence[Value], writes: Sequence[tuple[Value, Value]]) -> Schedule:
    """Put the steps that the outputs and writes depend on into stages, and their results into memory.

    Args:
        values: all values, in the order of the trace.
        outputs: results to return, which are not in the arena.
        writes: pairs (the value of external memory, captured or an argument; its value at the end of the call).
    """
    draws = [value for value in values if value.options.get("draws")]  # never dead: they advance the generator
    roots = [*outputs, *draws, *(value for _, value in writes)]
    stages = _merge_loops(_fuse(_hoist_python_calls(reachable(values, roots))))
    _recompute(stages, roots)
    stages = _group_stages(_split_reductions(stages, outputs))
    stage_indices = {id(step): index for index, stage in enumerate(stages) for step in stage.steps}
    _place_writes(stages, stage_indices, writes)
    _choose_stored(stages, outputs)
    return _plan_memory(stages, outputs)


def _hoist_python_calls(values: list[Value]) -> list[Value]:
    """Move Python calls that do not depend on compiled steps to the front, so that they do not divide segments."""
    hoisted: dict[int, Value] = {}
    for value in values:
        is_ready = value.kind in INPUT_KINDS or all(id(v) in hoisted for v in value.values())
        if is_ready and value.kind in (*INPUT_KINDS, "view", "call", "tuple_item"):
            hoisted[id(value)] = value
    return [*hoisted.values(), *(value for value in values if id(value) not in hoisted)]


def _fuse(values: list[Value]) -> list[Stage]:
    """Put each step into the stage of its latest input if possible, else into a new one."""
    stages: list[Stage] = []
    stage_indices: dict[int, int] = {}  # by a value's identity; a view belongs to the stage of its base
    for value in values:
        latest = max((stage_indices[id(v)] for v in value.values() if id(v) in stage_indices), default=-1)
        if value.kind in INPUT_KINDS:
            continue
        if value.kind in ("view", "tuple_item"):
            if latest >= 0:
                stage_indices[id(value)] = latest
                if value.kind == "tuple_item" and stages[latest].kind == "call":
                    stages[latest].steps.append(value)  # so that stages that read it come after the call
            continue
        if value.kind in ("elementwise", "reduce"):
            shape = value.shape if value.kind == "elementwise" else value.inputs[0].shape
            inputs_from_latest = [v for v in value.values() if stage_indices.get(id(v)) == latest]
            if latest >= 0 and _can_join(shape, stages[latest], inputs_from_latest):
                stages[latest].steps.append(value)
                stage_indices[id(value)] = latest
                continue
            stages.append(Stage("loop", shape))
        else:
            stages.append(Stage(value.kind, value.shape, n_parts=value.options.get("n_parts", 0)))
        results = [value, *value.options.get("other_results", ())]
        stages[-1].steps += results
        stage_indices.update((id(v), len(stages) - 1) for v in results)
    return stages


def _merge_loops(stages: list[Stage]) -> list[Stage]:
    """Merge loops over the same shape that read the same arrays, or pass results on elementwise.

    The first loop can be moved to the second if no stage between them reads its results; the second can be moved to the
    first if no stage between them computes its inputs.
    """
    previous_count = len(stages) + 1
    while len(stages) < previous_count:  # until nothing more can be merged
        previous_count = len(stages)
        computed_ids = [{id(step) for step in stage.steps} for stage in stages]
        read_ids = [{id(base_of(v)) for v in stage.reads()} for stage in stages]
        j = 0
        while j < len(stages):
            for i in range(j - 1, -1, -1):
                first, second = stages[i], stages[j]
                if first.kind != "loop" or second.kind != "loop" or first.shape != second.shape or not first.shape:
                    continue
                passed_values = [v for v in second.reads() if id(base_of(v)) in computed_ids[i]]
                shares_arrays = passed_values or read_ids[i] & read_ids[j]
                if not shares_arrays or any(v.kind != "elementwise" for v in passed_values):
                    continue
                between = range(i + 1, j)
                if not any(read_ids[k] & computed_ids[i] for k in between):
                    target, removed = j, i  # move the first loop to the second
                elif not any(read_ids[j] & computed_ids[k] for k in between):
                    target, removed = i, j  # move the second loop to the first
                else:
                    continue
                stages[target] = Stage("loop", first.shape, [*first.steps, *second.steps])
                computed_ids[target] |= computed_ids[removed]
                read_ids[target] |= read_ids[removed]
                del stages[removed], computed_ids[removed], read_ids[removed]
                j -= 1
                break
            else:
                j += 1
    return stages


def _recompute(stages: list[Stage], roots: Sequence[Value]) -> None:
    """Let loops recompute large results of earlier loops, where that takes little arithmetic and reads no more memory.

    For example, the derivative of a normalization reads its input again, rather than its input minus the mean, which
    would have to be stored.
    """
    kept_ids = {id(base_of(v)) for v in roots}  # of values that are stored anyway, or read in a different shape
    for stage in stages:
        is_loop = stage.kind == "loop"
        kept_ids |= {id(base_of(v)) for v in stage.reads() if not is_loop or v.kind == "view" or v.shape != stage.shape}
    for stage in stages:
        reads = {id(v): v for v in stage.reads() if v.size >= MIN_RECOMPUTED_SIZE}
        steps: dict[int, Value] = {}
        leaves: dict[int, Value] = {}
        for value in reads.values():
            _collect_formula(value, kept_ids, steps, leaves)
        old_bytes = sum(reads[key].example.nbytes for key in reads.keys() & steps.keys())
        new_bytes = sum(leaves[key].example.nbytes for key in leaves.keys() - reads.keys())
        if len(steps) <= MAX_RECOMPUTED_STEPS and new_bytes <= old_bytes:
            stage.steps[:0] = steps.values()
    _remove_unneeded(stages, roots)


def _collect_formula(value: Value, kept_ids: set[int], steps: dict[int, Value], leaves: dict[int, Value]) -> None:
    """Add the steps that recompute a value, in order, and the large values that they read."""
    if value.kind != "elementwise" or value.op not in CHEAP_FUNCTIONS or id(value) in kept_ids:
        if value.size >= MIN_RECOMPUTED_SIZE:
            leaves[id(value)] = value
    elif id(value) not in steps:
        for v in value.values():
            _collect_formula(v, kept_ids, steps, leaves)
        steps[id(value)] = value


def _remove_unneeded(stages: list[Stage], roots: Sequence[Value]) -> None:
    """Remove elementwise steps whose results are no longer read, and stages without steps."""
    needed_ids = {id(base_of(v)) for v in roots}
    for stage in reversed(stages):
        ids = set(needed_ids)
        for step in reversed(stage.steps):
            if step.kind != "elementwise" or id(step) in ids:
                ids |= {id(step), *map(id, step.values())}
        stage.steps = [step for step in stage.steps if step.kind != "elementwise" or id(step) in ids]
        needed_ids |= {id(base_of(v)) for v in stage.reads()}
    stages[:] = [stage for stage in stages if stage.steps]


def _split_reductions(stages: list[Stage], outputs: Sequence[Value]) -> list[Stage]:
    """Give long float32 sums a float64 result, and split reductions over rows into parts for threads.

    Combining the partial results, or converting the result back to float32, becomes a stage of its own. (A sum with a
    float64 result still starts in float32: see `loops`.) The loop order of each stage with reductions is fixed here,
    because the split depends on it, and a write that joins the stage later could change the order that `Nest` would
    choose.
    """
    _choose_stored(stages, outputs)
    result: list[Stage] = []
    for stage in stages:
        result.append(stage)
        if stage.kind != "loop" or not any(step.kind == "reduce" for step in stage.steps):
            continue
        nest = Nest(stage)
        stage.order = nest.order
        can_split = not nest.is_outermost_parallel and len(nest.sizes) > 1 and nest.sizes[0] >= N_PARTS
        if can_split and work(stage) >= MIN_SPLIT_WORK:
            stage.n_parts = N_PARTS
        for position, step in enumerate(stage.steps):
            if step.kind != "reduce":
                continue
            is_split = stage.n_parts > 0 and not nest.strides[id(step)][0]
            is_long = nest.rounding_count(step, in_blocks=is_split) > sums.SHORT_SUM
            in_double = step.op == "sum" and step.dtype == np.float32 and is_long
            if not (is_split or in_double):
                continue
            shape = (N_PARTS, *step.shape) if is_split else step.shape
            options = {**step.options, "n_parts": N_PARTS} if is_split else step.options
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
    """Group stages that can run image by image: put them next to each other, after the stages that they depend on."""
    result: list[Stage] = []
    remaining = list(stages)
    while remaining:
        stage = remaining[0]
        n_images = _image_count(stage) or (stage.shape[0] if stage.kind == "loop" and stage.shape else 0)
        if n_images > 1:
            stages_before, members, stages_after = _collect_group(remaining, n_images)
            block_size = _block_size(members, n_images)
            if block_size:
                group = Group(n_images, block_size, max(member.n_parts for member in members))
                for member in members:
                    member.group = group
                result += [*stages_before, *members]
                remaining = stages_after
                continue
        result.append(remaining.pop(0))
    return result


def _block_size(stages: Sequence[Stage], n_images: int) -> int:
    """How many images a group of stages should run at a time; 0 if grouping is not worthwhile.

    The order of additions depends on the block size, so if there are partial results, the block size must not depend on
    the number of threads.
    """
    if len(stages) < 2:
        return 0
    has_parts = any(stage.n_parts for stage in stages)
    if any(stage.kind == "kernel" for stage in stages):
        return 1 if has_parts or is_balanced(n_images) else 0
    computed_ids = {id(step) for stage in stages for step in stage.steps}
    reads = [v for stage in stages for v in stage.reads() if v.shape[:1] == (n_images,)]
    distinct_reads = {id(base_of(v)): v for v in reads}
    passed_values = [v for key, v in distinct_reads.items() if key in computed_ids]
    n_bytes_from_memory = sum(v.example.nbytes for key, v in distinct_reads.items() if key not in computed_ids)
    if sum(v.example.nbytes for v in reads) - n_bytes_from_memory < MIN_CACHED_BYTES:
        return 0
    # passed values count twice: once for the stage that writes them, once for the stages that read them
    bytes_per_image = sum(v.example.nbytes // n_images for v in [*distinct_reads.values(), *passed_values])
    min_blocks = N_PARTS if has_parts else 4 * team.threads()  # four per thread: their shares are then of similar size
    return max(1, min(CACHE_BYTES // max(1, bytes_per_image), n_images // min_blocks))


def _collect_group(stages: list[Stage], n_images: int) -> tuple[list[Stage], list[Stage], list[Stage]]:
    """Collect the group that begins with the first stage: (stages to run before it, its members, all other stages)."""
    sides: list[str] = []  # for each stage: "before", "inside" or "after"
    computed_ids: dict[str, set[int]] = {"before": set(), "inside": set(), "after": set()}
    n_parts = 0
    last_member = 0
    for index, stage in enumerate(stages[:MAX_STAGES_SEARCHED]):
        read_ids = {id(base_of(v)) for v in stage.reads()}
        is_connected = (not index or read_ids & computed_ids["inside"]) and not read_ids & computed_ids["after"]
        has_same_parts = stage.n_parts in (0, n_parts or stage.n_parts)
        if is_connected and has_same_parts and _runs_by_image(stage, n_images, computed_ids["inside"]):
            side = "inside"
            n_parts = n_parts or stage.n_parts
            last_member = index
        elif read_ids & (computed_ids["inside"] | computed_ids["after"]) or stage.kind == "call":
            side = "after"
        else:
            side = "before"
        sides.append(side)
        computed_ids[side].update(id(step) for step in stage.steps)
        if sides[0] != "inside":
            return [], [], stages
    before, inside, after = (
        [stages[index] for index in range(last_member + 1) if sides[index] == side] for side in computed_ids
    )
    return before, inside, after + stages[last_member + 1 :]


def _image_count(stage: Stage) -> int:
    """The number of images, if the stage is a hand-written kernel that processes images one by one; otherwise 0."""
    return stage.steps[0].options.get("n_images", 0) if stage.kind == "kernel" else 0


def is_balanced(count: int) -> bool:
    """Whether `count` items divide evenly enough: the thread with the most items has at most 1.25 times the average."""
    n_threads = team.threads()
    return count > 1 and -(-count // n_threads) * n_threads <= 1.25 * count


def _runs_by_image(stage: Stage, n_images: int, group_ids: set[int]) -> bool:
    """Whether a stage reads and computes image by image; `group_ids` identify the results of its group so far."""
    if stage.n_parts > n_images:
        return False
    passed_values = [v for v in stage.reads() if id(base_of(v)) in group_ids]
    if not all(_is_split_by_image(v, n_images) for v in passed_values):
        return False
    if stage.kind == "kernel":
        return _image_count(stage) == n_images
    if stage.kind != "loop" or not stage.shape or stage.shape[0] != n_images:
        return False
    if any(len(v.shape) < len(stage.shape) for v in passed_values):  # broadcast: every image reads all of the value
        return False
    nest = Nest(stage)
    outermost = next((d for d in nest.order if stage.shape[d] > 1), None)
    whole_steps = [step for step in stage.steps if not is_partial(step)]
    return (
        nest.is_outermost_parallel
        and outermost == 0
        and nest.sizes[0] % n_images == 0
        and all(step.shape[:1] == (n_images,) and _is_split_by_image(step, n_images) for step in whole_steps)
    )


def _is_split_by_image(value: Value, n_images: int) -> bool:
    """Whether image i of a value lies inside image i of its base's memory, for all i."""
    base, offset = base_of(value), offset_of(value)
    if value.shape[:1] != (n_images,) or base.size % n_images:
        return False
    image_size = base.size // n_images
    ends = [(n - 1) * s for n, s in zip(value.shape[1:], value.strides[1:], strict=True)]
    first, last = offset + sum(min(0, end) for end in ends), offset + sum(max(0, end) for end in ends)
    return value.strides[0] == image_size and first >= 0 and last < image_size


def work(stage: Stage) -> float:
    """Roughly how much a stage computes.

    A loop counts 1 for each element, plus ¼ per step. A matrix product counts 1 for MULTIPLY_ADDS_PER_ITERATION
    multiply-adds. A hand-written kernel counts 1 for eight floating-point operations; so a multiply-add, which is two
    operations, counts twice as much here as in a matrix product or in `Job.iterations`. If a kernel's operations are
    not known (no `flops`), the job's iterations are its work.
    """
    if stage.kind == "matmul":
        return float(stage.steps[0].size * stage.steps[0].inputs[0].shape[-1] / MULTIPLY_ADDS_PER_ITERATION)
    if stage.kind == "kernel":
        step = stage.steps[0]
        return float(step.options.get("flops", 0) / 8 or step.options["job"].iterations)
    return math.prod(stage.shape) * (1 + len(stage.steps) / 4)


def _can_join(shape: tuple[int, ...], stage: Stage, inputs_from_stage: Sequence[Value]) -> bool:
    """Whether a step with loops over this shape can run in a stage's loop, whose iterations compute what it reads."""
    if stage.kind != "loop" or stage.shape != shape or not shape:
        return False
    return all(v.kind == "elementwise" and v.shape == shape for v in inputs_from_stage)


def _place_writes(stages: list[Stage], stage_indices: dict[int, int], writes: Sequence[tuple[Value, Value]]) -> None:
    """Write external memory where its new value is computed, if nothing reads the old value later; else at the end.

    A new value is never itself external memory that changes (`capture.trace.Trace.finish` ensures that), so the writes
    at the end may be in any order. Writes come after all Python calls that may fail, so that a failed call leaves the
    memory unchanged. Random draws do not fail.
    """
    calls = [n for n, stage in enumerate(stages) if stage.kind == "call" and not stage.steps[0].options.get("draws")]
    last_call = max(calls, default=-1)
    last_reads = {id(base_of(v)): n for n, stage in enumerate(stages) for v in stage.reads()}
    for target, value in writes:
        index, last_read = stage_indices.get(id(value), -1), last_reads.get(id(target), -1)
        can_write = index >= 0 and stages[index].kind == "loop" and value.kind == "elementwise"
        can_write = can_write and value.shape == target.shape and stages[index].group is None and index > last_call
        old_values = [v for v in stages[index].reads() if base_of(v) is target] if can_write else []
        if can_write and last_read <= index and all(v is target for v in old_values):  # not through a view
            stages[index].writes.append((target, value))
        else:
            stages.append(Stage("loop", target.shape, writes=[(target, value)]))


def _choose_stored(stages: list[Stage], outputs: Sequence[Value]) -> None:
    """Decide which results are stored in memory (see `Stage.stored_values`): each by the first stage that has it."""
    read_ids = {id(base_of(v)) for stage in stages for v in stage.reads()} | {id(base_of(v)) for v in outputs}
    for stage in stages:
        stage.stored_values = [
            step for step in stage.steps if id(step) in read_ids or step.kind == "reduce" or stage.kind != "loop"
        ]
        read_ids -= {id(step) for step in stage.steps}


def _block_buffers(stages: list[Stage], outputs: Sequence[Value]) -> dict[int, Value]:
    """Values that one group computes and nothing else reads, by identity: each thread stores only one block of them."""
    output_ids = {id(base_of(v)) for v in outputs}
    reading_groups: dict[int, list[Group | None]] = {}
    for stage in stages:
        for v in stage.reads():
            reading_groups.setdefault(id(base_of(v)), []).append(stage.group)
    return {
        id(value): value
        for stage in stages
        for value in (stage.stored_values if stage.group is not None else ())
        if all(group is stage.group for group in reading_groups.get(id(value), ()))
        and id(value) not in output_ids
        and value.kind != "scratch"
        and not is_partial(value)
    }


def _plan_memory(stages: list[Stage], outputs: Sequence[Value]) -> Schedule:
    """Assign memory to each stored value by lifetime.

    A lifetime is a list [size in bytes, index of the first stage, index of the last stage].
    """
    output_ids = {id(base_of(v)) for v in outputs}
    buffered_values = _block_buffers(stages, outputs)
    lifetimes: dict[int, list[int]] = {}  # of whole values, and of the block buffers of a group
    block_lifetimes: dict[Group, dict[int, list[int]]] = {}  # of one block of the values in a group's block buffers
    group_spans: dict[Group, list[int]] = {}  # the indices of a group's first and last stage
    for index, stage in enumerate(stages):
        if stage.group is not None:
            group_spans.setdefault(stage.group, [index, index])[1] = index
    for index, stage in enumerate(stages):
        first, last = group_spans[stage.group] if stage.group is not None else (index, index)
        for value in stage.stored_values:
            if id(value) in buffered_values and stage.group is not None:
                block_lifetimes.setdefault(stage.group, {})[id(value)] = [stage.group.bytes_of(value), index, index]
            elif stage.kind != "call" and id(value) not in output_ids:
                lifetimes[id(value)] = [value.example.nbytes, first, last]
        for key in {id(base_of(v)) for v in stage.reads()}:
            if key in buffered_values and stage.group is not None:
                block_lifetimes[stage.group][key][2] = index
            elif key in lifetimes:
                lifetimes[key][2] = last
    layouts = {group: _assign_offsets(values) for group, values in block_lifetimes.items()}  # of one thread's buffers
    lifetimes |= {id(group): [size * team.threads(), *group_spans[group]] for group, (_, size) in layouts.items()}
    offsets, arena_size = _assign_offsets(lifetimes)
    for group, (block_offsets, _) in layouts.items():
        offsets |= {key: offsets[id(group)] + offset for key, offset in block_offsets.items()}
    block_buffers = {
        key: (size, block_lifetimes[group][key][0])
        for group, (block_offsets, size) in layouts.items()
        for key in block_offsets
    }
    return Schedule(stages, offsets, arena_size, block_buffers)


def _assign_offsets(lifetimes: dict[int, list[int]]) -> tuple[dict[int, int], int]:
    """Choose an offset for each key, so that lifetimes that overlap in time do not overlap in memory.

    Returns:
        The offsets by key, and the total size.
    """
    offsets: dict[int, int] = {}
    intervals: list[tuple[int, int, int, int]] = []  # start and end in memory, first and last stage
    for key, (n_bytes, first, last) in sorted(lifetimes.items(), key=lambda item: -item[1][0]):
        size = -(-max(1, n_bytes) // ALIGNMENT) * ALIGNMENT
        start = 0
        for other_start, other_end, other_first, other_last in sorted(intervals):
            if other_first <= last and first <= other_last and other_start < start + size and start < other_end:
                start = other_end
        offsets[key] = start
        intervals.append((start, start + size, first, last))
    return offsets, max((end for _, end, _, _ in intervals), default=0)
