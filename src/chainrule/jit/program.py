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

from chainrule.jit import emit
from chainrule.jit.graph import Value, base_of
from chainrule.jit.schedule import ALIGNMENT, Plan
from chainrule.kernels import blas, native, team
from chainrule.kernels.compile import load
from chainrule.kernels.loop import Loop
from chainrule.kernels.native import ANSWER, CHECK, CONTROL, RESERVED, RUN, SCALARS, place_of
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
from chainrule.kernels.loops.memory import pointer
from chainrule.kernels.loops.numbers import *
from chainrule.kernels.loops.product import dots
from chainrule.kernels.loops.program import *
from chainrule.kernels.native import ANSWER, CALL, CHECK, SCALARS
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
    """

    def __init__(self, plan: Plan, host: Host, arguments: Sequence[Value], outputs: Sequence[Value]) -> None:
        self.plan, self.arguments = plan, list(arguments)
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
        checks: list[str] = []
        for number, (value, size, _, spared) in enumerate(host.indices, 1):
            checks += emit.check(number, value, size, spared, self._slot(value))
        text = [*functions, *emit.entry(parts, self._moves(), checks)]
        self.code = HEADER + "\n".join(text) + "\n"
        for v in outputs:
            self._slot(base_of(v))
        self.scalars = np.zeros(max(1, len(host.slots)))
        self.numbers = self.scalars.data  # to be written one by one, which is quicker so
        self._allocate(outputs)
        self.order: list[Any] = [item if isinstance(item, int) else self._caller(item) for item in order]
        self.enter = partial(native.entrance(self.code), self.table.ctypes.data)
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
        """By place in the table, how far an array is moved for each thread, and for each image of a group."""
        moves = {}
        for value in self.bases:
            if "each" in value.options:  # every thread has its own
                moves[self.slots[id(value)]] = f" + me * {value.options['each']}"
            elif id(value) in self.plan.windows:
                each = value.example.nbytes // value.shape[0]
                moves[self.slots[id(value)]] = f" + me * {self.plan.windows[id(value)]} - image * {each}"
        return moves

    def _allocate(self, outputs: Sequence[Value]) -> None:
        self.table = np.zeros(RESERVED + len(self.bases), np.int64)
        self.table[:4] = *blas.addresses(), *blas.threads_addresses()
        self.control = np.zeros((3 * self.shares + 1) * 8 + 8, np.int64)  # a cache line for each word
        self.table[SCALARS] = self.scalars.ctypes.data
        self.table[CONTROL] = -(-self.control.ctypes.data // ALIGNMENT) * ALIGNMENT
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
            result = step.options["function"](*(self.array(v) for v in step.inputs))
            for v, array in ((v, result[v.options["position"]]) for v in parts) if parts else ((step, result),):
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
        """
        for i, slot, value in self.places:
            array = arguments[i]
            if array.strides != value.example.strides and array.size:
                array = _copied(array, value)
            self.arrays[id(value)] = array  # which keeps it, too
            self.words[slot] = place_of(array)
        if self.whole:
            self._run(0)
            if self.words[ANSWER]:
                self._wrong(arguments)
            return
        self.enter(CHECK, 0, 0, 1, 0)
        if self.words[ANSWER]:
            self._wrong(arguments)
        before = blas.hold()
        try:
            for item in self.order:
                if type(item) is int:
                    self._run(item)
                else:
                    item()
        finally:
            blas.let_go(before)

    def _wrong(self, arguments: Sequence[NDArray[Any]]) -> None:
        i, size, name, spared = self.indices[self.words[ANSWER] - 1]
        in_range(arguments[i][arguments[i] != spared], size, name)

    def _run(self, part: int) -> None:
        if self.shares == 1:
            self.enter(RUN, part, 0, 1, 0)
        else:
            team.together(self.enter, self.words, part, self.shares)


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
