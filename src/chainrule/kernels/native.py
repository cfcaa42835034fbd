"""Compiled code, kept on disk as machine code that the next process finds again without Numba.

Programs of `chainrule.jit`, jobs and loops (`job`, `loop`) take addresses and whole numbers; nothing in them is
Python's. So what Numba has made of them can be written to a file and be linked by LLVM alone, in milliseconds, where
Numba's import takes half a second, and compiling takes several. The file's name says what it was made of: the text,
or the loop's name and types; the sources of all kernels; the processor; the versions of the compiler. Its content is
checked by a sum, so that a damaged file is made anew.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.files import atomic_write
from chainrule.kernels.compile import FREES, folder, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.kernels.compile import Machine

RUN, CHECK = 0, 1
"""What a program is entered for: to run a part, or to look at arguments."""

GET_THREADS, SET_THREADS, BEFORE, WORK, SCALARS, ANSWER, CHANGED, DONE, RESERVED = 2, 3, 4, 5, 6, 7, 8, 9, 10
"""Places in a program's table of addresses. It begins with BLAS's product in single and in double precision; then come
BLAS's functions that tell and set how many threads it uses, how many those were before the run, the program's function
`work`, the numbers that change from call to call, what a check has found, a list of the memory outside that the program
changes, and how much it has done since it was made: parts, calls of Python and, where there are those, checks before
them; then the arrays."""

READ_ONLY, ARGUMENT = -1, -2
"""What a check has found, if not 0: the number, from 1 on, of an index that is out of range; memory to be changed that
is read-only; or ARGUMENT - i, for an argument i that is not aligned, or reaches into memory to be changed."""

_SUM = 32  # bytes of a file's sum
_NOWHERE = ctypes.create_string_buffer(64)  # Numba's functions put their result here, which is nothing
_linked: list[Any] = []  # what must stay in memory

_HEAD = object.__basicsize__  # of what every object begins with; NumPy's C interface has the pointer right behind


def _looked_up(array: NDArray[Any]) -> int:
    return ctypes.c_int64.from_address(id(array) + _HEAD).value


def _told(array: NDArray[Any]) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


_PROBE = np.zeros(1)
place_of = _looked_up if sys.implementation.name == "cpython" and _looked_up(_PROBE) == _told(_PROBE) else _told
"""Where an array's numbers are in memory. Asking the array takes two microseconds, looking it up a third of one."""


_BEFORE_FLAGS = 48  # bytes between the pointer to an array's numbers and its flags, both included


def _flags_address(array: NDArray[Any]) -> int:
    return id(array) + _HEAD + _BEFORE_FLAGS


def _finds_flags() -> bool:
    """Whether arrays are laid out in this Python and NumPy as those that we know."""
    if place_of is not _looked_up:
        return False
    frozen = np.zeros(1)
    frozen.flags.writeable = False
    return all(ctypes.c_int32.from_address(_flags_address(x)).value == x.flags.num for x in (_PROBE, frozen))


FINDS_FLAGS = _finds_flags()
_WRITABLE = ctypes.c_int32(_PROBE.flags.num)


def flags_address(array: NDArray[Any]) -> int:
    """Where an array's flags are in memory, as 32 bits; if that is not known, where those of a writable one are."""
    return _flags_address(array) if FINDS_FLAGS else ctypes.addressof(_WRITABLE)


def function(address: int, words: int) -> Callable[..., object]:
    """A compiled function of so many whole numbers, or addresses, for Python. It runs without Python's lock."""
    called = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * (2 + words))
    return partial(called(address), ctypes.addressof(_NOWHERE), 0)


def address_of(called: Any) -> int:
    """Where a compiled function is that `function` made for Python."""
    return ctypes.cast(called.func, ctypes.c_void_p).value or 0


def address(key: str, make: Callable[[], Machine]) -> int:
    """Where a compiled function lies in memory: one that is kept on disk, or else one that is made now, and kept.

    Args:
        key: what it is made of.
        make: compiles it.
    """
    path = _path(key)
    found = None if path is None else _found(path)
    if found is not None:
        return found
    made = make()
    _linked.append(made)
    if path is not None and made.stands_alone():
        content = made.name.encode() + b"\n" + made.machine_code
        with suppress(OSError), atomic_write(path) as file:  # a full disk: then it is not kept
            file.write(_sum(content) + content)
    return made.address


def entrance(code: str) -> Callable[..., object]:
    """The function `work` of a program's text, to be called with (table, task, part, me, shares, team).

    Args:
        code: the text; what the arguments mean is said in `jit.emit`.

    Returns:
        A function of six whole numbers, of which the table and the team are addresses.
    """
    return function(address(code, lambda: load("program", code).work), 6)


def _path(key: str) -> Path | None:
    """Where a function's machine code is kept; None if nothing can be kept."""
    place = folder()
    return None if place is None else Path(place) / f"{_sum(f'{_machine()} {key}'.encode()).hex()[:40]}.code"


@cache
def _machine() -> str:
    """What else decides how a program is compiled."""
    from importlib.metadata import version  # these are slow to import, so only where something is compiled

    from llvmlite import binding

    from chainrule.kernels.processor import FEATURES

    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_"))
    features = [name for name, there in sorted(FEATURES.items()) if there]
    versions = version("numba"), version("llvmlite")
    return " ".join([binding.get_process_triple(), binding.get_host_cpu_name(), *features, *versions, *settings])


def _sum(content: bytes) -> bytes:
    import hashlib  # as above

    return hashlib.sha256(content).digest()


def _found(path: Path) -> int | None:
    """The address of a function whose machine code is kept there, if it is and is whole."""
    try:
        kept = path.read_bytes()
    except OSError:
        return None
    content = kept[_SUM:]
    if _sum(content) != kept[:_SUM]:
        return None
    name, _, machine_code = content.partition(b"\n")
    from llvmlite import binding  # as above

    if binding.address_of_symbol(FREES) is None:  # Numba is not loaded, and it is not called
        binding.add_symbol(FREES, binding.address_of_symbol("abort") or ctypes.addressof(_NOWHERE))
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
    engine.add_object_file(binding.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    _linked.append(engine)
    return engine.get_function_address(name.decode()) or None
