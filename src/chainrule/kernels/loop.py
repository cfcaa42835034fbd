"""Compiled loops over arrays, as Python calls them."""

from __future__ import annotations

import struct
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import native
from chainrule.kernels.compile import loops, machine_code

if TYPE_CHECKING:
    from collections.abc import Callable

_making = threading.RLock()  # others that share the work want the same
_DOUBLE, _WORD = struct.Struct("d"), struct.Struct("q")


class Loop:
    """A loop over arrays without gaps, and numbers; compiled for each combination of types that it is called with.

    Machine code that needs nothing of Python's takes whole numbers only (`native`). So an entrance is written for each
    combination, which makes arrays of addresses and shapes; the next process finds it on disk, and needs no Numba.

    Args:
        key: what the loop is made of.
        find: gives it, as a function that compiled code can call (`compile.inner`).

    Attributes:
        compiled: the entrances, by the kinds of arguments.
    """

    def __init__(self, key: str, find: Callable[[], Any]) -> None:
        self.key, self.find = key, find
        self.compiled: dict[Any, Callable[..., object]] = {}

    def __call__(self, *arguments: Any) -> None:
        """Run it. It works without Python's lock."""
        self.ready(*arguments)()

    def ready(self, *arguments: Any) -> Callable[[], object]:
        """All but the run itself, for which the arrays must still be there."""
        kinds: list[Any] = []
        words: list[int] = []
        for x in arguments:
            if type(x) is np.ndarray:
                if not x.flags.c_contiguous:
                    raise ValueError(f"{self.key}: takes arrays without gaps")
                kinds.append((x.dtype, x.ndim))
                words += (native.place_of(x), *x.shape)
            elif isinstance(x, (float, np.floating)):
                kinds.append((np.dtype(type(x)), -1))
                words.append(_WORD.unpack(_DOUBLE.pack(x))[0])
            else:
                kinds.append(None)
                words.append(x)
        known = tuple(kinds)
        found = self.compiled.get(known)
        if found is None:
            with _making:
                found = self.compiled.get(known) or self._made(known, len(words))
        return partial(found, *words)

    def _made(self, kinds: tuple[Any, ...], words: int) -> Callable[..., object]:
        def make() -> Any:
            return machine_code(entrance(self.find(), kinds), [], words)

        found = self.compiled[kinds] = native.function(native.address(f"{self.key} {kinds}", make), words)
        return found


def of(family: str, name: str) -> Loop:
    """The loop of a name in a module of `loops`."""
    return Loop(f"{family}.{name}", lambda: getattr(loops(family), name))


def entrance(loop: Any, kinds: tuple[Any, ...]) -> Callable[..., None]:
    """A function of whole numbers that calls a loop with what they stand for.

    Args:
        loop: a function for compiled code.
        kinds: of its arguments: (type, dimensions) of an array, (type, -1) of a number that is no whole one, or None.
    """
    import numba  # slow to import, and only here to compile
    from numba.np.numpy_support import carray

    space = {"loop": loop, "carray": carray, "pointer": loops("memory").pointer, "double": loops("memory").double}
    words: list[str] = []
    given: list[str] = []
    for number, kind in enumerate(kinds):
        words.append(f"x{number}")
        if kind is None:
            given.append(words[-1])
            continue
        dtype, dimensions = kind
        space[f"k{number}"] = numba.from_dtype(dtype)
        if dimensions < 0:
            given.append(f"k{number}(double(x{number}))")
            continue
        sizes = [f"x{number}_{d}" for d in range(dimensions)]
        words += sizes
        given.append(f"carray(pointer(x{number}, k{number}), ({''.join(f'{size}, ' for size in sizes)}))")
    exec(f"def entrance({', '.join(words)}):\n    loop({', '.join(given)})", space)  # noqa: S102  # what stands here
    made: Callable[..., None] = space["entrance"]
    return made
