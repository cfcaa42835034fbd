"""`explain()`: a table of a program's stages with shapes, arithmetic, memory and time.

Compiled stages are timed on a copy of the program's memory, Python calls on the program's own arrays, which they do not
change.
"""

from __future__ import annotations

import math
import timeit
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import blas, machine
from chainrule.kernels.driver import END, SCRIPTS
from chainrule.kernels.team_loops import RUN
from chainrule.lower.graph import Value, base_of
from chainrule.lower.script import Script, ThreadMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.lower.program import Program
    from chainrule.lower.schedule import Stage

REPEATS = 20
"""How often each stage is timed."""


def explain(program: Program) -> str:
    """Return the table of a program's stages.

    Each stage is timed by itself, on one thread; times are medians. The stages of a group are also timed together, and
    the total uses that time.
    """
    rows = [("stage", "what it does", "over", "Mflop", "kB", "µs", "Gflop/s")]
    total_flops = total_bytes = total_seconds = group_flops = 0.0
    group_numbers: list[int] = []  # the stages of the current group so far
    stages, copy = program.schedule.stages, MemoryCopy(program)
    for number, stage in enumerate(stages):
        flops, byte_count = _flops(stage), _bytes(stage)
        seconds = _seconds(program, number, stage, copy)
        rows.append((str(number), _operations(stage), _size(stage), *_format_measurements(flops, byte_count, seconds)))
        total_flops += flops
        total_bytes += byte_count
        if stage.group is None:
            total_seconds += 0 if math.isnan(seconds) else seconds
            continue
        group_flops += flops
        group_numbers.append(number)
        if number + 1 == len(stages) or stages[number + 1].group is not stage.group:
            seconds = _median_seconds(copy.group_runner(group_numbers))
            total_seconds += seconds
            title = f"these {len(group_numbers)} together, block by block"
            rows.append(("", title, "", *_format_measurements(group_flops, math.nan, seconds)))
            group_flops, group_numbers = 0.0, []
    rows.append(("", "all", "", *_format_measurements(total_flops, total_bytes, total_seconds)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[1:3] = [cell.ljust(width) for cell, width in zip(row[1:3], widths[1:3], strict=True)]  # the texts
        lines.append("  ".join(cells))
    ruler = "-" * len(lines[0])
    threads = (
        "one thread" if program.thread_count == 1 else f"{program.thread_count} threads, which share each long stage"
    )
    ending = f"memory for intermediate results: {program.schedule.arena_size / 1000:,.0f} kB; runs on {threads}"
    return "\n".join(
        [lines[0].rstrip(), ruler, *(line.rstrip() for line in lines[1:-1]), ruler, lines[-1].rstrip(), ending]
    )


class MemoryCopy:
    """A copy of a program's memory, in which stages can run without changing the program's own memory."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.arrays = {
            id(v): program.arrays[id(v)].copy(order="K") if id(v) in program.arrays else np.zeros(v.size, v.dtype)
            for v in program.bases
        }
        self.table = program.table.copy()
        for key, array in self.arrays.items():
            self.table[program.entries[key]] = array.ctypes.data
        self.keep_alive: list[Any] = []  # descriptors and tables whose addresses are in use

    def stage_runner(self, number: int) -> Callable[[], object]:
        """Return a function that runs one stage on one thread."""
        call = self.program.kernel_calls[number]
        words = call.descriptor(lambda value: self.program.entries[id(value)])
        self.keep_alive.append(words)
        addresses = (self.table.ctypes.data, words.ctypes.data, self.program.scalars.ctypes.data)
        first, last, overwrite = 0, call.n_rows, 1
        return partial(machine.function(call.kernel), *addresses, first, last, overwrite)

    def group_runner(self, numbers: Sequence[int]) -> Callable[[], object]:
        """Return a function that runs stages block by block on one thread."""

        def keep(words: Any) -> int:
            self.keep_alive.append(words)
            return int(words.ctypes.data)

        entries, buffers = self.program.entries, self.program.schedule.block_buffers
        memory = ThreadMemory(
            lambda value: entries[id(value)],
            lambda value: int(self.arrays[id(value)].ctypes.data),
            lambda value: buffers.get(id(value), (0, 0))[1],
            keep,
        )
        script = Script(0, 1, memory)
        script.stages([self.program.kernel_calls[n] for n in numbers])
        empty_script = keep(np.array([END], np.int64))
        table = self.table.copy()
        table[SCRIPTS] = keep(np.array([empty_script, keep(script.build())], np.int64))
        self.keep_alive.append(table)
        segment, thread_id, thread_count, team = 0, 0, 1, 0
        return partial(self.program.enter.func, table.ctypes.data, RUN, segment, thread_id, thread_count, team)


def _operations(stage: Stage) -> str:
    """Return what a stage does, for the second column: the names of its steps, shortened to fit."""
    if stage.kind == "matmul":
        return "matrix product"
    if stage.kind == "call":
        return f"Python call: {stage.steps[0].op}"
    if stage.kind == "kernel":
        return str(stage.steps[0].op)
    names = [step.op if isinstance(step.op, str) else step.op.__name__ for step in stage.steps]
    text = " ".join(names)
    if len(text) > 60:
        text = f"{text[:44].rpartition(' ')[0]} … ({len(names)} steps)"
    return text + (" → in place" if stage.writes else "")


def _size(stage: Stage) -> str:
    """Return the shape that a stage's loops run over, or the shapes of a product's factors."""
    if stage.kind == "matmul":
        x, y = stage.steps[0].inputs
        return f"{_shape(x)} @ {_shape(y)}"
    return "×".join(map(str, stage.shape)) or "a number"


def _shape(value: Value) -> str:
    return "×".join(map(str, value.shape))


def _flops(stage: Stage) -> float:
    """Return the number of floating-point operations.

    A step of a loop counts as one for each element, a term of a matrix product as two; kernels state their own number.
    """
    step = stage.steps[0] if stage.steps else None
    if step is not None and stage.kind == "matmul":
        return float(2 * step.size * step.inputs[0].shape[-1])
    if step is not None and stage.kind == "kernel":
        return float(step.options.get("flops", 0))
    return float(math.prod(stage.shape) * len(stage.steps)) if stage.kind == "loop" else 0.0


def _bytes(stage: Stage) -> float:
    """Return how many bytes a stage reads and writes, counting the elements of a broadcast array once."""
    stored = [v for v in stage.stored_values if v.kind != "scratch"]
    values = [*stage.reads(), *stored, *(target for target, _ in stage.writes)]
    return float(sum(min(value.size, base_of(value).size) * value.dtype.itemsize for value in values))


def _format_measurements(flops: float, byte_count: float, seconds: float) -> tuple[str, str, str, str]:
    rate = f"{flops / seconds / 1e9:,.1f}" if flops and seconds > 0 else ""
    microseconds = "" if math.isnan(seconds) else f"{seconds * 1e6:,.1f}"
    return f"{flops / 1e6:,.3f}", "" if math.isnan(byte_count) else f"{byte_count / 1e3:,.1f}", microseconds, rate


def _seconds(program: Program, number: int, stage: Stage, copy: MemoryCopy) -> float:
    """Return the time of a stage; NaN for a random draw, because timing it would advance the generator."""
    if stage.kind != "call":
        return _median_seconds(copy.stage_runner(number))
    options = stage.steps[0].options
    inputs = map(program.array, stage.steps[0].inputs)
    return math.nan if options.get("draws") else _median_seconds(partial(options["function"], *inputs))


def _median_seconds(function: Callable[[], Any]) -> float:
    """Call a function once to warm up, then time it with single-threaded BLAS, as in a program."""
    with blas.one_thread():
        function()
        return float(np.median(timeit.repeat(function, number=1, repeat=REPEATS)))
