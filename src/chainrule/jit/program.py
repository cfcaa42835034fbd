"""A program: stages compiled, memory laid out, ready to run again and again.

A run finds the numbers that change from call to call prepared (by `host`), the addresses of the arguments in its table,
and calls the compiled stages: one call if all of them are compiled, else one for each stretch between two calls of
Python. BLAS's own threads are not used inside.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import CaptureError
from chainrule.jit import emit
from chainrule.jit.graph import Value, base_of, byte_bounds, share_memory
from chainrule.jit.schedule import ALIGNMENT, Plan
from chainrule.kernels import blas, native, team
from chainrule.kernels.compile import load
from chainrule.kernels.loop import Loop
from chainrule.kernels.native import (
    ANSWER,
    ARGUMENT,
    CHANGED,
    CHECK,
    DONE,
    READ_ONLY,
    RESERVED,
    RUN,
    SCALARS,
    WORK,
    place_of,
)  # fmt: skip
from chainrule.ops.indexing import in_range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.jit.host import Host

HEADER = '''"""A program made by chainrule.jit. T: addresses of arrays; S: numbers that change from call to call."""

import math

import numpy as np

from chainrule.kernels.compile import entrance, inner
from chainrule.kernels.loops.apart import apart, keep_rows
from chainrule.kernels.loops.memory import pointer, shifted
from chainrule.kernels.loops.numbers import *
from chainrule.kernels.loops.product import dots
from chainrule.kernels.loops.program import *
from chainrule.kernels.loops.team import call_others, release, wait
from chainrule.kernels.native import ANSWER, ARGUMENT, CHANGED, CHECK, DONE, READ_ONLY, SCALARS, WORK
'''
WORTH_THREADS = 2e6
"""So many multiplications and moves of numbers, some 50 µs, are worth a second thread."""


class Program:
    """See above.

    Args:
        plan: the stages and their memory.
        host: what Python prepares.
        arguments: the values that stand for the function's arguments.
        outputs: the values to give back, in memory of their own.
        changed: memory outside that it writes into.
    """

    def __init__(
        self, plan: Plan, host: Host, arguments: Sequence[Value], outputs: Sequence[Value],
        changed: Sequence[NDArray[Any]],
    ) -> None:  # fmt: skip
        self.plan, self.arguments, self.changed = plan, list(arguments), list(changed)
        self.slots: dict[int, int] = {}
        self.bases: list[Value] = []
        self.shares = shares(plan)
        self.calls: dict[int, emit.Call] = {}  # of each compiled stage
        functions: list[str] = []
        names: dict[str, str] = {}  # of functions, by their text
        parts: list[list[emit.Call]] = []
        order: list[Any] = []  # numbers of parts, and stages that are calls of Python
        for number, stage in enumerate(plan.stages):
            if stage.kind == "call":
                order.append(stage)
                for v in [*stage.steps, *stage.reads()]:
                    self._slot(base_of(v))
                continue
            made = emit.function(stage, self._slot)
            name = names.setdefault(made.text, f"k{number}")
            if name == f"k{number}":
                functions += ["", "", "@apart" if made.apart else "@inner", f"def {name}{made.text}"]
            self.calls[number] = stage, name, made
            if not order or not isinstance(order[-1], int):
                order.append(len(parts))
                parts.append([])
            parts[-1].append(self.calls[number])
        known = {id(value): i for i, value in enumerate(self.arguments)}
        self.indices = [(known[id(value)], size, name, spared) for value, size, name, spared in host.indices]
        for v in outputs:
            self._slot(base_of(v))
        checks = emit.check_writable(len(self.changed))
        for number, value in enumerate(self.arguments):
            if id(value) in self.slots:
                checks += emit.check_memory(number, value, len(self.changed), self.slots[id(value)])
        for number, (value, size, _, spared) in enumerate(host.indices, 1):
            checks += emit.check(number, value, size, spared, self._slot(value))
        text = [*functions, *emit.entry(parts, self._moves(), checks)]
        self.code = HEADER + "\n".join(text) + "\n"
        self.scalars = np.zeros(max(1, len(host.slots)))
        self.numbers = self.scalars.data  # to be written one by one, which is quicker so
        self._allocate(outputs)
        self.order: list[Any] = [item if isinstance(item, int) else self._caller(item) for item in order]
        entrance = native.entrance(self.code)
        if self.shares > 1:
            self.table[WORK] = native.address_of(entrance)
        self.enter = partial(entrance, self.table.ctypes.data)
        self.words = self.table.data  # to be written one by one, which is quicker so
        self.whole = len(order) == 1 and type(order[0]) is int  # one compiled part, no calls of Python
        self.places = [
            (i, self.slots[id(value)], value) for i, value in enumerate(self.arguments) if id(value) in self.slots
        ]

    def _slot(self, value: Value) -> int:
        found = self.slots.get(id(value))
        if found is None:
            found = self.slots[id(value)] = RESERVED + len(self.bases)
            self.bases.append(value)
        return found

    def _moves(self) -> dict[int, str]:
        """By place in the table, how many bytes an array is moved for each thread, and for each image of a group."""
        moves = {}
        for value in self.bases:
            if "each" in value.options:  # every thread has its own
                moves[self.slots[id(value)]] = f"me * {value.options['each']}"
            elif id(value) in self.plan.windows:
                each = value.example.nbytes // value.shape[0]
                moves[self.slots[id(value)]] = f"me * {self.plan.windows[id(value)]} - image * {each}"
        return moves

    def _allocate(self, outputs: Sequence[Value]) -> None:
        self.table = np.zeros(RESERVED + len(self.bases), np.int64)
        self.table[:4] = *blas.addresses(), *blas.threads_addresses()
        self.table[SCALARS] = self.scalars.ctypes.data
        bounds = [(*byte_bounds(array), native.flags_address(array)) for array in self.changed]
        self.bounds = np.array(bounds, np.int64)
        self.table[CHANGED] = self.bounds.ctypes.data
        raw = self.memory = np.empty(self.plan.arena + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        self.arrays: dict[int, NDArray[Any]] = {}
        kept = {id(base_of(v)) for v in outputs}
        for value in self.bases:
            if value.kind == "captured":
                array = value.example
            elif value.kind == "argument" or (emit.given_by_python(value) and id(value) not in kept):
                continue
            elif id(value) in kept:
                array = _laid_out(np.empty(value.example.nbytes, np.uint8), value)
            else:
                offset = start + self.plan.offsets[id(value)]
                if id(value) in self.plan.windows:
                    self.table[self.slots[id(value)]] = raw[offset:].ctypes.data
                    continue
                array = _laid_out(raw[offset : offset + value.example.nbytes], value)
            self.arrays[id(value)] = array
            self.table[self.slots[id(value)]] = array.ctypes.data

    def array(self, value: Value) -> NDArray[Any]:
        """A value's array, seen as the value is."""
        if value.kind != "view":
            return self.arrays[id(value)]
        return value.options["seen"](self.array(value.inputs[0]))  # type: ignore[no-any-return]  # as NumPy saw it before

    def _caller(self, stage: Any) -> Callable[[], None]:
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
        self.table[self.slots[id(value)]] = place_of(array)

    def timed(self) -> Any:
        """The functions `stage` and `group` of (table, numbers, number), which run one stage, or one group of them."""
        code = self.code.replace("@entrance\n", "") + "\n".join([*emit.one_by_one(self.calls), ""])

        def loop(name: str) -> Loop:
            return Loop(f"{name} of {code}", lambda: getattr(load("program", code), name))

        return SimpleNamespace(stage=loop("stage"), group=loop("group"))

    def run(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Take arguments, and run the stages once.

        Raises:
            IndexError: an argument that is an index is out of range; nothing has been done then.
            ValueError: memory that would be changed is read-only, as above.
            CaptureError: an argument shares memory with what would be changed, as above.
        """
        for i, slot, value in self.places:
            array = arguments[i]
            if array.strides != value.example.strides and array.size:
                self._check_apart(array)
                array = _copied(array, value)
            self.arrays[id(value)] = array  # which keeps it, too
            self.words[slot] = place_of(array)
        if not native.FINDS_FLAGS:
            self._check_writable()
        if self.whole:
            self._run(0)
            while self.words[ANSWER]:
                self._settle(arguments)
                self._run(0)
            return
        self.enter(CHECK, 0, 0, 1, 0)
        while self.words[ANSWER]:
            self._settle(arguments)
            self.enter(CHECK, 0, 0, 1, 0)
        self.words[DONE] += 1
        with blas.one_thread():
            for item in self.order:
                if type(item) is int:
                    self._run(item)
                else:
                    item()
                    self.words[DONE] += 1

    def progress(self, before: int) -> float:
        """How much of the program has been run, from 0 to 1, since words[DONE] was `before`."""
        return (self.words[DONE] - before) / (1 if self.whole else 1 + len(self.order))

    def _settle(self, arguments: Sequence[NDArray[Any]]) -> None:
        """Raise the error that a check has found, or copy an argument that the program can take elsewhere."""
        answer = self.words[ANSWER]
        if answer > 0:
            i, size, name, spared = self.indices[answer - 1]
            in_range(arguments[i] if spared is None else arguments[i][arguments[i] != spared], size, name)
        if answer == READ_ONLY:
            self._check_writable()
        i = ARGUMENT - answer
        self._check_apart(arguments[i])
        value = self.arguments[i]
        array = self.arrays[id(value)] = _copied(arguments[i], value)
        self.words[self.slots[id(value)]] = place_of(array)

    def _check_writable(self) -> None:
        if not all(array.flags.writeable for array in self.changed):
            raise ValueError("assignment destination is read-only")

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
            team.together(self.enter, part, self.shares)


def _laid_out(memory: NDArray[np.uint8], value: Value) -> NDArray[Any]:
    """An array in given memory, with the strides of the value's example."""
    return np.ndarray(value.shape, value.dtype, memory, strides=value.example.strides)


def _copied(array: NDArray[Any], value: Value) -> NDArray[Any]:
    made = np.lib.stride_tricks.as_strided(np.empty(value.size, value.dtype), value.shape, value.example.strides)
    made[...] = array
    return made


def shares(plan: Plan) -> int:
    """How many threads the program is worth."""
    work = sum(emit.work(stage) for stage in plan.stages if stage.kind != "call")
    return max(1, min(team.threads(), int(work / WORTH_THREADS) + 1))
