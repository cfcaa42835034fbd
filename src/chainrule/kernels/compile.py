"""How a kernel is found, compiled and run: by Numba where that works, otherwise in plain NumPy.

A kernel has a name and stands twice: in `kernels.loops`, compiled by Numba when it is first called, and in
`kernels.plain`, in NumPy, slower but with the same arguments and results. `run` takes the first, and from the moment
that Numba turns out to be missing or unable to compile, the second, after one warning. Numba is imported by the first
call of a kernel, never by `import chainrule`; and not even then by one whose machine code is known (`native`).

Compiled code is kept on disk (`native`), in `NUMBA_CACHE_DIR` or `CHAINRULE_CACHE` if set, else in the user's cache
folder, in a subfolder named after the sources of all kernels. Several processes may share the folder, for each file is
written at once. If no folder can be written, the code is compiled anew in each process.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule.files import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOURCES = Path(__file__).parent

LARGE = 16_384
"""From so many elements on a kernel is faster than an operation's formula in NumPy, where there are both."""

_compiles = True


def works() -> bool:
    """Whether Numba can be used, as far as it has been tried."""
    return _compiles


def give_up(error: Exception) -> None:
    """Numba cannot be used: from now on everything runs in plain NumPy in this process."""
    global _compiles
    _compiles = False
    reason = str(error).strip().partition("\n")[0]
    warnings.warn(
        f"Numba cannot be used here, so kernels and compiled functions run in plain NumPy, more slowly: {reason}",
        RuntimeWarning,
        stacklevel=4,
    )


def large(*arrays: Any) -> bool:
    """Whether an operation should take its kernel: for arrays of one floating type, the first LARGE, not for Tensors.

    Python's floats, which take an array's type, may be among them. Nothing else counts, such as whether Numba has been
    loaded already, so that what is computed twice gets the same bits.
    """
    first = arrays[0]
    return (
        type(first) is np.ndarray
        and first.size >= LARGE
        and first.dtype in (np.float32, np.float64)
        and all(type(x) is float or (type(x) is np.ndarray and x.dtype == first.dtype) for x in arrays)
    )


def run(module: str, name: str, *arguments: Any) -> Any:
    """Call a kernel: `<module>.<name>`, or `plain.<name>` where Numba cannot be used."""
    if works():
        try:
            return getattr(import_module(f"chainrule.kernels.{module}"), name)(*arguments)
        except cannot_compile() as error:
            give_up(error)
    return getattr(import_module("chainrule.kernels.plain"), name)(*arguments)


NO_ENTRANCE: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def inner(function: Callable[..., Any]) -> Any:
    """Decorator for a loop that only compiled code calls: without an entrance for Python it compiles in two thirds."""
    import numba  # as above

    return cast(Any, numba).njit(error_model="numpy", nogil=True, **NO_ENTRANCE)(function)


def inner_sum(function: Callable[..., Any]) -> Any:
    """The same for a step of a sum, whose order is the compiler's."""
    import numba  # as above

    return cast(Any, numba).njit(error_model="numpy", fastmath={"reassoc"}, **NO_ENTRANCE)(function)


def entrance(function: Callable[..., Any]) -> Machine:
    """Decorator for the function of six whole numbers by which a program is entered; it is compiled at once."""
    return machine_code(function, [], words=6)


def machine_code(function: Callable[..., Any], pointers: Sequence[Any], words: int) -> Machine:
    """A function of pointers to numbers of these types, then so many whole numbers; compiled."""
    import numba  # as above

    dispatcher = cast(Any, numba).njit(error_model="numpy", nogil=True, **NO_ENTRANCE)(function)
    kinds = [numba.types.CPointer(numba.from_dtype(dtype)) for dtype in pointers]  # type: ignore[no-untyped-call]
    dispatcher.compile((*kinds, *[numba.types.int64] * words))
    return Machine(*dispatcher.overloads.values())


FREES = "NRT_MemInfo_call_dtor"


class Machine:
    """What has become of a function.

    Attributes:
        name: what the function is called there.
        machine_code: an object file.
        address: where it lies in memory, as long as this object lives.
    """

    def __init__(self, made: Any) -> None:
        self._library, self.name = made.library, made.fndesc.llvm_func_name
        _, _, (self.machine_code, _) = made.library.serialize_using_object_code()
        self.address: int = made.library.get_pointer_to_function(self.name)

    def stands_alone(self) -> bool:
        """Whether all that it calls is in every process: the C library's functions, but none of Numba's or Python's.

        Except one that frees an array's memory: it is never called, for arrays made of pointers own nothing.
        """
        from llvmlite import binding

        text = self._library.get_llvm_str()
        called = re.findall(r'^declare [^@]*@"?([^"(]+)"?\(', text, re.MULTILINE)
        called += re.findall(r'^@"?([^" ]+)"? = external ', text, re.MULTILINE)
        theirs = re.compile("numba|NRT_|_?Py")
        return not any(
            theirs.match(name) or binding.address_of_symbol(name) is None
            for name in called
            if not name.startswith("llvm.") and name != FREES
        )


@functools.cache
def folder() -> str | None:
    """Where compiled code is kept; None if it cannot be written."""
    import hashlib  # these two are slow to import, so only where a kernel is compiled
    import tempfile

    digest = hashlib.sha256()
    for source in sorted(SOURCES.rglob("*.py")):
        digest.update(source.read_bytes())
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    try:
        folder = (Path(chosen) if chosen else cache_folder()) / f"kernels-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:
        return None


def load(kind: str, code: str) -> Any:
    """The text of a module, as that module."""
    module = ModuleType(f"chainrule_{kind}")
    exec(compile(code, f"<{module.__name__}>", "exec"), vars(module))  # noqa: S102  # what `jit.emit` or `elementwise` wrote
    return module


def loops(family: str) -> Any:
    """A module of compiled loops."""
    return import_module(f"chainrule.kernels.loops.{family}")


def cannot_compile() -> tuple[type[Exception], ...]:
    """What Numba raises where it is missing (ImportError), broken (OSError) or unable to compile."""
    try:
        from numba.core.errors import NumbaError
    except (ImportError, OSError):
        return ImportError, OSError
    return ImportError, OSError, NumbaError
