"""A compiled program: kernels, memory and scripts of a schedule, ready to run again and again.

A run stores the arguments' addresses in the program's table and calls the driver (`kernels.driver`): once if the
program has no Python calls, else once to check the arguments and once for each segment between Python calls. If a check
fails and the cause can be repaired (an argument that is not aligned is copied), the driver is called again. Before a
run, the caller writes the scalars, which change from call to call. BLAS runs single-threaded during a run.

Called by `capture.compiled` and `eager`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import CaptureError, read_only_error
from chainrule.kernels import blas, driver, machine, team
from chainrule.kernels.memory import ARRAY_STRUCT_IS_KNOWN, data_pointer, flags_address
from chainrule.kernels.team_loops import RUN
from chainrule.kernels.tree import type_of
from chainrule.lower.graph import INPUT_KINDS, Value, base_of, byte_bounds, is_python_result, share_memory
from chainrule.lower.kernel_call import KernelCall, prepare_call
from chainrule.lower.loops import is_partial
from chainrule.lower.schedule import ALIGNMENT, Schedule, work
from chainrule.lower.script import Script, ThreadMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from chainrule.lower.schedule import Stage

    IndexCheck = tuple[Value, int, int | None, Callable[[NDArray[Any]], object]]

WORK_PER_THREAD = 2e6
"""The work (see `schedule.work`) that justifies one more thread. It takes 0.1 to 0.5 ms: work is a rough measure."""


class Program:
    """A compiled program.

    Args:
        schedule: the stages and their memory.
        scalar_count: the number of scalars: numbers that change from call to call, such as a learning rate.
        index_checks: arrays that must hold integers from 0 to size - 1, or `ignore_index` if that is not None, as
            tuples (value, size, ignore_index, validate); `validate` raises the error for an array with invalid ones.
        arguments: the values that stand for the function's arguments.
        outputs: the values to return, in memory of their own.
        changed: the external arrays that the program writes.
        allocate_arena: allocates memory of a size in bytes for intermediate results. By default, the program has memory
            of its own.

    Attributes:
        thread_count: how many threads run it.
        progress_per_run: by how much table_view[driver.PROGRESS] grows in a complete run.
        kernel_calls: the call of each stage's kernel, by the stage's index in the schedule; Python calls have none.
        bases: the values that have a table entry.
        entries: the index of each value's table entry, by identity.
        entries_of_threads: for each thread, the entries that it uses in place of those in `entries`, for values of
            which each thread has its own copy, or its own address.
        scalars: the program's scalars; write them before a run.
        scalars_view: the same memory as a memoryview, which is faster to write one by one.
        table: the program's table (see `kernels.driver`).
        table_view: the same memory as a memoryview.
        arrays: the arrays of values, by identity.
        run_order: what a run executes, in order: indices of segments, and functions that are Python calls.
    """

    def __init__(
        self, schedule: Schedule, scalar_count: int, index_checks: Sequence[IndexCheck], arguments: Sequence[Value],
        outputs: Sequence[Value], changed: Sequence[NDArray[Any]] = (),
        allocate_arena: Callable[[int], NDArray[np.uint8]] | None = None,
    ) -> None:  # fmt: skip
        self.schedule, self.arguments, self.changed = schedule, list(arguments), list(changed)
        self.index_checks = list(index_checks)
        self.kernel_calls = {n: prepare_call(stage) for n, stage in enumerate(schedule.stages) if stage.kind != "call"}
        self.thread_count = thread_count(self.kernel_calls.values())
        self.bases = _bases(schedule, [*outputs, *(value for value, *_ in index_checks)])
        self.entries = {id(value): driver.FIRST_ARRAY + n for n, value in enumerate(self.bases)}
        private_values = [
            v for v in self.bases if "bytes_per_thread" in v.options or id(v) in schedule.block_buffers or is_partial(v)
        ]
        first_private, n_private = driver.FIRST_ARRAY + len(self.bases), len(private_values)
        self.entries_of_threads = [
            {id(v): first_private + thread_id * n_private + n for n, v in enumerate(private_values)}
            for thread_id in range(self.thread_count)
        ]
        self.scalars = np.zeros(max(1, scalar_count))
        self.scalars_view = self.scalars.data
        self.buffers: list[NDArray[np.int64]] = []  # descriptors and scripts
        self.allocators = {id(v): _allocator(v) for v in map(base_of, outputs) if v.kind not in INPUT_KINDS}
        self._allocate(outputs, n_private, allocate_arena or (lambda n_bytes: np.empty(n_bytes, np.uint8)))
        self.argument_entries = [(i, self.entries[id(v)], v) for i, v in enumerate(arguments) if id(v) in self.entries]
        self.run_order = self._write_scripts()
        self.enter = partial(machine.function(_driver_address()), self.table.ctypes.data)  # calls the driver
        self.table_view = self.table.data
        self.is_single_segment = self.run_order == [0]  # without Python calls
        self.progress_per_run = 1 if self.is_single_segment else 1 + len(self.run_order)

    @property
    def code(self) -> str:
        """The kernels of the stages as Python, each once, with the numbers of its stages."""
        stage_numbers: dict[str, list[int]] = {}  # by the kernel's text
        for number, call in self.kernel_calls.items():
            stage_numbers.setdefault(call.text(), []).append(number)
        return "\n\n".join(f"# stage {', '.join(map(str, numbers))}\n{text}" for text, numbers in stage_numbers.items())

    # Memory

    def _allocate(
        self, outputs: Sequence[Value], n_private: int, allocate_arena: Callable[[int], NDArray[np.uint8]]
    ) -> None:
        """Allocate the table, the arena and the outputs, and enter all addresses that are known into the table.

        Arguments and results of Python calls get their addresses in a run.
        """
        self.table = np.zeros(driver.FIRST_ARRAY + len(self.bases) + n_private * self.thread_count, np.int64)
        self.table[[driver.SGEMM, driver.DGEMM]] = blas.gemm_addresses()
        self.table[[driver.GET_BLAS_THREADS, driver.SET_BLAS_THREADS]] = blas.thread_count_addresses()
        self.table[driver.SCALARS] = self.scalars.ctypes.data
        self.table[driver.DRIVER] = _driver_address()
        self.table[driver.THREAD_COUNT] = self.thread_count
        if any(stage.writes for stage in self.schedule.stages):
            self.table[driver.SUBNORMAL_MODE] = driver.FLUSH_SUBNORMALS
        bounds = [(*byte_bounds(array), flags_address(array)) for array in self.changed]
        self.table[driver.CHANGED_ARRAYS] = self._keep(np.array(bounds, np.int64))
        arena = self.memory = allocate_arena(self.schedule.arena_size + ALIGNMENT)
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
                array = self.allocators[key]()
            else:
                offset = start + self.schedule.offsets[key]
                if key in self.schedule.block_buffers:
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
        """Allocate new memory for an output, because the result of the last run belongs to that run's caller."""
        key = id(base_of(value))
        if key in self.allocators:
            array = self.arrays[key] = self.allocators[key]()
            self.table_view[self.entries[key]] = data_pointer(array)

    def release(self, outputs: Sequence[Value]) -> None:
        """Drop the references to the last run's arguments and outputs, so that their memory can be freed."""
        for value in (*self.arguments, *map(base_of, outputs)):
            self.arrays.pop(id(value), None)

    def _address(self, thread_id: int, value: Value) -> int:
        """The address of a thread's copy or block buffer of a value; of other values, the address of their memory."""
        return int(self.table[self.entries[id(value)]]) + thread_id * (
            value.options.get("bytes_per_thread", 0) or self.schedule.block_buffers.get(id(value), (0, 0))[0]
        )

    def _keep(self, array: NDArray[np.int64]) -> int:
        """Keep an integer array alive, and return its address."""
        self.buffers.append(array)
        return array.ctypes.data

    def _memory_of(self, thread_id: int) -> ThreadMemory:
        """Where the arrays of a thread are."""
        own_entries = self.entries_of_threads[thread_id]

        def block_bytes_of(value: Value) -> int:
            return self.schedule.block_buffers.get(id(value), (0, 0))[1]

        return ThreadMemory(
            lambda value: own_entries.get(id(value)) or self.entries[id(value)],
            partial(self._address, thread_id),
            block_bytes_of,
            self._keep,
        )

    # Scripts

    def _write_scripts(self) -> list[Any]:
        """Write all scripts, and return `run_order`."""
        run_order: list[Any] = []
        segments: list[list[KernelCall]] = []
        for index, stage in enumerate(self.schedule.stages):
            if stage.kind == "call":
                run_order.append(self._python_call(stage))
                continue
            if not run_order or not isinstance(run_order[-1], int):
                run_order.append(len(segments))
                segments.append([])
            segments[-1].append(self.kernel_calls[index])
        scripts = [self._script([], 0, 1, has_checks=True)]
        for index, calls in enumerate(segments):
            has_checks = index == 0
            scripts.append(self._script(calls, 0, 1, has_checks))
            scripts += [
                self._script(calls, thread_id, self.thread_count, has_checks) for thread_id in range(self.thread_count)
            ]
        self.table[driver.SCRIPTS] = self._keep(np.array(scripts, np.int64))
        return run_order

    def _script(self, calls: Sequence[KernelCall], thread_id: int, thread_count: int, has_checks: bool) -> int:
        """Write a script, and return its address."""
        script = Script(thread_id, thread_count, self._memory_of(thread_id))
        if has_checks:
            self._write_checks(script)
        script.stages(calls)
        return self._keep(script.build())

    def _write_checks(self, script: Script) -> None:
        """Add the checks of everything that can fail, which run before the program changes anything."""
        n_changed = len(self.changed)
        if n_changed:
            kernel = machine.address_of("count_read_only", driver.count_read_only)
            script.check(driver.READ_ONLY_CHECK, kernel, [n_changed])
        for i, _, value in self.argument_entries:
            if value.size:
                descriptor = [self.entries[id(value)], value.example.nbytes, value.dtype.itemsize, n_changed]
                kernel = machine.address_of("count_overlaps", driver.count_overlaps)
                script.check(driver.ARGUMENT_CHECK - i, kernel, descriptor)
        for number, (value, size, ignore_index, _) in enumerate(self.index_checks, 1):
            element_type = type_of(value.dtype)
            build = partial(driver.count_invalid_indices, element_type)
            kernel = machine.address_of(f"count_invalid_indices {element_type}", build)
            # without an ignore_index, 0 is ignored: it is a valid index anyway
            script.check(number, kernel, [self.entries[id(value)], value.size, size, ignore_index or 0])

    # Running

    def array(self, value: Value) -> NDArray[Any]:
        """A value's array; for a view, the view of its base's array."""
        if value.kind != "view":
            return self.arrays[id(value)]
        return value.options["view"](self.array(value.inputs[0]))  # type: ignore[no-any-return]  # returns a view

    def _python_call(self, stage: Stage) -> Callable[[], None]:
        """The function that runs a Python call, which is a stage of its own."""
        step = stage.steps[0]
        items = [v for v in self.bases if v.kind == "tuple_item" and v.inputs[0] is step]

        def run() -> None:
            inputs = [self.array(v) for v in step.inputs]
            result = step.options["function"](*inputs)
            results = [(v, result[v.options["position"]]) for v in items] if items else [(step, result)]
            for value, array in results:
                if any(array is x for x in inputs):  # an input's memory may be reused while the result is needed
                    array = array.copy()
                self._store_result(value, array)

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
        # copy a view: the program may reuse the memory that it is a view of
        if array.size and (array.strides != value.example.strides or array.base is not None):
            array = _copy_like(array, value)
        self.arrays[id(value)] = array
        self.table[self.entries[id(value)]] = data_pointer(array)

    def run(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Run the stages once on these arguments.

        Raises:
            IndexError: an index is out of range.
            ValueError: an array that would be written is read-only.
            CaptureError: an argument shares memory with an array that would be written.

        In these three cases, nothing has been changed.
        """
        for i, entry, value in self.argument_entries:
            array = arguments[i]
            if array.strides != value.example.strides and array.size:
                self._check_no_overlap(array)
                array = _copy_like(array, value)
            self.arrays[id(value)] = array  # which keeps it alive
            self.table_view[entry] = data_pointer(array)
        if not ARRAY_STRUCT_IS_KNOWN:
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
            for item in self.run_order:
                if type(item) is int:
                    self._run(item)
                else:
                    item()
                    self.table_view[driver.PROGRESS] += 1

    def _handle_failed_check(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Raise the error for the check that failed, or copy an argument that the program cannot read in place.

        If no error is raised, the checks must run again: either the argument was copied, or a different thread has
        repaired the array since the check.
        """
        failed_check = self.table_view[driver.CHECK_RESULT]
        if failed_check > 0:
            value, _, _, validate = self.index_checks[failed_check - 1]
            validate(self.arrays[id(value)])  # the array that was checked: the argument or a copy of it
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
                    f"which the function changes: pass a copy (clone()), or let the function use it as a global or "
                    f"closure variable"
                )

    def _run(self, segment: int) -> None:
        if self.thread_count == 1:
            self.enter(RUN, segment, 0, 1, 0)
        else:
            team.run_parallel(self.enter, segment, self.thread_count)


