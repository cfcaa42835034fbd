"""A program while it is drawn: which variables there are, and the choices, which are read from a string of bytes.

Hypothesis draws the bytes as one value. Drawing each choice by itself would let it make five of six programs by copying
choices within one that it has drawn, and most of the programs would be much the same. What fails it shrinks byte by
byte, towards the first of several options; `program.reduced` leaves out lines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .program import Line, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

T = TypeVar("T")
Test = "Callable[[Variable], bool]"


class UnfitError(Exception):
    """A statement for which there are no variables that fit, or that is left out for a known fault."""


class Draft:
    """The choices of one program.

    Args:
        choices: bytes; where they end, 0.
        sizes: what dimensions may measure.
        excluded: letters of faults that are in the code, and whose statements are left out.

    Attributes:
        scope: the variables by name.
        lines: where statements go: to the setup, to the body, or to what comes before a call.
        quiet: whether nothing is recorded.
        rows, columns: the sizes of most tensors.
    """

    def __init__(self, choices: bytes, sizes: Sequence[int], excluded: Collection[str]) -> None:
        self.choices, self.sizes, self.excluded = iter(choices), sizes, excluded
        self.scope: dict[str, Variable] = {}
        self.lines: list[Line] = []
        self.quiet = False
        self.home = "outside"
        self.kind = ""
        self.counters: dict[str, int] = {}
        self.seeds = 0
        self.zeroed: set[str] = set()
        self.rows, self.columns = self.choose(sizes), self.choose(sizes)

    # Choices

    def choose(self, options: Sequence[T]) -> T:
        """One of several; failures are shrunk towards the first."""
        return options[0] if len(options) == 1 else options[next(self.choices, 0) * len(options) // 256]

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return next(self.choices, 0) * one_in // 256 == one_in - 1

    def pick(self, *tests: Callable[[Variable], bool]) -> Variable:
        """One of the variables that pass all tests."""
        fitting = [v for v in self.scope.values() if all(test(v) for test in tests)]
        if not fitting:
            raise UnfitError
        return self.choose(fitting)

    def seed(self) -> int:
        """A seed of its own for each array of numbers."""
        self.seeds += 1
        return self.seeds

    def needs_cure(self, fault: str) -> None:
        """Leave this statement out while a fault is known."""
        if fault in self.excluded:
            raise UnfitError

    def shape(self) -> tuple[int, ...]:
        """The shape of a tensor; most of them go together."""
        n, k = self.rows, self.columns
        return self.choose([(n, k)] * 6 + [(k,), (k,), (1, k), (n, 1), (), (), (k, k), (n,), (2, n, k)])

    # Statements

    def name(self, prefix: str) -> str:
        """A new name."""
        self.counters[prefix] = self.counters.get(prefix, 0) + 1
        return f"{prefix}{self.counters[prefix]}"

    def line(self, text: str, torch: str | None = "", no_grad: bool = False) -> None:
        """Write a statement."""
        self.lines.append(Line(self.kind, text, torch, no_grad and not self.quiet))

    def define(
        self, text: str, shape: tuple[int, ...] = (), kind: str = "f", of: Sequence[Variable] = (), prefix: str = "t",
        torch: str | None = "", view: Variable | None = None, no_grad: bool = False, **more: Any,
    ) -> Variable:  # fmt: skip
        """Write `name = text`, and remember what the name stands for.

        Args:
            text: the expression.
            shape: of the result.
            kind: of the result.
            of: what gradients may come through.
            prefix: of the name.
            torch: the expression for PyTorch.
            view: whose memory the result shares.
            no_grad: whether nothing is recorded.
            more: other attributes of the Variable.
        """
        name = self.name(prefix)
        self.line(f"{name} = {text}", torch and f"{name} = {torch}", no_grad)
        if not more.get("history"):
            histories = {v.history for v in of} if not (self.quiet or no_grad) and kind in ("f", "f4") else set()
            more["history"] = "spent" if "spent" in histories else "result" if histories & {"leaf", "result"} else ""
        if view is not None:
            more = {"root": view.memory, "odd": view.odd, **more}
        variable = Variable(name, shape, kind, self.home, **more)
        self.scope[name] = variable
        return variable

    def update(self, variable: Variable, **changes: Any) -> None:
        """A variable has changed."""
        self.scope[variable.name] = replace(variable, **changes)

    def shared(self, variable: Variable) -> bool:
        """Whether another variable sees the same memory."""
        return any(v.memory == variable.memory and v.name != variable.name for v in self.scope.values())


# Tests for `pick`


def floats(v: Variable) -> bool:
    """A tensor of the program's floating type."""
    return v.kind == "f"


def integers(v: Variable) -> bool:
    """A tensor of integers, all of them from 0 to 2."""
    return v.kind == "i"


def booleans(v: Variable) -> bool:
    """A mask."""
    return v.kind == "b"


def numbers(v: Variable) -> bool:
    """A Python number, an argument of the function."""
    return v.kind == "n"


def dims(*counts: int) -> Callable[[Variable], bool]:
    """So many dimensions."""
    return lambda v: len(v.shape) in counts


def filled(v: Variable) -> bool:
    """Not empty."""
    return 0 not in v.shape


def shaped(shape: tuple[int, ...]) -> Callable[[Variable], bool]:
    """Of this shape."""
    return lambda v: v.shape == shape


def into(shape: tuple[int, ...]) -> Callable[[Variable], bool]:
    """Of a shape that broadcasts to this one."""

    def fits(v: Variable) -> bool:
        extra = len(shape) - len(v.shape)
        return extra >= 0 and all(a in (1, b) for a, b in zip(v.shape, shape[extra:], strict=True))

    return fits


def wherever(home: str) -> Callable[[Variable], bool]:
    """At home there."""
    return lambda v: v.home == home


def recorded(v: Variable) -> bool:
    """Gradients pass through it."""
    return v.history in ("leaf", "result")
