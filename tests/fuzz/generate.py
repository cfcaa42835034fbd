"""Generate random programs with Hypothesis."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import strategies

from .draft import Draft, UnfitError, floats
from .program import Call, Line, Program, Variable
from .statements import BETWEEN, BODY, SETUP, buffer, leaf, modules, new_array, optimizers, strided_array

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hypothesis.strategies import SearchStrategy

SMALL = (2, 3, 4, 3, 2, 3, 1, 1, 0)
"""Sizes of dimensions in interpreted programs."""
LARGE = (3, 1, 4, 17, 33, 16)
"""Sizes of dimensions in compiled programs, large enough for vectorized loops."""
SMALL_SQUARE = (4, 4, 4, 4, 8, 2, 1, 3, 0)
"""The same, where small arrays are treated as large ones: in many programs, all dimensions have the same size."""
LARGE_SQUARE = (16, 16, 16, 17, 4, 1)
"""The same in compiled programs."""
KNOWN: dict[str, str] = {}
"""Known bugs by letter, with a description. Programs that can trigger them are not generated."""

VALUES = {
    "": ("0.5", "2.0", "-1.5", "3"),
    "zero": ("0.0", "-0.0"),
    "one": ("1", "True", "1.0"),
    "C9": ("np.nan",),
}
"""Expressions for number arguments by kind. Those of "zero", and of "one", are equal but may give different results."""


CHOICES = 400
"""The number of bytes from which a program is built, enough for nearly every program; zeros follow them."""


def programs(sizes: Sequence[int] = SMALL, excluded: Collection[str] = KNOWN) -> SearchStrategy[Program]:
    """The strategy that generates programs."""
    return strategies.binary(min_size=CHOICES, max_size=CHOICES).map(lambda choices: program(choices, sizes, excluded))


def program(choices: bytes, sizes: Sequence[int], excluded: Collection[str]) -> Program:
    """Build a program from choices."""
    d = Draft(choices, sizes, excluded)
    dtype = d.choose(["float64", "float64", "float32"])
    setup = _statements(d, SETUP, [2, 4, 6], [buffer, leaf])
    arguments = _parameters(d)
    quiet = d.quiet = d.chance(3)
    body = _body(d)
    returns = _returns(d, body)
    d.home, d.quiet = "outside", False
    calls = tuple(_call(d, arguments, body, n) for n in range(d.choose([1, 2, 3, 3, 3])))
    names = tuple(v.name for v in arguments)
    return Program(dtype, setup, names, body, returns, quiet, calls)


def _statements(d: Draft, table: list[Any], counts: Sequence[int], first: Sequence[Any] = ()) -> tuple[Line, ...]:
    """Choose statements from a table, fewer if some are not suitable; before them one from `first`, if given."""
    d.lines = []
    if first:
        _statement(d, first)
    for _ in range(d.choose(counts)):
        for _ in range(3):
            if _statement(d, table):
                break
    return tuple(d.lines)


def _statement(d: Draft, table: Sequence[Any]) -> bool:
    """Choose a statement from a table; returns whether it is suitable."""
    statement = d.choose(table)
    d.kind = statement.__name__
    lines, scope = list(d.lines), dict(d.scope)
    try:
        statement(d)
    except UnfitError:
        d.lines, d.scope = lines, scope
        return False
    return True


def _parameters(d: Draft) -> list[Variable]:
    """Choose the function's parameters."""
    d.home = "argument"
    parameters = []
    for _ in range(d.choose([1, 2, 0, 3])):
        kind = d.choose(["f", "f", "n", "i"])
        shape = d.shape() if kind == "f" else d.choose([(3,), (d.rows,)]) if kind == "i" else ()
        pools = [pool for pool in VALUES if pool not in d.excluded]
        details = (d.choose([*pools, "zero", "one"]),) if kind == "n" else ()
        name = d.name({"f": "x", "n": "n", "i": "i"}[kind])
        d.scope[name] = Variable(name, shape, kind, "argument", details=details)
        parameters.append(d.scope[name])
    d.home = "local"
    return parameters


def _body(d: Draft) -> tuple[Line, ...]:
    """Choose the function's statements; if it computes gradients, usually reset them at its beginning."""
    lines = _statements(d, BODY, [2, 4, 6, 8, 10])
    if any("backward()" in line.text for line in lines) and not d.chance(8):
        d.kind, d.lines = "zero_grad", []
        for v in d.scope.values():
            if modules(v) or optimizers(v):
                d.line(f"{v}.zero_grad()")
            elif v.history == "leaf" and v.home == "outside":
                d.line(f"{v}.grad = None")
        lines = (*d.lines, *lines)
    return lines


def _returns(d: Draft, body: Sequence[Line]) -> tuple[str, ...]:
    """The variables that the function returns: usually those that it does not use, so that each result is observed."""
    tensors = [v for v in reversed(d.scope.values()) if v.kind in ("f", "f4", "b", "i", "j", "?")]
    if not tensors or d.chance(8):
        return ()
    if d.chance(4):
        return tuple(dict.fromkeys(d.choose(tensors).name for _ in range(d.choose([1, 2, 3]))))
    words = Counter(word for line in body for word in set(re.findall(r"\w+", line.text)))
    return tuple(v.name for v in tensors if v.home == "local" and words[v.name] == 1)


def _call(d: Draft, parameters: list[Variable], body: Sequence[Line], number: int) -> Call:
    """Choose a call's arguments and, unless it is the first call, statements before it."""
    before = _statements(d, BETWEEN, [0, 1, 2, 3]) if number else ()
    d.lines, d.kind = [], "argument"
    recorded = any("backward()" in line.text or "cr.grad(" in line.text for line in body)
    no_grad = not recorded and d.chance(4)
    arguments: dict[str, str] = {}
    for v in parameters:
        arguments[v.name] = _argument(d, v, arguments, leaves=no_grad or d.chance(8))
    return Call((*before, *d.lines), tuple(arguments.values()), no_grad)


def _argument(d: Draft, v: Variable, earlier: dict[str, str], leaves: bool) -> str:
    """The expression of an argument; a new array is first assigned to the parameter's name.

    Args:
        d: the draft.
        v: the parameter.
        earlier: the previous arguments, which may be reused.
        leaves: whether it may be a tensor that requires gradients; a compiled function that records refuses those.
    """
    if v.kind == "n":
        return d.choose(VALUES[v.details[0]])
    if v.kind == "i":
        d.line(f"{v} = cr.from_numpy(np.asarray(np.random.default_rng({d.seed()}).integers(0, 3, {v.shape})))")
        return v.name
    if d.chance(2):
        outside = [o for o in d.scope.values() if floats(o) and o.shape == v.shape and o.home == "outside"]
        aliases = [o.name for o in outside if leaves or o.history != "leaf"]
        aliases += [f"{o}.detach()" for o in outside if o.history]
        aliases += [text for name, text in earlier.items() if floats(d.scope[name]) and d.scope[name].shape == v.shape]
        if aliases:
            return d.choose(aliases)
    text, torch = new_array(d, v.shape), ""
    if v.shape and d.chance(3):
        text, torch, _ = strided_array(d, v.shape)
    d.line(f"{v} = cr.from_numpy({text})", torch)
    return v.name