def _driver_address() -> int:
    return machine.address_of("driver", driver.driver)


def _bases(schedule: Schedule, others: Sequence[Value]) -> list[Value]:
    """The values whose memory the stages or the values `others` use, each once.

    Results of steps that stay in registers are not among them.
    """
    bases: dict[int, Value] = {}
    for stage in schedule.stages:
        for v in [*stage.reads(), *stage.steps, *stage.stored_values, *(target for target, _ in stage.writes)]:
            bases[id(base_of(v))] = base_of(v)
    for v in others:
        bases[id(base_of(v))] = base_of(v)
    stored_ids = {id(v) for stage in schedule.stages for v in stage.stored_values}
    kinds = (*INPUT_KINDS, "call", "tuple_item", "scratch")
    return [v for v in bases.values() if id(v) in stored_ids or v.kind in kinds]


def array_in(memory: NDArray[np.uint8], value: Value) -> NDArray[Any]:
    """An array in `memory`, with the strides of the value's example."""
    return np.ndarray(value.shape, value.dtype, memory, strides=value.example.strides)


def _allocator(value: Value) -> Callable[[], NDArray[Any]]:
    """A function that allocates an array for a value, with the strides of its example."""
    shape, dtype, n_bytes = value.shape, value.dtype, value.example.nbytes
    if value.example.strides == np.empty(shape, dtype).strides:
        return lambda: np.empty(shape, dtype)  # faster than `array_in`
    return lambda: array_in(np.empty(n_bytes, np.uint8), value)


def _copy_like(array: NDArray[Any], value: Value) -> NDArray[Any]:
    """A copy of an array, with the type and strides of a value's example."""
    copy = np.lib.stride_tricks.as_strided(np.empty(value.size, value.dtype), value.shape, value.example.strides)
    copy[...] = array
    return copy


def thread_count(calls: Iterable[KernelCall]) -> int:
    """How many threads are worthwhile, given the work that can be divided among them."""
    stages = [call.stage for call in calls if call.is_parallel or call.partial_results or call.stage.group is not None]
    return max(1, min(team.threads(), int(sum(map(work, stages)) / WORK_PER_THREAD) + 1))
