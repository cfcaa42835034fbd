"""Kernels written by hand, ready to be called: in Python by arrays, in a program by entries of its table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import machine, processor
from chainrule.kernels.memory import data_pointer
from chainrule.kernels.team import parallel_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.calling import Fields
    from chainrule.kernels.tree import Kernel, Type


@dataclass(frozen=True, eq=False)
class Maker:
    """A kernel written by hand, for any types of its arrays.

    Attributes:
        fields: its words.
        build: makes it for the types; each call makes the same.
        name: tells it from others; that of `build` if empty.
    """

    fields: Fields
    build: Callable[..., Kernel]
    name: str = ""

    def address(self, *types: Type) -> int:
        """Where its machine code is.

        Raises:
            CannotCompileError: LLVM cannot be used.
        """
        name = self.name or f"{self.build.__module__}.{self.build.__name__}"
        key = f"{name} {' '.join(map(str, types))} {processor.registers()}"
        return machine.address_of(key, lambda: self.build(*types))

    def job(self, types: Sequence[Type], rows: int, work: int, scratch: int = 0, each: int = 1, /, **words: Any) -> Job:
        """It, with all told but where its arrays are: see `Job`; `scratch` counts numbers, `words` are the kernel's."""
        return Job(self, tuple(types), self.fields.words(**words), rows, work, scratch * types[0].bytes, each)


@dataclass(frozen=True, eq=False)
class Job:
    """A kernel with all told but where its arrays are.

    Attributes:
        maker: of the kernel.
        types: that it is made for.
        words: with the arrays' entries still 0.
        rows: how much there is to share out among threads.
        work: about how many steps of an inner loop that takes.
        scratch: how many bytes of memory each thread needs for itself; that is the kernel's last array then.
        each: so many rows are an image, which is not shared by threads that must be woken first.
    """

    maker: Maker
    types: tuple[Type, ...]
    words: NDArray[np.int64]
    rows: int
    work: int
    scratch: int
    each: int

    @property
    def address(self) -> int:
        """Where the kernel's machine code is."""
        return self.maker.address(*self.types)

    @cached_property
    def _called(self) -> tuple[Callable[..., None], NDArray[np.int64]]:
        """The kernel, and its words where its arrays' addresses are all of the table."""
        fields = self.maker.fields
        return machine.function(self.address), fields.with_arrays(
            self.words, [(i, 0) for i in range(len(fields.arrays))]
        )

    def run(self, *arrays: NDArray[Any]) -> None:
        """Do it all, for contiguous arrays."""
        call, words = self._called
        table = np.zeros(len(self.maker.fields.arrays), np.int64)
        table[: len(arrays)] = [data_pointer(x) for x in arrays]

        def share(begin: int, end: int) -> None:
            mine, scratch = table, None
            if self.scratch:
                scratch, mine = np.empty(self.scratch, np.uint8), table.copy()
                mine[-1] = data_pointer(scratch)
            call(data_pointer(mine), data_pointer(words), 0, begin * self.each, end * self.each, 1)

        parallel_for(share, self.rows // self.each, self.work)
