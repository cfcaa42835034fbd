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
        imported: modules that are imported inside, by the names of the import: `..config` of a relative one.
        attributes: the names of all attributes that are read or assigned, of whatever.
        reads_clock: whether "now" or "today" stands in the code, and may become a date of NumPy, which no call shows.
    """

    globals: Chains = field(default_factory=dict)
    enclosing: Chains = field(default_factory=dict)
    assigned_globals: set[str] = field(default_factory=set)
    assigned_enclosing: set[str] = field(default_factory=set)
    imported: Chains = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    reads_clock: bool = False


@functools.lru_cache(maxsize=1024)
def variables(code: CodeType) -> Variables:
    """The variables from outside that some code, or functions that it defines, may read or assign."""
    result = Variables(reads_clock=_reads_clock(code))
    parts = [(part, [i for i in dis.get_instructions(part) if i.opname != "EXTENDED_ARG"]) for part in with_inner(code)]
    modules: dict[tuple[int, str], Chains] = {}  # what is imported, by the local variables that it is assigned to
    for part, instructions in parts:
        for store, module, chain in _imports(instructions):
            chains = result.imported  # all of it may be read, if the variable is none of these
            if store.opname.startswith("STORE_FAST"):
                chains = modules.setdefault((id(part), _locals(store)[0]), {})
            elif store.opname == "STORE_DEREF" and store.argval not in code.co_freevars:
                chains = modules.setdefault((0, store.argval), {})
            chains.setdefault(module, set()).add(chain)
    for part, instructions in parts:
        for position, instruction in enumerate(instructions):
            kind, name = instruction.opname, instruction.argval
            if "LOAD_FAST" in kind:
                *others, last = _locals(instruction)
                for local in () if kind.startswith("STORE") else others:
                    _extend(result.imported, modules.get((id(part), local), {}), ())
                _extend(result.imported, modules.get((id(part), last), {}), _chain(instructions, position))
            elif kind in _GLOBAL:
                result.globals.setdefault(name, set()).add(_chain(instructions, position))
            elif kind in _ENCLOSING and name in code.co_freevars:
                result.enclosing.setdefault(name, set()).add(_chain(instructions, position))
            elif kind in _ENCLOSING:
                _extend(result.imported, modules.get((0, name), {}), _chain(instructions, position))
            elif kind in _ATTRIBUTE or kind == "STORE_ATTR":
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


def _reads_clock(code: CodeType) -> bool:
    """Whether some code may make a date of NumPy of the text "now" or "today"."""
    constants = [constant for part in with_inner(code) for constant in part.co_consts]
    constants += [item for constant in constants if isinstance(constant, tuple) for item in constant]
    texts = {constant for constant in constants if isinstance(constant, str)}
    makes_dates = any("datetime64" in part.co_names for part in with_inner(code))
    makes_dates = makes_dates or any(text.lstrip("<>=|").startswith(("datetime64", "M8")) for text in texts)
    return makes_dates and not texts.isdisjoint(("now", "today"))


def _locals(instruction: dis.Instruction) -> tuple[str, ...]:
    """The local variables that an instruction stores or loads: newer Pythons join two instructions."""
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def _imports(instructions: list[dis.Instruction]) -> Iterator[tuple[dis.Instruction, str, tuple[str, ...]]]:
    """For each name of an import: the instruction that stores it, the module, and the attributes that lead to it."""
    for position, instruction in enumerate(instructions):
        if instruction.opname != "IMPORT_NAME":
            continue
        level, names = (constant.argval for constant in instructions[position - 2 : position])
        module = "." * level + instruction.argval if names else instruction.argval.partition(".")[0]
        chain: tuple[str, ...] = ()
        stores = len(names) if names else 1
        for following in instructions[position + 1 :]:
            if following.opname == "IMPORT_FROM":  # of `import a.b as c`, too
                chain = (following.argval,) if names else (*chain, following.argval)
            elif following.opname not in ("SWAP", "POP_TOP"):
                is_store = following.opname.startswith("STORE_")
                yield following, module, chain if is_store else ()
                stores -= 1
                if not (is_store and stores):
                    break


def _extend(chains: Chains, modules: Chains, chain: tuple[str, ...]) -> None:
    """Attributes are read of what leads on from modules."""
    for module, beginnings in modules.items():
        chains.setdefault(module, set()).update(beginning + chain for beginning in beginnings)


def _chain(instructions: list[dis.Instruction], position: int) -> tuple[str, ...]:
    """The attributes that are read, one of the other, from the variable that an instruction loads."""
    chain: list[str] = []
    for instruction in instructions[position + 1 :]:
        if instruction.opname not in _ATTRIBUTE:
            break
        chain.append(instruction.argval)
    return tuple(chain)
