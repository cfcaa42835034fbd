"""A program: stages with their kernels, memory laid out, scripts written; ready to run again and again.

A run finds the numbers that change from call to call prepared, puts the addresses of the arguments into its table, and
enters the driver (`kernels.driver`): once if all stages are compiled, else once for each stretch between two calls of
Python. BLAS's own threads are not used inside.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import CaptureError, read_only
from chainrule.kernels import blas, driver, machine, team
from chainrule.kernels.driver import (
    ANSWER,
    ARGUMENT,
    CHANGED,
    CHECK_ARGUMENTS,
    DONE,
    FLUSH,
    FLUSH_DENORMALS,
    NUMBERS,
    READ_ONLY,
    RESERVED,
    SCRIPTS,
    SHARES,
    WORK,
)
from chainrule.kernels.memory import FINDS_FLAGS, data_pointer, flags_address
from chainrule.kernels.team_loops import RUN
from chainrule.kernels.tree import type_of
from chainrule.lower.graph import SOURCES, Value, base_of, byte_bounds, is_python_result, share_memory
from chainrule.lower.launch import Launch, launch
from chainrule.lower.loops import in_parts
from chainrule.lower.schedule import ALIGNMENT, Plan, work
from chainrule.lower.script import Script, ThreadMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.lower.schedule import Stage

    Index = tuple[Value, int, int | None, Callable[[NDArray[Any]], object]]

WORTH_THREADS = 2e6
"""So many multiplications and moves of numbers, some 50 µs, are worth a second thread."""


class Program:
    """See above.

    Args:
        plan: the stages and their memory.
        numbers: how many numbers change from call to call.
        indices: arguments that must be whole numbers from 0 to size - 1, or `spared` if that is not None: (value, size,
            spared, refuse); `refuse` raises the error for an array that is not.
        arguments: the values that stand for the function's arguments.
        outputs: the values to give back, in memory of their own.
        changed: memory outside that it writes into.
        room: gives so many bytes for results in between, for programs that share them.

    Attributes:
        shares: how many threads run it.
        steps: by how much words[DONE] grows in a whole run.
        launches: how each compiled stage is run, by its number in the plan.
        numbers: the numbers that change from call to call, to be written before a run.
        arrays: the memory of values, by identity.
    """

    def __init__(
        self, plan: Plan, numbers: int, indices: Sequence[Index], arguments: Sequence[Value], outputs: Sequence[Value],
        changed: Sequence[NDArray[Any]] = (), room: Callable[[int], NDArray[np.uint8]] | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.arguments, self.indices, self.changed = plan, list(arguments), list(indices), list(changed)
        self.shares = shares(plan)
        self.launches = {n: launch(stage) for n, stage in enumerate(plan.stages) if stage.kind != "call"}
        self.bases = _bases(plan, [*outputs, *(value for value, *_ in indices)])
        self.entries = {id(value): RESERVED + n for n, value in enumerate(self.bases)}
        own = [v for v in self.bases if "each" in v.options or id(v) in plan.windows or in_parts(v)]
        self.entries_of_threads = [
            {id(v): RESERVED + len(self.bases) + me * len(own) + n for n, v in enumerate(own)}
            for me in range(self.shares)
        ]
        self.scalars = np.zeros(max(1, numbers))
        self.numbers = self.scalars.data  # to be written one by one, which is quicker so
        self.kept: list[NDArray[np.int64]] = []  # words and scripts
        self.allocate = {id(v): _allocator(v) for v in map(base_of, outputs) if v.kind not in SOURCES}
        self._allocate(outputs, len(own), room or (lambda size: np.empty(size, np.uint8)))
        known = {id(value): i for i, value in enumerate(self.arguments)}
        self.places = [
            (known[key], entry, self.arguments[known[key]]) for key, entry in self.entries.items() if key in known
        ]
        self.checked = [known[id(value)] for value, *_ in self.indices]
        self.order = self._write_scripts()
        self.enter = partial(_driver(), self.table.ctypes.data)
        self.words = self.table.data  # to be written one by one, which is quicker so
        self.whole = self.order == [0]  # one compiled part, no calls of Python
        self.steps = 1 if self.whole else 1 + len(self.order)

    @property
    def code(self) -> str:
        """The kernels of the stages as Python, each once, with the stages that they run."""
        stages: dict[str, list[int]] = {}
        for number, one in self.launches.items():
            stages.setdefault(one.text(), []).append(number)
        return "\n\n".join(f"# stage {', '.join(map(str, numbers))}\n{text}" for text, numbers in stages.items())

    # Memory

    def _allocate(self, outputs: Sequence[Value], own: int, room: Callable[[int], NDArray[np.uint8]]) -> None:
        self.table = np.zeros(RESERVED + len(self.bases) + own * self.shares, np.int64)
        self.table[:4] = *blas.addresses(), *blas.threads_addresses()
        self.table[NUMBERS] = self.scalars.ctypes.data
        self.table[WORK] = _driver_address()
        self.table[SHARES] = self.shares
        if any(stage.writes for stage in self.plan.stages):
            self.table[FLUSH] = FLUSH_DENORMALS
        bounds = [(*byte_bounds(array), flags_address(array)) for array in self.changed]
        self.table[CHANGED] = self._keep(np.array(bounds, np.int64))
        raw = self.memory = room(self.plan.arena + ALIGNMENT)
        start = -raw.ctypes.data % ALIGNMENT
        self.arrays: dict[int, NDArray[Any]] = {}
        kept = {id(base_of(v)) for v in outputs}
        for value in self.bases:
            key = id(value)
            if value.kind == "captured":
                array = value.example
            elif value.kind == "argument" or (is_python_result(value) and key not in kept):
                continue
            elif key in kept:
                array = self.allocate[key]()
            else:
                offset = start + self.plan.offsets[key]
                if key in self.plan.windows:
                    self.table[self.entries[key]] = raw[offset:].ctypes.data
                    continue
                array = laid_out(raw[offset : offset + value.example.nbytes], value)
            self.arrays[key] = array
            self.table[self.entries[key]] = array.ctypes.data
        for me, entries in enumerate(self.entries_of_threads):
            for value in self.bases:
                if id(value) in entries:
                    self.table[entries[id(value)]] = self._address(me, value)

    def renew(self, value: Value) -> None:
        """Give an output new memory, so that the last run's stays with whoever has it."""
        key = id(base_of(value))
        if key in self.allocate:
            array = self.arrays[key] = self.allocate[key]()
            self.words[self.entries[key]] = data_pointer(array)

    def release(self, outputs: Sequence[Value]) -> None:
        """Let go of arguments and outputs."""
        for value in (*self.arguments, *map(base_of, outputs)):
            self.arrays.pop(id(value), None)

    def _address(self, me: int, value: Value) -> int:
        """Where a thread finds a value that each thread has an entry of its own for."""
        return int(self.table[self.entries[id(value)]]) + me * (
            value.options.get("each", 0) or self.plan.windows.get(id(value), (0, 0))[0]
        )

    def _keep(self, words: NDArray[np.int64]) -> int:
        """Keep words in memory; their address."""
        self.kept.append(words)
        return words.ctypes.data

    def _memory_of(self, me: int) -> ThreadMemory:
        mine = self.entries_of_threads[me]

        def window_step(value: Value) -> int:
            return self.plan.windows.get(id(value), (0, 0))[1]

        return ThreadMemory(
            lambda value: mine.get(id(value)) or self.entries[id(value)],
            partial(self._address, me),
            window_step,
            self._keep,
        )

    # Scripts

    def _write_scripts(self) -> list[Any]:
        """Write the scripts; the numbers of compiled parts, and functions that are calls of Python, in order."""
        order: list[Any] = []
        parts: list[list[Launch]] = []
        for number, stage in enumerate(self.plan.stages):
            if stage.kind == "call":
                order.append(self._caller(stage))
                continue
            if not order or not isinstance(order[-1], int):
                order.append(len(parts))
                parts.append([])
            parts[-1].append(self.launches[number])
        scripts = [self._script([], 0, 1, check=True)]
        for number, launches in enumerate(parts):
            first = number == 0
            scripts.append(self._script(launches, 0, 1, first))
            scripts += [self._script(launches, me, self.shares, first) for me in range(self.shares)]
        self.table[SCRIPTS] = self._keep(np.array(scripts, np.int64))
        return order

    def _script(self, launches: Sequence[Launch], me: int, shares: int, check: bool) -> int:
        """The address of a script."""
        memory = self._memory_of(me)
        script = Script(me, shares, memory)
        if check:
            self._write_checks(script)
        script.stages(launches)
        return self._keep(script.finished())

    def _write_checks(self, script: Script) -> None:
        """What must hold before the program changes anything."""
        changed = len(self.changed)
        if changed:
            script.check(READ_ONLY, machine.address_of("writable", driver.writable), [changed])
        for i, _, value in self.places:
            if value.size:
                words = [self.entries[id(value)], value.example.nbytes, value.dtype.itemsize, changed]
                script.check(ARGUMENT - i, machine.address_of("apart", driver.apart), words)
        for number, (value, size, spared, _) in enumerate(self.indices, 1):
            kind = type_of(value.dtype)
            kernel = machine.address_of(f"all_below {kind}", partial(driver.all_below, kind))
            script.check(number, kernel, [self.entries[id(value)], value.size, size, spared or 0])

    # Running

    def array(self, value: Value) -> NDArray[Any]:
        """A value's array, seen as the value is."""
        if value.kind != "view":
            return self.arrays[id(value)]
        return value.options["seen"](self.array(value.inputs[0]))  # type: ignore[no-any-return]  # as NumPy saw it before

    def _caller(self, stage: Stage) -> Callable[[], None]:
        """A stage that is a call of Python."""
        step = stage.steps[0]
        parts = [v for v in self.bases if v.kind == "part" and v.inputs[0] is step]

        def run() -> None:
            given = [self.array(v) for v in step.inputs]
            result = step.options["function"](*given)
            for v, array in ((v, result[v.options["position"]]) for v in parts) if parts else ((step, result),):
                if any(array is x for x in given):  # which may be changed or used again while this is still wanted
                    array = array.copy()
                self._take(v, array)

        return run

    def _take(self, value: Value, array: Any) -> None:
        """Keep what a call of Python or the caller gave, in the memory order that the program knows."""
        if type(array) is not np.ndarray or array.shape != value.shape or array.dtype != value.dtype:
            array = np.asarray(array)
            if array.shape != value.shape or array.dtype != value.dtype:
                raise ValueError(
                    f"jit: {value.op} gave {array.shape} {array.dtype}, but {value.shape} {value.dtype} before: "
                    f"a shape that depends on values cannot be compiled"
                )
        # a view may be one of memory that is the program's own, and used again
        if array.size and (array.strides != value.example.strides or array.base is not None):
            array = _copied(array, value)
        self.arrays[id(value)] = array
        self.table[self.entries[id(value)]] = data_pointer(array)

    def run(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Take arguments, and run the stages once.

        Raises:
            IndexError: an argument that is an index is out of range; nothing has been done then.
            ValueError: memory that would be changed is read-only, as above.
            CaptureError: an argument shares memory with what would be changed, as above.
        """
        for i, entry, value in self.places:
            array = arguments[i]
            if array.strides != value.example.strides and array.size:
                self._check_apart(array)
                array = _copied(array, value)
            self.arrays[id(value)] = array  # which keeps it, too
            self.words[entry] = data_pointer(array)
        if not FINDS_FLAGS:
            self._check_writable()
        if self.whole:
            self._run(0)
            while self.words[ANSWER]:
                self._settle(arguments)
                self._run(0)
            return
        self.enter(CHECK_ARGUMENTS, 0, 0, 1, 0)
        while self.words[ANSWER]:
            self._settle(arguments)
            self.enter(CHECK_ARGUMENTS, 0, 0, 1, 0)
        self.words[DONE] += 1
        with blas.one_thread():
            for item in self.order:
                if type(item) is int:
                    self._run(item)
                else:
                    item()
                    self.words[DONE] += 1

    def _settle(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Raise the error that a check has found, or copy an argument that the program can take elsewhere."""
        answer = self.words[ANSWER]
        if answer > 0:
            self.indices[answer - 1][3](arguments[self.checked[answer - 1]])
        if answer == READ_ONLY:
            self._check_writable()
        i = ARGUMENT - answer
        self._check_apart(arguments[i])
        value = self.arguments[i]
        array = self.arrays[id(value)] = _copied(arguments[i], value)
        self.words[self.entries[id(value)]] = data_pointer(array)

    def _check_writable(self) -> None:
        for array in self.changed:
            if not array.flags.writeable:
                raise read_only(array.shape)

    def _check_apart(self, argument: NDArray[Any]) -> None:
        for array in self.changed:
            if share_memory(argument, array):
                raise CaptureError(
                    f"jit: an argument of shape {argument.shape} shares memory with a tensor of shape {array.shape}, "
                    f"which the function changes: give its clone(), or use it as a variable from outside"
                )

    def _run(self, part: int) -> None:
        if self.shares == 1:
            self.enter(RUN, part, 0, 1, 0)
        else:
            team.run_parallel(self.enter, part, self.shares)


def _driver_address() -> int:
    return machine.address_of("driver", driver.driver)


def _driver() -> Callable[..., None]:
    """The driver, for Python."""
    return machine.function(_driver_address())


def _bases(plan: Plan, more: Sequence[Value]) -> list[Value]:
    """The memory of all that the stages read and write, each once."""
    found: dict[int, Value] = {}
    for stage in plan.stages:
        for v in [*stage.reads(), *stage.steps, *stage.stored, *(target for target, _ in stage.writes)]:
            found[id(base_of(v))] = base_of(v)
    for v in more:
        found[id(base_of(v))] = base_of(v)
    held = {id(v) for stage in plan.stages for v in stage.stored}
    return [v for v in found.values() if id(v) in held or v.kind in ("argument", "captured", "call", "part", "scratch")]


def laid_out(memory: NDArray[np.uint8], value: Value) -> NDArray[Any]:
    """An array in given memory, with the strides of the value's example."""
    return np.ndarray(value.shape, value.dtype, memory, strides=value.example.strides)


def _allocator(value: Value) -> Callable[[], NDArray[Any]]:
    """What allocates an array for a value, with the strides of its example."""
    shape, dtype, count = value.shape, value.dtype, value.example.nbytes
    if value.example.strides == np.empty(shape, dtype).strides:
        return lambda: np.empty(shape, dtype)  # which is quicker
    return lambda: laid_out(np.empty(count, np.uint8), value)


def _copied(array: NDArray[Any], value: Value) -> NDArray[Any]:
    made = np.lib.stride_tricks.as_strided(np.empty(value.size, value.dtype), value.shape, value.example.strides)
    made[...] = array
    return made


def shares(plan: Plan) -> int:
    """How many threads the program is worth."""
    total = sum(work(stage) for stage in plan.stages if stage.kind != "call")
    return max(1, min(team.threads(), int(total / WORTH_THREADS) + 1))
