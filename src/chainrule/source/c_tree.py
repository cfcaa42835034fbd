"""C code as a small tree of loops, assignments and expressions, each of which prints itself as text."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.source.graph import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES = {
    "float32": "float", "float64": "double", "bool": "unsigned char", "uint8": "uint8_t", "int8": "int8_t",
    "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
}  # fmt: skip
"""The C types by the names of NumPy's."""


def c_type(dtype: np.dtype[Any]) -> str:
    """Return the C type of a NumPy type.

    Raises:
        SourceError: there is none in C99.
    """
    if dtype.name not in TYPES:
        raise SourceError(f"export: numbers of type {dtype.name} cannot be written as C")
    return TYPES[dtype.name]


# Expressions; `str` prints them, with parentheses around operators


@dataclass(frozen=True)
class Number:
    """A literal of a type."""

    value: Any
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        if self.dtype.kind != "f":
            return str(int(self.value))
        with np.errstate(over="ignore"):
            value = self.dtype.type(self.value)
        if not math.isfinite(value):
            return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
        digits = str(value)  # the shortest literal that reads back as this number
        return digits + ("" if "." in digits or "e" in digits else ".0") + ("f" if self.dtype == np.float32 else "")


@dataclass(frozen=True)
class Name:
    """A variable."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Position:
    """The position of an element: offset + Σ variable · stride."""

    terms: tuple[tuple[str, int], ...]
    offset: int = 0

    def __str__(self) -> str:
        parts = [name if stride == 1 else f"{name} * {stride}" for name, stride in self.terms if stride]
        text = " + ".join(parts)
        if not parts or not self.offset:
            return text or str(self.offset)
        return f"{text} {'+' if self.offset > 0 else '-'} {abs(self.offset)}"


@dataclass(frozen=True)
class Element:
    """An element of an array."""

    array: str
    position: Position

    def __str__(self) -> str:
        return f"{self.array}[{self.position}]"


@dataclass(frozen=True)
class Infix:
    """Two operands with an operator between them."""

    operator: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"({self.left} {self.operator} {self.right})"


@dataclass(frozen=True)
class Prefix:
    """An operator, or a cast, before an operand."""

    operator: str
    operand: Any

    def __str__(self) -> str:
        return f"({self.operator}{self.operand})"


@dataclass(frozen=True)
class Call:
    """A call of a function."""

    function: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True)
class Choice:
    """`test ? yes : no`."""

    test: Any
    yes: Any
    no: Any

    def __str__(self) -> str:
        return f"({self.test} ? {self.yes} : {self.no})"


# Statements


@dataclass
class Assign:
    """`target = value;`, or with a compound operator such as +=."""

    target: Any
    value: Any
    operator: str = "="

    def lines(self) -> list[str]:
        """Return the text."""
        return [f"{self.target} {self.operator} {_bare(self.value)};"]


@dataclass
class Declare:
    """`type name = value;`."""

    type: str
    name: str
    value: Any

    def lines(self) -> list[str]:
        """Return the text."""
        return [f"{self.type} {self.name} = {_bare(self.value)};"]


@dataclass
class For:
    """A loop from 0 to a count."""

    index: str
    count: int
    body: list[Any] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the text."""
        head = f"for (int {self.index} = 0; {self.index} < {self.count}; {self.index}++)"
        return [f"{head} {{", *(f"    {line}" for part in self.body for line in part.lines()), "}"]


@dataclass
class If:
    """A condition."""

    test: Any
    body: list[Any] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the text."""
        return [f"if ({_bare(self.test)}) {{", *(f"    {line}" for part in self.body for line in part.lines()), "}"]


@dataclass
class Return:
    """`return value;`."""

    value: int

    def lines(self) -> list[str]:
        """Return the text."""
        return [f"return {self.value};"]


@dataclass
class Block:
    """Statements in a scope of their own, after a comment that says what they compute."""

    comment: str
    body: list[Any]

    def lines(self) -> list[str]:
        """Return the text."""
        inner = [line for part in self.body for line in part.lines()]
        if any(isinstance(part, Declare) for part in self.body):
            inner = ["{", *(f"    {line}" for line in inner), "}"]
        return [f"/* {self.comment} */", *inner]


def _bare(value: Any) -> str:
    """Return an expression as text, without the outer parentheses, which only nested expressions need."""
    text = str(value)
    return text[1:-1] if isinstance(value, (Infix, Choice)) else text


def nest(indices: Sequence[str], counts: Sequence[int], body: list[Any]) -> list[Any]:
    """Return statements inside nested loops; a loop that would run once is left out."""
    for index, count in reversed([*zip(indices, counts, strict=True)]):
        body = [For(index, count, body)] if count != 1 else body
    return body
