"""A program under construction: its variables, and the random choices, which are read from a string of bytes.

Hypothesis draws the bytes as one value. If Hypothesis drew each choice separately, it would create most programs by
repeating choices within a program, and the programs would be similar to each other. Failing programs are shrunk byte by
byte, towards the first of several options; `program.reduced` removes lines.
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
    """A statement has no suitable variables, or is excluded because of a known bug."""


class Draft:
    """A program under construction.

    Args:
        choices: bytes, followed by implicit zeros.
        sizes: possible sizes of dimensions.
        excluded: letters of known bugs whose statements are excluded.

    Attributes:
        scope: the variables by name.
        lines: the statements of the current part: setup, body, or before a call.
        quiet: whether the whole function runs under `no_grad`.
        home: where variables are defined now; see `Variable`.
        kind: the name of the current statement function.
        rows, columns: the sizes of most tensors.
    """

    def __init__(self, choices: bytes, sizes: Sequence[int], excluded: Collection[str]) -> None:
        self.choices = iter(choices)
        self.sizes = sizes
        self.excluded = excluded
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
        """Choose one of several options; failures are shrunk towards the first."""
        return options[0] if len(options) == 1 else options[next(self.choices, 0) * len(options) // 256]

    def chance(self, one_in: int) -> bool:
        """True with probability 1 / `one_in`."""
        return next(self.choices, 0) * one_in // 256 == one_in - 1

    def pick(self, *tests: Callable[[Variable], bool]) -> Variable:
        """Choose one of the variables that pass all tests."""
        fitting = [v for v in self.scope.values() if all(test(v) for test in tests)]
        if not fitting:
            raise UnfitError
        return self.choose(fitting)

    def seed(self) -> int:
        """A new seed for an array."""
        self.seeds += 1
        return self.seeds

    def skip_if_excluded(self, fault: str) -> None:
        """Abandon the current statement, which can trigger a bug, if the bug is excluded."""
        if fault in self.excluded:
            raise UnfitError

    def shape(self) -> tuple[int, ...]:
        """Choose the shape of a tensor; most can be broadcast with each other."""
        n, k = self.rows, self.columns
        return self.choose([(n, k)] * 5 + [(2, n, k), (k,), (k,), (1, k), (n, 1), (), (), (k, k), (n,), (2, n, k)])

    # Statements

    def name(self, prefix: str) -> str:
        """A new name."""
        self.counters[prefix] = self.counters.get(prefix, 0) + 1
        return f"{prefix}{self.counters[prefix]}"

    def line(self, text: str, torch: str | None = "", no_grad: bool = False) -> None:
        """Add a statement."""
        self.lines.append(Line(self.kind, text, torch, no_grad and not self.quiet))

    def define(
        self, text: str, shape: tuple[int, ...] = (), kind: str = "f", of: Sequence[Variable] = (), prefix: str = "t",
        torch: str | None = "", view: Variable | None = None, no_grad: bool = False, **more: Any,
    ) -> Variable:  # fmt: skip
        """Add `name = text`, and register the variable.

        Args:
            text: the expression.
            shape: shape of the result.
            kind: kind of the result.
            of: the inputs that gradients may flow to.
            prefix: prefix of the name.
            torch: the expression for PyTorch.
            view: the variable whose memory the result shares.
            no_grad: whether the line runs under `no_grad`.
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
        """Record changes of a variable."""
        self.scope[variable.name] = replace(variable, **changes)

    def shared(self, variable: Variable) -> bool:
        """Whether another variable shares its memory."""
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
    """A given number of dimensions."""
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
    """Defined at this `home`."""
    return lambda v: v.home == home


def recorded(v: Variable) -> bool:
    """Gradients flow through it."""
    return v.history in ("leaf", "result")
