"""A random program as data: the variables outside the function, the function, and its calls.

A program consists of `Line`s of Python text. chainrule runs exactly the text that is printed for a failure, which can
therefore be pasted into a file and debugged. PyTorch runs a different text of a line if the line has one.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PREAMBLE = """\
import copy

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F
"""

HELPERS = """\
def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.{dtype})


def filled(module, seed):  # the same weights and, from here on, the same random numbers in both libraries
    cr.manual_seed(seed)
    with cr.no_grad():
        for parameter in module.parameters():
            parameter.copy_(cr.from_numpy(numbers(seed, *parameter.shape)) / 2)
    return module.{cast}()


class Block(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale, self.twice = inner, 1.0, False

    def forward(self, x):
        x = self.inner(x) * self.scale
        if self.training:
            x = x + 0.5
        return x + x if self.twice else x
"""


@dataclass(frozen=True)
class Variable:
    """A variable of a program under construction.

    Attributes:
        name: the variable's name.
        shape: of the tensor.
        kind: of a tensor "f" (the program's floating type), "f4" (float32 whatever the program's type is), "i" (indices
            from 0 to 2), "j" (other integers), "b" (booleans) or "?" (a type that differs, or None); "n" for a number;
            otherwise the name of a class.
        home: "outside", "argument" or "local". history: whether gradients flow through it: "" if not, "leaf", "result",
        or "spent" if its graph has been freed or its
            gradients are not compared.
        root: the variable whose memory it shares; "" for none.
        odd: how its memory is unusual: "", "read-only", "packed", ...
        details: properties of modules and optimizers for `statements`.
    """

    name: str
    shape: tuple[int, ...] = ()
    kind: str = "f"
    home: str = "local"
    history: str = ""
    root: str = ""
    odd: str = ""
    details: tuple[str, ...] = ()

    @property
    def memory(self) -> str:
        """The name of the variable whose memory this one shares; its own name if there is none."""
        return self.root or self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Line:
    """One statement.

    Attributes:
        kind: the name of its statement function.
        text: the statement in Python.
        torch: the text for PyTorch, if different; None if PyTorch has no equivalent.
        no_grad: whether it runs inside `with cr.no_grad()`.
    """

    kind: str
    text: str
    torch: str | None = ""
    no_grad: bool = False

    def text_for(self, torch: bool) -> str | None:
        """The text for chainrule or for PyTorch."""
        return self.text if not torch or self.torch == "" else self.torch


@dataclass(frozen=True)
class Call:
    """One call of the function.

    Attributes:
        before: statements before the call.
        arguments: Python expressions.
        no_grad: whether the call is inside `no_grad`.
    """

    before: tuple[Line, ...]
    arguments: tuple[str, ...]
    no_grad: bool = False


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        dtype: "float32" or "float64".
        setup: statements before the function.
        parameters: the names of the function's parameters.
        body: the statements of the function.
        returns: the names of the returned variables.
        no_grad: whether the whole function runs under `no_grad`.
        calls: the calls of the function.
    """

    dtype: str
    setup: tuple[Line, ...]
    parameters: tuple[str, ...]
    body: tuple[Line, ...]
    returns: tuple[str, ...]
    no_grad: bool
    calls: tuple[Call, ...]

    @property
    def statements(self) -> int:
        """The number of statements."""
        return len(self.setup) + len(self.body) + sum(1 + len(call.before) for call in self.calls)

    def helpers(self) -> str:
        """The helper functions and classes."""
        return HELPERS.format(dtype=self.dtype, cast="double" if self.dtype == "float64" else "float")

    def beginning(self, torch: bool = False) -> str | None:
        """The setup and the function as text; None if PyTorch has no equivalent of a line."""
        body = text_of(self.body, torch)
        setup = text_of(self.setup, torch)
        if setup is None or body is None:
            return None
        head = ["@cr.no_grad()"] if self.no_grad else []
        head.append(f"def step({', '.join(self.parameters)}):")
        returned = self.returns[0] if len(self.returns) == 1 else f"({', '.join(self.returns)})"
        lines = [line for line in (body, f"return {returned}" if self.returns else "return None") if line]
        return "\n".join([setup, "", "", *head, textwrap.indent("\n".join(lines), "    "), ""])

    def source(self) -> str:
        """The whole program as a script."""
        parts = [PREAMBLE, self.used_helpers(), self.beginning() or ""]
        calls = ["step = cr.jit(step)  # remove this line to run eagerly"]
        for call in self.calls:
            calls += filter(None, [text_of(call.before, torch=False)])
            calls += ["with cr.no_grad():"] if call.no_grad else []
            calls.append(f"{'    ' if call.no_grad else ''}print(step({', '.join(call.arguments)}))")
        return "\n\n\n".join(part.strip("\n") for part in [*parts, "\n".join(calls)] if part.strip()) + "\n"

    def used_helpers(self) -> str:
        """The helpers that the program uses."""
        text = "\n".join(line.text for line in self.lines()) + " ".join(
            a for call in self.calls for a in call.arguments
        )
        parts = self.helpers().split("\n\n\n")
        names = ["numbers", "filled", "Block"]
        used = {name for name in names if f"{name}(" in text} | ({"numbers"} if "filled(" in text else set())
        return "\n\n\n".join(part for name, part in zip(names, parts, strict=True) if name in used)

    def lines(self) -> Iterator[Line]:
        """All lines except the calls."""
        yield from self.setup
        yield from self.body
        for call in self.calls:
            yield from call.before


def text_of(lines: Sequence[Line], torch: bool) -> str | None:
    """Join lines to a block of Python; consecutive `no_grad` lines share a `with`. None if PyTorch lacks an equivalent."""
    out: list[str] = []
    quiet = False
    for line in lines:
        text = line.text_for(torch)
        if text is None:
            return None
        if line.no_grad and not quiet:
            out.append("with cr.no_grad():")
        quiet = line.no_grad
        out.append(textwrap.indent(text, "    ") if quiet else text)
    return "\n".join(out)


def reduced(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Remove the calls, lines, parameters, outputs and `no_grad`s that are not needed for the failure."""
    is_reduced = True
    while is_reduced:
        is_reduced = False
        for smaller in _smaller(program):
            if fails(smaller):
                program = smaller
                is_reduced = True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Yield the programs that have one element less."""
    for i in reversed(range(len(program.calls))):
        if len(program.calls) > 1:
            yield replace(program, calls=program.calls[:i] + program.calls[i + 1 :])
    for i in reversed(range(len(program.body))):
        yield replace(program, body=program.body[:i] + program.body[i + 1 :])
    for i in reversed(range(len(program.setup))):
        yield replace(program, setup=program.setup[:i] + program.setup[i + 1 :])
    for i, call in enumerate(program.calls):
        for j in reversed(range(len(call.before))):
            fewer = replace(call, before=call.before[:j] + call.before[j + 1 :])
            yield replace(program, calls=(*program.calls[:i], fewer, *program.calls[i + 1 :]))
        if call.no_grad:
            yield replace(program, calls=(*program.calls[:i], replace(call, no_grad=False), *program.calls[i + 1 :]))
    for i in reversed(range(len(program.parameters))):
        calls = tuple(replace(c, arguments=c.arguments[:i] + c.arguments[i + 1 :]) for c in program.calls)
        yield replace(program, parameters=program.parameters[:i] + program.parameters[i + 1 :], calls=calls)
    for i in reversed(range(len(program.returns))):
        yield replace(program, returns=program.returns[:i] + program.returns[i + 1 :])
    for i, line in enumerate(program.body):
        if line.no_grad:
            louder = replace(line, no_grad=False)
            yield replace(program, body=(*program.body[:i], louder, *program.body[i + 1 :]))
    if program.no_grad:
        yield replace(program, no_grad=False)
