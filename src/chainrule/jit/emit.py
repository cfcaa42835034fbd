"""From stages to Python that Numba compiles: one function for each stage, and one that calls them in turn.

Every array is known by its number in a table of addresses, T; every shape, stride and type is written into the code as
a constant, so that the compiler can unroll and vectorise. What it says can be read: `step.explain(code=True)`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.jit.graph import SOURCES, Value, base_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chainrule.jit.schedule import Group, Stage

NAMES = {"float32": "f4", "float64": "f8", "int64": "i8", "int32": "i4", "uint8": "u1", "bool": "b1", "int16": "i2",
         "int8": "s1", "uint16": "u2", "uint32": "u4", "uint64": "u8"}  # fmt: skip

FORMULAS: dict[Any, str] = {
    np.add: "{0} + {1}", np.subtract: "{0} - {1}", np.multiply: "{0} * {1}", np.true_divide: "{0} / {1}",
    np.negative: "-{0}", np.square: "{0} * {0}", np.reciprocal: "one / {0}", np.power: "power({0}, {1})",
    np.sqrt: "np.sqrt({0})", np.exp: "exp({0})", np.log: "log({0})", np.expm1: "expm1({0})",
    np.log1p: "log1p({0})", np.log2: "np.log2({0})", np.tanh: "tanh({0})", np.sin: "np.sin({0})",
    np.cos: "np.cos({0})", np.tan: "np.tan({0})", np.arctan: "np.arctan({0})", np.sinh: "np.sinh({0})",
    np.cosh: "np.cosh({0})", np.absolute: "abs({0})", np.sign: "np.sign({0})", np.floor: "np.floor({0})",
    np.ceil: "np.ceil({0})", np.trunc: "np.trunc({0})", np.rint: "np.rint({0})",
    np.maximum: "maximum({0}, {1})", np.minimum: "minimum({0}, {1})",
    np.equal: "{0} == {1}", np.not_equal: "{0} != {1}", np.less: "{0} < {1}", np.less_equal: "{0} <= {1}",
    np.greater: "{0} > {1}", np.greater_equal: "{0} >= {1}",
    np.logical_and: "({0} != 0) & ({1} != 0)", np.logical_or: "({0} != 0) | ({1} != 0)", np.logical_not: "{0} == 0",
    np.bitwise_and: "{0} & {1}", np.bitwise_or: "{0} | {1}", np.invert: "~{0}",
    np.isfinite: "np.isfinite({0})", np.isnan: "{0} != {0}", np.where: "{1} if {0} else {2}", "cast": "{0}",
}  # fmt: skip

COMPARISONS = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isnan}
CLOSED = {
    np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.square, np.reciprocal, np.sqrt, np.exp, np.log,
    np.expm1, np.log1p, np.tanh, np.absolute, np.maximum, np.minimum, np.where, "cast",
}  # fmt: skip
"""What needs no cast: comparisons are booleans anyway, and these give floats of the type that they are given."""

START = {"sum": "0", "max": "-math.inf", "min": "math.inf"}
STEP = {"sum": "add({0}, {1})", "max": "maximum({0}, {1})", "min": "minimum({0}, {1})"}

FEW_ROWS = 24  # with more, BLAS's copy of the weights pays (see `kernels.loops.product`)
SMALL = 4_000
"""Loops over fewer elements are not shared among threads."""
FEW_VECTORS = (8, 16)
"""Rows of so many numbers are one vector or two."""


@dataclass(frozen=True)
class Function:
    """The text of a stage's function, whose parameters are arrays, numbers, and which share of the rows to do.

    Stages that do the same to other arrays have the same text, and are compiled once.

    Attributes:
        text: all after its name.
        arrays: for each array that it takes, its place in T.
        pointers: the types of those that it takes pointers to. Of others it takes addresses.
        apart: whether the memory that it takes pointers to overlaps no other of its arrays.
        numbers: for each number that it takes, its place in S.
        rows: what can be shared out.
        shared: whether it is worth sharing.
        sums: for each result that is a sum over rows, made in parts, its place in T and how many bytes a part has. The
            function takes one more argument then, whether the part is begun.
        parts: how many.
        private: every thread does all of it, for itself.
    """

    text: str
    arrays: tuple[int, ...]
    pointers: Mapping[int, str]
    apart: bool
    numbers: tuple[int, ...]
    rows: int
    shared: bool
    sums: Mapping[int, int]
    parts: int
    private: bool

    def lines(self, name: str, moves: Mapping[int, str]) -> list[str]:
        """The lines that call it: for all rows, for this thread's share of them, or part by part."""
        if self.private:
            return [self.call(name, moves, "0", str(self.rows))]
        if not self.sums:
            share = ("me * {0} // shares", "(me + 1) * {0} // shares") if self.shared else ("0", "{0}")
            return [self.call(name, moves, *(end.format(self.rows) for end in share))]
        line = self.call(
            name, moves, f"piece * {self.rows} // {self.parts}", f"(piece + 1) * {self.rows} // {self.parts}"
        )
        return [f"for piece in range(me * {self.parts} // shares, (me + 1) * {self.parts} // shares):", f"    {line}"]

    def call(self, name: str, moves: Mapping[int, str], first: str, last: str, fresh: str = "1") -> str:
        """A line that calls it for some rows; `moves` says by place in T how many bytes an array is moved."""
        moves = {**{n: f"piece * {size}" for n, size in self.sums.items()}, **moves}
        arrays = []
        for n in self.arrays:
            array = f"pointer(T[{n}], {self.pointers[n]})" if n in self.pointers else f"T[{n}]"
            arrays.append(f"shifted({array}, {moves[n]})" if moves.get(n) else array)
        given = [*arrays, *(f"S[{n}]" for n in self.numbers), first, last]
        return f"{name}({', '.join([*given, fresh] if self.sums else given)})"


