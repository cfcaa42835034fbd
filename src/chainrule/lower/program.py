"""A compiled program: kernels, memory and scripts of a plan, ready to run again and again.

A run stores the arguments' addresses in the program's table and calls the driver (`kernels.driver`): once if everything
is compiled, else once for each segment between Python calls. The caller has already written the scalars, which change
from call to call. BLAS runs single-threaded inside.

Called by `capture.compiled` and `eager`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import CaptureError, read_only_error
from chainrule.kernels import blas, driver, machine, team
from chainrule.kernels.memory import LAYOUT_IS_KNOWN, data_pointer, flags_address
from chainrule.kernels.team_loops import RUN
from chainrule.kernels.tree import type_of
from chainrule.lower.graph import INPUT_KINDS, Value, base_of, byte_bounds, is_python_result, share_memory
from chainrule.lower.kernel_call import KernelCall, prepare_call
from chainrule.lower.loops import is_partial
from chainrule.lower.schedule import ALIGNMENT, Plan, work
from chainrule.lower.script import Script, ThreadMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from chainrule.lower.schedule import Stage

    IndexCheck = tuple[Value, int, int | None, Callable[[NDArray[Any]], object]]

WORK_PER_THREAD = 2e6
"""The work (see `schedule.work`) that justifies one more thread: 0.1 to 0.5 ms, as work is only a rough measure."""


class Program:
    """A compiled program.

    Args:
        plan: the stages and their memory.
        scalar_count: the number of scalars: numbers that change from call to call, such as a learning rate.
        index_checks: arguments that must be integers from 0 to size - 1, or equal to `ignore_index` if that is not
            None: (value, size, ignore_index, validate); `validate` raises the error for an array with an invalid index.
        arguments: the values that stand for the function's arguments.
        outputs: the values to return, in memory of their own.
        changed: the external arrays that the program writes.
        allocate_arena: allocates memory for intermediate results, for programs that share it.

    Attributes:
        thread_count: how many threads run it.
        progress_per_run: by how much table_view[driver.PROGRESS] grows in a complete run.
        kernel_calls: the call of each stage's kernel, by the stage's number in the plan; Python calls have none.
        entries: the table entry of each array, by identity of its value.
        scalars: the program's scalars; write them before a run.
        scalars_view: the same memory as a memoryview, which is faster to write one by one.
        table_view: the table as a memoryview.
        arrays: the arrays of values, by identity.
    """

    def __init__(
        self, plan: Plan, scalar_count: int, index_checks: Sequence[IndexCheck], arguments: Sequence[Value],
        outputs: Sequence[Value], changed: Sequence[NDArray[Any]] = (),
        allocate_arena: Callable[[int], NDArray[np.uint8]] | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.arguments, self.changed = plan, list(arguments), list(changed)
        self.index_checks = list(index_checks)
        self.kernel_calls = {n: prepare_call(stage) for n, stage in enumerate(plan.stages) if stage.kind != "call"}
        self.thread_count = thread_count(self.kernel_calls.values())
        self.bases = _bases(plan, [*outputs, *(value for value, *_ in index_checks)])
        self.entries = {id(value): driver.FIRST_ARRAY + n for n, value in enumerate(self.bases)}
        private_values = [
            v for v in self.bases if "bytes_per_thread" in v.options or id(v) in plan.block_buffers or is_partial(v)
        ]
        start, size = driver.FIRST_ARRAY + len(self.bases), len(private_values)
        self.entries_of_threads = [  # of values that have a table entry for each thread
            {id(v): start + thread_id * size + n for n, v in enumerate(private_values)}
            for thread_id in range(self.thread_count)
        ]
        self.scalars = np.zeros(max(1, scalar_count))
        self.scalars_view = self.scalars.data  # a memoryview: faster to write one by one
        self.buffers: list[NDArray[np.int64]] = []  # descriptors and scripts
        self.allocate = {id(v): _allocator(v) for v in map(base_of, outputs) if v.kind not in INPUT_KINDS}
        self._allocate(outputs, size, allocate_arena or (lambda size: np.empty(size, np.uint8)))
        self.argument_entries = [(i, self.entries[id(v)], v) for i, v in enumerate(arguments) if id(v) in self.entries]
        self.order = self._write_scripts()
        self.enter = partial(_driver(), self.table.ctypes.data)
        self.table_view = self.table.data  # a memoryview: faster to write one by one
        self.is_single_segment = self.order == [0]  # no Python calls
        self.progress_per_run = 1 if self.is_single_segment else 1 + len(self.order)

    @property
    def code(self) -> str:
        """The kernels of the stages as Python, each once, with the numbers of its stages."""
        stages: dict[str, list[int]] = {}
        for number, call in self.kernel_calls.items():
            stages.setdefault(call.text(), []).append(number)
        return "\n\n".join(f"# stage {', '.join(map(str, numbers))}\n{text}" for text, numbers in stages.items())

    # Memory

    def _allocate(
        self, outputs: Sequence[Value], private_count: int, allocate_arena: Callable[[int], NDArray[np.uint8]]
    ) -> None:
        """Allocate the table, the arena and the outputs, and enter all known addresses in the table."""
        self.table = np.zeros(driver.FIRST_ARRAY + len(self.bases) + private_count * self.thread_count, np.int64)
        self.table[[driver.SGEMM, driver.DGEMM]] = blas.gemm_addresses()
        self.table[[driver.GET_BLAS_THREADS, driver.SET_BLAS_THREADS]] = blas.thread_count_addresses()
        self.table[driver.SCALARS] = self.scalars.ctypes.data
        self.table[driver.DRIVER] = _driver_address()
        self.table[driver.THREAD_COUNT] = self.thread_count
        if any(stage.writes for stage in self.plan.stages):
            self.table[driver.SUBNORMAL_MODE] = driver.FLUSH_SUBNORMALS
        bounds = [(*byte_bounds(array), flags_address(array)) for array in self.changed]
        self.table[driver.CHANGED_ARRAYS] = self._keep(np.array(bounds, np.int64))
        arena = self.memory = allocate_arena(self.plan.arena_size + ALIGNMENT)
        start = -arena.ctypes.data % ALIGNMENT
        self.arrays: dict[int, NDArray[Any]] = {}
        output_ids = {id(base_of(v)) for v in outputs}
        for value in self.bases:
            key = id(value)
            if value.kind == "captured":
                array = value.example
            elif value.kind == "argument" or (is_python_result(value) and key not in output_ids):
                continue
            elif key in output_ids:
                array = self.allocate[key]()
            else:
                offset = start + self.plan.offsets[key]
                if key in self.plan.block_buffers:
                    self.table[self.entries[key]] = arena[offset:].ctypes.data
                    continue
                array = array_in(arena[offset : offset + value.example.nbytes], value)
            self.arrays[key] = array
            self.table[self.entries[key]] = array.ctypes.data
        for thread_id, entries in enumerate(self.entries_of_threads):
            for value in self.bases:
                if id(value) in entries:
                    self.table[entries[id(value)]] = self._address(thread_id, value)

    def allocate_output(self, value: Value) -> None:
        """Give an output new memory, because the caller of the last run may hold the old."""
        key = id(base_of(value))
        if key in self.allocate:
            array = self.arrays[key] = self.allocate[key]()
            self.table_view[self.entries[key]] = data_pointer(array)

    def release(self, outputs: Sequence[Value]) -> None:
        """Drop the references to arguments and outputs."""
        for value in (*self.arguments, *map(base_of, outputs)):
            self.arrays.pop(id(value), None)

    def _address(self, thread_id: int, value: Value) -> int:
        """The start of a thread's own copy of a value."""
        return int(self.table[self.entries[id(value)]]) + thread_id * (
            value.options.get("bytes_per_thread", 0) or self.plan.block_buffers.get(id(value), (0, 0))[0]
        )

    def _keep(self, array: NDArray[np.int64]) -> int:
        """Keep an integer array alive, and return its address."""
        self.buffers.append(array)
        return array.ctypes.data

    def _memory_of(self, thread_id: int) -> ThreadMemory:
        """Where the arrays of a thread are."""
        own_entries = self.entries_of_threads[thread_id]

        def block_step(value: Value) -> int:
            return self.plan.block_buffers.get(id(value), (0, 0))[1]

        return ThreadMemory(
            lambda value: own_entries.get(id(value)) or self.entries[id(value)],
            partial(self._address, thread_id),
            block_step,
            self._keep,
        )

    # Scripts

    def _write_scripts(self) -> list[Any]:
        """Write all scripts.

        Returns:
            In execution order: the numbers of segments, and functions that are Python calls.
        """
        order: list[Any] = []
        segments: list[list[KernelCall]] = []
        for number, stage in enumerate(self.plan.stages):
            if stage.kind == "call":
                order.append(self._python_call(stage))
                continue
            if not order or not isinstance(order[-1], int):
                order.append(len(segments))
                segments.append([])
            segments[-1].append(self.kernel_calls[number])
        scripts = [self._script([], 0, 1, check=True)]
        for number, calls in enumerate(segments):
            first = number == 0
            scripts.append(self._script(calls, 0, 1, first))
            scripts += [
                self._script(calls, thread_id, self.thread_count, first) for thread_id in range(self.thread_count)
            ]
        self.table[driver.SCRIPTS] = self._keep(np.array(scripts, np.int64))
        return order

    def _script(self, calls: Sequence[KernelCall], thread_id: int, thread_count: int, check: bool) -> int:
        """Write a script, and return its address."""
        memory = self._memory_of(thread_id)
        script = Script(thread_id, thread_count, memory)
        if check:
            self._write_checks(script)
        script.stages(calls)
        return self._keep(script.build())

    def _write_checks(self, script: Script) -> None:
        """Check everything that can fail, before the program changes anything."""
        changed = len(self.changed)
        if changed:
            kernel = machine.address_of("count_read_only", driver.count_read_only)
            script.check(driver.READ_ONLY_CHECK, kernel, [changed])
        for i, _, value in self.argument_entries:
            if value.size:
                descriptor = [self.entries[id(value)], value.example.nbytes, value.dtype.itemsize, changed]
                kernel = machine.address_of("count_overlaps", driver.count_overlaps)
                script.check(driver.ARGUMENT_CHECK - i, kernel, descriptor)
        for number, (value, size, ignore_index, _) in enumerate(self.index_checks, 1):
            type = type_of(value.dtype)
            kernel = machine.address_of(f"count_invalid_indices {type}", partial(driver.count_invalid_indices, type))
            # if there is no ignore_index, 0 takes its place: it is a valid index anyway
            script.check(number, kernel, [self.entries[id(value)], value.size, size, ignore_index or 0])

    # Running

    def array(self, value: Value) -> NDArray[Any]:
        """A value's array, with the views that lead to it applied."""
        if value.kind != "view":
            return self.arrays[id(value)]
        return value.options["view"](self.array(value.inputs[0]))  # type: ignore[no-any-return]  # returns a view

    def _python_call(self, stage: Stage) -> Callable[[], None]:
        """The function that runs a stage that is a Python call."""
        step = stage.steps[0]
        items = [v for v in self.bases if v.kind == "tuple_item" and v.inputs[0] is step]

        def run() -> None:
            inputs = [self.array(v) for v in step.inputs]
            result = step.options["function"](*inputs)
            for v, array in ((v, result[v.options["position"]]) for v in items) if items else ((step, result),):
                if any(array is x for x in inputs):  # an input's memory may be reused while the result is needed
                    array = array.copy()
                self._store_result(v, array)

        return run

    def _store_result(self, value: Value, array: Any) -> None:
        """Keep a result of a Python call, in the memory order that the program expects."""
        if type(array) is not np.ndarray or array.shape != value.shape or array.dtype != value.dtype:
            array = np.asarray(array)
            if array.shape != value.shape or array.dtype != value.dtype:
                raise ValueError(
                    f"jit: {value.op} returned shape {array.shape} {array.dtype}, but {value.shape} {value.dtype} when "
                    f"it was compiled: a shape that depends on values cannot be compiled"
                )
        # a view may be of memory that the program reuses
        if array.size and (array.strides != value.example.strides or array.base is not None):
            array = _copy_like(array, value)
        self.arrays[id(value)] = array
        self.table[self.entries[id(value)]] = data_pointer(array)

    def run(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Run the stages once on these arguments.

        Raises:
            IndexError: an index is out of range; nothing has been changed.
            ValueError: an array that would be written is read-only; nothing has been changed.
            CaptureError: an argument shares memory with an array that would be written; nothing has been changed.
        """
        for i, entry, value in self.argument_entries:
            array = arguments[i]
            if array.strides != value.example.strides and array.size:
                self._check_no_overlap(array)
                array = _copy_like(array, value)
            self.arrays[id(value)] = array  # also keeps it alive
            self.table_view[entry] = data_pointer(array)
        if not LAYOUT_IS_KNOWN:
            self._check_writable()
        if self.is_single_segment:
            self._run(0)
            while self.table_view[driver.CHECK_RESULT]:
                self._handle_failed_check(arguments)
                self._run(0)
            return
        self.enter(driver.CHECK_ARGUMENTS, 0, 0, 1, 0)
        while self.table_view[driver.CHECK_RESULT]:
            self._handle_failed_check(arguments)
            self.enter(driver.CHECK_ARGUMENTS, 0, 0, 1, 0)
        self.table_view[driver.PROGRESS] += 1
        with blas.one_thread():
            for item in self.order:
                if type(item) is int:
                    self._run(item)
                else:
                    item()
                    self.table_view[driver.PROGRESS] += 1

    def _handle_failed_check(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Raise the error that a check found, or copy an argument that the program cannot read in place.

        The checks must then run again: another thread may have changed the array meanwhile, so that nothing is raised.
        """
        failed_check = self.table_view[driver.CHECK_RESULT]
        if failed_check > 0:
            value, _, _, validate = self.index_checks[failed_check - 1]
            validate(self.arrays[id(value)])  # what was checked: the argument or a copy of it
        elif failed_check == driver.READ_ONLY_CHECK:
            self._check_writable()
        else:
            index = driver.ARGUMENT_CHECK - failed_check
            argument, value = arguments[index], self.arguments[index]
            self._check_no_overlap(argument)
            array = self.arrays[id(value)] = _copy_like(argument, value)
            self.table_view[self.entries[id(value)]] = data_pointer(array)

    def _check_writable(self) -> None:
        for array in self.changed:
            if not array.flags.writeable:
                raise read_only_error(array.shape)

    def _check_no_overlap(self, argument: NDArray[Any]) -> None:
        """Raise an error if an argument shares memory with an array that the program writes."""
        for array in self.changed:
            if share_memory(argument, array):
                raise CaptureError(
                    f"jit: an argument of shape {argument.shape} shares memory with a tensor of shape {array.shape}, "
                    f"which the function changes: pass a clone(), or let the function use it as a global or "
                    f"closure variable"
                )

    def _run(self, segment: int) -> None:
        if self.thread_count == 1:
            self.enter(RUN, segment, 0, 1, 0)
        else:
            team.run_parallel(self.enter, segment, self.thread_count)


def _driver_address() -> int:
    return machine.address_of("driver", driver.driver)


def _driver() -> Callable[..., None]:
    """The driver, callable from Python."""
    return machine.function(_driver_address())


def _bases(plan: Plan, others: Sequence[Value]) -> list[Value]:
    """The values with memory of their own that stages read or write, or that `others` use, each once."""
    bases: dict[int, Value] = {}
    for stage in plan.stages:
        for v in [*stage.reads(), *stage.steps, *stage.stored_values, *(target for target, _ in stage.writes)]:
            bases[id(base_of(v))] = base_of(v)
    for v in others:
        bases[id(base_of(v))] = base_of(v)
    stored_ids = {id(v) for stage in plan.stages for v in stage.stored_values}
    kinds = (*INPUT_KINDS, "call", "tuple_item", "scratch")
    return [v for v in bases.values() if id(v) in stored_ids or v.kind in kinds]


def array_in(memory: NDArray[np.uint8], value: Value) -> NDArray[Any]:
    """An array in `memory`, with the strides of the value's example."""
    return np.ndarray(value.shape, value.dtype, memory, strides=value.example.strides)


def _allocator(value: Value) -> Callable[[], NDArray[Any]]:
    """A function that allocates an array for a value, with the strides of its example."""
    shape, dtype, count = value.shape, value.dtype, value.example.nbytes
    if value.example.strides == np.empty(shape, dtype).strides:
        return lambda: np.empty(shape, dtype)  # faster
    return lambda: array_in(np.empty(count, np.uint8), value)


def _copy_like(array: NDArray[Any], value: Value) -> NDArray[Any]:
    copy = np.lib.stride_tricks.as_strided(np.empty(value.size, value.dtype), value.shape, value.example.strides)
    copy[...] = array
    return copy


def thread_count(calls: Iterable[KernelCall]) -> int:
    """How many threads are worthwhile, given the work that can be divided."""
    divisible = [one.stage for one in calls if one.parallel or one.partial_sums or one.stage.group is not None]
    total = sum(map(work, divisible))
    return max(1, min(team.threads(), int(total / WORK_PER_THREAD) + 1))
