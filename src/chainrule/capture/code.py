"""Finds the outside variables that a function reads and assigns, from its bytecode: globals and closure variables.

`observe` calls `variables` for each function that a traced call may run. This file handles code objects, never values.
"""

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
"""From the name of a variable to the attribute chains read from it: ("model", "width") for `config.model.width`."""


@dataclass(frozen=True)
class Variables:
    """The outside variables of a function, by name.

    Attributes:
        globals: the globals it reads, with the attributes read from them.
        enclosing: the closure variables it reads, with the attributes read from them.
        assigned_globals: the globals it assigns, after a `global` statement.
        assigned_enclosing: the closure variables it assigns, after a `nonlocal` statement.
        imported: modules that it imports, by name as in the import statement (`..config` for a relative import).
        attributes: the names of all attributes that it reads or assigns, on any object.
        reads_clock: whether the code contains "now" or "today" and may convert it to a NumPy date, which reads the
            clock without a call that could be observed.
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
    """Return the outside variables that code, or a function defined inside it, may read or assign."""
    result = Variables(reads_clock=_reads_clock(code))
    parts = [(part, [i for i in dis.get_instructions(part) if i.opname != "EXTENDED_ARG"]) for part in with_inner(code)]
    # imported modules, by the variable that holds them, as (the id of the code object that the variable belongs to, or
    # 0 if inner functions share it; the variable's name)
    modules: dict[tuple[int, str], Chains] = {}
    for part, instructions in parts:
        for store, module, chain in _imports(instructions):
            chains = result.imported  # stored in a variable that is not followed: any attribute may be read
            if store.opname.startswith("STORE_FAST"):
                chains = modules.setdefault((id(part), _locals(store)[0]), {})
            elif store.opname == "STORE_DEREF" and store.argval not in code.co_freevars:
                chains = modules.setdefault((0, store.argval), {})
            chains.setdefault(module, set()).add(chain)
    for part, instructions in parts:
        for position, instruction in enumerate(instructions):
            kind, name = instruction.opname, instruction.argval
            if "LOAD_FAST" in kind:
                *earlier, last = _locals(instruction)  # attributes can be read only from the last one loaded
                for local in () if kind.startswith("STORE") else earlier:
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
    """Yield a code object and those of the functions and classes defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from with_inner(constant)


def _reads_clock(code: CodeType) -> bool:
    """Whether code may convert "now" or "today" to a NumPy date."""
    constants = [constant for part in with_inner(code) for constant in part.co_consts]
    constants += [item for constant in constants if isinstance(constant, tuple) for item in constant]
    texts = {constant for constant in constants if isinstance(constant, str)}
    makes_dates = any("datetime64" in part.co_names for part in with_inner(code))
    makes_dates = makes_dates or any(text.lstrip("<>=|").startswith(("datetime64", "M8")) for text in texts)
    return makes_dates and not texts.isdisjoint(("now", "today"))


def _locals(instruction: dis.Instruction) -> tuple[str, ...]:
    """The local variables that an instruction stores or loads. Newer Pythons combine two such instructions into one."""
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def _imports(instructions: list[dis.Instruction]) -> Iterator[tuple[dis.Instruction, str, tuple[str, ...]]]:
    """For each imported name: the instruction that stores it, the module, and the attribute chain to the name."""
    for position, instruction in enumerate(instructions):
        if instruction.opname != "IMPORT_NAME":
            continue
        level, names = (constant.argval for constant in instructions[position - 2 : position])
        module = "." * level + instruction.argval if names else instruction.argval.partition(".")[0]
        chain: tuple[str, ...] = ()
        stores = len(names) if names else 1
        for following in instructions[position + 1 :]:
            if following.opname == "IMPORT_FROM":  # also in `import a.b as c`
                chain = (following.argval,) if names else (*chain, following.argval)
            elif following.opname not in ("SWAP", "POP_TOP"):
                is_store = following.opname.startswith("STORE_")
                yield following, module, chain if is_store else ()
                stores -= 1
                if not (is_store and stores):
                    break


def _extend(chains: Chains, modules: Chains, chain: tuple[str, ...]) -> None:
    """Add the attribute chains that continue those of imported modules."""
    for module, prefixes in modules.items():
        chains.setdefault(module, set()).update(prefix + chain for prefix in prefixes)


def _chain(instructions: list[dis.Instruction], position: int) -> tuple[str, ...]:
    """The attribute chain that is read from the variable that an instruction loads."""
    chain: list[str] = []
    for instruction in instructions[position + 1 :]:
        if instruction.opname not in _ATTRIBUTE:
            break
        chain.append(instruction.argval)
    return tuple(chain)
