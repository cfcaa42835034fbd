"""`explain()`: a table of a program's stages with shapes, arithmetic, memory and time.

`Compiled.explain` calls `explain`. The stages are timed on a copy of the program's memory.
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


def explain(program: Program) -> str:
    """Return the table of a program's stages.

    Times are medians of stages that run one by one, on one thread, on a copy of all arrays. Stages of a
    group are also timed together, and the total uses that time.
    """
    rows = [("stage", "what it does", "over", "Mflop", "kB", "µs", "Gflop/s")]
    totals, group = np.zeros(3), np.zeros(2)  # flops, bytes, seconds; flops and stages of a group
    stages, copy = program.plan.stages, MemoryCopy(program)
    for number, stage in enumerate(stages):
        flops, byte_count = _flops(stage), _bytes(stage)
        with blas.one_thread():
            seconds = _seconds(program, number, stage, copy)
        is_ungrouped = stage.group is None
        totals += flops, byte_count, 0 if math.isnan(seconds) or not is_ungrouped else seconds
        rows.append((str(number), _operations(stage), _size(stage), *_format_measurements(flops, byte_count, seconds)))
        if stage.group is not None:
            group += flops, 1
            if number + 1 == len(stages) or stages[number + 1].group is not stage.group:
                first = number + 1 - int(group[1])
                with blas.one_thread():
                    seconds = _median(copy.group(range(first, number + 1)))
                totals[2] += seconds
                what = f"these {group[1]:.0f} together, block by block"
                rows.append(("", what, "", *_format_measurements(group[0], math.nan, seconds)))
                group[:] = 0
    rows.append(("", "all", "", *_format_measurements(*totals)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if c in (1, 2) else cell.rjust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    ruler = "-" * len(lines[0])
    threads = (
        "one thread" if program.thread_count == 1 else f"{program.thread_count} threads, which share each long stage"
    )
    ending = f"memory for intermediate results: {program.plan.arena_size / 1000:,.0f} kB; runs on {threads}"
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

    def stage(self, number: int) -> Callable[[], object]:
        """Return a function that runs one stage on one thread."""
        call = self.program.kernel_calls[number]
        words = call.descriptor(lambda value: self.program.entries[id(value)])
        self.keep_alive.append(words)
        arguments = (self.table.ctypes.data, words.ctypes.data, self.program.scalars.ctypes.data, 0, call.n_rows, 1)
        return partial(machine.function(call.kernel), *arguments)

    def group(self, numbers: Sequence[int]) -> Callable[[], object]:
        """Return a function that runs stages block by block on one thread."""

        def keep(words: Any) -> int:
            self.keep_alive.append(words)
            return int(words.ctypes.data)

        entries, buffers = self.program.entries, self.program.plan.block_buffers
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
        return partial(self.program.enter.func, table.ctypes.data, RUN, 0, 0, 1, 0)


def _operations(stage: Stage) -> str:
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
    if stage.kind == "matmul":
        x, y = stage.steps[0].inputs
        return f"{_shape(x)} @ {_shape(y)}"
    return "×".join(map(str, stage.shape)) or "a number"


def _shape(value: Value) -> str:
    return "×".join(map(str, value.shape))


def _flops(stage: Stage) -> float:
    """Floating-point operations: 1 per addition, multiplication or function, 2 per term of a product or convolution."""
    step = stage.steps[0] if stage.steps else None
    if step is not None and stage.kind == "matmul":
        return float(2 * step.size * step.inputs[0].shape[-1])
    if step is not None and stage.kind == "kernel":
        return float(step.options.get("flops", 0))
    return float(math.prod(stage.shape) * len(stage.steps)) if stage.kind == "loop" else 0.0


def _bytes(stage: Stage) -> float:
    """Bytes read and written."""
    stored = [v for v in stage.stored_values if v.kind != "scratch"]
    values = [*stage.reads(), *stored, *(target for target, _ in stage.writes)]
    return float(sum(min(value.size, base_of(value).size) * value.dtype.itemsize for value in values))


def _format_measurements(flops: float, byte_count: float, seconds: float) -> tuple[str, str, str, str]:
    rate = f"{flops / seconds / 1e9:,.1f}" if flops and seconds > 0 else ""
    microseconds = "" if math.isnan(seconds) else f"{seconds * 1e6:,.1f}"
    return f"{flops / 1e6:,.3f}", "" if math.isnan(byte_count) else f"{byte_count / 1e3:,.1f}", microseconds, rate


def _seconds(program: Program, number: int, stage: Stage, copy: MemoryCopy) -> float:
    """Time a stage; NaN for random draws, because timing them would advance the generator."""
    if stage.kind != "call":
        return _median(copy.stage(number))
    options = stage.steps[0].options
    inputs = map(program.array, stage.steps[0].inputs)
    return math.nan if options.get("draws") else _median(partial(options["function"], *inputs))


def _median(function: Callable[[], Any]) -> float:
    function()
    return float(np.median(timeit.repeat(function, number=1, repeat=REPEATS)))
