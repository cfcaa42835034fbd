"""Which variables from outside a function's code reads and assigns: globals, and variables of enclosing functions."""

from __future__ import annotations

import dis
import functools
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ENCLOSING = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD"}
_STORE_GLOBAL = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_STORE_ENCLOSING = {"STORE_DEREF", "DELETE_DEREF"}

Chains = dict[str, set[tuple[str, ...]]]
"""By the name of a variable, the attributes that are read from it: `config.model.width` is ("model", "width")."""


@dataclass(frozen=True)
class Variables:
    """The variables from outside, by name.

    Attributes:
        globals: those that are read from the module, with what is read from them.
        enclosing: those of enclosing functions.
        assigned_globals: those that a `global` statement lets the function assign.
        assigned_enclosing: the same for `nonlocal`.
        imported: modules that are imported inside, by their full names.
        attributes: the names of all attributes that are read, of whatever.
    """

    globals: Chains = field(default_factory=dict)
    enclosing: Chains = field(default_factory=dict)
    assigned_globals: set[str] = field(default_factory=set)
    assigned_enclosing: set[str] = field(default_factory=set)
    imported: Chains = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)


@functools.lru_cache(maxsize=1024)
def variables(code: CodeType) -> Variables:
    """The variables from outside that some code, or functions that it defines, may read or assign."""
    result = Variables()
    for part in with_inner(code):
        instructions = [*dis.get_instructions(part)]
        modules: dict[str, str] = {}  # by the local names that they are given
        for position, instruction in enumerate(instructions):
            kind, name = instruction.opname, instruction.argval
            if kind == "IMPORT_NAME":
                following = instructions[position + 1]
                if following.opname.startswith("STORE_FAST"):  # import module, import module as name
                    alias = _locals(following)[0]
                    modules[alias] = alias if name.startswith(f"{alias}.") else name
                elif following.opname == "IMPORT_FROM":  # from module import name
                    result.imported.setdefault(name, set()).update(_imported(instructions, position + 1))
            elif "LOAD_FAST" in kind and _locals(instruction)[-1] in modules:
                module = modules[_locals(instruction)[-1]]
                result.imported.setdefault(module, set()).add(_chain(instructions, position))
            elif kind in _GLOBAL:
                result.globals.setdefault(name, set()).add(_chain(instructions, position))
            elif kind in _ENCLOSING and name in code.co_freevars:
                result.enclosing.setdefault(name, set()).add(_chain(instructions, position))
            elif kind in _ATTRIBUTE:
                result.attributes.add(name)
            elif kind in _STORE_GLOBAL:
                result.assigned_globals.add(name)
            elif kind in _STORE_ENCLOSING and name in code.co_freevars:
                result.assigned_enclosing.add(name)
    return result


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """Some code and that of the functions and classes that it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from with_inner(constant)


def _locals(instruction: dis.Instruction) -> tuple[str, ...]:
    """The local variables that an instruction stores or loads: newer Pythons join two instructions."""
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def _imported(instructions: list[dis.Instruction], position: int) -> Iterator[tuple[str, ...]]:
    """The names that a `from module import` statement takes."""
    for instruction in instructions[position:]:
        if instruction.opname == "IMPORT_FROM":
            yield (instruction.argval,)
        elif not instruction.opname.startswith("STORE_"):
            break


def _chain(instructions: list[dis.Instruction], position: int) -> tuple[str, ...]:
    """The attributes that are read, one of the other, from the variable that an instruction loads."""
    chain: list[str] = []
    for instruction in instructions[position + 1 :]:
        if instruction.opname not in _ATTRIBUTE:
            break
        chain.append(instruction.argval)
    return tuple(chain)