def function(stage: Stage, slot: Callable[[Value], int]) -> Function:
    """What a stage is compiled to; `slot` tells an array's place in T."""
    sums = {slot(v): v.example.nbytes // stage.parts for v in stage.steps if stage.parts and in_parts(v)}
    apart = False
    if stage.kind == "matmul":
        lines, pointers, rows = product(stage.steps[0], slot)
        shared = rows >= 8 and work(stage) > 8 * SMALL
    elif stage.kind == "kernel":
        lines, pointers, rows = kernel(stage, slot)
        shared = rows > 1 and work(stage) > SMALL
    else:
        loop = Loop(stage, slot)
        lines, pointers, rows = loop.lines, loop.types, loop.sizes[0] if loop.sizes else 1
        apart = loop.told_apart and bool(pointers)
        shared = loop.outermost_free and work(stage) > SMALL and rows > 1
    private = bool(stage.steps) and "each" in stage.steps[0].options
    body = "\n".join(lines)
    arrays = list(dict.fromkeys(re.findall(r"T\[(\d+)\]", body)))
    numbers = list(dict.fromkeys(re.findall(r"S\[(\d+)\]", body)))
    for letter, word, places in (("T", "array", arrays), ("S", "number", numbers)):
        for position, place in enumerate(places):
            body = body.replace(f"{letter}[{place}]", f"{word}{position}")
    names = [*(f"array{i}" for i in range(len(arrays))), *(f"number{i}" for i in range(len(numbers))), "first", "last"]
    names += ["fresh"] if sums else []
    text = f"({', '.join(names)}):\n{body}"
    taken = tuple(map(int, arrays)), pointers, apart, tuple(map(int, numbers))
    return Function(text, *taken, rows, shared, sums, stage.parts, private)


Call = tuple["Stage", str, Function]
"""A stage with its function's name and text."""


def together(group: Group, calls: Sequence[Call], moves: Mapping[int, str]) -> list[str]:
    """The function that runs a group of stages image by image, for this thread's share of the images."""
    n, parts = group.images, group.parts
    lines = ["", "", "@inner", f"def {group.name}(T, S, me, shares):"]
    indent = "    "
    if parts:
        lines.append(f"    for piece in range(me * {parts} // shares, (me + 1) * {parts} // shares):")
        lines += [f"        begin, end = piece * {n} // {parts}, (piece + 1) * {n} // {parts}"]
        indent += "    "
    else:
        lines.append(f"    begin, end = me * {n} // shares, (me + 1) * {n} // shares")
    lines.append(f"{indent}for image in range(begin, end):")
    for _, function, made in calls:
        each = made.rows // n
        rows = ("image", "image + 1") if each == 1 else (f"image * {each}", f"(image + 1) * {each}")
        lines.append(f"{indent}    {made.call(function, moves, *rows, 'int(image == begin)')}")
    return lines


ENTRY = """

@entrance
def work(table, task, part, me, shares, team):
    T = pointer(table, i8)
    S = pointer(T[SCALARS], f8)
    W = pointer(team, i8)
    if task == CHECK:
        T[ANSWER] = {wrong}
        return
    if me == 0:
        hold_blas(T)
        shares = call_others(W, T[WORK], table, part, shares)
    found = {wrong} if part == 0 else 0  # each thread looks for itself
    if found == 0:
        rule = flush_denormals()
        {stages}
        restore_denormals(rule)
    else:
        wait(W, shares)
    if me == 0:
        T[ANSWER] = found
        if found == 0:
            T[DONE] += 1
        let_blas_go(T)
        release(W, shares)"""
"""What a program is entered by. The first thread, number 0 of so many, calls the others, which run the part, too. T is
the program's table (`kernels.native`), W are the words that the threads share (`kernels.loops.team`)."""


def entry(parts: Sequence[Sequence[Call]], moves: Mapping[int, str], checks: Sequence[str]) -> list[str]:
    """The function `work`, by which every thread enters for a part.

    Args:
        parts: the stages of each.
        moves: by place in T, how far an array is moved for a thread and an image.
        checks: lines of a function that looks at arguments, before the first part.
    """
    groups: list[str] = []
    lines: list[str] = []
    barrier = "    wait(W, shares)"
    for number, calls in enumerate(parts):
        lines.append(f"if part == {number}:")
        alone: list[str] = []  # stages that the first thread does by itself
        for group, grouped in groupby(calls, key=lambda call: call[0].group):
            members = list(grouped)
            if group is None:
                shared = [
                    (made.shared or made.private or bool(made.sums), made.lines(name, moves))
                    for _, name, made in members
                ]
            else:
                groups += together(group, members, moves)
                shared = [(True, [f"{group.name}(T, S, me, shares)"])]
            for by_all, text in shared:
                if by_all and alone:
                    lines += ["    if me == 0:", *alone, barrier]
                    alone = []
                if by_all:
                    lines += [*("    " + line for line in text), barrier]
                else:
                    alone += [f"        {line}" for line in text]
        if alone:
            lines += ["    if me == 0:", *alone, barrier]
    looks = ["", "", "@inner", "def wrong(T):", *checks, "    return 0"] if checks else []
    work = ENTRY.format(wrong="wrong(T)" if checks else "0", stages="\n        ".join(lines))
    return [*groups, *looks, *work.splitlines()]


def check(number: int, value: Value, size: int, spared: int | None, place: int) -> list[str]:
    """Lines that look whether all of an argument is from 0 to size - 1, or `spared`; if not, they return `number`."""
    memory = f"pointer(T[{place}], {_memory(value)})"
    return [f"    if not all_below({memory}, {value.size}, {size}, {spared or 0}):", f"        return {number}"]


def check_writable(count: int) -> list[str]:
    """Lines that look whether the memory that the program changes, so many arrays, may be written into."""
    return [f"    if not writable(pointer(T[CHANGED], i8), {count}):", "        return READ_ONLY"] if count else []


def check_memory(number: int, value: Value, changed: int, place: int) -> list[str]:
    """Lines that look whether an argument is aligned, and apart from so many arrays that the program changes."""
    item, size = value.dtype.itemsize, value.example.nbytes
    conditions = [f"T[{place}] % {item} != 0"] if item > 1 and size else []
    conditions += [f"reaches_into(T[{place}], {size}, pointer(T[CHANGED], i8), {changed})"] if changed and size else []
    return [f"    if {' or '.join(conditions)}:", f"        return ARGUMENT - {number}"] if conditions else []


def one_by_one(calls: Mapping[int, Call]) -> list[str]:
    """The functions by which Python runs one stage by its number, or one group by that of its first stage."""
    stages, groups = ["", "", "@inner", "def stage(T, S, number):"], ["", "", "@inner", "def group(T, S, number):"]
    before = None
    for number, (stage, name, made) in calls.items():
        whole = made.call(name, dict.fromkeys(made.sums, ""), "0", str(made.rows))
        stages += [f"    if number == {number}:", f"        {whole}"]
        if stage.group is not None and stage.group is not before:
            groups += [f"    if number == {number}:", f"        {stage.group.name}(T, S, 0, 1)"]
        before = stage.group
    return [*stages, "    return", *groups, "    return"]


def work(stage: Stage) -> float:
    """About how many multiplications and moves of numbers a stage makes."""
    if stage.kind == "matmul":
        return float(stage.steps[0].size * stage.steps[0].inputs[0].shape[-1] / 8)  # so many at a time
    if stage.kind == "kernel":
        step = stage.steps[0]
        return float(step.options.get("flops", 0) / 8 or step.options["job"].work)
    return math.prod(stage.shape) * (1 + len(stage.steps) / 4)


class Loop:
    """The text of a stage that runs over elements."""

    def __init__(self, stage: Stage, slot: Callable[[Value], int]) -> None:
        self.stage, self.slot = stage, slot
        self.numbers: dict[tuple[str, int], str] = {}
        self.constants: dict[str, str] = {}
        self.pointers: dict[int, str] = {}
        self.types: dict[int, str] = {}  # of the arrays that come as pointers, by place in T
        self.opening: list[str] = []
        self.names: dict[int, str] = {}
        self.lines = self._body()

    def _body(self) -> list[str]:
        stage = self.stage
        operands = stage.reads()
        order = self.order = self._order(operands)
        moves = {id(v): self._stride(v, stage.shape) for v in [*operands, *(t for t, _ in stage.writes)]}
        moves |= {id(v): _reduced(v) if v.kind == "reduce" else self._stride(v, stage.shape) for v in stage.steps}
        sizes, strides = self._coalesced(
            [stage.shape[d] for d in order], {key: [move[d] for d in order] for key, move in moves.items()}
        )
        self.sizes, self.strides = sizes, strides
        depth = len(sizes)
        # An outermost loop can afford to look whether arrays overlap, one inside, which begins again and again, cannot.
        self.told_apart = depth > 1 and math.prod(sizes) > SMALL
        if self.told_apart and sizes[-1] in FEW_VECTORS:
            self.opening.append("    keep_rows()")
        # A reduction's sum is held in a variable while the loops inside run over it alone, else in memory.
        self.reductions = [step for step in stage.steps if step.kind == "reduce"]
        self.level: dict[int, int] = {}
        for step in self.reductions:
            level = depth
            while level and strides[id(step)][level - 1] == 0:
                level -= 1
            self.level[id(step)] = level
        whole = [step for step in self.reductions if not in_parts(step)]
        self.outermost_free = depth > 0 and all(strides[id(step)][0] for step in whole if sizes[0] > 1)
        return self._nest(0)

    def _order(self, operands: Sequence[Value]) -> list[int]:
        """The dimensions in the memory order of what is written, or else of the largest array that is read."""
        stage = self.stage
        full = [t for t, _ in stage.writes] + [v for v in stage.stored if v.kind == "elementwise"]
        full += sorted((v for v in operands if v.shape == stage.shape), key=lambda v: -v.size) or list(operands)
        lead = next((v for v in full if v.shape == stage.shape), None)
        strides = self._stride(lead, stage.shape) if lead is not None else tuple(range(len(stage.shape), 0, -1))
        return sorted(range(len(stage.shape)), key=lambda d: (-abs(strides[d]), d))

    @staticmethod
    def _stride(value: Value, shape: tuple[int, ...]) -> list[int]:
        """How far a value moves with each dimension of the loop: 0 where it is repeated."""
        missing = len(shape) - len(value.shape)
        own = [s if n != 1 else 0 for s, n in zip(value.strides, value.shape, strict=True)]
        return [0] * missing + own

    @staticmethod
    def _coalesced(sizes: list[int], strides: dict[int, list[int]]) -> tuple[list[int], dict[int, list[int]]]:
        """Neighbouring dimensions as one where every array allows it; those of size 1 left out."""
        out: list[int] = []
        moved: dict[int, list[int]] = {key: [] for key in strides}
        for d, size in enumerate(sizes):
            if size == 1:
                continue
            if out and all(moved[k][-1] == s[d] * size for k, s in strides.items()):
                out[-1] *= size
                for k, s in strides.items():
                    moved[k][-1] = s[d]
            else:
                out.append(size)
                for k, s in strides.items():
                    moved[k].append(s[d])
        return out, moved

    def _pointer(self, value: Value) -> str:
        base = base_of(value)
        name = self.pointers.get(id(base))
        if name is None:
            name = self.pointers[id(base)] = f"p{len(self.pointers)}"
            number, kind = self.slot(base), _memory(base)
            if own(base) or not self.told_apart:
                self.types[number] = kind
                self.opening.append(f"    {name} = T[{number}]")
            else:  # a pointer would be taken for one to memory that overlaps no other
                self.opening.append(f"    {name} = pointer(T[{number}], {kind})")
        return name

    def _number(self, kind: str, slot: int) -> str:
        name = self.numbers.get((kind, slot))
        if name is None:
            name = self.numbers[kind, slot] = f"s{len(self.numbers)}"
            self.opening.append(f"    {name} = {kind}(S[{slot}])")
        return name

    def _constant(self, text: str) -> str:
        name = self.constants.get(text)
        if name is None:
            name = self.constants[text] = f"c{len(self.constants)}"
            self.opening.append(f"    {name} = {text}")
        return name

    def _at(self, value: Value) -> str:
        """Where the value's element lies in its memory."""
        offset, v = 0, value
        while v.kind == "view":
            offset += v.options["offset"]
            v = v.inputs[0]
        terms = [f"i{d} * {s}" if s != 1 else f"i{d}" for d, s in enumerate(self.strides[id(value)]) if s]
        terms += [str(offset)] if offset or not terms else []
        return " + ".join(terms)

    def _nest(self, depth: int) -> list[str]:
        body = element = self._element()
        total = len(self.sizes)
        for level in range(total - 1, -1, -1):
            start = [
                f"{self._acc(r)} = {self._start(r)}"
                for r in self.reductions
                if self.level[id(r)] == level and level < total
            ]
            end = [self._hand_over(r) for r in self.reductions if self.level[id(r)] == level and level < total]
            size = "first, last" if level == 0 and self.outermost_free else str(self.sizes[level])
            body = [*start, f"for i{level} in range({size}):", *("    " + line for line in body), *end]
        empty = 0 in self.stage.shape
        body = body if total and not empty else []
        for r in self.reductions:  # sums in memory begin at 0
            if total and (empty or self.level[id(r)] == total or self._comes_again(r)):
                cleared = self._clear(r)
                body = [*(["if fresh:", *("    " + line for line in cleared)] if in_parts(r) else cleared), *body]
        if not total:
            body = [*(f"{self._acc(r)} = {self._start(r)}" for r in self.reductions), *element,
                    *(f"{self._pointer(r)}[0] = {self._acc(r)}" for r in self.reductions)]  # fmt: skip
        return self.opening + ["    " + line for line in body or ["pass"]]

    def _comes_again(self, r: Value) -> bool:
        """Whether a loop outside the one that sums in a variable runs over the same results once more."""
        return in_parts(r) or 0 in self.strides[id(r)][: self.level[id(r)]]

    def _hand_over(self, r: Value) -> str:
        """The line that puts a sum from its variable into memory."""
        place = f"{self._pointer(r)}[{self._at(r)}]"
        return f"{place} = {STEP[r.op].format(place, self._acc(r)) if self._comes_again(r) else self._acc(r)}"

    def _clear(self, r: Value) -> list[str]:
        lines = [f"{self._pointer(r)}[{self._at(r)}] = {self._start(r)}"]
        for d in reversed(range(len(self.sizes))):
            if self.strides[id(r)][d]:
                size = "first, last" if d == 0 and self.outermost_free else str(self.sizes[d])
                lines = [f"for i{d} in range({size}):", *("    " + line for line in lines)]
        return lines

    def _acc(self, r: Value) -> str:
        return f"a{self.reductions.index(r)}"

    def _start(self, r: Value) -> str:
        if r.op == "sum":
            return f"{NAMES[r.dtype.name]}(0)"
        low = (
            START[r.op]
            if r.dtype.kind == "f"
            else str(np.iinfo(r.dtype).min if r.op == "max" else np.iinfo(r.dtype).max)
        )
        return f"{NAMES[r.dtype.name]}({low})"

    def _element(self) -> list[str]:
        lines: list[str] = []
        for value in self.stage.reads():
            self.names[id(value)] = f"x{len(self.names)}"
            whole = "" if value.dtype.kind != "b" else " != 0"
            lines.append(f"{self.names[id(value)]} = {self._pointer(value)}[{self._at(value)}]{whole}")
        for step in self.stage.steps:
            if step.kind == "reduce":
                total = (
                    self._acc(step)
                    if self.level[id(step)] < len(self.sizes) or not self.sizes
                    else f"{self._pointer(step)}[{self._at(step)}]"
                )
                lines.append(f"{total} = {STEP[step.op].format(total, self.names[id(step.inputs[0])])}")
                continue
            name = self.names[id(step)] = f"v{len(self.names)}"
            lines.append(f"{name} = {self._formula(step)}")
            if step in self.stage.stored:
                lines.append(self._store(step, step))
        lines += [self._store(target, value) for target, value in self.stage.writes]
        return lines

    def _store(self, target: Value, value: Value) -> str:
        name = self.names[id(value)]
        same = target.dtype == value.dtype and target.dtype.kind != "b"
        return f"{self._pointer(target)}[{self._at(target)}] = {name if same else f'{_memory(target)}({name})'}"

    def _formula(self, step: Value) -> str:
        kept_in = step.options["type"]
        kind = NAMES[kept_in.name]
        inputs = []
        for position, x in enumerate(step.inputs):
            if step.op is np.where and position == 0:
                inputs.append(self.names[id(x)] if isinstance(x, Value) else repr(x))
            elif isinstance(x, Value):
                name = self.names[id(x)]
                inputs.append(name if x.dtype == kept_in else _cast(kind, x.dtype.kind, name))
            elif isinstance(x, tuple):
                inputs.append(self._number(kind, x[1]))
            else:
                inputs.append(self._constant(_literal(kind, x)))
        formula = FORMULAS[step.op]
        if step.op is np.power:
            formula = _power(step.inputs[1])
        text = formula.format(*inputs)
        text = text.replace("one", self._constant(f"{kind}(1)")) if step.op is np.reciprocal else text
        kept = step.op in COMPARISONS or (step.op in CLOSED and step.dtype.kind == "f" and step.dtype == kept_in)
        return text if kept else f"{NAMES[step.dtype.name]}({text})"


def _cast(kind: str, source: str, name: str) -> str:
    return f"{name} != 0" if kind == "b1" and source != "b" else f"{kind}({name})"


def _literal(kind: str, x: Any) -> str:
    if isinstance(x, float) and not math.isfinite(x):
        return f"{kind}({'math.nan' if x != x else 'math.inf' if x > 0 else '-math.inf'})"
    return f"{kind}({x!r})"


def _power(exponent: Any) -> str:
    simple = {2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "np.sqrt({0})", 1: "{0}", -1: "1 / {0}"}
    return simple.get(exponent, "power({0}, {1})") if isinstance(exponent, (int, float)) else "power({0}, {1})"


def _memory(value: Value) -> str:
    """The type of a value's elements in memory: booleans are bytes."""
    return "u1" if value.dtype.kind == "b" else NAMES[value.dtype.name]


def _reduced(step: Value) -> list[int]:
    """How far a reduction's result moves with each dimension of what is reduced."""
    axes, strides = step.options["axes"], list(step.strides[1:] if in_parts(step) else step.strides)
    if step.options["keepdims"]:
        return [0 if d in axes else stride for d, stride in enumerate(strides)]
    return [0 if d in axes else strides.pop(0) for d in range(len(step.inputs[0].shape))]


def given_by_python(value: Value) -> bool:
    """Whether it is what a call of Python gives."""
    return value.kind == "call" or (value.kind == "part" and value.inputs[0].kind == "call")


def own(value: Value) -> bool:
    """Whether its memory is the program's alone: in a stage, such an array overlaps no other."""
    return value.kind not in SOURCES and not given_by_python(value)


def in_parts(step: Value) -> bool:
    """Whether a result is several sums, each over a share of what is summed."""
    return "parts" in step.options


Text = tuple[list[str], dict[int, str], int]
"""A function's lines, the types of the arrays that it takes as pointers, and how many rows can be shared."""


def kernel(stage: Stage, slot: Callable[[Value], int]) -> Text:
    """The text of a kernel's call."""
    step = stage.steps[0]
    job, scratch = step.options["job"], "0"
    *inputs, description = step.inputs
    pointers = {slot(description): "i8"}
    arrays = []
    for value in [*inputs, *stage.steps]:
        if value.kind == "scratch":
            scratch = _start(value, slot, pointers)[0]
            continue
        array, offset = _start(value, slot, pointers)
        arrays.append(f"shifted({array}, {offset * value.dtype.itemsize})" if offset else array)
    arrays += ["0"] * (3 - len(arrays))
    fresh = "fresh" if stage.parts else "1"
    line = f"    kernel(T[{slot(description)}], {', '.join(arrays)}, {scratch}, first, last, {fresh})"
    return [line], pointers, job.rows


def _start(value: Value, slot: Callable[[Value], int], pointers: dict[int, str]) -> tuple[str, int]:
    """The pointer to the memory where a value lies, added to those, and where in it the value begins."""
    offset, base = 0, value
    while base.kind == "view":
        offset += base.options["offset"]
        base = base.inputs[0]
    number = slot(base)
    pointers[number] = _memory(base)
    return f"T[{number}]", offset


def product(step: Value, slot: Callable[[Value], int]) -> Text:
    """The text of a product of matrices, one for each of a stack; shared are rows or columns, or matrices."""
    x, y = step.inputs
    n, m = step.shape[-2:]
    k = x.shape[-1]
    item = NAMES[step.dtype.name]
    lines: list[str] = []
    pointers: dict[int, str] = {}
    starts = [_start(v, slot, pointers) for v in (x, y, step)]
    stack = step.shape[:-2]
    indent = "    "
    for d, size in enumerate(stack):
        lines.append(f"{indent}for b{d} in range({'first, last' if d == 0 else size}):")
        indent += "    "
    at = []
    for v, (_, offset) in zip((x, y, step), starts, strict=True):
        strides = Loop._stride(v, (*stack, *v.shape[-2:]))[: len(stack)]
        terms = [f"b{d} * {s}" for d, s in enumerate(strides) if s]
        at.append(" + ".join([*terms, str(offset)]))
    rows, columns, count = str(n), str(m), stack[0] if stack else n
    # By columns each thread reads, and later updates, its own weights, but all of x: so not where x is the larger.
    if not stack and base_of(y).kind == "captured" and n <= m:
        columns, count = "last - first", m
        at[1] += f" + first * {y.strides[-1]}"
        at[2] += " + first"
    elif not stack:  # rows
        rows = "last - first"
        at[0] += f" + first * {x.strides[-2]}"
        at[2] += f" + first * {m}"
    (tx, lx), (ty, ly) = _leading(x), _leading(y)
    size = step.dtype.itemsize
    where = [f"shifted({array}, ({offset}) * {size})" for (array, _), offset in zip(starts, at, strict=True)]
    if (tx, ty) == (0, 1) and n <= FEW_ROWS:
        sizes = f"{rows}, {columns}, {k}, {where[0]}, {lx}, {where[1]}, {ly}, {where[2]}, {m}"
        return [*lines, f"{indent}dots({item}, {size}, {sizes})"], pointers, count
    lines.append(
        f"{indent}gemm(T[{0 if item == 'f4' else 1}], {tx}, {ty}, {rows}, {columns}, {k}, {item}(1), "
        f"{where[0]}, {lx}, {where[1]}, {ly}, {item}(0), {where[2]}, {m})"
    )
    return lines, pointers, count


def _leading(v: Value) -> tuple[int, int]:
    """Whether a matrix lies transposed in memory, and how far its rows are apart."""
    (rows, columns), (down, across) = v.shape[-2:], v.strides[-2:]
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return 0, max(down if rows > 1 else columns, columns, 1)
    return 1, max(across if columns > 1 else rows, rows, 1)


def fits_gemm(v: Value) -> bool:
    """Whether a matrix lies in memory as BLAS takes it: rows or columns without gaps."""
    (rows, columns), (down, across) = v.shape[-2:], v.strides[-2:]
    by_rows = (across == 1 or columns == 1) and (down >= columns or rows == 1)
    by_columns = (down == 1 or rows == 1) and (across >= rows or columns == 1)
    return by_rows or by_columns
