"""Finds the globals and closure variables that a function reads or assigns, from its bytecode.

`observe` calls `variables` for each function that a traced call may run, and looks up their values; this file handles
code objects only.
"""

from __future__ import annotations

import dis
import functools
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# opcodes of several Python versions; deleting a variable counts as assigning it
_LOAD_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_LOAD_ENCLOSING = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_LOAD_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD"}
_STORE_GLOBAL = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_STORE_ENCLOSING = {"STORE_DEREF", "DELETE_DEREF"}

AttributeChains = dict[str, set[tuple[str, ...]]]
"""Maps the name of a variable or module to the attribute chains that are read from it: for `config.model.width`, maps
"config" to {("model", "width")}."""


@dataclass(frozen=True)
class Variables:
    """The globals and closure variables of a function, and the modules that it imports.

    Attributes:
        globals: the globals that it reads, and the attributes that it reads from them.
        enclosing: the closure variables that it reads, and the attributes that it reads from them.
        assigned_globals: the globals that it assigns, after a `global` statement.
        assigned_enclosing: the closure variables that it assigns, after a `nonlocal` statement.
        imported: the modules that it imports, named as in the import statement (`..config` for a relative import), and
            the attributes that it reads from them.
        attributes: the names of all attributes that it reads or assigns, on any object.
        reads_clock: whether the code contains "now" or "today" and may convert it to a NumPy date, which reads the
            clock without a call that could be observed.
    """

    globals: AttributeChains = field(default_factory=dict)
    enclosing: AttributeChains = field(default_factory=dict)
    assigned_globals: set[str] = field(default_factory=set)
    assigned_enclosing: set[str] = field(default_factory=set)
    imported: AttributeChains = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    reads_clock: bool = False


@functools.lru_cache(maxsize=1024)
def variables(code: CodeType) -> Variables:
    """Return the globals and closure variables that code, or a function defined inside it, may read or assign."""
    result = Variables(reads_clock=_reads_clock(code))
    parts = [(part, [i for i in dis.get_instructions(part) if i.opname != "EXTENDED_ARG"]) for part in with_inner(code)]
    # The modules that local variables hold after an import. Keys: (the id of the code object that owns the variable, or
    # 0 if inner functions share it; the variable's name).
    modules: dict[tuple[int, str], AttributeChains] = {}
    for part, instructions in parts:
        for store, module, chain in _imports(instructions):
            chains = result.imported  # for a variable that is not followed below, such as a global
            if store.opname.startswith("STORE_FAST"):
                chains = modules.setdefault((id(part), _locals(store)[0]), {})
            elif store.opname == "STORE_DEREF" and store.argval not in code.co_freevars:
                chains = modules.setdefault((0, store.argval), {})
            chains.setdefault(module, set()).add(chain)
    for part, instructions in parts:
        for position, instruction in enumerate(instructions):
            opname, name = instruction.opname, instruction.argval
            if "LOAD_FAST" in opname:
                *first, last = _locals(instruction)  # only `last` is on top of the stack, so that attributes can follow
                if first and not opname.startswith("STORE"):  # STORE_FAST_LOAD_FAST does not load the first
                    _extend(result.imported, modules.get((id(part), first[0]), {}), ())
                _extend(result.imported, modules.get((id(part), last), {}), _chain(instructions, position))
            elif opname in _LOAD_GLOBAL:
                result.globals.setdefault(name, set()).add(_chain(instructions, position))
            elif opname in _LOAD_ENCLOSING and name in code.co_freevars:
                result.enclosing.setdefault(name, set()).add(_chain(instructions, position))
            elif opname in _LOAD_ENCLOSING:
                _extend(result.imported, modules.get((0, name), {}), _chain(instructions, position))
            elif opname in _LOAD_ATTRIBUTE or opname == "STORE_ATTR":
                result.attributes.add(name)
            elif opname in _STORE_GLOBAL:
                result.assigned_globals.add(name)
            elif opname in _STORE_ENCLOSING and name in code.co_freevars:
                result.assigned_enclosing.add(name)
    return result


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object, and the code objects of the functions and classes defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from with_inner(constant)


def _reads_clock(code: CodeType) -> bool:
    """Whether code contains "now" or "today" and may convert it to a NumPy date."""
    constants = [constant for part in with_inner(code) for constant in part.co_consts]
    constants += [item for constant in constants if isinstance(constant, tuple) for item in constant]
    texts = {constant for constant in constants if isinstance(constant, str)}
    makes_dates = any("datetime64" in part.co_names for part in with_inner(code))
    makes_dates = makes_dates or any(text.lstrip("<>=|").startswith(("datetime64", "M8")) for text in texts)
    return makes_dates and not texts.isdisjoint(("now", "today"))


def _locals(instruction: dis.Instruction) -> tuple[str, ...]:
    """Return the local variables that an instruction stores or loads: one, or two from Python 3.13 on."""
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def _imports(instructions: list[dis.Instruction]) -> Iterator[tuple[dis.Instruction, str, tuple[str, ...]]]:
    """Yield for each imported name: the instruction that stores it, the module, and the attribute chain to the name."""
    for position, instruction in enumerate(instructions):
        if instruction.opname != "IMPORT_NAME":
            continue
        # the two constants loaded before: 0 or the number of leading dots, and the names after `import`, or None
        level, names = (constant.argval for constant in instructions[position - 2 : position])
        module = "." * level + instruction.argval if names else instruction.argval.partition(".")[0]
        chain: tuple[str, ...] = ()
        n_missing_stores = len(names) if names else 1
        for successor in instructions[position + 1 :]:
            if successor.opname == "IMPORT_FROM":  # also in `import a.b as c`
                chain = (successor.argval,) if names else (*chain, successor.argval)
            elif successor.opname not in ("SWAP", "POP_TOP"):
                is_store = successor.opname.startswith("STORE_")
                yield successor, module, chain if is_store else ()
                n_missing_stores -= 1
                if not is_store or n_missing_stores == 0:
                    break


def _extend(chains: AttributeChains, modules: AttributeChains, chain: tuple[str, ...]) -> None:
    """Add to `chains` the attribute chains of `modules`, each continued by `chain`."""
    for module, prefixes in modules.items():
        chains.setdefault(module, set()).update(prefix + chain for prefix in prefixes)


def _chain(instructions: list[dis.Instruction], position: int) -> tuple[str, ...]:
    """Return the attribute chain that is read from the variable that the instruction at `position` loads."""
    chain: list[str] = []
    for instruction in instructions[position + 1 :]:
        if instruction.opname not in _LOAD_ATTRIBUTE:
            break
        chain.append(instruction.argval)
    return tuple(chain)
